//! Merges small packs of one tenant and day, and rewrites packs more than half of whose text has expired.
//!
//! The merged pack is durable in the spool before one transaction puts it in the place of the others, so that no
//! query sees an entry twice or not at all; the others' objects go later. Entries stay unique: chunks that overlap
//! in time are settled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use grapevine_storage::chunk_store::StoreError;
use grapevine_storage::index::{Day, DayIndex, IndexError, NewPack, PackId, PackRecord, PackState};
use grapevine_storage::pack::merge::MergeError;
use grapevine_storage::pack::writer::WriteError;
use grapevine_storage::pack::{Level, PackReader};
use grapevine_storage::stream::StreamId;

use super::rebuild::is_of_the_pack;
use super::{Housekeeper, doubled, lock};
use crate::disk::Rung;
use crate::exec::Lane;
use crate::ingester::records::object_key;
use crate::ingester::spool::SpoolError;

/// Packs below this are small: reading one costs more in requests than in bytes.
const SMALL_BYTES: u64 = 64 << 20;
/// What goes into one merged pack at most.
const MERGED_BYTES_MAX: u64 = 256 << 20;
/// Small packs that gather before a day that is still written to is merged.
const SMALL_PACKS_MIN: usize = 8;
/// How long after its end a day is taken to be written: heads flush by age before.
const SETTLED_AFTER_NS: i64 = 3 * 3_600_000_000_000;
/// Bytes fetched at a time from a chunk store behind a network.
const FETCH_BYTES: u64 = 8 << 20;

/// A pack as far as the decision is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The pack.
    pub id: PackId,
    /// What the index knows of it.
    pub record: PackRecord,
    /// Its streams that have not expired.
    pub streams: BTreeSet<StreamId>,
    /// Compressed bytes of the text that has not expired; the most there can be where that is not known.
    pub live_bytes: u64,
}

/// Packs to be made into one, in order of arrival.
pub type Batch = Vec<Candidate>;

/// Decides what is to be merged or rewritten of one day.
pub fn plan(packs: Vec<Candidate>, day_is_over: bool) -> Vec<Batch> {
    let shipped = packs.into_iter().filter(|pack| pack.record.state == PackState::Shipped);
    let mut by_tenant: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
    let mut batches = Vec::new();
    for pack in shipped {
        if is_mostly_expired(&pack) {
            batches.push(vec![pack]);
        } else if pack.record.bytes < SMALL_BYTES {
            by_tenant.entry(pack.record.tenant.clone()).or_default().push(pack);
        }
    }
    for mut small in by_tenant.into_values() {
        if !day_is_over {
            small = without_the_large(small);
        }
        if small.len() >= if day_is_over { 2 } else { SMALL_PACKS_MIN } {
            batches.extend(runs(small));
        }
    }
    batches
}

fn is_mostly_expired(pack: &Candidate) -> bool {
    pack.live_bytes.saturating_mul(2) < pack.record.footer().columns_start
}

/// Leaves out packs larger than all smaller ones together: merging them again and again would write every entry as
/// often as there are merges, not once for each doubling.
fn without_the_large(mut packs: Vec<Candidate>) -> Vec<Candidate> {
    packs.sort_by_key(|pack| pack.record.bytes);
    let mut sum: u64 = packs.iter().map(|pack| pack.record.bytes).sum();
    while let Some(largest) = packs.last()
        && largest.record.bytes * 2 > sum
    {
        sum -= largest.record.bytes;
        packs.pop();
    }
    packs
}

/// Cuts packs, in order of arrival, into runs that fit one pack; a run of one is left as it is.
pub(super) fn runs(mut packs: Vec<Candidate>) -> Vec<Batch> {
    packs.sort_by_key(|pack| (pack.record.arrival, pack.record.first_ts, pack.id));
    let mut runs: Vec<Batch> = Vec::new();
    let mut bytes = u64::MAX;
    for pack in packs {
        bytes = bytes.saturating_add(pack.record.bytes);
        if bytes > MERGED_BYTES_MAX {
            bytes = pack.record.bytes;
            runs.push(Vec::new());
        }
        runs.last_mut().expect("the first pack starts a run").push(pack);
    }
    runs.retain(|run| run.len() > 1);
    runs
}

