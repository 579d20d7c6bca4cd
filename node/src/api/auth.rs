//! The door before every route where users must log in: who it is, what they may do, for which tenants.
//!
//! A path that is not listed here needs `admin`, so that a new endpoint is closed until someone thinks about it. The
//! tenants are checked here and handed on in the header that every endpoint reads, so no endpoint can forget to.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::server::text;
use crate::access::users::{Permission, User};
use crate::access::{Access, Refusal};
use crate::config::server::Tenancy;
use crate::node::Node;
use crate::tenant::{SINGLE_TENANT, tenants};

const ORG_ID: &str = "x-scope-orgid";
/// Paths under which there is only reading, but for those that [`needed`] names before.
const READ: [&str; 4] = ["/loki/api/v1/", "/api/prom/", "/prometheus/api/v1/", "/config/tenant/v1/limits"];
const PUSH: [&str; 3] = ["/loki/api/v1/push", "/api/prom/push", "/otlp/v1/logs"];

/// What a request needs; nothing for what everyone may ask.
fn needed(method: &Method, path: &str) -> Option<Permission> {
    let reads = method == Method::GET || method == Method::HEAD;
    if path == "/ready" {
        return None;
    }
    if PUSH.contains(&path) {
        return Some(Permission::Write);
    }
    if path == "/loki/api/v1/delete" && !reads {
        return Some(Permission::Delete);
    }
    let is_rule = ["/loki/api/v1/rules", "/api/prom/rules"].iter().any(|root| path.starts_with(root));
    if is_rule && !reads {
        return Some(Permission::Write);
    }
    match READ.iter().any(|root| path.starts_with(root)) {
        true => Some(Permission::Read),
        false => Some(Permission::Admin),
    }
}

/// Lets a request through whose sender may make it.
pub async fn guard(
    State((node, access)): State<(Arc<Node>, Arc<Access>)>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(needed) = needed(request.method(), request.uri().path()) else { return next.run(request).await };
    let shown = text(request.headers(), header::AUTHORIZATION.as_str());
    let user = match access.who(&node.env.exec, shown).await {
        Ok(user) => user,
        Err(refusal) => return refused(refusal),
    };
    if let Err(error) = admit(&user, needed, node.config.server.tenancy, &mut request) {
        return error.into_response();
    }
    next.run(request).await
}

