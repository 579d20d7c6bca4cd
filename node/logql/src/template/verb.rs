//! Prints one value by one verb of `printf`, with its flags, width and precision; a verb that does not fit the
//! value leaves a note such as `%!d(string=x)`.

use super::{
    Context, limits, runes,
    value::{IntType, Value},
};

/// The flags, width and precision of one verb.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Format {
    pub(super) sharp: bool,
    pub(super) zero: bool,
    pub(super) plus: bool,
    pub(super) minus: bool,
    pub(super) space: bool,
    /// `%#v`.
    pub(super) go_syntax: bool,
    pub(super) width: Option<usize>,
    pub(super) precision: Option<usize>,
}

impl Format {
    /// One value by one verb.
    pub(super) fn value(self, out: &mut Vec<u8>, value: &Value<'_>, verb: char, context: &dyn Context) {
        match (verb, value) {
            ('T' | 'v', Value::Nil) | ('v', Value::NilElement) => return self.pad(out, b"<nil>"),
            ('T', value) => return self.text(out, value.type_name().as_bytes()),
            // It wraps errors, and only where errors are made.
            ('w', Value::List(_) | Value::Map(_) | Value::Labels | Value::Time(_)) => {
                return self.bad_verb(out, value, verb, context);
            }
            _ => {}
        }
        let printed = match value {
            Value::Nil | Value::NilElement => false,
            Value::Bool(truth) => self.boolean(out, *truth, verb),
            Value::Int(number, kind) => self.named_integer(out, *number, *kind, verb),
            Value::Float(number) => self.float(out, *number, verb),
            Value::Text(text) => self.string(out, text, verb),
            Value::Time(time) => self.stringer(out, &time.to_string(), verb),
            Value::List(list) => {
                self.list(out, list, verb, context);
                true
            }
            Value::Map(map) => {
                let entries = map.iter().map(|(key, value)| (key.as_bytes(), value.clone()));
                self.map(out, value, entries, verb, context);
                true
            }
            Value::Labels => {
                let labels = context.labels();
                let entries = labels.into_iter().map(|(name, value)| {
                    (name.as_bytes(), Value::Text(std::borrow::Cow::Borrowed(value.as_bytes())))
                });
                self.map(out, value, entries, verb, context);
                true
            }
        };
        if !printed {
            self.bad_verb(out, value, verb, context);
        }
    }

    /// `%!d(string=x)`: the verb does not fit the value.
    fn bad_verb(self, out: &mut Vec<u8>, value: &Value<'_>, verb: char, context: &dyn Context) {
        out.extend_from_slice(b"%!");
        runes::push(out, verb);
        out.push(b'(');
        match value {
            Value::Nil | Value::NilElement => out.extend_from_slice(b"<nil>"),
            value => {
                out.extend_from_slice(value.type_name().as_bytes());
                out.push(b'=');
                match value {
                    // A mismatch shows what is inside, not what the type calls itself.
                    Value::Int(number, _) => self.value(out, &Value::int(*number), 'v', context),
                    value => self.value(out, value, 'v', context),
                }
            }
        }
        out.push(b')');
    }

