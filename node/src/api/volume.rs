//! The endpoints about how much there is: what a query would read, and which labels take the most room.
//!
//! Shapes recorded from Loki 3.8. Where Loki rounds to whole chunks, these count what lies in the range.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use grapevine_logql::ast::{MatchOp, Matcher};
use grapevine_logql::parse::parse_selector;
use grapevine_storage::index::TimeRange;
use serde_json::{Value as Json, json};

use super::error::ApiError;
use super::guard::{self, strictest};
use super::params::{Bounds, Params};
use super::query::{asker, with_warnings};
use super::respond::json as respond;
use super::server::Tenants;
use crate::config::units::ByteSize;
use crate::limits::Limits;
use crate::node::Node;
use crate::querier::catalogue::Catalogued;
use crate::querier::volume::{Grouping, Totals, Volume, Volumes};

type Result<T> = std::result::Result<T, ApiError>;

/// Groups in an answer that does not say how many.
const DEFAULT_LIMIT: u32 = 100;
const SECOND: i64 = 1_000_000_000;
const MS: i64 = 1_000_000;

/// The selector of `query`, which must be there.
fn selector(params: &Params) -> Result<Vec<Matcher>> {
    parse_selector(&params.query()).map_err(|error| ApiError::bad(error.to_string()))
}

fn guarded(node: &Node, tenants: &Tenants, bounds: Bounds) -> Result<TimeRange> {
    let bounds = guard::check_time(&strictest(node, tenants), bounds, node.env.clock.now())?;
    Ok(TimeRange { first: bounds.start, last: bounds.end })
}

async fn totals(node: &Node, tenants: &Tenants, params: &Params) -> Result<Catalogued<Totals>> {
    let range = params.range(node.env.clock.now())?;
    let selector = selector(params)?;
    let range = guarded(node, tenants, range.bounds)?;
    Ok(node.querier.count(&asker(node, tenants), &selector, range, Totals::new(range)).await?)
}

fn stats_of(totals: &Totals) -> Json {
    json!({
        "streams": totals.streams(), "chunks": totals.chunks, "bytes": totals.bytes, "entries": totals.entries,
    })
}

/// `/loki/api/v1/index/stats`
pub async fn stats(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    let totals = totals(&node, &tenants, &params).await?;
    let body = with_warnings(stats_of(&totals.found), &totals.warnings);
    Ok(respond(&node.env.exec, &headers, &body).await)
}

/// `/loki/api/v1/index/shards`: one shard of everything. A query is cut into pieces inside the node; to a client
/// that would do so itself, there is nothing to gain.
pub async fn shards(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    let wanted = params.get("targetBytesPerShard").and_then(|text| text.parse::<ByteSize>().ok());
    if wanted.is_none_or(|size| size.bytes() == 0) {
        return Err(ApiError::bad("targetBytesPerShard must be a positive value"));
    }
    let totals = totals(&node, &tenants, &params).await?;
    let shard = json!({"bounds": {"min": 0, "max": u64::MAX}, "stats": stats_of(&totals.found)});
    let body = with_warnings(json!({"shards": [shard], "statistics": {}}), &totals.warnings);
    Ok(respond(&node.env.exec, &headers, &body).await)
}

/// What the endpoints about volume share.
struct Asked {
    selector: Vec<Matcher>,
    grouping: Grouping,
    limit: usize,
}

/// Reads what is asked. `{}` and no target labels: every label counts.
fn asked(params: &Params, limits: &[Arc<Limits>]) -> Result<Asked> {
    guard::check_volume(limits)?;
    let limit = match params.get("limit") {
        Some("0") => DEFAULT_LIMIT,
        _ => params.positive("limit", DEFAULT_LIMIT)?,
    };
    let by_name = match params.get("aggregateBy") {
        None | Some("series") => false,
        Some("labels") => true,
        Some(_) => return Err(ApiError::bad("invalid aggregation option")),
    };
    let mut selector = match params.query().trim() {
        "{}" => Vec::new(),
        _ => selector(params)?,
    };
    let targets: BTreeSet<String> = params
        .get("targetLabels")
        .unwrap_or_default()
        .split(',')
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
        .collect();
    let named: BTreeSet<String> = selector.iter().map(|matcher| matcher.name.clone()).collect();
    // A stream without a target label has no place among the groups.
    let present = |name: &String| Matcher { name: name.clone(), op: MatchOp::Regex, value: ".+".into() };
    selector.extend(targets.difference(&named).map(present));
    let labels = [targets, named].into_iter().find(|labels| !labels.is_empty());
    let most = limits.iter().map(|limits| limits.volume_max_series).min().unwrap_or(usize::MAX);
    Ok(Asked { selector, grouping: Grouping { labels, by_name }, limit: (limit as usize).min(most) })
}

