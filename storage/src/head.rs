//! The head of one stream on one day: what is acknowledged and not yet in a pack.
//!
//! Entries gather in an open block; a full block waits to be compressed; compressed blocks gather in chunks; a
//! flush takes chunks out and lets go of them once they are in a pack. At every step a query can read all of it:
//! a block is visible until the index has it. The chunk being built has a lock of its own, so that neither pushes
//! nor queries wait for whoever compresses.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::atom::{PushId, PushSet};
use crate::entry::EntryRef;
use crate::pack::limits::BLOCK_TEXT_BYTES;
use crate::pack::{Append, BlockText, ChunkBuilder, SealedBlock, SealedChunk, Sealer};
use crate::spare::Spare;
use crate::stream::{Labels, StreamId};
use crate::wal::{Mark, SegmentNumber, SegmentRef, WalId};

/// Marks of each log that entries came from: one, and more only after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(Vec<(WalId, Mark)>);

impl Coverage {
    /// Moves the mark of a log forward, never back.
    pub fn extend(&mut self, wal: WalId, mark: Mark) {
        match self.0.iter_mut().find(|(id, _)| *id == wal) {
            Some((_, held)) => *held = mark.max(*held),
            None => self.0.push((wal, mark)),
        }
    }

    /// Takes in what another covers.
    pub fn merge(&mut self, other: &Coverage) {
        other.0.iter().for_each(|(wal, mark)| self.extend(*wal, *mark));
    }

    /// Each log and how far it is covered.
    pub fn iter(&self) -> impl Iterator<Item = (WalId, Mark)> + '_ {
        self.0.iter().copied()
    }
}

/// Where blocks came from: what a flush of them covers and what may be forgotten after it.
#[derive(Clone, Debug, Default)]
struct Origin {
    coverage: Coverage,
    segments: Vec<SegmentRef>,
    /// When the oldest entry arrived, on the caller's monotonic clock.
    since: Option<Duration>,
    /// The pushes that brought its entries, in order of arrival; the first and the last may have entries elsewhere
    /// too. Empty where pushes are not told apart.
    pushes: Vec<PushId>,
}

impl Origin {
    fn note(&mut self, source: &Source<'_>, mark: Mark) {
        self.coverage.extend(source.wal, mark);
        if self.segments.last().is_none_or(|last| last.number() != source.segment.number()) {
            self.segments.push(source.segment.clone());
        }
        self.since.get_or_insert(source.now);
        if let Some(push) = source.push
            && self.pushes.last() != Some(&push)
        {
            self.pushes.push(push);
        }
    }

    /// Whether other nodes' packs hold all of its entries. Never so where pushes are not told apart.
    fn is_covered(&self, covered: &PushSet) -> bool {
        !self.pushes.is_empty() && self.pushes.iter().all(|push| covered.contains(*push))
    }

    fn merge(&mut self, other: Origin) {
        self.coverage.merge(&other.coverage);
        for segment in other.segments {
            if !self.segments.iter().any(|held| held.number() == segment.number()) {
                self.segments.push(segment);
            }
        }
        self.since = match (self.since, other.since) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let known = self.pushes.last().copied();
        self.pushes.extend(other.pushes.into_iter().skip_while(|push| known == Some(*push)));
    }
}

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
    /// About to be let go, since others' packs hold them: what is sealed, and what is not.
    leaving: (Vec<KeptChunk>, Vec<Arc<FullBlock>>),
    /// Pushes that others' packs hold, of which blocks here still have entries.
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

/// Where appended entries come from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The log.
    pub wal: WalId,
    /// The record's segment.
    pub segment: &'a SegmentRef,
    /// Now, on the caller's monotonic clock.
    pub now: Duration,
    /// The push's name in the cluster, where pushes are told apart.
    pub push: Option<PushId>,
}

/// What a head holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadSize {
    /// Text of blocks not compressed yet, bytes.
    pub open_bytes: u64,
    /// Of them, in blocks that are full.
    pub full_bytes: u64,
    /// Compressed blocks, bytes; those being flushed not counted.
    pub sealed_bytes: u64,
    /// Of them, in chunks that are full.
    pub complete_bytes: u64,
    /// Chunks that no flush has taken, the one that is not full yet among them.
    pub chunks: u64,
    /// When the oldest entry that no flush has taken arrived.
    pub since: Option<Duration>,
    /// The oldest segment of the log that an entry lies in.
    pub oldest_segment: Option<SegmentNumber>,
}

