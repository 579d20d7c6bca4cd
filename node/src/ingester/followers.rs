//! Those who follow streams as they grow: each gets what is durable and visible, the moment it is.
//!
//! Following must never hold up the log. A follower has a queue bounded in pushes and in bytes; what does not fit
//! is not waited for but noted, line by line, and the follower is told what it missed. While nobody follows,
//! a push costs one look at a counter.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use grapevine_storage::index::Matcher;
use grapevine_storage::stream::Labels;
use tokio::sync::mpsc;

use crate::push::batch::PushBatch;

/// Pushes that wait for one follower.
const QUEUE_MAX: usize = 1024;
/// Bytes of pushes that wait for one follower. A push is held once, however many followers wait for it.
const QUEUE_BYTES_MAX: u64 = 16 << 20;
/// Missed lines that one follower is told of at once; more are only counted.
const MISSED_MAX: usize = 1000;

/// A line that a follower did not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Its stream.
    pub labels: Labels,
    /// Its timestamp, ns.
    pub timestamp: i64,
}

/// What a follower and those who feed it share.
#[derive(Debug, Default)]
struct Shared {
    queued_bytes: AtomicU64,
    missed: Mutex<Vec<Missed>>,
    /// Missed lines beyond [`MISSED_MAX`].
    untold: AtomicU64,
}

impl Shared {
    fn missed(&self) -> MutexGuard<'_, Vec<Missed>> {
        self.missed.lock().expect("no one panics with the list of missed lines locked")
    }
}

#[derive(Debug)]
struct Follower {
    tenant: Arc<str>,
    matchers: Vec<Matcher>,
    queue: mpsc::Sender<Arc<PushBatch>>,
    shared: Arc<Shared>,
}

/// Everyone who follows.
#[derive(Debug, Default)]
pub struct Followers {
    count: AtomicUsize,
    all: Mutex<BTreeMap<u64, Follower>>,
    next: AtomicU64,
}

/// More follow than the tenant may have do so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// How many it would be.
    pub count: usize,
}

/// One who follows; dropped, it no longer does.
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    followers: Arc<Followers>,
    queue: mpsc::Receiver<Arc<PushBatch>>,
    shared: Arc<Shared>,
}

impl Followers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Follower>> {
        self.all.lock().expect("no one panics with the followers locked")
    }

    /// How many follow.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Follows the streams of a tenant that match, from now on.
    ///
    /// # Errors
    /// `most` already follow for that tenant.
    pub fn subscribe(
        self: &Arc<Self>,
        tenant: &Arc<str>,
        matchers: Vec<Matcher>,
        most: usize,
    ) -> Result<Subscription, TooMany> {
        let mut all = self.all();
        let count = all.values().filter(|follower| follower.tenant == *tenant).count();
        if count >= most {
            return Err(TooMany { count: count + 1 });
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared::default());
        let follower = Follower { tenant: tenant.clone(), matchers, queue: sender, shared: shared.clone() };
        all.insert(id, follower);
        self.count.store(all.len(), Ordering::Release);
        Ok(Subscription { id, followers: self.clone(), queue, shared })
    }

    /// Hands on a push that is durable and visible.
    pub fn publish(&self, tenant: &Arc<str>, batch: PushBatch) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let all = self.all();
        let batch = Arc::new(batch);
        for follower in all.values().filter(|follower| follower.tenant == *tenant) {
            follower.offer(&batch);
        }
    }
}

impl Follower {
    fn wants(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
    }

    fn offer(&self, batch: &Arc<PushBatch>) {
        if !batch.streams().iter().any(|stream| self.wants(stream.labels())) {
            return;
        }
        let bytes = batch.memory() as u64;
        // Counted before it is queued: the reader may take it out, and off the count, at once.
        let queued = self.shared.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = queued + bytes <= QUEUE_BYTES_MAX;
        if !fits || self.queue.try_send(batch.clone()).is_err() {
            self.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.miss(batch);
        }
    }

