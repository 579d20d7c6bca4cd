//! Decides what leaves the heads, and when: the flush policy.
//!
//! Four things make a head give up what it holds: compressed blocks that fill their budget, open text that
//! fills its own, a log that would grow too long to replay, and age. A decider: it sees numbers and says what
//! is to be done; the flusher does it.

use std::time::Duration;

/// When to seal and flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushLimits {
    /// Compressed blocks held in memory, bytes; reaching it ships a pack. Larger packs mean fuller chunks and
    /// fewer objects, and more memory: while one such amount is written out, the next gathers.
    pub sealed_bytes_max: u64,
    /// Text in open blocks, bytes; above it the largest are sealed before they are full.
    pub open_bytes_max: u64,
    /// The log's length, bytes; above it the heads that hold its oldest segments are flushed.
    pub wal_bytes_max: u64,
    /// The longest that an entry stays out of a pack.
    pub age_max: Duration,
    /// Text held for streams that another node packs, bytes; above it the largest blocks are compressed here too.
    pub kept_bytes_max: u64,
}

/// What the policy sees of one head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadStats {
    /// Text in the open block.
    pub open_bytes: u64,
    /// Of them, what could be compressed now: full blocks, and pushes that wait as they came.
    pub waiting_bytes: u64,
    /// Compressed blocks.
    pub sealed_bytes: u64,
    /// Of them, those in chunks that are full.
    pub complete_bytes: u64,
    /// Chunks, the one that is not full yet among them.
    pub chunks: u64,
    /// How long the oldest entry has been here.
    pub age: Duration,
    /// The oldest segment of the log that holds an entry of this head.
    pub oldest_segment: u64,
    /// Whether this node packs the stream; else it waits for the node that does.
    pub is_ours: bool,
}

impl HeadStats {
    fn is_empty(&self) -> bool {
        self.open_bytes + self.sealed_bytes == 0
    }
}

/// What of a head is to be flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// Full chunks.
    CompleteChunks,
    /// Full chunks, and the blocks of the one that is not full yet.
    SealedBlocks,
    /// Everything, the open block too.
    Everything,
}

/// What the policy wants done. The numbers are places in the list of heads it was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Open blocks to seal now.
    pub seal: Vec<usize>,
    /// Heads to flush, and how much of each.
    pub flush: Vec<(usize, Extent)>,
}

/// Open blocks are sealed until this share (of 4) of their budget is in use, so that the next push does not
/// ask again.
const OPEN_TARGET_QUARTERS: u64 = 3;

/// How many times as long as its own heads a node keeps those that another should have packed.
const PATIENCE: u32 = 2;

/// Looks at all heads and decides. `wal_bytes` is the log's length, `newest_segment` the one being written.
pub fn decide(limits: &FlushLimits, heads: &[HeadStats], wal_bytes: u64, newest_segment: u64) -> Decision {
    let mut extents: Vec<Option<Extent>> = vec![None; heads.len()];
    let mut want = |n: usize, extent: Extent| extents[n] = extents[n].max(Some(extent));

    let ours: Vec<HeadStats> = heads.iter().filter(|head| head.is_ours).copied().collect();
    if let Some(extent) = sealed_extent(limits, &ours) {
        for (n, head) in heads.iter().enumerate().filter(|(_, head)| head.is_ours) {
            let bytes =
                if extent == Extent::CompleteChunks { head.complete_bytes } else { head.sealed_bytes };
            if bytes > 0 {
                want(n, extent);
            }
        }
    }
    // Heads that are half as old go along, so that quiet streams leave in a few packs, not in one each.
    let is_old = |head: &HeadStats| head.age >= limits.age_max && !head.is_empty();
    let one_is_old = ours.iter().any(is_old);
    let segment_cut = |most: u64| (wal_bytes > most).then(|| segment_cut(heads, newest_segment));
    let (own_cut, any_cut) =
        (segment_cut(limits.wal_bytes_max), segment_cut(limits.wal_bytes_max * u64::from(PATIENCE)));
    for (n, head) in heads.iter().enumerate().filter(|(_, head)| !head.is_empty()) {
        let cut = if head.is_ours { own_cut } else { any_cut };
        let pins_log = cut.is_some_and(|cut| head.oldest_segment <= cut);
        let is_due = match head.is_ours {
            true => one_is_old && head.age >= limits.age_max / 2,
            false => head.age >= limits.age_max * PATIENCE,
        };
        if pins_log || is_due {
            want(n, Extent::Everything);
        }
    }
    let flush: Vec<_> = extents.iter().enumerate().filter_map(|(n, e)| e.map(|e| (n, e))).collect();
    let mut seal = open_to_seal(limits.open_bytes_max, heads, &extents, true);
    seal.extend(open_to_seal(limits.kept_bytes_max, heads, &extents, false));
    Decision { seal, flush }
}

/// Full chunks alone if they are at least half of what is to go: they have the best filters.
fn sealed_extent(limits: &FlushLimits, heads: &[HeadStats]) -> Option<Extent> {
    let sealed: u64 = heads.iter().map(|h| h.sealed_bytes).sum();
    let complete: u64 = heads.iter().map(|h| h.complete_bytes).sum();
    match sealed >= limits.sealed_bytes_max {
        false => None,
        true if complete * 2 >= sealed => Some(Extent::CompleteChunks),
        true => Some(Extent::SealedBlocks),
    }
}

/// The older half of the segments that heads hold on to.
fn segment_cut(heads: &[HeadStats], newest_segment: u64) -> u64 {
    let oldest = heads.iter().filter(|h| !h.is_empty()).map(|h| h.oldest_segment).min();
    let oldest = oldest.unwrap_or(newest_segment);
    oldest + newest_segment.saturating_sub(oldest) / 2
}

