//! What every background worker shows of itself: its name, what it does now, how far it is, what went wrong.

use std::future::Future;
use std::sync::Mutex;

use crate::metrics::{HousekeepingLabel, Metrics};

/// What a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It waits for its next round.
    #[default]
    Waiting,
    /// A round is under way.
    Working,
    /// Its last round failed; it tries again.
    Failed,
}

/// What a worker tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What it does.
    pub state: State,
    /// Steps of this round, or of the last one, that are done.
    pub done: u64,
    /// Steps of it in all, as far as they are known.
    pub total: u64,
    /// Rounds that failed since the start.
    pub errors: u64,
    /// Why the last of them failed.
    pub last_error: Option<String>,
}

/// A background worker, as others see it.
#[derive(Debug)]
pub struct Worker {
    /// Names it in logs and metrics.
    pub name: &'static str,
    report: Mutex<Report>,
}

const POISON: &str = "no one panics with a report locked";

impl Worker {
    /// One that has not worked yet.
    pub fn new(name: &'static str) -> Self {
        Worker { name, report: Mutex::default() }
    }

    /// What it tells of itself now.
    pub fn report(&self) -> Report {
        self.report.lock().expect(POISON).clone()
    }

    /// Notes how far the round is.
    pub fn progress(&self, done: u64, total: u64) {
        let mut report = self.report.lock().expect(POISON);
        (report.done, report.total) = (done, total);
    }

    /// Runs a round. A failure is logged and counted; the next round tries again.
    pub async fn round(&self, metrics: &Metrics, work: impl Future<Output = anyhow::Result<()>>) {
        self.set(State::Working, None);
        let label = HousekeepingLabel { worker: self.name };
        match work.await {
            Ok(()) => self.set(State::Waiting, None),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(worker = self.name, error, "housekeeping failed and is tried again");
                metrics.housekeeping_errors.get_or_create(&label).inc();
                self.set(State::Failed, Some(error));
            }
        }
        metrics.housekeeping_rounds.get_or_create(&label).inc();
    }

    fn set(&self, state: State, error: Option<String>) {
        let mut report = self.report.lock().expect(POISON);
        report.state = state;
        if error.is_some() {
            report.errors += 1;
            report.last_error = error;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Report, State, Worker};
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn a_failed_round_is_remembered_and_the_next_one_can_succeed() {
        let (worker, metrics) = (Worker::new("w"), Metrics::new());
        worker.round(&metrics, async { anyhow::bail!("no room") }).await;
        let report = worker.report();
        assert_eq!(
            (report.state, report.errors, report.last_error.as_deref()),
            (State::Failed, 1, Some("no room"))
        );
        worker
            .round(&metrics, async {
                worker.progress(2, 3);
                Ok(())
            })
            .await;
        let last_error = Some("no room".to_owned());
        assert_eq!(
            worker.report(),
            Report { state: State::Waiting, done: 2, total: 3, errors: 1, last_error }
        );
        assert!(metrics.text().contains(r#"grapevine_housekeeping_errors_total{worker="w"} 1"#));
    }
}
