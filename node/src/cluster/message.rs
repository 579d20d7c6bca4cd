//! How messages between peers are written: a version byte, then bincode, which may be compressed. All of it is here, so that
//! the libraries can be replaced.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};
use bytes::Bytes;
use grapevine_gossip::limits::MESSAGE_BYTES_MAX;
use grapevine_gossip::rpc::{Refusal, RefusalCode};
use libdeflater::{CompressionError, CompressionLvl, Compressor, Decompressor};

/// The version written. A reader that meets another says so.
const VERSION: u8 = 1;

/// Written in its place where what follows is compressed: its length, 32 bits, little-endian, and then all of it, the version
/// byte included, as DEFLATE (RFC 1951).
const COMPRESSED: u8 = 2;

/// What does not fill a packet is as fast as it is.
const COMPRESSED_FROM_BYTES: usize = 1200;

/// The most that DEFLATE makes of a byte: 258 bytes of two bits.
const INFLATED_MAX: usize = 1032;

/// Also what a decoder may allocate, whatever lengths the bytes claim.
const CONFIG: Configuration<LittleEndian, Varint, Limit<MESSAGE_BYTES_MAX>> =
    bincode::config::standard().with_limit::<MESSAGE_BYTES_MAX>();

/// A message that cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It is larger than a message may be.
    #[error("a message is too large to send ({0}); split it")]
    TooLarge(String),
    /// Another version wrote it.
    #[error("a message is of version `{0}`, not `{VERSION}`")]
    Version(u8),
    /// It says nothing.
    #[error("a message cannot be read: {0}")]
    Malformed(String),
}

impl From<MessageError> for Refusal {
    fn from(error: MessageError) -> Self {
        let code = match error {
            MessageError::TooLarge(_) => RefusalCode::Failed,
            MessageError::Version(_) => RefusalCode::UnknownVersion,
            MessageError::Malformed(_) => RefusalCode::Invalid,
        };
        Self::new(code, error.to_string())
    }
}

/// Writes a message.
///
/// # Errors
/// It is larger than [`MESSAGE_BYTES_MAX`].
pub fn encode(message: &impl Encode) -> Result<Bytes, MessageError> {
    encode_before(message, &[])
}

/// Writes a message that bytes follow which need no encoding: they are copied once.
///
/// # Errors
/// Both together are larger than [`MESSAGE_BYTES_MAX`].
pub fn encode_before(message: &impl Encode, rest: &[&[u8]]) -> Result<Bytes, MessageError> {
    let mut bytes = vec![VERSION];
    let written = bincode::encode_into_std_write(message, &mut bytes, CONFIG);
    written.map_err(|error| MessageError::TooLarge(error.to_string()))?;
    bytes.reserve_exact(rest.iter().map(|part| part.len()).sum());
    rest.iter().for_each(|part| bytes.extend_from_slice(part));
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(MessageError::TooLarge(format!("`{}` bytes", bytes.len())));
    }
    Ok(bytes.into())
}

/// Compresses a message that [`encode`] wrote, for a line on which bytes are dear; one that is no smaller then stays as it is.
/// Takes some 4 ms for a megabyte of log lines.
pub fn compressed(plain: Bytes) -> Bytes {
    let (Ok(length), true) = (u32::try_from(plain.len()), plain.len() >= COMPRESSED_FROM_BYTES) else {
        return plain;
    };
    let mut compressor = Compressor::new(CompressionLvl::new(1).expect("level 1 exists"));
    let mut bytes = [&[COMPRESSED][..], &length.to_le_bytes()].concat();
    let header = bytes.len();
    bytes.resize(plain.len(), 0);
    match compressor.deflate_compress(&plain, &mut bytes[header..]) {
        Ok(size) => Bytes::copy_from_slice(&bytes[..header + size]),
        // It would be larger.
        Err(CompressionError::InsufficientSpace) => plain,
    }
}

fn inflated(bytes: &[u8]) -> Result<Vec<u8>, MessageError> {
    let malformed = |text: &str| MessageError::Malformed(text.to_owned());
    let (length, body) = bytes.split_first_chunk().ok_or_else(|| malformed("it is cut off"))?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > MESSAGE_BYTES_MAX.min(body.len().saturating_mul(INFLATED_MAX)) {
        return Err(malformed("it claims to be longer than it can be"));
    }
    let mut plain = vec![0; length];
    match Decompressor::new().deflate_decompress(body, &mut plain) {
        Ok(inflated) if inflated == length => Ok(plain),
        _ => Err(malformed("it cannot be inflated")),
    }
}

