//! How much a query would have to look at, held to what its tenants may before it looks at anything: bytes, chunks and
//! streams.

use std::sync::Arc;

use grapevine_logql::ast::{Expr, LogExpr, Matcher, SampleExpr};
use grapevine_logql::quantity::format_bytes;
use grapevine_storage::index::TimeRange;

use super::error::ApiError;
use super::guard::strictest;
use super::params::Bounds;
use super::query::asker;
use super::server::Tenants;
use crate::limits::Limits;
use crate::node::Node;
use crate::querier::volume::Totals;

/// What one selector of a query chooses.
struct Reach<'q> {
    selector: &'q [Matcher],
    range: TimeRange,
}

/// How much a query may look at; what is 0 has no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Most {
    /// Bytes of lines, of all selectors together.
    bytes: u64,
    /// Bytes of lines of each selector.
    bytes_of_one: u64,
    chunks: u64,
    /// Streams of each selector.
    streams: u64,
}

impl Most {
    fn of(limits: &[Arc<Limits>]) -> Self {
        let least = |part: fn(&Limits) -> u64| {
            limits.iter().map(|limits| part(limits)).filter(|most| *most > 0).min().unwrap_or(0)
        };
        Most {
            bytes: least(|limits| limits.max_query_bytes_read.0),
            bytes_of_one: least(|limits| limits.max_querier_bytes_read.0),
            chunks: least(|limits| limits.max_chunks_per_query as u64),
            streams: least(|limits| limits.cardinality_limit as u64),
        }
    }

    /// What is too much about one selector, by what it chooses.
    fn check_one(self, selector: &[Matcher], found: &Totals) -> Result<(), ApiError> {
        let streams = found.streams();
        if self.streams > 0 && streams > self.streams {
            let selector = LogExpr { selector: selector.to_vec(), stages: Vec::new() };
            return Err(ApiError::bad(format!(
                "cardinality limit exceeded for {selector}; {streams} entries, more than limit of {}",
                self.streams
            )));
        }
        if self.bytes_of_one > 0 && found.bytes > self.bytes_of_one {
            return Err(ApiError::bad(format!(
                "query too large to execute on a single querier: (query: {}, limit: {}); consider adding more \
                 specific stream selectors, reduce the time range of the query, or adjust parallelization settings",
                format_bytes(found.bytes),
                format_bytes(self.bytes_of_one)
            )));
        }
        Ok(())
    }

    /// What is too much about all of them together.
    fn check_all(self, bytes: u64, chunks: u64) -> Result<(), ApiError> {
        if self.chunks > 0 && chunks > self.chunks {
            return Err(ApiError::bad(format!(
                "the query hit the max number of chunks limit (limit: {} chunks, query: {chunks})",
                self.chunks
            )));
        }
        if self.bytes > 0 && bytes > self.bytes {
            return Err(ApiError::bad(format!(
                "the query would read too many bytes (query: {}, limit: {}); consider adding more specific stream \
                 selectors or reduce the time range of the query",
                format_bytes(bytes),
                format_bytes(self.bytes)
            )));
        }
        Ok(())
    }
}

/// Refuses a query that would look at more than its tenants may. Nothing is counted where there is no limit.
///
/// # Errors
/// Loki's text for what is too much, or the index cannot be read.
pub async fn check(node: &Node, tenants: &Tenants, expr: &Expr, bounds: Bounds) -> Result<(), ApiError> {
    let most = Most::of(&strictest(node, tenants));
    if most == Most::default() {
        return Ok(());
    }
    let asker = asker(node, tenants);
    let (mut bytes, mut chunks) = (0u64, 0u64);
    for Reach { selector, range } in reaches(expr, bounds) {
        let found = node.querier.count(&asker, selector, range, Totals::new(range)).await?.found;
        most.check_one(selector, &found)?;
        bytes = bytes.saturating_add(found.bytes);
        chunks = chunks.saturating_add(found.chunks);
    }
    most.check_all(bytes, chunks)
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

    #[tokio::test]
    async fn a_query_of_too_many_streams_or_chunks_is_refused() {
        let refused = async |limit: (&str, &str), query: &str| {
            let bed = Testbed::new(NOW, &[limit]).await;
            for app in ["a", "b", "c"] {
                bed.push(&[(&[("app", app)], NOW - SECOND, "x".repeat(600), Vec::new())]).await;
            }
            let uri = with_params("/loki/api/v1/query_range", &[("query", query)]);
            let (status, body) = bed.call("GET", &uri, None).await;
            if status.is_success() { String::new() } else { body }
        };
        let two = r#"rate({app="a"}[1m]) / rate({app=~"a|b"}[1m])"#;
        let cardinality = ("limits.cardinality_limit", "2");
        assert_eq!(refused(cardinality, two).await, "");
        assert_eq!(
            refused(cardinality, r#"{app=~".+"} |= "x""#).await,
            r#"cardinality limit exceeded for {app=~".+"}; 3 entries, more than limit of 2"#
        );
        assert_eq!(refused(("limits.max_chunks_per_query", "3"), two).await, "");
        assert_eq!(
            refused(("limits.max_chunks_per_query", "2"), two).await,
            "the query hit the max number of chunks limit (limit: 2 chunks, query: 3)"
        );
        // Each selector is held to it, not all together.
        assert_eq!(refused(("limits.max_querier_bytes_read", "1500"), two).await, "");
        let too_large = refused(("limits.max_querier_bytes_read", "1000"), two).await;
        assert!(
            too_large
                .starts_with("query too large to execute on a single querier: (query: 1.2kB, limit: 1.0kB)")
        );
    }
}
