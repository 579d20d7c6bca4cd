//! Log expressions: selectors and stages.

use super::{Printer, Style};
use crate::ast::{
    CompareOp, Extraction, LabelFilter, LabelFormat, LabelFormatSource, LabelSpec, LineFilter, LineOperand,
    LogExpr, Matcher, Stage,
};
use crate::number::format_plain;
use crate::quantity::{format_bytes, format_go_duration};
use crate::quote::{push_quoted, push_quoted_bytes};
use crate::value::parse_bytes;

impl Printer {
    pub(super) fn log(&mut self, log: &LogExpr) {
        self.selector(&log.selector);
        for stage in &log.stages {
            self.push(" ");
            self.stage(stage);
        }
    }

    pub(super) fn selector(&mut self, selector: &[Matcher]) {
        self.push("{");
        self.separated(selector, ", ", Self::matcher);
        self.push("}");
    }

    fn matcher(&mut self, matcher: &Matcher) {
        self.push(&matcher.name);
        self.push(matcher.op.as_str());
        self.quoted(&matcher.value);
    }

    pub(super) fn quoted(&mut self, text: &str) {
        push_quoted(&mut self.out, text);
    }

    /// A stage, its `|` included.
    pub(super) fn stage(&mut self, stage: &Stage) {
        match stage {
            Stage::LineFilter(filter) => self.line_filter(filter),
            Stage::Json(extractions) => self.named("json", |p| p.extractions(extractions)),
            Stage::Logfmt { strict, keep_empty, extractions } => self.named("logfmt", |p| {
                p.push(if *strict { " --strict" } else { "" });
                p.push(if *keep_empty { " --keep-empty" } else { "" });
                p.extractions(extractions);
            }),
            Stage::Pattern(text) => self.named("pattern", |p| p.argument(text)),
            Stage::Regexp(text) => self.named("regexp", |p| p.argument(text)),
            Stage::Unpack => self.named("unpack", |_| {}),
            Stage::LabelFilter(filter) => self.named("", |p| p.label_filter(filter)),
            Stage::LineFormat(text) => self.named("line_format", |p| p.argument(text)),
            Stage::LabelFormat(formats) => {
                self.named("label_format ", |p| p.separated(formats, ",", Self::label_format));
            }
            Stage::Decolorize => self.named("decolorize", |_| {}),
            Stage::Drop(specs) => self.named("drop ", |p| p.separated(specs, ",", Self::label_spec)),
            Stage::Keep(specs) => self.named("keep ", |p| p.separated(specs, ",", Self::label_spec)),
        }
    }

    fn named(&mut self, name: &str, rest: impl FnOnce(&mut Self)) {
        self.push("| ");
        self.push(name);
        rest(self);
    }

    fn argument(&mut self, text: &str) {
        self.push(" ");
        self.quoted(text);
    }

    fn extractions(&mut self, extractions: &[Extraction]) {
        if !extractions.is_empty() {
            self.push(" ");
        }
        self.separated(extractions, ",", |p, extraction| {
            p.push(&extraction.label);
            p.push("=");
            p.quoted(&extraction.expression);
        });
    }

    pub(super) fn line_filter(&mut self, filter: &LineFilter) {
        self.push(filter.op.as_str());
        self.push(" ");
        self.separated(&filter.operands, " or ", |p, operand| match operand {
            LineOperand::Text(text) => p.quoted(text),
            LineOperand::Bytes(bytes) => push_quoted_bytes(&mut p.out, bytes),
            LineOperand::Ip(range) => p.ip(range),
        });
    }

    fn ip(&mut self, range: &str) {
        self.push("ip(");
        self.quoted(range);
        self.push(")");
    }

    fn label_format(&mut self, format: &LabelFormat) {
        self.push(&format.target);
        self.push("=");
        match &format.source {
            LabelFormatSource::Rename(source) => self.push(source),
            LabelFormatSource::Template(template) => self.quoted(template),
        }
    }

    fn label_spec(&mut self, spec: &LabelSpec) {
        match spec {
            LabelSpec::Name(name) => self.push(name),
            LabelSpec::Matcher(matcher) => self.matcher(matcher),
        }
    }

    pub(super) fn label_filter(&mut self, filter: &LabelFilter) {
        match filter {
            LabelFilter::Text(matcher) => self.matcher(matcher),
            LabelFilter::Number { name, op, value } => self.comparison(name, *op, &format_plain(*value)),
            LabelFilter::Duration { name, op, value } => {
                self.comparison(name, *op, &format_go_duration(*value))
            }
            LabelFilter::Bytes { name, op, value } => {
                let size = self.size(*value);
                self.comparison(name, *op, &size);
            }
            LabelFilter::Ip { name, negated, value } => {
                self.push(name);
                self.push(if *negated { "!=" } else { "=" });
                self.ip(value);
            }
            LabelFilter::And(left, right) => self.joined(left, " , ", right),
            LabelFilter::Or(left, right) => self.joined(left, " or ", right),
        }
    }

    fn comparison(&mut self, name: &str, op: CompareOp, value: &str) {
        self.push(name);
        self.push(op.as_str());
        self.push(value);
    }

    fn size(&self, bytes: u64) -> String {
        let rounded = format_bytes(bytes);
        match self.style {
            Style::Exact if parse_bytes(&rounded).ok() != Some(bytes) => format!("{bytes}B"),
            _ => rounded,
        }
    }

    fn joined(&mut self, left: &LabelFilter, joint: &str, right: &LabelFilter) {
        self.push("( ");
        self.label_filter(left);
        self.push(joint);
        self.label_filter(right);
        self.push(" )");
    }
}
