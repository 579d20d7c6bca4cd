//! `sum`, `avg`, `min`, `max`, `count`, `stddev`, `stdvar`: one number for all series of a group.

use super::Groups;
use crate::ast::VectorOp;
use crate::series::StepSeries;

/// What the values of one group amount to at one step.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: u32,
    /// The sum, the extreme, or the sum of squared deviations.
    value: f64,
    mean: f64,
}

/// One series for each group.
pub(super) fn combine(op: VectorOp, groups: Groups, steps: u32) -> Vec<StepSeries> {
    let mut tallies = vec![Tally::default(); steps as usize];
    let combined = groups.into_iter().map(|(labels, members)| {
        tallies.fill(Tally::default());
        for &(step, value) in members.iter().flat_map(|series| &series.points) {
            tallies[step as usize].add(op, value);
        }
        let points = tallies.iter().zip(0u32..).filter(|(tally, _)| tally.count > 0);
        StepSeries { labels, points: points.map(|(tally, step)| (step, tally.result(op))).collect() }
    });
    combined.collect()
}

impl Tally {
    fn add(&mut self, op: VectorOp, value: f64) {
        self.count += 1;
        let first = self.count == 1;
        match op {
            VectorOp::Sum => self.value += value,
            VectorOp::Min if first || value < self.value || self.value.is_nan() => self.value = value,
            VectorOp::Max if first || value > self.value || self.value.is_nan() => self.value = value,
            VectorOp::Avg | VectorOp::Stddev | VectorOp::Stdvar if first => {
                // A value alone deviates by nothing, be it NaN or infinite; so Loki has it.
                self.mean = value;
            }
            VectorOp::Avg | VectorOp::Stddev | VectorOp::Stdvar => {
                let delta = value - self.mean;
                self.mean += delta / f64::from(self.count);
                self.value += delta * (value - self.mean);
            }
            _ => {}
        }
    }

    fn result(&self, op: VectorOp) -> f64 {
        match op {
            VectorOp::Avg => self.mean,
            VectorOp::Count => f64::from(self.count),
            VectorOp::Stdvar => self.value / f64::from(self.count),
            VectorOp::Stddev => (self.value / f64::from(self.count)).sqrt(),
            _ => self.value,
        }
    }
}
