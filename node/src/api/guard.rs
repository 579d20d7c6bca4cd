//! Holds queries to their tenants' limits, in Loki's words: how far back, how long, how wide, how much.
//!
//! A decider: it sees limits, a parsed query and the time, and lets it through, shortened perhaps, or says why
//! not. Of several tenants the strictest limit holds, since a query of all of them must suit each.

use std::sync::Arc;

use axum::http::StatusCode;
use grapevine_logql::ast::{Expr, LogExpr, Matcher, RangeAggregation, SampleExpr, VectorOp};
use grapevine_logql::quantity::{format_go_duration, format_prometheus_duration};

use super::error::ApiError;
use super::params::Bounds;
use super::server::Tenants;
use crate::config::units::Period;
use crate::limits::blocked::{Asked, is_blocked};
use crate::limits::{Limits, QueryKind};
use crate::node::Node;

type Result<T> = std::result::Result<T, ApiError>;

/// The limits of all tenants asked.
pub fn strictest(node: &Node, tenants: &Tenants) -> Vec<Arc<Limits>> {
    tenants.0.iter().map(|tenant| node.limits.of(tenant).clone()).collect()
}

/// The least of a limit that is unlimited where it is 0; none where it is so for everyone.
fn least_period(limits: &[Arc<Limits>], part: fn(&Limits) -> Period) -> Option<i64> {
    limits.iter().map(|limits| part(limits).nanos()).filter(|most| *most > 0).min()
}

fn least_count(limits: &[Arc<Limits>], part: fn(&Limits) -> usize) -> Option<usize> {
    limits.iter().map(|limits| part(limits)).filter(|most| *most > 0).min()
}

/// Cuts a range to what `max_query_lookback` shows; the range is then empty where all of it is too old.
pub fn look_back(limits: &[Arc<Limits>], bounds: Bounds, now: i64) -> Bounds {
    match least_period(limits, |limits| limits.max_query_lookback) {
        Some(most) => Bounds { start: bounds.start.max(now.saturating_sub(most)), ..bounds },
        None => bounds,
    }
}

/// Refuses a range longer than `max_query_length`.
pub fn check_length(limits: &[Arc<Limits>], bounds: Bounds) -> Result<()> {
    let length = bounds.end.saturating_sub(bounds.start);
    match least_period(limits, |limits| limits.max_query_length) {
        Some(most) if length > most => {
            let (length, most) = (format_go_duration(length), format_prometheus_duration(most));
            let text =
                format!("the query time range exceeds the limit (query length: {length}, limit: {most})");
            Err(ApiError::bad(text))
        }
        _ => Ok(()),
    }
}

/// What Loki does with the range of a query about labels, series or volumes: cuts, and refuses what is then
/// too long or empty.
pub fn check_time(limits: &[Arc<Limits>], bounds: Bounds, now: i64) -> Result<Bounds> {
    let bounds = look_back(limits, bounds, now);
    check_length(limits, bounds)?;
    if bounds.end < bounds.start {
        let most = least_period(limits, |limits| limits.max_query_lookback).unwrap_or(0);
        let most = format_prometheus_duration(most);
        // Loki's words also where the range was given the wrong way round.
        let text = format!("this data is no longer available, it is past now - max_query_lookback ({most})");
        return Err(ApiError::bad(text));
    }
    Ok(bounds)
}

/// Refuses to return more lines than a tenant may have at once.
pub fn check_entries(limits: &[Arc<Limits>], limit: u32) -> Result<()> {
    match least_count(limits, |limits| limits.max_entries_limit_per_query) {
        Some(most) if limit as usize > most => Err(ApiError::bad(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {most})"
        ))),
        _ => Ok(()),
    }
}

/// Refuses a selector with too many matchers or without a label that is required.
pub fn check_matchers(limits: &[Arc<Limits>], selector: &[Matcher]) -> Result<()> {
    let count = selector.len();
    if let Some(most) = least_count(limits, |limits| limits.max_streams_matchers_per_query)
        && count > most
    {
        return Err(ApiError::bad(format!(
            "max streams matchers per query exceeded, matchers-count > limit ({count} > {most})"
        )));
    }
    if let Some(least) = limits.iter().map(|limits| limits.minimum_labels_number).max()
        && count < least
    {
        let present: Vec<&str> = selector.iter().map(|matcher| matcher.name.as_str()).collect();
        return Err(ApiError::bad(format!(
            "stream selector has less label matchers than required: (present: [{}], number_present: {count}, \
             required_number_label_matchers: {least})",
            present.join(", ")
        )));
    }
    let named = |name: &str| selector.iter().any(|matcher| matcher.name == name);
    for limits in limits {
        let missing: Vec<&str> =
            limits.required_labels.iter().map(String::as_str).filter(|name| !named(name)).collect();
        if !missing.is_empty() {
            let present: Vec<&str> = selector.iter().map(|matcher| matcher.name.as_str()).collect();
            return Err(ApiError::bad(format!(
                "stream selector is missing required matchers [{}], labels present in the query were [{}]",
                missing.join(", "),
                present.join(", ")
            )));
        }
    }
    Ok(())
}