/// `/loki/api/v1/index/volume`
pub async fn instant(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    let now = node.env.clock.now();
    let asked = asked(&params, &strictest(&node, &tenants))?;
    params.time(now)?;
    params.direction()?;
    let bounds = params.ascending_bounds(now)?;
    let range = guarded(&node, &tenants, bounds)?;
    let volumes = Volumes::new(asked.grouping, vec![range]);
    let Catalogued { found, warnings } =
        node.querier.count(&asker(&node, &tenants), &asked.selector, range, volumes).await?;
    let sample = |(labels, parts): Volume| {
        let bytes: u64 = parts.values().sum();
        json!({"metric": metric(labels), "value": [seconds(bounds.end), bytes.to_string()]})
    };
    let result: Vec<Json> = found.largest(asked.limit).into_iter().map(sample).collect();
    Ok(respond(&node.env.exec, &headers, &with_warnings(answer("vector", result), &warnings)).await)
}

/// `/loki/api/v1/index/volume_range`
pub async fn range(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    let asked = asked(&params, &strictest(&node, &tenants))?;
    let read = params.without_limit().range(node.env.clock.now())?;
    let range = guarded(&node, &tenants, read.bounds)?;
    let parts = parts(range, read.step);
    let starts: Vec<i64> = parts.iter().map(|part| part.first).collect();
    let volumes = Volumes::new(asked.grouping, parts);
    let Catalogued { found, warnings } =
        node.querier.count(&asker(&node, &tenants), &asked.selector, range, volumes).await?;
    let series = |(labels, parts): Volume| {
        let point = |(part, bytes): (usize, u64)| json!([seconds(starts[part]), bytes.to_string()]);
        json!({"metric": metric(labels), "values": parts.into_iter().map(point).collect::<Vec<_>>()})
    };
    let result: Vec<Json> = found.largest(asked.limit).into_iter().map(series).collect();
    Ok(respond(&node.env.exec, &headers, &with_warnings(answer("matrix", result), &warnings)).await)
}

/// Cuts a range where multiples of the step lie; the first and the last part may be shorter.
fn parts(range: TimeRange, step: i64) -> Vec<TimeRange> {
    let mut parts = Vec::new();
    let mut first = range.first;
    while first <= range.last {
        let next = (first - first.rem_euclid(step)).saturating_add(step);
        parts.push(TimeRange { first, last: (next - 1).min(range.last) });
        first = next;
    }
    parts
}

fn metric(labels: Vec<(String, String)>) -> Json {
    Json::Object(labels.into_iter().map(|(name, value)| (name, Json::String(value))).collect())
}

/// Seconds, to the millisecond, and whole where they are.
fn seconds(ns: i64) -> Json {
    match ns.rem_euclid(SECOND) {
        0 => json!(ns / SECOND),
        _ => json!((ns / MS) as f64 / 1000.0),
    }
}

fn answer(kind: &str, result: Vec<Json>) -> Json {
    json!({"status": "success", "data": {"resultType": kind, "result": result, "stats": {}}})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use axum::http::StatusCode;
    use grapevine_storage::index::TimeRange;

    use super::{asked, parts, seconds};
    use crate::api::params::Params;
    use crate::limits::Limits;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_range_is_cut_at_multiples_of_the_step() {
        let cut = |first, last| -> Vec<(i64, i64)> {
            parts(TimeRange { first, last }, 10).into_iter().map(|p| (p.first, p.last)).collect()
        };
        assert_eq!(cut(5, 25), [(5, 9), (10, 19), (20, 25)]);
        assert_eq!(cut(10, 19), [(10, 19)]);
        assert_eq!(cut(-5, 0), [(-5, -1), (0, 0)]);
    }

    #[test]
    fn groups_are_the_target_labels_else_those_of_the_selector() {
        let labels = |pairs: &[(&str, &str)]| asked(&params(pairs), &[]).unwrap().grouping.labels;
        let set = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>());
        assert_eq!(labels(&[("query", "{}")]), None);
        assert_eq!(labels(&[("query", r#"{a="b", c=~"d.+"}"#)]), set(&["a", "c"]));
        assert_eq!(labels(&[("query", r#"{a="b"}"#), ("targetLabels", "x,y")]), set(&["x", "y"]));
        let target = asked(&params(&[("query", "{}"), ("targetLabels", "x")]), &[]).unwrap();
        assert_eq!(target.selector[0].name, "x");
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        let refused = |pairs: &[(&str, &str)]| asked(&params(pairs), &[]).err().unwrap().to_string();
        assert_eq!(refused(&[("query", "{}"), ("aggregateBy", "pod")]), "invalid aggregation option");
        assert_eq!(refused(&[("query", "{}"), ("limit", "-1")]), "limit must be a positive value");
        assert!(refused(&[]).starts_with("parse error"));
        assert_eq!(asked(&params(&[("query", "{}"), ("limit", "0")]), &[]).unwrap().limit, 100);
        let off = [Arc::default(), Arc::new(Limits { volume_enabled: false, ..Limits::default() })];
        assert_eq!(asked(&params(&[("query", "{}")]), &off).err().unwrap().status, StatusCode::NOT_FOUND);
    }

    #[test]
    fn times_are_seconds_with_decimals_only_where_needed() {
        assert_eq!(seconds(60_000_000_000).to_string(), "60");
        assert_eq!(seconds(37_500_000_000).to_string(), "37.5");
    }
}
