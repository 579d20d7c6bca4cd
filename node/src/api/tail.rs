//! `tail`: lines over a WebSocket as they arrive, in Loki's frames.
//!
//! The driver of [`Tailer`]: it waits for pushes, for the delay, for the client and for the clock, and sends. A
//! client that reads too slowly holds up nothing but itself: what it misses is listed in `dropped_entries`.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use grapevine_logql::ast::{Expr, LogExpr};
use grapevine_logql::pipeline::Options;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::error::ApiError;
use super::guard::{self, strictest};
use super::legacy;
use super::params::Params;
use super::query::{asker, categorize};
use super::respond::write_streams;
use super::server::Tenants;
use super::time::go_error;
use crate::ingester::followers::Missed;
use crate::node::Node;
use crate::querier::answer::{LogLine, Value};
use crate::querier::follow::Tailer;
use crate::querier::tails::{Following, Heard};
use crate::querier::{LogQuery, Querier};

/// Seconds that lines may be held back for order.
const DELAY_MAX: i64 = 5;
/// How long one tail may last; clients connect again.
const TAIL_MAX: Duration = Duration::from_secs(3600);
/// How often an idle connection shows that it lives.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How long one frame may take to leave; a client slower than that is gone.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Lines of one frame.
const FRAME_LINES_MAX: usize = 1000;
/// The close code for an error on this side (RFC 6455 §7.4.1).
const INTERNAL_ERROR: u16 = 1011;

/// How frames are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// As Loki's API has it.
    V1,
    /// The same, labels kept apart by where they come from.
    Categorized,
    /// As `/api/prom/tail` had it.
    Legacy,
}

/// What is asked.
#[derive(Debug)]
struct Asked {
    expr: Expr,
    start: i64,
    limit: u32,
    delay: Duration,
    shape: Shape,
}

fn asked(params: &Params, now: i64, shape: Shape) -> Result<Asked, ApiError> {
    let query = if shape == Shape::Legacy { legacy::with_regexp(params) } else { params.query() };
    let expr = Querier::parse(&query)?;
    let limit = params.limit()?;
    let start = params.bounds(now)?.start;
    let delay = match params.get("delay_for") {
        None => 0,
        Some(text) => {
            text.parse::<i64>().map_err(|error| ApiError::bad(go_error("strconv.Atoi", text, &error)))?
        }
    };
    match u64::try_from(delay) {
        Ok(seconds) if delay <= DELAY_MAX => {
            Ok(Asked { expr, start, limit, delay: Duration::from_secs(seconds), shape })
        }
        _ => Err(ApiError::bad(format!("delay_for can't be greater than {DELAY_MAX}"))),
    }
}

/// `GET /loki/api/v1/tail`
pub async fn tail(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    params: Params,
) -> Result<Response, ApiError> {
    let shape = if categorize(&headers) { Shape::Categorized } else { Shape::V1 };
    begin(node, tenants, upgrade, &params, shape)
}

/// `GET /api/prom/tail`
pub async fn tail_legacy(
    State(node): State<Arc<Node>>,
    tenants: Tenants,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    params: Params,
) -> Result<Response, ApiError> {
    begin(node, tenants, upgrade, &params, Shape::Legacy)
}

fn begin(
    node: Arc<Node>,
    tenants: Tenants,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    params: &Params,
    shape: Shape,
) -> Result<Response, ApiError> {
    let asked = asked(params, node.env.clock.now(), shape)?;
    if tenants.0.len() > 1 {
        return Err(ApiError::bad("multiple org IDs present"));
    }
    // What Loki's library says to a client that speaks plain HTTP.
    let upgrade = upgrade.map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "Bad Request\n"))?;
    Ok(upgrade.on_upgrade(move |socket| run(node, tenants, asked, socket)).into_response())
}

async fn run(node: Arc<Node>, tenants: Tenants, asked: Asked, mut socket: WebSocket) {
    let ended = match prepare(&node, &tenants, &asked).await {
        Ok(tail) => follow(&node, &tenants, &asked, tail, &mut socket).await,
        Err(reason) => Err(Ended::Said(reason)),
    };
    if let Err(Ended::Said(reason)) = ended {
        let close = CloseFrame { code: INTERNAL_ERROR, reason: reason.into() };
        // If the client has gone meanwhile, there is nobody to tell.
        let _ = timeout(SEND_MAX, socket.send(Message::Close(Some(close)))).await;
    }
}

