//! What Logs Drilldown asks to know what there is to ask for: the fields that lines have, and the labels worth
//! choosing by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use grapevine_logql::ast::Expr;
use serde_json::{Value as Json, json};

use super::error::ApiError;
use super::guard::{self, strictest};
use super::params::{Bounds, Params};
use super::query::{asker, selector, time_range, with_warnings};
use super::respond::json as respond;
use super::server::Tenants;
use crate::node::Node;
use crate::querier::answer::Value;
use crate::querier::catalogue::Catalogued;
use crate::querier::fields::{Field, are_ids, fields_of};
use crate::querier::{LogQuery, Querier};

/// Lines that are looked at unless the client says otherwise.
const LINE_LIMIT: u32 = 100;
/// Fields or values in an answer unless the client says otherwise.
const LIMIT: u32 = 1000;
/// Lines that are looked at, at most, where a tenant may ask for any number.
const LINE_LIMIT_MAX: u32 = 5000;
/// Labels that are shown even if their values are mere numbers, in the order in which they are shown.
const ALWAYS_SHOWN: [&str; 4] = ["cluster", "namespace", "instance", "pod"];

/// `/loki/api/v1/detected_fields`
pub async fn fields(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let Fields { found, limit, warnings } = find(&node, &tenants, &params).await?;
    let fields: Vec<Json> = found.iter().map(|(name, field)| field_body(name, field)).collect();
    let body = if fields.is_empty() { json!({}) } else { json!({"fields": fields, "limit": limit}) };
    Ok(respond(&node.env.exec, &headers, &with_warnings(body, &warnings)).await)
}

/// `/loki/api/v1/detected_field/{name}/values`
pub async fn field_values(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    Path(name): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let Fields { mut found, limit, warnings } = find(&node, &tenants, &params).await?;
    let values = found.remove(&name).map(|field| field.askable()).unwrap_or_default();
    let values: Vec<String> = values.into_iter().take(limit as usize).collect();
    let body = if values.is_empty() { json!({}) } else { json!({"values": values, "limit": limit}) };
    Ok(respond(&node.env.exec, &headers, &with_warnings(body, &warnings)).await)
}

/// The fields found, how many were asked for, and what is missing.
struct Fields {
    found: BTreeMap<String, Field>,
    limit: u32,
    warnings: Vec<String>,
}

async fn find(node: &Node, tenants: &Tenants, params: &Params) -> Result<Fields, ApiError> {
    let now = node.env.clock.now();
    let bounds = params.ascending_bounds(now)?;
    let line_limit = params.positive("line_limit", LINE_LIMIT)?;
    let limit = Params::positive_of("limit", params.get("limit").or(params.get("field_limit")), LIMIT)?;
    // Loki asks nothing of the step but that it makes sense.
    params.step(bounds)?;
    let limits = strictest(node, tenants);
    let bounds = guard::check_time(&limits, bounds, now)?;
    let expr = Querier::parse(&params.query())?;
    guard::check_entries(&limits, line_limit)?;
    guard::check_query(&limits, &expr)?;
    let Expr::Log(log) = expr else { return Err(ApiError::bad("only log selector is supported")) };
    let Bounds { start, end } = bounds;
    let limit_of_lines = line_limit.min(LINE_LIMIT_MAX) as usize;
    let query = LogQuery { log, start, end, limit: limit_of_lines, forward: false, interval: 0 };
    let answer = node.querier.lines(&asker(node, tenants), query).await?;
    let found = match &answer.value {
        Value::Lines(lines) => fields_of(lines, limit as usize)?,
        Value::Numbers(_) => BTreeMap::new(),
    };
    Ok(Fields { found, limit, warnings: answer.warnings })
}

fn field_body(name: &str, field: &Field) -> Json {
    let mut body = json!({
        "label": name,
        "type": field.kind.as_str(),
        "cardinality": field.values.len(),
        "parsers": if field.parsers.is_empty() { Json::Null } else { json!(field.parsers) },
    });
    if !field.json_path.is_empty() {
        body["jsonPath"] = json!(field.json_path);
    }
    body
}

