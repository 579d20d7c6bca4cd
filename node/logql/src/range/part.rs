//! A partial result cut into parts that travel: what one node has gathered, for another to take in.
//!
//! An [`Accumulator`] may hold many times what a message may, so it is handed out bit by bit, and let go of as it is.
//! A cell is never split but for those that are lists of samples, and these keep their order: whoever takes in
//! all parts of a result ends with exactly the cells it had. What comes from another node is never trusted: each
//! part says what it holds, and is refused unless that fits the leaf and the windows it is taken into.

use bincode::{Decode, Encode};

use super::accumulator::{Accumulator, Entry, Failure};
use super::cell::{Bytes, Cell, Count, Edge, Extreme, Moments, Samples, Sum, Values};
use super::cells::{Cells, with_cell};
use super::pages::Pages;
use crate::eval_error::EvalError;
use crate::series::{SeriesLabels, series_hash};

/// Samples of one cell that travel together at most.
const SAMPLES_MAX: usize = 4096;

/// Some series of a partial result, as they travel.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Part {
    failure: Option<Failure>,
    series: Vec<PartSeries>,
}

/// One series, or some intervals of it.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
struct PartSeries {
    labels: Vec<(String, String)>,
    cells: Sparse,
}

/// Cells by elementary interval.
type Listed<C> = Vec<(u32, C)>;

/// The cells that are used; the same kinds as [`Cells`].
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
enum Sparse {
    Count(Listed<Count>),
    Bytes(Listed<Bytes>),
    Sum(Listed<Sum>),
    Moments(Listed<Moments>),
    Min(Listed<Extreme<false>>),
    Max(Listed<Extreme<true>>),
    First(Listed<Edge<false>>),
    Last(Listed<Edge<true>>),
    Values(Listed<Values>),
    Samples(Listed<Samples>),
}

/// A part that does not belong to what it is to be taken into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It comes of another function.
    #[error("the part is of another function than the leaf")]
    Function,
    /// It speaks of an interval that is in no window.
    #[error("the part has something in interval `{0}`, which is in no window")]
    Interval(u32),
}

/// Runs `$body` with the list inside.
macro_rules! with_list {
    ($sparse:expr, $list:ident => $body:expr) => {
        match $sparse {
            Sparse::Count($list) => $body,
            Sparse::Bytes($list) => $body,
            Sparse::Sum($list) => $body,
            Sparse::Moments($list) => $body,
            Sparse::Min($list) => $body,
            Sparse::Max($list) => $body,
            Sparse::First($list) => $body,
            Sparse::Last($list) => $body,
            Sparse::Values($list) => $body,
            Sparse::Samples($list) => $body,
        }
    };
}

/// What a cell takes besides itself.
trait Held {
    fn held(&self) -> usize {
        0
    }
}

impl Held for Count {}
impl Held for Bytes {}
impl Held for Sum {}
impl Held for Moments {}
impl<const MAX: bool> Held for Extreme<MAX> {}
impl<const LAST: bool> Held for Edge<LAST> {}

impl Held for Values {
    fn held(&self) -> usize {
        size_of_val(&self[..])
    }
}

impl Held for Samples {
    fn held(&self) -> usize {
        size_of_val(&self[..])
    }
}

fn list<C: Cell>(pages: &Pages<C>) -> Listed<C> {
    pages.used().map(|(interval, cell)| (interval as u32, cell.clone())).collect()
}

/// Long cells come in several pieces, in order.
fn list_samples<T: Copy>(pages: &Pages<Vec<T>>) -> Listed<Vec<T>>
where
    Vec<T>: Cell,
{
    let pieces = |(interval, cell): (usize, &'_ Vec<T>)| -> Listed<Vec<T>> {
        cell.chunks(SAMPLES_MAX).map(|piece| (interval as u32, piece.to_vec())).collect()
    };
    pages.used().flat_map(pieces).collect()
}

