//! Areas: three byte strings at a pack's tail (columns, filters, directory), cut into gzip members without text.
//!
//! ```text
//! slice   := gzip member without text; payload: version 1 u8 | area u8 | slice number u32
//!            | CRC-32C of those 6 bytes and the data u32 | 65,000 bytes of data, fewer only in an area's last slice
//! footer  := gzip member without text, 62 bytes in all; payload: "GVP" | version 1 u8 | start of the columns area u64
//!            | bytes of columns u64 | bytes of filters u64 | bytes of directory u32 | CRC-32C of the 32 bytes before u32
//! ```
//!
//! Areas: 1 columns, 2 filters, 3 directory, in this order, end to end. As every slice but an area's last has one
//! size, (offset in the area, length) → range in the file is arithmetic. All of it together is about 8 % of a pack:
//! one suffix read, where 4,000 block headers scattered over an object store would be 4,000 reads.

use std::ops::Range;

use bytes::Bytes;

use super::cursor::Cursor;
use super::error::FormatError;
use super::gzip::{self, EMPTY_MEMBER_BYTES, EMPTY_TEXT, FRAME_BYTES};
use super::limits::{AREA_BYTES_MAX, DIRECTORY_BYTES_MAX};

/// Bytes of the footer.
pub const FOOTER_BYTES: usize = EMPTY_MEMBER_BYTES + FOOTER_PAYLOAD_BYTES;

const FOOTER_PAYLOAD_BYTES: usize = 36;
const FOOTER_MAGIC: [u8; 4] = *b"GVP\x01";
const VERSION: u8 = 1;
/// Data of a full slice.
const DATA_BYTES: u64 = 65_000;
const SLICE_HEAD_BYTES: usize = 10;
const BEFORE_DATA: u64 = (FRAME_BYTES + SLICE_HEAD_BYTES) as u64;
const AROUND_DATA: u64 = BEFORE_DATA + EMPTY_TEXT.len() as u64;
const SLICE_BYTES: u64 = DATA_BYTES + AROUND_DATA;

const _: () = assert!(FOOTER_BYTES == 62);
const _: () = assert!(DATA_BYTES as usize + SLICE_HEAD_BYTES <= gzip::PAYLOAD_BYTES_MAX);

/// Which area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AreaKind {
    /// Timestamps, metadata and line ends of blocks.
    Columns = 1,
    /// Filters of chunks.
    Filters = 2,
    /// The directory.
    Directory = 3,
}

impl AreaKind {
    /// In their order within a pack.
    pub const ALL: [AreaKind; 3] = [AreaKind::Columns, AreaKind::Filters, AreaKind::Directory];
}

/// A piece of an area.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AreaRange {
    /// Where it starts, in bytes of the area.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u32,
}

/// An area in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Area {
    /// Which it is.
    pub kind: AreaKind,
    /// Where its first slice starts in the file.
    pub start: u64,
    /// Bytes of the area, without what slices add.
    pub length: u64,
}

impl Area {
    /// Where it ends in the file.
    pub fn end(&self) -> u64 {
        self.start + self.length + self.length.div_ceil(DATA_BYTES) * AROUND_DATA
    }

    /// All of it.
    pub fn file_range(&self) -> Range<u64> {
        self.start..self.end()
    }

    /// Where a piece lies in the file: from its first byte to its last, with what lies between slices. `None` if
    /// it reaches beyond the area.
    pub fn file_range_of(&self, piece: AreaRange) -> Option<Range<u64>> {
        let end = piece.offset.checked_add(u64::from(piece.length)).filter(|end| *end <= self.length)?;
        if piece.length == 0 {
            return Some(self.start..self.start);
        }
        Some(self.file_offset(piece.offset)..self.file_offset(end - 1) + 1)
    }

    fn file_offset(&self, offset: u64) -> u64 {
        self.start + offset / DATA_BYTES * SLICE_BYTES + BEFORE_DATA + offset % DATA_BYTES
    }

    /// The bytes of a piece, given those of its [range in the file](Area::file_range_of). Without a copy unless
    /// it spans slices. Pieces carry CRCs of their own, so those of the slices are not looked at.
    ///
    /// # Errors
    /// If the piece reaches beyond the area, or the bytes are not as many as its range.
    pub fn piece(&self, file_bytes: &Bytes, piece: AreaRange) -> Result<Bytes, FormatError> {
        let range =
            self.file_range_of(piece).filter(|range| range.end - range.start == file_bytes.len() as u64);
        let range =
            range.ok_or_else(|| FormatError::new("area", 0, "a piece lies outside").within(self.start))?;
        let first = (DATA_BYTES - piece.offset % DATA_BYTES) as usize;
        if file_bytes.len() <= first {
            return Ok(file_bytes.clone());
        }
        let mut data = Vec::with_capacity(piece.length as usize);
        data.extend_from_slice(&file_bytes[..first]);
        for slice in file_bytes[first..].chunks(SLICE_BYTES as usize) {
            let data_of_slice = slice
                .get(AROUND_DATA as usize..)
                .ok_or_else(|| FormatError::new("area", 0, "a slice ends early").within(range.start))?;
            data.extend_from_slice(data_of_slice);
        }
        Ok(data.into())
    }

