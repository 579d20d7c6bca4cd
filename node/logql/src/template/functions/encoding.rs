//! Base64, URL, HTML and JavaScript escapes.

use base64::{
    DecodeError, Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};

use super::{Function, check_size, function};
use crate::template::{
    runes,
    value::{Param::Text, Value},
    verb,
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("b64enc", &[Text], |_, args| {
        check_size(args.text(0).len().saturating_mul(4) / 3)?;
        Ok(Value::owned(STANDARD.encode(args.text(0))))
    }),
    function("b64dec", &[Text], |_, args| Ok(Value::owned(base64_decoded(args.text(0))))),
    function("urlencode", &[Text], |_, args| Ok(Value::owned(url_query(args.text(0))))),
    function("urldecode", &[Text], |_, args| url_decoded(args.text(0)).map(Value::owned)),
];

/// Standard alphabet, padding or not, and bits beyond the last byte ignored.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The decoded bytes, or the text of the error: sprig's `b64dec` does not fail.
fn base64_decoded(text: &[u8]) -> Vec<u8> {
    // Go skips line ends.
    let text: Vec<u8> = text.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    LENIENT.decode(&text).unwrap_or_else(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => at,
            DecodeError::InvalidLength(length) => length.saturating_sub(1) / 4 * 4,
            DecodeError::InvalidPadding => memchr::memchr(b'=', &text).unwrap_or(text.len()),
        };
        format!("illegal base64 data at input byte {at}").into_bytes()
    })
}

/// Go's `url.QueryEscape`: a space becomes `+`.
pub(super) fn url_query(text: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
            b' ' => out.push(b'+'),
            byte => {
                let digits = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
                out.extend_from_slice(&[b'%', digits[0], digits[1]]);
            }
        }
    }
    out
}

/// Go's `url.QueryUnescape`.
fn url_decoded(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok());
                let digits = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                let value = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
                let shown = || String::from_utf8_lossy(&tail[..tail.len().min(2)]).into_owned();
                out.push(value.ok_or_else(|| format!("invalid URL escape `%{}`", shown()))?);
                rest = &tail[2..];
            }
            byte => out.push(*byte),
        }
    }
    Ok(out)
}

/// Go's `template.HTMLEscape`.
pub(super) fn html(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b'\0' => out.extend_from_slice("\u{fffd}".as_bytes()),
            b'"' => out.extend_from_slice(b"&#34;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            byte => out.push(*byte),
        }
    }
    out
}

/// Go's `template.JSEscape`: safe inside a JavaScript string.
pub(super) fn js(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (at, rune) in runes::iter(text) {
        match rune.value {
            '\\' => out.extend_from_slice(b"\\\\"),
            '\'' => out.extend_from_slice(b"\\'"),
            '"' => out.extend_from_slice(b"\\\""),
            c @ ('<' | '>' | '&' | '=' | '\0'..='\x1f') => {
                out.extend_from_slice(format!("\\u{:04X}", u32::from(c)).as_bytes());
            }
            // Go leaves DEL alone: only what is beyond ASCII is asked whether it prints.
            c if c.is_ascii() || verb::is_printable(c) => out.extend_from_slice(&text[at..at + rune.width]),
            c => out.extend_from_slice(format!("\\u{:04X}", u32::from(c)).as_bytes()),
        }
    }
    out
}
