//! Brings a push to the owners of its streams, and takes in what others bring.
//!
//! A push is answered as soon as it is safe; the rest of its owners get it in the background. Memory for those that lag
//! is bounded member by member, so that a slow one holds up nobody: it is passed over, and gets what it missed when
//! owners compare.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt, future::BoxFuture};
use grapevine_gossip::ring::{NodeId, RingHash};
use grapevine_gossip::rpc::{CallError, Handler, Refusal, RefusalCode, Reply, Request, Served};
use grapevine_storage::atom::PushId;
use grapevine_storage::stream::StreamId;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::compare::fate;
use super::message::{Fate, Replicate};
use super::placement::Placement;
use super::quorum::{Quorum, Sends};
use super::{LAG_UNIT, Replication, lock};
use crate::cluster::methods::REPLICATE;
use crate::distributor::Gate;
use crate::exec::Lane;
use crate::ingester::heads::HeadKey;
use crate::ingester::log::AppendError;
use crate::push::batch::{PushBatch, PushStream};
use crate::push::error::{ErrorCode, PushError};
use crate::push::stream_cache::StreamCache;
use crate::push::wal::WalPayload;
use crate::tenant::check_name;

/// How long a client waits for its push to be safe: longer than it takes to notice that a member is gone.
const SAFE_MAX: Duration = Duration::from_secs(15);
/// How long one member may take for one push.
const DELIVERY_MAX: Duration = Duration::from_secs(30);
/// How often members that failed are tried again while a push is not safe.
const RETRY: Duration = Duration::from_millis(500);

/// What a member said to what it was sent of a push, at which of its turns.
type Answered = (NodeId, u32, Result<(), Unheld>);
type Sending = BoxFuture<'static, Answered>;

/// Why a member does not hold a push.
#[derive(Clone, Debug)]
struct Unheld {
    /// It has no room.
    full: bool,
    reason: String,
}

/// A push under way.
struct Delivery {
    replication: Arc<Replication>,
    push: PushId,
    tenant: Arc<str>,
    streams: BTreeSet<StreamId>,
    whole: WalPayload,
    quorum: Quorum,
    /// By which all parts were cut; none once the ring has changed meanwhile.
    ring: Option<RingHash>,
    turns: BTreeMap<NodeId, Turn>,
    sending: FuturesUnordered<Sending>,
    last: Option<Unheld>,
}

/// How far one member is with all that it was sent. What it was sent before it failed counts no more: it is sent anew.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    number: u32,
    /// Messages that it has not answered.
    open: usize,
}

impl Replication {
    /// Brings a push to the owners of its streams; returns when it is safe.
    ///
    /// # Errors
    /// Too few members could be reached, or had room. Some may hold the push all the same.
    pub async fn push(self: &Arc<Self>, tenant: Arc<str>, batch: PushBatch) -> Result<(), PushError> {
        let push = self.next_push();
        let placement = self.placement();
        let streams: BTreeSet<StreamId> = batch.streams().iter().map(|stream| stream.id()).collect();
        let cluster = &self.parts.cluster;
        let (replicas, acks) = (cluster.replication_factor(), cluster.write_acks());
        let quorum = Quorum::new(replicas, acks, streams.iter().copied(), candidates(&placement));
        let exec = &self.parts.env.exec;
        let (whole, batch) = exec.run(Lane::Decode, move || (batch.to_wal(), batch)).await;
        let mut delivery = Delivery {
            replication: self.clone(),
            push,
            tenant,
            streams,
            whole,
            quorum,
            ring: Some(placement.ring().hash()),
            turns: BTreeMap::new(),
            sending: FuturesUnordered::new(),
            last: None,
        };
        delivery.begin(Some(batch)).await;
        let (done, answer) = oneshot::channel();
        tokio::spawn(delivery.run(done));
        answer
            .await
            .unwrap_or_else(|_| Err(PushError::new(ErrorCode::Unavailable, "the node is shutting down")))
    }
}

fn candidates(placement: &Placement) -> impl Fn(StreamId) -> Vec<NodeId> + '_ {
    |stream| placement.candidates(stream).into_iter().cloned().collect()
}

