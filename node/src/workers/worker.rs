//! A worker: what it shows of itself, and what it can be told.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::pace::Pace;
use crate::metrics::{HousekeepingLabel, Metrics};

/// Rounds that may be asked for at a time: whoever comes later would get what these get.
const ASKS_MAX: usize = 16;

/// What a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It waits for its next round.
    #[default]
    Waiting,
    /// A round is under way.
    Working,
    /// Its last round failed; it tries again.
    Failed,
}

/// When rounds come by themselves: the first at once, each other so long after the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// After one that succeeded.
    pub every: Duration,
    /// After one that failed.
    pub after_failure: Duration,
}

impl Rhythm {
    /// The same after both.
    pub const fn every(every: Duration) -> Self {
        Rhythm { every, after_failure: every }
    }
}

/// What a worker tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What it does.
    pub state: State,
    /// Whether it begins no round until it is resumed.
    pub paused: bool,
    /// Steps of this round, or of the last one, that are done.
    pub done: u64,
    /// Steps of it in all, as far as they are known.
    pub total: u64,
    /// Rounds since the start.
    pub rounds: u64,
    /// How many of them failed.
    pub errors: u64,
    /// Why the last of those failed.
    pub last_error: Option<String>,
    /// Bytes it has moved since the start.
    pub bytes: u64,
    /// The bytes it may move in a second; none is as fast as it goes.
    pub bytes_per_s: Option<u64>,
}

/// Why no round was run, or what went wrong in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// It is paused.
    #[error("the worker is paused; resume it first")]
    Paused,
    /// Enough others wait for a round.
    #[error("{ASKS_MAX} rounds have been asked for; wait until they are over")]
    Busy,
    /// The node stops, or the worker does not work yet.
    #[error("the worker takes no rounds now")]
    Gone,
    /// The round failed.
    #[error("{0}")]
    Failed(String),
}

type Ask = oneshot::Sender<Result<(), String>>;

/// A background worker.
#[derive(Debug)]
pub struct Worker {
    /// Stands in commands, logs and metrics.
    pub name: &'static str,
    /// What it does, in a few words.
    pub about: &'static str,
    /// Whether a failure is a matter of course, since others come and go: then it is no warning in the log.
    forgiving: bool,
    metrics: Arc<Metrics>,
    report: Mutex<Report>,
    pace: Mutex<Pace>,
    paused: watch::Sender<bool>,
    woken: Notify,
    asks: mpsc::Sender<Ask>,
    asked: Mutex<Option<mpsc::Receiver<Ask>>>,
    started: Instant,
}

impl Worker {
    /// One that has not worked yet.
    pub(super) fn new(
        (name, about): (&'static str, &'static str),
        forgiving: bool,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (asks, asked) = mpsc::channel(ASKS_MAX);
        Worker {
            name,
            about,
            forgiving,
            metrics,
            report: Mutex::default(),
            pace: Mutex::default(),
            paused: watch::Sender::new(false),
            woken: Notify::new(),
            asks,
            asked: Mutex::new(Some(asked)),
            started: Instant::now(),
        }
    }

    /// What it tells of itself now.
    pub fn report(&self) -> Report {
        let (paused, bytes_per_s) = (self.is_paused(), lock(&self.pace).bytes_per_s());
        Report { paused, bytes_per_s, ..lock(&self.report).clone() }
    }

    /// Notes how far the round is.
    pub fn progress(&self, done: u64, total: u64) {
        let label = HousekeepingLabel { worker: self.name };
        self.metrics.worker_steps_left.get_or_create(&label).set(total.saturating_sub(done) as i64);
        let mut report = lock(&self.report);
        (report.done, report.total) = (done, total);
    }

    /// Begins no more rounds; one under way ends at its next step.
    pub fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Goes on.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// Whether it is to stop at its next step.
    pub fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Waits until it is not paused.
    pub async fn resumed(&self) {
        // The sender is here: it cannot go away meanwhile.
        let _ = self.paused.subscribe().wait_for(|paused| !paused).await;
    }

    /// Bounds the bytes it moves in a second.
    pub fn set_rate(&self, bytes_per_s: Option<u64>) {
        lock(&self.pace).set(bytes_per_s);
    }

