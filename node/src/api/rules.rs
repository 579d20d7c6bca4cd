//! Loki's ruler API: rule groups are taken, kept and given back, for Grafana, `lokitool` and Terraform to look after.
//!
//! Nobody evaluates them here. So what is *active*, which `/prometheus/api/v1` tells, are groups that a ruler would have
//! taken up by now, with health `unknown` and no alerts.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde_json::{Value as Json, json};

use super::body::read_body;
use super::error::ApiError;
use super::params::Params;
use super::server::Tenants;
use crate::node::Node;
use crate::rules::group::{Group, Rule};
use crate::rules::kept::Name;
use crate::rules::{Listed, RulesError, print, read};

/// Bytes of a rule group.
const BODY_BYTES_MAX: usize = 1 << 20;
/// How often Loki's ruler looks for new groups, ns: until then a group is kept and not active.
const POLL: i64 = 60_000_000_000;
const SECOND: f64 = 1e9;
/// When a rule that never was evaluated was evaluated last: Go's zero.
const NEVER: &str = "0001-01-01T00:00:00Z";

type Result<T> = std::result::Result<T, ApiError>;

impl From<RulesError> for ApiError {
    fn from(error: RulesError) -> Self {
        let status = match &error {
            RulesError::Refused(_) => StatusCode::BAD_REQUEST,
            RulesError::Full => StatusCode::TOO_MANY_REQUESTS,
            RulesError::NoGroup | RulesError::NoNamespace => StatusCode::NOT_FOUND,
            RulesError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, format!("{error}\n"))
    }
}

/// Whose rules: those of one tenant.
#[derive(Clone, Debug)]
pub struct Owner(Arc<str>);

impl FromRequestParts<Arc<Node>> for Owner {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> std::result::Result<Self, Response> {
        let tenants = Tenants::from_request_parts(parts, node).await.map_err(ApiError::into_response)?;
        match &tenants.0[..] {
            [tenant] => Ok(Owner(tenant.clone())),
            _ => Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "no org id")),
        }
    }
}

/// An error as Prometheus says it; Go's server takes such a body for plain text.
fn refusal(status: StatusCode, kind: &str, text: &str) -> Response {
    let body = json!({"status": "error", "data": null, "errorType": kind, "error": text});
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body.to_string()).into_response()
}

