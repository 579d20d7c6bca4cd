//! The head of one stream on one day: what is acknowledged and not yet in a pack.
//!
//! Entries gather in an open block; a full block waits to be compressed; compressed blocks gather in chunks; a
//! flush takes chunks out and lets go of them once they are in a pack. At every step a query can read all of it:
//! a block is visible until the index has it. The chunk being built has a lock of its own, so that neither pushes
//! nor queries wait for whoever compresses.

mod extent;
mod leaving;
mod origin;
mod parked;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

pub use self::extent::{BlockExtent, HeadSize};
use self::leaving::Leaving;
use self::origin::Origin;
pub use self::origin::{Coverage, Source};
pub use self::parked::{Packed, Parcel};
use self::parked::{Parked, unpack};
use crate::atom::{PushId, PushSet};
use crate::entry::EntryRef;
use crate::pack::limits::BLOCK_TEXT_BYTES;
use crate::pack::{Append, BlockText, ChunkBuilder, SealedBlock, SealedChunk, Sealer};
use crate::spare::Spare;
use crate::stream::{Labels, StreamId};
use crate::wal::{Mark, SegmentRef};

/// How often what is parked is unpacked without the head's lock, before the rest of it is with the lock held: each time
/// only what came during the time before is left.
const UNLOCKED_ROUNDS: usize = 3;

#[derive(Debug, Default)]
struct FullBlock {
    text: BlockText,
    origin: Origin,
}

/// Texts of blocks that have been sealed or have left, for new blocks: 32 MiB at most.
static SPARE: Spare = Spare::new(128, 2 * BLOCK_TEXT_BYTES);

impl Drop for FullBlock {
    fn drop(&mut self) {
        let text = self.text.take_text();
        if text.capacity() >= BLOCK_TEXT_BYTES {
            SPARE.give(text);
        }
    }
}

#[derive(Clone, Debug)]
struct KeptChunk {
    chunk: SealedChunk,
    origin: Origin,
}

/// The head of one stream on one day.
#[derive(Debug)]
pub struct Head {
    /// Whose stream it is.
    pub tenant: Arc<str>,
    /// The stream's labels.
    pub labels: Labels,
    /// The stream's id.
    pub id: StreamId,
    state: Mutex<State>,
    /// The chunk being built. Locked for as long as a block is compressed, and always before `state`.
    building: Mutex<ChunkBuilder>,
    /// Held by whoever unpacks, so that no two do the same; always before `state`.
    unpacking: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    open: FullBlock,
    /// Waiting for compression, the oldest first.
    full: VecDeque<Arc<FullBlock>>,
    /// What of the chunk being built is sealed already, for queries.
    building_blocks: Vec<SealedBlock>,
    building_origin: Origin,
    chunks: Vec<KeptChunk>,
    /// Taken by a flush that has not ended.
    flushing: Vec<KeptChunk>,
    leaving: Leaving,
    /// As it came, behind all that is in blocks.
    parked: VecDeque<Arc<Parked>>,
    /// Counts how often the oldest of `parked` were taken away.
    parked_turn: u64,
    /// Pushes that others' packs hold, as the index knows, of which blocks here still have entries.
    covered: PushSet,
    /// Removed from the map of heads: entries must go to another.
    retired: bool,
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The entry is in the open block.
    Taken,
    /// The entry is in; a full block now waits to be sealed.
    TakenAndFull,
    /// No block can hold it.
    TooLarge,
}

/// All of a head at one moment, for a query.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Sealed blocks, in order of arrival.
    pub sealed: Vec<SealedBlock>,
    /// Blocks not compressed yet, in order of time, the oldest arrival first.
    pub open: Vec<BlockText>,
}

/// Chunks that a flush has taken out and must give back or let go.
#[derive(Debug)]
pub struct Flushing {
    /// The chunks, in order of arrival; they may overlap in time.
    pub chunks: Vec<SealedChunk>,
    /// How far the log is covered once they are in a pack.
    pub coverage: Coverage,
    /// The pushes of which, with them, all entries have left the head.
    pub covers: Vec<PushId>,
}

impl Head {
    /// An empty head.
    pub fn new(tenant: Arc<str>, labels: Labels, id: StreamId) -> Self {
        let (state, building, unpacking) = (Mutex::default(), Mutex::default(), Mutex::default());
        Head { tenant, labels, id, state, building, unpacking }
    }

