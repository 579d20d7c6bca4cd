//! The column of a block: what is not its text. It lies apart from the block, in the columns area of the pack.
//!
//! ```text
//! flags u8 | per part present: stored length varint, and its inflated length varint if it is deflated
//! | the parts: timestamps, metadata, line ends | CRC-32C of all before it u32
//! ```
//!
//! Flags: 1 timestamps deflated; 2 metadata present, 4 deflated; 8 line ends present, 16 deflated. Timestamps are
//! always present. A part is deflated where that saves a quarter or more, so that reading one that would hardly
//! shrink costs no inflating. A block without metadata and inner newlines pays 7 bytes beside its timestamps.

use libdeflater::{Compressor, Decompressor};

use super::cursor::{Cursor, put_varint};
use super::error::FormatError;
use super::limits::COLUMN_PART_BYTES_MAX;

const PART: &str = "column";
const CRC_BYTES: usize = 4;
/// Per part: the bit that says it is present, the bit that says it is deflated.
const FLAGS: [(u8, u8); 3] = [(0, 1), (2, 4), (8, 16)];
const FLAGS_KNOWN: u8 = 0b1_1111;

/// A column whose CRC was found right, still packed.
#[derive(Clone, Copy, Debug)]
pub struct Column<'a> {
    parts: [Option<Part<'a>>; 3],
}

#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    stored: &'a [u8],
    inflated_length: Option<usize>,
}

/// Which part of a column.
#[derive(Clone, Copy)]
pub(crate) enum PartOf {
    Timestamps = 0,
    Metadata = 1,
    LineEnds = 2,
}

impl<'a> Column<'a> {
    /// Reads lengths and verifies the CRC.
    ///
    /// # Errors
    /// If the bytes are not a whole column.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let body = bytes.len().checked_sub(CRC_BYTES).map(|end| &bytes[..end]);
        let body = body.ok_or_else(|| FormatError::new(PART, 0, "it ends early"))?;
        if crc32c::crc32c(body) != Cursor::new(PART, &bytes[body.len()..]).u32()? {
            return Err(FormatError::new(PART, 0, "its CRC does not match"));
        }
        let mut cursor = Cursor::new(PART, body);
        let flags = cursor.u8()?;
        if flags & !FLAGS_KNOWN != 0 {
            return Err(cursor.error("a flag is unknown"));
        }
        let mut lengths = [None; 3];
        for (length, (present, deflated)) in lengths.iter_mut().zip(FLAGS) {
            if present == 0 || flags & present != 0 {
                *length = Some(part_lengths(&mut cursor, flags & deflated != 0)?);
            }
        }
        let mut parts = [None; 3];
        for (part, lengths) in parts.iter_mut().zip(lengths) {
            let Some((stored, inflated_length)) = lengths else { continue };
            *part = Some(Part { stored: cursor.take(stored)?, inflated_length });
        }
        cursor.finish()?;
        Ok(Column { parts })
    }

    pub(crate) fn has(&self, part: PartOf) -> bool {
        self.parts[part as usize].is_some()
    }

    /// The bytes of a part, inflated into `buffer` if need be; empty if it is absent.
    pub(crate) fn part<'b>(
        &self,
        part: PartOf,
        inflater: &mut Decompressor,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], FormatError>
    where
        'a: 'b,
    {
        let Some(part) = self.parts[part as usize] else { return Ok(&[]) };
        let Some(length) = part.inflated_length else { return Ok(part.stored) };
        buffer.clear();
        buffer.resize(length, 0);
        match inflater.deflate_decompress(part.stored, buffer) {
            Ok(inflated) if inflated == length => Ok(buffer),
            _ => Err(FormatError::new(PART, 0, "a part does not inflate")),
        }
    }
}

