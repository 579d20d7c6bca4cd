//! Makes the index whole again from what is stored: the spool and the chunk store.
//!
//! Reconciling a day adds every pack that is stored and not known; it takes nothing away, so packs that are flushed
//! meanwhile stay. The spool is listed before the chunk store: a pack on its way from one to the other is then in
//! one of the lists at least. Each pack costs a read of its tail, where footer and directory are. What was given up
//! on purpose is remembered by the index and stays out.
//!
//! So an object that no index knows is taken in, not deleted: it may be all that is left of someone's lines. What the
//! index knows and the store has no more, and what is no pack, is the business of `missing`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use futures_util::future::join_all;
use grapevine_storage::chunk_store::ChunkStore;
use grapevine_storage::index::{Day, DayIndex, Index, IndexError, NewPack, PackState, holds};
use grapevine_storage::pack::{PackError, PackReader, PackSummary, ReadAt};
use grapevine_storage::stream::StreamId;

use super::pack_name::PackName;
use super::{Housekeeper, lock};
use crate::exec::{Exec, Lane};
use crate::ingester::spool::Spool;

/// Packs whose tails are read at a time.
const READS_MAX: usize = 8;
/// Bytes read of a pack's end at first: the directories of most packs are shorter.
const TAIL_BYTES: u64 = 64 << 10;
/// How long a start may be held up by an index that must be rebuilt.
const PREPARE_MAX: Duration = Duration::from_secs(60);
/// How often a member that has no place in the ring yet looks whether it has.
const SETTLE_LOOK: Duration = Duration::from_secs(1);

/// What reconciling a day found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Packs that the index did not know and knows now.
    pub added: Vec<String>,
    /// Objects that bear the name of a pack and cannot be read as one, and why.
    pub unreadable: Vec<(String, String)>,
    /// Packs that were shipped, hold something that is to be found, and are not stored any more.
    pub missing: Vec<String>,
    /// Packs that are stored and that another took the place of, and their sizes.
    pub replaced: Vec<(String, u64)>,
}

/// A pack that is stored.
#[derive(Clone, Debug)]
struct Stored {
    key: String,
    /// Its size; none for one in the spool.
    bytes: Option<u64>,
}

/// What is stored of a day, beside what its index knows.
struct Compared {
    /// What the index does not know.
    unknown: Vec<Stored>,
    /// What it knows to be stored and is not.
    missing: Vec<String>,
    /// What it knows to be replaced, and sizes.
    replaced: Vec<(String, u64)>,
}

impl Housekeeper {
    /// Rebuilds the days whose index was found corrupt or is incomplete.
    pub(super) async fn mend(&self) -> anyhow::Result<()> {
        // Until it is known what is this member's, nothing is: its answers say what they may lack.
        if !self.custody.is_settled() {
            return Ok(());
        }
        for aside in self.index.take_set_aside() {
            tracing::warn!(day = %aside.day, reason = aside.reason, "the index of a day is rebuilt from its packs");
        }
        for day in self.days().await? {
            // What cannot be read now is tried again when all is reconciled.
            if lock(&self.partial).contains(&day) {
                continue;
            }
            let Some(index) = self.open(day).await? else { continue };
            if self.env.exec.run(Lane::Disk, move || index.is_incomplete()).await? {
                let found = self.reconcile_day(day).await?;
                let (packs, unreadable) = (found.added.len(), found.unreadable.len());
                tracing::info!(%day, packs, unreadable, "the index of a day has been rebuilt");
                self.staff.mend.progress(1, 1);
            }
        }
        Ok(())
    }

