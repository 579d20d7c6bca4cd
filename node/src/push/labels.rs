//! Label strings: `{app="web", "k8s.pod"='a'}`, as clients of the protobuf push write them.
//!
//! The grammar is that of Prometheus' metric literals: an optional metric name, braces, pairs of a bare or a
//! quoted name and a value in double, single or back quotes, an optional last comma. Positions and texts of
//! errors follow Prometheus where clients are likely to meet them.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Labels in one string. Far above what any limit of a tenant lets through; it bounds the work before those
/// limits are looked at.
pub const PAIRS_MAX: usize = 1024;

/// The label that holds a metric name.
const METRIC_NAME: &str = "__name__";

/// One name and its value, borrowed from the string where they hold no escapes.
pub type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// Where a label string is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: parse error: {problem}")]
pub struct LabelError {
    line: usize,
    column: usize,
    problem: String,
}

/// Reads a label string. The pairs come in the order written; names may repeat and values may be empty.
///
/// # Errors
/// The string is not of the grammar above, or holds more than [`PAIRS_MAX`] labels. An empty string is an
/// empty set: Loki takes a stream that names no labels at all.
pub fn parse(text: &str) -> Result<Vec<Pair<'_>>, LabelError> {
    let mut cursor = Cursor { text, at: 0 };
    let mut pairs = Vec::new();
    cursor.skip_space();
    if cursor.rest().is_empty() {
        return Ok(pairs);
    }
    if let Some(name) = cursor.metric_name() {
        pairs.push((Cow::Borrowed(METRIC_NAME), Cow::Borrowed(name)));
        cursor.skip_space();
    }
    if cursor.eat('{') {
        cursor.pairs(&mut pairs)?;
        cursor.skip_space();
    } else if pairs.is_empty() {
        return Err(cursor.unexpected());
    }
    match cursor.peek() {
        None => Ok(pairs),
        Some(_) => Err(cursor.unexpected()),
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.rest().starts_with(wanted);
        self.at += usize::from(found) * wanted.len_utf8();
        found
    }

    fn error_at(&self, at: usize, problem: impl Into<String>) -> LabelError {
        let before = &self.text.as_bytes()[..at];
        let line = 1 + memchr::memchr_iter(b'\n', before).count();
        let column = 1 + at - memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
        LabelError { line, column, problem: problem.into() }
    }

    fn unexpected(&self) -> LabelError {
        match self.peek() {
            Some(c) => self.error_at(self.at, format!("unexpected character: {}", quoted_char(c))),
            None => self.error_at(self.at, "unexpected end of input"),
        }
    }

    fn unexpected_inside(&self) -> LabelError {
        match self.peek() {
            Some(c) => {
                self.error_at(self.at, format!("unexpected character inside braces: {}", quoted_char(c)))
            }
            None => self.error_at(self.at, "unexpected end of input inside braces"),
        }
    }

    /// The run of characters that a bare name may hold; a metric name may hold colons too.
    fn word(&mut self, colons: bool) -> Option<&'a str> {
        let rest = self.rest();
        let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let len = rest.find(|c| !part(c)).unwrap_or(rest.len());
        self.at += len;
        (len > 0).then(|| &rest[..len])
    }

    fn metric_name(&mut self) -> Option<&'a str> {
        self.word(true)
    }

    fn pairs(&mut self, pairs: &mut Vec<Pair<'a>>) -> Result<(), LabelError> {
        loop {
            self.skip_space();
            if self.eat('}') {
                return Ok(());
            }
            if pairs.len() == PAIRS_MAX {
                return Err(self.error_at(self.at, format!("more than {PAIRS_MAX} labels")));
            }
            let pair = self.pair()?;
            pairs.push(pair);
            self.skip_space();
            if !self.eat(',') && self.peek() != Some('}') {
                return Err(self.unexpected_inside());
            }
        }
    }

    fn pair(&mut self) -> Result<Pair<'a>, LabelError> {
        let quoted = matches!(self.peek(), Some('"' | '\'' | '`'));
        let name = if quoted {
            self.string()?
        } else {
            Cow::Borrowed(self.word(false).ok_or_else(|| self.unexpected_inside())?)
        };
        self.skip_space();
        if quoted && matches!(self.peek(), Some(',' | '}')) {
            return Ok((Cow::Borrowed(METRIC_NAME), name));
        }
        if !self.eat('=') {
            // A string that does not end is the more telling error than a string that should not be here.
            if matches!(self.peek(), Some('"' | '\'' | '`')) {
                self.string()?;
            }
            return Err(self.unexpected_inside());
        }
        self.skip_space();
        Ok((name, self.string()?))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, LabelError> {
        let start = self.at;
        let quote = match self.peek() {
            Some(quote @ ('"' | '\'' | '`')) => quote as u8,
            _ => return Err(self.unexpected_inside()),
        };
        let unterminated = |cursor: &Self| cursor.error_at(start, "unterminated quoted string");
        let bytes = self.text.as_bytes();
        let mut end = start + 1;
        let mut escapes = false;
        loop {
            match bytes.get(end) {
                Some(&byte) if byte == quote => break,
                Some(b'\\') if quote != b'`' => {
                    escapes = true;
                    end += 2;
                }
                None | Some(b'\n') if quote != b'`' => return Err(unterminated(self)),
                None => return Err(unterminated(self)),
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        let inner = &self.text[start + 1..end];
        if !escapes {
            return Ok(Cow::Borrowed(inner));
        }
        match unescape(inner) {
            Some(text) => Ok(Cow::Owned(text)),
            None => Err(self.error_at(start, format!("unknown escape sequence in {inner:?}"))),
        }
    }
}

/// Undoes Go's string escapes. Bytes that are not UTF-8 after `\x` or octal escapes become U+FFFD.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let kind = rest[at + 1..].chars().next()?;
        rest = &rest[at + 1 + kind.len_utf8()..];
        let simple = match kind {
            'a' => 0x07,
            'b' => 0x08,
            'f' => 0x0C,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 0x0B,
            '\\' | '"' | '\'' | '`' => kind as u8,
            'x' => u8::try_from(number(&mut rest, 2, 16)?).ok()?,
            '0'..='7' => {
                let low = number(&mut rest, 2, 8)?;
                u8::try_from(kind.to_digit(8)? * 64 + low).ok()?
            }
            'u' | 'U' => {
                let c = char::from_u32(number(&mut rest, if kind == 'u' { 4 } else { 8 }, 16)?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        out.push(simple);
    }
    out.extend_from_slice(rest.as_bytes());
    Some(
        String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
    )
}

/// Takes exactly `digits` digits of the radix off the front.
fn number(rest: &mut &str, digits: usize, radix: u32) -> Option<u32> {
    let text = rest.get(..digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_alphanumeric()))?;
    *rest = &rest[digits..];
    u32::from_str_radix(text, radix).ok()
}

/// A label set as Loki prints it: `{a="b", c="d"}`, names that are not plain words in quotes.
#[derive(Debug)]
pub struct LabelString<I>(pub I);

impl<'a, I: Iterator<Item = (&'a str, &'a str)> + Clone> fmt::Display for LabelString<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('{')?;
        for (n, (name, value)) in self.0.clone().enumerate() {
            f.write_str(if n > 0 { ", " } else { "" })?;
            if is_plain_name(name) {
                f.write_str(name)?;
            } else {
                write_quoted(f, name)?;
            }
            f.write_char('=')?;
            write_quoted(f, value)?;
        }
        f.write_char('}')
    }
}

