//! When to try a peer again that could not be reached. Decides, never waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    limits::{BACKOFF_MAX, BACKOFF_MIN},
    ring::Draw,
};

/// Doubles the wait with each failure in a row, up to a bound, and spreads it by chance over its upper half, so that
/// those who lost a peer together do not come back to it together.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// How long to wait before the next try; none if it may be now.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.until.and_then(|until| until.checked_duration_since(now)).filter(|wait| !wait.is_zero())
    }

    pub(crate) fn on_failure(&mut self, now: Instant, draw: &mut Draw) {
        let full = BACKOFF_MIN.saturating_mul(1 << self.failures.min(16)).min(BACKOFF_MAX);
        let half = full / 2;
        let spread = Duration::from_nanos(draw.below(half.as_nanos() as u64 + 1));
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + half + spread);
    }

    pub(crate) fn on_success(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{BACKOFF_MAX, BACKOFF_MIN, Backoff, Draw, Instant};

    #[test]
    fn waits_double_up_to_the_bound_and_end_with_a_success() {
        let (now, mut draw) = (Instant::now(), Draw::new(1));
        let mut backoff = Backoff::default();
        assert_eq!(backoff.wait(now), None);
        let mut expected = BACKOFF_MIN;
        for _ in 0..40 {
            backoff.on_failure(now, &mut draw);
            let wait = backoff.wait(now).unwrap();
            assert!(wait >= expected / 2 && wait <= expected, "{wait:?} for {expected:?}");
            assert_eq!(backoff.wait(now + wait), None);
            expected = (expected * 2).min(BACKOFF_MAX);
        }
        backoff.on_success();
        assert_eq!(backoff.wait(now), None);
    }
}
