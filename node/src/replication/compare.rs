//! Owners compare what they hold, and send each other what is missing.
//!
//! In the usual course nothing is asked: the node a push entered through hears from each owner that it holds its part,
//! and tells the others some times a second. What is left after two rounds (an owner was down, a message was lost, a node
//! came back) is asked for by name, and what turns out to be missing is sent as the log has it. A holder that does not
//! own a stream does the same with all its owners, and lets go of what all of them hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use grapevine_gossip::membership::Peer;
use grapevine_gossip::ring::{NodeId, RingHash};
use grapevine_gossip::rpc::{Handler, Refusal, Reply, Request, Served};
use grapevine_storage::atom::{PushId, PushSet};
use grapevine_storage::head::Head;
use grapevine_storage::index::Day;
use grapevine_storage::stream::StreamId;
use grapevine_storage::wal;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::confirmed::run_of;
use super::message::{AtomsOf, Compare, Compared, Fate, Replicate};
use super::placement::Placement;
use super::{Replication, lock};
use crate::cluster::message::{decode, encode};
use crate::cluster::methods::{COMPARE, REPLICATE};
use crate::exec::Lane;
use crate::ingester::heads::HeadKey;
use crate::ingester::log::Kept;
use crate::ingester::records::marks;
use crate::planted::{self, Bug};
use crate::push::stream_cache::StreamCache;
use crate::workers::worker::Rhythm;

/// How often others are told which pushes members hold.
const NEWS: Duration = Duration::from_millis(200);
/// How often owners compare.
const ROUND: Duration = Duration::from_secs(2);
/// How long a question may take.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Places asked about at once.
const PLACES_MAX: usize = 20_000;
/// Places asked about in one round with one member: bounds memory where a member was away for long.
const PLACES_IN_ROUND_MAX: usize = 200_000;
/// Bytes of pushes sent to one member in one round; the rest follows in the next.
const REPAIR_BYTES_MAX: usize = 64 << 20;

/// An atom that a member may lack.
type Atom = (PushId, HeadKey);

/// What was in doubt a round ago, by member. Only that is asked for: news of the rest is on its way.
type InDoubt = BTreeMap<NodeId, BTreeSet<PushId>>;

/// Where what this node lets go of is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// In packs, which a member knows.
    InPacks,
    /// In the heads of all its owners. Should this node come to own the stream before it is packed, it has to take it
    /// again.
    InHeads,
}

/// What a round found for one member.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// By push, the places not known to be held.
    atoms: BTreeMap<PushId, BTreeSet<HeadKey>>,
}

impl Doubts {
    /// The pushes.
    pub(super) fn pushes(&self) -> impl Iterator<Item = PushId> {
        self.atoms.keys().copied()
    }

    /// Leaves out all but these.
    pub(super) fn keep(&mut self, wanted: &BTreeSet<PushId>) {
        self.atoms.retain(|push, _| wanted.contains(push));
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.atoms.is_empty()
    }
}

impl Replication {
    /// Tells the others, some times a second, which members hold what entered here.
    pub(super) async fn tell_news(&self) {
        let mut ticks = interval(NEWS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let news = std::mem::take(&mut *lock(&self.news));
            if news.held.is_empty() {
                continue;
            }
            let held = news.held.iter().map(|(member, pushes)| (member.to_string(), pushes.runs().collect()));
            let message = Compare { held: held.collect(), ring: news.ring, atoms: Vec::new() };
            // What is not told is asked for in time.
            let Ok(body) = encode(&message) else { continue };
            let placement = self.placement();
            let told = placement.live_peers().map(|peer| self.tell(peer, body.clone()));
            futures_util::future::join_all(told).await;
        }
    }

    async fn tell(&self, peer: &Peer, body: Bytes) {
        let told =
            self.parts.cluster.peers().call(peer.address, COMPARE, body, Instant::now() + NEWS * 5).await;
        if let Err(error) = told {
            tracing::debug!(peer = %peer.id, %error, "a member could not be told what others hold");
        }
    }

