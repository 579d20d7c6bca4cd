//! `/loki/api/v1/patterns`: the templates of a selector's lines.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use grapevine_logql::ast::Expr;
use serde_json::{Value, json};

use super::error::ApiError;
use super::guard::{self, strictest};
use super::params::Params;
use super::query::asker;
use super::respond::json as respond;
use super::server::Tenants;
use crate::node::Node;
use crate::querier::Querier;
use crate::querier::patterns::miner::Pattern;
use crate::querier::patterns::{PatternAnswer, PatternQuery};

const SECOND: i64 = 1_000_000_000;
/// Loki counts patterns in steps of no less.
const STEP_MIN: i64 = 10 * SECOND;

/// Answers `data: [{pattern, level, samples: [[s, lines]]}]`, and beside it, as an extension, what was read.
pub async fn patterns(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let mut range = params.range(node.env.clock.now())?;
    let expr = Querier::parse(&range.query)?;
    let limits = strictest(&node, &tenants);
    guard::check_query(&limits, &expr)?;
    range.bounds = guard::look_back(&limits, range.bounds, node.env.clock.now());
    guard::check_length(&limits, range.bounds)?;
    let Expr::Log(log) = expr else {
        return Err(ApiError::bad(
            "patterns are found in lines: the query must be a selector, with line filters at most",
        ));
    };
    let step = range.step.max(STEP_MIN);
    let query = PatternQuery { log, start: range.bounds.start, end: range.bounds.end, step };
    let answer = node.querier.patterns(&asker(&node, &tenants), query).await?;
    Ok(respond(&node.env.exec, &headers, &body(&answer)).await)
}

fn body(answer: &PatternAnswer) -> Value {
    let data: Vec<Value> = answer.patterns.iter().map(pattern).collect();
    let mut body = json!({
        "status": "success",
        "data": data,
        "stats": {
            "linesMatched": answer.stats.lines_passed,
            "sampledOneIn": answer.one_in,
            "bytesProcessed": answer.stats.text_bytes,
            "execTime": answer.stats.elapsed.as_secs_f64(),
        },
    });
    if !answer.warnings.is_empty() {
        body["warnings"] = json!(answer.warnings);
    }
    body
}

fn pattern(pattern: &Pattern) -> Value {
    let samples: Vec<(i64, u64)> = pattern.counts.iter().map(|(at, lines)| (at / SECOND, *lines)).collect();
    json!({"pattern": pattern.text, "level": pattern.level, "samples": samples})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testbed::{SECOND, Testbed};

    const START: i64 = 1_700_000_000 * SECOND;

    #[tokio::test]
    async fn templates_of_heads_and_packs_are_counted_by_step_and_level() {
        let bed = Testbed::new(START + 100 * SECOND, &[]).await;
        let labels = [("app", "a")];
        let line = |n: i64, text: String| (&labels[..], START + n * SECOND, text, Vec::new());
        bed.push(&[line(1, "user ada logged in".into()), line(2, "user bob logged in".into())]).await;
        bed.flush().await;
        bed.push(&[line(3, "user eve logged in".into()), line(15, "user kim logged in".into())]).await;
        bed.push(&[line(5, "error: disk sda full".into())]).await;
        let (start, end) = (START.to_string(), (START + 60 * SECOND).to_string());
        let params = [("query", r#"{app="a"}"#), ("start", &start), ("end", &end), ("step", "10s")];
        let found = bed.get("/loki/api/v1/patterns", &params).await;
        let expected = json!([
            {"pattern": "user <_> logged in", "level": "unknown", "samples": [[1_700_000_000, 3], [1_700_000_010, 1]]},
            {"pattern": "error: disk sda full", "level": "error", "samples": [[1_700_000_000, 1]]},
        ]);
        assert_eq!(found["data"], expected);
        assert_eq!(found["stats"]["sampledOneIn"], 1);
        assert_eq!(found["stats"]["linesMatched"], 5);
    }
}
