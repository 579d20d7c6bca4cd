//! Which lines a log query answers with, once they come in order: direction, limit, and `interval`.

/// The order of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// The oldest first.
    Forward,
    /// The newest first; of one timestamp the line that arrived last.
    #[default]
    Backward,
}

/// Chooses among lines that come in the order of a direction, from all streams together.
#[derive(Clone, Debug)]
pub struct LineSelection {
    direction: Direction,
    /// Least distance in ns between lines chosen.
    interval: u64,
    left: usize,
    last: Option<i64>,
}

impl LineSelection {
    /// At most `limit` lines, each `interval` ns or more from the one before (0: however near).
    pub fn new(direction: Direction, limit: usize, interval: u64) -> Self {
        LineSelection { direction, interval, left: limit, last: None }
    }

    /// Whether no further line is wanted.
    pub fn is_full(&self) -> bool {
        self.left == 0
    }

    /// Whether the next line, of this timestamp, is chosen.
    pub fn offer(&mut self, ts: i64) -> bool {
        let near = self.interval > 0 && self.last.is_some_and(|last| self.distance(last, ts) < self.interval);
        if self.is_full() || near {
            return false;
        }
        self.last = Some(ts);
        self.left -= 1;
        true
    }

    /// How far `ts` lies beyond `last`; 0 if it does not.
    fn distance(&self, last: i64, ts: i64) -> u64 {
        let (from, to) = if self.direction == Direction::Forward { (last, ts) } else { (ts, last) };
        if to > from { to.abs_diff(from) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::{Direction, LineSelection};

    fn check(direction: Direction, limit: usize, interval: u64, lines: &[i64], expected: &[i64]) {
        let mut selection = LineSelection::new(direction, limit, interval);
        let chosen: Vec<i64> = lines.iter().copied().filter(|ts| selection.offer(*ts)).collect();
        assert_eq!(chosen, expected, "{direction:?} limit {limit} interval {interval}");
    }

    #[test]
    fn lines_are_chosen_up_to_the_limit() {
        check(Direction::Forward, 2, 0, &[1, 1, 2], &[1, 1]);
        check(Direction::Forward, 0, 0, &[1], &[]);
    }

    #[test]
    fn interval_thins_in_either_direction() {
        check(Direction::Forward, 9, 10, &[1, 5, 11, 20, 21], &[1, 11, 21]);
        check(Direction::Backward, 9, 10, &[21, 20, 11, 5, 1], &[21, 11, 1]);
        check(Direction::Backward, 9, 10, &[i64::MAX, i64::MIN], &[i64::MAX, i64::MIN]);
    }
}
