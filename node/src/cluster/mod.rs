//! What makes a node a member of a cluster: who it is, where its peers are, who owns what.
//!
//! A [`Cluster`] is opened before the node's parts, which hand their handlers to [`Cluster::methods`], and started after
//! them. From then on gossip runs, and `keeper` keeps what the member needs to come back.
//!
//! **Invariant.** A node without a key, in its directory or in a join token, opens no port for peers.

pub mod home;
mod keeper;
pub mod message;
pub mod methods;
pub mod report;
mod show;
pub mod status;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use grapevine_gossip::endpoint::Peers;
use grapevine_gossip::identity::Identity;
use grapevine_gossip::membership::{Membership, Peer, Profile, Settings, State, Tuning, View};
use grapevine_gossip::ring::NodeId;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustls::time_provider::TimeProvider;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use self::home::{Home, HomeError, Wish};
use self::methods::Dispatch;
use self::status::Asked;
use crate::config::Config;
use crate::config::cluster::Meant;
use crate::env::{CertificateTime, Env, Net};
use crate::exec::{Exec, Lane};

/// A node's place in its cluster.
#[derive(Debug)]
pub struct Cluster {
    settings: Settings,
    replication_factor: usize,
    write_acks: usize,
    exec: Exec,
    time: CertificateTime,
    peers: Peers,
    methods: Arc<Dispatch>,
    home: Arc<Mutex<Home>>,
    views: watch::Sender<Arc<View>>,
    running: Mutex<Running>,
    asked: Asked,
    /// Whether other members were known before this node started.
    knew_others: bool,
    /// Whether any has been heard of since.
    heard: AtomicBool,
}

/// What there is once gossip was started.
#[derive(Debug, Default)]
struct Running {
    membership: Option<Arc<Membership>>,
    keeper: Option<AbortHandle>,
    beside: Vec<AbortHandle>,
    /// Why the node has no place yet, for people.
    waiting: String,
}

/// Locks what is never held across an await, and what no panic leaves half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    /// Opens the peers' port; calls are answered as soon as their handlers are there. None for a node that stands
    /// alone.
    ///
    /// # Errors
    /// What the directory holds does not fit the configuration or is damaged, the port cannot be had, or it cannot be
    /// told under which address others reach this node.
    pub async fn open(env: &Env, config: &Config) -> Result<Option<Arc<Self>>> {
        let meant = config.cluster.meant()?;
        let Some(home) = open_home(env, &meant).await? else { return Ok(None) };
        let time = CertificateTime(env.clock.clone());
        let identity = identity(&home, &time)?;
        let methods = Arc::new(Dispatch::default());
        let listen = meant.listen;
        let socket = env.net.udp(listen).with_context(|| format!("listen for peers on `{listen}` (UDP)"))?;
        let peers = Peers::open(socket, &identity, Arc::new(time.clone()), methods.clone())?;
        let local = peers.local_addr()?;
        let seeds = resolve(&*env.net, home.seeds(), local).await;
        let ip = advertised(&*env.net, &meant, &seeds)?;
        let advertise = SocketAddr::new(ip, local.port());
        let own = advertise.to_string();
        let knew_others = home.seeds().iter().any(|seed| *seed != own);
        let settings = Settings {
            id: home.name().clone(),
            incarnation: home.incarnation(),
            advertise,
            cluster: identity.cluster().to_owned(),
            seeds: seeds.into_iter().filter(|seed| *seed != advertise).collect(),
            profile: Profile {
                state: State::Joining,
                zone: meant.zone,
                weight: meant.weight,
                tokens: home.tokens().to_vec(),
                build: env!("CARGO_PKG_VERSION").to_owned(),
            },
            replicas: meant.replication_factor,
            tuning: Tuning { grace: meant.forget_after, ..Tuning::default() },
        };
        tracing::info!(cluster = settings.cluster, name = %settings.id, %advertise, "a member of a cluster");
        Ok(Some(Arc::new(Self {
            settings,
            replication_factor: meant.replication_factor,
            write_acks: meant.write_acks,
            exec: env.exec.clone(),
            time,
            peers,
            methods,
            home: Arc::new(Mutex::new(home)),
            views: watch::Sender::new(Arc::default()),
            running: Mutex::default(),
            asked: Asked::default(),
            knew_others,
            heard: AtomicBool::new(false),
        })))
    }

    /// Begins to gossip, in the background.
    pub fn start(self: &Arc<Self>) {
        let keeper =
            tokio::spawn(keeper::run(Arc::downgrade(self), self.peers.clone(), self.settings.clone()));
        lock(&self.running).keeper = Some(keeper.abort_handle());
        self.run_beside(keeper::renew(Arc::downgrade(self)));
    }

    /// Runs something beside gossip, for as long as that runs.
    pub fn run_beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task);
        lock(&self.running).beside.push(task.abort_handle());
    }

    /// Ends gossip and calls, and lets go of the handlers. Others notice at once that connections end, and by the
    /// silence that the node is gone.
    pub async fn stop(&self) {
        self.end();
        self.peers.close().await;
    }

    fn end(&self) {
        let Running { membership, keeper, beside, .. } = std::mem::take(&mut *lock(&self.running));
        drop(membership);
        if let Some(keeper) = keeper {
            keeper.abort();
        }
        beside.iter().for_each(AbortHandle::abort);
        self.methods.clear();
    }

    /// Who answers which calls. Handlers are registered between [`Cluster::open`] and [`Cluster::start`].
    pub fn methods(&self) -> &Dispatch {
        &self.methods
    }

    /// This node's name.
    pub fn me(&self) -> &NodeId {
        &self.settings.id
    }

    /// The address under which peers reach this node.
    pub fn address(&self) -> SocketAddr {
        self.settings.advertise
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.settings.cluster
    }

    /// The members as this node knows them now; nobody before gossip has begun.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// The members from now on: changes when something changed.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.subscribe()
    }

    /// For calls to peers.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// How many owners a range has.
    pub fn replication_factor(&self) -> usize {
        self.replication_factor
    }

    /// How many of them must have a push before it is answered.
    pub fn write_acks(&self) -> usize {
        self.write_acks
    }

    /// Why the node has no place in the ring yet; none once it has.
    pub fn waiting(&self) -> Option<String> {
        let view = self.view();
        if view.peer(self.me()).is_some_and(|me| !me.profile.tokens.is_empty()) {
            return None;
        }
        let waiting = lock(&self.running).waiting.clone();
        Some(if waiting.is_empty() {
            let others = view.peers().values().filter(|peer| peer.live && peer.id != *self.me()).count();
            format!("waiting for a place in the ring of the cluster, with `{others}` other members in sight")
        } else {
            waiting
        })
    }

    /// Tells the others of another state.
    pub async fn set_state(&self, state: State) {
        let membership = lock(&self.running).membership.clone();
        if let Some(membership) = membership {
            membership.set_state(state).await;
        }
    }

    /// Whether this node knows that there are other members, and has heard of none since it started: it cannot tell yet
    /// what it lacks.
    pub fn is_cut_off(&self) -> bool {
        self.knew_others && !self.heard.load(Ordering::Acquire)
    }

    /// Whether this node knew at its start that there are other members.
    pub fn knew_others(&self) -> bool {
        self.knew_others
    }

    /// Whether all whom this node knew before it started have been heard of since, dead or alive: gossip tells of a few
    /// first, and among few a member seems to own more.
    pub fn has_heard_of_all(&self) -> bool {
        let view = self.view();
        let is_known = |seed: &SocketAddr| view.peers().values().any(|peer| peer.address == *seed);
        self.settings.seeds.iter().all(is_known)
    }

    /// Tells the others that this node has what it owns and may be asked.
    pub async fn set_active(&self) {
        let membership = lock(&self.running).membership.clone();
        let joins = self.myself(&self.view()).is_some_and(|me| me.profile.state == State::Joining);
        if let Some(membership) = membership.filter(|_| joins) {
            membership.set_state(State::Active).await;
        }
    }

    /// Shows a certificate that is valid from now on; connections stay as they are.
    fn renew(&self) -> Result<()> {
        let identity = identity(&lock(&self.home), &self.time)?;
        Ok(self.peers.renew(&identity)?)
    }

    /// Which of the node's lives this is: raised at each start.
    pub fn life(&self) -> u64 {
        self.settings.incarnation
    }

    fn myself<'a>(&self, view: &'a View) -> Option<&'a Peer> {
        view.peer(self.me()).filter(|me| me.incarnation == self.settings.incarnation)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end();
        self.peers.hang_up();
    }
}