    fn building(&self) -> MutexGuard<'_, ChunkBuilder> {
        self.building.lock().expect("a panic while compressing ends the process")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held ends the process: nothing half done is ever seen.
        self.state.lock().expect("no one panics with a head's lock held")
    }

    /// Begins to append entries of one push; none if the head has been retired: look the stream up again. The head is
    /// locked until the last is in, so nothing is taken from it between two of them.
    pub fn appending<'a>(&'a self, source: Source<'a>) -> Option<Appending<'a>> {
        let state = self.unpacked();
        (!state.retired).then_some(Appending { state, source, through: None })
    }

    /// Takes in what a push brings as it came; says whether it did: not if the head has been retired.
    pub fn park(&self, parcel: Parcel, source: Source<'_>) -> bool {
        let mut state = self.state();
        if !state.retired {
            state.parked.push_back(Arc::new(Parked::new(parcel, source)));
        }
        !state.retired
    }

    /// Whether anything in it waits as it came.
    pub fn has_parked(&self) -> bool {
        !self.state().parked.is_empty()
    }

    /// Brings all that waits as it came into blocks, for a sealer to take.
    pub fn unpack(&self) {
        drop(self.unpacked());
    }

    /// The head with nothing in it that waits as it came, locked.
    fn unpacked(&self) -> MutexGuard<'_, State> {
        let state = self.state();
        if !state.has_packed() {
            return state;
        }
        drop(state);
        let _turn = self.unpacking.lock().expect("a panic while unpacking ends the process");
        for _ in 0..UNLOCKED_ROUNDS {
            let state = self.state();
            let (turn, parked) = (state.parked_turn, state.parked.clone());
            drop(state);
            let blocks = unpack(&parked);
            let mut state = self.state();
            if state.parked_turn == turn {
                state.unpark(parked.len(), blocks);
            }
            if !state.has_packed() {
                return state;
            }
        }
        let mut state = self.state();
        let (parked, blocks) = (state.parked.len(), unpack(&state.parked));
        state.unpark(parked, blocks);
        let leaving = unpack(&std::mem::take(&mut state.leaving.parked));
        state.leaving.blocks.extend(leaving);
        state
    }

    /// Closes the open block before it is full, for a sealer to take.
    pub fn close_open(&self) {
        self.unpacked().close_open();
    }

    /// Compresses the blocks that wait, the oldest first, and holds up neither pushes nor queries meanwhile.
    /// Waits while another thread does the same. While anything is about to be let go nothing is compressed: what is
    /// then kept after all must not be overtaken by what came later, or a flush would cover more of the log than it
    /// holds. Says how many bytes of text it compressed.
    pub fn seal_waiting(&self, sealer: &mut Sealer) -> u64 {
        let mut building = self.building();
        let mut bytes = 0;
        loop {
            let Some(block) = self.state().next_to_seal() else { return bytes };
            bytes += block.text.text_bytes() as u64;
            if !building.has_room_for(block.text.text_bytes()) {
                self.state().complete(std::mem::take(&mut *building));
            }
            let sealed = sealer.seal(self.id, &block.text, &mut building);
            let mut state = self.state();
            state.full.pop_front();
            state.building_blocks.extend(sealed);
            state.building_origin.merge(block.origin.clone());
            if !building.has_room_for(1) {
                state.complete(std::mem::take(&mut *building));
            }
        }
    }

    /// Closes the chunk being built, if it holds anything: a flush wants it as it is.
    pub fn complete_chunk(&self) {
        let mut building = self.building();
        self.state().complete(std::mem::take(&mut *building));
    }

    /// Takes out all chunks that are closed; none if there are none, or if a flush is under way.
    pub fn begin_flush(&self) -> Option<Flushing> {
        let mut state = self.state();
        if state.chunks.is_empty() || !state.flushing.is_empty() || !state.leaving.is_empty() {
            return None;
        }
        state.flushing = std::mem::take(&mut state.chunks);
        let mut coverage = Coverage::default();
        state.flushing.iter().for_each(|kept| coverage.merge(kept.origin.coverage()));
        let chunks = state.flushing.iter().map(|kept| kept.chunk.clone()).collect();
        // Entries of one push may lie on both sides of the cut, on which it then is the last and the first.
        let parked = state.parked.front().and_then(|parked| parked.push());
        let next = state.origins().filter_map(Origin::first_push).chain(parked).next();
        let stays = |push: &PushId| next == Some(*push);
        let mut covers: Vec<PushId> =
            state.flushing.iter().flat_map(|kept| kept.origin.pushes()).filter(|p| !stays(p)).collect();
        covers.dedup();
        Some(Flushing { chunks, coverage, covers })
    }

    /// Ends a flush: what was taken out is in a pack and indexed, and is let go; or it is not, and is kept for the
    /// next attempt.
    pub fn end_flush(&self, packed: bool) {
        let mut state = self.state();
        let mut flushing = std::mem::take(&mut state.flushing);
        if !packed {
            flushing.append(&mut state.chunks);
            state.chunks = flushing;
        }
    }

    /// The pushes that it holds entries of, in order of arrival, none of which packs hold.
    pub fn pushes(&self) -> Vec<PushId> {
        let state = self.state();
        let mut pushes: Vec<PushId> = state.pushes().filter(|push| !state.covered.contains(*push)).collect();
        pushes.dedup();
        pushes
    }

    /// Retires the head if it holds nothing; says whether it did. Entries then go to a new head.
    pub fn retire_if_empty(&self) -> bool {
        let mut state = self.state();
        state.retired |= state.is_empty();
        state.retired
    }

    /// What it holds.
    pub fn size(&self) -> HeadSize {
        let state = self.state();
        let chunk_bytes = |kept: &KeptChunk| -> u64 { kept.chunk.blocks.iter().map(member_bytes).sum() };
        let complete_bytes: u64 = state.chunks.iter().map(chunk_bytes).sum();
        let building: u64 = state.building_blocks.iter().map(member_bytes).sum();
        let waiting: usize = state.full.iter().map(|block| block.text.text_bytes()).sum();
        let parked_bytes: u64 = state.parked.iter().map(|parked| parked.parcel.bytes).sum();
        // What is parked came in order.
        let parked = state.parked.front();
        let open_bytes = (state.open.text.text_bytes() + waiting) as u64 + parked_bytes;
        let is_open = building + open_bytes > 0;
        HeadSize {
            open_bytes,
            full_bytes: waiting as u64,
            parked_bytes,
            sealed_bytes: complete_bytes + building,
            complete_bytes,
            chunks: state.chunks.len() as u64 + u64::from(is_open),
            since: state.origins().filter_map(Origin::since).chain(parked.map(|p| p.since())).min(),
            oldest_segment: state
                .origins()
                .flat_map(Origin::segments)
                .map(SegmentRef::number)
                .chain(parked.map(|p| p.segment()))
                .min(),
        }
    }

    /// Everything that may hold entries of `[start, end]`, both inclusive.
    pub fn snapshot(&self, start: i64, end: i64) -> Snapshot {
        let overlaps = |first: i64, last: i64| first <= end && start <= last;
        let mut state = self.state();
        if state.packed().any(|parked| overlaps(parked.parcel.extent.first, parked.parcel.extent.last)) {
            drop(state);
            state = self.unpacked();
        }
        let blocks = state.kept().flat_map(|kept| &kept.chunk.blocks).chain(&state.building_blocks);
        let sealed = blocks.filter(|b| overlaps(b.header().first, b.header().last)).cloned().collect();
        let texts = state.texts();
        let open = texts.filter(|text| text.time_range().is_some_and(|(first, last)| overlaps(first, last)));
        Snapshot { sealed, open: open.map(BlockText::to_settled).collect() }
    }

    /// The blocks of each chunk, what is not yet in a complete chunk last: how much it holds and when, without
    /// copying or inflating any of it.
    pub fn extents(&self) -> Vec<Vec<BlockExtent>> {
        let state = self.state();
        let of_chunk = |kept: &KeptChunk| kept.chunk.blocks.iter().map(BlockExtent::of_sealed).collect();
        let mut extents: Vec<Vec<BlockExtent>> = state.kept().map(of_chunk).collect();
        let sealed = state.building_blocks.iter().map(BlockExtent::of_sealed);
        let texts = state.texts().filter_map(BlockExtent::of_text);
        let parked = state.packed().map(|parked| parked.parcel.extent);
        let rest: Vec<BlockExtent> = sealed.chain(texts).chain(parked).collect();
        if !rest.is_empty() {
            extents.push(rest);
        }
        extents
    }

    /// The earliest and the latest timestamp of anything in it.
    pub fn time_range(&self) -> Option<(i64, i64)> {
        let state = self.state();
        let blocks = state.kept().flat_map(|kept| &kept.chunk.blocks).chain(&state.building_blocks);
        let sealed = blocks.map(|block| (block.header().first, block.header().last));
        let parked = state.packed().map(|parked| (parked.parcel.extent.first, parked.parcel.extent.last));
        sealed
            .chain(state.texts().filter_map(BlockText::time_range))
            .chain(parked)
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }
}

