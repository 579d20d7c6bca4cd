//! The chunk store: where packs live for good. A local or shared directory, or S3 and what is compatible, all
//! through the `object_store` crate.
//!
//! Objects are written whole, under names that say what they hold (a hash), and never change. So a put can be
//! repeated after any doubt, and a lost acknowledgement does no harm. Requests are tried again by
//! [`Backoff`]'s decisions; the client underneath is told not to.

mod backoff;
mod directory;
mod error;
mod location;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::future::Future;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, RetryConfig};
use tokio::time::{Instant, timeout};

pub use self::backoff::{Backoff, BackoffPolicy};
pub use self::error::{ErrorKind, StoreError};
use self::error::{Failure, invalid, of_file, of_store};
pub use self::location::{BadLocation, S3Options, StoreLocation};
use crate::durable;

/// Larger files go up in parts of this size: what an upload holds in memory. S3 takes 10,000 parts.
const PART_BYTES: u64 = 8 << 20;
/// Objects that one listing may return; a prefix names a tenant's day, which has far fewer.
pub const MAX_LISTED: usize = 1_000_000;
/// Bytes that the ranges of one request may ask for in sum.
pub const MAX_RANGE_BYTES: u64 = 256 << 20;

/// How requests are tried.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// When to try again, and when to give up.
    pub backoff: BackoffPolicy,
    /// An attempt that takes longer has failed. Holds for each part of an upload.
    pub attempt_timeout: Duration,
    /// Seeds the spread of waits.
    pub seed: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        StoreOptions { backoff: BackoffPolicy::default(), attempt_timeout: Duration::from_secs(30), seed: 0 }
    }
}

/// An object as a listing or [`ChunkStore::head`] tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
}

/// A chunk store. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ChunkStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Arc<dyn ObjectStore>,
    /// Put before every key.
    prefix: String,
    directory: Option<Directory>,
    options: StoreOptions,
    random: AtomicU64,
    origin: Instant,
}

#[derive(Debug)]
struct Directory {
    files: LocalFileSystem,
}

impl ChunkStore {
    /// Opens a store. A directory is created if need be; a bucket must exist. Does not talk to S3 yet.
    pub fn open(location: &StoreLocation, options: StoreOptions) -> Result<Self, StoreError> {
        let opened = match location {
            StoreLocation::Directory(root) => Self::open_directory(root, options),
            StoreLocation::S3(s3) => open_s3(s3).map(|store| Self::new(store, &s3.prefix, None, options)),
        };
        opened.map_err(|(kind, source)| StoreError { action: "open", key: String::new(), kind, source })
    }

    /// Takes a store that exists already, as the simulation does. Runs everything on the calling task.
    pub fn from_object_store(store: Arc<dyn ObjectStore>, options: StoreOptions) -> Self {
        Self::new(store, "", None, options)
    }

    fn open_directory(root: &Path, options: StoreOptions) -> Result<Self, Failure> {
        durable::create_dir_all(root).map_err(of_file)?;
        let root = root.canonicalize().map_err(of_file)?;
        let files = LocalFileSystem::new_with_prefix(&root).map_err(of_store)?.with_automatic_cleanup(true);
        let directory = Directory { files: files.clone() };
        Ok(Self::new(Arc::new(files), "", Some(directory), options))
    }

