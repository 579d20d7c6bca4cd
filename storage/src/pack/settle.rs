//! Settling: blocks of one stream that overlap in time become blocks that ascend, each entry once.
//!
//! Late entries and replays make blocks overlap, within a head and between packs. Blocks that overlap no other
//! are kept as they are; those that do are opened, merged by time and sealed anew. Two blocks that merely touch
//! at one timestamp are opened too, to see whether an entry is in both; unless one is (or the chunk is merged for
//! another reason), both are kept.
//! Entries of one timestamp keep the order of the blocks they came in, so callers pass blocks as they arrived.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::error::FormatError;
use super::limits::FILTER_TEXT_BYTES_MIN;
use super::seal::{ChunkBuilder, SealedChunk, Sealer};
use super::sealed::{BlockReader, SealedBlock};
use super::text::{Append, BlockText};
use crate::entry::{EntryHash, EntryRef};
use crate::stream::StreamId;

/// Settles chunks of one stream, in order of arrival: afterwards they ascend in time, share at most timestamps,
/// and hold each entry once. Chunks that need none of it are passed on as they are. Runs of tiny chunks (less
/// than 64 KiB of text) are sealed together, since apart they compress badly and have no filter.
///
/// Memory: the blocks that overlap at any one time are open together.
///
/// # Errors
/// If a block that must be opened is damaged.
pub fn settle(
    stream: StreamId,
    chunks: Vec<SealedChunk>,
    sealer: &mut Sealer,
) -> Result<Vec<SealedChunk>, FormatError> {
    let mut reader = BlockReader::new();
    let mut settled = Vec::new();
    for cluster in clusters(chunks, &mut reader)? {
        match <[SealedChunk; 1]>::try_from(cluster) {
            Ok([chunk]) if is_settled(&chunk, &mut reader)? => settled.push(chunk),
            Ok([chunk]) => settle_blocks(stream, chunk.blocks, sealer, &mut reader, &mut settled)?,
            Err(chunks) => {
                let blocks = chunks.into_iter().flat_map(|chunk| chunk.blocks).collect();
                settle_blocks(stream, blocks, sealer, &mut reader, &mut settled)?;
            }
        }
    }
    Ok(settled)
}

/// Groups chunks that cannot be passed on apart, ascending in time.
fn clusters(
    chunks: Vec<SealedChunk>,
    reader: &mut BlockReader,
) -> Result<Vec<Vec<SealedChunk>>, FormatError> {
    let mut arrivals: Vec<_> = chunks
        .into_iter()
        .enumerate()
        .filter_map(|(arrival, chunk)| Some((chunk.time_range()?, arrival, chunk)))
        .collect();
    arrivals.sort_by_key(|(range, arrival, _)| (*range, *arrival));
    let mut clusters: Vec<Cluster> = Vec::new();
    for ((first, last), arrival, chunk) in arrivals {
        if let Some(cluster) = clusters.last_mut()
            && cluster.must_take(first, arrival, &chunk, reader)?
        {
            cluster.take(last, arrival, chunk);
        } else {
            let tiny = is_tiny(&chunk);
            clusters.push(Cluster { last, arrival, tiny, chunks: vec![(arrival, chunk)] });
        }
    }
    Ok(clusters.into_iter().map(Cluster::into_chunks).collect())
}

struct Cluster {
    last: i64,
    /// The latest arrival.
    arrival: usize,
    /// All of it is tiny.
    tiny: bool,
    chunks: Vec<(usize, SealedChunk)>,
}

impl Cluster {
    fn must_take(
        &self,
        first: i64,
        arrival: usize,
        chunk: &SealedChunk,
        reader: &mut BlockReader,
    ) -> Result<bool, FormatError> {
        if first < self.last || self.tiny && is_tiny(chunk) {
            return Ok(true);
        }
        if first > self.last {
            return Ok(false);
        }
        // All of it at one timestamp: what comes next may touch it and share an entry with what it touches.
        if chunk.time_range().is_some_and(|(first, last)| first == last) {
            return Ok(true);
        }
        let ours = self.chunks.iter().flat_map(|(_, chunk)| &chunk.blocks);
        Ok(arrival < self.arrival || share_an_entry(first, ours, &chunk.blocks, reader)?)
    }

