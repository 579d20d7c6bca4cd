//! What each member holds as any of a range's replicas, and what it ought to hold.
//!
//! Loads and shares are in circles: with three replicas all members together hold 3. Evening out primary ownership
//! alone does not even out this, which is what disks and memory feel.

use super::{Ring, Weight, Zone};
use crate::limits::REPLICAS_MAX;

/// How a ring's loads compare with what would be fair.
#[derive(Clone, Debug, PartialEq)]
pub struct Loads {
    /// What each member holds, in circles, in the order of [`Ring::members`].
    pub held: Vec<f64>,
    /// What each member ought to hold.
    pub fair: Vec<f64>,
}

impl Loads {
    /// Measures a ring with `rf` replicas.
    pub fn of(ring: &Ring, rf: usize) -> Self {
        let mut held = vec![0.0; ring.members().len()];
        for (range, owners) in ring.owned_ranges(rf) {
            for index in owners.set().as_slice() {
                held[usize::from(*index)] += range.fraction();
            }
        }
        let wishes: Vec<_> = ring.members().iter().map(|member| (&member.zone, member.weight)).collect();
        Self { held, fair: fair_shares(&wishes, rf) }
    }

    /// The greatest of held ÷ fair: 1 is perfect, 1.02 means that one member holds 2 % too much. 0 without members.
    pub fn worst(&self) -> f64 {
        self.held.iter().zip(&self.fair).map(|(held, fair)| held / fair).fold(0.0, f64::max)
    }
}

/// What each member ought to hold with `rf` replicas: in proportion to its weight, as far as one member holds a
/// range only once and replicas go to distinct zones first.
///
/// A zone holds each range at least once where there are no more zones than replicas, and at most once where there
/// are more; what a bound takes from one zone goes to the others in proportion to their weight. Members share what
/// their zone has in the same way, each at most one circle.
pub fn fair_shares(members: &[(&Zone, Weight)], rf: usize) -> Vec<f64> {
    let total = rf.min(REPLICAS_MAX).min(members.len());
    let mut zones: Vec<&Zone> = members.iter().map(|(zone, _)| *zone).collect();
    zones.sort_unstable();
    zones.dedup();
    let most = if zones.len() >= total { 1 } else { total + 1 - zones.len() };
    let least = usize::from(zones.len() <= total);
    let inside =
        |zone: &Zone| -> Vec<usize> { (0..members.len()).filter(|i| members[*i].0 == zone).collect() };
    let weight = |index: &usize| f64::from(members[*index].1.get());
    let parts: Vec<Part> = zones
        .iter()
        .map(|zone| {
            let inside = inside(zone);
            let most = most.min(inside.len()) as f64;
            Part { weight: inside.iter().map(weight).sum(), least: least as f64, most }
        })
        .collect();
    let mut shares = vec![0.0; members.len()];
    for (zone, share) in zones.iter().zip(split(total as f64, &parts)) {
        let inside = inside(zone);
        let parts: Vec<Part> =
            inside.iter().map(|index| Part { weight: weight(index), least: 0.0, most: 1.0 }).collect();
        for (index, share) in inside.into_iter().zip(split(share, &parts)) {
            shares[index] = share;
        }
    }
    shares
}

/// One of those who split something: in proportion to a weight, within bounds.
struct Part {
    weight: f64,
    least: f64,
    most: f64,
}

/// Splits `total` in proportion to the weights, within each part's bounds: finds by bisection the level at which
/// the bounded parts add up to the total.
fn split(total: f64, parts: &[Part]) -> Vec<f64> {
    let at = |level: f64| parts.iter().map(move |part| (part.weight * level).clamp(part.least, part.most));
    // At weight 1, the least there is, a level of REPLICAS_MAX exceeds every bound.
    let (mut low, mut high) = (0.0, REPLICAS_MAX as f64);
    // Each step halves the error; 64 exhaust the mantissa.
    for _ in 0..64 {
        let middle = (low + high) / 2.0;
        if at(middle).sum::<f64>() < total { low = middle } else { high = middle }
    }
    at(high).collect()
}

#[cfg(test)]
mod tests {
    use super::{Weight, Zone, fair_shares};

    fn check(members: &[(&str, u16)], rf: usize, expected: &[f64]) {
        let members: Vec<_> = members
            .iter()
            .map(|(zone, weight)| (Zone::new(zone).unwrap(), Weight::new(*weight).unwrap()))
            .collect();
        let members: Vec<_> = members.iter().map(|(zone, weight)| (zone, *weight)).collect();
        let shares = fair_shares(&members, rf);
        for (share, expected) in shares.iter().zip(expected) {
            assert!((share - expected).abs() < 1e-9, "{shares:?} instead of {expected:?}");
        }
        assert_eq!(shares.len(), expected.len());
    }

    #[test]
    fn shares_follow_weights_within_the_bounds_of_zones_and_members() {
        check(&[], 3, &[]);
        check(&[("", 100)], 3, &[1.0]);
        check(&[("", 100), ("", 900)], 3, &[1.0, 1.0]);
        check(&[("", 100); 6], 3, &[0.5; 6]);
        // Weights count as far as nobody holds more than everything once.
        check(&[("", 100), ("", 100), ("", 200), ("", 200)], 3, &[0.5, 0.5, 1.0, 1.0]);
        check(&[("", 100), ("", 100), ("", 100), ("", 700)], 2, &[1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 1.0]);
        // Three zones, three replicas: every zone holds everything, however many share it.
        check(&[("a", 100), ("b", 100), ("c", 100), ("c", 100)], 3, &[1.0, 1.0, 0.5, 0.5]);
        // Two zones, three replicas: each zone at least once, the third by weight.
        check(&[("a", 100), ("b", 100), ("b", 100), ("b", 100)], 3, &[1.0, 2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]);
        // More zones than replicas: none more than once.
        check(&[("a", 100), ("b", 100), ("c", 100), ("d", 300)], 3, &[2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 1.0]);
    }
}