    fn list(self, out: &mut Vec<u8>, list: &[Value<'_>], verb: char, context: &dyn Context) {
        let [open, between, close] =
            if self.go_syntax { ["[]interface {}{", ", ", "}"] } else { ["[", " ", "]"] };
        out.extend_from_slice(open.as_bytes());
        for (at, value) in list.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(between.as_bytes());
            }
            self.element(out, value, verb, context);
        }
        out.extend_from_slice(close.as_bytes());
    }

    fn map<'v, 'k>(
        self,
        out: &mut Vec<u8>,
        kind: &Value<'_>,
        entries: impl Iterator<Item = (&'k [u8], Value<'v>)>,
        verb: char,
        context: &dyn Context,
    ) {
        let [open, between, close] = match self.go_syntax {
            true => [kind.type_name(), ", ", "}"],
            false => ["map[", " ", "]"],
        };
        out.extend_from_slice(open.as_bytes());
        out.extend_from_slice(if self.go_syntax { b"{" } else { b"" });
        for (at, (key, value)) in entries.enumerate() {
            if at > 0 {
                out.extend_from_slice(between.as_bytes());
            }
            self.value(out, &Value::Text(key.into()), verb, context);
            out.push(b':');
            self.element(out, &value, verb, context);
        }
        out.extend_from_slice(close.as_bytes());
    }

    fn element(self, out: &mut Vec<u8>, value: &Value<'_>, verb: char, context: &dyn Context) {
        match value {
            Value::Nil | Value::NilElement if self.go_syntax => out.extend_from_slice(b"interface {}(nil)"),
            Value::Nil | Value::NilElement => out.extend_from_slice(b"<nil>"),
            value if out.len() <= limits::TEXT_BYTES_MAX => self.value(out, value, verb, context),
            _ => {}
        }
    }

    fn boolean(self, out: &mut Vec<u8>, truth: bool, verb: char) -> bool {
        if matches!(verb, 't' | 'v') {
            self.pad(out, if truth { b"true" } else { b"false" });
        }
        matches!(verb, 't' | 'v')
    }

    /// A type with a name of its own for its values prints that by the verbs of strings.
    fn named_integer(self, out: &mut Vec<u8>, number: i64, kind: IntType, verb: char) -> bool {
        match super::time::integer_name(number, kind) {
            Some(name) if matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') => {
                self.string(out, name.as_bytes(), verb)
            }
            _ => self.integer(out, number, verb),
        }
    }

    fn stringer(self, out: &mut Vec<u8>, text: &str, verb: char) -> bool {
        matches!(verb, 'v' | 's' | 'x' | 'X' | 'q') && self.string(out, text.as_bytes(), verb)
    }

    fn integer(self, out: &mut Vec<u8>, number: i64, verb: char) -> bool {
        let magnitude = number.unsigned_abs();
        let (digits, prefix) = match verb {
            'v' | 'd' => (format!("{magnitude}"), ""),
            'b' => (format!("{magnitude:b}"), if self.sharp { "0b" } else { "" }),
            'o' => (format!("{magnitude:o}"), ""),
            'O' => (format!("{magnitude:o}"), "0o"),
            'x' => (format!("{magnitude:x}"), if self.sharp { "0x" } else { "" }),
            'X' => (format!("{magnitude:X}"), if self.sharp { "0X" } else { "" }),
            'c' => return self.character(out, number),
            'q' => return self.quoted_character(out, number),
            'U' => return self.unicode(out, number),
            _ => return false,
        };
        let sign = self.sign(number < 0);
        if self.precision == Some(0) && number == 0 {
            Format { zero: false, ..self }.pad(out, b"");
            return true;
        }
        let digits_min = match (self.precision, self.width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if self.zero && !self.minus => width.saturating_sub(sign.len()),
            _ => 0,
        };
        let mut digits = format!("{digits:0>digits_min$}");
        if self.sharp && matches!(verb, 'o' | 'O') && !digits.starts_with('0') {
            digits.insert(0, '0');
        }
        let text = format!("{sign}{prefix}{digits}");
        Format { zero: false, ..self }.pad(out, text.as_bytes());
        true
    }

    pub(super) fn sign(self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, _, _) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        }
    }

    fn character(self, out: &mut Vec<u8>, number: i64) -> bool {
        self.pad(out, code_point(number).encode_utf8(&mut [0; 4]).as_bytes());
        true
    }

    fn quoted_character(self, out: &mut Vec<u8>, number: i64) -> bool {
        let mut quoted = vec![b'\''];
        quote_rune(&mut quoted, code_point(number), '\'', self.plus);
        quoted.push(b'\'');
        self.pad(out, &quoted);
        true
    }

    fn unicode(self, out: &mut Vec<u8>, number: i64) -> bool {
        let mut text = format!("U+{:01$X}", number.cast_unsigned(), self.precision.unwrap_or(0).max(4));
        if self.sharp && u32::try_from(number).ok().and_then(char::from_u32).is_some_and(is_printable) {
            text.push_str(&format!(" '{}'", code_point(number)));
        }
        Format { zero: false, ..self }.pad(out, text.as_bytes());
        true
    }

    fn string(self, out: &mut Vec<u8>, text: &[u8], verb: char) -> bool {
        match verb {
            'v' if self.go_syntax => self.quoted(out, text),
            'v' | 's' => self.text(out, text),
            'q' => self.quoted(out, text),
            'x' | 'X' => self.hex_bytes(out, text, verb),
            _ => return false,
        }
        true
    }

    /// A string as it is, cut to as many code points as the precision says.
    fn text(self, out: &mut Vec<u8>, text: &[u8]) {
        self.pad(out, self.cut(text));
    }

    fn cut(self, text: &[u8]) -> &[u8] {
        self.precision.map_or(text, |precision| &text[..runes::offset(text, precision)])
    }

    fn quoted(self, out: &mut Vec<u8>, text: &[u8]) {
        let text = self.cut(text);
        if self.sharp && can_backquote(text) {
            return self.pad(out, &[b"`", text, b"`"].concat());
        }
        let mut quoted = vec![b'"'];
        for (at, rune) in runes::iter(text) {
            match rune.value {
                char::REPLACEMENT_CHARACTER if rune.width == 1 => {
                    quoted.extend_from_slice(format!("\\x{:02x}", text[at]).as_bytes());
                }
                c => quote_rune(&mut quoted, c, '"', self.plus),
            }
        }
        quoted.push(b'"');
        self.pad(out, &quoted);
    }

    fn hex_bytes(self, out: &mut Vec<u8>, text: &[u8], verb: char) {
        let text = &text[..self.precision.unwrap_or(text.len()).min(text.len())];
        let prefix = match (self.sharp, verb) {
            (true, 'x') => "0x",
            (true, _) => "0X",
            _ => "",
        };
        let mut hex = String::with_capacity(text.len() * 2);
        for (at, byte) in text.iter().enumerate() {
            if at > 0 && self.space {
                hex.push(' ');
            }
            if at == 0 || self.space {
                hex.push_str(prefix);
            }
            hex.push_str(&if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") });
        }
        self.pad(out, hex.as_bytes());
    }

    /// Fills up to the width, counted in code points.
    pub(super) fn pad(self, out: &mut Vec<u8>, text: &[u8]) {
        let fill = self.width.map_or(0, |width| width.saturating_sub(runes::count(text)));
        if self.minus {
            out.extend_from_slice(text);
            out.resize(out.len() + fill, b' ');
        } else {
            out.resize(out.len() + fill, if self.zero { b'0' } else { b' ' });
            out.extend_from_slice(text);
        }
    }
}

