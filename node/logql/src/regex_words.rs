//! Go's words for a regular expression that is none: `error parsing regexp: missing closing ]: \`[\``.
//!
//! Which expressions are refused is [`re2`](crate::re2)'s to say; here is only how people are told, as they know it
//! from Loki and may search for it.

use regex_syntax::ast::parse::Parser;
use regex_syntax::ast::{Error, ErrorKind};

use crate::re2::{Re2, RegexError};

/// Compiles an expression that may match anywhere.
///
/// # Errors
/// Go's words, where RE2 would refuse it.
pub(crate) fn compile(pattern: &str) -> Result<Re2, String> {
    Re2::new(pattern).map_err(|error| describe(&error))
}

/// Compiles an expression that must match the whole text.
///
/// # Errors
/// As [`compile`].
pub(crate) fn compile_anchored(pattern: &str) -> Result<Re2, String> {
    // By itself first: `a)(b` must not be mended by what is put around it.
    compile(pattern)?;
    Re2::anchored(pattern).map_err(|error| describe(&error))
}

/// Go's words for the refusal of an expression.
pub(crate) fn describe(error: &RegexError) -> String {
    let pattern = error.pattern.as_str();
    let (what, spot) = match Parser::new().parse(pattern) {
        Err(syntax) => in_go_words(pattern, &syntax),
        // The `regex` crate would take it as it stands, RE2 does not.
        Ok(_) => (error.reason.clone(), pattern),
    };
    format!("error parsing regexp: {what}: `{spot}`")
}

/// What is wrong, and the part of the pattern that Go shows for it.
fn in_go_words<'p>(pattern: &'p str, error: &Error) -> (String, &'p str) {
    let span = error.span();
    let from = pattern.get(span.start.offset..).unwrap_or(pattern);
    let spot = pattern.get(span.start.offset..span.end.offset).unwrap_or(pattern);
    let first = from.chars().next().map_or("", |c| &from[..c.len_utf8()]);
    let (what, spot) = match error.kind() {
        ErrorKind::ClassUnclosed => ("missing closing ]", from),
        ErrorKind::GroupUnclosed => ("missing closing )", pattern),
        ErrorKind::GroupUnopened => ("unexpected )", pattern),
        ErrorKind::RepetitionMissing => ("missing argument to repetition operator", first),
        ErrorKind::RepetitionCountInvalid => ("invalid repeat count", spot),
        ErrorKind::ClassRangeInvalid => ("invalid character class range", spot),
        ErrorKind::EscapeUnrecognized | ErrorKind::UnsupportedBackreference => {
            ("invalid escape sequence", spot)
        }
        ErrorKind::EscapeUnexpectedEof => ("trailing backslash at end of expression", ""),
        ErrorKind::GroupNameUnexpectedEof | ErrorKind::GroupNameInvalid | ErrorKind::GroupNameEmpty => {
            let head = pattern[..span.start.offset].rfind("(?").unwrap_or(0);
            let end = pattern[head..].find('>').map_or(pattern.len(), |end| head + end + 1);
            ("invalid named capture", &pattern[head..end])
        }
        ErrorKind::UnsupportedLookAround | ErrorKind::FlagUnrecognized | ErrorKind::FlagUnexpectedEof => {
            ("invalid or unsupported Perl syntax", spot)
        }
        kind => return (kind.to_string(), spot),
    };
    (what.to_owned(), spot)
}

#[cfg(test)]
mod tests {
    use super::{compile, compile_anchored};

    #[track_caller]
    fn check(pattern: &str, expected: &str) {
        assert_eq!(compile(pattern).unwrap_err(), format!("error parsing regexp: {expected}"));
        assert!(compile_anchored(pattern).is_err(), "{pattern}");
    }

    #[test]
    fn refusals_use_the_words_of_go() {
        check("[", "missing closing ]: `[`");
        check("a[b", "missing closing ]: `[b`");
        check("(a", "missing closing ): `(a`");
        check("a)", "unexpected ): `a)`");
        check("*a", "missing argument to repetition operator: `*`");
        check("(?P<a", "invalid named capture: `(?P<a`");
        check("\\", "trailing backslash at end of expression: ``");
        check("\\q", "invalid escape sequence: `\\q`");
        check("\\1", "invalid escape sequence: `\\1`");
        check("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
        check("[z-a]", "invalid character class range: `z-a`");
        check("a**", "invalid nested repetition operator: `a**`");
    }

    #[test]
    fn an_expression_must_stand_by_itself() {
        assert!(compile_anchored("a)(b").is_err());
        assert!(compile_anchored("a|b").is_ok());
    }
}
