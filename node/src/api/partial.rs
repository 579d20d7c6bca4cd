//! Grafana's Logs Drilldown would rather see some of the series than an error: of more than `max_query_series` it is
//! told that many and a warning. It is known by its `X-Query-Tags`.

use axum::http::HeaderMap;
use grapevine_logql::series::QueryValue;

use super::server::text;
use crate::querier::answer::{Answer, Value};

/// How Logs Drilldown calls itself.
const SOURCE: &str = "source=grafana-lokiexplore-app";

/// What the client calls itself: `name=value` and commas.
pub fn tags(headers: &HeaderMap) -> &str {
    text(headers, "X-Query-Tags").unwrap_or_default()
}

/// Whether a part of the series is better than none, by the client's tags.
pub fn is_wanted(tags: &str) -> bool {
    tags.split(',').any(|tag| tag.trim().eq_ignore_ascii_case(SOURCE))
}

/// Leaves so many series at most, and says so in Loki's words if there were more.
pub fn cut(answer: &mut Answer, most: usize) {
    let Value::Numbers(QueryValue::Matrix(series)) = &mut answer.value else { return };
    if series.len() > most {
        series.truncate(most);
        answer.warnings.push(format!(
            "maximum number of series ({most}) reached for a single query; returning partial results"
        ));
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use crate::testbed::{SECOND, Testbed, with_params};

    const NOW: i64 = 1_700_000_000 * SECOND;

    #[tokio::test]
    async fn drilldown_gets_some_of_the_series_where_others_get_an_error() {
        for strict in ["false", "true"] {
            let bed = Testbed::new(NOW, &[("limits.max_query_series", "2"), ("strict", strict)]).await;
            for app in ["a", "b", "c"] {
                bed.push(&[(&[("app", app)], NOW - SECOND, "x".into(), Vec::new())]).await;
            }
            let query = ("query", r#"count_over_time({app=~".+"}[1m])"#);
            let uri = with_params("/loki/api/v1/query_range", &[query, ("step", "60")]);
            let ask = async |tags: &str| bed.call_with("GET", &uri, &[("X-Query-Tags", tags)], None).await;
            assert_eq!(ask("Source=grafana").await.0, StatusCode::BAD_REQUEST);
            let (status, body) = ask("a=b,Source=grafana-lokiexplore-app").await;
            let warning =
                "maximum number of series (2) reached for a single query; returning partial results";
            assert_eq!(status, StatusCode::OK, "{body}");
            assert!(body.contains(warning) && body.matches("\"metric\"").count() == 2, "{body}");
        }
    }
}