/// Refuses a query that is blocked, whatever it asks; `tags` are the client's `X-Query-Tags`.
pub fn check_blocked(limits: &[Arc<Limits>], text: &str, expr: &Expr, tags: &str) -> Result<()> {
    let kind = match expr {
        Expr::Sample(_) => QueryKind::Metric,
        Expr::Log(log) if log.stages.is_empty() => QueryKind::Limited,
        Expr::Log(_) => QueryKind::Filter,
    };
    match limits.iter().any(|limits| is_blocked(&limits.blocked_queries, Asked { text, kind, tags })) {
        true => Err(ApiError::bad("query blocked by policy")),
        false => Ok(()),
    }
}

/// Refuses questions about volume where a tenant's are not answered.
pub fn check_volume(limits: &[Arc<Limits>]) -> Result<()> {
    match limits.iter().all(|limits| limits.volume_enabled) {
        true => Ok(()),
        false => {
            Err(ApiError::new(StatusCode::NOT_FOUND, "volume is off for this tenant (`volume_enabled`)"))
        }
    }
}

/// Refuses a query for what its selectors, its ranges or its functions are.
pub fn check_query(limits: &[Arc<Limits>], expr: &Expr) -> Result<()> {
    match expr {
        Expr::Log(log) => check_log(limits, log),
        Expr::Sample(sample) => check_sample(limits, sample),
    }
}

fn check_log(limits: &[Arc<Limits>], log: &LogExpr) -> Result<()> {
    check_matchers(limits, &log.selector)
}

fn check_sample(limits: &[Arc<Limits>], sample: &SampleExpr) -> Result<()> {
    match sample {
        SampleExpr::Range(range) => check_range(limits, range),
        SampleExpr::Vector(vector) => {
            if vector.op == VectorOp::ApproxTopK {
                check_approx_topk(limits)?;
            }
            check_sample(limits, &vector.inner)
        }
        SampleExpr::Binary(binary) => {
            check_sample(limits, &binary.lhs)?;
            check_sample(limits, &binary.rhs)
        }
        SampleExpr::LabelReplace(replace) => check_sample(limits, &replace.inner),
        SampleExpr::Literal(_) | SampleExpr::VectorLiteral(_) => Ok(()),
    }
}

fn check_range(limits: &[Arc<Limits>], aggregation: &RangeAggregation) -> Result<()> {
    let interval = aggregation.range.interval;
    if let Some(most) = least_period(limits, |limits| limits.max_query_range)
        && interval > most
    {
        let (interval, most) = (format_prometheus_duration(interval), format_prometheus_duration(most));
        return Err(ApiError::bad(format!("[interval] value exceeds limit: [{interval}] > [{most}]")));
    }
    check_log(limits, &aggregation.range.log)
}

