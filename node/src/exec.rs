//! Where work that would block the runtime goes: compression, scans, LMDB and the disk.
//!
//! Each kind of work has a [`Lane`] of its own with a fixed number of places, so that a heavy query cannot
//! hold up the write-ahead log. In production a place is a thread of the runtime's blocking pool; in a
//! simulation the work runs where it is, which keeps one seed at one order of events.

use std::panic;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A kind of blocking work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// The write-ahead log and the heads: one at a time, in order.
    Log,
    /// Decoding and validating pushed bodies.
    Decode,
    /// Compressing blocks and writing packs.
    Seal,
    /// Reading blocks for queries.
    Scan,
    /// Index reads and writes, files.
    Disk,
}

const LANES: [Lane; 5] = [Lane::Log, Lane::Decode, Lane::Seal, Lane::Scan, Lane::Disk];

/// More places than this in the disk lane only queue in the device.
const DISK_PLACES: usize = 4;

/// Runs blocking work. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exec {
    /// One semaphore a lane, in the order of [`LANES`]; none where work runs in place.
    places: Option<Arc<[Arc<Semaphore>; LANES.len()]>>,
    cores: usize,
}

impl Exec {
    /// Threads, as many a lane as there are cores.
    pub fn threads() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let places = |lane| match lane {
            Lane::Log => 1,
            Lane::Disk => DISK_PLACES,
            Lane::Decode | Lane::Seal | Lane::Scan => cores,
        };
        let places = LANES.map(|lane| Arc::new(Semaphore::new(places(lane))));
        Exec { places: Some(Arc::new(places)), cores }
    }

    /// Everything in place, on the caller's thread: for simulations.
    pub fn inline() -> Self {
        Exec { places: None, cores: 1 }
    }

    /// Whether this is a simulation's.
    pub fn is_inline(&self) -> bool {
        self.places.is_none()
    }

    /// How many pieces of work of one lane can run at once.
    pub fn parallelism(&self) -> usize {
        self.cores
    }

    /// Waits for a place in the lane, runs the work there and gives back what it returns. Work that has begun
    /// is finished even if the caller goes away. A panic in the work goes on in the caller.
    pub async fn run<R, F>(&self, lane: Lane, work: F) -> R
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
    {
        let Some(places) = &self.places else { return work() };
        let place = take_place(&places[lane as usize]).await;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(place);
            result
        });
        match done.await {
            Ok(result) => result,
            Err(error) => match error.try_into_panic() {
                Ok(reason) => panic::resume_unwind(reason),
                // The runtime is shutting down: the caller is about to be dropped as well.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

async fn take_place(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    places.clone().acquire_owned().await.expect("the lanes' semaphores are never closed")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Exec, Lane};

    #[tokio::test]
    async fn one_piece_of_log_work_runs_at_a_time() {
        let exec = Exec::threads();
        let running = Arc::new(AtomicUsize::new(0));
        let work = (0..16).map(|_| {
            let running = running.clone();
            exec.run(Lane::Log, move || {
                let others = running.fetch_add(1, Ordering::SeqCst);
                std::thread::yield_now();
                running.fetch_sub(1, Ordering::SeqCst);
                others
            })
        });
        assert_eq!(futures_util::future::join_all(work).await, vec![0; 16]);
    }

    #[tokio::test]
    async fn inline_work_runs_on_the_callers_thread() {
        let here = std::thread::current().id();
        assert_eq!(Exec::inline().run(Lane::Scan, || std::thread::current().id()).await, here);
    }
}
