//! What goes beyond Loki, and the setting that refuses it: with `strict` a node answers as Loki does or not at all.

use axum::http::StatusCode;

use super::error::ApiError;
use super::params::Params;
use crate::node::Node;
use crate::querier::answer::Answer;

/// Parameters that Loki does not know.
const EXTENSIONS: [&str; 2] = ["cursor", "explain"];

/// Refuses parameters that are extensions.
///
/// # Errors
/// 400, where the node is strict.
pub fn check_params(node: &Node, params: &Params) -> Result<(), ApiError> {
    let asked = EXTENSIONS.iter().find(|name| node.config.server.strict && params.get(name).is_some());
    match asked {
        Some(name) => Err(ApiError::bad(format!(
            "`{name}` is an extension, which this node refuses; leave it out, or set `strict` to false"
        ))),
        None => Ok(()),
    }
}

/// Refuses an answer that lacks something: Loki has all of it or an error.
///
/// # Errors
/// 500, where the node is strict and the answer says what it lacks.
pub fn check_answer(node: &Node, answer: &Answer) -> Result<(), ApiError> {
    match node.config.server.strict && !answer.warnings.is_empty() {
        true => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, answer.warnings.join("; "))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use crate::testbed::{SECOND, Testbed, with_params};

    const NOW: i64 = 1_700_000_000 * SECOND;

    async fn damaged(flags: &[(&str, &str)]) -> Testbed {
        let bed = Testbed::new(NOW, flags).await;
        bed.push(&[(&[("app", "a")], NOW - SECOND, "gone".into(), Vec::new())]).await;
        bed.flush().await;
        bed.lose_packs();
        bed
    }

    #[tokio::test]
    async fn a_strict_node_refuses_what_loki_does_not_know() {
        let strict = Testbed::new(NOW, &[("strict", "true")]).await;
        let open = Testbed::new(NOW, &[]).await;
        for (path, param) in [
            ("/loki/api/v1/query_range", ("cursor", "start")),
            ("/loki/api/v1/query_range", ("explain", "true")),
        ] {
            let uri = with_params(path, &[("query", r#"{app="a"}"#), param]);
            assert_eq!(strict.call("GET", &uri, None).await.0, StatusCode::BAD_REQUEST, "{uri}");
            assert_eq!(open.call("GET", &uri, None).await.0, StatusCode::OK, "{uri}");
        }
        let uri = with_params("/loki/api/v1/query", &[("query", "1+1"), ("explain", "true")]);
        assert_eq!(strict.call("GET", &uri, None).await.0, StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named_or_for_a_strict_node_an_error() {
        for query in [r#"{app="a"}"#, r#"count_over_time({app="a"} |= "x" [5m])"#] {
            let uri = with_params("/loki/api/v1/query_range", &[("query", query)]);
            let (status, body) = damaged(&[]).await.call("GET", &uri, None).await;
            assert!(status == StatusCode::OK && body.contains("chunk 0 of pack `fake/"), "{body}");
            let (status, body) = damaged(&[("strict", "true")]).await.call("GET", &uri, None).await;
            assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
            assert!(body.starts_with("chunk 0 of pack `fake/"), "{body}");
        }
    }
}
