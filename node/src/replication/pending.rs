//! What a member has to tell others of packs, and to ask them for.
//!
//! A pack is announced when it is in the chunk store, or when it has waited for that for a while; and again and again,
//! until all whom it concerns have heard of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use grapevine_gossip::ring::NodeId;
use grapevine_storage::index::{Day, PackId};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::lock;

/// How long a pack may wait for the chunk store before the other owners are told to fetch it from here.
const UNSHIPPED_MAX: Duration = Duration::from_secs(20);
/// Packs that wait to be announced; beyond them the oldest are left to comparing.
const PENDING_MAX: usize = 4096;

/// What is to be announced.
#[derive(Debug, Default)]
pub struct Pending {
    packs: Mutex<BTreeMap<(Day, PackId), Waiting>>,
    /// Days of which the others are to be asked what this node missed.
    asked: Mutex<BTreeSet<Day>>,
    /// Packs that are gone from this node's store, and that others may have.
    sought: Mutex<BTreeSet<String>>,
    wake: Notify,
}

#[derive(Clone, Debug, Default)]
struct Waiting {
    /// When it may be announced although it is not in the store; none once it is there.
    not_before: Option<Instant>,
    heard: BTreeSet<NodeId>,
}

impl Pending {
    /// A pack is durable here.
    pub fn on_packed(&self, day: Day, pack: PackId) {
        let waiting = Waiting { not_before: Some(Instant::now() + UNSHIPPED_MAX), ..Waiting::default() };
        let mut packs = lock(&self.packs);
        packs.entry((day, pack)).or_insert(waiting);
        while packs.len() > PENDING_MAX {
            packs.pop_first();
        }
    }

    /// A pack is in the chunk store. Not every pack is to be announced: those that were heard of are not.
    pub fn on_shipped(&self, day: Day, pack: PackId) {
        if let Some(waiting) = lock(&self.packs).get_mut(&(day, pack)) {
            waiting.not_before = None;
            self.wake.notify_one();
        }
    }

    /// This node waits for news of a day's packs, which may have been missed.
    pub fn ask_about(&self, day: Day) {
        lock(&self.asked).insert(day);
    }

    /// The days that others are to be asked about, once.
    pub(super) fn take_asked(&self) -> BTreeSet<Day> {
        std::mem::take(&mut *lock(&self.asked))
    }

    /// What is to be announced now, and who has heard of each.
    pub(super) fn due(&self, now: Instant) -> Vec<((Day, PackId), BTreeSet<NodeId>)> {
        let packs = lock(&self.packs);
        let due = packs.iter().filter(|(_, waiting)| waiting.not_before.is_none_or(|at| at <= now));
        due.map(|(key, waiting)| (*key, waiting.heard.clone())).collect()
    }

    /// The days of which a member has not heard of every pack.
    pub fn unheard_by(&self, member: &NodeId) -> BTreeSet<Day> {
        let packs = lock(&self.packs);
        packs
            .iter()
            .filter(|(_, waiting)| !waiting.heard.contains(member))
            .map(|((day, _), _)| *day)
            .collect()
    }

    /// Members have heard of a pack; it waits no longer if these are `enough` and it is in the chunk store. `is_shipped` is
    /// what the index says of that: a pack may be shipped as soon as it is indexed, before it is known here.
    pub(super) fn on_heard(
        &self,
        pack: (Day, PackId),
        is_shipped: bool,
        told: BTreeSet<NodeId>,
        enough: impl FnOnce(&BTreeSet<NodeId>) -> bool,
    ) {
        let mut packs = lock(&self.packs);
        let Some(waiting) = packs.get_mut(&pack) else { return };
        waiting.heard.extend(told);
        waiting.not_before.take_if(|_| is_shipped);
        if enough(&waiting.heard) && waiting.not_before.is_none() {
            packs.remove(&pack);
        }
    }

    /// There is nothing to say of a pack any more.
    pub(super) fn forget(&self, day: Day, pack: PackId) {
        lock(&self.packs).remove(&(day, pack));
    }

    /// Packs are gone from this node's store: the others are to be asked whether they have them.
    pub fn seek(&self, object_keys: impl IntoIterator<Item = String>) {
        lock(&self.sought).extend(object_keys);
    }

    /// The packs that others are to be asked for, once.
    pub(super) fn take_sought(&self) -> BTreeSet<String> {
        std::mem::take(&mut *lock(&self.sought))
    }

    /// Waits until there is something to announce.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// How many packs wait.
    pub fn len(&self) -> usize {
        lock(&self.packs).len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use grapevine_gossip::ring::NodeId;
    use grapevine_storage::index::{Day, PackId};
    use tokio::time::Instant;

    use super::{Pending, UNSHIPPED_MAX};

    const PACK: (Day, PackId) = (Day(1), PackId(7));

    fn all_hear(pending: &Pending, is_shipped: bool) {
        let told: BTreeSet<NodeId> = ["a".parse().unwrap()].into();
        pending.on_heard(PACK, is_shipped, told, |heard| heard.len() == 1);
    }

    #[test]
    fn a_pack_waits_until_all_have_heard_of_it_and_it_is_stored() {
        let pending = Pending::default();
        pending.on_packed(PACK.0, PACK.1);
        assert_eq!(pending.due(Instant::now()).len(), 0, "it is not in the store yet");
        assert_eq!(pending.due(Instant::now() + UNSHIPPED_MAX).len(), 1);
        all_hear(&pending, false);
        assert_eq!(pending.len(), 1, "others may have to fetch it from here");
        pending.on_shipped(PACK.0, PACK.1);
        assert_eq!(pending.due(Instant::now()).len(), 1);
        all_hear(&pending, false);
        assert!(pending.is_empty());
    }

    #[test]
    fn a_pack_that_was_shipped_before_it_was_known_of_waits_no_longer_than_others_do() {
        let pending = Pending::default();
        pending.on_shipped(PACK.0, PACK.1);
        pending.on_packed(PACK.0, PACK.1);
        all_hear(&pending, true);
        assert!(pending.is_empty());
    }
}
