//! The checker: what was acknowledged is there, once, in order; what was never written is not.
//!
//! A push that was not answered may be stored or not, now or later; its lines may come back, but need not.
//!
//! Lines of one timestamp are to come back as they arrived: within a push and, if [`Ties`] says so, across pushes that
//! went to the same node. Pushes to different nodes have no order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

use crate::scenario::format::Ties;
use crate::workload::{Entry, Workload};

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// An acknowledged line is not in a complete answer.
    Lost {
        /// Of which stream.
        stream: u64,
        /// The sequences, ascending.
        sequences: Vec<u64>,
    },
    /// A line came back more than once.
    Doubled {
        /// Of which stream.
        stream: u64,
        /// Which.
        sequence: u64,
    },
    /// A line came back that nobody wrote.
    Invented {
        /// Of which stream.
        stream: u64,
        /// What it says.
        line: String,
    },
    /// A count is none that can be.
    Miscounted {
        /// Of which stream.
        stream: u64,
        /// What was answered.
        counted: u64,
        /// Lines that were acknowledged before the question.
        least: u64,
        /// Lines that were sent before the answer.
        most: u64,
    },
    /// Two lines came back the wrong way round.
    Disordered {
        /// Of which stream.
        stream: u64,
        /// The one that came first.
        first: u64,
        /// The one that should have.
        second: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Lost { stream, sequences } => {
                let (first, count) = (sequences.first().copied().unwrap_or_default(), sequences.len());
                write!(f, "stream {stream}: {count} acknowledged lines are lost, the first is {first}")
            }
            Violation::Doubled { stream, sequence } => {
                write!(f, "stream {stream}: line {sequence} came twice")
            }
            Violation::Invented { stream, line } => {
                write!(f, "stream {stream}: nobody wrote `{}`", line.chars().take(80).collect::<String>())
            }
            Violation::Miscounted { stream, counted, least, most } => {
                write!(f, "stream {stream}: {counted} lines were counted, where there are {least} to {most}")
            }
            Violation::Disordered { stream, first, second } => {
                write!(f, "stream {stream}: line {first} came before line {second}")
            }
        }
    }
}

/// What was written, and what of it was acknowledged.
#[derive(Debug)]
pub struct Ledger {
    workload: Workload,
    ties: Ties,
    streams: BTreeMap<u64, Stream>,
}

#[derive(Debug, Default)]
struct Stream {
    /// By the first sequence of each.
    pushes: BTreeMap<u64, Push>,
    next: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Push {
    acknowledged: bool,
    sent: Sent,
    /// How often.
    times: usize,
}

/// Where a push was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Sent {
    #[default]
    Nowhere,
    To(usize),
    /// To one node after the other: it has no place in either's order.
    ToSeveral,
}

impl Stream {
    fn push_of(&self, sequence: u64) -> Option<(u64, Push)> {
        self.pushes.range(..=sequence).next_back().map(|(first, push)| (*first, *push))
    }

    /// The sequences of pushes that were acknowledged, ascending.
    fn acknowledged(&self) -> impl Iterator<Item = u64> + '_ {
        let ends = self.pushes.keys().skip(1).copied().chain([self.next]);
        let pushes = self.pushes.iter().zip(ends).filter(|((_, push), _)| push.acknowledged);
        pushes.flat_map(|((first, _), end)| *first..end)
    }
}

impl Ledger {
    /// Nothing is written yet.
    pub fn new(workload: Workload, ties: Ties) -> Self {
        Ledger { workload, ties, streams: BTreeMap::new() }
    }

    /// Begins a push of a stream's next lines, as many as said.
    pub fn offer(&mut self, stream: u64, lines: u64) -> Range<u64> {
        let state = self.streams.entry(stream).or_default();
        let sequences = state.next..state.next + lines;
        state.pushes.insert(sequences.start, Push::default());
        state.next = sequences.end;
        sequences
    }

    /// The push that begins with a sequence is sent to a node.
    pub fn send(&mut self, stream: u64, first: u64, node: usize) {
        let push = self.streams.entry(stream).or_default().pushes.entry(first).or_default();
        push.times += 1;
        push.sent = match push.sent {
            Sent::Nowhere => Sent::To(node),
            sent if sent == Sent::To(node) => sent,
            _ => Sent::ToSeveral,
        };
    }

