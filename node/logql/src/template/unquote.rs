//! Go's quoted strings and character constants (`strconv.Unquote`): the escapes, and bytes that need not be UTF-8.

/// The bytes between the quotes of `"…"`, escapes resolved; `None` if an escape is wrong.
pub(super) fn text(quoted: &str) -> Option<Vec<u8>> {
    let mut rest = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let mut out = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let (piece, tail) = unit(rest, '"')?;
        match piece {
            Unit::Byte(byte) => out.push(byte),
            Unit::Rune(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = tail;
    }
    Some(out)
}

/// The code point of `'…'`.
pub(super) fn char_constant(quoted: &str) -> Option<i64> {
    let inside = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    match unit(inside, '\'')? {
        (Unit::Byte(byte), "") => Some(i64::from(byte)),
        (Unit::Rune(c), "") => Some(i64::from(u32::from(c))),
        _ => None,
    }
}

enum Unit {
    /// From `\x…` or an octal escape: one byte, whatever it means.
    Byte(u8),
    Rune(char),
}

/// The first character or escape of `text`, and the rest.
fn unit(text: &str, quote: char) -> Option<(Unit, &str)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if first == quote {
        return None;
    }
    if first != '\\' {
        return Some((Unit::Rune(first), chars.as_str()));
    }
    let escape = chars.next()?;
    let rest = chars.as_str();
    let plain = |c| Some((Unit::Rune(c), rest));
    match escape {
        'a' => plain('\x07'),
        'b' => plain('\x08'),
        'f' => plain('\x0c'),
        'n' => plain('\n'),
        'r' => plain('\r'),
        't' => plain('\t'),
        'v' => plain('\x0b'),
        '\\' => plain('\\'),
        c if c == quote => plain(c),
        'x' => digits(rest, 2, 16).and_then(|(n, rest)| Some((Unit::Byte(u8::try_from(n).ok()?), rest))),
        'u' => digits(rest, 4, 16).and_then(|(n, rest)| Some((Unit::Rune(char::from_u32(n)?), rest))),
        'U' => digits(rest, 8, 16).and_then(|(n, rest)| Some((Unit::Rune(char::from_u32(n)?), rest))),
        '0'..='7' => {
            digits(&text[1..], 3, 8).and_then(|(n, rest)| Some((Unit::Byte(u8::try_from(n).ok()?), rest)))
        }
        _ => None,
    }
}

fn digits(text: &str, count: usize, radix: u32) -> Option<(u32, &str)> {
    let (head, rest) = text.split_at_checked(count)?;
    let all = head.chars().all(|c| c.is_digit(radix));
    all.then(|| u32::from_str_radix(head, radix).ok())?.map(|n| (n, rest))
}

#[cfg(test)]
mod tests {
    use super::{char_constant, text};

    #[test]
    fn strings_unquote_as_in_go() {
        let check = |quoted: &str, want: Option<&[u8]>| assert_eq!(text(quoted).as_deref(), want, "{quoted}");
        check(r#""""#, Some(b""));
        check(r#""a\n\t\\\"""#, Some(b"a\n\t\\\""));
        check(r#""\x41\101\u0041\U00000041""#, Some(b"AAAA"));
        check(r#""\xff""#, Some(b"\xff"));
        check(r#""\u00e9""#, Some("é".as_bytes()));
        check(r#""\'""#, None);
        check(r#""\q""#, None);
        check(r#""\x4""#, None);
        check(r#""\400""#, None);
        check(r#""\ud800""#, None);
        check(r#""\x+1""#, None);
        check(r#""a"#, None);
    }

    #[test]
    fn char_constants_are_code_points() {
        let check = |quoted: &str, want| assert_eq!(char_constant(quoted), want, "{quoted}");
        check("'a'", Some(97));
        check("'日'", Some(0x65e5));
        check(r"'\n'", Some(10));
        check(r"'\''", Some(39));
        check(r#"'\"'"#, None);
        check("''", None);
        check("'ab'", None);
    }
}
