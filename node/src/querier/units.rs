//! Cuts what is known of one stream into units of work: runs of blocks that can be scanned as they are, and
//! clusters of blocks that overlap in time and must be merged, entry by entry, so that one that is in several of
//! them counts once.
//!
//! A chunk's own blocks ascend and share no entry. Between chunks, and among the blocks of a head, anything may
//! have happened: retries, replays after a crash, late entries, a pack indexed while the head still held it. A
//! decider: it sees times and says what to read together.

use std::ops::Range;

/// A block, as far as its place in time is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTimes {
    /// The source it belongs to; blocks of one source share no entry.
    pub source: usize,
    /// Its place in the source.
    pub block: usize,
    /// Timestamp of its first entry.
    pub first: i64,
    /// Timestamp of its last entry.
    pub last: i64,
}

/// What is read together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Blocks of one source that overlap no other: each is scanned as it is.
    Run {
        /// The source.
        source: usize,
        /// Consecutive blocks of it.
        blocks: Range<usize>,
    },
    /// Blocks of several sources that overlap: (source, block), in the order of their first entries.
    Merge(Vec<(usize, usize)>),
}

/// A unit and the time it spans, both ends inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// What to read.
    pub unit: Unit,
    /// The earliest timestamp in it.
    pub first: i64,
    /// The latest timestamp in it.
    pub last: i64,
}

/// Cuts blocks, in any order, into units that ascend in time.
pub fn units(mut blocks: Vec<BlockTimes>) -> Vec<Timed> {
    blocks.sort_by_key(|b| (b.first, b.source, b.block));
    let mut units: Vec<Timed> = Vec::new();
    for cluster in clusters(&blocks) {
        let first = cluster[0].first;
        let last = cluster.iter().map(|b| b.last).max().unwrap_or(first);
        let source = cluster[0].source;
        if cluster.iter().any(|b| b.source != source) {
            let members = cluster.iter().map(|b| (b.source, b.block)).collect();
            units.push(Timed { unit: Unit::Merge(members), first, last });
            continue;
        }
        for block in cluster {
            extend_run(&mut units, block);
        }
    }
    units
}

/// Blocks that overlap, directly or through others. Blocks of one source never force each other together.
fn clusters(blocks: &[BlockTimes]) -> Vec<&[BlockTimes]> {
    let mut clusters = Vec::new();
    let mut start = 0;
    let mut last = i64::MIN;
    for (at, block) in blocks.iter().enumerate() {
        let held = &blocks[start..at];
        let same_source = held.iter().all(|b| b.source == block.source);
        if at > start && (block.first > last || same_source && !overlaps_later(blocks, at, last)) {
            clusters.push(held);
            start = at;
            last = i64::MIN;
        }
        last = last.max(block.last);
    }
    if start < blocks.len() {
        clusters.push(&blocks[start..]);
    }
    clusters
}

/// Whether a block from `at` on that belongs to another source begins before what is held ends: then even blocks
/// of one source that touch must stay together with it.
fn overlaps_later(blocks: &[BlockTimes], at: usize, last: i64) -> bool {
    let source = blocks[at].source;
    blocks[at..].iter().take_while(|b| b.first <= last).any(|b| b.source != source)
}

