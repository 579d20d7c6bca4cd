//! What is kept of the lines of one series in one elementary interval.
//!
//! Each cell merges with another of the same interval or of the next one. Merging is associative, so that
//! pieces may be scanned apart and put together in any order, and each cell is as small as its function
//! allows: only quantiles and counters need the samples themselves.

use bincode::{Decode, Encode};

/// State of one elementary interval, or of several merged.
pub(crate) trait Cell: Clone + Default {
    /// Whether no line is in it; then the window has no value.
    fn is_empty(&self) -> bool;

    /// Takes in `other`, of the same or a later time.
    fn merge(&mut self, other: &Self);
}

/// `count_over_time`, `rate`, `absent_over_time`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
pub(crate) struct Count(pub(crate) u64);

impl Cell for Count {
    fn is_empty(&self) -> bool {
        self.0 == 0
    }

    fn merge(&mut self, other: &Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

/// `bytes_over_time`, `bytes_rate`: empty lines count as lines, so that their window has the value 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
pub(crate) struct Bytes {
    pub(crate) lines: u64,
    pub(crate) bytes: u64,
}

impl Cell for Bytes {
    fn is_empty(&self) -> bool {
        self.lines == 0
    }

    fn merge(&mut self, other: &Self) {
        self.lines = self.lines.saturating_add(other.lines);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// `sum_over_time`, `avg_over_time` and `rate` of unwrapped values.
///
/// The sum carries what rounding lost (Neumaier's variant of Kahan summation), so the same samples give the
/// same sum however they were cut into pieces; a plain sum would let the last digits flicker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
pub(crate) struct Sum {
    count: u64,
    sum: f64,
    lost: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1;
        self.add_part(value);
    }

    fn add_part(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_finite() {
            let rest = if self.sum.abs() >= value.abs() {
                (self.sum - sum) + value
            } else {
                (value - sum) + self.sum
            };
            self.lost += rest;
        }
        self.sum = sum;
    }

    pub(crate) fn total(&self) -> f64 {
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }

    pub(crate) fn mean(&self) -> f64 {
        self.total() / self.count as f64
    }
}

impl Cell for Sum {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn merge(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.add_part(other.sum);
        self.lost += other.lost;
    }
}

/// `stddev_over_time`, `stdvar_over_time`: count, mean and sum of squared deviations (Welford), merged as
/// Chan, Golub and LeVeque do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
pub(crate) struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Moments {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
    }

    pub(crate) fn variance(&self) -> f64 {
        self.squares / self.count as f64
    }
}

impl Cell for Moments {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn merge(&mut self, other: &Self) {
        if self.is_empty() || other.is_empty() {
            if self.is_empty() {
                *self = *other;
            }
            return;
        }
        let (left, right) = (self.count as f64, other.count as f64);
        let delta = other.mean - self.mean;
        self.count = self.count.saturating_add(other.count);
        self.mean += delta * right / (left + right);
        self.squares += other.squares + delta * delta * left * right / (left + right);
    }
}

/// `min_over_time` and `max_over_time`: NaN gives way to any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
pub(crate) struct Extreme<const MAX: bool>(pub(crate) Option<f64>);

impl<const MAX: bool> Extreme<MAX> {
    pub(crate) fn add(&mut self, value: f64) {
        let replaces = |held: f64| held.is_nan() || if MAX { value > held } else { value < held };
        if self.0.is_none_or(replaces) {
            self.0 = Some(value);
        }
    }
}

impl<const MAX: bool> Cell for Extreme<MAX> {
    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn merge(&mut self, other: &Self) {
        other.0.into_iter().for_each(|value| self.add(value));
    }
}

/// A value and its place among all values of the query.
#[derive(Clone, Copy, Debug, PartialEq, Encode, Decode)]
pub(crate) struct Placed {
    pub(crate) ts: i64,
    /// Orders equal timestamps of different sources; see
    /// [`Accumulator::set_origin`](super::Accumulator::set_origin).
    pub(crate) origin: u64,
    pub(crate) value: f64,
}

impl Placed {
    fn place(&self) -> (i64, u64) {
        (self.ts, self.origin)
    }
}

/// `first_over_time` (`LAST` false) and `last_over_time`. Of equal places the one added first is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Encode, Decode)]
pub(crate) struct Edge<const LAST: bool>(pub(crate) Option<Placed>);

impl<const LAST: bool> Edge<LAST> {
    pub(crate) fn add(&mut self, sample: Placed) {
        let replaces = |held: Placed| {
            if LAST { sample.place() >= held.place() } else { sample.place() < held.place() }
        };
        if self.0.is_none_or(replaces) {
            self.0 = Some(sample);
        }
    }
}

impl<const LAST: bool> Cell for Edge<LAST> {
    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn merge(&mut self, other: &Self) {
        other.0.into_iter().for_each(|sample| self.add(sample));
    }
}

/// `quantile_over_time`: every value; order does not matter.
pub(crate) type Values = Vec<f64>;

/// `rate_counter`: every sample; sorted by place before use.
pub(crate) type Samples = Vec<Placed>;

impl Cell for Values {
    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }

    fn merge(&mut self, other: &Self) {
        self.extend_from_slice(other);
    }
}

impl Cell for Samples {
    fn is_empty(&self) -> bool {
        Vec::is_empty(self)
    }

