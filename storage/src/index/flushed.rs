//! Flush marks: through which record of a write-ahead log a stream's entries of the day are in packs. Written
//! in the transaction that indexes the pack, so that a replay never doubles a head nor loses one.

use heed::{RoTxn, RwTxn};

use super::IndexError;
use super::env::Table;
use super::keys::Key;
use crate::stream::StreamId;
use crate::wal::{Mark, Sequence, WalId};

/// Everything this stream had (of this day) in the log up to `through` is in packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushMark {
    /// The log.
    pub wal_id: WalId,
    /// The stream.
    pub stream: StreamId,
    /// How far the log is covered.
    pub through: Mark,
}

/// A version byte, the sequence as u64 and the entries as u32, little-endian; fixed, as it is rewritten at each flush.
const VALUE_BYTES: usize = 13;
const VERSION: u8 = 1;

fn key(wal_id: WalId, tenant: &str, stream: StreamId) -> Result<Key, IndexError> {
    let tenant = Key::of(tenant)?.stream(stream);
    Ok(Key::new().bytes(&wal_id.0.to_be_bytes()).bytes(tenant.as_bytes()))
}

fn encode(through: Mark) -> [u8; VALUE_BYTES] {
    let mut bytes = [VERSION; VALUE_BYTES];
    bytes[1..9].copy_from_slice(&through.sequence.0.to_le_bytes());
    bytes[9..].copy_from_slice(&through.entries.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Result<Mark, IndexError> {
    match bytes.split_first() {
        Some((&VERSION, value)) if bytes.len() == VALUE_BYTES => {
            let sequence = Sequence(u64::from_le_bytes(std::array::from_fn(|n| value[n])));
            Ok(Mark { sequence, entries: u32::from_le_bytes(std::array::from_fn(|n| value[8 + n])) })
        }
        _ => Err(IndexError::Corrupt { what: "flush mark", reason: format!("it is `{bytes:02x?}`") }),
    }
}

/// The mark of a stream; the default, before every record, if it has none.
pub(super) fn get(
    table: Table,
    txn: &RoTxn<'_>,
    wal_id: WalId,
    tenant: &str,
    stream: StreamId,
) -> Result<Mark, IndexError> {
    let value = table.get(txn, key(wal_id, tenant, stream)?.as_bytes())?;
    value.map_or(Ok(Mark::default()), decode)
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
    use crate::wal::{Mark, Sequence, WalId};

    proptest! {
        #[test]
        fn value_survives_a_round_trip(sequence: u64, entries: u32) {
            let mark = Mark { sequence: Sequence(sequence), entries };
            prop_assert_eq!(decode(&encode(mark)).unwrap(), mark);
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
        let through = |sequence, entries| Mark { sequence: Sequence(sequence), entries };
        for through in [through(5, 9), through(9, 2), through(9, 1), through(7, 7)] {
            let mark = FlushMark { wal_id: WalId(1), stream: StreamId(2), through };
            env.write(|tables, txn| raise(tables.flushed, txn, "t", &mark)).unwrap();
        }
        let read = |log, tenant, stream| {
            env.read(|tables, txn| get(tables.flushed, txn, WalId(log), tenant, StreamId(stream))).unwrap()
        };
        let none = Mark::default();
        assert_eq!(
            [read(1, "t", 2), read(2, "t", 2), read(1, "u", 2), read(1, "t", 3)],
            [through(9, 2), none, none, none]
        );

        let kept = |logs: &[WalId]| env.write(|tables, txn| keep_only(tables.flushed, txn, logs)).unwrap();
        assert_eq!(kept(&[WalId(1)]), 0);
        assert_eq!(kept(&[WalId(3)]), 1);
        assert_eq!(read(1, "t", 2), none);
    }
}