/// Entries of one push on their way into a head, which is locked meanwhile.
#[derive(Debug)]
pub struct Appending<'a> {
    state: MutexGuard<'a, State>,
    source: Source<'a>,
    /// The last entry in the open block whose origin is not noted yet.
    through: Option<Mark>,
}

impl Appending<'_> {
    /// Appends an entry; `mark` covers it and all before it.
    pub fn append(&mut self, entry: &EntryRef<'_>, mark: Mark) -> Appended {
        let mut closed_one = false;
        loop {
            match self.state.open.text.append(entry) {
                Append::Taken => break,
                Append::TooLarge => return Appended::TooLarge,
                Append::Full => {
                    self.note();
                    let next = self.state.open.text.next_like(SPARE.take());
                    self.state.close_open();
                    self.state.open.text = next;
                    closed_one = true;
                }
            }
        }
        self.through = Some(mark);
        if closed_one { Appended::TakenAndFull } else { Appended::Taken }
    }

    fn note(&mut self) {
        if let Some(mark) = self.through.take() {
            self.state.open.origin.note(&self.source, mark);
        }
    }
}

impl Drop for Appending<'_> {
    fn drop(&mut self) {
        self.note();
    }
}

impl State {
    fn close_open(&mut self) {
        if !self.open.text.is_empty() {
            self.full.push_back(Arc::new(std::mem::take(&mut self.open)));
        }
    }

