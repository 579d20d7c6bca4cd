//! What changes hands between two rings: the input of resharding.
//!
//! The circle is cut at every point of both rings. Between two cuts both replica sets are constant, so comparing
//! them there is exact; neighbours with the same change are joined again.

use super::{NodeId, Ring, Token, TokenRange};

/// A range whose owners change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The tokens concerned.
    pub range: TokenRange,
    /// The owners before, in order: whom to fetch from. Empty if the old ring was.
    pub from: Vec<NodeId>,
    /// The owners after, in order.
    pub to: Vec<NodeId>,
}

impl Move {
    /// Owners that come new, in order.
    pub fn gained(&self) -> impl Iterator<Item = &NodeId> {
        self.to.iter().filter(|id| !self.from.contains(id))
    }

    /// Owners that go, in order.
    pub fn lost(&self) -> impl Iterator<Item = &NodeId> {
        self.from.iter().filter(|id| !self.to.contains(id))
    }
}

/// All ranges whose set of owners differs between `old` and `new`, in order of their first token, disjoint. A mere
/// change of order (another primary) is no move: nothing needs to be copied for it.
pub fn diff(old: &Ring, new: &Ring, rf: usize) -> Vec<Move> {
    let mut moves: Vec<Move> = Vec::new();
    for range in cuts(old, new) {
        let Some(next) = change(old, new, rf, range) else { continue };
        match moves.last_mut() {
            Some(last) if last.range.last.next() == next.range.first && same_change(last, &next) => {
                last.range.last = next.range.last;
            }
            _ => moves.push(next),
        }
    }
    moves
}

fn same_change(a: &Move, b: &Move) -> bool {
    a.from == b.from && a.to == b.to
}

/// The arcs between neighbouring points of either ring, cut once more at the end of the circle, so that none wraps.
fn cuts(old: &Ring, new: &Ring) -> Vec<TokenRange> {
    let mut ends: Vec<Token> = old.points.iter().chain(&new.points).map(|point| point.token).collect();
    ends.push(Token(u64::MAX));
    ends.sort_unstable();
    ends.dedup();
    let mut first = Token(0);
    ends.into_iter()
        .map(|last| TokenRange { first: std::mem::replace(&mut first, last.next()), last })
        .collect()
}

fn change(old: &Ring, new: &Ring, rf: usize, range: TokenRange) -> Option<Move> {
    let before = old.owners(range.last, rf);
    let after = new.owners(range.last, rf);
    let same = before.len() == after.len() && before.iter().all(|member| after.contains(&member.id));
    if same {
        return None;
    }
    let names = |owners: super::Owners<'_>| owners.iter().map(|member| member.id.clone()).collect();
    Some(Move { range, from: names(before), to: names(after) })
}
