//! Compresses full blocks, a bounded number of them waiting.

use std::cell::RefCell;
use std::sync::Arc;

use grapevine_storage::head::Head;
use grapevine_storage::pack::seal::{Level, Sealer};
use tokio::sync::Semaphore;

use crate::exec::{Exec, Lane};
use crate::metrics::Metrics;

/// Full blocks that wait or are being compressed: beyond it pushes wait, so that a node that takes in more than
/// it can compress slows its clients down instead of filling its memory.
const WAITING_MAX: usize = 32;

thread_local! {
    /// A sealer holds a megabyte of tables: one a thread, made when first needed.
    static SEALER: RefCell<Option<(Level, Sealer)>> = const { RefCell::new(None) };
}

/// Runs `work` with this thread's sealer.
pub fn with_sealer<R>(level: Level, work: impl FnOnce(&mut Sealer) -> R) -> R {
    SEALER.with_borrow_mut(|slot| {
        let held = slot.take().filter(|(made_for, _)| *made_for == level);
        let (_, sealer) = slot.insert(held.unwrap_or_else(|| (level, Sealer::new(level))));
        work(sealer)
    })
}

/// Seals blocks of heads in the background.
#[derive(Clone, Debug)]
pub struct SealQueue {
    exec: Exec,
    level: Level,
    waiting: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl SealQueue {
    /// An empty queue.
    pub fn new(exec: Exec, level: Level, metrics: Arc<Metrics>) -> Self {
        SealQueue { exec, level, waiting: Arc::new(Semaphore::new(WAITING_MAX)), metrics }
    }

    /// Takes in a head that has a full block; waits while too many wait.
    pub async fn push(&self, head: Arc<Head>) {
        let place = self.waiting.clone().acquire_owned().await.expect("the semaphore is never closed");
        let queue = self.clone();
        tokio::spawn(async move {
            queue.drain(head).await;
            drop(place);
        });
    }

    /// Seals all full blocks of a head.
    pub async fn drain(&self, head: Arc<Head>) {
        let (level, metrics) = (self.level, self.metrics.clone());
        self.exec
            .run(Lane::Seal, move || {
                head.unpack();
                metrics.compressed_bytes.inc_by(with_sealer(level, |sealer| head.seal_waiting(sealer)));
            })
            .await;
    }

    /// Closes the open block of a head; what waits as it came is unpacked.
    pub async fn close_open(&self, head: Arc<Head>) {
        self.exec.run(Lane::Seal, move || head.close_open()).await;
    }
}
