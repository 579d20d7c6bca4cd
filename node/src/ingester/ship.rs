//! Carries packs from the spool to the chunk store, oldest first, for as long as it takes.
//!
//! While the store is out, packs wait on the local disk: an outage costs disk, not memory, and loses nothing.
//! Queries read them where they are.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use grapevine_storage::chunk_store::ChunkStore;
use grapevine_storage::index::{Day, Index, IndexError, PackId, PackRecord, PackState};
use tokio::sync::Mutex;

use super::duty::Duty;
use super::spool::Spool;
use crate::disk::{DiskGate, Rung};
use crate::exec::{Exec, Lane};
use crate::metrics::Metrics;
use crate::workers::worker::{Rhythm, Worker};

/// How long to wait after the store refused a pack before trying again; the store's own retries come on top. What is
/// packed meanwhile wakes nobody. Without a failure the spool is looked through now and then all the same.
const RHYTHM: Rhythm = Rhythm { every: Duration::from_secs(3600), after_failure: Duration::from_secs(5) };

/// Where packs are and are known.
#[derive(Clone, Debug)]
pub struct Places {
    /// Knows them.
    pub index: Arc<Index>,
    /// Where they wait.
    pub spool: Spool,
    /// Where they go.
    pub store: ChunkStore,
}

/// Ships packs.
#[derive(Debug)]
pub struct Shipper {
    exec: Exec,
    index: Arc<Index>,
    spool: Spool,
    store: ChunkStore,
    disk: Arc<DiskGate>,
    worker: Arc<Worker>,
    metrics: Arc<Metrics>,
    duty: Arc<dyn Duty>,
    /// Held for as long as a round runs.
    shipping: Mutex<()>,
}

/// A pack that waits.
type Waiting = (Day, PackId, PackRecord);

impl Shipper {
    /// From a spool to a store.
    pub fn new(
        exec: Exec,
        places: Places,
        disk: Arc<DiskGate>,
        worker: Arc<Worker>,
        metrics: Arc<Metrics>,
        duty: Arc<dyn Duty>,
    ) -> Self {
        let Places { index, spool, store } = places;
        Shipper { exec, index, spool, store, disk, worker, metrics, duty, shipping: Mutex::default() }
    }

    /// Says that there is something to ship.
    pub fn wake(&self) {
        self.worker.wake();
    }

    /// Ships until it is dropped.
    pub async fn run(&self) {
        self.worker.keep(RHYTHM, || self.ship_in_turn()).await;
    }

    /// Ships everything that waits.
    ///
    /// # Errors
    /// The store or the index refuses, or shipping is paused; what is left waits on.
    pub async fn ship_all(&self) -> anyhow::Result<()> {
        ensure!(
            !self.worker.is_paused(),
            "shipping is paused; `grapevine workers resume ship` goes on with it"
        );
        self.worker.round(self.ship_in_turn()).await.map_err(anyhow::Error::msg)
    }

    async fn ship_in_turn(&self) -> anyhow::Result<()> {
        let _one_at_a_time = self.shipping.lock().await;
        // A store behind a network frees this disk; one that is a directory may lie on it.
        let fills = self.disk.rung() >= Rung::ReadOnly && self.store.local_path("probe").is_some();
        ensure!(!fills, "the disk is too full to carry packs into a directory; they wait in the spool");
        self.round().await
    }

    async fn round(&self) -> anyhow::Result<()> {
        let mut waiting = self.waiting().await?;
        self.report(&waiting);
        waiting.sort_by_key(|(day, _, record)| (*day, record.first_ts));
        let total = waiting.len() as u64;
        while let Some((day, id, record)) = waiting.first().cloned() {
            self.worker.progress(total - waiting.len() as u64, total);
            if self.worker.is_paused() {
                return Ok(());
            }
            let bytes = record.bytes;
            if let Err(error) = self.ship(day, id, record).await {
                self.metrics.store_errors.inc();
                let packs = waiting.len();
                return Err(
                    error.context(format!("the chunk store takes no packs; {packs} wait in the spool"))
                );
            }
            waiting.remove(0);
            self.report(&waiting);
            self.worker.spend(bytes).await;
        }
        self.worker.progress(total, total);
        Ok(())
    }

    fn report(&self, waiting: &[Waiting]) {
        let bytes: u64 = waiting.iter().map(|(_, _, record)| record.bytes).sum();
        self.metrics.spool_packs.set(waiting.len() as i64);
        self.metrics.spool_bytes.set(bytes as i64);
    }

    async fn waiting(&self) -> Result<Vec<Waiting>, IndexError> {
        let index = self.index.clone();
        self.exec.run(Lane::Disk, move || spooled(&index)).await
    }

    async fn ship(&self, day: Day, id: PackId, record: PackRecord) -> anyhow::Result<()> {
        let day_of_pack = day;
        let path = self.spool.path(&record.object_key);
        let is_there = self.exec.run(Lane::Disk, move || path.is_file()).await;
        match is_there {
            true => self.store.put_file(&record.object_key, &self.spool.path(&record.object_key)).await?,
            // An index that was rebuilt while the pack was on its way has not heard of its arrival.
            false => drop(self.store.head(&record.object_key).await?),
        }
        let (index, spool) = (self.index.clone(), self.spool.clone());
        self.exec
            .run(Lane::Disk, move || {
                // The record first: a pack that is in both places is read from the store.
                if let Some(day) = index.day(day)? {
                    day.mark_shipped(id)?;
                }
                Ok::<_, anyhow::Error>(spool.remove(&record.object_key)?)
            })
            .await?;
        self.duty.on_shipped(day_of_pack, id);
        Ok(())
    }
}

/// Every pack that the index says is in the spool.
///
/// # Errors
/// Those of the index.
pub fn spooled(index: &Index) -> Result<Vec<Waiting>, IndexError> {
    let mut found = Vec::new();
    for day in index.days()? {
        let Some(open) = index.day(day)? else { continue };
        let packs = open.read(|snapshot| snapshot.packs())?;
        let waits = |(_, record): &(PackId, PackRecord)| record.state == PackState::Spooled;
        found.extend(packs.into_iter().filter(waits).map(|(id, record)| (day, id, record)));
    }
    Ok(found)
}
