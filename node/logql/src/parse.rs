//! From words to a syntax tree.
//!
//! Loki's grammar is a yacc grammar; this is the same language by recursive descent, so that each rule is a
//! function that can be read and bounded. Two properties of the original are kept with care, because people see
//! them: which word an error is reported at, and when the error lists what was expected. yacc lists the
//! expected words only in a state that can do nothing but shift, and only if there are at most four; each
//! such place here names its list, and every other place names none.
//!
//! What Loki checks once a query is parsed (that a selector selects, that an aggregation fits its range) is
//! checked here too, as the tree is built, but reported only if the rest of the query reads well.

mod aggregation;
mod check;
mod error;
mod expression;
mod label_filter;
mod range;
mod selector;
mod stage;

use crate::ast::{Expr, LogExpr, Matcher};
use crate::lex::{Keyword, Kind, Lexer, Symbol, Token};
use crate::limits::{NESTING_MAX, QUERY_BYTES_MAX};
#[cfg(test)]
pub(crate) use check::begins_with_a_literal;
pub use check::requires_a_matcher;
pub use error::ParseError;

type Parsed<T> = Result<T, ParseError>;

/// Reads a whole query.
///
/// # Errors
/// Where it is no LogQL, or means nothing: the text is the one Loki gives. Also where it is longer than
/// [`QUERY_BYTES_MAX`] or nests deeper than [`NESTING_MAX`].
pub fn parse(query: &str) -> Result<Expr, ParseError> {
    let operand = whole(query)?;
    match operand.fault {
        Some(fault) => Err(fault),
        None => match operand.node {
            expression::Node::Log(log) => {
                requires_a_matcher(&log.selector)?;
                Ok(Expr::Log(log))
            }
            expression::Node::Sample(sample) => Ok(Expr::Sample(sample)),
        },
    }
}

/// Reads a query for log lines: a selector and stages (the `query` of `tail`, of deletes).
///
/// # Errors
/// As [`parse`]; also where the query asks for numbers.
pub fn parse_log(query: &str) -> Result<LogExpr, ParseError> {
    match parse(query)? {
        Expr::Log(log) => Ok(log),
        Expr::Sample(_) => Err(ParseError::wrong_kind("only log selector is supported")),
    }
}

/// Reads a stream selector that must select something: `{app="x"}` (`match[]` of `series`, `query` of `labels`).
///
/// # Errors
/// As [`parse`]; also where anything but a selector is there.
pub fn parse_selector(query: &str) -> Result<Vec<Matcher>, ParseError> {
    let matchers = parse_matchers(query)?;
    requires_a_matcher(&matchers)?;
    Ok(matchers)
}

/// Reads a stream selector that may select everything: `{}`, `{app!="x"}` (volumes, statistics, limits).
///
/// # Errors
/// As [`parse_selector`], but for selectors that select everything.
pub fn parse_matchers(query: &str) -> Result<Vec<Matcher>, ParseError> {
    let operand = whole(query)?;
    match (operand.fault, operand.node) {
        (Some(fault), _) => Err(fault),
        (None, expression::Node::Log(log)) if log.stages.is_empty() => Ok(log.selector),
        (None, _) => Err(ParseError::wrong_kind("only label matchers are supported")),
    }
}

fn whole(query: &str) -> Parsed<expression::Operand> {
    if query.len() >= QUERY_BYTES_MAX {
        let message = format!("input size too long ({} > {QUERY_BYTES_MAX})", query.len());
        return Err(ParseError::without_position(message));
    }
    let mut parser = Parser::new(query)?;
    let operand = parser.expression()?;
    match parser.kind() {
        Kind::End => Ok(operand),
        _ => Err(parser.unexpected(&[])),
    }
}

/// Reads tokens with one of look-ahead.
struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
    nesting: usize,
}

impl<'a> Parser<'a> {
    fn new(query: &'a str) -> Parsed<Self> {
        let mut lexer = Lexer::new(query);
        let token = lexer.next_token()?;
        Ok(Self { lexer, token, nesting: 0 })
    }

    fn kind(&self) -> Kind {
        self.token.kind
    }

    /// Takes the token and moves on to the next.
    fn bump(&mut self) -> Parsed<Token<'a>> {
        let next = self.lexer.next_token()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn is_symbol(&self, symbol: Symbol) -> bool {
        self.kind() == Kind::Symbol(symbol)
    }

    fn is_keyword(&self, keyword: Keyword) -> bool {
        self.kind() == Kind::Keyword(keyword)
    }

    /// Takes the symbol if it is next.
    fn eat(&mut self, symbol: Symbol) -> Parsed<bool> {
        let found = self.is_symbol(symbol);
        if found {
            self.bump()?;
        }
        Ok(found)
    }

    /// Takes the symbol, or fails with the list of what could stand here.
    fn expect_one_of(&mut self, symbol: Symbol, expected: &[&str]) -> Parsed<()> {
        if self.eat(symbol)? { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// Takes the symbol, which is all that can stand here.
    fn expect(&mut self, symbol: Symbol) -> Parsed<()> {
        self.expect_one_of(symbol, &[symbol.as_str()])
    }

    /// Takes a token of this kind and gives its text, or fails with the list of what could stand here.
    fn expect_text(&mut self, kind: Kind, expected: &[&str]) -> Parsed<String> {
        if self.kind() == kind { Ok(self.bump()?.text.into_owned()) } else { Err(self.unexpected(expected)) }
    }

    fn expect_string(&mut self) -> Parsed<String> {
        self.expect_text(Kind::String, &["STRING"])
    }

    fn expect_identifier(&mut self) -> Parsed<String> {
        self.expect_text(Kind::Identifier, &["IDENTIFIER"])
    }

    /// The error for a token that cannot stand where it does.
    fn unexpected(&self, expected: &[&str]) -> ParseError {
        let mut message = format!("syntax error: unexpected {}", self.token.kind);
        if !expected.is_empty() {
            message.push_str(", expecting ");
            message.push_str(&expected.join(" or "));
        }
        ParseError::at(message, self.token.line, self.token.column)
    }

    /// Runs a rule that may contain itself, one level deeper.
    fn nested<T>(&mut self, rule: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= NESTING_MAX {
            let message = format!("nested deeper than {NESTING_MAX} levels; take the query apart");
            return Err(ParseError::at(message, self.token.line, self.token.column));
        }
        self.nesting += 1;
        let parsed = rule(self);
        self.nesting -= 1;
        parsed
    }
}

#[cfg(test)]
mod exam;
#[cfg(test)]
mod soup;
#[cfg(test)]
mod tests;