/// A certificate of its own for the member that lives here.
fn identity(home: &Home, time: &CertificateTime) -> Result<Identity> {
    let now = time.current_time().context("the clock shows a time before 1970")?;
    Ok(Identity::mint(home.key(), home.name(), now)?)
}

async fn open_home(env: &Env, meant: &Meant) -> Result<Option<Home>, HomeError> {
    let wish = Wish {
        join: meant.join.clone(),
        name: meant.name.clone(),
        fresh_name: home::fresh_name(&machine(), StdRng::seed_from_u64(env.seed).random()),
        now: u64::try_from(env.clock.now() / 1_000_000_000).unwrap_or_default(),
    };
    let dir = env.data_dir.clone();
    env.exec.run(Lane::Disk, move || Home::open(&dir, wish)).await
}

fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The addresses behind these names that a socket on `local` can send to. Names that are nobody's now are passed over.
async fn resolve(net: &dyn Net, names: &[String], local: SocketAddr) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for name in names {
        match net.resolve(name).await {
            Ok(found) => {
                addresses.extend(found.into_iter().filter(|found| found.is_ipv4() == local.is_ipv4()))
            }
            Err(error) => tracing::warn!(%error, member = name, "cannot find the address of a member"),
        }
    }
    addresses
}

/// The address under which others reach this node: what the operator says, what it listens on, or what it has on the
/// way to others. Never by the name of an interface.
///
/// # Errors
/// None of these tells.
pub fn advertised(net: &dyn Net, meant: &Meant, seeds: &[SocketAddr]) -> Result<IpAddr> {
    /// Addresses for documentation (RFC 5737, RFC 3849), which lie on the default route; nothing is sent there.
    const ANYWHERE: [&str; 2] = ["192.0.2.1:1", "[2001:db8::1]:1"];
    if let Some(address) = meant.advertise {
        return Ok(address);
    }
    if !meant.listen.ip().is_unspecified() {
        return Ok(meant.listen.ip());
    }
    let anywhere = ANYWHERE.iter().filter_map(|text| text.parse::<SocketAddr>().ok());
    let anywhere = anywhere.filter(|address| address.is_ipv4() == meant.listen.is_ipv4());
    let mut ways = seeds.iter().copied().chain(anywhere).filter_map(|peer| net.route(peer).ok());
    ways.find(|address| !address.is_unspecified()).context(
        "cannot tell under which address other nodes reach this one: no way leads to a member or anywhere; give it \
         with --advertise",
    )
}

#[cfg(test)]
mod tests;
