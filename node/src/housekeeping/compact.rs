//! Merges small packs of one tenant and day, and rewrites packs more than half of whose text has expired.
//!
//! The merged pack is durable in the spool before one transaction puts it in the place of the others, so that no
//! query sees an entry twice or not at all; the others' objects go later. Entries stay unique: chunks that overlap
//! in time are settled.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use grapevine_storage::index::{Day, DayIndex, IndexError, NewPack, PackId, PackRecord, PackState};
use grapevine_storage::pack::{Level, PackReader};
use grapevine_storage::stream::StreamId;

use super::{COMPACT, Housekeeper, lock};
use crate::exec::Lane;
use crate::ingester::records::object_key;

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
    /// Compressed bytes of their text.
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
    pack.live_bytes * 2 < pack.record.footer().columns_start
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
fn runs(mut packs: Vec<Candidate>) -> Vec<Batch> {
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
    /// One round over all days.
    pub(super) async fn compact(&self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for day in self.days().await? {
            let Some(index) = self.open(day).await? else { continue };
            let packs = self.env.exec.run(Lane::Disk, move || candidates(&index)).await?;
            let known = lock(&self.unmergeable).clone();
            let packs = packs.into_iter().filter(|pack| !known.contains(&pack.id)).collect();
            let over = day.timestamps().end().saturating_add(SETTLED_AFTER_NS) < self.env.clock.now();
            let batches = plan(packs, over);
            let total = batches.len() as u64;
            for (done, batch) in (0..).zip(batches) {
                self.workers[COMPACT].progress(done, total);
                let ids: Vec<PackId> = batch.iter().map(|pack| pack.id).collect();
                let merged = self.merge(day, batch).await;
                if merged.is_err() {
                    lock(&self.unmergeable).extend(ids);
                }
                outcome = outcome.and(merged);
            }
        }
        outcome
    }

    async fn merge(&self, day: Day, batch: Batch) -> anyhow::Result<()> {
        let Some(index) = self.open(day).await? else { return Ok(()) };
        let mut paths = Vec::with_capacity(batch.len());
        for pack in &batch {
            paths.push(self.local_copy(&pack.record).await?);
        }
        let (spool, now, count) = (self.spool.clone(), self.env.clock.now(), batch.len() as u64);
        let work = move || {
            let files = paths.iter().map(|(path, _)| Ok(PackReader::open(File::open(path)?)?));
            let readers = files.collect::<anyhow::Result<Vec<_>>>()?;
            // Hidden streams of any of the packs have expired, and with them that stream's whole day.
            let keep: BTreeSet<StreamId> = batch.iter().flat_map(|pack| &pack.streams).copied().collect();
            let tenant = &batch[0].record.tenant;
            let summary = spool.merge(tenant, day, &readers, |id| keep.contains(&id), Level::default())?;
            for (path, is_copy) in &paths {
                if *is_copy {
                    std::fs::remove_file(path)?;
                }
            }
            let key = object_key(tenant, day, &summary);
            let pack = NewPack::of_summary(tenant, &key, PackState::Spooled, &summary, Vec::new());
            let old: Vec<PackId> = batch.iter().map(|pack| pack.id).collect();
            Ok::<_, anyhow::Error>(index.replace_packs(&old, &pack, now)?)
        };
        self.env.exec.run(Lane::Seal, work).await.with_context(|| format!("merge packs of {day}"))?;
        self.metrics.packs_merged.inc_by(count);
        Ok(())
    }

    /// A pack as a file, and whether it is a copy that is to be deleted.
    pub(super) async fn local_copy(&self, record: &PackRecord) -> anyhow::Result<(PathBuf, bool)> {
        if let Some(path) = self.store.local_path(&record.object_key) {
            return Ok((path, false));
        }
        let path = self.spool.temporary();
        let mut at = 0;
        while at < record.bytes {
            let range = at..record.bytes.min(at + FETCH_BYTES);
            let bytes = self.store.get_range(&record.object_key, range).await?;
            let target = path.clone();
            at += bytes.len() as u64;
            self.env
                .exec
                .run(Lane::Disk, move || {
                    File::options().create(true).append(true).open(target)?.write_all(&bytes)
                })
                .await?;
        }
        Ok((path, true))
    }
}

fn candidates(day: &DayIndex) -> Result<Vec<Candidate>, IndexError> {
    day.read(|snapshot| {
        let mut packs = Vec::new();
        for (id, record) in snapshot.packs()? {
            let contents = snapshot.contents(id)?;
            let live_bytes = contents.iter().map(|(_, bytes)| bytes).sum();
            let streams: BTreeSet<StreamId> = contents.into_iter().map(|(stream, _)| stream).collect();
            if !streams.is_empty() {
                packs.push(Candidate { id, record, streams, live_bytes });
            }
        }
        Ok(packs)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use grapevine_storage::index::{Extent, PackId, PackRecord, PackState};

    use super::{Candidate, plan};

    const MIB: u64 = 1 << 20;

    fn pack(id: u128, tenant: &str, mib: u64) -> Candidate {
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
