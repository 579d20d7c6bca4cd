//! A scanner over JSON that copies nothing and believes little.
//!
//! Log lines are often cut off or followed by something else, so what stands before the damage counts:
//! members are handed out as they are found, text behind the object is ignored, and a value that nobody wants
//! is only skipped. The leniencies are those of `github.com/buger/jsonparser`, which Loki uses.

use memchr::{memchr2, memchr3};
use thiserror::Error;

/// Objects within objects that are looked into; deeper ones are skipped. Bounds recursion, and the cost of
/// skipping: each level is measured before it is entered.
pub(crate) const DEPTH_MAX: usize = 64;

/// Why an object could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum JsonError {
    #[error("Value looks like object, but can't find closing '}}' symbol")]
    Object,
    #[error("Value is array, but can't find closing ']' symbol")]
    Array,
    #[error("Value is string, but can't find closing '\"' symbol")]
    String,
    #[error("malformed JSON")]
    Malformed,
    #[error("unknown value type")]
    Type,
    #[error("invalid escape sequence in a string")]
    Escape,
    #[error("expecting a JSON object, but it is not")]
    NotObject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    String,
    Number,
    Object,
    Array,
    Boolean,
    Null,
}

/// A value as it stands in the line; a string without its quotes, escapes and all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Value<'j> {
    pub(super) kind: Kind,
    pub(super) raw: &'j [u8],
}

/// Walks over the members of an object.
pub(super) struct Members<'j> {
    data: &'j [u8],
    at: usize,
    key: &'j [u8],
    escaped: bool,
}

impl<'j> Members<'j> {
    /// Enters the object a text starts with, after spaces.
    pub(super) fn enter(data: &'j [u8]) -> Result<Members<'j>, JsonError> {
        let at = skip_space(data, 0).ok_or(JsonError::Object)?;
        if data[at] != b'{' {
            return Err(JsonError::Object);
        }
        let at = skip_space(data, at + 1).ok_or(JsonError::Malformed)?;
        Ok(Members { data, at, key: b"", escaped: false })
    }

    /// The next member, or nothing at the end; `unescaped` is room for its key.
    pub(super) fn next<'b>(
        &mut self,
        unescaped: &'b mut Vec<u8>,
    ) -> Result<Option<(&'b [u8], Value<'j>)>, JsonError>
    where
        'j: 'b,
    {
        if self.find_key(unescaped)?.is_none() {
            return Ok(None);
        }
        let value = self.value()?;
        Ok(Some((self.key(unescaped), value)))
    }

    /// Goes to the value of the next member; nothing at the end. A key with escapes leaves its text in `unescaped`.
    pub(super) fn find_key(&mut self, unescaped: &mut Vec<u8>) -> Result<Option<()>, JsonError> {
        let data = self.data;
        match data.get(self.at) {
            Some(b'"') => {}
            Some(b'}') => return Ok(None),
            _ => return Err(JsonError::Object),
        }
        let start = self.at + 1;
        let (end, escaped) = string_end(data, start).ok_or(JsonError::Malformed)?;
        self.key = &data[start..end];
        self.escaped = escaped;
        if escaped {
            unescaped.clear();
            unescape(self.key, unescaped).ok_or(JsonError::Escape)?;
        }
        let colon = skip_space(data, end + 1).ok_or(JsonError::Malformed)?;
        if data[colon] != b':' {
            return Err(JsonError::Malformed);
        }
        self.at = colon + 1;
        Ok(Some(()))
    }

    /// The key found, with escapes undone; `unescaped` is what [`find_key`](Self::find_key) wrote to.
    pub(super) fn key<'b>(&self, unescaped: &'b [u8]) -> &'b [u8]
    where
        'j: 'b,
    {
        if self.escaped { unescaped } else { self.key }
    }

    /// Reads the value of the member found.
    pub(super) fn value(&mut self) -> Result<Value<'j>, JsonError> {
        let (value, end) = value_at(self.data, self.at)?;
        self.at = end;
        Ok(value)
    }

    /// Everything from the value of the member found, whole or not, to the end of the text.
    pub(super) fn rest(&self) -> &'j [u8] {
        &self.data[skip_space(self.data, self.at).unwrap_or(self.data.len())..]
    }

    /// Goes on to the next member. Apart from [`next`](Self::next) because what is wrong behind a member is
    /// only found after the member has been used.
    pub(super) fn advance(&mut self) -> Result<(), JsonError> {
        let at = skip_space(self.data, self.at).ok_or(JsonError::Array)?;
        match self.data[at] {
            b'}' => self.at = at,
            b',' => self.at = skip_space(self.data, at + 1).ok_or(JsonError::Array)?,
            _ => return Err(JsonError::Object),
        }
        Ok(())
    }
}

