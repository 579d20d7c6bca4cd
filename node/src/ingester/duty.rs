//! What a node does for a stream besides keeping it: in a cluster several nodes hold the same entries, and one of
//! them, the primary, packs them for all.

use std::fmt;

use grapevine_storage::index::{Day, PackId};
use grapevine_storage::stream::StreamId;

/// Tells an ingester what to do with the streams it holds, and is told what became of them.
pub trait Duty: Send + Sync + fmt::Debug {
    /// Whether this node compresses and packs the stream now. Where two nodes believe so, entries are stored twice and
    /// are one when read; where none does, they wait in memory and in the log.
    fn packs(&self, stream: StreamId) -> bool;

    /// Whether pushes are told apart by name, so that owners can say to each other what they hold.
    fn names_pushes(&self) -> bool;

    /// A pack is durable on this node and indexed.
    fn on_packed(&self, day: Day, pack: PackId);

    /// A pack is in the chunk store.
    fn on_shipped(&self, day: Day, pack: PackId);
}

/// A node that is alone packs everything and tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alone;

impl Duty for Alone {
    fn packs(&self, _: StreamId) -> bool {
        true
    }

    fn names_pushes(&self) -> bool {
        false
    }

    fn on_packed(&self, _: Day, _: PackId) {}

    fn on_shipped(&self, _: Day, _: PackId) {}
}
