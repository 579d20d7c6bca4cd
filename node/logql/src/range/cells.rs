//! The cells of one series, whichever its function needs, and how the windows' numbers come of them.

use std::ops::Range;

use super::cell::{Bytes, Cell, Count, Edge, Extreme, Moments, Placed, Samples, Sum, Values, sort_by_place};
use super::counter;
use super::pages::{Pages, page_bytes};
use super::quantile::quantile;
use super::slide::Slide;
use super::windows::Windows;
use crate::ast::RangeOp;
use crate::plan::Leaf;

/// What is kept for a leaf, and how a window's number comes of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Count { per_second: bool },
    Bytes { per_second: bool },
    Sum { per_second: bool },
    Mean,
    Deviation,
    Variance,
    Min,
    Max,
    First,
    Last,
    Quantile(f64),
    Counter,
}

#[derive(Clone, Debug)]
pub(super) enum Cells {
    Count(Pages<Count>),
    Bytes(Pages<Bytes>),
    Sum(Pages<Sum>),
    Moments(Pages<Moments>),
    Min(Pages<Extreme<false>>),
    Max(Pages<Extreme<true>>),
    First(Pages<Edge<false>>),
    Last(Pages<Edge<true>>),
    Values(Pages<Values>),
    Samples(Pages<Samples>),
}

impl Kind {
    pub(super) fn of(leaf: &Leaf) -> Self {
        match leaf.op {
            RangeOp::Rate if leaf.unwrap.is_some() => Kind::Sum { per_second: true },
            RangeOp::Rate => Kind::Count { per_second: true },
            RangeOp::CountOverTime | RangeOp::AbsentOverTime => Kind::Count { per_second: false },
            RangeOp::BytesRate => Kind::Bytes { per_second: true },
            RangeOp::BytesOverTime => Kind::Bytes { per_second: false },
            RangeOp::SumOverTime => Kind::Sum { per_second: false },
            RangeOp::AvgOverTime => Kind::Mean,
            RangeOp::StddevOverTime => Kind::Deviation,
            RangeOp::StdvarOverTime => Kind::Variance,
            RangeOp::MinOverTime => Kind::Min,
            RangeOp::MaxOverTime => Kind::Max,
            RangeOp::FirstOverTime => Kind::First,
            RangeOp::LastOverTime => Kind::Last,
            RangeOp::QuantileOverTime => Kind::Quantile(leaf.parameter.unwrap_or(f64::NAN)),
            RangeOp::RateCounter => Kind::Counter,
        }
    }

    pub(super) fn cells(self) -> Cells {
        match self {
            Kind::Count { .. } => Cells::Count(Pages::default()),
            Kind::Bytes { .. } => Cells::Bytes(Pages::default()),
            Kind::Sum { .. } | Kind::Mean => Cells::Sum(Pages::default()),
            Kind::Deviation | Kind::Variance => Cells::Moments(Pages::default()),
            Kind::Min => Cells::Min(Pages::default()),
            Kind::Max => Cells::Max(Pages::default()),
            Kind::First => Cells::First(Pages::default()),
            Kind::Last => Cells::Last(Pages::default()),
            Kind::Quantile(_) => Cells::Values(Pages::default()),
            Kind::Counter => Cells::Samples(Pages::default()),
        }
    }
}

/// Changes the cell of an interval; returns the bytes its page newly took.
pub(super) fn with_cell<C: Cell>(
    pages: &mut Pages<C>,
    interval: usize,
    change: impl FnOnce(&mut C),
) -> usize {
    let (cell, fresh) = pages.cell_mut(interval);
    change(cell);
    if fresh { page_bytes::<C>() } else { 0 }
}

/// Merges `other` into `pages`; returns the bytes newly taken. `held` tells what a cell holds elsewhere.
fn merge_pages<C: Cell>(pages: &mut Pages<C>, other: &Pages<C>, held: impl Fn(&C) -> usize) -> usize {
    let merge =
        |(interval, cell): (usize, &C)| with_cell(pages, interval, |into| into.merge(cell)) + held(cell);
    other.used().map(merge).sum()
}

impl Cells {
    /// Returns the bytes newly taken.
    pub(super) fn add(&mut self, interval: usize, sample: Placed) -> usize {
        let value = sample.value;
        match self {
            Cells::Count(pages) => with_cell(pages, interval, |cell| cell.merge(&Count(1))),
            Cells::Bytes(pages) => {
                let line = Bytes { lines: 1, bytes: value as u64 };
                with_cell(pages, interval, |cell| cell.merge(&line))
            }
            Cells::Sum(pages) => with_cell(pages, interval, |cell| cell.add(value)),
            Cells::Moments(pages) => with_cell(pages, interval, |cell| cell.add(value)),
            Cells::Min(pages) => with_cell(pages, interval, |cell| cell.add(value)),
            Cells::Max(pages) => with_cell(pages, interval, |cell| cell.add(value)),
            Cells::First(pages) => with_cell(pages, interval, |cell| cell.add(sample)),
            Cells::Last(pages) => with_cell(pages, interval, |cell| cell.add(sample)),
            Cells::Values(pages) => with_cell(pages, interval, |cell| cell.push(value)) + size_of::<f64>(),
            Cells::Samples(pages) => {
                with_cell(pages, interval, |cell| cell.push(sample)) + size_of::<Placed>()
            }
        }
    }

