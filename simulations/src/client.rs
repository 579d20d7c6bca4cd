//! Clients of the nodes: they push the workload to any of them, ask any of them for it, and hold each answer
//! against the ledger.

mod ask;
mod measure;
mod push;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::check::Ledger;
use crate::det;
use crate::net::address;
use crate::random::Random;
use crate::scenario::Scenario;
use crate::wire::Client;
use crate::workload::Workload;

/// Where nodes answer.
pub const HTTP_PORT: u16 = 3100;
/// Between two tries to do what must work again.
const AGAIN: Duration = Duration::from_millis(500);
/// With more streams than this, each is looked at on one node instead of all.
const LOOKS_MAX: usize = 200;

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

/// The clients of the nodes and what they know. Cheap to clone; outlives every crash.
#[derive(Clone, Debug)]
pub struct Clients {
    scenario: Arc<Scenario>,
    lines: Workload,
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
    /// Nodes that can be asked: those started and not gone for good.
    members: BTreeSet<usize>,
    /// When something was last wrong with each node, with the store in the last place.
    trouble: Vec<Option<Duration>>,
    counts: Counts,
}

/// What was done, in numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Pushes sent, each try for itself.
    pub pushes: u64,
    /// Tries that were not answered with success.
    pub refused: u64,
    /// Answers that could be read.
    pub answers: u64,
    /// Those of them with a warning.
    pub incomplete: u64,
    /// Questions that were not answered.
    pub unanswered: u64,
    /// Nodes that ended by themselves.
    pub ended: u64,
}

impl State {
    fn tell(&mut self, violation: &str) {
        let phase = self.phase;
        if self.told.insert(format!("{phase:?}: {violation}")) {
            let at = det::elapsed().as_secs_f64();
            self.violations.push(format!("at {at:.3} s, {violation}"));
        }
    }
}

impl Clients {
    /// Clients for a scenario.
    pub fn new(scenario: Arc<Scenario>, seed: u64) -> Self {
        let lines = Workload { seed };
        let nodes = &scenario.nodes;
        let state = State {
            phase: Phase::Faults,
            ledger: Ledger::new(lines, scenario.expect.ties),
            violations: Vec::new(),
            told: BTreeSet::new(),
            waits_for: String::new(),
            members: (0..nodes.len()).filter(|node| !nodes[*node].spare).collect(),
            trouble: vec![None; nodes.len() + 1],
            counts: Counts::default(),
        };
        Clients { scenario, lines, state: Arc::new(Mutex::new(state)) }
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

    /// Tells the clients who can be asked.
    pub fn set_member(&self, node: usize, is_member: bool) {
        let mut state = self.state();
        if is_member { _ = state.members.insert(node) } else { _ = state.members.remove(&node) }
    }

    /// Something is wrong with a node now; of the store, if there are no more nodes than the number.
    pub fn note_trouble(&self, node: usize) {
        self.state().trouble[node] = Some(det::elapsed());
    }

    /// Promises that were broken so far.
    pub fn violations(&self) -> Vec<String> {
        self.state().violations.clone()
    }

    /// A promise was broken.
    pub fn tell(&self, violation: &str) {
        self.state().tell(violation);
    }

    /// What the clients are trying at the moment, and what the last answer was.
    pub fn waits_for(&self) -> String {
        self.state().waits_for.clone()
    }

    /// A node stopped by itself; whether it may is not the clients' to judge.
    pub fn node_ended(&self) {
        self.state().counts.ended += 1;
    }

    /// What was done.
    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// How often a line was sent.
    pub fn times_sent(&self, line: &str) -> usize {
        self.state().ledger.times_sent(line)
    }

    /// What was done, in words.
    pub fn facts(&self) -> String {
        let state = self.state();
        let lines = state.ledger.acknowledged();
        let Counts { pushes, refused, answers, incomplete, unanswered, ended } = state.counts;
        format!(
            "acknowledged_lines={lines} pushes={pushes} refused={refused} answers={answers} \
             incomplete={incomplete} unanswered={unanswered} ended={ended}"
        )
    }

    /// Pushes and asks through all phases. Never ends.
    pub async fn run(&self, client: Client) {
        let pushers = (0..self.pushers()).map(|pusher| self.push_all(&client, pusher));
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

    fn patience(&self) -> Duration {
        self.scenario.workload.patience.0
    }

    async fn wait_for(&self, phase: Phase) {
        while self.phase() < phase {
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn members(&self) -> Vec<usize> {
        self.state().members.iter().copied().collect()
    }

    fn any_member(&self, random: &mut Random) -> Option<usize> {
        let members = self.members();
        let place = random.below(members.len().max(1) as u64) as usize;
        members.get(place).copied()
    }

    /// Every stream on every node.
    async fn look_at_all(&self, client: &Client) {
        let streams = self.state().ledger.streams();
        let members = self.members();
        let everywhere = streams.len() * members.len() <= LOOKS_MAX;
        for (place, stream) in streams.into_iter().enumerate() {
            let asked = if everywhere { &members[..] } else { &members[place % members.len()..][..1] };
            for node in asked {
                while self.look_at(client, *node, stream).await.is_none() {
                    sleep(AGAIN).await;
                }
            }
            self.must_count(client, members[place % members.len()], stream).await;
            self.must_measure(client, members[(place + 1) % members.len()], stream).await;
        }
    }

    async fn must_count(&self, client: &Client, node: usize, stream: u64) {
        while !self.count(client, node, stream).await {
            sleep(AGAIN).await;
        }
    }

    /// Everything must work again: pushes to every stream and by every node, complete answers before and after a
    /// flush of every node.
    async fn recover(&self, client: &Client) {
        let streams = match &self.state().ledger.streams()[..] {
            [] => (0..self.scenario.workload.streams).collect(),
            streams => streams.to_vec(),
        };
        let members = self.members();
        for place in 0..streams.len().max(members.len()) {
            let Some(stream) = streams.get(place % streams.len().max(1)) else { break };
            self.must_push(client, members[place % members.len()], *stream).await;
        }
        self.look_at_all(client).await;
        for node in members {
            loop {
                let answer = client.call(server(node), "POST", "/flush", &[], self.patience()).await;
                if answer.as_ref().is_some_and(|(status, _)| *status == 204) {
                    break;
                }
                self.state().waits_for = format!("a flush of node {node}: {}", told(answer.as_ref()));
                sleep(AGAIN).await;
            }
        }
        self.look_at_all(client).await;
    }
}

/// Where a node answers.
fn server(node: usize) -> SocketAddr {
    (address(node), HTTP_PORT).into()
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
