//! Clients of a node: they push the workload, ask for it, and hold each answer against the ledger.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tokio::time::sleep;

use crate::check::{Ledger, Ties, Violation};
use crate::det;
use crate::random::Random;
use crate::trace;
use crate::wire::Client;
use crate::workload::{Entry, Workload};

const PUSH: &str = "/loki/api/v1/push";
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a push is sent before a client gives it up for the next.
const ATTEMPTS_MAX: u32 = 4;
/// Lines of one push at most.
const LINES_MAX: u64 = 12;
/// Lines of one stream at most: an answer of Loki's API has 5,000.
const STREAM_LINES_MAX: u64 = 4500;
const QUERY_LIMIT: usize = 5000;

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Faults happen. What is asked may fail, but no answer may be wrong.
    Faults,
    /// All faults are over: everything must work again.
    Recovering,
    /// It does.
    Recovered,
    /// After one more power loss.
    LastLook,
    /// All has been looked at.
    Done,
}

/// The clients of a node and what they know. Cheap to clone; outlives every crash.
#[derive(Clone, Debug)]
pub struct Clients {
    workload: Workload,
    seed: u64,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    ledger: Ledger,
    violations: Vec<String>,
    /// What was told once is not told again with each later answer.
    told: BTreeSet<String>,
    waits_for: String,
    pushes: u64,
    refused: u64,
    answers: u64,
    incomplete: u64,
    ended: u64,
}

/// An answer about one stream.
struct Answer {
    entries: Vec<Entry>,
    complete: bool,
}

impl State {
    fn tell(&mut self, violation: &Violation) {
        if self.told.insert(violation.to_string()) {
            let at = det::elapsed().as_secs_f64();
            self.violations.push(format!("at {at:.3} s, {violation}"));
        }
    }
}