impl Delivery {
    /// Sends to whom the quorum wants it sent. `batch` is the whole push, if it is at hand.
    async fn begin(&mut self, batch: Option<PushBatch>) {
        let sends = self.quorum.poll_sends();
        if sends.is_empty() {
            return;
        }
        let me = self.replication.parts.cluster.me().clone();
        let encoding = Encoding {
            push: self.push,
            tenant: self.tenant.clone(),
            whole: self.whole.clone(),
            all: self.streams.len(),
            whole_by: self.ring.map(|ring| ring.0),
        };
        for member in sends.keys() {
            self.turns.entry(member.clone()).or_default().open += 1;
        }
        let cache = self.replication.cache.clone();
        let exec = self.replication.parts.env.exec.clone();
        let encoded = exec.run(Lane::Decode, move || encoding.parts(&me, sends, batch, &cache)).await;
        let Encoded { own, theirs } = match encoded {
            Ok(encoded) => encoded,
            // Only a push too large for one message cannot be encoded.
            Err(reason) => {
                self.turns.values_mut().for_each(|turn| *turn = Turn { number: turn.number + 1, open: 0 });
                return self.last = Some(Unheld { full: false, reason });
            }
        };
        if let Some(batch) = own {
            self.send_here(batch);
        }
        for (member, body) in theirs {
            self.send(member, body);
        }
    }

    fn send_here(&mut self, batch: PushBatch) {
        let (ingester, me) =
            (self.replication.parts.ingester.clone(), self.replication.parts.cluster.me().clone());
        let (tenant, push, ring) = (self.tenant.clone(), self.push, self.ring);
        let replication = self.replication.clone();
        let turn = self.turn(&me);
        let sending = async move {
            let held = ingester.push(tenant, Some(push), batch).await;
            replication.on_taken(push, ring.map(|ring| ring.0), held.is_ok());
            (me, turn, held.map_err(|error| Unheld { full: is_full(&error), reason: error.to_string() }))
        };
        self.sending.push(sending.boxed());
    }

    fn turn(&self, member: &NodeId) -> u32 {
        self.turns.get(member).map_or(0, |turn| turn.number)
    }

    fn send(&mut self, member: NodeId, body: Bytes) {
        let turn = self.turn(&member);
        let lag = self.replication.lag_of(&member);
        let units = u32::try_from(body.len().div_ceil(LAG_UNIT)).unwrap_or(u32::MAX);
        let Ok(room) = lag.try_acquire_many_owned(units) else {
            self.replication.parts.metrics.replica_lags.inc();
            let reason = format!("`{member}` is slow and has too much on the way to it");
            self.sending.push(std::future::ready((member, turn, Err(Unheld { full: true, reason }))).boxed());
            return;
        };
        let replication = self.replication.clone();
        let address = replication.placement().view().peer(&member).map(|peer| peer.address);
        let sending = async move {
            let Some(address) = address else {
                let reason = format!("`{member}` is no member any more");
                return (member, turn, Err(Unheld { full: false, reason }));
            };
            let deadline = Instant::now() + DELIVERY_MAX;
            let held = replication.parts.cluster.peers().call(address, REPLICATE, body, deadline).await;
            drop(room);
            (
                member,
                turn,
                held.map(drop)
                    .map_err(|error| Unheld { full: has_no_room(&error), reason: error.to_string() }),
            )
        };
        self.sending.push(sending.boxed());
    }

    /// Runs until everyone has answered. `done` learns whether the push is safe, as soon as that is known.
    async fn run(mut self, done: oneshot::Sender<Result<(), PushError>>) {
        let mut done = Some(done);
        let give_up = Instant::now() + SAFE_MAX;
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        retry.reset();
        loop {
            if self.quorum.is_safe()
                && let Some(done) = done.take()
            {
                let _ = done.send(Ok(())); // A client that has gone need not be told.
            }
            if self.sending.is_empty() && done.is_none() {
                return;
            }
            tokio::select! {
                Some((member, turn, held)) = self.sending.next() => self.on_answer(member, turn, held).await,
                _ = retry.tick(), if done.is_some() => self.again().await,
                () = sleep_until(give_up), if done.is_some() => {
                    let _ = done.take().map(|done| done.send(Err(self.refusal())));
                }
            }
        }
    }

