//! `{app="x", env!~"y"}`, and the matchers that `drop`, `keep` and label filters share with it.

use super::{Parsed, Parser};
use crate::ast::{BinaryOp, MatchOp, Matcher};
use crate::lex::{Kind, Symbol};
use crate::parse::check;

impl Parser<'_> {
    /// A selector, at its opening brace.
    pub(super) fn selector(&mut self) -> Parsed<Vec<Matcher>> {
        self.expect(Symbol::OpenBrace)?;
        let mut matchers = Vec::new();
        if self.eat(Symbol::CloseBrace)? {
            return Ok(matchers);
        }
        let mut expected: &[&str] = &["IDENTIFIER", "}"];
        loop {
            let name = self.expect_text(Kind::Identifier, expected)?;
            matchers.push(self.matcher(name)?);
            if self.eat(Symbol::CloseBrace)? {
                return Ok(matchers);
            }
            self.expect_one_of(Symbol::Comma, &["}", ","])?;
            expected = &["IDENTIFIER"];
        }
    }

    /// The rest of a matcher, behind its label's name.
    fn matcher(&mut self, name: String) -> Parsed<Matcher> {
        let Some(op) = self.match_op() else {
            return Err(self.unexpected(&["=", "=~", "!~", "!="]));
        };
        self.bump()?;
        self.matcher_value(name, op)
    }

    /// The text or expression behind a matcher's operator.
    pub(super) fn matcher_value(&mut self, name: String, op: MatchOp) -> Parsed<Matcher> {
        let matcher = Matcher { name, op, value: self.expect_string()? };
        check::matcher(&matcher)?;
        Ok(matcher)
    }

    pub(super) fn match_op(&self) -> Option<MatchOp> {
        match self.kind() {
            Kind::Symbol(Symbol::Equal) => Some(MatchOp::Equal),
            Kind::Binary(BinaryOp::NotEqual) => Some(MatchOp::NotEqual),
            Kind::Symbol(Symbol::RegexMatch) => Some(MatchOp::Regex),
            Kind::Symbol(Symbol::NotRegexMatch) => Some(MatchOp::NotRegex),
            _ => None,
        }
    }
}
