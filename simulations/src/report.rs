//! What a run came to, for people: a timeline, what was broken, and how to see it again.

use std::fmt;
use std::time::Duration;

use crate::trace::Digest;

/// A run, told.
#[derive(Debug, Default)]
pub struct Timeline {
    lines: Vec<String>,
}

impl Timeline {
    /// Notes what happened at a simulated time.
    pub fn note(&mut self, at: Duration, what: impl fmt::Display) {
        self.lines.push(format!("{:>9.3} s  {what}", at.as_secs_f64()));
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What happened when.
    pub timeline: Timeline,
    /// Promises broken, in words; empty if all is well.
    pub violations: Vec<String>,
    /// Of all events.
    pub digest: Digest,
    /// How much time was simulated.
    pub simulated: Duration,
    /// Counts worth knowing.
    pub facts: String,
}

impl Outcome {
    /// The line that tells it all: `hunt` reads its first word and the hash.
    pub fn summary(&self) -> String {
        let verdict = if self.violations.is_empty() { "held" } else { "BROKEN" };
        let Digest { hash, events } = self.digest;
        let simulated = self.simulated.as_secs_f64();
        format!("{verdict} hash={hash:016x} events={events} simulated={simulated:.1}s {}", self.facts)
    }
}
