//! The ring as people and programs are shown it: members, what they own and hold, who disagrees.

use grapevine_gossip::membership::View;
use grapevine_gossip::ring::{Loads, NodeId, RingHash};
use serde::{Deserialize, Serialize};

use super::Cluster;
use super::status::{Load, Statuses};

/// The cluster as one node sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The cluster's name.
    pub cluster: String,
    /// The node that was asked.
    pub node: String,
    /// Owners of each range.
    pub replication_factor: usize,
    /// Owners that must have a push before it is answered.
    pub write_acks: usize,
    /// The digest of the ring that this node sees: equal on all nodes that agree.
    pub ring_hash: String,
    /// The members by name.
    pub members: Vec<MemberReport>,
    /// Members that see another ring, which lasts for moments after somebody came or went.
    pub disagreements: Vec<Disagreement>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its name.
    pub name: String,
    /// `joining`, `active`, `leaving` or `left`.
    pub state: String,
    /// Whether the node that was asked hears of it.
    pub live: bool,
    /// Its failure domain; empty for none.
    pub zone: String,
    /// What it wishes to hold; 100 is usual.
    pub weight: u16,
    /// Where peers reach it.
    pub address: String,
    /// Which life of its process this is.
    pub incarnation: u64,
    /// The version of its software.
    pub build: String,
    /// How many points of the ring it has.
    pub tokens: usize,
    /// The part of all streams of which it keeps a replica, 0 to 1.
    pub owned: f64,
    /// What would be fair, by weights and zones.
    pub fair: f64,
    /// The part of all streams of which it is the first owner.
    pub primary: f64,
    /// What it holds; none where it does not answer.
    pub load: Option<Load>,
    /// Why that is not known.
    pub error: Option<String>,
}

/// A member that sees another ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// Its name.
    pub name: String,
    /// The ring it sees.
    pub ring_hash: String,
}

/// What a member has of the ring.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    tokens: usize,
    owned: f64,
    fair: f64,
    primary: f64,
}

impl Report {
    /// Puts together what the node knows and what members answered.
    pub fn new(cluster: &Cluster, view: &View, statuses: &Statuses) -> Self {
        let rf = cluster.replication_factor();
        Self {
            cluster: cluster.name().to_owned(),
            node: cluster.me().to_string(),
            replication_factor: rf,
            write_acks: cluster.write_acks(),
            ring_hash: view.ring().hash().to_string(),
            members: members(view, rf, statuses),
            disagreements: disagreements(view, statuses),
        }
    }
}

fn members(view: &View, rf: usize, statuses: &Statuses) -> Vec<MemberReport> {
    let ring = view.ring();
    let (loads, primaries) = (Loads::of(ring, rf), Loads::of(ring, 1));
    let share = |id: &NodeId| {
        let found = ring.members().iter().position(|member| member.id == *id);
        found.map_or_else(Share::default, |at| Share {
            tokens: ring.members()[at].tokens.len(),
            owned: loads.held[at],
            fair: loads.fair[at],
            primary: primaries.held[at],
        })
    };
    let peers = view.peers().values();
    let report = peers.map(|peer| {
        let Share { tokens, owned, fair, primary } = share(&peer.id);
        let status = statuses.get(&peer.id);
        MemberReport {
            name: peer.id.to_string(),
            state: peer.profile.state.to_string(),
            live: peer.live,
            zone: peer.profile.zone.to_string(),
            weight: peer.profile.weight.get(),
            address: peer.address.to_string(),
            incarnation: peer.incarnation,
            build: peer.profile.build.clone(),
            tokens,
            owned,
            fair,
            primary,
            load: status.and_then(|status| status.as_ref().ok()).map(|status| status.load.clone()),
            error: status.and_then(|status| status.as_ref().err()).cloned(),
        }
    });
    report.collect()
}

fn disagreements(view: &View, statuses: &Statuses) -> Vec<Disagreement> {
    let answered =
        statuses.iter().filter_map(|(id, status)| Some((id, RingHash(status.as_ref().ok()?.ring_hash))));
    let other = answered.filter(|(_, hash)| *hash != view.ring().hash());
    other.map(|(id, hash)| Disagreement { name: id.to_string(), ring_hash: hash.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use grapevine_gossip::membership::{Peer, Profile, State, View};
    use grapevine_gossip::ring::Token;

    use super::super::status::{Load, Status, Statuses};
    use super::{disagreements, members};

    fn peer(name: &str, tokens: &[u64]) -> Peer {
        let tokens = tokens.iter().copied().map(Token).collect();
        Peer {
            id: name.parse().unwrap(),
            incarnation: 1,
            address: ([127, 0, 0, 1], 1).into(),
            profile: Profile { state: State::Active, tokens, ..Profile::default() },
            live: true,
        }
    }

    #[test]
    fn members_own_what_the_ring_gives_them_and_hold_what_they_say() {
        let half = 1 << 63;
        let view = View::new([peer("a", &[0, 1 << 62]), peer("b", &[half]), peer("c", &[])]);
        let load = Load { packs: 7, ..Load::default() };
        let statuses: Statuses = [
            ("a", Ok(Status { ring_hash: view.ring().hash().0, load: load.clone() })),
            ("b", Err("it is out".to_owned())),
        ]
        .map(|(name, status)| (name.parse().unwrap(), status))
        .into();
        let [a, b, c] = &members(&view, 2, &statuses)[..] else { panic!("three members") };
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(a.owned, 1.0) && close(b.owned, 1.0) && close(a.fair, 1.0));
        assert!(close(a.primary, 0.75) && close(b.primary, 0.25) && close(c.owned + c.primary + c.fair, 0.0));
        assert_eq!([a.tokens, b.tokens, c.tokens], [2, 1, 0]);
        assert_eq!(
            (a.load.as_ref(), b.load.as_ref(), b.error.as_deref()),
            (Some(&load), None, Some("it is out"))
        );
        assert_eq!((c.load.as_ref(), c.error.as_ref()), (None, None));
    }

    #[test]
    fn who_sees_another_ring_is_named_and_who_says_nothing_is_not() {
        let view = View::new([peer("a", &[0]), peer("b", &[1])]);
        let own = Status { ring_hash: view.ring().hash().0, load: Load::default() };
        let other = Status { ring_hash: 0xabc, ..own.clone() };
        let statuses: Statuses = [("a", Ok(own)), ("b", Ok(other)), ("c", Err("out".to_owned()))]
            .map(|(name, status)| (name.parse().unwrap(), status))
            .into();
        let found = disagreements(&view, &statuses);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].ring_hash.as_str()), ("b", "0000000000000abc"));
    }
}
