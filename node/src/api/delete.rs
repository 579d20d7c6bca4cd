//! `/loki/api/v1/delete`: asks for lines to be deleted, lists such requests, and takes them back.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use grapevine_logql::ast::{LineOp, LineOperand, LogExpr, Stage};
use grapevine_logql::parse::parse_log;
use grapevine_logql::quantity::format_go_duration;
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
/// Loki's longest piece of a request (`compactor.delete-max-interval`), ns.
const INTERVAL_MAX: i64 = 24 * 3600 * SECOND;

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
    let [tenant] = &tenants.0[..] else { return Err(bad("multiple org IDs present")) };
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
    // Loki does not say what is wrong with it.
    let log = parse_log(query).map_err(|_| bad("invalid query expression"))?;
    let (start, end) = bounds(&params, node.env.clock.now())?;
    if filters(&log) {
        check_interval(&params, end - start)?;
    }
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
    if start >= end {
        return Err(bad("start time can't be greater than or equal to end time"));
    }
    Ok((start, end))
}

/// Whether a request names some lines of its streams and not all.
fn filters(log: &LogExpr) -> bool {
    log.stages.iter().any(|stage| match stage {
        Stage::LabelFilter(_) => true,
        Stage::LineFilter(filter) => {
            let keeps = matches!(filter.op, LineOp::Contains | LineOp::Regex);
            !keeps || !matches!(&filter.operands[..], [LineOperand::Text(text)] if text.is_empty())
        }
        _ => false,
    })
}

/// Loki splits a request that filters lines into pieces of `max_interval`. Here a request of any length is one piece; the
/// parameter is checked and has no effect.
fn check_interval(params: &Params, length: i64) -> Result<(), ApiError> {
    let Some(text) = params.get("max_interval") else {
        if length < SECOND {
            return Err(bad("difference between start time and end time must be at least one second"));
        }
        return Ok(());
    };
    let interval = grapevine_logql::value::parse_duration(text).ok().filter(|interval| *interval >= SECOND);
    let interval = interval.ok_or_else(|| bad("invalid max_interval: valid time units are 's', 'm', 'h'"))?;
    let over = |what: String| Err(bad(format!("max_interval can't be greater than {what}")));
    if interval > INTERVAL_MAX {
        return over(format_go_duration(INTERVAL_MAX));
    }
    if interval > length {
        return over(format!("the interval to be deleted ({})", format_go_duration(length)));
    }
    Ok(())
}

/// Unix seconds, which have ten digits, or RFC 3339, as ns.
fn parse_time(text: &str) -> Option<i64> {
    const DIGITS: usize = 10;
    match text.parse::<i64>() {
        Ok(seconds) if text.len() == DIGITS => seconds.checked_mul(SECOND),
        Ok(_) => None,
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
    const EPOCH: &str = "0000000000";
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
        let request = [("query", r#"{app="a"} |= "secret""#), ("start", EPOCH)];
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
        delete(&bed, &[("query", r#"{app="a"} |= "secret""#), ("start", EPOCH)]).await;
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
        delete(&bed, &[("query", r#"{app="a"}"#), ("start", EPOCH)]).await;
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
            (vec![("start", EPOCH)], "query not set"),
            (vec![query], "start time not set"),
            (vec![query, ("start", "x")], "invalid start time: require unix seconds or RFC3339 format"),
            (vec![query, ("start", EPOCH), ("end", "1700000001")], "deletes in the future are not allowed"),
            (vec![query, ("start", "9")], "invalid start time: require unix seconds or RFC3339 format"),
            (
                vec![query, ("start", "1600000000000")],
                "invalid start time: require unix seconds or RFC3339 format",
            ),
            (
                vec![query, ("start", EPOCH), ("end", "8")],
                "invalid end time: require unix seconds or RFC3339 format",
            ),
            (
                vec![query, ("start", "1600000009"), ("end", "1600000009")],
                "start time can't be greater than or equal to end time",
            ),
            (vec![("query", "{"), ("start", "x")], "invalid query expression"),
            (vec![("query", r#"sum(rate({a="b"}[1m]))"#), ("start", EPOCH)], "invalid query expression"),
        ] {
            assert_eq!(delete(&bed, &params).await, (StatusCode::BAD_REQUEST, format!("{text}\n")));
        }
    }

    #[tokio::test]
    async fn the_interval_of_a_request_is_looked_at_where_it_filters_lines() {
        let bed = bed(&[]).await;
        let range = [("start", "1600000000"), ("end", "1600003600")];
        let ask = async |query: &'static str, interval: &'static str| {
            let params = [&range[..], &[("query", query), ("max_interval", interval)]].concat();
            let (status, text) = delete(&bed, &params).await;
            (status.as_u16(), text)
        };
        const ALL: &str = r#"{app="none"}"#;
        const FILTERED: &str = r#"{app="none"} |= "x""#;
        let bad = |text: &str| (400, format!("{text}\n"));
        let units = bad("invalid max_interval: valid time units are 's', 'm', 'h'");
        assert_eq!(ask(ALL, "1x").await, (204, String::new()));
        assert_eq!(ask(r#"{app="none"} |= """#, "1x").await, (204, String::new()));
        assert_eq!(ask(FILTERED, "1h").await, (204, String::new()));
        assert_eq!(ask(FILTERED, "1x").await, units);
        assert_eq!(ask(FILTERED, "1ms").await, units);
        assert_eq!(ask(r#"{app="none"} | a="b""#, "1x").await, units);
        let too_long = "max_interval can't be greater than the interval to be deleted (1h0m0s)";
        assert_eq!(ask(FILTERED, "2h").await, bad(too_long));
        assert_eq!(ask(FILTERED, "25h").await, bad("max_interval can't be greater than 24h0m0s"));
        let params = [("query", FILTERED), ("start", "1600000000"), ("end", "2020-09-13T12:26:40.5Z")];
        let short = "difference between start time and end time must be at least one second\n";
        assert_eq!(delete(&bed, &params).await, (StatusCode::BAD_REQUEST, short.into()));
    }

    #[tokio::test]
    async fn a_tenant_that_may_not_delete_is_told_so() {
        let bed = bed(&[("limits.deletion_mode", "disabled")]).await;
        let (status, text) = delete(&bed, &[("query", r#"{app="a"}"#), ("start", EPOCH)]).await;
        assert_eq!(
            (status, text.as_str()),
            (StatusCode::FORBIDDEN, "deletion is not available for this tenant\n")
        );
    }
}
