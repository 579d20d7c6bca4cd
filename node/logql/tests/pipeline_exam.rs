//! What Loki answers: each query of the exam's pipeline sample on each of its lines. The sample lies outside
//! the repository, at `../shared/exam` of a workplace; where it is absent the test says so and passes.

#![allow(clippy::unwrap_used)] // Helpers of a test are tests as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grapevine_logql::ast::Stage;
use grapevine_logql::labels::Category;
use grapevine_logql::parse::parse_log;
use grapevine_logql::pipeline::{Options, Pipeline, Wanted};
use serde_json::Value;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/exam/logql_pipeline_cases.json");
/// The sample's default timestamp.
const TIMESTAMP: i64 = 1_700_000_000_123_456_789;

type Labels = BTreeMap<String, String>;

#[derive(Debug, PartialEq)]
struct Answer {
    line: Vec<u8>,
    stream: Labels,
    metadata: Labels,
    parsed: Labels,
}

#[test]
fn lines_come_out_as_they_do_of_loki() {
    if !Path::new(SAMPLE).exists() {
        eprintln!("skipped: {SAMPLE} is absent");
        return;
    }
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(SAMPLE).unwrap()).unwrap();
    let (mut passed, mut failures) = (0, String::new());
    for case in &cases {
        if shares_a_key(case["query"].as_str().unwrap()) {
            continue;
        }
        for row in case["cases"].as_array().into_iter().flatten() {
            match check(case, row) {
                Ok(()) => passed += 1,
                Err(difference) => writeln!(failures, "{}\n{difference}\n", case["query"]).unwrap(),
            }
        }
    }
    assert!(failures.is_empty(), "{failures}{} rows differ, {passed} pass", failures.matches("\n\n").count());
    assert!(passed > 0, "the sample holds no rows");
}

/// Whether a `logfmt` gives one key to two labels. Loki sets one of them, a different one from line to line.
fn shares_a_key(query: &str) -> bool {
    let stages = parse_log(query).map(|query| query.stages).unwrap_or_default();
    stages.iter().any(|stage| match stage {
        Stage::Logfmt { extractions, .. } => {
            let keys: BTreeSet<&str> = extractions.iter().map(|e| e.expression.as_str()).collect();
            keys.len() < extractions.len()
        }
        _ => false,
    })
}

fn check(case: &Value, row: &Value) -> Result<(), String> {
    let stream = case.get("stream").map_or_else(|| Labels::from([("app".into(), "x".into())]), labels);
    let metadata = case.get("sm").map(labels).unwrap_or_default();
    let line = bytes(row, "in").unwrap();
    let timestamp = case["ts"].as_i64().unwrap_or(TIMESTAMP);
    let got = run(case["query"].as_str().unwrap(), &stream, &metadata, timestamp, &line)?;
    let expected = (row["drop"] != Value::Bool(true)).then(|| Answer {
        line: bytes(row, "out").unwrap_or_else(|| line.clone()),
        stream: row.get("stream").map_or(stream, labels),
        metadata: row.get("sm").map_or(metadata, labels),
        parsed: without_details(row.get("parsed").map(labels).unwrap_or_default()),
    });
    if got == expected {
        return Ok(());
    }
    let text = |answer: &Option<Answer>| match answer {
        None => "dropped".to_string(),
        Some(a) => {
            let line = String::from_utf8_lossy(&a.line);
            format!("{line:?} stream {:?} sm {:?} parsed {:?}", a.stream, a.metadata, a.parsed)
        }
    };
    Err(format!(
        "  in   {}\n  got  {}\n  want {}",
        String::from_utf8_lossy(&line),
        text(&got),
        text(&expected)
    ))
}

fn run(
    query: &str,
    stream: &Labels,
    metadata: &Labels,
    timestamp: i64,
    line: &[u8],
) -> Result<Option<Answer>, String> {
    let query = parse_log(query).map_err(|error| format!("  {error}"))?;
    let pipeline = Pipeline::compile(&query.stages, &Wanted::All).map_err(|error| format!("  {error}"))?;
    let mut pipeline = pipeline.stream(&pairs(stream), &Options::default());
    let outcome = pipeline.process(timestamp, line, &pairs(metadata));
    Ok(outcome.map(|outcome| {
        let of = |category: Category| {
            let labels = outcome.labels.iter().filter(|label| label.category == category);
            labels.map(|label| (label.name.to_string(), label.value.to_string())).collect::<Labels>()
        };
        Answer {
            line: outcome.line.to_vec(),
            stream: of(Category::Stream),
            metadata: of(Category::Metadata),
            parsed: without_details(of(Category::Parsed)),
        }
    }))
}

/// The words of an error are ours; that there are some is not.
fn without_details(mut labels: Labels) -> Labels {
    if let Some(details) = labels.get_mut("__error_details__") {
        *details = "some".into();
    }
    labels
}

fn pairs(labels: &Labels) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn labels(value: &Value) -> Labels {
    let object = value.as_object().unwrap();
    object.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_string())).collect()
}

fn bytes(row: &Value, key: &str) -> Option<Vec<u8>> {
    let text = row.get(key).map(|text| text.as_str().unwrap().as_bytes().to_vec());
    text.or_else(|| Some(STANDARD.decode(row.get(format!("{key}_b64"))?.as_str()?).unwrap()))
}