/// Why a tail is over.
enum Ended {
    /// The client is told this.
    Said(String),
    /// The client has gone, or reads nothing.
    Gone,
}

struct Tail {
    log: LogExpr,
    tailer: Tailer,
    following: Following,
}

/// Subscribes. The order of complaints is Loki's.
async fn prepare(node: &Node, tenants: &Tenants, asked: &Asked) -> Result<Tail, String> {
    let tenant = tenants.0.first().ok_or("no org id")?;
    let limits = node.limits.of(tenant);
    let Expr::Log(log) = &asked.expr else { return Err("only log selector is supported".into()) };
    guard::check_query(&strictest(node, tenants), &asked.expr).map_err(|error| error.message)?;
    let options = Options { levels: limits.level_sources(), now: node.env.clock.now() };
    let tailer = Tailer::new(log, options.clone(), asked.delay).map_err(|error| error.to_string())?;
    let most = limits.max_concurrent_tail_requests;
    let followed = node.querier.follow(tenant, log, options, most).await;
    let following = followed.map_err(|error| error.to_string())?.map_err(|many| {
        let count = many.count;
        format!(
            "rpc error: code = Code(400) desc = max concurrent tail requests limit exceeded, \
             count > limit ({count} > {most})"
        )
    })?;
    Ok(Tail { log: log.clone(), tailer, following })
}

/// The lines of the past, the oldest first.
async fn past(node: &Node, tenants: &Tenants, asked: &Asked, log: LogExpr) -> Result<Vec<LogLine>, Ended> {
    let now = node.env.clock.now();
    let bounds = super::params::Bounds { start: asked.start, end: i64::MAX };
    let start = guard::look_back(&strictest(node, tenants), bounds, now).start;
    let limit = asked.limit as usize;
    let query = LogQuery { log, start, end: i64::MAX, limit, forward: false, interval: 0 };
    let answer = node.querier.lines(&asker(node, tenants), query).await;
    match answer.map_err(|error| Ended::Said(error.to_string()))?.value {
        Value::Lines(mut lines) => {
            lines.reverse();
            Ok(lines)
        }
        Value::Numbers(_) => Ok(Vec::new()),
    }
}

async fn follow(
    node: &Node,
    tenants: &Tenants,
    asked: &Asked,
    tail: Tail,
    socket: &mut WebSocket,
) -> Result<(), Ended> {
    let Tail { log, mut tailer, mut following } = tail;
    let began = Instant::now();
    let lines = past(node, tenants, asked, log).await?;
    tailer.note_past(&lines);
    send_lines(socket, asked.shape, &lines, &[]).await?;
    let mut ping = interval(PING_INTERVAL);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut missed_elsewhere = Vec::new();
    loop {
        let due = began + tailer.next_due().unwrap_or(TAIL_MAX);
        tokio::select! {
            heard = following.next() => match heard {
                Some(Heard::Push(batch)) => tailer.take(&batch, began.elapsed()),
                Some(Heard::Lines(lines, missed)) => {
                    tailer.take_lines(lines, began.elapsed());
                    missed_elsewhere = missed;
                }
                None => return Err(Ended::Said("the node is shutting down".into())),
            },
            () = sleep_until(due) => {}
            _ = ping.tick() => send(socket, Message::Ping(Default::default())).await?,
            message = socket.recv() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Ended::Gone),
                Some(Ok(_)) => {}
            },
        }
        if began.elapsed() >= TAIL_MAX {
            return Err(Ended::Said("reached tail max duration limit".into()));
        }
        let (mut missed, untold) = following.take_missed();
        missed.append(&mut missed_elsewhere);
        missed.extend(tailer.take_missed());
        if untold > 0 {
            tracing::warn!(untold, "a tail is too slow by more lines than it can be told of");
        }
        send_lines(socket, asked.shape, &tailer.due(began.elapsed()), &missed).await?;
    }
}

async fn send(socket: &mut WebSocket, message: Message) -> Result<(), Ended> {
    match timeout(SEND_MAX, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Ended::Gone),
    }
}

async fn send_lines(
    socket: &mut WebSocket,
    shape: Shape,
    lines: &[LogLine],
    missed: &[Missed],
) -> Result<(), Ended> {
    let mut missed = missed;
    let mut parts = lines.chunks(FRAME_LINES_MAX).peekable();
    while parts.peek().is_some() || !missed.is_empty() {
        let text = frame(shape, parts.next().unwrap_or_default(), missed);
        missed = &[];
        send(socket, Message::Text(text.into())).await?;
    }
    Ok(())
}

