//! Plans of queries: what is done at the leaves, and what it takes to answer them.

use std::collections::BTreeSet;

use super::{LEAVES_MAX, Leaf, MetricPlan, Node, Plan, PlanError, PlanOptions, SeriesBy};
use crate::parse::parse;
use crate::pipeline::Wanted;

const LEVELS: PlanOptions = PlanOptions { discover_levels: true };

fn plan(query: &str, options: PlanOptions) -> MetricPlan {
    match Plan::new(&parse(query).unwrap(), options).unwrap() {
        Plan::Metric(plan) => plan,
        Plan::Log(_) => panic!("`{query}` asks for lines"),
    }
}

fn only_leaf(query: &str, options: PlanOptions) -> Leaf {
    let plan = plan(query, options);
    assert_eq!(plan.leaves.len(), 1, "{query}");
    plan.leaves.into_iter().next().unwrap()
}

fn set(names: &str) -> BTreeSet<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn an_aggregation_that_commutes_is_done_at_the_leaf() {
    let check = |query: &str, by: SeriesBy| {
        assert_eq!(plan(query, LEVELS).root, Node::Leaf(0), "{query}");
        assert_eq!(only_leaf(query, LEVELS).by, by, "{query}");
    };
    let only = |names| SeriesBy::Only(set(names));
    let without = |names| SeriesBy::Without(set(names));
    check("sum by (a) (rate({x=\"y\"}[1m]))", only("a"));
    check("sum (count_over_time({x=\"y\"}[1m]))", only(""));
    check("sum without (a) (bytes_rate({x=\"y\"}[1m]))", without("a"));
    check("sum without () (bytes_over_time({x=\"y\"}[1m]))", without(""));
    check("sum by (a) (sum_over_time({x=\"y\"} | unwrap v [1m]))", only("a"));
    check("max by (a) (max_over_time({x=\"y\"} | unwrap v [1m]))", only("a"));
    check("min (min_over_time({x=\"y\"} | unwrap v [1m]))", only(""));
    check("rate({x=\"y\"}[1m])", without(""));
    check("avg_over_time({x=\"y\"} | unwrap v [1m]) by (a)", only("a"));
    check("absent_over_time({x=\"y\"}[1m])", only(""));
}

#[test]
fn an_aggregation_that_does_not_commute_stays_above() {
    let check = |query: &str| {
        assert!(matches!(plan(query, LEVELS).root, Node::Aggregate { .. }), "{query}");
    };
    check("max (rate({x=\"y\"}[1m]))");
    check("sum (avg_over_time({x=\"y\"} | unwrap v [1m]))");
    check("sum (max_over_time({x=\"y\"} | unwrap v [1m]))");
    check("max (max_over_time({x=\"y\"} | unwrap v [1m]) by (a))");
    check("count (count_over_time({x=\"y\"}[1m]))");
    check("topk (3, rate({x=\"y\"}[1m]))");
    check("sum (sum by (a) (rate({x=\"y\"}[1m])))");
}

#[test]
fn the_unwrapped_label_is_no_label_of_the_series_unless_lines_are_grouped_by_it() {
    let check = |query: &str, by: SeriesBy| assert_eq!(only_leaf(query, LEVELS).by, by, "{query}");
    check("sum_over_time({x=\"y\"} | unwrap v [1m])", SeriesBy::Without(set("v")));
    check("max_over_time({x=\"y\"} | unwrap v [1m]) without (a)", SeriesBy::Without(set("a v")));
    check("max_over_time({x=\"y\"} | unwrap v [1m]) by (a, v)", SeriesBy::Only(set("a v")));
    check("sum by (v) (sum_over_time({x=\"y\"} | unwrap v [1m]))", SeriesBy::Only(set("v")));
    check("max by (a, v) (max_over_time({x=\"y\"} | unwrap v [1m]))", SeriesBy::Only(set("a")));
}

#[test]
fn equal_leaves_are_evaluated_once_and_an_offset_makes_them_differ() {
    let rate = "sum(rate({x=\"y\"}[1m]))";
    assert_eq!(plan(&format!("{rate} / ({rate} + 1)"), LEVELS).leaves.len(), 1);
    assert_eq!(plan(&format!("{rate} / sum(rate({{x=\"y\"}}[1m] offset 5m))"), LEVELS).leaves.len(), 2);
}

#[test]
fn different_leaves_are_bounded() {
    let sum = |leaves: usize| {
        let leaves: Vec<_> = (1..=leaves).map(|s| format!("rate({{x=\"y\"}}[{s}s])")).collect();
        Plan::new(&parse(&leaves.join(" + ")).unwrap(), LEVELS)
    };
    assert!(sum(LEAVES_MAX).is_ok());
    assert_eq!(sum(LEAVES_MAX + 1), Err(PlanError::TooManyLeaves));
}

#[test]
fn only_what_the_answer_shows_is_wanted_of_the_stages() {
    let check = |query: &str, wanted: Option<&str>| {
        let wanted = wanted.map_or(Wanted::All, |names| Wanted::Only(set(names)));
        assert_eq!(only_leaf(query, LEVELS).wanted, wanted, "{query}");
    };
    check("sum by (a) (rate({x=\"y\"} | json [1m]))", Some("a"));
    check("sum by (a) (rate({x=\"y\"} | json | unwrap v | w > 1 [1m]))", Some("a v w"));
    check("rate({x=\"y\"} | json [1m])", None);
    check("sum without (a) (rate({x=\"y\"} | json [1m]))", None);
}