fn part_lengths(cursor: &mut Cursor<'_>, deflated: bool) -> Result<(usize, Option<usize>), FormatError> {
    let stored = cursor.varint_u32()? as usize;
    if !deflated {
        return Ok((stored, None));
    }
    let inflated = cursor.varint_u32()? as usize;
    // Deflate shrinks at most 1,032 times: a damaged length must not cause a huge allocation.
    if inflated > COLUMN_PART_BYTES_MAX || inflated / 1_032 > stored {
        return Err(cursor.error("a part's length is impossible"));
    }
    Ok((stored, Some(inflated)))
}

/// Puts a column together from its parts; empty metadata and line ends are left out.
pub(crate) fn encode(parts: [&[u8]; 3], compressor: &mut Compressor, scratch: &mut Vec<u8>) -> Vec<u8> {
    let (mut flags, mut lengths, mut body) = (0, Vec::new(), Vec::new());
    for (part, (present, deflated)) in parts.into_iter().zip(FLAGS) {
        if part.is_empty() && present != 0 {
            continue;
        }
        flags |= present;
        let stored = match deflate_if_worthwhile(part, compressor, scratch) {
            Some(stored) => {
                flags |= deflated;
                put_varint(&mut lengths, stored.len() as u64);
                put_varint(&mut lengths, part.len() as u64);
                stored
            }
            None => {
                put_varint(&mut lengths, part.len() as u64);
                part
            }
        };
        body.extend_from_slice(stored);
    }
    let mut column = Vec::with_capacity(1 + lengths.len() + body.len() + CRC_BYTES);
    column.push(flags);
    column.extend_from_slice(&lengths);
    column.extend_from_slice(&body);
    let crc = crc32c::crc32c(&column);
    column.extend_from_slice(&crc.to_le_bytes());
    column
}

/// The part deflated, if that saves a quarter or more.
fn deflate_if_worthwhile<'s>(
    part: &[u8],
    compressor: &mut Compressor,
    scratch: &'s mut Vec<u8>,
) -> Option<&'s [u8]> {
    let most = part.len() / 4 * 3;
    scratch.clear();
    scratch.resize(most, 0);
    let length = compressor.deflate_compress(part, scratch).ok()?;
    Some(&scratch[..length])
}

#[cfg(test)]
mod tests {
    use libdeflater::{CompressionLvl, Compressor, Decompressor};
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{Column, PartOf, encode};

    const PARTS: [PartOf; 3] = [PartOf::Timestamps, PartOf::Metadata, PartOf::LineEnds];

    fn column_of(parts: [&[u8]; 3]) -> Vec<u8> {
        encode(parts, &mut Compressor::new(CompressionLvl::default()), &mut Vec::new())
    }

    proptest! {
        #[test]
        fn any_parts_read_back(
            random in vec(any::<u8>(), 1..300), plain in vec(0_u8..2, 0..300), other in vec(0_u8..9, 0..300),
        ) {
            let bytes = column_of([&random, &plain, &other]);
            let column = Column::parse(&bytes).unwrap();
            for (part, expected) in PARTS.into_iter().zip([&random, &plain, &other]) {
                let mut buffer = Vec::new();
                prop_assert_eq!(column.part(part, &mut Decompressor::new(), &mut buffer).unwrap(), &expected[..]);
                prop_assert_eq!(column.has(part), !expected.is_empty());
            }
        }

        #[test]
        fn damaged_columns_never_panic(mut bytes in vec(any::<u8>(), 0..60)) {
            let crc = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
            if let Ok(column) = Column::parse(&bytes) {
                for part in PARTS {
                    let _ = column.part(part, &mut Decompressor::new(), &mut Vec::new());
                }
            }
        }
    }

    #[test]
    fn absent_parts_cost_nothing() {
        assert_eq!(column_of([b"timestamps", b"", b""]).len(), "timestamps".len() + 6);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let bytes = column_of([b"timestamps", &[7; 90], b"ends"]);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Column::parse(&bytes).is_err(), "bit {bit}");
        }
    }
}
