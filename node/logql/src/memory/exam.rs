//! Sits the engine's part of the recorded exam (`../shared/exam/logql_engine_cases.json` beside the
//! repository): queries, and what real Loki answers. Where it is absent the test says so and passes.

use std::path::Path;

use serde_json::Value;

use super::{LogLine, LogWindow, MemoryEntry, MemoryStream, log_query, metric_query};
use crate::ast::Expr;
use crate::eval_limits::EvalLimits;
use crate::log_select::Direction;
use crate::parse::parse;
use crate::pipeline::Options;
use crate::plan::{MetricPlan, PlanOptions};
use crate::range::Steps;
use crate::series::{QueryValue, SeriesLabels, format_value};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/exam/logql_engine_cases.json");

/// An answer in the form of the case file, comparable.
type Answer = Result<Value, String>;

#[test]
fn every_query_is_answered_as_loki_answers_it() {
    let Ok(text) = std::fs::read_to_string(Path::new(CASES)) else {
        eprintln!("skipped: no recorded answers at {CASES}");
        return;
    };
    let exam: Value = serde_json::from_str(&text).unwrap();
    let streams: Vec<MemoryStream> = exam["streams"].as_array().unwrap().iter().map(stream).collect();
    let cases = exam["cases"].as_array().unwrap();
    assert!(!cases.is_empty(), "an exam without questions proves nothing");
    let failures: Vec<String> = cases.iter().filter_map(|case| check(case, &streams).err()).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn check(case: &Value, streams: &[MemoryStream]) -> Result<(), String> {
    let found = answer(case, streams);
    let agrees = match &found {
        Ok(found) => {
            case.get("error").is_none() && found["type"] == case["type"] && same(&found["result"], case)
        }
        Err(_) => case.get("error").is_some(),
    };
    if agrees { Ok(()) } else { Err(format!("{}\n  expected {case}\n  found {found:?}", case["query"])) }
}

fn answer(case: &Value, streams: &[MemoryStream]) -> Answer {
    let number = |key: &str| case[key].as_i64().unwrap_or(0);
    let (start, end, step) = (number("start"), number("end"), number("step_ms") * 1_000_000);
    match parse(case["query"].as_str().unwrap()).map_err(|error| error.to_string())? {
        Expr::Log(log) => {
            let backward = case["direction"] != "forward";
            let window = LogWindow {
                start,
                end,
                limit: case["limit"].as_u64().unwrap_or(1000) as usize,
                direction: if backward { Direction::Backward } else { Direction::Forward },
                interval: number("interval_ms") as u64 * 1_000_000,
                categorize: case["categorize"] == true,
            };
            let found = log_query(&log, streams, &window, &Options::default()).map_err(|e| e.to_string())?;
            let streams = found.iter().map(|(labels, lines)| {
                let lines: Vec<Value> = lines.iter().map(|line| log_line(line, window.categorize)).collect();
                Value::from(vec![map(labels), Value::from(lines)])
            });
            Ok(serde_json::json!({ "type": "streams", "result": streams.collect::<Vec<_>>() }))
        }
        Expr::Sample(sample) => {
            let steps = if step == 0 { Ok(Steps::instant(start)) } else { Steps::range(start, end, step) }
                .map_err(|e| e.to_string())?;
            let plan = MetricPlan::new(&sample, PlanOptions::default()).map_err(|e| e.to_string())?;
            let found = metric_query(&plan, streams, &steps, &EvalLimits::DEFAULT, &Options::default());
            found.map(|value| shown(&value)).map_err(|e| e.to_string())
        }
    }
}

fn log_line(line: &LogLine, categorize: bool) -> Value {
    let text = String::from_utf8_lossy(&line.line).into_owned();
    let mut shown = vec![Value::from(line.ts.to_string()), Value::from(text)];
    if categorize {
        shown.push(serde_json::json!({ "sm": map(&line.metadata), "parsed": map(&line.parsed) }));
    }
    Value::from(shown)
}

fn shown(value: &QueryValue) -> Value {
    let point = |at: i64, value: f64| serde_json::json!([at, format_value(value)]);
    match value {
        QueryValue::Scalar { at, value } => {
            serde_json::json!({ "type": "scalar", "result": point(*at, *value) })
        }
        QueryValue::Vector(samples) => {
            let rows =
                samples.iter().map(|s| serde_json::json!([map(&s.labels), s.at, format_value(s.value)]));
            serde_json::json!({ "type": "vector", "result": rows.collect::<Vec<_>>() })
        }
        QueryValue::Matrix(series) => {
            let points = |points: &[(i64, f64)]| points.iter().map(|p| point(p.0, p.1)).collect::<Vec<_>>();
            let rows = series.iter().map(|s| serde_json::json!([map(&s.labels), points(&s.points)]));
            serde_json::json!({ "type": "matrix", "result": rows.collect::<Vec<_>>() })
        }
    }
}

fn map(labels: &SeriesLabels) -> Value {
    labels.pairs().iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect()
}

/// Whether results agree: numbers within 1e-9, the order of series only where the query sorts.
fn same(found: &Value, case: &Value) -> bool {
    let sorted = case["query"].as_str().is_some_and(|query| query.starts_with("sort"));
    let order = |rows: &Value| {
        let mut rows = rows.as_array().cloned().unwrap_or_default();
        if case["type"] != "scalar" && !(sorted && case["type"] == "vector") {
            rows.sort_by_key(|row| row[0].to_string());
        }
        Value::from(rows)
    };
    equal(&vague(order(found)), &vague(order(&case["result"])))
}

/// Without the words of `__error_details__`, which are an implementation's own.
fn vague(mut value: Value) -> Value {
    match &mut value {
        Value::Object(object) => object.iter_mut().for_each(|(key, item)| {
            *item = if key == "__error_details__" { Value::Null } else { vague(item.take()) };
        }),
        Value::Array(array) => array.iter_mut().for_each(|item| *item = vague(item.take())),
        _ => {}
    }
    value
}

fn equal(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::String(a), Value::String(b)) => a == b || close(a, b),
        (a, b) => a == b,
    }
}

fn close(found: &str, expected: &str) -> bool {
    match (found.parse::<f64>(), expected.parse::<f64>()) {
        (Ok(a), Ok(b)) => {
            (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
        }
        _ => false,
    }
}

fn stream(value: &Value) -> MemoryStream {
    let entries = value["entries"].as_array().unwrap().iter().map(|entry| MemoryEntry {
        ts: entry["ts"].as_i64().unwrap(),
        line: entry["line"].as_str().unwrap().as_bytes().to_vec(),
        metadata: pairs(&entry["sm"]),
    });
    MemoryStream { labels: pairs(&value["labels"]), entries: entries.collect() }
}

fn pairs(value: &Value) -> Vec<(String, String)> {
    let labels = value.as_object().into_iter().flatten();
    labels.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}
