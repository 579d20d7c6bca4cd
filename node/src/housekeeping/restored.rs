//! What a chunk store that was rolled back still has of a pack that it lost: the packs whose place that one took.
//!
//! They are not taken in again under their own names: every other member knows that they were replaced, and would give them
//! up anew. They are merged into a pack that goes the way of any merged one. If that holds as much as the lost one did, it
//! takes its place; if it holds less, it stands beside it, and answers go on to name the lost one. Then what came back stays
//! in the store: when more of it is there, all is merged once more. One that is back alone waits for another: merged it
//! would be itself.
//!
//! Where lines of the tenant's day were deleted on request, packs from before may hold what was deleted. There only what is
//! as much as was lost is taken back: with a deleted line it would be more.

use std::collections::BTreeSet;

use grapevine_storage::index::{Day, DayIndex, IndexError, MadeAnew, NewPack, PackId, PackRecord, PackState};

use super::Housekeeper;
use super::compact::{Batch, Candidate, is_passing};
use super::pack_name::PackName;
use crate::exec::Lane;

/// A pack that the store has lost, and those it was made of that the store has.
struct Lost {
    id: PackId,
    record: PackRecord,
    made_of: Vec<(String, u64)>,
    /// What was tried before.
    before: MadeAnew,
}

impl Lost {
    /// What is noted once all that is back was tried, and something or nothing came of it.
    fn tried(&self, into: Option<PackId>) -> MadeAnew {
        let of = self.made_of.iter().filter_map(|(key, _)| id_of(key)).collect();
        MadeAnew { into: into.or(self.before.into), of }
    }
}

impl Housekeeper {
    /// Makes packs anew that are gone from the store, as far as it has the packs that they took the place of. Gives back
    /// those that are still missing.
    pub(super) async fn make_anew(
        &self,
        day: Day,
        mut missing: Vec<String>,
        replaced: &[(String, u64)],
    ) -> anyhow::Result<Vec<String>> {
        if missing.is_empty() || replaced.is_empty() {
            return Ok(missing);
        }
        let Some(index) = self.open(day).await? else { return Ok(missing) };
        let (of_day, spool, replaced) = (index.clone(), self.spool.clone(), replaced.to_vec());
        let wanted: Vec<String> = missing.iter().filter(|key| self.custody.tends(key)).cloned().collect();
        let look = move || {
            let spooled = |key: &String| spool.path(key).is_file();
            let wanted: Vec<String> = wanted.into_iter().filter(|key| !spooled(key)).collect();
            lost(&of_day, &wanted, &replaced)
        };
        for lost in self.env.exec.run(Lane::Disk, look).await? {
            let key = lost.record.object_key.clone();
            let (id, tried) = (lost.id, lost.tried(None));
            match self.make_of(day, lost).await {
                Err(error) if !is_passing(&error) => {
                    let error = format!("{error:#}");
                    tracing::error!(key, error, "a pack cannot be made anew of those it replaced");
                    let index = index.clone();
                    let note = move || index.note_made_anew(id, &tried);
                    self.env.exec.run(Lane::Disk, note).await?;
                }
                made => made?,
            }
            if !self.is_missing(day, &key).await? {
                tracing::warn!(
                    key,
                    "a pack that was gone from the chunk store is made anew of those it replaced"
                );
                missing.retain(|other| *other != key);
            }
        }
        Ok(missing)
    }

    async fn make_of(&self, day: Day, lost: Lost) -> anyhow::Result<()> {
        let (mut batch, now) = (Batch::new(), self.env.clock.now());
        let mut expired = Size::default();
        for (key, bytes) in &lost.made_of {
            // What cannot be read is told where it is wanted; here the rest is.
            let Ok(summary) = self.tails().summary(key, Some(*bytes)).await? else { continue };
            let tenant = &lost.record.tenant;
            let pack = NewPack::of_summary(tenant, key, PackState::Shipped, &summary, Vec::new());
            let mut streams = BTreeSet::new();
            for stream in &pack.streams {
                match self.retention.is_expired(tenant, &stream.labels, day, now) {
                    true => stream
                        .chunks
                        .iter()
                        .for_each(|chunk| expired.add(chunk.digest.count, chunk.text_bytes)),
                    false => drop(streams.insert(stream.id)),
                }
            }
            let live_bytes = pack.record.text_bytes;
            batch.push(Candidate { id: pack.id, record: pack.record, streams, live_bytes });
        }
        if batch.iter().all(|pack| pack.streams.is_empty()) {
            let Some(index) = self.open(day).await? else { return Ok(()) };
            let note = move || index.note_made_anew(lost.id, &lost.tried(None));
            return Ok(self.env.exec.run(Lane::Disk, note).await?);
        }
        // As they were merged first, as far as that is known.
        batch.sort_by_key(|pack| (pack.record.first_ts, pack.id));
        let (spool, deletes) = (self.spool.clone(), self.deletes.clone());
        self.merge_into(day, batch, move |index, old, pack| {
            let tenant = &lost.record.tenant;
            // Who came after a request was carried out knows of it by its name alone.
            let was_erased = index.was_erased(tenant)? || deletes.concern(tenant, day);
            let left_out = LeftOut { expired, was_erased };
            let is_new = commit(index, &lost, old, pack, left_out, now)?;
            if !is_new {
                spool.remove(&pack.record.object_key)?;
            }
            Ok(is_new)
        })
        .await
    }

    /// Whether a pack is still one that the index takes for stored.
    async fn is_missing(&self, day: Day, key: &str) -> anyhow::Result<bool> {
        let Some((index, name)) = self.open(day).await?.zip(PackName::parse(key)) else { return Ok(true) };
        let id = PackId(name.content_hash);
        let look = move || index.read(|snapshot| snapshot.pack(id));
        let record = self.env.exec.run(Lane::Disk, look).await?;
        Ok(record.is_some_and(|record| record.state == PackState::Shipped))
    }
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    entries: u64,
    text_bytes: u64,
}

