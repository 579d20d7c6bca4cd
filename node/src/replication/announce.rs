//! One flush for all owners: the primary tells what it has packed; the others index it and let go of what it covers.
//!
//! A pack is announced when it is in the chunk store, or when it has waited for that for a while: then the others fetch
//! it from the announcer, so that it survives the loss of that node although the store is out. The same goes where each
//! node has a store of its own. Who was not there to hear learns it by comparing.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use futures_util::future::join_all;
use grapevine_gossip::membership::Peer;
use grapevine_gossip::ring::NodeId;
use grapevine_storage::atom::{NotASet, PushSet};
use grapevine_storage::index::{Day, IndexError, PackId, PackState, Snapshot};
use grapevine_storage::stream::StreamId;
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3Default;

use super::Replication;
use super::custody::tender;
use super::message::Announce;
use super::placement::Placement;
use crate::cluster::message::encode;
use crate::cluster::methods::ANNOUNCE;
use crate::exec::Lane;
use crate::housekeeping::pack_name::PackName;
use crate::housekeeping::restored::replaced_by;
use crate::workers::worker::Rhythm;

/// How often packs that some owner has not heard of are announced again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long hearing of a pack may take, fetching it included.
const CALL_MAX: Duration = Duration::from_secs(120);

impl Replication {
    /// Announces packs as they get ready.
    pub(super) async fn announce_all(&self) {
        let worker = &self.parts.staff.announce;
        let wake = async {
            loop {
                self.announcing.woken().await;
                worker.wake();
            }
        };
        tokio::join!(wake, worker.keep(Rhythm::every(AGAIN), || self.announce_due()));
    }

    /// Announces what is due. Who does not take note of a pack shows as the worker's error, and is told again.
    async fn announce_due(&self) -> Result<()> {
        let due = self.announcing.due(Instant::now());
        let (total, mut outcome) = (due.len() as u64, Ok(()));
        for (done, (pack, heard)) in (0..).zip(due) {
            self.parts.staff.announce.progress(done, total);
            outcome = outcome.and(self.announce(pack, heard).await);
        }
        self.parts.staff.announce.progress(total, total);
        outcome
    }

    async fn announce(&self, (day, pack): (Day, PackId), heard: BTreeSet<NodeId>) -> Result<()> {
        let found = self.announcement(day, pack).await;
        let Some(Told { announce, keys, streams, is_shipped }) =
            found.map_err(|error| anyhow!("announce the pack {pack}: {error}"))?
        else {
            self.announcing.forget(day, pack);
            return Ok(());
        };
        let placement = self.placement();
        let owners = concerned(&placement, &keys, &streams);
        let Ok(body) = encode(&announce) else {
            tracing::error!(%pack, "a pack's announcement is too large; its owners learn of it by comparing");
            self.announcing.forget(day, pack);
            return Ok(());
        };
        let missing = owners.iter().filter(|owner| !heard.contains(owner) && placement.is_live(owner));
        let peers = missing.filter_map(|owner| placement.view().peer(owner));
        let (mut told, mut outcome) = (BTreeSet::new(), Ok(()));
        for (peer, heard) in join_all(peers.map(|peer| self.announce_to(peer, body.clone()))).await {
            match heard {
                Ok(()) => drop(told.insert(peer.clone())),
                Err(error) => {
                    outcome = Err(error.context(format!("have `{peer}` take note of the pack {pack}")))
                }
            }
        }
        // Who is down is told when it is back, unless it has left for good by then; and who has come to own some of it
        // meanwhile, at the next turn.
        let placement = self.placement();
        let owners = concerned(&placement, &keys, &streams);
        self.announcing.on_heard((day, pack), is_shipped, told, |heard| {
            owners.iter().all(|owner| heard.contains(owner))
        });
        outcome
    }

