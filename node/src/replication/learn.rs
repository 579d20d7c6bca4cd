//! A node learns which packs another knows and it does not: after it was away, and whenever it turns out that it
//! missed an announcement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use grapevine_gossip::membership::Peer;
use grapevine_gossip::ring::{NodeId, RingHash};
use grapevine_gossip::rpc::{Handler, Refusal, RefusalCode, Reply, Request, Served};
use grapevine_storage::index::{Day, DayIndex, IndexError, PackId};
use grapevine_storage::stream::StreamId;
use tokio::time::Instant;

use super::announce::{covers_of, digest_of};
use super::custody::tender;
use super::hear::Heard;
use super::heirs::Members;
use super::message::{Announce, PackNews, PacksOf};
use super::placement::Placement;
use super::{Replication, lock};
use crate::cluster::message::{decode, encode};
use crate::cluster::methods::PACK_SETS;
use crate::exec::Lane;
use crate::housekeeping::restored::replaced_by;
use crate::planted::{self, Bug};
use crate::querier::freshness::{Doubt, Moment, Unconfirmed};
use crate::querier::share::Share;
use crate::workers::worker::{Rhythm, Worker};

/// How long learning of one day may take.
const LEARN_MAX: Duration = Duration::from_secs(300);
/// How long a question for days may take.
const DAYS_MAX: Duration = Duration::from_secs(10);
/// How often the members are looked at, and what could not be learnt is tried again.
const LOOK: Duration = Duration::from_secs(1);
/// How often the packs of the latest days are compared although nothing has happened.
const AGAIN: Duration = Duration::from_secs(60);
/// How many days back that is done.
const RECENT_DAYS: usize = 2;

/// Which ranges this node has learnt everything about, so that it may be asked for them.
#[derive(Debug, Default)]
pub(super) struct Learnt {
    ring: Option<RingHash>,
    kept: Option<Share>,
    /// Everyone who lives and from whom all was learnt, in its present life. One that was not seen for a while is to be
    /// learnt from again: it may have packed what only it had.
    peers: BTreeMap<NodeId, u64>,
    /// The members that the ring had; none since the start.
    pub(super) heirs: Option<Members>,
}

/// How far a round is: a step is one day of one member.
struct Steps<'a> {
    worker: &'a Worker,
    done: u64,
    total: u64,
}

impl<'a> Steps<'a> {
    fn of(worker: &'a Worker) -> Self {
        Steps { worker, done: 0, total: 0 }
    }

    fn are_known(&mut self, more: usize) {
        self.total += more as u64;
        self.worker.progress(self.done, self.total);
    }

    fn is_done(&mut self) {
        self.done += 1;
        self.worker.progress(self.done, self.total);
    }
}

impl Learnt {
    /// Whether everything was learnt about these tokens.
    pub(super) fn covers(&self, share: &Share) -> bool {
        share.is_empty() || self.kept.as_ref().is_some_and(|learnt| learnt.covers(share))
    }

    /// The ring by which everything was learnt last; zero before.
    pub(super) fn ring_hash(&self) -> u64 {
        self.ring.map_or(0, |ring| ring.0)
    }

    /// Whether all was learnt from a member, in its present life.
    pub(super) fn from(&self, peer: &Peer) -> bool {
        self.knows_life(&peer.id, peer.incarnation)
    }

    /// Whether all was learnt from nobody that lives.
    pub(super) fn is_from_nobody(&self) -> bool {
        self.peers.is_empty()
    }

    fn knows_life(&self, id: &NodeId, life: u64) -> bool {
        self.peers.get(id) == Some(&life)
    }
}

impl Replication {
    /// Learns from the others whatever this node owns and does not know: at its start, whenever the ring has changed, and
    /// now and then. Turns active when it has learnt everything for the first time.
    pub(super) async fn keep_learning(&self) {
        let last = Mutex::new(Instant::now());
        self.parts.staff.learn.keep(Rhythm::every(LOOK), || self.learn_once(&last)).await;
    }

