//! What makes sense as a rule group, with Loki's words for what does not.
//!
//! Nothing here renders the templates in an alert's labels and annotations, but a ruler would: each must be one.

use std::collections::BTreeMap;

use grapevine_logql::parse::parse;
use grapevine_logql::template::{Template, TemplateError};

use super::group::{Group, Rule};
use crate::limits::Limits;

/// What templates of alerts may call besides Go's own functions: Prometheus' functions.
const ALERT_FUNCTIONS: [&str; 29] = [
    "args",
    "externalURL",
    "first",
    "graphLink",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "label",
    "match",
    "now",
    "parseDuration",
    "pathPrefix",
    "query",
    "reReplaceAll",
    "safeHtml",
    "sortByLabel",
    "stripDomain",
    "stripPort",
    "strvalue",
    "tableLink",
    "title",
    "toDuration",
    "toLower",
    "toTime",
    "toUpper",
    "urlQueryEscape",
    "value",
];

/// The variables that they may use.
const ALERT_VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                               {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// What is wrong with a group; nothing if it may be kept.
pub fn problems(group: &Group) -> Vec<String> {
    let nameless = group.name.is_empty().then(|| "group 0: Groupname must not be empty".to_owned());
    let rules = group.rules.iter().filter_map(|rule| problem(rule, &group.name));
    nameless.into_iter().chain(rules).collect()
}

/// Whether a tenant's limits leave room for a group of so many rules, where there are so many groups with it.
pub fn over_limits(limits: &Limits, rules: usize, groups: usize) -> Option<String> {
    let over = |what: &str, limit: usize, actual: usize| {
        let is_over = limit > 0 && actual > limit;
        is_over.then(|| format!("per-user {what} limit (limit: {limit} actual: {actual}) exceeded"))
    };
    over("rules per rule group", limits.ruler_max_rules_per_rule_group, rules)
        .or_else(|| over("rule groups", limits.ruler_max_rule_groups_per_tenant, groups))
}

fn problem(rule: &Rule, group: &str) -> Option<String> {
    let Rule { record, alert, expr, .. } = rule;
    match (record.is_empty(), alert.is_empty()) {
        (false, false) => return Some("only one of 'record' and 'alert' must be set".into()),
        (true, true) => return Some("one of 'record' or 'alert' must be set".into()),
        _ => {}
    }
    if expr.is_empty() {
        return Some("field 'expr' must be set in rule".into());
    }
    if let Err(error) = parse(expr) {
        let (kind, name) = if alert.is_empty() { ("record", record) } else { ("alert", alert) };
        return Some(format!("could not parse expression for {kind} '{name}' in group '{group}': {error}"));
    }
    if alert.is_empty() {
        if !rule.annotations.is_empty() {
            return Some("invalid field 'annotations' in recording rule".into());
        }
        if rule.hold != 0 {
            return Some("invalid field 'for' in recording rule".into());
        }
        if !is_name(record, &[':']) {
            return Some(format!("invalid recording rule name: {record}"));
        }
    }
    let label = rule.labels.keys().find(|name| !is_name(name, &[]) || *name == "__name__");
    let annotation = rule.annotations.keys().find(|name| !is_name(name, &[]));
    label
        .map(|name| format!("invalid label name: {name}"))
        .or_else(|| annotation.map(|name| format!("invalid annotation name: {name}")))
        .or_else(|| bad_template(rule, "label", &rule.labels))
        .or_else(|| bad_template(rule, "annotation", &rule.annotations))
}

/// What an alert says by a template that is none.
fn bad_template(rule: &Rule, kind: &str, texts: &BTreeMap<String, String>) -> Option<String> {
    let alert = Some(&rule.alert).filter(|alert| !alert.is_empty())?;
    texts.iter().find_map(|(name, text)| {
        let problem = match Template::check(&format!("{ALERT_VARIABLES}{text}"), &ALERT_FUNCTIONS).err()? {
            TemplateError::Parse { line, problem } => format!("{line}: {problem}"),
            TemplateError::Render { problem } => format!(" {problem}"),
        };
        Some(format!("{kind} {name:?}: template: __alert_{alert}:{problem}"))
    })
}

/// Letters, digits, `_` and `more`, no digit first.
fn is_name(text: &str, more: &[char]) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || more.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::{over_limits, problems};
    use crate::limits::Limits;
    use crate::rules::read;

    fn check(rule: &str, expected: &[&str]) {
        let group = read::group(&format!("name: g\nrules: [{rule}]")).unwrap();
        assert_eq!(problems(&group), expected, "{rule}");
    }

    #[test]
    fn rules_that_make_sense_are_kept() {
        check(
            "{alert: a, expr: 'rate({a=\"b\"}[1m]) > 0', for: 1m, labels: {x: '{{ $labels.app | toUpper }}'}, \
             annotations: {b: '{{ humanize $value }} at {{ $externalURL }} {{ with .Labels }}{{ .x }}{{ end }}'}}",
            &[],
        );
        // Nobody looks for templates in what is recorded.
        check("{record: a, expr: '1', labels: {b: '{{ .x '}}", &[]);
        check("{record: 'a:b', expr: 'sum(rate({a=\"b\"}[1m]))', labels: {c: d}}", &[]);
        check("{alert: a, expr: '{a=\"b\"}'}", &[]);
    }

    #[test]
    fn what_makes_no_sense_is_said_as_loki_says_it() {
        check("{}", &["one of 'record' or 'alert' must be set"]);
        check("{alert: a, record: b, expr: '1'}", &["only one of 'record' and 'alert' must be set"]);
        check("{alert: a}", &["field 'expr' must be set in rule"]);
        check(
            "{alert: a, expr: 'rate('}",
            &[
                "could not parse expression for alert 'a' in group 'g': parse error at line 1, col 6: syntax error: unexpected $end, expecting NUMBER or { or (",
            ],
        );
        check(
            "{record: b, expr: x}, {alert: a}",
            &[
                "could not parse expression for record 'b' in group 'g': parse error at line 1, col 1: syntax error: unexpected IDENTIFIER",
                "field 'expr' must be set in rule",
            ],
        );
        let one = "expr: 'vector(1)'";
        check(
            &format!("{{record: a, {one}, annotations: {{a: b}}}}"),
            &["invalid field 'annotations' in recording rule"],
        );
        check(&format!("{{record: a, {one}, for: 1m}}"), &["invalid field 'for' in recording rule"]);
        check(&format!("{{record: 1a, {one}}}"), &["invalid recording rule name: 1a"]);
        check(&format!("{{record: a-b, {one}}}"), &["invalid recording rule name: a-b"]);
        check(&format!("{{alert: a, {one}, labels: {{b-c: d}}}}"), &["invalid label name: b-c"]);
        check(&format!("{{alert: a, {one}, labels: {{__name__: d}}}}"), &["invalid label name: __name__"]);
        check(&format!("{{alert: a, {one}, annotations: {{'a:b': d}}}}"), &["invalid annotation name: a:b"]);
        for (field, text, expected) in [
            ("labels", "{{ .x", "label \"b\": template: __alert_a:1: unclosed action"),
            ("annotations", "{{ end }}", "annotation \"b\": template: __alert_a:1: unexpected {{end}}"),
            (
                "annotations",
                "{{ upper 1 }}",
                "annotation \"b\": template: __alert_a:1: function `upper` not defined",
            ),
            ("annotations", "{{ $x }}", "annotation \"b\": template: __alert_a:1: undefined variable `$x`"),
        ] {
            check(&format!("{{alert: a, {one}, {field}: {{b: '{text}'}}}}"), &[expected]);
        }
        assert_eq!(problems(&read::group("").unwrap()), ["group 0: Groupname must not be empty"]);
    }

    #[test]
    fn zero_is_no_limit() {
        let mut limits = Limits::default();
        assert_eq!(over_limits(&limits, 1000, 1000), None);
        (limits.ruler_max_rules_per_rule_group, limits.ruler_max_rule_groups_per_tenant) = (2, 3);
        assert_eq!(over_limits(&limits, 2, 3), None);
        let over = |rules, groups| over_limits(&limits, rules, groups).unwrap();
        assert_eq!(over(3, 1), "per-user rules per rule group limit (limit: 2 actual: 3) exceeded");
        assert_eq!(over(1, 4), "per-user rule groups limit (limit: 3 actual: 4) exceeded");
    }
}
