//! Before a query reads: which pushes do others hold that a reader may lack? It takes them in before it answers.
//!
//! Owners know of almost every push who else holds it, so they name the few of the last moments, and those an owner
//! missed. A reader has most of these by the time it is asked; what it lacks, it fetches from the holder's log. And it
//! answers for nothing of whose packs it has not learnt.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use grapevine_gossip::ring::NodeId;
use grapevine_gossip::rpc::{Handler, Refusal, RefusalCode, Reply, Request, Served};
use grapevine_storage::atom::PushId;
use grapevine_storage::index::{Day, TimeRange};
use tokio::time::{Instant, timeout_at};

use super::compare::{OfLog, of_log};
use super::confirmed::run_of;
use super::message::{Doubted, Doubtful, PushesOf, Supplied};
use super::{Replication, lock};
use crate::cluster::message::{decode, encode};
use crate::cluster::methods::{CATCH_UP, UNCONFIRMED};
use crate::exec::Lane;
use crate::ingester::heads::HeadKey;
use crate::planted::{self, Bug};
use crate::querier::freshness::{Doubt, Found, Freshness, Moment, UNCONFIRMED_MAX, Unconfirmed};
use crate::querier::notes::unreached;
use crate::querier::share::Share;
use crate::querier::spread::Spread;

/// How long a member may take to say what readers may lack.
const ASK_MAX: Duration = Duration::from_secs(5);

/// What the querier asks of replication.
pub struct Fresh(pub Arc<Replication>);

impl fmt::Debug for Fresh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fresh")
    }
}

#[async_trait::async_trait]
impl Freshness for Fresh {
    async fn unconfirmed(
        &self,
        tenants: &[Arc<str>],
        range: TimeRange,
        spread: &Spread,
        deadline: Instant,
    ) -> Found {
        if planted::is(Bug::DoubtsNothing) {
            return Found::default();
        }
        let readers = spread.assign(&Share::all()).readers;
        let is_alone = self.0.placement().live_peers().next().is_none();
        if is_alone && readers.iter().all(|(reader, _)| reader == self.0.parts.cluster.me()) {
            return Found::default();
        }
        self.0.doubted_everywhere(tenants, range, readers, deadline).await
    }

    async fn catch_up(&self, share: &Share, unconfirmed: &[Unconfirmed], deadline: Instant) -> Vec<String> {
        let mut warnings = self.0.catch_up(unconfirmed, deadline).await;
        warnings.extend(self.0.strange(share));
        warnings
    }

    fn unreadable(&self, share: &Share) -> Option<String> {
        self.0.unlearnt(share)
    }
}

impl Replication {
    /// Asks everyone who lives, this node included, what readers may lack.
    async fn doubted_everywhere(
        &self,
        tenants: &[Arc<str>],
        range: TimeRange,
        readers: Vec<(NodeId, Share)>,
        deadline: Instant,
    ) -> Found {
        let placement = self.placement();
        let message = Doubted {
            tenants: tenants.iter().map(|tenant| tenant.to_string()).collect(),
            times: (range.first, range.last),
            readers: readers.iter().map(|(reader, share)| (reader.to_string(), share.arcs())).collect(),
            most: UNCONFIRMED_MAX as u32 + 1,
        };
        let mut found = Found::default();
        let Ok(body) = encode(&message) else { return found };
        let deadline = deadline.min(Instant::now() + ASK_MAX);
        let asked = placement.live_peers().map(|peer| {
            let call = self.parts.cluster.peers().call(peer.address, UNCONFIRMED, body.clone(), deadline);
            async move { (&peer.id, call.await) }
        });
        let (own, theirs) = tokio::join!(self.doubted(message), futures_util::future::join_all(asked));
        // Each holder of a push, for none need hold all its streams.
        let mut known: BTreeSet<(Doubt, NodeId)> = BTreeSet::new();
        let mut packs: BTreeSet<(NodeId, Day)> = BTreeSet::new();
        let mut moments: BTreeMap<NodeId, Moment> = BTreeMap::new();
        let mut note = |holder: &NodeId, doubtful: Doubtful| {
            moments.insert(holder.clone(), doubtful.moment);
            let Doubtful { pushes, beyond, .. } = &doubtful;
            let beyond = beyond.iter().map(|push| Doubt::Beyond(*push));
            let doubts = pushes.iter().map(|push| Doubt::Push(*push)).chain(beyond);
            known.extend(doubts.map(|doubt| (doubt, holder.clone())));
            packs.extend(doubtful.days.into_iter().map(|day| (holder.clone(), Day(day))));
        };
        note(placement.me(), own);
        for (peer, answer) in theirs {
            match answer
                .map_err(|error| error.to_string())
                .and_then(|answer| decode::<Doubtful>(&answer).map_err(|error| error.to_string()))
            {
                Ok(doubtful) => note(peer, doubtful),
                Err(reason) => {
                    tracing::debug!(%peer, reason, "a member did not say what readers may lack");
                    found.warnings.push(unreached(peer));
                }
            }
        }
        let packs = packs.into_iter().map(|(holder, day)| Unconfirmed { doubt: Doubt::Packs(day), holder });
        let pushes = known.into_iter().map(|(doubt, holder)| Unconfirmed { doubt, holder });
        let moments =
            moments.into_iter().map(|(holder, moment)| Unconfirmed { doubt: Doubt::Before(moment), holder });
        // Pushes last: should the list be cut, the others weigh more.
        found.unconfirmed = moments.chain(packs).chain(pushes).collect();
        found
    }

