//! The index: which streams there are, where their chunks lie, and how far heads are flushed.
//!
//! It is a cache: everything but the flush marks can be rebuilt from packs, and without the marks a restart
//! merely replays more of the write-ahead log. Each UTC day has an LMDB environment of its own
//! (`index/2026-11-23/`), so that retention deletes a folder: start at [`Index`].
//!
//! ```text
//! table    | key                                   | value
//! meta     | "schema", "incomplete"                | version u8; none
//!          | "lost/" pack, "orphan/" object key    | object key; when it was seen first
//!          | "erased/" tenant, "anew/" pack        | none; packs
//! streams  | tenant, stream                        | first and last time, labels
//! postings | tenant, name text, value text         | stream, many
//! chunks   | tenant, stream, first time, pack, no  | ChunkRecord
//! packs    | pack                                  | PackRecord
//! contents | pack                                  | stream, first time, no: many
//! flushed  | wal id, tenant, stream                | mark: sequence, entries
//! covers   | pack, stream                          | when, tenant, set of pushes
//! ```
//!
//! `keys` says how keys are laid out, `codec` how values are. A read runs in a closure, on one snapshot of one
//! day, and never across an `await`.

mod anew;
mod calendar;
mod chunks;
mod codec;
mod covers;
mod day;
mod days;
mod env;
mod erased;
mod flushed;
mod keys;
mod lost;
mod matcher;
mod orphans;
mod packs;
mod postings;
mod reach;
mod search;
mod snapshot;
mod streams;
mod summary;
#[cfg(test)]
mod tests;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

pub use self::anew::MadeAnew;
pub use self::calendar::{Day, NotADay};
pub use self::chunks::{BlockRecord, ChunkRecord, Extent};
pub use self::covers::{Cover, KnownCover};
pub use self::day::{DayIndex, NewPack, NewStream};
pub use self::days::{Index, IndexOptions, Rebuilt, SetAside};
pub use self::flushed::FlushMark;
pub use self::keys::MAX_TENANT_BYTES;
pub use self::matcher::{Matcher, Test};
pub use self::packs::{PackId, PackRecord, PackState};
pub use self::reach::{Arcs, difference, holds, intersection};
pub use self::snapshot::Snapshot;
pub use self::streams::StreamRecord;

/// A span of time in nanoseconds since 1970-01-01 UTC, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first instant of it.
    pub first: i64,
    /// The last instant of it.
    pub last: i64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: TimeRange = TimeRange { first: i64::MIN, last: i64::MAX };
}

/// Why the index could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The day was dropped, or the index closed, while this call waited or before it began.
    #[error("this day of the index has been closed")]
    Closed,
    /// The environment is open elsewhere in this process: someone still holds a day of an earlier index.
    #[error("this day of the index is already open in this process")]
    AlreadyOpen,
    /// Bytes that this release cannot have written, or that were damaged since.
    #[error("the index is corrupt: {what}: {reason}; rebuild it with `grapevine index rebuild`")]
    Corrupt {
        /// What was read.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The directory must be moved to a local disk.
    #[error("`{}` lies on a network file system (`{name}`), where the index would be damaged; choose a local directory", path.display())]
    NetworkFileSystem {
        /// Where the index was to be.
        path: PathBuf,
        /// The file system.
        name: &'static str,
    },
    /// The file system has no room (or no quota) left.
    #[error("no room left for the index; free disk space or lower retention")]
    DiskFull,
    /// The environment has grown to the largest size allowed.
    #[error("this day's index is full at `{limit}` bytes")]
    MapFull {
        /// The size.
        limit: usize,
    },
    /// A name or value is longer than the index takes.
    #[error("{what} of `{bytes}` bytes is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// A read met more than the caller allowed.
    #[error("more than `{limit}` {what} match; narrow the selector or the time range")]
    TooMany {
        /// What there are too many of.
        what: &'static str,
        /// How many the caller allowed.
        limit: usize,
    },
    /// A pack's summary contradicts itself.
    #[error("pack `{pack}` cannot be indexed: {reason}")]
    Invalid {
        /// The pack.
        pack: PackId,
        /// The contradiction.
        reason: String,
    },
    /// A value could not be written down.
    #[error("cannot encode {what}: {reason}")]
    Unencodable {
        /// The kind of value.
        what: &'static str,
        /// What the codec said.
        reason: String,
    },
    /// Any other failure of the file system.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Any other failure of LMDB.
    #[error("the index could not be accessed")]
    Lmdb(#[source] heed::Error),
}

impl IndexError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => IndexError::DiskFull,
            _ => IndexError::Io { action, path: path.to_owned(), source },
        }
    }
}

impl From<heed::Error> for IndexError {
    fn from(error: heed::Error) -> Self {
        use heed::MdbError::{
            Corrupted, Incompatible, Invalid, MapFull, PageNotFound, Panic, VersionMismatch,
        };
        match error {
            heed::Error::Mdb(MapFull) => IndexError::MapFull { limit: 0 },
            heed::Error::Mdb(
                fault @ (Corrupted | Incompatible | Invalid | PageNotFound | Panic | VersionMismatch),
            ) => IndexError::Corrupt { what: "index file", reason: fault.to_string() },
            heed::Error::EnvAlreadyOpened => IndexError::AlreadyOpen,
            heed::Error::Io(error) if error.kind() == io::ErrorKind::StorageFull => IndexError::DiskFull,
            other => IndexError::Lmdb(other),
        }
    }
}
