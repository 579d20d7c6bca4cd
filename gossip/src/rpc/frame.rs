//! The bytes of a call. All numbers are big-endian.
//!
//! A request stream holds one header and the body:
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 1 | version of this format: 1 |
//! | 2 | method |
//! | 2 | version of the method's messages |
//! | 4 | time the caller will wait, in milliseconds |
//! | 4 | length of the body |
//!
//! An answer is a run of frames, each one byte of kind and four of length, then as many bytes: items (1), and at last
//! either the end (2, empty) or a refusal (3: a code of two bytes, then text).

use std::time::Duration;

use super::{Method, Refusal, RefusalCode};
use crate::limits::{CALL_TIMEOUT_MAX, MESSAGE_BYTES_MAX, REFUSAL_BYTES_MAX};

/// The version of this format.
const VERSION: u8 = 1;

/// Length of a request's header.
pub const REQUEST_HEADER_BYTES: usize = 13;

/// Length of an answer frame's header.
pub const FRAME_HEADER_BYTES: usize = 5;

/// What a request says before its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// What is called.
    pub method: Method,
    /// How long the caller waits; at most [`CALL_TIMEOUT_MAX`].
    pub timeout: Duration,
    /// Length of the body in bytes.
    pub body: usize,
}

/// What an answer frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One of any number of messages.
    Item,
    /// No more messages.
    End,
    /// No answer, and why.
    Refusal,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A version this node does not speak.
    #[error("format version `{0}` is not known here; upgrade the older node")]
    Version(u8),
    /// A kind that does not exist.
    #[error("frame kind `{0}` does not exist")]
    Kind(u8),
    /// A length beyond the limit for this kind of frame.
    #[error("a length of `{0}` bytes is beyond the limit")]
    Length(usize),
    /// The stream ended within a frame or without an end.
    #[error("the stream ended too early")]
    CutOff,
}

impl RequestHeader {
    /// Writes the header.
    pub fn encode(&self) -> [u8; REQUEST_HEADER_BYTES] {
        // A caller who waits less than a millisecond still waits.
        let timeout = self.timeout.min(CALL_TIMEOUT_MAX).as_millis().max(1) as u32;
        let mut bytes = [0; REQUEST_HEADER_BYTES];
        bytes[0] = VERSION;
        bytes[1..3].copy_from_slice(&self.method.id.to_be_bytes());
        bytes[3..5].copy_from_slice(&self.method.version.to_be_bytes());
        bytes[5..9].copy_from_slice(&timeout.to_be_bytes());
        bytes[9..].copy_from_slice(&(self.body as u32).to_be_bytes());
        bytes
    }

    /// Reads a header.
    ///
    /// # Errors
    /// When the version is unknown or the body too long.
    pub fn decode(bytes: [u8; REQUEST_HEADER_BYTES]) -> Result<Self, FrameError> {
        let [version, i0, i1, v0, v1, t0, t1, t2, t3, b0, b1, b2, b3] = bytes;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let method = Method { id: u16::from_be_bytes([i0, i1]), version: u16::from_be_bytes([v0, v1]) };
        let timeout =
            Duration::from_millis(u32::from_be_bytes([t0, t1, t2, t3]).into()).min(CALL_TIMEOUT_MAX);
        let body = bounded([b0, b1, b2, b3], MESSAGE_BYTES_MAX)?;
        Ok(Self { method, timeout, body })
    }
}

/// Writes the header of an answer frame of `length` bytes.
pub fn encode_frame_header(kind: Kind, length: usize) -> [u8; FRAME_HEADER_BYTES] {
    let kind = match kind {
        Kind::Item => 1,
        Kind::End => 2,
        Kind::Refusal => 3,
    };
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [kind, a, b, c, d]
}

/// Reads the header of an answer frame: its kind and length.
///
/// # Errors
/// When the kind is unknown or the length beyond its limit.
pub fn decode_frame_header(bytes: [u8; FRAME_HEADER_BYTES]) -> Result<(Kind, usize), FrameError> {
    let [kind, a, b, c, d] = bytes;
    let (kind, most) = match kind {
        1 => (Kind::Item, MESSAGE_BYTES_MAX),
        2 => (Kind::End, 0),
        3 => (Kind::Refusal, 2 + REFUSAL_BYTES_MAX),
        other => return Err(FrameError::Kind(other)),
    };
    Ok((kind, bounded([a, b, c, d], most)?))
}

