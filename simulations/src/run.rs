//! A run of a scenario, from its first node's start to the last look.
//!
//! First the nodes find together. Then come the faults: answers may fail, but never be wrong. Then all faults end, and everything must work
//! again within a bounded time: pushes, complete answers, flushing into the chunk store, one ring. After a quiet
//! while the store is weighed. Last, all power goes once more, and what is left on disks and in the store must
//! still be everything.

mod inflict;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::canary::Canary;
use crate::client::{Clients, Phase};
use crate::effects::Effects;
use crate::health::{self, Weight};
use crate::host::{Cluster, Incident, Order};
use crate::logs;
use crate::member::{self, Nodes};
use crate::net::Network;
use crate::report::Outcome;
use crate::scenario::format::StoreKind;
use crate::scenario::{Options, Scenario};
use crate::schedule::Event;
use crate::store::{FaultyStore, StoreFaults};
use crate::timeline::{self, Mark, Stretch};
use crate::trace;
use crate::watch::{LOOK_EVERY, Watch};

/// How soon a node that ended is started again.
const RESTART: Duration = Duration::from_secs(1);
/// How long a node is down whose disk dies at an operation that was chosen, ...
const SWEEP_DOWN: Duration = Duration::from_secs(1);
/// ... and how many changes in a thousand stay that were not synced.
const SWEEP_KEEP_PERMILLE: u64 = 500;

/// Runs a scenario in a thread of its own, with time and chance from the seed. The events go to a file too, if one
/// is given. One at a time in a process: the working directory is the nodes' for so long.
///
/// # Errors
/// The harness itself failed; what the nodes do wrong is in the outcome.
pub fn run(scenario: Scenario, options: &Options, trace: Option<&Path>) -> Result<Outcome> {
    ensure!(
        crate::det::is_linked(),
        "this executable was linked without the harness's own clock and randomness"
    );
    let root = tempfile::Builder::new().prefix("grapevine-sim-").tempdir_in(scratch())?;
    let before = std::env::current_dir()?;
    let ended = std::thread::scope(|scope| {
        let work = || {
            let _entered = crate::det::enter(options.seed);
            trace::begin(trace).context("keep the trace")?;
            // Nodes name files in what they answer: the names must not differ from run to run.
            std::env::set_current_dir(root.path())?;
            run_here(scenario, options, Path::new("."))
        };
        // Deep enough for a debug build's parsers and compressors.
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|_| anyhow::bail!("the harness itself panicked; see above"))
    });
    std::env::set_current_dir(before)?;
    ended
}

fn run_here(scenario: Scenario, options: &Options, root: &Path) -> Result<Outcome> {
    timeline::begin();
    let mut run = Run::new(scenario, options, root)?;
    let ended = run.all_phases();
    let mut violations = run.clients.violations();
    violations.extend(ended.err().map(|error| format!("{error:#}")));
    violations.extend(run.judge_logs());
    let loops = run.cluster.network().traffic().links.into_keys().filter(|(from, to)| from == to);
    violations.extend(loops.map(|(node, _)| format!("node {node} sent to itself over the network")));
    for violation in &violations {
        timeline::mark(Mark::Objection, None, || violation.clone());
    }
    let Run { cluster, clients, scenario, weight, .. } = run;
    let operations: u64 = (0..scenario.nodes.len()).map(|node| cluster.disk(node).operations()).sum();
    let (datagrams, traffic) = (cluster.network().sent(), cluster.network().traffic());
    let mut facts = format!("{} disk_operations={operations} datagrams={datagrams}", clients.facts());
    if let Some(weight) = weight {
        facts += &format!(" amplification={weight:.4}");
    }
    let simulated = cluster.now();
    drop(cluster);
    let names = scenario.nodes.iter().map(|node| node.name.clone()).chain(["clients".into()]).collect();
    let (timeline, digest) = (timeline::end(), trace::end()?);
    Ok(Outcome { names, timeline, traffic, violations, digest, simulated, facts })
}

/// Where disks lie: in memory where the system has such a folder, since LMDB syncs for real.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