    fn new(
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        directory: Option<Directory>,
        options: StoreOptions,
    ) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let (random, origin) = (AtomicU64::new(options.seed), Instant::now());
        ChunkStore { inner: Arc::new(Inner { store, prefix, directory, options, random, origin }) }
    }

    /// Puts a file under a key, durably and at once: readers see all of it or nothing. The file must not change
    /// any more, also after the call. Putting the same file again is harmless.
    pub async fn put_file(&self, key: &str, file: &Path) -> Result<(), StoreError> {
        self.attempts("put", key, || async {
            if !file.is_file() {
                return Err(invalid(format!("`{}` is no file", file.display())));
            }
            match &self.inner.directory {
                Some(directory) => self.put_in_directory(directory, key, file).await,
                None => self.upload(&self.key(key)?, file).await,
            }
        })
        .await
    }

    /// Reads a range of an object.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the object ends before the range does.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let mut parts = self.get_ranges(key, std::slice::from_ref(&range)).await?;
        Ok(parts.pop().unwrap_or_default())
    }

    /// Reads several ranges of an object. Ranges that lie close together become one request.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the object ends before a range does, or when the ranges come to more than
    /// [`MAX_RANGE_BYTES`].
    pub async fn get_ranges(&self, key: &str, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, StoreError> {
        self.attempts("read", key, || async {
            let location = self.key(key)?;
            check_ranges(ranges)?;
            // Stores refuse to read nothing.
            let asked: Vec<_> = ranges.iter().filter(|range| !range.is_empty()).cloned().collect();
            if asked.is_empty() {
                return Ok(vec![Bytes::new(); ranges.len()]);
            }
            let parts = self.read_whole(&location, &asked).await?;
            let mut parts = parts.into_iter();
            let part = |range: &Range<u64>| if range.is_empty() { None } else { parts.next() };
            Ok(ranges.iter().map(part).map(Option::unwrap_or_default).collect())
        })
        .await
    }

    /// The size of an object.
    pub async fn head(&self, key: &str) -> Result<StoredObject, StoreError> {
        self.attempts("look up", key, || async {
            let meta = self.bounded(self.inner.store.head(&self.key(key)?)).await?;
            Ok(StoredObject { key: key.to_owned(), bytes: meta.size })
        })
        .await
    }

    /// The objects below a prefix, which must be whole path segments or empty; sorted by key.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when there are more than [`MAX_LISTED`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<StoredObject>, StoreError> {
        self.attempts("list", prefix, || async {
            let location = self.key(prefix)?;
            let mut listing = self.inner.store.list(Some(&location));
            let mut found = Vec::new();
            while let Some(meta) = self.bounded(listing.try_next()).await? {
                if found.len() == MAX_LISTED {
                    return Err(invalid(format!("more than {MAX_LISTED} objects lie below it")));
                }
                let key = self.without_prefix(&meta.location);
                found.push(StoredObject { key, bytes: meta.size });
            }
            found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
            Ok(found)
        })
        .await
    }

    /// The folders right below a prefix, sorted: a way down to tenants and days without listing every object.
    pub async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.attempts("list", prefix, || async {
            let location = self.key(prefix)?;
            let listed = self.bounded(self.inner.store.list_with_delimiter(Some(&location))).await?;
            let mut folders: Vec<_> =
                listed.common_prefixes.iter().map(|folder| self.without_prefix(folder)).collect();
            folders.sort_unstable();
            Ok(folders)
        })
        .await
    }

    /// Deletes an object. One that is not there counts as deleted.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.attempts("delete", key, || async {
            match self.bounded(self.inner.store.delete(&self.key(key)?)).await {
                Err((ErrorKind::NotFound, _)) => Ok(()),
                deleted => deleted,
            }
        })
        .await
    }

    /// Where an object lies (or would lie) as a file, if the store is a directory: for positioned reads without
    /// the detour through this interface.
    pub fn local_path(&self, key: &str) -> Option<PathBuf> {
        let directory = self.inner.directory.as_ref()?;
        directory.files.path_to_filesystem(&self.key(key).ok()?).ok()
    }

    async fn put_in_directory(&self, directory: &Directory, key: &str, file: &Path) -> Result<(), Failure> {
        let target = directory.files.path_to_filesystem(&self.key(key)?).map_err(of_store)?;
        let file = file.to_owned();
        let put = tokio::task::spawn_blocking(move || directory::put(&target, &file));
        let done = put.await.map_err(|error| (ErrorKind::Unavailable, error.into()))?;
        done.map_err(of_file)
    }

    /// Reads ranges that are not empty. Stores do not tell a range beyond the object's end from other failures,
    /// or cut the answer short: so after a failure the size is asked for.
    async fn read_whole(&self, location: &Key, ranges: &[Range<u64>]) -> Result<Vec<Bytes>, Failure> {
        let parts = self.bounded(self.inner.store.get_ranges(location, ranges)).await;
        let is_whole = |(part, range): (&Bytes, &Range<u64>)| part.len() as u64 == range.end - range.start;
        let parts = match parts {
            Ok(parts) if parts.len() == ranges.len() && parts.iter().zip(ranges).all(is_whole) => {
                return Ok(parts);
            }
            Err(failure) if failure.0 != ErrorKind::Unavailable => return Err(failure),
            other => other,
        };
        let size = self.bounded(self.inner.store.head(location)).await?.size;
        match ranges.iter().find(|range| range.end > size) {
            Some(range) => Err(invalid(format!("range {range:?} of an object of `{size}` bytes"))),
            None => parts.and(Err((ErrorKind::Unavailable, "the answer was cut short".into()))),
        }
    }

    /// Sends a file, in parts where it is large; at most one part is in memory. Reading a part blocks the task
    /// for the time of a read from the page cache: the file was written a moment ago.
    async fn upload(&self, location: &Key, file: &Path) -> Result<(), Failure> {
        let file = File::open(file).map_err(of_file)?;
        let bytes = file.metadata().map_err(of_file)?.len();
        if bytes <= PART_BYTES {
            let payload = read_part(&file, 0..bytes)?;
            return self.bounded(self.inner.store.put(location, payload.into())).await.map(drop);
        }
        let mut upload = self.bounded(self.inner.store.put_multipart(location)).await?;
        let mut sent = Ok(());
        for start in (0..bytes).step_by(PART_BYTES as usize) {
            let part = read_part(&file, start..bytes.min(start + PART_BYTES))?;
            sent = self.bounded(upload.put_part(part.into())).await;
            if sent.is_err() {
                break;
            }
        }
        if sent.is_ok() {
            sent = self.bounded(upload.complete()).await.map(drop);
        }
        if sent.is_err() {
            // Frees the parts; where this fails too, the bucket's own rule for stale uploads does.
            let _ = self.bounded(upload.abort()).await;
        }
        sent
    }

    /// Runs attempts until one succeeds, fails for good, or time is up.
    async fn attempts<T, F: Future<Output = Result<T, Failure>>>(
        &self,
        action: &'static str,
        key: &str,
        attempt: impl Fn() -> F,
    ) -> Result<T, StoreError> {
        let mut backoff = Backoff::new(self.inner.options.backoff, self.inner.origin.elapsed());
        loop {
            let (kind, source) = match attempt().await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let wait = match kind.is_retryable() {
                true => backoff.on_failure(self.inner.origin.elapsed(), self.random()),
                false => None,
            };
            let Some(wait) = wait else {
                return Err(StoreError { action, key: key.to_owned(), kind, source });
            };
            tracing::debug!(action, key, error = %source, ?wait, "chunk store failed; trying again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn bounded<T>(
        &self,
        request: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Failure> {
        match timeout(self.inner.options.attempt_timeout, request).await {
            Ok(answer) => answer.map_err(of_store),
            Err(elapsed) => Err((ErrorKind::Unavailable, elapsed.into())),
        }
    }

    fn key(&self, key: &str) -> Result<Key, Failure> {
        Key::parse(format!("{}{key}", self.inner.prefix)).map_err(|error| invalid(error.to_string()))
    }

    fn without_prefix(&self, location: &Key) -> String {
        let whole = location.as_ref();
        whole.strip_prefix(&self.inner.prefix).unwrap_or(whole).to_owned()
    }

    /// SplitMix64 (Steele, Lea, Flood, 2014): enough to spread waits, and the same for the same seed.
    fn random(&self) -> u64 {
        const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
        let state = self.inner.random.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        let mixed = (state ^ state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }
}

fn open_s3(options: &S3Options) -> Result<Arc<dyn ObjectStore>, Failure> {
    // Fails only where a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let retries = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let client = ClientOptions::new().with_timeout_disabled().with_allow_http(options.allow_http);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&options.bucket)
        .with_virtual_hosted_style_request(!options.path_style)
        .with_client_options(client)
        .with_retry(retries);
    let set = [
        (AmazonS3ConfigKey::Endpoint, &options.endpoint),
        (AmazonS3ConfigKey::Region, &options.region),
        (AmazonS3ConfigKey::AccessKeyId, &options.access_key_id),
        (AmazonS3ConfigKey::SecretAccessKey, &options.secret_access_key),
        (AmazonS3ConfigKey::Token, &options.session_token),
    ];
    for (key, value) in set {
        if let Some(value) = value {
            builder = builder.with_config(key, value);
        }
    }
    Ok(Arc::new(builder.build().map_err(|error| (ErrorKind::Invalid, error.into()))?))
}

fn check_ranges(ranges: &[Range<u64>]) -> Result<(), Failure> {
    let mut sum = 0u64;
    for range in ranges {
        let bytes = range.end.checked_sub(range.start);
        let bytes = bytes.ok_or_else(|| invalid(format!("range {range:?} ends before it begins")))?;
        sum = sum.saturating_add(bytes);
    }
    match sum > MAX_RANGE_BYTES {
        true => Err(invalid(format!("ranges of `{sum}` bytes are over the limit of {MAX_RANGE_BYTES}"))),
        false => Ok(()),
    }
}

fn read_part(file: &File, range: Range<u64>) -> Result<Vec<u8>, Failure> {
    let mut part = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut part, range.start).map_err(of_file)?;
    Ok(part)
}
