//! Names of pushes, and sets of such names: by them, nodes say which entries they hold.
//!
//! What one push brings for one stream and day is an *atom*. It is never changed and never cut, so owners that hold
//! the same atoms hold the same entries, and no line need be hashed to find out. A push's name is drawn where it
//! entered the cluster; every owner keeps it.

use std::collections::BTreeMap;
use std::fmt;

use bincode::{Decode, Encode};

/// Names a push in all of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct PushId {
    /// The life of the process in which it entered the cluster: drawn at random at each start.
    pub origin: u64,
    /// Counts that process's pushes.
    pub sequence: u64,
}

impl fmt::Debug for PushId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}/{}", self.origin, self.sequence)
    }
}

/// A set of pushes, as runs of sequences: an origin's pushes are mostly there without gaps.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PushSet {
    /// By origin, the first of each run → the last of it. Runs of one origin neither touch nor overlap.
    runs: BTreeMap<u64, BTreeMap<u64, u64>>,
}

/// Pushes of one origin from a first to a last sequence, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PushRun {
    /// The origin.
    pub origin: u64,
    /// The first sequence.
    pub first: u64,
    /// How many follow it.
    pub more: u64,
}

impl PushSet {
    /// Adds a push.
    pub fn insert(&mut self, push: PushId) {
        self.insert_run(PushRun { origin: push.origin, first: push.sequence, more: 0 });
    }

    /// Adds a run of pushes; one that does not fit the numbers there are ends with the last of them.
    pub fn insert_run(&mut self, run: PushRun) {
        let runs = self.runs.entry(run.origin).or_default();
        let (mut first, mut last) = (run.first, run.first.saturating_add(run.more));
        // Whatever begins at or before the place behind the run's end, and ends at or behind the place before it.
        while let Some((&from, &to)) = runs.range(..=last.saturating_add(1)).next_back() {
            if to.saturating_add(1) < first {
                break;
            }
            (first, last) = (first.min(from), last.max(to));
            runs.remove(&from);
        }
        runs.insert(first, last);
    }

    /// Whether a push is in it.
    pub fn contains(&self, push: PushId) -> bool {
        let runs = self.runs.get(&push.origin);
        let run = runs.and_then(|runs| runs.range(..=push.sequence).next_back());
        run.is_some_and(|(_, last)| push.sequence <= *last)
    }

    /// Whether a push is in both sets.
    pub fn intersects(&self, other: &PushSet) -> bool {
        other.runs().any(|PushRun { origin, first, more }| {
            let runs = self.runs.get(&origin);
            let run = runs.and_then(|runs| runs.range(..=first.saturating_add(more)).next_back());
            run.is_some_and(|(_, last)| first <= *last)
        })
    }

    /// Adds all of another set.
    pub fn merge(&mut self, other: &PushSet) {
        other.runs().for_each(|run| self.insert_run(run));
    }

    /// Its runs, by origin and sequence.
    pub fn runs(&self) -> impl Iterator<Item = PushRun> + '_ {
        let of = |(&origin, runs): (&u64, &BTreeMap<u64, u64>)| {
            let run =
                move |(first, last): (&u64, &u64)| PushRun { origin, first: *first, more: last - first };
            runs.iter().map(run).collect::<Vec<_>>()
        };
        self.runs.iter().flat_map(of)
    }

    /// How many runs there are: what it takes in memory and on the wire.
    pub fn run_count(&self) -> usize {
        self.runs.values().map(BTreeMap::len).sum()
    }

    /// Whether no push is in it.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// A set in bytes that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a set of pushes is cut off or damaged")]
pub struct NotASet;

impl PushSet {
    /// The set in few bytes: mostly two a run.
    ///
    /// ```text
    /// set := (origin u64 | runs varint | (numbers left out since the run before varint, numbers that follow the first
    ///        varint)*)*          (LEB128; a first run counts from 0)
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (origin, runs) in &self.runs {
            bytes.extend_from_slice(&origin.to_le_bytes());
            write_varint(&mut bytes, runs.len() as u64);
            let mut next = 0;
            for (first, last) in runs {
                write_varint(&mut bytes, first - next);
                write_varint(&mut bytes, last - first);
                next = last.wrapping_add(1);
            }
        }
        bytes
    }

    /// Reads what [`PushSet::to_bytes`] wrote. Takes memory in proportion to the bytes, whatever they claim.
    ///
    /// # Errors
    /// The bytes end early, or hold numbers that are too large.
    pub fn from_bytes(mut bytes: &[u8]) -> Result<Self, NotASet> {
        let mut set = PushSet::default();
        while !bytes.is_empty() {
            let (origin, rest) = bytes.split_first_chunk().ok_or(NotASet)?;
            bytes = rest;
            let origin = u64::from_le_bytes(*origin);
            let mut next: u64 = 0;
            for run in 0..read_varint(&mut bytes)? {
                let first = next.checked_add(read_varint(&mut bytes)?).ok_or(NotASet)?;
                let more = read_varint(&mut bytes)?;
                let last = first.checked_add(more).ok_or(NotASet)?;
                if run > 0 && next == 0 {
                    return Err(NotASet); // The run before ended with the last number there is.
                }
                set.insert_run(PushRun { origin, first, more });
                next = last.wrapping_add(1);
            }
        }
        Ok(set)
    }
}