struct Run {
    scenario: Arc<Scenario>,
    cluster: Cluster,
    nodes: Nodes,
    clients: Clients,
    stores: Vec<FaultyStore>,
    effects: Effects,
    /// Those to come, the next in the last place.
    events: Vec<Event>,
    /// What is to be done at a time, in no order.
    due: Vec<(Duration, Due)>,
    members: Vec<Member>,
    /// Text in the store in relation to one copy.
    weight: Option<f64>,
    /// A bug is planted: once it is found, the run is over.
    is_canary: bool,
    /// When it is to be looked again who leads and what nodes hold.
    look_at: Duration,
    watch: Watch,
    /// When all had found together, from which on faults are counted.
    began: Duration,
}

/// What the harness knows of a node.
#[derive(Clone, Debug, Default)]
struct Member {
    /// It is to run: neither spare nor gone.
    belongs: bool,
    /// It was told to stop; afterwards others may be.
    stopping: Option<(Vec<usize>, Duration)>,
    leaving: bool,
    paused_until: Duration,
    /// How long it is down, and how much of what is not synced stays, should the disk die.
    dies: (Duration, u64),
}

#[derive(Clone, Debug)]
enum Due {
    Start(usize),
    Upgrade(Vec<usize>, Duration),
}

impl Run {
    fn new(mut scenario: Scenario, options: &Options, root: &Path) -> Result<Self> {
        let mut events = std::mem::take(&mut scenario.events);
        events.reverse();
        let scenario = Arc::new(scenario);
        let seed = options.seed;
        let count = scenario.nodes.len();
        let first = FaultyStore::new(seed);
        let stores: Vec<FaultyStore> = (0..count)
            .map(|node| match scenario.store.kind {
                StoreKind::Shared => first.another_way(seed, &format!("store {node}")),
                StoreKind::Private => FaultyStore::new(seed ^ node as u64),
            })
            .collect();
        let clients = Clients::new(Arc::clone(&scenario), seed);
        let nodes = Nodes::new(count);
        let mut programs = Vec::new();
        for (node, store) in stores.iter().enumerate() {
            let config = member::configuration(&scenario, node, seed)?;
            programs.push(member::program(store.clone(), config, nodes.clone()));
        }
        programs.push(member::clients(clients.clone()));
        let network = Network::of_links(seed, scenario.links.clone());
        let cluster = Cluster::new(seed, root, network, programs)?;
        for node in 0..count {
            cluster.disk(node).set(|faults| {
                faults.syncs_lie = options.canary == Some(Canary::SyncsLie);
                faults.folder_syncs_lie = options.canary == Some(Canary::FolderSyncsLie);
            });
        }
        options.canary.into_iter().for_each(Canary::plant);
        let effects = Effects::new(stores.clone(), good_store(&scenario, options));
        let member = |node: usize| Member { belongs: !scenario.nodes[node].spare, ..Member::default() };
        let mut members: Vec<Member> = (0..count).map(member).collect();
        if let Some(operations) = options.dies_at {
            members[0].dies = (SWEEP_DOWN, SWEEP_KEEP_PERMILLE);
            cluster.disk(0).set(|faults| faults.dies_in = Some(operations));
        }
        let (due, look_at, watch) = (Vec::new(), Duration::ZERO, Watch::new(count));
        Ok(Run {
            scenario,
            cluster,
            nodes,
            clients,
            stores,
            effects,
            events,
            due,
            members,
            weight: None,
            is_canary: options.canary.is_some(),
            look_at,
            watch,
            began: Duration::ZERO,
        })
    }

    fn all_phases(&mut self) -> Result<()> {
        let bound = self.scenario.expect.recovery.0;
        self.start_all()?;
        self.settle(bound)?;
        self.began = self.cluster.now();
        self.cluster.start(self.scenario.clients())?;
        while self.cluster.now() < self.began + self.scenario.length {
            self.begin_faults()?;
            self.step()?;
        }
        self.heal()?;
        self.until(Phase::Recovered, bound, "pushes, complete answers and a flush")?;
        self.settle(bound)?;
        self.weigh()?;
        state(None, "all works again; all power goes once more");
        for node in self.belonging() {
            self.lose_power(node, 0, None)?;
        }
        self.start_all()?;
        self.clients.enter(Phase::LastLook);
        self.until(Phase::Done, bound, "complete answers after the last power loss")
    }