    async fn announce_to<'a>(&self, peer: &'a Peer, body: Bytes) -> (&'a NodeId, Result<()>) {
        let deadline = Instant::now() + CALL_MAX;
        let heard = self.parts.cluster.peers().call(peer.address, ANNOUNCE, body, deadline).await;
        if heard.is_err() {
            self.parts.metrics.announce_failures.inc();
        }
        (&peer.id, heard.map(drop).map_err(anyhow::Error::from))
    }

    /// What to say of a pack, and whom it concerns; none if it is gone.
    async fn announcement(&self, day: Day, pack: PackId) -> Result<Option<Told>, IndexError> {
        let index = self.parts.index.clone();
        let read = move || {
            let Some(day) = index.day(day)? else { return Ok(None) };
            let replaces = replaced_by(&day.gone()?, pack);
            let keys = day.given_up()?.into_iter().map(|(key, _)| key);
            let is_replaced = |name: PackName<'_>| replaces.contains(&PackId(name.content_hash));
            let keys = keys.filter(|key| PackName::parse(key).is_some_and(is_replaced)).collect::<Vec<_>>();
            day.read(|snapshot| {
                let Some(record) = snapshot.pack(pack)? else { return Ok(None) };
                let keys = keys.into_iter().chain([record.object_key.clone()]).collect();
                let covers = covers_of(snapshot, pack, &replaces, |_| true)?;
                let streams = snapshot.contents(pack)?.into_iter().map(|(stream, _)| stream).collect();
                let replaces = replaces.iter().map(|id| id.0).collect();
                let is_shipped = record.state == PackState::Shipped;
                let announce = Announce { object_key: record.object_key, covers, replaces };
                Ok(Some(Told { announce, keys, streams, is_shipped }))
            })
        };
        self.parts.env.exec.run(Lane::Disk, read).await
    }
}

/// What is told of a pack.
struct Told {
    announce: Announce,
    /// Its key, and those of packs whose place it took.
    keys: Vec<String>,
    streams: Vec<StreamId>,
    is_shipped: bool,
}

/// Who is to hear of a pack with these streams: who keeps any, and who looks after it or what it took the place of, which
/// is theirs to delete.
fn concerned<'a>(placement: &'a Placement, keys: &[String], streams: &[StreamId]) -> BTreeSet<&'a NodeId> {
    let of = |stream: &StreamId| placement.keepers(*stream).chain(placement.holders(*stream));
    let tenders = keys.iter().filter_map(|key| tender(placement, key));
    let owners = streams.iter().flat_map(of).chain(tenders);
    owners.filter(|id| *id != placement.me()).collect()
}

/// What a pack covers, and with it those that it took the place of, of the streams that are wanted.
pub(super) fn covers_of(
    snapshot: &Snapshot<'_>,
    pack: PackId,
    replaces: &[PackId],
    wanted: impl Fn(StreamId) -> bool,
) -> Result<Vec<(u128, Vec<u8>)>, IndexError> {
    // Few streams are in several of the packs: the sets of the others go on as they are.
    let mut sets: BTreeMap<StreamId, Vec<u8>> = BTreeMap::new();
    let mut damaged = false;
    for id in [pack].iter().chain(replaces) {
        snapshot.covers_of(*id, |stream, set| match sets.entry(stream) {
            Entry::Vacant(first) if wanted(stream) => drop(first.insert(set.to_vec())),
            Entry::Vacant(_) => {}
            Entry::Occupied(known) if known.get() == set => {}
            Entry::Occupied(mut known) => match both(known.get(), set) {
                Ok(both) => drop(known.insert(both)),
                Err(NotASet) => damaged = true,
            },
        })?;
    }
    match damaged {
        true => Err(IndexError::Corrupt { what: "cover", reason: NotASet.to_string() }),
        false => Ok(sets.into_iter().map(|(stream, set)| (stream.0, set)).collect()),
    }
}

/// A digest of what can be said of a pack: who has the same has heard all of it. Never zero.
pub(super) fn digest_of(covers: &[(u128, Vec<u8>)], replaces: &[PackId]) -> u64 {
    let mut hasher = Xxh3Default::new();
    for (stream, set) in covers {
        hasher.update(&stream.to_le_bytes());
        hasher.update(&(set.len() as u64).to_le_bytes());
        hasher.update(set);
    }
    let replaces: BTreeSet<u128> = replaces.iter().map(|id| id.0).collect();
    replaces.iter().for_each(|id| hasher.update(&id.to_le_bytes()));
    hasher.digest().max(1)
}

fn both(one: &[u8], other: &[u8]) -> Result<Vec<u8>, NotASet> {
    let mut set = PushSet::from_bytes(one)?;
    set.merge(&PushSet::from_bytes(other)?);
    Ok(set.to_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use grapevine_gossip::membership::{Peer, Profile, State, View};
    use grapevine_gossip::ring::Token;
    use grapevine_storage::stream::StreamId;

    use super::{Placement, concerned};

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
        let told = |key: &str| {
            let told = concerned(&placement, &[key.to_owned()], &[stream]).into_iter();
            told.map(|id| id.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(told(&format!("t/2026-11-26/0001-0001/{:032x}.gz", 77)), ["b", "c"]);
    }
}
