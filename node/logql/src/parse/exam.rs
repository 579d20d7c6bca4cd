//! Sits the parser's part of the recorded exam (`../shared/exam/logql_parser_own.json` beside the repository), where
//! it is there. The essential cases are in the tables of this crate's other tests too.

use std::path::Path;

use serde_json::Value;

use super::parse;
use crate::print::pretty;

/// What is not as recorded, one line each.
fn failures(case: &Value) -> Vec<String> {
    let query = case["query"].as_str().unwrap_or_default();
    let parsed = parse(query);
    let mut failures = Vec::new();
    let mut compare = |what: &str, found: &str, expected: &str| {
        if found != expected {
            failures.push(format!("{what} of {query:?}\n   found {found:?}\nexpected {expected:?}"));
        }
    };
    match (&parsed, case["valid"].as_bool() == Some(true)) {
        (Ok(expr), true) => {
            compare("text", &expr.to_string(), case["string"].as_str().unwrap_or(query));
            if let Some(expected) = case["pretty"].as_str() {
                compare("layout", &pretty(expr), expected);
            }
        }
        (Err(error), false) => {
            compare("error", &error.to_string(), case["error"].as_str().unwrap_or_default())
        }
        (Ok(expr), false) => {
            compare("validity", &expr.to_string(), case["error"].as_str().unwrap_or("an error"))
        }
        (Err(error), true) => compare("validity", &error.to_string(), "valid"),
    }
    failures
}

#[test]
fn recorded_queries_parse_and_print_as_recorded() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/exam/logql_parser_own.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(!cases.is_empty());
    let failures: Vec<String> = cases.iter().flat_map(failures).collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}