    /// Pushes that this node holds and that a reader of their streams is not known to hold, and days of which it has
    /// announced packs that a reader has not heard of.
    async fn doubted(&self, question: Doubted) -> Doubtful {
        let Doubted { tenants, times: (first, last), readers, most } = question;
        let me = self.parts.cluster.me().clone();
        let readers: Vec<(NodeId, Share)> = readers
            .into_iter()
            .filter_map(|(reader, share)| Some((reader.parse().ok()?, Share::of_arcs(&share))))
            .filter(|(reader, _)| *reader != me)
            .collect();
        let placement = self.placement();
        // Before the heads: what leaves one from now on may be looked for in vain.
        let turn = self.parts.ingester.covered().turn();
        let (mut doubted, mut beyond) = (BTreeSet::new(), BTreeSet::new());
        for tenant in tenants {
            for head in self.parts.ingester.heads().of_tenant(&tenant, Day::of(first), Day::of(last)) {
                let Some((reader, _)) = readers.iter().find(|(_, share)| share.holds(head.id)) else {
                    continue;
                };
                if head.time_range().is_none_or(|(from, to)| from > last || to < first) {
                    continue;
                }
                let pushes = head.pushes().into_iter().rev();
                if placement.owns(reader, head.id) {
                    let confirmed = lock(&self.confirmed);
                    doubted.extend(pushes.filter(|push| !confirmed.has(reader, *push)));
                } else {
                    beyond.extend(pushes);
                }
                if doubted.len() + beyond.len() >= most as usize {
                    break;
                }
            }
        }
        // After the heads: what leaves one for a pack meanwhile waits to be announced before it leaves.
        let wanted = Day::of(first)..=Day::of(last);
        let days = readers.iter().flat_map(|(reader, _)| self.announcing.unheard_by(reader));
        let days: BTreeSet<i32> = days.filter(|day| wanted.contains(day)).map(|day| day.0).collect();
        let (beyond, pushes): (Vec<_>, Vec<_>) =
            (beyond.into_iter().collect(), doubted.into_iter().collect());
        let moment = Moment { life: self.parts.cluster.life(), turn };
        Doubtful { pushes, beyond, days: days.into_iter().collect(), moment }
    }

