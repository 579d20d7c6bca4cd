//! Vector aggregations: many series to few, step by step.
//!
//! Series are put into groups once, not once a step as the definition reads; within a group each step has one
//! small state.

mod rank;
mod tally;

use std::collections::BTreeMap;

use crate::ast::{Grouping, VectorOp};
use crate::series::{SeriesLabels, StepMatrix, StepSeries};

/// The series of each group, by the group's labels.
type Groups = BTreeMap<SeriesLabels, Vec<StepSeries>>;

/// Aggregates `input` over `steps` steps. `parameter` is the k of `topk` and its kin.
pub(crate) fn aggregate(
    op: VectorOp,
    parameter: u64,
    grouping: Option<&Grouping>,
    mut input: StepMatrix,
    steps: u32,
) -> StepMatrix {
    // What depends on the order of series (ties, the last digits of a sum) should not depend on where they
    // came from.
    input.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let groups = group(grouping, input);
    let k = usize::try_from(parameter).unwrap_or(usize::MAX);
    let series = match op {
        VectorOp::TopK | VectorOp::ApproxTopK => rank::best(groups, rank::Order::Descending, k, steps),
        VectorOp::BottomK => rank::best(groups, rank::Order::Ascending, k, steps),
        VectorOp::Sort => rank::best(groups, rank::Order::Ascending, usize::MAX, steps),
        VectorOp::SortDesc => rank::best(groups, rank::Order::Descending, usize::MAX, steps),
        VectorOp::Sum
        | VectorOp::Avg
        | VectorOp::Min
        | VectorOp::Max
        | VectorOp::Count
        | VectorOp::Stddev
        | VectorOp::Stdvar => tally::combine(op, groups, steps),
    };
    StepMatrix { series }
}

fn group(grouping: Option<&Grouping>, input: StepMatrix) -> Groups {
    let mut groups = Groups::new();
    for series in input.series {
        groups.entry(key(grouping, &series.labels)).or_default().push(series);
    }
    groups
}

