//! Token buckets: how many bytes a second a tenant or a stream may push.
//!
//! A decider: it is told the time. A bucket starts full, fills at the rate up to the burst, and gives all that
//! is asked for or nothing.

use std::collections::BTreeMap;

/// Buckets of one limiter. Those that are full again are forgotten first: a new one would be full too.
pub const BUCKETS_MAX: usize = 64 * 1024;

/// A rate and what may come at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens (bytes) a second.
    pub per_second: f64,
    /// Tokens that a full bucket holds; nothing larger is ever allowed.
    pub burst: f64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    /// When `tokens` was right, in nanoseconds.
    at: i64,
    rate: Rate,
}

impl Bucket {
    /// Fills up to now. A clock that went back gives nothing and takes nothing.
    fn refill(&mut self, now: i64) {
        let passed = now.saturating_sub(self.at).max(0) as f64 / 1e9;
        self.tokens = (self.tokens + passed * self.rate.per_second).min(self.rate.burst);
        self.at = now;
    }
}

/// Buckets by key: a tenant, or a stream.
#[derive(Clone, Debug)]
pub struct RateLimiter<K> {
    buckets: BTreeMap<K, Bucket>,
}

impl<K> Default for RateLimiter<K> {
    fn default() -> Self {
        RateLimiter { buckets: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> RateLimiter<K> {
    /// Takes `tokens` from the key's bucket at `now`, nanoseconds of any clock that goes forward, or takes
    /// nothing and says no. The rate is that of now: limits may change while a node runs.
    pub fn allow(&mut self, now: i64, key: &K, rate: Rate, tokens: u64) -> bool {
        if !self.buckets.contains_key(key) {
            self.make_room(now);
            self.buckets.insert(key.clone(), Bucket { tokens: rate.burst, at: now, rate });
        }
        let Some(bucket) = self.buckets.get_mut(key) else { return true };
        bucket.rate = rate;
        bucket.refill(now);
        let allowed = tokens as f64 <= bucket.tokens;
        if allowed {
            bucket.tokens -= tokens as f64;
        }
        allowed
    }

    /// Forgets full buckets; if all are in use, the first half of them, which costs their owners nothing.
    fn make_room(&mut self, now: i64) {
        if self.buckets.len() < BUCKETS_MAX {
            return;
        }
        self.buckets.retain(|_, bucket| {
            bucket.refill(now);
            bucket.tokens < bucket.rate.burst
        });
        while self.buckets.len() > BUCKETS_MAX / 2 {
            self.buckets.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS_MAX, Rate, RateLimiter};

    const RATE: Rate = Rate { per_second: 10.0, burst: 20.0 };
    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let mut limiter = RateLimiter::default();
        let mut check = |now: i64, tokens, allowed| {
            assert_eq!(limiter.allow(now, &"t", RATE, tokens), allowed, "{tokens} at {now}");
        };
        check(0, 21, false);
        check(0, 20, true);
        check(0, 1, false);
        check(SECOND / 2, 6, false);
        check(SECOND / 2, 5, true);
        check(100 * SECOND, 20, true);
        check(100 * SECOND, 0, true);
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut limiter = RateLimiter::default();
        assert!(limiter.allow(10 * SECOND, &"t", RATE, 20));
        assert!(!limiter.allow(0, &"t", RATE, 1));
        assert!(limiter.allow(SECOND, &"t", RATE, 10));
    }

    #[test]
    fn keys_do_not_share() {
        let mut limiter = RateLimiter::default();
        assert!(
            limiter.allow(0, &1, RATE, 20)
                && limiter.allow(0, &2, RATE, 20)
                && !limiter.allow(0, &1, RATE, 1)
        );
    }

    #[test]
    fn a_rate_may_change() {
        let mut limiter = RateLimiter::default();
        assert!(limiter.allow(0, &1, RATE, 20));
        assert!(limiter.allow(SECOND, &1, Rate { per_second: 100.0, burst: 100.0 }, 100));
    }

    #[test]
    fn buckets_are_bounded() {
        let mut limiter = RateLimiter::default();
        for key in 0..3 * BUCKETS_MAX {
            limiter.allow(0, &key, RATE, 1);
            assert!(limiter.buckets.len() <= BUCKETS_MAX);
        }
    }
}
