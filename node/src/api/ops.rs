//! Endpoints for whoever runs the node.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::error::ApiError;
use super::params::Params;
use super::server::Tenants;
use crate::config::Config;
use crate::logging;
use crate::node::Node;

/// The version of Loki whose API this is; clients decide by it what they may ask.
pub const LOKI_VERSION: &str = "3.8.0";

/// Levels that a client may set.
const LOG_LEVELS: [&str; 5] = ["debug", "info", "warn", "error", "trace"];

/// `GET /ready`: a node that serves has replayed its log; in a cluster it also needs a place in the ring.
pub async fn ready(State(node): State<Arc<Node>>) -> Result<&'static str, ApiError> {
    match node.cluster.as_ref().and_then(|cluster| cluster.waiting()) {
        Some(why) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n"))),
        None => Ok("ready\n"),
    }
}

/// `GET /services`: the parts of a node, which all run while it answers.
pub async fn services() -> String {
    const PARTS: [&str; 6] = ["compactor", "distributor", "ingester", "querier", "ruler", "server"];
    PARTS.map(|part| format!("{part} => Running\n")).concat()
}

/// `GET /log_level`: what is in effect.
pub async fn log_level(State(node): State<Arc<Node>>) -> Response {
    let level = logging::level().unwrap_or_else(|| node.config.log.level.clone());
    let body = json!({"message": format!("Current log level is {level}")});
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// `POST /log_level`: changes it until the node stops, by `log_level`, in Loki's words.
pub async fn set_log_level(params: Params) -> Response {
    let level = params.get("log_level").unwrap_or_default();
    let (status, body) = match LOG_LEVELS.contains(&level) && logging::set_level(level) {
        true => {
            tracing::info!(level, "the log level was changed");
            (StatusCode::OK, json!({"status": "success", "message": format!("Log level set to {level}")}))
        }
        false => {
            let text = format!("unrecognized log level \"{level}\"");
            (StatusCode::BAD_REQUEST, json!({"status": "failed", "message": text}))
        }
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// `GET /loki/api/v1/cache/generation_numbers`: nothing is cached that would have to be told apart.
pub async fn cache_generation(_: Tenants) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], "\"\"\n").into_response()
}

/// What there is no route for, as Go's router says it.
pub async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// `GET /loki/api/v1/status/buildinfo`
pub async fn build_info() -> Response {
    let body = json!({
        "version": LOKI_VERSION,
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "grapevine",
        "buildUser": "",
        "buildDate": "",
        "goVersion": "",
    });
    ([(header::CONTENT_TYPE, "application/json; charset=UTF-8")], body.to_string()).into_response()
}

/// `GET /metrics`
pub async fn metrics(State(node): State<Arc<Node>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    if let Some(cluster) = &node.cluster {
        cluster.show(&node.metrics);
    }
    node.rules.show(&node.metrics);
    logging::show(&node.metrics);
    ([(header::CONTENT_TYPE, kind)], node.metrics.text()).into_response()
}

/// `GET /config`: what is in effect, secrets hidden; by `mode` only what differs from the defaults, or these.
pub async fn config(State(node): State<Arc<Node>>, params: Params) -> Response {
    let text = match params.get("mode") {
        Some("diff") => node.config.differences_to_toml(),
        Some("defaults") => Config::unsaid().to_toml(),
        _ => node.config.to_toml(),
    };
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// `POST /flush`: packs and ships everything, on all members of a cluster, and answers when the chunk store has it.
pub async fn flush(State(node): State<Arc<Node>>) -> Result<StatusCode, ApiError> {
    // In a task of its own: a client that goes away does not leave a flush half done.
    let flush = tokio::spawn(async move {
        match &node.replication {
            Some(replication) => replication.flush_everywhere().await,
            None => node.ingester.flush_all().await,
        }
    });
    match flush.await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(error)) => {
            let text = format!(
                "not everything is in the chunk store; what is not is kept, and follows: {error:#}\n"
            );
            Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, text))
        }
        Err(error) => Err(ApiError::internal(format!("the flush was cut off: {error}\n"))),
    }
}

/// `POST /leave`: the node hands over what it holds, leaves its cluster and ends. Answers at once; `/ring` shows how far it
/// is.
pub async fn leave(State(node): State<Arc<Node>>) -> Result<(StatusCode, &'static str), ApiError> {
    let Some(replication) = &node.replication else {
        return Err(ApiError::new(
            StatusCode::CONFLICT,
            "the node stands alone: there is no cluster to leave\n",
        ));
    };
    replication.ask_to_leave();
    Ok((StatusCode::ACCEPTED, "the node hands over what it holds, and ends when it has\n"))
}

