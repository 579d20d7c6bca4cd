//! String functions: those named as in Go's `strings` package take the string first, those of the sprig
//! library take it last, so that it can come through a pipe.

use memchr::memmem;

use super::{Args, Env, Function, check_size, function, part};
use crate::template::{
    runes,
    value::{
        Param::{Int, Text},
        Value,
    },
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("ToLower", &[Text], lower),
    function("ToUpper", &[Text], upper),
    function("lower", &[Text], lower),
    function("upper", &[Text], upper),
    function("title", &[Text], |_, args| Ok(Value::owned(title(args.text(0))))),
    function("Replace", &[Text, Text, Text, Int], |_, args| {
        let limit = usize::try_from(args.int(3)).unwrap_or(usize::MAX);
        replace(args.text(0), args.text(1), args.text(2), limit)
    }),
    function("replace", &[Text, Text, Text], |_, args| {
        replace(args.text(2), args.text(0), args.text(1), usize::MAX)
    }),
    function("Trim", &[Text, Text], |_, mut args| {
        let text = args.take_text(0);
        Ok(part(text, |text| trim_right(trim_left(text, args.text(1)), args.text(1))))
    }),
    function("trimAll", &[Text, Text], |_, mut args| {
        let text = args.take_text(1);
        Ok(part(text, |text| trim_right(trim_left(text, args.text(0)), args.text(0))))
    }),
    function("TrimLeft", &[Text, Text], |_, mut args| {
        let text = args.take_text(0);
        Ok(part(text, |text| trim_left(text, args.text(1))))
    }),
    function("TrimRight", &[Text, Text], |_, mut args| {
        let text = args.take_text(0);
        Ok(part(text, |text| trim_right(text, args.text(1))))
    }),
    function("TrimPrefix", &[Text, Text], |_, mut args| {
        let text = args.take_text(0);
        Ok(part(text, |text| text.strip_prefix(args.text(1)).unwrap_or(text)))
    }),
    function("trimPrefix", &[Text, Text], |_, mut args| {
        let text = args.take_text(1);
        Ok(part(text, |text| text.strip_prefix(args.text(0)).unwrap_or(text)))
    }),
    function("TrimSuffix", &[Text, Text], |_, mut args| {
        let text = args.take_text(0);
        Ok(part(text, |text| text.strip_suffix(args.text(1)).unwrap_or(text)))
    }),
    function("trimSuffix", &[Text, Text], |_, mut args| {
        let text = args.take_text(1);
        Ok(part(text, |text| text.strip_suffix(args.text(0)).unwrap_or(text)))
    }),
    function("TrimSpace", &[Text], trim_space),
    function("trim", &[Text], trim_space),
    function("trunc", &[Int, Text], |_, mut args| {
        let text = args.take_text(1);
        Ok(part(text, |text| trunc(text, args.int(0))))
    }),
    function("substr", &[Int, Int, Text], |_, mut args| {
        let text = args.take_text(2);
        let (start, end) = substr_bounds(args.int(0), args.int(1), text.len())?;
        Ok(part(text, |text| &text[start..end]))
    }),
    function("contains", &[Text, Text], |_, args| {
        Ok(Value::Bool(memmem::find(args.text(1), args.text(0)).is_some()))
    }),
    function("hasPrefix", &[Text, Text], |_, args| Ok(Value::Bool(args.text(1).starts_with(args.text(0))))),
    function("hasSuffix", &[Text, Text], |_, args| Ok(Value::Bool(args.text(1).ends_with(args.text(0))))),
    function("indent", &[Int, Text], |_, args| indent(args.int(0), args.text(1), b"")),
    function("nindent", &[Int, Text], |_, args| indent(args.int(0), args.text(1), b"\n")),
    function("repeat", &[Int, Text], |_, args| repeat(args.int(0), args.text(1)).map(Value::owned)),
    function("alignLeft", &[Int, Text], |_, mut args| {
        let text = args.take_text(1);
        match alignment(args.int(0), &text)? {
            Alignment::Fill(spaces) => Ok(Value::owned([&text, spaces.as_slice()].concat())),
            Alignment::Keep(runes) => Ok(part(text, |text| &text[..runes::offset(text, runes)])),
        }
    }),
    function("alignRight", &[Int, Text], |_, mut args| {
        let text = args.take_text(1);
        match alignment(args.int(0), &text)? {
            Alignment::Fill(spaces) => Ok(Value::owned([spaces.as_slice(), &text].concat())),
            Alignment::Keep(runes) => {
                Ok(part(text, |text| &text[runes::offset(text, runes::count(text).saturating_sub(runes))..]))
            }
        }
    }),
];

fn lower<'v>(_: &Env<'v>, args: Args<'v>) -> Result<Value<'v>, String> {
    Ok(Value::owned(map_runes(args.text(0), to_lower)))
}

fn upper<'v>(_: &Env<'v>, args: Args<'v>) -> Result<Value<'v>, String> {
    Ok(Value::owned(map_runes(args.text(0), to_upper)))
}

fn trim_space<'v>(_: &Env<'v>, mut args: Args<'v>) -> Result<Value<'v>, String> {
    Ok(part(args.take_text(0), |text| {
        trim_end_where(trim_start_where(text, char::is_whitespace), char::is_whitespace)
    }))
}

fn map_runes(text: &[u8], map: impl Fn(char) -> char) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (_, rune) in runes::iter(text) {
        runes::push(&mut out, map(rune.value));
    }
    out
}

/// Go maps one code point to one; where Unicode's full mapping has more, the character stays.
fn to_upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(upper), None) => upper,
        _ => c,
    }
}

fn to_lower(c: char) -> char {
    let mut mapped = c.to_lowercase();
    match (mapped.next(), mapped.next()) {
        (Some(lower), None) => lower,
        // The one capital whose full mapping is longer: I with a dot.
        (Some(lower), Some(_)) => lower,
        _ => c,
    }
}

