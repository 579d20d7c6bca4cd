//! Pages of lines without an end: an extension. `cursor=start` asks for the first page of a log query; an answer that
//! is not the last names the next one, as `next` in its data and as a `Link` header.
//!
//! A page ends between two moments, never within one, and its cursor holds the rest of the range that was asked: so
//! pages share no line and leave none out, whatever is pushed meanwhile. Lines that come later for a moment which has
//! been told are not told. A page is shorter than `limit` where the last moment does not fit, and longer only where
//! one moment alone has more lines than that.

use std::fmt;

use axum::http::HeaderValue;
use grapevine_logql::ast::Expr;
use url::form_urlencoded::Serializer;
use xxhash_rust::xxh3::Xxh3;

use super::error::ApiError;
use super::params::{Bounds, Direction, Params, RangeParams};
use super::query::{answer_range, asker, log_query};
use super::server::Tenants;
use crate::node::Node;
use crate::querier::Querier;
use crate::querier::answer::{Answer, LogLine, Value};

type Result<T> = std::result::Result<T, ApiError>;

/// What asks for the first page.
const START: &str = "start";
/// Lines of one moment that a page may hold beyond its limit: what they take in memory is what the longest page may.
const MOMENT_LINES_MAX: usize = 100_000;

/// What is left of a query: the place where its next page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    bounds: Bounds,
    /// Tells queries apart, so that a cursor of one is not used on another.
    question: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:016x}", self.bounds.start, self.bounds.end, self.question)
    }
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let mut number = || parts.next()?.parse().ok();
        let bounds = Bounds { start: number()?, end: number()? };
        let question = u64::from_str_radix(parts.next()?, 16).ok()?;
        parts.next().is_none().then_some(Cursor { bounds, question })
    }

    /// The `Link` header of a page: the same question with this cursor.
    pub fn link(&self, path: &str, params: &Params) -> Option<HeaderValue> {
        let others = params.0.iter().filter(|(name, _)| name != "cursor");
        let query = Serializer::new(String::new())
            .extend_pairs(others)
            .append_pair("cursor", &self.to_string())
            .finish();
        HeaderValue::from_str(&format!("<{path}?{query}>; rel=\"next\"")).ok()
    }
}

fn question(tenants: &Tenants, params: &RangeParams) -> u64 {
    let mut hash = Xxh3::new();
    for part in tenants.0.iter().map(|tenant| &**tenant).chain([params.query.as_str()]) {
        hash.update(part.as_bytes());
        hash.update(&[0xFF]);
    }
    hash.update(&[u8::from(params.direction == Direction::Forward)]);
    hash.digest()
}

/// A page, and where the next one begins if there is one.
///
/// # Errors
/// Those of the query; a cursor that is none or another query's.
pub async fn page(
    node: &Node,
    tenants: &Tenants,
    mut params: RangeParams,
    cursor: &str,
) -> Result<(Answer, Option<Cursor>)> {
    let Expr::Log(log) = Querier::parse(&params.query)? else {
        return Err(ApiError::bad("only log queries come in pages; leave `cursor` out"));
    };
    if params.interval > 0 {
        return Err(ApiError::bad("`interval` and `cursor` exclude each other"));
    }
    let question = question(tenants, &params);
    if cursor != START {
        let known = Cursor::parse(cursor).filter(|cursor| cursor.question == question);
        let why =
            || format!("`cursor` = `{cursor}` is not from an answer to this query; begin with `{START}`");
        params.bounds = known.ok_or_else(|| ApiError::bad(why()))?.bounds;
    }
    let mut answer = answer_range(node, tenants, params.clone()).await?;
    let Value::Lines(lines) = &mut answer.value else { return Ok((answer, None)) };
    let Some(at) = lines.last().map(|line| line.timestamp).filter(|_| lines.len() >= params.limit as usize)
    else {
        return Ok((answer, None));
    };
    let is_one_moment = lines.iter().all(|line| line.timestamp == at);
    if is_one_moment {
        let moment = RangeParams {
            bounds: Bounds { start: at, end: at.saturating_add(1) },
            limit: MOMENT_LINES_MAX as u32,
            ..params.clone()
        };
        let whole = node.querier.lines(&asker(node, tenants), log_query(log, &moment)).await?;
        *lines = lines_of_moment(whole.value)?;
        answer.warnings.extend(whole.warnings);
        answer.warnings.dedup();
    } else {
        lines.retain(|line| line.timestamp != at);
    }
    answer.stats.returned = lines.len() as u64;
    let next = rest(params.bounds, params.direction, at, is_one_moment);
    Ok((answer, next.map(|bounds| Cursor { bounds, question })))
}

fn lines_of_moment(value: Value) -> Result<Vec<LogLine>> {
    match value {
        Value::Lines(lines) if lines.len() < MOMENT_LINES_MAX => Ok(lines),
        _ => Err(ApiError::bad(format!(
            "`{MOMENT_LINES_MAX}` lines or more have one timestamp, which is more than a page holds; narrow the query"
        ))),
    }
}

