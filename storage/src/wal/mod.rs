//! The write-ahead log: what an ingester has promised to keep and has not yet packed.
//!
//! A directory of segments, each a header and a run of records. One [`Writer`], driven by one thread, appends
//! and syncs; [`replay()`] reads everything back after a restart. A segment goes when nothing refers to it any
//! more: whoever holds an unflushed record holds its [`SegmentRef`].
//!
//! ```text
//! segment := magic "GVWS" | version u8 | 0 u8 × 3 | number u64 | wal id u128 | first sequence u64
//!            | crc32c u32 of these 40 bytes | record*
//! record  := magic "GVWR" | version u8 | kind u8 | 0 u16 | payload length u32 | crc32c u32 of the payload
//!            | sequence u64 | wal id u128 | crc32c u32 of these 40 bytes | payload
//! ```
//!
//! All numbers are little-endian. The two checksums of a record let a reader trust the length before it reads
//! the payload. Each record bears the wal id, so that it can be read without its segment's header, and so that
//! after damage a payload that quotes some other log is not taken for a record.
//!
//! **A wal id is drawn afresh for each [`Writer`].** Sequences start at 1 under it. Were an id kept across
//! restarts, a log that had lost its tail (or all of its files) would hand out sequences a second time, and a
//! flush mark of the first use would hide records of the second.

mod record;
mod replay;
mod segment;
mod window;
mod writer;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;

pub use self::record::MAX_RECORD_BYTES;
pub use self::replay::{Damage, MAX_DAMAGES, Record, Replayed, replay, scan};
pub use self::segment::{SegmentNumber, SegmentRef};
pub use self::writer::{Appended, Options, Reclaimed, Writer};

/// Names the log of one writer: 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalId(pub u128);

impl fmt::Debug for WalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for WalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The place of a record in the log of one [`WalId`]; ascends strictly, starts at 1, and is never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first record.
    pub const ZERO: Sequence = Sequence(0);
}

/// How far a log is covered for one stream of one day: everything before the record `sequence`, and of that
/// record the first `entries` of its push, counted over all its streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The record.
    pub sequence: Sequence,
    /// How many entries of its push.
    pub entries: u32,
}

/// Why the log could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The record is larger than [`MAX_RECORD_BYTES`]; nothing was written.
    #[error("a log record of `{bytes}` bytes is over the limit of {MAX_RECORD_BYTES}; send smaller batches")]
    RecordTooLarge {
        /// The payload's length.
        bytes: u64,
    },
    /// The file system has no room (or no quota) left.
    #[error("no room left for the write-ahead log at `{}`; free disk space or lower retention", path.display())]
    DiskFull {
        /// The segment or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Any other failure of the file system.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The segment or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A newer release wrote this file. It is left alone: start that release again.
    #[error("`{}` has format version `{version}`, which this release does not know; run a newer one", path.display())]
    UnknownVersion {
        /// The segment.
        path: PathBuf,
        /// The version it states.
        version: u8,
    },
    /// The caller passed an id that a segment in the directory bears already.
    #[error("wal id `{0}` is in use already; draw a fresh one for each writer")]
    WalIdReused(WalId),
}

impl WalError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WalError::DiskFull { path, source },
            _ => WalError::Io { action, path, source },
        }
    }
}

/// Makes the creation or removal of files in `dir` survive a power loss.
fn sync_dir(dir: &Path) -> Result<(), WalError> {
    durable::sync_dir(dir).map_err(|error| WalError::io("sync directory", dir, error))
}
