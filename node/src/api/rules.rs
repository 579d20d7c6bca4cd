//! The rule endpoints, of which there is only the empty half: this store evaluates no rules, so it takes none.
//!
//! Listing answers as Loki does where nobody has made a rule, which is what Grafana's list of alerts asks. A rule
//! that is sent is refused (501): taking it in and never evaluating it would be an alert that never fires. Rules
//! over logs belong in Grafana's own alerting, which asks `query` as any client does.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use super::error::ApiError;
use super::server::Tenants;

/// `GET` of all rules or of a namespace.
pub async fn list(_: Tenants) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no rule groups found\n")
}

/// `GET` of one group.
pub async fn group(_: Tenants) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "group does not exist\n")
}

/// `POST` and `DELETE`.
pub async fn refuse(_: Tenants) -> ApiError {
    let text = "rules are not evaluated here, so none are taken; \
                use Grafana-managed alerts, which ask this node's query API\n";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, text)
}

fn answer(data: &Json) -> Response {
    let body = json!({"status": "success", "data": data, "errorType": "", "error": ""});
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// `GET /prometheus/api/v1/rules`
pub async fn prometheus_rules(_: Tenants) -> Response {
    answer(&json!({"groups": []}))
}

/// `GET /prometheus/api/v1/alerts`
pub async fn prometheus_alerts(_: Tenants) -> Response {
    answer(&json!({"alerts": []}))
}
