//! The expressions of `json a="x.y[0][\"k\"]"` and `logfmt a="b"`: where a value stands.

use std::iter::Peekable;
use std::str::Chars;

use thiserror::Error;

use crate::stage::json_scan::{Members, elements};

/// An expression that says no place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot parse expression `{expression}`: {reason}")]
pub struct PathError {
    /// The expression.
    pub expression: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// One step into JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

/// Reads a path into JSON: names joined by dots, and `[0]` or `["any name"]`.
pub(super) fn json_path(expression: &str) -> Result<Vec<Segment>, PathError> {
    let mut reader = Reader { rest: expression.chars().peekable() };
    reader.path().map_err(|reason| PathError { expression: expression.into(), reason })
}

/// A place in JSON, such as `trace.ids[0]`.
#[derive(Clone, Debug)]
pub(crate) struct JsonPath(Vec<Segment>);

impl JsonPath {
    /// Reads an expression.
    pub(crate) fn parse(expression: &str) -> Result<Self, PathError> {
        json_path(expression).map(JsonPath)
    }
}

/// The value at a place in a JSON object as it stands there, a string without its quotes.
pub(crate) fn json_value<'j>(object: &'j [u8], path: &JsonPath) -> Option<&'j [u8]> {
    path.0.iter().try_fold(object, |data, segment| match segment {
        Segment::Key(name) => member(data, name.as_bytes()),
        Segment::Index(wanted) if data.starts_with(b"[") => {
            let mut found = None;
            elements(data, |index, value| {
                found = (index == *wanted).then_some(value.raw);
                index < *wanted
            });
            found
        }
        Segment::Index(_) => None,
    })
}

fn member<'j>(object: &'j [u8], name: &[u8]) -> Option<&'j [u8]> {
    let (mut members, mut unescaped) = (Members::enter(object).ok()?, Vec::new());
    loop {
        members.find_key(&mut unescaped).ok()??;
        let is_it = members.key(&unescaped) == name;
        let value = members.value().ok()?;
        if is_it {
            return Some(value.raw);
        }
        members.advance().ok()?;
    }
}

/// Reads the key of `logfmt`: a name, or any text in quotes.
pub(super) fn field(expression: &str) -> Result<String, PathError> {
    let mut reader = Reader { rest: expression.chars().peekable() };
    let read = reader.key().and_then(|key| match reader.peek() {
        None => Ok(key),
        Some(_) => Err("expecting one name"),
    });
    read.map_err(|reason| PathError { expression: expression.into(), reason })
}

struct Reader<'e> {
    rest: Peekable<Chars<'e>>,
}

impl Reader<'_> {
    fn path(&mut self) -> Result<Vec<Segment>, &'static str> {
        let mut path = Vec::new();
        match self.peek() {
            Some('[') => path.push(self.bracket()?),
            _ => path.push(Segment::Key(self.name()?)),
        }
        while let Some(c) = self.peek() {
            path.push(match c {
                '[' => self.bracket()?,
                '.' => {
                    self.rest.next();
                    self.peek();
                    Segment::Key(self.name()?)
                }
                _ => return Err("expecting `.` or `[`"),
            });
        }
        Ok(path)
    }

    /// The next character that is not space.
    fn peek(&mut self) -> Option<char> {
        while self.rest.next_if(|c| matches!(c, ' ' | '\t' | '\n')).is_some() {}
        self.rest.peek().copied()
    }

    fn key(&mut self) -> Result<String, &'static str> {
        if self.peek() == Some('"') { self.quoted() } else { self.name() }
    }

    fn name(&mut self) -> Result<String, &'static str> {
        let mut name = String::new();
        while let Some(c) = self.rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("expecting a name");
        }
        Ok(name)
    }

    fn quoted(&mut self) -> Result<String, &'static str> {
        self.rest.next();
        let mut text = String::new();
        for c in self.rest.by_ref() {
            if c == '"' {
                return Ok(text);
            }
            text.push(c);
        }
        Err("expecting a closing quote")
    }

    fn bracket(&mut self) -> Result<Segment, &'static str> {
        self.rest.next();
        let segment = match self.peek() {
            Some('"') => Segment::Key(self.quoted()?),
            _ => {
                let mut digits = String::new();
                while let Some(c) = self.rest.next_if(char::is_ascii_digit) {
                    digits.push(c);
                }
                Segment::Index(digits.parse().map_err(|_| "expecting an index or a quoted name")?)
            }
        };
        match self.peek() {
            Some(']') => self.rest.next(),
            _ => return Err("expecting `]`"),
        };
        Ok(segment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_members_and_elements() {
        let key = |name: &str| Segment::Key(name.into());
        let check = |source: &str, path: &[Segment]| assert_eq!(json_path(source).unwrap(), path, "{source}");
        check("a", &[key("a")]);
        check("a.b[0]", &[key("a"), key("b"), Segment::Index(0)]);
        check(r#"["m k"].x[1]["a.b"]"#, &[key("m k"), key("x"), Segment::Index(1), key("a.b")]);
        check("[ 2 ]", &[Segment::Index(2)]);
        for source in ["", "a..b", "a.", ".a", "a[", "a[x]", "a[1.5]", "a b", "a-b", "1a", "a[\"b]", "\"a\""]
        {
            assert!(json_path(source).is_err(), "{source}");
        }
    }

    #[test]
    fn a_logfmt_key_is_one_name_or_quoted_text() {
        assert_eq!(field("a_1"), Ok("a_1".into()));
        assert_eq!(field("\"a.b\""), Ok("a.b".into()));
        for source in ["", "a.b", "a b", "1"] {
            assert!(field(source).is_err(), "{source}");
        }
    }
}
