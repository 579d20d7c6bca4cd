//! The endpoints that ask: lines, numbers, labels, series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use grapevine_logql::ast::{Expr, Matcher};
use grapevine_logql::eval_limits::EvalLimits;
use grapevine_logql::parse::{parse, parse_selector};
use grapevine_logql::print::pretty;
use grapevine_logql::range::Steps;
use grapevine_storage::index::TimeRange;
use serde_json::{Value as Json, json};

use super::error::ApiError;
use super::guard::{self, strictest};
use super::params::{Bounds, Direction, Params, RangeParams};
use super::respond::{json as respond, json_bytes, query_body};
use super::server::{Tenants, text};
use super::{cursor, partial, reach, strict};
use crate::limits::Limits;
use crate::node::Node;
use crate::querier::answer::Answer;
use crate::querier::catalogue::Catalogued;
use crate::querier::error::QueryError;
use crate::querier::{Asker, LogQuery, Querier};

type Result<T> = std::result::Result<T, ApiError>;

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        ApiError::new(status, error.to_string())
    }
}

/// Who asks, and within which bounds.
pub fn asker(node: &Node, tenants: &Tenants) -> Asker {
    let limits = strictest(node, tenants);
    let least = |part: fn(&Limits) -> usize| limits.iter().map(|l| part(l)).min().unwrap_or(0);
    let levels = |tenant: &Arc<str>| (tenant.clone(), node.limits.of(tenant).level_sources());
    Asker {
        tenants: tenants.0.clone(),
        levels: tenants.0.iter().map(levels).collect::<BTreeMap<_, _>>(),
        limits: EvalLimits {
            answer_series_max: least(|limits| limits.max_query_series),
            ..EvalLimits::default()
        },
        timeout: limits.iter().map(|limits| limits.query_timeout.0).min().unwrap_or_default(),
        explain: false,
    }
}

/// A body that says what is missing from it, if anything is.
pub fn with_warnings(mut body: Json, warnings: &[String]) -> Json {
    if !warnings.is_empty() {
        body["warnings"] = json!(warnings);
    }
    body
}

/// Whether the client wants labels kept apart by where they come from.
pub fn categorize(headers: &HeaderMap) -> bool {
    let flags = text(headers, "X-Loki-Response-Encoding-Flags").unwrap_or_default();
    flags.split(',').any(|flag| flag.trim() == "categorize-labels")
}

