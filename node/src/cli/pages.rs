//! Pages through more lines than a server gives at once, without losing or repeating one.
//!
//! Loki's API has no cursor: the next page starts at the timestamp of the last line, and the lines of that
//! timestamp which were seen already are left out. A decider: it says what to ask next and which lines of the
//! answer are new.

use std::collections::BTreeMap;

use super::output::Line;

/// What to ask for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// ns, inclusive.
    pub start: i64,
    /// ns, exclusive.
    pub end: i64,
    /// At most so many lines.
    pub limit: usize,
}

/// Where a paged query stands.
#[derive(Debug)]
pub struct Pages {
    start: i64,
    end: i64,
    forward: bool,
    wanted: usize,
    page_max: usize,
    /// How often each line of the edge's timestamp has been seen.
    edge: BTreeMap<String, usize>,
    edge_time: Option<i64>,
    done: bool,
}

impl Pages {
    /// Wants `wanted` lines (`0`: all) of `[start, end)`, at most `page_max` at once.
    pub fn new(start: i64, end: i64, forward: bool, wanted: usize, page_max: usize) -> Self {
        assert!(page_max > 0, "a page holds at least one line");
        let wanted = if wanted == 0 { usize::MAX } else { wanted };
        Pages {
            start,
            end,
            forward,
            wanted,
            page_max,
            edge: BTreeMap::new(),
            edge_time: None,
            done: start >= end,
        }
    }

    /// What to ask next, or none at the end.
    pub fn poll_next(&self) -> Option<Page> {
        if self.done || self.wanted == 0 {
            return None;
        }
        let seen: usize = self.edge.values().sum();
        let limit = self.wanted.saturating_add(seen).min(self.page_max);
        Some(Page { start: self.start, end: self.end, limit })
    }

    /// Takes an answer in, in the order of the query, and gives back the lines not seen before.
    ///
    /// # Errors
    /// Where one timestamp has more lines than a page holds: nothing could be asked that gets past it.
    pub fn handle_answer(&mut self, page: Page, lines: Vec<Line>) -> Result<Vec<Line>, String> {
        let full = lines.len() >= page.limit;
        let mut skip = self.edge.clone();
        let mut new: Vec<Line> = Vec::with_capacity(lines.len());
        for line in lines {
            let seen = (Some(line.timestamp) == self.edge_time).then(|| skip.get_mut(&key(&line))).flatten();
            match seen {
                Some(left) if *left > 0 => *left -= 1,
                _ => new.push(line),
            }
        }
        new.truncate(self.wanted);
        self.wanted -= new.len();
        self.done = !full;
        match new.last().map(|line| line.timestamp) {
            Some(last) => self.move_edge(last, &new),
            None if full => {
                let time = super::output::show_time(self.edge_time.unwrap_or(self.start));
                return Err(format!(
                    "more than {} lines bear the timestamp {time}: ask for bigger pages with --batch, or narrow the query",
                    page.limit
                ));
            }
            None => {}
        }
        Ok(new)
    }

    fn move_edge(&mut self, last: i64, new: &[Line]) {
        if self.edge_time != Some(last) {
            self.edge.clear();
            self.edge_time = Some(last);
        }
        for line in new.iter().filter(|line| line.timestamp == last) {
            *self.edge.entry(key(line)).or_default() += 1;
        }
        if self.forward {
            self.start = last;
        } else {
            self.end = last.saturating_add(1);
        }
    }
}

fn key(line: &Line) -> String {
    format!("{}{}", super::output::show(&line.labels), line.text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, proptest};

    use super::{Line, Page, Pages};
    use crate::cli::output::LabelMap;

    fn line(timestamp: i64, text: &str) -> Line {
        Line { timestamp, labels: LabelMap::new(), text: text.into() }
    }

    /// What a server would say.
    fn answer(all: &[Line], page: Page, forward: bool) -> Vec<Line> {
        let mut lines: Vec<Line> =
            all.iter().filter(|l| (page.start..page.end).contains(&l.timestamp)).cloned().collect();
        if !forward {
            lines.reverse();
        }
        lines.truncate(page.limit);
        lines
    }

    fn fetch(all: &[Line], forward: bool, wanted: usize, page_max: usize) -> Result<Vec<Line>, String> {
        let mut pages = Pages::new(0, 100, forward, wanted, page_max);
        let mut got = Vec::new();
        while let Some(page) = pages.poll_next() {
            got.extend(pages.handle_answer(page, answer(all, page, forward))?);
        }
        Ok(got)
    }

    fn lines() -> impl Strategy<Value = Vec<Line>> {
        prop::collection::vec((0..20i64, 0..4u8), 0..60).prop_map(|mut parts| {
            parts.sort();
            parts.dedup();
            parts.into_iter().map(|(time, text)| line(time, &text.to_string())).collect()
        })
    }

    proptest! {
        #[test]
        fn pages_together_are_the_whole_answer(all in lines(), forward in any::<bool>(), page_max in 5..9usize, wanted in 0..70usize) {
            let mut whole = all.clone();
            if !forward {
                whole.reverse();
            }
            if wanted > 0 {
                whole.truncate(wanted);
            }
            assert_eq!(fetch(&all, forward, wanted, page_max), Ok(whole));
        }
    }

    #[test]
    fn a_timestamp_fuller_than_a_page_is_reported() {
        let all = [line(1, "a"), line(1, "b"), line(1, "c")];
        assert!(fetch(&all, true, 0, 2).unwrap_err().contains("more than 2 lines"));
    }
}
