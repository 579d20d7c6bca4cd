//! Numbers, strings and character literals as Go's scanner (`text/scanner`) takes them, with its complaints.

use super::cursor::Cursor;

/// Go's scanner takes this character nowhere.
pub(super) const NUL: &str = "invalid character NUL";

/// Passes over a number; the cursor stands at its first digit or dot.
pub(super) fn number(cursor: &mut Cursor<'_>) -> Result<(), String> {
    let start = cursor.offset();
    let name = match prefix(cursor) {
        Some((name, radix)) => {
            cursor.eat_while(|c| c.is_digit(radix.max(10)) || c == '_');
            if cursor.offset() == start + 2 {
                return Err(format!("{name} has no digits"));
            }
            name
        }
        None => return decimal(cursor, start),
    };
    separators(cursor.since(start)).map_err(|why| format!("{why} in {name}"))
}

/// `0x`, `0o` or `0b`. No float may begin so: such a number is taken whole, to be refused whole.
fn prefix(cursor: &mut Cursor<'_>) -> Option<(&'static str, u32)> {
    let mut chars = cursor.rest().chars();
    if chars.next() != Some('0') {
        return None;
    }
    let found = match (chars.next()?.to_ascii_lowercase(), chars.next()) {
        ('x', _) => ("hexadecimal literal", 16),
        ('o', _) => ("octal literal", 8),
        // `0B` is a size.
        ('b', Some('0' | '1' | '_')) => ("binary literal", 2),
        _ => return None,
    };
    cursor.bump();
    cursor.bump();
    Some(found)
}

fn decimal(cursor: &mut Cursor<'_>, start: usize) -> Result<(), String> {
    let digits = |c: char| c.is_ascii_digit() || c == '_';
    cursor.eat_while(digits);
    let whole = cursor.since(start);
    let mut is_float = cursor.eat(".");
    if is_float {
        cursor.eat_while(digits);
    }
    if matches!(cursor.peek(), Some('e' | 'E')) {
        is_float = true;
        cursor.bump();
        if matches!(cursor.peek(), Some('+' | '-')) {
            cursor.bump();
        }
        let exponent = cursor.offset();
        cursor.eat_while(digits);
        if !cursor.since(exponent).contains(|c: char| c.is_ascii_digit()) {
            return Err("exponent has no digits".to_owned());
        }
    }
    if !is_float && whole.starts_with('0') {
        octal_digits(whole)?;
    }
    separators(cursor.since(start))
}

/// Go takes an integer with a leading zero to be octal.
fn octal_digits(text: &str) -> Result<(), String> {
    match text.chars().find(|c| matches!(c, '8' | '9')) {
        Some(digit) => Err(format!("invalid digit '{digit}' in octal literal")),
        None => Ok(()),
    }
}

/// Every `_` must have a digit on both sides; a prefix counts as a digit.
fn separators(number: &str) -> Result<(), String> {
    let bytes = number.as_bytes();
    let is_digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let misplaced = bytes
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'_' && !(is_digit(at.checked_sub(1)) && is_digit(Some(at + 1))));
    if misplaced { Err("'_' must separate successive digits".to_owned()) } else { Ok(()) }
}

/// Passes over a string in double quotes; the cursor stands at the opening one.
pub(super) fn string(cursor: &mut Cursor<'_>) -> Result<(), String> {
    quoted(cursor, '"').map(|_| ())
}

/// Passes over a character in single quotes. LogQL has no use for it, but Go's scanner takes it as one word.
pub(super) fn character(cursor: &mut Cursor<'_>) -> Result<(), String> {
    match quoted(cursor, '\'')? {
        1 => Ok(()),
        _ => Err("invalid char literal".to_owned()),
    }
}

/// Passes over a string in backticks.
pub(super) fn raw_string(cursor: &mut Cursor<'_>) -> Result<(), String> {
    cursor.bump();
    cursor.eat_while(|c| !matches!(c, '`' | '\0'));
    match cursor.bump() {
        Some('\0') => Err(NUL.to_owned()),
        Some(_) => Ok(()),
        None => Err("literal not terminated".to_owned()),
    }
}

/// Passes over a quoted text and counts its characters.
fn quoted(cursor: &mut Cursor<'_>, quote: char) -> Result<usize, String> {
    cursor.bump();
    let mut count = 0;
    loop {
        match cursor.bump() {
            None | Some('\n') => return Err("literal not terminated".to_owned()),
            Some('\0') => return Err(NUL.to_owned()),
            Some(c) if c == quote => return Ok(count),
            Some('\\') => escape(cursor, quote)?,
            Some(_) => {}
        }
        count += 1;
    }
}

fn escape(cursor: &mut Cursor<'_>, quote: char) -> Result<(), String> {
    let invalid = || Err("invalid char escape".to_owned());
    let (count, radix) = match cursor.peek() {
        Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => (0, 0),
        Some(c) if c == quote => (0, 0),
        Some('x') => (2, 16),
        Some('u') => (4, 16),
        Some('U') => (8, 16),
        Some('0'..='7') => (2, 8),
        _ => return invalid(),
    };
    cursor.bump();
    for _ in 0..count {
        if !cursor.peek().is_some_and(|c| c.is_digit(radix)) {
            return invalid();
        }
        cursor.bump();
    }
    Ok(())
}
