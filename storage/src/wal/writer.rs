//! Appends records, makes them durable in groups, and deletes segments that nobody needs.
//!
//! **What an error leaves behind.** A failed append leaves no trace that replay would take for a record (the
//! torn bytes are cut off where the file system allows it, and skipped where it does not). A failed sync
//! acknowledges nothing: whatever was appended since the last successful [`Writer::sync`] must count as not
//! written, though replay may bring it back. After either, the segment is closed for good and the next append
//! opens a fresh one.
//!
//! A failed `fdatasync` is never tried again on the same file. Linux reports a write-back error once and marks
//! the pages clean, so that a second call may succeed with the data lost ("fsyncgate", PostgreSQL, 2018;
//! Rebello et al., "Can Applications Recover from fsync Failures?", ATC '20). Only a new write to another file
//! tells whether the disk works again.

use std::fs::File;
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};

use super::record::{self, Header, MAX_RECORD_BYTES};
use super::segment::{self, SegmentHeader};
use super::{Replayed, SegmentNumber, SegmentRef, Sequence, WalError, WalId, sync_dir};

/// How the log is written.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment that would grow beyond this is sealed and a new one begun; a larger record has a segment of
    /// its own. Smaller segments are deleted sooner, larger ones make fewer files.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { segment_bytes: 64 << 20 }
    }
}

/// Where a record went. It is durable only once [`Writer::sync`] has succeeded.
#[derive(Clone, Debug)]
#[must_use = "without the reference the segment may be reclaimed"]
pub struct Appended {
    /// The record's sequence.
    pub sequence: Sequence,
    /// Keeps the record's segment.
    pub segment: SegmentRef,
}

/// What [`Writer::reclaim`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// How many segments.
    pub segments: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

/// Writes the log of one directory. There must be no other writer on it.
#[derive(Debug)]
pub struct Writer {
    dir: PathBuf,
    wal_id: WalId,
    options: Options,
    next_sequence: Sequence,
    next_segment: SegmentNumber,
    active: Option<Active>,
    /// Sealed since the last sync: closed for appends, not yet durable.
    unsynced: Vec<(SegmentNumber, File)>,
    sealed: Vec<Sealed>,
}

/// The segment that appends go to.
#[derive(Debug)]
struct Active {
    file: File,
    guard: SegmentRef,
    bytes: u64,
    dirty: bool,
}

#[derive(Debug)]
struct Sealed {
    guard: SegmentRef,
    bytes: u64,
}

impl Writer {
    /// Continues in a directory that [`replay`](super::replay()) has read, under a fresh id. Creates no file
    /// before the first append.
    ///
    /// # Errors
    /// [`WalError::WalIdReused`] when a segment of the directory bears the id.
    pub fn open(dir: &Path, wal_id: WalId, options: Options, replayed: Replayed) -> Result<Self, WalError> {
        if replayed.wal_ids.contains(&wal_id) {
            return Err(WalError::WalIdReused(wal_id));
        }
        let sealed: Vec<_> =
            replayed.segments.into_iter().map(|(guard, bytes)| Sealed { guard, bytes }).collect();
        let last = sealed.iter().map(|segment| segment.guard.number().0).max();
        Ok(Writer {
            dir: dir.to_owned(),
            wal_id,
            options,
            next_sequence: Sequence(1),
            next_segment: SegmentNumber(last.map_or(1, |last| last + 1)),
            active: None,
            unsynced: Vec::new(),
            sealed,
        })
    }

    /// The id that this writer's sequences belong to.
    pub fn wal_id(&self) -> WalId {
        self.wal_id
    }