/// All of a head at one moment, for a query.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Sealed blocks, in order of arrival.
    pub sealed: Vec<SealedBlock>,
    /// Blocks not compressed yet, in order of time, the oldest arrival first.
    pub open: Vec<BlockText>,
}

/// A block of a head, as far as counting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockExtent {
    /// Timestamp of its earliest entry.
    pub first: i64,
    /// Timestamp of its latest entry.
    pub last: i64,
    /// How many entries.
    pub entries: u64,
    /// Bytes of its text, inflated; each line has a line end.
    pub text_bytes: u64,
}

impl BlockExtent {
    fn of_sealed(block: &SealedBlock) -> Self {
        let header = block.header();
        let (entries, text_bytes) = (u64::from(header.entries), u64::from(block.text_bytes()));
        BlockExtent { first: header.first, last: header.last, entries, text_bytes }
    }

    fn of_text(text: &BlockText) -> Option<Self> {
        let (first, last) = text.time_range()?;
        let (entries, text_bytes) = (text.entries() as u64, text.text_bytes() as u64);
        Some(BlockExtent { first, last, entries, text_bytes })
    }
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
        Head { tenant, labels, id, state: Mutex::default(), building: Mutex::default() }
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
        let state = self.state();
        (!state.retired).then_some(Appending { state, source, through: None })
    }

    /// Closes the open block before it is full, for a sealer to take.
    pub fn close_open(&self) {
        self.state().close_open();
    }

    /// Compresses the blocks that wait, the oldest first, and holds up neither pushes nor queries meanwhile.
    /// Waits while another thread does the same.
    pub fn seal_waiting(&self, sealer: &mut Sealer) {
        let mut building = self.building();
        loop {
            let Some(block) = self.state().full.front().cloned() else { return };
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
        if state.chunks.is_empty() || !state.flushing.is_empty() || state.is_leaving() {
            return None;
        }
        state.flushing = std::mem::take(&mut state.chunks);
        let mut coverage = Coverage::default();
        state.flushing.iter().for_each(|kept| coverage.merge(&kept.origin.coverage));
        let chunks = state.flushing.iter().map(|kept| kept.chunk.clone()).collect();
        // Entries of one push may lie on both sides of the cut, on which it then is the last and the first.
        let next = state.origins().flat_map(|origin| origin.pushes.first()).next().copied();
        let stays = |push: &PushId| next == Some(*push);
        let mut covers: Vec<PushId> = state
            .flushing
            .iter()
            .flat_map(|kept| &kept.origin.pushes)
            .copied()
            .filter(|p| !stays(p))
            .collect();
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

    /// Begins to let go of what others' packs hold of it, which is all entries of the pushes in `covered`: whole blocks,
    /// from the oldest on, up to the first that holds anything else. Says how far the log is covered without them;
    /// none if there is nothing to let go, or if a flush is under way. What is let go stays visible until
    /// [`Head::end_leaving`].
    pub fn begin_leaving(&self, covered: &PushSet) -> Option<Coverage> {
        let mut building = self.building();
        let mut state = self.state();
        state.covered.merge(covered);
        if !state.flushing.is_empty() || state.is_leaving() {
            return None;
        }
        state.complete(std::mem::take(&mut *building));
        let state = &mut *state;
        let is_covered = |origin: &Origin| origin.is_covered(&state.covered);
        let chunks = state.chunks.iter().take_while(|kept| is_covered(&kept.origin)).count();
        let all = chunks == state.chunks.len();
        let blocks = state.full.iter().take_while(|block| all && is_covered(&block.origin)).count();
        let open = all && blocks == state.full.len() && is_covered(&state.open.origin);
        state.leaving.0 = state.chunks.drain(..chunks).collect();
        state.leaving.1 = state.full.drain(..blocks).collect();
        if open {
            state.leaving.1.push(Arc::new(std::mem::take(&mut state.open)));
        }
        let mut coverage = Coverage::default();
        state.leaving_origins().for_each(|origin| coverage.merge(&origin.coverage));
        state.is_leaving().then_some(coverage)
    }

    /// Ends what [`Head::begin_leaving`] began: the index knows the packs that hold it, and it is let go; or it does
    /// not, and everything is kept as it was.
    pub fn end_leaving(&self, indexed: bool) {
        let mut state = self.state();
        let (mut chunks, blocks) = std::mem::take(&mut state.leaving);
        if !indexed {
            chunks.append(&mut state.chunks);
            state.chunks = chunks;
            blocks.into_iter().rev().for_each(|block| state.full.push_front(block));
            return;
        }
        // Only what a block still refers to need be remembered.
        let pushes = state.all_origins().flat_map(|origin| origin.pushes.iter().copied());
        state.covered = pushes.filter(|push| state.covered.contains(*push)).collect();
    }

    /// The pushes that it holds entries of, in order of arrival, none of which packs hold.
    pub fn pushes(&self) -> Vec<PushId> {
        let state = self.state();
        let waiting = state.all_origins().flat_map(|origin| origin.pushes.iter().copied());
        let mut pushes: Vec<PushId> = waiting.filter(|push| !state.covered.contains(*push)).collect();
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
        let origins = || state.origins();
        let is_open = building + waiting as u64 + state.open.text.text_bytes() as u64 > 0;
        HeadSize {
            open_bytes: (state.open.text.text_bytes() + waiting) as u64,
            full_bytes: waiting as u64,
            sealed_bytes: complete_bytes + building,
            complete_bytes,
            chunks: state.chunks.len() as u64 + u64::from(is_open),
            since: origins().filter_map(|origin| origin.since).min(),
            oldest_segment: origins().flat_map(|o| &o.segments).map(SegmentRef::number).min(),
        }
    }

    /// Everything that may hold entries of `[start, end]`, both inclusive.
    pub fn snapshot(&self, start: i64, end: i64) -> Snapshot {
        let state = self.state();
        let overlaps = |first: i64, last: i64| first <= end && start <= last;
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
        let rest: Vec<BlockExtent> = sealed.chain(state.texts().filter_map(BlockExtent::of_text)).collect();
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
        sealed
            .chain(state.texts().filter_map(BlockText::time_range))
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
            && !self.is_leaving()
    }

    fn is_leaving(&self) -> bool {
        !self.leaving.0.is_empty() || !self.leaving.1.is_empty()
    }

    /// Chunks that are closed, the oldest first.
    fn kept(&self) -> impl Iterator<Item = &KeptChunk> {
        self.leaving.0.iter().chain(&self.flushing).chain(&self.chunks)
    }

    /// Text that is not compressed, the oldest first.
    fn texts(&self) -> impl Iterator<Item = &BlockText> {
        let full = self.leaving.1.iter().chain(&self.full);
        full.map(|block| &block.text).chain([&self.open.text])
    }

    fn leaving_origins(&self) -> impl Iterator<Item = &Origin> {
        self.leaving.0.iter().map(|kept| &kept.origin).chain(self.leaving.1.iter().map(|block| &block.origin))
    }

    /// Origins of what no flush has taken, the oldest first.
    fn origins(&self) -> impl Iterator<Item = &Origin> {
        let chunks = self.chunks.iter().map(|kept| &kept.origin);
        let waiting = self.full.iter().map(|block| &block.origin);
        chunks.chain([&self.building_origin]).chain(waiting).chain([&self.open.origin])
    }

    /// Origins of everything, the oldest first.
    fn all_origins(&self) -> impl Iterator<Item = &Origin> {
        let flushing = self.flushing.iter().map(|kept| &kept.origin);
        self.leaving_origins().chain(flushing).chain(self.origins())
    }
}

fn member_bytes(block: &SealedBlock) -> u64 {
    block.member().len() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Appended, Head, Snapshot, Source};
    use crate::atom::PushId;
    use crate::entry::EntryRef;
    use crate::pack::limits::BLOCK_TEXT_BYTES;
    use crate::pack::limits::CHUNK_BLOCKS;
    use crate::pack::{BlockReader, BlockText, Level, Sealer, TextBuffer};
    use crate::stream::{Labels, StreamId};
    use crate::wal::{Mark, SegmentNumber, SegmentRef, Sequence, WalId};

    const WAL: WalId = WalId(7);

    fn head() -> Head {
        let labels = Labels::new([("app", "a")]);
        let id = StreamId::of("t", &labels);
        Head::new("t".into(), labels, id)
    }

    fn mark(sequence: u64) -> Mark {
        Mark { sequence: Sequence(sequence), entries: 1 }
    }

    /// Appends an entry; none if the head is retired.
    fn append(head: &Head, timestamp: i64, line: &[u8]) -> Option<Appended> {
        let segment = SegmentRef::new(SegmentNumber(timestamp as u64 / 10));
        let now = Duration::from_secs(timestamp as u64);
        let source = Source { wal: WAL, segment: &segment, now, push: None };
        let entry = EntryRef { timestamp, line, metadata: &[] };
        Some(head.appending(source)?.append(&entry, mark(timestamp as u64)))
    }

    /// Half a block: two of them fill one.
    fn half(timestamp: i64) -> Vec<u8> {
        let mut line = vec![b'x'; BLOCK_TEXT_BYTES / 2 - 100];
        line.extend_from_slice(timestamp.to_string().as_bytes());
        line
    }

    fn timestamps(snapshot: &Snapshot) -> Vec<i64> {
        let mut found = Vec::new();
        let (mut reader, mut text, mut stamps) = (BlockReader::new(), TextBuffer::default(), Vec::new());
        for block in &snapshot.sealed {
            let header = reader.inflate(block.member(), &mut text).unwrap();
            reader.timestamps(&header, &block.column().unwrap(), &mut stamps).unwrap();
            found.extend_from_slice(&stamps);
        }
        snapshot
            .open
            .iter()
            .for_each(|block: &BlockText| block.for_each(|entry| found.push(entry.timestamp)));
        found
    }

    fn all(head: &Head) -> Vec<i64> {
        timestamps(&head.snapshot(i64::MIN, i64::MAX))
    }

    #[test]
    fn every_entry_is_visible_at_every_step() {
        let head = head();
        let mut sealer = Sealer::new(Level::default());
        let mut expected = Vec::new();
        for timestamp in 0..40 {
            assert!(append(&head, timestamp, &half(timestamp)).is_some());
            expected.push(timestamp);
            assert_eq!(all(&head), expected, "open");
            if timestamp % 3 == 0 {
                head.seal_waiting(&mut sealer);
                assert_eq!(all(&head), expected, "sealed");
            }
        }
        head.close_open();
        assert_eq!(all(&head), expected, "closed");
        let counted: u64 = head.extents().iter().flatten().map(|block| block.entries).sum();
        assert_eq!(counted, expected.len() as u64, "counted");
        head.seal_waiting(&mut sealer);
        head.complete_chunk();
        assert_eq!(all(&head), expected, "complete");
        let flushing = head.begin_flush().unwrap();
        assert_eq!(flushing.chunks.len(), 40_usize.div_ceil(2 * CHUNK_BLOCKS));
        assert_eq!(all(&head), expected, "flushing");
        head.end_flush(false);
        assert_eq!(all(&head), expected, "given back");
        assert_eq!(head.begin_flush().unwrap().chunks, flushing.chunks);
        head.end_flush(true);
        assert_eq!(all(&head), [0; 0], "let go");
    }

    #[test]
    fn a_snapshot_holds_only_blocks_that_overlap_the_range() {
        let head = head();
        let mut sealer = Sealer::new(Level::default());
        for timestamp in 0..5 {
            append(&head, timestamp, &half(timestamp));
        }
        head.seal_waiting(&mut sealer);
        assert_eq!(timestamps(&head.snapshot(3, 3)), [2, 3]);
        assert_eq!(timestamps(&head.snapshot(4, 9)), [4]);
        assert_eq!(head.time_range(), Some((0, 4)));
    }

    #[test]
    fn a_flush_covers_what_it_takes_and_nothing_that_stays() {
        let head = head();
        let mut sealer = Sealer::new(Level::default());
        for timestamp in 0..5 {
            append(&head, timestamp, &half(timestamp));
        }
        head.seal_waiting(&mut sealer);
        assert!(head.begin_flush().is_none(), "the chunk is not complete");
        head.complete_chunk();
        let flushing = head.begin_flush().unwrap();
        assert_eq!(flushing.coverage.iter().collect::<Vec<_>>(), [(WAL, mark(3))]);
        assert!(head.begin_flush().is_none(), "a flush is under way");
        let size = head.size();
        assert_eq!((size.sealed_bytes, size.since), (0, Some(Duration::from_secs(4))));
        assert_eq!(size.oldest_segment, Some(SegmentNumber(0)));
    }

    #[test]
    fn full_chunks_are_complete_without_being_asked() {
        let head = head();
        let mut sealer = Sealer::new(Level::default());
        for timestamp in 0..=2 * CHUNK_BLOCKS as i64 {
            append(&head, timestamp, &half(timestamp));
        }
        head.seal_waiting(&mut sealer);
        let size = head.size();
        assert!(size.complete_bytes > 0 && size.complete_bytes == size.sealed_bytes);
        assert_eq!(head.begin_flush().unwrap().chunks.len(), 1);
    }

    #[test]
    fn segments_are_released_when_a_flush_ends_and_not_before() {
        let head = head();
        let mut segment = SegmentRef::new(SegmentNumber(3));
        let source = Source { wal: WAL, segment: &segment, now: Duration::ZERO, push: None };
        let entry = EntryRef { timestamp: 1, line: b"a", metadata: &[] };
        assert_eq!(head.appending(source).unwrap().append(&entry, mark(1)), Appended::Taken);
        head.close_open();
        head.seal_waiting(&mut Sealer::new(Level::default()));
        head.complete_chunk();
        drop(head.begin_flush().unwrap());
        assert!(!segment.is_last());
        head.end_flush(true);
        assert!(segment.is_last());
    }

    #[test]
    fn only_an_empty_head_retires_and_then_takes_nothing() {
        let head = head();
        append(&head, 1, b"a");
        assert!(!head.retire_if_empty());
        head.close_open();
        head.seal_waiting(&mut Sealer::new(Level::default()));
        head.complete_chunk();
        head.begin_flush();
        assert!(!head.retire_if_empty(), "what is being flushed is still here");
        head.end_flush(true);
        assert!(head.retire_if_empty());
        assert_eq!(append(&head, 2, b"b"), None);
    }

    fn push(n: u64) -> PushId {
        PushId { origin: 1, sequence: n }
    }

    /// Appends the entries of a push, each with the push's number as its place in the log.
    fn append_push(head: &Head, n: u64, timestamps: std::ops::Range<i64>) {
        let segment = SegmentRef::new(SegmentNumber(n));
        let source = Source { wal: WAL, segment: &segment, now: Duration::ZERO, push: Some(push(n)) };
        let mut appending = head.appending(source).unwrap();
        for timestamp in timestamps {
            let _ = appending.append(&EntryRef { timestamp, line: &half(timestamp), metadata: &[] }, mark(n));
        }
    }

    fn seal(head: &Head) {
        head.seal_waiting(&mut Sealer::new(Level::default()));
        head.complete_chunk();
    }

    #[test]
    fn a_flush_covers_only_pushes_of_which_nothing_stays() {
        let head = head();
        // Two entries fill a block: the second push lies on both sides of the cut.
        append_push(&head, 1, 0..2);
        append_push(&head, 2, 2..5);
        seal(&head);
        let flushing = head.begin_flush().unwrap();
        assert_eq!(flushing.covers, [push(1)]);
        head.end_flush(true);
        assert_eq!(head.pushes(), [push(2)]);
        head.close_open();
        seal(&head);
        assert_eq!(head.begin_flush().unwrap().covers, [push(2)]);
    }

    #[test]
    fn what_others_packs_hold_leaves_from_the_oldest_on_and_in_whole_blocks() {
        let head = head();
        append_push(&head, 1, 0..3);
        append_push(&head, 2, 3..4);
        append_push(&head, 3, 4..6);
        let covered = |pushes: &[u64]| pushes.iter().map(|n| push(*n)).collect();
        // Of three blocks the first holds push 1 only, the second 1 and 2, the third 3.
        assert_eq!(head.begin_leaving(&covered(&[3])), None);
        let coverage = head.begin_leaving(&covered(&[1])).unwrap();
        assert_eq!(coverage.iter().collect::<Vec<_>>(), [(WAL, mark(1))]);
        assert_eq!(all(&head), (0..6).collect::<Vec<_>>());
        head.end_leaving(false);
        assert_eq!(all(&head), (0..6).collect::<Vec<_>>());
        head.begin_leaving(&covered(&[])).unwrap();
        assert_eq!(head.begin_leaving(&covered(&[])), None);
        head.end_leaving(true);
        assert_eq!(all(&head), (2..6).collect::<Vec<_>>());
        assert_eq!(head.pushes(), [push(2)]);
        // What was covered before counts: with push 2 everything goes.
        let coverage = head.begin_leaving(&covered(&[2])).unwrap();
        assert_eq!(coverage.iter().collect::<Vec<_>>(), [(WAL, mark(3))]);
        head.end_leaving(true);
        assert!(head.retire_if_empty());
    }

    #[test]
    fn what_is_leaving_is_not_flushed_and_what_is_flushed_does_not_leave() {
        let head = head();
        append_push(&head, 1, 0..4);
        seal(&head);
        let covered = [push(1)].into_iter().collect();
        head.begin_leaving(&covered).unwrap();
        assert!(head.begin_flush().is_none());
        head.end_leaving(false);
        head.begin_flush().unwrap();
        assert_eq!(head.begin_leaving(&covered), None);
        head.end_flush(false);
        assert_eq!(all(&head), (0..4).collect::<Vec<_>>());
    }
}
