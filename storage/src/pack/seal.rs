//! Sealing: an open block becomes a gzip member and a column; a run of blocks becomes a chunk with a filter.

use bytes::Bytes;
use libdeflater::{CompressionLvl, Compressor};

use super::block::{BLOCK_HEADER_BYTES, BlockHeader};
use super::column;
use super::filter;
use super::grams::{GramScratch, GramSet};
use super::gzip::TRAILER_BYTES;
use super::limits::{CHUNK_BLOCKS, CHUNK_TEXT_BYTES, FILTER_TEXT_BYTES_MIN};
use super::sealed::SealedBlock;
use super::text::BlockText;
use super::{line_ends, timestamps};
use crate::entry::{Digest, EntryHash};
use crate::stream::StreamId;

/// libdeflate's compression level, 0 to 12.
///
/// Measured on a gigabyte of logs: level 1 costs 3.1 CPU s and leaves 199 MB, 5 costs 5.9 and leaves 176, 6 costs
/// 7.1 and leaves 171, 8 costs 20 and leaves 164. Inflating costs the same at any level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(i32);

impl Level {
    /// A level, if there is such a one.
    pub fn new(level: u8) -> Option<Self> {
        (level <= 12).then_some(Level(i32::from(level)))
    }
}

/// Level 5.
impl Default for Level {
    fn default() -> Self {
        Level(5)
    }
}

/// Seals blocks; one per thread, as it holds libdeflate's tables and half a megabyte of scratch.
pub struct Sealer {
    compressor: Compressor,
    grams: GramScratch,
    member: Vec<u8>,
    parts: [Vec<u8>; 3],
    deflated: Vec<u8>,
    hashes: Vec<EntryHash>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer that compresses at the given level.
    pub fn new(level: Level) -> Self {
        let level = CompressionLvl::new(level.0).expect("`Level` holds only levels that libdeflate has");
        Sealer {
            compressor: Compressor::new(level),
            grams: GramScratch::new(),
            member: Vec::new(),
            parts: Default::default(),
            deflated: Vec::new(),
            hashes: Vec::new(),
        }
    }

    /// Seals an open block of a stream and adds it to a chunk, sorting entries that came out of order and dropping
    /// exact duplicates. Returns the sealed block; `None` if the open block is empty.
    pub fn seal(
        &mut self,
        stream: StreamId,
        block: &BlockText,
        chunk: &mut ChunkBuilder,
    ) -> Option<SealedBlock> {
        let mut hashes = std::mem::take(&mut self.hashes);
        block.hashes(&mut hashes);
        let settled = block.settled(&hashes);
        let (text, kept) = match &settled {
            Some((text, kept)) => (text, &kept[..]),
            None => (block, &hashes[..]),
        };
        let sealed = self.compress(stream, text, block.out_of_order);
        if let Some(sealed) = &sealed {
            chunk.push(sealed.clone(), kept, &text.text, &mut self.grams);
        }
        self.hashes = hashes;
        sealed
    }

    /// Adds a block that was sealed before, opened as `text`, to a chunk.
    pub(crate) fn add_sealed(&mut self, sealed: SealedBlock, text: &BlockText, chunk: &mut ChunkBuilder) {
        text.hashes(&mut self.hashes);
        chunk.push(sealed, &self.hashes, &text.text, &mut self.grams);
    }

    fn compress(
        &mut self,
        stream: StreamId,
        block: &BlockText,
        unsorted_source: bool,
    ) -> Option<SealedBlock> {
        let (first, last) = (*block.timestamps.first()?, *block.timestamps.last()?);
        self.parts.iter_mut().for_each(Vec::clear);
        let [stamps, metadata, ends] = &mut self.parts;
        let unit = timestamps::encode(&block.timestamps, stamps);
        if !block.metadata.is_empty() {
            let mut whole = block.metadata.clone();
            whole.pad(block.entries());
            whole.encode(metadata);
        }
        if let Some(line_ends) = &block.line_ends {
            line_ends::encode(&block.text, line_ends, ends);
        }
        let column = column::encode([stamps, metadata, ends], &mut self.compressor, &mut self.deflated);
        let header = BlockHeader {
            inner_newlines: block.line_ends.is_some(),
            unsorted_source,
            unit,
            member_length: 0,
            entries: block.entries() as u32,
            first,
            last,
            stream,
        };
        let member = self.member(header, &block.text);
        Some(SealedBlock::from_parts(member, column.into()).expect("the block was put together just now"))
    }