impl Housekeeper {
    /// One round over all days. Between two batches others have their turn; what they left is planned anew.
    ///
    /// # Errors
    /// A pack cannot be read or written; the others were merged.
    pub async fn compact(&self) -> anyhow::Result<()> {
        let (worker, mut outcome) = (&self.staff.merge, Ok(()));
        let mut done = 0;
        let days = self.days().await?;
        lock(&self.single).retain(|day, _| days.contains(day));
        for day in days {
            loop {
                // A merge writes as much as it reads, and frees it only when the old packs are deleted.
                if worker.is_paused() || self.disk.rung() >= Rung::ReadOnly {
                    return outcome;
                }
                let turn = self.turn.lock().await;
                let mut batches = self.batches(day).await?;
                worker.progress(done, done + batches.len() as u64);
                if batches.is_empty() {
                    break;
                }
                let batch = batches.swap_remove(0);
                let bytes = batch.iter().map(|pack| pack.record.bytes).sum();
                let ids: Vec<PackId> = batch.iter().map(|pack| pack.id).collect();
                let merged = self.merge(day, batch).await;
                drop(turn);
                match merged {
                    // The next round tries again.
                    Err(error) if is_passing(&error) => return Err(error),
                    Err(error) => {
                        lock(&self.unmergeable).extend(ids);
                        outcome = outcome.and(Err(error));
                    }
                    Ok(()) => {}
                }
                done += 1;
                worker.progress(done, done + batches.len() as u64);
                worker.spend(bytes).await;
            }
        }
        outcome
    }

    async fn batches(&self, day: Day) -> anyhow::Result<Vec<Batch>> {
        let Some(index) = self.open(day).await? else { return Ok(Vec::new()) };
        let sees_all = self.custody.sees_all();
        let of_day = index.clone();
        let mut packs = self.env.exec.run(Lane::Disk, move || candidates(&of_day, sees_all)).await?;
        let known = lock(&self.unmergeable).clone();
        packs.retain(|pack| !known.contains(&pack.id));
        let doubled = self.doubled(&index, day, &packs).await?;
        if !doubled.is_empty() {
            return Ok(doubled);
        }
        packs.retain(|pack| self.custody.tends(&pack.record.object_key));
        if !sees_all {
            packs.iter_mut().for_each(|pack| pack.live_bytes = self.judged_live_bytes(day, pack.id));
            // Nothing is known of what is in others' packs unless they were judged.
            packs.retain(|pack| !pack.streams.is_empty() || (1..u64::MAX).contains(&pack.live_bytes));
        }
        let over = day.timestamps().end().saturating_add(SETTLED_AFTER_NS) < self.env.clock.now();
        Ok(plan(packs, over))
    }

    async fn merge(&self, day: Day, batch: Batch) -> anyhow::Result<()> {
        let (count, now) = (batch.len() as u64, self.env.clock.now());
        self.merge_into(day, batch, move |index, old, pack| {
            index.replace_packs(old, pack, now)?;
            Ok(true)
        })
        .await?;
        self.metrics.packs_merged.inc_by(count);
        Ok(())
    }

    /// Makes one pack of several, durable in the spool, and tells others of it where `commit` says that it is indexed now.
    pub(super) async fn merge_into(
        &self,
        day: Day,
        batch: Batch,
        commit: impl FnOnce(&DayIndex, &[PackId], &NewPack) -> anyhow::Result<bool> + Send + 'static,
    ) -> anyhow::Result<()> {
        let mut copies = Vec::new();
        let merged = self.merge_copies(day, batch, commit, &mut copies).await;
        let removed = self.remove_copies(copies).await;
        merged.and(removed).with_context(|| format!("merge packs of {day}"))
    }

