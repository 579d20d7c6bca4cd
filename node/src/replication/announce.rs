//! One flush for all owners: the primary tells what it has packed; the others index it and let go of what it covers.
//!
//! A pack is announced when it is in the chunk store, or when it has waited for that for a while: then the others fetch
//! it from the announcer, so that it survives the loss of that node although the store is out. The same goes where each
//! node has a store of its own. Who was not there to hear learns it by comparing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use grapevine_gossip::ring::NodeId;
use grapevine_gossip::rpc::{Handler, Refusal, RefusalCode, Reply, Request, Served};
use grapevine_storage::atom::{NotASet, PushSet};
use grapevine_storage::index::{Cover, Day, IndexError, NewPack, PackId, PackState, Snapshot};
use grapevine_storage::pack::PackSummary;
use grapevine_storage::stream::StreamId;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::custody::tender;
use super::message::Announce;
use super::placement::Placement;
use super::{Replication, lock};
use crate::cluster::message::{decode, encode};
use crate::cluster::methods::ANNOUNCE;
use crate::exec::Lane;
use crate::housekeeping::rebuild::{PackName, TAIL_BYTES, Tails};
use crate::ingester::heads::HeadKey;
use crate::ingester::records::marks;
use crate::planted::{self, Bug};
use crate::workers::worker::Rhythm;

/// How long a pack may wait for the chunk store before the other owners are told to fetch it from here.
const UNSHIPPED_MAX: Duration = Duration::from_secs(20);
/// How often packs that some owner has not heard of are announced again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long hearing of a pack may take, fetching it included.
const CALL_MAX: Duration = Duration::from_secs(120);
/// Packs that wait to be announced; beyond them the oldest are left to comparing.
const PENDING_MAX: usize = 4096;

/// What is to be announced.
#[derive(Debug, Default)]
pub struct Pending {
    packs: Mutex<BTreeMap<(Day, PackId), Waiting>>,
    /// Days of which the others are to be asked what this node missed.
    asked: Mutex<BTreeSet<Day>>,
    wake: Notify,
}

#[derive(Clone, Debug, Default)]
struct Waiting {
    /// When it may be announced although it is not in the store; none once it is there.
    not_before: Option<Instant>,
    heard: BTreeSet<NodeId>,
}

/// A pack as it is to be noted.
struct Noted {
    tenant: String,
    day: Day,
    id: PackId,
    covers: Vec<Cover>,
    replaces: Vec<PackId>,
    /// What the index is to keep of it; none if it knows the pack.
    new: Option<NewPack>,
    placement: Arc<Placement>,
}

impl Pending {
    /// A pack is durable here.
    pub fn on_packed(&self, day: Day, pack: PackId) {
        let waiting = Waiting { not_before: Some(Instant::now() + UNSHIPPED_MAX), ..Waiting::default() };
        let mut packs = lock(&self.packs);
        packs.entry((day, pack)).or_insert(waiting);
        while packs.len() > PENDING_MAX {
            packs.pop_first();
        }
    }

    /// A pack is in the chunk store. Not every pack is to be announced: those that were heard of are not.
    pub fn on_shipped(&self, day: Day, pack: PackId) {
        if let Some(waiting) = lock(&self.packs).get_mut(&(day, pack)) {
            waiting.not_before = None;
            self.wake.notify_one();
        }
    }

    /// This node waits for news of a day's packs, which may have been missed.
    pub fn ask_about(&self, day: Day) {
        lock(&self.asked).insert(day);
    }

    /// The days that others are to be asked about, once.
    pub(super) fn take_asked(&self) -> BTreeSet<Day> {
        std::mem::take(&mut *lock(&self.asked))
    }

    fn due(&self, now: Instant) -> Vec<((Day, PackId), BTreeSet<NodeId>)> {
        let packs = lock(&self.packs);
        let due = packs.iter().filter(|(_, waiting)| waiting.not_before.is_none_or(|at| at <= now));
        due.map(|(key, waiting)| (*key, waiting.heard.clone())).collect()
    }

    /// The days of which a member has not heard of every pack.
    pub fn unheard_by(&self, member: &NodeId) -> BTreeSet<Day> {
        let packs = lock(&self.packs);
        packs
            .iter()
            .filter(|(_, waiting)| !waiting.heard.contains(member))
            .map(|((day, _), _)| *day)
            .collect()
    }