    /// Writes one record, whose payload is the parts one after another; they are not copied. `kind` and
    /// payload mean nothing to the log. Group commit is several appends before one sync.
    ///
    /// # Errors
    /// The record is not in the log. Earlier ones are untouched and a sync may still make them durable.
    pub fn append(&mut self, kind: u8, parts: &[&[u8]]) -> Result<Appended, WalError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if length > MAX_RECORD_BYTES {
            return Err(WalError::RecordTooLarge { bytes: length as u64 });
        }
        let bytes = (record::HEADER_BYTES + length) as u64;
        if self
            .active
            .as_ref()
            .is_some_and(|a| a.bytes + bytes > self.options.segment_bytes && a.has_records())
        {
            self.seal();
        }
        let sequence = self.next_sequence;
        let length = length as u32; // At most MAX_RECORD_BYTES.
        let payload_crc = record::payload_crc(parts);
        let header = Header { kind, length, payload_crc, sequence, wal_id: self.wal_id }.encode();
        let active = match &mut self.active {
            Some(active) => active,
            None => {
                let created = self.create_segment()?;
                self.active.insert(created)
            }
        };
        // Spent even if the write fails: a torn copy of the record may stay on disk.
        self.next_sequence = Sequence(sequence.0 + 1);
        match write_all_vectored(&mut active.file, &header, parts) {
            Ok(()) => {
                active.bytes += bytes;
                active.dirty = true;
                Ok(Appended { sequence, segment: active.guard.clone() })
            }
            Err(error) => {
                let path = segment::path_of(&self.dir, active.guard.number());
                self.cut_torn_write();
                Err(WalError::io("append to", &path, error))
            }
        }
    }

    /// Makes every record appended so far durable.
    ///
    /// # Errors
    /// Nothing appended since the last successful sync may be acknowledged, now or later.
    pub fn sync(&mut self) -> Result<(), WalError> {
        let synced = self.sync_files();
        if synced.is_err() {
            self.seal();
        }
        // On failure too: what was not acknowledged now never will be, so there is nothing left to sync.
        self.unsynced.clear();
        if let Some(active) = &mut self.active {
            active.dirty = false;
        }
        synced
    }

    /// Closes the active segment, so that it can be reclaimed once nothing refers to it. The next append
    /// opens a new one.
    pub fn seal(&mut self) {
        if let Some(active) = self.active.take() {
            if active.dirty {
                self.unsynced.push((active.guard.number(), active.file));
            }
            self.sealed.push(Sealed { guard: active.guard, bytes: active.bytes });
        }
    }

    /// Deletes the sealed segments to which nobody outside holds a reference.
    ///
    /// # Errors
    /// A segment that could not be deleted stays, and is tried again next time.
    pub fn reclaim(&mut self) -> Result<Reclaimed, WalError> {
        let mut reclaimed = Reclaimed::default();
        let mut failure = None;
        let (dir, unsynced) = (&self.dir, &mut self.unsynced);
        self.sealed.retain_mut(|segment| {
            let number = segment.guard.number();
            if failure.is_some() || !segment.guard.is_last() {
                return true;
            }
            let path = segment::path_of(dir, number);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    failure = Some(WalError::io("delete segment", &path, error));
                    return true;
                }
                _ => {}
            }
            unsynced.retain(|(sealed, _)| *sealed != number);
            reclaimed.segments += 1;
            reclaimed.bytes += segment.bytes;
            false
        });
        match failure {
            Some(error) => Err(error),
            None if reclaimed.segments > 0 => sync_dir(&self.dir).map(|()| reclaimed),
            None => Ok(reclaimed),
        }
    }

    /// The bytes of all segments, the active one included.
    pub fn bytes(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        active + self.sealed.iter().map(|segment| segment.bytes).sum::<u64>()
    }

    /// The oldest segment that still exists: when the log is too large, flush what refers to this one.
    pub fn oldest(&self) -> Option<SegmentNumber> {
        let active = self.active.as_ref().map(|active| active.guard.number());
        self.sealed.iter().map(|segment| segment.guard.number()).chain(active).min()
    }

    /// The newest segment that was ever begun.
    pub fn newest(&self) -> Option<SegmentNumber> {
        self.next_segment.0.checked_sub(1).map(SegmentNumber)
    }

    fn create_segment(&mut self) -> Result<Active, WalError> {
        let header =
            SegmentHeader { number: self.next_segment, wal_id: self.wal_id, first: self.next_sequence };
        let file = segment::create(&self.dir, header)?;
        self.next_segment.0 += 1;
        let guard = SegmentRef::new(header.number);
        Ok(Active { file, guard, bytes: segment::HEADER_BYTES as u64, dirty: false })
    }

    fn sync_files(&self) -> Result<(), WalError> {
        let active = self.active.as_ref().filter(|active| active.dirty);
        let active = active.map(|active| (active.guard.number(), &active.file));
        let sealed = self.unsynced.iter().map(|(number, file)| (*number, file));
        for (number, file) in sealed.chain(active) {
            let path = || segment::path_of(&self.dir, number);
            file.sync_data().map_err(|error| WalError::io("sync", &path(), error))?;
        }
        Ok(())
    }

    /// After a failed append: takes the torn bytes off the end and closes the segment. Records before them
    /// stay to be synced.
    fn cut_torn_write(&mut self) {
        if let Some(active) = &self.active
            && let Err(error) = active.file.set_len(active.bytes)
        {
            let segment = active.guard.number().0;
            tracing::warn!(segment, %error, "a torn record stays at the end of a log segment; replay skips it");
        }
        self.seal();
    }
}

