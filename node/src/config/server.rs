//! The keys of one node: where it listens, where it keeps things, how much it holds in memory and on disk.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::keys::table;
use super::units::{ByteSize, Period};

table! {
    /// The node itself: keys at the top of the file.
    "": ServerWritten => Server {
        /// Where the node keeps its log, its index, its spool and, unless told otherwise, its packs. One
        /// directory a node, on a local disk: the index cannot live on a network file system.
        data_dir: PathBuf = PathBuf::from("./data"),
        /// Address and port of Loki's HTTP API. The default reaches this machine only; write
        /// `0.0.0.0:3100` to serve others, who must then log in (see `[http]`).
        http_listen: String = "127.0.0.1:3100".to_owned(),
        /// Where packs go: `file:///DIR` or `s3://BUCKET/PREFIX`. Empty is a directory `packs` in `data_dir`,
        /// which only suits a node that stands alone.
        chunk_store: String = String::new(),
        /// `single`: one tenant, `fake`, as Loki without `auth_enabled`; `header`: the tenant is in
        /// `X-Scope-OrgID`, and a request without one is refused.
        tenancy: Tenancy = Tenancy::Single,
        /// Answer as Loki does or not at all: refuse the parameters `cursor` and `explain`, and queries of which a
        /// part cannot be read, where otherwise the answer names what it lacks.
        strict: bool = false,
    }
}

table! {
    /// Access to an S3 bucket or what speaks its protocol; only used with `chunk_store = "s3://…"`.
    "s3": S3Written => S3 {
        /// The service's address, such as `http://minio:9000`. Empty is Amazon's own for the region.
        endpoint: String = String::new(),
        /// The region; services other than Amazon's mostly ignore it. Empty takes `AWS_REGION`, or `us-east-1`.
        region: String = String::new(),
        /// The access key. Empty takes `AWS_ACCESS_KEY_ID` or what the machine's role gives.
        access_key_id: String = String::new(),
        /// The secret that belongs to the access key. Better put into `GRAPEVINE_S3_SECRET_ACCESS_KEY` than
        /// into a file.
        secret_access_key: Secret = Secret::default(),
        /// A token for temporary keys.
        session_token: Secret = Secret::default(),
        /// Talk to the endpoint without TLS.
        allow_http: bool = false,
        /// Address buckets as `BUCKET.host` instead of `host/BUCKET`.
        virtual_hosted_style: bool = false,
    }
}

table! {
    /// The write-ahead log: what makes an acknowledged entry survive a crash.
    "wal": WalWritten => Wal {
        /// When a segment is closed and the next begun. Smaller segments are deleted sooner; each costs a file.
        segment_size: ByteSize = ByteSize::mib(64),
        /// The log's length at which the heads that hold its oldest segments are flushed. Longer means larger
        /// packs and a longer replay after a crash: some seconds a GB.
        size_max: ByteSize = ByteSize::gib(1),
    }
}

table! {
    /// The heads: entries in memory that are not in a pack yet.
    "head": HeadWritten => Head {
        /// Text of open blocks in memory; above it the largest are compressed before they are full. More means
        /// fuller blocks when there are many streams.
        open_size_max: ByteSize = ByteSize::mib(64),
        /// Compressed blocks in memory; reaching it writes a pack. More means fewer and larger packs.
        sealed_size_max: ByteSize = ByteSize::mib(48),
        /// The longest an entry stays out of a pack. Longer means fuller packs for quiet streams; the log
        /// keeps the entries safe all the while.
        age_max: Period = Period::hours(2),
        /// Bodies that may be held at a time, in bytes, and as much again of decoded pushes that wait for the log;
        /// beyond it pushes wait. A bound on memory, not a rate.
        inflight_size_max: ByteSize = ByteSize::mib(128),
    }
}