    /// Puts blocks in the place of the oldest that are parked.
    fn unpark(&mut self, parked: usize, blocks: Vec<Arc<FullBlock>>) {
        self.close_open();
        self.full.extend(blocks);
        self.parked.drain(..parked);
        self.parked_turn += 1;
    }

    /// All that waits as it came.
    fn packed(&self) -> impl Iterator<Item = &Arc<Parked>> {
        self.leaving.parked.iter().chain(&self.parked)
    }

    fn has_packed(&self) -> bool {
        self.packed().next().is_some()
    }

    fn next_to_seal(&self) -> Option<Arc<FullBlock>> {
        self.full.front().filter(|_| self.leaving.is_empty()).cloned()
    }

    fn complete(&mut self, building: ChunkBuilder) {
        self.building_blocks.clear();
        let origin = std::mem::take(&mut self.building_origin);
        if let Some(chunk) = building.finish() {
            self.chunks.push(KeptChunk { chunk, origin });
        }
    }

    fn is_empty(&self) -> bool {
        self.open.text.is_empty()
            && self.full.is_empty()
            && self.building_blocks.is_empty()
            && self.chunks.is_empty()
            && self.flushing.is_empty()
            && self.parked.is_empty()
            && self.leaving.is_empty()
    }

    /// Chunks that are closed, the oldest first.
    fn kept(&self) -> impl Iterator<Item = &KeptChunk> {
        self.leaving.chunks.iter().chain(&self.flushing).chain(&self.chunks)
    }

    /// Text that is not compressed, the oldest first.
    fn texts(&self) -> impl Iterator<Item = &BlockText> {
        let full = self.leaving.blocks.iter().chain(&self.full);
        full.map(|block| &block.text).chain([&self.open.text])
    }

    /// Origins of the blocks that no flush has taken, the oldest first.
    fn origins(&self) -> impl Iterator<Item = &Origin> {
        let chunks = self.chunks.iter().map(|kept| &kept.origin);
        let waiting = self.full.iter().map(|block| &block.origin);
        chunks.chain([&self.building_origin]).chain(waiting).chain([&self.open.origin])
    }

    /// The pushes that brought it, in order of arrival; one may come several times in a row.
    fn pushes(&self) -> impl Iterator<Item = PushId> {
        let parked = |parked: &Arc<Parked>| parked.push();
        let leaving = self.leaving.origins().flat_map(Origin::pushes);
        let leaving = leaving.chain(self.leaving.parked.iter().filter_map(parked));
        let blocks = self.flushing.iter().map(|kept| &kept.origin).chain(self.origins());
        leaving.chain(blocks.flat_map(Origin::pushes)).chain(self.parked.iter().filter_map(parked))
    }
}

fn member_bytes(block: &SealedBlock) -> u64 {
    block.member().len() as u64
}

#[cfg(test)]
mod tests;