    /// Merges; `copies` learns of every file that is no longer needed afterwards, whatever happens.
    async fn merge_copies(
        &self,
        day: Day,
        batch: Batch,
        commit: impl FnOnce(&DayIndex, &[PackId], &NewPack) -> anyhow::Result<bool> + Send + 'static,
        copies: &mut Vec<PathBuf>,
    ) -> anyhow::Result<()> {
        let Some(index) = self.open(day).await? else { return Ok(()) };
        let mut paths = Vec::with_capacity(batch.len());
        for pack in &batch {
            paths.push(self.local_copy(&pack.record, copies).await?);
        }
        let (spool, now) = (self.spool.clone(), self.env.clock.now());
        let (retention, sees_all) = (self.retention.clone(), self.custody.sees_all());
        let work = move || {
            let files = paths.iter().map(|path| Ok(PackReader::open(File::open(path)?)?));
            let readers = files.collect::<anyhow::Result<Vec<_>>>()?;
            // Hidden streams of any of the packs have expired, and with them that stream's whole day.
            let mut keep: BTreeSet<StreamId> = batch.iter().flat_map(|pack| &pack.streams).copied().collect();
            let tenant = &batch[0].record.tenant;
            if !sees_all {
                for reader in &readers {
                    let streams = reader.directory()?.streams.into_iter();
                    let live = streams.filter(|s| !retention.is_expired(tenant, &s.labels, day, now));
                    keep.extend(live.map(|stream| stream.id));
                }
            }
            let summary = spool.merge(tenant, day, &readers, |id| keep.contains(&id), Level::default())?;
            let key = object_key(tenant, day, &summary);
            let mut pack = NewPack::of_summary(tenant, &key, PackState::Spooled, &summary, Vec::new());
            let old: Vec<PackId> = batch.iter().map(|pack| pack.id).collect();
            pack.covers = doubled::covers_of(&index, &old)?;
            Ok::<_, anyhow::Error>(commit(&index, &old, &pack)?.then_some(pack.id))
        };
        if let Some(by) = self.env.exec.run(Lane::Seal, work).await? {
            self.custody.on_replaced(day, by);
        }
        Ok(())
    }

    /// A pack as a file; `copies` learns of it if it is a copy, which is to be removed.
    pub(super) async fn local_copy(
        &self,
        record: &PackRecord,
        copies: &mut Vec<PathBuf>,
    ) -> anyhow::Result<PathBuf> {
        if let Some(path) = self.store.local_path(&record.object_key) {
            return Ok(path);
        }
        let path = self.spool.temporary();
        copies.push(path.clone());
        let mut at = 0;
        while at < record.bytes {
            let range = at..record.bytes.min(at + FETCH_BYTES);
            let bytes = self.store.get_range(&record.object_key, range).await?;
            at += bytes.len() as u64;
            let target = path.clone();
            let append = move || {
                let file = File::options().create(true).append(true).open(&target);
                let failed = |source| SpoolError::Io { action: "copy a pack to", path: target, source };
                file.and_then(|mut file| file.write_all(&bytes)).map_err(failed)
            };
            self.env.exec.run(Lane::Disk, append).await?;
        }
        Ok(path)
    }

    /// Removes what [`Self::local_copy`] made.
    pub(super) async fn remove_copies(&self, copies: Vec<PathBuf>) -> anyhow::Result<()> {
        let remove = move || copies.iter().try_for_each(|path| remove(path));
        self.env.exec.run(Lane::Disk, remove).await.context("remove copies of packs")
    }
}

