//! Operators between two vectors, and between a vector and a number.

mod arithmetic;
mod matching;
mod set;

use std::collections::BTreeMap;

use crate::ast::{BinaryOp, VectorMatching};
use crate::eval_error::EvalError;
use crate::series::{SeriesLabels, StepMatrix, StepSeries};

/// `lhs op rhs` for two vectors over `steps` steps.
///
/// # Errors
/// Series of one side match several of the other in a way the query does not allow.
pub(crate) fn vectors(
    op: BinaryOp,
    return_bool: bool,
    matching: Option<&VectorMatching>,
    lhs: StepMatrix,
    rhs: StepMatrix,
    steps: u32,
) -> Result<StepMatrix, EvalError> {
    let matching = matching::Matching::new(matching);
    let (lhs, rhs) = (by_signature(&matching, lhs), by_signature(&matching, rhs));
    match op {
        BinaryOp::And => Ok(set::and(lhs, &rhs, steps)),
        BinaryOp::Or => Ok(set::or(lhs, rhs, steps)),
        BinaryOp::Unless => Ok(set::unless(lhs, &rhs, steps)),
        _ => arithmetic::combine(op, return_bool, &matching, lhs, rhs, steps),
    }
}

/// `scalar op vector` or `vector op scalar`; a comparison keeps the vector's values.
pub(crate) fn scalar(
    op: BinaryOp,
    return_bool: bool,
    scalar: f64,
    scalar_left: bool,
    mut vector: StepMatrix,
) -> StepMatrix {
    let value = |value: f64| {
        let (lhs, rhs) = if scalar_left { (scalar, value) } else { (value, scalar) };
        op.apply(lhs, rhs, return_bool, value)
    };
    for series in &mut vector.series {
        series.points = series.points.iter().filter_map(|&(step, v)| Some((step, value(v)?))).collect();
    }
    vector.series.retain(|series| !series.points.is_empty());
    vector
}

/// Series by the labels that are compared.
type BySignature = BTreeMap<SeriesLabels, Vec<StepSeries>>;

fn by_signature(matching: &matching::Matching, matrix: StepMatrix) -> BySignature {
    let mut sides = BySignature::new();
    for series in matrix.series {
        sides.entry(matching.signature(&series.labels)).or_default().push(series);
    }
    sides
}

/// Puts points that belong to the same labels together, whatever series they come from.
#[derive(Debug, Default)]
struct Collector {
    series: BTreeMap<SeriesLabels, Vec<(u32, f64)>>,
}

impl Collector {
    fn push(&mut self, labels: &SeriesLabels, points: impl IntoIterator<Item = (u32, f64)>) {
        let mut points = points.into_iter().peekable();
        if points.peek().is_some() {
            self.series.entry(labels.clone()).or_default().extend(points);
        }
    }

    fn finish(self) -> StepMatrix {
        let series = self.series.into_iter().map(|(labels, mut points)| {
            points.sort_by_key(|&(step, _)| step);
            StepSeries { labels, points }
        });
        StepMatrix { series: series.collect() }
    }
}

#[cfg(test)]
mod tests;
