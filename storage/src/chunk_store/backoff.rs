//! When to try again. Decides only: the caller brings the time and the randomness, and does the waiting.

use std::time::Duration;

/// How often and how long a request is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// The longest wait after the first failure; doubles with each further one.
    pub first: Duration,
    /// No wait is longer.
    pub longest: Duration,
    /// No new attempt begins later than this after the first one began. Zero: there is one attempt.
    pub give_up_after: Duration,
}

impl Default for BackoffPolicy {
    /// For a query that someone waits for: time for one attempt that hangs and another. Who ships packs in the background waits longer between rounds of its
    /// own, without end.
    fn default() -> Self {
        BackoffPolicy {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(5),
            give_up_after: Duration::from_secs(60),
        }
    }
}

/// The attempts of one request.
#[derive(Clone, Debug)]
pub struct Backoff {
    policy: BackoffPolicy,
    began: Duration,
    failures: u32,
}

impl Backoff {
    /// Begins at `now`, on any clock that never goes back.
    pub fn new(policy: BackoffPolicy, now: Duration) -> Self {
        Backoff { policy, began: now, failures: 0 }
    }

    /// How long to wait after a failed attempt; none to give up. `random` is any 64 random bits: the wait lies
    /// between half of its bound and the bound, so that clients which failed together do not return together.
    pub fn on_failure(&mut self, now: Duration, random: u64) -> Option<Duration> {
        let doubled = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        let bound = self.policy.first.saturating_mul(doubled).min(self.policy.longest);
        let wait = bound / 2 + (bound / 2).mul_f64(random as f64 / u64::MAX as f64);
        let waited = now.saturating_sub(self.began).saturating_add(wait);
        (waited <= self.policy.give_up_after).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::{prop_assert, proptest};

    use super::{Backoff, BackoffPolicy};

    const POLICY: BackoffPolicy = BackoffPolicy {
        first: Duration::from_secs(1),
        longest: Duration::from_secs(10),
        give_up_after: Duration::from_secs(60),
    };

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new(POLICY, Duration::ZERO);
        let waits: Vec<_> = (0..6).map(|_| backoff.on_failure(Duration::ZERO, u64::MAX).unwrap()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 10, 10].map(Duration::from_secs));
    }

    #[test]
    fn gives_up_when_the_next_attempt_would_begin_too_late() {
        let began = Duration::from_secs(1000);
        let mut backoff = Backoff::new(POLICY, began);
        assert!(backoff.on_failure(began + Duration::from_secs(59), u64::MAX).is_some());
        assert!(backoff.on_failure(began + Duration::from_secs(59), u64::MAX).is_none());
    }

    #[test]
    fn one_attempt_means_one() {
        let policy = BackoffPolicy { give_up_after: Duration::ZERO, ..POLICY };
        assert!(Backoff::new(policy, Duration::ZERO).on_failure(Duration::ZERO, 0).is_none());
    }

    proptest! {
        #[test]
        fn wait_lies_in_the_upper_half_of_its_bound(random: u64, failures in 0u32..1000) {
            let policy = BackoffPolicy { give_up_after: Duration::MAX, ..POLICY };
            let mut backoff = Backoff { failures, ..Backoff::new(policy, Duration::ZERO) };
            let bound = Duration::from_secs(1 << failures.min(4)).min(POLICY.longest);
            let wait = backoff.on_failure(Duration::ZERO, random).unwrap();
            prop_assert!(bound / 2 <= wait && wait <= bound, "{wait:?} of {bound:?}");
        }
    }
}
