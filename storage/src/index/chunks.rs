//! The chunks of a day: where each lies in its pack, and what a query must know to pass it over.

use bincode::{Decode, Encode};
use heed::{RoTxn, RwTxn};

use super::env::Table;
use super::keys::{Key, unordered};
use super::packs::PackId;
use super::{IndexError, codec};
use crate::entry::Digest;
use crate::stream::StreamId;

/// A stretch of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Extent {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
}

/// A chunk of one stream in one pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRecord {
    /// The pack that holds it.
    pub pack: PackId,
    /// Its place among the pack's chunks.
    pub number: u32,
    /// Its smallest timestamp.
    pub first_ts: i64,
    /// Its largest timestamp.
    pub last_ts: i64,
    /// Its blocks' members, one after another, in the pack.
    pub text: Extent,
    /// Its blocks, in that order.
    pub blocks: Vec<BlockRecord>,
    /// Its columns, within the pack's area of columns.
    pub columns: Extent,
    /// Its filter, within the pack's area of filters; of length 0 where it has none.
    pub filter: Extent,
    /// How many entries, and the exclusive or of their hashes.
    pub digest: Digest,
    /// Bytes of its text, inflated.
    pub text_bytes: u64,
}

/// A block of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockRecord {
    /// Bytes of its gzip member.
    pub member_bytes: u32,
    /// Bytes of its text, inflated.
    pub text_bytes: u32,
    /// Bytes of its column.
    pub column_bytes: u32,
    /// How many entries.
    pub entries: u32,
    /// Its smallest timestamp.
    pub first_ts: i64,
    /// Its largest timestamp.
    pub last_ts: i64,
}

/// What is written; the rest of a [`ChunkRecord`] is in the key.
#[derive(Debug, PartialEq, Encode, Decode)]
struct ChunkValue {
    last_ts: i64,
    text: Extent,
    blocks: Vec<BlockRecord>,
    columns: Extent,
    filter: Extent,
    entries: u64,
    xor: u128,
    text_bytes: u64,
}

impl codec::Value for ChunkValue {
    const NAME: &'static str = "chunk";
    const VERSION: u8 = 1;
}

/// Time, pack and number: what follows tenant and stream in a key.
const KEY_TAIL_BYTES: usize = 8 + 16 + 4;

fn key(tenant: &str, stream: StreamId, first_ts: i64, pack: PackId, number: u32) -> Result<Key, IndexError> {
    let key = Key::of(tenant)?.stream(stream).time(first_ts);
    Ok(key.bytes(&pack.0.to_be_bytes()).bytes(&number.to_be_bytes()))
}

pub(super) fn put(
    table: Table,
    txn: &mut RwTxn<'_>,
    tenant: &str,
    stream: StreamId,
    chunk: &ChunkRecord,
) -> Result<(), IndexError> {
    let ChunkRecord { pack, number, first_ts, .. } = *chunk;
    let value = ChunkValue {
        last_ts: chunk.last_ts,
        text: chunk.text,
        blocks: chunk.blocks.clone(),
        columns: chunk.columns,
        filter: chunk.filter,
        entries: chunk.digest.count,
        xor: chunk.digest.xor,
        text_bytes: chunk.text_bytes,
    };
    let key = key(tenant, stream, first_ts, pack, number)?;
    Ok(table.put(txn, key.as_bytes(), &codec::encode(&value)?)?)
}

pub(super) fn delete(
    table: Table,
    txn: &mut RwTxn<'_>,
    tenant: &str,
    pack: PackId,
    place: &super::packs::Place,
) -> Result<(), IndexError> {
    let key = key(tenant, place.stream, place.first_ts, pack, place.number)?;
    table.delete(txn, key.as_bytes())?;
    Ok(())
}

/// Compressed bytes of a chunk's text; 0 if there is no such chunk.
pub(super) fn text_length(
    table: Table,
    txn: &RoTxn<'_>,
    tenant: &str,
    pack: PackId,
    place: &super::packs::Place,
) -> Result<u64, IndexError> {
    let key = key(tenant, place.stream, place.first_ts, pack, place.number)?;
    let Some(value) = table.get(txn, key.as_bytes())? else { return Ok(0) };
    Ok(decode(key.as_bytes(), value)?.text.length)
}

/// Whether a stream has any chunk.
pub(super) fn has_any(
    table: Table,
    txn: &RoTxn<'_>,
    tenant: &str,
    stream: StreamId,
) -> Result<bool, IndexError> {
    let prefix = Key::of(tenant)?.stream(stream);
    Ok(table.prefix_iter(txn, prefix.as_bytes())?.next().transpose()?.is_some())
}

