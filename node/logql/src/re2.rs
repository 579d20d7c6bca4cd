//! Regular expressions the way Loki's users write them: RE2 syntax, run by the `regex` crate.
//!
//! Both know the same language but for corners. In RE2 `\d`, `\w`, `\s` and `\b` are ASCII while the rest
//! knows Unicode, a brace that is not a repetition stands for itself, classes do not nest, and `\Q…\E`
//! quotes. [`translate`] rewrites a source so that the `regex` crate reads it as RE2 does.
//!
//! RE2 reads a byte that is not UTF-8 as U+FFFD, so `.` matches it; the `regex` crate does not. Where a search
//! over such bytes fails it is repeated over a copy in which each of them *is* U+FFFD; this costs nothing for
//! text. Source of the syntax: <https://github.com/google/re2/wiki/Syntax>.

use std::borrow::Cow;
use std::iter::Peekable;
use std::str::Chars;

use regex::bytes::{CaptureLocations, Regex, RegexBuilder};
use thiserror::Error;

/// The largest count of a repetition, as in RE2.
const REPEAT_MAX: u32 = 1000;
/// Bound on a compiled expression in bytes: ten times what the largest sensible ones need.
const COMPILED_BYTES_MAX: usize = 10 << 20;

/// An expression that cannot be compiled.
#[derive(Debug, Error)]
#[error("error parsing regexp: {reason}: `{pattern}`")]
pub struct RegexError {
    /// The expression.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Re2 {
    regex: Regex,
}

impl Re2 {
    /// Compiles an expression that may match anywhere, as line filters do.
    pub fn new(pattern: &str) -> Result<Re2, RegexError> {
        Self::compile(pattern, &translate(pattern)?)
    }

    /// Compiles an expression that must match the whole text, newlines included, as label matchers do.
    pub fn anchored(pattern: &str) -> Result<Re2, RegexError> {
        Self::compile(pattern, &format!("^(?s:{})$", translate(pattern)?))
    }

    /// [`anchored`](Self::anchored), but a `.` is no newline, as in label filters.
    pub fn anchored_line(pattern: &str) -> Result<Re2, RegexError> {
        Self::compile(pattern, &format!("^(?:{})$", translate(pattern)?))
    }

    fn compile(pattern: &str, translated: &str) -> Result<Re2, RegexError> {
        let regex = RegexBuilder::new(translated).size_limit(COMPILED_BYTES_MAX).build();
        let regex =
            regex.map_err(|error| RegexError { pattern: pattern.into(), reason: last_line(&error) })?;
        Ok(Re2 { regex })
    }

    /// Whether it matches.
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
            || matches!(lossy(text), Cow::Owned(copy) if self.regex.is_match(copy.as_bytes()))
    }

    /// Names of the groups by index, from 1.
    pub fn group_names(&self) -> impl Iterator<Item = (usize, Option<&str>)> {
        self.regex.capture_names().enumerate().skip(1)
    }

    /// Room for [`captures`](Self::captures).
    pub fn locations(&self) -> CaptureLocations {
        self.regex.capture_locations()
    }

    /// Finds the first match and its groups; the text they refer to, or nothing.
    pub fn captures<'t>(&self, text: &'t [u8], locations: &mut CaptureLocations) -> Option<Cow<'t, str>> {
        let text = lossy(text);
        self.regex.captures_read(locations, text.as_bytes())?;
        Some(text)
    }

    /// The compiled expression.
    pub fn regex(&self) -> &Regex {
        &self.regex
    }
}

/// The text with each byte that is not UTF-8 replaced by U+FFFD (the standard library's replacement may make
/// one of several such bytes; Go does not).
pub fn lossy(text: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(text) {
        return Cow::Borrowed(text);
    }
    let mut copy = String::with_capacity(text.len() + 16);
    for chunk in text.utf8_chunks() {
        copy.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|_| copy.push(char::REPLACEMENT_CHARACTER));
    }
    Cow::Owned(copy)
}

/// The text that an expression looks for which is nothing but a text, perhaps with `.*` around it.
pub fn literal_core(pattern: &str) -> Option<&str> {
    let core = pattern.strip_prefix(".*").unwrap_or(pattern);
    let core = core.strip_suffix(".*").unwrap_or(core);
    (!core.chars().any(regex_syntax::is_meta_character)).then_some(core)
}

fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_string()
}

/// Rewrites RE2 syntax into that of the `regex` crate.
pub fn translate(pattern: &str) -> Result<String, RegexError> {
    let mut translator =
        Translator { rest: pattern.chars().peekable(), out: String::with_capacity(pattern.len()) };
    match translator.run() {
        Ok(()) => Ok(translator.out),
        Err(reason) => Err(RegexError { pattern: pattern.into(), reason: reason.into() }),
    }
}

