//! Range aggregations: from lines in windows to one number per series and step.
//!
//! [`Windows`] says which lines count for which step, [`Accumulator`] takes them in any order, from any
//! number of places, and its [`finish`](Accumulator::finish) gives the series.

mod accumulator;
mod cell;
mod cells;
mod counter;
mod pages;
mod part;
mod quantile;
mod slide;
mod windows;

pub use accumulator::{Accumulator, SeriesId};
pub use part::{Part, Parts, Unfit};
pub use windows::{STEPS_MAX, Steps, Windows};
