//! From text to words.
//!
//! Loki's lexer stands on Go's `text/scanner`, and much of what LogQL accepts follows from that: its comments,
//! its numbers, its strings, the way any stray character is an identifier, and the positions in error texts.
//! This one gives the same words with the same positions.

mod cursor;
mod literal;
mod token;

use std::borrow::Cow;

use crate::ast::{BinaryOp, Conversion, RangeOp, VectorOp};
use crate::parse::ParseError;
use crate::quantity::{parse_duration, parse_prometheus_duration};
use crate::quote::unquote;
use crate::value::parse_bytes;
use cursor::Cursor;
pub(crate) use token::{Flag, Keyword, Kind, Symbol, Token};

/// Takes a query apart, one token at a time.
#[derive(Clone, Debug)]
pub(crate) struct Lexer<'a> {
    cursor: Cursor<'a>,
    is_empty: bool,
}

/// Where a token began, and its line as error texts give it.
#[derive(Clone, Copy)]
struct Start {
    offset: usize,
    line: u32,
    column: u32,
}

impl Start {
    /// Loki forgets the line of a token that it puts together itself.
    fn forget_line(self) -> Self {
        Self { line: 0, ..self }
    }

    fn fail(self, message: impl Into<String>) -> ParseError {
        ParseError::at(message, self.line, self.column)
    }

    fn token<'a>(self, kind: Kind, text: impl Into<Cow<'a, str>>) -> Token<'a> {
        Token { kind, text: text.into(), bytes: None, line: self.line, column: self.column }
    }
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(query: &'a str) -> Self {
        let mut cursor = Cursor::new(query);
        cursor.eat("\u{feff}");
        Self { cursor, is_empty: query.is_empty() }
    }

    /// The next token; after the last, [`Kind::End`] for ever.
    pub(crate) fn next_token(&mut self) -> Result<Token<'a>, ParseError> {
        self.skip_blanks()?;
        let start = self.start();
        let Some(c) = self.cursor.peek() else {
            // Go's scanner has no position at all before the first character.
            let start = if self.is_empty { Start { line: 0, column: 0, ..start } } else { start };
            return Ok(start.token(Kind::End, ""));
        };
        match c {
            '\0' => Err(start.fail(literal::NUL)),
            '"' => self.string(start, literal::string),
            '`' => self.string(start, literal::raw_string),
            '[' => self.range(start),
            '\'' => {
                literal::character(&mut self.cursor).map_err(|why| start.fail(why))?;
                Ok(start.token(Kind::Identifier, self.cursor.since(start.offset)))
            }
            c if c.is_ascii_digit() || self.is_dot_and_digit() => self.number(start),
            '-' => Ok(self.minus(start)),
            c if is_name_start(c) => Ok(self.name(start)),
            _ => Ok(self.symbol(start)),
        }
    }

    fn start(&self) -> Start {
        let cursor = &self.cursor;
        Start { offset: cursor.offset(), line: cursor.line(), column: cursor.column() }
    }

    fn is_dot_and_digit(&self) -> bool {
        let mut chars = self.cursor.rest().chars();
        chars.next() == Some('.') && chars.next().is_some_and(|c| c.is_ascii_digit())
    }

    /// Passes over white space and comments: `# …`, `// …` and `/* … */`.
    fn skip_blanks(&mut self) -> Result<(), ParseError> {
        loop {
            self.cursor.eat_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n'));
            let rest = self.cursor.rest();
            if rest.starts_with('#') || rest.starts_with("//") {
                self.cursor.eat_while(|c| c != '\n');
            } else if rest.starts_with("/*") {
                self.skip_block_comment()?;
            } else {
                return Ok(());
            }
        }
    }

    fn skip_block_comment(&mut self) -> Result<(), ParseError> {
        let start = self.start();
        self.cursor.eat("/*");
        while !self.cursor.eat("*/") {
            if self.cursor.bump().is_none() {
                return Err(start.fail("comment not terminated"));
            }
        }
        Ok(())
    }

    fn string(
        &mut self,
        start: Start,
        scan: fn(&mut Cursor<'a>) -> Result<(), String>,
    ) -> Result<Token<'a>, ParseError> {
        scan(&mut self.cursor).map_err(|why| start.fail(why))?;
        let quoted = self.cursor.since(start.offset);
        let bytes = unquote(quoted).ok_or_else(|| start.fail("invalid syntax"))?;
        Ok(match String::from_utf8(bytes) {
            Ok(text) => start.token(Kind::String, text),
            Err(error) => {
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                Token { bytes: Some(error.into_bytes()), ..start.token(Kind::String, text) }
            }
        })
    }

    /// `[5m]`: everything up to the bracket, which must be a duration to the letter.
    fn range(&mut self, start: Start) -> Result<Token<'a>, ParseError> {
        let start = start.forget_line();
        self.cursor.bump();
        let inner = self.cursor.offset();
        self.cursor.eat_while(|c| c != ']');
        let text = self.cursor.since(inner);
        if self.cursor.bump().is_none() {
            return Err(start.fail("missing closing ']' in duration"));
        }
        match parse_prometheus_duration(text) {
            Ok(ns) => Ok(start.token(Kind::Range(ns), "")),
            Err(why) => Err(start.fail(why.to_string())),
        }
    }

    fn number(&mut self, start: Start) -> Result<Token<'a>, ParseError> {
        literal::number(&mut self.cursor).map_err(|why| start.fail(why))?;
        if let Some(token) = self.duration(start) {
            return Ok(token);
        }
        let end = self.cursor.clone();
        self.cursor.eat_while(|c| {
            c.is_numeric() || matches!(c, 'B' | 'i' | 'k' | 'K' | 'M' | 'G' | 'T' | 'P' | '.')
        });
        let text = self.cursor.since(start.offset);
        if self.cursor.offset() > end.offset()
            && let Ok(bytes) = parse_bytes(text)
        {
            return Ok(start.forget_line().token(Kind::Bytes(bytes), ""));
        }
        self.cursor = end;
        Ok(start.token(Kind::Number, self.cursor.since(start.offset)))
    }

    /// Takes the number or minus just read and what follows it as a duration, if it is one.
    fn duration(&mut self, start: Start) -> Option<Token<'a>> {
        let mut cursor = self.cursor.clone();
        cursor.eat_while(|c| {
            c.is_numeric() || matches!(c, 'n' | 'u' | 'µ' | 'm' | 's' | 'h' | 'd' | 'w' | 'y' | '.')
        });
        if cursor.offset() == self.cursor.offset() {
            return None;
        }
        let ns = parse_duration(cursor.since(start.offset))?;
        self.cursor = cursor;
        Some(start.forget_line().token(Kind::Duration(ns), ""))
    }

    /// A flag, a negative duration, or a minus.
    fn minus(&mut self, start: Start) -> Token<'a> {
        let mut flagged = self.cursor.clone();
        flagged.eat_while(|c| c == '-' || c.is_alphabetic());
        let flag = match flagged.since(start.offset) {
            "--strict" => Some(Flag::Strict),
            "--keep-empty" => Some(Flag::KeepEmpty),
            _ => None,
        };
        if let Some(flag) = flag {
            self.cursor = flagged;
            return start.forget_line().token(Kind::Flag(flag), "");
        }
        self.cursor.bump();
        self.duration(start).unwrap_or_else(|| start.token(Kind::Binary(BinaryOp::Sub), ""))
    }

    /// A keyword, a function, or a label's name.
    fn name(&mut self, start: Start) -> Token<'a> {
        self.cursor.eat_while(|c| is_name_start(c) || c.is_numeric());
        let text = self.cursor.since(start.offset);
        let lower = text.to_lowercase();
        if let Some(kind) = function(&lower) {
            // A function's name is a label's name where no parenthesis or grouping follows.
            let is_call = is_call(self.cursor.rest());
            return if is_call { start.token(kind, "") } else { start.token(Kind::Identifier, text) };
        }
        if let Some(keyword) = Keyword::find(&lower) {
            return start.token(Kind::Keyword(keyword), "");
        }
        match lower.as_str() {
            "and" => start.token(Kind::Binary(BinaryOp::And), ""),
            "or" => start.token(Kind::Binary(BinaryOp::Or), ""),
            "unless" => start.token(Kind::Binary(BinaryOp::Unless), ""),
            _ => start.token(Kind::Identifier, text),
        }
    }

    /// Punctuation, the longest that fits; what is none of it is an identifier of one character.
    fn symbol(&mut self, start: Start) -> Token<'a> {
        self.cursor.bump();
        let single = self.cursor.since(start.offset);
        let mut longer = self.cursor.clone();
        longer.bump();
        if let Some(kind) = punctuation(longer.since(start.offset))
            && longer.offset() > self.cursor.offset()
        {
            self.cursor = longer;
            return start.forget_line().token(kind, "");
        }
        match punctuation(single) {
            Some(kind) => start.token(kind, ""),
            None => start.token(Kind::Identifier, single),
        }
    }
}