    /// How often a line was sent: so often it may be stored.
    pub fn times_sent(&self, line: &str) -> usize {
        let place = Workload::place_of(line);
        let push = place.and_then(|(stream, sequence)| self.streams.get(&stream)?.push_of(sequence));
        push.map_or(0, |(_, push)| push.times)
    }

    /// The push that begins with a sequence was acknowledged.
    pub fn acknowledge(&mut self, stream: u64, first: u64) {
        self.streams.entry(stream).or_default().pushes.entry(first).or_default().acknowledged = true;
    }

    /// All streams that have lines.
    pub fn streams(&self) -> Vec<u64> {
        self.streams.keys().copied().collect()
    }

    /// How many lines of a stream were sent or are about to be.
    pub fn offered(&self, stream: u64) -> u64 {
        self.streams.get(&stream).map_or(0, |state| state.next)
    }

    /// How many lines were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.streams.values().map(|state| state.acknowledged().count() as u64).sum()
    }

    /// The sequences of a stream that an answer must hold which is asked for from now on.
    pub fn owed(&self, stream: u64) -> BTreeSet<u64> {
        self.streams.get(&stream).map_or_else(BTreeSet::new, |state| state.acknowledged().collect())
    }

    /// Those of them that are of some time.
    pub fn owed_within(&self, stream: u64, time: &Range<i64>) -> BTreeSet<u64> {
        let is_within = |sequence: &u64| time.contains(&self.workload.timestamp(stream, *sequence));
        self.owed(stream).into_iter().filter(is_within).collect()
    }

    /// Holds a count of a whole stream's lines against what was owed when it was asked for.
    pub fn verify_count(&self, stream: u64, least: u64, counted: u64) -> Option<Violation> {
        let most = self.offered(stream);
        let wrong = counted < least || counted > most;
        wrong.then_some(Violation::Miscounted { stream, counted, least, most })
    }

    /// Holds an answer about a stream, oldest line first, against what was owed when it was asked for.
    pub fn verify(&self, stream: u64, owed: &BTreeSet<u64>, answer: &[Entry]) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut seen: Vec<(u64, i64)> = Vec::with_capacity(answer.len());
        for entry in answer {
            match self.place(stream, entry) {
                Some(sequence) => seen.push((sequence, entry.timestamp)),
                None => violations.push(Violation::Invented { stream, line: entry.line.clone() }),
            }
        }
        for pair in seen.windows(2) {
            if self.is_disordered(stream, pair[0], pair[1]) {
                violations.push(Violation::Disordered { stream, first: pair[0].0, second: pair[1].0 });
            }
        }
        let mut found = BTreeSet::new();
        for (sequence, _) in seen {
            if !found.insert(sequence) {
                violations.push(Violation::Doubled { stream, sequence });
            }
        }
        let lost: Vec<u64> = owed.difference(&found).copied().collect();
        if !lost.is_empty() {
            violations.push(Violation::Lost { stream, sequences: lost });
        }
        violations
    }

    /// The sequence of an entry that was offered, and is right to the byte.
    fn place(&self, stream: u64, entry: &Entry) -> Option<u64> {
        let (named, sequence) = Workload::place_of(&entry.line)?;
        let offered = self.streams.get(&stream).is_some_and(|state| sequence < state.next);
        (named == stream && offered && self.workload.entry(stream, sequence) == *entry).then_some(sequence)
    }

    /// By time; of one time by arrival, as far as it is known and asked for.
    fn is_disordered(&self, stream: u64, (first, at): (u64, i64), (second, then): (u64, i64)) -> bool {
        if at != then {
            return at > then;
        }
        let Some(state) = self.streams.get(&stream) else { return false };
        match (state.push_of(first), state.push_of(second)) {
            (Some((of_first, earlier)), Some((of_second, later))) => {
                let across = self.ties == Ties::AcrossPushes && later.acknowledged;
                let alike = later.sent == earlier.sent && later.sent != Sent::ToSeveral;
                second < first && (of_first == of_second || across && alike)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Violation};
    use crate::scenario::format::Ties;
    use crate::workload::{Entry, Workload};

    const WORKLOAD: Workload = Workload { seed: 1 };

    /// Nine lines, the first six acknowledged in two pushes.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(WORKLOAD, Ties::AcrossPushes);
        for acknowledged in [true, true, false] {
            let push = ledger.offer(0, 3);
            ledger.send(0, push.start, 0);
            if acknowledged {
                ledger.acknowledge(0, push.start);
            }
        }
        ledger
    }

    fn entries(sequences: &[u64]) -> Vec<Entry> {
        sequences.iter().map(|n| WORKLOAD.entry(0, *n)).collect()
    }

    fn check(answer: &[Entry], expected: &[Violation]) {
        let ledger = ledger();
        assert_eq!(ledger.verify(0, &ledger.owed(0), answer), expected);
    }

    #[test]
    fn acknowledged_lines_suffice_and_unanswered_ones_may_come_too() {
        check(&entries(&[0, 1, 2, 3, 4, 5]), &[]);
        check(&entries(&[0, 1, 2, 3, 4, 5, 7]), &[]);
    }

    #[test]
    fn lost_doubled_and_disordered_lines_are_told() {
        let lost = Violation::Lost { stream: 0, sequences: vec![1, 5] };
        check(&entries(&[0, 2, 3, 4]), &[lost]);
        check(&entries(&[0, 1, 2, 3, 3, 4, 5]), &[Violation::Doubled { stream: 0, sequence: 3 }]);
        // Of one time and one push, and of two times.
        let tie = Violation::Disordered { stream: 0, first: 1, second: 0 };
        check(&entries(&[1, 0, 2, 3, 4, 5]), &[tie]);
        let time = Violation::Disordered { stream: 0, first: 3, second: 2 };
        check(&entries(&[0, 1, 3, 2, 4, 5]), &[time]);
    }

    #[test]
    fn ties_of_pushes_to_one_node_have_an_order_and_others_none() {
        // The first six lines have two timestamps: 2 and 3 tie only if they are cut so.
        let answer = |homes: [&[usize]; 2], ties| {
            let mut ledger = Ledger::new(WORKLOAD, ties);
            for (push, homes) in [ledger.offer(0, 2), ledger.offer(0, 1)].into_iter().zip(homes) {
                homes.iter().for_each(|home| ledger.send(0, push.start, *home));
                ledger.acknowledge(0, push.start);
            }
            ledger.verify(0, &ledger.owed(0), &entries(&[2, 0, 1]))
        };
        let disordered = [Violation::Disordered { stream: 0, first: 2, second: 0 }];
        assert_eq!(answer([&[1], &[1]], Ties::AcrossPushes), disordered);
        assert_eq!(answer([&[1], &[2]], Ties::AcrossPushes), []);
        assert_eq!(answer([&[1, 2], &[2, 1]], Ties::AcrossPushes), []);
        assert_eq!(answer([&[1], &[1]], Ties::WithinPushes), []);
    }

    #[test]
    fn a_line_was_sent_as_often_as_its_push() {
        let mut ledger = ledger();
        ledger.send(0, 3, 1);
        let times = |sequence| ledger.times_sent(&WORKLOAD.entry(0, sequence).line);
        assert_eq!([2, 3, 5, 6, 9].map(times), [1, 2, 2, 1, 1]);
        assert_eq!(ledger.times_sent("nobody wrote this"), 0);
    }

    #[test]
    fn counts_lie_between_what_was_acknowledged_and_what_was_sent() {
        let ledger = ledger();
        let wrong = |counted| ledger.verify_count(0, 6, counted).is_some();
        assert_eq!([5, 6, 8, 9, 10].map(wrong), [true, false, false, false, true]);
    }

    #[test]
    fn lines_that_are_wrong_in_any_part_are_invented() {
        let right = WORKLOAD.entry(0, 3);
        let line = format!("{}x", right.line);
        let wrong = [
            Entry { line, ..right.clone() },
            Entry { timestamp: right.timestamp + 1, ..right },
            WORKLOAD.entry(0, 9),
            WORKLOAD.entry(1, 0),
            Entry { timestamp: 0, line: "?".into() },
        ];
        let ledger = ledger();
        for entry in wrong {
            let violations = ledger.verify(0, &Default::default(), std::slice::from_ref(&entry));
            assert_eq!(violations, [Violation::Invented { stream: 0, line: entry.line }]);
        }
    }
}