    /// Makes whole what a start finds damaged or missing, before anyone is answered: days whose index is corrupt, and
    /// days that are stored and have none. Takes only so long; what is left goes on behind open doors, and answers
    /// say what they lack: a store is never taken for empty because it was not looked through yet.
    pub async fn prepare(&self) {
        let mending = async {
            self.mend().await?;
            let missing = self.note_missing_days().await?;
            if !self.custody.is_settled() {
                // What of it is this member's is known once it has a place in the ring.
                return Ok(());
            }
            for day in missing {
                let found = self.reconcile_day(day).await?;
                tracing::warn!(%day, packs = found.added.len(), "a day was missing from the index; it was rebuilt from its packs");
            }
            Ok::<_, anyhow::Error>(())
        };
        match tokio::time::timeout(PREPARE_MAX, mending).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(
                error = format!("{error:#}"),
                "what is stored cannot be looked through now; it is tried again"
            ),
            Err(_) => {
                tracing::info!("looking through what is stored takes long; it goes on while the node serves")
            }
        }
    }

    /// Marks the days that are stored and that the index does not have, all of them before the first is looked through.
    pub(super) async fn note_missing_days(&self) -> anyhow::Result<Vec<Day>> {
        let known: BTreeSet<Day> = self.days().await?.into_iter().collect();
        // Who knows some days has looked through the store before.
        self.index.set_unsure(known.is_empty());
        let stored = self.stored_days().await?;
        let missing: Vec<Day> = stored.difference(&known).copied().collect();
        let (index, days) = (self.index.clone(), missing.clone());
        let mark =
            move || days.into_iter().try_for_each(|day| index.day_or_create(day)?.set_incomplete(true));
        self.env.exec.run(Lane::Disk, mark).await?;
        self.index.set_unsure(false);
        Ok(missing)
    }

    /// Looks through the whole chunk store and the spool for what the index does not know.
    pub(crate) async fn reconcile(&self) -> anyhow::Result<()> {
        let mut looks = tokio::time::interval(SETTLE_LOOK);
        while !self.custody.is_settled() {
            looks.tick().await;
        }
        lock(&self.partial).clear();
        lock(&self.unmergeable).clear();
        if self.index.is_unsure() {
            self.note_missing_days().await?;
        }
        let (searches, days) = (self.index.searches_wanted(), self.stored_days().await?);
        let (total, mut orphans) = (days.len() as u64, 0);
        for (done, day) in (0..).zip(days) {
            self.staff.reconcile.progress(done, total);
            if self.staff.reconcile.is_paused() {
                return Ok(());
            }
            let found = self.look_through(day).await?;
            // Once more: who has them may have come since.
            self.custody.on_missing(found.missing.into_iter().collect());
            orphans += self.tend_orphans(day, found.unreadable).await?;
        }
        self.metrics.orphans.set(orphans as i64);
        self.staff.reconcile.progress(total, total);
        let index = self.index.clone();
        Ok(self.env.exec.run(Lane::Disk, move || index.finish_search(searches)).await?)
    }

    /// Every day of which something is stored or indexed, oldest first.
    ///
    /// # Errors
    /// The spool, the index or the chunk store cannot be listed.
    pub async fn stored_days(&self) -> anyhow::Result<BTreeSet<Day>> {
        let mut days: BTreeSet<Day> = self.days().await?.into_iter().collect();
        let spooled = self.spooled().await?;
        days.extend(spooled.iter().filter_map(|key| PackName::parse(key)).map(|name| name.day));
        for tenant in self.store.folders("").await? {
            let folders = self.store.folders(&tenant).await?;
            days.extend(folders.iter().filter_map(|folder| folder.rsplit('/').next()?.parse::<Day>().ok()));
        }
        Ok(days)
    }

    /// Forgets what the index holds of a day and reads it all anew. The log is then replayed in full at the next
    /// start, and what is found twice collapses.
    ///
    /// # Errors
    /// As [`Self::reconcile_day`]; the day stays marked as incomplete then.
    pub async fn rebuild_day(&self, day: Day) -> anyhow::Result<Found> {
        let index = self.index.clone();
        self.env
            .exec
            .run(Lane::Disk, move || {
                index.drop_day(day)?;
                index.day_or_create(day)?.set_incomplete(true)
            })
            .await?;
        self.reconcile_day(day).await
    }

    /// Adds every pack of a day that is stored and that the index does not know.
    ///
    /// # Errors
    /// The chunk store, the spool or the index fails; what was added stays.
    pub async fn reconcile_day(&self, day: Day) -> anyhow::Result<Found> {
        let Compared { unknown, missing, replaced } = self.compared(day).await?;
        let mut found = Found { missing, replaced, ..Found::default() };
        let mut unknown = unknown.into_iter();
        loop {
            // Batch by batch, and not from a stream that reads ahead: reads that nobody polls while a pack is added would
            // sit on the places of the lane which adding waits for.
            let batch: Vec<_> = unknown.by_ref().take(READS_MAX).collect();
            if batch.is_empty() {
                break;
            }
            let summaries = join_all(batch.iter().map(|stored| self.summary(stored))).await;
            let read = summaries.iter().flatten().map(tail_bytes).sum();
            self.staff.reconcile.spend(read).await;
            for (stored, summary) in batch.into_iter().zip(summaries) {
                match summary? {
                    Ok(summary) => match self.add(day, &stored, summary).await {
                        Ok(()) => found.added.push(stored.key),
                        Err(error) if error.downcast_ref().is_some_and(is_of_the_pack) => {
                            found.unreadable.push((stored.key, format!("{error:#}")));
                        }
                        // All of it is tried again soon, instead of taking the pack for damaged until the next time
                        // that everything is looked through.
                        Err(error) => return Err(error.context(format!("index the pack `{}`", stored.key))),
                    },
                    Err(damage) => found.unreadable.push((stored.key, damage.to_string())),
                }
            }
        }
        if !found.added.is_empty() {
            // Others may know that they were given up.
            self.custody.on_awaited(day);
        }
        for (key, why) in &found.unreadable {
            tracing::error!(key, why, "a pack cannot be indexed; `grapevine pack verify` tells more");
        }
        found.added.sort_unstable();
        found.unreadable.sort_unstable();
        // Otherwise answers go on to say that lines may be missing.
        match found.unreadable.is_empty() {
            true => self.set_complete(day).await?,
            false => drop(lock(&self.partial).insert(day)),
        }
        Ok(found)
    }

    async fn set_complete(&self, day: Day) -> anyhow::Result<()> {
        let Some(index) = self.open(day).await? else { return Ok(()) };
        let set = move || if index.is_incomplete()? { index.set_incomplete(false) } else { Ok(()) };
        Ok(self.env.exec.run(Lane::Disk, set).await?)
    }

    /// Sets what is stored of a day beside what its index knows.
    async fn compared(&self, day: Day) -> anyhow::Result<Compared> {
        let shipped_before = self.shipped(day).await?;
        let of_day = |key: &str| PackName::parse(key).is_some_and(|name| name.day == day);
        let spooled = self.spooled().await?.into_iter().filter(|key| of_day(key));
        let mut stored: Vec<Stored> = spooled.map(|key| Stored { key, bytes: None }).collect();
        for tenant in self.store.folders("").await? {
            let listed = self.store.list(&format!("{tenant}/{day}")).await?;
            let packs = listed.into_iter().filter(|object| of_day(&object.key));
            stored.extend(packs.map(|object| Stored { key: object.key, bytes: Some(object.bytes) }));
        }
        let index = self.index.clone();
        let look = move || {
            let is_whole =
                index.day(day)?.map_or(Ok(false), |day| day.is_incomplete().map(|lacks| !lacks))?;
            Ok::<_, IndexError>((known(&index, day)?, is_whole))
        };
        let (known, is_whole) = self.env.exec.run(Lane::Disk, look).await?;
        let there = stored.iter().filter(|stored| stored.bytes.is_some());
        let there: BTreeSet<&str> = there.map(|stored| stored.key.as_str()).collect();
        // Those known before the store was listed and still: what was shipped or given up meanwhile is in order.
        let mut missing = self.shipped(day).await?;
        missing.retain(|key| shipped_before.contains(key) && !there.contains(key.as_str()));
        let missing = missing.into_iter().collect();
        let replaced = stored.iter().filter(|stored| known.is_replaced(&stored.key));
        let replaced = replaced.filter_map(|stored| Some((stored.key.clone(), stored.bytes?))).collect();
        // What is in the spool and not in an index that is whole is about to be: a flush or a merge writes it now.
        stored.retain(|stored| !(known.contains(&stored.key) || is_whole && stored.bytes.is_none()));
        Ok(Compared { unknown: stored, missing, replaced })
    }

    /// The keys of the packs of a day that are in the chunk store, by the index, and of which something is to be found
    /// here. Of those whose streams have become others' this node does not hear when they are replaced.
    async fn shipped(&self, day: Day) -> anyhow::Result<BTreeSet<String>> {
        let Some(index) = self.open(day).await? else { return Ok(BTreeSet::new()) };
        let reach = self.custody.reach();
        let is_ours = move |stream: StreamId| reach.as_ref().is_none_or(|arcs| holds(arcs, stream.token()));
        let look = move || {
            index.read(|snapshot| {
                let mut keys = BTreeSet::new();
                for (id, record) in snapshot.packs()? {
                    let mut contents = snapshot.contents(id)?.into_iter();
                    if record.state == PackState::Shipped && contents.any(|(stream, _)| is_ours(stream)) {
                        keys.insert(record.object_key);
                    }
                }
                Ok(keys)
            })
        };
        Ok(self.env.exec.run(Lane::Disk, look).await?)
    }

    /// Why an object that no index knows is no pack; none if it is one.
    ///
    /// # Errors
    /// The chunk store does not answer.
    pub async fn damage_of(&self, object_key: &str, bytes: u64) -> anyhow::Result<Option<String>> {
        if PackName::parse(object_key).is_none() {
            return Ok(Some("it does not bear the name of a pack".to_owned()));
        }
        let stored = Stored { key: object_key.to_owned(), bytes: Some(bytes) };
        Ok(self.summary(&stored).await?.err().map(|damage| damage.to_string()))
    }

    async fn summary(&self, stored: &Stored) -> anyhow::Result<Result<PackSummary, PackError>> {
        self.tails().summary(&stored.key, stored.bytes).await
    }

    /// Reads what packs say of themselves.
    pub(super) fn tails(&self) -> Tails {
        Tails { exec: self.env.exec.clone(), spool: self.spool.clone(), store: self.store.clone() }
    }

    async fn add(&self, day: Day, stored: &Stored, summary: PackSummary) -> anyhow::Result<()> {
        let name = PackName::parse(&stored.key).context("read a pack's name")?;
        let state = if stored.bytes.is_none() { PackState::Spooled } else { PackState::Shipped };
        let mut pack = NewPack::of_summary(name.tenant, &stored.key, state, &summary, Vec::new());
        let now = self.env.clock.now();
        pack.streams.retain(|stream| !self.retention.is_expired(name.tenant, &stream.labels, day, now));
        if self.custody.is_settled() {
            if let Some(arcs) = self.custody.reach() {
                pack.keep_within(arcs);
            }
            // Of a pack of other members' streams nothing need be known.
            if pack.streams.is_empty() && !self.custody.sees_all() {
                return Ok(());
            }
        }
        let index = self.index.clone();
        Ok(self.env.exec.run(Lane::Disk, move || index.day_or_create(day)?.add_pack(&pack)).await?)
    }

    /// The keys of the packs in the spool.
    async fn spooled(&self) -> anyhow::Result<Vec<String>> {
        let spool = self.spool.clone();
        Ok(self.env.exec.run(Lane::Disk, move || spool.keys()).await?)
    }
}