fn check_approx_topk(limits: &[Arc<Limits>]) -> Result<()> {
    let enabled = |limits: &Arc<Limits>| limits.shard_aggregations.iter().any(|name| name == "approx_topk");
    match limits.iter().all(enabled) {
        true => Ok(()),
        false => Err(ApiError::internal("approx_topk is not enabled. See -limits.shard_aggregations")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use grapevine_logql::parse::parse;

    use super::{check_blocked, check_entries, check_query, check_time, look_back};
    use crate::api::params::Bounds;
    use crate::limits::{Limits, LimitsWritten};

    const HOUR: i64 = 3_600_000_000_000;

    fn limits(texts: &[&str]) -> Vec<Arc<Limits>> {
        let limits = |text: &&str| {
            let written: LimitsWritten = toml::from_str(text).unwrap();
            Arc::new(written.over(&Limits::default()))
        };
        texts.iter().map(limits).collect()
    }

    fn bounds(start: i64, end: i64) -> Bounds {
        Bounds { start: start * HOUR, end: end * HOUR }
    }

    #[test]
    fn the_past_ends_where_the_strictest_tenant_says() {
        let limits = limits(&["max_query_lookback = '3h'", "max_query_lookback = '1h'", ""]);
        assert_eq!(look_back(&limits, bounds(0, 10), 10 * HOUR), bounds(9, 10));
        let refused = check_time(&limits, bounds(0, 5), 10 * HOUR).unwrap_err();
        assert_eq!(
            refused.message,
            "this data is no longer available, it is past now - max_query_lookback (1h)"
        );
        assert_eq!(check_time(&limits, bounds(0, 10), 10 * HOUR), Ok(bounds(9, 10)));
    }

    #[test]
    fn lengths_are_taken_after_the_cut() {
        let limits = limits(&["max_query_lookback = '2h'\nmax_query_length = '3h'"]);
        assert!(check_time(&limits, bounds(0, 10), 10 * HOUR).is_ok());
        let refused = check_time(&self::limits(&["max_query_length = '3h'"]), bounds(0, 4), 10 * HOUR);
        assert_eq!(
            refused.unwrap_err().message,
            "the query time range exceeds the limit (query length: 4h0m0s, limit: 3h)"
        );
    }

    #[test]
    fn queries_are_refused_for_what_they_ask() {
        let refusal = |limit: &str, query: &str| {
            let refused = check_query(&limits(&["", limit]), &parse(query).unwrap());
            refused.err().map(|error| error.message).unwrap_or_default()
        };
        let missing =
            "stream selector is missing required matchers [app], labels present in the query were [b]";
        let query = r#"sum(rate({app="a"}[1m])) / sum(rate({b="c"}[1m]))"#;
        assert_eq!(refusal("required_labels = ['app']", query), missing);
        assert_eq!(refusal("required_labels = ['b']", r#"{b="c"}"#), "");
        assert_eq!(
            refusal("max_query_range = '5m'", r#"label_replace(rate({b="c"}[1h]), "a", "b", "c", "d")"#),
            "[interval] value exceeds limit: [1h] > [5m]"
        );
        assert_eq!(
            refusal("max_streams_matchers_per_query = 1", r#"{a="b", c="d"}"#),
            "max streams matchers per query exceeded, matchers-count > limit (2 > 1)"
        );
    }

    #[test]
    fn selectors_have_as_many_matchers_as_they_must() {
        let limits = limits(&["minimum_labels_number = 2", ""]);
        assert_eq!(check_query(&limits, &parse(r#"{a="b", c="d"}"#).unwrap()), Ok(()));
        assert_eq!(
            check_query(&limits, &parse(r#"{a="b"}"#).unwrap()).unwrap_err().message,
            "stream selector has less label matchers than required: (present: [a], number_present: 1, \
             required_number_label_matchers: 2)"
        );
    }

    #[test]
    fn a_query_is_blocked_if_it_is_for_one_of_its_tenants() {
        let limits = limits(&["", "blocked_queries = [{types = 'metric', tags = {source = 'x'}}]"]);
        let is_blocked =
            |query: &str, tags: &str| check_blocked(&limits, query, &parse(query).unwrap(), tags).is_err();
        assert!(is_blocked(r#"rate({a="b"}[1m])"#, "Source=x"));
        assert!(!is_blocked(r#"rate({a="b"}[1m])"#, ""));
        assert!(!is_blocked(r#"{a="b"}"#, "Source=x"));
        assert!(!is_blocked(r#"{a="b"} |= "x""#, "Source=x"));
    }

    #[test]
    fn approx_topk_must_be_enabled_for_every_tenant() {
        let query = parse(r#"approx_topk(1, sum by (a) (rate({b="c"}[1m])))"#).unwrap();
        let on = "shard_aggregations = ['approx_topk']";
        assert_eq!(check_query(&limits(&[on, ""]), &query).unwrap_err().status.as_u16(), 500);
        assert_eq!(check_query(&limits(&[on]), &query), Ok(()));
        // A line that only speaks of it asks for nothing.
        let text = parse(r#"{b="c"} |= "approx_topk""#).unwrap();
        assert_eq!(check_query(&limits(&[""]), &text), Ok(()));
    }

    #[test]
    fn zero_is_no_limit() {
        let limits = limits(&["max_entries_limit_per_query = 0", "max_entries_limit_per_query = 9"]);
        assert_eq!(check_entries(&limits[..1], u32::MAX), Ok(()));
        assert!(check_entries(&limits, 10).is_err() && check_entries(&limits, 9).is_ok());
    }
}