#[test]
fn parsers_nothing_asks_are_left_out() {
    let stages = |query: &str| only_leaf(query, LEVELS).stages.len();
    assert_eq!(stages("sum(rate({x=\"y\"} |= \"a\" | json [1m]))"), 1);
    assert_eq!(stages("sum(rate({x=\"y\"} | json | a=\"b\" [1m]))"), 2);
    assert_eq!(stages("sum by (a) (rate({x=\"y\"} | json [1m]))"), 1);
    assert_eq!(stages("sum(rate({x=\"y\"} | json | unwrap v [1m]))"), 1);
    assert_eq!(stages("sum(rate({x=\"y\"} | json | line_format \"{{.a}}\" [1m]))"), 2);
    assert_eq!(stages("sum(rate({x=\"y\"} | json | line_format \"a\" [1m]))"), 1);
}

#[test]
fn text_is_read_only_where_it_matters() {
    let check = |query: &str, reads: bool, hit_filters: Option<usize>| {
        let leaf = only_leaf(query, LEVELS);
        let found = (leaf.reads_text, leaf.hit_filters.map(|filters| filters.len()));
        assert_eq!(found, (reads, hit_filters), "{query}");
    };
    check("sum by (a) (rate({x=\"y\"}[1m]))", false, Some(0));
    check("sum by (a) (rate({x=\"y\"} | b=\"c\" | drop d [1m]))", false, Some(0));
    check("sum(rate({x=\"y\"} | json [1m]))", false, Some(0));
    check("absent_over_time({x=\"y\"}[1m])", false, Some(0));
    check("sum by (a) (rate({x=\"y\"} |= \"e\" != \"f\" [1m]))", true, Some(2));
    check("sum by (a) (rate({x=\"y\"} | json [1m]))", true, None);
    check("sum by (a) (bytes_rate({x=\"y\"}[1m]))", true, None);
    check("sum(rate({x=\"y\"} | unwrap v [1m]))", true, None);
    // A level may have to be read off the line.
    check("rate({x=\"y\"}[1m])", true, None);
    check("sum by (detected_level) (rate({x=\"y\"}[1m]))", true, None);
    check("sum without (detected_level) (rate({x=\"y\"}[1m]))", false, Some(0));
    assert!(!only_leaf("rate({x=\"y\"}[1m])", PlanOptions::default()).reads_text);
}

#[test]
fn a_stream_settles_its_lines_if_it_has_every_label_that_is_used() {
    let settled = |query: &str| only_leaf(query, LEVELS).is_settled_by(&[("x", "y"), ("a", "b")]);
    assert!(settled("sum by (a) (rate({x=\"y\"} |= \"e\" [1m]))"));
    assert!(settled("sum (rate({x=\"y\"} | a=\"b\" [1m]))"));
    assert!(!settled("sum by (a, trace) (rate({x=\"y\"}[1m]))"));
    assert!(!settled("sum (rate({x=\"y\"} | trace=\"b\" [1m]))"));
    assert!(!settled("sum without (detected_level) (rate({x=\"y\"}[1m]))"));
}

#[test]
fn errors_are_kept_only_where_the_query_asks_for_them() {
    let keeps = |query: &str| only_leaf(query, LEVELS).keeps_errors;
    assert!(keeps("sum by (__error__) (rate({x=\"y\"} | json [1m]))"));
    assert!(keeps("sum (rate({x=\"y\"} | json | __error__!=\"\" [1m]))"));
    assert!(!keeps("rate({x=\"y\"} | json | __error__!=\"\" [1m])"));
    assert!(!keeps("sum by (a) (rate({x=\"y\"} | json [1m]))"));
    assert!(!keeps("max (max_over_time({x=\"y\"} | json | __error__!=\"\" | unwrap v [1m]))"));
}

#[test]
fn numbers_are_folded_and_set_operations_on_them_refused() {
    assert_eq!(plan("1 + 2 * 3", LEVELS).root, Node::Literal(7.0));
    assert!(matches!(plan("vector(1) + 2", LEVELS).root, Node::Scalar { scalar_left: false, .. }));
    assert!(matches!(plan("2 > vector(1)", LEVELS).root, Node::Scalar { scalar_left: true, .. }));
}

#[test]
fn absence_carries_the_labels_that_equality_alone_fixes() {
    let leaf = only_leaf("absent_over_time({a=\"1\", b=~\"2\", c=\"3\", c!=\"4\"}[1m])", LEVELS);
    assert_eq!(leaf.absent_labels(), Some([("a", "1")].into_iter().collect()));
    assert_eq!(only_leaf("rate({a=\"1\"}[1m])", LEVELS).absent_labels(), None);
}

#[test]
fn a_plan_can_be_read() {
    let query = "topk(2, sum by (a) (rate({x=\"y\"} |= \"e\" [1m] offset 5m))) > 3 and vector(1)";
    let expected = "\
binary and
  binary > scalar 3 on the right
    topk 2
      leaf 0
  vector 1
leaf 0: rate by (a) [60s] offset 300s reads hits
  {x=\"y\"} |= \"e\"
";
    assert_eq!(plan(query, LEVELS).to_string(), expected);
}