struct Translator<'p> {
    rest: Peekable<Chars<'p>>,
    out: String,
}

type Step = Result<(), &'static str>;

impl Translator<'_> {
    fn run(&mut self) -> Step {
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '{' => self.brace()?,
                '*' | '+' | '?' => {
                    self.out.push(c);
                    self.after_repetition()?;
                }
                c => self.out.push(c),
            }
        }
        Ok(())
    }

    /// RE2 refuses a repetition of a repetition (`a**`); one `?` behind it makes it lazy.
    fn after_repetition(&mut self) -> Step {
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        match self.rest.peek() {
            Some('*' | '+' | '?') => Err("invalid nested repetition operator"),
            _ => Ok(()),
        }
    }

    fn escape(&mut self) -> Step {
        let Some(c) = self.rest.next() else { return Err("trailing backslash at end of expression") };
        match c {
            'd' | 'w' | 's' => self.bracketed(false, perl_class(c)),
            'D' | 'W' | 'S' => self.bracketed(true, perl_class(c.to_ascii_lowercase())),
            'b' | 'B' => {
                self.out.push_str("(?-u:\\");
                self.out.push(c);
                self.out.push(')');
            }
            'C' => self.out.push_str("(?s-u:.)"),
            'Q' => self.quoted(),
            c => return self.plain_escape(c),
        }
        Ok(())
    }

    fn bracketed(&mut self, negated: bool, class: &str) {
        self.out.push_str(if negated { "[^" } else { "[" });
        self.out.push_str(class);
        self.out.push(']');
    }

    /// An escape that means the same inside a class and outside.
    fn plain_escape(&mut self, c: char) -> Step {
        match c {
            'p' | 'P' | 'x' => {
                self.out.push('\\');
                self.out.push(c);
                if self.rest.next_if_eq(&'{').is_some() {
                    self.out.push('{');
                    for c in self.rest.by_ref() {
                        self.out.push(c);
                        if c == '}' {
                            break;
                        }
                    }
                }
            }
            '0'..='7' => return self.octal(c),
            '<' | '>' => self.out.push(c),
            'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'A' | 'z' => self.out.extend(['\\', c]),
            c if c.is_ascii_alphanumeric() => return Err("invalid escape sequence"),
            c if c.is_ascii() => self.out.extend(['\\', c]),
            _ => return Err("invalid escape sequence"),
        }
        Ok(())
    }

    /// `\0`, `\012`; a single digit from 1 would be a back reference, which RE2 has not.
    fn octal(&mut self, first: char) -> Step {
        if first != '0' && !matches!(self.rest.peek(), Some('0'..='7')) {
            return Err("invalid escape sequence");
        }
        let mut code = first as u32 - '0' as u32;
        for _ in 0..2 {
            let Some(digit) = self.rest.next_if(|c| ('0'..='7').contains(c)) else { break };
            code = code * 8 + (digit as u32 - '0' as u32);
        }
        self.out.push_str(&format!("\\x{{{code:x}}}"));
        Ok(())
    }

    /// `\Q…\E`: everything stands for itself.
    fn quoted(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
        }
    }

    fn group(&mut self) -> Step {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        if let Some(c) = self.rest.next_if(|c| matches!(c, 'P' | '<')) {
            self.out.push(c);
            return match self.rest.peek() {
                Some('=' | '!' | '>') => Err("invalid or unsupported Perl syntax"),
                _ => Ok(()),
            };
        }
        for c in self.rest.by_ref() {
            self.out.push(c);
            match c {
                'i' | 'm' | 's' | 'U' | '-' => {}
                ':' | ')' => return Ok(()),
                _ => break,
            }
        }
        Err("invalid or unsupported Perl syntax")
    }

    /// `{2,3}` repeats; any other brace stands for itself.
    fn brace(&mut self) -> Step {
        let inner: String = self.rest.clone().take_while(|c| *c != '}').collect();
        let closed = self.rest.clone().nth(inner.chars().count()) == Some('}');
        let (low, high) = inner.split_once(',').unwrap_or((&inner, &inner));
        let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !closed || !number(low) || !(high.is_empty() || number(high)) {
            self.out.push_str("\\{");
            return Ok(());
        }
        if [low, high].iter().any(|n| !n.is_empty() && n.parse::<u32>().map_or(true, |n| n > REPEAT_MAX)) {
            return Err("invalid repeat count");
        }
        self.out.push('{');
        self.out.extend(self.rest.by_ref().take(inner.chars().count() + 1));
        self.after_repetition()
    }

    fn class(&mut self) -> Step {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        while let Some(c) = self.rest.next() {
            match c {
                ']' if !first => {
                    self.out.push(']');
                    return Ok(());
                }
                '[' if self.rest.peek() == Some(&':') => self.posix_class(),
                '\\' => self.class_escape()?,
                '-' if first || self.rest.peek() == Some(&']') => self.out.push_str("\\-"),
                '-' => {
                    self.out.push('-');
                    if self.rest.next_if_eq(&'-').is_some() {
                        self.out.push_str("\\-");
                    }
                }
                ']' | '[' | '&' | '~' => self.out.extend(['\\', c]),
                c => self.out.push(c),
            }
            first = false;
        }
        Err("missing closing ]")
    }

    /// `[:alpha:]` inside a class; anything else that starts like it is a bracket and what follows.
    fn posix_class(&mut self) {
        let name: String =
            self.rest.clone().skip(1).take_while(|c| c.is_ascii_alphabetic() || *c == '^').collect();
        let closed = self.rest.clone().skip(1 + name.len()).take(2).eq([':', ']']);
        if !closed {
            self.out.push_str("\\[");
            return;
        }
        self.out.push('[');
        self.out.extend(self.rest.by_ref().take(name.len() + 3));
    }

    fn class_escape(&mut self) -> Step {
        let Some(c) = self.rest.next() else { return Err("missing closing ]") };
        match c {
            'd' | 'w' | 's' => self.out.push_str(perl_class(c)),
            'D' | 'W' | 'S' => self.bracketed(true, perl_class(c.to_ascii_lowercase())),
            'b' | 'B' | 'A' | 'z' => return Err("invalid escape sequence"),
            c => return self.plain_escape(c),
        }
        Ok(())
    }
}

