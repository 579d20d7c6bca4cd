//! Reads a rule group from YAML as Loki does: a scalar of any kind is a text, fields that are not known are passed over.

use std::collections::BTreeMap;

use grapevine_logql::quantity::parse_prometheus_duration;

use super::group::{Group, Rule};
use super::yaml::{self, Node, YamlError};

/// Why a text is no rule group.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is no YAML that can be used.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// A field is of another kind.
    #[error("`{0}` is not what it should be")]
    Field(&'static str),
}

type Result<T> = std::result::Result<T, ReadError>;

/// Reads a group.
///
/// # Errors
/// The text is no group. Whether its parts make sense is not looked at.
pub fn group(text: &str) -> Result<Group> {
    let mut group = Group::default();
    for (name, node) in fields("group", &yaml::read(text)?)? {
        match name.as_str() {
            "name" => group.name = text_of("name", node)?,
            "interval" => group.interval = duration("interval", node)?,
            "query_offset" if *node == Node::Null => {}
            "query_offset" => group.query_offset = Some(duration("query_offset", node)?),
            "limit" => group.limit = whole_number("limit", node)?,
            "labels" => group.labels = texts("labels", node)?,
            "rules" => group.rules = rules(node)?,
            _ => {}
        }
    }
    Ok(group)
}

fn rules(node: &Node) -> Result<Vec<Rule>> {
    match node {
        Node::Null => Ok(Vec::new()),
        Node::List(items) => items.iter().map(rule).collect(),
        Node::Scalar { .. } | Node::Map(_) => Err(ReadError::Field("rules")),
    }
}

fn rule(node: &Node) -> Result<Rule> {
    let mut rule = Rule::default();
    for (name, node) in fields("rules", node)? {
        match name.as_str() {
            "record" => rule.record = text_of("record", node)?,
            "alert" => rule.alert = text_of("alert", node)?,
            "expr" => rule.expr = text_of("expr", node)?,
            "for" => rule.hold = duration("for", node)?,
            "keep_firing_for" => rule.keep_firing = duration("keep_firing_for", node)?,
            "labels" => rule.labels = texts("labels", node)?,
            "annotations" => rule.annotations = texts("annotations", node)?,
            _ => {}
        }
    }
    Ok(rule)
}

fn fields<'n>(what: &'static str, node: &'n Node) -> Result<&'n [(String, Node)]> {
    match node {
        Node::Null => Ok(&[]),
        Node::Map(pairs) => Ok(pairs),
        Node::Scalar { .. } | Node::List(_) => Err(ReadError::Field(what)),
    }
}

fn text_of(what: &'static str, node: &Node) -> Result<String> {
    match node {
        Node::Null => Ok(String::new()),
        Node::Scalar { text, .. } => Ok(text.clone()),
        Node::List(_) | Node::Map(_) => Err(ReadError::Field(what)),
    }
}

fn texts(what: &'static str, node: &Node) -> Result<BTreeMap<String, String>> {
    fields(what, node)?.iter().map(|(name, node)| Ok((name.clone(), text_of(what, node)?))).collect()
}

fn duration(what: &'static str, node: &Node) -> Result<i64> {
    match node {
        Node::Null => Ok(0),
        Node::Scalar { text, .. } => parse_prometheus_duration(text).map_err(|_| ReadError::Field(what)),
        Node::List(_) | Node::Map(_) => Err(ReadError::Field(what)),
    }
}

fn whole_number(what: &'static str, node: &Node) -> Result<i64> {
    match node {
        Node::Null => Ok(0),
        Node::Scalar { text, plain: true } => text.parse().map_err(|_| ReadError::Field(what)),
        _ => Err(ReadError::Field(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::group;

    #[test]
    fn any_scalar_is_a_text_and_unknown_fields_are_passed_over() {
        let text = "name: 5\nsource: x\nlimit: 3\ninterval: 1h30m\nlabels: {a: true, b: ~}\nrules:\n\
                    - {alert: 1.5, expr: yes, for: 0, more: [1]}\n-\n";
        let group = group(text).unwrap();
        assert_eq!((group.name.as_str(), group.limit, group.interval), ("5", 3, 5_400_000_000_000));
        assert_eq!((group.labels["a"].as_str(), group.labels["b"].as_str()), ("true", ""));
        assert_eq!((group.rules[0].alert.as_str(), group.rules[0].expr.as_str()), ("1.5", "yes"));
        assert_eq!(group.rules[1], Default::default());
    }

    #[test]
    fn what_is_of_another_kind_is_refused() {
        for text in [
            "text",
            "[1]",
            "name: [a]",
            "name: {a: b}",
            "interval: 60",
            "interval: ''",
            "interval: 1x",
            "interval: 30m1h",
            "limit: '3'",
            "limit: 1.5",
            "limit: many",
            "labels: [a]",
            "labels: {a: {b: c}}",
            "rules: {a: b}",
            "rules: one",
            "rules: [one]",
            "rules: [{expr: {}}]",
            "rules: [{for: [1m]}]",
            "name: a\nname: b",
            "name: 'a",
        ] {
            assert!(group(text).is_err(), "{text}");
        }
    }
}
