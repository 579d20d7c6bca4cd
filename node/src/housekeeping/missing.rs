//! What looking through the chunk store found amiss: packs that are gone from it, and objects that are no packs.
//!
//! A store that was emptied or rolled back must not be taken for one that never held anything. What the spool or another
//! member still has is brought back; the rest is counted and told, here and in answers. Days that lack packs are looked
//! through again every minute, a few at a time, so that whoever restores a store need not say so.
//!
//! Only what bears a pack's name and is none is an orphan: listed, and deleted once it has been seen for a week.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_storage::index::{Day, IndexError, PackId};

use super::pack_name::PackName;
use super::rebuild::Found;
use super::{Housekeeper, lock};
use crate::exec::Lane;

/// How long an orphan is seen before it is deleted, ns.
const ORPHAN_GRACE: i64 = 7 * 86_400 * 1_000_000_000;

/// Days that lack packs which are looked through again in a minute, beyond those where some are back: each is a listing of
/// the day and tenant.
const DAYS_A_ROUND: usize = 8;

/// How many packs days lack.
#[derive(Debug, Default)]
pub(super) struct Lacking {
    days: BTreeMap<Day, usize>,
    /// The day that was looked through last.
    last: Option<Day>,
}

impl Lacking {
    /// Notes how many packs a day lacks. Returns how many it did.
    fn set(&mut self, day: Day, packs: usize) -> usize {
        match packs {
            0 => self.days.remove(&day),
            _ => self.days.insert(day, packs),
        }
        .unwrap_or_default()
    }

    /// All days that lack packs, those first that were not looked through for longest.
    fn in_turn(&self) -> Vec<Day> {
        let is_later = |day: &&Day| self.last.is_none_or(|last| **day > last);
        let (later, earlier): (Vec<&Day>, Vec<&Day>) = self.days.keys().partition(is_later);
        later.into_iter().chain(earlier).copied().collect()
    }

    /// Packs that are missing, of all days.
    fn total(&self) -> i64 {
        self.days.values().sum::<usize>() as i64
    }
}

impl Housekeeper {
    /// Looks once more through days of which packs are missing: they may have been restored.
    pub(crate) async fn look_again(&self) -> anyhow::Result<()> {
        if !self.custody.is_settled() {
            return Ok(());
        }
        self.note_lost_days().await?;
        let days = lock(&self.lacking).in_turn();
        let (worker, mut left, total) = (&self.staff.missing, DAYS_A_ROUND, days.len() as u64);
        for (done, day) in (0..).zip(days) {
            worker.progress(done, total);
            if left == 0 || worker.is_paused() {
                break;
            }
            let before = lock(&self.lacking).days.get(&day).copied();
            let found = self.look_through(day).await?;
            lock(&self.lacking).last = Some(day);
            if before.is_some_and(|before| found.missing.len() >= before) {
                left -= 1;
            }
        }
        let lacking = lock(&self.lacking).days.len() as u64;
        worker.progress(total.saturating_sub(lacking), total);
        Ok(())
    }

    /// Days with packs of which only others have told and that were nowhere to be had.
    async fn note_lost_days(&self) -> anyhow::Result<()> {
        let index = self.index.clone();
        let look = move || {
            let mut lost = Vec::new();
            for day in index.days()? {
                if let Some(open) = index.day(day)? {
                    lost.push((day, open.lost()?.len()));
                }
            }
            Ok::<_, IndexError>(lost)
        };
        let lost = self.env.exec.run(Lane::Disk, look).await?;
        let mut lacking = lock(&self.lacking);
        // A day that was given up lacks nothing.
        lacking.days.retain(|day, _| lost.iter().any(|(known, _)| known == day));
        for (day, packs) in lost.into_iter().filter(|(_, packs)| *packs > 0) {
            lacking.days.entry(day).or_insert(packs);
        }
        self.metrics.missing_packs.set(lacking.total());
        Ok(())
    }

