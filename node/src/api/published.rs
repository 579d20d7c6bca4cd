//! What a node tells a client of its tenant's limits: Grafana's Logs Drilldown decides by it what to offer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use super::ops::LOKI_VERSION;
use super::server::Tenants;
use crate::config::units::Period;
use crate::limits::Limits;
use crate::node::Node;

/// A tenant's limits by name.
fn published(limits: &Limits) -> serde_json::Map<String, Json> {
    let mut all = match serde_json::to_value(limits) {
        Ok(Json::Object(all)) => all,
        _ => serde_json::Map::new(),
    };
    // Grafana reads this one as a text with a unit also where it is none.
    if limits.retention_period == Period::ZERO {
        all.insert("retention_period".into(), Json::String("0s".into()));
    }
    all
}

fn limits_of<'a>(node: &'a Node, tenants: &Tenants) -> &'a Limits {
    node.limits.of(tenants.0.first().map_or("", |tenant| &**tenant))
}

/// `GET /loki/api/v1/drilldown-limits`
pub async fn drilldown(State(node): State<Arc<Node>>, tenants: Tenants) -> Response {
    let body = json!({
        "limits": published(limits_of(&node, &tenants)),
        "pattern_ingester_enabled": true,
        "version": LOKI_VERSION,
    });
    ([(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// `GET /config/tenant/v1/limits`: YAML, one limit a line.
pub async fn tenant_limits(State(node): State<Arc<Node>>, tenants: Tenants) -> Response {
    let text = yaml(&published(limits_of(&node, &tenants)));
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

/// YAML takes a JSON value wherever it takes a value.
fn yaml(limits: &serde_json::Map<String, Json>) -> String {
    limits.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::{published, yaml};
    use crate::limits::Limits;

    #[test]
    fn limits_are_published_by_lokis_names() {
        let limits = published(&Limits::default());
        assert_eq!(limits["max_query_series"], 500);
        assert_eq!(limits["max_line_size"], "256KB");
        assert_eq!((&limits["volume_enabled"], &limits["retention_period"]), (&true.into(), &"0s".into()));
        let text = yaml(&limits);
        assert!(text.contains("max_query_series: 500\n") && text.contains("max_line_size: \"256KB\"\n"));
    }
}
