//! How the nodes of a cluster hold the same entries: several copies of what is not yet in packs, one pack of it all.
//!
//! ```text
//! deliver   a push goes to the owners of its streams, and is answered when enough of them have it on disk
//! compare   owners ask each other what they hold, and send what is missing
//! announce  the primary says what it has packed (pending is what it has to say)
//! hear      the others index it and let go of what it covers
//! common    members tell each other of delete requests and rule groups
//! learn     a node that was away learns of packs it does not know
//! find      where a pack is; fetch brings it from another node, and what is nowhere is noted as lost
//! heirs     where all who knew of packs may be gone, answers say so until the store is looked through
//! widen     a node that owns more than before looks for it in the packs that it knows
//! leave     a member hands over what it holds, and goes
//! flush     members bring the primaries what they lack, and all pack
//! fresh     a query finds out which pushes its reader may not have yet
//! ```
//!
//! What decides is in [`placement`], [`quorum`] and [`confirmed`]. What two nodes agree by is the name of a push, not the
//! hashes of its lines: see [`grapevine_storage::atom`].

pub mod announce;
mod common;
pub mod compare;
pub mod confirmed;
pub mod custody;
mod deletes;
pub mod deliver;
pub mod duty;
mod fetch;
mod find;
mod flush;
pub mod fresh;
mod hear;
mod heirs;
mod learn;
pub mod leave;
pub mod message;
pub mod pending;
pub mod placement;
pub mod quorum;
mod rules;
pub mod staff;
mod widen;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use grapevine_gossip::ring::{NodeId, RingHash};
use grapevine_storage::atom::{PushId, PushSet};
use grapevine_storage::chunk_store::ChunkStore;
use grapevine_storage::index::Index;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use self::common::Collects;
use self::confirmed::{Confirmed, run_of};
use self::learn::Learnt;
use self::pending::Pending;
use self::placement::Placement;
use self::staff::Staff;
use crate::cluster::Cluster;
use crate::cluster::methods::{
    ANNOUNCE, CATCH_UP, COMPARE, DELETES, FLUSH, LEARNT, PACK, PACK_SETS, REPLICATE, RULES, SETTLE,
    UNCONFIRMED,
};
use crate::deletes::Deletes;
use crate::disk::DiskGate;
use crate::env::Env;
use crate::ingester::Ingester;
use crate::ingester::spool::Spool;
use crate::metrics::Metrics;
use crate::push::stream_cache::StreamCache;
use crate::rules::Rules;

/// Bytes that may be on their way to one member for pushes, beyond which it counts as failed for new ones: a member that
/// is slow must not hold up the others. What it misses it gets by comparing.
const LAG_BYTES_MAX: usize = 64 << 20;
/// Unit in which lag is counted, so that it fits a semaphore.
const LAG_UNIT: usize = 1024;

/// How long after its start a node expects to hear of those it knew before it goes by those it has heard of.
const HEARD_MAX: Duration = Duration::from_secs(10);

/// Runs of pushes remembered as taken; beyond them all are forgotten, and some are fetched a second time, to no effect.
const TAKEN_RUNS_MAX: usize = 65_536;

/// What replication works with.
#[derive(Debug)]
pub struct Parts {
    /// Time, threads, the node's directory.
    pub env: Env,
    /// The members.
    pub cluster: Arc<Cluster>,
    /// Holds what is not yet in packs.
    pub ingester: Arc<Ingester>,
    /// Knows the packs.
    pub index: Arc<Index>,
    /// Packs on the local disk.
    pub spool: Spool,
    /// Where packs go.
    pub store: ChunkStore,
    /// Whether the disk lets pushes in.
    pub disk: Arc<DiskGate>,
    /// What is to be deleted.
    pub deletes: Arc<Deletes>,
    /// Rule groups.
    pub rules: Arc<Rules>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Who works in the background.
    pub staff: Staff,
}

/// This node's part in holding what the cluster holds.
#[derive(Debug)]
pub struct Replication {
    parts: Parts,
    cache: Arc<StreamCache>,
    /// Names this process in the pushes that enter through it.
    origin: u64,
    next: AtomicU64,
    placement: Arc<Placements>,
    /// The placement that `confirmed` and `caught_up` know of.
    noted: Mutex<Option<Arc<Placement>>>,
    confirmed: Mutex<Confirmed>,
    /// What of others' pushes this node holds: of its own name, all that is its; of another's, all that that one holds.
    caught_up: Mutex<Confirmed>,
    news: Mutex<News>,
    lag: Mutex<BTreeMap<NodeId, Arc<Semaphore>>>,
    /// The pushes of which this node took all that it was sent.
    taken: Mutex<PushSet>,
    /// The pushes that are being taken from others.
    taking: deliver::Takings,
    announcing: Arc<Pending>,
    learnt: Mutex<Learnt>,
    /// Held by who learns from members that came back.
    learning: tokio::sync::Mutex<()>,
    /// Held by who fetches a pack.
    fetching: tokio::sync::Mutex<()>,
    leave_asked: Notify,
}

/// Which pushes of this origin members were heard to hold, and others were not told of yet.
#[derive(Debug, Default)]
struct News {
    /// The hash of the ring by which what they hold is all they are to hold.
    ring: u64,
    held: BTreeMap<NodeId, PushSet>,
}

impl News {
    fn add(&mut self, ring: RingHash, member: &NodeId, push: PushId) {
        if self.ring != ring.0 {
            // What was not told is asked for.
            *self = News { ring: ring.0, held: BTreeMap::new() };
        }
        self.held.entry(member.clone()).or_default().insert(push);
    }
}

