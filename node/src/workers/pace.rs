//! How fast a worker may move bytes. A decider: it is told the time and says how long to wait.

use std::time::Duration;

/// A bound on bytes a second. What was spent is waited for afterwards, so a piece may be of any size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    bytes_per_s: Option<u64>,
    /// When all that was spent will have been allowed.
    free_at: Duration,
}

impl Pace {
    /// The bound; none is as fast as it goes.
    pub fn bytes_per_s(&self) -> Option<u64> {
        self.bytes_per_s
    }

    /// Sets the bound from now on. What was spent before counts no more.
    pub fn set(&mut self, bytes_per_s: Option<u64>) {
        *self = Pace { bytes_per_s: bytes_per_s.filter(|rate| *rate > 0), free_at: Duration::ZERO };
    }

    /// Notes bytes that were moved, and says how long to wait before any more are.
    pub fn spend(&mut self, now: Duration, bytes: u64) -> Duration {
        let Some(rate) = self.bytes_per_s else { return Duration::ZERO };
        let cost =
            Duration::from_secs(bytes / rate) + Duration::from_secs_f64((bytes % rate) as f64 / rate as f64);
        // Idle time is not saved up.
        self.free_at = self.free_at.max(now).saturating_add(cost);
        self.free_at.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_spent_is_waited_for_and_idle_time_is_not_saved() {
        let mut pace = Pace::default();
        assert_eq!(pace.spend(seconds(5), u64::MAX), Duration::ZERO);
        pace.set(Some(100));
        assert_eq!(pace.spend(seconds(5), 250), Duration::from_millis(2_500));
        assert_eq!(pace.spend(seconds(6), 100), Duration::from_millis(2_500));
        assert_eq!(pace.spend(seconds(60), 100), seconds(1));
        pace.set(None);
        assert_eq!(pace.spend(seconds(60), 100), Duration::ZERO);
    }

    #[test]
    fn no_rate_and_no_amount_is_too_much() {
        let mut pace = Pace::default();
        pace.set(Some(1));
        pace.spend(seconds(0), u64::MAX);
        assert!(pace.spend(seconds(0), u64::MAX) >= Duration::from_secs(u64::MAX));
        pace.set(Some(0));
        assert_eq!((pace.spend(seconds(0), 9), pace.bytes_per_s()), (Duration::ZERO, None));
    }
}