/// What of a range is left behind the moment at which a page ends.
fn rest(bounds: Bounds, direction: Direction, at: i64, is_told: bool) -> Option<Bounds> {
    let left = match (direction, is_told) {
        (Direction::Forward, false) => Bounds { start: at, ..bounds },
        (Direction::Forward, true) => Bounds { start: at.checked_add(1)?, ..bounds },
        (Direction::Backward, false) => Bounds { end: at.saturating_add(1), ..bounds },
        (Direction::Backward, true) => Bounds { end: at, ..bounds },
    };
    (left.start < left.end).then_some(left)
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use serde_json::Value;

    use super::{Bounds, Cursor};
    use crate::testbed::{SECOND, Testbed, with_params};

    const NOW: i64 = 1_700_000_000 * SECOND;
    const PATH: &str = "/loki/api/v1/query_range";

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let cursor = Cursor { bounds: Bounds { start: -5, end: i64::MAX }, question: 7 };
        assert_eq!(Cursor::parse(&cursor.to_string()), Some(cursor));
        for text in ["", "start", "1.2", "1.2.x", "1.2.3.4", "1.99999999999999999999.3"] {
            assert_eq!(Cursor::parse(text), None, "{text}");
        }
    }

    async fn page(bed: &Testbed, direction: &str, cursor: &str) -> Value {
        let (start, end) = ((NOW - 600 * SECOND).to_string(), NOW.to_string());
        let params = [
            ("query", r#"{app=~".+"}"#),
            ("start", &start),
            ("end", &end),
            ("limit", "7"),
            ("direction", direction),
            ("cursor", cursor),
        ];
        bed.get(PATH, &params).await
    }

    fn lines(page: &Value) -> Vec<String> {
        let streams = page["data"]["result"].as_array().unwrap();
        let values = streams.iter().flat_map(|stream| stream["values"].as_array().unwrap());
        values.map(|value| value[1].as_str().unwrap().to_owned()).collect()
    }

    /// Lines of two streams, some of them many at one moment, in packs and heads.
    async fn filled() -> (Testbed, Vec<String>) {
        let bed = Testbed::new(NOW, &[]).await;
        let mut all = Vec::new();
        for (n, count) in (0..).zip([1, 3, 20, 2, 1, 6, 9]) {
            for k in 0..count {
                for app in ["a", "b"] {
                    let line = format!("{n} {k} {app}");
                    all.push(line.clone());
                    bed.push(&[(&[("app", app)], NOW - (500 - 10 * n) * SECOND, line, Vec::new())]).await;
                }
            }
            if n == 3 {
                bed.flush().await;
            }
        }
        all.sort();
        (bed, all)
    }

    #[tokio::test]
    async fn pages_hold_every_line_once_whatever_is_pushed_between_them() {
        for direction in ["forward", "backward"] {
            let (bed, all) = filled().await;
            let mut found = Vec::new();
            let mut cursor = "start".to_owned();
            for round in 0.. {
                assert!(round < 50, "the pages come to an end");
                let answer = page(&bed, direction, &cursor).await;
                let new = lines(&answer);
                assert!(!new.is_empty() && answer["data"]["stats"].is_object());
                found.extend(new);
                let Some(next) = answer["data"]["next"].as_str() else { break };
                cursor = next.to_owned();
                for at in [NOW - 505 * SECOND, NOW - 480 * SECOND, NOW - 435 * SECOND] {
                    let late = format!("late {round}");
                    bed.push(&[(&[("app", "a")], at, late, Vec::new())]).await;
                }
                bed.flush().await;
            }
            found.retain(|line| !line.starts_with("late"));
            found.sort();
            assert_eq!(found, all, "{direction}");
        }
    }

    #[tokio::test]
    async fn a_page_links_to_the_next_and_an_answer_without_a_cursor_does_not() {
        let (bed, _) = filled().await;
        let answer = page(&bed, "forward", "start").await;
        let uri = with_params(PATH, &[("query", r#"{app="a"}"#), ("limit", "2"), ("cursor", "start")]);
        let link = bed.header(&uri, "link").await.unwrap();
        assert!(
            link.starts_with("</loki/api/v1/query_range?query=") && link.ends_with("; rel=\"next\""),
            "{link}"
        );
        assert!(answer["data"]["next"].is_string());
        let plain = bed.get(PATH, &[("query", r#"{app="a"}"#), ("limit", "2")]).await;
        assert_eq!(plain["data"]["next"], Value::Null);
    }

    #[tokio::test]
    async fn a_cursor_of_another_query_and_a_query_without_pages_are_refused() {
        let (bed, _) = filled().await;
        let answer = page(&bed, "forward", "start").await;
        let next = answer["data"]["next"].as_str().unwrap();
        for params in [
            vec![("query", r#"{app="a"}"#), ("cursor", next)],
            vec![("query", r#"{app="a"}"#), ("cursor", "1")],
            vec![("query", r#"rate({app="a"}[1m])"#), ("cursor", "start")],
            vec![("query", r#"{app="a"}"#), ("cursor", "start"), ("interval", "5s")],
        ] {
            let (status, body) = bed.call("GET", &with_params(PATH, &params), None).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{params:?} {body}");
        }
    }
}
