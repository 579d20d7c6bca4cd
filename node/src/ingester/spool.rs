//! The spool: packs on the local disk that the chunk store may not have yet.
//!
//! A pack is written under a temporary name, synced, renamed and its folder synced: what bears a pack's name is
//! whole and durable. Leftovers of a crash are removed at the start.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grapevine_storage::pack::seal::SealedChunk;
use grapevine_storage::pack::writer::{PackSummary, PackWriter, WriteError};
use grapevine_storage::pack::{Level, settle};
use grapevine_storage::stream::{Labels, StreamId};

use super::seal::with_sealer;

/// Buffers writes of members, which are small for quiet streams.
const WRITE_BUFFER_BYTES: usize = 256 << 10;
const TEMPORARY: &str = "tmp";

/// The spool's folder.
#[derive(Clone, Debug)]
pub struct Spool {
    dir: Arc<Path>,
}

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
        Ok(Spool { dir: dir.into() })
    }

    /// Where the pack of a content hash lies.
    pub fn path(&self, content_hash: u128) -> PathBuf {
        self.dir.join(format!("{content_hash:032x}.gz"))
    }

    /// Settles the chunks of each stream and writes them as one durable pack. `streams` ascend by id; `number` is
    /// unlike that of any other call under way.
    ///
    /// # Errors
    /// Nothing is left behind but, at worst, a temporary file that the next start removes.
    pub fn write(
        &self,
        streams: Vec<StreamChunks>,
        level: Level,
        number: u64,
    ) -> Result<PackSummary, SpoolError> {
        let temporary = self.dir.join(format!("{number}.{TEMPORARY}"));
        let written = self.write_to(&temporary, streams, level);
        if written.is_err() {
            // The error of the write is the one to report; a leftover is removed at the next start.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn write_to(
        &self,
        temporary: &Path,
        streams: Vec<StreamChunks>,
        level: Level,
    ) -> Result<PackSummary, SpoolError> {
        let fail = |action| move |source| SpoolError::Io { action, path: temporary.to_owned(), source };
        let file = File::create(temporary).map_err(fail("create"))?;
        let mut pack = PackWriter::new(BufWriter::with_capacity(WRITE_BUFFER_BYTES, file));
        for stream in streams {
            let chunks = with_sealer(level, |sealer| settle(stream.id, stream.chunks, sealer))?;
            for chunk in &chunks {
                pack.chunk(stream.id, &stream.labels, chunk)?;
            }
        }
        let (summary, mut output) = pack.finish()?;
        output.flush().map_err(fail("write"))?;
        output.get_ref().sync_all().map_err(fail("sync"))?;
        fs::rename(temporary, self.path(summary.content_hash)).map_err(fail("rename"))?;
        self.sync().map_err(fail("sync the folder of"))?;
        Ok(summary)
    }

    /// Removes a pack that the chunk store has. One that is gone already is no error.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(&self, content_hash: u128) -> io::Result<()> {
        match fs::remove_file(self.path(content_hash)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }
}
