//! An array of cells of which few may be used: memory grows with the intervals that hold lines, access stays
//! an index. A sorted list would make every late insertion a move, a map every line a search.

use super::cell::Cell;

/// Cells a page; a page is allocated when one of its cells is used.
const PAGE_CELLS: usize = 32;

/// Bytes a page of these cells takes.
pub(crate) const fn page_bytes<C>() -> usize {
    PAGE_CELLS * size_of::<C>()
}

/// The cells of one series, by elementary interval.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pages<C> {
    pages: Vec<Option<Box<[C; PAGE_CELLS]>>>,
}

impl<C: Cell> Pages<C> {
    /// The cell of an interval, and whether a page had to be allocated for it.
    pub(crate) fn cell_mut(&mut self, interval: usize) -> (&mut C, bool) {
        let (page, slot) = (interval / PAGE_CELLS, interval % PAGE_CELLS);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let fresh = self.pages[page].is_none();
        let page = self.pages[page].get_or_insert_with(|| Box::new(std::array::from_fn(|_| C::default())));
        (&mut page[slot], fresh)
    }

    /// The cell of an interval that has one.
    pub(crate) fn cell(&self, interval: usize) -> Option<&C> {
        let page = self.pages.get(interval / PAGE_CELLS)?.as_ref()?;
        Some(&page[interval % PAGE_CELLS]).filter(|cell| !cell.is_empty())
    }

    /// Every cell that is not empty, by ascending interval.
    pub(crate) fn used(&self) -> impl Iterator<Item = (usize, &C)> {
        let pages = self.pages.iter().enumerate().filter_map(|(at, page)| Some((at, page.as_ref()?)));
        let cells =
            pages.flat_map(|(at, page)| page.iter().enumerate().map(move |(i, c)| (at * PAGE_CELLS + i, c)));
        cells.filter(|(_, cell)| !cell.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::{PAGE_CELLS, Pages};
    use crate::range::cell::Count;

    #[test]
    fn only_pages_that_are_used_are_allocated() {
        let mut pages = Pages::<Count>::default();
        assert!(pages.cell_mut(5 * PAGE_CELLS).1);
        assert!(!pages.cell_mut(5 * PAGE_CELLS + 1).1);
        assert_eq!(pages.pages.iter().flatten().count(), 1);
    }

    #[test]
    fn used_cells_come_in_order_and_empty_ones_not_at_all() {
        let mut pages = Pages::<Count>::default();
        for interval in [70, 3, 64] {
            pages.cell_mut(interval).0.0 = interval as u64;
        }
        let used: Vec<_> = pages.used().map(|(interval, cell)| (interval, cell.0)).collect();
        assert_eq!(used, [(3, 3), (64, 64), (70, 70)]);
        assert!(pages.cell(4).is_none() && pages.cell(1_000).is_none());
    }
}
