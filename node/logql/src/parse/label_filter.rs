//! Label filters: `| a = "x" and b > 5m or c != ip("10.0.0.0/8")`.
//!
//! Filters are joined by `and`, `or`, `,` or nothing at all. The yacc grammar gives `and` and `or` a precedence
//! and the other two none, which makes it shift: after `,` or nothing the whole rest of the filter is the
//! right-hand side (`a or b, c or d` is `a or (b, (c or d))`). Two stacks do the same without recursion, as
//! a filter may be a long chain.

use super::{ParseError, Parsed, Parser};
use crate::ast::{BinaryOp, CompareOp, LabelFilter, MatchOp};
use crate::lex::{Kind, Symbol};
use crate::limits::TREE_DEPTH_MAX;

/// What joins two filters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    And,
    Or,
    /// A comma, or nothing.
    Rest,
}

/// A filter and the depth of its tree.
struct Deep {
    filter: LabelFilter,
    depth: usize,
}

impl Parser<'_> {
    /// A whole label filter; `expected` is what could stand at its beginning.
    pub(super) fn label_filter(&mut self, expected: &[&str]) -> Parsed<LabelFilter> {
        Ok(self.nested(|parser| parser.joined_filters(expected))?.filter)
    }

    fn joined_filters(&mut self, expected: &[&str]) -> Parsed<Deep> {
        let mut filters = vec![self.single_filter(expected)?];
        let mut joints: Vec<Joint> = Vec::new();
        while let Some(joint) = self.joint()? {
            while joints.last().is_some_and(|&last| binds_first(last, joint)) {
                self.join_last(&mut filters, &mut joints)?;
            }
            joints.push(joint);
            filters.push(self.single_filter(&["IDENTIFIER", "("])?);
        }
        while !joints.is_empty() {
            self.join_last(&mut filters, &mut joints)?;
        }
        filters.pop().ok_or_else(|| self.unexpected(&[]))
    }

    /// Takes what joins the next filter to those before, if one follows.
    fn joint(&mut self) -> Parsed<Option<Joint>> {
        let joint = match self.kind() {
            Kind::Binary(BinaryOp::And) => Joint::And,
            Kind::Binary(BinaryOp::Or) => Joint::Or,
            Kind::Symbol(Symbol::Comma) => Joint::Rest,
            Kind::Identifier | Kind::Symbol(Symbol::OpenParen) => return Ok(Some(Joint::Rest)),
            _ => return Ok(None),
        };
        self.bump()?;
        Ok(Some(joint))
    }

    fn join_last(&self, filters: &mut Vec<Deep>, joints: &mut Vec<Joint>) -> Parsed<()> {
        let (Some(joint), Some(right), Some(left)) = (joints.pop(), filters.pop(), filters.pop()) else {
            return Ok(());
        };
        let depth = left.depth.max(right.depth) + 1;
        if depth > TREE_DEPTH_MAX {
            let message =
                format!("label filter has more than {TREE_DEPTH_MAX} steps; use a regular expression");
            return Err(ParseError::at(message, self.token.line, self.token.column));
        }
        let (left, right) = (Box::new(left.filter), Box::new(right.filter));
        let filter = match joint {
            Joint::Or => LabelFilter::Or(left, right),
            Joint::And | Joint::Rest => LabelFilter::And(left, right),
        };
        filters.push(Deep { filter, depth });
        Ok(())
    }

    fn single_filter(&mut self, expected: &[&str]) -> Parsed<Deep> {
        match self.kind() {
            Kind::Identifier => {
                let name = self.expect_identifier()?;
                Ok(Deep { filter: self.comparison(name)?, depth: 1 })
            }
            Kind::Symbol(Symbol::OpenParen) => {
                self.bump()?;
                let inner = self.nested(|parser| parser.joined_filters(&["IDENTIFIER", "("]))?;
                self.expect_one_of(Symbol::CloseParen, &[])?;
                Ok(inner)
            }
            _ => Err(self.unexpected(expected)),
        }
    }

    fn comparison(&mut self, name: String) -> Parsed<LabelFilter> {
        if let Some(op) = self.match_op() {
            self.bump()?;
            return self.matched(name, op);
        }
        let op = match self.kind() {
            Kind::Binary(BinaryOp::Equal) => CompareOp::Equal,
            Kind::Binary(BinaryOp::Greater) => CompareOp::Greater,
            Kind::Binary(BinaryOp::GreaterEqual) => CompareOp::GreaterEqual,
            Kind::Binary(BinaryOp::Less) => CompareOp::Less,
            Kind::Binary(BinaryOp::LessEqual) => CompareOp::LessEqual,
            _ => return Err(self.unexpected(&[])),
        };
        self.bump()?;
        self.quantity(name, op)
    }

    /// What follows `=`, `!=`, `=~` or `!~`.
    fn matched(&mut self, name: String, op: MatchOp) -> Parsed<LabelFilter> {
        let compare = match op {
            MatchOp::Equal => CompareOp::Equal,
            MatchOp::NotEqual => CompareOp::NotEqual,
            MatchOp::Regex | MatchOp::NotRegex => {
                return Ok(LabelFilter::Text(self.matcher_value(name, op)?));
            }
        };
        match self.kind() {
            Kind::String => Ok(LabelFilter::Text(self.matcher_value(name, op)?)),
            Kind::Ip => Ok(LabelFilter::Ip { name, negated: op == MatchOp::NotEqual, value: self.ip()? }),
            _ => self.quantity(name, compare),
        }
    }

    fn quantity(&mut self, name: String, op: CompareOp) -> Parsed<LabelFilter> {
        match self.kind() {
            Kind::Duration(value) => {
                self.bump()?;
                Ok(LabelFilter::Duration { name, op, value })
            }
            Kind::Bytes(value) => {
                self.bump()?;
                Ok(LabelFilter::Bytes { name, op, value })
            }
            _ => {
                let value = self.literal(&[])?.map_err(ParseError::without_position)?;
                Ok(LabelFilter::Number { name, op, value })
            }
        }
    }
}

/// Whether what `before` joins is joined before `next` is looked at.
fn binds_first(before: Joint, next: Joint) -> bool {
    match (before, next) {
        (Joint::And, Joint::And | Joint::Or) | (Joint::Or, Joint::Or) => true,
        (Joint::Or, Joint::And) | (Joint::Rest, _) | (_, Joint::Rest) => false,
    }
}