/// Whether what failed passes: the chunk store, this node's disk or its index, and not what packs hold.
pub(super) fn is_passing(error: &anyhow::Error) -> bool {
    let of_store = |error: &StoreError| error.kind.is_retryable();
    let of_spool = |error: &SpoolError| {
        use SpoolError::{Damaged, Io, Merge, Write};
        match error {
            Io { .. } | Write(WriteError::Write(_)) | Merge(MergeError::Write(WriteError::Write(_))) => true,
            Write(_) | Merge(_) | Damaged(_) => false,
        }
    };
    let of_index = |error: &IndexError| !is_of_the_pack(error);
    error.chain().any(|cause| {
        cause.downcast_ref().is_some_and(of_store)
            || cause.downcast_ref().is_some_and(of_spool)
            || cause.downcast_ref().is_some_and(of_index)
    })
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What there is to choose from. Packs without a stream that is to be found are given up, unless others find some in them.
fn candidates(day: &DayIndex, sees_all: bool) -> Result<Vec<Candidate>, IndexError> {
    day.read(|snapshot| {
        let mut packs = Vec::new();
        for (id, record) in snapshot.packs()? {
            let contents = snapshot.contents(id)?;
            let live_bytes = contents.iter().map(|(_, bytes)| bytes).sum();
            let streams: BTreeSet<StreamId> = contents.into_iter().map(|(stream, _)| stream).collect();
            if !streams.is_empty() || !sees_all {
                packs.push(Candidate { id, record, streams, live_bytes });
            }
        }
        Ok(packs)
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use grapevine_storage::index::{Extent, PackId, PackRecord, PackState};

    use super::{Candidate, plan};

    const MIB: u64 = 1 << 20;

    pub(in crate::housekeeping) fn pack(id: u128, tenant: &str, mib: u64) -> Candidate {
        let bytes = mib * MIB;
        let record = PackRecord {
            tenant: tenant.to_owned(),
            object_key: String::new(),
            bytes,
            state: PackState::Shipped,
            areas: [Extent { offset: bytes, length: 0 }; 3],
            chunks: 1,
            entries: 1,
            text_bytes: 1,
            first_ts: id as i64,
            last_ts: id as i64,
            arrival: id as u64,
        };
        Candidate { id: PackId(id), record, streams: BTreeSet::new(), live_bytes: bytes }
    }

    fn check(packs: Vec<Candidate>, day_is_over: bool, expected: &[&[u128]]) {
        let planned = plan(packs, day_is_over);
        let ids: Vec<Vec<u128>> =
            planned.iter().map(|batch| batch.iter().map(|p| p.id.0).collect()).collect();
        assert_eq!(ids, expected);
    }

    #[test]
    fn a_day_that_is_over_is_merged_tenant_by_tenant_in_order_of_arrival() {
        check(vec![pack(2, "a", 1), pack(3, "b", 1), pack(1, "a", 5), pack(4, "b", 70)], true, &[&[1, 2]]);
        check((1..=6).map(|id| pack(id, "a", 60)).collect(), true, &[&[1, 2, 3, 4], &[5, 6]]);
        check(vec![pack(1, "a", 1)], true, &[]);
    }

    #[test]
    fn a_day_that_is_written_to_waits_for_enough_packs_and_spares_the_large_one() {
        check((1..=7).map(|id| pack(id, "a", 1)).collect(), false, &[]);
        let packs = |large| (1..=8).map(|id| pack(id, "a", 1)).chain([pack(9, "a", large)]).collect();
        check(packs(1), false, &[&[1, 2, 3, 4, 5, 6, 7, 8, 9]]);
        check(packs(20), false, &[&[1, 2, 3, 4, 5, 6, 7, 8]]);
    }

    #[test]
    fn what_has_mostly_expired_is_rewritten_and_what_is_not_shipped_waits() {
        let mostly = Candidate { live_bytes: 40 * MIB, ..pack(1, "a", 100) };
        let half = Candidate { live_bytes: 50 * MIB, ..pack(2, "a", 100) };
        check(vec![mostly.clone(), half], false, &[&[1]]);
        let record = PackRecord { state: PackState::Spooled, ..mostly.record.clone() };
        check(vec![Candidate { record, ..mostly }], true, &[]);
    }
}
