//! Windows must be what their definition says, however the lines were cut into pieces.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::TestCaseError;

use super::Accumulator;
use crate::ast::{
    Conversion, LogExpr, LogRange, MatchOp, Matcher, RangeAggregation, RangeOp, SampleExpr, Unwrap,
};
use crate::eval_error::EvalError;
use crate::eval_limits::EvalLimits;
use crate::plan::{Leaf, MetricPlan, PlanOptions};
use crate::range::Steps;
use crate::series::StepMatrix;

/// A function, and whether it works on unwrapped values.
pub(in crate::range) const FUNCTIONS: [(RangeOp, bool); 16] = [
    (RangeOp::Rate, false),
    (RangeOp::Rate, true),
    (RangeOp::RateCounter, true),
    (RangeOp::CountOverTime, false),
    (RangeOp::BytesRate, false),
    (RangeOp::BytesOverTime, false),
    (RangeOp::SumOverTime, true),
    (RangeOp::AvgOverTime, true),
    (RangeOp::MinOverTime, true),
    (RangeOp::MaxOverTime, true),
    (RangeOp::StddevOverTime, true),
    (RangeOp::StdvarOverTime, true),
    (RangeOp::QuantileOverTime, true),
    (RangeOp::FirstOverTime, true),
    (RangeOp::LastOverTime, true),
    (RangeOp::AbsentOverTime, false),
];

/// The functions that need no more of a line than that it is there, or how long it is.
const COUNTING: [(RangeOp, bool); 5] = [
    (RangeOp::Rate, false),
    (RangeOp::CountOverTime, false),
    (RangeOp::AbsentOverTime, false),
    (RangeOp::BytesRate, true),
    (RangeOp::BytesOverTime, true),
];

const QUANTILE: f64 = 0.3;

pub(in crate::range) fn leaf(op: RangeOp, unwrapped: bool, interval: i64, offset: i64) -> Leaf {
    let app = Matcher { name: "app".to_owned(), op: MatchOp::Equal, value: "x".to_owned() };
    let unwrap = Unwrap { label: "v".to_owned(), conversion: Conversion::None, filters: Vec::new() };
    let range = LogRange {
        log: LogExpr { selector: vec![app], stages: Vec::new() },
        unwrap: unwrapped.then_some(unwrap),
        interval,
        offset,
    };
    let range = RangeAggregation { op, parameter: Some(QUANTILE), range, grouping: None };
    let plan = MetricPlan::new(&SampleExpr::Range(range), PlanOptions::default()).unwrap();
    plan.leaves.into_iter().next().unwrap()
}

/// A line: series 0 or 1, time, value; lines are told apart by their index, which is their origin.
pub(in crate::range) type Line = (bool, i64, f64);

fn feed(accumulator: &mut Accumulator, lines: &[(u64, Line)]) {
    for &(origin, (series, ts, value)) in lines {
        let name = if series { "1" } else { "0" };
        let series = accumulator.series([("s", name)].into_iter()).unwrap();
        accumulator.set_origin(origin);
        accumulator.add(series, ts, value).unwrap();
    }
}

pub(in crate::range) fn accumulate(leaf: &Leaf, steps: &Steps, lines: &[(u64, Line)]) -> Accumulator {
    let mut accumulator = Accumulator::new(leaf, leaf.windows(steps), EvalLimits::DEFAULT);
    feed(&mut accumulator, lines);
    accumulator
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3)
}

fn check_same(found: &StepMatrix, expected: &StepMatrix) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.series.len(), expected.series.len());
    for (found, expected) in found.series.iter().zip(&expected.series) {
        prop_assert_eq!(&found.labels, &expected.labels);
        prop_assert_eq!(found.points.len(), expected.points.len());
        for (found, expected) in found.points.iter().zip(&expected.points) {
            prop_assert!(found.0 == expected.0 && close(found.1, expected.1), "{:?} {:?}", found, expected);
        }
    }
    Ok(())
}

/// The definition, read off Prometheus' documentation: one window, its values in order of time.
fn naive(op: RangeOp, unwrapped: bool, values: &[f64], seconds: f64) -> f64 {
    let count = values.len() as f64;
    let sum: f64 = values.iter().sum();
    let variance = values.iter().map(|v| (v - sum / count).powi(2)).sum::<f64>() / count;
    match op {
        RangeOp::Rate if unwrapped => sum / seconds,
        RangeOp::Rate => count / seconds,
        RangeOp::CountOverTime => count,
        RangeOp::BytesRate => sum / seconds,
        RangeOp::BytesOverTime | RangeOp::SumOverTime => sum,
        RangeOp::AvgOverTime => sum / count,
        RangeOp::MinOverTime => values.iter().copied().fold(f64::INFINITY, f64::min),
        RangeOp::MaxOverTime => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        RangeOp::StddevOverTime => variance.sqrt(),
        RangeOp::StdvarOverTime => variance,
        RangeOp::FirstOverTime => values[0],
        RangeOp::LastOverTime => values[values.len() - 1],
        RangeOp::QuantileOverTime => {
            let mut sorted = values.to_vec();
            sorted.sort_by(f64::total_cmp);
            let rank = QUANTILE * (count - 1.0);
            let upper = sorted[(rank.floor() as usize + 1).min(values.len() - 1)];
            sorted[rank.floor() as usize] * (1.0 - rank.fract()) + upper * rank.fract()
        }
        RangeOp::AbsentOverTime | RangeOp::RateCounter => unreachable!("checked by tests of their own"),
    }
}

