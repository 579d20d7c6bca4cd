//! The replica set of a token: whom one meets walking clockwise, distinct zones first.
//!
//! The walk takes the first member of each zone not met yet, and puts aside other new members. It ends when it has
//! as many zones as there are (or as many as replicas are wished) and enough put aside to fill the rest: with three
//! replicas in two zones, two members of distinct zones and then the first other member.

use std::fmt;

use super::{Member, NodeId, Ring, Token};
use crate::limits::REPLICAS_MAX;

/// The owners of a token, in the order in which they are asked: the first is the primary.
#[derive(Clone, Copy)]
pub struct Owners<'a> {
    ring: &'a Ring,
    set: ReplicaSet,
}

impl<'a> Owners<'a> {
    /// The owners in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a Member> + use<'a> {
        let (ring, set) = (self.ring, self.set);
        (0..set.len()).map(move |index| &ring.members[usize::from(set.as_slice()[index])])
    }

    /// The first owner; none if the ring is empty.
    pub fn primary(&self) -> Option<&'a Member> {
        self.iter().next()
    }

    /// How many there are: the lesser of the wished number and the members that have tokens.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether there is none, which is so only on an empty ring.
    pub fn is_empty(&self) -> bool {
        self.set.len() == 0
    }

    /// Whether the member of this name is one of them.
    pub fn contains(&self, id: &NodeId) -> bool {
        self.iter().any(|member| member.id == *id)
    }

    /// The same, as indices into the ring's members.
    pub(super) fn set(&self) -> ReplicaSet {
        self.set
    }
}

impl fmt::Debug for Owners<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|member| &member.id)).finish()
    }
}

impl Ring {
    /// The first `rf` distinct members clockwise from `token`, distinct zones first. `rf` is at most
    /// [`REPLICAS_MAX`]; fewer owners only where there are fewer members with tokens.
    pub fn owners(&self, token: Token, rf: usize) -> Owners<'_> {
        if self.points.is_empty() {
            return Owners { ring: self, set: ReplicaSet::default() };
        }
        self.owners_at(self.point_at(token), rf)
    }

    /// Everybody with tokens, in the order in which they stand in for each other at `token`: its `rf` owners, then
    /// all others as they come clockwise. For walking on where owners are down.
    /// As lazy as it looks: who needs a few members does not walk the whole circle.
    pub fn preference(&self, token: Token, rf: usize) -> impl Iterator<Item = &Member> {
        let owners = self.owners(token, rf).set;
        let mut met = vec![false; self.members.len()];
        owners.as_slice().iter().for_each(|index| met[usize::from(*index)] = true);
        let walk = (!self.points.is_empty()).then(|| self.walk(self.point_at(token)));
        let is_new = move |index: &u16| !std::mem::replace(&mut met[usize::from(*index)], true);
        let others = walk.into_iter().flatten().filter(is_new);
        let owners = (0..owners.len()).map(move |at| owners.as_slice()[at]);
        owners.chain(others).map(|index| &self.members[usize::from(index)])
    }

    pub(super) fn owners_at(&self, index: usize, rf: usize) -> Owners<'_> {
        let wish = Wish::new(rf, self.owning, self.zones);
        Owners { ring: self, set: wish.fulfil(self.walk(index), &self.zone_of) }
    }

    /// The members at all points clockwise from the one at `index`, once around.
    fn walk(&self, index: usize) -> impl Iterator<Item = u16> + '_ {
        self.points[index..].iter().chain(&self.points[..index]).map(|point| point.member)
    }
}

/// How many zones and how many members a replica set wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    zones: usize,
    fillers: usize,
}

impl Wish {
    /// `rf` replicas out of `members` in `zones`.
    pub(super) fn new(rf: usize, members: usize, zones: usize) -> Self {
        let total = rf.min(REPLICAS_MAX).min(members);
        let zones = zones.min(total);
        Self { zones, fillers: total - zones }
    }

    /// Walks until the wish is fulfilled or the walk ends.
    pub(super) fn fulfil(self, walk: impl Iterator<Item = u16>, zone_of: &[u16]) -> ReplicaSet {
        let mut picking = Picking::new(self);
        for member in walk {
            if picking.meet(member, zone_of) {
                break;
            }
        }
        picking.finish()
    }
}

/// A walk under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Picking {
    wish: Wish,
    zones: usize,
    picked: ReplicaSet,
    /// Bit i: the i-th picked was put aside.
    aside: u8,
}

const _: () = assert!(REPLICAS_MAX <= u8::BITS as usize);

impl Picking {
    pub(super) fn new(wish: Wish) -> Self {
        Self { wish, zones: 0, picked: ReplicaSet::default(), aside: 0 }
    }

    /// Meets a member; true when the wish is fulfilled.
    pub(super) fn meet(&mut self, member: u16, zone_of: &[u16]) -> bool {
        if !self.picked.has(member) {
            let zone = zone_of[usize::from(member)];
            // Whoever is aside has its zone among the chosen, so looking at all picked is right.
            let zone_is_new = self.picked.as_slice().iter().all(|other| zone_of[usize::from(*other)] != zone);
            if zone_is_new && self.zones < self.wish.zones {
                self.zones += 1;
                self.picked.push(member);
            } else if self.picked.len() - self.zones < self.wish.fillers {
                self.aside |= 1 << self.picked.len();
                self.picked.push(member);
            }
        }
        self.picked.len() == self.wish.zones + self.wish.fillers
    }

    /// The picked in the order in which they were met.
    pub(super) fn as_met(&self) -> ReplicaSet {
        self.picked
    }

    /// The picked in the order in which they own: those of distinct zones, then those put aside.
    pub(super) fn finish(self) -> ReplicaSet {
        let mut owners = ReplicaSet::default();
        for aside in [false, true] {
            let picked = self.picked.as_slice().iter().enumerate();
            picked
                .filter(|(index, _)| (self.aside >> index & 1 == 1) == aside)
                .for_each(|(_, member)| owners.push(*member));
        }
        owners
    }
}

/// A few member indices in order, without allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReplicaSet {
    len: u8,
    members: [u16; REPLICAS_MAX],
}

impl ReplicaSet {
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(super) fn as_slice(&self) -> &[u16] {
        &self.members[..self.len()]
    }

    pub(super) fn has(&self, member: u16) -> bool {
        self.as_slice().contains(&member)
    }

    fn push(&mut self, member: u16) {
        self.members[self.len()] = member;
        self.len += 1;
    }
}
