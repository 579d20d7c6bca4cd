//! Texts as Loki prints them.

use crate::parse::parse;
use crate::print::{pretty, to_query};

#[track_caller]
fn check_pretty(query: &str, layout: &str) {
    assert_eq!(pretty(&parse(query).unwrap()), layout, "{query}");
}

#[track_caller]
fn check_exact(query: &str, exact: &str) {
    assert_eq!(to_query(&parse(query).unwrap()), exact, "{query}");
}

#[test]
fn exact_text_loses_nothing() {
    check_exact(r#"{a="x"} | b>1KiB"#, r#"{a="x"} | b>1024B"#);
    check_exact(r#"{a="x"} | b>1KB"#, r#"{a="x"} | b>1.0kB"#);
    check_exact("vector(0.00000001)", "vector(0.00000001)");
    check_exact("1 / 0", "(0 / 0)");
    check_exact("-0.0", "-0.0");
    check_exact("10 ^ 999", "(10 ^ 999)");
    check_exact("-1 * 10 ^ 999", "(-1 * 10 ^ 999)");
    check_exact(
        "vector(1) * on (a) group_left (vector(2) + vector(3))"
            .replace("(vector(2)", "() (vector(2)")
            .as_str(),
        "(vector(1) * on (a) group_left () (vector(2) + vector(3)))",
    );
}

#[test]
fn what_fits_stays_on_one_line() {
    check_pretty(r#"sum by(a)(rate({app="x"}[5m]))"#, r#"sum by (a)(rate({app="x"}[5m]))"#);
    check_pretty(r#"{app="x"}|="a""#, r#"{app="x"} |= "a""#);
}

#[test]
fn long_pipelines_have_a_stage_a_line() {
    check_pretty(
        r#"{cluster="eu-west-1", namespace="production", container="nginx"} |= "error" != "timeout" | logfmt | level="warn""#,
        concat!(
            "{cluster=\"eu-west-1\", namespace=\"production\", container=\"nginx\"}\n",
            "  |= \"error\" != \"timeout\"\n",
            "  | logfmt\n",
            "  | level=\"warn\"",
        ),
    );
}

#[test]
fn long_aggregations_open_their_parentheses() {
    check_pretty(
        r#"topk(10, sum by (pod, container) (sum_over_time({cluster="eu-west-1", namespace="production"} | logfmt | unwrap bytes(size) | __error__="" [5m] offset 1h)))"#,
        concat!(
            "topk(\n",
            "  10,\n",
            "  sum by (pod, container)(\n",
            "    sum_over_time(\n",
            "      {cluster=\"eu-west-1\", namespace=\"production\"} | logfmt\n",
            "        | unwrap bytes(size)\n",
            "        | __error__=\"\" [5m] offset 1h\n",
            "    )\n",
            "  )\n",
            ")",
        ),
    );
    check_pretty(
        r#"quantile_over_time(0.99, {cluster="eu-west-1", namespace="production"} | json | unwrap latency_seconds [1m]) by (pod)"#,
        concat!(
            "quantile_over_time(\n",
            "  0.99,\n",
            "  {cluster=\"eu-west-1\", namespace=\"production\"} | json\n",
            "    | unwrap latency_seconds [1m]\n",
            ") by (pod)",
        ),
    );
}

#[test]
fn long_operations_have_the_operator_between_the_lines() {
    let rate = r#"sum(rate({cluster="eu-west-1", namespace="production"}[5m]))"#;
    check_pretty(
        &format!("{rate} / on (pod) group_left (node) {rate}"),
        &format!("  {rate}\n/ on (pod) group_left (node)\n  {rate}"),
    );
    check_pretty(
        &format!("({rate} + {rate}) * 2"),
        &format!("  (\n      {rate}\n    +\n      {rate}\n  )\n*\n  2"),
    );
}