    /// Compares with every member, round by round.
    pub(super) async fn compare_all(&self) {
        let before = Mutex::default();
        self.parts.staff.repair.keep(Rhythm::every(ROUND), || self.compare_once(&before)).await;
    }

    async fn compare_once(&self, before: &Mutex<InDoubt>) -> anyhow::Result<()> {
        let placement = self.placement();
        let mut doubts = self.doubts(&placement).await;
        let now: InDoubt =
            doubts.iter().map(|(member, doubts)| (member.clone(), doubts.pushes().collect())).collect();
        let before = std::mem::replace(&mut *lock(before), now);
        for (member, doubts) in &mut doubts {
            doubts.keep(before.get(member).unwrap_or(&BTreeSet::new()));
        }
        let deficit: usize = doubts.values().map(|doubts| doubts.atoms.len()).sum();
        self.parts.metrics.replica_deficit.set(deficit as i64);
        let (mut outcome, mut done) = (Ok(()), 0);
        for peer in placement.live_peers() {
            if let Some(doubts) = doubts.remove(&peer.id) {
                self.parts.staff.repair.progress(done as u64, deficit as u64);
                done += doubts.atoms.len();
                let settled = self.settle(placement.ring().hash(), peer, doubts).await;
                outcome = outcome.and(settled.with_context(|| format!("compare with `{}`", peer.id)));
            }
        }
        self.parts.staff.repair.progress(done as u64, deficit as u64);
        self.let_go_of_strangers(&placement).await;
        outcome
    }

    /// What each owner may lack of what this node holds.
    pub(super) async fn doubts(&self, placement: &Arc<Placement>) -> BTreeMap<NodeId, Doubts> {
        let heads = self.parts.ingester.heads().all();
        let mut doubts: BTreeMap<NodeId, Doubts> = BTreeMap::new();
        let confirmed = lock(&self.confirmed);
        for (key, head) in heads {
            let owners: Vec<&NodeId> =
                placement.owners(key.id).filter(|id| **id != *placement.me()).collect();
            if owners.is_empty() {
                continue;
            }
            for push in head.pushes() {
                for owner in owners.iter().filter(|owner| !confirmed.has(owner, push)) {
                    let doubts = doubts.entry((*owner).clone()).or_default();
                    if doubts.atoms.len() < PLACES_IN_ROUND_MAX || doubts.atoms.contains_key(&push) {
                        doubts.atoms.entry(push).or_default().insert(key.clone());
                    }
                }
            }
        }
        doubts
    }

    /// Asks a member what it lacks of these, and sends it that.
    pub(super) async fn settle(&self, ring: RingHash, peer: &Peer, doubts: Doubts) -> anyhow::Result<()> {
        let atoms: Vec<Atom> = doubts
            .atoms
            .into_iter()
            .flat_map(|(push, keys)| keys.into_iter().map(move |key| (push, key)))
            .collect();
        let mut missing: BTreeMap<PushId, BTreeSet<HeadKey>> = BTreeMap::new();
        let mut packed: BTreeMap<HeadKey, PushSet> = BTreeMap::new();
        for page in atoms.chunks(PLACES_MAX) {
            let fates = self.ask(peer, page).await.map_err(anyhow::Error::msg)?;
            for ((push, key), fate) in page.iter().zip(fates) {
                match fate {
                    Fate::Held => {}
                    Fate::Missing if planted::is(Bug::ForgetsRepairs) => {}
                    Fate::Packed => packed.entry(key.clone()).or_default().insert(*push),
                    Fate::Missing => drop(missing.entry(*push).or_default().insert(key.clone())),
                }
            }
        }
        let settled = atoms.iter().map(|(push, _)| *push).filter(|push| !missing.contains_key(push));
        lock(&self.confirmed).add(ring, &peer.id, settled.map(run_of));
        self.on_packed_elsewhere(peer, packed).await;
        match missing.is_empty() {
            true => Ok(()),
            false => self.send_missing(ring, peer, missing).await,
        }
    }