/// `/loki/api/v1/query_range`
pub async fn range(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    strict::check_params(&node, &params)?;
    let tags = partial::tags(&headers);
    let in_part = partial::is_wanted(tags);
    let range = RangeParams { in_part, tags: tags.to_owned(), ..params.range(node.env.clock.now())? };
    let (mut answer, next) = match range.cursor.clone() {
        None => (answer_range(&node, &tenants, range).await?, None),
        Some(cursor) => cursor::page(&node, &tenants, range, &cursor).await?,
    };
    strict::check_answer(&node, &answer)?;
    partial::cut(&mut answer, asker(&node, &tenants).limits.answer_series_max);
    let body = query_body(&answer, categorize(&headers), next.map(|next| next.to_string()));
    let mut response = json_bytes(&node.env.exec, &headers, body).await;
    if let Some(link) = next.and_then(|next| next.link("/loki/api/v1/query_range", &params)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// Answers what `query_range` asks, within the limits.
pub async fn answer_range(node: &Node, tenants: &Tenants, mut params: RangeParams) -> Result<Answer> {
    let expr = Querier::parse(&params.query)?;
    let limits = strictest(node, tenants);
    guard::check_blocked(&limits, &params.query, &expr, &params.tags)?;
    guard::check_query(&limits, &expr)?;
    params.bounds = guard::look_back(&limits, params.bounds, node.env.clock.now());
    guard::check_length(&limits, params.bounds)?;
    reach::check(node, tenants, &expr, params.bounds).await?;
    let mut asker = Asker { explain: params.explain, ..asker(node, tenants) };
    if params.in_part {
        asker.limits.answer_series_max = usize::MAX;
    }
    match &expr {
        Expr::Log(log) => {
            guard::check_entries(&limits, params.limit)?;
            let query = log_query(log.clone(), &params);
            Ok(node.querier.lines(&asker, query).await?)
        }
        Expr::Sample(_) if params.bounds.end < params.bounds.start => Ok(Answer::nothing()),
        Expr::Sample(_) => {
            let bounds = align(params.bounds, params.step);
            let steps = Steps::range(bounds.start, bounds.end, params.step).map_err(QueryError::from)?;
            Ok(node.querier.numbers(&asker, &expr, &steps).await?)
        }
    }
}

/// A query for lines, as `query_range` asks it.
pub fn log_query(log: grapevine_logql::ast::LogExpr, params: &RangeParams) -> LogQuery {
    LogQuery {
        log,
        start: params.bounds.start,
        end: params.bounds.end,
        limit: params.limit as usize,
        forward: params.direction == Direction::Forward,
        interval: params.interval,
    }
}

/// Loki's frontend widens the range of a metric query to multiples of the step: the start moves down, the end up.
fn align(bounds: Bounds, step: i64) -> Bounds {
    let down = |time: i64| time - time.rem_euclid(step);
    Bounds { start: down(bounds.start), end: down(bounds.end.saturating_add(step - 1)) }
}

/// `/loki/api/v1/query`
pub async fn instant(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    strict::check_params(&node, &params)?;
    let params = params.instant(node.env.clock.now())?;
    let expr = Querier::parse(&params.query)?;
    if let Expr::Log(_) = expr {
        let text = "log queries are not supported as an instant query type, \
                    please change your query to a range query type";
        return Err(ApiError::bad(text));
    }
    let limits = strictest(&node, &tenants);
    guard::check_blocked(&limits, &params.query, &expr, partial::tags(&headers))?;
    guard::check_query(&limits, &expr)?;
    let at = Bounds { start: params.time, end: params.time };
    reach::check(&node, &tenants, &expr, at).await?;
    let asker = Asker { explain: params.explain, ..asker(&node, &tenants) };
    let answer = node.querier.numbers(&asker, &expr, &Steps::instant(params.time)).await?;
    strict::check_answer(&node, &answer)?;
    Ok(json_bytes(&node.env.exec, &headers, query_body(&answer, false, None)).await)
}

/// A selector alone, as the endpoints about labels take it.
pub fn selector(params: &Params) -> Result<Vec<Matcher>> {
    match params.get("query") {
        None => Ok(Vec::new()),
        Some(query) => parse_selector(query).map_err(|error| ApiError::bad(error.to_string())),
    }
}

/// The range of a question about labels, within the limits.
pub fn time_range(node: &Node, tenants: &Tenants, params: &Params) -> Result<TimeRange> {
    let now = node.env.clock.now();
    let bounds = guard::check_time(&strictest(node, tenants), params.bounds(now)?, now)?;
    Ok(TimeRange { first: bounds.start, last: bounds.end })
}

/// `/loki/api/v1/labels`
pub async fn labels(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    let names = names(&node, &tenants, &params).await?;
    Ok(names_answer(&node, &headers, names).await)
}

/// The names of labels, as asked.
pub async fn names(node: &Node, tenants: &Tenants, params: &Params) -> Result<Catalogued<BTreeSet<String>>> {
    let range = time_range(node, tenants, params)?;
    let selector = selector(params)?;
    Ok(node.querier.label_names(&asker(node, tenants), &selector, range).await?)
}

/// `/loki/api/v1/label/{name}/values`
pub async fn label_values(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    Path(name): Path<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    let values = values(&node, &tenants, &name, &params).await?;
    Ok(names_answer(&node, &headers, values).await)
}

/// The values of a label, as asked.
pub async fn values(
    node: &Node,
    tenants: &Tenants,
    name: &str,
    params: &Params,
) -> Result<Catalogued<BTreeSet<String>>> {
    let range = time_range(node, tenants, params)?;
    let selector = selector(params)?;
    Ok(node.querier.label_values(&asker(node, tenants), name, &selector, range).await?)
}

/// Loki leaves `data` out where there is nothing.
async fn names_answer(node: &Node, headers: &HeaderMap, names: Catalogued<BTreeSet<String>>) -> Response {
    let body = match names.found.is_empty() {
        true => json!({"status": "success"}),
        false => json!({"status": "success", "data": names.found}),
    };
    let body = with_warnings(body, &names.warnings);
    respond(&node.env.exec, headers, &body).await
}

/// `/loki/api/v1/series`
pub async fn series(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    params: Params,
) -> Result<Response> {
    let range = time_range(&node, &tenants, &params)?;
    let groups = selectors(&params)?;
    let Catalogued { found, warnings } = node.querier.series(&asker(&node, &tenants), &groups, range).await?;
    let maps: Vec<BTreeMap<&str, &str>> = found.iter().map(|labels| labels.iter().collect()).collect();
    let body = with_warnings(json!({"status": "success", "data": maps}), &warnings);
    Ok(respond(&node.env.exec, &headers, &body).await)
}

/// The selectors whose series are asked for. None is all, and so is `{}` alone; beside others it is refused, as ever.
fn selectors(params: &Params) -> Result<Vec<Vec<Matcher>>> {
    let mut wanted: Vec<&str> = params.all("match[]").chain(params.all("match")).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() || matches!(wanted[..], [one] if one.replace(' ', "") == "{}") {
        return Ok(vec![Vec::new()]);
    }
    let parse = |one: &&str| parse_selector(one).map_err(|error| ApiError::bad(error.to_string()));
    wanted.iter().map(parse).collect()
}

/// `/loki/api/v1/format_query`: needs no tenant.
pub async fn format(params: Params) -> Response {
    let (status, body) = match parse(&params.query()) {
        Ok(expr) => (StatusCode::OK, json!({"status": "success", "data": pretty(&expr)})),
        Err(error) => {
            (StatusCode::BAD_REQUEST, json!({"status": "invalid-query", "error": error.to_string()}))
        }
    };
    let kind = [(header::CONTENT_TYPE, "application/json; charset=UTF-8")];
    (status, kind, body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::testbed::{SECOND, Testbed};

    const NOW: i64 = 1_700_000_000 * SECOND;
    const DAY: i64 = 24 * 3600 * SECOND;

    fn texts(answer: &Value) -> Vec<&str> {
        answer["data"]["explain"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn an_explained_query_says_what_it_skipped_on_each_level() {
        let bed = Testbed::new(NOW, &[]).await;
        let labels = [("app", "a")];
        for at in [NOW - 2 * DAY, NOW - 3 * SECOND, NOW - 3600 * SECOND] {
            bed.push(&[(&labels, at, "a needle".into(), Vec::new())]).await;
            bed.flush().await;
        }
        bed.push(&[(&labels, NOW - 2 * SECOND, "hay".into(), Vec::new())]).await;
        let start = (NOW - 60 * SECOND).to_string();
        let params = [("query", r#"{app="a"} |= "needle""#), ("start", &start), ("explain", "true")];
        let answer = bed.get("/loki/api/v1/query_range", &params).await;
        let explain = texts(&answer);
        for line in [
            "pushed into the scan of blocks: |= \"needle\"",
            "days in the index: 2, skipped by time 1, left 1",
            "chunks of these streams on those days: 2, skipped by time 1, left 1",
            "blocks of those chunks: 2, skipped by time 1, left 1",
            "streams chosen: 1",
        ] {
            assert!(explain.contains(&line), "{line} is not in {explain:#?}");
        }
        let none = bed.get("/loki/api/v1/query_range", &params[..2]).await;
        assert_eq!(none["data"]["explain"], Value::Null);
    }

    #[tokio::test]
    async fn an_explained_metric_query_shows_its_plan() {
        let bed = Testbed::new(NOW, &[]).await;
        let params = [("query", r#"sum(rate({app="a"} |= "x" [5m]))"#), ("explain", "true")];
        let answer = bed.get("/loki/api/v1/query", &params).await;
        let explain = texts(&answer);
        assert!(explain[0].starts_with("leaf 0") || explain[0].starts_with("sum"), "{explain:#?}");
        assert!(explain.contains(&"leaf 0 reads:"), "{explain:#?}");
        assert!(explain.contains(&"pushed into the scan of blocks: |= \"x\""), "{explain:#?}");
    }
}
