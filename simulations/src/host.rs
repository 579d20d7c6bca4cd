//! Nodes on one thread: each has a paused runtime of its own, and time goes on in windows.
//!
//! A window is no longer than the least latency of a link, so nothing that one node does within a window can
//! reach another in it: nodes may run one after another. Within its window a node's time jumps from timer to
//! timer. A crash drops the node's runtime, and with it every task of every library at once.
//!
//! **Why a process for each seed.** Tokio seeds each runtime from a counter of the whole process, and only
//! `--cfg tokio_unstable` lets a caller choose the seed. That flag would build every dependency a second time, and
//! the node differently from what users run. In a fresh process the counter starts at 1, for 2 ms a seed; a
//! seed that aborts or hangs takes no other with it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use grapevine::env::WallClock;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::det;
use crate::disk::Disk;
use crate::net::{LATENCY_MIN, Network};
use crate::random::Random;
use crate::trace;

/// Windows are no longer, so that faults begin about when they are due.
const WINDOW_MAX: Duration = Duration::from_millis(100);

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static CURRENT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The node that runs at the moment on this thread.
pub fn current() -> Option<usize> {
    CURRENT.try_with(Cell::get).ok().flatten()
}

/// What a node runs: called at each start.
pub type Program = Box<dyn Fn(Birth) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>>;

/// What a node finds at its start.
#[derive(Debug)]
pub struct Birth {
    /// Which node this is; its address is [`crate::net::address`].
    pub host: usize,
    /// How often it has been started before.
    pub incarnation: u64,
    /// Its own folder.
    pub data_dir: PathBuf,
    /// Its wall clock.
    pub clock: Arc<HostClock>,
    /// The links to the others.
    pub network: Network,
    /// For its generators.
    pub seed: u64,
    /// What it is told to do.
    pub orders: watch::Receiver<Order>,
}

/// What a node is told from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Go on.
    #[default]
    Run,
    /// Stop, as by SIGTERM.
    Stop,
    /// Leave the cluster, as by `grapevine leave`.
    Leave,
}

/// The wall clock of a node: simulated time, and how far this node is off.
#[derive(Debug, Default)]
pub struct HostClock {
    skew_nanos: AtomicI64,
}

impl WallClock for HostClock {
    fn now(&self) -> i64 {
        det::wall_nanos(det::elapsed(), self.skew_nanos.load(Ordering::Relaxed))
    }
}

/// What happened to a node by itself.
#[derive(Debug)]
pub enum Incident {
    /// The power went at the disk operation chosen.
    DiskDied,
    /// Its program ended.
    Ended(Result<()>),
}

/// All nodes, and the time they share.
pub struct Cluster {
    now: Duration,
    /// How far nodes run on their own. Whole milliseconds: tokio's timers have no finer grain.
    window: Duration,
    hosts: Vec<Host>,
    network: Network,
    random: Random,
}

struct Host {
    program: Program,
    disk: Disk,
    clock: Arc<HostClock>,
    life: Option<Life>,
    incarnation: u64,
    paused_until: Duration,
    /// Time that passed while it was paused, and that it has not noticed yet.
    lag: Duration,
}

struct Life {
    runtime: Runtime,
    main: JoinHandle<Result<()>>,
    orders: watch::Sender<Order>,
    /// The runtime's time at `began`.
    origin: Instant,
    began: Duration,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({} hosts at {:?})", self.hosts.len(), self.now)
    }
}

/// Remembers panics of simulated tasks, which tokio would swallow. To be called once in a process.
pub fn watch_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANIC.with_borrow_mut(|panic| *panic = Some(info.to_string()));
        before(info);
    }));
}

impl Cluster {
    /// Nodes that run these programs, linked by a network, with their disks below a folder. None is started yet.
    ///
    /// # Errors
    /// The disks cannot be created.
    pub fn new(seed: u64, root: &Path, network: Network, programs: Vec<Program>) -> io::Result<Self> {
        let least = network.latency_min().clamp(LATENCY_MIN, WINDOW_MAX);
        let window = Duration::from_millis(least.as_millis() as u64);
        let host = |(number, program)| {
            let disk = Disk::create(&root.join(format!("node-{number}")), number, seed)?;
            let (clock, zero) = (Arc::default(), Duration::ZERO);
            Ok(Host { program, disk, clock, life: None, incarnation: 0, paused_until: zero, lag: zero })
        };
        let hosts = programs.into_iter().enumerate().map(host).collect::<io::Result<_>>()?;
        let random = Random::of_part(seed, "cluster");
        Ok(Cluster { now: Duration::ZERO, window, hosts, network, random })
    }

    /// The simulated time.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The links.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// How long a window is.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// How often a node was started.
    pub fn incarnation(&self, host: usize) -> u64 {
        self.hosts[host].incarnation
    }

    /// A node's disk.
    pub fn disk(&self, host: usize) -> &Disk {
        &self.hosts[host].disk
    }

    /// Whether a node runs (or is paused).
    pub fn is_up(&self, host: usize) -> bool {
        self.hosts[host].life.is_some()
    }