/// The labels of the group a series belongs to.
fn key(grouping: Option<&Grouping>, labels: &SeriesLabels) -> SeriesLabels {
    match grouping {
        None => SeriesLabels::default(),
        Some(Grouping { without, labels: listed }) => {
            labels.filtered(|name| listed.iter().any(|label| label == name) != *without)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::aggregate;
    use crate::ast::{Grouping, VectorOp};
    use crate::series::{SeriesLabels, StepMatrix, StepSeries};

    /// One series for each (labels `a`, `b`, values by step; NaN is a value).
    fn matrix(series: &[(&str, &str, &[Option<f64>])]) -> StepMatrix {
        let series = series.iter().map(|(a, b, values)| StepSeries {
            labels: SeriesLabels::new(
                [("a", *a), ("b", *b)].iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            ),
            points: values.iter().zip(0..).filter_map(|(value, step)| Some((step, (*value)?))).collect(),
        });
        StepMatrix { series: series.collect() }
    }

    fn by_a() -> Grouping {
        Grouping { without: false, labels: vec!["a".to_owned()] }
    }

    fn input() -> StepMatrix {
        matrix(&[
            ("x", "1", &[Some(1.0), Some(5.0), None]),
            ("x", "2", &[Some(3.0), None, None]),
            ("y", "3", &[Some(10.0), Some(f64::NAN), None]),
        ])
    }

    fn check(op: VectorOp, expected: &[(&str, &[(u32, f64)])]) {
        let found = aggregate(op, 1, Some(&by_a()), input(), 3);
        let shown: Vec<_> = found.series.iter().map(|s| (s.labels.get("a"), s.points.as_slice())).collect();
        assert_eq!(format!("{shown:?}"), format!("{expected:?}"), "{op:?}");
    }

    #[test]
    fn groups_are_aggregated_step_by_step() {
        let nan = f64::NAN;
        check(VectorOp::Sum, &[("x", &[(0, 4.0), (1, 5.0)]), ("y", &[(0, 10.0), (1, nan)])]);
        check(VectorOp::Avg, &[("x", &[(0, 2.0), (1, 5.0)]), ("y", &[(0, 10.0), (1, nan)])]);
        check(VectorOp::Min, &[("x", &[(0, 1.0), (1, 5.0)]), ("y", &[(0, 10.0), (1, nan)])]);
        check(VectorOp::Max, &[("x", &[(0, 3.0), (1, 5.0)]), ("y", &[(0, 10.0), (1, nan)])]);
        check(VectorOp::Count, &[("x", &[(0, 2.0), (1, 1.0)]), ("y", &[(0, 1.0), (1, 1.0)])]);
        check(VectorOp::Stddev, &[("x", &[(0, 1.0), (1, 0.0)]), ("y", &[(0, 0.0), (1, 0.0)])]);
        check(VectorOp::Stdvar, &[("x", &[(0, 1.0), (1, 0.0)]), ("y", &[(0, 0.0), (1, 0.0)])]);
    }

    #[test]
    fn the_best_of_a_group_keep_their_labels() {
        check(VectorOp::TopK, &[("x", &[(0, 3.0)]), ("x", &[(1, 5.0)]), ("y", &[(0, 10.0), (1, f64::NAN)])]);
        check(VectorOp::BottomK, &[("x", &[(0, 1.0), (1, 5.0)]), ("y", &[(0, 10.0), (1, f64::NAN)])]);
        assert!(aggregate(VectorOp::TopK, 0, None, input(), 3).series.is_empty());
    }

    #[test]
    fn sorting_an_instant_vector_puts_nan_last_both_ways() {
        let vector =
            || matrix(&[("x", "1", &[Some(2.0)]), ("x", "2", &[Some(f64::NAN)]), ("x", "3", &[Some(1.0)])]);
        let order = |op| {
            let sorted = aggregate(op, 0, None, vector(), 1);
            sorted.series.iter().map(|s| s.labels.get("b").to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(order(VectorOp::Sort), ["3", "1", "2"]);
        assert_eq!(order(VectorOp::SortDesc), ["1", "3", "2"]);
    }

    #[test]
    fn no_grouping_makes_one_group_and_without_removes_only_what_it_lists() {
        let all = aggregate(VectorOp::Count, 0, None, input(), 3);
        assert_eq!((all.series.len(), &all.series[0].labels), (1, &SeriesLabels::default()));
        let without = Grouping { without: true, labels: vec!["a".to_owned()] };
        let rest = aggregate(VectorOp::Count, 0, Some(&without), input(), 3);
        assert_eq!(rest.series.iter().map(|s| s.labels.get("b")).collect::<Vec<_>>(), ["1", "2", "3"]);
    }

    /// One step of one group by the definition.
    fn naive(op: VectorOp, values: &[f64]) -> f64 {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        match op {
            VectorOp::Sum => values.iter().sum(),
            VectorOp::Avg => mean,
            VectorOp::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            VectorOp::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            VectorOp::Count => count,
            VectorOp::Stddev => variance.sqrt(),
            _ => variance,
        }
    }

    proptest! {
        #[test]
        fn whole_series_give_what_single_steps_give(
            values in proptest::collection::vec(("[xy]", proptest::collection::vec(any::<Option<i8>>(), 3)), 0..6),
            op in proptest::sample::select(vec![
                VectorOp::Sum, VectorOp::Avg, VectorOp::Min, VectorOp::Max, VectorOp::Count, VectorOp::Stddev,
                VectorOp::Stdvar,
            ]),
            k in 0u64..4,
        ) {
            let names: Vec<String> = (0..values.len()).map(|i| i.to_string()).collect();
            let rows: Vec<Vec<Option<f64>>> =
                values.iter().map(|(_, row)| row.iter().map(|v| v.map(f64::from)).collect()).collect();
            let series: Vec<_> = (0..rows.len()).map(|i| (values[i].0.as_str(), names[i].as_str(), rows[i].as_slice())).collect();
            let combined = aggregate(op, 0, Some(&by_a()), matrix(&series), 3);
            let top = aggregate(VectorOp::TopK, k, Some(&by_a()), matrix(&series), 3);
            for group in ["x", "y"] {
                for step in 0..3 {
                    let of = |matrix: &StepMatrix| {
                        let series = matrix.series.iter().filter(|s| s.labels.get("a") == group);
                        series.flat_map(|s| s.points.iter().filter(|p| p.0 == step).map(|p| p.1)).collect::<Vec<f64>>()
                    };
                    let mut present = of(&matrix(&series));
                    let expected: Vec<f64> = (!present.is_empty()).then(|| naive(op, &present)).into_iter().collect();
                    let found = of(&combined);
                    prop_assert_eq!(found.len(), expected.len());
                    prop_assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9), "{:?}", op);
                    present.sort_by(|a, b| b.total_cmp(a));
                    present.truncate(k as usize);
                    let mut best = of(&top);
                    best.sort_by(|a, b| b.total_cmp(a));
                    prop_assert_eq!(best, present);
                }
            }
        }
    }
}
