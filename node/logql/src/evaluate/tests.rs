//! Whole metric queries over a few lines: what the answer looks like, and when there is none.

use crate::ast::Expr;
use crate::eval_error::EvalError;
use crate::eval_limits::EvalLimits;
use crate::memory::{MemoryEntry, MemoryError, MemoryStream, metric_query};
use crate::parse::parse;
use crate::pipeline::Options;
use crate::plan::{MetricPlan, PlanOptions};
use crate::range::Steps;
use crate::series::{QueryValue, SeriesLabels, format_value};

const SECOND: i64 = 1_000_000_000;

/// Three pods of two environments, `pod` lines a minute each; lines of pod 3 are no JSON.
fn streams() -> Vec<MemoryStream> {
    let stream = |pod: i64, env: &str| MemoryStream {
        labels: vec![
            ("app".to_owned(), "x".to_owned()),
            ("env".to_owned(), env.to_owned()),
            ("pod".to_owned(), pod.to_string()),
        ],
        entries: (0..pod)
            .map(|i| MemoryEntry {
                ts: (10 + i) * SECOND,
                line: if pod == 3 { b"no json".to_vec() } else { format!("{{\"v\":\"{i}\"}}").into_bytes() },
                metadata: Vec::new(),
            })
            .collect(),
    };
    vec![stream(1, "prod"), stream(2, "prod"), stream(3, "dev")]
}

fn answer(query: &str, steps: &Steps, limits: &EvalLimits) -> Result<QueryValue, EvalError> {
    let Expr::Sample(sample) = parse(query).unwrap() else { panic!("`{query}` asks for lines") };
    let plan = MetricPlan::new(&sample, PlanOptions::default()).unwrap();
    metric_query(&plan, &streams(), steps, limits, &Options::default()).map_err(|error| match error {
        MemoryError::Eval(error) => error,
        MemoryError::Compile(error) => panic!("`{query}`: {error}"),
    })
}

fn text(labels: &SeriesLabels) -> String {
    let pairs: Vec<String> = labels.pairs().iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{{{}}}", pairs.join(","))
}

/// An instant answer at 60 s, one element a line.
fn check(query: &str, expected: &[&str]) {
    let found = match answer(query, &Steps::instant(60 * SECOND), &EvalLimits::DEFAULT) {
        Ok(QueryValue::Vector(samples)) => {
            samples.iter().map(|s| format!("{} {}", text(&s.labels), format_value(s.value))).collect()
        }
        Ok(QueryValue::Scalar { value, .. }) => vec![format_value(value)],
        Ok(other) => panic!("`{query}`: {other:?}"),
        Err(error) => vec![error.to_string().lines().next().unwrap_or_default().to_owned()],
    };
    assert_eq!(found, expected, "{query}");
}

const BY_POD: &str = "sum by (pod) (count_over_time({app=\"x\"}[1m]))";

#[test]
fn vectors_are_sorted_by_labels_unless_the_query_sorts() {
    check(BY_POD, &["{pod=1} 1", "{pod=2} 2", "{pod=3} 3"]);
    check(&format!("sort_desc({BY_POD})"), &["{pod=3} 3", "{pod=2} 2", "{pod=1} 1"]);
    check(&format!("sort({BY_POD} * -1)"), &["{pod=3} -3", "{pod=2} -2", "{pod=1} -1"]);
    check(&format!("topk(2, {BY_POD})"), &["{pod=2} 2", "{pod=3} 3"]);
    check(&format!("bottomk(1, {BY_POD})"), &["{pod=1} 1"]);
    check(&format!("approx_topk(1, {BY_POD})"), &["{pod=3} 3"]);
}

#[test]
fn numbers_alone_are_scalars_and_vector_makes_them_vectors() {
    check("1 + 2", &["3"]);
    check("1 / 0", &["NaN"]);
    check("vector(1) / 0", &["{} NaN"]);
    check("1 > 2", &["0"]);
    check("vector(1) > 2", &[]);
    check("vector(1) > bool 2", &["{} 0"]);
    check("2 ^ vector(3)", &["{} 8"]);
}

