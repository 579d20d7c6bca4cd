//! What happened in a run, for people: moments and stretches, each on the lane of a node or of all.
//!
//! Kept for this thread, as the trace is: the store, the log and the harness tell of themselves wherever they are.
//! Nothing here has an influence on the run.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use crate::det;

/// Moments kept at most: a run of days has more puts than anybody reads.
const MOMENTS_MAX: usize = 100_000;

/// Slices of the ring, of equal size, of which it is told who leads the middle of each.
pub const SLICES: usize = 256;

thread_local! {
    static TIMELINE: RefCell<Timeline> = RefCell::new(Timeline::default());
}

/// What kind of moment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A fault begins.
    Fault,
    /// A node starts, stops, ends; a phase begins.
    State,
    /// A push was answered with success by a node, or a question by it.
    Answered,
    /// A node stored an object.
    Stored,
    /// A node brought or fetched what another lacked or had.
    Moved,
    /// A node logged a warning.
    Warning,
    /// A node logged an error.
    Error,
    /// The checker objects.
    Objection,
}

/// What kind of stretch it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stretch {
    /// A node is down.
    Down,
    /// It is suspended.
    Paused,
    /// Its disk is full.
    DiskFull,
    /// The chunk store is out or slow for it.
    Store,
    /// Its links are bad.
    Weather,
    /// It is cut off from some others.
    Partition,
}

/// A moment.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When.
    pub at: Duration,
    /// What kind.
    pub mark: Mark,
    /// On which node; none for all.
    pub node: Option<usize>,
    /// In words.
    pub text: String,
}

/// From one time to another.
#[derive(Clone, Debug)]
pub struct Span {
    /// When it began.
    pub from: Duration,
    /// When it ended.
    pub to: Duration,
    /// What kind.
    pub stretch: Stretch,
    /// On which node.
    pub node: usize,
    /// In words.
    pub text: String,
}

/// A run, told.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// Moments in order.
    pub moments: Vec<Moment>,
    /// Stretches that have ended, by their ends.
    pub spans: Vec<Span>,
    /// From when on which node leads each of [`SLICES`] slices of the ring.
    pub leads: Vec<(Duration, Vec<Option<usize>>)>,
    pub(crate) open: Vec<Span>,
}

/// Begins this thread's timeline.
pub fn begin() {
    TIMELINE.set(Timeline::default());
}

/// Ends this thread's timeline, and all stretches with it.
pub fn end() -> Timeline {
    let mut timeline = TIMELINE.take();
    let now = det::elapsed();
    let open = std::mem::take(&mut timeline.open);
    timeline.spans.extend(open.into_iter().map(|span| Span { to: now, ..span }));
    timeline
}

/// A moment, now.
pub fn mark(mark: Mark, node: Option<usize>, text: impl FnOnce() -> String) {
    let _ = TIMELINE.try_with(|timeline| {
        if let Ok(mut timeline) = timeline.try_borrow_mut()
            && timeline.moments.len() < MOMENTS_MAX
        {
            timeline.moments.push(Moment { at: det::elapsed(), mark, node, text: text() });
        }
    });
}

/// From now on these nodes lead the slices of the ring.
pub fn lead(leaders: Vec<Option<usize>>) {
    TIMELINE.with_borrow_mut(|timeline| {
        let is_new = timeline.leads.last().is_none_or(|(_, last)| *last != leaders);
        if is_new && timeline.leads.len() < MOMENTS_MAX {
            timeline.leads.push((det::elapsed(), leaders));
        }
    });
}

/// A stretch begins on a node, unless one of the kind is open there.
pub fn open(stretch: Stretch, node: usize, text: &str) {
    TIMELINE.with_borrow_mut(|timeline| {
        let is_open = timeline.open.iter().any(|span| (span.stretch, span.node) == (stretch, node));
        if !is_open {
            let now = det::elapsed();
            timeline.open.push(Span { from: now, to: now, stretch, node, text: text.to_owned() });
        }
    });
}

/// The stretch of a kind on a node ends, if there is one.
pub fn close(stretch: Stretch, node: usize) {
    TIMELINE.with_borrow_mut(|timeline| {
        let is_it = |span: &Span| (span.stretch, span.node) == (stretch, node);
        if let Some(place) = timeline.open.iter().position(is_it) {
            let span = timeline.open.swap_remove(place);
            timeline.spans.push(Span { to: det::elapsed(), ..span });
        }
    });
}

impl Timeline {
    /// In words, a line each, with the names of nodes; all of it, or what a run shows anyway.
    pub fn told<'a>(&'a self, names: &'a [String], all: bool) -> Told<'a> {
        Told { timeline: self, names, all }
    }
}

/// See [`Timeline::told`].
#[derive(Debug)]
pub struct Told<'a> {
    timeline: &'a Timeline,
    names: &'a [String],
    all: bool,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for moment in &self.timeline.moments {
            if !self.all && matches!(moment.mark, Mark::Stored | Mark::Moved | Mark::Warning | Mark::Answered)
            {
                continue;
            }
            let name = moment.node.and_then(|node| self.names.get(node)).map_or("", String::as_str);
            writeln!(f, "{:>11.3} s  {name:>8}  {}", moment.at.as_secs_f64(), moment.text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, Stretch, begin, close, end, mark, open};

    #[test]
    fn moments_and_stretches_are_kept_and_open_ones_end_with_the_run() {
        begin();
        mark(Mark::Fault, Some(0), || "crash".into());
        mark(Mark::Stored, Some(1), || "put".into());
        open(Stretch::Down, 0, "crash");
        open(Stretch::Down, 0, "again");
        open(Stretch::Paused, 1, "pause");
        close(Stretch::Down, 0);
        close(Stretch::Down, 0);
        let timeline = end();
        assert_eq!((timeline.moments.len(), timeline.spans.len()), (2, 2));
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(timeline.told(&names, false).to_string().lines().count(), 1);
        assert!(timeline.told(&names, true).to_string().contains("b  put"));
        assert!(end().moments.is_empty());
    }
}