    /// One look; `last` is when everything was learnt last.
    async fn learn_once(&self, last: &Mutex<Instant>) -> Result<()> {
        self.seek_missing().await?;
        let placement = self.placement();
        let is_placed = placement.ring().member(placement.me()).is_some_and(|me| !me.tokens.is_empty());
        // Alone in its ring a node that has just started would look for everybody's streams in every pack.
        if !is_placed || !self.placement.knows_others() {
            return Ok(());
        }
        self.tell_deletes_of(&placement).await;
        lock(&self.learnt).peers.retain(|id, incarnation| {
            placement.live_peers().any(|peer| peer.id == *id && peer.incarnation == *incarnation)
        });
        let (hash, kept) = (placement.ring().hash(), placement.kept());
        let is_new = {
            let mut learnt = lock(&self.learnt);
            // Nobody tells of what it kept before and does not keep now.
            learnt.kept = learnt.kept.take().map(|learnt| learnt.and(kept));
            learnt.ring != Some(hash) || !learnt.covers(kept)
        };
        if !is_new && lock(last).elapsed() < AGAIN {
            return self.learn_from_newcomers(&[]).await;
        }
        self.learn_all(&placement, if is_new { usize::MAX } else { RECENT_DAYS }).await?;
        if self.placement().hash() != placement.hash() || self.knows_nothing_yet().await? {
            return Ok(());
        }
        // First: from the moment this node answers, it says what nobody may know any more.
        self.on_learnt_from(placement.ring().members().iter().map(|member| member.id.clone()).collect())
            .await?;
        *lock(last) = Instant::now();
        {
            let mut learnt = lock(&self.learnt);
            (learnt.ring, learnt.kept) = (Some(hash), Some(kept.clone()));
        }
        self.parts.cluster.set_active().await;
        self.forget_parts().await
    }

    /// Says who has to carry out delete requests. One that was away may have lines that all others have deleted: they are
    /// hidden before any are taken from it.
    async fn tell_deletes_of(&self, placement: &Placement) {
        let members = placement.ring().members().iter().map(|member| member.id.to_string()).collect();
        if let Err(error) = self.parts.deletes.set_members(members).await {
            let error = format!("{error:#}");
            tracing::error!(error, "delete requests are not carried out for all members");
        }
    }

    /// Learns from all about the latest days, and those that were asked about.
    pub(super) async fn learn_all(&self, placement: &Placement, days: usize) -> Result<()> {
        let asked = self.announcing.take_asked();
        let mut steps = Steps::of(&self.parts.staff.learn);
        for peer in placement.live_peers() {
            self.learn_from(peer, days, &asked, &mut steps).await?;
        }
        self.widen_all(placement).await
    }

    /// Learns from everyone who lives and from whom it was not learnt yet. A member that started anew may be known by
    /// `doubts` before gossip tells of it.
    ///
    /// # Errors
    /// One of them cannot be reached, or a pack cannot be had.
    pub(super) async fn learn_from_newcomers(&self, doubts: &[Unconfirmed]) -> Result<()> {
        let placement = self.placement();
        let view = placement.view();
        let known = |id| view.peer(id).map_or(0, |peer| peer.incarnation);
        let mut lives: BTreeMap<&NodeId, u64> =
            placement.live_peers().map(|peer| (&peer.id, peer.incarnation)).collect();
        for Unconfirmed { doubt, holder } in doubts.iter().filter(|doubt| doubt.holder != *placement.me()) {
            if let Doubt::Before(Moment { life, .. }) = *doubt {
                let latest = lives.entry(holder).or_insert_with(|| known(holder));
                *latest = life.max(*latest);
            }
        }
        lives.retain(|id, life| !lock(&self.learnt).knows_life(id, *life));
        if lives.is_empty() {
            return Ok(());
        }
        // One at a time: who waits finds it done.
        let _turn = self.learning.lock().await;
        self.tell_deletes_of(&placement).await;
        let mut steps = Steps::of(&self.parts.staff.learn);
        for (id, life) in lives {
            if !lock(&self.learnt).knows_life(id, life) {
                let peer = view.peer(id).with_context(|| format!("`{id}` is no member any more"))?;
                let peer = Peer { incarnation: life, ..peer.clone() };
                self.learn_from(&peer, usize::MAX, &BTreeSet::new(), &mut steps).await?;
            }
        }
        Ok(())
    }