fn bounded(bytes: [u8; 4], most: usize) -> Result<usize, FrameError> {
    let length = u32::from_be_bytes(bytes) as usize;
    if length <= most { Ok(length) } else { Err(FrameError::Length(length)) }
}

/// Writes a refusal's frame, header included.
pub fn encode_refusal(refusal: &Refusal) -> Vec<u8> {
    let text = &refusal.text[..refusal.text.floor_char_boundary(REFUSAL_BYTES_MAX)];
    let mut bytes = encode_frame_header(Kind::Refusal, 2 + text.len()).to_vec();
    bytes.extend_from_slice(&(refusal.code as u16).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

/// Reads what a refusal's frame holds. Text that is no UTF-8 is read as well as it can be.
///
/// # Errors
/// When it is too short for a code.
pub fn decode_refusal(bytes: &[u8]) -> Result<Refusal, FrameError> {
    let (code, text) = bytes.split_first_chunk().ok_or(FrameError::CutOff)?;
    let code = RefusalCode::from_wire(u16::from_be_bytes(*code));
    Ok(Refusal { code, text: String::from_utf8_lossy(text).into_owned() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{
        CALL_TIMEOUT_MAX, Duration, FRAME_HEADER_BYTES, FrameError, Kind, MESSAGE_BYTES_MAX, Method,
        REFUSAL_BYTES_MAX, REQUEST_HEADER_BYTES, Refusal, RefusalCode, RequestHeader, decode_frame_header,
        decode_refusal, encode_frame_header, encode_refusal,
    };

    proptest! {
        #[test]
        fn a_request_header_is_read_as_written(
            id: u16, version: u16, timeout in 1_u64..3_600_000, body in 0..=MESSAGE_BYTES_MAX
        ) {
            let timeout = Duration::from_millis(timeout);
            let header = RequestHeader { method: Method { id, version }, timeout, body };
            prop_assert_eq!(RequestHeader::decode(header.encode()), Ok(header));
        }

        #[test]
        fn any_bytes_are_read_within_bounds_or_refused(request: [u8; REQUEST_HEADER_BYTES], frame: [u8; FRAME_HEADER_BYTES]) {
            let mut versioned = request;
            versioned[0] = 1;
            for bytes in [request, versioned] {
                if let Ok(header) = RequestHeader::decode(bytes) {
                    prop_assert!(header.body <= MESSAGE_BYTES_MAX && header.timeout <= CALL_TIMEOUT_MAX);
                }
            }
            if let Ok((_, length)) = decode_frame_header(frame) {
                prop_assert!(length <= MESSAGE_BYTES_MAX);
            }
        }

        #[test]
        fn a_refusal_is_read_as_written_and_cut_at_its_bound(text in ".{0,600}") {
            let refusal = Refusal::new(RefusalCode::Busy, text.clone());
            let bytes = encode_refusal(&refusal);
            let (header, body) = bytes.split_first_chunk().unwrap();
            prop_assert_eq!(decode_frame_header(*header), Ok((Kind::Refusal, body.len())));
            let read = decode_refusal(body).unwrap();
            prop_assert!(text.starts_with(&read.text) && read.text.len() <= REFUSAL_BYTES_MAX);
            prop_assert!(read == refusal || text.len() > REFUSAL_BYTES_MAX);
        }
    }

    #[test]
    fn wrong_frames_are_refused_by_what_is_wrong() {
        assert_eq!(RequestHeader::decode([0; REQUEST_HEADER_BYTES]), Err(FrameError::Version(0)));
        assert_eq!(decode_frame_header([9, 0, 0, 0, 0]), Err(FrameError::Kind(9)));
        assert_eq!(decode_frame_header(encode_frame_header(Kind::End, 1)), Err(FrameError::Length(1)));
        let long = MESSAGE_BYTES_MAX + 1;
        assert_eq!(decode_frame_header(encode_frame_header(Kind::Item, long)), Err(FrameError::Length(long)));
        assert_eq!(decode_refusal(&[1]), Err(FrameError::CutOff));
    }

    #[test]
    fn codes_of_later_versions_are_read_as_other() {
        assert_eq!(decode_refusal(&[0xff, 0xff, b'x']).unwrap().code, RefusalCode::Other);
    }
}