    /// The whole area, given the bytes of its [range in the file](Area::file_range), every slice verified.
    ///
    /// # Errors
    /// If a slice is damaged or not the one that belongs there.
    pub fn read(&self, file_bytes: &[u8]) -> Result<Vec<u8>, FormatError> {
        let mut data = Vec::with_capacity(file_bytes.len().min(self.length as usize));
        let mut at = 0;
        for number in 0..self.length.div_ceil(DATA_BYTES) {
            let rest = file_bytes.get(at..).unwrap_or_default();
            let slice = Slice::parse(rest).map_err(|error| error.within(self.start + at as u64))?;
            let expected = DATA_BYTES.min(self.length - number * DATA_BYTES);
            if slice.kind != self.kind
                || u64::from(slice.number) != number
                || slice.data.len() as u64 != expected
            {
                return Err(FormatError::new("slice", at, "it belongs elsewhere").within(self.start));
            }
            data.extend_from_slice(slice.data);
            at += slice.member_length;
        }
        Ok(data)
    }
}

/// One slice of an area, its CRC verified.
#[derive(Clone, Copy, Debug)]
pub struct Slice<'a> {
    /// Of which area.
    pub kind: AreaKind,
    /// Its number, from 0.
    pub number: u32,
    /// Its piece of the area.
    pub data: &'a [u8],
    /// Bytes of the whole gzip member.
    pub member_length: usize,
}

impl<'a> Slice<'a> {
    /// Reads the slice that `bytes` begin with.
    ///
    /// # Errors
    /// If there is none or it is damaged.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        const PART: &str = "slice";
        let (payload, member_length) = gzip::empty_member(bytes)?;
        let mut cursor = Cursor::new(PART, payload);
        if cursor.u8()? != VERSION {
            return Err(cursor.error("its version is unknown"));
        }
        let area = cursor.u8()?;
        let kind = AreaKind::ALL.into_iter().find(|kind| *kind as u8 == area);
        let kind = kind.ok_or_else(|| cursor.error("its area is unknown"))?;
        let (number, crc) = (cursor.u32()?, cursor.u32()?);
        let data = cursor.take(cursor.remaining())?;
        if slice_crc(&payload[..6], data) != crc {
            return Err(FormatError::new(PART, 0, "its CRC does not match"));
        }
        Ok(Slice { kind, number, data, member_length })
    }
}

fn slice_crc(head: &[u8], data: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), data)
}

/// The slices of an area, to be written one after another.
pub(crate) fn slices(kind: AreaKind, data: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    data.chunks(DATA_BYTES as usize).zip(0_u32..).map(move |(data, number)| {
        let mut payload = Vec::with_capacity(SLICE_HEAD_BYTES + data.len());
        payload.extend_from_slice(&[VERSION, kind as u8]);
        payload.extend_from_slice(&number.to_le_bytes());
        let crc = slice_crc(&payload, data);
        payload.extend_from_slice(&crc.to_le_bytes());
        payload.extend_from_slice(data);
        let mut member = Vec::with_capacity(payload.len() + EMPTY_MEMBER_BYTES);
        gzip::put_empty_member(&mut member, &payload);
        member
    })
}

/// Where the three areas of a pack lie: all that reading a piece by (offset, length) needs. 28 bytes; an index keeps
/// it per pack, so that queries need not read the footer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// Where the columns area starts; blocks lie before it.
    pub columns_start: u64,
    /// Bytes of the columns area.
    pub columns_bytes: u64,
    /// Bytes of the filters area.
    pub filters_bytes: u64,
    /// Bytes of the directory area.
    pub directory_bytes: u32,
}