    fn take(&mut self, last: i64, arrival: usize, chunk: SealedChunk) {
        self.last = self.last.max(last);
        self.arrival = self.arrival.max(arrival);
        self.tiny &= is_tiny(&chunk);
        self.chunks.push((arrival, chunk));
    }

    /// In order of arrival.
    fn into_chunks(mut self) -> Vec<SealedChunk> {
        self.chunks.sort_by_key(|(arrival, _)| *arrival);
        self.chunks.into_iter().map(|(_, chunk)| chunk).collect()
    }
}

fn is_tiny(chunk: &SealedChunk) -> bool {
    chunk.text_bytes() < FILTER_TEXT_BYTES_MIN as u64
}

fn is_settled(chunk: &SealedChunk, reader: &mut BlockReader) -> Result<bool, FormatError> {
    if !chunk.ascends() {
        return Ok(false);
    }
    for n in 1..chunk.blocks.len() {
        let (before, block) = (&chunk.blocks[..n], &chunk.blocks[n..=n]);
        let touch = block[0].header().first;
        // Not only the block right before: that may hold this one timestamp and no other.
        if before[n - 1].header().last == touch && share_an_entry(touch, before, block, reader)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an entry of this timestamp is in blocks of both sides.
fn share_an_entry<'a>(
    timestamp: i64,
    ours: impl IntoIterator<Item = &'a SealedBlock>,
    theirs: &[SealedBlock],
    reader: &mut BlockReader,
) -> Result<bool, FormatError> {
    let mut seen = BTreeSet::new();
    for block in ours {
        for_each_at(timestamp, block, reader, |hash| {
            seen.insert(hash);
        })?;
    }
    let mut shared = false;
    for block in theirs {
        for_each_at(timestamp, block, reader, |hash| shared |= seen.contains(&hash))?;
    }
    Ok(shared)
}

fn for_each_at(
    timestamp: i64,
    block: &SealedBlock,
    reader: &mut BlockReader,
    mut found: impl FnMut(EntryHash),
) -> Result<(), FormatError> {
    if (block.header().first..=block.header().last).contains(&timestamp) {
        reader.open(block)?.for_each(|entry| {
            if entry.timestamp == timestamp {
                found(entry.hash());
            }
        });
    }
    Ok(())
}

/// Settles blocks given in order of arrival, and chunks them.
fn settle_blocks(
    stream: StreamId,
    blocks: Vec<SealedBlock>,
    sealer: &mut Sealer,
    reader: &mut BlockReader,
    settled: &mut Vec<SealedChunk>,
) -> Result<(), FormatError> {
    let mut output = Output { stream, sealer, chunk: ChunkBuilder::new(), settled };
    // All of the tiny ones go through the merge, or their blocks would stay as they are.
    let tiny = blocks.iter().map(|block| block.text_bytes() as usize).sum::<usize>()
        < 2 * FILTER_TEXT_BYTES_MIN
        || blocks.iter().all(|block| (block.text_bytes() as usize) < FILTER_TEXT_BYTES_MIN);
    let mut merge = Merge { blocks: by_start(blocks), ..Merge::default() };
    while let Some(at) = merge.next_start() {
        if !tiny && merge.stands_alone() {
            let block = merge.blocks.pop().expect("a block that stands alone was just seen").1;
            output.keep(block, reader)?;
        } else {
            merge.run(at, tiny, reader, &mut output)?;
        }
    }
    output.close_chunk();
    Ok(())
}

/// Blocks with their place in the order of arrival, the earliest to start last, to be popped.
fn by_start(blocks: Vec<SealedBlock>) -> Vec<(usize, SealedBlock)> {
    let mut blocks: Vec<_> = blocks.into_iter().enumerate().collect();
    blocks.sort_by_key(|(arrival, block)| Reverse((block.header().first, block.header().last, *arrival)));
    blocks
}

/// A merge by time of blocks that are opened when their first timestamp comes up.
#[derive(Default)]
struct Merge {
    blocks: Vec<(usize, SealedBlock)>,
    open: OpenBlocks,
}

/// Open blocks by the timestamp of their next entry, then by arrival.
type OpenBlocks = BinaryHeap<Reverse<OpenBlock>>;

impl Merge {
    fn next_start(&self) -> Option<i64> {
        self.blocks.last().map(|(_, block)| block.header().first)
    }

    /// Whether the next block touches no block after it.
    fn stands_alone(&self) -> bool {
        match &self.blocks[..] {
            [.., (_, after), (_, next)] => next.header().last < after.header().first,
            _ => true,
        }
    }

    /// Merges from `at` on until no block is open any more (and, for tiny blocks, none is left).
    fn run(
        &mut self,
        mut at: i64,
        to_the_end: bool,
        reader: &mut BlockReader,
        output: &mut Output<'_>,
    ) -> Result<(), FormatError> {
        let mut text = BlockText::new();
        let mut seen = BTreeSet::new();
        loop {
            while self.next_start().is_some_and(|start| start <= at) {
                let Some((arrival, block)) = self.blocks.pop() else { break };
                self.open.push(Reverse(OpenBlock::new(arrival, reader.open(&block)?)));
            }
            let Some(Reverse(mut block)) = self.open.pop() else {
                match self.next_start() {
                    Some(start) if to_the_end => at = start,
                    _ => break,
                }
                seen.clear();
                continue;
            };
            if block.timestamp() > at {
                at = block.timestamp();
                seen.clear();
                self.open.push(Reverse(block));
                continue;
            }
            block.visit(|entry| {
                if seen.insert(entry.hash()) {
                    output.append(&mut text, &entry);
                }
            });
            if block.advance() {
                self.open.push(Reverse(block));
            }
        }
        output.seal(&mut text);
        Ok(())
    }
}

/// A block being merged and the number of its next entry.
struct OpenBlock {
    arrival: usize,
    next: usize,
    text: BlockText,
    lines: Vec<std::ops::Range<usize>>,
}

impl OpenBlock {
    fn new(arrival: usize, text: BlockText) -> Self {
        let lines = text.lines().collect();
        OpenBlock { arrival, next: 0, text, lines }
    }

    fn timestamp(&self) -> i64 {
        self.text.timestamps[self.next]
    }

    fn visit(&self, visit: impl FnOnce(EntryRef<'_>)) {
        let pairs: Vec<_> = self.text.metadata.pairs(self.next).collect();
        let line = &self.text.text[self.lines[self.next].clone()];
        visit(EntryRef { timestamp: self.timestamp(), line, metadata: &pairs });
    }

    fn advance(&mut self) -> bool {
        self.next += 1;
        self.next < self.lines.len()
    }

    fn key(&self) -> (i64, usize) {
        (self.timestamp(), self.arrival)
    }
}

impl PartialEq for OpenBlock {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for OpenBlock {}

impl PartialOrd for OpenBlock {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OpenBlock {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// Where settled blocks go: into chunks.
struct Output<'a> {
    stream: StreamId,
    sealer: &'a mut Sealer,
    chunk: ChunkBuilder,
    settled: &'a mut Vec<SealedChunk>,
}

impl Output<'_> {
    fn append(&mut self, text: &mut BlockText, entry: &EntryRef<'_>) {
        if text.append(entry) == Append::Full {
            self.seal(text);
            let again = text.append(entry);
            assert_eq!(again, Append::Taken, "an entry that came out of a block fits into an empty one");
        }
    }

    fn seal(&mut self, text: &mut BlockText) {
        self.make_room(text.text_bytes());
        self.sealer.seal(self.stream, text, &mut self.chunk);
        text.clear();
    }

    fn keep(&mut self, block: SealedBlock, reader: &mut BlockReader) -> Result<(), FormatError> {
        let text = reader.open(&block)?;
        self.make_room(text.text_bytes());
        self.sealer.add_sealed(block, &text, &mut self.chunk);
        Ok(())
    }

    fn make_room(&mut self, text_bytes: usize) {
        if !self.chunk.has_room_for(text_bytes) {
            self.close_chunk();
        }
    }

    fn close_chunk(&mut self) {
        self.settled.extend(std::mem::take(&mut self.chunk).finish());
    }
}