/// Reads a message, whoever sent it.
///
/// # Errors
/// It is of another version, cut off, too long, or nonsense.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, MessageError> {
    match bytes.split_first() {
        Some((&COMPRESSED, rest)) => decode_plain(&inflated(rest)?),
        _ => decode_plain(bytes),
    }
}

fn decode_plain<T: Decode<()>>(bytes: &[u8]) -> Result<T, MessageError> {
    match decode_before(bytes)? {
        (message, []) => Ok(message),
        (_, rest) => Err(MessageError::Malformed(format!("`{}` bytes follow it", rest.len()))),
    }
}

/// Reads a message and gives back the bytes that follow it.
///
/// # Errors
/// It is of another version, cut off, or nonsense.
pub fn decode_before<T: Decode<()>>(bytes: &[u8]) -> Result<(T, &[u8]), MessageError> {
    let malformed = |text: String| MessageError::Malformed(text);
    let (version, body) = bytes.split_first().ok_or_else(|| malformed("it is empty".to_owned()))?;
    if *version != VERSION {
        return Err(MessageError::Version(*version));
    }
    let (message, used) =
        bincode::decode_from_slice(body, CONFIG).map_err(|error| malformed(error.to_string()))?;
    Ok((message, &body[used..]))
}

#[cfg(test)]
mod tests {
    use grapevine_storage::testdata::Random;
    use proptest::collection::vec;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{COMPRESSED, MESSAGE_BYTES_MAX, MessageError, compressed, decode, encode};

    proptest! {
        #[test]
        fn a_message_is_read_as_written_and_no_part_of_it_is(texts: Vec<String>) {
            let bytes = encode(&texts).unwrap();
            for cut in 0..bytes.len() {
                decode::<Vec<String>>(&bytes[..cut]).unwrap_err();
            }
            prop_assert_eq!(decode::<Vec<String>>(&bytes), Ok(texts));
        }

        #[test]
        fn a_compressed_message_is_read_as_written_and_no_part_of_it_is(words in vec("[a-c]{1,9}", 0..900)) {
            let plain = encode(&words).unwrap();
            let bytes = compressed(plain.clone());
            prop_assert!(bytes.len() <= plain.len());
            for cut in (0..bytes.len()).step_by(7) {
                decode::<Vec<String>>(&bytes[..cut]).unwrap_err();
            }
            prop_assert_eq!(decode::<Vec<String>>(&bytes), Ok(words));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = decode::<Vec<String>>(&[&[1], &bytes[..]].concat());
            let _ = decode::<Vec<String>>(&[&[COMPRESSED], &bytes[..]].concat());
        }
    }

    #[test]
    fn lengths_that_are_not_there_take_no_memory() {
        // 2^60 texts, by their number.
        let claim = [1, 253, 0, 0, 0, 0, 0, 0, 0, 16];
        assert!(matches!(decode::<Vec<String>>(&claim), Err(MessageError::Malformed(_))));
    }

    #[test]
    fn what_has_words_twice_is_much_smaller_compressed_and_noise_stays_as_it_is() {
        let lines = encode(&vec!["GET /cart 200 12ms".to_owned(); 1000]).unwrap();
        assert!(compressed(lines.clone()).len() * 20 < lines.len());
        let mut random = Random(1);
        let noise = encode(&(0..5000).map(|_| random.draw() as u8).collect::<Vec<_>>()).unwrap();
        assert_eq!(compressed(noise.clone()), noise);
    }

    #[test]
    fn a_compressed_message_cannot_claim_more_than_it_can_be() {
        let claim = [&[COMPRESSED][..], &u32::MAX.to_le_bytes(), &[0; 100]].concat();
        let error = decode::<Vec<u8>>(&claim).unwrap_err().to_string();
        assert!(error.contains("longer than it can be"), "{error}");
        // A megabyte of nothing, in 1 KB, is read and then refused, for it holds a compressed message again.
        let nothing = compressed(vec![COMPRESSED; 1 << 20].into());
        assert!(nothing.len() < 2000);
        assert_eq!(decode::<Vec<u8>>(&nothing), Err(MessageError::Version(COMPRESSED)));
    }

    #[test]
    fn versions_excess_and_size_are_judged() {
        assert_eq!(decode::<u8>(&[3, 5]), Err(MessageError::Version(3)));
        assert!(matches!(decode::<u8>(&[1, 5, 5]), Err(MessageError::Malformed(_))));
        let large = vec![0_u8; MESSAGE_BYTES_MAX];
        assert!(matches!(encode(&large), Err(MessageError::TooLarge(_))));
    }
}
