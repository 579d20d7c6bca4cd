//! The recorded answers of Loki, where the folder that holds them is present.

use std::{collections::BTreeMap, path::PathBuf};

use base64::Engine;
use serde::Deserialize;

use super::{Line, render};
use crate::template::Template;

#[derive(Deserialize)]
struct Case {
    query: String,
    error: Option<String>,
    #[serde(default)]
    cases: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "in")]
    line: String,
    out: Option<String>,
    out_b64: Option<String>,
    #[serde(default)]
    parsed: BTreeMap<String, String>,
}

/// What the row expects of the template: its output, or that it fails.
fn expected(row: &Row) -> Option<Vec<u8>> {
    if row.parsed.contains_key("__error__") {
        return None;
    }
    let decoded = row.out_b64.as_ref().map(|text| base64::prelude::BASE64_STANDARD.decode(text).unwrap());
    Some(decoded.unwrap_or_else(|| row.out.as_ref().unwrap_or(&row.line).clone().into_bytes()))
}

fn row_holds(template: &str, row: &Row) -> bool {
    let mut labels: Vec<_> = row.parsed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    labels.retain(|(name, _)| !name.starts_with("__error"));
    labels.push(("app", "x"));
    let line = Line { line: row.line.clone().into_bytes(), ..Line::new(&labels) };
    render(template, &line).ok() == expected(row)
}

#[test]
fn every_recorded_template_answers_as_loki_did() {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/exam/logql_template_cases.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: no recorded answers in ../shared/exam");
        return;
    };
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty());
    let mut wrong = Vec::new();
    for case in &cases {
        let (_, quoted) = case.query.split_once("line_format ").unwrap();
        let template = quoted.trim().trim_matches('`');
        let holds = match case.error {
            Some(_) => Template::parse(template).is_err(),
            None => !case.cases.is_empty() && case.cases.iter().all(|row| row_holds(template, row)),
        };
        if !holds {
            wrong.push(template);
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ: {wrong:#?}", wrong.len(), cases.len());
}
