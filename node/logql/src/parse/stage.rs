//! The stages of a log pipeline.

use super::{Parsed, Parser, check};
use crate::ast::{
    BinaryOp, Extraction, LabelFormat, LabelFormatSource, LabelSpec, LineFilter, LineOp, LineOperand, Stage,
    Unwrap,
};
use crate::lex::{Flag, Keyword, Kind, Symbol};

/// Where a pipeline stands decides whether `unwrap` may end it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a log query.
    Log,
    /// In the range of an aggregation.
    Range,
}

impl Parser<'_> {
    /// Stages as long as there are any, and the `unwrap` that ends them.
    pub(super) fn pipeline(&mut self, place: Place) -> Parsed<(Vec<Stage>, Option<Unwrap>)> {
        let mut stages = Vec::new();
        loop {
            if let Some(op) = self.line_op() {
                self.bump()?;
                self.line_filter(op, &mut stages)?;
            } else if self.eat(Symbol::Pipe)? {
                if place == Place::Range && self.is_keyword(Keyword::Unwrap) {
                    return Ok((stages, Some(self.unwrap()?)));
                }
                stages.push(self.piped()?);
            } else {
                return Ok((stages, None));
            }
        }
    }

    fn line_op(&self) -> Option<LineOp> {
        match self.kind() {
            Kind::Symbol(Symbol::PipeExact) => Some(LineOp::Contains),
            Kind::Symbol(Symbol::PipeMatch) => Some(LineOp::Regex),
            Kind::Symbol(Symbol::PipePattern) => Some(LineOp::Pattern),
            Kind::Symbol(Symbol::NotRegexMatch) => Some(LineOp::NotRegex),
            Kind::Symbol(Symbol::NotPattern) => Some(LineOp::NotPattern),
            Kind::Binary(BinaryOp::NotEqual) => Some(LineOp::NotContains),
            _ => None,
        }
    }

    /// The operands of a line filter. `!= "a" or "b"` is two filters, since a line must fit neither.
    fn line_filter(&mut self, op: LineOp, stages: &mut Vec<Stage>) -> Parsed<()> {
        let mut operands = vec![self.line_operand()?];
        while self.kind() == Kind::Binary(BinaryOp::Or) {
            self.bump()?;
            operands.push(self.line_operand()?);
        }
        if op.is_negative() {
            let single = |operand| Stage::LineFilter(LineFilter { op, operands: vec![operand] });
            stages.extend(operands.into_iter().map(single));
        } else {
            stages.push(Stage::LineFilter(LineFilter { op, operands }));
        }
        Ok(())
    }

    fn line_operand(&mut self) -> Parsed<LineOperand> {
        match self.kind() {
            Kind::String => match self.token.bytes.take() {
                Some(bytes) => self.bump().map(|_| LineOperand::Bytes(bytes)),
                None => Ok(LineOperand::Text(self.expect_string()?)),
            },
            Kind::Ip => Ok(LineOperand::Ip(self.ip()?)),
            _ => Err(self.unexpected(&["STRING", "ip"])),
        }
    }

    /// `ip("…")`, at its name.
    pub(super) fn ip(&mut self) -> Parsed<String> {
        self.bump()?;
        self.expect(Symbol::OpenParen)?;
        let value = self.expect_string()?;
        self.expect(Symbol::CloseParen)?;
        Ok(value)
    }

    /// What follows a `|`.
    fn piped(&mut self) -> Parsed<Stage> {
        let keyword = match self.kind() {
            Kind::Keyword(keyword) => keyword,
            Kind::Identifier | Kind::Symbol(Symbol::OpenParen) => {
                return Ok(Stage::LabelFilter(self.label_filter(&[])?));
            }
            _ => return Err(self.unexpected(&[])),
        };
        if !starts_stage(keyword) {
            return Err(self.unexpected(&[]));
        }
        self.bump()?;
        match keyword {
            Keyword::Json => Ok(Stage::Json(self.extractions()?)),
            Keyword::Logfmt => self.logfmt(),
            Keyword::Unpack => Ok(Stage::Unpack),
            Keyword::Decolorize => Ok(Stage::Decolorize),
            Keyword::Pattern => {
                let pattern = self.expect_string()?;
                check::pattern_stage(&pattern)?;
                Ok(Stage::Pattern(pattern))
            }
            Keyword::Regexp => {
                let regex = self.expect_string()?;
                check::regexp_stage(&regex)?;
                Ok(Stage::Regexp(regex))
            }
            Keyword::LineFormat => Ok(Stage::LineFormat(self.expect_string()?)),
            Keyword::LabelFormat => Ok(Stage::LabelFormat(self.comma_separated(Self::label_format)?)),
            Keyword::Drop => Ok(Stage::Drop(self.comma_separated(Self::label_spec)?)),
            _ => Ok(Stage::Keep(self.comma_separated(Self::label_spec)?)),
        }
    }

    fn comma_separated<T>(&mut self, item: fn(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat(Symbol::Comma)? {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn logfmt(&mut self) -> Parsed<Stage> {
        let (mut strict, mut keep_empty) = (false, false);
        while let Kind::Flag(flag) = self.kind() {
            match flag {
                Flag::Strict => strict = true,
                Flag::KeepEmpty => keep_empty = true,
            }
            self.bump()?;
        }
        Ok(Stage::Logfmt { strict, keep_empty, extractions: self.extractions()? })
    }

    /// `a="b", c`, or nothing.
    fn extractions(&mut self) -> Parsed<Vec<Extraction>> {
        if self.kind() == Kind::Identifier { self.comma_separated(Self::extraction) } else { Ok(Vec::new()) }
    }

    fn extraction(&mut self) -> Parsed<Extraction> {
        let label = self.expect_identifier()?;
        let expression = if self.eat(Symbol::Equal)? { self.expect_string()? } else { label.clone() };
        Ok(Extraction { label, expression })
    }

    fn label_format(&mut self) -> Parsed<LabelFormat> {
        let target = self.expect_identifier()?;
        self.expect(Symbol::Equal)?;
        let source = match self.kind() {
            Kind::Identifier => LabelFormatSource::Rename(self.expect_identifier()?),
            Kind::String => LabelFormatSource::Template(self.expect_string()?),
            _ => return Err(self.unexpected(&["IDENTIFIER", "STRING"])),
        };
        Ok(LabelFormat { target, source })
    }

    fn label_spec(&mut self) -> Parsed<LabelSpec> {
        let name = self.expect_identifier()?;
        let Some(op) = self.match_op() else {
            return Ok(LabelSpec::Name(name));
        };
        self.bump()?;
        Ok(LabelSpec::Matcher(self.matcher_value(name, op)?))
    }
}

fn starts_stage(keyword: Keyword) -> bool {
    matches!(
        keyword,
        Keyword::Json
            | Keyword::Logfmt
            | Keyword::Unpack
            | Keyword::Decolorize
            | Keyword::Pattern
            | Keyword::Regexp
            | Keyword::LineFormat
            | Keyword::LabelFormat
            | Keyword::Drop
            | Keyword::Keep
    )
}
