//! Whether the nodes agree, nothing is missing anywhere, and the store holds each line as often as it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

use anyhow::{Context as _, Result};
use flate2::bufread::MultiGzDecoder;
use grapevine::housekeeping::pack_name::PackName;
use grapevine_gossip::membership::State;
use grapevine_gossip::ring::{Member, Token};
use grapevine_storage::index::PackId;

use crate::client::Clients;
use crate::member::Nodes;
use crate::scenario::Scenario;
use crate::store::FaultyStore;
use crate::timeline::SLICES;

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

/// Which node leads each slice of the ring, as the one sees it that sees most alive: the first owner that lives leads.
pub fn leads(nodes: &Nodes, scenario: &Scenario) -> Option<Vec<Option<usize>>> {
    let views = (0..scenario.nodes.len()).filter_map(|node| Some(nodes.get(node)?.cluster.as_ref()?.view()));
    let view = views.max_by_key(|view| view.peers().values().filter(|peer| peer.live).count())?;
    let place = |owner: &Member| scenario.nodes.iter().position(|node| node.name == owner.id.as_str());
    let size = u64::MAX / SLICES as u64 + 1;
    let leader = |slice: u64| {
        let owners = view.ring().owners(Token(slice * size + size / 2), scenario.replication_factor);
        owners.iter().find(|owner| view.peer(&owner.id).is_some_and(|peer| peer.live)).and_then(place)
    };
    Some((0..SLICES as u64).map(leader).collect())
}

/// What is given up is deleted so much later at the latest.
const DELETED_AFTER: Duration = Duration::from_secs(33 * 60);

/// What lies in a store.
#[derive(Clone, Debug)]
pub struct Weight {
    /// Text in relation to what clients sent of it.
    pub factor: f64,
    /// Packs that hold lines which others hold already, and the nodes that know them.
    pub surplus: Vec<String>,
}

/// Weighs a store: packs are gzip and nothing else. A line that was sent twice may be there twice, until its day is merged.
/// After less than half an hour of quiet, packs that a node knows to be replaced do not count: they are about to
/// be deleted.
///
/// # Errors
/// An object that is no gzip, or an index that cannot be read.
pub fn weigh(store: &FaultyStore, quiet: Duration, nodes: &Nodes, clients: &Clients) -> Result<Weight> {
    let (known, gone) = packs_of(nodes)?;
    let contents = futures_util::future::FutureExt::now_or_never(store.contents());
    let contents = contents.context("memory answers at once")??;
    let (mut all, mut wanted, mut surplus) = (0, 0, Vec::new());
    // The packs that hold each line, by their keys.
    let mut holders: BTreeMap<u128, Vec<&str>> = BTreeMap::new();
    for (key, bytes) in contents.iter().filter(|(key, _)| key.as_ref().ends_with(".gz")) {
        let knowing = known.get(key.as_ref());
        let name = PackName::parse(key.as_ref());
        if quiet < DELETED_AFTER && name.is_some_and(|name| gone.contains(&PackId(name.content_hash))) {
            continue;
        }
        let mut text = Vec::new();
        MultiGzDecoder::new(&bytes[..])
            .read_to_end(&mut text)
            .with_context(|| format!("read pack `{key}`"))?;
        let (mut lines, mut doubled, mut others) = (0, 0, BTreeSet::new());
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            all += line.len();
            lines += 1;
            let holders = holders.entry(xxhash_rust::xxh3::xxh3_128(line)).or_default();
            match holders.len() < clients.times_sent(&String::from_utf8_lossy(line)) {
                true => wanted += line.len(),
                false => {
                    doubled += 1;
                    others.extend(holders.iter().copied());
                }
            }
            holders.push(key.as_ref());
        }
        if doubled > 0 {
            surplus.push(format!(
                "{doubled} of the {lines} lines of `{key}`, which nodes {knowing:?} know, are in {others:?} too"
            ));
        }
    }
    let factor = if wanted == 0 { 1.0 } else { all as f64 / wanted as f64 };
    Ok(Weight { factor, surplus })
}

/// Packs by key, with the nodes that know them.
type Known = BTreeMap<String, Vec<usize>>;

/// All packs that any node's index knows, and those that any knows to be replaced.
fn packs_of(nodes: &Nodes) -> Result<(Known, BTreeSet<PackId>)> {
    let (mut known, mut gone) = (Known::new(), BTreeSet::new());
    for (number, node) in nodes.all() {
        for day in node.index.days()? {
            let Some(day) = node.index.day(day)? else { continue };
            gone.extend(day.gone()?.into_iter().map(|(id, _)| id));
            for (_, record) in day.read(|snapshot| snapshot.packs())? {
                known.entry(record.object_key).or_default().push(number);
            }
        }
    }
    Ok((known, gone))
}