    fn miss(&self, batch: &PushBatch) {
        let mut missed = self.shared.missed();
        for stream in batch.streams().iter().filter(|stream| self.wants(stream.labels())) {
            batch.for_each_entry(stream, |entry| {
                if missed.len() < MISSED_MAX {
                    missed.push(Missed { labels: stream.labels().clone(), timestamp: entry.timestamp });
                } else {
                    self.shared.untold.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
}

impl Subscription {
    /// The next push that holds lines of streams that match; others may be in it as well.
    pub async fn next(&mut self) -> Option<Arc<PushBatch>> {
        let batch = self.queue.recv().await?;
        self.shared.queued_bytes.fetch_sub(batch.memory() as u64, Ordering::Relaxed);
        Some(batch)
    }

    /// What was missed since the last time, and how many lines more than are listed.
    pub fn take_missed(&self) -> (Vec<Missed>, u64) {
        (std::mem::take(&mut self.shared.missed()), self.shared.untold.swap(0, Ordering::Relaxed))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut all = self.followers.all();
        all.remove(&self.id);
        self.followers.count.store(all.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use grapevine_storage::index::{Matcher, Test};

    use super::{Followers, MISSED_MAX, QUEUE_MAX, TooMany};
    use crate::push::batch::{BatchBuilder, PushBatch};
    use crate::push::stream_cache::Naming;

    fn batch(app: &str, timestamps: std::ops::Range<i64>) -> PushBatch {
        let mut builder = BatchBuilder::new(Bytes::new());
        for timestamp in timestamps {
            let line = builder.add_text(b"line").unwrap();
            let mark = builder.metadata_mark();
            builder.entry(timestamp, line, mark).unwrap();
        }
        let naming = Naming { tenant: "t", service_name_sources: &[] };
        builder.stream(Arc::new(naming.stream(vec![("app".into(), app.into())]))).unwrap();
        builder.finish().unwrap()
    }

    fn app(value: &str) -> Vec<Matcher> {
        vec![Matcher { name: "app".into(), test: Test::Equal(value.into()) }]
    }

    #[tokio::test]
    async fn a_follower_gets_its_tenants_matching_pushes_alone() {
        let followers = Arc::new(Followers::default());
        let (t, u): (Arc<str>, Arc<str>) = ("t".into(), "u".into());
        let mut one = followers.subscribe(&t, app("a"), 9).unwrap();
        followers.publish(&u, batch("a", 0..1));
        followers.publish(&t, batch("b", 1..2));
        followers.publish(&t, batch("a", 2..4));
        assert_eq!(one.next().await.unwrap().entry_count(), 2);
        drop(one);
        let mut later = followers.subscribe(&t, app("a"), 9).unwrap();
        followers.publish(&t, batch("a", 4..5));
        assert_eq!(later.next().await.unwrap().entry_count(), 1);
    }

    #[test]
    fn a_tenant_has_so_many_followers_and_no_more() {
        let followers = Arc::new(Followers::default());
        let (t, u): (Arc<str>, Arc<str>) = ("t".into(), "u".into());
        let one = followers.subscribe(&t, app("a"), 1).unwrap();
        assert_eq!(followers.subscribe(&t, app("a"), 1).unwrap_err(), TooMany { count: 2 });
        assert!(followers.subscribe(&u, app("a"), 1).is_ok());
        drop(one);
        assert!(followers.subscribe(&t, app("a"), 1).is_ok());
    }

    #[test]
    fn what_a_slow_follower_misses_is_told_line_by_line() {
        let followers = Arc::new(Followers::default());
        let tenant: Arc<str> = "t".into();
        let slow = followers.subscribe(&tenant, app("a"), 1).unwrap();
        for n in 0..QUEUE_MAX as i64 {
            followers.publish(&tenant, batch("a", n..n + 1));
        }
        assert_eq!(slow.take_missed(), (Vec::new(), 0));
        let all = 7000..7000 + MISSED_MAX as i64 + 5;
        followers.publish(&tenant, batch("a", all));
        let (missed, untold) = slow.take_missed();
        assert_eq!((missed.len(), untold), (MISSED_MAX, 5));
        assert_eq!((missed[0].timestamp, missed[0].labels.get("app")), (7000, Some("a")));
        assert_eq!(slow.take_missed(), (Vec::new(), 0));
    }
}