fn success(status: StatusCode, data: &Json) -> Response {
    let body = json!({"status": "success", "data": data, "errorType": "", "error": ""});
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn yaml(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/yaml")], text).into_response()
}

/// `GET` of all groups.
pub async fn list(State(node): State<Arc<Node>>, Owner(tenant): Owner, params: Params) -> Response {
    listed(&node, &tenant, None, &params)
}

/// `GET` of a namespace's groups.
pub async fn list_namespace(
    State(node): State<Arc<Node>>,
    Owner(tenant): Owner,
    Path(namespace): Path<String>,
    params: Params,
) -> Response {
    listed(&node, &tenant, Some(&namespace), &params)
}

fn listed(node: &Node, tenant: &str, namespace: Option<&str>, params: &Params) -> Response {
    let mut found = node.rules.list(tenant, namespace);
    if found.is_empty() {
        return ApiError::new(StatusCode::NOT_FOUND, "no rule groups found\n").into_response();
    }
    if let Some(labels) = params.get("labels") {
        let wanted: Vec<(&str, &str)> = labels.split(',').filter_map(|pair| pair.split_once(':')).collect();
        let has = |rule: &Rule| rule.labels.iter().any(|(name, value)| wanted.contains(&(name, value)));
        found.iter_mut().for_each(|listed| listed.group.rules.retain(has));
        found.retain(|listed| !listed.group.rules.is_empty());
    }
    // As objects under names in base64 are listed.
    found.sort_by_key(|listed| URL_SAFE.encode(&listed.group.name));
    let mut namespaces: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
    for Listed { namespace, group, .. } in &found {
        namespaces.entry(namespace).or_default().push(group);
    }
    yaml(print::namespaces(&namespaces))
}

/// `GET` of one group.
pub async fn group(
    State(node): State<Arc<Node>>,
    Owner(tenant): Owner,
    Path((namespace, name)): Path<(String, String)>,
) -> Response {
    let mut found = node.rules.list(&tenant, Some(&namespace)).into_iter();
    match found.find(|listed| listed.group.name == name) {
        Some(listed) => yaml(print::group(&listed.group)),
        None => ApiError::from(RulesError::NoGroup).into_response(),
    }
}

/// `POST` of a group into a namespace.
pub async fn create(
    State(node): State<Arc<Node>>,
    Owner(tenant): Owner,
    Path(namespace): Path<String>,
    request: Request,
) -> Result<Response> {
    let body = read_body(request, BODY_BYTES_MAX).await?;
    let text = str::from_utf8(&body).ok();
    let group = text.map(read::group).and_then(|read| {
        read.inspect_err(|error| tracing::info!(namespace, %error, "a rule group cannot be read")).ok()
    });
    // Loki's words to the letter.
    let group = group.ok_or_else(|| ApiError::bad("unable to decoded rule group\n"))?;
    let name = node.rules.set(&tenant, &namespace, group).await?;
    tell_members(&node, &[name]).await;
    Ok(success(StatusCode::ACCEPTED, &Json::Null))
}

/// `DELETE` of a namespace.
pub async fn remove_namespace(
    State(node): State<Arc<Node>>,
    Owner(tenant): Owner,
    Path(namespace): Path<String>,
) -> Result<Response> {
    let names = node.rules.remove_namespace(&tenant, &namespace).await?;
    tell_members(&node, &names).await;
    Ok(success(StatusCode::ACCEPTED, &Json::Null))
}

/// `DELETE` of a group.
pub async fn remove(
    State(node): State<Arc<Node>>,
    Owner(tenant): Owner,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response> {
    let names = node.rules.remove(&tenant, &namespace, &name).await?;
    tell_members(&node, &names).await;
    Ok(success(StatusCode::ACCEPTED, &Json::Null))
}

/// Those that cannot be told now learn of it by and by: what was changed stands.
async fn tell_members(node: &Node, names: &[Name]) {
    if let Some(replication) = &node.replication {
        replication.tell_rules(names).await;
    }
}

/// Which active rules are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Alerts,
    Records,
}

/// `GET /prometheus/api/v1/rules`
pub async fn prometheus_rules(State(node): State<Arc<Node>>, tenants: Tenants, params: Params) -> Response {
    let kind = match params.get("type").map(str::to_lowercase).as_deref() {
        None => Kind::Any,
        Some("alert") => Kind::Alerts,
        Some("record") => Kind::Records,
        Some(other) => {
            return refusal(StatusCode::BAD_REQUEST, "bad_data", &format!("not supported value {other:?}"));
        }
    };
    let [tenant] = &tenants.0[..] else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "no valid org id found");
    };
    let now = node.env.clock.now();
    let groups = node.rules.list(tenant, None).into_iter().filter(|listed| now - listed.at >= POLL);
    let groups: Vec<Json> = groups.filter_map(|listed| active(&listed, kind, &params)).collect();
    success(StatusCode::OK, &json!({"groups": groups}))
}

/// A group as far as it is asked for.
fn active(listed: &Listed, kind: Kind, params: &Params) -> Option<Json> {
    let asked = |name: &str, value: &str| {
        let given = |name: &str| params.all(name).map(str::to_owned).collect::<Vec<String>>();
        let wanted = [given(name), given(&format!("{name}[]"))].concat();
        wanted.is_empty() || wanted.iter().any(|wanted| wanted == value)
    };
    let Listed { namespace, group, .. } = listed;
    if !asked("file", namespace) || !asked("rule_group", &group.name) {
        return None;
    }
    let fits = |rule: &&Rule| {
        let is_alert = !rule.alert.is_empty();
        let name = if is_alert { &rule.alert } else { &rule.record };
        asked("rule_name", name) && (kind == Kind::Any || is_alert == (kind == Kind::Alerts))
    };
    let rules: Vec<Json> = group.rules.iter().filter(fits).map(active_rule).collect();
    let interval = if group.interval == 0 { POLL } else { group.interval };
    let body = json!({
        "name": group.name,
        "file": namespace,
        "rules": rules,
        "interval": seconds(interval),
        "lastEvaluation": NEVER,
        "evaluationTime": 0,
        "limit": group.limit,
    });
    (!rules.is_empty()).then_some(body)
}

fn active_rule(rule: &Rule) -> Json {
    let mut body = json!({
        "name": if rule.alert.is_empty() { &rule.record } else { &rule.alert },
        "query": rule.expr,
        "labels": rule.labels,
        "health": "unknown",
        "lastError": "",
        "type": if rule.alert.is_empty() { "recording" } else { "alerting" },
        "lastEvaluation": NEVER,
        "evaluationTime": 0,
    });
    if !rule.alert.is_empty() {
        body["state"] = json!("inactive");
        body["duration"] = seconds(rule.hold);
        body["annotations"] = json!(rule.annotations);
        body["alerts"] = json!([]);
    }
    body
}

