//! `| decolorize`: takes terminal control sequences out of the line.

use std::sync::LazyLock;

use memchr::memchr2;
use regex::bytes::Regex;

/// ANSI control sequences, colours among them, as the `ansi-regex` project describes them (MIT).
static SEQUENCE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"[\x{1B}\x{9B}][\[\]()#;?]*(?:",
        r"(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\x{07})|",
        r"(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))",
    ))
    .expect("a constant expression compiles")
});

/// Appends the line without control sequences; false, and nothing appended, if it has none.
pub(crate) fn decolorize(line: &[u8], out: &mut Vec<u8>) -> bool {
    // Both introducers contain one of these bytes.
    if memchr2(0x1b, 0xc2, line).is_none() {
        return false;
    }
    let mut end = 0;
    for sequence in SEQUENCE.find_iter(line) {
        out.extend_from_slice(&line[end..sequence.start()]);
        end = sequence.end();
    }
    if end == 0 {
        return false;
    }
    out.extend_from_slice(&line[end..]);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_and_the_rest_stays() {
        for (line, expected) in [
            ("\x1b[31mred\x1b[0m plain \x1b[1;32mgreen\x1b[m", Some("red plain green")),
            ("\x1b]0;title\x07x", Some("x")),
            ("\x1b[?25lY", Some("Y")),
            ("\u{9b}31mZ", Some("Z")),
            ("31mZ", None),
            ("é\u{c2}", None),
            ("", None),
        ] {
            let mut out = Vec::new();
            let changed = decolorize(line.as_bytes(), &mut out);
            assert_eq!(changed.then(|| String::from_utf8(out).unwrap()).as_deref(), expected, "{line:?}");
        }
    }
}