    /// How many packs wait.
    pub fn len(&self) -> usize {
        lock(&self.packs).len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Replication {
    /// Announces packs as they get ready.
    pub(super) async fn announce_all(&self) {
        let worker = &self.parts.staff.announce;
        let wake = async {
            loop {
                self.announcing.wake.notified().await;
                worker.wake();
            }
        };
        tokio::join!(wake, worker.keep(Rhythm::every(AGAIN), || self.announce_due()));
    }

    async fn announce_due(&self) -> Result<()> {
        let due = self.announcing.due(Instant::now());
        let total = due.len() as u64;
        for (done, (pack, heard)) in (0..).zip(due) {
            self.parts.staff.announce.progress(done, total);
            self.announce(pack, heard).await;
        }
        self.parts.staff.announce.progress(total, total);
        Ok(())
    }

    async fn announce(&self, (day, pack): (Day, PackId), heard: BTreeSet<NodeId>) {
        let (announce, streams) = match self.announcement(day, pack).await {
            Ok(Some(found)) => found,
            Ok(None) => return drop(lock(&self.announcing.packs).remove(&(day, pack))),
            Err(error) => {
                return tracing::warn!(%error, %pack, "a pack cannot be announced; trying again");
            }
        };
        let placement = self.placement();
        let owners = concerned(&placement, &announce.object_key, &streams);
        let Ok(body) = encode(&announce) else {
            tracing::error!(%pack, "a pack's announcement is too large; its owners learn of it by comparing");
            return drop(lock(&self.announcing.packs).remove(&(day, pack)));
        };
        let missing = owners.iter().filter(|owner| !heard.contains(owner) && placement.is_live(owner));
        let peers = missing.filter_map(|owner| placement.view().peer(owner));
        let told = peers.map(|peer| async {
            let heard = self.parts.cluster.peers().call(
                peer.address,
                ANNOUNCE,
                body.clone(),
                Instant::now() + CALL_MAX,
            );
            match heard.await {
                Ok(_) => Some(peer.id.clone()),
                Err(error) => {
                    tracing::debug!(peer = %peer.id, %pack, %error, "a member did not take note of a pack");
                    None
                }
            }
        });
        let told: Vec<NodeId> = futures_util::future::join_all(told).await.into_iter().flatten().collect();
        let mut packs = lock(&self.announcing.packs);
        let Some(waiting) = packs.get_mut(&(day, pack)) else { return };
        waiting.heard.extend(told);
        // Who is down is told when it is back, unless it has left for good by then; and who has come to own some of it
        // meanwhile, at the next turn.
        let placement = self.placement();
        if concerned(&placement, &announce.object_key, &streams)
            .iter()
            .all(|owner| waiting.heard.contains(owner))
            && waiting.not_before.is_none()
        {
            packs.remove(&(day, pack));
        }
    }

    /// What to say of a pack, and its streams; none if it is gone.
    async fn announcement(
        &self,
        day: Day,
        pack: PackId,
    ) -> Result<Option<(Announce, Vec<StreamId>)>, IndexError> {
        let index = self.parts.index.clone();
        let read = move || {
            let Some(day) = index.day(day)? else { return Ok(None) };
            let replaces = replaced_by(&day.gone()?, pack);
            day.read(|snapshot| {
                let Some(record) = snapshot.pack(pack)? else { return Ok(None) };
                let covers = covers_of(snapshot, pack, &replaces, |_| true)?;
                let streams = snapshot.contents(pack)?.into_iter().map(|(stream, _)| stream).collect();
                let replaces = replaces.iter().map(|id| id.0).collect();
                Ok(Some((Announce { object_key: record.object_key, covers, replaces }, streams)))
            })
        };
        self.parts.env.exec.run(Lane::Disk, read).await
    }

    /// Takes note of a pack: indexes it, fetches it if it is nowhere else, and lets go of what it covers.
    ///
    /// # Errors
    /// The pack cannot be had or read, or the index fails. Nothing was let go of then.
    pub(super) async fn hear(&self, announce: Announce, from: SocketAddr) -> Result<()> {
        let name = PackName::parse(&announce.object_key).context("it does not bear the name of a pack")?;
        let (tenant, day, id) = (name.tenant.to_owned(), name.day, PackId(name.content_hash));
        let covers = announce
            .covers
            .iter()
            .map(|(stream, set)| Ok(Cover { stream: StreamId(*stream), pushes: PushSet::from_bytes(set)? }));
        let covers = covers.collect::<Result<Vec<Cover>, NotASet>>()?;
        let replaces = announce.replaces.iter().map(|id| PackId(*id)).collect();
        let new = match self.knows(day, id).await? {
            true => None,
            false => Some(self.new_pack(&announce.object_key, from).await?),
        };
        let placement = self.placement();
        self.take_note(Noted { tenant, day, id, covers, replaces, new, placement }).await?;
        // What was fetched goes on to this node's own store.
        self.parts.ingester.wake_shipper();
        Ok(())
    }

    /// Whether the index knows a pack, or knows that it is gone.
    async fn knows(&self, day: Day, pack: PackId) -> Result<bool, IndexError> {
        let index = self.parts.index.clone();
        let look = move || match index.day(day)? {
            Some(day) => {
                let is_gone = || Ok::<_, IndexError>(day.gone()?.iter().any(|(gone, _)| *gone == pack));
                Ok(day.read(|snapshot| snapshot.pack(pack))?.is_some() || is_gone()?)
            }
            None => Ok(false),
        };
        self.parts.env.exec.run(Lane::Disk, look).await
    }

    /// Indexes a pack and lets go of what it covers, so that neither is ever without the other.
    async fn take_note(&self, noted: Noted) -> Result<()> {
        let ingester = self.parts.ingester.clone();
        let (index, now) = (self.parts.index.clone(), self.parts.env.clock.now());
        let work = move || {
            let Noted { tenant, day, id, mut covers, replaces, new, placement } = noted;
            covers.retain(|cover| placement.keeps(placement.me(), cover.stream));
            let mut leaving = Vec::new();
            let mut coverage = Vec::new();
            for cover in &covers {
                let key = HeadKey { tenant: tenant.as_str().into(), day, id: cover.stream };
                let Some(head) = ingester.heads().get(&key) else { continue };
                if let Some(covered) = head.begin_leaving(&cover.pushes) {
                    coverage.push((cover.stream, covered));
                    leaving.push(head);
                }
            }
            let marks = marks(&coverage);
            let noted = index.day_or_create(day).and_then(|open| match new {
                Some(_) if planted::is(Bug::LetsGoUnindexed) => open.raise_marks(&tenant, &marks),
                Some(mut pack) => {
                    pack.marks = marks;
                    pack.covers = (now, covers.clone());
                    pack.keep_within(placement.kept().arcs());
                    open.replace_packs(&replaces, &pack, now)
                }
                None => {
                    open.raise_marks(&tenant, &marks)?;
                    open.set_gone(&replaces, Some(id), now)?;
                    open.add_covers(&tenant, id, now, &covers)
                }
            });
            if noted.is_ok() {
                // Before heads let go: who asks meanwhile must find a push in one of the two.
                for Cover { stream, pushes } in &covers {
                    let key = HeadKey { tenant: tenant.as_str().into(), day, id: *stream };
                    ingester.covered().add(&key, pushes, now);
                }
            }
            leaving.iter().for_each(|head| head.end_leaving(noted.is_ok()));
            noted?;
            ingester.heads().retire_empty();
            Ok(())
        };
        self.parts.env.exec.run(Lane::Disk, work).await
    }

    /// What the index is to keep of a pack that it does not know: read from the store, or fetched from who has it.
    async fn new_pack(&self, object_key: &str, from: SocketAddr) -> Result<NewPack> {
        let name = PackName::parse(object_key).context("it does not bear the name of a pack")?;
        let (bytes, state) = match self.parts.store.head(object_key).await {
            Ok(object) => (Some(object.bytes), PackState::Shipped),
            Err(_) => {
                self.fetch_pack(object_key, from).await?;
                (None, PackState::Spooled)
            }
        };
        let summary = self.summary(object_key, bytes).await?;
        Ok(NewPack::of_summary(name.tenant, object_key, state, &summary, Vec::new()))
    }

    /// What a pack says of itself, read within the rate that learning is held to; `bytes` as for [`Tails::summary`].
    pub(super) async fn summary(&self, object_key: &str, bytes: Option<u64>) -> Result<PackSummary> {
        let super::Parts { env, spool, store, .. } = &self.parts;
        let tails = Tails { exec: env.exec.clone(), spool: spool.clone(), store: store.clone() };
        let summary = tails.summary(object_key, bytes).await??;
        // A tail is at least read as far as most directories reach.
        self.parts.staff.learn.spend(u64::from(summary.footer.directory_bytes).max(TAIL_BYTES)).await;
        Ok(summary)
    }
}

/// Who is to hear of a pack with these streams.
fn concerned<'a>(placement: &'a Placement, object_key: &str, streams: &[StreamId]) -> BTreeSet<&'a NodeId> {
    let of = |stream: &StreamId| placement.keepers(*stream).chain(placement.holders(*stream));
    let owners = streams.iter().flat_map(of).chain(tender(placement, object_key));
    owners.filter(|id| *id != placement.me()).collect()
}

