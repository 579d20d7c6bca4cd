//! Holds the querier to the reference: whatever lies in heads, sealed blocks and overlapping packs, and however
//! often it was sent, a query answers as it does over plain lists of lines in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use grapevine_logql::ast::Expr;
use grapevine_logql::eval_limits::EvalLimits;
use grapevine_logql::level::LevelSources;
use grapevine_logql::log_select::Direction;
use grapevine_logql::memory::{LogWindow, MemoryEntry, MemoryStream, log_query, metric_query};
use grapevine_logql::pipeline::Options;
use grapevine_logql::plan::{MetricPlan, PlanOptions};
use grapevine_logql::range::Steps;
use grapevine_logql::series::{QueryValue, SeriesLabels};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use super::answer::{Answer, Value};
use super::{Asker, LogQuery, Querier};
use crate::testbed::{SECOND, Testbed};

/// Twenty minutes before midnight UTC: the data lie on two days.
pub(super) const START: i64 = 1_700_006_400 * SECOND - 1200 * SECOND;
pub(super) const LENGTH: i64 = 2400;
pub(super) const STREAMS: usize = 4;

/// What happens to the node, one after the other.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Lines arrive: stream, second, kind of line, metadata or none.
    Push(Vec<(usize, i64, u8, bool)>),
    /// So many lines from this place on in all that arrived come again.
    Again(usize, usize),
    Seal,
    Flush,
    Restart,
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let line = (0..STREAMS, 0..LENGTH, 0..6u8, any::<bool>());
    // Some pushes are narrow in time: their blocks lie inside others.
    let near = (0..STREAMS, 0..LENGTH, prop::collection::vec((0..20i64, 0..6u8), 1..30)).prop_map(
        |(stream, at, lines)| {
            Event::Push(lines.iter().map(|(gap, kind)| (stream, (at + gap) % LENGTH, *kind, false)).collect())
        },
    );
    prop_oneof![
        4 => prop::collection::vec(line, 1..60).prop_map(Event::Push).boxed(),
        3 => near.boxed(),
        2 => (any::<usize>(), 1..40usize).prop_map(|(from, count)| Event::Again(from, count)).boxed(),
        2 => Just(Event::Seal).boxed(),
        2 => Just(Event::Flush).boxed(),
        1 => Just(Event::Restart).boxed(),
    ]
}

pub(super) type Stored = (usize, i64, String, Vec<(String, String)>);

