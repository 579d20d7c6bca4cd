//! JSON, token by token, without a copy of what needs none.

use std::borrow::Cow;

use crate::push::error::PushError;

/// A JSON string, its escapes undone.
pub(super) enum Str<'a> {
    /// Without escapes: where it lies.
    Plain {
        body: &'a [u8],
        start: usize,
        end: usize,
    },
    Escaped(Vec<u8>),
}

impl<'a> Str<'a> {
    pub(super) fn text(self) -> Cow<'a, [u8]> {
        match self {
            Str::Plain { body, start, end } => Cow::Borrowed(&body[start..end]),
            Str::Escaped(text) => Cow::Owned(text),
        }
    }
}

/// An object or array that is being read.
pub(super) struct Inside {
    close: u8,
    first: bool,
}

/// Reads JSON token by token. Nothing recurses: a hostile depth of nesting costs no stack.
pub(super) struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Reader { body, at: 0 }
    }

    /// What was read since so many bytes had been.
    pub(super) fn since(&self, start: usize) -> &'a [u8] {
        &self.body[start..self.at]
    }

    /// How many bytes have been read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[cold]
    pub(super) fn error(&self, problem: &str) -> PushError {
        let end = (self.at + 16).min(self.body.len());
        let near = String::from_utf8_lossy(&self.body[self.at.min(end)..end]);
        PushError::invalid(format!("invalid JSON at byte {}, near `{near}`: {problem}", self.at))
    }

    /// The next byte that is not white space, which stays.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, PushError> {
        let rest = &self.body[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        Ok(self.body.get(self.at).copied())
    }

    pub(super) fn expect(&mut self, wanted: u8) -> Result<(), PushError> {
        if self.peek()? != Some(wanted) {
            return Err(self.error(&format!("expected `{}`", wanted as char)));
        }
        self.at += 1;
        Ok(())
    }

    pub(super) fn open(&mut self, bracket: u8, what: &str) -> Result<Inside, PushError> {
        if self.peek()? != Some(bracket) {
            return Err(self.error(&format!("expected {what}")));
        }
        self.at += 1;
        Ok(Inside { close: if bracket == b'{' { b'}' } else { b']' }, first: true })
    }

    /// Moves to the next item; `false` when the closing bracket has been read.
    pub(super) fn item(&mut self, inside: &mut Inside) -> Result<bool, PushError> {
        let first = std::mem::replace(&mut inside.first, false);
        match self.peek()? {
            Some(byte) if byte == inside.close => {
                self.at += 1;
                Ok(false)
            }
            Some(_) if first => Ok(true),
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            _ => Err(self.error(&format!("expected `,` or `{}`", inside.close as char))),
        }
    }

    pub(super) fn null(&mut self) -> Result<bool, PushError> {
        self.peek()?;
        let null = self.body[self.at..].starts_with(b"null");
        self.at += if null { 4 } else { 0 };
        Ok(null)
    }

    pub(super) fn string(&mut self) -> Result<Str<'a>, PushError> {
        if self.peek()? != Some(b'"') {
            return Err(self.error("expected a string"));
        }
        let start = self.at + 1;
        match memchr::memchr2(b'"', b'\\', &self.body[start..]) {
            None => Err(self.error("a string does not end")),
            Some(len) if self.body[start + len] == b'"' => {
                self.at = start + len + 1;
                Ok(Str::Plain { body: self.body, start, end: start + len })
            }
            Some(len) => self.escaped(start, len),
        }
    }

    fn escaped(&mut self, start: usize, plain: usize) -> Result<Str<'a>, PushError> {
        let mut text = self.body[start..start + plain].to_vec();
        self.at = start + plain;
        loop {
            let rest = &self.body[self.at..];
            let len =
                memchr::memchr2(b'"', b'\\', rest).ok_or_else(|| self.error("a string does not end"))?;
            text.extend_from_slice(&rest[..len]);
            self.at += len + 1;
            if rest[len] == b'"' {
                return Ok(Str::Escaped(text));
            }
            self.escape(&mut text)?;
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), PushError> {
        let kind = self.body.get(self.at).copied();
        self.at += 1;
        let byte = match kind {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0C,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let c = self.unicode()?;
                text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => {
                self.at = (self.at - 1).min(self.body.len());
                return Err(self.error("unknown escape in a string"));
            }
        };
        text.push(byte);
        Ok(())
    }

    /// After `\u`: a character, two such escapes where they are a surrogate pair, U+FFFD for half a pair.
    fn unicode(&mut self) -> Result<char, PushError> {
        let unit = self.hex4(self.at).ok_or_else(|| self.error("expected four hex digits"))?;
        self.at += 4;
        let low = || self.body[self.at..].starts_with(b"\\u").then(|| self.hex4(self.at + 2)).flatten();
        if (0xD800..0xDC00).contains(&unit)
            && let Some(low @ 0xDC00..0xE000) = low()
        {
            self.at += 6;
            let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
            return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.body.get(at..at + 4).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    /// Skips a value of any kind, brackets counted rather than matched: what is skipped is nobody's data.
    pub(super) fn skip_value(&mut self) -> Result<(), PushError> {
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                Some(b'"') => drop(self.string()?),
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                Some(byte) if byte == b'-' || byte.is_ascii_alphanumeric() => {
                    let word = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                    self.at += self.body[self.at..].iter().take_while(word).count();
                }
                _ => return Err(self.error("expected a value")),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}
