//! Carries out delete requests: packs that hold what is to go are written anew without it.
//!
//! A request is carried out once it can no longer be taken back. What heads hold of it is packed first. Each pack of
//! its days is looked through; one that holds any of its lines is replaced as a merge replaces packs: the new one is
//! durable before one transaction puts it in the old one's place, whose object goes after a grace. A request is done
//! when no pack and no head holds any of it and the objects given up until then are deleted, so that not even an index
//! rebuilt from what is stored brings a line back. Everything can be begun anew at any point: what is kept in memory
//! only saves looking twice.
//!
//! In a cluster each node does so with the packs it tends, and waits for the others to replace those that it does not. It
//! goes on looking through packs that turn up for as long as [`Deletes::due`] says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use grapevine_storage::index::{Day, DayIndex, IndexError, NewPack, PackId, PackRecord, PackState};
use grapevine_storage::pack::{Level, PackReader, holds_any};
use grapevine_storage::stream::StreamId;

use super::compact::is_passing;
use super::{Housekeeper, lock};
use crate::deletes::matcher::{Deletion, Eraser};
use crate::deletes::{DeleteError, DeleteRequest, Deletes};
use crate::disk::Rung;
use crate::exec::Lane;
use crate::ingester::Ingester;
use crate::ingester::records::object_key;

/// Requests of one tenant that are carried out together, so that a pack is written once for all of them: Loki's
/// `delete_batch_size`.
const REQUESTS_AT_ONCE: usize = 70;
/// Packs looked through in one round: bounds how long other housekeeping waits.
const PACKS_A_ROUND: usize = 32;

/// How far a request is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Packs that hold nothing of it.
    clean: BTreeSet<PackId>,
    /// Packs that hold some of it and are another node's to rewrite.
    awaited: BTreeSet<PackId>,
    /// Since when no pack has held anything of it, ns.
    since: Option<i64>,
}

impl Progress {
    /// Whether the request is done, given what is left to do in packs and when the objects that are not deleted yet
    /// were given up.
    fn is_done(&mut self, is_pending: bool, given_up: &[i64], now: i64) -> bool {
        if is_pending {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        given_up.iter().all(|when| *when > since)
    }
}

/// Requests of one tenant, compiled.
struct Batch {
    tenant: String,
    requests: Vec<DeleteRequest>,
    deletions: Vec<Arc<Deletion>>,
}

/// What a round found out about one request.
#[derive(Clone, Debug, Default)]
struct Round {
    packs: usize,
    clean: usize,
    is_pending: bool,
    given_up: Vec<i64>,
}

/// What the index knows of a day.
struct DayPacks {
    is_incomplete: bool,
    packs: Vec<(PackId, PackRecord)>,
}

impl Batch {
    fn new(tenant: String, mut requests: Vec<DeleteRequest>, deletes: &Deletes) -> anyhow::Result<Self> {
        requests.truncate(REQUESTS_AT_ONCE);
        let compile =
            |request: &DeleteRequest| deletes.compile(request).map(Arc::new).map_err(anyhow::Error::msg);
        let deletions = requests.iter().map(compile).collect::<anyhow::Result<_>>()?;
        Ok(Batch { tenant, requests, deletions })
    }

    /// The requests that concern a stretch of time, both ends inclusive.
    fn overlapping(&self, first: i64, last: i64) -> impl Iterator<Item = usize> + '_ {
        (0..self.deletions.len()).filter(move |n| self.deletions[*n].overlaps(first, last))
    }

    fn overlaps_day(&self, day: Day) -> bool {
        let times = day.timestamps();
        self.overlapping(*times.start(), *times.end()).next().is_some()
    }

    /// The requests of which heads may hold lines.
    fn in_heads(&self, ingester: &Ingester) -> BTreeSet<usize> {
        let heads = ingester.heads().of_tenant(&self.tenant, Day(i32::MIN), Day(i32::MAX));
        let concerned = heads.iter().flat_map(|head| {
            let (first, last) = head.time_range().unwrap_or((i64::MAX, i64::MIN));
            self.overlapping(first, last).filter(|n| self.deletions[*n].selects(&head.labels))
        });
        concerned.collect()
    }
}

