//! A file of the log, read through a window: what replay looks at.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use memchr::memmem;

use super::{record, segment};

/// Read ahead of a segment: a few of the largest usual records, so that small ones cost no system call each.
pub(super) const READ_BUFFER_BYTES: usize = 256 << 10;
/// A payload buffer larger than this is not kept for the next record.
const KEPT_PAYLOAD_BYTES: usize = 8 << 20;

/// A stretch of the file in memory. Looking for records after damage rereads nothing, however many false
/// magics there are.
pub(super) struct Window {
    file: File,
    pub(super) file_bytes: u64,
    start: u64,
    buffer: Vec<u8>,
}

impl Window {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        Ok(Window { file, file_bytes, start: 0, buffer: Vec::new() })
    }

    /// The bytes from an offset on: enough for a header, unless the file ends before.
    pub(super) fn view(&mut self, at: u64) -> io::Result<&[u8]> {
        const { assert!(segment::HEADER_BYTES <= record::HEADER_BYTES) };
        let rest = usize::try_from(self.file_bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        if self.buffered(at).len() < record::HEADER_BYTES.min(rest) {
            self.buffer.resize(READ_BUFFER_BYTES.min(rest), 0);
            self.start = at;
            self.file.read_exact_at(&mut self.buffer, at)?;
        }
        Ok(self.buffered(at))
    }

    fn buffered(&self, at: u64) -> &[u8] {
        let skip = at.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.buffer.get(skip..)).unwrap_or_default()
    }

    /// Where a record's magic next begins, with room for a header after it.
    pub(super) fn find_magic(&mut self, from: u64) -> io::Result<Option<u64>> {
        let mut at = from;
        while self.file_bytes.saturating_sub(at) >= record::HEADER_BYTES as u64 {
            let view = self.view(at)?;
            if let Some(found) = memmem::find(view, &record::MAGIC) {
                return Ok(Some(at + found as u64));
            }
            // A magic may lie across the edge.
            at += (view.len() + 1 - record::MAGIC.len()) as u64;
        }
        Ok(None)
    }

    /// Fills a buffer with bytes that the file is known to have.
    pub(super) fn read(&self, at: u64, length: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.clear();
        if into.capacity() > KEPT_PAYLOAD_BYTES {
            into.shrink_to(KEPT_PAYLOAD_BYTES);
        }
        let buffered = self.buffered(at);
        into.extend_from_slice(&buffered[..buffered.len().min(length)]);
        let have = into.len();
        into.resize(length, 0);
        self.file.read_exact_at(&mut into[have..], at + have as u64)
    }
}