    async fn learn_from(
        &self,
        peer: &Peer,
        days: usize,
        asked: &BTreeSet<Day>,
        steps: &mut Steps<'_>,
    ) -> Result<()> {
        if planted::is(Bug::ReadsUnlearnt) {
            return Ok(());
        }
        // First: what is learnt then may hold what is deleted.
        let super::Parts { deletes, rules, .. } = &self.parts;
        self.swap(&**deletes, peer)
            .await
            .with_context(|| format!("swap delete requests with `{}`", peer.id))?;
        self.swap(&**rules, peer).await.with_context(|| format!("swap rule groups with `{}`", peer.id))?;
        let theirs = self.days_of(peer).await.with_context(|| format!("ask `{}` for its days", peer.id))?;
        let forgotten = usize::from(planted::is(Bug::ForgetsADay));
        let latest = theirs.into_iter().rev().enumerate().skip(forgotten);
        let wanted = latest.filter(|(at, day)| *at < days || asked.contains(day));
        let wanted: Vec<Day> = wanted.map(|(_, day)| day).collect();
        steps.are_known(wanted.len());
        for day in wanted {
            let learnt = self.learn_packs(peer, day).await;
            learnt.with_context(|| format!("learn the packs of {day} from `{}`", peer.id))?;
            steps.is_done();
        }
        if days == usize::MAX {
            lock(&self.learnt).peers.insert(peer.id.clone(), peer.incarnation);
        }
        Ok(())
    }

    async fn days_of(&self, peer: &Peer) -> Result<Vec<Day>> {
        let body = encode(&PacksOf { day: None, known: Vec::new(), placement: 0 })?;
        let deadline = Instant::now() + DAYS_MAX;
        let answer = self.parts.cluster.peers().call(peer.address, PACK_SETS, body, deadline).await?;
        match decode(&answer)? {
            PackNews::Days(days) => Ok(days.into_iter().map(Day).collect()),
            PackNews::Pack(_) | PackNews::Gone(_) => bail!("it answers something else"),
        }
    }

    async fn days(&self) -> Result<Vec<Day>, Refusal> {
        let index = self.parts.index.clone();
        let days = self.parts.env.exec.run(Lane::Disk, move || index.days()).await;
        days.map_err(|error| Refusal::new(RefusalCode::Failed, error.to_string()))
    }

    /// Learns of the packs of a day that a member knows and this node, which owns streams in them, does not; and of what
    /// packs cover.
    ///
    /// # Errors
    /// The member cannot be reached, or a pack cannot be had; what was learnt stays.
    pub(super) async fn learn_packs(&self, peer: &Peer, day: Day) -> Result<()> {
        // Whoever comes (back) may have what was nowhere; others have been asked. And all is heard of it once.
        let is_new = !lock(&self.learnt).from(peer);
        let (index, placement, teller) = (self.parts.index.clone(), self.placement(), peer.id.clone());
        let hash = placement.hash().0;
        let look = move || match index.day(day)? {
            Some(day) => Ok((known_of(&day, &placement, (!is_new).then_some(&teller))?, day.lost()?)),
            None => Ok::<_, IndexError>((Vec::new(), Vec::new())),
        };
        let (known, lost) = self.parts.env.exec.run(Lane::Disk, look).await?;
        let lost: BTreeSet<String> = lost.into_iter().map(|(_, key)| key).filter(|_| !is_new).collect();
        let body = encode(&PacksOf { day: Some(day.0), known, placement: hash })?;
        let deadline = Instant::now() + LEARN_MAX;
        let mut items = self.parts.cluster.peers().stream(peer.address, PACK_SETS, body, deadline).await?;
        let mut outcome = Ok(());
        while let Some(item) = items.next().await? {
            let heard = match decode(&item)? {
                PackNews::Pack(announce) if lost.contains(&announce.object_key) => Ok(()),
                PackNews::Pack(announce) => self.hear_or_miss(announce, peer).await,
                PackNews::Gone(packs) => self.let_packs_go(day, packs).await,
                PackNews::Days(_) => Ok(()),
            };
            outcome = outcome.and(heard);
        }
        outcome
    }

    /// Takes note of a pack; one that is nowhere any more is noted as lost, or this node would never have learnt all.
    async fn hear_or_miss(&self, announce: Announce, peer: &Peer) -> Result<()> {
        let key = announce.object_key.clone();
        match self.hear(announce, peer.address).await? {
            Heard::Noted => Ok(()),
            Heard::Nowhere => self.note_lost(&key).await,
        }
    }

