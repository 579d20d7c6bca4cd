//! Which pushes other members are known to hold: what need not be asked, nor sent, when owners compare what they have.
//!
//! Said by the node a push entered through, which hears each owner's answer; or by the owner itself, when asked. A set
//! per member of names of pushes, mostly one run an origin. Nothing in it is true for ever: a member that comes back
//! may have lost its disk, and one whose ranges grew was not sent what is in them. Then it is forgotten, and asked for
//! anew. A decider.

use std::collections::BTreeMap;

use grapevine_gossip::membership::View;
use grapevine_gossip::ring::{NodeId, RingHash};
use grapevine_storage::atom::{PushId, PushRun, PushSet};

/// Runs kept for one member; beyond them its set is forgotten, which costs questions and nothing else.
const RUNS_MAX: usize = 65_536;

/// What members hold.
#[derive(Debug, Default)]
pub struct Confirmed {
    ring: Option<RingHash>,
    members: BTreeMap<NodeId, Member>,
}

#[derive(Debug, Default)]
struct Member {
    incarnation: u64,
    pushes: PushSet,
}

impl Confirmed {
    /// Forgets what a change of the members makes doubtful.
    pub fn on_view(&mut self, ring: RingHash, view: &View) {
        if self.ring.replace(ring) != Some(ring) {
            self.members.clear();
        }
        self.members
            .retain(|id, member| view.peer(id).is_some_and(|peer| peer.incarnation == member.incarnation));
        for peer in view.peers().values() {
            let member = || Member { incarnation: peer.incarnation, pushes: PushSet::default() };
            self.members.entry(peer.id.clone()).or_insert_with(member);
        }
    }

    /// Forgets what was said of every member.
    pub fn forget(&mut self) {
        self.members.values_mut().for_each(|member| member.pushes = PushSet::default());
    }

    /// Whether a member holds its part of a push.
    pub fn has(&self, member: &NodeId, push: PushId) -> bool {
        self.members.get(member).is_some_and(|member| member.pushes.contains(push))
    }

    /// Notes that a member holds its parts of pushes, as they are by a ring: by another its parts may be greater. Of
    /// members not known nothing is noted.
    pub fn add(&mut self, ring: RingHash, member: &NodeId, runs: impl IntoIterator<Item = PushRun>) {
        if self.ring != Some(ring) {
            return;
        }
        let Some(member) = self.members.get_mut(member) else { return };
        runs.into_iter().for_each(|run| member.pushes.insert_run(run));
        if member.pushes.run_count() > RUNS_MAX {
            member.pushes = PushSet::default();
        }
    }
}

/// One push, as a run.
pub fn run_of(push: PushId) -> PushRun {
    PushRun { origin: push.origin, first: push.sequence, more: 0 }
}

#[cfg(test)]
mod tests {
    use grapevine_gossip::membership::{Peer, Profile, View};
    use grapevine_gossip::ring::{NodeId, Token};
    use grapevine_storage::atom::PushId;

    use super::{Confirmed, RUNS_MAX, run_of};

    fn view(members: &[(&str, u64, u64)]) -> View {
        let peer = |(name, incarnation, token): &(&str, u64, u64)| Peer {
            id: name.parse().unwrap(),
            incarnation: *incarnation,
            address: ([127, 0, 0, 1], 1).into(),
            profile: Profile { tokens: vec![Token(*token)], ..Profile::default() },
            live: true,
        };
        View::new(members.iter().map(peer))
    }

    fn push(sequence: u64) -> PushId {
        PushId { origin: 1, sequence }
    }

    #[test]
    fn what_a_member_holds_is_forgotten_when_it_comes_back_or_the_ring_changes() {
        let [a, b]: [NodeId; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        let mut confirmed = Confirmed::default();
        let see = |confirmed: &mut Confirmed, members: &[(&str, u64, u64)]| {
            let view = view(members);
            confirmed.on_view(view.ring().hash(), &view);
        };
        see(&mut confirmed, &[("b", 1, 20)]);
        let ring = |members| view(members).ring().hash();
        confirmed.add(ring(&[("b", 1, 20)]), &a, [run_of(push(1))]);
        assert!(!confirmed.has(&a, push(1)), "nobody knows this member");
        see(&mut confirmed, &[("a", 1, 10), ("b", 1, 20)]);
        let both = ring(&[("a", 1, 10), ("b", 1, 20)]);
        confirmed.add(ring(&[("b", 1, 20)]), &a, [run_of(push(1))]);
        assert!(!confirmed.has(&a, push(1)), "it was said by the ring of before");
        confirmed.add(both, &a, [run_of(push(1))]);
        confirmed.add(both, &b, [run_of(push(2))]);
        see(&mut confirmed, &[("a", 1, 10), ("b", 2, 20)]);
        assert!(confirmed.has(&a, push(1)) && !confirmed.has(&b, push(2)));
        see(&mut confirmed, &[("a", 1, 10), ("b", 2, 21)]);
        assert!(!confirmed.has(&a, push(1)));
        let changed = ring(&[("a", 1, 10), ("b", 2, 21)]);
        confirmed.add(changed, &a, [run_of(push(1))]);
        confirmed.forget();
        assert!(!confirmed.has(&a, push(1)));
        confirmed.add(changed, &a, [run_of(push(3))]);
        assert!(confirmed.has(&a, push(3)), "what is said afterwards counts");
    }

    #[test]
    fn a_set_of_too_many_runs_is_forgotten_rather_than_kept() {
        let a: NodeId = "a".parse().unwrap();
        let mut confirmed = Confirmed::default();
        let view = view(&[("a", 1, 10)]);
        confirmed.on_view(view.ring().hash(), &view);
        let ring = view.ring().hash();
        confirmed.add(ring, &a, (0..RUNS_MAX as u64).map(|n| run_of(push(n * 2))));
        assert!(confirmed.has(&a, push(0)));
        confirmed.add(ring, &a, [run_of(push(RUNS_MAX as u64 * 2))]);
        assert!(!confirmed.has(&a, push(0)));
    }
}
