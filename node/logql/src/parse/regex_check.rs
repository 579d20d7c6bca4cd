//! Whether a text is a regular expression in RE2's notation (`golang.org/s/re2syntax`).
//!
//! The two notations differ where people trip: in RE2 `\d`, `\w`, `\s` and `\b` are ASCII, a `{` that begins no
//! repetition and a `[` inside a class are themselves, `\Q…\E` quotes, and `\<` is a mere `<`. What is
//! written in the one is put into the other here, and complaints are put into Go's words.

use std::fmt;

use regex::Regex;

/// Bound of a compiled expression's memory in bytes; the crate's own default, named here so that it is seen.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// A text that is no regular expression: `error parsing regexp: missing closing ]: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RegexFault(String);

impl RegexFault {
    fn new(what: &str, where_: &str) -> Self {
        Self(format!("{what}: `{where_}`"))
    }
}

impl fmt::Display for RegexFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error parsing regexp: {}", self.0)
    }
}

/// Compiles an expression that may match anywhere in a text.
///
/// # Errors
/// Where RE2 would refuse it, or it needs more memory than is allowed.
pub(super) fn compile(pattern: &str) -> Result<Regex, RegexFault> {
    build(pattern, &translate(pattern)?)
}

/// Compiles an expression that must match a whole text, line ends included, as label matchers do.
///
/// # Errors
/// As [`compile`].
pub(super) fn compile_anchored(pattern: &str) -> Result<Regex, RegexFault> {
    // By itself first: `a)(b` must not be mended by what is put around it.
    let translated = translate(pattern)?;
    let mut parser = regex_syntax::ast::parse::Parser::new();
    parser.parse(&translated).map_err(|why| in_go_words(pattern, &translated, &why))?;
    build(pattern, &format!("^(?s:{translated})$"))
}

fn build(pattern: &str, translated: &str) -> Result<Regex, RegexFault> {
    match regex::RegexBuilder::new(translated).size_limit(COMPILED_BYTES_MAX).build() {
        Ok(regex) => Ok(regex),
        Err(regex::Error::CompiledTooBig(_)) => Err(RegexFault::new("expression too large", pattern)),
        Err(why) => match regex_syntax::ast::parse::Parser::new().parse(translated) {
            Err(syntax) => Err(in_go_words(pattern, translated, &syntax)),
            Ok(_) => Err(RegexFault(why.to_string())),
        },
    }
}

/// Puts RE2's notation into that of the `regex` crate.
///
/// # Errors
/// Where RE2 would refuse what the crate takes.
fn translate(pattern: &str) -> Result<String, RegexFault> {
    let mut translator = Translator { rest: pattern, out: String::with_capacity(pattern.len() + 8) };
    translator.run()?;
    Ok(translator.out)
}

struct Translator<'a> {
    rest: &'a str,
    out: String,
}