/// Whether a pack cannot be indexed for what it says, and not because the index failed.
pub(super) fn is_of_the_pack(error: &IndexError) -> bool {
    matches!(error, IndexError::Invalid { .. } | IndexError::TooLarge { .. })
}

/// Marks the days whose spooled packs the index lost, and removes packs of a flush that a crash cut off before they
/// were indexed: the log still holds what is in them. To be called before anything is flushed.
///
/// # Errors
/// The spool or the index cannot be read.
pub fn settle_spool(index: &Index, spool: &Spool) -> anyhow::Result<()> {
    let existing: BTreeSet<Day> = index.days()?.into_iter().collect();
    for key in spool.keys()? {
        let Some(name) = PackName::parse(&key) else { continue };
        let day = index.day_or_create(name.day)?;
        if !existing.contains(&name.day) {
            day.set_incomplete(true)?;
        } else if !day.is_incomplete()? && !known(index, name.day)?.contains(&key) {
            tracing::info!(key, "a pack that was never indexed is removed; the log holds its lines");
            spool.remove(&key)?;
        }
    }
    Ok(())
}

/// What a day's index knows of packs, those that were given up or replaced among them.
#[derive(Debug, Default)]
struct Known {
    keys: BTreeSet<String>,
    /// Those, and whether another took their place.
    gone: BTreeMap<u128, bool>,
    /// Packs that were nowhere to be had. Once stored again, they are to be read.
    lost: BTreeSet<String>,
}