    fn member(&mut self, mut header: BlockHeader, text: &[u8]) -> Bytes {
        let bound = self.compressor.deflate_compress_bound(text.len());
        self.member.resize(self.member.len().max(BLOCK_HEADER_BYTES + bound + TRAILER_BYTES), 0);
        let deflated = self.compressor.deflate_compress(text, &mut self.member[BLOCK_HEADER_BYTES..]);
        let deflated = deflated.expect("the buffer has the size that libdeflate asks for");
        let trailer = BLOCK_HEADER_BYTES + deflated;
        let end = trailer + TRAILER_BYTES;
        header.member_length = end as u32;
        self.member[..BLOCK_HEADER_BYTES].copy_from_slice(&header.to_bytes());
        self.member[trailer..trailer + 4].copy_from_slice(&libdeflater::crc32(text).to_le_bytes());
        self.member[trailer + 4..end].copy_from_slice(&(text.len() as u32).to_le_bytes());
        Bytes::copy_from_slice(&self.member[..end])
    }
}

/// Gathers the blocks of a chunk, their filter and their digest.
#[derive(Clone, Default)]
pub struct ChunkBuilder {
    blocks: Vec<SealedBlock>,
    grams: Option<GramSet>,
    digest: Digest,
    text_bytes: usize,
}

impl std::fmt::Debug for ChunkBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChunkBuilder").field("blocks", &self.blocks.len()).finish_non_exhaustive()
    }
}

impl ChunkBuilder {
    /// A chunk without blocks.
    pub fn new() -> Self {
        ChunkBuilder::default()
    }

    /// Whether a block of so much text still belongs into this chunk. An empty chunk takes any block.
    pub fn has_room_for(&self, text_bytes: usize) -> bool {
        self.blocks.is_empty()
            || self.blocks.len() < CHUNK_BLOCKS && self.text_bytes + text_bytes <= CHUNK_TEXT_BYTES
    }

    /// The blocks so far, in the order they were sealed in.
    pub fn blocks(&self) -> &[SealedBlock] {
        &self.blocks
    }

    /// Count and exclusive or of the hashes of its entries. Duplicates that lie in different blocks are counted
    /// until [`settle`](super::settle::settle) drops them.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes of text, line ends included.
    pub fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    fn push(&mut self, block: SealedBlock, hashes: &[EntryHash], text: &[u8], scratch: &mut GramScratch) {
        assert!(self.blocks.len() < CHUNK_BLOCKS, "a chunk of more than {CHUNK_BLOCKS} blocks");
        hashes.iter().for_each(|hash| self.digest.add(*hash));
        self.text_bytes += text.len();
        scratch.mark(text, self.grams.get_or_insert_with(GramSet::new));
        self.blocks.push(block);
    }

    /// The finished chunk; `None` if it has no blocks. If its blocks overlap in time it must go through
    /// [`settle`](super::settle::settle) before it is written.
    pub fn finish(self) -> Option<SealedChunk> {
        let grams = self.grams?;
        let block_bytes = self.blocks.iter().map(|block| block.member().len()).sum();
        let filter = (self.text_bytes >= FILTER_TEXT_BYTES_MIN).then(|| filter::encode(&grams, block_bytes));
        Some(SealedChunk { blocks: self.blocks, filter, digest: self.digest })
    }
}

/// A run of blocks of one stream with its filter: what a pack holds of a stream. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedChunk {
    /// One to [six](super::limits::CHUNK_BLOCKS_MAX) blocks. Once settled they ascend in time and share at most a timestamp.
    pub blocks: Vec<SealedBlock>,
    /// The bytes of the filter; none for little text.
    pub filter: Option<Bytes>,
    /// Count and exclusive or of the hashes of its entries.
    pub digest: Digest,
}

impl SealedChunk {
    /// Bytes of text, line ends included.
    pub fn text_bytes(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.text_bytes())).sum()
    }

    /// The earliest and the latest timestamp of any block.
    pub fn time_range(&self) -> Option<(i64, i64)> {
        let first = self.blocks.iter().map(|block| block.header().first).min()?;
        Some((first, self.blocks.iter().map(|block| block.header().last).max()?))
    }

    /// Whether each block begins no earlier than the one before it ends.
    pub fn ascends(&self) -> bool {
        self.blocks.windows(2).all(|pair| pair[0].header().last <= pair[1].header().first)
    }
}
