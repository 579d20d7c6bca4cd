//! A kept table of language neighbours: what stands beside the questions that real Loki was asked, one file a
//! subject in `neighbours/`, one case a line.
//!
//! No answer is taken from what our code says. Templates were answered by Go's own `text/template` with sprig's
//! functions, JSON by `github.com/buger/jsonparser` under Loki's rules for names, numbers by arithmetic; queries were
//! held to Loki's grammar by hand.

#![allow(clippy::unwrap_used)] // Helpers of a test are tests as well.

use std::collections::BTreeMap;

use grapevine_logql::ast::{Expr, SampleExpr};
use grapevine_logql::eval_limits::EvalLimits;
use grapevine_logql::labels::Category;
use grapevine_logql::memory::metric_query;
use grapevine_logql::parse::{parse, parse_log};
use grapevine_logql::pipeline::{Options, Pipeline, Wanted};
use grapevine_logql::plan::{MetricPlan, PlanOptions};
use grapevine_logql::range::Steps;
use grapevine_logql::series::{QueryValue, format_value};
use grapevine_logql::template::{Context, Template};
use serde::de::DeserializeOwned;

/// The cases of a file.
fn cases<T: DeserializeOwned>(text: &str) -> Vec<T> {
    let cases: Vec<T> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() > 100, "a table of {} cases has lost its lines", cases.len());
    cases
}

/// Says which cases differ, all at once.
fn check<T: DeserializeOwned>(text: &str, difference: impl Fn(T) -> Result<(), String>) {
    let wrong: Vec<String> = cases(text).into_iter().filter_map(|case| difference(case).err()).collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The line that templates are rendered for.
struct Line;

const LABELS: [(&str, &str); 14] = [
    ("app", "x"),
    ("b", "10MB"),
    ("d", "1h30m"),
    ("e", ""),
    ("f", "3.75"),
    ("j", r#"{"k":[1,2,{"z":"y"}],"n":null,"f":1.5,"t":true,"o":{"p":"q"}}"#),
    ("n", "42"),
    ("neg", "-7"),
    ("s", "Hello World"),
    ("sp", "  pad  "),
    ("t", "2024-03-05T07:08:09Z"),
    ("u", "a b&c=d/é"),
    ("uni", "日本語"),
    ("ws", "a\tb\nc"),
];

impl Context for Line {
    fn label(&self, name: &str) -> Option<&str> {
        LABELS.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    fn labels(&self) -> Vec<(&str, &str)> {
        LABELS.to_vec()
    }

    fn line(&self) -> &[u8] {
        b"the line"
    }

    fn timestamp(&self) -> i64 {
        1_700_000_000_123_456_789
    }

    fn now(&self) -> i64 {
        1_800_000_000_000_000_000
    }
}

#[test]
fn templates_print_what_go_prints_and_fail_where_go_fails() {
    // A template; what it prints, or null where it fails for the line; nothing where it is no template.
    check(include_str!("neighbours/templates.jsonl"), |case: Vec<Option<String>>| {
        let source = case[0].as_deref().unwrap();
        let found = Template::parse(source).ok().map(|template| {
            let mut out = Vec::new();
            template.render(&Line, &mut out).ok().map(|()| String::from_utf8_lossy(&out).into_owned())
        });
        let expected = case.get(1).cloned();
        if found == expected { Ok(()) } else { Err(format!("{source}: {found:?} for {expected:?}")) }
    });
}

#[test]
fn json_gives_the_labels_that_lokis_parser_gives() {
    // A line, and its labels.
    check(include_str!("neighbours/json.jsonl"), |(line, expected): (String, BTreeMap<String, String>)| {
        let query = parse_log(r#"{app="x"} | json"#).unwrap();
        let pipeline = Pipeline::compile(&query.stages, &Wanted::All).unwrap();
        let mut stream = pipeline.stream(&[("app", "x")], &Options::default());
        let outcome = stream.process(1, line.as_bytes(), &[]).unwrap();
        let parsed = outcome.labels.iter().filter(|label| label.category == Category::Parsed);
        let mut found: BTreeMap<String, String> =
            parsed.map(|label| (label.name.to_owned(), label.value.to_owned())).collect();
        found.remove("__error_details__");
        if found == expected { Ok(()) } else { Err(format!("{line:?}: {found:?} for {expected:?}")) }
    });
}

#[test]
fn queries_are_taken_and_printed_or_refused_where_lokis_grammar_says() {
    // A query; its canonical text where that is another, or null where it is refused; how the refusal begins.
    check(include_str!("neighbours/queries.jsonl"), |case: Vec<Option<String>>| {
        let query = case[0].as_deref().unwrap();
        let (printed, refusal) = match parse(query) {
            Ok(expr) => (Some(expr.to_string()), refusal(&expr)),
            Err(error) => (None, Some(error.to_string())),
        };
        let expected = case.get(1).cloned().unwrap_or_else(|| Some(query.to_owned()));
        let agrees = match (case.get(2), &refusal) {
            (Some(Some(begins)), Some(refusal)) => refusal.starts_with(begins),
            (None, None) => true,
            _ => false,
        };
        match agrees && printed == expected {
            true => Ok(()),
            false => Err(format!("{query}: {printed:?} for {expected:?}, {refusal:?}")),
        }
    });
}

/// Why a query that can be read cannot be run.
fn refusal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Log(log) => Pipeline::compile(&log.stages, &Wanted::All).err().map(|error| error.to_string()),
        Expr::Sample(sample) => {
            MetricPlan::new(sample, PlanOptions::default()).err().map(|error| error.to_string())
        }
    }
}

#[test]
fn operators_give_the_numbers_of_ieee_but_for_division_by_zero() {
    // An expression over vectors of one element, and its value, or null where the element is dropped.
    check(include_str!("neighbours/arithmetic.jsonl"), |(query, expected): (String, Option<String>)| {
        let Ok(Expr::Sample(sample)) = parse(&query) else { return Err(format!("{query} cannot be read")) };
        let found = value(&sample);
        if is_same(found.as_deref(), expected.as_deref()) {
            return Ok(());
        }
        Err(format!("{query}: {found:?} for {expected:?}"))
    });
}

fn value(sample: &SampleExpr) -> Option<String> {
    let plan = MetricPlan::new(sample, PlanOptions::default()).unwrap();
    let (steps, limits) = (Steps::instant(1_700_000_000_000_000_000), EvalLimits::DEFAULT);
    let QueryValue::Vector(samples) = metric_query(&plan, &[], &steps, &limits, &Options::default()).unwrap()
    else {
        panic!("{sample} is no vector");
    };
    samples.first().map(|sample| format_value(sample.value))
}

fn is_same(found: Option<&str>, expected: Option<&str>) -> bool {
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<f64>().ok());
    match (number(found), number(expected)) {
        (Some(a), Some(b)) => (a.is_nan() && b.is_nan()) || a == b || (a - b).abs() <= 1e-12 * b.abs(),
        (a, b) => a.is_none() && b.is_none(),
    }
}
