//! What a node does with its packs when no one asks: gives up old days, merges small packs, mends its index.
//!
//! Each worker has rounds of its own, so that a long merge does not keep the disk from being looked at; those that
//! change days take turns, so that no two of them change the same day at once. Flushes and shipping go on beside
//! them. What decides is in plain functions that see records and the time: [`retention`], [`compact::plan`],
//! [`ladder::day_to_give_up`], [`erase::Progress`]. What waits is a [`Worker`]'s round.

pub mod compact;
pub mod custody;
mod doubled;
pub mod erase;
pub mod expire;
mod judge;
pub mod ladder;
mod missing;
pub mod pack_name;
pub mod rebuild;
pub mod restored;
pub mod retention;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use grapevine_storage::chunk_store::ChunkStore;
use grapevine_storage::index::{Day, Index, PackId};

use self::custody::Custody;
use self::erase::Progress;
use self::judge::Verdict;
use self::missing::Lacking;
use self::retention::Retention;
use crate::config::Config;
use crate::deletes::Deletes;
use crate::disk::DiskGate;
use crate::env::Env;
use crate::ingester::Ingester;
use crate::ingester::spool::Spool;
use crate::metrics::Metrics;
use crate::workers::Workers;
use crate::workers::worker::{Rhythm, Worker};

/// How often the disk is looked at: a fast writer fills some 100 MB in this time.
const DISK_INTERVAL: Duration = Duration::from_secs(5);
/// How often days that lost their index are looked for, beyond those noticed by a query: one file read a day.
const MEND_INTERVAL: Duration = Duration::from_secs(10);
/// How often retention, merges and deletions have their turn, and days that lack packs are looked through again.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);
/// How often the chunk store is listed for packs that the index does not know; each time is a listing a day. One that did
/// not answer is asked again soon: until then nobody knows what is in it.
const RECONCILE: Rhythm =
    Rhythm { every: Duration::from_secs(6 * 3600), after_failure: Duration::from_secs(60) };

/// Keeps house. Shared by the node and by commands that mend a stopped one.
#[derive(Debug)]
pub struct Housekeeper {
    env: Env,
    config: Config,
    retention: Arc<Retention>,
    index: Arc<Index>,
    store: ChunkStore,
    spool: Spool,
    metrics: Arc<Metrics>,
    disk: Arc<DiskGate>,
    deletes: Arc<Deletes>,
    custody: Arc<dyn Custody>,
    /// Packs that a merge or a deletion could not read: they are tried again when all is reconciled, not every minute.
    unmergeable: Mutex<Vec<PackId>>,
    /// The packs of each day when it was last found that no two hold the same pushes.
    single: Mutex<BTreeMap<Day, BTreeSet<PackId>>>,
    /// Days of which a pack cannot be read, so that their index stays incomplete.
    partial: Mutex<BTreeSet<Day>>,
    /// Days of which packs are gone from the chunk store.
    lacking: Mutex<Lacking>,
    /// What has expired of packs, where their own directories were asked.
    judged: Mutex<BTreeMap<(Day, PackId), Verdict>>,
    /// How far each delete request is carried out, by tenant and id.
    erasing: Mutex<BTreeMap<(String, String), Progress>>,
    staff: Staff,
    /// Held by whoever changes a day.
    turn: tokio::sync::Mutex<()>,
}

/// Who does what.
#[derive(Debug)]
struct Staff {
    disk: Arc<Worker>,
    relief: Arc<Worker>,
    mend: Arc<Worker>,
    retention: Arc<Worker>,
    delete: Arc<Worker>,
    merge: Arc<Worker>,
    reconcile: Arc<Worker>,
    missing: Arc<Worker>,
}

