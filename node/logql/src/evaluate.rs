//! Puts the leaves' series together as the plan says: the last part of a metric query, on the node that was
//! asked.

use std::collections::BTreeMap;

use crate::ast::VectorOp;
use crate::binary;
use crate::eval_error::EvalError;
use crate::eval_limits::EvalLimits;
use crate::label_replace::Replacement;
use crate::plan::{MetricPlan, Node};
use crate::range::Steps;
use crate::series::{QueryValue, Sample, Series, SeriesLabels, StepMatrix, StepSeries};
use crate::vector;

/// The answer of a query whose leaves have been evaluated: `leaves[i]` is what the accumulator of
/// `plan.leaves[i]` [finished](crate::range::Accumulator::finish) with, over the same `steps`.
///
/// # Errors
/// Series do not match as the query says, or there are too many of them.
///
/// # Panics
/// If there is not exactly one matrix for each leaf.
pub fn evaluate(
    plan: &MetricPlan,
    leaves: Vec<StepMatrix>,
    steps: &Steps,
    limits: &EvalLimits,
) -> Result<QueryValue, EvalError> {
    assert_eq!(plan.leaves.len(), leaves.len(), "every leaf is evaluated before the plan is");
    if let Node::Literal(value) = plan.root {
        return Ok(scalar(value, steps));
    }
    let mut evaluation = Evaluation { leaves: Leaves::new(plan, leaves), steps, limits, held: 0 };
    let matrix = evaluation.node(&plan.root)?;
    let answer = if steps.is_instant() {
        vector(matrix, steps, plan.keeps_order())
    } else {
        QueryValue::Matrix(matrix_by_labels(matrix, steps))
    };
    within_limit(answer, limits.answer_series_max)
}

fn within_limit(answer: QueryValue, limit: usize) -> Result<QueryValue, EvalError> {
    let series = match &answer {
        QueryValue::Scalar { .. } => 1,
        QueryValue::Vector(samples) => samples.len(),
        QueryValue::Matrix(series) => series.len(),
    };
    if series > limit { Err(EvalError::TooManySeries { limit }) } else { Ok(answer) }
}

/// The leaves' series; the last use of each takes them, earlier ones copy.
struct Leaves {
    leaves: Vec<(usize, StepMatrix)>,
}

impl Leaves {
    fn new(plan: &MetricPlan, leaves: Vec<StepMatrix>) -> Self {
        let mut counted: Vec<_> = leaves.into_iter().map(|matrix| (0, matrix)).collect();
        count_uses(&plan.root, &mut counted);
        Leaves { leaves: counted }
    }

    fn take(&mut self, at: usize) -> StepMatrix {
        let (uses, matrix) = &mut self.leaves[at];
        *uses -= 1;
        if *uses == 0 { std::mem::take(matrix) } else { matrix.clone() }
    }
}

fn count_uses(node: &Node, leaves: &mut [(usize, StepMatrix)]) {
    if let Node::Leaf(at) = node {
        leaves[*at].0 += 1;
    }
    node.inner().for_each(|node| count_uses(node, leaves));
}

struct Evaluation<'a> {
    leaves: Leaves,
    steps: &'a Steps,
    limits: &'a EvalLimits,
    /// Points of the matrices made and not yet used up.
    held: usize,
}

impl Evaluation<'_> {
    /// The series of a node; what it is made of is used up.
    fn node(&mut self, node: &Node) -> Result<StepMatrix, EvalError> {
        let before = self.held;
        let matrix = self.operate(node)?;
        self.held = before + matrix.points();
        let limit = self.limits.points_max;
        if self.held > limit { Err(EvalError::TooManyPoints { limit }) } else { Ok(matrix) }
    }

    fn operate(&mut self, node: &Node) -> Result<StepMatrix, EvalError> {
        match node {
            Node::Leaf(at) => Ok(self.leaves.take(*at)),
            Node::Aggregate { op: VectorOp::ApproxTopK, .. } if !self.steps.is_instant() => {
                Err(EvalError::ApproxTopKOverRange)
            }
            Node::Aggregate { op, parameter, grouping, inner } => {
                let inner = self.node(inner)?;
                Ok(vector::aggregate(*op, *parameter, grouping.as_ref(), inner, self.steps.count()))
            }
            Node::Binary { op, return_bool, matching, lhs, rhs } => {
                let (lhs, rhs) = (self.node(lhs)?, self.node(rhs)?);
                binary::vectors(*op, *return_bool, matching.as_ref(), lhs, rhs, self.steps.count())
            }
            Node::Scalar { op, return_bool, scalar, scalar_left, vector } => {
                Ok(binary::scalar(*op, *return_bool, *scalar, *scalar_left, self.node(vector)?))
            }
            Node::LabelReplace { dst, replacement, src, regex, inner } => {
                let mut matrix = self.node(inner)?;
                let compiled = Replacement::compile(regex).expect("the planner has compiled it before");
                compiled.apply(&mut matrix, dst, replacement, src);
                Ok(matrix)
            }
            Node::Literal(value) | Node::Vector(value) => Ok(self.constant(*value)),
        }
    }

    fn constant(&self, value: f64) -> StepMatrix {
        let points = (0..self.steps.count()).map(|step| (step, value)).collect();
        StepMatrix { series: vec![StepSeries { labels: SeriesLabels::default(), points }] }
    }
}

fn scalar(value: f64, steps: &Steps) -> QueryValue {
    if steps.is_instant() {
        return QueryValue::Scalar { at: steps.millis(0), value };
    }
    let points = (0..steps.count()).map(|step| (steps.millis(step), value)).collect();
    QueryValue::Matrix(vec![Series { labels: SeriesLabels::default(), points }])
}

fn vector(matrix: StepMatrix, steps: &Steps, keeps_order: bool) -> QueryValue {
    let element = |series: StepSeries| {
        let labels = series.labels;
        let samples = series.points.into_iter();
        samples.map(move |(step, value)| Sample { labels: labels.clone(), at: steps.millis(step), value })
    };
    let mut samples: Vec<Sample> = matrix.series.into_iter().flat_map(element).collect();
    if !keeps_order {
        samples.sort_by(|a, b| a.labels.cmp(&b.labels));
    }
    QueryValue::Vector(samples)
}

/// `label_replace` may have given two series the same labels: they become one.
fn matrix_by_labels(matrix: StepMatrix, steps: &Steps) -> Vec<Series> {
    let mut by_labels = BTreeMap::<SeriesLabels, Vec<(u32, f64)>>::new();
    for series in matrix.series {
        by_labels.entry(series.labels).or_default().extend(series.points);
    }
    let series =
        by_labels.into_iter().filter(|(_, points)| !points.is_empty()).map(|(labels, mut points)| {
            points.sort_by_key(|&(step, _)| step);
            let points = points.into_iter().map(|(step, value)| (steps.millis(step), value));
            Series { labels, points: points.collect() }
        });
    series.collect()
}

#[cfg(test)]
mod tests;
