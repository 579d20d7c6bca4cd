//! Bytes of a line on their way into labels: names are made of `[a-zA-Z0-9_]`, values are UTF-8.

use std::borrow::Cow;

/// Appends `key` with every character a label name cannot have replaced by `_`. Space around it goes; a digit
/// at the start of a name gets a `_` before it.
pub(super) fn push_name(out: &mut String, key: &[u8]) {
    for chunk in trim(key).utf8_chunks() {
        for c in chunk.valid().chars() {
            if out.is_empty() && c.is_ascii_digit() {
                out.push('_');
            }
            out.push(if c.is_ascii_alphanumeric() { c } else { '_' });
        }
        chunk.invalid().iter().for_each(|_| out.push('_'));
    }
}

/// [`push_name`] for a whole name, without a copy if nothing needs replacing.
pub(super) fn label_name<'k>(key: &'k [u8], buffer: &'k mut String) -> &'k str {
    let plain = key.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    if plain && !key.first().is_some_and(u8::is_ascii_digit) {
        // All ASCII, as just seen.
        if let Ok(key) = std::str::from_utf8(key) {
            return key;
        }
    }
    buffer.clear();
    push_name(buffer, key);
    buffer
}

/// The key without Unicode space around it.
pub(super) fn trim(key: &[u8]) -> &[u8] {
    if key.is_ascii() {
        return key.trim_ascii();
    }
    match std::str::from_utf8(key) {
        Ok(key) => key.trim().as_bytes(),
        Err(_) => key.trim_ascii(),
    }
}

/// Appends a value; what is not UTF-8, and U+FFFD itself, becomes a space, as in Loki's `json` and `logfmt`.
pub(super) fn push_spaced(out: &mut String, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        let mut parts = chunk.valid().split(char::REPLACEMENT_CHARACTER);
        out.push_str(parts.next().unwrap_or(""));
        for part in parts {
            out.push(' ');
            out.push_str(part);
        }
        chunk.invalid().iter().for_each(|_| out.push(' '));
    }
}

/// Appends a value; what is not UTF-8 becomes U+FFFD.
pub(super) fn push_lossy(out: &mut String, value: &[u8]) {
    out.push_str(&lossy(value));
}

fn lossy(value: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_only_what_labels_may_have() {
        for (key, name) in [
            ("a", "a"),
            ("a.b-c/d", "a_b_c_d"),
            ("1a", "_1a"),
            (" m k ", "m_k"),
            ("é日", "__"),
            ("", ""),
            (" ", ""),
        ] {
            assert_eq!(label_name(key.as_bytes(), &mut String::new()), name, "{key:?}");
        }
        assert_eq!(label_name(b"a\xff", &mut String::new()), "a_");
    }

    #[test]
    fn a_prefix_does_not_get_a_second_underscore() {
        let mut name = "a_".to_string();
        push_name(&mut name, b"1");
        assert_eq!(name, "a_1");
    }

    #[test]
    fn what_is_not_text_becomes_a_space() {
        let mut out = String::new();
        push_spaced(&mut out, b"a\xff\xfe\xef\xbf\xbdb");
        assert_eq!(out, "a   b");
    }
}