impl Translator<'_> {
    fn run(&mut self) -> Result<(), RegexFault> {
        while let Some(c) = self.rest.chars().next() {
            match c {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' => self.group()?,
                '*' | '+' | '?' => self.repetition(1)?,
                '{' => match repetition_length(self.rest) {
                    Some(length) => self.repetition(length)?,
                    None => self.replace(1, "\\{"),
                },
                c => self.copy(c.len_utf8()),
            }
        }
        Ok(())
    }

    fn copy(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.out.push_str(taken);
        self.rest = rest;
    }

    fn replace(&mut self, length: usize, by: &str) {
        self.out.push_str(by);
        self.rest = &self.rest[length..];
    }

    /// A repetition and its `?`. Another one behind it would be another in RE2's eyes, too many.
    fn repetition(&mut self, length: usize) -> Result<(), RegexFault> {
        let whole = self.rest;
        self.copy(length);
        if self.rest.starts_with('?') {
            self.copy(1);
        }
        let next = match self.rest.as_bytes().first() {
            Some(b'*' | b'+' | b'?') => 1,
            Some(b'{') => repetition_length(self.rest).unwrap_or(0),
            _ => 0,
        };
        if next == 0 {
            return Ok(());
        }
        let end = whole.len() - self.rest.len() + next;
        Err(RegexFault::new("invalid nested repetition operator", &whole[..end]))
    }

    /// The head of a group; flags that RE2 does not have are refused.
    fn group(&mut self) -> Result<(), RegexFault> {
        let Some(head) = self.rest.strip_prefix("(?") else {
            self.copy(1);
            return Ok(());
        };
        let flags = head.find(|c: char| !c.is_ascii_alphabetic() && c != '-').unwrap_or(head.len());
        let is_name = head.starts_with("P<") || head.starts_with('<');
        if !is_name && head[..flags].contains(|c| !matches!(c, 'i' | 'm' | 's' | 'U' | '-')) {
            let end = (2 + flags + 1).min(self.rest.len());
            let shown = self.rest.get(..end).unwrap_or(self.rest);
            return Err(RegexFault::new("invalid or unsupported Perl syntax", shown));
        }
        self.copy(2);
        Ok(())
    }

    /// `[…]`, in which RE2 knows no nesting and no set operations.
    fn class(&mut self) -> Result<(), RegexFault> {
        self.copy(1);
        if self.rest.starts_with('^') {
            self.copy(1);
        }
        let mut is_first = true;
        while let Some(c) = self.rest.chars().next() {
            match c {
                ']' if !is_first => {
                    self.copy(1);
                    return Ok(());
                }
                ']' => self.replace(1, "\\]"),
                '\\' => self.escape(true)?,
                '[' => match posix_length(self.rest) {
                    Some(length) => self.copy(length),
                    None => self.replace(1, "\\["),
                },
                '&' | '~' => {
                    self.out.push('\\');
                    self.copy(1);
                }
                '-' if self.rest.starts_with("--") || self.rest.starts_with("-]") || is_first => {
                    self.replace(1, "\\-");
                }
                c => self.copy(c.len_utf8()),
            }
            is_first = false;
        }
        Ok(())
    }

    fn escape(&mut self, in_class: bool) -> Result<(), RegexFault> {
        let Some(c) = self.rest[1..].chars().next() else {
            return Err(RegexFault::new("trailing backslash at end of expression", ""));
        };
        let length = 1 + c.len_utf8();
        let by = match (c, in_class) {
            ('d', false) => "[0-9]",
            ('d', true) => "0-9",
            ('w', false) => "[0-9A-Za-z_]",
            ('w', true) => "0-9A-Za-z_",
            ('s', false) => r"[\t\n\f\r ]",
            ('s', true) => r"\t\n\f\r\x20",
            ('D', _) => "[^0-9]",
            ('W', _) => "[^0-9A-Za-z_]",
            ('S', _) => r"[^\t\n\f\r ]",
            ('b', false) => r"(?-u:\b)",
            ('B', false) => r"(?-u:\B)",
            ('Q', false) => {
                self.quoted();
                return Ok(());
            }
            ('A' | 'z', false) | ('a' | 'f' | 't' | 'n' | 'r' | 'v' | 'p' | 'P' | 'x', _) => {
                self.copy(length);
                return Ok(());
            }
            (c, _) if c.is_ascii_punctuation() => {
                self.rest = &self.rest[length..];
                push_literal(&mut self.out, c);
                return Ok(());
            }
            _ => return self.octal_or_refused(length),
        };
        self.replace(length, by);
        Ok(())
    }

    /// `\012` is a character by its number; `\1` would refer back, which RE2 cannot.
    fn octal_or_refused(&mut self, length: usize) -> Result<(), RegexFault> {
        let digits = self.rest[1..].bytes().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
        let text = &self.rest[1..=digits];
        let is_octal = text.starts_with('0') || digits > 1;
        match u32::from_str_radix(text, 8).ok().and_then(char::from_u32) {
            Some(c) if is_octal => {
                self.rest = &self.rest[1 + digits..];
                push_literal(&mut self.out, c);
                Ok(())
            }
            _ => Err(RegexFault::new("invalid escape sequence", &self.rest[..length])),
        }
    }

    fn quoted(&mut self) {
        let text = &self.rest[2..];
        let (text, rest) = text.split_once("\\E").unwrap_or((text, ""));
        text.chars().for_each(|c| push_literal(&mut self.out, c));
        self.rest = rest;
    }
}

fn push_literal(out: &mut String, c: char) {
    out.push_str(&regex_syntax::escape(c.encode_utf8(&mut [0; 4])));
}

/// The length of `{2}`, `{2,}` or `{2,3}` at the beginning of `text`.
fn repetition_length(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let inner = &text[1..end];
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_repetition = match inner.split_once(',') {
        Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
        None => is_number(inner),
    };
    is_repetition.then_some(end + 1)
}

/// The length of `[:alpha:]` at the beginning of `text`.
fn posix_length(text: &str) -> Option<usize> {
    let name = text.strip_prefix("[:")?;
    let end = name.find(":]")?;
    let is_name = name[..end].bytes().all(|b| b == b'^' || b.is_ascii_lowercase());
    is_name.then_some(end + 4)
}