pub(in crate::range) fn lines() -> impl Strategy<Value = Vec<Line>> {
    proptest::collection::vec((any::<bool>(), -20i64..120, (0u32..1_000).prop_map(f64::from)), 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn windows_agree_with_the_definition(
        lines in lines(), function in 0usize..FUNCTIONS.len(), start in 0i64..50, length in 0i64..60,
        step in 1i64..20, interval in 1i64..40, offset in -10i64..10,
    ) {
        let (op, unwrapped) = FUNCTIONS[function];
        if matches!(op, RangeOp::AbsentOverTime | RangeOp::RateCounter) {
            return Ok(());
        }
        let steps = Steps::range(start, start + length, step).unwrap();
        let numbered: Vec<_> = (0..).zip(lines.iter().copied()).collect();
        let found = accumulate(&leaf(op, unwrapped, interval, offset), &steps, &numbered).finish().unwrap();
        for name in [false, true] {
            let mut points = Vec::new();
            for k in 0..steps.count() {
                let to = steps.time(k) - offset;
                let mut inside: Vec<_> =
                    lines.iter().filter(|(s, ts, _)| *s == name && to - interval < *ts && *ts <= to).collect();
                inside.sort_by_key(|(_, ts, _)| *ts);
                let values: Vec<f64> = inside.iter().map(|(_, _, value)| *value).collect();
                if !values.is_empty() {
                    points.push((k, naive(op, unwrapped, &values, interval as f64 / 1e9)));
                }
            }
            let series = found.series.iter().find(|s| s.labels.get("s") == if name { "1" } else { "0" });
            let shown = series.map_or(&[][..], |series| &series.points);
            prop_assert_eq!(shown.len(), points.len());
            for (found, expected) in shown.iter().zip(&points) {
                prop_assert!(found.0 == expected.0 && close(found.1, expected.1), "{:?} {:?}", found, expected);
            }
        }
    }

    #[test]
    fn pieces_merged_in_any_order_equal_the_whole(
        lines in proptest::collection::vec((0usize..4, (any::<bool>(), 0i64..100, -50.0f64..50.0)), 0..60),
        function in 0usize..FUNCTIONS.len(), order in Just(vec![0, 1, 2, 3]).prop_shuffle(),
        nested in any::<bool>(), step in 1i64..20, interval in 1i64..40, offset in -10i64..10,
    ) {
        let (op, unwrapped) = FUNCTIONS[function];
        let (leaf, steps) = (leaf(op, unwrapped, interval, offset), Steps::range(10, 90, step).unwrap());
        let all: Vec<(u64, Line)> = (0..).zip(lines.iter().map(|(_, line)| *line)).collect();
        let whole = accumulate(&leaf, &steps, &all).finish().unwrap();
        let mut pieces: Vec<Accumulator> = order.iter().map(|&piece| {
            let own = all.iter().zip(&lines).filter(|(_, (at, _))| *at == piece);
            accumulate(&leaf, &steps, &own.map(|(line, _)| *line).collect::<Vec<_>>())
        }).collect();
        pieces.reverse();
        let mut merged = pieces.remove(0);
        if nested {
            let last = pieces.pop().unwrap();
            pieces.last_mut().unwrap().merge(last).unwrap();
        }
        pieces.into_iter().for_each(|piece| merged.merge(piece).unwrap());
        check_same(&merged.finish().unwrap(), &whole)?;
    }

    #[test]
    fn time_cut_into_pieces_equals_the_whole(
        lines in lines(), function in 0usize..FUNCTIONS.len(), cut in 0u32..8, interval in 1i64..40,
        offset in -10i64..10,
    ) {
        let (op, unwrapped) = FUNCTIONS[function];
        let leaf = leaf(op, unwrapped, interval, offset);
        let numbered: Vec<_> = (0..).zip(lines).collect();
        let whole = Steps::range(10, 90, 10).unwrap();
        let early = Steps::range(10, whole.time(cut), 10).unwrap();
        let late = Steps::range(whole.time(cut + 1), 90, 10).unwrap();
        let finish = |steps: &Steps| accumulate(&leaf, steps, &numbered).finish().unwrap();
        let mut joined = std::collections::BTreeMap::<_, Vec<(u32, f64)>>::new();
        for (part, shift) in [(finish(&early), 0), (finish(&late), cut + 1)] {
            for series in part.series {
                let points = series.points.into_iter().map(|(step, value)| (step + shift, value));
                joined.entry(series.labels).or_default().extend(points);
            }
        }
        let series = joined.into_iter().map(|(labels, points)| crate::series::StepSeries { labels, points });
        check_same(&StepMatrix { series: series.collect() }, &finish(&whole))?;
    }

    #[test]
    fn counting_between_boundaries_equals_adding_each_line(
        lines in lines(), function in 0..COUNTING.len(), step in 1i64..20, interval in 1i64..40,
        offset in -10i64..10,
    ) {
        let (op, bytes) = COUNTING[function];
        let (leaf, steps) = (leaf(op, false, interval, offset), Steps::range(10, 90, step).unwrap());
        let numbered: Vec<_> = (0..).zip(lines.iter().copied()).collect();
        let mut counted = Accumulator::new(&leaf, leaf.windows(&steps), EvalLimits::DEFAULT);
        let edges = counted.windows().boundaries().to_vec();
        for name in [false, true] {
            let label = if name { "1" } else { "0" };
            let series = counted.series([("s", label)].into_iter()).unwrap();
            for (at, edge) in edges.windows(2).enumerate() {
                let inside = || lines.iter().filter(|l| l.0 == name && edge[0] < l.1 && l.1 <= edge[1]);
                let (count, size) = (inside().count() as u64, inside().map(|l| l.2).sum::<f64>());
                if bytes {
                    counted.add_bytes(series, at, count, size as u64).unwrap();
                } else {
                    counted.add_count(series, at, count).unwrap();
                }
            }
        }
        check_same(&counted.finish().unwrap(), &accumulate(&leaf, &steps, &numbered).finish().unwrap())?;
    }
}

#[test]
fn absence_is_one_wherever_no_line_is() {
    let steps = Steps::range(10, 40, 10).unwrap();
    let leaf = leaf(RangeOp::AbsentOverTime, false, 10, 0);
    let found = accumulate(&leaf, &steps, &[(0, (false, 15, 0.0)), (1, (true, 21, 0.0))]).finish().unwrap();
    assert_eq!(found.series.len(), 1);
    assert!(found.series[0].labels.is([("app", "x")].into_iter()));
    assert_eq!(found.series[0].points, [(0, 1.0), (3, 1.0)]);
}

#[test]
fn a_failed_line_counts_only_inside_a_window() {
    let leaf = leaf(RangeOp::CountOverTime, false, 10, 0);
    let labels = || [("__error__", "JSONParserErr"), ("app", "x")].into_iter();
    let mut outside = accumulate(&leaf, &Steps::instant(100), &[]);
    outside.add_failure(90, "JSONParserErr", labels());
    assert!(outside.clone().finish().is_ok());
    let mut inside = accumulate(&leaf, &Steps::instant(100), &[]);
    inside.add_failure(95, "JSONParserErr", labels());
    outside.merge(inside).unwrap();
    let error = outside.finish().unwrap_err();
    assert!(error.is_client_error());
    assert!(error.to_string().starts_with(
        "pipeline error: 'JSONParserErr' for series: '{__error__=\"JSONParserErr\", app=\"x\"}'."
    ));
}

#[test]
fn of_failed_lines_the_earliest_is_reported_however_they_are_met() {
    let leaf = leaf(RangeOp::CountOverTime, false, 10, 0);
    let steps = Steps::range(10, 30, 10).unwrap();
    let labels = |pod: &'static str| [("pod", pod)].into_iter();
    for order in [[5, 15, 25], [25, 15, 5], [15, 5, 25]] {
        let mut accumulator = accumulate(&leaf, &steps, &[]);
        for ts in order {
            let pod = if ts == 5 { "first" } else { "later" };
            accumulator.add_failure(ts, "LabelFilterErr", labels(pod));
        }
        let error = accumulator.finish().unwrap_err().to_string();
        assert!(error.contains("pod=\"first\""), "{error}");
    }
}

#[test]
fn series_and_bytes_are_bounded() {
    let leaf = leaf(RangeOp::QuantileOverTime, true, 10, 0);
    let limits = EvalLimits { leaf_series_max: 1, leaf_bytes_max: 4_000, ..EvalLimits::DEFAULT };
    let mut accumulator = Accumulator::new(&leaf, leaf.windows(&Steps::instant(100)), limits);
    let series = accumulator.series([("s", "0")].into_iter()).unwrap();
    assert_eq!(accumulator.series([("s", "0")].into_iter()), Ok(series));
    assert_eq!(accumulator.series([("s", "1")].into_iter()), Err(EvalError::TooManyGroups { limit: 1 }));
    let full = (0..1_000).find_map(|_| accumulator.add(series, 95, 1.0).err());
    assert_eq!(full, Some(EvalError::TooMuchState { limit: 4_000 }));
    let limits = EvalLimits { points_max: 8, ..EvalLimits::DEFAULT };
    let windows = leaf.windows(&Steps::range(91, 100, 1).unwrap());
    let mut accumulator = Accumulator::new(&leaf, windows, limits);
    let series = accumulator.series([("s", "0")].into_iter()).unwrap();
    accumulator.add(series, 92, 1.0).unwrap();
    assert_eq!(accumulator.finish(), Err(EvalError::TooManyPoints { limit: 8 }));
}
