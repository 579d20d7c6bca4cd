//! The routes, and what every request goes through: tenant, parameters, metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::time::Instant;

use super::body::read_body;
use super::error::ApiError;
use super::params::Params;
use super::{
    auth, delete, detected, ingest, legacy, ops, patterns, published, query, ring, rules, tail, volume,
    workers,
};
use crate::metrics;
use crate::node::Node;
use crate::tenant::tenants;

/// The header in which a gateway says which streams of a tenant a user may see, where Loki is told to obey it.
const LABEL_POLICY: &str = "X-Prom-Label-Policy";
/// Bytes of a form that a query may come in.
const FORM_BYTES_MAX: usize = 1 << 20;

/// All routes of a node, behind the door where users log in if there is one.
pub fn router(node: Arc<Node>) -> Router {
    let routes = routes();
    let routes = match node.access.clone() {
        Some(access) => routes.layer(from_fn_with_state((node.clone(), access), auth::guard)),
        None => routes,
    };
    routes.layer(from_fn_with_state(node.clone(), measure)).with_state(node)
}

fn routes() -> Router<Arc<Node>> {
    Router::new()
        .route("/loki/api/v1/push", post(ingest::push))
        .route("/api/prom/push", post(ingest::push_prom))
        .route("/otlp/v1/logs", post(ingest::otlp))
        .route("/loki/api/v1/query", get(query::instant).post(query::instant))
        .route("/loki/api/v1/query_range", get(query::range).post(query::range))
        .route("/loki/api/v1/labels", get(query::labels).post(query::labels))
        .route("/loki/api/v1/label", get(query::labels).post(query::labels))
        .route("/loki/api/v1/label/{name}/values", get(query::label_values).post(query::label_values))
        .route("/loki/api/v1/series", get(query::series).post(query::series))
        .route("/loki/api/v1/tail", get(tail::tail))
        .route("/api/prom/tail", get(tail::tail_legacy))
        .route("/loki/api/v1/index/stats", get(volume::stats).post(volume::stats))
        .route("/loki/api/v1/index/shards", get(volume::shards).post(volume::shards))
        .route("/loki/api/v1/index/volume", get(volume::instant).post(volume::instant))
        .route("/loki/api/v1/index/volume_range", get(volume::range).post(volume::range))
        .route("/loki/api/v1/drilldown-limits", get(published::drilldown))
        .route("/config/tenant/v1/limits", get(published::tenant_limits))
        .route("/loki/api/v1/cache/generation_numbers", get(ops::cache_generation))
        .route("/prometheus/api/v1/rules", get(rules::prometheus_rules))
        .route("/prometheus/api/v1/alerts", get(rules::prometheus_alerts))
        .route("/api/prom/query", get(legacy::query).post(legacy::query))
        .route("/api/prom/label", get(legacy::labels).post(legacy::labels))
        .route("/api/prom/label/{name}/values", get(legacy::label_values).post(legacy::label_values))
        .route("/api/prom/series", get(query::series).post(query::series))
        .route(
            "/loki/api/v1/delete",
            get(delete::list).post(delete::create).put(delete::create).delete(delete::cancel),
        )
        .route("/loki/api/v1/patterns", get(patterns::patterns).post(patterns::patterns))
        .route("/loki/api/v1/detected_labels", get(detected::labels).post(detected::labels))
        .route("/loki/api/v1/detected_fields", get(detected::fields).post(detected::fields))
        .route(
            "/loki/api/v1/detected_field/{name}/values",
            get(detected::field_values).post(detected::field_values),
        )
        .route("/loki/api/v1/format_query", get(query::format).post(query::format))
        .route("/loki/api/v1/status/buildinfo", get(ops::build_info))
        .route("/ready", get(ops::ready))
        .route("/ring", get(ring::ring))
        .route("/metrics", get(ops::metrics))
        .route("/config", get(ops::config))
        .route("/flush", post(ops::flush))
        .route("/flush/tenant", post(ops::flush))
        .route("/leave", post(ops::leave))
        .route("/workers", get(workers::list))
        .route("/workers/{name}/{order}", post(workers::order))
        .route("/services", get(ops::services))
        .route("/log_level", get(ops::log_level).post(ops::set_log_level))
        .merge(ring_routes())
        .merge(rule_routes("/loki/api/v1/rules"))
        .merge(rule_routes("/api/prom/rules"))
        .route_layer(from_fn(refuse_head))
        .fallback(ops::not_found)
}