/// Numbers in lines follow from the timestamp: where lines share a moment, no function can tell their order.
pub(super) fn stored((stream, second, kind, metadata): (usize, i64, u8, bool)) -> Stored {
    let line = match kind {
        0 => format!("level=info n={second} took={second}ms msg=ok"),
        1 => format!("level=error n={second} msg=\"disk {} full\"", second % 3),
        2 => format!(r#"{{"level":"warn","n":{second},"user":{{"id":"u{}"}}}}"#, second % 4),
        3 => "timeout while waiting".to_owned(),
        4 => format!("GET /path/{} 200\nsecond row", second % 7),
        _ => String::new(),
    };
    let metadata = match metadata {
        true => vec![("trace".to_owned(), format!("t{}", second % 5))],
        false => Vec::new(),
    };
    (stream, START + second * SECOND, line, metadata)
}

pub(super) const LABELS: [[(&str, &str); 3]; STREAMS] = [
    [("app", "api"), ("env", "prod"), ("service_name", "api")],
    [("app", "api"), ("env", "test"), ("service_name", "api")],
    [("app", "db"), ("env", "prod"), ("service_name", "db")],
    [("app", "web"), ("env", "prod"), ("service_name", "web")],
];

pub(super) const LOG_QUERIES: [&str; 16] = [
    r#"{app=~".+"}"#,
    r#"{app="api"}"#,
    r#"{env="prod", app!="db"}"#,
    r#"{app="absent"}"#,
    r#"{app=~".+"} |= "error""#,
    r#"{app=~".+"} |= "absent word""#,
    r#"{app=~".+"} != "level" |~ "(?i)TIME|path""#,
    r#"{app=~".+"} !~ "[0-9]""#,
    r#"{app=~".+"} |= "disk 1" or "u2""#,
    r#"{app=~".+"} |> "level=<_> msg=ok""#,
    r#"{app=~".+"} | logfmt | level="error" | n > 1000"#,
    r#"{app=~".+"} | json | user_id="u1""#,
    r#"{app=~".+"} | trace="t1""#,
    r#"{app=~".+"} | detected_level="error" | drop detected_level"#,
    r#"{app=~".+"} | logfmt | line_format "{{.level}}/{{.n}}" |= "err""#,
    r#"{app=~".+"} |= "row" | decolorize | label_format x=env | keep x"#,
];

pub(super) const METRIC_QUERIES: [&str; 26] = [
    r#"count_over_time({app=~".+"}[1m])"#,
    r#"sum(count_over_time({app=~".+"}[37s]))"#,
    r#"sum by (app) (rate({app=~".+"}[5m]))"#,
    r#"sum by (app, env) (count_over_time({app=~".+"} |= "error"[2m]))"#,
    r#"sum(count_over_time({app=~".+"} |~ "err|time"[2m]))"#,
    r#"sum by (app) (count_over_time({app=~".+"} != "level" |= "row"[90s] offset 30s))"#,
    r#"bytes_over_time({env="prod"}[3m])"#,
    r#"sum(bytes_rate({app=~".+"} !~ "u[12]"[3m]))"#,
    r#"sum by (level) (count_over_time({app=~".+"} | logfmt [4m]))"#,
    r#"sum by (detected_level) (count_over_time({app=~".+"}[4m]))"#,
    r#"sum by (trace) (count_over_time({app=~".+"}[4m]))"#,
    r#"sum(sum_over_time({app=~".+"} | logfmt | unwrap n | __error__="" [5m]))"#,
    r#"max_over_time({app=~".+"} | logfmt | unwrap duration(took) | __error__="" [5m]) by (app)"#,
    r#"quantile_over_time(0.9, {app=~".+"} | logfmt | unwrap n | __error__="" [5m]) by (env)"#,
    r#"first_over_time({app=~".+"} | json | unwrap n | __error__="" [5m]) by (app, env)"#,
    r#"stddev_over_time({app=~".+"} | logfmt | unwrap n | __error__="" [5m]) by (app)"#,
    r#"absent_over_time({app="api"} |= "error"[1m])"#,
    r#"sum(rate({app=~".+"} | logfmt | unwrap n | __error__="" [5m] offset -20s))"#,
    r#"rate_counter({app=~".+"} | logfmt | unwrap n | __error__="" [5m] offset 1m)"#,
    r#"avg_over_time({app=~".+"} | logfmt | unwrap n | __error__="" [5m] offset 45s) by (env)"#,
    r#"min_over_time({app=~".+"} | json | unwrap n | __error__="" [5m] offset -45s) by (app)"#,
    r#"stdvar_over_time({app=~".+"} | logfmt | unwrap n | __error__="" [5m]) by (app)"#,
    r#"last_over_time({app=~".+"} | logfmt | unwrap n | __error__="" [5m] offset 10s) by (app, env)"#,
    r#"topk(2, sum by (app, env) (count_over_time({app=~".+"}[5m])))"#,
    r#"sum by (app) (rate({app=~".+"} |= "error"[5m])) / sum by (app) (rate({app=~".+"}[5m]))"#,
    r#"count_over_time({app="db"}[1m]) > 1 or vector(3)"#,
];

pub(super) fn asker() -> Asker {
    let tenant: Arc<str> = "fake".into();
    Asker {
        tenants: vec![tenant.clone()],
        levels: BTreeMap::from([(tenant, Some(LevelSources::usual()))]),
        limits: LIMITS,
        timeout: Duration::from_secs(3600),
        explain: false,
    }
}

pub(super) const LIMITS: EvalLimits = EvalLimits { answer_series_max: 10_000, ..EvalLimits::DEFAULT };
fn options() -> Options {
    Options { levels: Some(LevelSources::usual()), now: NOW }
}
pub(super) const NOW: i64 = START + LENGTH * SECOND;

/// Everything stored, each entry once, streams in the order of [`LABELS`].
pub(super) fn reference(all: &[Stored]) -> Vec<MemoryStream> {
    let mut seen = BTreeSet::new();
    let mut streams: Vec<MemoryStream> = LABELS
        .iter()
        .map(|labels| MemoryStream {
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            entries: Vec::new(),
        })
        .collect();
    for (stream, ts, line, metadata) in all.iter().filter(|entry| seen.insert(*entry)) {
        let entry = MemoryEntry { ts: *ts, line: line.clone().into_bytes(), metadata: metadata.clone() };
        streams[*stream].entries.push(entry);
    }
    streams
}

pub(super) async fn push(bed: &Testbed, lines: &[Stored]) {
    let entries: Vec<_> = lines
        .iter()
        .map(|(stream, ts, line, metadata)| (&LABELS[*stream][..], *ts, line.clone(), metadata.clone()))
        .collect();
    bed.push(&entries).await;
}

async fn build(events: Vec<Event>) -> (Testbed, Vec<Stored>) {
    let mut bed = Testbed::new(NOW, &[]).await;
    let mut all: Vec<Stored> = Vec::new();
    for event in events {
        match event {
            Event::Push(lines) => {
                let lines: Vec<Stored> = lines.into_iter().map(stored).collect();
                push(&bed, &lines).await;
                all.extend(lines);
            }
            Event::Again(from, count) if !all.is_empty() => {
                let from = from % all.len();
                push(&bed, &all[from..all.len().min(from + count)]).await;
            }
            Event::Again(..) => {}
            Event::Seal => bed.seal(),
            Event::Flush => bed.flush().await,
            Event::Restart => bed = bed.restart().await,
        }
    }
    (bed, all)
}

/// A line of an answer: timestamp, labels shown, text.
type Shown = (i64, Vec<(String, String)>, Vec<u8>);

/// Lines in the order of time. Where a limit cuts through lines of one moment, which of them are taken is left
/// open, and so is their order: the moment counts, they do not.
fn comparable(mut lines: Vec<Shown>, window: &LogWindow) -> (Vec<i64>, Vec<Shown>) {
    lines.sort();
    if window.direction == Direction::Backward {
        lines.reverse();
    }
    let times = lines.iter().map(|line| line.0).collect();
    let cut = lines.last().map(|line| line.0).filter(|_| lines.len() == window.limit);
    lines.retain(|line| window.interval == 0 && Some(line.0) != cut);
    (times, lines)
}

fn shown(answer: Answer) -> Vec<Shown> {
    assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    let Value::Lines(lines) = answer.value else { panic!("lines were asked for") };
    let owned = |(n, v): (&str, &str)| (n.to_owned(), v.to_owned());
    let labels = |labels: &super::answer::LineLabels| labels.merged().into_iter().map(owned).collect();
    lines.into_iter().map(|line| (line.timestamp, labels(&line.labels), line.line)).collect()
}

pub(super) async fn check_lines(bed: &Testbed, reference: &[MemoryStream], query: &str, window: LogWindow) {
    let Expr::Log(log) = Querier::parse(query).unwrap() else { panic!("{query} asks for lines") };
    let expected = log_query(&log, reference, &window, &options()).unwrap();
    let expected = expected.into_iter().flat_map(|(labels, lines)| {
        lines.into_iter().map(move |line| (line.ts, labels.pairs().to_vec(), line.line))
    });
    let asked = LogQuery {
        log,
        start: window.start,
        end: window.end,
        limit: window.limit,
        forward: window.direction == Direction::Forward,
        interval: window.interval as i64,
    };
    let found = bed.node.querier.lines(&asker(), asked).await.unwrap();
    let (found, expected) = (comparable(shown(found), &window), comparable(expected.collect(), &window));
    assert_eq!(found, expected, "{query} {window:?}");
}

pub(super) fn near(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

type OneSeries<'a> = (&'a SeriesLabels, Vec<(i64, f64)>);

fn points(value: &QueryValue) -> Vec<OneSeries<'_>> {
    match value {
        QueryValue::Scalar { .. } => panic!("no query here asks for a bare number"),
        QueryValue::Vector(samples) => samples.iter().map(|s| (&s.labels, vec![(s.at, s.value)])).collect(),
        QueryValue::Matrix(series) => series.iter().map(|s| (&s.labels, s.points.clone())).collect(),
    }
}

