//! Who holds which streams now, as one node sees it: owners by the ring, and who stands in for those that are down.
//!
//! A decider: a value made of a [`View`]. Two nodes that see different members may place a stream differently for some
//! seconds; entries that so come to lie elsewhere are brought to their owners by `repair`.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use grapevine_gossip::membership::{State, View};
use grapevine_gossip::ring::{Member, NodeId, Ring, RingHash, Token};
use grapevine_storage::stream::StreamId;

use crate::querier::share::Share;
use crate::querier::spread::serves_reads;

/// Candidates for a stream beyond as many as are to hold it: of a large cluster not everybody is tried.
const SPARES_MAX: usize = 5;

/// Where streams belong.
#[derive(Clone, Debug)]
pub struct Placement {
    me: NodeId,
    replication_factor: usize,
    view: Arc<View>,
    /// Members that are here to stay, dead or alive: leavers own nothing any more, they only hand over.
    ring: Ring,
    /// Those of them who serve reads: as long as a joiner does not, its forerunners keep what it will.
    reading: Ring,
    kept: OnceLock<Share>,
}

impl Placement {
    /// By this view, for the member `me`.
    pub fn new(me: NodeId, replication_factor: usize, view: Arc<View>) -> Self {
        let ring = view.ring_where(|peer| peer.profile.state <= State::Active);
        let reading = view.ring_where(serves_reads);
        Placement { me, replication_factor, view, ring, reading, kept: OnceLock::new() }
    }

    /// The members it was made of.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Whose view it is.
    pub fn me(&self) -> &NodeId {
        &self.me
    }

    /// How many owners a stream has where there are enough members.
    pub fn replication_factor(&self) -> usize {
        self.replication_factor
    }

    /// The ring that ownership goes by: without members that are leaving.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// The stream's owners in order, dead or alive.
    pub fn owners(&self, stream: StreamId) -> impl Iterator<Item = &NodeId> {
        self.ring.owners(token(stream), self.replication_factor).iter().map(|member| &member.id)
    }

    /// Whether a member owns the stream.
    pub fn owns(&self, member: &NodeId, stream: StreamId) -> bool {
        self.ring.owners(token(stream), self.replication_factor).contains(member)
    }

    /// What two nodes that place streams alike agree about.
    pub fn hash(&self) -> RingHash {
        RingHash(self.ring.hash().0 ^ self.reading.hash().0.rotate_left(1))
    }

    /// Whose index and heads are to have the stream: its owners, and the first of those who serve reads.
    pub fn keepers(&self, stream: StreamId) -> impl Iterator<Item = &NodeId> {
        let readers = self.reading.owners(token(stream), self.replication_factor);
        self.owners(stream).chain(readers.iter().map(|member| &member.id))
    }

    /// Whether a member is to have the stream.
    pub fn keeps(&self, member: &NodeId, stream: StreamId) -> bool {
        self.owns(member, stream)
            || self.reading.owners(token(stream), self.replication_factor).contains(member)
    }

    /// The tokens of streams that this node keeps.
    pub fn kept(&self) -> &Share {
        self.kept.get_or_init(|| {
            let of = |ring: &Ring| ring.ranges_of(&self.me, self.replication_factor);
            Share::of(of(&self.ring).into_iter().chain(of(&self.reading)))
        })
    }

    /// Who may hold the stream, in order: its owners, and after them those who stand in for owners that are down. Only
    /// members that live, as far as this node knows, and not more than are needed if some turn out not to.
    pub fn candidates(&self, stream: StreamId) -> Vec<&NodeId> {
        let all = self.ring.preference(token(stream), self.replication_factor);
        let live = all.map(|member: &Member| &member.id).filter(|id| self.is_live(id));
        live.take(self.replication_factor + SPARES_MAX).collect()
    }

    /// Who is to hold the stream now: its owners, and for each that is down the next live member on the ring.
    pub fn holders(&self, stream: StreamId) -> Vec<&NodeId> {
        let owners = self.ring.owners(token(stream), self.replication_factor);
        if owners.iter().all(|owner| self.is_live(&owner.id)) {
            return owners.iter().map(|owner| &owner.id).collect();
        }
        let mut candidates = self.candidates(stream);
        candidates.truncate(self.replication_factor);
        candidates
    }

    /// Who packs the stream: the first of its owners that lives and is active. One that is joining, or back and not
    /// active again yet, may hold what others have packed meanwhile.
    pub fn primary(&self, stream: StreamId) -> Option<&NodeId> {
        let owners = self.ring.owners(token(stream), self.replication_factor);
        let live = || owners.iter().map(|owner| &owner.id).filter(|id| self.is_live(id));
        let active = live().find(|id| self.is_active(id));
        active.or_else(|| live().next()).or_else(|| self.candidates(stream).first().copied())
    }

    /// Whether this node packs the stream.
    pub fn is_primary(&self, stream: StreamId) -> bool {
        self.primary(stream) == Some(&self.me)
    }

