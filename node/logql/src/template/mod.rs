//! The template language of `line_format` and `label_format`: Go's `text/template` with Loki's functions.
//!
//! A [`Template`] is parsed once a query and rendered once a line. Strings are bytes and borrow wherever they
//! can, so a template of text and `{{.field}}`s allocates nothing but what it appends to the output. Every
//! render is bounded (`limits`), because anyone who may query may write a template.
//!
//! The language is ours and not a crate's: those that exist hold strings as `str`, want all data built before
//! a render, and have neither Go's `time.Time` nor its integer types, which decide what a call accepts.
//! The rules come from the documentation of Go's `text/template`, `fmt`, `strconv`, `strings` and `time`
//! packages, of the sprig function library, and of Loki's template functions.

use std::collections::BTreeSet;

mod ast;
mod call;
mod date;
mod exec;
mod fields;
mod float_verb;
mod functions;
mod layout;
mod lex;
mod limits;
mod number;
mod parse;
mod print;
mod printf;
mod runes;
mod time;
mod unquote;
mod value;
mod verb;

#[cfg(test)]
mod tests;

/// What a template may read: one line as it is when the stage runs.
pub trait Context {
    /// The value of a label; `None` if the line has no such label.
    fn label(&self, name: &str) -> Option<&str>;
    /// All labels, sorted by name.
    fn labels(&self) -> Vec<(&str, &str)>;
    /// The line, any bytes.
    fn line(&self) -> &[u8];
    /// The line's timestamp, in nanoseconds since the Unix epoch.
    fn timestamp(&self) -> i64;
    /// The wall clock's time for `now`, in nanoseconds since the Unix epoch.
    fn now(&self) -> i64;
}

/// Why a template could not be parsed, or not be rendered for a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The source is not a template; the query that holds it is refused.
    #[error("template: line:{line}: {problem}")]
    Parse {
        /// Line of the source the problem is on, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
    },
    /// A call or a lookup failed for this line; the stage keeps the line and marks it `TemplateFormatErr`.
    #[error("template: {problem}")]
    Render {
        /// What failed.
        problem: String,
    },
}

impl TemplateError {
    fn parse(source: &str, at: usize, problem: impl Into<String>) -> Self {
        let before = &source.as_bytes()[..at.min(source.len())];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        TemplateError::Parse { line, problem: problem.into() }
    }

    fn render(problem: impl Into<String>) -> Self {
        TemplateError::Render { problem: problem.into() }
    }
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    parsed: parse::Parsed,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// Bad syntax, an unknown function or variable, or a source beyond the bounds on length and nesting.
    pub fn parse(src: &str) -> Result<Self, TemplateError> {
        Ok(Template { parsed: parse::parse(src, parse::Vocabulary::Loki)? })
    }

    /// Whether a template can be parsed that others render: it may call Go's own functions and those named.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn check(src: &str, functions: &[&str]) -> Result<(), TemplateError> {
        parse::parse(src, parse::Vocabulary::Named(functions)).map(drop)
    }

    /// Appends the output for one line to `out`. On an error `out` is left as it was.
    ///
    /// # Errors
    /// A failing call or lookup, or a render beyond the bounds on output, depth and work.
    pub fn render(&self, context: &dyn Context, out: &mut Vec<u8>) -> Result<(), TemplateError> {
        let start = out.len();
        let done = exec::Exec::new(&self.parsed, context, out).run();
        if done.is_err() {
            out.truncate(start);
        }
        done
    }

    /// The labels this template can read, or `None` if it may read any (it uses `.` or `$` whole). A few
    /// names that are no labels, such as keys of decoded JSON, may be among them.
    pub fn label_names(&self) -> Option<BTreeSet<String>> {
        fields::label_names(&self.parsed)
    }

    /// The label's name where the template is one `{{.name}}` and nothing else, given to a variable or not.
    pub fn only_label(&self) -> Option<&str> {
        fields::only_label(&self.parsed)
    }
}
