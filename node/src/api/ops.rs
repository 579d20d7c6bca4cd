//! Endpoints for whoever runs the node.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::error::ApiError;
use crate::node::Node;

/// The version of Loki whose API this is; clients decide by it what they may ask.
const LOKI_VERSION: &str = "3.8.0";

/// `GET /ready`: a node that serves has replayed its log.
pub async fn ready() -> &'static str {
    "ready\n"
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
    ([(header::CONTENT_TYPE, kind)], node.metrics.text()).into_response()
}

/// `GET /config`: what is in effect, secrets hidden.
pub async fn config(State(node): State<Arc<Node>>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], node.config.to_toml()).into_response()
}

/// `POST /flush`: packs and ships everything, and answers when the chunk store has it.
pub async fn flush(State(node): State<Arc<Node>>) -> Result<StatusCode, ApiError> {
    // In a task of its own: a client that goes away does not leave a flush half done.
    let flush = tokio::spawn(async move { node.ingester.flush_all().await });
    match flush.await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(error)) => Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n"))),
        Err(error) => Err(ApiError::internal(format!("the flush was cut off: {error}\n"))),
    }
}
