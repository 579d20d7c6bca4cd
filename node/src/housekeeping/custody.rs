//! Whose it is to merge, rewrite and delete a pack: several nodes of a cluster know the same packs, and one of them looks
//! after each.

use std::collections::BTreeSet;
use std::fmt;

use grapevine_storage::index::{Arcs, Day, PackId};
use grapevine_storage::stream::StreamId;

/// Tells a housekeeper which packs are its to look after, and is told what became of them.
pub trait Custody: Send + Sync + fmt::Debug {
    /// Whether this node merges and rewrites the pack of this key now.
    fn tends(&self, object_key: &str) -> bool;

    /// Whether this node packs the stream, and so merges packs of others and its own that hold the same of it.
    fn packs(&self, stream: StreamId) -> bool;

    /// Whether this node deletes the pack's object from its chunk store: its own store, or one that is shared, where it
    /// tends the pack.
    fn deletes(&self, object_key: &str) -> bool;

    /// Whether this node's index holds every stream of the packs it knows, so that a stream that it does not hold has
    /// expired. Else other streams of the pack are other nodes', and are left in.
    fn sees_all(&self) -> bool;

    /// Whether it is known which streams are this node's: not before it has a place in the ring, and knows the others.
    fn is_settled(&self) -> bool;

    /// The tokens of the streams that the index is to hold; none if it is to hold all.
    fn reach(&self) -> Option<Arcs>;

    /// A pack took the place of others.
    fn on_replaced(&self, day: Day, by: PackId);

    /// Something about packs of this day is for another node to say or to do, such as to replace one.
    fn on_awaited(&self, day: Day);

    /// Packs are gone from the chunk store; other nodes may have them.
    fn on_missing(&self, object_keys: BTreeSet<String>);
}

/// A node that stands alone looks after everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Everything;

impl Custody for Everything {
    fn tends(&self, _: &str) -> bool {
        true
    }

    fn packs(&self, _: StreamId) -> bool {
        true
    }

    fn deletes(&self, _: &str) -> bool {
        true
    }

    fn sees_all(&self) -> bool {
        true
    }

    fn is_settled(&self) -> bool {
        true
    }

    fn reach(&self) -> Option<Arcs> {
        None
    }

    fn on_replaced(&self, _: Day, _: PackId) {}

    fn on_awaited(&self, _: Day) {}

    fn on_missing(&self, _: BTreeSet<String>) {}
}
