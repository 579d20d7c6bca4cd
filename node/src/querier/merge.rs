//! Reads blocks that overlap in time as one: in order, each entry once.
//!
//! Blocks are opened as late as can be and let go as soon as they are through: what is in memory is what
//! overlaps at one moment, not the whole cluster.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::ControlFlow;

use grapevine_storage::entry::{EntryHash, EntryRef};
use grapevine_storage::pack::{BlockReader, BlockText, FormatError, SealedBlock};

use super::answer::Stats;
use super::scan::{Span, StoredLine};

/// A block to be merged.
#[derive(Clone, Debug)]
pub enum MergeBlock {
    /// From a pack.
    Packed(SealedBlock),
    /// From a head.
    Sealed(SealedBlock),
    /// From a head, not compressed yet, in order of time.
    Open(BlockText),
}

impl MergeBlock {
    /// The first and last timestamp.
    fn range(&self) -> (i64, i64) {
        match self {
            MergeBlock::Packed(block) | MergeBlock::Sealed(block) => {
                (block.header().first, block.header().last)
            }
            MergeBlock::Open(block) => block.time_range().unwrap_or((i64::MAX, i64::MIN)),
        }
    }
}

/// A block in the heap: not opened yet, or at one of its entries.
struct Cursor {
    block: BlockText,
    /// Where each line starts in the text; one more than there are lines.
    starts: Vec<usize>,
    at: usize,
}

struct Item {
    /// Of the entry it is at, or the nearest that the block may hold.
    timestamp: i64,
    /// Of equal timestamps the lower comes first going forward.
    order: usize,
    forward: bool,
    state: State,
}

enum State {
    Closed(Box<MergeBlock>),
    Open(Cursor),
}

impl Ord for Item {
    /// The heap gives the greatest: what comes next must be greatest. A closed block comes before an entry of
    /// the same timestamp, so that it is opened before that entry is given out.
    fn cmp(&self, other: &Self) -> Ordering {
        let closed = |item: &Item| matches!(item.state, State::Closed(_));
        let key = |item: &Item| (item.timestamp, !closed(item));
        let forward = key(self).cmp(&key(other)).then(self.order.cmp(&other.order));
        let backward = || {
            let key = |item: &Item| (std::cmp::Reverse(item.timestamp), !closed(item));
            key(self).cmp(&key(other)).then(other.order.cmp(&self.order))
        };
        if self.forward { forward.reverse() } else { backward().reverse() }
    }
}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Item {}