    fn belonging(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|node| self.members[*node].belongs).collect()
    }

    fn start_all(&mut self) -> Result<()> {
        self.belonging().into_iter().try_for_each(|node| self.start(node))
    }

    /// Steps until the clients reach a phase.
    fn until(&mut self, phase: Phase, bound: Duration, what: &str) -> Result<()> {
        let deadline = self.cluster.now() + bound;
        while self.clients.phase() < phase {
            self.step()?;
            let waiting = self.clients.waits_for();
            ensure!(self.cluster.now() < deadline, "not within {bound:?}: {what} ({waiting})");
        }
        Ok(())
    }

    /// Steps until the nodes agree and nothing is missing anywhere.
    fn settle(&mut self, bound: Duration) -> Result<()> {
        let deadline = self.cluster.now() + bound;
        while let Some(unwell) = health::look(&self.nodes, &self.belonging()) {
            ensure!(self.cluster.now() < deadline, "not within {bound:?}: {unwell}");
            self.pass(LOOK_EVERY)?;
        }
        Ok(())
    }

    fn pass(&mut self, time: Duration) -> Result<()> {
        let until = self.cluster.now() + time;
        while self.cluster.now() < until {
            self.step()?;
        }
        Ok(())
    }

    /// After a quiet while, what lies in the stores is held against what was written.
    fn weigh(&mut self) -> Result<()> {
        let quiet = self.scenario.expect.quiet.0;
        self.pass(quiet)?;
        let Some(most) = self.scenario.expect.amplification else { return Ok(()) };
        let Weight { factor, surplus } = health::weigh(&self.stores[0], quiet, &self.nodes, &self.clients)?;
        self.weight = Some(factor);
        if factor > most {
            let surplus = surplus.join("; ");
            self.clients.tell(&format!(
                "the chunk store holds {factor:.3} times the text, of {most} at most: {surplus}"
            ));
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        ensure!(!self.is_canary || self.clients.violations().is_empty(), "the planted bug was found");
        self.effects.end_due(&self.cluster);
        self.do_due()?;
        if self.cluster.now() >= self.look_at {
            self.look_at = self.cluster.now() + LOOK_EVERY;
            health::leads(&self.nodes, &self.scenario).into_iter().for_each(timeline::lead);
            let excesses = self.watch.look(&self.nodes, &self.scenario);
            excesses.iter().for_each(|excess| self.clients.tell(excess));
        }
        self.note_trouble();
        for (host, incident) in self.cluster.step()? {
            match incident {
                Incident::DiskDied => {
                    let (down, keep_permille) = self.members[host].dies;
                    self.lose_power(host, keep_permille, Some(down))?;
                }
                Incident::Ended(result) => self.ended(host, result)?,
            }
        }
        Ok(())
    }

    fn ended(&mut self, node: usize, result: Result<()>) -> Result<()> {
        ensure!(node < self.members.len(), "the clients ended by themselves: {result:?}");
        self.nodes.let_go(node);
        self.cluster.crash(node);
        timeline::open(Stretch::Down, node, "stopped");
        let told = std::mem::take(&mut self.members[node].stopping);
        let leaving = std::mem::take(&mut self.members[node].leaving);
        self.clients.note_trouble(node);
        if let Err(error) = &result {
            state(Some(node), &format!("ended: {error:#}"));
            self.clients.node_ended();
        } else if leaving {
            state(Some(node), "has left");
            self.clients.set_member(node, false);
            self.members[node] = Member::default();
            return Ok(());
        } else {
            ensure!(told.is_some(), "node {node} ended by itself");
            state(Some(node), "has stopped");
        }
        let restart = self.cluster.now() + RESTART;
        self.due.push((restart, Due::Start(node)));
        self.upgrade_next(restart, told);
        Ok(())
    }

    fn upgrade_next(&mut self, after: Duration, told: Option<(Vec<usize>, Duration)>) {
        if let Some((rest, apart)) = told {
            self.due.push((after + apart, Due::Upgrade(rest, apart)));
        }
    }

    /// The process is gone; what it was told to do is not done.
    fn crashed(&mut self, node: usize, why: &str, down: Option<Duration>) {
        timeline::open(Stretch::Down, node, why);
        let now = self.cluster.now();
        let told = std::mem::take(&mut self.members[node].stopping);
        self.members[node].leaving = false;
        self.members[node].paused_until = Duration::ZERO;
        timeline::close(Stretch::Paused, node);
        self.upgrade_next(now, told);
        if let Some(down) = down.filter(|_| self.members[node].belongs) {
            self.due.push((now + down, Due::Start(node)));
        }
    }

    fn lose_power(&mut self, node: usize, keep_permille: u64, down: Option<Duration>) -> Result<()> {
        state(Some(node), &format!("loses power; {keep_permille} ‰ of what is unsynced stay"));
        self.nodes.let_go(node);
        self.cluster.lose_power(node, keep_permille)?;
        self.crashed(node, "power", down);
        Ok(())
    }

    fn start(&mut self, node: usize) -> Result<()> {
        if self.cluster.is_up(node) || !self.members[node].belongs {
            return Ok(());
        }
        state(Some(node), "starts");
        timeline::close(Stretch::Down, node);
        self.clients.set_member(node, true);
        self.clients.note_trouble(node);
        self.cluster.start(node)
    }

    fn do_due(&mut self) -> Result<()> {
        let now = self.cluster.now();
        if self.due.iter().all(|(at, _)| *at > now) {
            return Ok(());
        }
        let (over, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.due).into_iter().partition(|(at, _)| *at <= now);
        self.due = later;
        over.into_iter().try_for_each(|(_, due)| match due {
            Due::Start(node) => self.start(node),
            Due::Upgrade(mut nodes, apart) => {
                if nodes.is_empty() {
                    return Ok(());
                }
                let (node, told) = (nodes.remove(0), Some((nodes, apart)));
                let is_going = self.members[node].stopping.is_some() || self.members[node].leaving;
                if self.cluster.is_up(node) && !is_going {
                    state(Some(node), "is told to stop");
                    self.members[node].stopping = told;
                    self.cluster.order(node, Order::Stop);
                } else {
                    self.upgrade_next(now, told);
                }
                Ok(())
            }
        })
    }

    fn note_trouble(&mut self) {
        self.effects.note_trouble(&self.clients);
        let now = self.cluster.now();
        for node in 0..self.members.len() {
            let paused = self.members[node].paused_until > now;
            if !paused {
                timeline::close(Stretch::Paused, node);
            }
            if paused || !self.cluster.is_up(node) || self.cluster.disk(node).is_failing() {
                self.clients.note_trouble(node);
            }
        }
    }

    /// Ends all faults at once.
    fn heal(&mut self) -> Result<()> {
        state(None, "all faults end");
        self.effects.end_all(&self.cluster);
        for (node, member) in self.members.iter_mut().enumerate() {
            if member.leaving {
                // Clients that must be answered ask those that stay.
                self.clients.set_member(node, false);
            }
            member.paused_until = Duration::ZERO;
            self.cluster.resume(node);
            self.cluster.set_skew(node, 0);
            self.cluster.disk(node).set(|faults| {
                (faults.dies_in, faults.room) = (None, None);
                (faults.failing_syncs, faults.failing_writes) = (0, 0);
            });
        }
        self.note_trouble();
        self.clients.enter(Phase::Recovering);
        self.start_all()
    }

    /// Errors that were not expected, and messages that were and did not come.
    fn judge_logs(&self) -> Vec<String> {
        let expect = &self.scenario.expect;
        let lines = logs::take();
        let has = |line: &logs::Line, part: &String| line.text.contains(part.as_str());
        let mut unexpected: BTreeMap<String, usize> = BTreeMap::new();
        for line in lines.iter().filter(|line| line.is_error) {
            if !expect.errors.iter().chain(&expect.messages).any(|part| has(line, part)) {
                *unexpected.entry(line.text.clone()).or_default() += 1;
            }
        }
        let missing = expect.messages.iter().filter(|part| !lines.iter().any(|line| has(line, part)));
        let missing = missing.map(|part| format!("no node logged `{part}`"));
        let told = |(text, count)| format!("logged as an error ({count} times): {text}");
        unexpected.into_iter().map(told).chain(missing).collect()
    }
}

fn state(node: Option<usize>, text: &str) {
    timeline::mark(Mark::State, node, || text.to_owned());
}

/// The store in good times.
fn good_store(scenario: &Scenario, options: &Options) -> StoreFaults {
    let half = (scenario.store.failures * 500.0) as u64;
    StoreFaults {
        latency: scenario.store.latency.0,
        jitter: scenario.store.jitter.0,
        fail_before_permille: half,
        fail_after_permille: half,
        puts_lie: options.canary == Some(Canary::PutsLie),
        ..StoreFaults::default()
    }
}
