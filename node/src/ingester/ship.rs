//! Carries packs from the spool to the chunk store, oldest first, for as long as it takes.
//!
//! While the store is out, packs wait on the local disk: an outage costs disk, not memory, and loses nothing.
//! Queries read them where they are.

use std::sync::Arc;
use std::time::Duration;

use grapevine_storage::chunk_store::ChunkStore;
use grapevine_storage::index::{Day, Index, IndexError, PackId, PackRecord, PackState};
use tokio::sync::{Mutex, Notify};

use super::duty::Duty;
use super::spool::Spool;
use crate::exec::{Exec, Lane};
use crate::metrics::Metrics;

/// How long to wait after the store refused a pack before trying again; the store's own retries come on top.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Ships packs.
#[derive(Debug)]
pub struct Shipper {
    exec: Exec,
    index: Arc<Index>,
    spool: Spool,
    store: ChunkStore,
    metrics: Arc<Metrics>,
    duty: Arc<dyn Duty>,
    wake: Notify,
    /// Held for as long as a round runs.
    shipping: Mutex<()>,
}

/// A pack that waits.
type Waiting = (Day, PackId, PackRecord);

impl Shipper {
    /// From a spool to a store.
    pub fn new(
        exec: Exec,
        index: Arc<Index>,
        spool: Spool,
        store: ChunkStore,
        metrics: Arc<Metrics>,
        duty: Arc<dyn Duty>,
    ) -> Self {
        Shipper { exec, index, spool, store, metrics, duty, wake: Notify::new(), shipping: Mutex::default() }
    }

    /// Says that there is something to ship.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Ships until it is dropped.
    pub async fn run(&self) {
        loop {
            match self.ship_all().await {
                Ok(()) => self.wake.notified().await,
                // Whoever wakes us meanwhile waits too: the store is no better for being asked at once.
                Err(_) => tokio::time::sleep(PAUSE_AFTER_FAILURE).await,
            }
        }
    }

    /// Ships everything that waits.
    ///
    /// # Errors
    /// The store or the index refuses; what is left waits on.
    pub async fn ship_all(&self) -> anyhow::Result<()> {
        let _one_at_a_time = self.shipping.lock().await;
        self.round().await
    }

    async fn round(&self) -> anyhow::Result<()> {
        let mut waiting = self.waiting().await?;
        self.report(&waiting);
        waiting.sort_by_key(|(day, _, record)| (*day, record.first_ts));
        while let Some((day, id, record)) = waiting.first().cloned() {
            if let Err(error) = self.ship(day, id, record).await {
                self.metrics.store_errors.inc();
                tracing::warn!(
                    error = format!("{error:#}"),
                    packs = waiting.len(),
                    "the chunk store takes no packs; they wait in the spool"
                );
                return Err(error);
            }
            waiting.remove(0);
            self.report(&waiting);
        }
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
