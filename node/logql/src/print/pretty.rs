//! A query laid out for people, as `/loki/api/v1/format_query` answers.
//!
//! The rule is Loki's: what fits in a hundred bytes stays on one line in its canonical form; what does not is
//! taken apart, its parts each on lines of their own, two spaces further in, by the same rule.

use super::{Printer, Style};
use crate::ast::{
    Binary, BinaryOp, Expr, Grouping, LabelReplace, LogExpr, LogRange, RangeAggregation, SampleExpr, Stage,
    Unwrap, VectorAggregation,
};
use crate::number::format_general;
use crate::quantity::{format_go_duration, format_prometheus_duration};
use crate::quote::quote;

/// The longest canonical text, in bytes, that stays on one line.
const LINE_BYTES_MAX: usize = 100;

/// Lays a query out.
pub fn pretty(expr: &Expr) -> String {
    match expr {
        Expr::Log(log) => pretty_log(log, 0),
        Expr::Sample(sample) => pretty_sample(sample, 0),
    }
}

fn indent(level: usize) -> String {
    "  ".repeat(level)
}

/// `text` with its indent, if it fits on a line.
fn on_one_line(text: String, level: usize) -> Result<String, String> {
    if text.len() <= LINE_BYTES_MAX { Ok(indent(level) + &text) } else { Err(text) }
}

fn pretty_log(log: &LogExpr, level: usize) -> String {
    if log.stages.is_empty() {
        return indent(level) + &log.to_string();
    }
    match on_one_line(log.to_string(), level) {
        Ok(line) => line,
        Err(_) => {
            let mut lines = vec![indent(level) + &Printer::canonical(|p| p.selector(&log.selector))];
            lines.extend(stage_lines(&log.stages, level + 1));
            lines.join("\n")
        }
    }
}

/// Each stage on a line; line filters in a row share one where they fit.
fn stage_lines(stages: &[Stage], level: usize) -> Vec<String> {
    let is_line_filter = |stage: &Stage| matches!(stage, Stage::LineFilter(_));
    stages
        .chunk_by(|a, b| is_line_filter(a) && is_line_filter(b))
        .flat_map(|row| row_lines(row, level))
        .collect()
}

/// A row of line filters, split from its end while what is before does not fit.
fn row_lines(row: &[Stage], level: usize) -> Vec<String> {
    // Loki does not indent `decolorize`.
    if let [Stage::Decolorize] = row {
        return vec![Stage::Decolorize.to_string()];
    }
    let texts: Vec<String> = row.iter().map(ToString::to_string).collect();
    let mut length = texts.iter().map(String::len).sum::<usize>() + texts.len() - 1;
    let mut together = texts.len();
    while together > 1 && length > LINE_BYTES_MAX {
        together -= 1;
        length -= texts[together].len() + 1;
    }
    let mut lines = vec![indent(level) + &texts[..together].join(" ")];
    lines.extend(texts[together..].iter().map(|text| indent(level) + text));
    lines
}

fn pretty_sample(sample: &SampleExpr, level: usize) -> String {
    match on_one_line(sample.to_string(), level) {
        Ok(line) => line,
        Err(text) => match sample {
            SampleExpr::Range(range) => pretty_range_aggregation(range, level),
            SampleExpr::Vector(vector) => pretty_vector_aggregation(vector, level),
            SampleExpr::Binary(binary) => pretty_binary(binary, level),
            SampleExpr::LabelReplace(replace) => pretty_label_replace(replace, level),
            SampleExpr::Literal(_) | SampleExpr::VectorLiteral(_) => indent(level) + &text,
        },
    }
}

/// `head(`, the arguments each on lines of their own, `)`.
fn call(head: &str, arguments: &[String], level: usize) -> String {
    let indent = indent(level);
    format!("{indent}{head}(\n{}\n{indent})", arguments.join(",\n"))
}