impl Housekeeper {
    /// One round over the requests that are due.
    pub(crate) async fn erase(&self, ingester: &Ingester) -> anyhow::Result<()> {
        if self.disk.rung() >= Rung::ReadOnly {
            return Ok(());
        }
        let mut by_tenant: BTreeMap<String, Vec<DeleteRequest>> = BTreeMap::new();
        for request in self.deletes.due() {
            by_tenant.entry(request.tenant.clone()).or_default().push(request);
        }
        let is_due = |(tenant, id): &(String, String)| {
            by_tenant.get(tenant).is_some_and(|requests| requests.iter().any(|request| request.id == *id))
        };
        lock(&self.erasing).retain(|name, _| is_due(name));
        let mut outcome = Ok(());
        let mut budget = PACKS_A_ROUND;
        for (tenant, requests) in by_tenant {
            let batch = Batch::new(tenant, requests, &self.deletes)?;
            let erased = self.erase_batch(batch, ingester, &mut budget).await;
            outcome = outcome.and(erased);
        }
        outcome
    }

    async fn erase_batch(&self, batch: Batch, ingester: &Ingester, budget: &mut usize) -> anyhow::Result<()> {
        let mut rounds = vec![Round::default(); batch.requests.len()];
        if !batch.in_heads(ingester).is_empty() {
            // All of them, so that the log lets go of the text too.
            ingester.flush_all().await.context("pack what is to be deleted")?;
            // What is another's to pack stays until that has told of it.
            batch.in_heads(ingester).into_iter().for_each(|n| rounds[n].is_pending = true);
        }
        let mut outcome = Ok(());
        for day in self.days().await?.into_iter().filter(|day| batch.overlaps_day(*day)) {
            outcome = outcome.and(self.erase_day(day, &batch, &mut rounds, budget).await);
        }
        for (request, round) in batch.requests.iter().zip(rounds) {
            if self.deletes.is_done_here(request) {
                continue;
            }
            self.deletes.note_progress(request, round.clean, round.packs);
            if self.is_done(request, &round) {
                match self.deletes.mark_processed(&request.tenant, &request.id).await {
                    // It was taken back by force at the last moment.
                    Err(DeleteError::Unknown) => continue,
                    marked => marked?,
                }
                self.metrics.deletes_processed.inc();
                tracing::info!(
                    tenant = request.tenant,
                    id = request.id,
                    "a delete request has been carried out"
                );
            }
        }
        outcome
    }

    fn is_done(&self, request: &DeleteRequest, round: &Round) -> bool {
        let now = self.env.clock.now();
        let mut erasing = lock(&self.erasing);
        let progress = erasing.entry((request.tenant.clone(), request.id.clone())).or_default();
        progress.is_done(round.is_pending, &round.given_up, now)
    }

    async fn erase_day(
        &self,
        day: Day,
        batch: &Batch,
        rounds: &mut [Round],
        budget: &mut usize,
    ) -> anyhow::Result<()> {
        let Some(index) = self.open(day).await? else { return Ok(()) };
        let (of_day, tenant) = (index.clone(), batch.tenant.clone());
        let look = move || {
            // First: no pack from before is taken for what is left after it.
            of_day.note_erased(&tenant)?;
            day_packs(&of_day, &tenant)
        };
        let known = self.env.exec.run(Lane::Disk, look).await?;
        let (mut outcome, total) = (Ok(()), known.packs.len() as u64);
        for (done, (id, record)) in (0..).zip(known.packs) {
            self.staff.delete.progress(done, total);
            let concerned: Vec<usize> = batch.overlapping(record.first_ts, record.last_ts).collect();
            let erased = self.erase_pack_once(day, id, record, batch, &concerned, budget).await;
            for n in concerned {
                rounds[n].packs += 1;
                match erased {
                    Ok(true) => rounds[n].clean += 1,
                    _ => rounds[n].is_pending = true,
                }
            }
            outcome = outcome.and(erased.map(drop));
        }
        // Last: it must list what was replaced just now.
        let tenant = batch.tenant.clone();
        let given_up = self.env.exec.run(Lane::Disk, move || given_up(&index, &tenant)).await?;
        let times = day.timestamps();
        for n in batch.overlapping(*times.start(), *times.end()) {
            rounds[n].is_pending |= known.is_incomplete;
            rounds[n].given_up.extend(&given_up);
        }
        outcome
    }

