//! How long entries are kept: `retention_period` and `retention_stream` of each tenant.
//!
//! Time is counted by the day: the entries of a stream on a UTC day expire together, once the day's last moment is
//! older than the stream's period. So a line lives at least its period and at most a day longer. A decider: it sees
//! rules, labels, days and the time, and says what has expired.

use std::collections::BTreeMap;

use grapevine_logql::parse::parse_matchers;
use grapevine_storage::index::{Day, Matcher};
use grapevine_storage::stream::Labels;

use crate::limits::{Limits, TenantLimits};
use crate::querier::select::{compile, matches};

/// A selector in `retention_stream` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`retention_stream.selector` = `{selector}` cannot be used: {problem}")]
pub struct BadSelector {
    /// As it was written.
    pub selector: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The rules of all tenants.
#[derive(Debug, Default)]
pub struct Retention {
    everyone: Rules,
    own: BTreeMap<String, Rules>,
}

/// The rules of one tenant.
#[derive(Debug, Default)]
struct Rules {
    /// ns; none is for ever.
    period: Option<i64>,
    /// The highest priority first; of equal ones, the first written.
    streams: Vec<StreamRule>,
}

#[derive(Debug)]
struct StreamRule {
    priority: i64,
    matchers: Vec<Matcher>,
    /// ns.
    period: i64,
}

impl Retention {
    /// Reads the rules of all tenants.
    ///
    /// # Errors
    /// A selector that is none.
    pub fn new(limits: &TenantLimits) -> Result<Self, BadSelector> {
        let own = limits.overridden().map(|(tenant, limits)| Ok((tenant.to_owned(), Rules::new(limits)?)));
        Ok(Retention { everyone: Rules::new(limits.everyone())?, own: own.collect::<Result<_, _>>()? })
    }

    /// Whether what a stream holds of a day is to be gone at `now`.
    pub fn is_expired(&self, tenant: &str, labels: &Labels, day: Day, now: i64) -> bool {
        self.of(tenant).period(labels).is_some_and(|period| is_over(day, period, now))
    }

    /// The first moment of the oldest day of which a stream's entries are kept at `now`; none if all are.
    pub fn oldest_kept(&self, tenant: &str, labels: &Labels, now: i64) -> Option<i64> {
        let period = self.of(tenant).period(labels)?;
        Some(*Day::of(now.saturating_sub(period)).timestamps().start())
    }

    /// Whether all that a tenant may hold of a day is to be gone at `now`, whatever its streams are.
    pub fn is_day_expired(&self, tenant: &str, day: Day, now: i64) -> bool {
        self.of(tenant).longest().is_some_and(|period| is_over(day, period, now))
    }

    /// Whether anything of a tenant ever expires.
    pub fn is_limited(&self, tenant: &str) -> bool {
        let rules = self.of(tenant);
        rules.period.is_some() || !rules.streams.is_empty()
    }

    /// How many of a tenant's periods have passed a day: as long as that is the same, no more of the day has expired.
    pub fn periods_passed(&self, tenant: &str, day: Day, now: i64) -> usize {
        let rules = self.of(tenant);
        let periods = rules.streams.iter().map(|rule| rule.period).chain(rules.period);
        periods.filter(|period| is_over(day, *period, now)).count()
    }

    fn of(&self, tenant: &str) -> &Rules {
        self.own.get(tenant).unwrap_or(&self.everyone)
    }
}

impl Rules {
    fn new(limits: &Limits) -> Result<Self, BadSelector> {
        let rule = |rule: &crate::limits::RetentionStream| {
            let bad = |problem: String| BadSelector { selector: rule.selector.clone(), problem };
            let selector = parse_matchers(&rule.selector).map_err(|error| bad(error.to_string()))?;
            let matchers = compile(&selector).map_err(|error| bad(error.to_string()))?;
            Ok(StreamRule { priority: rule.priority, matchers, period: rule.period.nanos() })
        };
        let mut streams = limits.retention_stream.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        streams.sort_by_key(|rule| std::cmp::Reverse(rule.priority));
        let period = (!limits.retention_period.is_zero()).then(|| limits.retention_period.nanos());
        Ok(Rules { period, streams })
    }

    fn period(&self, labels: &Labels) -> Option<i64> {
        let rule = self.streams.iter().find(|rule| matches(&rule.matchers, labels));
        rule.map(|rule| rule.period).or(self.period)
    }