impl Size {
    fn of(pack: &PackRecord) -> Self {
        Size { entries: pack.entries, text_bytes: pack.text_bytes }
    }

    fn add(&mut self, entries: u64, text_bytes: u64) {
        self.entries = self.entries.saturating_add(entries);
        self.text_bytes = self.text_bytes.saturating_add(text_bytes);
    }
}

fn id_of(object_key: &str) -> Option<PackId> {
    PackName::parse(object_key).map(|name| PackId(name.content_hash))
}

/// The packs among `wanted` of which something is to be had from `replaced` that was not tried yet.
fn lost(index: &DayIndex, wanted: &[String], replaced: &[(String, u64)]) -> Result<Vec<Lost>, IndexError> {
    let gone = index.gone()?;
    let wanted: BTreeSet<PackId> = wanted.iter().filter_map(|key| id_of(key)).collect();
    let mut found = Vec::new();
    for &id in &wanted {
        let Some(record) = index.read(|snapshot| snapshot.pack(id))? else { continue };
        let parts = replaced_by(&gone, id);
        let is_part = |key: &str| id_of(key).is_some_and(|id| parts.contains(&id));
        let made_of: Vec<_> = replaced.iter().filter(|(key, _)| is_part(key)).cloned().collect();
        let mut before = index.made_anew(id)?;
        if before.into.is_some_and(|into| wanted.contains(&into)) {
            // What was made of them is lost as well.
            before = MadeAnew::default();
        }
        if made_of.iter().any(|(key, _)| id_of(key).is_some_and(|id| !before.of.contains(&id))) {
            found.push(Lost { id, record, made_of, before });
        }
    }
    Ok(found)
}

/// The packs that a pack took the place of, those that were replaced by these among them.
pub fn replaced_by(gone: &[(PackId, Option<PackId>)], pack: PackId) -> Vec<PackId> {
    let mut found = vec![pack];
    let mut at = 0;
    while let Some(by) = found.get(at).copied() {
        at += 1;
        let fresh = gone.iter().filter(|(id, taken_by)| *taken_by == Some(by) && !found.contains(id));
        let fresh: Vec<PackId> = fresh.map(|(id, _)| *id).collect();
        found.extend(fresh);
    }
    found.split_off(1)
}

/// What a pack that is made anew need not hold.
struct LeftOut {
    /// Of the old packs, for its age.
    expired: Size,
    /// Whether lines of the tenant's day were deleted.
    was_erased: bool,
}

/// Puts a pack in the place of a lost one, or beside it where it holds less. Returns whether it is there now.
fn commit(
    index: &DayIndex,
    lost: &Lost,
    old: &[PackId],
    pack: &NewPack,
    LeftOut { expired, was_erased }: LeftOut,
    now: i64,
) -> anyhow::Result<bool> {
    let beside = beside(index, lost, old)?;
    if index.mark_spooled(pack.id)? {
        // The very bytes of one that is known, of the lost one above all: it is shipped anew.
        if pack.id == lost.id {
            index.set_gone(beside.as_slice(), Some(pack.id), now)?;
            index.give_up_objects(&keys_of(lost, old), now)?;
        } else {
            index.note_made_anew(lost.id, &lost.tried(Some(pack.id)))?;
        }
        return Ok(true);
    }
    let is_gone = index.gone()?.iter().any(|(gone, _)| *gone == pack.id);
    let mut size = Size::of(&pack.record);
    size.add(expired.entries, expired.text_bytes);
    let is_whole = size == Size::of(&lost.record);
    if is_gone || !is_whole && was_erased {
        index.note_made_anew(lost.id, &lost.tried(None))?;
        return Ok(false);
    }
    if is_whole {
        let replaced: Vec<PackId> = old.iter().copied().chain([lost.id]).chain(beside).collect();
        index.replace_packs(&replaced, pack, now)?;
        index.give_up_objects(&keys_of(lost, old), now)?;
    } else {
        index.replace_packs(beside.as_slice(), pack, now)?;
        index.note_made_anew(lost.id, &lost.tried(Some(pack.id)))?;
    }
    Ok(true)
}

/// The pack that stands beside the lost one already, if all it was made of is in `old` as well.
fn beside(index: &DayIndex, lost: &Lost, old: &[PackId]) -> Result<Option<PackId>, IndexError> {
    let MadeAnew { into: Some(beside), of } = &lost.before else { return Ok(None) };
    let is_known = index.read(|snapshot| snapshot.pack(*beside))?.is_some();
    Ok((is_known && of.iter().all(|id| old.contains(id))).then_some(*beside))
}

/// The objects of the packs `old`.
fn keys_of(lost: &Lost, old: &[PackId]) -> Vec<String> {
    let keys = lost.made_of.iter().map(|(key, _)| key);
    keys.filter(|key| id_of(key).is_some_and(|id| old.contains(&id))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use grapevine_storage::index::PackId;

    use super::replaced_by;

    #[test]
    fn a_pack_takes_the_place_of_all_that_went_into_those_it_was_made_of() {
        let gone = [(1, Some(3)), (2, Some(3)), (3, Some(5)), (4, Some(5)), (6, None), (7, Some(8))];
        let gone = gone.map(|(id, by)| (PackId(id), by.map(PackId)));
        assert_eq!(replaced_by(&gone, PackId(5)), [3, 4, 1, 2].map(PackId));
        assert_eq!(replaced_by(&gone, PackId(6)), []);
    }
}