#[test]
fn aggregations_may_stand_on_each_other() {
    check(&format!("max({BY_POD})"), &["{} 3"]);
    check(&format!("avg({BY_POD}) + count({BY_POD})"), &["{} 5"]);
    check(
        "sum by (env) (count_over_time({app=\"x\"}[1m])) / ignoring(env) group_left sum(count_over_time({app=\"x\"}[1m]))",
        &["{env=dev} 0.5", "{env=prod} 0.5"],
    );
    check(
        "label_replace(sum by (env) (count_over_time({app=\"x\"}[1m])), \"e\", \"$1\", \"env\", \"(.).*\")",
        &["{e=d,env=dev} 3", "{e=p,env=prod} 3"],
    );
}

#[test]
fn a_line_that_fails_a_stage_fails_the_query_unless_it_is_asked_for() {
    let failure = "pipeline error: 'JSONParserErr' for series: \
                   '{__error__=\"JSONParserErr\", __error_details__=";
    let fails = |query: &str| {
        let error = answer(query, &Steps::instant(60 * SECOND), &EvalLimits::DEFAULT).unwrap_err();
        assert!(error.to_string().starts_with(failure) && error.is_client_error(), "{query}: {error}");
    };
    fails("count_over_time({app=\"x\"} | json [1m])");
    fails("sum by (v) (count_over_time({app=\"x\"} | json [1m]))");
    fails("count_over_time({app=\"x\"} | json | __error__!=\"\" [1m])");
    check(
        "sum by (__error__) (count_over_time({app=\"x\"} | json [1m]))",
        &["{} 3", "{__error__=JSONParserErr} 3"],
    );
    check("sum(count_over_time({app=\"x\"} | json | __error__!=\"\" [1m]))", &["{} 3"]);
    // Nothing asks for the parser's labels, so it does not run.
    check("sum(count_over_time({app=\"x\"} | json [1m]))", &["{} 6"]);
    check("sum(sum_over_time({app=\"x\"} | json | unwrap v | __error__=\"\" [1m]))", &["{} 1"]);
}

#[test]
fn an_answer_has_no_more_series_and_an_evaluation_no_more_points_than_allowed() {
    let steps = Steps::range(20 * SECOND, 60 * SECOND, 10 * SECOND).unwrap();
    let series = EvalLimits { answer_series_max: 2, ..EvalLimits::DEFAULT };
    assert_eq!(answer(BY_POD, &steps, &series), Err(EvalError::TooManySeries { limit: 2 }));
    let points = EvalLimits { points_max: 20, ..EvalLimits::DEFAULT };
    assert!(answer(BY_POD, &steps, &points).is_ok());
    let summed = format!("{BY_POD} + {BY_POD}");
    assert_eq!(answer(&summed, &steps, &points), Err(EvalError::TooManyPoints { limit: 20 }));
    let doubled = format!("label_replace({BY_POD}, \"a\", \"b\", \"\", \"\") or {BY_POD}");
    assert_eq!(answer(&doubled, &steps, &points), Err(EvalError::TooManyPoints { limit: 20 }));
}

#[test]
fn series_that_label_replace_makes_alike_become_one() {
    let steps = Steps::range(20 * SECOND, 30 * SECOND, 10 * SECOND).unwrap();
    let query = format!("label_replace({BY_POD}, \"pod\", \"\", \"pod\", \"[12]\")");
    let Ok(QueryValue::Matrix(series)) = answer(&query, &steps, &EvalLimits::DEFAULT) else {
        panic!("{query}")
    };
    assert_eq!(series.iter().map(|s| text(&s.labels)).collect::<Vec<_>>(), ["{}", "{pod=3}"]);
}