    /// Whether a member lives, as far as this node knows; it itself does.
    pub fn is_live(&self, member: &NodeId) -> bool {
        *member == self.me || self.view.peer(member).is_some_and(|peer| peer.live)
    }

    fn is_active(&self, member: &NodeId) -> bool {
        self.view.peer(member).is_some_and(|peer| peer.profile.state == State::Active)
    }

    /// The member that is reached at an address.
    pub fn member_at(&self, address: SocketAddr) -> Option<&NodeId> {
        self.view.peers().values().find(|peer| peer.address == address).map(|peer| &peer.id)
    }

    /// All other members that live.
    pub fn live_peers(&self) -> impl Iterator<Item = &grapevine_gossip::membership::Peer> {
        self.view
            .peers()
            .values()
            .filter(|peer| peer.live && peer.id != self.me && peer.profile.state != State::Left)
    }
}

/// A stream's place on the ring.
pub fn token(stream: StreamId) -> Token {
    Token(stream.token())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use grapevine_gossip::membership::{Peer, Profile, State, View};
    use grapevine_gossip::ring::Token;
    use grapevine_storage::stream::StreamId;

    use super::Placement;

    /// Members `a`, `b`, … with one token each, at 100, 200, …
    fn placement(members: &[(&str, State, bool)], rf: usize) -> Placement {
        let peer = |(n, (name, state, live)): (usize, &(&str, State, bool))| Peer {
            id: name.parse().unwrap(),
            incarnation: 1,
            address: ([127, 0, 0, 1], 1).into(),
            profile: Profile {
                state: *state,
                tokens: vec![Token((n as u64 + 1) * 100)],
                ..Profile::default()
            },
            live: *live,
        };
        let view = View::new(members.iter().enumerate().map(peer));
        Placement::new("a".parse().unwrap(), rf, Arc::new(view))
    }

    fn stream(token: u64) -> StreamId {
        StreamId(u128::from(token) << 64)
    }

    fn check(members: &[(&str, State, bool)], owners: &str, holders: &str) {
        let placement = placement(members, 2);
        let names =
            |ids: Vec<&grapevine_gossip::ring::NodeId>| ids.iter().map(|id| id.as_str()).collect::<String>();
        assert_eq!(names(placement.owners(stream(150)).collect()), owners);
        assert_eq!(names(placement.holders(stream(150))), holders);
        assert_eq!(placement.primary(stream(150)).map(|id| id.as_str()), holders.get(..1));
    }

    #[test]
    fn the_next_live_member_stands_in_for_an_owner_that_is_down() {
        use State::{Active, Joining};
        check(
            &[("a", Active, true), ("b", Active, true), ("c", Joining, true), ("d", Active, true)],
            "bc",
            "bc",
        );
        check(
            &[("a", Active, true), ("b", Active, false), ("c", Active, true), ("d", Active, true)],
            "bc",
            "cd",
        );
        check(
            &[("a", Active, true), ("b", Active, false), ("c", Active, false), ("d", Active, true)],
            "bc",
            "da",
        );
        check(
            &[("a", Active, true), ("b", Active, false), ("c", Active, false), ("d", Active, false)],
            "bc",
            "a",
        );
    }

    #[test]
    fn a_member_that_is_not_active_yet_packs_nothing_while_another_owner_is() {
        use State::{Active, Joining};
        let primary = |b, c| {
            let members = [("a", Active, true), ("b", b, true), ("c", c, true)];
            placement(&members, 2).primary(stream(150)).unwrap().as_str().to_owned()
        };
        assert_eq!(primary(Active, Active), "b");
        assert_eq!(primary(Joining, Active), "c");
        assert_eq!(primary(Joining, Joining), "b");
    }

    #[test]
    fn who_serves_reads_keeps_what_joiners_own_until_they_do() {
        use State::{Active, Joining};
        let (a, to_come) = (("a", Active, true), [("b", Joining, true), ("c", Joining, true)]);
        let keeps = |placement: &Placement| placement.keeps(placement.me(), stream(150));
        let joining = placement(&[a, to_come[0], to_come[1]], 2);
        assert!(keeps(&joining) && !joining.owns(joining.me(), stream(150)));
        assert!(joining.kept().is_all());
        let joined = placement(&[a, ("b", Active, true), ("c", Active, true)], 2);
        assert!(!keeps(&joined) && !joined.kept().holds(stream(150)) && joined.kept().holds(stream(250)));
        assert_eq!(joining.ring().hash(), joined.ring().hash());
        assert_ne!(joining.hash(), joined.hash());
    }

    #[test]
    fn a_member_that_leaves_owns_nothing_any_more() {
        use State::{Active, Leaving, Left};
        check(
            &[("a", Active, true), ("b", Leaving, true), ("c", Active, true), ("d", Active, true)],
            "cd",
            "cd",
        );
        check(
            &[("a", Active, true), ("b", Left, true), ("c", Active, true), ("d", Active, false)],
            "cd",
            "ca",
        );
    }
}
