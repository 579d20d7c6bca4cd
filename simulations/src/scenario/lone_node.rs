//! One node, as users run it, with clients that push, ask and compare.
//!
//! First come the faults: answers may fail, but never be wrong. Then all faults end, and everything must work
//! again within a bounded time: pushes, complete answers, flushing into the chunk store. Last, the power goes
//! once more, and what is left on disk and in the store must still be everything.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use grapevine::api::server::router;
use grapevine::config::Config;
use grapevine::env::{Env, SystemNet};
use grapevine::exec::Exec;
use grapevine::node::Node;
use grapevine_storage::chunk_store::{ChunkStore, StoreOptions};

use super::{Canary, Options};
use crate::client::{Clients, Phase};
use crate::host::{Birth, Cluster, Incident, Program};
use crate::net::{Weather, address};
use crate::random::Random;
use crate::report::{Outcome, Timeline};
use crate::schedule::{self, Event, Fault};
use crate::store::{FaultyStore, StoreFaults};
use crate::trace;
use crate::wire;
use crate::workload::Workload;

const NODE: usize = 0;
const CLIENTS: usize = 1;
const HTTP_PORT: u16 = 3100;
const STREAMS: u64 = 6;
/// How long it may take, once the faults are over, until all is well.
const RECOVERY_MAX: Duration = Duration::from_secs(120);
/// How soon a node that ended is started again.
const RESTART: Duration = Duration::from_secs(1);

/// Runs the scenario.
///
/// # Errors
/// The harness itself failed; what the node does wrong is in the outcome.
pub fn run(options: &Options) -> Result<Outcome> {
    let root = tempfile::Builder::new().prefix("grapevine-sim-").tempdir_in(scratch())?;
    trace::begin(options.trace.as_deref()).context("keep the trace")?;
    let mut run = Run::new(options, root.path())?;
    let ended = run.all_phases();
    let Run { cluster, clients, mut timeline, .. } = run;
    let mut violations = clients.violations();
    violations.extend(ended.err().map(|error| format!("{error:#}")));
    violations.iter().for_each(|violation| timeline.note(cluster.now(), violation));
    let facts = format!("{} disk_operations={}", clients.facts(), cluster.disk(NODE).operations());
    let simulated = cluster.now();
    drop(cluster);
    Ok(Outcome { timeline, violations, digest: trace::end()?, simulated, facts })
}

