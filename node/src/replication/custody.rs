//! Which packs a member looks after: those that begin with a stream of which it is the primary. Every node reads that off
//! the pack's name.

use std::collections::BTreeSet;
use std::sync::Arc;

use grapevine_gossip::ring::NodeId;
use grapevine_storage::index::{Arcs, Day, PackId};
use grapevine_storage::stream::StreamId;

use super::Placements;
use super::pending::Pending;
use super::placement::Placement;
use crate::housekeeping::custody::Custody;
use crate::housekeeping::pack_name::PackName;

/// A member among others.
#[derive(Debug)]
pub struct OwnersCustody {
    /// Who holds what.
    pub placement: Arc<Placements>,
    /// What others are to be told.
    pub announcing: Arc<Pending>,
    /// Whether all members put packs into one store.
    pub shared_store: bool,
}

/// Where on the ring a pack's streams begin.
fn first_stream(object_key: &str) -> Option<StreamId> {
    let (first, _) = PackName::parse(object_key)?.ends?;
    Some(StreamId(u128::from(first) << 112))
}

/// Who looks after a pack. It need not keep any of its streams: the name tells only about where the first one is. So it is
/// told of the pack as those are who do.
pub(super) fn tender<'a>(placement: &'a Placement, object_key: &str) -> Option<&'a NodeId> {
    placement.primary(first_stream(object_key)?)
}

impl Custody for OwnersCustody {
    fn tends(&self, object_key: &str) -> bool {
        let placement = self.placement.now();
        self.is_settled() && tender(&placement, object_key) == Some(placement.me())
    }

    fn packs(&self, stream: StreamId) -> bool {
        self.is_settled() && self.placement.now().is_primary(stream)
    }

    fn deletes(&self, object_key: &str) -> bool {
        !self.shared_store || self.tends(object_key)
    }

    /// Never: how many members there are now says nothing of when a pack was indexed. One that has just started has heard
    /// of few others, and would take packs of others' streams for empty ones.
    fn sees_all(&self) -> bool {
        false
    }

    /// Nor before the others were heard of: alone in its ring, a member would take everything for its own.
    fn is_settled(&self) -> bool {
        let placement = self.placement.now();
        let is_placed = placement.ring().member(placement.me()).is_some_and(|me| !me.tokens.is_empty());
        is_placed && self.placement.knows_others()
    }

    fn reach(&self) -> Option<Arcs> {
        Some(self.placement.now().kept().arcs())
    }

    fn on_replaced(&self, day: Day, by: PackId) {
        self.announcing.on_packed(day, by);
    }

    fn on_awaited(&self, day: Day) {
        self.announcing.ask_about(day);
    }

    fn on_missing(&self, object_keys: BTreeSet<String>) {
        // Of a store that all share one asks for all.
        self.announcing.seek(object_keys.into_iter().filter(|key| self.deletes(key)));
    }
}

#[cfg(test)]
mod tests {
    use grapevine_storage::stream::StreamId;

    use super::first_stream;

    #[test]
    fn a_packs_name_says_where_its_streams_begin() {
        let first = |tokens: &str| first_stream(&format!("t/2026-11-26/{tokens}/{:032x}.gz", 77));
        assert_eq!(first("00ff-0a00"), Some(StreamId(0x00ff << 112)));
        assert_eq!(first("xyz-1"), None);
        assert_eq!(first_stream("t/2026-11-26"), None);
    }
}
