//! The directory of a pack: which streams it holds, and where each block, column and filter lies.
//!
//! All numbers are varints unless said otherwise. Places are told by lengths alone, as blocks follow one another
//! from the pack's first byte, columns and filters from the start of their areas:
//!
//! ```text
//! directory := version 1 u8 | streams | per stream, ids ascending:
//! stream    := id 16 bytes | labels | per label: length, name, length, value | chunks | per chunk:
//! chunk     := blocks u8 | length of the filter, 0 for none | exclusive or of its entries' hashes 16 bytes | per block:
//! block     := length of the member | bytes of text | length of the column | entries
//!              | first timestamp − last timestamp of the stream's block before (0 for its first; zigzag, wrapping)
//!              | last timestamp − first timestamp
//! ```

use std::ops::Range;

use super::area::AreaRange;
use super::cursor::{Cursor, put_string, put_varint, unzigzag, zigzag};
use super::error::FormatError;
use super::limits::CHUNK_BLOCKS_MAX;
use crate::entry::Digest;
use crate::stream::{Labels, StreamId};

const PART: &str = "directory";
const VERSION: u8 = 1;
/// Fewest bytes a stream, a chunk, and a block take.
const STREAM_BYTES: usize = 16 + 2;
const CHUNK_BYTES: usize = 18;

/// What a pack holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    /// Ids ascend.
    pub streams: Vec<StreamEntry>,
}

/// A stream in a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its id.
    pub id: StreamId,
    /// Its labels.
    pub labels: Labels,
    /// Its chunks: ascending in time, sharing at most timestamps.
    pub chunks: Vec<ChunkEntry>,
}

/// A chunk in a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Where its first block starts in the file; the others follow.
    pub start: u64,
    /// One to six.
    pub blocks: Vec<BlockEntry>,
    /// Its columns, block after block.
    pub columns: AreaRange,
    /// Its filter, if it has one.
    pub filter: Option<AreaRange>,
    /// Count and exclusive or of the hashes of its entries.
    pub digest: Digest,
}

/// A block in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// Bytes of its gzip member.
    pub member_bytes: u32,
    /// Bytes of its text, line ends included.
    pub text_bytes: u32,
    /// Bytes of its column.
    pub column_bytes: u32,
    /// How many entries it has.
    pub entries: u32,
    /// Timestamp of its first entry, ns.
    pub first: i64,
    /// Timestamp of its last entry, ns.
    pub last: i64,
}

impl ChunkEntry {
    /// Where its blocks lie in the file.
    pub fn file_range(&self) -> Range<u64> {
        self.start..self.start + self.blocks.iter().map(|block| u64::from(block.member_bytes)).sum::<u64>()
    }

    /// Where one of its blocks lies in the file.
    pub fn block_range(&self, block: usize) -> Option<Range<u64>> {
        let before: u64 = self.blocks.get(..block)?.iter().map(|block| u64::from(block.member_bytes)).sum();
        let start = self.start + before;
        Some(start..start + u64::from(self.blocks.get(block)?.member_bytes))
    }

    /// Where the column of one of its blocks lies within the bytes of its [`columns`](ChunkEntry::columns).
    pub fn column_range(&self, block: usize) -> Option<Range<usize>> {
        let start: usize = self.blocks.get(..block)?.iter().map(|block| block.column_bytes as usize).sum();
        Some(start..start + self.blocks.get(block)?.column_bytes as usize)
    }

    /// The earliest timestamp.
    pub fn first(&self) -> i64 {
        self.blocks.iter().map(|block| block.first).min().unwrap_or(i64::MAX)
    }

    /// The latest timestamp.
    pub fn last(&self) -> i64 {
        self.blocks.iter().map(|block| block.last).max().unwrap_or(i64::MIN)
    }

    /// How many entries it has, and how many bytes its blocks take.
    pub fn size(&self) -> (u64, u64) {
        let range = self.file_range();
        (self.entries(), range.end - range.start)
    }

    /// Bytes of text, line ends included.
    pub fn text_bytes(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.text_bytes)).sum()
    }

    /// How many entries it has.
    pub fn entries(&self) -> u64 {
        self.digest.count
    }
}

impl Directory {
    /// All chunks, in the order of the pack.
    pub fn chunks(&self) -> impl Iterator<Item = &ChunkEntry> {
        self.streams.iter().flat_map(|stream| &stream.chunks)
    }

