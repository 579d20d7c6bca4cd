//! `/loki/api/v1/delete`: asks for lines to be deleted, lists such requests, and takes them back.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::error::ApiError;
use super::params::Params;
use super::respond::json as respond;
use super::server::Tenants;
use super::time::rfc3339;
use crate::deletes::{DeleteError, DeleteRequest, Status};
use crate::limits::DeletionMode;
use crate::node::Node;

const SECOND: i64 = 1_000_000_000;

impl From<DeleteError> for ApiError {
    fn from(error: DeleteError) -> Self {
        let status = match &error {
            DeleteError::Query(_) | DeleteError::Processed | DeleteError::TooLate(_) => {
                StatusCode::BAD_REQUEST
            }
            DeleteError::Unknown => StatusCode::NOT_FOUND,
            DeleteError::TooMany => StatusCode::TOO_MANY_REQUESTS,
            DeleteError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        ApiError::new(status, format!("{error}\n"))
    }
}

fn bad(text: impl Into<String>) -> ApiError {
    ApiError::bad(format!("{}\n", text.into()))
}

/// Deletes are made by one tenant, who may make them.
fn tenant(node: &Node, tenants: &Tenants) -> Result<Arc<str>, ApiError> {
    let [tenant] = &tenants.0[..] else { return Err(bad("lines are deleted for one tenant at a time")) };
    match node.limits.of(tenant).deletion_mode {
        DeletionMode::Disabled => {
            Err(ApiError::new(StatusCode::FORBIDDEN, "deletion is not available for this tenant\n"))
        }
        DeletionMode::FilterOnly | DeletionMode::FilterAndDelete => Ok(tenant.clone()),
    }
}

/// `POST` and `PUT`
pub async fn create(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let tenant = tenant(&node, &tenants)?;
    let query = params.get("query").ok_or_else(|| bad("query not set"))?;
    let (start, end) = bounds(&params, node.env.clock.now())?;
    let id = node.deletes.create(&tenant, query, start, end).await?;
    tell_members(&node, &tenant, &id).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Those that cannot be told now learn of it by and by: the request stands.
async fn tell_members(node: &Node, tenant: &str, id: &str) {
    if let Some(replication) = &node.replication {
        replication.tell_delete(tenant, id).await;
    }
}

fn bounds(params: &Params, now: i64) -> Result<(i64, i64), ApiError> {
    let wrong = |name: &str| bad(format!("invalid {name} time: require unix seconds or RFC3339 format"));
    let time =
        |name: &str| params.get(name).map(|text| parse_time(text).ok_or_else(|| wrong(name))).transpose();
    let start = time("start")?.ok_or_else(|| bad("start time not set"))?;
    let end = time("end")?.unwrap_or(now);
    if end > now {
        return Err(bad("deletes in the future are not allowed"));
    }
    if start > end {
        return Err(bad("start time can't be greater than end time"));
    }
    check_interval(params, end.saturating_sub(start))?;
    Ok((start, end))
}

/// Loki splits a request into pieces of `max_interval`. Here a request of any length is one piece; the parameter is
/// checked and has no effect.
fn check_interval(params: &Params, length: i64) -> Result<(), ApiError> {
    let Some(text) = params.get("max_interval") else { return Ok(()) };
    let interval = grapevine_logql::value::parse_duration(text).ok().filter(|interval| *interval > 0);
    let interval = interval.ok_or_else(|| bad("invalid max_interval: valid time units are 's', 'm', 'h'"))?;
    if interval > length {
        let length = grapevine_logql::quantity::format_go_duration(length);
        return Err(bad(format!("max_interval can't be greater than the interval to be deleted ({length})")));
    }
    Ok(())
}

/// Unix seconds or RFC 3339, as ns.
fn parse_time(text: &str) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(seconds) => seconds.checked_mul(SECOND),
        Err(_) => rfc3339(text),
    }
}

