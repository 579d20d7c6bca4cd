//! Counting matches per window of time without numbering lines: boundaries of windows become places in the text.
//!
//! Timestamps ascend, so a boundary is a line number by `partition_point`, and a place in the text by one walk over
//! the newlines. Hits are then added up between places. Numbering each hit would cost a walk per hit.

use std::ops::{ControlFlow, Range};

use memchr::memchr_iter;

use super::search::Conjunction;

/// Numbers of the first line at or after each boundary in time, into `out`, which is cleared. Timestamps and
/// boundaries ascend.
pub fn window_lines(timestamps: &[i64], boundaries: &[i64], out: &mut Vec<u32>) {
    out.clear();
    let mut before = 0;
    for boundary in boundaries {
        before += timestamps[before..].partition_point(|timestamp| timestamp < boundary);
        out.push(before as u32);
    }
}

/// Where lines start in a text, into `out`, which is cleared. Numbers of lines ascend; the number after the last
/// line's, or any beyond, stands for the text's length.
pub fn line_offsets(text: &[u8], line_ends: Option<&[u32]>, lines: &[u32], out: &mut Vec<usize>) {
    out.clear();
    if let Some(ends) = line_ends {
        let start = |line: u32| match line.checked_sub(1) {
            Some(before) => ends.get(before as usize).map_or(text.len(), |end| *end as usize + 1),
            None => 0,
        };
        return out.extend(lines.iter().map(|line| start(*line)));
    }
    let mut newlines = memchr_iter(b'\n', text);
    let (mut at, mut offset) = (0, 0);
    for line in lines {
        if *line > at {
            let last = newlines.nth((line - at - 1) as usize);
            offset = last.map_or(text.len(), |newline| newline + 1);
            at = *line;
        }
        out.push(offset);
    }
}

pub(super) fn count_between(
    conjunction: &Conjunction,
    text: &[u8],
    line_ends: Option<&[u32]>,
    boundaries: &[usize],
    counts: &mut [u64],
) {
    assert_eq!(counts.len() + 1, boundaries.len(), "one count fewer than boundaries");
    let mut window = 0;
    let _: ControlFlow<()> = conjunction.forward(text, line_ends, &mut |line: Range<usize>| {
        while window < counts.len() && boundaries[window + 1] <= line.start {
            window += 1;
        }
        let Some(count) = counts.get_mut(window) else { return ControlFlow::Break(()) };
        if boundaries[window] <= line.start {
            *count += 1;
        }
        ControlFlow::Continue(())
    });
}

/// Numbers lines by where they start: counts the newlines between one question and the next, in either direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineNumbers {
    offset: usize,
    line: usize,
}

impl LineNumbers {
    /// For a new text.
    pub fn new() -> Self {
        LineNumbers::default()
    }

    /// The number, from 0, of the line that starts at `offset`. Always ask for the same text.
    pub fn number_at(&mut self, text: &[u8], line_ends: Option<&[u32]>, offset: usize) -> usize {
        if let Some(ends) = line_ends {
            return ends.partition_point(|end| (*end as usize) < offset);
        }
        if offset >= self.offset {
            self.line += memchr_iter(b'\n', &text[self.offset..offset]).count();
        } else {
            self.line -= memchr_iter(b'\n', &text[offset..self.offset]).count();
        }
        self.offset = offset;
        self.line
    }
}