/// Where disks lie: in memory where the system has such a folder, since LMDB syncs for real.
fn scratch() -> std::path::PathBuf {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

struct Run {
    cluster: Cluster,
    clients: Clients,
    store: FaultyStore,
    timeline: Timeline,
    events: Vec<Event>,
    /// What is to be done at a time: ends of faults and restarts, in no order.
    due: Vec<(Duration, Due)>,
    faults_until: Duration,
    /// How much of what is not synced a power loss leaves, should the disk die.
    dies: (Duration, u64),
}

#[derive(Clone, Copy, Debug)]
enum Due {
    Start,
    DiskHasRoom,
    StoreWorks,
    NetworkWorks,
}

impl Run {
    fn new(options: &Options, root: &std::path::Path) -> Result<Self> {
        let store = FaultyStore::new(options.seed);
        store.set(|faults| faults.puts_lie = options.canary == Some(Canary::PutsLie));
        let clients =
            Clients::new(Workload { seed: options.seed, streams: STREAMS }, options.ties, options.seed);
        let programs = vec![node(store.clone(), configuration(options.seed)?), client(clients.clone())];
        let cluster = Cluster::new(options.seed, root, programs)?;
        cluster.disk(NODE).set(|faults| {
            faults.syncs_lie = options.canary == Some(Canary::SyncsLie);
            faults.folder_syncs_lie = options.canary == Some(Canary::FolderSyncsLie);
        });
        let faults_until = Duration::from_secs(options.seconds);
        let mut events = schedule::draw(options.seed, options.faults, faults_until);
        events.retain(|event| !options.skip.contains(&event.number));
        events.reverse();
        let (timeline, due, dies) = (Timeline::default(), Vec::new(), (RESTART, 0));
        Ok(Run { cluster, clients, store, timeline, events, due, faults_until, dies })
    }

    fn all_phases(&mut self) -> Result<()> {
        self.cluster.start(CLIENTS)?;
        self.cluster.start(NODE)?;
        while self.cluster.now() < self.faults_until {
            self.begin_faults()?;
            self.end_faults()?;
            self.step()?;
        }
        self.heal()?;
        self.until(Phase::Recovered, "pushes, complete answers and a flush")?;
        self.timeline.note(self.cluster.now(), "all works again; the power goes once more");
        self.cluster.lose_power(NODE, 0)?;
        self.cluster.start(NODE)?;
        self.clients.enter(Phase::LastLook);
        self.until(Phase::Done, "complete answers after the last power loss")
    }

    /// Steps until the clients reach a phase.
    fn until(&mut self, phase: Phase, what: &str) -> Result<()> {
        let deadline = self.cluster.now() + RECOVERY_MAX;
        while self.clients.phase() < phase {
            self.end_faults()?;
            self.step()?;
            let waiting = self.clients.waits_for();
            anyhow::ensure!(self.cluster.now() < deadline, "not within {RECOVERY_MAX:?}: {what} ({waiting})");
        }
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        for (host, incident) in self.cluster.step()? {
            match incident {
                Incident::DiskDied => {
                    let (down, keep_permille) = self.dies;
                    self.lose_power(down, keep_permille)?;
                }
                Incident::Ended(Ok(())) => anyhow::bail!("node {host} ended by itself"),
                Incident::Ended(Err(error)) => {
                    self.timeline.note(self.cluster.now(), format!("node {host} ended: {error:#}"));
                    self.clients.node_ended();
                    self.cluster.crash(host);
                    self.due.push((self.cluster.now() + RESTART, Due::Start));
                }
            }
        }
        Ok(())
    }

    fn lose_power(&mut self, down: Duration, keep_permille: u64) -> Result<()> {
        self.timeline
            .note(self.cluster.now(), format!("the power goes; {keep_permille} ‰ of what is unsynced stay"));
        self.cluster.lose_power(NODE, keep_permille)?;
        self.due.push((self.cluster.now() + down, Due::Start));
        Ok(())
    }

    fn begin_faults(&mut self) -> Result<()> {
        while let Some(event) = self.events.pop_if(|event| event.at <= self.cluster.now()) {
            self.timeline.note(self.cluster.now(), event);
            self.begin(event.fault)?;
        }
        Ok(())
    }

    fn begin(&mut self, fault: Fault) -> Result<()> {
        let now = self.cluster.now();
        let disk = self.cluster.disk(NODE).clone();
        match fault {
            Fault::PowerLoss { down, keep_permille } => self.lose_power(down, keep_permille)?,
            Fault::DiskDies { operations, down, keep_permille } => {
                self.dies = (down, keep_permille);
                disk.set(|faults| faults.dies_in = Some(operations));
            }
            Fault::Crash { down } => {
                self.cluster.crash(NODE);
                self.due.push((now + down, Due::Start));
            }
            Fault::Pause { length } => self.cluster.pause(NODE, length),
            Fault::ClockJump { nanos } => self.cluster.set_skew(NODE, nanos),
            Fault::DiskFull { room, length } => {
                disk.set(|faults| faults.room = Some(room));
                self.due.push((now + length, Due::DiskHasRoom));
            }
            Fault::DiskErrors { syncs, writes } => disk.set(|faults| {
                faults.failing_syncs += syncs;
                faults.failing_writes += writes;
            }),
            Fault::StoreOut { length } => {
                self.store.set(|faults| faults.out = true);
                self.due.push((now + length, Due::StoreWorks));
            }
            Fault::StoreFlaky { latency, before_permille, after_permille, length } => {
                self.store.set(|faults| {
                    (faults.latency, faults.jitter) = (latency, latency);
                    faults.fail_before_permille = before_permille;
                    faults.fail_after_permille = after_permille;
                });
                self.due.push((now + length, Due::StoreWorks));
            }
            Fault::BadWeather { loss_permille, duplicate_permille, jitter, length } => {
                let weather = Weather { loss_permille, duplicate_permille, jitter, ..Weather::default() };
                self.cluster.network().set_weather(weather);
                self.due.push((now + length, Due::NetworkWorks));
            }
            Fault::Partition { requests, answers, length } => {
                self.cluster.network().set_blocked(CLIENTS, NODE, requests);
                self.cluster.network().set_blocked(NODE, CLIENTS, answers);
                self.due.push((now + length, Due::NetworkWorks));
            }
        }
        Ok(())
    }

    fn end_faults(&mut self) -> Result<()> {
        let now = self.cluster.now();
        let (over, later) = std::mem::take(&mut self.due).into_iter().partition(|(at, _)| *at <= now);
        self.due = later;
        let over: Vec<(Duration, Due)> = over;
        over.into_iter().try_for_each(|(_, due)| self.end(due))
    }

    fn end(&mut self, due: Due) -> Result<()> {
        match due {
            Due::Start if self.cluster.is_up(NODE) => {}
            Due::Start => {
                self.timeline.note(self.cluster.now(), "the node starts");
                self.cluster.start(NODE)?;
            }
            Due::DiskHasRoom => self.cluster.disk(NODE).set(|faults| faults.room = None),
            Due::StoreWorks => self.store_works(),
            Due::NetworkWorks => self.cluster.network().heal(),
        }
        Ok(())
    }

    fn store_works(&self) {
        self.store
            .set(|faults| *faults = StoreFaults { puts_lie: faults.puts_lie, ..StoreFaults::default() });
    }

    /// Ends all faults at once.
    fn heal(&mut self) -> Result<()> {
        self.timeline.note(self.cluster.now(), "all faults end");
        self.due.clear();
        self.cluster.network().heal();
        self.store_works();
        self.cluster.set_skew(NODE, 0);
        self.cluster.disk(NODE).set(|faults| {
            (faults.dies_in, faults.room) = (None, None);
            (faults.failing_syncs, faults.failing_writes) = (0, 0);
        });
        self.clients.enter(Phase::Recovering);
        self.end(Due::Start)
    }
}

/// What the node is told: to pack often, since a run has minutes and not hours.
fn configuration(seed: u64) -> Result<Config> {
    let mut random = Random::of_part(seed, "configuration");
    let keys = [
        ("head.age_max", format!("{}s", random.within(2..=30))),
        ("head.sealed_size_max", format!("{}MiB", random.within(1..=2))),
        ("wal.segment_size", "1MiB".to_owned()),
        ("wal.size_max", format!("{}MiB", random.within(2..=4))),
    ];
    let keys = keys.into_iter().map(|(key, value)| (key.to_owned(), value));
    Config::load("", [], keys).context("configure the node")
}

/// A node as `grapevine serve` runs it, but for its listener.
fn node(store: FaultyStore, config: Config) -> Program {
    Box::new(move |birth: Birth| {
        let (store, config) = (store.clone(), config.clone());
        Box::pin(async move {
            let Birth { host, data_dir, clock, network, seed, .. } = birth;
            let env = Env { clock, net: Arc::new(SystemNet), exec: Exec::inline(), data_dir, seed };
            let retries = StoreOptions { seed, ..StoreOptions::default() };
            let store = ChunkStore::from_object_store(Arc::new(store), retries);
            let socket = network.bind(host, HTTP_PORT)?;
            let (node, loops) = Node::open(env, config, store).await?;
            tokio::select! {
                () = loops.run() => {}
                () = wire::serve(router(node), socket) => {}
            }
            Ok(())
        })
    })
}

fn client(clients: Clients) -> Program {
    Box::new(move |birth: Birth| {
        let clients = clients.clone();
        Box::pin(async move {
            let socket = birth.network.bind(birth.host, 1)?;
            let client = wire::Client::new(socket, (address(NODE), HTTP_PORT).into());
            clients.run(client).await;
            Ok(())
        })
    })
}