impl Clients {
    /// Clients for a workload.
    pub fn new(workload: Workload, ties: Ties, seed: u64) -> Self {
        let state = State {
            phase: Phase::Faults,
            ledger: Ledger::new(workload, ties),
            violations: Vec::new(),
            told: BTreeSet::new(),
            waits_for: String::new(),
            pushes: 0,
            refused: 0,
            answers: 0,
            incomplete: 0,
            ended: 0,
        };
        Clients { workload, seed, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the run is.
    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Tells the clients how far the run is.
    pub fn enter(&self, phase: Phase) {
        self.state().phase = phase;
    }

    /// Promises that were broken so far.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// What the clients are trying at the moment, and what the last answer was.
    pub fn waits_for(&self) -> String {
        self.state().waits_for.clone()
    }

    /// The node stopped by itself; whether it may is not the clients' to judge.
    pub fn node_ended(&self) {
        self.state().ended += 1;
    }

    /// What was done, in numbers.
    pub fn facts(&self) -> String {
        let State { ledger, pushes, refused, answers, incomplete, ended, .. } = &*self.state();
        let lines = ledger.acknowledged();
        format!(
            "acknowledged_lines={lines} pushes={pushes} refused={refused} answers={answers} incomplete={incomplete} ended={ended}"
        )
    }

    /// Pushes and asks through all phases. Never ends.
    pub async fn run(&self, client: Client) {
        let pushers = (0..self.workload.streams).map(|stream| self.push_all(&client, stream));
        // What is still under way when the faults end is finished first: pushes of one stream never overlap, so
        // that it is known in which order they came.
        tokio::join!(join_all(pushers), self.ask_all(&client), self.wait_for(Phase::Recovering));
        self.recover(&client).await;
        self.enter(Phase::Recovered);
        self.wait_for(Phase::LastLook).await;
        self.look_at_all(&client).await;
        self.enter(Phase::Done);
        std::future::pending().await
    }

    async fn wait_for(&self, phase: Phase) {
        while self.phase() < phase {
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Pushes one stream, for as long as there are faults.
    async fn push_all(&self, client: &Client, stream: u64) {
        let mut random = Random::of_part(self.seed, &format!("pushes of {stream}"));
        while self.phase() == Phase::Faults {
            sleep(Duration::from_millis(random.within(20..=400))).await;
            let sequences = self.state().ledger.offer(stream, random.within(1..=LINES_MAX));
            if sequences.end > STREAM_LINES_MAX {
                return;
            }
            for attempt in 0..ATTEMPTS_MAX {
                let status = self.push(client, stream, sequences.clone()).await;
                // Refused for good: a timestamp too far ahead of a clock that jumped.
                if status == Some(204) || status == Some(400) {
                    break;
                }
                sleep(Duration::from_millis(200 << attempt)).await;
            }
        }
    }

    async fn push(&self, client: &Client, stream: u64, sequences: std::ops::Range<u64>) -> Option<u16> {
        let body = self.workload.push_body(stream, sequences.clone());
        let answer = client.call("POST", PUSH, &body, PATIENCE).await;
        let status = answer.as_ref().map(|(status, _)| *status);
        let mut state = self.state();
        state.pushes += 1;
        if status == Some(204) {
            state.ledger.acknowledge(stream, sequences.start);
        } else {
            state.refused += 1;
            state.waits_for = format!("a push of stream {stream}: {}", told(answer.as_ref()));
        }
        trace::event("pushed", usize::MAX, &status.unwrap_or(0).to_le_bytes());
        status
    }

    /// Asks about streams by chance, for as long as there are faults.
    async fn ask_all(&self, client: &Client) {
        let mut random = Random::of_part(self.seed, "questions");
        while self.phase() == Phase::Faults {
            sleep(Duration::from_millis(random.within(100..=1500))).await;
            self.look_at(client, random.below(self.workload.streams)).await;
        }
    }

    /// Asks about one stream and holds the answer against the ledger. True if it was complete.
    async fn look_at(&self, client: &Client, stream: u64) -> bool {
        let owed = self.state().ledger.owed(stream);
        let target = Workload::query_target(stream, QUERY_LIMIT);
        let response = client.call("GET", &target, &[], PATIENCE).await;
        let answer = match &response {
            Some((200, body)) => read_answer(body),
            _ => None,
        };
        trace::event("answered", usize::MAX, response.as_ref().map_or(&[][..], |(_, body)| body));
        let mut state = self.state();
        let Some(answer) = answer else {
            state.waits_for = format!("an answer about stream {stream}: {}", told(response.as_ref()));
            return false;
        };
        state.answers += 1;
        if !answer.complete {
            state.incomplete += 1;
            state.waits_for = format!("a complete answer about stream {stream}: {}", told(response.as_ref()));
        }
        let owed = if answer.complete { owed } else { BTreeSet::new() };
        for violation in state.ledger.verify(stream, &owed, &answer.entries) {
            state.tell(&violation);
        }
        answer.complete
    }

    async fn look_at_all(&self, client: &Client) {
        for stream in 0..self.workload.streams {
            while !self.look_at(client, stream).await {
                sleep(Duration::from_millis(500)).await;
            }
        }
    }

    /// Everything must work again: pushes to every stream, complete answers before and after a flush.
    async fn recover(&self, client: &Client) {
        for stream in 0..self.workload.streams {
            let sequences = self.state().ledger.offer(stream, 1);
            while self.push(client, stream, sequences.clone()).await != Some(204) {
                sleep(Duration::from_millis(500)).await;
            }
        }
        self.look_at_all(client).await;
        loop {
            let answer = client.call("POST", "/flush", &[], PATIENCE).await;
            if answer.as_ref().is_some_and(|(status, _)| *status == 204) {
                break;
            }
            self.state().waits_for = format!("a flush: {}", told(answer.as_ref()));
            sleep(Duration::from_millis(500)).await;
        }
        self.look_at_all(client).await;
    }
}

fn told(answer: Option<&(u16, bytes::Bytes)>) -> String {
    match answer {
        None => "no answer".into(),
        Some((status, body)) => {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            format!("{status} {text}")
        }
    }
}

/// Reads Loki's JSON; none if it is not.
fn read_answer(body: &[u8]) -> Option<Answer> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let complete = answer["warnings"].as_array().is_none_or(Vec::is_empty);
    let mut entries = Vec::new();
    for stream in answer["data"]["result"].as_array()? {
        for value in stream["values"].as_array()? {
            let timestamp = value[0].as_str()?.parse().ok()?;
            entries.push(Entry { timestamp, line: value[1].as_str()?.to_owned() });
        }
    }
    Some(Answer { entries, complete })
}

#[cfg(test)]
mod tests {
    use super::read_answer;

    #[test]
    fn warnings_make_an_answer_incomplete_and_other_texts_are_none() {
        let body = |warnings| {
            format!(
                r#"{{"status":"success","data":{{"resultType":"streams","result":[{{"stream":{{}},"values":[["5","a"]]}}]}}{warnings}}}"#
            )
        };
        let whole = read_answer(body("").as_bytes()).unwrap();
        assert!(whole.complete && whole.entries[0].timestamp == 5 && whole.entries[0].line == "a");
        assert!(!read_answer(body(r#","warnings":["x"]"#).as_bytes()).unwrap().complete);
        assert!(read_answer(b"too many requests").is_none());
    }
}