impl Known {
    fn contains(&self, key: &str) -> bool {
        (self.keys.contains(key) || self.gone(key).is_some()) && !self.lost.contains(key)
    }

    fn is_replaced(&self, key: &str) -> bool {
        self.gone(key) == Some(true)
    }

    /// Of a pack that is gone, whether another took its place.
    fn gone(&self, key: &str) -> Option<bool> {
        self.gone.get(&PackName::parse(key)?.content_hash).copied()
    }
}

fn known(index: &Index, day: Day) -> Result<Known, IndexError> {
    let Some(day): Option<Arc<DayIndex>> = index.day(day)? else { return Ok(Known::default()) };
    let packs = day.read(|snapshot| snapshot.packs())?;
    let given_up = day.given_up()?.into_iter().map(|(key, _)| key);
    let gone = day.gone()?.into_iter().map(|(id, by)| (id.0, by.is_some())).collect();
    let lost = day.lost()?.into_iter().map(|(_, key)| key).collect();
    let keys = packs.into_iter().map(|(_, record)| record.object_key).chain(given_up).collect();
    Ok(Known { keys, gone, lost })
}

/// How much of a pack was read to know what it says of itself, or that it is none: as far as most directories reach, at
/// least.
pub fn tail_bytes(summary: &Result<PackSummary, PackError>) -> u64 {
    summary.as_ref().map_or(0, |summary| u64::from(summary.footer.directory_bytes)).max(TAIL_BYTES)
}