fn write_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64, NotASet> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(NotASet)?;
        *bytes = rest;
        let part = u64::from(byte & 0x7F);
        if part << shift >> shift != part {
            return Err(NotASet);
        }
        number |= part << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(NotASet)
}

impl FromIterator<PushId> for PushSet {
    fn from_iter<T: IntoIterator<Item = PushId>>(pushes: T) -> Self {
        let mut set = PushSet::default();
        pushes.into_iter().for_each(|push| set.insert(push));
        set
    }
}

impl FromIterator<PushRun> for PushSet {
    fn from_iter<T: IntoIterator<Item = PushRun>>(runs: T) -> Self {
        let mut set = PushSet::default();
        runs.into_iter().for_each(|run| set.insert_run(run));
        set
    }
}

impl fmt::Debug for PushSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let run = |run: PushRun| (run.origin, run.first..=run.first + run.more);
        f.debug_list().entries(self.runs().map(run)).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{prop, prop_assert_eq, proptest};

    use super::{NotASet, PushId, PushRun, PushSet};

    proptest! {
        #[test]
        fn a_set_holds_what_was_put_in_and_nothing_else(
            runs in prop::collection::vec((0_u64..3, 0_u64..40, 0_u64..6), 0..24)
        ) {
            let set: PushSet =
                runs.iter().map(|(origin, first, more)| PushRun { origin: *origin, first: *first, more: *more }).collect();
            let expected: BTreeSet<(u64, u64)> =
                runs.iter().flat_map(|(origin, first, more)| (*first..=first + more).map(|s| (*origin, s))).collect();
            for origin in 0..3 {
                for sequence in 0..50 {
                    prop_assert_eq!(set.contains(PushId { origin, sequence }), expected.contains(&(origin, sequence)));
                }
            }
            // As few runs as there can be, so that equal sets are equal values.
            let gaps = expected.iter().filter(|(origin, s)| *s == 0 || !expected.contains(&(*origin, s - 1))).count();
            prop_assert_eq!(set.run_count(), gaps);
            prop_assert_eq!(&set.runs().collect::<PushSet>(), &set);
            prop_assert_eq!(&PushSet::from_bytes(&set.to_bytes()).unwrap(), &set);
        }

        #[test]
        fn sets_intersect_where_a_push_is_in_both(
            runs in prop::collection::vec((0_u64..2, 0_u64..40, 0_u64..6), 0..4),
            others in prop::collection::vec((0_u64..2, 0_u64..40, 0_u64..6), 0..4),
        ) {
            let [one, other] = [runs, others].map(|runs| {
                let run = |(origin, first, more)| PushRun { origin, first, more };
                runs.into_iter().map(run).collect::<PushSet>()
            });
            let pushes = (0..2).flat_map(|origin| (0..50).map(move |sequence| PushId { origin, sequence }));
            let both = pushes.filter(|push| one.contains(*push) && other.contains(*push)).count();
            prop_assert_eq!(one.intersects(&other), both > 0);
            prop_assert_eq!(other.intersects(&one), both > 0);
        }

        #[test]
        fn any_bytes_are_a_set_or_none(bytes in prop::collection::vec(prop::num::u8::ANY, 0..64)) {
            if let Ok(set) = PushSet::from_bytes(&bytes) {
                prop_assert_eq!(PushSet::from_bytes(&set.to_bytes()), Ok(set));
            }
        }
    }

    #[test]
    fn runs_at_the_end_of_the_numbers_are_cut_there() {
        let mut set = PushSet::default();
        set.insert_run(PushRun { origin: 1, first: u64::MAX - 1, more: u64::MAX });
        set.insert(PushId { origin: 1, sequence: u64::MAX });
        assert!(set.contains(PushId { origin: 1, sequence: u64::MAX }));
        assert_eq!(set.run_count(), 1);
        assert_eq!(PushSet::from_bytes(&set.to_bytes()), Ok(set.clone()));
        let bytes = set.to_bytes();
        assert_eq!(PushSet::from_bytes(&bytes[..bytes.len() - 1]), Err(NotASet));
    }
}
