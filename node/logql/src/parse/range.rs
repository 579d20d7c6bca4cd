//! The range of an aggregation: `{app="x"} | json | unwrap v [5m] offset 1h`.
//!
//! The window may stand behind the selector or behind the pipeline, and one pair of parentheses may stand around
//! what is before it, or any number around the whole.

use super::stage::Place;
use super::{Parsed, Parser};
use crate::ast::{Conversion, LogExpr, LogRange, Unwrap};
use crate::lex::{Keyword, Kind, Symbol};

impl Parser<'_> {
    /// A range; `expected` is what could stand at its beginning.
    pub(super) fn log_range(&mut self, expected: &[&str]) -> Parsed<LogRange> {
        match self.kind() {
            Kind::Symbol(Symbol::OpenBrace) => self.open_range(),
            Kind::Symbol(Symbol::OpenParen) => self.nested(Self::range_in_parentheses),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// `selector window pipeline` or `selector pipeline window`.
    fn open_range(&mut self) -> Parsed<LogRange> {
        let selector = self.selector()?;
        if let Kind::Range(interval) = self.kind() {
            return self.window_first(selector, interval);
        }
        let (stages, unwrap) = self.pipeline(Place::Range)?;
        let Kind::Range(interval) = self.kind() else {
            let expected: &[&str] = if unwrap.is_some() { &["RANGE", "|"] } else { &[] };
            return Err(self.unexpected(expected));
        };
        self.bump()?;
        let offset = self.offset()?;
        Ok(LogRange { log: LogExpr { selector, stages }, unwrap, interval, offset })
    }

    /// The rest behind a selector, at the window.
    fn window_first(&mut self, selector: Vec<crate::ast::Matcher>, interval: i64) -> Parsed<LogRange> {
        self.bump()?;
        let offset = self.offset()?;
        let (stages, unwrap) = self.pipeline(Place::Range)?;
        Ok(LogRange { log: LogExpr { selector, stages }, unwrap, interval, offset })
    }

    fn range_in_parentheses(&mut self) -> Parsed<LogRange> {
        self.bump()?;
        if !self.is_symbol(Symbol::OpenBrace) {
            let inner = self.log_range(&["{", "("])?;
            self.expect(Symbol::CloseParen)?;
            return Ok(inner);
        }
        let selector = self.selector()?;
        if let Kind::Range(interval) = self.kind() {
            let inner = self.window_first(selector, interval)?;
            self.expect(Symbol::CloseParen)?;
            return Ok(inner);
        }
        let (stages, unwrap) = self.pipeline(Place::Range)?;
        let log = LogExpr { selector, stages };
        match self.kind() {
            Kind::Range(interval) => {
                self.bump()?;
                let offset = self.offset()?;
                self.expect(Symbol::CloseParen)?;
                Ok(LogRange { log, unwrap, interval, offset })
            }
            Kind::Symbol(Symbol::CloseParen) => self.window_behind_parentheses(log, unwrap),
            _ if unwrap.is_some() => Err(self.unexpected(&["RANGE", ")", "|"])),
            _ => Err(self.unexpected(&[])),
        }
    }

    /// The rest of `(selector pipeline) window`, at the closing parenthesis. Behind the window of a bare selector
    /// `unwrap` may follow.
    fn window_behind_parentheses(&mut self, log: LogExpr, unwrap: Option<Unwrap>) -> Parsed<LogRange> {
        self.bump()?;
        let Kind::Range(interval) = self.kind() else {
            return Err(self.unexpected(&["RANGE"]));
        };
        self.bump()?;
        let offset = self.offset()?;
        let is_bare = log.stages.is_empty() && unwrap.is_none();
        if is_bare && self.eat(Symbol::Pipe)? {
            if !self.is_keyword(Keyword::Unwrap) {
                return Err(self.unexpected(&["unwrap"]));
            }
            let unwrap = Some(self.unwrap()?);
            return Ok(LogRange { log, unwrap, interval, offset });
        }
        Ok(LogRange { log, unwrap, interval, offset })
    }

    /// `offset 5m`, or nothing, which is 0.
    fn offset(&mut self) -> Parsed<i64> {
        if !self.is_keyword(Keyword::Offset) {
            return Ok(0);
        }
        self.bump()?;
        let Kind::Duration(offset) = self.kind() else {
            return Err(self.unexpected(&["DURATION"]));
        };
        self.bump()?;
        Ok(offset)
    }

    /// `unwrap x | filters`, at `unwrap`.
    pub(super) fn unwrap(&mut self) -> Parsed<Unwrap> {
        self.bump()?;
        let (label, conversion) = match self.kind() {
            Kind::Identifier => (self.expect_identifier()?, Conversion::None),
            Kind::Conversion(conversion) => {
                self.bump()?;
                self.expect(Symbol::OpenParen)?;
                let label = self.expect_identifier()?;
                self.expect(Symbol::CloseParen)?;
                (label, conversion)
            }
            _ => {
                let expected = ["IDENTIFIER", "BYTES_CONV", "DURATION_CONV", "DURATION_SECONDS_CONV"];
                return Err(self.unexpected(&expected));
            }
        };
        let mut filters = Vec::new();
        while self.eat(Symbol::Pipe)? {
            filters.push(self.label_filter(&["IDENTIFIER", "("])?);
        }
        Ok(Unwrap { label, conversion, filters })
    }
}
