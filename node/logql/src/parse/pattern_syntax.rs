//! The notation of `| pattern "…"` and `|> "…"`: literal text with captures `<name>` in it, `<_>` for what is
//! passed over.

/// A piece of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// `<name>`; the name is `_` for what is passed over.
    Capture(&'a str),
    /// Text as it stands.
    Literal(&'a str),
}

/// The pieces of a pattern in order. A `<` that begins no capture is text.
pub(super) fn parts(pattern: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    let mut from = 0;
    while let Some(at) = rest[from..].find('<').map(|at| from + at) {
        let Some(name) = capture(&rest[at..]) else {
            from = at + 1;
            continue;
        };
        if at > 0 {
            parts.push(Part::Literal(&rest[..at]));
        }
        parts.push(Part::Capture(name));
        rest = &rest[at + name.len() + 2..];
        from = 0;
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest));
    }
    parts
}

/// The name of the capture that `text` begins with, if it does.
fn capture(text: &str) -> Option<&str> {
    let name = text.strip_prefix('<')?;
    let name = &name[..name.find('>')?];
    let is_name = name.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
        && name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::{Part::Capture, Part::Literal, parts};

    #[test]
    fn only_whole_names_in_brackets_are_captures() {
        assert_eq!(parts("<ip> - <_>!"), [Capture("ip"), Literal(" - "), Capture("_"), Literal("!")]);
        assert_eq!(parts("<a-b> <<c>"), [Literal("<a-b> <"), Capture("c")]);
        assert_eq!(parts("<1> <> <a"), [Literal("<1> <> <a")]);
        assert_eq!(parts("é<é>"), [Literal("é<é>")]);
        assert_eq!(parts(""), []);
    }
}
