//! What a node does with its packs when no one asks: gives up old days, merges small packs, mends its index.
//!
//! One task runs every worker in turn, so that no two of them change the same day at once; flushes and shipping go
//! on beside it. What decides is in plain functions that see records and the time: [`retention`], [`compact::plan`],
//! [`ladder::day_to_give_up`], [`erase::Progress`]. What waits is a [`worker::Worker`]'s round.

pub mod compact;
pub mod erase;
pub mod expire;
pub mod ladder;
pub mod rebuild;
pub mod retention;
#[cfg(test)]
mod tests;
pub mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use grapevine_storage::chunk_store::ChunkStore;
use grapevine_storage::index::{Day, Index, PackId};
use tokio::time::{Instant, interval};

use self::erase::Progress;
use self::retention::Retention;
use self::worker::Worker;
use crate::config::Config;
use crate::deletes::Deletes;
use crate::disk::DiskGate;
use crate::env::Env;
use crate::ingester::Ingester;
use crate::ingester::spool::Spool;
use crate::metrics::Metrics;

/// How often the disk is looked at: a fast writer fills some 100 MB in this time.
const DISK_INTERVAL: Duration = Duration::from_secs(5);
/// How often days that lost their index are looked for, beyond those noticed by a query: one file read a day.
const MEND_INTERVAL: Duration = Duration::from_secs(10);
/// How often retention, merges and deletions have their turn.
const TIDY_INTERVAL: Duration = Duration::from_secs(60);
/// How often the chunk store is listed for packs that the index does not know; each time is a listing a day.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(6 * 3600);

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
    /// Packs that a merge or a deletion could not read: they are tried again when all is reconciled, not every minute.
    unmergeable: Mutex<Vec<PackId>>,
    /// Days of which a pack cannot be read, so that their index stays incomplete.
    partial: Mutex<BTreeSet<Day>>,
    /// Objects that are no packs and that no index knows, and since when this process has seen them.
    orphans: Mutex<BTreeMap<String, Instant>>,
    /// How far each delete request is carried out, by tenant and id.
    erasing: Mutex<BTreeMap<(String, String), Progress>>,
    workers: [Worker; 6],
}

/// The places of the workers.
const DISK: usize = 0;
const MEND: usize = 1;
const EXPIRE: usize = 2;
const COMPACT: usize = 3;
const RECONCILE: usize = 4;
const ERASE: usize = 5;

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
}

impl Housekeeper {
    /// Over the parts of a node.
    pub fn new(parts: Parts) -> Self {
        let Parts { env, config, retention, index, store, spool, metrics, disk } = parts;
        let workers = ["disk", "mend", "retention", "merge", "reconcile", "delete"].map(Worker::new);
        Housekeeper {
            env,
            config,
            retention,
            index,
            store,
            spool,
            metrics,
            disk,
            unmergeable: Mutex::default(),
            partial: Mutex::default(),
            orphans: Mutex::default(),
            erasing: Mutex::default(),
            workers,
        }
    }

    /// What the workers do.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// Works until it is dropped, beside the ingester and for the requests to delete.
    pub async fn run(&self, ingester: &Ingester, deletes: &Deletes) {
        let [mut disk, mut mend, mut tidy, mut reconcile] =
            [DISK_INTERVAL, MEND_INTERVAL, TIDY_INTERVAL, RECONCILE_INTERVAL].map(every);
        loop {
            tokio::select! {
                biased;
                _ = disk.tick() => self.round(DISK, self.watch_disk()).await,
                _ = mend.tick() => self.round(MEND, self.mend()).await,
                _ = reconcile.tick() => self.round(RECONCILE, self.reconcile()).await,
                _ = tidy.tick() => {
                    self.round(EXPIRE, self.expire()).await;
                    self.round(ERASE, self.erase(ingester, deletes)).await;
                    self.round(COMPACT, self.compact()).await;
                    ingester.wake_shipper();
                }
            }
        }
    }

    async fn round(&self, worker: usize, work: impl Future<Output = anyhow::Result<()>>) {
        self.workers[worker].round(&self.metrics, work).await;
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

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}