    /// Takes in what this node lacks of these pushes; says what could not be had.
    async fn catch_up(&self, unconfirmed: &[Unconfirmed], deadline: Instant) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Err(error) = in_time(deadline, self.learn_from_newcomers(unconfirmed)).await {
            warnings.push(format!("lines of a member that came back may be missing: {error:#}"));
        }
        let others = unconfirmed.iter().filter(|one| one.holder != *self.parts.cluster.me());
        let mut from: BTreeMap<&NodeId, Vec<PushId>> = BTreeMap::new();
        let mut moments: BTreeMap<&NodeId, Moment> = BTreeMap::new();
        for one in others {
            let has = |member, push| lock(&self.caught_up).has(member, push);
            match one.doubt {
                Doubt::Push(push) if has(self.parts.cluster.me(), push) => {}
                Doubt::Push(push) | Doubt::Beyond(push) if has(&one.holder, push) => {}
                Doubt::Push(push) | Doubt::Beyond(push) => from.entry(&one.holder).or_default().push(push),
                // What it told in an earlier life was learnt above.
                Doubt::Before(moment) => drop(moments.insert(&one.holder, moment)),
                Doubt::Packs(day) => {
                    if let Err(error) = in_time(deadline, self.learn_day_from(&one.holder, day)).await {
                        let holder = &one.holder;
                        warnings
                            .push(format!("packs of {day} that `{holder}` wrote may be missing: {error:#}"));
                    }
                }
            }
        }
        for (holder, pushes) in from {
            let moment = moments.get(holder).copied();
            if let Err(error) = self.catch_up_from((holder, moment), pushes, deadline).await {
                let error = format!("{error:#}");
                tracing::info!(%holder, error, "what a member holds could not be fetched for a query");
                warnings.push(format!("some of the youngest lines, which `{holder}` holds, may be missing"));
            }
        }
        warnings
    }

    async fn learn_day_from(&self, holder: &NodeId, day: Day) -> Result<()> {
        let placement = self.placement();
        let peer = placement.view().peer(holder).context("it is no member any more")?;
        self.learn_packs(peer, day).await
    }

    /// Fetches pushes from a member that said, at a moment, that it has them. What has left its heads since is in packs
    /// that this node may not have heard of.
    async fn catch_up_from(
        &self,
        (holder, moment): (&NodeId, Option<Moment>),
        pushes: Vec<PushId>,
        deadline: Instant,
    ) -> Result<()> {
        let placement = self.placement();
        let peer = placement.view().peer(holder).context("it is no member any more")?;
        let said = moment.context("it is not known when it said what it has")?;
        let body = encode(&PushesOf { pushes: pushes.clone(), said })?;
        let mut items = self.parts.cluster.peers().stream(peer.address, CATCH_UP, body, deadline).await?;
        let mut last = None;
        while let Some(item) = items.next().await? {
            if let Some(push) = last.replace(item) {
                self.take(&push).await?;
            }
        }
        let Supplied { days, is_cut } = decode(&last.context("it sent nothing")?)?;
        for day in days.into_iter().map(Day) {
            let learnt = in_time(deadline, self.learn_packs(peer, day)).await;
            learnt.with_context(|| format!("learn its packs of {day}"))?;
        }
        ensure!(!is_cut, "it holds too much that is not here");
        lock(&self.caught_up).add(placement.ring().hash(), holder, pushes.into_iter().map(run_of));
        Ok(())
    }

    /// Why this node cannot answer for a share: it owns of it what it has not learnt of yet.
    fn unlearnt(&self, share: &Share) -> Option<String> {
        let owned = share.and(self.placement().kept());
        let is_unlearnt = !lock(&self.learnt).covers(&owned);
        is_unlearnt.then(|| "it is still learning what it owns".to_owned())
    }

    /// What may be missing where this node is asked for streams of which it keeps no record: it stands in for owners that
    /// are down, or sees other members than the asker.
    fn strange(&self, share: &Share) -> Option<String> {
        let placement = self.placement();
        let me = placement.me();
        (!placement.kept().covers(share)).then(|| {
            format!("`{me}` answers for streams that it does not own: older lines of them may be missing")
        })
    }
}

/// As long as a query can wait for what it may lack: better an answer that names it than none.
async fn in_time(deadline: Instant, learning: impl Future<Output = Result<()>>) -> Result<()> {
    let until = deadline.min(Instant::now() + ASK_MAX);
    timeout_at(until, learning).await.context("it takes long to learn")?
}

/// Says what readers may lack.
pub(super) struct Admits(pub(super) Arc<Replication>);

impl Handler for Admits {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            let doubtful = self.0.doubted(decode(&request.body)?).await;
            Ok(reply.send(encode(&doubtful)?).await?)
        })
    }
}

/// Gives readers what they lack.
pub(super) struct Supplies(pub(super) Arc<Replication>);

impl Handler for Supplies {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            let PushesOf { pushes, said: Moment { life, turn } } = decode(&request.body)?;
            let parts = &self.0.parts;
            if life != parts.cluster.life() {
                let text = "this member has started anew since it said what it has";
                return Err(Refusal::new(RefusalCode::Unavailable, text));
            }
            let wanted: BTreeSet<PushId> = pushes.into_iter().collect();
            let (ingester, cache, dir) =
                (parts.ingester.clone(), self.0.cache.clone(), parts.ingester.wal_dir());
            let look = move || {
                let mut places: BTreeMap<PushId, BTreeSet<HeadKey>> = BTreeMap::new();
                // All streams of them: this node may not have heard yet what the asker owns. What it does not own it
                // lets go of again.
                for (key, head) in ingester.heads().all() {
                    for push in head.pushes().into_iter().filter(|push| wanted.contains(push)) {
                        places.entry(push).or_default().insert(key.clone());
                    }
                }
                if places.is_empty() { Ok(OfLog::default()) } else { of_log(&dir, &places, &cache) }
            };
            let found = parts.env.exec.run(Lane::Disk, look).await;
            let OfLog { pushes, is_cut } =
                found.map_err(|error| Refusal::new(RefusalCode::Failed, error.to_string()))?;
            for (_, body) in pushes {
                reply.send(body).await?;
            }
            // After the log was read: what has left until then may not have been in it any more.
            let days = parts.ingester.covered().days_since(turn).into_iter().map(|day| day.0).collect();
            Ok(reply.send(encode(&Supplied { days, is_cut })?).await?)
        })
    }
}
