//! For which part of the token ring a day's index is whole: of every pack it knows, it has the streams whose tokens lie
//! there. Streams outside may have been left out, as other nodes' to know.
//!
//! A node that comes to own more reads the packs that it knows once more ([`DayIndex::widen`](super::DayIndex::widen)).
//! Kept in the table `meta`, as pairs of the first and the last token of each arc, little endian; where there is nothing,
//! nothing was ever left out.

use heed::RwTxn;

use super::IndexError;
use super::env::Tables;

const REACH_KEY: &[u8] = b"reach";

/// Arcs of tokens, both ends included, ascending and apart.
pub type Arcs = Vec<(u64, u64)>;

pub(super) fn get(tables: &Tables, txn: &heed::RoTxn<'_>) -> Result<Option<Arcs>, IndexError> {
    let Some(bytes) = tables.meta.get(txn, REACH_KEY)? else { return Ok(None) };
    let (pairs, rest) = bytes.as_chunks::<16>();
    if !rest.is_empty() {
        let reason = format!("`{}` bytes are no pairs of tokens", bytes.len());
        return Err(IndexError::Corrupt { what: "reach", reason });
    }
    let token = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
    Ok(Some(pairs.iter().map(|pair| (token(&pair[..8]), token(&pair[8..]))).collect()))
}

pub(super) fn put(tables: &Tables, txn: &mut RwTxn<'_>, arcs: &[(u64, u64)]) -> Result<(), IndexError> {
    let bytes: Vec<u8> =
        arcs.iter().flat_map(|(first, last)| [first.to_le_bytes(), last.to_le_bytes()]).flatten().collect();
    Ok(tables.meta.put(txn, REACH_KEY, &bytes)?)
}

/// Of what was left out of a pack: nothing beyond these arcs may be relied on from now on.
pub(super) fn narrow(tables: &Tables, txn: &mut RwTxn<'_>, within: &[(u64, u64)]) -> Result<(), IndexError> {
    let known = get(tables, txn)?;
    let left = known.as_ref().map_or_else(|| within.to_vec(), |known| intersection(known, within));
    match known.is_some_and(|known| known == left) {
        true => Ok(()),
        false => put(tables, txn, &left),
    }
}

/// Whether a token is in one of the arcs.
pub fn holds(arcs: &[(u64, u64)], token: u64) -> bool {
    let after = arcs.partition_point(|(first, _)| *first <= token);
    after.checked_sub(1).is_some_and(|at| token <= arcs[at].1)
}

/// What is in both.
pub fn intersection(a: &[(u64, u64)], b: &[(u64, u64)]) -> Arcs {
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    let mut both = Arcs::new();
    while let (Some(one), Some(other)) = (a.peek(), b.peek()) {
        let (first, last) = (one.0.max(other.0), one.1.min(other.1));
        if first <= last {
            both.push((first, last));
        }
        if one.1 < other.1 {
            a.next();
        } else {
            b.next();
        }
    }
    both
}

/// What is in the first and not in the second.
pub fn difference(a: &[(u64, u64)], b: &[(u64, u64)]) -> Arcs {
    let mut left = Arcs::new();
    for &(first, last) in a {
        let mut next = Some(first);
        for &(from, to) in b.iter().filter(|(from, to)| *from <= last && first <= *to) {
            let Some(begin) = next else { break };
            if begin < from {
                left.push((begin, from - 1));
            }
            next = to.checked_add(1).filter(|next| *next <= last);
        }
        left.extend(next.map(|begin| (begin, last)));
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, proptest};

    use super::{Arcs, difference, holds, intersection};

    fn arcs() -> impl Strategy<Value = Arcs> {
        prop::collection::btree_set(any::<u8>(), 0..12).prop_map(|ends| {
            let ends: Vec<u64> = ends.into_iter().map(u64::from).collect();
            let mut arcs: Arcs =
                ends.as_chunks::<2>().0.iter().map(|[first, last]| (*first, *last)).collect();
            if arcs.len() > 3 {
                arcs.last_mut().unwrap().1 = u64::MAX;
            }
            arcs
        })
    }

    proptest! {
        #[test]
        fn arcs_are_cut_as_the_tokens_they_hold(a in arcs(), b in arcs(), token in any::<u8>()) {
            let one_holds = |arcs: &Arcs| arcs.iter().any(|(first, last)| (*first..=*last).contains(&token.into()));
            prop_assert_eq!(holds(&a, token.into()), one_holds(&a));
            prop_assert_eq!(one_holds(&intersection(&a, &b)), one_holds(&a) && one_holds(&b));
            prop_assert_eq!(one_holds(&difference(&a, &b)), one_holds(&a) && !one_holds(&b));
        }
    }
}