    /// Looks through a pack unless that is done; says whether it, or what took its place, holds nothing that is to go.
    async fn erase_pack_once(
        &self,
        day: Day,
        id: PackId,
        record: PackRecord,
        batch: &Batch,
        concerned: &[usize],
        budget: &mut usize,
    ) -> anyhow::Result<bool> {
        let left: Vec<usize> = concerned.iter().copied().filter(|n| !self.is_clean(batch, *n, id)).collect();
        if left.is_empty() {
            return Ok(true);
        }
        let tends = self.custody.tends(&record.object_key);
        if !tends && left.iter().any(|n| self.is_awaited(batch, *n, id)) {
            self.custody.on_awaited(day);
            return Ok(false);
        }
        // A pack on its way to the chunk store has its turn when it has arrived; one that cannot be read, when all is
        // reconciled.
        let waits = record.state != PackState::Shipped || lock(&self.unmergeable).contains(&id);
        if *budget == 0 || waits {
            return Ok(false);
        }
        *budget -= 1;
        let mut copies = Vec::new();
        let looked = match tends {
            true => {
                let deletions = left.iter().map(|n| batch.deletions[*n].clone()).collect();
                self.erase_pack(day, id, record, deletions, &mut copies).await
            }
            false => self.await_pack(id, record, batch, &left, &mut copies).await,
        };
        self.remove_copies(copies).await?;
        let looked = looked.inspect_err(|error| {
            if !is_passing(error) {
                lock(&self.unmergeable).push(id);
            }
        });
        let clean = looked.with_context(|| format!("delete lines of {day} from pack {id}"))?;
        if !tends {
            return Ok(left.iter().all(|n| self.is_clean(batch, *n, id)));
        }
        for n in left {
            lock(&self.erasing).entry(batch.requests[n].name()).or_default().clean.extend(clean);
        }
        Ok(true)
    }

    fn is_clean(&self, batch: &Batch, n: usize, pack: PackId) -> bool {
        let erasing = lock(&self.erasing);
        erasing.get(&batch.requests[n].name()).is_some_and(|progress| progress.clean.contains(&pack))
    }

    fn is_awaited(&self, batch: &Batch, n: usize, pack: PackId) -> bool {
        let erasing = lock(&self.erasing);
        erasing.get(&batch.requests[n].name()).is_some_and(|progress| progress.awaited.contains(&pack))
    }

    /// Looks which requests concern a pack that another node tends, and remembers it.
    async fn await_pack(
        &self,
        id: PackId,
        record: PackRecord,
        batch: &Batch,
        concerned: &[usize],
        copies: &mut Vec<PathBuf>,
    ) -> anyhow::Result<Option<PackId>> {
        let path = self.local_copy(&record, copies).await?;
        let deletions: Vec<Arc<Deletion>> = concerned.iter().map(|n| batch.deletions[*n].clone()).collect();
        let work = move || {
            let pack = PackReader::open(File::open(&path)?)?;
            let live = pack.directory()?.streams.into_iter().map(|stream| stream.id).collect();
            let held = deletions.chunks(1).map(|one| holds_any(&pack, &mut Eraser::new(one, &live)));
            Ok::<_, anyhow::Error>(held.collect::<Result<Vec<bool>, _>>()?)
        };
        let held = self.env.exec.run(Lane::Seal, work).await?;
        for (n, is_held) in concerned.iter().zip(held) {
            let mut erasing = lock(&self.erasing);
            let progress = erasing.entry(batch.requests[*n].name()).or_default();
            if is_held { &mut progress.awaited } else { &mut progress.clean }.insert(id);
        }
        Ok(None)
    }

