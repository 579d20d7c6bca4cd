//! The streams of a day: labels by id, and the span of time in which each has chunks.

use bincode::{BorrowDecode, Encode};
use heed::{RoTxn, RwTxn};

use super::env::{Table, Tables};
use super::keys::Key;
use super::{IndexError, codec, postings};
use crate::stream::{Labels, StreamId};

/// A stream as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Names it.
    pub id: StreamId,
    /// Its labels.
    pub labels: Labels,
    /// Its first timestamp of the day, or earlier where a pack was removed.
    pub first_ts: i64,
    /// Its last timestamp of the day, or later where a pack was removed.
    pub last_ts: i64,
}

/// What is written; borrows, so that matching a stream that is passed over allocates next to nothing.
#[derive(Debug, PartialEq, Encode, BorrowDecode)]
pub(super) struct StreamValue<'a> {
    pub(super) first_ts: i64,
    pub(super) last_ts: i64,
    /// Names ascend.
    pub(super) labels: Vec<(&'a str, &'a str)>,
}

impl codec::Value for StreamValue<'_> {
    const NAME: &'static str = "stream";
    const VERSION: u8 = 1;
}

impl StreamValue<'_> {
    pub(super) fn overlaps(&self, first: i64, last: i64) -> bool {
        self.first_ts <= last && first <= self.last_ts
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(n, _)| (*n).cmp(name)).ok()?;
        Some(self.labels[at].1)
    }

    pub(super) fn into_record(self, id: StreamId) -> StreamRecord {
        let StreamValue { first_ts, last_ts, labels } = self;
        StreamRecord { id, labels: Labels::new(labels), first_ts, last_ts }
    }
}

pub(super) fn get<'t>(
    table: Table,
    txn: &'t RoTxn<'_>,
    tenant: &str,
    id: StreamId,
) -> Result<Option<StreamValue<'t>>, IndexError> {
    let bytes = table.get(txn, Key::of(tenant)?.stream(id).as_bytes())?;
    bytes.map(codec::decode).transpose()
}

/// The ids of all streams of a tenant, ascending.
pub(super) fn ids(table: Table, txn: &RoTxn<'_>, tenant: &str) -> Result<Vec<StreamId>, IndexError> {
    let prefix = Key::of(tenant)?;
    let mut ids = Vec::new();
    for entry in table.prefix_iter(txn, prefix.as_bytes())? {
        ids.push(id_at_end(entry?.0)?);
    }
    Ok(ids)
}

/// Adds a stream, or widens the span of one that is there.
pub(super) fn put(
    tables: &Tables,
    txn: &mut RwTxn<'_>,
    tenant: &str,
    record: &StreamRecord,
) -> Result<(), IndexError> {
    let key = Key::of(tenant)?.stream(record.id);
    let labels = record.labels.iter().collect();
    let mut value = StreamValue { first_ts: record.first_ts, last_ts: record.last_ts, labels };
    match tables.streams.get(txn, key.as_bytes())?.map(codec::decode::<StreamValue<'_>>).transpose()? {
        Some(old) if old.first_ts <= value.first_ts && old.last_ts >= value.last_ts => return Ok(()),
        Some(old) => {
            value.first_ts = value.first_ts.min(old.first_ts);
            value.last_ts = value.last_ts.max(old.last_ts);
        }
        None => postings::add(tables.postings, txn, tenant, record.id, &record.labels)?,
    }
    Ok(tables.streams.put(txn, key.as_bytes(), &codec::encode(&value)?)?)
}

/// Removes a stream and its postings.
pub(super) fn delete(
    tables: &Tables,
    txn: &mut RwTxn<'_>,
    tenant: &str,
    id: StreamId,
) -> Result<(), IndexError> {
    let Some(value) = get(tables.streams, txn, tenant, id)? else { return Ok(()) };
    let labels = value.into_record(id).labels;
    postings::remove(tables.postings, txn, tenant, id, &labels)?;
    tables.streams.delete(txn, Key::of(tenant)?.stream(id).as_bytes())?;
    Ok(())
}

/// The id that closes a key, or is a value.
pub(super) fn id_at_end(bytes: &[u8]) -> Result<StreamId, IndexError> {
    let id = bytes.last_chunk().ok_or(IndexError::Corrupt {
        what: "stream id",
        reason: format!("it has `{}` bytes", bytes.len()),
    })?;
    Ok(StreamId(u128::from_be_bytes(*id)))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::{StreamValue, id_at_end};
    use crate::index::codec::{decode, encode, tests::check_junk};

    proptest! {
        #[test]
        fn value_survives_a_round_trip(first: i64, last: i64, labels in vec((".{0,9}", ".{0,9}"), 0..5)) {
            let labels: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let value = StreamValue { first_ts: first, last_ts: last, labels };
            let bytes = encode(&value).unwrap();
            assert_eq!(decode::<StreamValue<'_>>(&bytes).unwrap(), value);
            for cut in 0..bytes.len() {
                assert!(decode::<StreamValue<'_>>(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut junk in vec(any::<u8>(), 0..200)) {
            let _ = id_at_end(&junk);
            check_junk::<StreamValue<'_>>(&mut junk);
        }
    }
}
