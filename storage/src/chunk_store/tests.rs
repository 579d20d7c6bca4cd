//! One suite for every kind of store, and a store that fails on demand.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path as Key;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use tempfile::TempDir;

use super::{
    ChunkStore, ErrorKind, MAX_RANGE_BYTES, PART_BYTES, S3Options, StoreLocation, StoreOptions, StoredObject,
};

fn file(dir: &TempDir, contents: &[u8]) -> PathBuf {
    let path = dir.path().join("spooled");
    std::fs::write(&path, contents).unwrap();
    path
}

fn pattern(bytes: u64) -> Vec<u8> {
    (0..bytes).map(|n| (n % 251) as u8).collect()
}

/// What every store must do.
async fn conforms(store: ChunkStore) {
    let spool = tempfile::tempdir().unwrap();
    let kind = |result: Result<_, super::StoreError>| result.map(drop).unwrap_err().kind;
    let keys = ["t/2026-11-23/0-1/b.gz", "t/2026-11-23/0-1/a.gz", "t/2026-11-24/x.gz", "it's-(t).x!*/d/c.gz"];
    for key in keys {
        store.put_file(key, &file(&spool, b"0123456789")).await.unwrap();
        store.put_file(key, &file(&spool, b"0123456789")).await.unwrap();
    }

    assert_eq!(store.head(keys[0]).await.unwrap(), StoredObject { key: keys[0].into(), bytes: 10 });
    assert_eq!(store.get_range(keys[3], 2..5).await.unwrap(), "234");
    assert_eq!(store.get_range(keys[0], 0..10).await.unwrap(), "0123456789");
    assert_eq!(store.get_range(keys[0], 5..5).await.unwrap(), "");
    let parts = store.get_ranges(keys[0], &[8..10, 0..1, 3..3, 0..4]).await.unwrap();
    assert_eq!(parts, ["89", "0", "", "0123"]);

    for beyond in [8..11, 10..12, 90..99] {
        assert_eq!(kind(store.get_range(keys[0], beyond).await), ErrorKind::Invalid);
    }
    #[allow(clippy::reversed_empty_ranges, reason = "that is what is refused")]
    let refused = [5..2, 0..MAX_RANGE_BYTES + 1];
    for range in refused {
        assert_eq!(kind(store.get_range(keys[0], range).await), ErrorKind::Invalid);
    }
    let absent = store.put_file("t/absent.gz", &spool.path().join("absent")).await;
    assert_eq!(absent.unwrap_err().kind, ErrorKind::Invalid);
    for bad_key in ["../x", "a//b", "a/./b"] {
        assert_eq!(store.head(bad_key).await.unwrap_err().kind, ErrorKind::Invalid);
    }

    let listed =
        |objects: Vec<StoredObject>| objects.into_iter().map(|object| object.key).collect::<Vec<_>>();
    assert_eq!(listed(store.list("t").await.unwrap()), [keys[1], keys[0], keys[2]]);
    assert_eq!(listed(store.list("t/2026-11-23").await.unwrap()), [keys[1], keys[0]]);
    assert_eq!(listed(store.list("t/2026").await.unwrap()), [""; 0], "a prefix is whole segments");
    assert_eq!(store.list("").await.unwrap().len(), 4);
    assert_eq!(store.folders("").await.unwrap(), ["it's-(t).x!*", "t"]);
    assert_eq!(store.folders("t").await.unwrap(), ["t/2026-11-23", "t/2026-11-24"]);

    let large = pattern(2 * PART_BYTES + 5);
    store.put_file("t/large.gz", &file(&spool, &large)).await.unwrap();
    let around = PART_BYTES - 2..PART_BYTES + 2;
    let expected = &large[around.start as usize..around.end as usize];
    assert_eq!(store.get_range("t/large.gz", around).await.unwrap(), expected);
    assert_eq!(store.head("t/large.gz").await.unwrap().bytes, large.len() as u64);

    for key in keys.into_iter().chain(["t/large.gz", "t/never/was.gz"]) {
        store.delete(key).await.unwrap();
        store.delete(key).await.unwrap();
        assert_eq!(store.head(key).await.unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(kind(store.get_range(key, 0..1).await), ErrorKind::NotFound);
    }
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn local_directory_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let location = StoreLocation::Directory(dir.path().join("deep/store"));
    conforms(ChunkStore::open(&location, StoreOptions::default()).unwrap()).await;
}

#[tokio::test]
async fn memory_conforms() {
    conforms(ChunkStore::from_object_store(Arc::new(InMemory::new()), StoreOptions::default())).await;
}

#[tokio::test]
async fn prefix_of_a_bucket_conforms() {
    let store = ChunkStore::new(Arc::new(InMemory::new()), "some/prefix", None, StoreOptions::default());
    conforms(store).await;
}

/// Runs where `GRAPEVINE_TEST_S3` names an endpoint, with `AWS_*` for the rest and an empty bucket
/// `grapevine-test` (or what `GRAPEVINE_TEST_S3_BUCKET` says).
#[tokio::test]
async fn s3_conforms() {
    let env = |name: &str| std::env::var(name).ok();
    let Some(endpoint) = env("GRAPEVINE_TEST_S3") else { return };
    let options = S3Options {
        bucket: env("GRAPEVINE_TEST_S3_BUCKET").unwrap_or_else(|| "grapevine-test".into()),
        prefix: "conformance".into(),
        endpoint: Some(endpoint),
        path_style: true,
        allow_http: true,
        ..S3Options::default()
    };
    let location = StoreLocation::S3(options.or_from_env(env));
    conforms(ChunkStore::open(&location, StoreOptions::default()).unwrap()).await;
}

#[tokio::test]
async fn only_a_directory_has_local_paths_and_they_hold_the_objects() {
    let dir = tempfile::tempdir().unwrap();
    let location = StoreLocation::Directory(dir.path().to_owned());
    let store = ChunkStore::open(&location, StoreOptions::default()).unwrap();
    let spool = tempfile::tempdir().unwrap();
    store.put_file("t/a b.gz", &file(&spool, b"text")).await.unwrap();
    assert_eq!(std::fs::read(store.local_path("t/a b.gz").unwrap()).unwrap(), b"text");
    assert_eq!(store.local_path("../escape"), None);
    let memory = ChunkStore::from_object_store(Arc::new(InMemory::new()), StoreOptions::default());
    assert_eq!(memory.local_path("t/a"), None);
}

#[tokio::test]
async fn s3_client_is_built_with_tls_and_without_the_network() {
    let s3 = S3Options { bucket: "b".into(), access_key_id: Some("k".into()), ..S3Options::default() };
    let s3 = S3Options { secret_access_key: Some("s".into()), ..s3 };
    let store = ChunkStore::open(&StoreLocation::S3(s3), StoreOptions::default()).unwrap();
    assert_eq!(store.local_path("x"), None);
}

#[tokio::test(start_paused = true)]
async fn passing_failures_are_waited_out() {
    let (store, failing) = flaky();
    let spool = tempfile::tempdir().unwrap();
    failing.failures.store(3, Ordering::Relaxed);
    store.put_file("a", &file(&spool, b"0123")).await.unwrap();
    failing.failures.store(3, Ordering::Relaxed);
    assert_eq!(store.get_range("a", 1..3).await.unwrap(), "12");
    failing.failures.store(3, Ordering::Relaxed);
    assert_eq!(store.list("").await.unwrap().len(), 1);
    failing.failures.store(2, Ordering::Relaxed);
    let large = pattern(PART_BYTES + 1);
    store.put_file("large", &file(&spool, &large)).await.unwrap();
    assert_eq!(store.head("large").await.unwrap().bytes, PART_BYTES + 1);
}

#[tokio::test(start_paused = true)]
async fn lasting_outage_is_reported_after_the_agreed_time() {
    let (store, failing) = flaky();
    failing.failures.store(i64::MAX, Ordering::Relaxed);
    let began = tokio::time::Instant::now();
    let error = store.head("a").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let limit = StoreOptions::default().backoff.give_up_after;
    assert!(began.elapsed() <= limit && began.elapsed() > limit / 2, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn request_that_hangs_counts_as_failed() {
    let (store, failing) = flaky();
    failing.hangs.store(1, Ordering::Relaxed);
    let spool = tempfile::tempdir().unwrap();
    store.put_file("a", &file(&spool, b"x")).await.unwrap();
    failing.hangs.store(i64::MAX, Ordering::Relaxed);
    assert_eq!(store.head("a").await.unwrap_err().kind, ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn missing_object_is_reported_at_once() {
    let (store, _) = flaky();
    let began = tokio::time::Instant::now();
    assert_eq!(store.get_range("absent", 0..1).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(began.elapsed(), std::time::Duration::ZERO);
}

fn flaky() -> (ChunkStore, Arc<Flaky>) {
    let flaky = Arc::new(Flaky::default());
    (ChunkStore::from_object_store(flaky.clone(), StoreOptions::default()), flaky)
}

/// Fails or hangs as many of the next requests as it is told to.
#[derive(Debug, Default)]
struct Flaky {
    store: InMemory,
    failures: AtomicI64,
    hangs: AtomicI64,
}

impl Flaky {
    async fn trouble(&self) -> StoreResult<()> {
        if self.hangs.fetch_sub(1, Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
        self.failure()
    }

    fn failure(&self) -> StoreResult<()> {
        match self.failures.fetch_sub(1, Ordering::Relaxed) {
            1.. => Err(object_store::Error::Generic { store: "flaky", source: "503 slow down".into() }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("flaky")
    }
}

#[async_trait]
impl ObjectStore for Flaky {
    async fn put_opts(&self, to: &Key, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.trouble().await?;
        self.store.put_opts(to, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        to: &Key,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.trouble().await?;
        self.store.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Key, options: GetOptions) -> StoreResult<GetResult> {
        self.trouble().await?;
        self.store.get_opts(from, options).await
    }

    async fn get_ranges(&self, from: &Key, ranges: &[Range<u64>]) -> StoreResult<Vec<bytes::Bytes>> {
        self.trouble().await?;
        self.store.get_ranges(from, ranges).await
    }

    fn delete_stream(
        &self,
        keys: BoxStream<'static, StoreResult<Key>>,
    ) -> BoxStream<'static, StoreResult<Key>> {
        self.store.delete_stream(keys)
    }

    fn list(&self, prefix: Option<&Key>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        match self.failure() {
            Ok(()) => self.store.list(prefix),
            Err(error) => Box::pin(futures_util::stream::once(async { Err(error) })),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Key>) -> StoreResult<ListResult> {
        self.trouble().await?;
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Key, to: &Key, options: CopyOptions) -> StoreResult<()> {
        self.store.copy_opts(from, to, options).await
    }
}
