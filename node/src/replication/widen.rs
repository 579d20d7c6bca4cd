//! A node that has come to own more streams looks for them in the packs that it knows already: it left out what was not
//! its to know.
//!
//! Each day's index says for which tokens it has all that its packs hold. Where that is less than what the node keeps
//! now, each of its packs that may hold the rest is read once more: its tail, where the directory is, from wherever
//! the node has it. Packs that it does not know it learns from others.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use grapevine_storage::index::{Arcs, Day, NewPack, PackId, PackRecord, PackState};

use super::Replication;
use super::placement::Placement;
use crate::exec::Lane;
use crate::housekeeping::pack_name::PackName;
use crate::querier::share::Share;

impl Replication {
    /// Makes every day's index whole for what this node keeps by a placement.
    ///
    /// # Errors
    /// A pack cannot be read, or the index fails. What was added stays.
    pub(super) async fn widen_all(&self, placement: &Placement) -> Result<()> {
        let index = self.parts.index.clone();
        let days = self.parts.env.exec.run(Lane::Disk, move || index.days()).await?;
        for day in days {
            let widened = self.widen(day, placement.kept()).await;
            widened.with_context(|| {
                format!("look for streams that are new to this node in the packs of {day}")
            })?;
        }
        Ok(())
    }

    async fn widen(&self, day: Day, kept: &Share) -> Result<()> {
        let index = self.parts.index.clone();
        let look = move || {
            let Some(day) = index.day(day)? else { return Ok(None) };
            let Some(reach) = day.reach()? else { return Ok(None) };
            Ok::<_, grapevine_storage::index::IndexError>(Some((
                reach,
                day.read(|snapshot| snapshot.packs())?,
            )))
        };
        let Some((reach, mut packs)) = self.parts.env.exec.run(Lane::Disk, look).await? else {
            return Ok(());
        };
        let reach = Share::of_arcs(&reach);
        if reach.covers(kept) {
            return Ok(());
        }
        // Of the rest nothing is read again: retention may have hidden some of it.
        let (mut new, mut seen) = (kept.without(&reach), BTreeSet::new());
        // Packs that are indexed meanwhile are looked at as well. Each turn is over those of the turn before.
        loop {
            for (id, record) in &packs {
                if !new.and(&span(&record.object_key)).is_empty() {
                    self.add_anew(day, record, new.arcs()).await?;
                }
                seen.insert(*id);
            }
            packs = self.note(day, kept.arcs(), &seen).await?;
            if packs.is_empty() {
                return Ok(());
            }
            // Those were indexed for what the node kept at that moment.
            new = kept.clone();
        }
    }

    /// Reads a pack's tail and indexes its streams within some arcs.
    async fn add_anew(&self, day: Day, record: &PackRecord, within: Arcs) -> Result<()> {
        let super::Parts { env, index, .. } = &self.parts;
        let key = &record.object_key;
        let found = self.find_pack(key, None).await.with_context(|| format!("read the pack `{key}`"))?;
        let Some((summary, state)) = found else {
            // Of what it had beyond what is known, nobody knows anything any more.
            return self.note_lost(key).await;
        };
        if (state, record.state) == (PackState::Spooled, PackState::Shipped) {
            self.on_found(key).await?;
        }
        let mut pack = NewPack::of_summary(&record.tenant, key, record.state, &summary, Vec::new());
        pack.keep_within(within);
        // The day's reach is noted once all packs are done.
        pack.within = None;
        let index = index.clone();
        let add = move || index.day(day)?.map_or(Ok(()), |day| day.add_streams(&pack));
        Ok(env.exec.run(Lane::Disk, add).await?)
    }

    /// Notes that a day is whole for these tokens, unless there are packs that were not seen; returns these.
    async fn note(&self, day: Day, arcs: Arcs, seen: &BTreeSet<PackId>) -> Result<Vec<(PackId, PackRecord)>> {
        let (index, seen) = (self.parts.index.clone(), seen.clone());
        let note = move || {
            let Some(day) = index.day(day)? else { return Ok(Vec::new()) };
            let unseen = day.widen(&arcs, &seen)?;
            day.read(|snapshot| {
                let record = |id: PackId| Ok(snapshot.pack(id)?.map(|record| (id, record)));
                unseen.into_iter().filter_map(|id| record(id).transpose()).collect()
            })
        };
        let unseen: Result<_, grapevine_storage::index::IndexError> =
            self.parts.env.exec.run(Lane::Disk, note).await;
        Ok(unseen?)
    }
}

/// The tokens between the first and the last stream of a pack, by its name; all where that does not tell.
fn span(object_key: &str) -> Share {
    PackName::parse(object_key).map_or_else(Share::all, |name| name.span())
}
