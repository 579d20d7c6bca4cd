//! Letting go of what others' packs hold: first taken aside, still read and named, until the index knows the packs.

use std::sync::Arc;

use super::origin::{Coverage, Origin};
use super::parked::{Parked, unpack};
use super::{FullBlock, Head, KeptChunk};
use crate::atom::PushSet;

/// What is about to be let go, since others' packs hold it, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    pub(super) chunks: Vec<KeptChunk>,
    pub(super) blocks: Vec<Arc<FullBlock>>,
    pub(super) parked: Vec<Arc<Parked>>,
}

impl Leaving {
    pub(super) fn is_empty(&self) -> bool {
        let Leaving { chunks, blocks, parked } = self;
        chunks.is_empty() && blocks.is_empty() && parked.is_empty()
    }

    /// Where what is in blocks came from.
    pub(super) fn origins(&self) -> impl Iterator<Item = &Origin> {
        let chunks = self.chunks.iter().map(|kept| &kept.origin);
        chunks.chain(self.blocks.iter().map(|block| &block.origin))
    }
}

impl Head {
    /// Begins to let go of all entries of the pushes in `covered`, and of those that packs hold: whole blocks, from the
    /// oldest on, up to the first that holds anything else. Says how far the log is covered without them; none if there is
    /// nothing to let go, or if a flush is under way. What is let go stays visible, and named, until [`Head::end_leaving`].
    pub fn begin_leaving(&self, covered: &PushSet) -> Option<Coverage> {
        let mut building = self.building();
        let mut state = self.state();
        if !state.flushing.is_empty() || !state.leaving.is_empty() {
            return None;
        }
        state.complete(std::mem::take(&mut *building));
        let state = &mut *state;
        let mut covered = covered.clone();
        covered.merge(&state.covered);
        let is_covered = |origin: &Origin| origin.is_covered(&covered);
        let chunks = state.chunks.iter().take_while(|kept| is_covered(&kept.origin)).count();
        let all = chunks == state.chunks.len();
        let blocks = state.full.iter().take_while(|block| all && is_covered(&block.origin)).count();
        let all = all && blocks == state.full.len();
        let open = all && is_covered(&state.open.origin);
        let all = all && (open || state.open.text.is_empty());
        let parked = state.parked.iter().take_while(|parked| all && parked.is_covered(&covered)).count();
        state.leaving.chunks = state.chunks.drain(..chunks).collect();
        state.leaving.blocks = state.full.drain(..blocks).collect();
        if open {
            state.leaving.blocks.push(Arc::new(std::mem::take(&mut state.open)));
        }
        state.leaving.parked = state.parked.drain(..parked).collect();
        state.parked_turn += 1;
        let mut coverage = Coverage::default();
        state.leaving.origins().for_each(|origin| coverage.merge(origin.coverage()));
        state.leaving.parked.iter().for_each(|parked| coverage.merge(parked.origin().coverage()));
        (!state.leaving.is_empty()).then_some(coverage)
    }

    /// Notes that others' packs, which the index knows by now, hold all entries of these pushes. What of them cannot be
    /// let go of yet need not be named any more.
    pub fn on_covered(&self, pushes: &PushSet) {
        self.state().covered.merge(pushes);
    }

    /// Ends what [`Head::begin_leaving`] began: the index knows of it, and it is let go; or it does not, and everything is
    /// kept as it was.
    pub fn end_leaving(&self, indexed: bool) {
        let mut state = self.state();
        let Leaving { mut chunks, mut blocks, parked } = std::mem::take(&mut state.leaving);
        if !indexed {
            chunks.append(&mut state.chunks);
            state.chunks = chunks;
            // Newer entries may be in blocks by now, and what is parked stands behind all blocks.
            blocks.extend(unpack(&parked));
            blocks.into_iter().rev().for_each(|block| state.full.push_front(block));
            return;
        }
        // Only what something here still refers to need be remembered.
        state.covered = state.pushes().filter(|push| state.covered.contains(*push)).collect();
    }
}