    /// Starts a node that is down.
    ///
    /// # Errors
    /// The system gives no runtime.
    pub fn start(&mut self, host: usize) -> Result<()> {
        trace::event("start", host, &[]);
        let (network, now) = (self.network.clone(), self.now);
        let seed = self.random.next();
        let node = &mut self.hosts[host];
        assert!(node.life.is_none(), "node {host} is up already");
        det::set_clock(now, None, 0);
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let origin = runtime.block_on(async { Instant::now() });
        let (orders, told) = watch::channel(Order::Run);
        let birth = Birth {
            host,
            incarnation: node.incarnation,
            data_dir: node.disk.data_dir(),
            clock: Arc::clone(&node.clock),
            network,
            seed,
            orders: told,
        };
        let program = &node.program;
        let main = as_host(host, || node.disk.during(|| runtime.spawn(program(birth))));
        node.incarnation += 1;
        (node.paused_until, node.lag) = (Duration::ZERO, Duration::ZERO);
        node.life = Some(Life { runtime, main, orders, origin, began: now });
        Ok(())
    }

    /// Kills a node's process. Its disk keeps all that was written, synced or not.
    pub fn crash(&mut self, host: usize) {
        trace::event("crash", host, &[]);
        let now = self.now;
        let node = &mut self.hosts[host];
        // As the node: what is dropped may look at the clock or close files.
        as_host(host, || node.as_itself(|node| drop(node.life.take())));
        det::set_clock(now, None, 0);
        self.network.forget(host);
    }

    /// Tells a node to stop or to leave. Its program ends by itself.
    pub fn order(&mut self, host: usize, order: Order) {
        trace::event("order", host, &[order as u8]);
        self.hosts[host].life.iter().for_each(|life| _ = life.orders.send_replace(order));
    }

    /// Takes the power from a node: of what its disk was not told to sync, so many changes in a thousand stay.
    ///
    /// # Errors
    /// The harness cannot change the files.
    pub fn lose_power(&mut self, host: usize, keep_permille: u64) -> Result<()> {
        self.crash(host);
        trace::event("power", host, &keep_permille.to_le_bytes());
        self.hosts[host].disk.lose_power(keep_permille).context("take back unsynced changes")
    }

    /// Stops a node's clock and tasks for a while, as a suspended machine's.
    pub fn pause(&mut self, host: usize, length: Duration) {
        trace::event("pause", host, &length.as_nanos().to_le_bytes());
        self.hosts[host].paused_until = self.now + length;
    }

    /// Lets a suspended node go on.
    pub fn resume(&mut self, host: usize) {
        self.hosts[host].paused_until = Duration::ZERO;
    }

    /// Sets how far a node's wall clock is off.
    pub fn set_skew(&mut self, host: usize, nanos: i64) {
        trace::event("skew", host, &nanos.to_le_bytes());
        self.hosts[host].clock.skew_nanos.store(nanos, Ordering::Relaxed);
    }

    /// Lets one window pass.
    ///
    /// # Errors
    /// A task of a node panicked.
    pub fn step(&mut self) -> Result<Vec<(usize, Incident)>> {
        let end = self.now + self.window;
        let mut incidents = Vec::new();
        for (number, node) in self.hosts.iter_mut().enumerate() {
            let due = self.network.take_due(number, end);
            if node.life.is_none() {
                continue; // What arrives at a node that is down is lost.
            }
            if node.paused_until > self.now {
                node.lag += self.window;
                // Datagrams wait in the machine's socket; timers do not run.
                due.into_iter().for_each(|datagram| self.network.hand_over(number, datagram));
                continue;
            }
            let network = &self.network;
            let ended = as_host(number, || node.as_itself(|node| node.run(end, network, number, due)));
            if let Some(panic) = PANIC.take() {
                bail!("node {number} panicked: {panic}");
            }
            match ended {
                _ if node.disk.is_dead() => incidents.push((number, Incident::DiskDied)),
                Some(result) => incidents.push((number, Incident::Ended(result))),
                None => {}
            }
        }
        self.now = end;
        det::set_clock(end, None, 0);
        Ok(incidents)
    }
}

/// Runs something that is on account of a node.
fn as_host<R>(host: usize, work: impl FnOnce() -> R) -> R {
    CURRENT.set(Some(host));
    let result = work();
    CURRENT.set(None);
    result
}

impl Host {
    /// Runs something with this node's clock and disk in place.
    fn as_itself<R>(&mut self, work: impl FnOnce(&mut Self) -> R) -> R {
        if let Some(life) = &self.life {
            let skew = self.clock.skew_nanos.load(Ordering::Relaxed);
            det::set_clock(life.began, Some(life.origin), skew);
        }
        let disk = self.disk.clone();
        disk.during(|| work(self))
    }

    /// Runs until the end of a window, handing over datagrams as they arrive. Gives back how the program ended,
    /// if it did.
    fn run(
        &mut self,
        end: Duration,
        network: &Network,
        number: usize,
        due: Vec<crate::net::Datagram>,
    ) -> Option<Result<()>> {
        let Life { runtime, main, origin, began, .. } = self.life.as_mut()?;
        let (origin, began) = (*origin, *began);
        let lag = std::mem::take(&mut self.lag);
        runtime.block_on(async {
            if !lag.is_zero() {
                tokio::time::advance(lag).await;
            }
            for datagram in due {
                tokio::time::sleep_until(origin + datagram.at.saturating_sub(began)).await;
                network.hand_over(number, datagram);
            }
            tokio::time::sleep_until(origin + (end - began)).await;
        });
        if !main.is_finished() {
            return None;
        }
        Some(runtime.block_on(main).unwrap_or_else(|error| Err(error.into())))
    }
}
