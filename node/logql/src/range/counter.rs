//! `rate_counter`: the per-second increase of a counter, resets allowed for, extrapolated to the window's
//! edges as Prometheus' `rate` does (its documentation of `rate()` and `increase()` has the rules).

use super::cell::Placed;

/// The rate over the window `(from, to]` (Unix ns) of `seconds`. `samples` are sorted by time and not empty.
/// A single sample has no slope: 0, where Prometheus would give no value.
pub(crate) fn rate(samples: &[Placed], (from, to): (i64, i64), seconds: f64) -> f64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return 0.0 };
    if samples.len() < 2 {
        return 0.0;
    }
    let elapsed = |from: i64, to: i64| to.saturating_sub(from) as f64 / 1e9;
    let sampled = elapsed(first.ts, last.ts);
    let spacing = sampled / (samples.len() - 1) as f64;
    let increase = increase(samples);
    let mut to_start = reach(elapsed(from, first.ts), spacing);
    if increase > 0.0 && first.value >= 0.0 {
        // A counter is never below zero: its line is not drawn back beyond the point where it crosses zero.
        to_start = to_start.min(sampled * (first.value / increase));
    }
    let stretched = sampled + to_start + reach(elapsed(last.ts, to), spacing);
    increase * (stretched / sampled) / seconds
}

/// The counter's growth; where it fell it had started again from zero.
fn increase(samples: &[Placed]) -> f64 {
    let resets = samples.windows(2).filter(|pair| pair[1].value < pair[0].value).map(|pair| pair[0].value);
    samples[samples.len() - 1].value - samples[0].value + resets.sum::<f64>()
}

/// How far to extrapolate towards an edge: all the way when it is about as near as a next sample would have
/// been, else half the usual spacing.
fn reach(distance: f64, spacing: f64) -> f64 {
    if distance < spacing * 1.1 { distance } else { spacing / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::rate;
    use crate::range::cell::Placed;

    fn check(samples: &[(i64, f64)], window: (i64, i64), expected: f64) {
        let second = 1_000_000_000;
        let samples: Vec<_> =
            samples.iter().map(|&(s, value)| Placed { ts: s * second, origin: 0, value }).collect();
        let found = rate(&samples, (window.0 * second, window.1 * second), (window.1 - window.0) as f64);
        assert!((found - expected).abs() < 1e-12, "{samples:?}: {found}, expected {expected}");
    }

    #[test]
    fn a_steady_counter_is_extrapolated_to_both_edges() {
        check(&[(10, 100.0), (20, 110.0), (30, 120.0)], (5, 35), 1.0);
    }

    #[test]
    fn a_counter_is_not_drawn_back_below_zero() {
        check(&[(3, 0.0), (23, 5.0), (43, 9.0)], (-60, 60), 9.0 * 57.0 / 40.0 / 120.0);
    }

    #[test]
    fn where_it_crosses_zero_can_only_shorten_the_reach_of_a_far_first_sample() {
        check(&[(180, 40.0), (210, 100.0)], (120, 210), 60.0 * 45.0 / 30.0 / 90.0);
        check(&[(180, 20.0), (210, 80.0)], (120, 210), 60.0 * 40.0 / 30.0 / 90.0);
    }

    #[test]
    fn a_reset_counts_as_a_new_start_from_zero() {
        check(&[(0, 100.0), (10, 3.0), (20, 13.0)], (0, 20), 13.0 / 20.0);
    }

    #[test]
    fn one_sample_has_no_rate() {
        check(&[(3, 9.0)], (0, 60), 0.0);
    }
}