/// Visits the entries of the span in its order, each once. `blocks` are in order of arrival.
///
/// # Errors
/// A block is damaged; what came before it has been visited.
pub fn merge<B>(
    blocks: Vec<MergeBlock>,
    span: Span,
    stats: &mut Stats,
    visit: &mut dyn FnMut(StoredLine<'_>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, FormatError> {
    let mut reader = BlockReader::new();
    let forward = span.forward;
    let closed = |(order, block): (usize, MergeBlock)| {
        let (first, last) = block.range();
        let timestamp = if forward { first } else { last };
        Item { timestamp, order, forward, state: State::Closed(Box::new(block)) }
    };
    let wanted = |block: &MergeBlock| span.overlaps(block.range().0, block.range().1);
    let mut heap: BinaryHeap<Item> = blocks.into_iter().filter(wanted).enumerate().map(closed).collect();
    let mut seen = Seen::default();
    while let Some(item) = heap.pop() {
        let Item { order, state, .. } = item;
        let mut cursor = match state {
            State::Closed(block) => match open(*block, &mut reader, stats, forward)? {
                Some(cursor) => {
                    heap.push(cursor.into_item(order, forward));
                    continue;
                }
                None => continue,
            },
            State::Open(cursor) => cursor,
        };
        if let ControlFlow::Break(reason) = cursor.give(span, &mut seen, stats, visit) {
            return Ok(ControlFlow::Break(reason));
        }
        if cursor.advance(forward) {
            heap.push(cursor.into_item(order, forward));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn open(
    block: MergeBlock,
    reader: &mut BlockReader,
    stats: &mut Stats,
    forward: bool,
) -> Result<Option<Cursor>, FormatError> {
    let in_head = !matches!(block, MergeBlock::Packed(_));
    let block = match block {
        MergeBlock::Packed(block) | MergeBlock::Sealed(block) => {
            stats.compressed_bytes += block.member().len() as u64;
            reader.open(&block)?
        }
        MergeBlock::Open(block) => block,
    };
    if in_head {
        stats.head_bytes += block.text_bytes() as u64;
        stats.head_lines += block.entries() as u64;
    }
    stats.blocks += 1;
    stats.text_bytes += block.text_bytes() as u64;
    stats.lines += block.entries() as u64;
    let Some(last) = block.entries().checked_sub(1) else { return Ok(None) };
    let starts = block.line_starts();
    Ok(Some(Cursor { block, starts, at: if forward { 0 } else { last } }))
}

/// The entries of the moment that have been given out.
#[derive(Default)]
struct Seen {
    timestamp: i64,
    hashes: BTreeSet<EntryHash>,
}

impl Seen {
    /// Whether this is the first entry of its hash.
    fn is_new(&mut self, timestamp: i64, hash: EntryHash) -> bool {
        if self.timestamp != timestamp {
            self.timestamp = timestamp;
            self.hashes.clear();
        }
        self.hashes.insert(hash)
    }
}

impl Cursor {
    fn timestamp(&self) -> i64 {
        self.block.timestamps()[self.at]
    }

    fn into_item(self, order: usize, forward: bool) -> Item {
        Item { timestamp: self.timestamp(), order, forward, state: State::Open(self) }
    }

    /// Moves to the next entry; `false` behind the last.
    fn advance(&mut self, forward: bool) -> bool {
        match forward {
            true => {
                self.at += 1;
                self.at < self.block.entries()
            }
            false => self.at.checked_sub(1).inspect(|at| self.at = *at).is_some(),
        }
    }

    fn give<B>(
        &self,
        span: Span,
        seen: &mut Seen,
        stats: &mut Stats,
        visit: &mut dyn FnMut(StoredLine<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let timestamp = self.timestamp();
        if !span.contains(timestamp) {
            return ControlFlow::Continue(());
        }
        let line = &self.block.text()[self.starts[self.at]..self.starts[self.at + 1] - 1];
        let metadata: Vec<(&str, &str)> = self.block.metadata().pairs(self.at).collect();
        let hash = EntryRef { timestamp, line, metadata: &metadata }.hash();
        if !seen.is_new(timestamp, hash) {
            stats.duplicates += 1;
            return ControlFlow::Continue(());
        }
        visit(StoredLine { timestamp, line, metadata: &metadata })
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use grapevine_storage::entry::EntryRef;
    use grapevine_storage::pack::{Append, BlockText, ChunkBuilder, Level, Sealer};
    use grapevine_storage::stream::StreamId;
    use proptest::prelude::{any, prop, proptest};

    use super::{MergeBlock, merge};
    use crate::querier::answer::Stats;
    use crate::querier::scan::Span;

    fn block(entries: &[(i64, String)], sealed: bool) -> MergeBlock {
        let mut block = BlockText::new();
        for (timestamp, line) in entries {
            let entry = EntryRef { timestamp: *timestamp, line: line.as_bytes(), metadata: &[] };
            assert_eq!(block.append(&entry), Append::Taken);
        }
        match sealed {
            true => {
                let mut chunk = ChunkBuilder::new();
                MergeBlock::Sealed(
                    Sealer::new(Level::default()).seal(StreamId(1), &block, &mut chunk).unwrap(),
                )
            }
            false => MergeBlock::Open(block.to_settled()),
        }
    }

    fn merged(blocks: Vec<MergeBlock>, span: Span) -> Vec<(i64, String)> {
        let mut found = Vec::new();
        let done = merge::<()>(blocks, span, &mut Stats::default(), &mut |line| {
            found.push((line.timestamp, String::from_utf8(line.line.to_vec()).unwrap()));
            ControlFlow::Continue(())
        });
        assert_eq!(done.unwrap(), ControlFlow::Continue(()));
        found
    }

    proptest! {
        #[test]
        fn merged_blocks_are_the_sorted_set_of_their_entries(
            parts in prop::collection::vec((prop::collection::vec((0..12i64, 0..3u8), 1..20), any::<bool>()), 1..5),
            forward in any::<bool>(), first in 0..12i64, length in 0..12i64,
        ) {
            let span = Span { first, last: first + length, forward };
            let mut expected = Vec::new();
            let mut blocks = Vec::new();
            for (entries, sealed) in parts {
                let entries: Vec<(i64, String)> = entries.into_iter().map(|(t, n)| (t, format!("line {n}"))).collect();
                blocks.push(block(&entries, sealed));
                expected.extend(entries.into_iter().filter(|(t, _)| span.contains(*t)));
            }
            expected.sort();
            expected.dedup();
            let mut found = merged(blocks, span);
            let times: Vec<i64> = found.iter().map(|(t, _)| *t).collect();
            let in_order = |pair: &[i64]| if forward { pair[0] <= pair[1] } else { pair[0] >= pair[1] };
            assert!(times.windows(2).all(in_order), "{times:?}");
            found.sort();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn entries_of_one_moment_keep_the_order_of_arrival_and_backward_the_reverse() {
        let at =
            |lines: &[&str]| -> Vec<(i64, String)> { lines.iter().map(|l| (5, (*l).to_owned())).collect() };
        let blocks = || vec![block(&at(&["z", "a"]), true), block(&at(&["m", "z"]), false)];
        let span = |forward| Span { first: 0, last: 9, forward };
        assert_eq!(merged(blocks(), span(true)), at(&["z", "a", "m"]));
        assert_eq!(merged(blocks(), span(false)).len(), 3);
    }

    #[test]
    fn a_visitor_that_has_enough_stops_the_merge() {
        let entries: Vec<(i64, String)> = (0..9).map(|n| (n, n.to_string())).collect();
        let span = Span { first: 0, last: 99, forward: false };
        let mut visits = 0;
        let done = merge(vec![block(&entries, true)], span, &mut Stats::default(), &mut |line| {
            visits += 1;
            if line.timestamp == 7 { ControlFlow::Break("enough") } else { ControlFlow::Continue(()) }
        });
        assert_eq!((done.unwrap(), visits), (ControlFlow::Break("enough"), 2));
    }
}
