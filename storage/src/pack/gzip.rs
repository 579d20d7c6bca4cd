//! The gzip member (RFC 1952) that every part of a pack is: header with one `FEXTRA` subfield, deflate, trailer.
//!
//! ```text
//! 1F 8B 08 04 | mtime 0 u32 | XFL 0 u8 | OS 255 u8 | XLEN u16 | 'G' 'V' | payload length u16 | payload
//! | deflate stream | CRC-32 of the text u32 | length of the text u32
//! ```
//!
//! Numbers are little-endian. `FHCRC` is never set: old gzip programs are said to refuse that flag, so payloads
//! carry a CRC of their own. Members whose text is empty print nothing, and so can carry what is not text.

use super::cursor::Cursor;
use super::error::FormatError;

/// Bytes before the payload of the `FEXTRA` subfield.
pub const FRAME_BYTES: usize = 16;
/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 8;
/// Most bytes of payload: `XLEN` is 16 bits and counts the subfield's own header of 4 bytes.
pub const PAYLOAD_BYTES_MAX: usize = 65_531;
/// The bytes every member begins with: magic, deflate, `FEXTRA` and no other flag.
pub const MAGIC: [u8; 4] = [0x1F, 0x8B, 8, 4];
/// What follows the payload of a member without text: deflate's empty stream and a trailer of zeros.
pub const EMPTY_TEXT: [u8; 2 + TRAILER_BYTES] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Bytes a member without text takes beside its payload.
pub const EMPTY_MEMBER_BYTES: usize = FRAME_BYTES + EMPTY_TEXT.len();

const FIXED: [u8; 10] = [0x1F, 0x8B, 8, 4, 0, 0, 0, 0, 0, 255];
const SUBFIELD: [u8; 2] = *b"GV";

/// The bytes before a payload of the given length.
pub(crate) fn frame(payload_length: usize) -> [u8; FRAME_BYTES] {
    assert!(payload_length <= PAYLOAD_BYTES_MAX, "a subfield of {payload_length} bytes");
    let mut frame = [0; FRAME_BYTES];
    frame[..10].copy_from_slice(&FIXED);
    frame[10..12].copy_from_slice(&(payload_length as u16 + 4).to_le_bytes());
    frame[12..14].copy_from_slice(&SUBFIELD);
    frame[14..].copy_from_slice(&(payload_length as u16).to_le_bytes());
    frame
}

/// Appends a member without text.
pub(crate) fn put_empty_member(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&frame(payload.len()));
    out.extend_from_slice(payload);
    out.extend_from_slice(&EMPTY_TEXT);
}

/// The payload of the member that `bytes` begin with.
pub(crate) fn payload(bytes: &[u8]) -> Result<&[u8], FormatError> {
    let mut cursor = Cursor::new("gzip header", bytes);
    if cursor.take(FIXED.len())? != FIXED {
        return Err(FormatError::new("gzip header", 0, "it is not that of a pack's member"));
    }
    let extra_length = usize::from(cursor.u16()?);
    if cursor.take(2)? != SUBFIELD {
        return Err(cursor.error("the subfield is not `GV`"));
    }
    let length = usize::from(cursor.u16()?);
    if length + 4 != extra_length {
        return Err(cursor.error("the subfield does not fill the extra field"));
    }
    cursor.take(length)
}

/// The payload of the member without text that `bytes` begin with, and the member's length.
pub(crate) fn empty_member(bytes: &[u8]) -> Result<(&[u8], usize), FormatError> {
    let payload = payload(bytes)?;
    let end = FRAME_BYTES + payload.len();
    match bytes[end..].get(..EMPTY_TEXT.len()) {
        Some(text) if *text == EMPTY_TEXT => Ok((payload, end + EMPTY_TEXT.len())),
        _ => Err(FormatError::new("gzip member", end, "the text is not empty")),
    }
}

/// CRC-32 and length of the text, from the end of a whole member.
pub(crate) fn trailer(member: &[u8]) -> Result<(u32, u32), FormatError> {
    let start = member.len().checked_sub(TRAILER_BYTES);
    let start = start.ok_or_else(|| FormatError::new("gzip trailer", 0, "it ends early"))?;
    let mut cursor = Cursor::new("gzip trailer", &member[start..]);
    Ok((cursor.u32()?, cursor.u32()?))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{empty_member, payload, put_empty_member};

    #[test]
    fn empty_members_print_nothing_and_keep_their_payload() {
        for length in [0, 1, 48, 65_531] {
            let data = vec![0xA5; length];
            let mut bytes = Vec::new();
            put_empty_member(&mut bytes, &data);
            assert_eq!(empty_member(&bytes), Ok((&data[..], bytes.len())));
            let mut text = String::new();
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
            assert_eq!(text, "");
        }
    }

    #[test]
    fn foreign_members_and_cut_ones_are_refused() {
        let mut bytes = Vec::new();
        put_empty_member(&mut bytes, b"abc");
        for cut in 0..bytes.len() {
            assert!(empty_member(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for flipped in [0, 1, 2, 3, 10, 11, 12, 13, 14, 15] {
            let mut bytes = bytes.clone();
            bytes[flipped] ^= 1;
            assert!(payload(&bytes).is_err(), "byte {flipped}");
        }
    }
}
