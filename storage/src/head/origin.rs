//! Where a head's entries came from: the pushes that brought them, and their places in the log.

use std::time::Duration;

use crate::atom::{PushId, PushSet};
use crate::wal::{Mark, SegmentRef, WalId};

/// Where appended entries come from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The log.
    pub wal: WalId,
    /// The record's segment.
    pub segment: &'a SegmentRef,
    /// Now, on the caller's monotonic clock.
    pub now: Duration,
    /// The push's name in the cluster, where pushes are told apart.
    pub push: Option<PushId>,
}

/// Marks of each log that entries came from: one, and more only after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(Vec<(WalId, Mark)>);

impl Coverage {
    /// Moves the mark of a log forward, never back.
    pub fn extend(&mut self, wal: WalId, mark: Mark) {
        match self.0.iter_mut().find(|(id, _)| *id == wal) {
            Some((_, held)) => *held = mark.max(*held),
            None => self.0.push((wal, mark)),
        }
    }

    /// Takes in what another covers.
    pub fn merge(&mut self, other: &Coverage) {
        other.0.iter().for_each(|(wal, mark)| self.extend(*wal, *mark));
    }

    /// Each log and how far it is covered.
    pub fn iter(&self) -> impl Iterator<Item = (WalId, Mark)> + '_ {
        self.0.iter().copied()
    }
}

/// Where blocks came from: what a flush of them covers and what may be forgotten after it.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    coverage: Coverage,
    segments: Vec<SegmentRef>,
    /// When the oldest entry arrived, on the caller's monotonic clock.
    since: Option<Duration>,
    /// The pushes that brought its entries, in order of arrival; the first and the last may have entries elsewhere
    /// too. Empty where pushes are not told apart.
    pushes: Vec<PushId>,
}

impl Origin {
    /// Notes that entries up to `mark` came from there.
    pub(super) fn note(&mut self, source: &Source<'_>, mark: Mark) {
        self.coverage.extend(source.wal, mark);
        if self.segments.last().is_none_or(|last| last.number() != source.segment.number()) {
            self.segments.push(source.segment.clone());
        }
        self.since.get_or_insert(source.now);
        if let Some(push) = source.push
            && self.pushes.last() != Some(&push)
        {
            self.pushes.push(push);
        }
    }

    /// Whether other nodes' packs hold all of its entries. Never so where pushes are not told apart.
    pub(super) fn is_covered(&self, covered: &PushSet) -> bool {
        !self.pushes.is_empty() && self.pushes.iter().all(|push| covered.contains(*push))
    }

    pub(super) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    pub(super) fn segments(&self) -> &[SegmentRef] {
        &self.segments
    }

    pub(super) fn since(&self) -> Option<Duration> {
        self.since
    }

    pub(super) fn pushes(&self) -> impl Iterator<Item = PushId> + '_ {
        self.pushes.iter().copied()
    }

    pub(super) fn first_push(&self) -> Option<PushId> {
        self.pushes.first().copied()
    }

    /// Adds what came later.
    pub(super) fn merge(&mut self, other: Origin) {
        self.coverage.merge(&other.coverage);
        for segment in other.segments {
            if !self.segments.iter().any(|held| held.number() == segment.number()) {
                self.segments.push(segment);
            }
        }
        self.since = match (self.since, other.since) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let known = self.pushes.last().copied();
        self.pushes.extend(other.pushes.into_iter().skip_while(|push| known == Some(*push)));
    }
}
