//! How much a query would have to look at, held to `max_query_bytes_read` before it looks at anything.

use grapevine_logql::ast::{Expr, LogExpr, Matcher, SampleExpr};
use grapevine_logql::quantity::format_bytes;
use grapevine_storage::index::TimeRange;

use super::error::ApiError;
use super::guard::strictest;
use super::params::Bounds;
use super::query::asker;
use super::server::Tenants;
use crate::node::Node;
use crate::querier::volume::Totals;

/// What one selector of a query chooses.
struct Reach<'q> {
    selector: &'q [Matcher],
    range: TimeRange,
}

/// Refuses a query that would look at more than its tenants may. Nothing is counted where there is no limit.
///
/// # Errors
/// Loki's text for what is too much, or the index cannot be read.
pub async fn check(node: &Node, tenants: &Tenants, expr: &Expr, bounds: Bounds) -> Result<(), ApiError> {
    let limits = strictest(node, tenants);
    let limits = limits.iter().map(|limits| limits.max_query_bytes_read.bytes() as u64);
    let Some(most) = limits.filter(|most| *most > 0).min() else { return Ok(()) };
    let asker = asker(node, tenants);
    let mut bytes = 0u64;
    for Reach { selector, range } in reaches(expr, bounds) {
        bytes += node.querier.count(&asker, selector, range, Totals::new(range)).await?.found.bytes;
    }
    match bytes > most {
        true => Err(ApiError::bad(format!(
            "the query would read too many bytes (query: {}, limit: {}); consider adding more specific stream selectors \
             or reduce the time range of the query",
            format_bytes(bytes),
            format_bytes(most)
        ))),
        false => Ok(()),
    }
}

fn reaches(expr: &Expr, bounds: Bounds) -> Vec<Reach<'_>> {
    let mut found = Vec::new();
    match expr {
        Expr::Log(LogExpr { selector, .. }) => {
            found.push(Reach { selector, range: TimeRange { first: bounds.start, last: bounds.end } });
        }
        Expr::Sample(sample) => of_sample(sample, bounds, &mut found),
    }
    found
}

fn of_sample<'q>(sample: &'q SampleExpr, bounds: Bounds, found: &mut Vec<Reach<'q>>) {
    match sample {
        SampleExpr::Range(aggregation) => {
            let range = &aggregation.range;
            let first = bounds.start.saturating_sub(range.offset).saturating_sub(range.interval);
            let range_of_time = TimeRange { first, last: bounds.end.saturating_sub(range.offset) };
            found.push(Reach { selector: &range.log.selector, range: range_of_time });
        }
        SampleExpr::Vector(vector) => of_sample(&vector.inner, bounds, found),
        SampleExpr::Binary(binary) => {
            of_sample(&binary.lhs, bounds, found);
            of_sample(&binary.rhs, bounds, found);
        }
        SampleExpr::LabelReplace(replace) => of_sample(&replace.inner, bounds, found),
        SampleExpr::Literal(_) | SampleExpr::VectorLiteral(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::testbed::{SECOND, Testbed, with_params};

    const NOW: i64 = 1_700_000_000 * SECOND;

    #[tokio::test]
    async fn a_query_that_would_read_too_much_is_refused_before_it_reads() {
        let bed = Testbed::new(NOW, &[("limits.max_query_bytes_read", "1KB")]).await;
        let (a, b) = ([("app", "a")], [("app", "b")]);
        bed.push(&[
            (&a, NOW - SECOND, "x".repeat(900), Vec::new()),
            (&b, NOW - 600 * SECOND, "y".repeat(900), Vec::new()),
        ])
        .await;
        for (path, query, is_read) in [
            ("query_range", r#"{app="a"}"#, true),
            ("query_range", r#"{app=~".+"}"#, false),
            ("query", r#"count_over_time({app=~".+"}[1m])"#, true),
            ("query", r#"count_over_time({app=~".+"}[1h])"#, false),
            ("query", r#"count_over_time({app=~".+"}[1m] offset 570s)"#, true),
            ("query", r#"sum(rate({app="a"}[1m])) / sum(rate({app="b"}[1h]))"#, false),
        ] {
            let uri = with_params(&format!("/loki/api/v1/{path}"), &[("query", query)]);
            let (status, body) = bed.call("GET", &uri, None).await;
            assert_eq!(status.as_u16(), if is_read { 200 } else { 400 }, "{query}: {body}");
            let text = "the query would read too many bytes (query: 1.8kB, limit: 1.0kB); consider adding more specific \
                        stream selectors or reduce the time range of the query";
            assert!(is_read || body == text, "{query}: {body}");
        }
    }
}
