//! Who reads what of a query: each token range goes to one member, the first of its owners that can answer.
//!
//! A decider. The ring is that of the members who serve reads: one that is still joining does not yet hold what it
//! will own. Where a reader fails, its share goes on to the next owners, and it is not asked again by this query.
//! Where no owner is left, the range goes to whoever comes next on the ring: new lines went there as well, and what
//! else is missing is said.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use grapevine_gossip::membership::{Peer, State, View};
use grapevine_gossip::ring::{NodeId, Ring, TokenRange};

use super::share::Share;
use crate::planted::{self, Bug};

/// The members of a query's moment, and what has become of them since.
#[derive(Clone, Debug)]
pub struct Spread {
    me: NodeId,
    ring: Arc<Ring>,
    replicas: usize,
    /// Those that may be asked.
    live: BTreeSet<NodeId>,
    /// Those that take writes, whether they serve reads or not, and are not heard of: they may hold what nobody else does.
    silent: BTreeSet<NodeId>,
    /// Those that have failed since, and how.
    failed: BTreeMap<NodeId, String>,
}

/// Whom to ask for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// The readers and their shares, which do not overlap.
    pub readers: Vec<(NodeId, Share)>,
    /// What nobody can be asked for.
    pub orphaned: Share,
}

/// Whether a member answers queries for the ranges it owns. One that leaves hands over what it holds, so that it may lack
/// something already.
pub fn serves_reads(peer: &Peer) -> bool {
    peer.profile.state == State::Active
}

impl Spread {
    /// What this node, `me`, knows of the cluster.
    pub fn new(me: NodeId, view: &View, replicas: usize) -> Self {
        let live = view.peers().values().filter(|peer| peer.live).map(|peer| peer.id.clone());
        let live: BTreeSet<NodeId> = live.chain([me.clone()]).collect();
        let takes_writes = view.ring().members().iter().map(|member| member.id.clone());
        let silent = takes_writes.filter(|id| !live.contains(id)).collect();
        Spread { silent, ..Self::of(me, view.ring_where(serves_reads), replicas, live) }
    }

    fn of(me: NodeId, ring: Ring, replicas: usize, live: BTreeSet<NodeId>) -> Self {
        let silent = ring.members().iter().map(|member| member.id.clone()).filter(|id| !live.contains(id));
        let silent = silent.collect();
        Spread { me, ring: Arc::new(ring), replicas, live, silent, failed: BTreeMap::new() }
    }

    /// The ring of those who serve reads.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// How many owners a range has.
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    /// Whether a member can be asked.
    pub fn is_live(&self, node: &NodeId) -> bool {
        self.live.contains(node)
    }

    /// Who reads what of a share.
    pub fn assign(&self, share: &Share) -> Assigned {
        if self.ring.is_empty() {
            return self.alone(share);
        }
        let mut of_reader: BTreeMap<&NodeId, Vec<TokenRange>> = BTreeMap::new();
        let mut orphaned = Vec::new();
        for (range, owners) in self.ring.owned_ranges(self.replicas) {
            // Shares are made of whole ranges of this ring.
            if !share.holds_token(range.last.0) {
                continue;
            }
            let owner = owners.iter().find(|member| self.is_live(&member.id));
            let stand_in = || {
                let mut order = self.ring.preference(range.last, self.replicas);
                order.find(|member| self.is_live(&member.id))
            };
            if planted::is(Bug::ReadsTwice)
                && let Some(second) = owners.iter().nth(1)
            {
                of_reader.entry(&second.id).or_default().push(range);
            }
            match owner.or_else(stand_in) {
                Some(reader) => of_reader.entry(&reader.id).or_default().push(range),
                None => orphaned.push(range),
            }
        }
        let readers = of_reader.into_iter().map(|(node, ranges)| (node.clone(), Share::of(ranges)));
        Assigned { readers: readers.collect(), orphaned: Share::of(orphaned) }
    }

    /// Before anyone serves reads, a node reads what it has itself.
    fn alone(&self, share: &Share) -> Assigned {
        match self.is_live(&self.me) {
            true => Assigned { readers: vec![(self.me.clone(), share.clone())], orphaned: Share::of([]) },
            false => Assigned { readers: Vec::new(), orphaned: share.clone() },
        }
    }

    /// A reader did not answer: who is asked for its share instead.
    pub fn handle_failure(&mut self, node: &NodeId, share: &Share, why: impl Into<String>) -> Assigned {
        self.live.remove(node);
        self.failed.entry(node.clone()).or_insert_with(|| why.into());
        self.assign(share)
    }

