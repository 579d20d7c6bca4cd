//! `| pattern "<ip> <_>"`: the named captures of a line.

use crate::pattern::Pattern;
use crate::stage::extract::{Extract, Flow};
use crate::stage::text::push_lossy;

/// Extracts from a line. False if the line is to be dropped.
pub(super) fn pattern(pattern: &Pattern, line: &[u8], extract: &mut Extract<'_>) -> bool {
    let mut flow = Flow::Continue;
    pattern.captures(line, |name, value| {
        flow = extract.add(name, |out| push_lossy(out, value));
        flow == Flow::Continue
    });
    flow != Flow::Drop
}