/// Hands each element of the array a text starts with to `element` until that says stop.
pub(super) fn elements<'j>(data: &'j [u8], mut element: impl FnMut(usize, Value<'j>) -> bool) {
    let Some(mut at) = skip_space(data, 1) else { return };
    if data[at] == b']' {
        return;
    }
    for index in 0.. {
        let Ok((value, end)) = value_at(data, at) else { return };
        if !element(index, value) {
            return;
        }
        match skip_space(data, end) {
            Some(comma) if data[comma] == b',' => at = comma + 1,
            _ => return,
        }
    }
}

/// The value at or after `at`, and where it ends.
pub(super) fn value_at(data: &[u8], at: usize) -> Result<(Value<'_>, usize), JsonError> {
    let start = skip_space(data, at).ok_or(JsonError::Malformed)?;
    let (kind, end) = match data[start] {
        b'"' => {
            let (end, _) = string_end(data, start + 1).ok_or(JsonError::String)?;
            return Ok((Value { kind: Kind::String, raw: &data[start + 1..end] }, end + 1));
        }
        b'{' => (Kind::Object, block_end(data, start, b'{', b'}').ok_or(JsonError::Object)?),
        b'[' => (Kind::Array, block_end(data, start, b'[', b']').ok_or(JsonError::Array)?),
        _ => {
            let end = token_end(data, start);
            (token_kind(&data[start..end])?, end)
        }
    };
    Ok((Value { kind, raw: &data[start..end] }, end))
}

fn token_kind(token: &[u8]) -> Result<Kind, JsonError> {
    match token {
        b"true" | b"false" => Ok(Kind::Boolean),
        b"null" => Ok(Kind::Null),
        [b'0'..=b'9' | b'-', ..] => Ok(Kind::Number),
        _ => Err(JsonError::Type),
    }
}

fn token_end(data: &[u8], start: usize) -> usize {
    let ends = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'}' | b']');
    data[start..].iter().position(ends).map_or(data.len(), |len| start + len)
}

/// Where the first byte at or after `at` is that is not space.
pub(super) fn skip_space(data: &[u8], at: usize) -> Option<usize> {
    let space = |b: &u8| matches!(b, b' ' | b'\n' | b'\r' | b'\t');
    let at = at.min(data.len());
    data[at..].iter().position(|b| !space(b)).map(|len| at + len)
}

