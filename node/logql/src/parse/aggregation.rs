//! `rate(…)`, `sum by (…) (…)`, `label_replace(…)`, `vector(…)`.

use super::expression::{Node, Operand};
use super::{ParseError, Parsed, Parser, check};
use crate::ast::{
    Grouping, LabelReplace, RangeAggregation, RangeOp, SampleExpr, VectorAggregation, VectorOp,
};
use crate::lex::{Keyword, Kind, Symbol};
use crate::number::parse_float;

impl Parser<'_> {
    pub(super) fn range_aggregation(&mut self, op: RangeOp) -> Parsed<Operand> {
        self.bump()?;
        self.expect(Symbol::OpenParen)?;
        let mut parameter = None;
        let mut expected: &[&str] = &["NUMBER", "{", "("];
        if self.kind() == Kind::Number {
            parameter = Some(self.bump()?.text);
            self.expect(Symbol::Comma)?;
            expected = &["{", "("];
        }
        let range = self.log_range(expected)?;
        self.expect(Symbol::CloseParen)?;
        let grouping = self.grouping()?;
        let checked = check::range_parameter(op, parameter.as_deref());
        let (parameter, fault) = match checked {
            Ok(parameter) => (parameter, None),
            Err(fault) => (None, Some(fault)),
        };
        let aggregation = RangeAggregation { op, parameter, range, grouping };
        let fault = fault.or_else(|| check::range_aggregation(&aggregation).err());
        Ok(Operand::leaf(SampleExpr::Range(aggregation), fault))
    }

    pub(super) fn vector_aggregation(&mut self, op: VectorOp) -> Parsed<Operand> {
        self.bump()?;
        let before = self.grouping()?;
        let expected: &[&str] = if before.is_some() { &["("] } else { &["(", "by", "without"] };
        self.expect_one_of(Symbol::OpenParen, expected)?;
        let (parameter, inner) = self.nested(Self::vector_arguments)?;
        if !inner.is_sample() {
            return Err(self.unexpected(&[]));
        }
        self.expect_one_of(Symbol::CloseParen, &[])?;
        let grouping = if before.is_some() { before } else { self.grouping()? };
        let (parameter, fault) = match check::vector_parameter(op, parameter.as_deref(), grouping.as_ref()) {
            Ok(parameter) => (parameter, None),
            Err(fault) => (None, Some(fault)),
        };
        // `by ()` is what no grouping at all means.
        let grouping = grouping.filter(|grouping| grouping.without || !grouping.labels.is_empty());
        self.wrap(inner, fault, |inner| {
            SampleExpr::Vector(VectorAggregation { op, parameter, grouping, inner: Box::new(inner) })
        })
    }

    /// `k, vector` or `vector`. A number may begin either.
    fn vector_arguments(&mut self) -> Parsed<(Option<String>, Operand)> {
        if self.kind() != Kind::Number {
            return Ok((None, self.expression()?));
        }
        let text = self.bump()?.text.into_owned();
        if self.eat(Symbol::Comma)? {
            return Ok((Some(text), self.expression()?));
        }
        let literal = Operand::literal(parse_float(&text));
        Ok((None, self.expression_from(literal, 0)?))
    }

    /// `by (a, b)` or `without (a, b)`, if there.
    fn grouping(&mut self) -> Parsed<Option<Grouping>> {
        let without = match self.kind() {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.bump()?;
        Ok(Some(Grouping { without, labels: self.label_names()? }))
    }

    /// `(a, b)`, which may be empty.
    pub(super) fn label_names(&mut self) -> Parsed<Vec<String>> {
        self.expect(Symbol::OpenParen)?;
        let mut names = Vec::new();
        if self.eat(Symbol::CloseParen)? {
            return Ok(names);
        }
        names.push(self.expect_text(Kind::Identifier, &["IDENTIFIER", ")"])?);
        while !self.eat(Symbol::CloseParen)? {
            self.expect_one_of(Symbol::Comma, &[",", ")"])?;
            names.push(self.expect_identifier()?);
        }
        Ok(names)
    }

    pub(super) fn label_replace(&mut self) -> Parsed<Operand> {
        self.bump()?;
        self.expect(Symbol::OpenParen)?;
        let inner = self.nested(Self::expression)?;
        if !inner.is_sample() {
            return Err(self.unexpected(&[]));
        }
        self.expect_one_of(Symbol::Comma, &[])?;
        let dst = self.expect_string()?;
        self.expect(Symbol::Comma)?;
        let replacement = self.expect_string()?;
        self.expect(Symbol::Comma)?;
        let src = self.expect_string()?;
        self.expect(Symbol::Comma)?;
        let regex = self.expect_string()?;
        self.expect(Symbol::CloseParen)?;
        let fault = check::label_replace(&regex, &inner.node).err();
        self.wrap(inner, fault, |inner| {
            SampleExpr::LabelReplace(Box::new(LabelReplace { inner, dst, replacement, src, regex }))
        })
    }

    pub(super) fn vector_literal(&mut self) -> Parsed<Operand> {
        self.bump()?;
        self.expect(Symbol::OpenParen)?;
        let text = self.expect_text(Kind::Number, &["NUMBER"])?;
        self.expect(Symbol::CloseParen)?;
        let fault =
            |why| ParseError::without_position(format!("unable to parse vectorExpr as a float: {why}"));
        let (value, fault) = match parse_float(&text) {
            Ok(value) => (value, None),
            Err(why) => (0.0, Some(fault(why))),
        };
        Ok(Operand::leaf(SampleExpr::VectorLiteral(value), fault))
    }

    /// Puts `build` around a vector, which `inner` must be.
    fn wrap(
        &self,
        inner: Operand,
        fault: Option<ParseError>,
        build: impl FnOnce(SampleExpr) -> SampleExpr,
    ) -> Parsed<Operand> {
        let depth = self.deeper(inner.depth)?;
        match inner.node {
            Node::Sample(sample) => {
                Ok(Operand { node: Node::Sample(build(sample)), depth, fault: fault.or(inner.fault) })
            }
            Node::Log(_) => Err(self.unexpected(&[])),
        }
    }
}
