//! Strings as Go writes them, which is how LogQL writes them: escapes read and put back.

use std::fmt::Write as _;

/// Reads a quoted string, its quotes included: `"…"` and `'…'` with Go's escapes, or backticks without any.
/// Says `None` where it is not one. The result is bytes, as `\xff` makes what is not UTF-8.
pub fn unquote(text: &str) -> Option<Vec<u8>> {
    let quote = text.chars().next()?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    match quote {
        '`' => (!inner.contains('`')).then(|| inner.as_bytes().to_vec()),
        '"' | '\'' => unescape(inner, quote),
        _ => None,
    }
}

fn unescape(inner: &str, quote: char) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' => return None,
            c if c == quote => return None,
            '\\' => unescape_one(&mut chars, quote, &mut out)?,
            c => push_char(&mut out, c),
        }
    }
    Some(out)
}

fn unescape_one(chars: &mut std::str::Chars<'_>, quote: char, out: &mut Vec<u8>) -> Option<()> {
    let simple = match chars.next()? {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        c if c == quote => c as u8,
        'x' => u8::try_from(digits(chars, 2, 16, 0)?).ok()?,
        'u' => return push_code_point(out, digits(chars, 4, 16, 0)?),
        'U' => return push_code_point(out, digits(chars, 8, 16, 0)?),
        c @ '0'..='7' => u8::try_from(digits(chars, 2, 8, c.to_digit(8)?)?).ok()?,
        _ => return None,
    };
    out.push(simple);
    Some(())
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32, first: u32) -> Option<u32> {
    let mut value = first;
    for _ in 0..count {
        value = value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
    }
    Some(value)
}

/// Go writes the replacement character for a surrogate, and refuses what is beyond Unicode.
fn push_code_point(out: &mut Vec<u8>, value: u32) -> Option<()> {
    let c = match value {
        0xd800..=0xdfff => char::REPLACEMENT_CHARACTER,
        value => char::from_u32(value)?,
    };
    push_char(out, c);
    Some(())
}

fn push_char(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Writes `text` as a Go string in double quotes, as `strconv.Quote` does.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

/// Appends `text` to `out` as a Go string in double quotes.
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        push_escaped(out, c);
    }
    out.push('"');
}

/// Appends what need not be UTF-8 to `out` as a Go string in double quotes.
pub fn push_quoted_bytes(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        chunk.valid().chars().for_each(|c| push_escaped(out, c));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
}

fn push_escaped(out: &mut String, c: char) {
    let simple = match c {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        c if is_printable(c) => return out.push(c),
        c => return push_hex(out, c),
    };
    out.push_str(simple);
}

fn push_hex(out: &mut String, c: char) {
    let code = u32::from(c);
    // Writing to a String cannot fail.
    let _ = match code {
        0..=0x1f | 0x7f => write!(out, "\\x{code:02x}"),
        0..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// Go prints letters, marks, numbers, punctuation, symbols and the ASCII space. What Unicode leaves unassigned
/// is told apart by Rust's own `escape_debug`, which follows the same rule but for combining marks and spaces.
fn is_printable(c: char) -> bool {
    if c == ' ' || c.is_ascii_graphic() {
        return true;
    }
    if c.is_ascii() || c.is_whitespace() || c.is_control() {
        return false;
    }
    // A combining mark is escaped by `escape_debug` only where it starts a string.
    let mut probe = String::from("a");
    probe.push(c);
    probe.escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::{push_quoted_bytes, quote, unquote};

    #[track_caller]
    fn check(quoted: &str, expected: Option<&[u8]>) {
        assert_eq!(unquote(quoted).as_deref(), expected, "{quoted}");
    }

    #[test]
    fn escapes_are_read_as_go_reads_them() {
        check(r#""a\tb""#, Some(b"a\tb"));
        check(r#""\u0041\x42\103\U00000044""#, Some(b"ABCD"));
        check(r#""\xff""#, Some(b"\xff"));
        check(r#""\ud800""#, Some("\u{fffd}".as_bytes()));
        check(r#""\'""#, None);
        check(r"'\''", Some(b"'"));
        check("`a\\tb\n`", Some(b"a\\tb\n"));
        check(r#""\400""#, None);
        check(r#""\q""#, None);
        check("\"a\nb\"", None);
        check(r#""\U00110000""#, None);
        check("\"", None);
        check("", None);
    }

    #[test]
    fn quoting_escapes_what_go_escapes() {
        assert_eq!(
            quote("a\"b\\c\n\u{1}\u{7f}é\u{a0}\u{200b}日\u{e000}"),
            r#""a\"b\\c\n\x01\x7fé\u00a0\u200b日\ue000""#
        );
        assert_eq!(quote("e\u{301}"), "\"e\u{301}\"");
        let mut out = String::new();
        push_quoted_bytes(&mut out, b"a\"\xff\xc3\xc3\xa9\0");
        assert_eq!(out, r#""a\"\xff\xc3é\x00""#);
    }
}
