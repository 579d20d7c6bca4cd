//! Reads a log back: in order, in bounded memory, around damage.
//!
//! Where bytes are no valid record, the reader looks for the next magic whose header (and payload) checksums
//! hold. If there is one, the bytes between are damage: reported and stepped over. If there is none, the rest
//! of the segment is a torn end, what a crash leaves of writes that were never acknowledged: reported, and in
//! the youngest segment cut off. Neither stops a node from starting.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use super::record::{self, Header, HeaderError};
use super::segment::{self, SegmentHeader};
use super::window::Window;
use super::{SegmentNumber, SegmentRef, Sequence, WalError, WalId};
use crate::durable;

/// Damages beyond these are counted and logged, but not listed.
pub const MAX_DAMAGES: usize = 1000;

/// A record as it was appended.
#[derive(Debug)]
pub struct Record<'a> {
    /// The log it belongs to: the one whose flush marks count for it.
    pub wal_id: WalId,
    /// Its place in that log.
    pub sequence: Sequence,
    /// What the writer called it.
    pub kind: u8,
    /// Its parts, one after another.
    pub payload: &'a [u8],
    /// Clone and hold it for as long as the record is not durable elsewhere.
    pub segment: &'a SegmentRef,
}

/// Bytes of a segment that are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment.
    pub segment: SegmentNumber,
    /// Where they begin in its file.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// Whether they reach to the end of the segment, as after a crash. Otherwise records follow, and some
    /// that were acknowledged may be lost.
    pub torn: bool,
}

/// What a replay found. Hand it to [`Writer::open`](super::Writer::open).
#[derive(Debug, Default)]
pub struct Replayed {
    /// Records given to the caller.
    pub records: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Bytes that were no record, torn ends included.
    pub skipped_bytes: u64,
    /// Where those were: the first [`MAX_DAMAGES`] places.
    pub damages: Vec<Damage>,
    pub(super) segments: Vec<(SegmentRef, u64)>,
    pub(super) wal_ids: BTreeSet<WalId>,
}