    async fn on_answer(&mut self, member: NodeId, turn: u32, held: Result<(), Unheld>) {
        let known = self.turns.entry(member.clone()).or_default();
        if known.number != turn {
            return;
        }
        match held {
            Ok(()) => {
                known.open = known.open.saturating_sub(1);
                if known.open == 0 {
                    self.quorum.on_held(&member);
                    if let Some(ring) = self.ring {
                        self.replication.on_held(ring, &member, self.push);
                    }
                }
            }
            Err(why) => {
                *known = Turn { number: turn + 1, open: 0 };
                self.replication.parts.metrics.replica_failures.inc();
                tracing::debug!(%member, push = ?self.push, reason = why.reason, "a member did not take a push");
                self.quorum.on_failed(&member);
                self.last = Some(why);
                self.begin(None).await;
            }
        }
    }

    /// Tries those that failed again, and counts with the members that there are now.
    async fn again(&mut self) {
        let placement = self.replication.placement();
        self.ring = self.ring.filter(|ring| *ring == placement.ring().hash());
        self.quorum.on_candidates(candidates(&placement));
        self.quorum.retry();
        self.begin(None).await;
    }

    fn refusal(&self) -> PushError {
        let (held, wanted) = self.quorum.shortest();
        let why = self.last.as_ref().map_or_else(String::new, |last| format!(": {}", last.reason));
        let text = format!("`{held}` of `{wanted}` members took the push, try again{why}");
        let full = self.last.as_ref().is_some_and(|last| last.full);
        PushError::new(if full { ErrorCode::RateLimited } else { ErrorCode::Unavailable }, text)
    }
}

fn is_full(error: &AppendError) -> bool {
    matches!(error, AppendError::DiskFull(_))
}

fn has_no_room(error: &CallError) -> bool {
    matches!(error, CallError::Refused { refusal, .. } if refusal.code == RefusalCode::Busy)
}

/// Cuts a push into what each member is to hold. Runs on a thread of its own.
struct Encoding {
    push: PushId,
    tenant: Arc<str>,
    whole: WalPayload,
    all: usize,
    whole_by: Option<u64>,
}

struct Encoded {
    /// What this node is to hold.
    own: Option<PushBatch>,
    theirs: Vec<(NodeId, Bytes)>,
}

impl Encoding {
    fn parts(
        self,
        me: &NodeId,
        sends: Sends,
        batch: Option<PushBatch>,
        cache: &StreamCache,
    ) -> Result<Encoded, String> {
        let mut batch = batch;
        let mut bodies: BTreeMap<BTreeSet<StreamId>, Bytes> = BTreeMap::new();
        let mut encoded = Encoded { own: None, theirs: Vec::new() };
        let own = sends.get(me).cloned();
        for (member, streams) in sends.into_iter().filter(|(member, _)| member != me) {
            let body = match bodies.get(&streams) {
                Some(body) => body.clone(),
                None => {
                    let payload = self.payload(&streams, &mut batch, cache)?;
                    let Encoding { push, ref tenant, whole_by, .. } = self;
                    let message = Replicate { push, tenant: tenant.to_string(), whole_by };
                    let body = message.encode(&payload.parts()).map_err(|error| error.to_string())?;
                    bodies.entry(streams).or_insert(body).clone()
                }
            };
            encoded.theirs.push((member, body));
        }
        if let Some(streams) = own {
            encoded.own = Some(match batch.take() {
                Some(batch) if streams.len() == self.all => batch,
                given => {
                    batch = given;
                    let payload = self.payload(&streams, &mut batch, cache)?;
                    self.read(payload.to_vec().into(), cache)?
                }
            });
        }
        Ok(encoded)
    }

    fn payload(
        &self,
        streams: &BTreeSet<StreamId>,
        batch: &mut Option<PushBatch>,
        cache: &StreamCache,
    ) -> Result<WalPayload, String> {
        if streams.len() == self.all {
            return Ok(self.whole.clone());
        }
        let whole = match batch.take() {
            Some(batch) => batch,
            None => self.read(self.whole.to_vec().into(), cache)?,
        };
        let payload = whole.encode_streams(|id| streams.contains(&id));
        *batch = Some(whole);
        Ok(payload)
    }