/// `GET`
pub async fn list(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let requests = node.deletes.list(&tenant(&node, &tenants)?);
    let body: Vec<Value> = requests.iter().map(|request| shown(&node, request)).collect();
    Ok(respond(&node.env.exec, &headers, &body).await)
}

fn shown(node: &Node, request: &DeleteRequest) -> Value {
    let status = match (node.deletes.status(request), node.deletes.progress(request)) {
        (Status::Processed, _) => "processed".to_owned(),
        (Status::Received, 0) => "received".to_owned(),
        (Status::Received, percent) => format!("{percent}% Complete"),
    };
    json!({
        "request_id": request.id,
        "start_time": seconds(request.start),
        "end_time": seconds(request.end),
        "query": request.query,
        "status": status,
        "created_at": seconds(request.created_at),
        "user_id": request.tenant,
    })
}

/// Seconds, with milliseconds where there are some.
fn seconds(ns: i64) -> Value {
    let ms = ns.div_euclid(1_000_000);
    if ms % 1000 == 0 { json!(ms / 1000) } else { json!(ms as f64 / 1000.0) }
}

/// `DELETE`
pub async fn cancel(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    params: Params,
) -> Result<StatusCode, ApiError> {
    let tenant = tenant(&node, &tenants)?;
    let id = params.get("request_id").unwrap_or_default();
    let force = params.get("force") == Some("true");
    node.deletes.cancel(&tenant, id, force).await?;
    tell_members(&node, &tenant, id).await;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use serde_json::json;

    use crate::testbed::{SECOND, Testbed, with_params};

    const PATH: &str = "/loki/api/v1/delete";
    const NOW: i64 = 1_700_000_000 * SECOND;
    const DAY: i64 = 24 * 3600 * SECOND;

    async fn delete(bed: &Testbed, params: &[(&str, &str)]) -> (StatusCode, String) {
        bed.call("POST", &with_params(PATH, params), None).await
    }

    /// Lines of two streams, some in a pack, some sealed, some open.
    async fn bed(flags: &[(&str, &str)]) -> Testbed {
        let bed = Testbed::new(NOW, flags).await;
        for round in 0..3 {
            let at = NOW - (30 - round) * SECOND;
            bed.push(&[
                (&[("app", "a")], at, format!("keep {round}"), Vec::new()),
                (&[("app", "a")], at + 1, format!("secret {round}"), Vec::new()),
                (&[("app", "b")], at, format!("secret b{round}"), Vec::new()),
            ])
            .await;
            match round {
                0 => bed.flush().await,
                1 => bed.seal(),
                _ => {}
            }
        }
        bed
    }

    async fn all(bed: &Testbed) -> Vec<String> {
        bed.lines(r#"{app=~".+"}"#, NOW - DAY, NOW + DAY).await
    }

    const LEFT: [&str; 6] = ["keep 0", "secret b0", "keep 1", "secret b1", "keep 2", "secret b2"];

    #[tokio::test]
    async fn deleted_lines_are_hidden_at_once_and_after_a_restart() {
        let bed = bed(&[]).await;
        assert_eq!(all(&bed).await.len(), 9);
        let request = [("query", r#"{app="a"} |= "secret""#), ("start", "0")];
        assert_eq!(delete(&bed, &request).await.0, StatusCode::NO_CONTENT);
        assert_eq!(all(&bed).await, LEFT);
        let bed = bed.restart().await;
        assert_eq!(all(&bed).await, LEFT);
        bed.flush().await;
        assert_eq!(all(&bed).await, LEFT);
    }

    #[tokio::test]
    async fn numbers_do_not_count_deleted_lines() {
        let bed = bed(&[]).await;
        delete(&bed, &[("query", r#"{app="a"} |= "secret""#), ("start", "0")]).await;
        for (query, expected) in [
            (r#"sum(count_over_time({app="a"}[1h]))"#, "3"),
            (r#"sum(count_over_time({app=~".+"} |= "secret"[1h]))"#, "3"),
            (r#"sum(bytes_over_time({app="a"}[1h]))"#, "18"),
        ] {
            let found = bed.get("/loki/api/v1/query", &[("query", query)]).await;
            assert_eq!(found["data"]["result"][0]["value"][1], expected, "{query}");
        }
    }

    #[tokio::test]
    async fn a_request_reaches_from_its_start_to_its_end() {
        let bed = bed(&[]).await;
        let (start, end) = ((NOW / SECOND - 29).to_string(), (NOW / SECOND - 28).to_string());
        delete(&bed, &[("query", r#"{app="a"}"#), ("start", &start), ("end", &end)]).await;
        assert_eq!(
            all(&bed).await,
            ["keep 0", "secret b0", "secret 0", "secret b1", "secret b2", "secret 2"]
        );
    }

    #[tokio::test]
    async fn a_cancelled_request_shows_its_lines_again() {
        let bed = bed(&[]).await;
        delete(&bed, &[("query", r#"{app="a"}"#), ("start", "0")]).await;
        let list = bed.get(PATH, &[]).await;
        let id = list[0]["request_id"].as_str().unwrap().to_owned();
        let expected = json!([{
            "request_id": id, "start_time": 0, "end_time": NOW / SECOND, "query": r#"{app="a"}"#,
            "status": "received", "created_at": NOW / SECOND, "user_id": "fake",
        }]);
        assert_eq!(list, expected);
        let cancel = |params: Vec<(&'static str, String)>| {
            let pairs: Vec<(&str, &str)> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
            with_params(PATH, &pairs)
        };
        let unknown = bed.call("DELETE", &cancel(vec![("request_id", "nope".into())]), None).await;
        assert_eq!(unknown, (StatusCode::NOT_FOUND, "could not find delete request with given id\n".into()));
        bed.set_clock(NOW + DAY + SECOND);
        let (late, _) = bed.call("DELETE", &cancel(vec![("request_id", id.clone())]), None).await;
        assert_eq!(late, StatusCode::BAD_REQUEST);
        let forced = cancel(vec![("request_id", id), ("force", "true".into())]);
        assert_eq!(bed.call("DELETE", &forced, None).await.0, StatusCode::NO_CONTENT);
        assert_eq!(all(&bed).await.len(), 9);
        assert_eq!(bed.get(PATH, &[]).await, json!([]));
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_request_is_said_as_loki_says_it() {
        let bed = bed(&[]).await;
        let query = ("query", r#"{app="a"}"#);
        for (params, text) in [
            (vec![("start", "0")], "query not set"),
            (vec![query], "start time not set"),
            (vec![query, ("start", "x")], "invalid start time: require unix seconds or RFC3339 format"),
            (vec![query, ("start", "0"), ("end", "1700000001")], "deletes in the future are not allowed"),
            (vec![query, ("start", "9"), ("end", "8")], "start time can't be greater than end time"),
            (
                vec![query, ("start", "0"), ("max_interval", "1x")],
                "invalid max_interval: valid time units are 's', 'm', 'h'",
            ),
        ] {
            assert_eq!(delete(&bed, &params).await, (StatusCode::BAD_REQUEST, format!("{text}\n")));
        }
        let (status, text) = delete(&bed, &[("query", "sum(rate({a=\"b\"}[1m]))"), ("start", "0")]).await;
        assert!(status == StatusCode::BAD_REQUEST && text.starts_with("invalid query expression"), "{text}");
    }

    #[tokio::test]
    async fn a_tenant_that_may_not_delete_is_told_so() {
        let bed = bed(&[("limits.deletion_mode", "disabled")]).await;
        let (status, text) = delete(&bed, &[("query", r#"{app="a"}"#), ("start", "0")]).await;
        assert_eq!(
            (status, text.as_str()),
            (StatusCode::FORBIDDEN, "deletion is not available for this tenant\n")
        );
    }
}
