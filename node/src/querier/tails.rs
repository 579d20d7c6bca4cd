//! Follows a query wherever in the cluster its lines arrive.
//!
//! Each owner hears every push for what it owns, so each share of the ring is followed at one owner alone: the one
//! that would read it. It puts new lines through the query's stages and sends what is left. When the members change,
//! or one stops answering, the shares are dealt anew. What arrives just then may be missed by a tail, as it may by
//! one that is cut off and comes again; a query finds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};
use bytes::Bytes;
use futures_util::future::join_all;
use grapevine_gossip::membership::View;
use grapevine_gossip::ring::{NodeId, Token, TokenRange};
use grapevine_gossip::rpc::{Refusal, RefusalCode, Reply};
use grapevine_logql::ast::{Expr, LogExpr};
use grapevine_logql::pipeline::Options;
use grapevine_logql::print::to_query;
use grapevine_storage::stream::{Labels, StreamId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::Querier;
use super::answer::{LogLine, Pairs};
use super::error::QueryError;
use super::follow::Tailer;
use super::lines::{FoundLines, in_items};
use super::scatter::Neighbours;
use super::select::compile;
use super::share::Share;
use super::sought::log_of;
use super::spread::Spread;
use super::wire::SentLevels;
use crate::cluster::message::{decode, encode};
use crate::cluster::methods;
use crate::ingester::followers::{Missed, Subscription, TooMany};
use crate::push::batch::PushBatch;

/// How long one call follows; a tail ends before that.
const CALL_MAX: Duration = Duration::from_secs(3600);
/// How long a tail waits at its start for the others to listen: what arrives before they do is not told.
const READY_MAX: Duration = Duration::from_secs(5);
/// How long a member that failed is not asked again, unless the members change.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Messages of lines that wait for one tail. What does not fit waits where it is, and is missed there in the end.
const HEARD_MAX: usize = 16;
/// Missed lines that one message tells of.
const MISSED_MAX: usize = 1000;

/// What a tail hears.
#[derive(Debug)]
pub enum Heard {
    /// A push, as it came to this node.
    Push(Arc<PushBatch>),
    /// Lines that have been through the stages, and lines that were missed.
    Lines(Vec<LogLine>, Vec<Missed>),
}

/// One who follows; dropped, it no longer does, anywhere.
#[derive(Debug)]
pub enum Following {
    /// All there is comes to this node.
    Alone(Subscription),
    /// Each share comes from one of its owners.
    Shared(Ears),
}

/// What comes from all sides.
#[derive(Debug)]
pub struct Ears {
    heard: mpsc::Receiver<Heard>,
    keeper: AbortHandle,
}

impl Drop for Ears {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Following {
    /// The next that is heard; none when the node ends.
    pub async fn next(&mut self) -> Option<Heard> {
        match self {
            Following::Alone(subscription) => subscription.next().await.map(Heard::Push),
            Following::Shared(ears) => ears.heard.recv().await,
        }
    }

    /// What was missed since the last time, and how many lines more than are listed.
    pub fn take_missed(&self) -> (Vec<Missed>, u64) {
        match self {
            Following::Alone(subscription) => subscription.take_missed(),
            Following::Shared(_) => (Vec::new(), 0),
        }
    }
}

/// What another node is asked to follow.
#[derive(Clone, Debug, Encode, Decode)]
pub struct TailWanted {
    tenant: String,
    query: String,
    levels: Option<SentLevels>,
    now: i64,
    ranges: Vec<(u64, u64)>,
}

/// What it tells. The first is empty: it listens.
#[derive(Debug, Default, Encode, Decode)]
pub struct Told {
    lines: FoundLines,
    missed: Vec<(Pairs, i64)>,
}

impl Told {
    fn into_heard(self) -> Result<Heard, String> {
        let lines = self.lines.into_lines()?.into_iter().map(|(_, line)| line).collect();
        let missed = self.missed.into_iter().take(MISSED_MAX);
        let missed = missed.map(|(labels, timestamp)| Missed { labels: Labels::new(labels), timestamp });
        Ok(Heard::Lines(lines, missed.collect()))
    }
}

impl Querier {
    /// Follows the lines of a query from now on.
    ///
    /// # Errors
    /// A matcher or a stage that does not compile; or, inside, that the tenant follows too much already.
    pub async fn follow(
        &self,
        tenant: &Arc<str>,
        log: &LogExpr,
        options: Options,
        most: usize,
    ) -> Result<Result<Following, TooMany>, QueryError> {
        let matchers = compile(&log.selector)?;
        let subscription = match self.ingester.followers().subscribe(tenant, matchers, most) {
            Ok(subscription) => subscription,
            Err(many) => return Ok(Err(many)),
        };
        let Some(neighbours) = self.neighbours.get().cloned() else {
            return Ok(Ok(Following::Alone(subscription)));
        };
        let wanted = TailWanted {
            tenant: tenant.to_string(),
            query: to_query(&Expr::Log(log.clone())),
            levels: options.levels.as_deref().map(SentLevels::from),
            now: options.now,
            ranges: Vec::new(),
        };
        let (sender, heard) = mpsc::channel(HEARD_MAX);
        let (share, own) = watch::channel(Share::of([]));
        let tailer = Tailer::new(log, options, Duration::ZERO)?;
        let here = Here { tenant: tenant.clone(), tailer, subscription, share: own };
        let views = neighbours.changes();
        let keeper =
            Keeper { neighbours, wanted, share, sender, views, ears: BTreeMap::new(), calls: JoinSet::new() };
        let (ready, listening) = oneshot::channel();
        let keeper = tokio::spawn(keeper.run(here, ready)).abort_handle();
        let ears = Ears { heard, keeper };
        let _ = timeout(READY_MAX, listening).await;
        Ok(Ok(Following::Shared(ears)))
    }

    /// Tells another node of what it wants to follow, until it goes away.
    ///
    /// # Errors
    /// The query cannot be read here, or the caller is gone.
    pub(super) async fn tell(&self, wanted: TailWanted, reply: &mut Reply) -> Result<(), Refusal> {
        let log = log_of(&wanted.query)?;
        let options = Options { levels: wanted.levels.as_ref().map(SentLevels::received), now: wanted.now };
        let failed = |error: QueryError| Refusal::new(RefusalCode::Invalid, error.to_string());
        let tailer = Tailer::new(&log, options, Duration::ZERO).map_err(failed)?;
        let tenant: Arc<str> = wanted.tenant.into();
        let matchers = compile(&log.selector).map_err(failed)?;
        // How many may follow has been looked at where the client is.
        let followed = self.ingester.followers().subscribe(&tenant, matchers, usize::MAX);
        let many = |_| Refusal::new(RefusalCode::Busy, "too many follow already");
        let subscription = followed.map_err(many)?;
        let range = |(first, last): &(u64, u64)| TokenRange { first: Token(*first), last: Token(*last) };
        let (_fixed, share) = watch::channel(Share::of(wanted.ranges.iter().map(range)));
        let mut here = Here { tenant, tailer, subscription, share };
        reply.send(encode(&Told::default())?).await?;
        while let Some((lines, missed)) = here.next().await {
            let mut missed: Vec<(Pairs, i64)> = missed.iter().map(sent).collect();
            for lines in in_items(lines.into_iter().map(|line| (StreamId(0), line)).collect()) {
                reply.send(encode(&Told { lines, missed: std::mem::take(&mut missed) })?).await?;
            }
            if !missed.is_empty() {
                reply.send(encode(&Told { lines: FoundLines::default(), missed })?).await?;
            }
        }
        Err(Refusal::new(RefusalCode::Unavailable, "the node is shutting down"))
    }
}

fn sent(missed: &Missed) -> (Pairs, i64) {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    (missed.labels.iter().map(owned).collect(), missed.timestamp)
}

/// What comes to this node of a share.
struct Here {
    tenant: Arc<str>,
    tailer: Tailer,
    subscription: Subscription,
    share: watch::Receiver<Share>,
}

impl Here {
    /// The next lines, which may be none; nothing when the node ends.
    async fn next(&mut self) -> Option<(Vec<LogLine>, Vec<Missed>)> {
        let batch = self.subscription.next().await?;
        let share = self.share.borrow_and_update().clone();
        self.tailer.take_share(&batch, &share, Duration::ZERO);
        let lines = self.tailer.due(Duration::ZERO);
        let (mut missed, untold) = self.subscription.take_missed();
        missed.extend(self.tailer.take_missed());
        missed.retain(|missed| share.holds(StreamId::of(&self.tenant, &missed.labels)));
        if missed.len() > MISSED_MAX || untold > 0 {
            missed.truncate(MISSED_MAX);
            tracing::warn!("a tail is too slow by more lines than it can be told of");
        }
        Some((lines, missed))
    }
}

/// Keeps one ear at an owner of each share.
struct Keeper {
    neighbours: Arc<dyn Neighbours>,
    wanted: TailWanted,
    /// What is followed here.
    share: watch::Sender<Share>,
    sender: mpsc::Sender<Heard>,
    views: watch::Receiver<Arc<View>>,
    /// Who is listened to, for what.
    ears: BTreeMap<NodeId, (Share, AbortHandle)>,
    /// The calls; each gives back whom it has called when that ends.
    calls: JoinSet<NodeId>,
}

impl Keeper {
    async fn run(mut self, mut here: Here, ready: oneshot::Sender<()>) {
        let mut failed = BTreeSet::new();
        let listening = join_all(self.deal(&failed));
        let ready = async move {
            listening.await;
            let _ = ready.send(());
        };
        let sender = self.sender.clone();
        let tell_own = async move {
            while let Some((lines, missed)) = here.next().await {
                if !(lines.is_empty() && missed.is_empty())
                    && sender.send(Heard::Lines(lines, missed)).await.is_err()
                {
                    return;
                }
            }
        };
        let keep = async move {
            let mut retry = interval(RETRY_INTERVAL);
            retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    changed = self.views.changed() => match changed {
                        Ok(()) => failed.clear(),
                        Err(_) => return,
                    },
                    Some(ended) = self.calls.join_next_with_id() => {
                        // Not one that was given up, or has been replaced since.
                        let Ok((call, node)) = ended else { continue };
                        if self.ears.get(&node).is_none_or(|(_, ear)| ear.id() != call) {
                            continue;
                        }
                        tracing::warn!(%node, "a member no longer tells of new lines; the next owners are asked");
                        self.ears.remove(&node);
                        failed.insert(node);
                    }
                    _ = retry.tick(), if !failed.is_empty() => failed.clear(),
                }
                self.deal(&failed);
            }
        };
        // The first to end ends all: the client is gone, or the node ends.
        let keep = async { tokio::join!(ready, keep) };
        tokio::select! {
            () = tell_own => {}
            _ = keep => {}
        }
    }

    /// Deals the shares to those who can be listened to, and returns what tells that the new ones listen.
    fn deal(&mut self, failed: &BTreeSet<NodeId>) -> Vec<oneshot::Receiver<()>> {
        let view = self.neighbours.view();
        let me = self.neighbours.me();
        let mut spread = Spread::new(me.clone(), &view, self.neighbours.replication_factor());
        for node in failed {
            spread.handle_failure(node, &Share::of([]), "");
        }
        let mut dealt: BTreeMap<NodeId, Share> = spread.assign(&Share::all()).readers.into_iter().collect();
        self.share.send_replace(dealt.remove(&me).unwrap_or(Share::of([])));
        self.ears.retain(|node, (share, call)| {
            let stays = dealt.get(node) == Some(share);
            if !stays {
                call.abort();
            }
            stays
        });
        let mut listening = Vec::new();
        for (node, share) in dealt {
            let Some(peer) = view.peer(&node).filter(|_| !self.ears.contains_key(&node)) else { continue };
            let ranges = share.ranges().iter().map(|range| (range.first.0, range.last.0)).collect();
            let Ok(body) = encode(&TailWanted { ranges, ..self.wanted.clone() }) else { continue };
            let (ready, listens) = oneshot::channel();
            let ear = Ear { neighbours: self.neighbours.clone(), sender: self.sender.clone() };
            let (address, called) = (peer.address, node.clone());
            let call = self.calls.spawn(async move {
                if let Err(why) = ear.listen(address, body, ready).await {
                    tracing::debug!(node = %called, why, "a call that follows has ended");
                }
                called
            });
            self.ears.insert(node, (share, call));
            listening.push(listens);
        }
        listening
    }
}

/// Listens to one member.
struct Ear {
    neighbours: Arc<dyn Neighbours>,
    sender: mpsc::Sender<Heard>,
}

impl Ear {
    async fn listen(
        self,
        address: std::net::SocketAddr,
        body: Bytes,
        ready: oneshot::Sender<()>,
    ) -> Result<(), String> {
        let deadline = Instant::now() + CALL_MAX;
        let call = self.neighbours.peers().stream(address, methods::TAIL, body, deadline).await;
        let mut call = call.map_err(|error| error.to_string())?;
        let mut ready = Some(ready);
        while let Some(bytes) = call.next().await.map_err(|error| error.to_string())? {
            let heard = decode::<Told>(&bytes).map_err(|error| error.to_string())?.into_heard()?;
            if let Some(ready) = ready.take() {
                let _ = ready.send(());
                continue;
            }
            if self.sender.send(heard).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }
}
