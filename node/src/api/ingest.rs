//! The endpoints that take lines in.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::read_body;
use super::server::{org_id, text};
use crate::distributor::{Gate, PushHeaders};
use crate::node::Node;
use crate::push::content::PACKED_BYTES_MAX;
use crate::push::error::{ErrorCode, ErrorShape, PushError};
use crate::push::request::Endpoint;
use crate::tenant::tenant;

/// What a body that does not say its length is reckoned at.
const UNDECLARED_BYTES: usize = 4 << 20;

/// `POST /loki/api/v1/push`
pub async fn push(State(node): State<Arc<Node>>, request: Request) -> Response {
    take(&node, Endpoint::Loki, ErrorShape::Text, request).await
}

/// `POST /api/prom/push`
pub async fn push_prom(State(node): State<Arc<Node>>, request: Request) -> Response {
    take(&node, Endpoint::Prom, ErrorShape::Text, request).await
}

/// `POST /otlp/v1/logs`
pub async fn otlp(State(node): State<Arc<Node>>, request: Request) -> Response {
    take(&node, Endpoint::Otlp, ErrorShape::OtlpStatus, request).await
}

async fn take(node: &Arc<Node>, endpoint: Endpoint, shape: ErrorShape, request: Request) -> Response {
    let owner = match tenant(node.config.server.tenancy, org_id(request.headers())) {
        Ok(owner) => owner,
        // Loki's door asks for a tenant, in plain text; the endpoint itself says what is wrong with its name.
        Err(error) if error.code == ErrorCode::Unauthenticated => {
            return refuse(node, &error, ErrorShape::Text);
        }
        Err(error) => return refuse(node, &error, shape),
    };
    match taken(node, endpoint, owner, request).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refuse(node, &error, shape),
    }
}

async fn taken(
    node: &Arc<Node>,
    endpoint: Endpoint,
    owner: String,
    request: Request,
) -> Result<(), PushError> {
    let headers = headers_of(request.headers());
    let declared =
        text(request.headers(), header::CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
    let expected = declared.unwrap_or(UNDECLARED_BYTES).min(PACKED_BYTES_MAX);
    let _room = node.distributor.admit_body(expected).await;
    let body = read_body(request, PACKED_BYTES_MAX).await.map_err(|error| {
        let code = match error.status {
            StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::TooLarge,
            StatusCode::REQUEST_TIMEOUT => ErrorCode::TooSlow,
            _ => ErrorCode::Invalid,
        };
        PushError::new(code, error.message)
    })?;
    node.distributor.push(endpoint, owner, headers, body).await
}

fn headers_of(headers: &HeaderMap) -> PushHeaders {
    let header = |name: &str| text(headers, name).map(str::to_owned);
    PushHeaders {
        content_type: header("Content-Type"),
        content_encoding: header("Content-Encoding"),
        backfill_shard: header("X-Loki-Backfill-Shard"),
    }
}

fn refuse(node: &Node, error: &PushError, shape: ErrorShape) -> Response {
    let answer = error.response(shape);
    let mut response = Response::builder().status(answer.status);
    if !answer.content_type.is_empty() {
        response = response.header(header::CONTENT_TYPE, answer.content_type);
    }
    if error.code.is_retryable() {
        let wait = node.disk.closed().map_or(1, |(_, seconds)| seconds);
        response = response.header(header::RETRY_AFTER, wait);
    }
    let built = response.body(Body::from(answer.body));
    built.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}
