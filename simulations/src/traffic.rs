//! How much goes between each two machines over time, in as many steps as fit on a page.

use std::collections::BTreeMap;
use std::time::Duration;

/// Steps at most; beyond, steps are joined by twos.
const STEPS_MAX: usize = 600;

/// What went from one machine to another in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes of them that were lost.
    pub lost: u64,
}

/// All that was sent.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// How long a step is.
    pub step: Duration,
    /// By (from, to).
    pub links: BTreeMap<(usize, usize), Vec<Step>>,
}

impl Default for Traffic {
    fn default() -> Self {
        Traffic { step: Duration::from_millis(250), links: BTreeMap::new() }
    }
}

impl Traffic {
    /// Bytes are sent.
    pub fn add(&mut self, at: Duration, from: usize, to: usize, bytes: usize, lost: bool) {
        while self.place(at) >= STEPS_MAX {
            self.step *= 2;
            for steps in self.links.values_mut() {
                *steps = steps.chunks(2).map(joined).collect();
            }
        }
        let place = self.place(at);
        let steps = self.links.entry((from, to)).or_default();
        if steps.len() <= place {
            steps.resize(place + 1, Step::default());
        }
        steps[place].sent += bytes as u64;
        steps[place].lost += if lost { bytes as u64 } else { 0 };
    }

    fn place(&self, at: Duration) -> usize {
        (at.as_nanos() / self.step.as_nanos()) as usize
    }
}

fn joined(steps: &[Step]) -> Step {
    let both = |one: Step, other: &Step| Step { sent: one.sent + other.sent, lost: one.lost + other.lost };
    steps.iter().fold(Step::default(), both)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{STEPS_MAX, Step, Traffic};

    #[test]
    fn nothing_is_forgotten_as_steps_grow() {
        let mut traffic = Traffic::default();
        for second in 0..10_000 {
            traffic.add(Duration::from_secs(second), 0, 1, 10, second % 10 == 0);
        }
        let steps = &traffic.links[&(0, 1)];
        assert!(steps.len() <= STEPS_MAX && traffic.step >= Duration::from_secs(16));
        let sum = |of: fn(&Step) -> u64| steps.iter().map(of).sum::<u64>();
        assert_eq!((sum(|step| step.sent), sum(|step| step.lost)), (100_000, 10_000));
    }
}