/// `/loki/api/v1/detected_labels`
pub async fn labels(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let range = time_range(&node, &tenants, &params)?;
    let Catalogued { found, warnings } =
        node.querier.series(&asker(&node, &tenants), &[selector(&params)?], range).await?;
    let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in found.iter().flat_map(|labels| labels.iter()) {
        values.entry(name).or_default().insert(value);
    }
    let first = ALWAYS_SHOWN.iter().filter_map(|name| values.get_key_value(name));
    let others = values.iter().filter(|(name, values)| {
        !ALWAYS_SHOWN.contains(name) && !name.starts_with("__") && !are_ids(values.iter().copied())
    });
    let shown = first.chain(others).map(|(name, values)| json!({"label": name, "cardinality": values.len()}));
    let shown: Vec<Json> = shown.collect();
    let body = if shown.is_empty() { json!({}) } else { json!({"detectedLabels": shown}) };
    let body = with_warnings(body, &warnings);
    Ok(respond(&node.env.exec, &headers, &body).await)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testbed::{SECOND, Testbed};

    const NOW: i64 = 1_700_000_000 * SECOND;

    async fn bed() -> Testbed {
        let bed = Testbed::new(NOW, &[]).await;
        let labels = |n: &'static str| -> Vec<(&'static str, &'static str)> {
            vec![("app", "a"), ("pod", n), ("shard", n), ("service_name", "a")]
        };
        let (one, two) = (labels("1"), labels("2"));
        bed.push(&[
            (&one, NOW - 3 * SECOND, "took=5ms level=info".into(), vec![("trace".into(), "t1".into())]),
            (&two, NOW - 2 * SECOND, r#"{"user":{"id":"u1"}}"#.into(), vec![("trace".into(), "t2".into())]),
        ])
        .await;
        bed
    }

    #[tokio::test]
    async fn fields_come_in_lokis_shape() {
        let bed = bed().await;
        let found = bed.get("/loki/api/v1/detected_fields", &[("query", r#"{app="a"}"#)]).await;
        let expected = json!({"limit": 1000, "fields": [
            {"label": "detected_level", "type": "string", "cardinality": 2, "parsers": null},
            {"label": "level", "type": "string", "cardinality": 1, "parsers": ["logfmt"]},
            {"label": "took", "type": "duration", "cardinality": 1, "parsers": ["logfmt"]},
            {"label": "trace", "type": "string", "cardinality": 2, "parsers": null},
            {"label": "user_id", "type": "string", "cardinality": 1, "parsers": ["json"], "jsonPath": ["user", "id"]},
        ]});
        assert_eq!(found, expected);
        let none = bed.get("/loki/api/v1/detected_fields", &[("query", r#"{app="z"}"#)]).await;
        assert_eq!(none, json!({}));
        // One line alone is looked at: the newest.
        let params = [("query", r#"{app="a"}"#), ("line_limit", "1")];
        let newest = bed.get("/loki/api/v1/detected_fields", &params).await;
        assert_eq!(newest["fields"].as_array().unwrap().len(), 3, "{newest}");
    }

    /// Lines of a node whose operator names the fields, and wants a field of its own, before and after a restart.
    #[tokio::test]
    async fn levels_and_fields_are_found_where_the_operator_says() {
        let flags = [
            ("limits.log_level_fields", r#"["prio"]"#),
            ("limits.log_level_from_json_max_depth", "1"),
            ("limits.discover_generic_fields", r#"{fields = {req = ["request_id", "ids.request"]}}"#),
        ];
        let mut bed = Testbed::new(NOW, &flags).await;
        let labels = [("app", "a")];
        bed.push(&[
            (&labels, NOW - 4 * SECOND, "level=debug prio=wrn".into(), Vec::new()),
            (&labels, NOW - 3 * SECOND, r#"{"prio":"wrn","ids":{"request":7}}"#.into(), Vec::new()),
            (&labels, NOW - 2 * SECOND, r#"{"o":{"prio":"wrn"}}"#.into(), Vec::new()),
            (&labels, NOW - SECOND, "request_id=8".into(), vec![("detected_level".into(), "ERR".into())]),
        ])
        .await;
        for _ in 0..2 {
            let lines = async |query: &str| bed.lines(query, NOW - 60 * SECOND, NOW).await.len();
            assert_eq!(lines(r#"{app="a"} | detected_level="warn""#).await, 2);
            assert_eq!(lines(r#"{app="a"} | detected_level="unknown""#).await, 1);
            assert_eq!(lines(r#"{app="a"} | detected_level="error""#).await, 1);
            assert_eq!(lines(r#"{app="a"} | req="7""#).await, 1);
            assert_eq!(lines(r#"{app="a"} | req="8" | line_format "{{.req}}" |= "8""#).await, 1);
            assert_eq!(lines(r#"{app="a"} | req="""#).await, 2);
            bed = bed.restart().await;
        }
    }

    #[tokio::test]
    async fn values_of_a_field_are_listed_up_to_the_limit() {
        let bed = bed().await;
        let path = "/loki/api/v1/detected_field/trace/values";
        let found = bed.get(path, &[("query", r#"{app="a"}"#)]).await;
        assert_eq!(found, json!({"values": ["t1", "t2"], "limit": 1000}));
    }

    #[tokio::test]
    async fn labels_of_mere_numbers_are_left_out_but_for_the_four() {
        let found = bed().await.get("/loki/api/v1/detected_labels", &[]).await;
        let expected = json!({"detectedLabels": [
            {"label": "pod", "cardinality": 2},
            {"label": "app", "cardinality": 1},
            {"label": "service_name", "cardinality": 1},
        ]});
        assert_eq!(found, expected);
    }
}
