//! Names of structured metadata: Loki's rule that makes any text a label name.
//!
//! The rule is that of Prometheus' `otlptranslator` in its permissive form: every run of characters that a
//! label name may not hold, and every run of underscores, becomes one `_`; a leading digit gets `key_` before
//! it. The same rule names OpenTelemetry attributes.

use std::borrow::Cow;

use super::error::{ErrorCode, PushError};

/// The name as stored; borrowed when the rule changes nothing.
///
/// # Errors
/// An empty name, or one of which nothing but `_` is left. Loki answers these with 500 and keeps nothing of
/// the request.
pub fn normalise_name(name: &str) -> Result<Cow<'_, str>, PushError> {
    if is_normal(name.as_bytes()) {
        return Ok(Cow::Borrowed(name));
    }
    if name.is_empty() {
        return Err(PushError::new(ErrorCode::Internal, "label name is empty"));
    }
    let normal = rewrite(name);
    if normal.bytes().all(|byte| byte == b'_') {
        let name = super::labels::quoted(name);
        let text = format!("normalization for label name {name} resulted in invalid name \"{normal}\"");
        return Err(PushError::new(ErrorCode::Internal, text));
    }
    Ok(Cow::Owned(normal))
}

fn rewrite(name: &str) -> String {
    let mut normal = String::with_capacity(name.len() + 4);
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        normal.push_str("key_");
    }
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            normal.push(c);
        } else if !normal.ends_with('_') {
            normal.push('_');
        }
    }
    normal
}

/// Whether `rewrite` would leave the name as it is, decided without writing it.
fn is_normal(name: &[u8]) -> bool {
    let mut before = b'_';
    let mut letters = false;
    for (at, &byte) in name.iter().enumerate() {
        if byte.is_ascii_alphanumeric() {
            letters = true;
        } else if byte != b'_' || (at > 0 && before == b'_') {
            return false;
        }
        before = byte;
    }
    letters && !name[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::normalise_name;

    fn check(name: &str, expected: Result<&str, &str>) {
        let got = normalise_name(name).map_err(|error| error.message);
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{name:?}");
    }

    #[test]
    fn names_become_what_loki_recorded() {
        for (name, normal) in [
            ("trace.id", "trace_id"),
            ("1k", "key_1k"),
            ("k-k", "k_k"),
            ("k k", "k_k"),
            ("a", "a"),
            ("_x", "_x"),
            ("__y", "_y"),
            ("aé", "a_"),
            ("a..b", "a_b"),
            ("a__b", "a_b"),
            ("a_", "a_"),
        ] {
            check(name, Ok(normal));
        }
    }

    #[test]
    fn names_of_which_nothing_is_left_are_refused() {
        check("", Err("label name is empty"));
        check("_", Err(r#"normalization for label name "_" resulted in invalid name "_""#));
        check("é", Err(r#"normalization for label name "é" resulted in invalid name "_""#));
        check("___", Err(r#"normalization for label name "___" resulted in invalid name "_""#));
    }

    proptest! {
        #[test]
        fn a_normal_name_stays(name in "\\PC{0,12}") {
            if let Ok(once) = normalise_name(&name) {
                prop_assert!(matches!(normalise_name(&once), Ok(std::borrow::Cow::Borrowed(_))));
            }
        }
    }
}