/// The chunks of a stream that overlap a range of time (both ends included), by first timestamp.
pub(super) fn of_stream(
    table: Table,
    txn: &RoTxn<'_>,
    tenant: &str,
    stream: StreamId,
    first_ts: i64,
    last_ts: i64,
) -> Result<Vec<ChunkRecord>, IndexError> {
    let prefix = Key::of(tenant)?.stream(stream);
    let mut chunks = Vec::new();
    for entry in table.prefix_iter(txn, prefix.as_bytes())? {
        let (key, value) = entry?;
        let chunk = decode(key, value)?;
        if chunk.first_ts > last_ts {
            break;
        }
        if chunk.last_ts >= first_ts {
            chunks.push(chunk);
        }
    }
    Ok(chunks)
}

pub(super) fn decode(key: &[u8], value: &[u8]) -> Result<ChunkRecord, IndexError> {
    let tail: &[u8; KEY_TAIL_BYTES] = key
        .last_chunk()
        .ok_or(IndexError::Corrupt { what: "chunk key", reason: format!("it has `{}` bytes", key.len()) })?;
    let value: ChunkValue = codec::decode(value)?;
    Ok(ChunkRecord {
        first_ts: unordered(std::array::from_fn(|n| tail[n])),
        pack: PackId(u128::from_be_bytes(std::array::from_fn(|n| tail[8 + n]))),
        number: u32::from_be_bytes(std::array::from_fn(|n| tail[24 + n])),
        last_ts: value.last_ts,
        text: value.text,
        blocks: value.blocks,
        columns: value.columns,
        filter: value.filter,
        digest: Digest { count: value.entries, xor: value.xor },
        text_bytes: value.text_bytes,
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{BlockRecord, ChunkRecord, ChunkValue, Extent, decode, of_stream, put};
    use crate::entry::Digest;
    use crate::index::codec::tests::{check, check_junk};
    use crate::index::env::Env;
    use crate::index::packs::PackId;
    use crate::stream::StreamId;

    proptest! {
        #[test]
        fn value_survives_a_round_trip(
            last_ts: i64, numbers: [u64; 8], xor: u128, blocks in vec(any::<([u32; 4], i64, i64)>(), 0..7),
        ) {
            let extent = |at: usize| Extent { offset: numbers[at], length: numbers[at + 1] };
            let blocks = blocks.into_iter().map(|(counts, first_ts, last_ts)| {
                let [member_bytes, text_bytes, column_bytes, entries] = counts;
                BlockRecord { member_bytes, text_bytes, column_bytes, entries, first_ts, last_ts }
            });
            check(&ChunkValue {
                last_ts, text: extent(0), blocks: blocks.collect(), columns: extent(2), filter: extent(4),
                entries: numbers[6], xor, text_bytes: numbers[7],
            });
        }

        #[test]
        fn arbitrary_bytes_never_panic(key in vec(any::<u8>(), 0..80), mut junk in vec(any::<u8>(), 0..200)) {
            let _ = decode(&key, &junk);
            check_junk::<ChunkValue>(&mut junk);
        }

        #[test]
        fn chunks_are_found_by_overlap_in_order(
            spans in vec((-50i64..50, 0i64..30), 0..12), from in -60i64..60, span in 0i64..40,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let env = Env::open(dir.path(), 1 << 20).unwrap();
            let mut chunks: Vec<_> =
                (0..).zip(&spans).map(|(number, &(first, length))| chunk(number, first, first + length)).collect();
            env.write(|tables, txn| {
                for stream in [1, 2] {
                    chunks.iter().try_for_each(|chunk| put(tables.chunks, txn, "t", StreamId(stream), chunk))?;
                }
                Ok(())
            }).unwrap();
            let to = from + span;
            let found =
                env.read(|tables, txn| of_stream(tables.chunks, txn, "t", StreamId(1), from, to)).unwrap();
            chunks.retain(|chunk| chunk.first_ts <= to && chunk.last_ts >= from);
            chunks.sort_by_key(|chunk| (chunk.first_ts, chunk.number));
            prop_assert_eq!(found, chunks);
        }
    }

    fn chunk(number: u32, first_ts: i64, last_ts: i64) -> ChunkRecord {
        ChunkRecord {
            pack: PackId(7),
            number,
            first_ts,
            last_ts,
            text: Extent { offset: 1, length: 2 },
            blocks: vec![BlockRecord {
                member_bytes: 1,
                text_bytes: 5,
                column_bytes: 3,
                entries: 2,
                first_ts,
                last_ts,
            }],
            columns: Extent { offset: 3, length: 4 },
            filter: Extent::default(),
            digest: Digest { count: 2, xor: 9 },
            text_bytes: 10,
        }
    }
}
