//! Go's `Sprintf`: reads the format (flags, width, precision, `*`, argument indexes) and notes in the output
//! what is missing or too much, as Go does. `verb` prints the values.

use super::{Context, limits, print, runes, value::Value, verb::Format};

/// Formats `arguments` by `format` onto `out`; false if that grew beyond the bound on text.
pub(super) fn sprintf(
    out: &mut Vec<u8>,
    format: &[u8],
    arguments: &[Value<'_>],
    context: &dyn Context,
) -> bool {
    Printer { format, at: 0, arguments, next: 0, reordered: false, good_index: true, context }.run(out)
}

struct Printer<'p, 'v> {
    format: &'p [u8],
    at: usize,
    arguments: &'p [Value<'v>],
    next: usize,
    /// Explicit indexes were used, so unused arguments are no mistake.
    reordered: bool,
    good_index: bool,
    context: &'p dyn Context,
}

impl Printer<'_, '_> {
    fn run(mut self, out: &mut Vec<u8>) -> bool {
        while self.at < self.format.len() {
            let rest = &self.format[self.at..];
            let literal = memchr::memchr(b'%', rest).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..literal]);
            self.at += literal;
            if self.at < self.format.len() {
                self.at += 1;
                self.directive(out);
            }
            if out.len() > limits::TEXT_BYTES_MAX {
                return false;
            }
        }
        self.extra(out);
        out.len() <= limits::TEXT_BYTES_MAX
    }

    /// What follows a `%`.
    fn directive(&mut self, out: &mut Vec<u8>) {
        self.good_index = true;
        let mut spec = self.flags();
        let mut after_index = self.index();
        if self.eat(b'*') {
            match self.star() {
                Some(width) => {
                    spec.minus |= width < 0;
                    spec.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => out.extend_from_slice(b"%!(BADWIDTH)"),
            }
            after_index = false;
        } else {
            spec.width = self.number();
            self.good_index &= !(after_index && spec.width.is_some());
        }
        if self.eat(b'.') {
            self.good_index &= !after_index;
            after_index = self.index();
            if self.eat(b'*') {
                match self.star().and_then(|precision| usize::try_from(precision).ok()) {
                    Some(precision) => spec.precision = Some(precision),
                    None => out.extend_from_slice(b"%!(BADPREC)"),
                }
                after_index = false;
            } else {
                spec.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !after_index {
            self.index();
        }
        self.verb(out, spec);
    }

    fn verb(&mut self, out: &mut Vec<u8>, mut spec: Format) {
        let Some(rune) = runes::first(&self.format[self.at..]) else {
            out.extend_from_slice(b"%!(NOVERB)");
            return;
        };
        self.at += rune.width;
        let note = match rune.value {
            '%' => return out.push(b'%'),
            _ if !self.good_index => "(BADINDEX)",
            verb => match self.arguments.get(self.next) {
                Some(value) => {
                    self.next += 1;
                    spec.go_syntax = verb == 'v' && std::mem::take(&mut spec.sharp);
                    if verb == 'v' {
                        spec.plus = false;
                    }
                    return spec.value(out, value, verb, self.context);
                }
                None => "(MISSING)",
            },
        };
        out.extend_from_slice(b"%!");
        runes::push(out, rune.value);
        out.extend_from_slice(note.as_bytes());
    }

    /// Notes arguments that no verb used.
    fn extra(&self, out: &mut Vec<u8>) {
        let unused = self.arguments.get(self.next..).unwrap_or_default();
        if self.reordered || unused.is_empty() {
            return;
        }
        out.extend_from_slice(b"%!(EXTRA ");
        for (at, value) in unused.iter().enumerate() {
            if at > 0 {
                out.extend_from_slice(b", ");
            }
            if value.is_nil() {
                out.extend_from_slice(b"<nil>");
                continue;
            }
            out.extend_from_slice(value.type_name().as_bytes());
            out.push(b'=');
            print::plain(out, value, self.context);
        }
        out.push(b')');
    }

    fn flags(&mut self) -> Format {
        let mut spec = Format::default();
        while let Some(flag) = self.format.get(self.at) {
            match flag {
                b'#' => spec.sharp = true,
                b'0' => spec.zero = true,
                b'+' => spec.plus = true,
                b'-' => spec.minus = true,
                b' ' => spec.space = true,
                _ => break,
            }
            self.at += 1;
        }
        spec
    }

    /// An argument index `[n]`, if one stands here; it makes argument `n` the next.
    fn index(&mut self) -> bool {
        if self.format.get(self.at) != Some(&b'[') {
            return false;
        }
        self.reordered = true;
        let rest = &self.format[self.at..];
        // An index has three bytes at least.
        let Some(close) = memchr::memchr(b']', rest).filter(|_| rest.len() >= 3) else {
            self.good_index = false;
            self.at += 1;
            return false;
        };
        self.at += close + 1;
        let number = std::str::from_utf8(&rest[1..close]).ok().and_then(|text| text.parse::<usize>().ok());
        match number {
            Some(number) if (1..=self.arguments.len()).contains(&number) => self.next = number - 1,
            _ => self.good_index = false,
        }
        true
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.format.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    /// The argument a `*` stands for, if it is a whole number of sensible size.
    fn star(&mut self) -> Option<i64> {
        let value = self.arguments.get(self.next)?;
        self.next += 1;
        match value {
            Value::Int(number, _) if number.unsigned_abs() <= limits::WIDTH_MAX.unsigned_abs() => {
                Some(*number)
            }
            _ => None,
        }
    }

    /// A written width or precision; one that is too large counts as not written.
    fn number(&mut self) -> Option<usize> {
        let digits = self.format[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        let text = &self.format[self.at..self.at + digits];
        self.at += digits;
        let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
        usize::try_from(number).ok().filter(|_| number <= limits::WIDTH_MAX)
    }
}
