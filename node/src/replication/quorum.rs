//! Decides whom a push is sent to, whom it is sent to instead, and when it may be answered.
//!
//! The streams of a push that have the same candidates form a group. Each group goes to its first candidates, as many as
//! there are to be replicas; one that fails is replaced by the next. A group is safe once enough members hold it
//! durably: `write_acks`, or all that live where they are fewer. A decider: it sees answers and says who comes next.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_gossip::ring::NodeId;
use grapevine_storage::stream::StreamId;

use crate::planted::{self, Bug};

/// Streams of one push that go to the same members.
#[derive(Clone, Debug)]
struct Group {
    streams: BTreeSet<StreamId>,
    /// Live members in the order in which they are asked.
    candidates: Vec<NodeId>,
    /// Those that were asked and have not failed.
    asked: BTreeSet<NodeId>,
    held: BTreeSet<NodeId>,
}

/// One push on its way to the members that are to hold it.
#[derive(Clone, Debug)]
pub struct Quorum {
    replicas: usize,
    write_acks: usize,
    groups: Vec<Group>,
    failed: BTreeSet<NodeId>,
}

/// Whom to send what to.
pub type Sends = BTreeMap<NodeId, BTreeSet<StreamId>>;

impl Quorum {
    /// A push of these streams; `candidates` tells for each who may hold it, in order, living members only.
    pub fn new(
        replicas: usize,
        write_acks: usize,
        streams: impl IntoIterator<Item = StreamId>,
        candidates: impl Fn(StreamId) -> Vec<NodeId>,
    ) -> Self {
        let mut groups: BTreeMap<Vec<NodeId>, BTreeSet<StreamId>> = BTreeMap::new();
        for stream in streams {
            groups.entry(candidates(stream)).or_default().insert(stream);
        }
        let group = |(candidates, streams)| Group {
            streams,
            candidates,
            asked: BTreeSet::new(),
            held: BTreeSet::new(),
        };
        let groups = groups.into_iter().map(group).collect();
        Quorum { replicas, write_acks, groups, failed: BTreeSet::new() }
    }

    /// Whom to send to now: as many as are wished for and can be had, without those asked before.
    pub fn poll_sends(&mut self) -> Sends {
        let mut sends = Sends::new();
        for group in &mut self.groups {
            let fresh = group.candidates.iter().filter(|id| !self.failed.contains(id));
            for member in fresh.take(self.replicas) {
                if group.asked.insert(member.clone()) {
                    sends.entry(member.clone()).or_default().extend(&group.streams);
                }
            }
        }
        sends
    }

    /// A member holds all it was sent.
    pub fn on_held(&mut self, member: &NodeId) {
        for group in self.groups.iter_mut().filter(|group| group.asked.contains(member)) {
            group.held.insert(member.clone());
        }
    }

    /// A member cannot be reached or refuses.
    pub fn on_failed(&mut self, member: &NodeId) {
        self.failed.insert(member.clone());
        for group in &mut self.groups {
            group.asked.remove(member);
        }
    }

    /// Other members live now: those that failed may be tried again, and those that are gone are not waited for.
    pub fn on_candidates(&mut self, candidates: impl Fn(StreamId) -> Vec<NodeId>) {
        for group in &mut self.groups {
            if let Some(stream) = group.streams.first() {
                group.candidates = candidates(*stream);
            }
            group.asked.retain(|id| group.candidates.contains(id));
        }
    }

    /// Those that failed are tried again.
    pub fn retry(&mut self) {
        self.failed.clear();
    }

    /// Whether the push may be answered: every group lies with as many living members as were promised.
    pub fn is_safe(&self) -> bool {
        if planted::is(Bug::AnswersUnheld) {
            return true;
        }
        self.groups.iter().all(|group| {
            let wanted = self.write_acks.min(group.candidates.len()).min(self.replicas).max(1);
            group.held.len() >= wanted
        })
    }

    /// How many members hold the group that fewest hold, and how many should.
    pub fn shortest(&self) -> (usize, usize) {
        let of = |group: &Group| (group.held.len(), self.write_acks.min(group.candidates.len()).max(1));
        self.groups.iter().map(of).min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use grapevine_gossip::ring::NodeId;
    use grapevine_storage::stream::StreamId;

    use super::{Quorum, Sends};

    fn ids(names: &str) -> Vec<NodeId> {
        names.chars().map(|name| name.to_string().parse().unwrap()).collect()
    }

    fn id(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    /// Stream 1 may go to the first, stream 2 to the second.
    fn quorum(first: &'static str, second: &'static str) -> Quorum {
        let candidates = move |stream: StreamId| ids(if stream.0 == 1 { first } else { second });
        Quorum::new(3, 2, [1, 2].map(StreamId), candidates)
    }

    fn text(sends: &Sends) -> String {
        let streams = |streams: &std::collections::BTreeSet<StreamId>| {
            streams.iter().map(|stream| stream.0.to_string()).collect::<String>()
        };
        sends.iter().map(|(member, sent)| format!("{member}{} ", streams(sent))).collect()
    }

    #[test]
    fn each_member_gets_the_streams_it_is_to_hold_and_two_make_a_push_safe() {
        let mut quorum = quorum("abcd", "bcda");
        assert_eq!(text(&quorum.poll_sends()), "a1 b12 c12 d2 ");
        assert_eq!(text(&quorum.poll_sends()), "");
        quorum.on_held(&id("b"));
        assert!(!quorum.is_safe());
        quorum.on_held(&id("a"));
        assert!(!quorum.is_safe(), "stream 2 lies with one member only");
        quorum.on_held(&id("d"));
        assert!(quorum.is_safe());
    }

    #[test]
    fn the_next_candidate_takes_the_place_of_one_that_failed() {
        let mut quorum = quorum("abcd", "abcd");
        quorum.poll_sends();
        quorum.on_failed(&id("b"));
        assert_eq!(text(&quorum.poll_sends()), "d12 ");
        quorum.on_held(&id("a"));
        assert!(!quorum.is_safe());
        quorum.on_held(&id("d"));
        assert!(quorum.is_safe());
    }

    #[test]
    fn one_copy_is_not_enough_while_others_are_thought_to_live() {
        let mut quorum = quorum("abc", "abc");
        quorum.poll_sends();
        quorum.on_held(&id("a"));
        quorum.on_failed(&id("b"));
        quorum.on_failed(&id("c"));
        assert_eq!(text(&quorum.poll_sends()), "");
        assert!(!quorum.is_safe());
        quorum.retry();
        assert_eq!(text(&quorum.poll_sends()), "b12 c12 ");
        // Gossip notices that they are gone: the survivor alone is all there can be.
        quorum.on_candidates(|_| ids("a"));
        assert!(quorum.is_safe());
    }

    #[test]
    fn a_push_that_nobody_took_is_never_safe() {
        let mut quorum = quorum("", "");
        assert_eq!(text(&quorum.poll_sends()), "");
        assert!(!quorum.is_safe());
    }
}
