//! The cluster as one node sees it: a value made from what gossip says, the same on every node that heard the same.
//!
//! A node that restarts is another incarnation of the same member: the latest counts, whatever the order of the
//! news. Merging views is therefore commutative, associative and idempotent. Only liveness is an opinion of this
//! node's own, and no part of the ring.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use super::state::{Profile, State};
use crate::{
    limits::RING_MEMBERS_MAX,
    ring::{Member, NodeId, Ring},
};

/// A member of the cluster, as gossip knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub id: NodeId,
    /// Which life of its process this is: a counter it keeps on disk.
    pub incarnation: u64,
    /// Where it is reached.
    pub address: SocketAddr,
    /// What it tells of itself.
    pub profile: Profile,
    /// Whether this node believes it alive now. An opinion: slow, and never to be relied on for safety.
    pub live: bool,
}

impl Peer {
    /// What the later of two lives is decided by. Two nodes that by mistake have one name and one incarnation differ
    /// in their addresses; then, too, all decide alike.
    fn life(&self) -> (u64, SocketAddr, &Profile, bool) {
        (self.incarnation, self.address, &self.profile, self.live)
    }

    fn member(&self) -> Member {
        let Profile { zone, weight, tokens, .. } = self.profile.clone();
        Member { id: self.id.clone(), zone, weight, tokens }
    }
}

/// All members, and the ring they make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    peers: BTreeMap<NodeId, Peer>,
    ring: Arc<Ring>,
}

impl Default for View {
    fn default() -> Self {
        Self::new([])
    }
}

impl View {
    /// The view of these lives of members, in any order: of each name the latest life counts.
    pub fn new(lives: impl IntoIterator<Item = Peer>) -> Self {
        let mut peers: BTreeMap<NodeId, Peer> = BTreeMap::new();
        for life in lives {
            match peers.get_mut(&life.id) {
                Some(known) if known.life() >= life.life() => {}
                Some(known) => *known = life,
                None => _ = peers.insert(life.id.clone(), life),
            }
        }
        while peers.len() > RING_MEMBERS_MAX {
            peers.pop_last();
        }
        let ring = Arc::new(ring_of(&peers, |peer| peer.profile.state != State::Left));
        Self { peers, ring }
    }

    /// The members by name.
    pub fn peers(&self) -> &BTreeMap<NodeId, Peer> {
        &self.peers
    }

    /// The member of this name.
    pub fn peer(&self, id: &NodeId) -> Option<&Peer> {
        self.peers.get(id)
    }

    /// How many members this node believes alive that have not left.
    pub fn living(&self) -> usize {
        self.peers.values().filter(|peer| peer.live && peer.profile.state != State::Left).count()
    }

    /// Who owns what: all members that have tokens and have not left, dead or alive. Writes go by this ring; its hash
    /// is equal on all nodes that agree.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// The ring of some of the members: of those who serve reads, or those alive, for example.
    pub fn ring_where(&self, of: impl Fn(&Peer) -> bool) -> Ring {
        ring_of(&self.peers, |peer| peer.profile.state != State::Left && of(peer))
    }
}

fn ring_of(peers: &BTreeMap<NodeId, Peer>, of: impl Fn(&Peer) -> bool) -> Ring {
    let owning = peers.values().filter(|peer| !peer.profile.tokens.is_empty());
    Ring::new(owning.filter(|peer| of(peer)).map(Peer::member))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_assert_eq, proptest};

    use super::{Peer, Profile, State, View};
    use crate::ring::Token;

    fn lives() -> impl Strategy<Value = Vec<Peer>> {
        let life = (0_u8..4, 0_u64..3, 1_u16..4, 0_u8..4, 0_u64..50, proptest::bool::ANY);
        let peer = |(name, incarnation, port, state, token, live)| Peer {
            id: format!("n{name}").parse().unwrap(),
            incarnation,
            address: ([127, 0, 0, 1], port).into(),
            profile: Profile {
                state: [State::Joining, State::Active, State::Leaving, State::Left][usize::from(state)],
                tokens: vec![Token(token)],
                ..Profile::default()
            },
            live,
        };
        proptest::collection::vec(life.prop_map(peer), 0..12)
    }

    fn merged(a: &View, b: &View) -> View {
        View::new(a.peers.values().chain(b.peers.values()).cloned())
    }

    proptest! {
        #[test]
        fn views_merge_alike_in_any_order_and_any_number_of_times(a in lives(), b in lives(), c in lives()) {
            let [a, b, c] = [a, b, c].map(View::new);
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(&merged(&a, &a), &a);
        }

        #[test]
        fn opinions_about_liveness_do_not_change_the_ring(lives in lives()) {
            let (mut dead, mut live) = (lives.clone(), lives);
            dead.iter_mut().for_each(|peer| peer.live = false);
            live.iter_mut().for_each(|peer| peer.live = true);
            prop_assert_eq!(View::new(dead).ring().hash(), View::new(live).ring().hash());
        }
    }

    #[test]
    fn the_latest_life_counts_and_who_left_owns_nothing() {
        let peer = |incarnation, state, token| Peer {
            id: "a".parse().unwrap(),
            incarnation,
            address: ([127, 0, 0, 1], 1).into(),
            profile: Profile { state, tokens: vec![Token(token)], ..Profile::default() },
            live: true,
        };
        let view = View::new([peer(2, State::Active, 7), peer(1, State::Left, 9)]);
        assert_eq!(view.ring().members()[0].tokens, [Token(7)]);
        assert!(View::new([peer(2, State::Left, 7), peer(1, State::Active, 9)]).ring().is_empty());
    }

    #[test]
    fn who_is_dead_or_has_left_is_not_among_the_living() {
        let peer = |name: &str, state, live| Peer {
            id: name.parse().unwrap(),
            incarnation: 1,
            address: ([127, 0, 0, 1], 1).into(),
            profile: Profile { state, ..Profile::default() },
            live,
        };
        let view = View::new([
            peer("a", State::Active, true),
            peer("b", State::Joining, true),
            peer("c", State::Active, false),
            peer("d", State::Left, true),
        ]);
        assert_eq!(view.living(), 2);
    }
}