impl Footer {
    /// Reads a footer: the last 62 bytes of a pack.
    ///
    /// # Errors
    /// If it is damaged or claims more than a pack may hold.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        const PART: &str = "footer";
        let (payload, length) = gzip::empty_member(bytes)?;
        let mut cursor = Cursor::new(PART, payload);
        if length != bytes.len() || payload.len() != FOOTER_PAYLOAD_BYTES || cursor.take(4)? != FOOTER_MAGIC {
            return Err(FormatError::new(PART, 0, "it is not that of a pack of version 1"));
        }
        let footer = Footer {
            columns_start: cursor.u64()?,
            columns_bytes: cursor.u64()?,
            filters_bytes: cursor.u64()?,
            directory_bytes: cursor.u32()?,
        };
        if crc32c::crc32c(&payload[..FOOTER_PAYLOAD_BYTES - 4]) != cursor.u32()? {
            return Err(FormatError::new(PART, 0, "its CRC does not match"));
        }
        let possible = footer.columns_start < 1 << 62
            && footer.columns_bytes.max(footer.filters_bytes) <= AREA_BYTES_MAX
            && u64::from(footer.directory_bytes) <= DIRECTORY_BYTES_MAX;
        if possible { Ok(footer) } else { Err(FormatError::new(PART, 0, "a length is impossible")) }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut payload = FOOTER_MAGIC.to_vec();
        payload.extend_from_slice(&self.columns_start.to_le_bytes());
        payload.extend_from_slice(&self.columns_bytes.to_le_bytes());
        payload.extend_from_slice(&self.filters_bytes.to_le_bytes());
        payload.extend_from_slice(&self.directory_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&payload);
        payload.extend_from_slice(&crc.to_le_bytes());
        let mut bytes = Vec::with_capacity(FOOTER_BYTES);
        gzip::put_empty_member(&mut bytes, &payload);
        bytes
    }

    /// The area of columns.
    pub fn columns(&self) -> Area {
        Area { kind: AreaKind::Columns, start: self.columns_start, length: self.columns_bytes }
    }

    /// The area of filters.
    pub fn filters(&self) -> Area {
        Area { kind: AreaKind::Filters, start: self.columns().end(), length: self.filters_bytes }
    }

    /// The area of the directory.
    pub fn directory(&self) -> Area {
        Area { kind: AreaKind::Directory, start: self.filters().end(), length: self.directory_bytes.into() }
    }

    /// Bytes of the whole pack.
    pub fn pack_bytes(&self) -> u64 {
        self.directory().end() + FOOTER_BYTES as u64
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::{Area, AreaKind, AreaRange, FOOTER_BYTES, Footer, slices};

    fn area_of(data: &[u8], start: u64) -> (Area, Bytes) {
        let area = Area { kind: AreaKind::Columns, start, length: data.len() as u64 };
        let file: Vec<u8> = slices(area.kind, data).flatten().collect();
        assert_eq!(area.end() - area.start, file.len() as u64);
        (area, file.into())
    }

    fn check_piece(data: &[u8], offset: usize, length: usize) {
        let (area, file) = area_of(data, 1_000);
        let piece = AreaRange { offset: offset as u64, length: length as u32 };
        let range = area.file_range_of(piece).unwrap();
        let file = file.slice(range.start as usize - 1_000..range.end as usize - 1_000);
        assert_eq!(area.piece(&file, piece).unwrap(), data[offset..offset + length], "{offset}, {length}");
    }

    #[test]
    fn pieces_are_found_across_slices() {
        let data: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        for offset in [0, 1, 64_999, 65_000, 65_001, 129_999, 130_000, 199_999] {
            for length in [0, 1, 2, 64_999, 65_000, 65_001, 130_001, 200_000] {
                if offset + length <= data.len() {
                    check_piece(&data, offset, length);
                }
            }
        }
        let (area, _) = area_of(&data, 0);
        assert_eq!(area.file_range_of(AreaRange { offset: 199_999, length: 2 }), None);
        assert_eq!(area.file_range_of(AreaRange { offset: u64::MAX, length: 2 }), None);
    }

    #[test]
    fn whole_areas_read_back_and_notice_any_damage() {
        for length in [0, 1, 65_000, 65_001] {
            let data = vec![7; length];
            let (area, file) = area_of(&data, 5);
            assert_eq!(area.read(&file).unwrap(), data);
            for at in (0..file.len()).step_by(97).chain(file.len().saturating_sub(40)..file.len()) {
                let mut file = file.to_vec();
                file[at] ^= 0x10;
                assert!(area.read(&file).is_err(), "byte {at} of {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn footers_read_back(
            columns_start in 0_u64..1 << 40, columns_bytes in 0_u64..1 << 33, filters_bytes in 0_u64..1 << 33,
            directory_bytes in 0_u32..1 << 28, bit in 0..FOOTER_BYTES * 8,
        ) {
            let footer = Footer { columns_start, columns_bytes, filters_bytes, directory_bytes };
            let mut bytes = footer.to_bytes();
            prop_assert_eq!(bytes.len(), FOOTER_BYTES);
            prop_assert_eq!(Footer::parse(&bytes), Ok(footer));
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Footer::parse(&bytes).is_err(), true);
        }
    }
}
