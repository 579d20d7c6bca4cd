//! Who owns what: a hash ring every node computes alike from the same members.
//!
//! Nothing here waits, reads a clock or draws entropy. A [`Ring`] is a value made of [`Member`]s; the order in
//! which they are given never matters. A token belongs to the members found by walking clockwise from it: distinct
//! zones first, then whoever comes next ([`Owners`]). A range is the arc that ends at a member's token.
//!
//! **Collisions.** When two members claim the same token, the one whose name sorts first keeps it. Every node sees
//! the same names, so every node decides alike, and the loser misses one of its tokens, nothing more.

mod board;
mod diff;
mod draw;
mod leads;
mod load;
mod member;
pub mod placement;
mod replicas;
mod token;

use std::fmt;

pub use diff::{Move, diff};
pub use draw::Draw;
pub use load::{Loads, fair_shares};
pub use member::{InvalidName, InvalidWeight, Member, NodeId, Weight, Zone};
pub use replicas::Owners;
pub use token::{Token, TokenRange};

use crate::limits::{RING_MEMBERS_MAX, TOKENS_PER_MEMBER_MAX};

/// The tokens of all members on one circle.
#[derive(Clone, PartialEq, Eq)]
pub struct Ring {
    /// Sorted by name, one for each name.
    members: Vec<Member>,
    /// The zone of each member, as a number below `zones`.
    zone_of: Vec<u16>,
    zones: usize,
    /// How many members own a point.
    owning: usize,
    /// Sorted by token, each token once.
    points: Vec<Point>,
    hash: RingHash,
}

/// A member's token on the circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    token: Token,
    /// Index into the ring's members.
    member: u16,
}

/// What a ring comes to, for comparing the rings of two nodes at a glance. Stable across versions and machines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RingHash(pub u64);

impl fmt::Display for RingHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RingHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Ring {
    /// Makes the ring of `members`. A name that comes twice counts once (its lesser value, by the order of
    /// [`Member`]); members without tokens are known but own nothing.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Self {
        let mut members: Vec<Member> = members.into_iter().map(normalised).collect();
        members.sort_unstable();
        members.dedup_by(|later, earlier| later.id == earlier.id);
        members.truncate(RING_MEMBERS_MAX);
        let points = points(&members);
        let owning = owning(&points);
        let (zone_of, zones) = number_zones(&members, &owning);
        let hash = hash(&members);
        Self { members, zone_of, zones, owning: owning.len(), points, hash }
    }

    /// The members, sorted by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of this name.
    pub fn member(&self, id: &NodeId) -> Option<&Member> {
        self.members.binary_search_by(|member| member.id.cmp(id)).ok().map(|index| &self.members[index])
    }

    /// Whether nobody owns anything.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// A digest of members, zones, weights and tokens: equal on all nodes that agree.
    pub fn hash(&self) -> RingHash {
        self.hash
    }

    /// All ranges in order of their last token. They cover the circle and do not overlap; none if the ring is empty.
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = TokenRange> + '_ {
        (0..self.points.len()).map(|index| self.range(index))
    }

    /// All ranges with their owners, in order of their last token.
    pub fn owned_ranges(&self, rf: usize) -> impl ExactSizeIterator<Item = (TokenRange, Owners<'_>)> + '_ {
        (0..self.points.len()).map(move |index| (self.range(index), self.owners_at(index, rf)))
    }

    /// The ranges of which `id` is one of the first `rf` owners; neighbours are joined.
    pub fn ranges_of(&self, id: &NodeId, rf: usize) -> Vec<TokenRange> {
        let owned = self.owned_ranges(rf).filter(|(_, owners)| owners.contains(id)).map(|(range, _)| range);
        join_neighbours(owned)
    }

    fn range(&self, index: usize) -> TokenRange {
        let before = if index == 0 { self.points.len() - 1 } else { index - 1 };
        TokenRange::after(self.points[before].token, self.points[index].token)
    }

    /// The index of the point whose range holds `token`. The ring must not be empty.
    fn point_at(&self, token: Token) -> usize {
        let index = self.points.partition_point(|point| point.token < token);
        if index == self.points.len() { 0 } else { index }
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} members, {} points, {})", self.members.len(), self.points.len(), self.hash)
    }
}

fn normalised(mut member: Member) -> Member {
    member.tokens.sort_unstable();
    member.tokens.dedup();
    member.tokens.truncate(TOKENS_PER_MEMBER_MAX);
    member
}

/// The members that own a point, sorted: who claims no token, or lost all to collisions, is not among them.
fn owning(points: &[Point]) -> Vec<u16> {
    let mut owning: Vec<u16> = points.iter().map(|point| point.member).collect();
    owning.sort_unstable();
    owning.dedup();
    owning
}

/// Zones are numbered in order of their names. Only members that own a point count: a zone whose members all own
/// nothing cannot hold a replica, and its number is never looked at.
fn number_zones(members: &[Member], owning: &[u16]) -> (Vec<u16>, usize) {
    let mut names: Vec<&Zone> = owning.iter().map(|index| &members[usize::from(*index)].zone).collect();
    names.sort_unstable();
    names.dedup();
    let number = |member: &Member| names.binary_search(&&member.zone).unwrap_or(0) as u16;
    (members.iter().map(number).collect(), names.len())
}

fn points(members: &[Member]) -> Vec<Point> {
    let claims = members.iter().enumerate();
    let mut points: Vec<Point> = claims
        .flat_map(|(index, member)| {
            member.tokens.iter().map(move |token| Point { token: *token, member: index as u16 })
        })
        .collect();
    // Members are numbered in order of their names, so of equal tokens the first name's stays.
    points.sort_unstable();
    points.dedup_by_key(|point| point.token);
    points
}

/// FNV-1a, 64 bit (Fowler, Noll, Vo; offset basis and prime as published). A fixed, seedless function: the hash is
/// compared between machines. It guards against mistakes, not against attackers, who are kept out by TLS.
fn hash(members: &[Member]) -> RingHash {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    for member in members {
        hash.text(member.id.as_str());
        hash.text(member.zone.as_str());
        hash.bytes(&member.weight.get().to_le_bytes());
        hash.bytes(&(member.tokens.len() as u64).to_le_bytes());
        member.tokens.iter().for_each(|token| hash.bytes(&token.0.to_le_bytes()));
    }
    RingHash(hash.0)
}

struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The length goes first, so that `ab`, `c` and `a`, `bc` differ.
    fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text.as_bytes());
    }
}

/// Joins ranges that touch. They come in order of their last token; the first may touch the last across the end.
fn join_neighbours(ranges: impl Iterator<Item = TokenRange>) -> Vec<TokenRange> {
    let mut joined: Vec<TokenRange> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(previous) if previous.last.next() == range.first => previous.last = range.last,
            _ => joined.push(range),
        }
    }
    if let [first, .., last] = joined[..]
        && last.last.next() == first.first
    {
        joined[0].first = last.first;
        joined.pop();
    }
    joined
}

#[cfg(test)]
mod tests;
