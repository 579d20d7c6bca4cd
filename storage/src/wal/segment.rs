//! Segments: their names, the header each file starts with, and the guard that keeps one from deletion.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Sequence, WalError, WalId, sync_dir};

const MAGIC: [u8; 4] = *b"GVWS";
const VERSION: u8 = 1;
/// The bytes of the header that opens each file.
pub(super) const HEADER_BYTES: usize = 44;
/// The digits of a segment's number in its name: all of a u64, so that names sort as numbers do.
const NUMBER_DIGITS: usize = 20;
const SUFFIX: &str = ".wal";

/// Numbers the segments of a directory; ascends over restarts and wal ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(pub u64);

/// Keeps a segment from being reclaimed. Cheap to clone; hold one with whatever of the segment's records is
/// not yet durable elsewhere, and drop it afterwards.
#[derive(Clone, Debug)]
pub struct SegmentRef(Arc<SegmentNumber>);

impl SegmentRef {
    pub(crate) fn new(number: SegmentNumber) -> Self {
        SegmentRef(Arc::new(number))
    }

    /// The segment that is kept.
    pub fn number(&self) -> SegmentNumber {
        *self.0
    }

    /// Whether this is the last reference. As one is needed to make another, a yes stays true while the
    /// caller keeps this one to itself.
    pub(crate) fn is_last(&mut self) -> bool {
        Arc::get_mut(&mut self.0).is_some()
    }
}

/// What the header of a segment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: SegmentNumber,
    pub(super) wal_id: WalId,
    /// The sequence that the first record bears.
    pub(super) first: Sequence,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[8..16].copy_from_slice(&self.number.0.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.wal_id.0.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.first.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..44].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `Ok(None)` means damaged; an error is the unknown version that the intact header states.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Option<Self>, u8> {
        let (fields, crc) = bytes.split_at(40);
        if fields[0..4] != MAGIC || crc != crc32c::crc32c(fields).to_le_bytes() {
            return Ok(None);
        }
        if fields[4] != VERSION {
            return Err(fields[4]);
        }
        let u64_at = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| fields[at + n]));
        Ok(Some(SegmentHeader {
            number: SegmentNumber(u64_at(8)),
            wal_id: WalId(u128::from_le_bytes(std::array::from_fn(|n| fields[16 + n]))),
            first: Sequence(u64_at(32)),
        }))
    }
}

pub(super) fn path_of(dir: &Path, number: SegmentNumber) -> PathBuf {
    dir.join(format!("{:0NUMBER_DIGITS$}{SUFFIX}", number.0))
}

/// The segments in a directory, in order. Files of other names are none of the log's business.
pub(super) fn list(dir: &Path) -> Result<Vec<SegmentNumber>, WalError> {
    let failed = |error| WalError::io("list", dir, error);
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        numbers.extend(name.to_str().and_then(number_of));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn number_of(name: &str) -> Option<SegmentNumber> {
    let digits = name.strip_suffix(SUFFIX)?;
    let all_digits = digits.len() == NUMBER_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|_| all_digits).map(SegmentNumber)
}

/// Creates a segment with its header and makes its name durable. A failure leaves no file behind.
pub(super) fn create(dir: &Path, header: SegmentHeader) -> Result<File, WalError> {
    let path = path_of(dir, header.number);
    let failed = |error| WalError::io("create segment", &path, error);
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    let written = file.write_all(&header.encode()).map_err(failed).and_then(|()| sync_dir(dir));
    if let Err(error) = written {
        // Nothing refers to the file yet; where even this fails, replay finds an empty segment and drops it.
        let _ = std::fs::remove_file(&path);
        return Err(error);
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{HEADER_BYTES, SegmentHeader, SegmentNumber, SegmentRef, create, list, number_of, path_of};
    use crate::wal::{Sequence, WalId};

    fn header(number: u64) -> SegmentHeader {
        SegmentHeader { number: SegmentNumber(number), wal_id: WalId(5), first: Sequence(9) }
    }

    proptest! {
        #[test]
        fn header_survives_a_round_trip(number: u64, id: u128, first: u64) {
            let header = SegmentHeader { number: SegmentNumber(number), wal_id: WalId(id), first: Sequence(first) };
            prop_assert_eq!(SegmentHeader::decode(&header.encode()), Ok(Some(header)));
        }

        #[test]
        fn any_flipped_bit_is_noticed(bit in 0..HEADER_BYTES * 8) {
            let mut bytes = header(3).encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(SegmentHeader::decode(&bytes), Ok(None));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<[u8; HEADER_BYTES]>(), name in ".*") {
            prop_assert!(SegmentHeader::decode(&bytes).is_ok());
            number_of(&name);
        }
    }

    #[test]
    fn names_sort_as_numbers_and_strangers_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        for number in [10, 9, u64::MAX] {
            create(dir.path(), header(number)).unwrap();
        }
        for stranger in
            ["1.wal", "0000000000000000001x.wal", "00000000000000000001.tmp", "+0000000000000000001.wal"]
        {
            std::fs::write(dir.path().join(stranger), "").unwrap();
        }
        assert_eq!(list(dir.path()).unwrap(), [9, 10, u64::MAX].map(SegmentNumber));
    }

    #[test]
    fn an_existing_segment_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        create(dir.path(), header(1)).unwrap();
        std::fs::write(path_of(dir.path(), SegmentNumber(1)), "precious").unwrap();
        create(dir.path(), header(1)).unwrap_err();
        assert_eq!(std::fs::read(path_of(dir.path(), SegmentNumber(1))).unwrap(), b"precious");
    }

    #[test]
    fn a_clone_is_a_reference() {
        let mut first = SegmentRef::new(SegmentNumber(1));
        let second = first.clone();
        assert!(!first.is_last());
        drop(second);
        assert!(first.is_last());
    }
}