fn is_name_start(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

fn punctuation(text: &str) -> Option<Kind> {
    let op = match text {
        "+" => BinaryOp::Add,
        "*" => BinaryOp::Mul,
        "/" => BinaryOp::Div,
        "%" => BinaryOp::Mod,
        "^" => BinaryOp::Pow,
        "==" => BinaryOp::Equal,
        "!=" => BinaryOp::NotEqual,
        ">" => BinaryOp::Greater,
        ">=" => BinaryOp::GreaterEqual,
        "<" => BinaryOp::Less,
        "<=" => BinaryOp::LessEqual,
        _ => return Symbol::find(text).map(Kind::Symbol),
    };
    Some(Kind::Binary(op))
}

fn function(name: &str) -> Option<Kind> {
    let kind = match name {
        "vector" => Kind::Vector,
        "ip" => Kind::Ip,
        "bytes" => Kind::Conversion(Conversion::Bytes),
        "duration" => Kind::Conversion(Conversion::Duration),
        "duration_seconds" => Kind::Conversion(Conversion::DurationSeconds),
        "label_replace" => Kind::Keyword(Keyword::LabelReplace),
        _ => {
            let range = RangeOp::ALL.into_iter().find(|op| op.as_str() == name).map(Kind::RangeFunction);
            let vector =
                || VectorOp::ALL.into_iter().find(|op| op.as_str() == name).map(Kind::VectorFunction);
            return range.or_else(vector);
        }
    };
    Some(kind)
}

/// Whether a `(` follows, or a grouping that has one.
fn is_call(rest: &str) -> bool {
    let rest = rest.trim_start();
    let grouping = ["by", "without"]
        .into_iter()
        .find_map(|word| rest.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word)));
    match grouping {
        Some(word) => rest[word.len()..].trim_start().starts_with('('),
        None => rest.starts_with('('),
    }
}

#[cfg(test)]
mod tests;
