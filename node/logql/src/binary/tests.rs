//! Vectors combined series by series must be what combining them step by step, as the definition reads,
//! gives.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};

use super::{scalar, vectors};
use crate::ast::{BinaryOp, Group, Side, VectorMatching};
use crate::eval_error::EvalError;
use crate::series::{SeriesLabels, StepMatrix, StepSeries};

const STEPS: u32 = 3;

/// The elements of a vector at one step.
type Vector = BTreeMap<SeriesLabels, f64>;

fn labels(text: &str) -> SeriesLabels {
    text.split_whitespace().filter_map(|pair| pair.split_once('=')).collect()
}

fn matrix(series: &[(&str, &[(u32, f64)])]) -> StepMatrix {
    let series =
        series.iter().map(|(text, points)| StepSeries { labels: labels(text), points: points.to_vec() });
    StepMatrix { series: series.collect() }
}

fn names(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn on(text: &str) -> VectorMatching {
    VectorMatching { on: true, labels: names(text), group: None }
}

fn ignoring(text: &str) -> VectorMatching {
    VectorMatching { on: false, labels: names(text), group: None }
}

fn grouped(matching: VectorMatching, many: Side, include: &str) -> VectorMatching {
    VectorMatching { group: Some(Group { many, include: names(include) }), ..matching }
}

/// The pods of two environments, and one series an environment.
fn pods() -> StepMatrix {
    matrix(&[
        ("env=prod pod=1", &[(0, 1.0), (1, 2.0)]),
        ("env=prod pod=2", &[(0, 3.0)]),
        ("env=dev pod=3", &[(0, 4.0)]),
    ])
}

fn environments() -> StepMatrix {
    matrix(&[("env=dev team=a", &[(0, 40.0)]), ("env=prod", &[(0, 10.0), (1, 20.0)])])
}

fn check(
    op: BinaryOp,
    matching: &VectorMatching,
    lhs: StepMatrix,
    rhs: StepMatrix,
    expected: &[(&str, &[(u32, f64)])],
) {
    let found = vectors(op, false, Some(matching), lhs, rhs, STEPS).unwrap();
    let mut expected = matrix(expected);
    expected.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    assert_eq!(found, expected, "{op:?} {matching:?}");
}

#[test]
fn the_many_side_keeps_its_labels_and_takes_those_included() {
    let prod: &[(&str, &[(u32, f64)])] = &[
        ("env=prod pod=1", &[(0, 11.0), (1, 22.0)]),
        ("env=prod pod=2", &[(0, 13.0)]),
        ("env=dev pod=3 team=a", &[(0, 44.0)]),
    ];
    check(BinaryOp::Add, &grouped(on("env"), Side::Left, "team"), pods(), environments(), prod);
    check(BinaryOp::Add, &grouped(on("env"), Side::Right, "team"), environments(), pods(), prod);
    check(
        BinaryOp::Sub,
        &grouped(ignoring("pod team"), Side::Right, ""),
        environments(),
        pods(),
        &[
            ("env=prod pod=1", &[(0, 9.0), (1, 18.0)]),
            ("env=prod pod=2", &[(0, 7.0)]),
            ("env=dev pod=3", &[(0, 36.0)]),
        ],
    );
}

#[test]
fn a_comparison_keeps_the_left_value_whichever_side_has_many() {
    check(
        BinaryOp::Less,
        &grouped(on("env"), Side::Left, ""),
        pods(),
        environments(),
        &[
            ("env=prod pod=1", &[(0, 1.0), (1, 2.0)]),
            ("env=prod pod=2", &[(0, 3.0)]),
            ("env=dev pod=3", &[(0, 4.0)]),
        ],
    );
    check(
        BinaryOp::Greater,
        &grouped(on("env"), Side::Right, ""),
        environments(),
        pods(),
        &[
            ("env=prod pod=1", &[(0, 10.0), (1, 20.0)]),
            ("env=prod pod=2", &[(0, 10.0)]),
            ("env=dev pod=3", &[(0, 40.0)]),
        ],
    );
}

#[test]
fn one_to_one_keeps_only_the_labels_compared() {
    let one = || matrix(&[("env=dev pod=3", &[(0, 4.0)])]);
    check(BinaryOp::Mul, &on("env"), one(), environments(), &[("env=dev", &[(0, 160.0)])]);
    check(BinaryOp::Mul, &ignoring("pod team"), one(), environments(), &[("env=dev", &[(0, 160.0)])]);
}

#[test]
fn set_operations_decide_step_by_step() {
    let some = || matrix(&[("env=prod", &[(1, 7.0), (2, 8.0)])]);
    check(BinaryOp::And, &on("env"), pods(), some(), &[("env=prod pod=1", &[(1, 2.0)])]);
    check(
        BinaryOp::Unless,
        &on("env"),
        pods(),
        some(),
        &[("env=prod pod=1", &[(0, 1.0)]), ("env=prod pod=2", &[(0, 3.0)]), ("env=dev pod=3", &[(0, 4.0)])],
    );
    check(
        BinaryOp::Or,
        &on("env"),
        some(),
        pods(),
        &[
            ("env=prod", &[(1, 7.0), (2, 8.0)]),
            ("env=prod pod=1", &[(0, 1.0)]),
            ("env=prod pod=2", &[(0, 3.0)]),
            ("env=dev pod=3", &[(0, 4.0)]),
        ],
    );
}

#[test]
fn ambiguous_matches_are_refused_in_lokis_words() {
    let fails = |matching: VectorMatching, lhs, rhs| {
        vectors(BinaryOp::Add, false, Some(&matching), lhs, rhs, STEPS).unwrap_err()
    };
    assert_eq!(fails(on("env"), environments(), pods()), EvalError::ManyToMany { side: "right" });
    assert_eq!(fails(on("none"), StepMatrix::default(), pods()), EvalError::ManyToMany { side: "right" });
    assert_eq!(fails(on("env"), pods(), environments()), EvalError::ImplicitManyToOne);
    let left = grouped(on("env"), Side::Right, "");
    assert_eq!(fails(left, pods(), environments()), EvalError::ManyToMany { side: "left" });
    let collide = grouped(on("env"), Side::Left, "pod");
    assert_eq!(fails(collide, pods(), environments()), EvalError::AmbiguousGroup);
    assert!(!EvalError::AmbiguousGroup.is_client_error());
}

#[test]
fn series_that_never_meet_at_a_step_are_no_ambiguity() {
    let lhs = matrix(&[("env=prod pod=1", &[(0, 1.0)]), ("env=prod pod=2", &[(1, 2.0)])]);
    check(BinaryOp::Add, &on("env"), lhs, environments(), &[("env=prod", &[(0, 11.0), (1, 22.0)])]);
}

#[test]
fn a_number_meets_every_element_and_a_comparison_keeps_the_vectors_value() {
    let apply = |op, return_bool, left| scalar(op, return_bool, 3.0, left, pods());
    let values = |matrix: StepMatrix| {
        matrix.series.iter().flat_map(|s| s.points.clone()).map(|p| p.1).collect::<Vec<_>>()
    };
    assert_eq!(values(apply(BinaryOp::Sub, false, true)), [2.0, 1.0, 0.0, -1.0]);
    assert_eq!(values(apply(BinaryOp::Sub, false, false)), [-2.0, -1.0, 0.0, 1.0]);
    assert_eq!(values(apply(BinaryOp::Greater, false, true)), [1.0, 2.0]);
    assert_eq!(values(apply(BinaryOp::Greater, true, true)), [1.0, 1.0, 0.0, 0.0]);
    assert_eq!(apply(BinaryOp::Greater, false, true).series.len(), 1);
}

/// One step by the definition of vector matching in Prometheus' documentation.
fn naive(
    op: BinaryOp,
    matching: &VectorMatching,
    lhs: &Vector,
    rhs: &Vector,
) -> Result<Vec<(SeriesLabels, f64)>, ()> {
    let signature = |labels: &SeriesLabels| {
        labels.filtered(|name| matching.labels.iter().any(|label| label == name) == matching.on)
    };
    let matches =
        |labels: &SeriesLabels, side: &Vector| side.keys().any(|other| signature(other) == signature(labels));
    let elements = |side: &Vector| side.clone().into_iter().collect::<Vec<_>>();
    match op {
        BinaryOp::And => return Ok(elements(lhs).into_iter().filter(|(l, _)| matches(l, rhs)).collect()),
        BinaryOp::Unless => return Ok(elements(lhs).into_iter().filter(|(l, _)| !matches(l, rhs)).collect()),
        BinaryOp::Or => {
            let rest = elements(rhs).into_iter().filter(|(l, _)| !matches(l, lhs));
            return Ok(elements(lhs).into_iter().chain(rest).collect());
        }
        _ => {}
    }
    let right_group = matching.group.as_ref().is_some_and(|group| group.many == Side::Right);
    let (many, one) = if right_group { (rhs, lhs) } else { (lhs, rhs) };
    let signatures: BTreeSet<_> = one.keys().map(signature).collect();
    if signatures.len() < one.len() {
        return Err(());
    }
    let mut results = Vec::new();
    let mut seen = BTreeSet::new();
    for (many_labels, &many_value) in many {
        for (one_labels, &one_value) in one.iter().filter(|(l, _)| signature(l) == signature(many_labels)) {
            let labels = match &matching.group {
                None => signature(many_labels),
                Some(group) => group
                    .include
                    .iter()
                    .fold(many_labels.clone(), |l, name| l.with(name, one_labels.get(name))),
            };
            if !seen.insert((signature(many_labels), labels.clone())) {
                return Err(());
            }
            let (left, right) = if right_group { (one_value, many_value) } else { (many_value, one_value) };
            match op {
                BinaryOp::Greater if left > right => results.push((labels, left)),
                BinaryOp::Greater => {}
                _ => results.push((labels, left - right)),
            }
        }
    }
    Ok(results)
}

fn at_step(matrix: &StepMatrix, step: u32) -> Vector {
    let at =
        |series: &StepSeries| Some((series.labels.clone(), series.points.iter().find(|p| p.0 == step)?.1));
    matrix.series.iter().filter_map(at).collect()
}

fn any_matrix() -> impl Strategy<Value = StepMatrix> {
    let points = proptest::collection::btree_map(0..STEPS, (0u8..4).prop_map(f64::from), 1..4);
    let series = proptest::collection::btree_map(("[12]?", "[12]?"), points, 0..5);
    series.prop_map(|series| StepMatrix {
        series: series
            .into_iter()
            .map(|((a, b), points)| StepSeries {
                labels: SeriesLabels::default().with("a", &a).with("b", &b),
                points: points.into_iter().collect(),
            })
            .collect(),
    })
}

fn any_matching() -> impl Strategy<Value = VectorMatching> {
    let list = || proptest::sample::subsequence(names("a b"), 0..=2);
    let side = any::<bool>().prop_map(|left| if left { Side::Left } else { Side::Right });
    let group = proptest::option::of((side, list()).prop_map(|(many, include)| Group { many, include }));
    (any::<bool>(), list(), group).prop_map(|(on, labels, group)| VectorMatching { on, labels, group })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn whole_series_give_what_single_steps_give(
        lhs in any_matrix(), rhs in any_matrix(), mut matching in any_matching(),
        op in proptest::sample::select(vec![
            BinaryOp::Sub, BinaryOp::Greater, BinaryOp::And, BinaryOp::Or, BinaryOp::Unless,
        ]),
    ) {
        if op.is_set_operation() {
            matching.group = None;
        }
        let found = vectors(op, false, Some(&matching), lhs.clone(), rhs.clone(), STEPS);
        let steps: Result<Vec<_>, ()> =
            (0..STEPS).map(|step| naive(op, &matching, &at_step(&lhs, step), &at_step(&rhs, step))).collect();
        prop_assert_eq!(found.is_err(), steps.is_err());
        let (Ok(found), Ok(steps)) = (found, steps) else { return Ok(()) };
        let sorted = |mut points: Vec<(u32, SeriesLabels, String)>| { points.sort(); points };
        let shown = found.series.iter().flat_map(|s| s.points.iter().map(|p| (p.0, s.labels.clone(), p.1.to_string())));
        let expected = (0..).zip(steps).flat_map(|(step, elements)| {
            elements.into_iter().map(move |(labels, value)| (step, labels, value.to_string()))
        });
        prop_assert_eq!(sorted(shown.collect()), sorted(expected.collect()));
    }
}