fn in_go_words(pattern: &str, translated: &str, error: &regex_syntax::ast::Error) -> RegexFault {
    use regex_syntax::ast::ErrorKind;
    let span = error.span();
    let from = translated.get(span.start.offset..).unwrap_or("");
    let spot = translated.get(span.start.offset..span.end.offset).unwrap_or("");
    match error.kind() {
        ErrorKind::ClassUnclosed => RegexFault::new("missing closing ]", from),
        ErrorKind::GroupUnclosed => RegexFault::new("missing closing )", pattern),
        ErrorKind::GroupUnopened => RegexFault::new("unexpected )", pattern),
        ErrorKind::RepetitionMissing => {
            let operator = from.chars().next().map(String::from).unwrap_or_default();
            RegexFault::new("missing argument to repetition operator", &operator)
        }
        ErrorKind::RepetitionCountInvalid => RegexFault::new("invalid repeat count", spot),
        ErrorKind::ClassRangeInvalid => RegexFault::new("invalid character class range", spot),
        ErrorKind::EscapeUnrecognized => RegexFault::new("invalid escape sequence", spot),
        ErrorKind::GroupNameUnexpectedEof | ErrorKind::GroupNameInvalid | ErrorKind::GroupNameEmpty => {
            let head = translated[..span.start.offset].rfind("(?").unwrap_or(0);
            let end = translated[head..].find('>').map_or(translated.len(), |end| head + end + 1);
            RegexFault::new("invalid named capture", &translated[head..end])
        }
        ErrorKind::GroupNameDuplicate { .. } => RegexFault::new("duplicate capture group name", spot),
        ErrorKind::UnsupportedLookAround | ErrorKind::FlagUnrecognized | ErrorKind::FlagUnexpectedEof => {
            RegexFault::new("invalid or unsupported Perl syntax", spot)
        }
        kind => RegexFault::new(&kind.to_string(), spot),
    }
}

#[cfg(test)]
mod tests {
    use super::{compile, compile_anchored};

    #[track_caller]
    fn check(pattern: &str, text: &str, expected: bool) {
        assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} on {text}");
    }

    #[track_caller]
    fn check_refused(pattern: &str, expected: &str) {
        let expected = format!("error parsing regexp: {expected}");
        assert_eq!(compile(pattern).unwrap_err().to_string(), expected);
        assert!(compile_anchored(pattern).is_err(), "{pattern}");
    }

    #[test]
    fn classes_of_letters_are_ascii() {
        check(r"^\w+$", "abc_1", true);
        check(r"^\w+$", "é", false);
        check(r"\d", "٣", false);
        check(r"[^\W]", "é", false);
        check(r"[\d\s]", " ", true);
        check(r"\bfoo\b", "éfoo", true);
        check(r"\x66oo", "foo", true);
    }

    #[test]
    fn stray_braces_and_brackets_are_text() {
        check("{foo", "{foo", true);
        check("a{,5}", "a{,5}", true);
        check("a{2}", "aa", true);
        check("[[]", "[", true);
        check("[a&&b]", "&", true);
        check("[a--b]", "-", true);
        check("[]a]", "]", true);
        check("[a-]", "-", true);
        check("[[:digit:]x]", "7", true);
        check(r"\<a\>", "<a>", true);
        check(r"\Qa.b\E.", "a.bc", true);
        check(r"\Qa.b\E.", "axbc", false);
        check(r"\_\/", "_/", true);
        check(r"\101", "A", true);
    }

    #[test]
    fn anchored_expressions_take_the_whole_text_with_its_line_ends() {
        assert!(compile_anchored("a|b").unwrap().is_match("b"));
        assert!(!compile_anchored("a|b").unwrap().is_match("ab"));
        assert!(compile_anchored("a.b").unwrap().is_match("a\nb"));
        assert!(compile_anchored("a)(b").is_err());
    }

    #[test]
    fn refusals_use_the_words_of_go() {
        check_refused("[", "missing closing ]: `[`");
        check_refused("(a", "missing closing ): `(a`");
        check_refused("a)", "unexpected ): `a)`");
        check_refused("*a", "missing argument to repetition operator: `*`");
        check_refused("a**", "invalid nested repetition operator: `**`");
        check_refused("(?P<a", "invalid named capture: `(?P<a`");
        check_refused("\\", "trailing backslash at end of expression: ``");
        check_refused("\\q", "invalid escape sequence: `\\q`");
        check_refused("\\1", "invalid escape sequence: `\\1`");
        check_refused("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
        check_refused("(?x)a", "invalid or unsupported Perl syntax: `(?x)`");
        check_refused("[z-a]", "invalid character class range: `z-a`");
    }
}