/// Where the closing quote of the string that starts at `at` is, and whether a backslash stands before it.
pub(super) fn string_end(data: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut at = at;
    let mut escaped = false;
    loop {
        at += memchr2(b'"', b'\\', data.get(at..)?)?;
        if data[at] == b'"' {
            return Some((at, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// Where the object or array that starts at `start` ends. Only brackets of its own kind count.
fn block_end(data: &[u8], start: usize, open: u8, close: u8) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = start;
    loop {
        at += memchr3(b'"', open, close, data.get(at..)?)?;
        if data[at] == b'"' {
            at = string_end(data, at + 1)?.0;
        } else if data[at] == open {
            depth += 1;
        } else {
            depth -= 1;
            if depth == 0 {
                return Some(at + 1);
            }
        }
        at += 1;
    }
}

/// Appends a string's text with its escapes undone; nothing if one is invalid (what came before it may have
/// been appended).
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let (bytes, len) = escape(&rest[at..])?;
        match bytes {
            Escape::Byte(byte) => out.push(byte),
            Escape::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &rest[at + len..];
    }
    out.extend_from_slice(rest);
    Some(())
}

enum Escape {
    Byte(u8),
    Char(char),
}

/// The escape a text starts with and its length.
fn escape(text: &[u8]) -> Option<(Escape, usize)> {
    let byte = match text.get(1)? {
        b'"' => b'"',
        b'\\' => b'\\',
        b'/' => b'/',
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unicode_escape(text).map(|(c, len)| (Escape::Char(c), len)),
        _ => return None,
    };
    Some((Escape::Byte(byte), 2))
}

/// `\uXXXX`, or two that make a surrogate pair.
fn unicode_escape(text: &[u8]) -> Option<(char, usize)> {
    let first = hex4(text.get(2..6)?)?;
    if !(0xD800..0xE000).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    if text.get(6..8)? != b"\\u" {
        return None;
    }
    let second = hex4(text.get(8..12)?)?;
    if !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    let code = 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
    Some((char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12))
}

/// Four hex digits.
pub(super) fn hex4(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(data: &str, expected: &[(&str, Kind, &str)], end: Result<(), JsonError>) {
        let mut got = Vec::new();
        let mut walk = || -> Result<(), JsonError> {
            let (mut members, mut unescaped) = (Members::enter(data.as_bytes())?, Vec::new());
            while let Some((key, value)) = members.next(&mut unescaped)? {
                let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
                got.push((text(key), value.kind, text(value.raw)));
                members.advance()?;
            }
            Ok(())
        };
        assert_eq!(walk(), end, "{data}");
        let got: Vec<_> = got.iter().map(|(k, t, v)| (k.as_str(), *t, v.as_str())).collect();
        assert_eq!(got, expected, "{data}");
    }

    #[test]
    fn members_come_as_they_are_found() {
        check(
            r#" {"a":"b\"c" , "d":1.50,"e":{"f":[1,"}"]},"g":[{"h":"]"}],"i":true,"j":null,"\u006b":""} rest"#,
            &[
                ("a", Kind::String, r#"b\"c"#),
                ("d", Kind::Number, "1.50"),
                ("e", Kind::Object, r#"{"f":[1,"}"]}"#),
                ("g", Kind::Array, r#"[{"h":"]"}]"#),
                ("i", Kind::Boolean, "true"),
                ("j", Kind::Null, "null"),
                ("k", Kind::String, ""),
            ],
            Ok(()),
        );
        check("{}", &[], Ok(()));
        check(r#"{"a":1,}"#, &[("a", Kind::Number, "1")], Ok(()));
    }

    #[test]
    fn damage_is_reported_after_what_stands_before_it() {
        let a = ("a", Kind::String, "1");
        check(r#"{"a":"1""#, &[a], Err(JsonError::Array));
        check(r#"{"a":"1","b":"2"#, &[a], Err(JsonError::String));
        check(r#"{"a":"1" "b""#, &[a], Err(JsonError::Object));
        check(r#"{"a":"1","b":tru}"#, &[a], Err(JsonError::Type));
        check(r#"{"a":"1","b":{"c":"d"}"#, &[a, ("b", Kind::Object, r#"{"c":"d"}"#)], Err(JsonError::Array));
        check(r#"{"a":"1","b":{"c":"d""#, &[a], Err(JsonError::Object));
        check("", &[], Err(JsonError::Object));
        check("[1]", &[], Err(JsonError::Object));
        check("{", &[], Err(JsonError::Malformed));
        check(r#"{"\x":1}"#, &[], Err(JsonError::Escape));
    }

    #[test]
    fn escapes_are_undone_or_the_string_is_invalid() {
        let check = |raw: &str, expected: Option<&str>| {
            let mut out = Vec::new();
            let done = unescape(raw.as_bytes(), &mut out);
            assert_eq!(done.map(|()| String::from_utf8(out).unwrap()).as_deref(), expected, "{raw}");
        };
        check(r#"a\"\\\/\b\f\n\r\t"#, Some("a\"\\/\u{8}\u{c}\n\r\t"));
        check(r"\u00e9\ud83d\ude00", Some("é😀"));
        for raw in [r"\x", r"\u12", r"\ud83d", r"\ud83d\u0041", r"\ud83dx", "\\"] {
            check(raw, None);
        }
    }
}