/// Reads what packs say of themselves, where they lie.
#[derive(Clone, Debug)]
pub struct Tails {
    /// Threads.
    pub exec: Exec,
    /// Packs on the local disk.
    pub spool: Spool,
    /// Packs anywhere else.
    pub store: ChunkStore,
}

impl Tails {
    /// What the pack of this key says of itself; `bytes` is its size in the store, none if it lies in the spool. The
    /// outer error is that of a store that does not answer; the inner one says that the object is no pack.
    pub async fn summary(
        &self,
        key: &str,
        bytes: Option<u64>,
    ) -> anyhow::Result<Result<PackSummary, PackError>> {
        let name = PackName::parse(key).context("read a pack's name")?;
        let path = match bytes {
            None => Some(self.spool.path(key)),
            Some(_) => self.store.local_path(key),
        };
        if let Some(path) = path {
            let content_hash = name.content_hash;
            let work = move || Ok(summary(std::fs::File::open(path)?, content_hash));
            return self.exec.run(Lane::Disk, work).await;
        }
        let total = bytes.unwrap_or_default();
        let mut tail = self.tail(key, total, TAIL_BYTES).await?;
        let needed = match PackReader::open(&tail) {
            Ok(reader) => total - reader.footer().directory().start.min(total),
            Err(error) => return Ok(Err(error)),
        };
        if needed > tail.bytes.len() as u64 {
            tail = self.tail(key, total, needed).await?;
        }
        Ok(summary(tail, name.content_hash))
    }

    async fn tail(&self, key: &str, total: u64, bytes: u64) -> anyhow::Result<Tail> {
        let start = total.saturating_sub(bytes);
        Ok(Tail { start, bytes: self.store.get_range(key, start..total).await? })
    }
}

/// The end of an object.
struct Tail {
    start: u64,
    bytes: Bytes,
}

impl ReadAt for Tail {
    fn length(&self) -> io::Result<u64> {
        Ok(self.start + self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let from = offset.checked_sub(self.start).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.bytes.read_at(from, length)
    }
}

fn summary(source: impl ReadAt, content_hash: u128) -> Result<PackSummary, PackError> {
    let reader = PackReader::open(source)?;
    let directory = reader.directory()?;
    let footer = *reader.footer();
    Ok(PackSummary { directory, footer, length: footer.pack_bytes(), content_hash })
}
