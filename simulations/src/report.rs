//! What a run came to: what was broken, and how to see it again.

use std::time::Duration;

use crate::timeline::Timeline;
use crate::trace::Digest;
use crate::traffic::Traffic;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// What the nodes are called, the clients last.
    pub names: Vec<String>,
    /// What happened when.
    pub timeline: Timeline,
    /// What went between machines.
    pub traffic: Traffic,
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
    /// The line that tells it all.
    pub fn summary(&self) -> String {
        let verdict = if self.violations.is_empty() { "held" } else { "BROKEN" };
        let Digest { hash, events } = self.digest;
        let simulated = self.simulated.as_secs_f64();
        format!("{verdict} hash={hash:016x} events={events} simulated={simulated:.1}s {}", self.facts)
    }
}