impl Staff {
    fn among(workers: &Workers) -> Self {
        Staff {
            disk: workers.add("disk", "looks how full the disk is"),
            relief: workers.add("relief", "gives up the oldest day of a disk that is too full"),
            mend: workers.add("mend", "rebuilds the index of days that lost it"),
            retention: workers
                .add("retention", "drops what is past its retention, deletes what was given up"),
            delete: workers.add("delete", "carries out requests to delete lines"),
            merge: workers.add("merge", "makes one pack of many small ones"),
            reconcile: workers.add("reconcile", "looks for stored packs that the index does not know"),
            missing: workers.add("missing", "looks whether packs that were gone are stored again"),
        }
    }
}

/// The parts of a node that housekeeping works on.
#[derive(Debug)]
pub struct Parts {
    /// Time, lanes, the node's directory.
    pub env: Env,
    /// Disk limits and tenants' limits.
    pub config: Config,
    /// How long entries are kept.
    pub retention: Arc<Retention>,
    /// The node's index.
    pub index: Arc<Index>,
    /// Where packs are.
    pub store: ChunkStore,
    /// Where packs wait.
    pub spool: Spool,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What pushes ask whether the disk has room.
    pub disk: Arc<DiskGate>,
    /// Where workers are listed.
    pub workers: Arc<Workers>,
    /// What is to be deleted.
    pub deletes: Arc<Deletes>,
    /// Which packs are this node's to look after.
    pub custody: Arc<dyn Custody>,
}

impl Housekeeper {
    /// Over the parts of a node.
    pub fn new(parts: Parts) -> Self {
        let Parts { env, config, retention, index, store, spool, metrics, disk, workers, deletes, custody } =
            parts;
        let staff = Staff::among(&workers);
        staff.merge.set_rate(Some(config.housekeeping.merge_rate_max.0));
        if !custody.sees_all() {
            // Of a member that joins, most of what it has to learn.
            staff.reconcile.set_rate(Some(config.cluster.transfer_rate_max.0));
        }
        Housekeeper {
            env,
            config,
            retention,
            index,
            store,
            spool,
            metrics,
            disk,
            deletes,
            custody,
            unmergeable: Mutex::default(),
            single: Mutex::default(),
            partial: Mutex::default(),
            lacking: Mutex::default(),
            judged: Mutex::default(),
            erasing: Mutex::default(),
            staff,
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Works until it is dropped, beside the ingester.
    pub async fn run(&self, ingester: &Ingester) {
        let staff = &self.staff;
        tokio::join!(
            staff.disk.keep(Rhythm::every(DISK_INTERVAL), || self.watch_disk()),
            staff.relief.keep(Rhythm::every(DISK_INTERVAL), || self.alone(self.relieve())),
            staff.mend.keep(Rhythm::every(MEND_INTERVAL), || self.alone(self.mend())),
            staff.retention.keep(Rhythm::every(TIDY_INTERVAL), || self.alone(self.expire())),
            staff.delete.keep(Rhythm::every(TIDY_INTERVAL), || async {
                let erased = self.alone(self.erase(ingester)).await;
                ingester.wake_shipper();
                erased
            }),
            staff.merge.keep(Rhythm::every(TIDY_INTERVAL), || async {
                let merged = self.compact().await;
                ingester.wake_shipper();
                merged
            }),
            staff.reconcile.keep(RECONCILE, || async {
                let reconciled = self.reconcile().await;
                ingester.wake_shipper();
                reconciled
            }),
            staff.missing.keep(Rhythm::every(TIDY_INTERVAL), || async {
                let looked = self.look_again().await;
                ingester.wake_shipper();
                looked
            }),
        );
    }

    /// Waits for its turn to change days.
    async fn alone<T>(&self, work: impl Future<Output = T>) -> T {
        let _turn = self.turn.lock().await;
        work.await
    }

    /// The days of the index, oldest first.
    async fn days(&self) -> anyhow::Result<Vec<Day>> {
        let index = self.index.clone();
        Ok(self.env.exec.run(crate::exec::Lane::Disk, move || index.days()).await?)
    }
}

fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().expect("no one panics with a list locked")
}
