//! The packs of a day: what each object is called, whether it has left the local spool, and which chunks it
//! brought (so that they can go with it).

use std::fmt;

use bincode::{Decode, Encode};
use heed::{RoTxn, RwTxn};

use super::chunks::Extent;
use super::env::{Table, Tables};
use super::keys::{Key, ordered, unordered};
use super::{IndexError, chunks, codec, streams};
use crate::stream::StreamId;

/// Names a pack: the hash of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(pub u128);

impl fmt::Debug for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Where a pack is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum PackState {
    /// Durable in this node's spool, not yet in the chunk store.
    Spooled,
    /// In the chunk store.
    Shipped,
}

/// A pack as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PackRecord {
    /// Whose streams it holds.
    pub tenant: String,
    /// Its key in the chunk store.
    pub object_key: String,
    /// Its size.
    pub bytes: u64,
    /// Where it is.
    pub state: PackState,
    /// Columns, filters, directory: where each starts in the file, and its bytes without what slices add.
    pub areas: [Extent; 3],
    /// How many chunks.
    pub chunks: u32,
    /// How many entries.
    pub entries: u64,
    /// Bytes of its text, inflated.
    pub text_bytes: u64,
    /// Its smallest timestamp.
    pub first_ts: i64,
    /// Its largest timestamp.
    pub last_ts: i64,
    /// Its place in the order in which the day's packs came; given when it is indexed, 0 until then. Lines of one
    /// timestamp in several packs are read in this order.
    pub arrival: u64,
}

impl codec::Value for PackRecord {
    const NAME: &'static str = "pack";
    const VERSION: u8 = 1;
}

/// Where a pack's chunk stands in the table of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) stream: StreamId,
    pub(super) first_ts: i64,
    pub(super) number: u32,
}

const PLACE_BYTES: usize = 28;

impl Place {
    fn encode(&self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..16].copy_from_slice(&self.stream.0.to_be_bytes());
        bytes[16..24].copy_from_slice(&ordered(self.first_ts));
        bytes[24..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let bytes: &[u8; PLACE_BYTES] = bytes.try_into().map_err(|_| IndexError::Corrupt {
            what: "pack contents",
            reason: format!("an item has `{}` bytes", bytes.len()),
        })?;
        Ok(Place {
            stream: StreamId(u128::from_be_bytes(std::array::from_fn(|n| bytes[n]))),
            first_ts: unordered(std::array::from_fn(|n| bytes[16 + n])),
            number: u32::from_be_bytes(std::array::from_fn(|n| bytes[24 + n])),
        })
    }
}

fn key(id: PackId) -> Key {
    Key::new().bytes(&id.0.to_be_bytes())
}

pub(super) fn get(table: Table, txn: &RoTxn<'_>, id: PackId) -> Result<Option<PackRecord>, IndexError> {
    table.get(txn, key(id).as_bytes())?.map(codec::decode).transpose()
}

pub(super) fn put(
    table: Table,
    txn: &mut RwTxn<'_>,
    id: PackId,
    record: &PackRecord,
) -> Result<(), IndexError> {
    Ok(table.put(txn, key(id).as_bytes(), &codec::encode(record)?)?)
}

/// Gives every pack, by id.
pub(super) fn each(
    table: Table,
    txn: &RoTxn<'_>,
    mut on_pack: impl FnMut(PackId, PackRecord),
) -> Result<(), IndexError> {
    for entry in table.iter(txn)? {
        let (key, value) = entry?;
        let id = key.try_into().map(u128::from_be_bytes).map_err(|_| IndexError::Corrupt {
            what: "pack key",
            reason: format!("it has `{}` bytes", key.len()),
        })?;
        on_pack(PackId(id), codec::decode(value)?);
    }
    Ok(())
}

/// Remembers that a pack brought a chunk.
pub(super) fn add_place(
    table: Table,
    txn: &mut RwTxn<'_>,
    id: PackId,
    place: &Place,
) -> Result<(), IndexError> {
    Ok(table.put(txn, key(id).as_bytes(), &place.encode())?)
}

