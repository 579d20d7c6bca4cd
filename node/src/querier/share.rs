//! The part of the ring that one reader is asked about: a set of token ranges.
//!
//! A stream is in exactly one share of a query, so what readers find needs no telling apart: lines are merged, and
//! numbers added up.

use std::sync::Arc;

use grapevine_gossip::ring::{Token, TokenRange};
use grapevine_storage::index::{difference, holds, intersection};
use grapevine_storage::stream::StreamId;

/// A set of tokens. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Ascending, apart from each other, none of them past the end of the circle; none where all tokens are meant.
    arcs: Option<Arc<[(u64, u64)]>>,
}

impl Share {
    /// Every token: what a node without a cluster reads.
    pub fn all() -> Self {
        Share { arcs: None }
    }

    /// The tokens of these ranges, which may overlap and come in any order.
    pub fn of(ranges: impl IntoIterator<Item = TokenRange>) -> Self {
        let mut arcs: Vec<(u64, u64)> = Vec::new();
        for TokenRange { first: Token(first), last: Token(last) } in ranges {
            if first <= last {
                arcs.push((first, last));
            } else {
                arcs.extend([(first, u64::MAX), (0, last)]);
            }
        }
        arcs.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(arcs.len());
        for (first, last) in arcs {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        let all = joined == [(0, u64::MAX)];
        Share { arcs: (!all).then(|| joined.into()) }
    }

    /// Whether every token is in it.
    pub fn is_all(&self) -> bool {
        self.arcs.is_none()
    }

    /// Whether no token is in it.
    pub fn is_empty(&self) -> bool {
        self.arcs.as_ref().is_some_and(|arcs| arcs.is_empty())
    }

    /// Whether a stream is in it.
    pub fn holds(&self, stream: StreamId) -> bool {
        self.holds_token(stream.token())
    }

    /// Whether a token is in it.
    pub fn holds_token(&self, token: u64) -> bool {
        self.arcs.as_ref().is_none_or(|arcs| holds(arcs, token))
    }

    /// The ranges it is made of, ascending.
    pub fn ranges(&self) -> Vec<TokenRange> {
        let range = |(first, last): &(u64, u64)| TokenRange { first: Token(*first), last: Token(*last) };
        self.arcs.as_ref().map_or(vec![TokenRange::ALL], |arcs| arcs.iter().map(range).collect())
    }

    /// The same as pairs of the first and the last token.
    pub fn arcs(&self) -> Vec<(u64, u64)> {
        self.arcs.as_ref().map_or_else(|| vec![(0, u64::MAX)], |arcs| arcs.to_vec())
    }

    /// Whether all of another share is in it.
    pub fn covers(&self, other: &Share) -> bool {
        let other = other.arcs();
        intersection(&self.arcs(), &other) == other
    }

    /// What is in both.
    pub fn and(&self, other: &Share) -> Share {
        Share::of_arcs(&intersection(&self.arcs(), &other.arcs()))
    }

    /// What is in this and not in the other.
    pub fn without(&self, other: &Share) -> Share {
        Share::of_arcs(&difference(&self.arcs(), &other.arcs()))
    }

    /// The tokens of arcs that do not run past the end of the circle.
    pub fn of_arcs(arcs: &[(u64, u64)]) -> Self {
        Share::of(arcs.iter().map(|(first, last)| TokenRange { first: Token(*first), last: Token(*last) }))
    }

    /// How much of the circle it is, up to 1.
    pub fn fraction(&self) -> f64 {
        self.ranges().iter().map(TokenRange::fraction).sum()
    }
}

#[cfg(test)]
mod tests {
    use grapevine_gossip::ring::{Token, TokenRange};
    use grapevine_storage::stream::StreamId;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::Share;

    fn range(first: u64, last: u64) -> TokenRange {
        TokenRange { first: Token(first), last: Token(last) }
    }

    #[test]
    fn ranges_are_joined_and_those_past_the_end_cut() {
        let ranges = |of: &[TokenRange]| Share::of(of.iter().copied()).ranges();
        assert_eq!(ranges(&[range(11, 20), range(5, 10)]), [range(5, 20)]);
        assert_eq!(ranges(&[range(9, 3)]), [range(0, 3), range(9, u64::MAX)]);
        assert!(Share::of([range(9, 8)]).is_all());
        assert!(Share::of([range(0, 7), range(8, u64::MAX)]).is_all());
        assert!(Share::of([]).is_empty() && !Share::all().is_empty());
    }

    #[test]
    fn a_stream_is_where_its_token_is() {
        let share = Share::of([range(5, 5)]);
        let stream = |token: u64| StreamId(u128::from(token) << 64 | 7);
        assert!(share.holds(stream(5)) && !share.holds(stream(4)) && !share.holds(stream(6)));
    }

    proptest! {
        #[test]
        fn a_share_holds_what_its_ranges_hold(
            ranges in prop::collection::vec((any::<u8>(), any::<u8>()), 0..8), token in any::<u8>(),
        ) {
            let wide = |n: u8| u64::from(n) << 56;
            let ranges: Vec<TokenRange> = ranges.iter().map(|(a, b)| range(wide(*a), wide(*b))).collect();
            let share = Share::of(ranges.iter().copied());
            let token = wide(token);
            prop_assert_eq!(share.holds_token(token), ranges.iter().any(|r| r.contains(Token(token))));
            prop_assert_eq!(&Share::of(share.ranges()), &share);
            prop_assert!(share.fraction() <= 1.0);
        }
    }
}
