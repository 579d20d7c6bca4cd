//! Background workers in time that stands still until somebody waits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use grapevine::metrics::Metrics;
use grapevine::workers::Workers;
use grapevine::workers::worker::{Rhythm, RunError, Worker};
use tokio::time::{Instant, sleep};

const RHYTHM: Rhythm = Rhythm { every: seconds(60), after_failure: seconds(5) };

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn worker() -> Arc<Worker> {
    Workers::new(Metrics::new()).add("w", "works")
}

/// Keeps it at work; the round of that number, from 1, fails. Gives back the seconds at which rounds began.
fn kept(worker: &Arc<Worker>, fails: usize) -> Arc<Mutex<Vec<u64>>> {
    let (began, rounds) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let (worker, noted) = (worker.clone(), rounds.clone());
    tokio::spawn(async move {
        let round = || async {
            let mut noted = noted.lock().unwrap();
            noted.push(began.elapsed().as_secs());
            anyhow::ensure!(noted.len() != fails, "this one fails");
            Ok(())
        };
        worker.keep(RHYTHM, round).await;
    });
    rounds
}

#[tokio::test(start_paused = true)]
async fn rounds_come_by_the_clock_and_whenever_somebody_asks() {
    let worker = worker();
    let rounds = kept(&worker, 0);
    sleep(seconds(150)).await;
    worker.run_now().await.unwrap();
    assert_eq!(*rounds.lock().unwrap(), [0, 60, 120, 150]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_is_told_what_went_wrong() {
    let worker = worker();
    kept(&worker, 2);
    sleep(seconds(1)).await;
    assert_eq!(worker.run_now().await, Err(RunError::Failed("this one fails".to_owned())));
    worker.run_now().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_wake_brings_a_round_forward_but_not_one_that_follows_a_failure() {
    let worker = worker();
    let rounds = kept(&worker, 2);
    for _ in 0..2 {
        sleep(seconds(1)).await;
        worker.wake();
    }
    sleep(seconds(10)).await;
    assert_eq!(*rounds.lock().unwrap(), [0, 1, 6, 6], "the wake at 2 s waits until the failure is over");
}

#[tokio::test(start_paused = true)]
async fn a_paused_worker_begins_no_round_until_it_is_resumed() {
    let worker = worker();
    worker.pause();
    let rounds = kept(&worker, 0);
    sleep(seconds(600)).await;
    assert_eq!(worker.run_now().await, Err(RunError::Paused));
    assert_eq!(rounds.lock().unwrap().len(), 0);
    worker.resume();
    worker.run_now().await.unwrap();
    worker.pause();
    let before = rounds.lock().unwrap().len();
    sleep(seconds(600)).await;
    assert_eq!(rounds.lock().unwrap().len(), before);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_waited_for_as_the_rate_says() {
    let (worker, began) = (worker(), Instant::now());
    worker.spend(u64::MAX).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    worker.set_rate(Some(1_000));
    worker.spend(5_000).await;
    assert_eq!((began.elapsed().as_secs(), worker.report().bytes_per_s), (5, Some(1_000)));
}
