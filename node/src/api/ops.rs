//! Endpoints for whoever runs the node.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::error::ApiError;
use super::params::Params;
use super::server::Tenants;
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
pub async fn services() -> &'static str {
    "distributor => Running\ningester => Running\nquerier => Running\nserver => Running\n"
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
    ([(header::CONTENT_TYPE, kind)], node.metrics.text()).into_response()
}

/// `GET /config`: what is in effect, secrets hidden.
pub async fn config(State(node): State<Arc<Node>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], node.config.to_toml()).into_response()
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
        Ok(Err(error)) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n"))),
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
