//! Which pushes packs hold already: what of a stream need not be kept, nor be taken in again from an owner that was away.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use grapevine_storage::atom::{PushId, PushSet};
use grapevine_storage::index::{Day, Index, IndexError};

use super::heads::HeadKey;

/// How long it is remembered that a push is covered. An owner that was away for longer brings entries that are stored a
/// second time; they are one when read, and one again once packs are merged.
pub const MEMORY: Duration = Duration::from_secs(6 * 60 * 60);

/// What is covered, by tenant, day and stream.
#[derive(Debug, Default)]
pub struct Covered {
    sets: Mutex<BTreeMap<HeadKey, Known>>,
    turns: Mutex<Turns>,
}

/// When something of a day was added last: what was seen in a head, and is not there any more, has left it since.
#[derive(Debug, Default)]
struct Turns {
    now: u64,
    of_days: BTreeMap<Day, u64>,
}

#[derive(Debug, Default)]
struct Known {
    pushes: PushSet,
    /// The latest moment at which something was added, ns since 1970.
    at: i64,
}

impl Covered {
    /// What the index remembers.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn load(index: &Index) -> Result<Self, IndexError> {
        let covered = Covered::default();
        for day in index.days()? {
            let Some(open) = index.day(day)? else { continue };
            for known in open.read(|snapshot| snapshot.covers(None))? {
                let key = HeadKey { tenant: known.tenant.into(), day, id: known.cover.stream };
                covered.add(&key, &known.cover.pushes, known.at);
            }
        }
        Ok(covered)
    }

    fn sets(&self) -> MutexGuard<'_, BTreeMap<HeadKey, Known>> {
        self.sets.lock().expect("no one panics with the sets locked")
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().expect("no one panics with the turns locked")
    }

    /// Notes that these are covered, as of a moment. To be called before they leave their head.
    pub fn add(&self, key: &HeadKey, pushes: &PushSet, at: i64) {
        let mut sets = self.sets();
        let known = sets.entry(key.clone()).or_default();
        known.pushes.merge(pushes);
        known.at = known.at.max(at);
        drop(sets);
        let mut turns = self.turns();
        turns.now += 1;
        let now = turns.now;
        turns.of_days.insert(key.day, now);
    }

    /// How often something was added since the process started.
    pub fn turn(&self) -> u64 {
        self.turns().now
    }

    /// The days of which something was added since a turn.
    pub fn days_since(&self, turn: u64) -> Vec<Day> {
        let turns = self.turns();
        turns.of_days.iter().filter(|(_, at)| **at > turn).map(|(day, _)| *day).collect()
    }

    /// Whether a push is covered, as far as is known.
    pub fn contains(&self, key: &HeadKey, push: PushId) -> bool {
        self.sets().get(key).is_some_and(|known| known.pushes.contains(push))
    }

    /// Forgets what nothing was added to since a moment.
    pub fn forget(&self, before: i64) {
        self.sets().retain(|_, known| known.at >= before);
    }
}

#[cfg(test)]
mod tests {
    use grapevine_storage::atom::PushId;
    use grapevine_storage::index::Day;
    use grapevine_storage::stream::StreamId;

    use super::{Covered, HeadKey};

    #[test]
    fn what_is_covered_is_forgotten_once_nothing_is_added_any_more() {
        let key = |stream| HeadKey { tenant: "t".into(), day: Day(1), id: StreamId(stream) };
        let push = PushId { origin: 1, sequence: 7 };
        let covered = Covered::default();
        covered.add(&key(1), &[push].into_iter().collect(), 10);
        covered.add(&key(2), &[push].into_iter().collect(), 20);
        assert!(covered.contains(&key(1), push) && covered.contains(&key(2), push));
        assert!(!covered.contains(&key(3), push));
        let turn = covered.turn();
        covered.forget(11);
        assert!(!covered.contains(&key(1), push) && covered.contains(&key(2), push));
        assert_eq!(covered.days_since(turn), []);
        covered.add(&HeadKey { day: Day(2), ..key(1) }, &[push].into_iter().collect(), 30);
        assert_eq!((covered.days_since(turn), covered.days_since(0)), (vec![Day(2)], vec![Day(1), Day(2)]));
    }
}
