//! Aggregates of a sliding window in constant time a step, for any associative merge.
//!
//! Two stacks (the "two-stack queue"): the front one holds, for each interval of the window's older part, the
//! aggregate from there to the end of that part; the newer part is one running aggregate. Subtracting what
//! leaves the window would be simpler, but neither minima nor floats with infinities can be subtracted.

use std::ops::Range;

use super::cell::Cell;
use super::pages::Pages;

/// Slides over the cells of one series.
#[derive(Debug)]
pub(crate) struct Slide<'a, C> {
    cells: &'a Pages<C>,
    /// Aggregates of `i..middle` for each `i` of the older part, the oldest last.
    front: Vec<C>,
    middle: usize,
    /// The aggregate of `middle..end`.
    back: C,
    end: usize,
}

impl<'a, C: Cell> Slide<'a, C> {
    pub(crate) fn new(cells: &'a Pages<C>) -> Self {
        Slide { cells, front: Vec::new(), middle: 0, back: C::default(), end: 0 }
    }

    /// The aggregate of `span`; neither end may go back from one call to the next.
    pub(crate) fn at(&mut self, span: &Range<u32>) -> C {
        let (start, end) = (span.start as usize, span.end as usize);
        if start >= self.end {
            self.restart(start);
        } else if start >= self.middle {
            self.turn(start);
        }
        self.front.truncate(self.middle - start);
        self.grow(end);
        let mut window = self.front.last().cloned().unwrap_or_default();
        window.merge(&self.back);
        window
    }

    fn restart(&mut self, start: usize) {
        self.front.clear();
        self.back = C::default();
        self.middle = start;
        self.end = start;
    }

    /// Makes everything in the window its older part.
    fn turn(&mut self, start: usize) {
        let mut suffix = C::default();
        self.front.clear();
        for interval in (start..self.end).rev() {
            let mut longer = self.cells.cell(interval).cloned().unwrap_or_default();
            longer.merge(&suffix);
            self.front.push(longer.clone());
            suffix = longer;
        }
        self.back = C::default();
        self.middle = self.end;
    }

    fn grow(&mut self, end: usize) {
        for interval in self.end..end {
            if let Some(cell) = self.cells.cell(interval) {
                self.back.merge(cell);
            }
        }
        self.end = self.end.max(end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::Slide;
    use crate::range::cell::Values;
    use crate::range::pages::Pages;

    proptest! {
        #[test]
        fn a_slid_window_holds_its_cells_in_order(
            filled in proptest::collection::btree_set(0usize..120, 0..60),
            moves in proptest::collection::vec((0u32..9, 0u32..9), 1..60),
        ) {
            let mut pages = Pages::<Values>::default();
            filled.iter().for_each(|&interval| pages.cell_mut(interval).0.push(interval as f64));
            let mut slide = Slide::new(&pages);
            let (mut start, mut end) = (0, 0);
            for (forward, longer) in moves {
                start += forward;
                end = (end + longer).max(start);
                let expected: Vec<f64> =
                    filled.range(start as usize..end as usize).map(|&interval| interval as f64).collect();
                let window = slide.at(&(start..end));
                prop_assert_eq!(window.is_empty(), expected.is_empty());
                prop_assert_eq!(window, expected);
            }
        }
    }
}