/// Title case differs from upper case for four digraphs alone, and for Georgian, which has none.
fn to_title(c: char) -> char {
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => 'ǅ',
        'Ǉ' | 'ǈ' | 'ǉ' => 'ǈ',
        'Ǌ' | 'ǋ' | 'ǌ' => 'ǋ',
        'Ǳ' | 'ǲ' | 'ǳ' => 'ǲ',
        'ა'..='ჿ' => c,
        c => to_upper(c),
    }
}

/// Upper-cases the first letter of each word; a word starts after anything but letters, digits and `_`.
fn title(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut after_separator = true;
    for (_, rune) in runes::iter(text) {
        let c = rune.value;
        runes::push(&mut out, if after_separator { to_title(c) } else { c });
        after_separator = match c {
            '_' => false,
            c if c.is_ascii() => !c.is_ascii_alphanumeric(),
            c if c.is_alphanumeric() => false,
            c => c.is_whitespace(),
        };
    }
    out
}

/// The first `limit` occurrences replaced; an empty `old` stands before each code point and at the end.
fn replace<'v>(text: &[u8], old: &[u8], new: &[u8], limit: usize) -> Result<Value<'v>, String> {
    if old == new || limit == 0 {
        return Ok(Value::owned(text));
    }
    let mut out = Vec::with_capacity(text.len());
    let mut copied = 0;
    let mut put = |at: usize, length: usize| {
        check_size(out.len() + (at - copied) + new.len())?;
        out.extend_from_slice(&text[copied..at]);
        out.extend_from_slice(new);
        copied = at + length;
        Ok::<(), String>(())
    };
    if old.is_empty() {
        let starts = runes::iter(text).map(|(at, _)| at).chain([text.len()]);
        starts.take(limit).try_for_each(|at| put(at, 0))?;
    } else {
        memmem::find_iter(text, old).take(limit).try_for_each(|at| put(at, old.len()))?;
    }
    check_size(out.len() + text.len() - copied)?;
    out.extend_from_slice(&text[copied..]);
    Ok(Value::owned(out))
}

fn trim_left<'t>(text: &'t [u8], set: &[u8]) -> &'t [u8] {
    trim_start_where(text, |c| in_set(set, c))
}

fn trim_right<'t>(text: &'t [u8], set: &[u8]) -> &'t [u8] {
    trim_end_where(text, |c| in_set(set, c))
}

fn in_set(set: &[u8], c: char) -> bool {
    runes::iter(set).any(|(_, rune)| rune.value == c)
}

fn trim_start_where(mut text: &[u8], trims: impl Fn(char) -> bool) -> &[u8] {
    while let Some(rune) = runes::first(text).filter(|rune| trims(rune.value)) {
        text = &text[rune.width..];
    }
    text
}

fn trim_end_where(mut text: &[u8], trims: impl Fn(char) -> bool) -> &[u8] {
    while let Some(rune) = runes::last(text).filter(|rune| trims(rune.value)) {
        text = &text[..text.len() - rune.width];
    }
    text
}

/// The first `count` bytes, or with a negative count the last; even inside a code point.
fn trunc(text: &[u8], count: i64) -> &[u8] {
    let length = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    match length < text.len() {
        true if count < 0 => &text[text.len() - length..],
        true => &text[..length],
        false => text,
    }
}

/// Byte bounds of `substr start end`: a negative start means from the beginning, a negative end to the end.
fn substr_bounds(start: i64, end: i64, length: usize) -> Result<(usize, usize), String> {
    let signed_length = i64::try_from(length).unwrap_or(i64::MAX);
    let (start, end) = match (start, end) {
        (..0, end) => (0, end),
        (start, end) if end < 0 || end > signed_length => (start, signed_length),
        bounds => bounds,
    };
    if 0 <= start && start <= end && end <= signed_length {
        let bound = |at| usize::try_from(at).unwrap_or(length);
        return Ok((bound(start), bound(end)));
    }
    Err(format!("slice bounds out of range [{start}:{end}] with length {length}"))
}

fn repeat(count: i64, text: &[u8]) -> Result<Vec<u8>, String> {
    let count = usize::try_from(count).map_err(|_| "strings: negative Repeat count".to_owned())?;
    check_size(text.len().saturating_mul(count))?;
    Ok(text.repeat(count))
}

/// `head`, then the text with every line moved to the right.
fn indent<'v>(spaces: i64, text: &[u8], head: &[u8]) -> Result<Value<'v>, String> {
    let pad = repeat(spaces, b" ")?;
    let lines = 1 + memchr::memchr_iter(b'\n', text).count();
    check_size(text.len() + head.len() + lines.saturating_mul(pad.len()))?;
    let mut out = [head, &pad].concat();
    for line in text.split_inclusive(|b| *b == b'\n') {
        out.extend_from_slice(line);
        if line.ends_with(b"\n") {
            out.extend_from_slice(&pad);
        }
    }
    Ok(Value::owned(out))
}

enum Alignment {
    /// Shorter than the field: spaces to add.
    Fill(Vec<u8>),
    /// At least as long: code points to keep.
    Keep(usize),
}

/// How a text fits a field of `width` code points; a negative width keeps it as it is.
fn alignment(width: i64, text: &[u8]) -> Result<Alignment, String> {
    let length = runes::count(text);
    match usize::try_from(width) {
        Ok(width) if width > length => {
            check_size(width.saturating_add(text.len()))?;
            Ok(Alignment::Fill(vec![b' '; width - length]))
        }
        Ok(width) => Ok(Alignment::Keep(width)),
        Err(_) => Ok(Alignment::Keep(length)),
    }
}