    /// What is to be said of a day to a member that owns some streams: packs that hold any of them, without those it knows
    /// of which nothing more is to be said; and which of the packs it knows are gone.
    pub(super) fn packs_for(
        &self,
        day: Day,
        known: &BTreeMap<PackId, u64>,
        keeps: impl Fn(StreamId) -> bool,
        tends: impl Fn(&str) -> bool,
    ) -> Result<Vec<PackNews>, IndexError> {
        let Some(day) = self.parts.index.day(day)? else { return Ok(Vec::new()) };
        let gone = day.gone()?;
        let mut news = day.read(|snapshot| {
            let mut news = Vec::new();
            for (id, record) in snapshot.packs()? {
                let replaces = replaced_by(&gone, id);
                let covers = covers_of(snapshot, id, &replaces, &keeps)?;
                let has_heard = |heard: &u64| covers.is_empty() || *heard == digest_of(&covers, &replaces);
                if known.get(&id).is_some_and(has_heard) && !replaces.iter().any(|id| known.contains_key(id))
                {
                    continue;
                }
                if !snapshot.contents(id)?.iter().any(|(stream, _)| keeps(*stream))
                    && !tends(&record.object_key)
                {
                    continue;
                }
                let replaces = replaces.iter().map(|id| id.0).collect();
                news.push(PackNews::Pack(Announce { object_key: record.object_key, covers, replaces }));
            }
            Ok(news)
        })?;
        let without_heir = gone.iter().filter(|(id, by)| by.is_none() && known.contains_key(id));
        let gone: Vec<u128> = without_heir.map(|(id, _)| id.0).collect();
        if !gone.is_empty() {
            news.push(PackNews::Gone(gone));
        }
        Ok(news)
    }

    async fn let_packs_go(&self, day: Day, packs: Vec<u128>) -> Result<()> {
        let (index, now) = (self.parts.index.clone(), self.parts.env.clock.now());
        let packs: Vec<PackId> = packs.into_iter().map(PackId).collect();
        let remove = move || match index.day(day)? {
            Some(day) => day.remove_packs(&packs, now).map(drop),
            None => Ok(()),
        };
        Ok(self.parts.env.exec.run(Lane::Disk, remove).await?)
    }
}

/// The packs of a day that this node knows, and a digest of what it has heard of each, as far as `teller` can have told
/// it; zero where all is to be told.
pub(super) fn known_of(
    day: &DayIndex,
    placement: &Placement,
    teller: Option<&NodeId>,
) -> Result<Vec<(u128, u64)>, IndexError> {
    let gone = if teller.is_some() { day.gone()? } else { Vec::new() };
    day.read(|snapshot| {
        let heard = |id: PackId| -> Result<u64, IndexError> {
            let Some(teller) = teller else { return Ok(0) };
            let replaces = replaced_by(&gone, id);
            // Of what else it keeps, the teller cannot say anything.
            let both = |stream| placement.keeps(placement.me(), stream) && placement.keeps(teller, stream);
            Ok(digest_of(&covers_of(snapshot, id, &replaces, both)?, &replaces))
        };
        snapshot.packs()?.into_iter().map(|(id, _)| Ok((id.0, heard(id)?))).collect()
    })
}

/// Tells others which packs this node knows.
pub(super) struct Tells(pub(super) Arc<Replication>);

impl Handler for Tells {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            let PacksOf { day, known, placement: theirs } = decode(&request.body)?;
            let Some(day) = day else {
                let days = self.0.days().await?.into_iter().map(|day| day.0).collect();
                return Ok(reply.send(encode(&PackNews::Days(days))?).await?);
            };
            let known = known.into_iter().map(|(id, heard)| (PackId(id), heard)).collect();
            let placement = self.0.placement();
            let asker = placement.member_at(request.peer).cloned();
            // From now on this node announces packs to the asker as one that keeps what it says it keeps.
            let Some(asker) = asker.filter(|_| placement.hash().0 == theirs) else {
                let text = "gossip has not told both of the same members yet; ask again";
                return Err(Refusal::new(RefusalCode::Unavailable, text));
            };
            let this = self.0.clone();
            let look = move || {
                let keeps = |stream| placement.keeps(&asker, stream);
                this.packs_for(Day(day), &known, keeps, |key| tender(&placement, key) == Some(&asker))
            };
            let news = self.0.parts.env.exec.run(Lane::Disk, look).await;
            let news = news.map_err(|error| Refusal::new(RefusalCode::Failed, error.to_string()))?;
            for announce in news {
                reply.send(encode(&announce)?).await?;
            }
            Ok(())
        })
    }
}