    /// A member says that packs hold these. A stranger to the streams may let go of them; an owner first needs to know
    /// the packs, of which it seems not to have heard.
    async fn on_packed_elsewhere(&self, peer: &Peer, packed: BTreeMap<HeadKey, PushSet>) {
        let placement = self.placement();
        let (own, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            packed.into_iter().partition(|(key, _)| placement.keeps(placement.me(), key.id));
        self.let_go(others, Elsewhere::InPacks).await;
        let days: BTreeSet<Day> = own.keys().map(|key| key.day).collect();
        for day in days {
            if let Err(error) = self.learn_packs(peer, day).await {
                let error = format!("{error:#}");
                tracing::info!(peer = %peer.id, %day, error, "a member's packs could not be learnt; trying again");
            }
        }
    }

    async fn ask(&self, peer: &Peer, atoms: &[Atom]) -> Result<Vec<Fate>, String> {
        let mut question: Vec<AtomsOf> = Vec::new();
        for (push, key) in atoms {
            let place = (key.day.0, key.id.0);
            match question.last_mut() {
                Some(last) if last.push == *push && last.tenant == *key.tenant => last.places.push(place),
                _ => question.push(AtomsOf {
                    push: *push,
                    tenant: key.tenant.to_string(),
                    places: vec![place],
                }),
            }
        }
        let message = Compare { held: Vec::new(), ring: 0, atoms: question };
        let body = encode(&message).map_err(|error| error.to_string())?;
        let deadline = Instant::now() + CALL_MAX;
        let answer = self.parts.cluster.peers().call(peer.address, COMPARE, body, deadline).await;
        let Compared { fates } =
            decode(&answer.map_err(|error| error.to_string())?).map_err(|e| e.to_string())?;
        match fates.len() == atoms.len() {
            true => Ok(fates),
            false => Err(format!("it answered `{}` of `{}` questions", fates.len(), atoms.len())),
        }
    }

    /// Sends a member what it lacks, as this node's log has it.
    async fn send_missing(
        &self,
        ring: RingHash,
        peer: &Peer,
        missing: BTreeMap<PushId, BTreeSet<HeadKey>>,
    ) -> anyhow::Result<()> {
        let (dir, cache) = (self.parts.ingester.wal_dir(), self.cache.clone());
        let count = missing.len();
        let found = self.parts.env.exec.run(Lane::Disk, move || of_log(&dir, &missing, &cache)).await;
        let found = found.inspect_err(|error| {
            tracing::warn!(%error, "the log cannot be read to bring other owners what they lack");
        })?;
        let (mut sent, mut bytes, mut outcome) = (0, 0, Ok(()));
        for (_, body) in &found.pushes {
            let size = body.len() as u64;
            let deadline = Instant::now() + CALL_MAX;
            match self.parts.cluster.peers().call(peer.address, REPLICATE, body.clone(), deadline).await {
                Ok(_) => {
                    self.parts.metrics.repaired_bytes.inc_by(size);
                    (sent, bytes) = (sent + 1, bytes + size);
                    self.parts.staff.repair.spend(size).await;
                }
                Err(error) => {
                    outcome = Err(error).context("bring it what it lacks");
                    break;
                }
            }
        }
        lock(&self.confirmed).add(ring, &peer.id, found.whole_after(sent).map(run_of));
        self.parts.metrics.repaired_pushes.inc_by(sent as u64);
        tracing::info!(peer = %peer.id, pushes = count, sent, bytes, "an owner lacked pushes, and was sent them");
        outcome
    }

    /// Lets go of what this node holds of streams that are others', once all their owners hold it.
    async fn let_go_of_strangers(&self, placement: &Arc<Placement>) {
        let mut gone: BTreeMap<HeadKey, PushSet> = BTreeMap::new();
        for (key, head) in self.parts.ingester.heads().all() {
            let owners: Vec<&NodeId> = placement.owners(key.id).collect();
            if owners.is_empty() || placement.keeps(placement.me(), key.id) {
                continue;
            }
            let confirmed = lock(&self.confirmed);
            let all_have = |push: &PushId| owners.iter().all(|owner| confirmed.has(owner, *push));
            let pushes: PushSet = head.pushes().into_iter().filter(all_have).collect();
            if !pushes.is_empty() {
                gone.insert(key, pushes);
            }
        }
        self.let_go(gone, Elsewhere::InHeads).await;
    }

    /// Lets go of what is safe elsewhere, and marks the log so that it does not come back at the next start.
    pub(super) async fn let_go(&self, safe: BTreeMap<HeadKey, PushSet>, elsewhere: Elsewhere) {
        if safe.is_empty() {
            return;
        }
        // Should it be asked for these after all, it has to fetch them.
        lock(&self.caught_up).forget();
        let (ingester, index, clock) =
            (self.parts.ingester.clone(), self.parts.index.clone(), self.parts.env.clock.clone());
        let work = move || {
            for (key, pushes) in safe {
                if elsewhere == Elsewhere::InPacks {
                    ingester.on_covered(&key, &pushes, clock.now());
                }
                let Some(head) = ingester.heads().get(&key) else { continue };
                let Some(coverage) = head.begin_leaving(&pushes) else { continue };
                let raised = index
                    .day_or_create(key.day)
                    .and_then(|day| day.raise_marks(&key.tenant, &marks(&[(key.id, coverage)])));
                head.end_leaving(raised.is_ok());
                raised?;
            }
            Ok::<_, grapevine_storage::index::IndexError>(())
        };
        let outcome = self.parts.env.exec.run(Lane::Disk, work).await;
        // What was fetched for a query meanwhile may have gone with it.
        lock(&self.caught_up).forget();
        if let Err(error) = outcome {
            tracing::warn!(%error, "what is safe elsewhere cannot be let go of; it is kept");
        }
    }
}

/// What of the log is wanted.
#[derive(Debug, Default)]
pub(super) struct OfLog {
    /// Pushes as messages; one that came in parts comes in parts.
    pub pushes: Vec<(PushId, Bytes)>,
    /// Whether there is more.
    pub is_cut: bool,
}

impl OfLog {
    /// The pushes of which all parts are among the first messages. Where there is more, that is not known of any.
    fn whole_after(&self, messages: usize) -> impl Iterator<Item = PushId> {
        let (sent, rest) = self.pushes.split_at(messages);
        let rest: BTreeSet<PushId> = rest.iter().map(|(push, _)| *push).collect();
        let sent = sent.iter().map(|(push, _)| *push);
        sent.filter(move |push| !self.is_cut && !rest.contains(push))
    }
}

/// The pushes of the log that are wanted, cut to the places wanted, as messages; so many as one round may send.
pub(super) fn of_log(
    dir: &Path,
    wanted: &BTreeMap<PushId, BTreeSet<HeadKey>>,
    cache: &StreamCache,
) -> Result<OfLog, wal::WalError> {
    let mut found = OfLog::default();
    let mut bytes = 0;
    wal::scan(dir, |record| {
        let Ok(kept) = Kept::decode(&record) else { return true };
        let Some(places) = wanted.get(&kept.push) else { return true };
        let streams: BTreeSet<StreamId> =
            places.iter().filter(|key| *key.tenant == *kept.tenant).map(|key| key.id).collect();
        match cut(&kept, &streams, cache) {
            Ok(Some(body)) => {
                bytes += body.len();
                found.pushes.push((kept.push, body));
            }
            Ok(None) => {}
            Err(reason) => {
                tracing::warn!(push = ?kept.push, reason, "a push of the log cannot be sent to its owner")
            }
        }
        found.is_cut = bytes >= REPAIR_BYTES_MAX;
        !found.is_cut
    })?;
    Ok(found)
}

fn cut(kept: &Kept<'_>, streams: &BTreeSet<StreamId>, cache: &StreamCache) -> Result<Option<Bytes>, String> {
    let batch = kept.batch(cache)?;
    let has = batch.streams().iter().filter(|stream| streams.contains(&stream.id())).count();
    let message = Replicate { push: kept.push, tenant: kept.tenant.to_owned(), whole_by: None };
    let encoded = match has {
        0 => return Ok(None),
        _ if has == batch.streams().len() => message.encode(&[kept.payload]),
        _ => message.encode(&batch.encode_streams(|id| streams.contains(&id)).parts()),
    };
    encoded.map(Some).map_err(|error| error.to_string())
}

/// Answers what this node holds, and hears what others do.
pub(super) struct Compares(pub(super) Arc<Replication>);

impl Handler for Compares {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            let answer = self.0.compared(&request.body).await?;
            Ok(reply.send(answer).await?)
        })
    }
}

