//! Puts a query's questions to those who hold the answers: to this node alone, or to one owner of each token range.
//!
//! The driver around [`Spread`]. All readers are asked at once, this node in process. What one finds counts only
//! once it is whole, so a reader that fails half-way is as if it had not been asked, and its share goes to the next
//! owners. Dropping the query drops the calls, and with that what the readers do for it.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use grapevine_gossip::endpoint::Peers;
use grapevine_gossip::membership::View;
use grapevine_gossip::ring::NodeId;
use grapevine_gossip::rpc::{CallError, RefusalCode};
use grapevine_storage::index::TimeRange;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::error::QueryError;
use super::freshness::Unconfirmed;
use super::notes::{Notes, unreached};
use super::question::{Piece, Question, Taken};
use super::share::Share;
use super::spread::{Assigned, Spread};
use super::wire::{Frame, Message};
use super::{Asker, Querier, explain};
use crate::cluster::Cluster;
use crate::cluster::message::{decode, encode};
use crate::planted::{self, Bug};

/// Readers whose long answers are taken in at once. Each holds what it found until then, and what is half taken in
/// is held here; answers of one item are never kept waiting.
const RECEIVING_MAX: usize = 2;

/// The cluster, as far as a query needs to know it.
pub trait Neighbours: Send + Sync + std::fmt::Debug {
    /// This node's name.
    fn me(&self) -> NodeId;
    /// The members as this node sees them now.
    fn view(&self) -> Arc<View>;
    /// The members from now on.
    fn changes(&self) -> watch::Receiver<Arc<View>>;
    /// How many owners a range has.
    fn replication_factor(&self) -> usize;
    /// How members are called.
    fn peers(&self) -> Peers;
    /// Whether there are other members of whom nothing has been heard yet.
    fn is_cut_off(&self) -> bool;
}

impl Neighbours for Cluster {
    fn me(&self) -> NodeId {
        Cluster::me(self).clone()
    }

    fn view(&self) -> Arc<View> {
        Cluster::view(self)
    }

    fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.watch()
    }

    fn replication_factor(&self) -> usize {
        Cluster::replication_factor(self)
    }

    fn peers(&self) -> Peers {
        Cluster::peers(self).clone()
    }

    fn is_cut_off(&self) -> bool {
        Cluster::is_cut_off(self)
    }
}

/// One query on its way.
pub(super) struct Scatter<'q> {
    querier: &'q Querier,
    asker: Arc<Asker>,
    now: i64,
    deadline: Instant,
    fan: Option<Fan>,
    unconfirmed: Arc<[Unconfirmed]>,
    /// What comes beside the answer.
    pub(super) notes: Notes,
}

/// What there is of a cluster.
struct Fan {
    neighbours: Arc<dyn Neighbours>,
    view: Arc<View>,
    spread: Spread,
}

/// Why there is no answer for a share.
enum Fault {
    /// The query has no answer anywhere.
    Query(QueryError),
    /// This reader has none.
    Reader(String),
}

impl From<QueryError> for Fault {
    fn from(error: QueryError) -> Self {
        if error.is_of_one_node() { Fault::Reader(error.to_string()) } else { Fault::Query(error) }
    }
}

impl From<CallError> for Fault {
    /// The deadline is the asker's: once it has passed, nobody else can answer either.
    fn from(error: CallError) -> Self {
        let passed = match &error {
            CallError::DeadlinePassed { .. } => true,
            CallError::Refused { refusal, .. } => refusal.code == RefusalCode::DeadlinePassed,
            _ => false,
        };
        if passed { Fault::Query(QueryError::TimedOut) } else { Fault::Reader(error.to_string()) }
    }
}

type Reading<'a, F> = Pin<Box<dyn Future<Output = (NodeId, Share, Result<(F, Notes), Fault>)> + Send + 'a>>;

impl<'q> Scatter<'q> {
    /// Begins a query over a range of time: looks at the cluster once, and asks what is not with all its owners yet.
    pub(super) async fn begin(querier: &'q Querier, asker: &Asker, range: TimeRange) -> Self {
        let deadline = Instant::now() + asker.timeout;
        let neighbours = querier.neighbours.get().cloned();
        // Before the view is looked at: others may be heard of in between.
        let is_cut_off = neighbours.as_ref().is_some_and(|neighbours| neighbours.is_cut_off());
        let fan = neighbours.map(|neighbours| {
            let view = neighbours.view();
            let spread = Spread::new(neighbours.me(), &view, neighbours.replication_factor());
            Fan { neighbours, view, spread }
        });
        let mut notes = Notes::default();
        let mut unconfirmed = Vec::new();
        if let Some(fan) = &fan {
            if is_cut_off {
                notes.warnings.add(
                    "no other member has been heard of since this node started: lines that only others hold are missing"
                        .into(),
                );
            }
            let found = querier.freshness().unconfirmed(&asker.tenants, range, &fan.spread, deadline).await;
            found.warnings.into_iter().for_each(|text| notes.warnings.add(text));
            unconfirmed = found.unconfirmed;
            if unconfirmed.len() > super::freshness::UNCONFIRMED_MAX {
                unconfirmed.truncate(super::freshness::UNCONFIRMED_MAX);
                notes.warnings.add("too many pushes are not with all their owners yet: some of the youngest lines may be missing".into());
            }
        }
        let (asker, now) = (Arc::new(asker.clone()), querier.env.clock.now());
        Scatter { querier, asker, now, deadline, fan, unconfirmed: unconfirmed.into(), notes }
    }