/// Takes so much off the front as weighs `bytes`, one cell at least; returns what it weighs, too.
fn take_front<C: Held>(list: &mut Listed<C>, bytes: usize) -> (Listed<C>, usize) {
    let mut weight = 0;
    let mut count = 0;
    while count < list.len() && (count == 0 || weight < bytes) {
        weight += size_of::<(u32, C)>() + list[count].1.held();
        count += 1;
    }
    let rest = list.split_off(count);
    (std::mem::replace(list, rest), weight)
}

fn merge_list<C: Cell + Held>(pages: &mut Pages<C>, list: &Listed<C>) -> usize {
    let merge = |(interval, cell): &(u32, C)| {
        with_cell(pages, *interval as usize, |into| into.merge(cell)) + cell.held()
    };
    list.iter().map(merge).sum()
}

impl Sparse {
    fn of(cells: &Cells) -> Self {
        match cells {
            Cells::Count(pages) => Sparse::Count(list(pages)),
            Cells::Bytes(pages) => Sparse::Bytes(list(pages)),
            Cells::Sum(pages) => Sparse::Sum(list(pages)),
            Cells::Moments(pages) => Sparse::Moments(list(pages)),
            Cells::Min(pages) => Sparse::Min(list(pages)),
            Cells::Max(pages) => Sparse::Max(list(pages)),
            Cells::First(pages) => Sparse::First(list(pages)),
            Cells::Last(pages) => Sparse::Last(list(pages)),
            Cells::Values(pages) => Sparse::Values(list_samples(pages)),
            Cells::Samples(pages) => Sparse::Samples(list_samples(pages)),
        }
    }

    fn is_empty(&self) -> bool {
        with_list!(self, list => list.is_empty())
    }

    /// As [`take_front`].
    fn take_front(&mut self, bytes: usize) -> (Self, usize) {
        match self {
            Sparse::Count(list) => map_first(take_front(list, bytes), Sparse::Count),
            Sparse::Bytes(list) => map_first(take_front(list, bytes), Sparse::Bytes),
            Sparse::Sum(list) => map_first(take_front(list, bytes), Sparse::Sum),
            Sparse::Moments(list) => map_first(take_front(list, bytes), Sparse::Moments),
            Sparse::Min(list) => map_first(take_front(list, bytes), Sparse::Min),
            Sparse::Max(list) => map_first(take_front(list, bytes), Sparse::Max),
            Sparse::First(list) => map_first(take_front(list, bytes), Sparse::First),
            Sparse::Last(list) => map_first(take_front(list, bytes), Sparse::Last),
            Sparse::Values(list) => map_first(take_front(list, bytes), Sparse::Values),
            Sparse::Samples(list) => map_first(take_front(list, bytes), Sparse::Samples),
        }
    }

    /// The first interval that does not pass.
    fn interval_but(&self, passes: impl Fn(usize) -> bool) -> Option<u32> {
        with_list!(self, list => list.iter().map(|(at, _)| *at).find(|at| !passes(*at as usize)))
    }

    fn fits(&self, cells: &Cells) -> bool {
        matches!(
            (self, cells),
            (Sparse::Count(_), Cells::Count(_))
                | (Sparse::Bytes(_), Cells::Bytes(_))
                | (Sparse::Sum(_), Cells::Sum(_))
                | (Sparse::Moments(_), Cells::Moments(_))
                | (Sparse::Min(_), Cells::Min(_))
                | (Sparse::Max(_), Cells::Max(_))
                | (Sparse::First(_), Cells::First(_))
                | (Sparse::Last(_), Cells::Last(_))
                | (Sparse::Values(_), Cells::Values(_))
                | (Sparse::Samples(_), Cells::Samples(_))
        )
    }
}