    /// Notes bytes that were moved, and waits as long as the rate demands.
    pub async fn spend(&self, bytes: u64) {
        {
            let mut report = lock(&self.report);
            report.bytes = report.bytes.saturating_add(bytes);
        }
        self.metrics.worker_bytes.get_or_create(&HousekeepingLabel { worker: self.name }).inc_by(bytes);
        let wait = lock(&self.pace).spend(self.started.elapsed(), bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Says that there is something to do: a round begins now rather than in its time, unless the last one failed.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Asks for a round and waits until it is over.
    ///
    /// # Errors
    /// [`RunError`]
    pub async fn run_now(&self) -> Result<(), RunError> {
        if self.is_paused() {
            return Err(RunError::Paused);
        }
        let (ask, answer) = oneshot::channel();
        self.asks.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => RunError::Busy,
            mpsc::error::TrySendError::Closed(_) => RunError::Gone,
        })?;
        answer.await.map_err(|_| RunError::Gone)?.map_err(RunError::Failed)
    }

    /// Runs rounds until it is dropped: in a rhythm, and whenever somebody wakes it or asks.
    pub async fn keep<W>(&self, rhythm: Rhythm, round: impl Fn() -> W)
    where
        W: Future<Output = anyhow::Result<()>>,
    {
        let Some(mut asked) = lock(&self.asked).take() else { return };
        let (mut next, mut failed) = (Instant::now(), false);
        loop {
            self.resumed().await;
            let ask = tokio::select! {
                biased;
                ask = asked.recv() => ask,
                // Whatever failed is no better for being tried at once.
                () = self.woken.notified(), if !failed => None,
                () = sleep_until(next) => None,
            };
            if self.is_paused() {
                next = Instant::now();
                continue;
            }
            let done = self.round(round()).await;
            failed = done.is_err();
            next = Instant::now() + if failed { rhythm.after_failure } else { rhythm.every };
            if let Some(ask) = ask {
                // Who asked may have gone.
                let _ = ask.send(done);
            }
        }
    }

    /// Runs a round. A failure is logged, counted and given back; the next round tries again.
    ///
    /// # Errors
    /// What went wrong, as text.
    pub async fn round(&self, work: impl Future<Output = anyhow::Result<()>>) -> Result<(), String> {
        lock(&self.report).state = State::Working;
        let label = HousekeepingLabel { worker: self.name };
        let done = work.await.map_err(|error| format!("{error:#}"));
        if let Err(error) = &done {
            match self.forgiving {
                true => tracing::info!(worker = self.name, error, "work in the background is tried again"),
                false => tracing::warn!(worker = self.name, error, "housekeeping failed and is tried again"),
            }
            self.metrics.housekeeping_errors.get_or_create(&label).inc();
        }
        self.metrics.housekeeping_rounds.get_or_create(&label).inc();
        let mut report = lock(&self.report);
        report.state = if done.is_ok() { State::Waiting } else { State::Failed };
        report.rounds += 1;
        if let Err(error) = &done {
            report.errors += 1;
            report.last_error = Some(error.clone());
        }
        done
    }
}

fn lock<T>(part: &Mutex<T>) -> MutexGuard<'_, T> {
    part.lock().expect("no one panics with a part of a worker locked")
}

#[cfg(test)]
mod tests {
    use super::{Report, State};
    use crate::metrics::Metrics;
    use crate::workers::Workers;

    #[tokio::test]
    async fn a_failed_round_is_remembered_and_the_next_one_can_succeed() {
        let metrics = Metrics::new();
        let worker = Workers::new(metrics.clone()).add("w", "works");
        let failed = worker.round(async { anyhow::bail!("no room") }).await;
        assert_eq!(failed, Err("no room".to_owned()));
        let report = worker.report();
        assert_eq!(
            (report.state, report.errors, report.last_error.as_deref()),
            (State::Failed, 1, Some("no room"))
        );
        let work = async {
            worker.progress(2, 3);
            Ok(())
        };
        worker.round(work).await.unwrap();
        let last_error = Some("no room".to_owned());
        let expected = Report { done: 2, total: 3, rounds: 2, errors: 1, last_error, ..Report::default() };
        assert_eq!(worker.report(), expected);
        assert!(metrics.text().contains(r#"grapevine_housekeeping_errors_total{worker="w"} 1"#));
    }
}