    /// The chunks of a stream; none if the pack does not hold it.
    pub fn stream(&self, id: StreamId) -> Option<&StreamEntry> {
        let at = self.streams.binary_search_by_key(&id, |stream| stream.id).ok()?;
        Some(&self.streams[at])
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_varint(&mut out, self.streams.len() as u64);
        for stream in &self.streams {
            out.extend_from_slice(&stream.id.0.to_le_bytes());
            put_varint(&mut out, stream.labels.len() as u64);
            for (name, value) in stream.labels.iter() {
                put_string(&mut out, name);
                put_string(&mut out, value);
            }
            put_varint(&mut out, stream.chunks.len() as u64);
            let mut before = 0;
            for chunk in &stream.chunks {
                encode_chunk(chunk, &mut before, &mut out);
            }
        }
        out
    }

    /// Reads a directory.
    ///
    /// # Errors
    /// If it is damaged: ids that do not ascend, labels out of order, places beyond 2⁶³.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(PART, bytes);
        if cursor.u8()? != VERSION {
            return Err(cursor.error("its version is unknown"));
        }
        let mut places = Places::default();
        let mut streams: Vec<StreamEntry> = Vec::new();
        for _ in 0..cursor.count(STREAM_BYTES)? {
            let stream = decode_stream(&mut cursor, &mut places)?;
            if streams.last().is_some_and(|last| last.id >= stream.id) {
                return Err(cursor.error("the ids do not ascend"));
            }
            streams.push(stream);
        }
        cursor.finish()?;
        Ok(Directory { streams })
    }
}

/// Where the next block, column and filter start.
#[derive(Default)]
struct Places {
    block: u64,
    column: u64,
    filter: u64,
}

fn encode_chunk(chunk: &ChunkEntry, before: &mut i64, out: &mut Vec<u8>) {
    out.push(chunk.blocks.len() as u8);
    put_varint(out, chunk.filter.map_or(0, |filter| filter.length.into()));
    out.extend_from_slice(&chunk.digest.xor.to_le_bytes());
    for block in &chunk.blocks {
        for number in [block.member_bytes, block.text_bytes, block.column_bytes, block.entries] {
            put_varint(out, number.into());
        }
        put_varint(out, zigzag(block.first.wrapping_sub(*before)));
        put_varint(out, block.last.wrapping_sub(block.first) as u64);
        *before = block.last;
    }
}

fn decode_stream(cursor: &mut Cursor<'_>, places: &mut Places) -> Result<StreamEntry, FormatError> {
    let id = StreamId(cursor.u128()?);
    let count = cursor.count(2)?;
    let pairs = (0..count)
        .map(|_| Ok((cursor.string()?, cursor.string()?)))
        .collect::<Result<Vec<_>, FormatError>>()?;
    let labels = Labels::new(pairs.iter().copied());
    if !labels.iter().eq(pairs) {
        return Err(cursor.error("labels are empty, doubled or out of order"));
    }
    let mut chunks = Vec::new();
    let mut before = 0;
    for _ in 0..cursor.count(CHUNK_BYTES)? {
        chunks.push(decode_chunk(cursor, places, &mut before)?);
    }
    Ok(StreamEntry { id, labels, chunks })
}

fn decode_chunk(
    cursor: &mut Cursor<'_>,
    places: &mut Places,
    before: &mut i64,
) -> Result<ChunkEntry, FormatError> {
    let count = usize::from(cursor.u8()?);
    if !(1..=CHUNK_BLOCKS_MAX).contains(&count) {
        return Err(cursor.error("a chunk has an impossible number of blocks"));
    }
    let filter_bytes = cursor.varint_u32()?;
    let xor = cursor.u128()?;
    let blocks = (0..count).map(|_| decode_block(cursor, before)).collect::<Result<Vec<_>, _>>()?;
    let columns = blocks.iter().map(|block| u64::from(block.column_bytes)).sum::<u64>();
    let column_bytes = u32::try_from(columns).map_err(|_| cursor.error("columns are too long"))?;
    let count = blocks.iter().map(|block| u64::from(block.entries)).sum();
    let chunk = ChunkEntry {
        start: places.block,
        columns: AreaRange { offset: places.column, length: column_bytes },
        filter: (filter_bytes > 0).then_some(AreaRange { offset: places.filter, length: filter_bytes }),
        digest: Digest { count, xor },
        blocks,
    };
    // Each addend is below 2^35 and costs bytes of the directory, so that no sum comes near 2^64.
    places.block = chunk.file_range().end;
    places.column += columns;
    places.filter += u64::from(filter_bytes);
    Ok(chunk)
}