    /// Asks a question of all that there is.
    pub(super) async fn ask<Q: Question>(&mut self, question: &Q) -> Result<Q::Found, QueryError> {
        let piece = Piece {
            asker: self.asker.clone(),
            share: Share::all(),
            now: self.now,
            unconfirmed: self.unconfirmed.clone(),
        };
        let Some(fan) = &mut self.fan else {
            return self.querier.read_own(question, &piece, &mut self.notes).await;
        };
        let mut found = question.nothing(&self.asker);
        let receiving = Semaphore::new(RECEIVING_MAX);
        let Fan { neighbours, view, spread } = fan;
        let me = neighbours.me();
        let mut reading: FuturesUnordered<Reading<'_, Q::Found>> = FuturesUnordered::new();
        let mut assigned = spread.assign(&Share::all());
        loop {
            let Assigned { readers, orphaned } = assigned;
            if !orphaned.is_empty() {
                let percent = orphaned.fraction() * 100.0;
                self.notes.warnings.add(format!(
                    "nobody is left who could read {percent:.1} % of the ring: its lines are missing"
                ));
            }
            for (node, share) in readers {
                let piece = Piece { share, ..piece.clone() };
                let address = view.peer(&node).map(|peer| peer.address).filter(|_| node != me);
                let reader = Reader { node, address, peers: neighbours.peers(), deadline: self.deadline };
                reading.push(Box::pin(reader.read(self.querier, question, piece, &receiving)));
            }
            let Some((node, share, outcome)) = reading.next().await else { break };
            assigned = Assigned { readers: Vec::new(), orphaned: Share::of([]) };
            match outcome {
                Ok((part, notes)) => {
                    self.notes.explain.extend(explain::of_reader(&node, &share, &notes));
                    self.notes.merge(notes);
                    question.merge(part, &mut found)?;
                }
                Err(Fault::Query(error)) => return Err(error),
                Err(Fault::Reader(why)) => {
                    tracing::warn!(%node, why, "a reader failed; the next owners are asked");
                    self.querier.metrics.pieces_retried.inc();
                    assigned = spread.handle_failure(&node, &share, why);
                }
            }
        }
        Ok(found)
    }

    /// Further questions of this query are like those before: they need not be explained.
    pub(super) fn explain_no_more(&mut self) {
        if self.asker.explain {
            Arc::make_mut(&mut self.asker).explain = false;
        }
    }

    /// What is known in the end beside the answer.
    pub(super) fn finish(self) -> Notes {
        let Scatter { mut notes, fan, .. } = self;
        let fan = fan.filter(|_| !planted::is(Bug::KeepsSilent));
        for (node, why) in fan.iter().flat_map(|fan| fan.spread.unreachable()) {
            if let Some(why) = why {
                tracing::debug!(%node, why, "a member could not be reached");
            }
            notes.warnings.add(unreached(node));
        }
        notes
    }
}

/// One who is asked for a share.
struct Reader {
    node: NodeId,
    /// None for this node itself.
    address: Option<SocketAddr>,
    peers: Peers,
    deadline: Instant,
}

impl Reader {
    async fn read<Q: Question>(
        self,
        querier: &Querier,
        question: &Q,
        piece: Piece,
        receiving: &Semaphore,
    ) -> (NodeId, Share, Result<(Q::Found, Notes), Fault>) {
        let outcome = match self.address {
            None => read_here(querier, question, &piece, self.deadline).await,
            Some(address) => self.call(address, question, &piece, receiving).await,
        };
        (self.node, piece.share, outcome)
    }

    async fn call<Q: Question>(
        &self,
        address: SocketAddr,
        question: &Q,
        piece: &Piece,
        receiving: &Semaphore,
    ) -> Result<(Q::Found, Notes), Fault> {
        let reader = |error: &dyn ToString| Fault::Reader(error.to_string());
        let body = encode(&Message::new(piece, question.wire())).map_err(|error| reader(&error))?;
        let call = self.peers.stream(address, Q::METHOD, body, self.deadline).await;
        let mut call = call.map_err(Fault::from)?;
        let mut found = question.nothing(&piece.asker);
        let mut notes = None;
        let mut place = None;
        let mut items = 0;
        while let Some(bytes) = call.next().await.map_err(Fault::from)? {
            match open::<Q>(&bytes)? {
                Frame::Notes(sent) => notes = Some(Notes::from(sent)),
                Frame::Failed { status, text } => return Err(QueryError::Elsewhere { status, text }.into()),
                Frame::Item(item) => {
                    items += 1;
                    if items > 1 && place.is_none() {
                        place = receiving.acquire().await.ok();
                    }
                    match question.take(item, &mut found)? {
                        Taken::More => {}
                        Taken::Enough => break,
                        Taken::Unfit(why) => return Err(Fault::Reader(why)),
                    }
                }
            }
        }
        let notes = notes.ok_or_else(|| Fault::Reader("it answered without saying what it read".into()))?;
        Ok((found, notes))
    }
}

fn open<Q: Question>(bytes: &Bytes) -> Result<Frame<Q::Item>, Fault> {
    decode(bytes).map_err(|error| Fault::Reader(error.to_string()))
}

/// Answers for a share from what this node holds, once it has caught up.
async fn read_here<Q: Question>(
    querier: &Querier,
    question: &Q,
    piece: &Piece,
    deadline: Instant,
) -> Result<(Q::Found, Notes), Fault> {
    let mut notes = Notes::default();
    let found = querier.read_piece(question, piece, deadline, &mut notes).await?;
    Ok((found, notes))
}