impl Replication {
    async fn compared(&self, body: &[u8]) -> Result<Bytes, Refusal> {
        let Compare { held, ring, atoms } = decode(body)?;
        {
            self.placement();
            let mut confirmed = lock(&self.confirmed);
            for (member, runs) in held {
                if let Ok(member) = member.parse() {
                    confirmed.add(RingHash(ring), &member, runs);
                }
            }
        }
        let ingester = self.parts.ingester.clone();
        let look = move || {
            let mut known: BTreeMap<HeadKey, BTreeSet<PushId>> = BTreeMap::new();
            let mut fates = Vec::new();
            for AtomsOf { push, tenant, places } in atoms {
                let tenant: Arc<str> = tenant.into();
                for (day, stream) in places {
                    let key = HeadKey { tenant: tenant.clone(), day: Day(day), id: StreamId(stream) };
                    fates.push(fate(&ingester, key, push, &mut known));
                }
            }
            Compared { fates }
        };
        let compared = self.parts.env.exec.run(Lane::Disk, look).await;
        Ok(encode(&compared)?)
    }
}

/// What became of an atom here; `known` keeps what was looked up before.
pub(super) fn fate(
    ingester: &crate::ingester::Ingester,
    key: HeadKey,
    push: PushId,
    known: &mut BTreeMap<HeadKey, BTreeSet<PushId>>,
) -> Fate {
    let pushes = known.entry(key.clone()).or_insert_with_key(|key| {
        let pushes = |head: Arc<Head>| head.pushes().into_iter().collect();
        ingester.heads().get(key).map(pushes).unwrap_or_default()
    });
    // The head first: what leaves it for a pack meanwhile is noted as covered before it leaves.
    if pushes.contains(&push) {
        Fate::Held
    } else if ingester.covered().contains(&key, push) {
        Fate::Packed
    } else {
        Fate::Missing
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use grapevine_storage::atom::PushId;

    use super::OfLog;

    #[test]
    fn a_push_is_held_once_all_its_parts_were_sent() {
        let push = |sequence| PushId { origin: 1, sequence };
        let pushes = [1, 2, 1, 3].map(|n| (push(n), Bytes::new())).to_vec();
        let check = |is_cut, messages, whole: &[u64]| {
            let found = OfLog { pushes: pushes.clone(), is_cut };
            let found: Vec<u64> = found.whole_after(messages).map(|push| push.sequence).collect();
            assert_eq!(found, whole, "{messages}");
        };
        check(false, 0, &[]);
        check(false, 1, &[]);
        check(false, 2, &[2]);
        check(false, 3, &[1, 2, 1]);
        check(false, 4, &[1, 2, 1, 3]);
        check(true, 4, &[]);
    }
}