/// Loki's routes name their methods and HEAD is none of them; this router would answer it wherever it answers GET.
/// `/metrics` alone takes any method in Loki.
async fn refuse_head(request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD && request.uri().path() != "/metrics" {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    next.run(request).await
}

/// Each node is all that Loki's roles are, so their rings are one.
fn ring_routes() -> Router<Arc<Node>> {
    const PATHS: [&str; 7] = [
        "/distributor/ring",
        "/ruler/ring",
        "/compactor/ring",
        "/indexgateway/ring",
        "/scheduler/ring",
        "/pattern/ring",
        "/memberlist",
    ];
    PATHS.into_iter().fold(Router::new(), |routes, path| routes.route(path, get(ring::ring)))
}

fn rule_routes(root: &str) -> Router<Arc<Node>> {
    Router::new()
        .route(root, get(rules::list))
        .route(
            &format!("{root}/{{namespace}}"),
            get(rules::list_namespace).post(rules::create).delete(rules::remove_namespace),
        )
        .route(&format!("{root}/{{namespace}}/{{group}}"), get(rules::group).delete(rules::remove))
}

async fn measure(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let route =
        request.extensions().get::<MatchedPath>().map_or("other".to_owned(), |path| label(path.as_str()));
    let began = Instant::now();
    let response = next.run(request).await;
    let status_code = response.status().as_str().to_owned();
    let labels = metrics::Request { method, route, status_code };
    node.metrics.request_seconds.get_or_create(&labels).observe(began.elapsed().as_secs_f64());
    response
}

/// A route as Loki's metrics name it: `loki_api_v1_label_name_values`.
fn label(path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    match words.collect::<Vec<_>>().join("_").to_ascii_lowercase() {
        label if label.is_empty() => "root".to_owned(),
        label => label,
    }
}

/// Whose streams a query may see.
#[derive(Clone, Debug)]
pub struct Tenants(pub Vec<Arc<str>>);

impl FromRequestParts<Arc<Node>> for Tenants {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, ApiError> {
        let names = tenants(node.config.server.tenancy, org_id(&parts.headers)).map_err(|error| {
            let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::BAD_REQUEST);
            // Loki's own middleware ends this text with a line end, and the others not.
            let end = if status == StatusCode::UNAUTHORIZED { "\n" } else { "" };
            ApiError::new(status, format!("{}{end}", error.message))
        })?;
        // Who hides streams from a user by a policy must not be told of them: better no answer than one that ignores it.
        if parts.headers.contains_key(LABEL_POLICY) {
            return Err(ApiError::bad(format!(
                "label policies are not enforced here; ask without `{LABEL_POLICY}`, and keep tenants apart instead"
            )));
        }
        if names.iter().any(String::is_empty) {
            return Err(ApiError::internal("no queue found: empty tenant is not allowed"));
        }
        Ok(Tenants(names.into_iter().map(Arc::from).collect()))
    }
}

/// The value of `X-Scope-OrgID`.
pub fn org_id(headers: &HeaderMap) -> Option<&str> {
    text(headers, "X-Scope-OrgID")
}

/// A header as text; one that is not counts as absent.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Takes parameters from the URL and, for a form, from the body.
impl FromRequest<Arc<Node>> for Params {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &Arc<Node>) -> Result<Self, ApiError> {
        let mut pairs = pairs_of(request.uri().query().unwrap_or_default().as_bytes())?;
        let form = text(request.headers(), header::CONTENT_TYPE.as_str())
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if form {
            let body = read_body(request, FORM_BYTES_MAX).await?;
            let mut own = pairs_of(&body)?;
            // Go's ParseForm lets the body's values come first.
            own.append(&mut pairs);
            pairs = own;
        }
        Ok(Params(pairs))
    }
}

/// The parameters of a query string or a form. Bytes that are no text become U+FFFD, but not in LogQL: a query would
/// then ask for something else, and Loki's lexer refuses it.
fn pairs_of(text: &[u8]) -> Result<Vec<(String, String)>, ApiError> {
    let pairs = text.split(|byte| *byte == b'&').filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((&pair[..at], &pair[at + 1..]))
    });
    for (name, value) in pairs {
        let is_query = matches!(name, b"query" | b"match" | b"match[]" | b"match%5B%5D" | b"match%5b%5d");
        if is_query && percent_encoding::percent_decode(value).decode_utf8().is_err() {
            return Err(ApiError::bad("parse error : invalid UTF-8 encoding"));
        }
    }
    Ok(url::form_urlencoded::parse(text).into_owned().collect())
}