/// The packs that a pack took the place of, those that were replaced by these among them.
pub(super) fn replaced_by(gone: &[(PackId, Option<PackId>)], pack: PackId) -> Vec<PackId> {
    let mut found = vec![pack];
    let mut at = 0;
    while let Some(by) = found.get(at).copied() {
        at += 1;
        let fresh = gone.iter().filter(|(id, taken_by)| *taken_by == Some(by) && !found.contains(id));
        let fresh: Vec<PackId> = fresh.map(|(id, _)| *id).collect();
        found.extend(fresh);
    }
    found.split_off(1)
}

/// What a pack covers, and with it those that it took the place of, of the streams that are wanted.
pub(super) fn covers_of(
    snapshot: &Snapshot<'_>,
    pack: PackId,
    replaces: &[PackId],
    wanted: impl Fn(StreamId) -> bool,
) -> Result<Vec<(u128, Vec<u8>)>, IndexError> {
    let mut sets: BTreeMap<StreamId, PushSet> = BTreeMap::new();
    for id in [pack].iter().chain(replaces) {
        for known in snapshot.covers(Some(*id))?.into_iter().filter(|known| wanted(known.cover.stream)) {
            sets.entry(known.cover.stream).or_default().merge(&known.cover.pushes);
        }
    }
    Ok(sets.into_iter().map(|(stream, pushes)| (stream.0, pushes.to_bytes())).collect())
}