fn extend_run(units: &mut Vec<Timed>, block: &BlockTimes) {
    if let Some(Timed { unit: Unit::Run { source, blocks }, last, .. }) = units.last_mut()
        && *source == block.source
        && blocks.end == block.block
    {
        blocks.end += 1;
        *last = block.last;
        return;
    }
    let unit = Unit::Run { source: block.source, blocks: block.block..block.block + 1 };
    units.push(Timed { unit, first: block.first, last: block.last });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop, proptest};

    use super::{BlockTimes, Timed, Unit, units};

    fn blocks(sources: &[&[(i64, i64)]]) -> Vec<BlockTimes> {
        let times = |(source, blocks): (usize, &&[(i64, i64)])| {
            let block = move |(block, (first, last)): (usize, &(i64, i64))| BlockTimes {
                source,
                block,
                first: *first,
                last: *last,
            };
            blocks.iter().enumerate().map(block).collect::<Vec<_>>()
        };
        sources.iter().enumerate().flat_map(times).collect()
    }

    fn check(sources: &[&[(i64, i64)]], expected: &[Unit]) {
        let found: Vec<Unit> = units(blocks(sources)).into_iter().map(|timed| timed.unit).collect();
        assert_eq!(found, expected, "{sources:?}");
    }

    fn run(source: usize, blocks: std::ops::Range<usize>) -> Unit {
        Unit::Run { source, blocks }
    }

    #[test]
    fn blocks_of_one_source_form_one_run_even_where_they_touch() {
        check(&[&[(0, 5), (5, 9), (10, 12)]], &[run(0, 0..3)]);
    }

    #[test]
    fn sources_apart_in_time_are_runs_of_their_own() {
        check(&[&[(10, 19)], &[(0, 9)]], &[run(1, 0..1), run(0, 0..1)]);
    }

    #[test]
    fn only_the_blocks_that_overlap_are_merged() {
        let merged = Unit::Merge(vec![(0, 1), (1, 0)]);
        check(&[&[(0, 9), (10, 19)], &[(15, 25), (26, 30)]], &[run(0, 0..1), merged, run(1, 1..2)]);
    }

    #[test]
    fn sources_that_touch_at_one_timestamp_are_merged() {
        check(&[&[(0, 9)], &[(9, 12)]], &[Unit::Merge(vec![(0, 0), (1, 0)])]);
    }

    #[test]
    fn one_source_inside_another_is_merged_with_all_it_spans() {
        let merged = Unit::Merge(vec![(0, 0), (1, 0), (1, 1)]);
        check(&[&[(0, 100)], &[(10, 20), (30, 40)]], &[merged]);
    }

    #[test]
    fn blocks_that_touch_each_other_and_another_source_stay_together() {
        let merged = Unit::Merge(vec![(0, 0), (0, 1), (1, 0)]);
        check(&[&[(0, 9), (9, 12)], &[(9, 9)]], &[merged]);
    }

    fn sources() -> impl Strategy<Value = Vec<Vec<(i64, i64)>>> {
        let source = prop::collection::vec((0..6i64, 0..5i64), 0..5).prop_map(|steps| {
            let mut at = 0;
            let block = |(gap, length): &(i64, i64)| {
                let first = at + gap;
                at = first + length;
                (first, at)
            };
            steps.iter().map(block).collect()
        });
        prop::collection::vec(source, 0..4)
    }

    proptest! {
        #[test]
        fn every_block_is_in_one_unit_and_overlapping_sources_share_theirs(sources in sources()) {
            let slices: Vec<&[(i64, i64)]> = sources.iter().map(Vec::as_slice).collect();
            let all = blocks(&slices);
            let units = units(all.clone());
            let members = |unit: &Unit| match unit {
                Unit::Run { source, blocks } => blocks.clone().map(|b| (*source, b)).collect(),
                Unit::Merge(members) => members.clone(),
            };
            let mut found: Vec<(usize, usize)> = units.iter().flat_map(|t| members(&t.unit)).collect();
            found.sort_unstable();
            let mut expected: Vec<_> = all.iter().map(|b| (b.source, b.block)).collect();
            expected.sort_unstable();
            assert_eq!(found, expected);
            let home = |b: &BlockTimes| units.iter().position(|t| members(&t.unit).contains(&(b.source, b.block)));
            for a in &all {
                for b in &all {
                    let overlap = a.first <= b.last && b.first <= a.last;
                    assert!(a.source == b.source || !overlap || home(a) == home(b), "{a:?} {b:?}");
                }
            }
            let ascend = |pair: &[Timed]| pair[0].first <= pair[1].first && pair[0].last <= pair[1].first;
            assert!(units.windows(2).all(ascend), "{units:?}");
        }
    }
}