/// Whether a name may stand without quotes: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Text in double quotes with Go's escapes.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    // Writing to a string cannot fail.
    let _ = write_quoted(&mut out, text);
    out
}

/// Writes text in double quotes as Go's `strconv.Quote` does.
pub fn write_quoted(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for c in text.chars() {
        if c == '"' { out.write_str("\\\"")? } else { write_escaped(out, c)? }
    }
    out.write_char('"')
}

fn quoted_char(c: char) -> String {
    let mut out = String::from("'");
    let _ = if c == '\'' { out.write_str("\\'") } else { write_escaped(&mut out, c) };
    out.push('\'');
    out
}

fn write_escaped(out: &mut impl Write, c: char) -> fmt::Result {
    match c {
        '\\' => out.write_str("\\\\"),
        '\x07' => out.write_str("\\a"),
        '\x08' => out.write_str("\\b"),
        '\x0C' => out.write_str("\\f"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\x0B' => out.write_str("\\v"),
        c if is_printable(c) => out.write_char(c),
        c if c < ' ' || c == '\x7F' => write!(out, "\\x{:02x}", c as u32),
        c if (c as u32) < 0x1_0000 => write!(out, "\\u{:04x}", c as u32),
        c => write!(out, "\\U{:08x}", c as u32),
    }
}

/// Go's `unicode.IsPrint`, less the unassigned code points: those are printed as they are.
fn is_printable(c: char) -> bool {
    let format = matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}');
    let private = matches!(c, '\u{E000}'..='\u{F8FF}' | '\u{F0000}'..);
    c == ' ' || !(c.is_control() || c.is_whitespace() || format || private)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{LabelString, parse};

    fn check(text: &str, expected: &[(&str, &str)]) {
        let pairs = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(pairs, expected, "{text}");
    }

    fn check_error(text: &str, expected: &str) {
        assert_eq!(parse(text).map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
    }

    #[test]
    fn label_strings_are_read() {
        check("", &[]);
        check("{}", &[]);
        check(" { } ", &[]);
        check(r#"{a="b"}"#, &[("a", "b")]);
        check(r#"{a="b",c="d",}"#, &[("a", "b"), ("c", "d")]);
        check(r#"{ a = "b" , c='d' }"#, &[("a", "b"), ("c", "d")]);
        check(r#"{"a.b"="c"}"#, &[("a.b", "c")]);
        check(r#"foo{a="b"}"#, &[("__name__", "foo"), ("a", "b")]);
        check("foo:bar", &[("__name__", "foo:bar")]);
        check(r#"{"foo", a="b"}"#, &[("__name__", "foo"), ("a", "b")]);
        check(r#"{a="b",a="c"}"#, &[("a", "b"), ("a", "c")]);
        check(r#"{a=""}"#, &[("a", "")]);
        check(r"{a=`\n`}", &[("a", r"\n")]);
        check(r#"foo{a="b\"\u00e9"}"#, &[("__name__", "foo"), ("a", "b\"é")]);
        check(r#" { "foo" , a = "b" } "#, &[("__name__", "foo"), ("a", "b")]);
        check(r#"{a="\n\t\\\"\x41\101\u00e9\U0001F600"}"#, &[("a", "\n\t\\\"AAé😀")]);
        check(r#"{a="\xff"}"#, &[("a", "\u{FFFD}")]);
        check("{a=\"日本\"}", &[("a", "日本")]);
    }

    #[test]
    fn errors_name_the_place() {
        check_error(r#"{a.b="c"}"#, "1:3: parse error: unexpected character inside braces: '.'");
        check_error(r#"{a-b="c"}"#, "1:3: parse error: unexpected character inside braces: '-'");
        check_error(r#"{1a="c"}"#, "1:2: parse error: unexpected character inside braces: '1'");
        check_error(r#"{é="c"}"#, "1:2: parse error: unexpected character inside braces: 'é'");
        check_error(r#"{ab""#, "1:4: parse error: unterminated quoted string");
        check_error(r#"{a="b"#, "1:4: parse error: unterminated quoted string");
        check_error("{a=\"b\nc\"}", "1:4: parse error: unterminated quoted string");
        check_error(r#"{a="b" c="d"}"#, "1:8: parse error: unexpected character inside braces: 'c'");
        check_error(r#"{a="b""#, "1:7: parse error: unexpected end of input inside braces");
        check_error(r#"{a="b"} x"#, "1:9: parse error: unexpected character: 'x'");
        check_error("\n(", "2:1: parse error: unexpected character: '('");
        check_error(r"{a='\q'}", r#"1:4: parse error: unknown escape sequence in "\\q""#);
        check_error("{a=b}", "1:4: parse error: unexpected character inside braces: 'b'");
    }

    #[test]
    fn labels_print_as_go_quotes_them() {
        let labels = [("a", "q\"\\\n\u{1}\u{A0}é"), ("b.c", "")];
        let text = LabelString(labels.iter().copied()).to_string();
        assert_eq!(text, r#"{a="q\"\\\n\x01\u00a0é", "b.c"=""}"#);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[{}=,\"'`\\\\ax. \u{e9}\n]{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_printed_is_read_back(pairs in prop::collection::vec(("\\PC{1,6}", any::<String>()), 0..6)) {
            let printed = LabelString(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))).to_string();
            let read = parse(&printed).unwrap();
            let read: Vec<_> = read.into_iter().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
            prop_assert_eq!(read, pairs);
        }
    }
}
