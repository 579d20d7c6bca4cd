//! How messages between peers are written: a version byte, then bincode. All of it is here, so that the library can be
//! replaced.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};
use bytes::Bytes;
use grapevine_gossip::limits::MESSAGE_BYTES_MAX;
use grapevine_gossip::rpc::{Refusal, RefusalCode};

/// The version written. A reader that meets another says so.
const VERSION: u8 = 1;

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

/// Reads a message, whoever sent it.
///
/// # Errors
/// It is of another version, cut off, too long, or nonsense.
pub fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, MessageError> {
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
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::{MESSAGE_BYTES_MAX, MessageError, decode, encode};

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
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = decode::<Vec<String>>(&[&[1], &bytes[..]].concat());
        }
    }

    #[test]
    fn lengths_that_are_not_there_take_no_memory() {
        // 2^60 texts, by their number.
        let claim = [1, 253, 0, 0, 0, 0, 0, 0, 0, 16];
        assert!(matches!(decode::<Vec<String>>(&claim), Err(MessageError::Malformed(_))));
    }

    #[test]
    fn versions_excess_and_size_are_judged() {
        assert_eq!(decode::<u8>(&[2, 5]), Err(MessageError::Version(2)));
        assert!(matches!(decode::<u8>(&[1, 5, 5]), Err(MessageError::Malformed(_))));
        let large = vec![0_u8; MESSAGE_BYTES_MAX];
        assert!(matches!(encode(&large), Err(MessageError::TooLarge(_))));
    }
}