/// Removes a pack, its chunks, and the streams that have no chunk left. Returns what it was.
pub(super) fn delete(
    tables: &Tables,
    txn: &mut RwTxn<'_>,
    id: PackId,
) -> Result<Option<PackRecord>, IndexError> {
    let Some(record) = get(tables.packs, txn, id)? else { return Ok(None) };
    let mut places = Vec::new();
    for entry in tables.contents.get_duplicates(txn, key(id).as_bytes())?.into_iter().flatten() {
        places.push(Place::decode(entry?.1)?);
    }
    for place in &places {
        chunks::delete(tables.chunks, txn, &record.tenant, id, place)?;
    }
    // Places ascend by stream.
    places.dedup_by_key(|place| place.stream);
    for Place { stream, .. } in places {
        if !chunks::has_any(tables.chunks, txn, &record.tenant, stream)? {
            streams::delete(tables, txn, &record.tenant, stream)?;
        }
    }
    tables.contents.delete(txn, key(id).as_bytes())?;
    tables.packs.delete(txn, key(id).as_bytes())?;
    Ok(Some(record))
}

/// Removes a stream and its chunks; their packs stay. Returns whether it was there.
pub(super) fn hide_stream(
    tables: &Tables,
    txn: &mut RwTxn<'_>,
    tenant: &str,
    stream: StreamId,
) -> Result<bool, IndexError> {
    let hidden = chunks::of_stream(tables.chunks, txn, tenant, stream, i64::MIN, i64::MAX)?;
    for chunk in &hidden {
        let place = Place { stream, first_ts: chunk.first_ts, number: chunk.number };
        chunks::delete(tables.chunks, txn, tenant, chunk.pack, &place)?;
        tables.contents.delete_one_duplicate(txn, key(chunk.pack).as_bytes(), &place.encode())?;
    }
    streams::delete(tables, txn, tenant, stream)?;
    Ok(!hidden.is_empty())
}

/// The streams of a pack that are not hidden, ascending, and the compressed bytes of their text in it.
pub(super) fn contents(
    tables: &Tables,
    txn: &RoTxn<'_>,
    id: PackId,
    tenant: &str,
) -> Result<Vec<(StreamId, u64)>, IndexError> {
    let mut streams: Vec<(StreamId, u64)> = Vec::new();
    for entry in tables.contents.get_duplicates(txn, key(id).as_bytes())?.into_iter().flatten() {
        let place = Place::decode(entry?.1)?;
        let bytes = chunks::text_length(tables.chunks, txn, tenant, id, &place)?;
        match streams.last_mut().filter(|(stream, _)| *stream == place.stream) {
            Some((_, sum)) => *sum += bytes,
            None => streams.push((place.stream, bytes)),
        }
    }
    Ok(streams)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{PackRecord, PackState, Place};
    use crate::index::Extent;
    use crate::index::codec::tests::{check, check_junk};
    use crate::stream::StreamId;

    proptest! {
        #[test]
        fn record_survives_a_round_trip(
            tenant in ".{0,9}", object_key in ".{0,30}", n: [u64; 10], chunks: u32, first_ts: i64, last_ts: i64, spooled: bool,
        ) {
            let extent = |at: usize| Extent { offset: n[at], length: n[at + 1] };
            let state = if spooled { PackState::Spooled } else { PackState::Shipped };
            let areas = [extent(0), extent(2), extent(4)];
            check(&PackRecord {
                tenant, object_key, bytes: n[6], state, areas, chunks, entries: n[7], text_bytes: n[8], first_ts, last_ts,
                arrival: n[9],
            });
        }

        #[test]
        fn place_survives_a_round_trip_and_sorts_by_stream(id: u128, other: u128, first_ts: i64, number: u32) {
            let place = Place { stream: StreamId(id), first_ts, number };
            prop_assert_eq!(Place::decode(&place.encode()).unwrap(), place);
            let another = Place { stream: StreamId(other), ..place };
            prop_assert_eq!(place.encode().cmp(&another.encode()), id.cmp(&other));
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut junk in vec(any::<u8>(), 0..200)) {
            let _ = Place::decode(&junk);
            check_junk::<PackRecord>(&mut junk);
        }
    }
}
