//! A chunk store that is slow, fails before or after it has done what was asked, is out, or lists what was.
//!
//! Objects lie in memory and survive every node. A *lost acknowledgement* is the fault that matters most: the put
//! has happened, the node is told that it has not. Nodes on one thread share a store; what one does within a
//! window another may see up to one window early or late.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::det;
use crate::host;
use crate::random::Random;
use crate::timeline::{self, Mark};
use crate::trace;

/// What is wrong with the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct StoreFaults {
    /// How long a request takes at least.
    pub latency: Duration,
    /// How much longer it may take.
    pub jitter: Duration,
    /// So many requests in a thousand fail and do nothing.
    pub fail_before_permille: u64,
    /// So many in a thousand do what was asked, and fail.
    pub fail_after_permille: u64,
    /// Every request fails.
    pub out: bool,
    /// Listings leave out what was put within this time.
    pub listing_lags: Duration,
    /// Canary: puts say yes and do nothing.
    pub puts_lie: bool,
}

/// A way to the chunk store of a simulation, with faults of its own. Cheap to clone.
#[derive(Clone)]
pub struct FaultyStore {
    objects: Arc<Objects>,
    state: Arc<Mutex<State>>,
}

/// What all ways to one store lead to.
struct Objects {
    memory: InMemory,
    put_at: Mutex<BTreeMap<Path, Duration>>,
}

struct State {
    random: Random,
    faults: StoreFaults,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

/// How a request ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    FailsBefore,
    FailsAfter,
}

impl FaultyStore {
    /// An empty store that works.
    pub fn new(seed: u64) -> Self {
        let objects = Objects { memory: InMemory::new(), put_at: Mutex::default() };
        Self::way(Arc::new(objects), seed, "store")
    }

    /// Another way to the same objects: it can fail while others work.
    #[must_use]
    pub fn another_way(&self, seed: u64, name: &str) -> Self {
        Self::way(Arc::clone(&self.objects), seed, name)
    }

    fn way(objects: Arc<Objects>, seed: u64, name: &str) -> Self {
        let state = State { random: Random::of_part(seed, name), faults: StoreFaults::default() };
        FaultyStore { objects, state: Arc::new(Mutex::new(state)) }
    }

    /// All objects, whatever is wrong with the way to them.
    ///
    /// # Errors
    /// None that the memory has.
    pub async fn contents(&self) -> Result<Vec<(Path, Bytes)>> {
        let mut contents = Vec::new();
        let listed: Vec<ObjectMeta> = self.objects.memory.list(None).try_collect().await?;
        for meta in listed {
            let bytes = self.objects.memory.get(&meta.location).await?.bytes().await?;
            contents.push((meta.location, bytes));
        }
        contents.sort();
        Ok(contents)
    }