pub(super) async fn check_numbers(bed: &Testbed, reference: &[MemoryStream], query: &str, steps: &Steps) {
    let expr = Querier::parse(query).unwrap();
    let Expr::Sample(sample) = &expr else { panic!("{query} asks for numbers") };
    let plan = MetricPlan::new(sample, PlanOptions { discover_levels: true }).unwrap();
    let expected = metric_query(&plan, reference, steps, &LIMITS, &options());
    let answer = bed.node.querier.numbers(&asker(), &expr, steps).await;
    let (expected, answer) = match (expected, answer) {
        (Ok(expected), Ok(answer)) => (expected, answer),
        (expected, answer) => {
            assert!(expected.is_err() && answer.is_err(), "{query} {steps:?}: {expected:?} {answer:?}");
            return;
        }
    };
    assert!(answer.warnings.is_empty(), "{:?}", answer.warnings);
    let Value::Numbers(found) = &answer.value else { panic!("numbers were asked for") };
    let (found, expected) = (points(found), points(&expected));
    let same = |(a, b): (&OneSeries<'_>, &OneSeries<'_>)| {
        let points = a.1.iter().zip(&b.1);
        a.0 == b.0 && a.1.len() == b.1.len() && points.clone().all(|(a, b)| a.0 == b.0 && near(a.1, b.1))
    };
    let all = found.len() == expected.len() && found.iter().zip(&expected).all(same);
    assert!(all, "{query} {steps:?}\n found {found:?}\n expected {expected:?}");
}