fn code_point(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn can_backquote(text: &[u8]) -> bool {
    runes::iter(text).all(|(_, rune)| match rune.value {
        '\u{fffd}' => rune.width > 1,
        '\t' => true,
        '`' | '\u{7f}' | '\u{feff}' => false,
        c => c >= ' ',
    })
}

/// One code point inside quotes, by the rules of `strconv.Quote`.
fn quote_rune(out: &mut Vec<u8>, c: char, quote: char, ascii_only: bool) {
    let escape = match c {
        '\\' => "\\\\",
        '\x07' => "\\a",
        '\x08' => "\\b",
        '\x0c' => "\\f",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\x0b' => "\\v",
        c if c == quote => {
            out.push(b'\\');
            return runes::push(out, c);
        }
        c if is_printable(c) && (c.is_ascii() || !ascii_only) => return runes::push(out, c),
        c => {
            let code = u32::from(c);
            let text = match code {
                0..=0x1f | 0x7f => format!("\\x{code:02x}"),
                0..=0xffff => format!("\\u{code:04x}"),
                _ => format!("\\U{code:08x}"),
            };
            return out.extend_from_slice(text.as_bytes());
        }
    };
    out.extend_from_slice(escape.as_bytes());
}

/// Go's `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols, and the ASCII space.
pub(super) fn is_printable(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    // The escape of a whole string leaves a combining mark alone after its first character.
    let text = ['a', c].iter().collect::<String>();
    text.escape_debug().eq(text.chars())
}
