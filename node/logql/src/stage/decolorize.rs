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
    let start = out.len();
    let mut end = 0;
    for sequence in SEQUENCE.find_iter(line) {
        out.extend_from_slice(&line[end..sequence.start()]);
        end = sequence.end();
    }
    if end == 0 {
        out.truncate(start);
        return false;
    }
    out.extend_from_slice(&line[end..]);
    true
}