    /// The members that own something and cannot be asked, with the reason where one has been seen.
    pub fn unreachable(&self) -> impl Iterator<Item = (&NodeId, Option<&str>)> {
        let dead = self.silent.iter().filter(|id| !self.failed.contains_key(*id));
        let failed = self.failed.iter().map(|(id, why)| (id, Some(why.as_str())));
        dead.map(|id| (id, None)).chain(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use grapevine_gossip::membership::{Peer, Profile, State, View};
    use grapevine_gossip::ring::placement::{Joiner, place_all};
    use grapevine_gossip::ring::{Member, NodeId, Ring, Token, Weight, Zone};
    use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

    use super::{Assigned, Share, Spread};

    fn id(n: usize) -> NodeId {
        format!("n{n}").parse().unwrap()
    }

    fn member(n: usize, tokens: &[u64]) -> Member {
        let tokens = tokens.iter().map(|token| Token(*token)).collect();
        Member { id: id(n), zone: Zone::default(), weight: Weight::default(), tokens }
    }

    fn spread(members: &[Vec<u64>], replicas: usize, live: &[usize]) -> Spread {
        let ring = Ring::new(members.iter().enumerate().map(|(n, tokens)| member(n, tokens)));
        Spread::of(id(0), ring, replicas, live.iter().map(|n| id(*n)).collect())
    }

    fn read_by(assigned: &Assigned, token: u64) -> Vec<NodeId> {
        let holding = assigned.readers.iter().filter(|(_, share)| share.holds_token(token));
        holding.map(|(node, _)| node.clone()).collect()
    }

    const QUARTER: u64 = 1 << 62;

    #[test]
    fn a_range_goes_to_its_first_live_owner_and_on_when_that_fails() {
        let members = [vec![QUARTER], vec![2 * QUARTER], vec![3 * QUARTER]];
        let mut spread = spread(&members, 2, &[0, 1, 2]);
        let all = spread.assign(&Share::all());
        assert_eq!(all.readers.len(), 3);
        assert_eq!(read_by(&all, QUARTER + 1), [id(1)]);
        let share = all.readers.iter().find(|(node, _)| *node == id(1)).unwrap().1.clone();
        let next = spread.handle_failure(&id(1), &share, "gone");
        assert_eq!(next.readers, [(id(2), share.clone())]);
        let unreachable: Vec<_> = spread.unreachable().collect();
        assert_eq!(unreachable, [(&id(1), Some("gone"))]);
        // Both owners are gone: the next on the ring may have what was written since.
        let last = spread.handle_failure(&id(2), &share, "gone too");
        assert_eq!(last.readers, [(id(0), share.clone())]);
        assert_eq!(spread.handle_failure(&id(0), &share, "all").orphaned, share);
        assert_eq!(spread.unreachable().count(), 3);
    }

    #[test]
    fn three_members_with_three_replicas_read_a_third_each() {
        let joiner = |n| Joiner { id: id(n), zone: Zone::default(), weight: Weight::default() };
        let members = place_all(&Ring::new([]), &[joiner(0), joiner(1), joiner(2)], 3);
        let spread = Spread::of(id(0), Ring::new(members), 3, (0..3).map(id).collect());
        for (node, share) in spread.assign(&Share::all()).readers {
            assert!((share.fraction() - 1.0 / 3.0).abs() < 0.03, "{node}: {}", share.fraction());
        }
    }

    fn peer(n: usize, state: State, token: u64, live: bool) -> Peer {
        let profile = Profile { state, tokens: vec![Token(token)], ..Profile::default() };
        Peer { id: id(n), incarnation: 1, address: ([127, 0, 0, 1], 1).into(), profile, live }
    }

    #[test]
    fn joiners_and_leavers_are_not_asked_and_the_dead_are_named() {
        let view = View::new([
            peer(0, State::Active, QUARTER, false),
            peer(1, State::Joining, 2 * QUARTER, true),
            peer(2, State::Leaving, 3 * QUARTER, true),
            peer(3, State::Active, 1, false),
            peer(4, State::Joining, 2, false),
        ]);
        let spread = Spread::new(id(0), &view, 1);
        let all = spread.assign(&Share::all());
        // This node is alive, whatever gossip says; what the dead one owns is asked of the next.
        assert_eq!(read_by(&all, 0), [id(0)]);
        assert_eq!(read_by(&all, 2 * QUARTER), [id(0)]);
        // One that was joining took writes.
        assert_eq!(spread.unreachable().collect::<Vec<_>>(), [(&id(3), None), (&id(4), None)]);
    }

    #[test]
    fn before_anyone_serves_a_node_reads_what_it_has() {
        let spread = Spread::new(id(0), &View::default(), 3);
        assert_eq!(spread.assign(&Share::all()).readers, [(id(0), Share::all())]);
    }

    fn tokens() -> impl Strategy<Value = Vec<Vec<u64>>> {
        prop::collection::vec(prop::collection::vec(any::<u64>(), 1..6), 1..6)
    }

    proptest! {
        #[test]
        fn every_token_is_read_by_one_member_or_named_as_missing(
            members in tokens(), replicas in 1usize..4, dead in prop::collection::btree_set(0usize..6, 0..4),
            failing in prop::collection::vec(0usize..6, 0..6), probes in prop::collection::vec(any::<u64>(), 1..20),
        ) {
            let live: Vec<usize> = (0..members.len()).filter(|n| !dead.contains(n)).collect();
            let mut spread = spread(&members, replicas, &live);
            let mut assigned = spread.assign(&Share::all());
            let mut orphaned = vec![assigned.orphaned.clone()];
            let mut failed = BTreeSet::new();
            for n in failing.iter().map(|n| id(*n)) {
                let Some(at) = assigned.readers.iter().position(|(node, _)| *node == n) else { continue };
                failed.insert(n.clone());
                // Every piece of a failed reader goes on, one after the other.
                let mut at = Some(at);
                while let Some(found) = at {
                    let (node, share) = assigned.readers.remove(found);
                    let next = spread.handle_failure(&node, &share, "");
                    assigned.readers.extend(next.readers);
                    orphaned.push(next.orphaned);
                    at = assigned.readers.iter().position(|(node, _)| *node == n);
                }
            }
            for token in probes.into_iter().chain(members.iter().flatten().copied()) {
                let missing = orphaned.iter().filter(|share| share.holds_token(token)).count();
                prop_assert_eq!(read_by(&assigned, token).len() + missing, 1, "{:x}", token);
                let owners: Vec<NodeId> =
                    spread.ring().owners(Token(token), replicas).iter().map(|m| m.id.clone()).collect();
                let best = owners.iter().find(|owner| spread.is_live(owner));
                if let (Some(best), [reader]) = (best, &read_by(&assigned, token)[..]) {
                    prop_assert_eq!(best, reader);
                }
            }
            for (node, share) in &assigned.readers {
                prop_assert!(!failed.contains(node) && !share.is_empty());
            }
        }
    }
}