fn decode_block(cursor: &mut Cursor<'_>, before: &mut i64) -> Result<BlockEntry, FormatError> {
    let [member_bytes, text_bytes, column_bytes, entries] =
        [cursor.varint_u32()?, cursor.varint_u32()?, cursor.varint_u32()?, cursor.varint_u32()?];
    let first = before.wrapping_add(unzigzag(cursor.varint()?));
    let last = first.wrapping_add(cursor.varint()? as i64);
    if last < first {
        return Err(cursor.error("the timestamps of a block descend"));
    }
    *before = last;
    Ok(BlockEntry { member_bytes, text_bytes, column_bytes, entries, first, last })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::{BlockEntry, ChunkEntry, Directory, Places, StreamEntry};
    use crate::entry::Digest;
    use crate::pack::area::AreaRange;
    use crate::stream::{Labels, StreamId};

    fn chunk(blocks: &[(u32, i64, i64)], filter: u32, places: &mut Places) -> ChunkEntry {
        let blocks: Vec<_> = blocks
            .iter()
            .map(|(size, a, b)| BlockEntry {
                member_bytes: *size,
                text_bytes: size / 2,
                column_bytes: size % 1_000,
                entries: size % 77,
                first: *a.min(b),
                last: *a.max(b),
            })
            .collect();
        let columns = blocks.iter().map(|block| block.column_bytes).sum();
        let count = blocks.iter().map(|block| u64::from(block.entries)).sum();
        let chunk = ChunkEntry {
            start: places.block,
            columns: AreaRange { offset: places.column, length: columns },
            filter: (filter > 0).then_some(AreaRange { offset: places.filter, length: filter }),
            digest: Digest { count, xor: u128::from(filter) << 90 },
            blocks,
        };
        places.block = chunk.file_range().end;
        places.column += u64::from(columns);
        places.filter += u64::from(filter);
        chunk
    }

    type Chunks = Vec<(Vec<(u32, i64, i64)>, u32)>;

    fn directory(streams: &[Chunks]) -> Directory {
        let mut places = Places::default();
        let streams = streams.iter().zip(1_u128..).map(|(chunks, n)| StreamEntry {
            id: StreamId(n << 100),
            labels: Labels::new([("app", format!("n{n}")), ("é", "ü".to_owned())]),
            chunks: chunks.iter().map(|(blocks, filter)| chunk(blocks, *filter, &mut places)).collect(),
        });
        Directory { streams: streams.collect() }
    }

    proptest! {
        #[test]
        fn any_directory_reads_back_and_never_panics_when_damaged(
            streams in vec(vec((vec(any::<(u32, i64, i64)>(), 1..=6), 0_u32..9_000), 0..4), 0..5),
            flip in any::<prop::sample::Index>(), bit in 0..8, cut in any::<prop::sample::Index>(),
        ) {
            let directory = directory(&streams);
            let mut bytes = directory.encode();
            prop_assert_eq!(&Directory::parse(&bytes).unwrap(), &directory);
            prop_assert_eq!(Directory::parse(&bytes[..cut.index(bytes.len())]).is_err(), true);
            *flip.get_mut(&mut bytes[..]) ^= 1_u8 << bit;
            let _ = Directory::parse(&bytes);
        }
    }

    #[test]
    fn places_follow_from_lengths() {
        let directory =
            directory(&[vec![(vec![(100, 0, 5), (2_050, 5, 9)], 10)], vec![(vec![(7, 0, 0)], 0)]]);
        let first = &directory.streams[0].chunks[0];
        assert_eq!(first.block_range(1), Some(100..2_150));
        assert_eq!(first.column_range(1), Some(100..150));
        assert_eq!(first.block_range(2), None);
        assert_eq!((first.first(), first.last()), (0, 9));
        assert_eq!(directory.streams[1].chunks[0].start, 2_150);
        assert_eq!(directory.stream(StreamId(2 << 100)), Some(&directory.streams[1]));
        assert_eq!(directory.stream(StreamId(3)), None);
    }
}