/// The placement by the latest view, made anew when that changes.
#[derive(Debug)]
pub struct Placements {
    cluster: Arc<Cluster>,
    /// When this node started.
    since: Instant,
    latest: Mutex<Arc<Placement>>,
}

impl Placements {
    /// By what a cluster's member sees.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        let latest = Placement::new(cluster.me().clone(), cluster.replication_factor(), cluster.view());
        Placements { cluster, since: Instant::now(), latest: Mutex::new(Arc::new(latest)) }
    }

    /// Whether the others that were known were heard of since the start, or have had time to be.
    pub fn knows_others(&self) -> bool {
        self.since.elapsed() >= HEARD_MAX || self.cluster.has_heard_of_all()
    }

    /// As of now.
    pub fn now(&self) -> Arc<Placement> {
        let view = self.cluster.view();
        let mut latest = lock(&self.latest);
        if !Arc::ptr_eq(latest.view(), &view) {
            let (me, replicas) = (self.cluster.me().clone(), self.cluster.replication_factor());
            *latest = Arc::new(Placement::new(me, replicas, view));
        }
        latest.clone()
    }
}

/// Locks what no panic leaves half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replication {
    /// Puts it together and answers peers' calls from now on. Run [`Replication::run`] beside it.
    pub fn open(parts: Parts, placement: Arc<Placements>, announcing: Arc<Pending>) -> Arc<Self> {
        let held = parts.ingester.heads().all().into_iter().flat_map(|(_, head)| head.pushes()).collect();
        let replication = Arc::new(Replication {
            parts,
            cache: Arc::default(),
            origin: rand::random(),
            next: AtomicU64::new(1),
            placement,
            noted: Mutex::default(),
            confirmed: Mutex::default(),
            caught_up: Mutex::default(),
            news: Mutex::default(),
            lag: Mutex::default(),
            taken: Mutex::new(held),
            taking: deliver::Takings::default(),
            announcing,
            learnt: Mutex::default(),
            learning: tokio::sync::Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
            leave_asked: Notify::new(),
        });
        let methods = replication.parts.cluster.methods();
        methods.register(&[REPLICATE], Arc::new(deliver::Takes(replication.clone())));
        methods.register(&[COMPARE], Arc::new(compare::Compares(replication.clone())));
        methods.register(&[ANNOUNCE], Arc::new(hear::Hears(replication.clone())));
        methods.register(&[LEARNT], Arc::new(leave::Tells(replication.clone())));
        methods.register(&[UNCONFIRMED], Arc::new(fresh::Admits(replication.clone())));
        methods.register(&[CATCH_UP], Arc::new(fresh::Supplies(replication.clone())));
        methods.register(&[FLUSH], Arc::new(flush::Flushes(replication.clone())));
        methods.register(&[SETTLE], Arc::new(flush::Settles(replication.clone())));
        methods.register(&[PACK], Arc::new(fetch::Gives(replication.clone())));
        methods.register(&[PACK_SETS], Arc::new(learn::Tells(replication.clone())));
        methods.register(&[DELETES], Arc::new(Collects(replication.parts.deletes.clone())));
        methods.register(&[RULES], Arc::new(Collects(replication.parts.rules.clone())));
        replication
    }

    /// Compares, repairs and announces until it is dropped.
    pub async fn run(self: Arc<Self>) {
        tokio::join!(self.tell_news(), self.compare_all(), self.announce_all(), self.keep_learning());
    }

    /// How many members take pushes now, this one among them.
    pub fn living(&self) -> usize {
        self.placement.now().view().living().max(1)
    }

    /// Where streams belong now.
    pub fn placement(&self) -> Arc<Placement> {
        let placement = self.placement.now();
        let mut noted = lock(&self.noted);
        // Asked for with every push: what a view says is gone through once.
        if !noted.as_ref().is_some_and(|noted| Arc::ptr_eq(noted, &placement)) {
            for confirmed in [&self.confirmed, &self.caught_up] {
                lock(confirmed).on_view(placement.ring().hash(), placement.view());
            }
            *noted = Some(placement.clone());
        }
        placement
    }

    fn next_push(&self) -> PushId {
        PushId { origin: self.origin, sequence: self.next.fetch_add(1, Ordering::Relaxed) }
    }

    /// A member said that it holds all that is its by a ring of a push that entered here.
    fn on_held(&self, ring: RingHash, member: &NodeId, push: PushId) {
        lock(&self.confirmed).add(ring, member, [run_of(push)]);
        lock(&self.news).add(ring, member, push);
    }

    /// This node took a push in, or failed to; `whole_by` is the ring by which it was all that is this node's.
    fn on_taken(&self, push: PushId, whole_by: Option<u64>, done: bool) {
        if let Some(ring) = whole_by.filter(|_| done) {
            let me = self.parts.cluster.me();
            self.placement();
            lock(&self.caught_up).add(RingHash(ring), me, [run_of(push)]);
        }
        let mut taken = lock(&self.taken);
        if taken.run_count() > TAKEN_RUNS_MAX {
            *taken = PushSet::default();
        }
        if done {
            taken.insert(push);
        }
    }

    fn lag_of(&self, member: &NodeId) -> Arc<Semaphore> {
        let new = || Arc::new(Semaphore::new(LAG_BYTES_MAX / LAG_UNIT));
        lock(&self.lag).entry(member.clone()).or_insert_with(new).clone()
    }
}

#[cfg(test)]
mod tests;