pub(super) fn window() -> impl Strategy<Value = LogWindow> {
    let limit = prop_oneof![Just(1usize), 2..40usize, Just(5000)];
    let interval = prop_oneof![3 => Just(0u64), 1 => 1..200u64];
    (-5..LENGTH, 1..LENGTH, limit, any::<bool>(), interval).prop_map(
        |(from, length, limit, forward, interval)| LogWindow {
            start: START + from * SECOND,
            end: START + (from + length) * SECOND,
            limit,
            direction: if forward { Direction::Forward } else { Direction::Backward },
            interval: interval * SECOND as u64,
            categorize: false,
        },
    )
}

pub(super) fn steps() -> impl Strategy<Value = Steps> {
    let range = (-60..LENGTH, 0..LENGTH, 7..400i64).prop_map(|(from, length, step)| {
        let at = |second: i64| START + second * SECOND;
        Steps::range(at(from), at(from + length), step * SECOND).unwrap()
    });
    prop_oneof![3 => range, 1 => (0..LENGTH).prop_map(|at| Steps::instant(START + at * SECOND))]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn the_querier_answers_as_the_reference_does(
        events in prop::collection::vec(event(), 1..16),
        windows in prop::collection::vec(window(), LOG_QUERIES.len()),
        steps in prop::collection::vec(steps(), METRIC_QUERIES.len()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (bed, all) = build(events).await;
            let reference = reference(&all);
            for (query, window) in LOG_QUERIES.iter().zip(windows) {
                check_lines(&bed, &reference, query, window).await;
            }
            for (query, steps) in METRIC_QUERIES.iter().zip(&steps) {
                check_numbers(&bed, &reference, query, steps).await;
            }
        });
    }
}
