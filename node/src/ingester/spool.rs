//! The spool: packs on the local disk that the chunk store may not have yet.
//!
//! A pack is written under a temporary name, synced, renamed and its folder synced: what bears a pack's name is
//! whole and durable. Leftovers of a crash are removed at the start. The name is the pack's key in the chunk store, so
//! that a lost index can be made again from the spool alone.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use grapevine_storage::index::Day;
use grapevine_storage::pack::merge::MergeError;
use grapevine_storage::pack::seal::SealedChunk;
use grapevine_storage::pack::writer::{PackSummary, PackWriter, WriteError};
use grapevine_storage::pack::{Level, PackReader, Sieve, merge, settle, sift};
use grapevine_storage::stream::{Labels, StreamId};

use super::records::object_key;
use super::seal::with_sealer;

/// Buffers writes of members, which are small for quiet streams.
const WRITE_BUFFER_BYTES: usize = 256 << 10;
const TEMPORARY: &str = "tmp";
/// Of packs that are coming in from other nodes.
const INCOMING: &str = "part";
/// Stands for `/` in file names; no tenant's name may hold it.
const SEPARATOR: &str = "@";

/// The spool's folder.
#[derive(Clone, Debug)]
pub struct Spool {
    dir: Arc<Path>,
    /// Numbers temporary files.
    written: Arc<AtomicU64>,
}

/// What a pack is written to.
type Output = BufWriter<File>;
/// A pack that was written.
type Written = Result<(PackSummary, Output), SpoolError>;

/// One stream's chunks, in order of arrival; they may overlap in time.
#[derive(Debug)]
pub struct StreamChunks {
    /// The stream.
    pub id: StreamId,
    /// Its labels.
    pub labels: Labels,
    /// At least one.
    pub chunks: Vec<SealedChunk>,
}

/// Why a pack could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The file system.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pack's own rules, or the file system while it was written.
    #[error("cannot write a pack in the spool")]
    Write(#[from] WriteError),
    /// A block in memory is damaged.
    #[error("a block that waits for a flush is damaged")]
    Damaged(#[from] grapevine_storage::pack::FormatError),
    /// Packs cannot be merged.
    #[error("cannot merge packs")]
    Merge(#[from] MergeError),
}

impl Spool {
    /// Opens the folder, makes it if need be, and removes what a crash left half written.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(dir: &Path) -> Result<Self, SpoolError> {
        let fail = |action| move |source| SpoolError::Io { action, path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(fail("create"))?;
        for entry in fs::read_dir(dir).map_err(fail("read"))? {
            let path = entry.map_err(fail("read"))?.path();
            if path.extension().is_some_and(|extension| extension == TEMPORARY) {
                fs::remove_file(&path).map_err(fail("clean up"))?;
            }
        }
        Ok(Spool { dir: dir.into(), written: Arc::default() })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the pack of an object key lies.
    pub fn path(&self, object_key: &str) -> PathBuf {
        self.dir.join(object_key.replace('/', SEPARATOR))
    }

    /// The object keys of all packs in the spool, sorted.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn keys(&self) -> io::Result<Vec<String>> {
        let names =
            fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        let names = names.collect::<io::Result<Vec<String>>>()?;
        let packs = names.iter().filter(|name| name.ends_with(".gz"));
        let mut keys: Vec<String> = packs.map(|name| name.replace(SEPARATOR, "/")).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// A name for a file that is removed at the next start, unlike any other.
    pub fn temporary(&self) -> PathBuf {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{number}.{TEMPORARY}"))
    }

    /// A name for a pack that comes in from another node piece by piece. What there is of it outlives a restart, so that the
    /// rest alone is fetched after it.
    pub fn incoming(&self, object_key: &str) -> PathBuf {
        let name = object_key.rsplit('/').next().unwrap_or(object_key);
        self.dir.join(format!("{name}.{INCOMING}"))
    }

    /// Removes what there is of packs that were coming in, of which nobody needs the rest any more.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn forget_incoming(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == INCOMING) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Settles the chunks of each stream and writes them as one durable pack. `streams` ascend by id.
    ///
    /// # Errors
    /// Nothing is left behind but, at worst, a temporary file that the next start removes.
    pub fn write(
        &self,
        tenant: &str,
        day: Day,
        streams: Vec<StreamChunks>,
        level: Level,
    ) -> Result<PackSummary, SpoolError> {
        self.written(tenant, day, |output| {
            let mut pack = PackWriter::new(output);
            for stream in streams {
                let chunks = with_sealer(level, |sealer| settle(stream.id, stream.chunks, sealer))?;
                for chunk in &chunks {
                    pack.chunk(stream.id, &stream.labels, chunk)?;
                }
            }
            Ok(pack.finish()?)
        })
    }

    /// Merges packs, in the order their entries arrived in, into one durable pack of the streams to be kept.
    ///
    /// # Errors
    /// As [`Self::write`]; also where a pack cannot be read.
    pub fn merge(
        &self,
        tenant: &str,
        day: Day,
        packs: &[PackReader<File>],
        keep: impl Fn(StreamId) -> bool,
        level: Level,
    ) -> Result<PackSummary, SpoolError> {
        self.written(tenant, day, |output| {
            Ok(with_sealer(level, |sealer| merge(packs, keep, output, sealer))?)
        })
    }

    /// Writes a pack without what a sieve takes out of it. Nothing is written where nothing is left.
    ///
    /// # Errors
    /// As [`Self::merge`].
    pub fn sift(
        &self,
        tenant: &str,
        day: Day,
        pack: &PackReader<File>,
        sieve: &mut dyn Sieve,
        level: Level,
    ) -> Result<Option<PackSummary>, SpoolError> {
        let summary = self.written(tenant, day, |output| {
            Ok(with_sealer(level, |sealer| sift(pack, sieve, output, sealer))?)
        })?;
        Ok((!summary.directory.streams.is_empty()).then_some(summary))
    }

    fn written(
        &self,
        tenant: &str,
        day: Day,
        write: impl FnOnce(Output) -> Written,
    ) -> Result<PackSummary, SpoolError> {
        let temporary = self.temporary();
        let written = self.write_to(&temporary, tenant, day, write);
        if written.is_err() {
            // The error of the write is the one to report; a leftover is removed at the next start.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn write_to(
        &self,
        temporary: &Path,
        tenant: &str,
        day: Day,
        write: impl FnOnce(Output) -> Written,
    ) -> Result<PackSummary, SpoolError> {
        let fail = |action| move |source| SpoolError::Io { action, path: temporary.to_owned(), source };
        let file = File::create(temporary).map_err(fail("create"))?;
        let (summary, mut output) = write(BufWriter::with_capacity(WRITE_BUFFER_BYTES, file))?;
        if summary.directory.streams.is_empty() {
            fs::remove_file(temporary).map_err(fail("remove"))?;
            return Ok(summary);
        }
        output.flush().map_err(fail("write"))?;
        output.get_ref().sync_all().map_err(fail("sync"))?;
        fs::rename(temporary, self.path(&object_key(tenant, day, &summary))).map_err(fail("rename"))?;
        self.sync().map_err(fail("sync the folder of"))?;
        Ok(summary)
    }

    /// Takes in a whole, synced pack that lies under a [temporary](Self::temporary) name.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn adopt(&self, temporary: &Path, object_key: &str) -> io::Result<()> {
        fs::rename(temporary, self.path(object_key))?;
        self.sync()
    }

    /// Removes a pack that the chunk store has. One that is gone already is no error.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(&self, object_key: &str) -> io::Result<()> {
        match fs::remove_file(self.path(object_key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}