    fn merge(&mut self, other: &Self) {
        self.extend_from_slice(other);
    }
}

/// Sorts samples by time, then origin, then the order they were added in.
pub(crate) fn sort_by_place(samples: &mut Samples) {
    samples.sort_by_key(Placed::place);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{Cell, Edge, Extreme, Moments, Placed, Sum};

    fn sum(values: &[f64]) -> Sum {
        let mut sum = Sum::default();
        values.iter().for_each(|&value| sum.add(value));
        sum
    }

    #[test]
    fn sums_keep_what_rounding_would_lose() {
        assert_eq!(sum(&[1e16, 1.0, -1e16]).total(), 1.0);
        assert_eq!(sum(&[0.1; 10]).total(), 1.0);
        let mut merged = sum(&[1e16, 1.0]);
        merged.merge(&sum(&[1.0, -1e16]));
        merged.merge(&sum(&[1e16, 1.0, -1e16]));
        assert_eq!(merged.total(), 3.0);
    }

    #[test]
    fn infinite_sums_follow_ieee_rules() {
        assert_eq!(sum(&[f64::INFINITY, 1.0]).total(), f64::INFINITY);
        assert!(sum(&[f64::INFINITY, f64::NEG_INFINITY]).total().is_nan());
        assert!(sum(&[f64::NAN, 1.0]).total().is_nan());
        assert_eq!(sum(&[f64::INFINITY, 1.0]).mean(), f64::INFINITY);
    }

    #[test]
    fn nan_is_no_extreme_unless_it_is_alone() {
        let mut max = Extreme::<true>::default();
        max.add(f64::NAN);
        assert!(max.0.is_some_and(f64::is_nan));
        max.add(-1.0);
        max.add(f64::NAN);
        assert_eq!(max.0, Some(-1.0));
    }

    #[test]
    fn equal_timestamps_are_told_apart_by_origin_then_by_arrival() {
        let sample = |origin, value| Placed { ts: 5, origin, value };
        let mut last = Edge::<true>::default();
        let mut first = Edge::<false>::default();
        for sample in [sample(1, 10.0), sample(1, 11.0), sample(0, 12.0)] {
            last.add(sample);
            first.add(sample);
        }
        assert_eq!(last.0.map(|s| s.value), Some(11.0));
        assert_eq!(first.0.map(|s| s.value), Some(12.0));
    }

    #[test]
    fn variance_of_one_value_repeated_is_exactly_zero() {
        let mut all = Moments::default();
        for _ in 0..3 {
            let mut part = Moments::default();
            (0..7).for_each(|_| part.add(0.1));
            all.merge(&part);
        }
        assert_eq!(all.variance(), 0.0);
    }

    proptest! {
        #[test]
        fn variance_of_parts_is_variance_of_the_whole(
            values in proptest::collection::vec(-1e6f64..1e6, 1..40), cut in any::<proptest::sample::Index>(),
        ) {
            let of = |values: &[f64]| {
                let mut moments = Moments::default();
                values.iter().for_each(|&value| moments.add(value));
                moments
            };
            let cut = cut.index(values.len());
            let mut merged = of(&values[..cut]);
            merged.merge(&of(&values[cut..]));
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let expected = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * expected.max(1e-3);
            prop_assert_eq!(close(merged.variance(), expected), true);
        }
    }
}