    fn read(&self, payload: Bytes, cache: &StreamCache) -> Result<PushBatch, String> {
        PushBatch::from_wal(&self.tenant, payload, cache).map_err(|error| error.to_string())
    }
}

/// Takes in what others bring.
pub(super) struct Takes(pub(super) Arc<Replication>);

impl Handler for Takes {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            self.0.take(&request.body).await?;
            Ok(reply.send(Bytes::new()).await?)
        })
    }
}

/// The pushes that are being taken: two members that bring the same must wait for one another.
#[derive(Debug, Default)]
pub(super) struct Takings {
    pushes: Mutex<BTreeSet<PushId>>,
    is_over: Notify,
}

/// A push that is being taken.
struct Taking<'a>(&'a Takings, PushId);

impl Takings {
    /// Waits until nobody else brings the push.
    async fn begin(&self, push: PushId) -> Taking<'_> {
        loop {
            let mut over = pin!(self.is_over.notified());
            // Before looking: what is over after that wakes it.
            over.as_mut().enable();
            if lock(&self.pushes).insert(push) {
                return Taking(self, push);
            }
            over.await;
        }
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        let Taking(takings, push) = self;
        lock(&takings.pushes).remove(push);
        takings.is_over.notify_waiters();
    }
}

impl Replication {
    /// The streams of a push that are not here yet. Only a push of which something was taken is looked for.
    fn lacking(&self, tenant: &Arc<str>, push: PushId, batch: &PushBatch) -> BTreeSet<StreamId> {
        let is_new = !lock(&self.taken).contains(push);
        let mut known = BTreeMap::new();
        let mut is_missing = |id, day| {
            let key = HeadKey { tenant: tenant.clone(), day, id };
            fate(&self.parts.ingester, key, push, &mut known) == Fate::Missing
        };
        let mut lacks =
            |stream: &PushStream| batch.day_runs(stream).any(|run| is_missing(stream.id(), run.day));
        let lacking = batch.streams().iter().filter(|stream| is_new || lacks(stream));
        lacking.map(PushStream::id).collect()
    }

    pub(super) async fn take(&self, body: &Bytes) -> Result<(), Refusal> {
        let (Replicate { push, tenant, whole_by }, payload) = Replicate::decode(body)?;
        if let Some((why, _)) = self.parts.disk.closed() {
            return Err(Refusal::new(RefusalCode::Busy, why));
        }
        check_name(&tenant).map_err(|error| Refusal::new(RefusalCode::Invalid, error.message))?;
        let cache = self.cache.clone();
        let tenant: Arc<str> = tenant.into();
        let owner = tenant.clone();
        let read = move || PushBatch::from_wal(&owner, payload, &cache);
        let batch = self.parts.env.exec.run(Lane::Decode, read).await;
        let invalid = |error: &dyn ToString| Refusal::new(RefusalCode::Invalid, error.to_string());
        let mut batch = batch.map_err(|error| invalid(&error))?;
        let _turn = self.taking.begin(push).await;
        let lacking = self.lacking(&tenant, push, &batch);
        if batch.is_empty() || lacking.is_empty() {
            self.on_taken(push, whole_by, true);
            return Ok(());
        }
        if !batch.streams().iter().all(|stream| lacking.contains(&stream.id())) {
            // What several owners bring of one push overlaps; what is here is not to be here twice.
            let (owner, cache) = (tenant.clone(), self.cache.clone());
            let cut = move || {
                let payload = batch.encode_streams(|id| lacking.contains(&id));
                PushBatch::from_wal(&owner, payload.to_vec().into(), &cache)
            };
            batch = self.parts.env.exec.run(Lane::Decode, cut).await.map_err(|error| invalid(&error))?;
        }
        let held = self.parts.ingester.push(tenant, Some(push), batch).await;
        self.on_taken(push, whole_by, held.is_ok());
        held.map_err(|error| {
            let code = if is_full(&error) { RefusalCode::Busy } else { RefusalCode::Unavailable };
            Refusal::new(code, error.to_string())
        })
    }
}
