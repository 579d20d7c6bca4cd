//! `a = "b"`, `a > 1`, `a >= 10ms`, `a < 1KB`, `a = ip("…")`, joined by `and` and `or`.
//!
//! Quantities are read out of the label's text for every line. A label that is missing fails them; one that
//! cannot be read passes with `__error__="LabelFilterErr"`, or with the error that the line has already. Of such
//! a line the addresses are not looked at at all: it passes.

use std::fmt::Display;

use crate::ast::{CompareOp, LabelFilter as Source, MatchOp, Matcher};
use crate::ip::IpMatcher;
use crate::labels::{ERROR_LABEL, LabelSet, LineError};
use crate::pipeline::CompileError;
use crate::re2::{Re2, literal_core};
use crate::value::{parse_bytes, parse_duration, parse_number};

/// A compiled label filter.
#[derive(Debug)]
pub(crate) enum LabelFilter {
    /// A comparison of text.
    Text(TextMatcher),
    /// A comparison of numbers.
    Number(String, CompareOp, f64),
    /// A comparison of durations in ns.
    Duration(String, CompareOp, i64),
    /// A comparison of sizes in bytes.
    Bytes(String, CompareOp, u64),
    /// Whether an address is in the label's text, or is not.
    Ip {
        /// The label.
        name: String,
        /// Whether it must not be there.
        negated: bool,
        /// The address.
        ip: IpMatcher,
    },
    /// Both.
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// Either.
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

impl LabelFilter {
    /// Compiles a filter.
    pub(crate) fn compile(source: &Source) -> Result<LabelFilter, CompileError> {
        Ok(match source {
            Source::Text(matcher) => LabelFilter::Text(TextMatcher::compile_filter(matcher)?),
            Source::Number { name, op, value } => LabelFilter::Number(name.clone(), *op, *value),
            Source::Duration { name, op, value } => LabelFilter::Duration(name.clone(), *op, *value),
            Source::Bytes { name, op, value } => LabelFilter::Bytes(name.clone(), *op, *value),
            Source::Ip { name, negated, value } => {
                LabelFilter::Ip { name: name.clone(), negated: *negated, ip: IpMatcher::parse(value)? }
            }
            Source::And(a, b) => LabelFilter::And(Box::new(Self::compile(a)?), Box::new(Self::compile(b)?)),
            Source::Or(a, b) => LabelFilter::Or(Box::new(Self::compile(a)?), Box::new(Self::compile(b)?)),
        })
    }

    /// Whether the line passes. May set its error.
    pub(crate) fn passes(&self, labels: &mut LabelSet) -> bool {
        match self {
            LabelFilter::Text(matcher) => matcher.passes(labels),
            LabelFilter::Number(name, op, value) => compare(labels, name, *op, *value, parse_number),
            LabelFilter::Duration(name, op, value) => compare(labels, name, *op, *value, parse_duration),
            LabelFilter::Bytes(name, op, value) => compare(labels, name, *op, *value, parse_bytes),
            LabelFilter::Ip { name, negated, ip } => {
                labels.error().is_some()
                    || labels.get(name).is_some_and(|value| ip.is_match(value.as_bytes()) != *negated)
            }
            // Both sides are looked at, so that an error of either is noted.
            LabelFilter::And(a, b) => a.passes(labels) & b.passes(labels),
            LabelFilter::Or(a, b) => a.passes(labels) || b.passes(labels),
        }
    }
}

fn compare<T: PartialOrd, E: Display>(
    labels: &mut LabelSet,
    name: &str,
    op: CompareOp,
    value: T,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> bool {
    let Some(text) = labels.get(name) else { return false };
    match parse(text) {
        Ok(found) => holds(op, &found, &value),
        Err(error) => {
            // What went wrong first says more.
            if labels.error().is_none() {
                labels.set_error(LineError::LabelFilter, format_args!("{error}"));
            }
            true
        }
    }
}

fn holds<T: PartialOrd>(op: CompareOp, a: &T, b: &T) -> bool {
    match op {
        CompareOp::Equal => a == b,
        CompareOp::NotEqual => a != b,
        CompareOp::Greater => a > b,
        CompareOp::GreaterEqual => a >= b,
        CompareOp::Less => a < b,
        CompareOp::LessEqual => a <= b,
    }
}

/// One condition on the text of a label; a missing label is empty. Also what `drop` and `keep` match with.
#[derive(Debug)]
pub(crate) struct TextMatcher {
    name: String,
    negated: bool,
    value: TextValue,
}

#[derive(Debug)]
enum TextValue {
    Text(String),
    Regex(Re2),
    /// `""` or `.*` of a filter.
    Anything,
    /// `.+` of a filter.
    Something,
}

impl TextMatcher {
    /// Compiles a matcher of a label filter, whose expressions Loki reads a little differently: an empty one
    /// fits any text, and `.` is no newline unless it stands in a `.*` around a text.
    pub(crate) fn compile_filter(source: &Matcher) -> Result<TextMatcher, CompileError> {
        let mut matcher = Self::compile(source)?;
        if let TextValue::Regex(regex) = &mut matcher.value {
            let text = source.value.as_str();
            match text {
                "" | ".*" => matcher.value = TextValue::Anything,
                ".+" => matcher.value = TextValue::Something,
                _ if literal_core(text).is_some() => {}
                _ => *regex = Re2::anchored_line(text)?,
            }
        }
        Ok(matcher)
    }

    /// Compiles a matcher.
    pub(crate) fn compile(source: &Matcher) -> Result<TextMatcher, CompileError> {
        let value = match source.op {
            MatchOp::Equal | MatchOp::NotEqual => TextValue::Text(source.value.clone()),
            MatchOp::Regex | MatchOp::NotRegex => TextValue::Regex(Re2::anchored(&source.value)?),
        };
        let negated = matches!(source.op, MatchOp::NotEqual | MatchOp::NotRegex);
        Ok(TextMatcher { name: source.name.clone(), negated, value })
    }

    /// The label's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether a value fits.
    pub(crate) fn fits(&self, value: &str) -> bool {
        self.negated
            != match &self.value {
                TextValue::Text(text) => text == value,
                TextValue::Regex(regex) => regex.is_match(value.as_bytes()),
                TextValue::Anything => true,
                TextValue::Something => !value.is_empty(),
            }
    }

    /// Whether the label's value fits. `__error__` is what the stages noted, whatever the line says of itself;
    /// Loki's filters do not see what they noted in `__error_details__`.
    pub(crate) fn passes(&self, labels: &LabelSet) -> bool {
        let value = match self.name.as_str() {
            ERROR_LABEL => labels.error().map_or("", LineError::name),
            name => labels.get(name).unwrap_or(""),
        };
        self.fits(value)
    }
}
