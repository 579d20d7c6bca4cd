//! What is wrong with a query, in Loki's words: clients show them, and some read the position out of them.

use std::fmt;

/// A query that cannot be read. Its text is `parse error at line 1, col 6: …`, or `parse error : …` where the
/// fault has no place (it is in what the query means, not in how it is written).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    message: String,
    line: u32,
    column: u32,
    /// The query can be read; it is of another kind than is asked for.
    wrong_kind: bool,
}

impl ParseError {
    pub(crate) fn at(message: impl Into<String>, line: u32, column: u32) -> Self {
        Self { message: message.into(), line, column, wrong_kind: false }
    }

    pub(crate) fn without_position(message: impl Into<String>) -> Self {
        Self::at(message, 0, 0)
    }

    /// A query that can be read and is of another kind than is asked for; Loki says so without a prefix.
    pub(crate) fn wrong_kind(message: impl Into<String>) -> Self {
        Self { wrong_kind: true, ..Self::without_position(message) }
    }

    /// What is wrong, without where.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line, from 1. It is 0 where Loki does not know it either: after a token that its scanner puts
    /// together from pieces (`==`, `|=`, `5m`, `[5m]`, a flag), and where the fault has no place.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// The column in characters, from 1, or 0 where the fault has no place.
    pub fn column(&self) -> u32 {
        self.column
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wrong_kind {
            return f.write_str(&self.message);
        }
        match (self.line, self.column) {
            (0, 0) => write!(f, "parse error : {}", self.message),
            (line, column) => write!(f, "parse error at line {line}, col {column}: {}", self.message),
        }
    }
}

impl std::error::Error for ParseError {}