    /// Looks through what is stored of a day, and sees to what is missing. Tells what is left to be told.
    pub(super) async fn look_through(&self, day: Day) -> anyhow::Result<Found> {
        let mut found = self.alone(self.reconcile_day(day)).await?;
        if !found.added.is_empty() {
            tracing::warn!(%day, packs = found.added.len(), "packs that the index did not know were taken in");
        }
        let left = self.alone(self.make_anew(day, found.missing, &found.replaced)).await?;
        found.missing = self.tend_missing(day, left).await?.into_iter().collect();
        Ok(found)
    }

    /// Sees to the packs of a day that the index knows and the chunk store has no more. Returns those that are missing, those
    /// among them of which only others have told.
    async fn tend_missing(&self, day: Day, missing: Vec<String>) -> anyhow::Result<BTreeSet<String>> {
        let (index, spool) = (self.index.clone(), self.spool.clone());
        let look = move || {
            let Some(day) = index.day(day)? else { return Ok(BTreeSet::new()) };
            let mut left: BTreeSet<String> = day.lost()?.into_iter().map(|(_, key)| key).collect();
            for key in missing {
                match PackName::parse(&key).filter(|_| spool.path(&key).is_file()) {
                    Some(name) => drop(day.mark_spooled(PackId(name.content_hash))?),
                    None => drop(left.insert(key)),
                }
            }
            Ok::<_, IndexError>(left)
        };
        let left = self.env.exec.run(Lane::Disk, look).await?;
        let before = {
            let mut lacking = lock(&self.lacking);
            let before = lacking.set(day, left.len());
            self.metrics.missing_packs.set(lacking.total());
            before
        };
        if let Some(first) = left.first().filter(|_| left.len() > before) {
            let (packs, hint) = (left.len(), "restore them; `grapevine fsck` lists all");
            tracing::error!(%day, packs, first, "objects are gone from the chunk store, and their lines with them: {hint}");
        } else if left.len() < before {
            let (back, packs) = (before - left.len(), left.len());
            tracing::info!(%day, back, packs, "objects that were gone from the chunk store are stored again");
        }
        if left.len() > before {
            self.custody.on_missing(left.clone());
        }
        Ok(left)
    }

    /// Deletes the orphans of a day that have been seen for long enough, and remembers the others. Returns how many there
    /// are.
    pub(super) async fn tend_orphans(&self, day: Day, found: Vec<(String, String)>) -> anyhow::Result<usize> {
        let Some(index) = self.open(day).await? else { return Ok(found.len()) };
        let keys: Vec<String> = found.into_iter().map(|(key, _)| key).collect();
        let (count, now) = (keys.len(), self.env.clock.now());
        let seen = self.env.exec.run(Lane::Disk, move || index.note_orphans(&keys, now)).await?;
        let due = seen.into_iter().filter(|(_, since)| now.saturating_sub(*since) >= ORPHAN_GRACE);
        for (key, _) in due.filter(|(key, _)| self.custody.deletes(key)) {
            tracing::warn!(key, "an object that is no pack has been there for a week and is deleted");
            self.store.delete(&key).await?;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use grapevine_storage::index::Day;

    use super::Lacking;

    #[test]
    fn days_that_lack_packs_are_looked_through_in_turn() {
        let mut lacking = Lacking::default();
        assert_eq!([7, 3, 5].map(|day| lacking.set(Day(day), day as usize)), [0; 3]);
        assert_eq!((lacking.in_turn(), lacking.total()), ([3, 5, 7].map(Day).to_vec(), 15));
        lacking.last = Some(Day(3));
        assert_eq!(lacking.in_turn(), [5, 7, 3].map(Day));
        lacking.last = Some(Day(6));
        assert_eq!((lacking.set(Day(5), 0), lacking.set(Day(7), 1)), (5, 7));
        assert_eq!((lacking.in_turn(), lacking.total()), ([7, 3].map(Day).to_vec(), 4));
    }
}
