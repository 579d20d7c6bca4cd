//! Entries that wait as they came, since another node packs them: unpacked only when someone must see them.
//!
//! Of what a node of a cluster holds, it packs the third that it is primary of; the rest mostly leaves unread, once the
//! primary's pack is known. Copying those lines into blocks would be work for nothing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::extent::BlockExtent;
use super::origin::{Origin, Source};
use super::{FullBlock, SPARE};
use crate::atom::{PushId, PushSet};
use crate::entry::EntryRef;
use crate::pack::Append;
use crate::wal::{Mark, SegmentNumber, SegmentRef, WalId};

/// A push as it came, shared by all heads that it brings entries for.
pub trait Packed: fmt::Debug + Send + Sync {
    /// Visits the entries of one part of it, in order.
    fn visit(&self, part: u32, visit: &mut dyn FnMut(&EntryRef<'_>));
}

/// What a push brings for one head.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The push.
    pub push: Arc<dyn Packed>,
    /// Which part of it.
    pub part: u32,
    /// How much that is.
    pub extent: BlockExtent,
    /// Its share of the memory that the push takes, bytes.
    pub bytes: u64,
    /// Covers all entries of the push before it.
    pub before: Mark,
}

/// A parcel, and where it came from.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) parcel: Parcel,
    wal: WalId,
    segment: SegmentRef,
    since: Duration,
    push: Option<PushId>,
}

impl Parked {
    pub(super) fn new(parcel: Parcel, source: Source<'_>) -> Self {
        let Source { wal, segment, now, push } = source;
        Parked { parcel, wal, segment: segment.clone(), since: now, push }
    }

    pub(super) fn since(&self) -> Duration {
        self.since
    }

    pub(super) fn segment(&self) -> SegmentNumber {
        self.segment.number()
    }

    pub(super) fn origin(&self) -> Origin {
        let mut origin = Origin::default();
        let last = self.parcel.before.entries + self.parcel.extent.entries as u32;
        origin.note(&self.source(), Mark { entries: last, ..self.parcel.before });
        origin
    }

    pub(super) fn is_covered(&self, covered: &PushSet) -> bool {
        self.push.is_some_and(|push| covered.contains(push))
    }

    pub(super) fn push(&self) -> Option<PushId> {
        self.push
    }

    fn source(&self) -> Source<'_> {
        Source { wal: self.wal, segment: &self.segment, now: self.since, push: self.push }
    }
}

/// The entries of parcels in blocks, in order of arrival.
pub(super) fn unpack<'a>(parked: impl IntoIterator<Item = &'a Arc<Parked>>) -> Vec<Arc<FullBlock>> {
    let mut full = Vec::new();
    let mut open = FullBlock::default();
    for waiting in parked {
        let mut mark = waiting.parcel.before;
        let mut through = None;
        waiting.parcel.push.visit(waiting.parcel.part, &mut |entry| {
            mark.entries += 1;
            loop {
                match open.text.append(entry) {
                    Append::Taken => break through = Some(mark),
                    Append::TooLarge => {
                        let bytes = entry.line.len();
                        break tracing::error!(bytes, "an entry is too large for a block and is left out");
                    }
                    Append::Full => {
                        if let Some(mark) = through.take() {
                            open.origin.note(&waiting.source(), mark);
                        }
                        let text = open.text.next_like(SPARE.take());
                        let next = FullBlock { text, origin: Origin::default() };
                        full.push(Arc::new(std::mem::replace(&mut open, next)));
                    }
                }
            }
        });
        if let Some(mark) = through {
            open.origin.note(&waiting.source(), mark);
        }
    }
    if !open.text.is_empty() {
        full.push(Arc::new(open));
    }
    full
}
