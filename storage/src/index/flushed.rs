//! Flush marks: through which record of a write-ahead log a stream's entries of the day are in packs. Written
//! in the transaction that indexes the pack, so that a replay never doubles a head nor loses one.

use heed::{RoTxn, RwTxn};

use super::IndexError;
use super::env::Table;
use super::keys::Key;
use crate::stream::StreamId;
use crate::wal::{Sequence, WalId};

/// Everything this stream had (of this day) in the log up to and including `through` is in packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushMark {
    /// The log.
    pub wal_id: WalId,
    /// The stream.
    pub stream: StreamId,
    /// The last record covered.
    pub through: Sequence,
}

/// A version byte and the sequence, little-endian; fixed, as it is rewritten at each flush.
const VALUE_BYTES: usize = 9;
const VERSION: u8 = 1;

fn key(wal_id: WalId, tenant: &str, stream: StreamId) -> Result<Key, IndexError> {
    let tenant = Key::of(tenant)?.stream(stream);
    Ok(Key::new().bytes(&wal_id.0.to_be_bytes()).bytes(tenant.as_bytes()))
}

fn encode(through: Sequence) -> [u8; VALUE_BYTES] {
    let mut bytes = [VERSION; VALUE_BYTES];
    bytes[1..].copy_from_slice(&through.0.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Sequence, IndexError> {
    match bytes.split_first() {
        Some((&VERSION, sequence)) if bytes.len() == VALUE_BYTES => {
            Ok(Sequence(u64::from_le_bytes(std::array::from_fn(|n| sequence[n]))))
        }
        _ => Err(IndexError::Corrupt { what: "flush mark", reason: format!("it is `{bytes:02x?}`") }),
    }
}

/// The mark of a stream; [`Sequence::ZERO`] if it has none.
pub(super) fn get(
    table: Table,
    txn: &RoTxn<'_>,
    wal_id: WalId,
    tenant: &str,
    stream: StreamId,
) -> Result<Sequence, IndexError> {
    let value = table.get(txn, key(wal_id, tenant, stream)?.as_bytes())?;
    value.map_or(Ok(Sequence::ZERO), decode)
}

/// Raises a mark; a lower one changes nothing.
pub(super) fn raise(
    table: Table,
    txn: &mut RwTxn<'_>,
    tenant: &str,
    mark: &FlushMark,
) -> Result<(), IndexError> {
    if get(table, txn, mark.wal_id, tenant, mark.stream)? < mark.through {
        let key = key(mark.wal_id, tenant, mark.stream)?;
        table.put(txn, key.as_bytes(), &encode(mark.through))?;
    }
    Ok(())
}

/// Removes the marks of every log but these.
pub(super) fn keep_only(table: Table, txn: &mut RwTxn<'_>, logs: &[WalId]) -> Result<usize, IndexError> {
    let mut dead = Vec::new();
    for entry in table.iter(txn)? {
        let key = entry?.0;
        let log = key.first_chunk().map(|id| WalId(u128::from_be_bytes(*id)));
        if log.is_none_or(|log| !logs.contains(&log)) {
            dead.push(key.to_vec());
        }
    }
    for key in &dead {
        table.delete(txn, key)?;
    }
    Ok(dead.len())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{FlushMark, VALUE_BYTES, VERSION, decode, encode, get, keep_only, raise};
    use crate::index::env::Env;
    use crate::stream::StreamId;
    use crate::wal::{Sequence, WalId};

    proptest! {
        #[test]
        fn value_survives_a_round_trip(sequence: u64) {
            prop_assert_eq!(decode(&encode(Sequence(sequence))).unwrap(), Sequence(sequence));
        }

        #[test]
        fn other_bytes_are_refused(bytes in vec(any::<u8>(), 0..20)) {
            prop_assert!(decode(&bytes).is_err() || (bytes.len(), bytes[0]) == (VALUE_BYTES, VERSION));
        }
    }

    #[test]
    fn marks_rise_never_fall_and_belong_to_one_log_tenant_and_stream() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::open(dir.path(), 1 << 20).unwrap();
        let mark = |through| FlushMark { wal_id: WalId(1), stream: StreamId(2), through: Sequence(through) };
        for through in [5, 9, 7] {
            env.write(|tables, txn| raise(tables.flushed, txn, "t", &mark(through))).unwrap();
        }
        let read = |log, tenant, stream| {
            env.read(|tables, txn| get(tables.flushed, txn, WalId(log), tenant, StreamId(stream))).unwrap().0
        };
        assert_eq!([read(1, "t", 2), read(2, "t", 2), read(1, "u", 2), read(1, "t", 3)], [9, 0, 0, 0]);

        let kept = |logs: &[WalId]| env.write(|tables, txn| keep_only(tables.flushed, txn, logs)).unwrap();
        assert_eq!(kept(&[WalId(1)]), 0);
        assert_eq!(kept(&[WalId(3)]), 1);
        assert_eq!(read(1, "t", 2), 0);
    }
}
