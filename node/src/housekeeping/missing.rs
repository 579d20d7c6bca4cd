//! What looking through the chunk store found amiss: packs that are gone from it, and objects that are no packs.
//!
//! A store that was emptied or rolled back must not be taken for one that never held anything. What the spool or another
//! member still has is brought back; the rest is counted and told, here and in answers.
//!
//! Only what bears a pack's name and is none is an orphan: listed, and deleted once it has been seen for a week.

use std::collections::BTreeSet;

use grapevine_storage::index::{Day, IndexError, PackId};

use super::Housekeeper;
use super::pack_name::PackName;
use crate::exec::Lane;

/// How long an orphan is seen before it is deleted, ns.
const ORPHAN_GRACE: i64 = 7 * 86_400 * 1_000_000_000;

impl Housekeeper {
    /// Sees to the packs of a day that the index knows and the chunk store has no more. Returns how many are missing, those
    /// among them of which only others have told.
    pub(super) async fn tend_missing(&self, day: Day, missing: Vec<String>) -> anyhow::Result<usize> {
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
        if let Some(first) = left.first() {
            let (packs, hint) = (left.len(), "restore them; `grapevine fsck` lists all");
            tracing::error!(%day, packs, first, "objects are gone from the chunk store, and their lines with them: {hint}");
        }
        let count = left.len();
        self.custody.on_missing(left);
        Ok(count)
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