#[cfg(test)]
mod tests {
    use crate::testbed::{SECOND, Testbed};

    const NOW: i64 = 1_700_000_000 * SECOND;

    /// Paths of Loki's for whoever runs it, and what is answered by a node that stands alone.
    #[tokio::test]
    async fn operators_find_what_they_know_from_loki() {
        let bed = Testbed::new(NOW, &[("limits.max_query_series", "7")]).await;
        for (method, path, status, part) in [
            ("GET", "/ready", 200, "ready\n"),
            ("GET", "/metrics", 200, "loki_build_info{"),
            ("GET", "/config", 200, "max_query_series = 7\n"),
            ("GET", "/config?mode=diff", 200, "[limits]\nmax_query_series = 7\n"),
            ("GET", "/config?mode=defaults", 200, "max_query_series = 500\n"),
            ("GET", "/config?mode=other", 200, "max_query_series = 7\n"),
            ("GET", "/config/tenant/v1/limits", 200, "max_query_series: 7\n"),
            ("GET", "/services", 200, "ingester => Running\n"),
            ("GET", "/log_level", 200, "Current log level is"),
            ("POST", "/log_level", 400, "unrecognized log level"),
            ("GET", "/ring", 404, "stands alone"),
            ("GET", "/distributor/ring", 404, "stands alone"),
            ("GET", "/ruler/ring", 404, "stands alone"),
            ("GET", "/compactor/ring", 404, "stands alone"),
            ("GET", "/indexgateway/ring", 404, "stands alone"),
            ("GET", "/scheduler/ring", 404, "stands alone"),
            ("GET", "/pattern/ring", 404, "stands alone"),
            ("GET", "/memberlist", 404, "stands alone"),
            ("POST", "/flush", 204, ""),
            ("POST", "/flush/tenant", 204, ""),
            ("GET", "/flush", 405, ""),
            ("GET", "/loki/api/v1/push", 405, ""),
            ("PUT", "/loki/api/v1/push", 405, ""),
            ("GET", "/loki/api/v1/status/buildinfo", 200, "\"version\":\"3."),
            ("GET", "/loki/api/v1/cache/generation_numbers", 200, ""),
            ("GET", "/loki/api/v1/drilldown-limits", 200, "pattern_ingester_enabled"),
            ("GET", "/nowhere", 404, "404 page not found\n"),
        ] {
            let (answered, body) = bed.call(method, path, None).await;
            assert!(answered.as_u16() == status && body.contains(part), "{method} {path}: {answered} {body}");
        }
        bed.push(&[(&[("app", "a")], NOW - SECOND, "text".into(), vec![("id".into(), "12".into())])]).await;
        let group = "name: g\nrules: [{alert: a, expr: 'vector(1)'}, {record: b, expr: 'vector(1)'}]";
        assert_eq!(bed.call_text("POST", "/loki/api/v1/rules/n", &[], group).await.0.as_u16(), 202);
        bed.flush().await;
        let (_, metrics) = bed.call("GET", "/metrics", None).await;
        for line in [
            "loki_distributor_bytes_received_total{tenant=\"fake\"} 4\n",
            "loki_distributor_lines_received_total{tenant=\"fake\"} 1\n",
            "loki_ingester_streams_created_total ",
            "loki_ingester_memory_chunks ",
            "loki_ingester_flush_queue_length ",
            "loki_ingester_chunk_entries_sum 1.0\n",
            "loki_ingester_chunk_size_bytes_count 1\n",
            "loki_ingester_chunk_utilization_sum 0.25\n",
            "loki_ingester_chunk_age_seconds_sum 1.0\n",
            "loki_prometheus_rule_group_rules{rule_group=\"n;g\",user=\"fake\"} 2\n",
            "loki_overrides_defaults{limit_name=\"max_query_series\"} 7.0\n",
            "loki_internal_log_messages_total{level=\"warn\"} ",
            "loki_distributor_structured_metadata_bytes_received_total{tenant=\"fake\"} 4\n",
            "loki_request_duration_seconds_count{method=\"POST\",route=\"loki_api_v1_push\",status_code=\"204\"} 1\n",
        ] {
            assert!(metrics.contains(line), "{line} is not in {metrics}");
        }
        let (_, diff) = bed.call("GET", "/config?mode=diff", None).await;
        assert!(!diff.contains("max_line_size") && diff.contains("data_dir"), "{diff}");
    }
}