    /// Takes what deletions name out of a pack; gives back the pack that is there now, if one is.
    async fn erase_pack(
        &self,
        day: Day,
        id: PackId,
        record: PackRecord,
        deletions: Vec<Arc<Deletion>>,
        copies: &mut Vec<PathBuf>,
    ) -> anyhow::Result<Option<PackId>> {
        let Some(index) = self.open(day).await? else { return Ok(None) };
        let path = self.local_copy(&record, copies).await?;
        let (spool, now) = (self.spool.clone(), self.env.clock.now());
        let sees_all = self.custody.sees_all();
        let work = move || {
            let live = index.read(|snapshot| snapshot.contents(id))?;
            let mut live: BTreeSet<StreamId> = live.into_iter().map(|(stream, _)| stream).collect();
            let pack = PackReader::open(File::open(&path)?)?;
            if !sees_all {
                live.extend(pack.directory()?.streams.into_iter().map(|stream| stream.id));
            }
            let mut eraser = Eraser::new(&deletions, &live);
            let holds_any = holds_any(&pack, &mut eraser)?;
            let written = match holds_any {
                true => spool.sift(&record.tenant, day, &pack, &mut eraser, Level::default())?,
                false => None,
            };
            let Some(summary) = written else {
                if holds_any {
                    index.remove_packs(&[id], now)?;
                }
                return Ok::<_, anyhow::Error>((!holds_any).then_some((id, false)));
            };
            let key = object_key(&record.tenant, day, &summary);
            let pack = NewPack::of_summary(&record.tenant, &key, PackState::Spooled, &summary, Vec::new());
            index.replace_packs(&[id], &pack, now)?;
            Ok(Some((pack.id, true)))
        };
        let left = self.env.exec.run(Lane::Seal, work).await?;
        if left.is_none_or(|(_, is_new)| is_new) {
            self.metrics.packs_erased.inc();
        }
        if let Some((by, true)) = left {
            self.custody.on_replaced(day, by);
        }
        Ok(left.map(|(id, _)| id))
    }
}

fn day_packs(index: &DayIndex, tenant: &str) -> Result<DayPacks, IndexError> {
    let packs = index.read(|snapshot| snapshot.packs())?;
    let packs = packs.into_iter().filter(|(_, record)| record.tenant == tenant).collect();
    Ok(DayPacks { is_incomplete: index.is_incomplete()?, packs })
}

/// When objects of a tenant that are still there were given up.
fn given_up(index: &DayIndex, tenant: &str) -> Result<Vec<i64>, IndexError> {
    let own = |(key, when): (String, i64)| (key.split('/').next() == Some(tenant)).then_some(when);
    Ok(index.given_up()?.into_iter().filter_map(own).collect())
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn a_request_is_done_once_what_was_given_up_before_is_deleted() {
        let mut progress = Progress::default();
        assert!(!progress.is_done(true, &[], 1));
        assert!(!progress.is_done(false, &[1, 2], 2), "the object given up at 2 may hold lines");
        assert!(!progress.is_done(false, &[2, 9], 9));
        assert!(progress.is_done(false, &[9], 10), "what was given up later held nothing of it");
    }

    #[test]
    fn a_pack_that_turns_up_later_is_looked_through_before_a_request_is_done() {
        let mut progress = Progress::default();
        assert!(!progress.is_done(false, &[1], 1));
        assert!(!progress.is_done(true, &[], 2));
        assert!(!progress.is_done(false, &[3], 3));
        assert!(progress.is_done(false, &[], 4));
    }
}
