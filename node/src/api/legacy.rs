//! Loki's first API, under `/api/prom`, which old clients still speak: labels as text, times as RFC 3339.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use grapevine_logql::ast::Expr;
use grapevine_logql::quote::{push_quoted, quote};
use jiff::Timestamp;
use serde_json::{Value as Json, json};

use super::error::ApiError;
use super::params::Params;
use super::partial;
use super::query::{self, answer_range};
use super::respond::{json as respond, stats};
use super::server::Tenants;
use crate::node::Node;
use crate::querier::Querier;
use crate::querier::answer::{LogLine, Value};

type Result<T> = std::result::Result<T, ApiError>;

/// The query with what `regexp` adds to it.
pub fn with_regexp(params: &Params) -> String {
    let query = params.query();
    match params.get("regexp") {
        Some(regexp) => format!("{query} |~ {}", quote(regexp)),
        None => query,
    }
}

/// `/api/prom/query`: lines only.
pub async fn query(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    let mut range = params.range(node.env.clock.now())?;
    range.query = with_regexp(&params);
    range.tags = partial::tags(&headers).to_owned();
    if let Expr::Sample(_) = Querier::parse(&range.query)? {
        return Err(ApiError::bad("legacy endpoints only support streams result type"));
    }
    let answer = answer_range(&node, &tenants, range).await?;
    let streams = match &answer.value {
        Value::Lines(lines) => streams(lines),
        Value::Numbers(_) => Vec::new(),
    };
    let body = json!({"streams": streams, "stats": stats(&answer.stats)});
    Ok(respond(&node.env.exec, &headers, &body).await)
}

/// Lines grouped by their labels, each group in the order of the answer.
pub fn streams(lines: &[LogLine]) -> Vec<Json> {
    let mut groups: std::collections::BTreeMap<String, Vec<Json>> = std::collections::BTreeMap::new();
    for line in lines {
        let text = String::from_utf8_lossy(&line.line);
        let entry = json!({"ts": time(line.timestamp), "line": text});
        groups.entry(selector(&line.labels.merged())).or_default().push(entry);
    }
    groups.into_iter().map(|(labels, entries)| json!({"labels": labels, "entries": entries})).collect()
}

/// Labels as a selector writes them.
pub fn selector(labels: &[(&str, &str)]) -> String {
    let mut text = String::from("{");
    for (n, (name, value)) in labels.iter().enumerate() {
        let comma = if n > 0 { ", " } else { "" };
        write!(text, "{comma}{name}=").expect("a String takes whatever is written to it");
        push_quoted(&mut text, value);
    }
    text.push('}');
    text
}

/// A timestamp as RFC 3339 writes it.
pub fn time(ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(ns)).expect("an i64 of nanoseconds is within 300 years").to_string()
}

fn values(names: std::collections::BTreeSet<String>) -> Json {
    match names.is_empty() {
        true => json!({}),
        false => json!({"values": names}),
    }
}

/// `/api/prom/label`
pub async fn labels(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    let names = query::names(&node, &tenants, &params).await?;
    Ok(respond(&node.env.exec, &headers, &values(names.found)).await)
}

/// `/api/prom/label/{name}/values`
pub async fn label_values(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    Path(name): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    let names = query::values(&node, &tenants, &name, &params).await?;
    Ok(respond(&node.env.exec, &headers, &values(names.found)).await)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::{selector, streams, with_regexp};
    use crate::api::params::Params;
    use crate::querier::answer::{LineLabels, LogLine};

    #[test]
    fn labels_are_written_as_a_selector() {
        assert_eq!(selector(&[]), "{}");
        assert_eq!(selector(&[("a", "x\"y"), ("b", "z")]), r#"{a="x\"y", b="z"}"#);
    }

    #[test]
    fn lines_carry_their_time_as_text() {
        let labels = Arc::new(LineLabels { stream: vec![("a".into(), "b".into())], ..LineLabels::default() });
        let line = LogLine { timestamp: 1_700_000_000_500_000_000, line: b"x".to_vec(), labels };
        let expected =
            json!([{"labels": "{a=\"b\"}", "entries": [{"ts": "2023-11-14T22:13:20.5Z", "line": "x"}]}]);
        assert_eq!(json!(streams(&[line])), expected);
    }

    #[test]
    fn a_regexp_is_one_more_filter() {
        let params = |pairs: &[(&str, &str)]| {
            Params(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
        };
        assert_eq!(with_regexp(&params(&[("query", "{a=\"b\"}"), ("regexp", "x.")])), r#"{a="b"} |~ "x.""#);
        assert_eq!(with_regexp(&params(&[("query", "{a=\"b\"}")])), r#"{a="b"}"#);
    }
}
