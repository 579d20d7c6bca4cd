//! What Loki refuses although its grammar would take it.

use super::expression::Node;
use super::{ParseError, Parsed};
use crate::ast::{Grouping, MatchOp, Matcher, RangeAggregation, RangeOp, SampleExpr, VectorOp};
use crate::number::parse_float;
use crate::pattern::{Pattern, PatternError};
use crate::regex_words::{compile, compile_anchored};

/// The text of Loki's refusal to read every stream there is.
const NEEDS_A_MATCHER: &str = "queries require at least one regexp or equality matcher that does not have an \
    empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";

fn refuse<T>(message: impl Into<String>) -> Parsed<T> {
    Err(ParseError::without_position(message))
}

/// A regular expression of a matcher must be one.
pub(super) fn matcher(matcher: &Matcher) -> Parsed<()> {
    match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => Ok(()),
        MatchOp::Regex | MatchOp::NotRegex => match compile_anchored(&matcher.value) {
            Ok(_) => Ok(()),
            Err(why) => refuse(why),
        },
    }
}

/// A selector must have a matcher that no absent label satisfies, or it would select every stream.
///
/// # Errors
/// Where it has none, `{}` included.
pub fn requires_a_matcher(selector: &[Matcher]) -> Result<(), ParseError> {
    if selector.iter().all(matches_absent) { refuse(NEEDS_A_MATCHER) } else { Ok(()) }
}

/// Whether a stream without the label satisfies the matcher.
fn matches_absent(matcher: &Matcher) -> bool {
    let matches_empty = || compile_anchored(&matcher.value).is_ok_and(|regex| regex.is_match(b""));
    match matcher.op {
        MatchOp::Equal => matcher.value.is_empty(),
        MatchOp::NotEqual => !matcher.value.is_empty(),
        MatchOp::Regex => matches_empty(),
        MatchOp::NotRegex => !matches_empty(),
    }
}

/// `| regexp "…"` must name what it captures.
pub(super) fn regexp_stage(regex: &str) -> Parsed<()> {
    let compiled = match compile(regex) {
        Ok(compiled) => compiled,
        Err(why) => return refuse(format!("invalid regexp parser: {why}")),
    };
    match compiled.group_names().find(|(_, name)| name.is_some()) {
        Some(_) => Ok(()),
        None => refuse("invalid regexp parser: at least one named capture must be supplied"),
    }
}

/// `| pattern "…"` must capture something, each name once, and no two captures may touch.
pub(super) fn pattern_stage(pattern: &str) -> Parsed<()> {
    let why = match Pattern::parser(pattern) {
        Ok(_) => return Ok(()),
        Err(PatternError::NoCapture(_)) => "at least one capture is required".to_owned(),
        Err(PatternError::ConsecutiveCaptures(_)) => {
            "found consecutive capture: invalid expression".to_owned()
        }
        Err(PatternError::DuplicateCapture { name, .. }) => {
            format!("duplicate capture name ({name}): invalid expression")
        }
        Err(other @ PatternError::NamedCapture { .. }) => other.to_string(),
    };
    refuse(format!("invalid pattern parser: {why}"))
}

/// The number in `quantile_over_time(0.9, …)`, which must be there and nowhere else.
pub(super) fn range_parameter(op: RangeOp, text: Option<&str>) -> Parsed<Option<f64>> {
    let name = op.as_str();
    match (op, text) {
        (RangeOp::QuantileOverTime, Some(text)) => match parse_float(text) {
            Ok(value) => Ok(Some(value)),
            Err(why) => refuse(format!("invalid parameter for operation {name}: {why}")),
        },
        (RangeOp::QuantileOverTime, None) => refuse(format!("parameter required for operation {name}")),
        (_, Some(text)) => refuse(format!("parameter {text} not supported for operation {name}")),
        (_, None) => Ok(None),
    }
}

/// A function of ranges must suit its grouping and its `unwrap`, and its selector must select.
pub(super) fn range_aggregation(aggregation: &RangeAggregation) -> Parsed<()> {
    let op = aggregation.op;
    let name = op.as_str();
    if aggregation.grouping.is_some() && !op.takes_grouping() {
        return refuse(format!("grouping not allowed for {name} aggregation"));
    }
    match aggregation.range.unwrap {
        Some(_) if !op.takes_unwrap() => refuse(format!("invalid aggregation {name} with unwrap")),
        None if !op.takes_lines() => refuse(format!("invalid aggregation {name} without unwrap")),
        _ => requires_a_matcher(&aggregation.range.log.selector),
    }
}

/// k of `topk` and its kin, which must be there and nowhere else; and no grouping where none is taken.
pub(super) fn vector_parameter(
    op: VectorOp,
    text: Option<&str>,
    grouping: Option<&Grouping>,
) -> Parsed<Option<u64>> {
    let name = op.as_str();
    let parameter = match text {
        None if op.takes_parameter() => return refuse(format!("parameter required for operation {name}")),
        None => None,
        Some(text) if !op.takes_parameter() => {
            return refuse(format!("unsupported parameter for operation {name}({text},"));
        }
        Some(text) => match text.parse::<i64>().map(u64::try_from) {
            Err(_) => return refuse(format!("invalid parameter {name}({text},")),
            Ok(Ok(k)) if k > 0 => Some(k),
            Ok(_) => {
                let message = format!("invalid parameter (must be greater than 0) {name}({text}");
                return refuse(message);
            }
        },
    };
    match (op, grouping) {
        (VectorOp::ApproxTopK, Some(_)) => refuse(format!("grouping not allowed for {name} aggregation")),
        (VectorOp::Sort | VectorOp::SortDesc, Some(grouping)) if !grouping.labels.is_empty() => {
            refuse("sort and sort_desc doesn't allow grouping by ")
        }
        _ => Ok(parameter),
    }
}

/// `label_replace` needs a regular expression, and series.
pub(super) fn label_replace(regex: &str, inner: &Node) -> Parsed<()> {
    if let Err(why) = compile_anchored(regex) {
        return refuse(format!("invalid regex in label_replace: {why}"));
    }
    // Loki looks for a selector in the first leg alone.
    match inner {
        Node::Sample(sample) if begins_with_a_literal(sample) => refuse(NEEDS_A_MATCHER),
        _ => Ok(()),
    }
}

/// Whether the first leg of it all is a number.
pub(crate) fn begins_with_a_literal(sample: &SampleExpr) -> bool {
    match sample {
        SampleExpr::Literal(_) => true,
        SampleExpr::Vector(vector) => begins_with_a_literal(&vector.inner),
        SampleExpr::Binary(binary) => begins_with_a_literal(&binary.lhs),
        SampleExpr::LabelReplace(replace) => begins_with_a_literal(&replace.inner),
        SampleExpr::Range(_) | SampleExpr::VectorLiteral(_) => false,
    }
}
