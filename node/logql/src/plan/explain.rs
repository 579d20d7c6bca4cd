//! A plan as text, for `explain`: one operation a line, what it runs over indented below it.

use std::collections::BTreeSet;
use std::fmt;

use super::{Leaf, MetricPlan, Node, SeriesBy};
use crate::ast::{Grouping, LogExpr, VectorMatching};

impl fmt::Display for MetricPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.write(f, 0)?;
        self.leaves.iter().enumerate().try_for_each(|(at, leaf)| write!(f, "leaf {at}: {leaf}"))
    }
}

impl Node {
    fn write(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        write!(f, "{:indent$}", "", indent = depth * 2)?;
        match self {
            Node::Leaf(at) => writeln!(f, "leaf {at}")?,
            Node::Aggregate { op, parameter, grouping, .. } => {
                let groups = grouping.as_ref().map(grouping_text).unwrap_or_default();
                let k = if *parameter > 0 { format!(" {parameter}") } else { String::new() };
                writeln!(f, "{}{k}{groups}", op.as_str())?;
            }
            Node::Binary { op, return_bool, matching, .. } => {
                let matching = matching.as_ref().map(matching_text).unwrap_or_default();
                writeln!(f, "binary {}{}{matching}", op.as_str(), bool_text(*return_bool))?;
            }
            Node::Scalar { op, return_bool, scalar, scalar_left, .. } => {
                let side = if *scalar_left { "left" } else { "right" };
                writeln!(
                    f,
                    "binary {}{} scalar {scalar} on the {side}",
                    op.as_str(),
                    bool_text(*return_bool)
                )?;
            }
            Node::LabelReplace { dst, replacement, src, regex, .. } => {
                writeln!(f, "label_replace {dst}={replacement:?} from {src} by {regex:?}")?;
            }
            Node::Literal(value) => writeln!(f, "scalar {value}")?,
            Node::Vector(value) => writeln!(f, "vector {value}")?,
        }
        self.inner().try_for_each(|node| node.write(f, depth + 1))
    }
}

fn bool_text(return_bool: bool) -> &'static str {
    if return_bool { " bool" } else { "" }
}

fn grouping_text(grouping: &Grouping) -> String {
    let word = if grouping.without { "without" } else { "by" };
    format!(" {word} ({})", grouping.labels.join(", "))
}

fn matching_text(matching: &VectorMatching) -> String {
    let word = if matching.on { "on" } else { "ignoring" };
    let group = matching
        .group
        .as_ref()
        .map(|group| format!(" group {:?} ({})", group.many, group.include.join(", ")));
    format!(" {word} ({}){}", matching.labels.join(", "), group.unwrap_or_default())
}

fn joined(labels: &BTreeSet<String>) -> String {
    labels.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match &self.by {
            SeriesBy::Only(labels) => format!("by ({})", joined(labels)),
            SeriesBy::Without(labels) => format!("without ({})", joined(labels)),
        };
        let reads = match &self.hit_filters {
            None => "lines",
            Some(filters) if filters.is_empty() => "timestamps",
            Some(_) => "hits",
        };
        let seconds = |ns: i64| format!("{}s", ns as f64 / 1e9);
        let interval = seconds(self.interval);
        let offset =
            if self.offset == 0 { String::new() } else { format!(" offset {}", seconds(self.offset)) };
        let log = LogExpr { selector: self.selector.clone(), stages: self.stages.clone() };
        writeln!(f, "{} {by} [{interval}]{offset} reads {reads}", self.op.as_str())?;
        writeln!(f, "  {log}")?;
        self.unwrap.iter().try_for_each(|unwrap| {
            write!(f, "  | unwrap {}", unwrap.label)?;
            unwrap.filters.iter().try_for_each(|filter| write!(f, " | {filter}"))?;
            writeln!(f)
        })
    }
}