/// Whole where they are.
fn seconds(ns: i64) -> Json {
    let whole = ns / 1_000_000_000;
    if whole * 1_000_000_000 == ns { json!(whole) } else { json!(ns as f64 / SECOND) }
}

/// `GET /prometheus/api/v1/alerts`: none, since nobody evaluates.
pub async fn prometheus_alerts(tenants: Tenants) -> Response {
    match &tenants.0[..] {
        [_] => success(StatusCode::OK, &json!({"alerts": []})),
        _ => refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "no valid org id found"),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use serde_json::{Value as Json, json};

    use crate::testbed::{SECOND, Testbed, with_params};

    const NOW: i64 = 1_700_000_000 * SECOND;
    const ROOT: &str = "/loki/api/v1/rules";
    const GROUP: &str = "name: g\ninterval: 1m\nrules:\n  - {alert: A, expr: 'vector(1) > 0', for: 90s, labels: {a: b}}\n  - record: r:x\n    expr: 'vector(2)'\n";
    const PRINTED: &str = "name: g\ninterval: 1m\nrules:\n    - alert: A\n      expr: vector(1) > 0\n      for: 1m30s\n      labels:\n        a: b\n    - record: r:x\n      expr: vector(2)\n";
    const ACCEPTED: &str = r#"{"data":null,"error":"","errorType":"","status":"success"}"#;

    async fn post(bed: &Testbed, path: &str, text: &str) -> (StatusCode, String) {
        bed.call_text("POST", path, &[], text).await
    }

    async fn bed() -> Testbed {
        let bed = Testbed::new(NOW, &[]).await;
        let answer = post(&bed, &format!("{ROOT}/team%20a"), GROUP).await;
        assert_eq!(answer, (StatusCode::ACCEPTED, ACCEPTED.into()));
        bed
    }

    async fn get(bed: &Testbed, path: &str) -> (u16, String) {
        let (status, body) = bed.call("GET", path, None).await;
        (status.as_u16(), body)
    }

    #[tokio::test]
    async fn a_group_is_given_back_also_after_a_restart() {
        let bed = bed().await;
        post(&bed, &format!("{ROOT}/z"), "name: other\nrules: []\n").await;
        let bed = bed.restart().await;
        assert_eq!(get(&bed, &format!("{ROOT}/team%20a/g")).await, (200, PRINTED.into()));
        let (status, all) = get(&bed, ROOT).await;
        assert!(status == 200 && all.starts_with("team a:\n    - name: g\n      interval: 1m\n"), "{all}");
        assert!(all.ends_with("z:\n    - name: other\n      rules: []\n"), "{all}");
        assert_eq!(
            get(&bed, "/api/prom/rules/z").await,
            (200, "z:\n    - name: other\n      rules: []\n".into())
        );
        assert_eq!(bed.header(ROOT, "content-type").await.as_deref(), Some("application/yaml"));
    }

    #[tokio::test]
    async fn a_group_takes_the_place_of_the_one_of_its_name() {
        let bed = bed().await;
        post(&bed, &format!("{ROOT}/team%20a"), "name: g\nlimit: 2").await;
        let expected = "name: g\nlimit: 2\nrules: []\n";
        assert_eq!(get(&bed, &format!("{ROOT}/team%20a/g")).await, (200, expected.into()));
    }

    #[tokio::test]
    async fn groups_and_namespaces_are_taken_away_once() {
        let bed = bed().await;
        let delete = async |path: &str| bed.call("DELETE", path, None).await;
        let accepted = (StatusCode::ACCEPTED, ACCEPTED.to_owned());
        let not_there = |text: &str| (StatusCode::NOT_FOUND, format!("{text}\n"));
        assert_eq!(delete(&format!("{ROOT}/team%20a/none")).await, not_there("group does not exist"));
        assert_eq!(delete(&format!("{ROOT}/team%20a/g")).await, accepted);
        assert_eq!(delete(&format!("{ROOT}/team%20a/g")).await, not_there("group does not exist"));
        assert_eq!(delete(&format!("{ROOT}/team%20a")).await, not_there("group namespace does not exist"));
        assert_eq!(get(&bed, &format!("{ROOT}/team%20a/g")).await, (404, "group does not exist\n".into()));
        for path in [ROOT.to_owned(), format!("{ROOT}/team%20a")] {
            assert_eq!(get(&bed, &path).await, (404, "no rule groups found\n".into()));
        }
        post(&bed, &format!("{ROOT}/b"), GROUP).await;
        assert_eq!(delete(&format!("{ROOT}/b")).await, accepted);
        assert_eq!(get(&bed, ROOT).await.0, 404);
    }

    #[tokio::test]
    async fn what_is_no_group_is_refused_and_changes_nothing() {
        let bed = bed().await;
        for (text, problem) in [
            ("text", "unable to decoded rule group"),
            ("name: [a]", "unable to decoded rule group"),
            ("", "group 0: Groupname must not be empty"),
            (
                "name: g\nrules: [{alert: a}, {}]",
                "field 'expr' must be set in rule, one of 'record' or 'alert' must be set",
            ),
        ] {
            let answer = post(&bed, &format!("{ROOT}/team%20a"), text).await;
            assert_eq!(answer, (StatusCode::BAD_REQUEST, format!("{problem}\n")), "{text}");
        }
        let (status, _) = post(&bed, &format!("{ROOT}/a"), &"#".repeat((1 << 20) + 1)).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(get(&bed, &format!("{ROOT}/team%20a/g")).await, (200, PRINTED.into()));
    }

    #[tokio::test]
    async fn rules_are_active_a_minute_after_they_were_written() {
        let bed = bed().await;
        let rules = async |params: &[(&str, &str)]| -> Json {
            bed.get("/prometheus/api/v1/rules", params).await["data"]["groups"].take()
        };
        assert_eq!(rules(&[]).await, json!([]));
        bed.set_clock(NOW + 60 * SECOND);
        let never = "0001-01-01T00:00:00Z";
        let alert = json!({
            "state": "inactive", "name": "A", "query": "vector(1) > 0", "duration": 90, "labels": {"a": "b"},
            "annotations": {}, "alerts": [], "health": "unknown", "lastError": "", "type": "alerting",
            "lastEvaluation": never, "evaluationTime": 0,
        });
        let record = json!({
            "name": "r:x", "query": "vector(2)", "labels": {}, "health": "unknown", "lastError": "",
            "type": "recording", "lastEvaluation": never, "evaluationTime": 0,
        });
        let group = |rules: &[&Json]| {
            json!([{"name": "g", "file": "team a", "rules": rules, "interval": 60, "lastEvaluation": never,
                "evaluationTime": 0, "limit": 0}])
        };
        for (params, expected) in [
            (vec![], group(&[&alert, &record])),
            (vec![("type", "Alert")], group(&[&alert])),
            (vec![("type", "record")], group(&[&record])),
            (vec![("rule_name[]", "A"), ("file[]", "team a")], group(&[&alert])),
            (vec![("rule_group[]", "g"), ("rule_group[]", "h")], group(&[&alert, &record])),
            (vec![("rule_group", "h")], json!([])),
            (vec![("file", "b")], json!([])),
            (vec![("rule_name[]", "z")], json!([])),
        ] {
            assert_eq!(rules(&params).await, expected, "{params:?}");
        }
        let (status, body) = get(&bed, &with_params("/prometheus/api/v1/rules", &[("type", "x")])).await;
        assert!(status == 400 && body.contains(r#""error":"not supported value \"x\"""#), "{body}");
        assert_eq!(bed.get("/prometheus/api/v1/alerts", &[]).await["data"], json!({"alerts": []}));
    }

    #[tokio::test]
    async fn tenants_have_rules_of_their_own() {
        let bed = Testbed::new(NOW, &[("tenancy", "header")]).await;
        let path = format!("{ROOT}/n");
        let tenant = |name| [("X-Scope-OrgID", name)];
        assert_eq!(bed.call_text("POST", &path, &tenant("a"), GROUP).await.0, StatusCode::ACCEPTED);
        let status = async |name| bed.call_with("GET", ROOT, &tenant(name), None).await.0.as_u16();
        assert_eq!((status("a").await, status("b").await, status("a|b").await), (200, 404, 500));
        assert_eq!(bed.call_text("POST", &path, &[], GROUP).await.0, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn limits_hold_groups_and_rules_to_their_number() {
        let flags = [
            ("limits.ruler_max_rules_per_rule_group", "2"),
            ("limits.ruler_max_rule_groups_per_tenant", "1"),
        ];
        let bed = Testbed::new(NOW, &flags).await;
        let path = format!("{ROOT}/n");
        assert_eq!(post(&bed, &path, GROUP).await.0, StatusCode::ACCEPTED);
        let (status, text) = post(&bed, &path, "name: b").await;
        assert_eq!(
            (status, text.as_str()),
            (StatusCode::BAD_REQUEST, "per-user rule groups limit (limit: 1 actual: 2) exceeded\n")
        );
    }
}