    /// Returns the bytes newly taken.
    pub(super) fn merge(&mut self, other: &Cells) -> usize {
        match (self, other) {
            (Cells::Count(into), Cells::Count(from)) => merge_pages(into, from, |_| 0),
            (Cells::Bytes(into), Cells::Bytes(from)) => merge_pages(into, from, |_| 0),
            (Cells::Sum(into), Cells::Sum(from)) => merge_pages(into, from, |_| 0),
            (Cells::Moments(into), Cells::Moments(from)) => merge_pages(into, from, |_| 0),
            (Cells::Min(into), Cells::Min(from)) => merge_pages(into, from, |_| 0),
            (Cells::Max(into), Cells::Max(from)) => merge_pages(into, from, |_| 0),
            (Cells::First(into), Cells::First(from)) => merge_pages(into, from, |_| 0),
            (Cells::Last(into), Cells::Last(from)) => merge_pages(into, from, |_| 0),
            (Cells::Values(into), Cells::Values(from)) => merge_pages(into, from, |v| size_of_val(&v[..])),
            (Cells::Samples(into), Cells::Samples(from)) => merge_pages(into, from, |v| size_of_val(&v[..])),
            (into, from) => panic!("partial results of different functions do not merge: {into:?}, {from:?}"),
        }
    }

    /// The window's number at each step that has one.
    pub(super) fn points(&mut self, kind: Kind, windows: &Windows) -> Vec<(u32, f64)> {
        let per = |per_second: bool| if per_second { windows.seconds() } else { 1.0 };
        match (self, kind) {
            (Cells::Count(pages), Kind::Count { per_second }) => {
                slide(pages, windows, |cell| cell.0 as f64 / per(per_second))
            }
            (Cells::Bytes(pages), Kind::Bytes { per_second }) => {
                slide(pages, windows, |cell| cell.bytes as f64 / per(per_second))
            }
            (Cells::Sum(pages), Kind::Sum { per_second }) => {
                slide(pages, windows, |cell| cell.total() / per(per_second))
            }
            (Cells::Sum(pages), _) => slide(pages, windows, Sum::mean),
            (Cells::Moments(pages), Kind::Deviation) => slide(pages, windows, |cell| cell.variance().sqrt()),
            (Cells::Moments(pages), _) => slide(pages, windows, Moments::variance),
            (Cells::Min(pages), _) => slide(pages, windows, |cell| cell.0.unwrap_or(f64::NAN)),
            (Cells::Max(pages), _) => slide(pages, windows, |cell| cell.0.unwrap_or(f64::NAN)),
            (Cells::First(pages), _) => slide(pages, windows, |cell| cell.0.map_or(f64::NAN, |s| s.value)),
            (Cells::Last(pages), _) => slide(pages, windows, |cell| cell.0.map_or(f64::NAN, |s| s.value)),
            (Cells::Values(pages), Kind::Quantile(q)) => {
                gather(pages, windows, |values, _| quantile(q, values))
            }
            (Cells::Samples(pages), Kind::Counter) => gather(pages, windows, |samples, edges| {
                sort_by_place(samples);
                counter::rate(samples, edges, windows.seconds())
            }),
            (cells, kind) => panic!("{kind:?} is not made of {cells:?}"),
        }
    }
}

/// The number of each window, from the merged cells of it.
fn slide<C: Cell>(pages: &Pages<C>, windows: &Windows, number: impl Fn(&C) -> f64) -> Vec<(u32, f64)> {
    let mut slide = Slide::new(pages);
    let numbered = windows.spans().iter().zip(0u32..).filter_map(|(span, step)| {
        let window = slide.at(span);
        (!window.is_empty()).then(|| (step, number(&window)))
    });
    numbered.collect()
}

/// The number of each window, from all samples in it: a sliding merge would copy them once more for each step.
fn gather<T: Copy>(
    pages: &Pages<Vec<T>>,
    windows: &Windows,
    number: impl Fn(&mut Vec<T>, (i64, i64)) -> f64,
) -> Vec<(u32, f64)>
where
    Vec<T>: Cell,
{
    let mut window = Vec::new();
    let mut points = Vec::new();
    for (span, step) in windows.spans().iter().zip(0u32..) {
        window.clear();
        collect(pages, span, &mut window);
        if !Vec::is_empty(&window) {
            points.push((step, number(&mut window, windows.edges(span))));
        }
    }
    points
}

fn collect<T: Copy>(pages: &Pages<Vec<T>>, span: &Range<u32>, into: &mut Vec<T>)
where
    Vec<T>: Cell,
{
    for interval in span.clone() {
        into.extend_from_slice(pages.cell(interval as usize).map_or(&[], Vec::as_slice));
    }
}
