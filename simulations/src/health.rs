//! Whether the nodes agree, nothing is missing anywhere, and the store holds each line as often as it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

use anyhow::{Context as _, Result};
use flate2::bufread::MultiGzDecoder;
use grapevine_gossip::membership::State;
use grapevine_gossip::ring::Member;

use crate::client::Clients;
use crate::member::Nodes;
use crate::scenario::Scenario;
use crate::store::FaultyStore;

/// What is not well with the nodes that belong; none if all is: they are up, see each other alive and nobody else, miss
/// no replica, and agree on the ring.
pub fn look(nodes: &Nodes, belonging: &[usize]) -> Option<String> {
    let mut rings = Vec::new();
    for number in belonging {
        let Some(node) = nodes.get(*number) else { return Some(format!("node {number} is not up")) };
        let Some(cluster) = &node.cluster else { continue };
        if let Some(waiting) = cluster.waiting() {
            return Some(format!("node {number} has no place in the ring: {waiting}"));
        }
        let view = cluster.view();
        let live =
            view.peers().values().filter(|peer| peer.live && peer.profile.state == State::Active).count();
        let members = view.ring().members().len();
        if (live, members) != (belonging.len(), belonging.len()) {
            let count = belonging.len();
            return Some(format!(
                "node {number} sees {live} of {count} active members, {members} in its ring"
            ));
        }
        let missing = node.metrics.replica_deficit.get();
        if missing != 0 {
            return Some(format!("node {number} knows of {missing} replicas that are missing"));
        }
        rings.push((*number, view.ring().hash()));
    }
    let (first, hash) = *rings.first()?;
    let (other, differs) = *rings.iter().find(|(_, other)| *other != hash)?;
    Some(format!("the rings of nodes {first} and {other} differ: {hash} and {differs}"))
}

/// What part of the ring each node leads, as the first that runs sees it: the first live owner leads a range.
pub fn leads(nodes: &Nodes, scenario: &Scenario) -> Option<Vec<f64>> {
    let clusters = (0..scenario.nodes.len()).filter_map(|node| nodes.get(node)?.cluster.clone());
    let view = clusters.into_iter().next()?.view();
    let mut shares = vec![0.0; scenario.nodes.len()];
    for (range, owners) in view.ring().owned_ranges(scenario.replication_factor) {
        let leader = owners.iter().find(|owner| view.peer(&owner.id).is_some_and(|peer| peer.live));
        let place = |owner: &Member| scenario.nodes.iter().position(|node| node.name == owner.id.as_str());
        if let Some(node) = leader.and_then(place) {
            shares[node] += range.fraction();
        }
    }
    Some(shares)
}

/// What is given up is deleted so much later.
const DELETED_AFTER: Duration = Duration::from_secs(16 * 60);

/// Text in a store in relation to what clients sent of it: packs are gzip and nothing else. A line that was sent twice may
/// be there twice, until its day is merged. After less than a quarter of an hour of quiet, packs that no node knows any more
/// do not count: they are about to be deleted.
///
/// # Errors
/// An object that is no gzip, or an index that cannot be read.
pub fn weigh(store: &FaultyStore, quiet: Duration, nodes: &Nodes, clients: &Clients) -> Result<f64> {
    let known = if quiet < DELETED_AFTER { Some(known_packs(nodes)?) } else { None };
    let contents = futures_util::future::FutureExt::now_or_never(store.contents());
    let contents = contents.context("memory answers at once")??;
    let (mut all, mut wanted) = (0, 0);
    let mut copies: BTreeMap<u128, usize> = BTreeMap::new();
    for (key, bytes) in contents.iter().filter(|(key, _)| key.as_ref().ends_with(".gz")) {
        if known.as_ref().is_some_and(|known| !known.contains(key.as_ref())) {
            continue;
        }
        let mut text = Vec::new();
        MultiGzDecoder::new(&bytes[..])
            .read_to_end(&mut text)
            .with_context(|| format!("read pack `{key}`"))?;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            all += line.len();
            let copies = copies.entry(xxhash_rust::xxh3::xxh3_128(line)).or_default();
            *copies += 1;
            if *copies <= clients.times_sent(&String::from_utf8_lossy(line)) {
                wanted += line.len();
            }
        }
    }
    Ok(if wanted == 0 { 1.0 } else { all as f64 / wanted as f64 })
}

/// The keys of all packs that any node's index knows.
fn known_packs(nodes: &Nodes) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for node in nodes.all() {
        for day in node.index.days()? {
            let Some(day) = node.index.day(day)? else { continue };
            let packs = day.read(|snapshot| snapshot.packs())?;
            keys.extend(packs.into_iter().map(|(_, record)| record.object_key));
        }
    }
    Ok(keys)
}