/// Gives every record of the directory to `on_record`, oldest segment first, and holds one record in memory at
/// a time. A directory that does not exist is created.
///
/// # Errors
/// What `on_record` fails with, a file that cannot be read, or one that a newer release wrote. Damage is no
/// error.
pub fn replay<E: From<WalError>>(
    dir: &Path,
    mut on_record: impl FnMut(Record<'_>) -> Result<(), E>,
) -> Result<Replayed, E> {
    durable::create_dir_all(dir).map_err(|error| WalError::io("create directory", dir, error))?;
    let numbers = segment::list(dir)?;
    let mut replayed = Replayed::default();
    let mut payload = Vec::new();
    for &number in &numbers {
        let mut reader = SegmentReader::open(dir, number)?;
        let guard = SegmentRef::new(number);
        while let Some(found) = reader.next(&mut payload)? {
            if let Some(damage) = found.damage {
                replayed.note(damage);
            }
            let Some(header) = found.record else { break };
            replayed.records += 1;
            replayed.payload_bytes += payload.len() as u64;
            let Header { kind, sequence, wal_id, .. } = header;
            on_record(Record { wal_id, sequence, kind, payload: &payload, segment: &guard })?;
        }
        replayed.wal_ids.extend(reader.wal_id);
        let is_youngest = Some(&number) == numbers.last();
        let bytes = if is_youngest { reader.cut_torn_end()? } else { reader.window.file_bytes };
        replayed.segments.push((guard, bytes));
    }
    Ok(replayed)
}

/// Gives the records of a log that is in use to `on_record`, oldest segment first, until that returns false. Reads
/// only: of a segment that is damaged or being written, what stands before the damage or the end; a segment that
/// is deleted meanwhile is passed over. The segments of the records are not held.
///
/// # Errors
/// A file that cannot be read, or one that a newer release wrote.
pub fn scan(dir: &Path, mut on_record: impl FnMut(Record<'_>) -> bool) -> Result<(), WalError> {
    let mut payload = Vec::new();
    for number in segment::list(dir)? {
        let mut reader = match SegmentReader::open(dir, number) {
            Err(WalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let guard = SegmentRef::new(number);
        while let Some(Found { damage: None, record: Some(header) }) = reader.next(&mut payload)? {
            let Header { kind, sequence, wal_id, .. } = header;
            if !on_record(Record { wal_id, sequence, kind, payload: &payload, segment: &guard }) {
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Replayed {
    fn note(&mut self, damage: Damage) {
        let Damage { segment, offset, bytes, torn } = damage;
        let segment = segment.0;
        if torn {
            tracing::warn!(segment, offset, bytes, "log segment ends in a torn record, as after a crash");
        } else {
            tracing::error!(
                segment,
                offset,
                bytes,
                "log segment is damaged; skipped to the next intact record"
            );
        }
        self.skipped_bytes += bytes;
        if self.damages.len() < MAX_DAMAGES {
            self.damages.push(damage);
        }
    }
}

/// What comes next in a segment: perhaps bytes that are none, then perhaps a record.
struct Found {
    damage: Option<Damage>,
    record: Option<Header>,
}

struct SegmentReader {
    number: SegmentNumber,
    path: PathBuf,
    window: Window,
    /// Where the next record should begin.
    offset: u64,
    /// Known from the segment's header, else from the first record found.
    wal_id: Option<WalId>,
    /// The records that follow bear larger ones.
    last: Sequence,
    torn_at: Option<u64>,
}

/// What stands at an offset.
enum Tried {
    Record(Header),
    /// The header is intact, so that the next record should begin here.
    BadPayload {
        end: u64,
    },
    BadHeader,
}

impl SegmentReader {
    fn open(dir: &Path, number: SegmentNumber) -> Result<Self, WalError> {
        let path = segment::path_of(dir, number);
        let mut window = Window::open(&path).map_err(|error| WalError::io("open segment", &path, error))?;
        let view = window.view(0).map_err(|error| WalError::io("read segment", &path, error))?;
        let header = match view.first_chunk().map_or(Ok(None), SegmentHeader::decode) {
            Ok(header) => header,
            Err(version) => return Err(WalError::UnknownVersion { path, version }),
        };
        Ok(SegmentReader {
            number,
            path,
            window,
            offset: header.map_or(0, |_| segment::HEADER_BYTES as u64),
            wal_id: header.map(|header| header.wal_id),
            last: header.map_or(Sequence::ZERO, |header| Sequence(header.first.0.saturating_sub(1))),
            torn_at: None,
        })
    }

    /// The next record, its payload in the buffer; none at the end of the segment.
    fn next(&mut self, payload: &mut Vec<u8>) -> Result<Option<Found>, WalError> {
        let offset = self.offset;
        if offset >= self.window.file_bytes {
            return Ok(None);
        }
        let first = self.try_record(offset, payload)?;
        let (at, record) = match first {
            Tried::Record(header) => (offset, Some(header)),
            Tried::BadPayload { end } => self.resync(end, payload)?,
            Tried::BadHeader => self.resync(offset + 1, payload)?,
        };
        let damage = (at > offset).then_some(Damage {
            segment: self.number,
            offset,
            bytes: at - offset,
            torn: record.is_none(),
        });
        match &record {
            Some(header) => {
                self.offset = at + (record::HEADER_BYTES + payload.len()) as u64;
                self.last = header.sequence;
                self.wal_id = Some(header.wal_id);
            }
            None => {
                self.offset = at;
                self.torn_at = Some(offset);
            }
        }
        Ok(Some(Found { damage, record }))
    }

    /// The first valid record at or after an offset, and where it begins; the end of the file if there is none.
    fn resync(&mut self, from: u64, payload: &mut Vec<u8>) -> Result<(u64, Option<Header>), WalError> {
        let mut from = from;
        while let Some(at) = self.window.find_magic(from).map_err(|error| self.unreadable(error))? {
            from = match self.try_record(at, payload)? {
                Tried::Record(header) => return Ok((at, Some(header))),
                Tried::BadPayload { end } => end,
                Tried::BadHeader => at + 1,
            };
        }
        Ok((self.window.file_bytes, None))
    }

    fn try_record(&mut self, at: u64, payload: &mut Vec<u8>) -> Result<Tried, WalError> {
        let path = &self.path;
        let unreadable = |error| WalError::io("read segment", path, error);
        let Some(bytes) = self.window.view(at).map_err(unreadable)?.first_chunk() else {
            return Ok(Tried::BadHeader);
        };
        let header = match Header::decode(bytes) {
            Ok(header) => header,
            Err(HeaderError::Damaged) => return Ok(Tried::BadHeader),
            Err(HeaderError::UnknownVersion(version)) => {
                return Err(WalError::UnknownVersion { path: path.clone(), version });
            }
        };
        let body = at + record::HEADER_BYTES as u64;
        let end = body + u64::from(header.length);
        let is_ours = self.wal_id.is_none_or(|id| id == header.wal_id) && header.sequence > self.last;
        // The bound on the allocation below: a record is never larger than its file.
        if !is_ours || end > self.window.file_bytes {
            return Ok(Tried::BadHeader);
        }
        self.window.read(body, header.length as usize, payload).map_err(unreadable)?;
        match record::payload_crc(&[payload]) == header.payload_crc {
            true => Ok(Tried::Record(header)),
            false => Ok(Tried::BadPayload { end }),
        }
    }

    /// Takes the torn end off the file, so that it is warned of once. Returns the bytes that remain.
    fn cut_torn_end(&self) -> Result<u64, WalError> {
        let Some(torn_at) = self.torn_at else { return Ok(self.window.file_bytes) };
        let cut = OpenOptions::new().write(true).open(&self.path).and_then(|file| {
            file.set_len(torn_at)?;
            file.sync_all()
        });
        cut.map_err(|error| WalError::io("cut the torn end of", &self.path, error))?;
        Ok(torn_at)
    }

    fn unreadable(&self, error: io::Error) -> WalError {
        WalError::io("read segment", &self.path, error)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::path::Path;

    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
    use tempfile::TempDir;

    use super::{Damage, Replayed, replay};
    use crate::wal::window::READ_BUFFER_BYTES;
    use crate::wal::{Options, SegmentNumber, WalError, WalId, Writer, record, segment};

    fn read(dir: &Path) -> (Vec<Vec<u8>>, Replayed) {
        let mut payloads = Vec::new();
        let replayed = replay(dir, |record| {
            payloads.push(record.payload.to_vec());
            Ok::<_, WalError>(())
        });
        (payloads, replayed.unwrap())
    }

    /// One segment with these payloads: its bytes, and where each record lies.
    fn segment_of(payloads: &[Vec<u8>]) -> (Vec<u8>, Vec<Range<usize>>) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: u64::MAX };
        let mut writer = Writer::open(dir.path(), WalId(1), options, Replayed::default()).unwrap();
        let mut ranges = Vec::new();
        let mut end = segment::HEADER_BYTES;
        for payload in payloads {
            let _kept = writer.append(0, &[payload]).unwrap();
            ranges.push(end..end + record::HEADER_BYTES + payload.len());
            end = ranges.last().unwrap().end;
        }
        (std::fs::read(segment::path_of(dir.path(), SegmentNumber(1))).unwrap_or_default(), ranges)
    }

    fn dir_with(segments: &[&[u8]]) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (number, bytes) in (1..).zip(segments) {
            std::fs::write(segment::path_of(dir.path(), SegmentNumber(number)), bytes).unwrap();
        }
        dir
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn log_torn_at_any_byte_gives_back_every_whole_record(payloads in vec(vec(any::<u8>(), 0..40), 1..6)) {
            let (bytes, ranges) = segment_of(&payloads);
            for cut in 0..bytes.len() {
                let dir = dir_with(&[&bytes[..cut]]);
                let whole = ranges.iter().filter(|range| range.end <= cut).count();
                let (seen, replayed) = read(dir.path());
                prop_assert_eq!(&seen, &payloads[..whole]);
                let kept = match cut {
                    0..segment::HEADER_BYTES => 0,
                    _ => ranges[..whole].last().map_or(segment::HEADER_BYTES, |range| range.end),
                };
                prop_assert_eq!(replayed.skipped_bytes as usize, cut - kept);
                prop_assert!(replayed.damages.iter().all(|damage| damage.torn));
                let (again, replayed) = read(dir.path());
                prop_assert_eq!((&again, replayed.damages.len()), (&seen, 0), "the torn end was cut off");
            }
        }

        #[test]
        fn any_damaged_byte_costs_no_record_but_its_own(payloads in vec(vec(any::<u8>(), 0..40), 1..5)) {
            let (bytes, ranges) = segment_of(&payloads);
            for at in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[at] ^= 0x55;
                let (seen, replayed) = read(dir_with(&[&damaged, &[]]).path());
                let hit = ranges.iter().position(|range| range.contains(&at));
                let mut expected = payloads.clone();
                let lost = hit.map(|hit| (expected.remove(hit), ranges[hit].clone()).1);
                prop_assert_eq!(seen, expected);
                let lost = lost.unwrap_or(0..segment::HEADER_BYTES);
                prop_assert_eq!(replayed.damages, [Damage {
                    segment: SegmentNumber(1),
                    offset: lost.start as u64,
                    bytes: lost.len() as u64,
                    torn: lost.end == bytes.len(),
                }]);
            }
        }

        #[test]
        fn arbitrary_files_neither_panic_nor_give_records(junk in vec(any::<u8>(), 0..3000), header: bool) {
            let (mut bytes, _) = segment_of(&[vec![]]);
            bytes.truncate(if header { segment::HEADER_BYTES } else { 0 });
            bytes.extend(junk);
            let (seen, _) = read(dir_with(&[&bytes]).path());
            prop_assert!(seen.is_empty());
        }
    }

    #[test]
    fn records_larger_than_the_window_are_found_after_damage_before_them() {
        let payloads = [vec![1; 10], vec![2; 3 * READ_BUFFER_BYTES], vec![3; READ_BUFFER_BYTES], vec![4]];
        let (mut bytes, ranges) = segment_of(&payloads);
        assert_eq!(read(dir_with(&[&bytes]).path()).0, payloads);
        bytes[ranges[1].start + READ_BUFFER_BYTES] ^= 1;
        bytes[ranges[0].start] ^= 1;
        assert_eq!(read(dir_with(&[&bytes]).path()).0, payloads[2..]);
    }

    #[test]
    fn payload_that_quotes_a_log_is_not_taken_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (quoted, ranges) = segment_of(&[b"quoted".to_vec()]);
        let mut writer = Writer::open(dir.path(), WalId(2), Options::default(), Replayed::default()).unwrap();
        let _kept = [writer.append(0, &[&quoted]).unwrap(), writer.append(0, &[b"after"]).unwrap()];
        let path = segment::path_of(dir.path(), SegmentNumber(1));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[ranges[0].start] ^= 1; // The outer record's header.
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read(dir.path()).0, [b"after"]);
    }

    #[test]
    fn false_magics_without_end_are_passed_over_in_linear_time() {
        let (mut bytes, _) = segment_of(&[vec![]]);
        bytes.truncate(segment::HEADER_BYTES);
        bytes.extend(record::MAGIC.repeat(500_000));
        let (seen, replayed) = read(dir_with(&[&bytes]).path());
        assert_eq!((seen.len(), replayed.skipped_bytes), (0, 2_000_000));
    }

    #[test]
    fn torn_end_of_an_older_segment_stays_for_inspection() {
        let (bytes, _) = segment_of(&[b"a".to_vec(), b"b".to_vec()]);
        let dir = dir_with(&[&bytes[..bytes.len() - 1], &[]]);
        for _ in 0..2 {
            let (seen, replayed) = read(dir.path());
            assert_eq!((seen, replayed.damages.len()), (vec![b"a".to_vec()], 1));
        }
    }

    #[test]
    fn segment_of_a_newer_release_is_refused_and_not_cut() {
        let (mut bytes, _) = segment_of(&[b"a".to_vec()]);
        bytes[4] = 9;
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&crc.to_le_bytes());
        let dir = dir_with(&[&bytes]);
        let error = replay(dir.path(), |_| Ok::<_, WalError>(())).unwrap_err();
        assert!(matches!(error, WalError::UnknownVersion { version: 9, .. }));
        assert_eq!(std::fs::read(segment::path_of(dir.path(), SegmentNumber(1))).unwrap(), bytes);
    }

    #[test]
    fn error_of_the_caller_ends_the_replay() {
        let (bytes, _) = segment_of(&[b"a".to_vec(), b"b".to_vec()]);
        let mut calls = 0;
        let stopped = replay(dir_with(&[&bytes]).path(), |_| {
            calls += 1;
            Err(WalError::WalIdReused(WalId(0)))
        });
        assert!(stopped.is_err());
        assert_eq!(calls, 1);
    }
}
