//! The quantile of a window's values, interpolated between its two neighbours as Prometheus does.

use std::cmp::Ordering;

/// NaN sorts below every number.
fn ascending(a: &f64, b: &f64) -> Ordering {
    a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// The `q`-quantile of `values`, which are reordered: −Inf for q < 0, +Inf for q > 1, NaN of nothing.
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if !(0.0..=1.0).contains(&q) {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let rank = q * (values.len() - 1) as f64;
    let weight = rank - rank.floor();
    let (_, &mut lower, above) = values.select_nth_unstable_by(rank.floor() as usize, ascending);
    let upper = above.iter().copied().min_by(ascending).unwrap_or(lower);
    // With weight 0 an infinite neighbour still makes this NaN; so it does in Loki.
    lower * (1.0 - weight) + upper * weight
}

#[cfg(test)]
mod tests {
    use super::quantile;

    fn check(q: f64, values: &[f64], expected: f64) {
        let found = quantile(q, &mut values.to_vec());
        assert!(
            (found - expected).abs() < 1e-12 || found == expected || (found.is_nan() && expected.is_nan()),
            "quantile({q}, {values:?}) = {found}, expected {expected}"
        );
    }

    #[test]
    fn quantiles_are_interpolated() {
        check(0.5, &[4.0, 1.0, 3.0, 2.0], 2.5);
        check(0.25, &[4.0, 1.0, 3.0, 2.0], 1.75);
        check(0.0, &[4.0, 1.0], 1.0);
        check(1.0, &[4.0, 1.0], 4.0);
        check(0.9, &[7.0], 7.0);
    }

    #[test]
    fn quantiles_outside_zero_to_one_are_infinite() {
        check(-0.1, &[1.0], f64::NEG_INFINITY);
        check(1.1, &[1.0], f64::INFINITY);
        check(0.5, &[], f64::NAN);
    }

    #[test]
    fn nan_sorts_below_every_number_and_infinity_above() {
        check(1.0, &[f64::NAN, 1.0, 2.0], 2.0);
        check(0.5, &[f64::NAN, 1.0, 2.0], 1.0);
        check(0.5, &[1.0, 2.0, f64::INFINITY], f64::NAN);
        check(0.25, &[1.0, 2.0, 3.0, 4.0, f64::INFINITY], 2.0);
    }
}
