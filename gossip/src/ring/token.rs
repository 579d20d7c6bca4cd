//! Tokens and ranges of them: the circle of 2^64 points on which streams and members meet.
//!
//! Every arithmetic on the circle that wraps around its end lives here, so that no other file has to
//! think about it.

use std::fmt;

/// A point on the circle. A stream's token is the top 64 bits of its 128-bit id; a member's tokens are chosen
/// by [`placement`](super::placement).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Token(pub u64);

impl Token {
    /// The token of a stream id: its top 64 bits.
    pub fn of_stream_id(id: u128) -> Self {
        Self((id >> 64) as u64)
    }

    /// The next point clockwise; the last point is followed by the first.
    pub fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The previous point, anticlockwise.
    pub fn previous(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// An arc of the circle, both ends included, read clockwise. It is never empty; `last` just before `first` means
/// the whole circle, and `last < first` that the arc passes the end of the circle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenRange {
    /// The first token of the arc.
    pub first: Token,
    /// The last token of the arc.
    pub last: Token,
}

impl TokenRange {
    /// The whole circle.
    pub const ALL: Self = Self { first: Token(0), last: Token(u64::MAX) };

    /// The arc after `before` up to and including `last`; the whole circle when they are equal.
    pub fn after(before: Token, last: Token) -> Self {
        Self { first: before.next(), last }
    }

    /// Whether `token` lies on the arc.
    pub fn contains(&self, token: Token) -> bool {
        token.0.wrapping_sub(self.first.0) <= self.last.0.wrapping_sub(self.first.0)
    }

    /// Whether all of `other` lies on the arc.
    pub fn covers(&self, other: &Self) -> bool {
        let is_whole = self.size() == 1 << 64;
        is_whole || u128::from(other.first.0.wrapping_sub(self.first.0)) + other.size() <= self.size()
    }

    /// How many tokens the arc holds: 1 to 2^64.
    pub fn size(&self) -> u128 {
        u128::from(self.last.0.wrapping_sub(self.first.0)) + 1
    }

    /// The arc's part of the whole circle, more than 0 and at most 1.
    pub fn fraction(&self) -> f64 {
        self.size() as f64 / CIRCLE
    }
}

/// The number of points on the circle.
const CIRCLE: f64 = 18_446_744_073_709_551_616.0;

/// A distance between two points as part of the circle; between a point and itself lies the whole circle.
pub(super) fn fraction(distance: u64) -> f64 {
    if distance == 0 { 1.0 } else { distance as f64 / CIRCLE }
}

impl fmt::Debug for TokenRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.first, self.last)
    }
}

impl fmt::Display for TokenRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::{Token, TokenRange};

    fn check(first: u64, last: u64, size: u128, inside: &[u64], outside: &[u64]) {
        let range = TokenRange { first: Token(first), last: Token(last) };
        assert_eq!(range.size(), size, "{range}");
        for token in inside {
            assert!(range.contains(Token(*token)), "{range} should hold {token:x}");
        }
        for token in outside {
            assert!(!range.contains(Token(*token)), "{range} should not hold {token:x}");
        }
    }

    #[test]
    fn ranges_hold_both_ends_and_wrap() {
        check(10, 20, 11, &[10, 15, 20], &[9, 21, 0, u64::MAX]);
        check(u64::MAX, 0, 2, &[u64::MAX, 0], &[1, u64::MAX - 1]);
        check(7, 7, 1, &[7], &[6, 8]);
        check(0, u64::MAX, 1 << 64, &[0, 1, u64::MAX], &[]);
        check(6, 5, 1 << 64, &[0, 5, 6, u64::MAX], &[]);
    }

    #[test]
    fn an_arc_covers_what_lies_on_it_whole() {
        let range = |first, last| TokenRange { first: Token(first), last: Token(last) };
        for (arc, other, expected) in [
            (range(10, 20), range(10, 20), true),
            (range(10, 20), range(12, 15), true),
            (range(10, 20), range(12, 21), false),
            (range(10, 20), range(9, 12), false),
            (range(20, 5), range(u64::MAX, 3), true),
            (range(20, 5), range(3, 20), false),
            (TokenRange::ALL, range(7, 6), true),
            (range(0, 5), TokenRange::ALL, false),
        ] {
            assert_eq!(arc.covers(&other), expected, "{arc} {other}");
        }
    }

    #[test]
    fn the_arc_after_a_token_up_to_itself_is_the_whole_circle() {
        let range = TokenRange::after(Token(5), Token(5));
        assert_eq!(range.size(), TokenRange::ALL.size());
        assert!((range.fraction() - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_stream_token_is_the_top_half_of_its_id() {
        assert_eq!(
            Token::of_stream_id(0x0123_4567_89ab_cdef_ffff_ffff_ffff_ffff),
            Token(0x0123_4567_89ab_cdef)
        );
    }
}