/// Hears of packs.
pub(super) struct Hears(pub(super) Arc<Replication>);

impl Handler for Hears {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            let announce: Announce = decode(&request.body)?;
            let key = announce.object_key.clone();
            if let Err(error) = self.0.hear(announce, request.peer).await {
                let error = format!("{error:#}");
                tracing::info!(key, error, "a member's pack cannot be taken note of now");
                return Err(Refusal::new(RefusalCode::Failed, error));
            }
            Ok(reply.send(Bytes::new()).await?)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use grapevine_gossip::membership::{Peer, Profile, State, View};
    use grapevine_gossip::ring::Token;
    use grapevine_storage::index::PackId;
    use grapevine_storage::stream::StreamId;

    use super::{Placement, concerned, replaced_by};

    #[test]
    fn who_looks_after_a_pack_hears_of_it_although_it_keeps_none_of_its_streams() {
        let peer = |(name, token): (&str, u64)| Peer {
            id: name.parse().unwrap(),
            incarnation: 1,
            address: ([127, 0, 0, 1], 1).into(),
            profile: Profile { state: State::Active, tokens: vec![Token(token)], ..Profile::default() },
            live: true,
        };
        // Between what the name tells of the first stream's token and that token begins what another owns.
        let view = View::new([("a", u64::MAX), ("b", 0x0001_4000 << 32), ("c", 0x0001_ffff << 32)].map(peer));
        let placement = Placement::new("a".parse().unwrap(), 1, Arc::new(view));
        let stream = StreamId(0x0001_8000 << 96);
        let told = |key| {
            let told = concerned(&placement, key, &[stream]).into_iter();
            told.map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told("t/2026-11-26/0001-0001/77.gz"), ["b", "c"]);
    }

    #[test]
    fn a_pack_takes_the_place_of_all_that_went_into_those_it_was_made_of() {
        let gone = [(1, Some(3)), (2, Some(3)), (3, Some(5)), (4, Some(5)), (6, None), (7, Some(8))];
        let gone = gone.map(|(id, by)| (PackId(id), by.map(PackId)));
        assert_eq!(replaced_by(&gone, PackId(5)), [3, 4, 1, 2].map(PackId));
        assert_eq!(replaced_by(&gone, PackId(6)), []);
    }
}