fn pretty_range_aggregation(aggregation: &RangeAggregation, level: usize) -> String {
    let parameter = aggregation.parameter.map(|parameter| indent(level + 1) + &format_general(parameter));
    let range = pretty_range(&aggregation.range, level + 1);
    let arguments: Vec<String> = parameter.into_iter().chain([range]).collect();
    let grouping = aggregation.grouping.as_ref().map(pretty_grouping).unwrap_or_default();
    call(aggregation.op.as_str(), &arguments, level) + &grouping
}

fn pretty_range(range: &LogRange, level: usize) -> String {
    let mut text = pretty_log(&range.log, level);
    if let Some(unwrap) = &range.unwrap {
        text.push('\n');
        text.push_str(&pretty_unwrap(unwrap, level + 1));
    }
    text.push_str(&format!(" [{}]", format_prometheus_duration(range.interval)));
    if range.offset != 0 {
        text.push_str(" offset ");
        // Only Go's notation has a sign.
        text.push_str(&match range.offset {
            1.. => format_prometheus_duration(range.offset),
            _ => format_go_duration(range.offset),
        });
    }
    text
}

fn pretty_unwrap(unwrap: &Unwrap, level: usize) -> String {
    let mut lines = vec![indent(level) + &Printer::canonical(|p| p.unwrap_itself(unwrap))];
    lines.extend(unwrap.filters.iter().map(|filter| format!("{}| {filter}", indent(level))));
    lines.join("\n")
}

fn pretty_grouping(grouping: &Grouping) -> String {
    let keyword = if grouping.without { "without" } else { "by" };
    format!(" {keyword} ({})", grouping.labels.join(", "))
}

fn pretty_vector_aggregation(aggregation: &VectorAggregation, level: usize) -> String {
    let grouping = aggregation.grouping.as_ref().map(pretty_grouping).unwrap_or_default();
    let parameter = aggregation.parameter.map(|parameter| indent(level + 1) + &parameter.to_string());
    let inner = pretty_sample(&aggregation.inner, level + 1);
    let arguments: Vec<String> = parameter.into_iter().chain([inner]).collect();
    call(&format!("{}{grouping}", aggregation.op.as_str()), &arguments, level)
}

fn pretty_label_replace(replace: &LabelReplace, level: usize) -> String {
    let texts = [&replace.dst, &replace.replacement, &replace.src, &replace.regex];
    let texts = texts.into_iter().map(|text| indent(level + 1) + &quote(text));
    let arguments: Vec<String> =
        [pretty_sample(&replace.inner, level + 1)].into_iter().chain(texts).collect();
    call("label_replace", &arguments, level)
}

fn pretty_binary(binary: &Binary, level: usize) -> String {
    let mut printer = Printer { out: String::new(), style: Style::Canonical };
    printer.operator(binary, ", ");
    let left = operand(&binary.lhs, level + 1, |inner| binds_looser(inner, binary.op, Leg::Left));
    let right = operand(&binary.rhs, level + 1, |inner| binds_looser(inner, binary.op, Leg::Right));
    format!("{left}\n{}{}\n{right}", indent(level), printer.out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leg {
    Left,
    Right,
}

/// Whether an operation inside another must keep its parentheses to stay inside.
fn binds_looser(inner: BinaryOp, outer: BinaryOp, leg: Leg) -> bool {
    let binds_to_this_leg = (outer == BinaryOp::Pow) == (leg == Leg::Right);
    inner.precedence() < outer.precedence()
        || (inner.precedence() == outer.precedence() && !binds_to_this_leg)
}

/// An operand. One that was taken apart has lost its parentheses; Loki leaves them lost, which may change what
/// the query means, so they are put back where they are needed.
fn operand(sample: &SampleExpr, level: usize, needs_parentheses: impl Fn(BinaryOp) -> bool) -> String {
    match sample {
        SampleExpr::Binary(inner)
            if needs_parentheses(inner.op) && sample.to_string().len() > LINE_BYTES_MAX =>
        {
            call("", &[pretty_sample(sample, level + 1)], level)
        }
        sample => pretty_sample(sample, level),
    }
}
