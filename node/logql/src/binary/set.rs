//! `and`, `or`, `unless`: which series there are, whatever their values.

use super::{BySignature, Collector};
use crate::series::{SeriesLabels, StepMatrix, StepSeries};

/// The elements of `lhs` that have a match in `rhs` at the same step.
pub(super) fn and(lhs: BySignature, rhs: &BySignature, steps: u32) -> StepMatrix {
    select(lhs, rhs, steps, true)
}

/// The elements of `lhs` that have no match in `rhs` at the same step.
pub(super) fn unless(lhs: BySignature, rhs: &BySignature, steps: u32) -> StepMatrix {
    select(lhs, rhs, steps, false)
}

/// All of `lhs`, and the elements of `rhs` that have no match there at the same step.
pub(super) fn or(lhs: BySignature, rhs: BySignature, steps: u32) -> StepMatrix {
    let mut collector = Collector::default();
    for (signature, series) in rhs {
        keep(&mut collector, &series, &present(lhs.get(&signature), steps), false);
    }
    lhs.values().flatten().for_each(|series| collector.push(&series.labels, series.points.iter().copied()));
    collector.finish()
}

fn select(lhs: BySignature, rhs: &BySignature, steps: u32, matched: bool) -> StepMatrix {
    let mut collector = Collector::default();
    for (signature, series) in lhs {
        keep(&mut collector, &series, &present(rhs.get::<SeriesLabels>(&signature), steps), matched);
    }
    collector.finish()
}

/// At which steps any of these series has a value.
fn present(series: Option<&Vec<StepSeries>>, steps: u32) -> Vec<bool> {
    let mut present = vec![false; steps as usize];
    let points = series.into_iter().flatten().flat_map(|series| &series.points);
    points.for_each(|&(step, _)| present[step as usize] = true);
    present
}

fn keep(collector: &mut Collector, series: &[StepSeries], present: &[bool], matched: bool) {
    for series in series {
        let kept = series.points.iter().copied().filter(|&(step, _)| present[step as usize] == matched);
        collector.push(&series.labels, kept);
    }
}
