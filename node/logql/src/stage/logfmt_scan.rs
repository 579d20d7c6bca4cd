//! A scanner over `key=value key="quoted value" key`, copying only values with escapes.
//!
//! The grammar is that of `github.com/go-logfmt/logfmt`; after an error it goes on behind the next space.

use memchr::memchr2;
use thiserror::Error;

use crate::stage::json_scan::hex4;

/// What is wrong with a pair, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("logfmt syntax error at pos {position}: {reason}")]
pub(super) struct LogfmtError {
    /// Bytes before it, plus one.
    position: usize,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
enum Reason {
    #[error("unexpected `{}`", char::from(*.0))]
    Unexpected(u8),
    #[error("invalid key")]
    InvalidKey,
    #[error("unterminated quoted value")]
    Unterminated,
    #[error("invalid quoted value")]
    InvalidQuote,
}

/// A key and its value.
pub(super) type Pair<'l, 'v> = (&'l [u8], &'v [u8]);

/// Walks over the pairs of a line.
pub(super) struct Pairs<'l, 'b> {
    line: &'l [u8],
    at: usize,
    unquoted: &'b mut Vec<u8>,
}

impl<'l, 'b> Pairs<'l, 'b> {
    pub(super) fn new(line: &'l [u8], unquoted: &'b mut Vec<u8>) -> Pairs<'l, 'b> {
        Pairs { line, at: 0, unquoted }
    }

    /// The next pair, an error in its place, or nothing at the end of the line. A key alone has an empty value.
    pub(super) fn next(&mut self) -> Option<Result<Pair<'l, '_>, LogfmtError>> {
        self.at += self.line[self.at..].iter().position(|b| *b > b' ')?;
        let start = self.at;
        let key_end = |b: &u8| *b <= b' ' || *b == b'=' || *b == b'"';
        self.at = self.line[start..].iter().position(key_end).map_or(self.line.len(), |len| start + len);
        let key = &self.line[start..self.at];
        Some(match self.line.get(self.at) {
            Some(b'"') => Err(self.unexpected(b'"')),
            Some(b'=') if key.is_empty() => Err(self.unexpected(b'=')),
            _ if !is_text(key) => Err(self.fail(Reason::InvalidKey)),
            Some(b'=') => {
                self.at += 1;
                self.value().map(|value| match value {
                    Found::InLine(value) => (key, value),
                    Found::Unquoted => (key, self.unquoted.as_slice()),
                })
            }
            _ => Ok((key, b"".as_slice())),
        })
    }

    fn value(&mut self) -> Result<Found<'l>, LogfmtError> {
        if self.line.get(self.at) == Some(&b'"') {
            return self.quoted();
        }
        let start = self.at;
        let value_end = |b: &u8| *b <= b' ' || *b == b'=' || *b == b'"';
        self.at = self.line[start..].iter().position(value_end).map_or(self.line.len(), |len| start + len);
        match self.line.get(self.at) {
            Some(b @ (b'=' | b'"')) => Err(self.unexpected(*b)),
            _ => Ok(Found::InLine(&self.line[start..self.at])),
        }
    }

    fn quoted(&mut self) -> Result<Found<'l>, LogfmtError> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            let found = self.line.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest));
            let Some(len) = found else {
                self.at = self.line.len();
                return Err(self.fail(Reason::Unterminated));
            };
            at += len;
            if self.line[at] == b'"' {
                break;
            }
            escaped = true;
            at += 2;
        }
        self.at = at + 1;
        let raw = &self.line[start..at];
        if !escaped {
            return Ok(Found::InLine(raw));
        }
        self.unquoted.clear();
        if unquote(raw, self.unquoted).is_none() {
            return Err(self.fail(Reason::InvalidQuote));
        }
        Ok(Found::Unquoted)
    }

    fn unexpected(&mut self, byte: u8) -> LogfmtError {
        self.fail(Reason::Unexpected(byte))
    }

    /// Makes the error and goes to the next space.
    fn fail(&mut self, reason: Reason) -> LogfmtError {
        let error = LogfmtError { position: self.at + 1, reason };
        let rest = &self.line[self.at..];
        self.at += rest.iter().position(|b| *b <= b' ').unwrap_or(rest.len());
        error
    }
}

enum Found<'l> {
    InLine(&'l [u8]),
    Unquoted,
}

/// Keys may be any text without U+FFFD.
fn is_text(key: &[u8]) -> bool {
    key.is_ascii() || std::str::from_utf8(key).is_ok_and(|key| !key.contains(char::REPLACEMENT_CHARACTER))
}

/// Appends a quoted value with its escapes, which are JSON's and `\'`, undone. Control characters have no
/// place in a value with escapes; a surrogate without its other half becomes U+FFFD.
fn unquote(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'\\' => at += unquote_escape(&raw[at..], out)?,
            byte if byte < b' ' => return None,
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Some(())
}

fn unquote_escape(text: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let byte = match text.get(1)? {
        b @ (b'"' | b'\\' | b'/' | b'\'') => *b,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => {
            let (c, len) = unquote_unicode(text)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(len);
        }
        _ => return None,
    };
    out.push(byte);
    Some(2)
}

fn unquote_unicode(text: &[u8]) -> Option<(char, usize)> {
    let first = hex4(text.get(2..6)?)?;
    if let Some(c) = char::from_u32(first) {
        return Some((c, 6));
    }
    let second = text.get(6..12).filter(|next| next.starts_with(b"\\u")).and_then(|next| hex4(&next[2..]));
    match second {
        Some(second) if first < 0xDC00 && (0xDC00..0xE000).contains(&second) => {
            let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            Some((char::from_u32(code)?, 12))
        }
        _ => Some((char::REPLACEMENT_CHARACTER, 6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &[Option<(&str, &str)>]) {
        let mut unquoted = Vec::new();
        let mut pairs = Pairs::new(line.as_bytes(), &mut unquoted);
        let mut got = Vec::new();
        while let Some(pair) = pairs.next() {
            let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
            got.push(pair.ok().map(|(key, value)| (text(key), text(value))));
        }
        let got: Vec<_> = got.iter().map(|p| p.as_ref().map(|(k, v)| (k.as_str(), v.as_str()))).collect();
        assert_eq!(got, expected, "{line}");
    }

    #[test]
    fn pairs_are_read_and_damage_is_skipped_to_the_next_space() {
        check("a=b c", &[Some(("a", "b")), Some(("c", ""))]);
        check("a=\"b c\"d e= ", &[Some(("a", "b c")), Some(("d", "")), Some(("e", ""))]);
        check("=b c=d", &[None, Some(("c", "d"))]);
        check("a==b c=d", &[None, Some(("c", "d"))]);
        check("a=b\"c d=e", &[None, Some(("d", "e"))]);
        check("a=b  =  c=d", &[Some(("a", "b")), None, Some(("c", "d"))]);
        check("a=\"b d=e", &[None]);
        check("a=\"\\x\" b=c", &[None, Some(("b", "c"))]);
        check("", &[]);
        check("  ", &[]);
        check("a=\"\\", &[None]);
    }

    #[test]
    fn quoted_values_know_the_escapes_of_json() {
        check(r#"a="\"\\\/\'\n\u00e9\ud83d\ude00""#, &[Some(("a", "\"\\/'\né😀"))]);
        check(r#"a="\ud83dx""#, &[Some(("a", "\u{fffd}x"))]);
        check("a=\"\\\"\t\"", &[None]);
        check("a=\"\t\"", &[Some(("a", "\t"))]);
    }
}