    fn longest(&self) -> Option<i64> {
        Some(self.streams.iter().map(|rule| rule.period).fold(self.period?, i64::max))
    }
}

fn is_over(day: Day, period: i64, now: i64) -> bool {
    day.timestamps().end().saturating_add(period) < now
}

#[cfg(test)]
mod tests {
    use grapevine_storage::index::Day;
    use grapevine_storage::stream::Labels;

    use super::Retention;
    use crate::config::units::Period;
    use crate::limits::{Limits, RetentionStream, TenantLimits};

    const TODAY: i32 = 20_000;

    fn limits(period: u64, streams: &[(&str, i64, u64)]) -> Limits {
        let rule = |(selector, priority, days): &(&str, i64, u64)| RetentionStream {
            selector: (*selector).to_owned(),
            priority: *priority,
            period: Period::days(*days),
        };
        let retention_stream = streams.iter().map(rule).collect();
        Limits { retention_period: Period::days(period), retention_stream, ..Limits::default() }
    }

    /// On how many days before today a stream's entries are still there at noon.
    fn days_kept(retention: &Retention, tenant: &str, app: &str) -> usize {
        let labels = Labels::new([("app", app)]);
        let noon = Day(TODAY).timestamps().start() + 43_200_000_000_000;
        let kept = |day: &i32| !retention.is_expired(tenant, &labels, Day(*day), noon);
        (TODAY - 1000..TODAY).filter(kept).count()
    }

    #[test]
    fn the_rule_of_highest_priority_decides_and_days_go_as_a_whole() {
        let everyone =
            limits(7, &[(r#"{app=~"a.*"}"#, 1, 3), (r#"{app="ab"}"#, 2, 30), (r#"{app="ab"}"#, 2, 40)]);
        let retention =
            Retention::new(&TenantLimits::new(everyone, [("own".to_owned(), limits(0, &[("{}", 0, 2)]))]))
                .unwrap();
        for (tenant, app, days) in [("t", "x", 7), ("t", "a", 3), ("t", "ab", 30), ("own", "x", 2)] {
            // At noon of a day, the day as far back as the period is half over and stays.
            assert_eq!(days_kept(&retention, tenant, app), days, "{tenant} {app}");
        }
    }

    #[test]
    fn what_is_taken_in_is_what_has_not_expired() {
        let retention = Retention::new(&TenantLimits::new(limits(3, &[]), [])).unwrap();
        let labels = Labels::new([("app", "a")]);
        for now in [0, 1, 86_399_999_999_999].map(|offset| Day(TODAY).timestamps().start() + offset) {
            let oldest = retention.oldest_kept("t", &labels, now).unwrap();
            assert!(!retention.is_expired("t", &labels, Day::of(oldest), now), "{now}");
            assert!(retention.is_expired("t", &labels, Day::of(oldest - 1), now), "{now}");
        }
    }

    #[test]
    fn a_day_is_dropped_whole_only_when_the_longest_period_is_over() {
        let of = |limits| Retention::new(&TenantLimits::new(limits, [])).unwrap();
        let is_over = |retention: &Retention, days| {
            let now = Day(TODAY + days).timestamps().start() + 1;
            retention.is_day_expired("t", Day(TODAY), now)
        };
        let mixed = of(limits(2, &[(r#"{a="b"}"#, 0, 5)]));
        assert_eq!([3, 5, 6].map(|days| is_over(&mixed, days)), [false, false, true]);
        let passed = |days| mixed.periods_passed("t", Day(TODAY), Day(TODAY + days).timestamps().start() + 1);
        assert_eq!([2, 3, 5, 6].map(passed), [0, 1, 1, 2]);
        let forever = of(limits(0, &[(r#"{a="b"}"#, 0, 1)]));
        assert!(!is_over(&forever, 900) && forever.is_limited("t"));
        assert!(!of(Limits::default()).is_limited("t"));
    }

    #[test]
    fn a_selector_that_is_none_is_named() {
        for selector in ["{", "{a=~\"(\"}", "{a=\"b\"} |= \"c\""] {
            let error = Retention::new(&TenantLimits::new(limits(1, &[(selector, 0, 1)]), [])).unwrap_err();
            assert_eq!(error.selector, selector);
        }
    }
}