impl Cells {
    /// Returns the bytes newly taken; nothing happens where the kinds differ.
    fn take_in(&mut self, other: &Sparse) -> usize {
        match (self, other) {
            (Cells::Count(into), Sparse::Count(from)) => merge_list(into, from),
            (Cells::Bytes(into), Sparse::Bytes(from)) => merge_list(into, from),
            (Cells::Sum(into), Sparse::Sum(from)) => merge_list(into, from),
            (Cells::Moments(into), Sparse::Moments(from)) => merge_list(into, from),
            (Cells::Min(into), Sparse::Min(from)) => merge_list(into, from),
            (Cells::Max(into), Sparse::Max(from)) => merge_list(into, from),
            (Cells::First(into), Sparse::First(from)) => merge_list(into, from),
            (Cells::Last(into), Sparse::Last(from)) => merge_list(into, from),
            (Cells::Values(into), Sparse::Values(from)) => merge_list(into, from),
            (Cells::Samples(into), Sparse::Samples(from)) => merge_list(into, from),
            _ => 0,
        }
    }
}

fn map_first<A, B, C>((first, second): (A, C), map: impl FnOnce(A) -> B) -> (B, C) {
    (map(first), second)
}

/// A partial result on its way out: an iterator over its parts, at least one.
#[derive(Debug)]
pub struct Parts {
    bytes: usize,
    failure: Option<Failure>,
    series: std::vec::IntoIter<Entry>,
    begun: Option<PartSeries>,
    is_first: bool,
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let mut part = Part { failure: self.failure.take(), series: Vec::new() };
        let mut weight = 0;
        while weight < self.bytes {
            let Some(mut whole) = self.begun.take().or_else(|| self.series.next().map(PartSeries::of)) else {
                break;
            };
            let text: usize = whole.labels.iter().map(|(name, value)| name.len() + value.len()).sum();
            let labels = text + whole.labels.len() * size_of::<(String, String)>();
            let (front, taken) = whole.cells.take_front(self.bytes - weight);
            weight += labels + taken + size_of::<PartSeries>();
            if !whole.cells.is_empty() {
                self.begun = Some(PartSeries { labels: whole.labels.clone(), cells: whole.cells });
            }
            part.series.push(PartSeries { labels: whole.labels, cells: front });
        }
        let is_first = std::mem::take(&mut self.is_first);
        (is_first || !part.series.is_empty()).then_some(part)
    }
}

impl PartSeries {
    fn of(entry: Entry) -> Self {
        PartSeries { labels: entry.labels.pairs().to_vec(), cells: Sparse::of(&entry.cells) }
    }
}

impl Accumulator {
    /// Hands the result out in parts of about so many bytes of memory each.
    pub fn into_parts(self, bytes: usize) -> Parts {
        let (failure, series) = (self.failure, self.series.into_iter());
        Parts { bytes: bytes.max(1), failure, series, begun: None, is_first: true }
    }

    /// Takes in one part of another partial result of the same leaf and windows. Either all of the part is taken
    /// in or none of it, unless a limit is met.
    ///
    /// # Errors
    /// Together there are more series or bytes than allowed; inside, that the part does not belong here.
    pub fn take_part(&mut self, part: Part) -> Result<Result<(), Unfit>, EvalError> {
        if let Err(unfit) = self.check(&part) {
            return Ok(Err(unfit));
        }
        part.failure.into_iter().for_each(|failure| self.note(failure));
        for series in part.series {
            let labels = SeriesLabels::new(series.labels);
            let pairs = || labels.pairs().iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let id = self.series_hashed(series_hash(pairs()), pairs())?;
            let grown = self.series[id.index()].cells.take_in(&series.cells);
            self.charge(grown)?;
        }
        Ok(Ok(()))
    }

    fn check(&self, part: &Part) -> Result<(), Unfit> {
        let own = self.kind.cells();
        let failed = part.failure.as_ref().map(|failure| failure.interval);
        let outside = failed.filter(|at| !self.windows.is_covered(*at as usize));
        outside.map_or(Ok(()), |at| Err(Unfit::Interval(at)))?;
        for series in &part.series {
            if !series.cells.fits(&own) {
                return Err(Unfit::Function);
            }
            let outside = series.cells.interval_but(|at| self.windows.is_covered(at));
            outside.map_or(Ok(()), |at| Err(Unfit::Interval(at)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
