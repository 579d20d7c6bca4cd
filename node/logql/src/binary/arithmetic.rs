//! Arithmetic and comparison of two vectors.

use std::collections::BTreeMap;

use super::matching::{Cardinality, Matching};
use super::{BySignature, Collector};
use crate::ast::{BinaryOp, Side};
use crate::eval_error::EvalError;
use crate::series::{SeriesLabels, StepMatrix, StepSeries};

/// What the unique side has for one signature: at each step one series and its value.
type Unique = Vec<Option<(usize, f64)>>;

/// The points of one result series, before a comparison has dropped some.
type Results = BTreeMap<SeriesLabels, Vec<(u32, Option<f64>)>>;

struct Operation<'a> {
    op: BinaryOp,
    return_bool: bool,
    matching: &'a Matching<'a>,
    steps: u32,
}

/// `lhs op rhs`, matched by signature.
///
/// # Errors
/// A signature stands for several series where it may stand for one.
pub(super) fn combine(
    op: BinaryOp,
    return_bool: bool,
    matching: &Matching,
    lhs: BySignature,
    rhs: BySignature,
    steps: u32,
) -> Result<StepMatrix, EvalError> {
    let operation = Operation { op, return_bool, matching, steps };
    let (many, one) = if operation.one_is_left() { (rhs, lhs) } else { (lhs, rhs) };
    let mut collector = Collector::default();
    for (signature, ones) in &one {
        // That the side is unique is checked even where nothing matches it.
        let unique = operation.unique(ones)?;
        for (labels, points) in operation.pairs(many.get(signature), ones, &unique)? {
            collector.push(&labels, points.into_iter().filter_map(|(step, value)| Some((step, value?))));
        }
    }
    Ok(collector.finish())
}

impl Operation<'_> {
    fn one_is_left(&self) -> bool {
        self.matching.cardinality == Cardinality::Many(Side::Right)
    }

    fn unique(&self, ones: &[StepSeries]) -> Result<Unique, EvalError> {
        let mut unique = vec![None; self.steps as usize];
        for (at, series) in ones.iter().enumerate() {
            for &(step, value) in &series.points {
                if unique[step as usize].replace((at, value)).is_some() {
                    let side = if self.one_is_left() { "left" } else { "right" };
                    return Err(EvalError::ManyToMany { side });
                }
            }
        }
        Ok(unique)
    }

    fn pairs(
        &self,
        many: Option<&Vec<StepSeries>>,
        ones: &[StepSeries],
        unique: &Unique,
    ) -> Result<Results, EvalError> {
        let mut results = Results::new();
        for series in many.into_iter().flatten() {
            for &(step, value) in &series.points {
                let Some((at, other)) = unique[step as usize] else { continue };
                let labels = self.matching.result(&series.labels, &ones[at].labels);
                results.entry(labels).or_default().push((step, self.value(value, other)));
            }
        }
        results.values_mut().try_for_each(|points| self.check_unique(points))?;
        Ok(results)
    }

    fn value(&self, many: f64, one: f64) -> Option<f64> {
        let (lhs, rhs) = if self.one_is_left() { (one, many) } else { (many, one) };
        self.op.apply(lhs, rhs, self.return_bool, lhs)
    }

    /// Sorts the points of one result series; none may have two at one step.
    fn check_unique(&self, points: &mut [(u32, Option<f64>)]) -> Result<(), EvalError> {
        points.sort_by_key(|&(step, _)| step);
        if points.is_sorted_by(|a, b| a.0 < b.0) {
            return Ok(());
        }
        Err(match self.matching.cardinality {
            Cardinality::OneToOne => EvalError::ImplicitManyToOne,
            Cardinality::Many(_) => EvalError::AmbiguousGroup,
        })
    }
}
