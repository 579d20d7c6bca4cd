//! Sample expressions: aggregations and binary operations.

use std::fmt::Write as _;

use super::{Printer, Style};
use crate::ast::{
    Binary, Conversion, Grouping, LabelReplace, LogRange, RangeAggregation, SampleExpr, Side, Unwrap,
    VectorAggregation,
};
use crate::number::{format_general, format_plain};
use crate::quantity::{format_go_duration, format_prometheus_duration};

impl Printer {
    pub(super) fn sample(&mut self, sample: &SampleExpr) {
        match sample {
            SampleExpr::Range(range) => self.range_aggregation(range),
            SampleExpr::Vector(vector) => self.vector_aggregation(vector),
            SampleExpr::Binary(binary) => self.binary(binary),
            SampleExpr::LabelReplace(replace) => self.label_replace(replace),
            SampleExpr::Literal(value) => self.literal(*value),
            SampleExpr::VectorLiteral(value) => self.vector_literal(*value),
        }
    }

    pub(super) fn literal(&mut self, value: f64) {
        let text = match self.style {
            Style::Exact if value.is_nan() => "(0 / 0)".to_owned(),
            Style::Exact if value.is_infinite() => {
                format!("({}10 ^ 999)", if value < 0.0 { "-1 * " } else { "" })
            }
            // `-0` would be read as a duration.
            Style::Exact if value == 0.0 && value.is_sign_negative() => "-0.0".to_owned(),
            _ => format_general(value),
        };
        self.push(&text);
    }

    fn vector_literal(&mut self, value: f64) {
        // Writing to a String cannot fail.
        let _ = match self.style {
            Style::Canonical => write!(self.out, "vector({value:.6})"),
            Style::Exact => write!(self.out, "vector({value})"),
        };
    }

    fn range_aggregation(&mut self, aggregation: &RangeAggregation) {
        self.push(aggregation.op.as_str());
        self.push("(");
        if let Some(parameter) = aggregation.parameter {
            self.push(&format_plain(parameter));
            self.push(",");
        }
        self.range(&aggregation.range);
        self.push(")");
        if let Some(grouping) = &aggregation.grouping {
            self.grouping(grouping);
        }
    }

    fn range(&mut self, range: &LogRange) {
        self.log(&range.log);
        if let Some(unwrap) = &range.unwrap {
            self.push(" ");
            self.unwrap(unwrap);
        }
        self.push("[");
        self.push(&format_prometheus_duration(range.interval));
        self.push("]");
        if range.offset != 0 {
            self.push(" offset ");
            self.push(&format_go_duration(range.offset));
        }
    }

    fn unwrap(&mut self, unwrap: &Unwrap) {
        self.unwrap_itself(unwrap);
        for filter in &unwrap.filters {
            self.push(" | ");
            self.label_filter(filter);
        }
    }

    /// `| unwrap x`, without the filters behind it.
    pub(super) fn unwrap_itself(&mut self, unwrap: &Unwrap) {
        self.push("| unwrap ");
        match unwrap.conversion {
            Conversion::None => self.push(&unwrap.label),
            conversion => {
                self.push(conversion.as_str());
                self.push("(");
                self.push(&unwrap.label);
                self.push(")");
            }
        }
    }

    fn grouping(&mut self, grouping: &Grouping) {
        self.push(if grouping.without { " without (" } else { " by (" });
        self.push(&grouping.labels.join(","));
        self.push(")");
    }

    fn vector_aggregation(&mut self, aggregation: &VectorAggregation) {
        self.push(aggregation.op.as_str());
        if let Some(grouping) = &aggregation.grouping {
            self.grouping(grouping);
        }
        self.push("(");
        if let Some(parameter) = aggregation.parameter {
            // Writing to a String cannot fail.
            let _ = write!(self.out, "{parameter},");
        }
        self.sample(&aggregation.inner);
        self.push(")");
    }

    fn binary(&mut self, binary: &Binary) {
        self.push("(");
        self.sample(&binary.lhs);
        self.push(" ");
        self.operator(binary, ",");
        self.push(" ");
        self.sample(&binary.rhs);
        self.push(")");
    }

    /// The operator with its modifiers; `separator` stands between labels.
    pub(super) fn operator(&mut self, binary: &Binary, separator: &str) {
        self.push(binary.op.as_str());
        if binary.return_bool {
            self.push(" bool");
        }
        let Some(matching) = &binary.matching else {
            return;
        };
        self.push(if matching.on { " on (" } else { " ignoring (" });
        self.push(&matching.labels.join(separator));
        self.push(") ");
        let Some(group) = &matching.group else {
            return;
        };
        self.push(match group.many {
            Side::Left => "group_left",
            Side::Right => "group_right",
        });
        // Loki leaves empty parentheses out, but a parenthesis that follows would then be taken for them.
        if !group.include.is_empty() || starts_with_parenthesis(&binary.rhs, self.style) {
            self.push(" (");
            self.push(&group.include.join(separator));
            self.push(")");
        }
    }

    fn label_replace(&mut self, replace: &LabelReplace) {
        self.push("label_replace(");
        self.sample(&replace.inner);
        for text in [&replace.dst, &replace.replacement, &replace.src, &replace.regex] {
            self.push(",");
            self.quoted(text);
        }
        self.push(")");
    }
}

fn starts_with_parenthesis(sample: &SampleExpr, style: Style) -> bool {
    match sample {
        SampleExpr::Binary(_) => true,
        SampleExpr::Literal(value) => style == Style::Exact && !value.is_finite(),
        _ => false,
    }
}