fn refused(refusal: Refusal) -> Response {
    match refusal {
        Refusal::Unknown => {
            let error =
                ApiError::new(StatusCode::UNAUTHORIZED, "log in with a name and a password, or a token\n");
            let mut response = error.into_response();
            let realm = HeaderValue::from_static("Basic realm=\"grapevine\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
            response
        }
        Refusal::Busy => {
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too many are logging in; try again\n");
            let mut response = error.into_response();
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

/// Checks what a user may do, and leaves in the request's header just the tenants that were checked.
fn admit(user: &User, needed: Permission, tenancy: Tenancy, request: &mut Request) -> Result<(), ApiError> {
    let forbidden = |text: String| ApiError::new(StatusCode::FORBIDDEN, text);
    if !user.may.contains(&needed) {
        let text = format!("`{}` may not do this: it takes `{}`\n", user.name, needed.name());
        return Err(forbidden(text));
    }
    let check = |tenant: &str| match user.acts_for(tenant) {
        true => Ok(()),
        false => Err(forbidden(format!("`{}` may not act for tenant `{tenant}`\n", user.name))),
    };
    if needed == Permission::Admin {
        return Ok(());
    }
    if tenancy == Tenancy::Single {
        return check(SINGLE_TENANT);
    }
    let named = text(request.headers(), ORG_ID).filter(|named| !named.is_empty()).map(str::to_owned);
    let Some(named) = named.or_else(|| user.only_tenant().map(str::to_owned)) else {
        request.headers_mut().remove(ORG_ID);
        return Ok(());
    };
    // What is no list of tenants is refused by the endpoint, in Loki's words.
    let list = tenants(tenancy, Some(&named)).unwrap_or_default();
    list.iter().try_for_each(|tenant| check(tenant))?;
    let value =
        HeaderValue::from_str(&named).map_err(|_| ApiError::bad("the tenant's name is no header\n"))?;
    request.headers_mut().insert(ORG_ID, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::StatusCode;
    use serde_json::json;

    use crate::access::hash::{of_token, token_text};
    use crate::testbed::{SECOND, Testbed, with_params};

    const NOW: i64 = 1_700_000_000 * SECOND;
    /// What only tenant `a` may see: in labels, lines and metadata.
    const SECRET: &str = "classified";
    const METHODS: [&str; 4] = ["GET", "POST", "PUT", "DELETE"];

    fn user(name: &str, tenants: &str, may: &str) -> String {
        let token = token_text(&of_token(name));
        format!("[users.{name}]\ntoken = '{token}'\ntenants = [{tenants}]\nmay = [{may}]\n")
    }

    /// A node with users, whose tokens are their names, and lines of tenant `a`.
    async fn bed() -> (Testbed, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let all = "'read', 'write', 'delete'";
        let users = [
            user("a", "'a'", all),
            user("b", "'b'", all),
            user("both", "'a', 'b'", all),
            user("reader", "'*'", "'read'"),
            user("writer", "'*'", "'write'"),
            user("admin", "'b'", "'admin'"),
        ];
        std::fs::write(&path, users.concat()).unwrap();
        let flags = [("http.users", path.to_str().unwrap()), ("tenancy", "header")];
        let bed = Testbed::new(NOW, &flags).await;
        for line in ["one classified", "two classified level=error"] {
            let (status, body) = push(&bed, "a", Some("a"), line).await;
            assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
        }
        let delete = with_params(
            "/loki/api/v1/delete",
            &[("query", r#"{app="classified"} |= "x""#), ("start", "0000000000")],
        );
        assert_eq!(ask(&bed, "POST", &delete, "a", Some("a")).await.0, StatusCode::NO_CONTENT);
        let rule = json!({"alert": SECRET, "expr": r#"count_over_time({app="classified"}[1m]) > 1"#});
        let group = Some(json!({"name": SECRET, "rules": [rule]}));
        let (status, body) = call(&bed, "POST", "/loki/api/v1/rules/x", "a", Some("a"), group).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}");
        (bed, dir)
    }

    async fn push(bed: &Testbed, token: &str, tenant: Option<&str>, line: &str) -> (StatusCode, String) {
        let values = json!([[(NOW - SECOND).to_string(), line, {"id": SECRET}]]);
        let body = json!({"streams": [{"stream": {"app": SECRET}, "values": values}]});
        call(bed, "POST", "/loki/api/v1/push", token, tenant, Some(body)).await
    }

    async fn ask(
        bed: &Testbed,
        method: &str,
        uri: &str,
        token: &str,
        tenant: Option<&str>,
    ) -> (StatusCode, String) {
        call(bed, method, uri, token, tenant, None).await
    }

    async fn call(
        bed: &Testbed,
        method: &str,
        uri: &str,
        token: &str,
        tenant: Option<&str>,
        body: Option<serde_json::Value>,
    ) -> (StatusCode, String) {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("Authorization", bearer.as_str())];
        headers.extend(tenant.map(|tenant| ("X-Scope-OrgID", tenant)));
        bed.call_with(method, uri, &headers, body).await
    }

    /// Every path that the router's source names, with names filled in and parameters that most endpoints take.
    fn paths() -> Vec<String> {
        let source = include_str!("server.rs");
        let quoted = source.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
        let mut paths: BTreeSet<String> = quoted.map(str::to_owned).collect();
        for root in ["/loki/api/v1/rules", "/api/prom/rules"] {
            paths.extend([format!("{root}/x"), format!("{root}/x/y")]);
        }
        paths.extend(["/nowhere".to_owned(), "/loki/api/v2/query".to_owned()]);
        assert!(paths.len() > 40, "the source is read: {paths:?}");
        // An answer may repeat what was asked: that does not hold the secret.
        let params =
            [("query", r#"{app=~".+"}"#), ("match[]", r#"{app=~".+"}"#), ("start", "0"), ("limit", "10")];
        let filled =
            |path: &String| with_params(&path.replace("{name}", "app").replace(['{', '}'], ""), &params);
        paths.iter().map(filled).collect()
    }

    fn is_open(path: &str) -> bool {
        path.starts_with("/ready")
    }

    #[tokio::test]
    async fn no_endpoint_shows_a_tenant_to_whoever_may_not_act_for_it() {
        let (bed, _dir) = bed().await;
        for path in paths().iter().filter(|path| !is_open(path)) {
            for method in METHODS {
                for tenant in [Some("a"), Some("a|b"), Some("b|a"), Some("A|a"), None, Some("b")] {
                    let (status, body) = ask(&bed, method, path, "b", tenant).await;
                    let label = format!("{method} {path} {tenant:?}: {status} {body}");
                    assert!(!body.contains(SECRET), "{label}");
                    if tenant.is_some_and(|tenant| tenant.contains('a')) {
                        assert_eq!(status, StatusCode::FORBIDDEN, "{label}");
                    }
                }
            }
        }
        let (status, body) = ask(&bed, "GET", &lines(), "a", None).await;
        assert!(status == StatusCode::OK && body.contains(SECRET), "its own user still sees it: {body}");
        let (_, body) = ask(&bed, "GET", &lines(), "both", Some("a|b")).await;
        assert!(body.contains(SECRET), "{body}");
    }

    fn lines() -> String {
        let start = (NOW - 60 * SECOND).to_string();
        with_params("/loki/api/v1/query_range", &[("query", r#"{app="classified"}"#), ("start", &start)])
    }

    #[tokio::test]
    async fn without_a_login_only_readiness_is_told() {
        let (bed, _dir) = bed().await;
        for path in paths() {
            for method in METHODS {
                for shown in [None, Some("Bearer nobody"), Some("Basic a"), Some("a")] {
                    let mut headers = vec![("X-Scope-OrgID", "a")];
                    headers.extend(shown.map(|shown| ("Authorization", shown)));
                    let (status, body) = bed.call_with(method, &path, &headers, None).await;
                    let is_refused = status == StatusCode::UNAUTHORIZED;
                    assert_eq!(is_refused, !is_open(&path), "{method} {path} {shown:?}: {status} {body}");
                }
            }
        }
    }

    #[tokio::test]
    async fn the_right_password_of_nobody_is_a_wrong_one() {
        let (bed, _dir) = bed().await;
        let (status, _) = bed.call_with("GET", &lines(), &[("Authorization", "Basic YTph")], None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn each_may_do_what_the_file_says_and_no_more() {
        let (bed, _dir) = bed().await;
        let delete = "/loki/api/v1/delete";
        for (method, path, token, tenant, allowed) in [
            ("GET", lines().as_str(), "reader", Some("a"), true),
            ("GET", lines().as_str(), "writer", Some("a"), false),
            ("GET", delete, "reader", Some("a"), true),
            ("POST", delete, "reader", Some("a"), false),
            ("POST", delete, "writer", Some("a"), false),
            ("DELETE", delete, "writer", Some("a"), false),
            ("POST", "/flush", "both", Some("a"), false),
            ("POST", "/flush", "admin", None, true),
            ("GET", "/metrics", "reader", None, false),
            ("GET", "/config", "admin", None, true),
            ("GET", lines().as_str(), "admin", Some("b"), false),
        ] {
            let (status, body) = ask(&bed, method, path, token, tenant).await;
            assert_eq!(status != StatusCode::FORBIDDEN, allowed, "{method} {path} {token}: {status} {body}");
        }
        assert_eq!(push(&bed, "writer", Some("c"), "x").await.0, StatusCode::NO_CONTENT);
        assert_eq!(push(&bed, "reader", Some("c"), "x").await.0, StatusCode::FORBIDDEN);
        assert_eq!(push(&bed, "b", Some("a"), "x").await.0, StatusCode::FORBIDDEN);
        assert_eq!(push(&bed, "reader", None, "x").await.0, StatusCode::FORBIDDEN);
        assert_eq!(
            push(&bed, "writer", None, "x").await.0,
            StatusCode::UNAUTHORIZED,
            "of all tenants, which?"
        );
        let (_, config) = ask(&bed, "GET", "/config", "admin", None).await;
        assert!(config.contains("users = ") && !config.contains("sha256$"), "{config}");
    }
}