/// What `\d`, `\w` and `\s` stand for in RE2.
fn perl_class(c: char) -> &'static str {
    match c {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        _ => "\\t\\n\\f\\r\\x20",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        let regex = Re2::new(pattern).unwrap();
        for text in matching {
            assert!(regex.is_match(text.as_bytes()), "{pattern} should match {text:?}");
        }
        for text in other {
            assert!(!regex.is_match(text.as_bytes()), "{pattern} should not match {text:?}");
        }
    }

    #[test]
    fn perl_classes_are_ascii_and_the_rest_is_unicode() {
        check(r"^\w+$", &["abc_1"], &["日本", "é"]);
        check(r"^.$", &["日"], &["日本"]);
        check(r"^\W$", &["日"], &["a"]);
        check(r"^[\d\s]+$", &["1 2\t"], &["\u{a0}", "\u{b}"]);
        check(r"\bfoo\b", &["é foo é", "éfooé"], &["xfoo"]);
        check(r"(?i)k", &["K", "\u{212a}"], &["x"]);
        check(r"\pL{3}", &["日本語"], &["12"]);
    }

    #[test]
    fn braces_and_brackets_stand_for_themselves_where_they_mean_nothing() {
        check(r#"{"a":{1}"#, &[r#"{"a":"#], &["a"]);
        check("a{2}", &["aa"], &["a"]);
        check("a{,2}", &["a{,2}"], &["aa"]);
        check("[[a]", &["[", "a"], &["]", "b"]);
        check("[a&&b~~c]", &["&", "~", "c"], &["d"]);
        check("[]a]", &["]", "a"], &["b"]);
        check("[+--]", &["+", ",", "-"], &["."]);
        check("[a-]", &["-", "a"], &["b"]);
        check("[[:alpha:]1]", &["x", "1"], &[":", "2"]);
        check(r"\Qa.b\E.", &["a.bx"], &["axbx"]);
        check(r"\/\-\_\<\x66\x{6f}\0101", &["/-_<fo\u{8}1"], &["/-_"]);
    }

    #[test]
    fn bytes_that_are_not_text_match_a_dot() {
        assert!(Re2::new("^a.b$").unwrap().is_match(b"a\xffb"));
        assert!(Re2::new("^a..b$").unwrap().is_match(b"a\xe6\x97b"));
        assert!(!Re2::new("^a.b$").unwrap().is_match(b"a\xff\xffb"));
    }

    #[test]
    fn anchored_expressions_cover_the_whole_text_and_its_newlines() {
        let regex = Re2::anchored("a|.*b").unwrap();
        assert!(regex.is_match(b"a") && regex.is_match(b"x\nb"));
        assert!(!regex.is_match(b"ab\n") && !regex.is_match(b"aa"));
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for pattern in
            ["(", "a**", "(?=a)", "(?<=a)b", r"\1", "(?x)a", "a{1001}", "[a", r"\h", "a{2}{3}x**", "\\"]
        {
            assert!(Re2::new(pattern).is_err(), "{pattern}");
        }
    }
}