table! {
    /// What happens as the disk fills up, step by step; a full disk never stops a node from starting or
    /// answering.
    "disk": DiskWritten => Disk {
        /// Percent of the file system in use above which the oldest days are given up early, one after the other.
        /// 0, the default, gives up nothing: pushes are refused instead, and no line goes without being told to.
        retention_percent: u8 = 0,
        /// Percent above which pushes are refused with 429 and `Retry-After`.
        refuse_percent: u8 = 92,
        /// Percent above which the node only answers: nothing is merged any more, nor shipped into a directory.
        read_only_percent: u8 = 97,
        /// Bytes of packs to keep on this node's disk at most; 0 leaves it to the percentages.
        size_max: ByteSize = ByteSize(0),
        /// Bytes of packs that may wait on this node's disk for a chunk store that does not answer; beyond
        /// it pushes are refused.
        spool_size_max: ByteSize = ByteSize::gib(16),
    }
}

table! {
    /// What the node does with its packs when no one asks.
    "housekeeping": HousekeepingWritten => Housekeeping {
        /// Bytes of packs that merges may read in a second; 0, the default, is as fast as it goes. Less leaves more of
        /// the disk and the network to pushes and queries, and small packs lie around for longer.
        merge_rate_max: ByteSize = ByteSize(0),
        /// How long an object outlives its place in the index. Less frees the disk sooner; longer than any query may
        /// run, or one that found the object there fails to read it and says so.
        delete_after: Period = Period::seconds(15 * 60),
    }
}

table! {
    /// What the node says about itself on standard error.
    "log": LogWritten => Log {
        /// `text` for people, `json` for a collector.
        format: LogFormat = LogFormat::Text,
        /// `error`, `warn`, `info`, `debug` or `trace`, also by module: `info,grapevine::querier=debug`.
        level: String = "info".to_owned(),
    }
}

/// How requests say whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tenancy {
    /// There is one tenant.
    Single,
    /// By the header `X-Scope-OrgID`.
    Header,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn shown(&self) -> &'static str {
        if self.0.is_empty() { "" } else { "<secret>" }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.shown())
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.shown())
    }
}

/// Where packs go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkStore {
    /// A directory: local, or shared by all nodes.
    Directory(PathBuf),
    /// A bucket, and what its keys begin with: no slash at either end.
    S3 {
        /// The bucket.
        bucket: String,
        /// The beginning of each key; may be empty.
        prefix: String,
    },
}

/// An address of a chunk store that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`chunk_store` = `{0}` is not a place for packs; write `file:///DIR` or `s3://BUCKET/PREFIX`")]
pub struct ChunkStoreError(String);

impl Server {
    /// The chunk store that is meant.
    ///
    /// # Errors
    /// The address is of neither kind.
    pub fn chunk_store(&self) -> Result<ChunkStore, ChunkStoreError> {
        let error = || ChunkStoreError(self.chunk_store.clone());
        if self.chunk_store.is_empty() {
            return Ok(ChunkStore::Directory(self.data_dir.join("packs")));
        }
        if let Some(path) = self.chunk_store.strip_prefix("file://") {
            return if path.starts_with('/') { Ok(ChunkStore::Directory(path.into())) } else { Err(error()) };
        }
        let rest = self.chunk_store.strip_prefix("s3://").ok_or_else(error)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err(error());
        }
        Ok(ChunkStore::S3 { bucket: bucket.to_owned(), prefix: prefix.trim_matches('/').to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::{ChunkStore, Secret, Server};

    fn check(address: &str, expected: Option<ChunkStore>) {
        let server = Server { chunk_store: address.to_owned(), data_dir: "/d".into(), ..Server::default() };
        assert_eq!(server.chunk_store().ok(), expected, "{address}");
    }

    #[test]
    fn chunk_stores_are_told_apart() {
        let s3 = |bucket: &str, prefix: &str| {
            Some(ChunkStore::S3 { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
        };
        check("", Some(ChunkStore::Directory("/d/packs".into())));
        check("file:///srv/packs", Some(ChunkStore::Directory("/srv/packs".into())));
        check("s3://logs", s3("logs", ""));
        check("s3://logs/a/b/", s3("logs", "a/b"));
        for address in ["file://srv", "s3://", "s3:///a", "/srv/packs", "gs://logs"] {
            check(address, None);
        }
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret("hush".to_owned());
        assert_eq!((format!("{secret:?}"), secret.reveal()), ("\"<secret>\"".to_owned(), "hush"));
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"<secret>\"");
    }
}