    /// Changes what is wrong with it.
    pub fn set(&self, change: impl FnOnce(&mut StoreFaults)) {
        change(&mut self.state().faults);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits as long as a request takes, and says how it ends.
    async fn begin(&self, what: &str, key: &Path) -> Result<Fate> {
        trace::event(what, usize::MAX, key.as_ref().as_bytes());
        let (wait, fate) = {
            let mut state = self.state();
            let faults = state.faults;
            let jitter = state.random.below(faults.jitter.as_nanos() as u64 + 1);
            let fate = match state.random.below(1000) {
                _ if faults.out => Fate::FailsBefore,
                n if n < faults.fail_before_permille => Fate::FailsBefore,
                n if n < faults.fail_before_permille + faults.fail_after_permille => Fate::FailsAfter,
                _ => Fate::Works,
            };
            (faults.latency + Duration::from_nanos(jitter), fate)
        };
        tokio::time::sleep(wait).await;
        if fate == Fate::FailsBefore { Err(failure("the request was not carried out")) } else { Ok(fate) }
    }

    fn put_at(&self) -> MutexGuard<'_, BTreeMap<Path, Duration>> {
        self.objects.put_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_listed(&self, key: &Path) -> bool {
        let lag = self.state().faults.listing_lags;
        let put_at = self.put_at().get(key).copied().unwrap_or_default();
        lag.is_zero() || put_at + lag <= det::elapsed()
    }
}

fn failure(why: &'static str) -> object_store::Error {
    object_store::Error::Generic { store: "simulated", source: why.into() }
}

impl Fate {
    fn end<T>(self, result: T) -> Result<T> {
        if self == Fate::FailsAfter { Err(failure("the answer was lost")) } else { Ok(result) }
    }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fate = self.begin("put", location).await?;
        if self.state().faults.puts_lie {
            return fate.end(PutResult { e_tag: None, version: None, extensions: Default::default() });
        }
        let put = self.objects.memory.put_opts(location, payload, options).await?;
        self.put_at().insert(location.clone(), det::elapsed());
        timeline::mark(Mark::Stored, host::current(), || format!("put {location}"));
        fate.end(put)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fate = self.begin("put in parts", location).await?;
        fate.end(self.objects.memory.put_multipart_opts(location, options).await?)
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let fate = self.begin("get", location).await?;
        fate.end(self.objects.memory.get_opts(location, options).await?)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                let fate = store.begin("delete", &location).await?;
                store.objects.memory.delete(&location).await?;
                fate.end(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned());
        let begin = async move {
            match store.begin("list", &prefix.clone().unwrap_or_default()).await.and_then(|fate| fate.end(()))
            {
                Err(error) => stream::once(async { Err(error) }).boxed(),
                Ok(()) => {
                    let listing = store.objects.memory.list(prefix.as_ref());
                    let listed = move |meta: &ObjectMeta| std::future::ready(store.is_listed(&meta.location));
                    listing.try_filter(listed).boxed()
                }
            }
        };
        begin.flatten_stream().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let fate = self.begin("list", &prefix.cloned().unwrap_or_default()).await?;
        let mut listing = self.objects.memory.list_with_delimiter(prefix).await?;
        listing.objects.retain(|meta| self.is_listed(&meta.location));
        fate.end(listing)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fate = self.begin("copy", to).await?;
        fate.end(self.objects.memory.copy_opts(from, to, options).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::TryStreamExt;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::{FaultyStore, StoreFaults};

    async fn put(store: &FaultyStore, key: &str) -> bool {
        store.put(&Path::from(key), "text".into()).await.is_ok()
    }

    async fn has(store: &FaultyStore, key: &str) -> bool {
        store.head(&Path::from(key)).await.is_ok()
    }

    async fn after(faults: StoreFaults) -> (bool, bool) {
        let store = FaultyStore::new(1);
        store.set(|current| *current = faults);
        let said = put(&store, "a").await;
        store.set(|current| *current = StoreFaults::default());
        (said, has(&store, "a").await)
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_store_says_and_does_differs_by_fault() {
        let none = StoreFaults::default();
        assert_eq!(after(none).await, (true, true));
        assert_eq!(after(StoreFaults { out: true, ..none }).await, (false, false));
        assert_eq!(after(StoreFaults { fail_before_permille: 1000, ..none }).await, (false, false));
        assert_eq!(after(StoreFaults { fail_after_permille: 1000, ..none }).await, (false, true));
        assert_eq!(after(StoreFaults { puts_lie: true, ..none }).await, (true, false));
    }

    #[tokio::test(start_paused = true)]
    async fn one_way_can_be_out_while_another_leads_to_the_same_objects() {
        let store = FaultyStore::new(1);
        let other = store.another_way(1, "other");
        other.set(|faults| faults.out = true);
        assert!(put(&store, "a").await && !put(&other, "b").await);
        other.set(|faults| faults.out = false);
        assert!(has(&other, "a").await);
        assert_eq!(other.contents().await.unwrap().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_store_takes_its_time() {
        let store = FaultyStore::new(1);
        store.set(|faults| faults.latency = Duration::from_secs(5));
        let began = tokio::time::Instant::now();
        assert!(put(&store, "a").await);
        assert!(began.elapsed() >= Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn lagging_listing_leaves_out_what_is_new() {
        let store = FaultyStore::new(1);
        store.set(|faults| faults.listing_lags = Duration::from_secs(60));
        assert!(put(&store, "a").await);
        let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
        assert!(listed.is_empty() && has(&store, "a").await);
        store.set(|faults| faults.listing_lags = Duration::ZERO);
        assert_eq!(store.list(None).try_collect::<Vec<_>>().await.unwrap().len(), 1);
    }
}