/// The largest open blocks that are not flushed anyway, until the rest fits; of streams that are ours or that are not.
fn open_to_seal(most: u64, heads: &[HeadStats], extents: &[Option<Extent>], ours: bool) -> Vec<usize> {
    let stays = |n: &usize| heads[*n].is_ours == ours && extents[*n] != Some(Extent::Everything);
    let mut by_size: Vec<usize> = (0..heads.len()).filter(stays).collect();
    let mut open: u64 = by_size.iter().map(|n| heads[*n].open_bytes).sum();
    if open <= most {
        return Vec::new();
    }
    by_size.sort_by_key(|n| std::cmp::Reverse(heads[*n].open_bytes));
    let target = most / 4 * OPEN_TARGET_QUARTERS;
    let mut seal = Vec::new();
    for n in by_size {
        if open <= target {
            break;
        }
        open -= heads[n].open_bytes;
        seal.push(n);
    }
    seal
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Decision, Extent, FlushLimits, HeadStats, decide};

    const LIMITS: FlushLimits = FlushLimits {
        sealed_bytes_max: 1000,
        open_bytes_max: 400,
        wal_bytes_max: 5000,
        age_max: Duration::from_secs(60),
        kept_bytes_max: 800,
    };
    const EMPTY: HeadStats = HeadStats {
        chunks: 0,
        open_bytes: 0,
        waiting_bytes: 0,
        sealed_bytes: 0,
        complete_bytes: 0,
        age: Duration::ZERO,
        oldest_segment: 9,
        is_ours: true,
    };
    const KEPT: HeadStats = HeadStats { is_ours: false, ..EMPTY };

    fn check(heads: &[HeadStats], wal_bytes: u64, seal: &[usize], flush: &[(usize, Extent)]) {
        let want = Decision { seal: seal.to_vec(), flush: flush.to_vec() };
        assert_eq!(decide(&LIMITS, heads, wal_bytes, 9), want);
    }

    #[test]
    fn nothing_leaves_below_every_limit() {
        let head = HeadStats { open_bytes: 400, sealed_bytes: 999, complete_bytes: 999, ..EMPTY };
        check(&[head, EMPTY], 5000, &[], &[]);
    }

    #[test]
    fn full_chunks_go_alone_when_they_are_half_of_it() {
        let full = HeadStats { sealed_bytes: 600, complete_bytes: 500, ..EMPTY };
        let partial = HeadStats { sealed_bytes: 400, ..EMPTY };
        check(&[full, partial], 0, &[], &[(0, Extent::CompleteChunks)]);
    }

    #[test]
    fn partial_chunks_go_too_when_full_ones_are_few() {
        let full = HeadStats { sealed_bytes: 600, complete_bytes: 400, ..EMPTY };
        let partial = HeadStats { sealed_bytes: 400, ..EMPTY };
        check(&[full, EMPTY, partial], 0, &[], &[(0, Extent::SealedBlocks), (2, Extent::SealedBlocks)]);
    }

    #[test]
    fn an_old_head_goes_whole_and_an_old_empty_one_not_at_all() {
        let old = HeadStats { age: Duration::from_secs(60), ..EMPTY };
        check(&[HeadStats { open_bytes: 1, ..old }, old], 0, &[], &[(0, Extent::Everything)]);
    }

    #[test]
    fn heads_half_as_old_go_along_with_an_old_one() {
        let aged = |age| HeadStats { open_bytes: 1, age: Duration::from_secs(age), ..EMPTY };
        check(&[aged(29), aged(30), aged(59)], 0, &[], &[]);
        let whole = Extent::Everything;
        check(&[aged(29), aged(30), aged(60)], 0, &[], &[(1, whole), (2, whole)]);
    }

    #[test]
    fn a_long_log_drives_out_the_heads_that_pin_its_older_half() {
        let at = |oldest_segment| HeadStats { open_bytes: 1, oldest_segment, ..EMPTY };
        check(&[at(1), at(5), at(6), at(9)], 5001, &[], &[(0, Extent::Everything), (1, Extent::Everything)]);
    }

    #[test]
    fn the_largest_open_blocks_are_sealed_until_the_rest_fits() {
        let open = |open_bytes| HeadStats { open_bytes, ..EMPTY };
        check(&[open(50), open(200), open(151)], 0, &[1], &[]);
    }

    #[test]
    fn what_is_flushed_whole_is_not_sealed_as_well() {
        let old = HeadStats { open_bytes: 401, age: Duration::from_secs(61), ..EMPTY };
        check(&[old], 0, &[], &[(0, Extent::Everything)]);
    }

    #[test]
    fn what_another_node_packs_is_left_to_it_for_twice_as_long() {
        let kept = HeadStats { open_bytes: 1, sealed_bytes: 999, complete_bytes: 999, ..KEPT };
        let ours = HeadStats { sealed_bytes: 999, complete_bytes: 999, ..EMPTY };
        check(&[kept, ours], 0, &[], &[]);
        let aged = |age| HeadStats { age: Duration::from_secs(age), ..kept };
        check(&[aged(119), aged(120)], 0, &[], &[(1, Extent::Everything)]);
        let pins = HeadStats { oldest_segment: 1, ..kept };
        check(&[pins], 10_000, &[], &[]);
        check(&[pins], 10_001, &[], &[(0, Extent::Everything)]);
    }

    #[test]
    fn text_kept_for_others_has_a_bound_of_its_own() {
        let open = |open_bytes| HeadStats { open_bytes, ..KEPT };
        let ours = HeadStats { open_bytes: 400, ..EMPTY };
        check(&[open(500), open(300), ours], 0, &[], &[]);
        check(&[open(500), open(301), ours], 0, &[0], &[]);
    }
}