impl Active {
    fn has_records(&self) -> bool {
        self.bytes > segment::HEADER_BYTES as u64
    }
}

/// `write_all` for a header and parts in one system call where the kernel takes them all.
fn write_all_vectored(file: &mut File, header: &[u8], parts: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<_> = std::iter::once(header).chain(parts.iter().copied()).map(IoSlice::new).collect();
    let mut rest = &mut slices[..];
    IoSlice::advance_slices(&mut rest, 0); // Drops leading empty parts.
    while !rest.is_empty() {
        match file.write_vectored(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::path::Path;

    use super::{Options, Reclaimed, Writer};
    use crate::wal::{
        Appended, MAX_RECORD_BYTES, Replayed, SegmentNumber, Sequence, WalError, WalId, replay, segment,
    };

    const SMALL: Options = Options { segment_bytes: 250 };

    fn writer(dir: &Path) -> Writer {
        Writer::open(dir, WalId(1), SMALL, Replayed::default()).unwrap()
    }

    fn payloads(dir: &Path) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        replay(dir, |record| {
            payloads.push(record.payload.to_vec());
            Ok::<_, WalError>(())
        })
        .unwrap();
        payloads
    }

    /// A device that refuses every write with "no space left", and every sync with "invalid argument".
    fn break_disk(writer: &mut Writer) {
        writer.active.as_mut().unwrap().file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    }

    #[test]
    fn parts_come_back_as_one_payload_with_kind_and_sequence() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let first = writer.append(7, &[b"ab", b"", b"c"]).unwrap();
        let second = writer.append(8, &[]).unwrap();
        writer.sync().unwrap();
        assert_eq!((first.sequence, second.sequence), (Sequence(1), Sequence(2)));
        let mut seen = Vec::new();
        replay(dir.path(), |record| {
            seen.push((record.kind, record.payload.to_vec(), record.sequence, record.wal_id));
            Ok::<_, WalError>(())
        })
        .unwrap();
        assert_eq!(
            seen,
            [(7, b"abc".to_vec(), Sequence(1), WalId(1)), (8, Vec::new(), Sequence(2), WalId(1))]
        );
    }

    #[test]
    fn more_parts_than_one_system_call_takes_are_all_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let parts = [b"xy".as_slice(); 3000];
        let _kept = writer.append(0, &parts).unwrap();
        writer.sync().unwrap();
        assert_eq!(payloads(dir.path()), [parts.concat()]);
    }

    #[test]
    fn segments_roll_at_their_limit_and_go_when_unreferenced() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let mut kept: Vec<Appended> = (0..6).map(|_| writer.append(0, &[&[0; 56]]).unwrap()).collect();
        writer.sync().unwrap();
        let numbers: Vec<u64> = kept.iter().map(|appended| appended.segment.number().0).collect();
        assert_eq!(numbers, [1, 1, 2, 2, 3, 3]);
        assert_eq!(writer.reclaim().unwrap(), Reclaimed::default());

        let segment_bytes = (segment::HEADER_BYTES + 2 * 100) as u64;
        drop(kept.remove(0));
        assert_eq!(writer.reclaim().unwrap(), Reclaimed::default(), "another record holds the segment");
        drop(kept.remove(0));
        assert_eq!(writer.reclaim().unwrap(), Reclaimed { segments: 1, bytes: segment_bytes });
        assert_eq!((writer.oldest(), writer.bytes()), (Some(SegmentNumber(2)), 2 * segment_bytes));

        kept.clear();
        assert_eq!(writer.reclaim().unwrap().segments, 1, "the active segment stays");
        writer.seal();
        assert_eq!(writer.reclaim().unwrap().segments, 1);
        assert_eq!((writer.oldest(), writer.bytes()), (None, 0));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn record_larger_than_a_segment_has_one_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let sizes = [10, 1000, 10];
        let numbers = sizes.map(|size| writer.append(0, &[&vec![1; size]]).unwrap().segment.number().0);
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn record_over_the_limit_is_refused_and_the_next_one_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let half = vec![0; MAX_RECORD_BYTES / 2];
        let error = writer.append(0, &[&half, &half, b"x"]).unwrap_err();
        assert!(matches!(error, WalError::RecordTooLarge { bytes } if bytes == MAX_RECORD_BYTES as u64 + 1));
        assert_eq!(writer.append(0, &[b"x"]).unwrap().sequence, Sequence(1));
    }

    #[test]
    fn full_disk_is_told_apart_and_the_log_goes_on_in_a_fresh_segment() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let first = writer.append(0, &[b"a"]).unwrap();
        writer.sync().unwrap();
        break_disk(&mut writer);
        assert!(matches!(writer.append(0, &[b"b"]).unwrap_err(), WalError::DiskFull { .. }));
        let third = writer.append(0, &[b"c"]).unwrap();
        writer.sync().unwrap();
        assert_eq!(third.sequence, Sequence(3), "the failed record's sequence is not reused");
        assert_ne!(first.segment.number(), third.segment.number());
        assert_eq!(payloads(dir.path()), [b"a", b"c"]);
    }

    #[test]
    fn failed_append_does_not_keep_earlier_records_from_the_next_sync() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let _first = writer.append(0, &[b"a"]).unwrap();
        let whole = writer.active.as_ref().unwrap().bytes;
        let (header, torn) = ([1; 44], [2; 3]);
        super::write_all_vectored(&mut writer.active.as_mut().unwrap().file, &header, &[&torn]).unwrap();
        writer.cut_torn_write();
        assert_eq!(writer.unsynced.len(), 1);
        writer.sync().unwrap();
        assert!(writer.unsynced.is_empty());
        let path = segment::path_of(dir.path(), SegmentNumber(1));
        assert_eq!(std::fs::metadata(path).unwrap().len(), whole);
    }

    #[test]
    fn failed_sync_is_reported_once_and_never_tried_again_on_that_file() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let lost = writer.append(0, &[b"a"]).unwrap();
        break_disk(&mut writer);
        assert!(matches!(writer.sync().unwrap_err(), WalError::Io { action: "sync", .. }));
        writer.sync().expect("nothing is left to sync");
        let next = writer.append(0, &[b"b"]).unwrap();
        writer.sync().unwrap();
        assert!(next.segment.number() > lost.segment.number());
        assert_eq!(next.sequence, Sequence(2));
    }

    #[test]
    fn sync_covers_records_of_segments_sealed_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path());
        let _kept: Vec<_> = (0..6).map(|_| writer.append(0, &[&[0; 56]]).unwrap()).collect();
        assert_eq!(writer.unsynced.len(), 2);
        writer.sync().unwrap();
        assert!(writer.unsynced.is_empty());
    }

    #[test]
    fn wal_id_of_an_existing_segment_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _kept = writer(dir.path()).append(0, &[b"a"]).unwrap();
        let read = || replay(dir.path(), |_| Ok::<_, WalError>(())).unwrap();
        let refused = Writer::open(dir.path(), WalId(1), SMALL, read()).unwrap_err();
        assert!(matches!(refused, WalError::WalIdReused(WalId(1))));
        let mut second = Writer::open(dir.path(), WalId(2), SMALL, read()).unwrap();
        assert_eq!(second.append(0, &[b"b"]).unwrap().segment.number(), SegmentNumber(2));
        assert_eq!(payloads(dir.path()), [b"a", b"b"]);
    }

    #[test]
    fn replayed_segment_is_reclaimed_when_its_records_are_let_go() {
        let dir = tempfile::tempdir().unwrap();
        let _kept = writer(dir.path()).append(0, &[b"a"]).unwrap();
        let mut held = None;
        let replayed = replay(dir.path(), |record| {
            held = Some(record.segment.clone());
            Ok::<_, WalError>(())
        })
        .unwrap();
        let mut second = Writer::open(dir.path(), WalId(2), SMALL, replayed).unwrap();
        assert_eq!(second.reclaim().unwrap().segments, 0);
        drop(held);
        assert_eq!(second.reclaim().unwrap().segments, 1);
    }
}
