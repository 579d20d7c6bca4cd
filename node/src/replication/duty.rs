//! What an ingester does as one of several owners.

use std::sync::Arc;

use grapevine_storage::index::{Day, PackId};
use grapevine_storage::stream::StreamId;

use super::Placements;
use super::pending::Pending;
use crate::ingester::duty::Duty;

/// An owner among others: packs the streams of which it is the primary, and has its packs announced.
#[derive(Debug)]
pub struct OwnersDuty {
    /// Who holds what.
    pub placement: Arc<Placements>,
    /// What others are to be told.
    pub announcing: Arc<Pending>,
}

impl Duty for OwnersDuty {
    fn packs(&self, stream: StreamId) -> bool {
        self.placement.now().is_primary(stream)
    }

    fn names_pushes(&self) -> bool {
        true
    }

    fn on_packed(&self, day: Day, pack: PackId) {
        self.announcing.on_packed(day, pack);
    }

    fn on_shipped(&self, day: Day, pack: PackId) {
        self.announcing.on_shipped(day, pack);
    }
}