fn frame(shape: Shape, lines: &[LogLine], missed: &[Missed]) -> String {
    let dropped: Vec<Json> = missed.iter().map(|missed| dropped(shape, missed)).collect();
    if shape == Shape::Legacy {
        let dropped = if dropped.is_empty() { Json::Null } else { Json::Array(dropped) };
        return json!({"streams": legacy::streams(lines), "dropped_entries": dropped}).to_string();
    }
    let mut out = br#"{"streams":"#.to_vec();
    write_streams(&mut out, lines, shape == Shape::Categorized);
    if shape == Shape::Categorized {
        out.extend_from_slice(br#","encodingFlags":["categorize-labels"]"#);
    }
    if !dropped.is_empty() {
        out.extend_from_slice(br#","dropped_entries":"#);
        out.extend_from_slice(Json::Array(dropped).to_string().as_bytes());
    }
    out.push(b'}');
    String::from_utf8(out).expect("JSON is written from texts alone")
}

fn dropped(shape: Shape, missed: &Missed) -> Json {
    let pairs: Vec<(&str, &str)> = missed.labels.iter().collect();
    match shape {
        Shape::Legacy => json!({
            "labels": legacy::selector(&pairs), "timestamp": legacy::time(missed.timestamp),
        }),
        Shape::V1 | Shape::Categorized => {
            let labels: serde_json::Map<String, Json> =
                pairs.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            json!({"labels": labels, "timestamp": missed.timestamp.to_string()})
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use grapevine_storage::stream::Labels;
    use serde_json::{Value as Json, json};

    use super::{Shape, asked, frame};
    use crate::api::params::Params;
    use crate::ingester::followers::Missed;
    use crate::querier::answer::{LineLabels, LogLine};

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn a_delay_has_five_seconds_at_most() {
        let ask = |delay: &str| {
            let params = params(&[("query", "{a=\"b\"}"), ("delay_for", delay)]);
            asked(&params, 0, Shape::V1).map(|asked| asked.delay.as_secs()).map_err(|error| error.message)
        };
        assert_eq!(ask("5"), Ok(5));
        assert_eq!(ask("6"), Err("delay_for can't be greater than 5".into()));
        assert_eq!(ask("-1"), Err("delay_for can't be greater than 5".into()));
        assert_eq!(ask("x"), Err("strconv.Atoi: parsing \"x\": invalid syntax".into()));
    }

    fn read(shape: Shape, lines: &[LogLine], missed: &[Missed]) -> Json {
        serde_json::from_str(&frame(shape, lines, missed)).unwrap()
    }

    #[test]
    fn frames_have_lokis_shapes() {
        let pairs = |name: &str| vec![(name.to_owned(), "1".to_owned())];
        let labels = LineLabels { stream: pairs("app"), metadata: pairs("id"), parsed: Vec::new() };
        let line = LogLine { timestamp: 7, line: b"x".to_vec(), labels: Arc::new(labels) };
        let lines = std::slice::from_ref(&line);
        let v1 = json!({"streams": [{"stream": {"app": "1", "id": "1"}, "values": [["7", "x"]]}]});
        assert_eq!(read(Shape::V1, lines, &[]), v1);
        let sm = json!({"structuredMetadata": {"id": "1"}});
        let apart = json!({"streams": [{"stream": {"app": "1"}, "values": [["7", "x", sm]]}],
            "encodingFlags": ["categorize-labels"]});
        assert_eq!(read(Shape::Categorized, lines, &[]), apart);
        let entry = json!({"ts": "1970-01-01T00:00:00.000000007Z", "line": "x"});
        let legacy = json!({"streams": [{"labels": r#"{app="1", id="1"}"#, "entries": [entry]}], "dropped_entries": null});
        assert_eq!(read(Shape::Legacy, lines, &[]), legacy);
    }

    #[test]
    fn what_was_missed_is_listed() {
        let missed = Missed { labels: Labels::new([("app", "1")]), timestamp: 7 };
        let expected = json!([{"labels": {"app": "1"}, "timestamp": "7"}]);
        assert_eq!(read(Shape::V1, &[], &[missed])["dropped_entries"], expected);
    }
}
