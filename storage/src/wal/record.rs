//! The fixed header before each record's payload: encoding, decoding, checksums.

use super::{Sequence, WalId};

/// The largest payload, 128 MiB: the largest body a client may send, with room for a little growth.
pub const MAX_RECORD_BYTES: usize = 128 << 20;

/// Opens each record's header, and is what a reader looks for after damage.
pub(super) const MAGIC: [u8; 4] = *b"GVWR";
/// The bytes of a header.
pub(super) const HEADER_BYTES: usize = 44;
/// What the header's checksum covers: all of it but the checksum.
const SUMMED_BYTES: usize = HEADER_BYTES - 4;
/// The version of header and payload framing.
pub(super) const VERSION: u8 = 1;

// The length is a u32 on disk.
const _: () = assert!(MAX_RECORD_BYTES as u64 <= u32::MAX as u64);

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) length: u32,
    pub(super) payload_crc: u32,
    pub(super) sequence: Sequence,
    pub(super) wal_id: WalId,
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// The bytes are damaged, torn, or never were a header.
    Damaged,
    /// The checksum holds, the version is unknown.
    UnknownVersion(u8),
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind;
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.0.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.wal_id.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..SUMMED_BYTES]);
        bytes[SUMMED_BYTES..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        let (fields, crc) = bytes.split_at(SUMMED_BYTES);
        if fields[0..4] != MAGIC || crc != crc32c::crc32c(fields).to_le_bytes() {
            return Err(HeaderError::Damaged);
        }
        if fields[4] != VERSION {
            return Err(HeaderError::UnknownVersion(fields[4]));
        }
        let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|n| fields[at + n]));
        let length = u32_at(8);
        if length as usize > MAX_RECORD_BYTES {
            return Err(HeaderError::Damaged);
        }
        Ok(Header {
            kind: fields[5],
            length,
            payload_crc: u32_at(12),
            sequence: Sequence(u64::from_le_bytes(std::array::from_fn(|n| fields[16 + n]))),
            wal_id: WalId(u128::from_le_bytes(std::array::from_fn(|n| fields[24 + n]))),
        })
    }
}

/// CRC-32C of a payload that lies in several parts.
pub(super) fn payload_crc(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{HEADER_BYTES, Header, HeaderError, MAX_RECORD_BYTES, SUMMED_BYTES, payload_crc};
    use crate::wal::{Sequence, WalId};

    const SMALL: Header =
        Header { kind: 1, length: 9, payload_crc: 2, sequence: Sequence(3), wal_id: WalId(4) };

    proptest! {
        #[test]
        fn header_survives_a_round_trip(
            kind: u8, length in 0..=MAX_RECORD_BYTES as u32, payload_crc: u32, sequence: u64, wal_id: u128,
        ) {
            let (sequence, wal_id) = (Sequence(sequence), WalId(wal_id));
            let header = Header { kind, length, payload_crc, sequence, wal_id };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_flipped_bit_of_a_header_is_noticed(bit in 0..HEADER_BYTES * 8) {
            let mut bytes = SMALL.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Header::decode(&bytes), Err(HeaderError::Damaged));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<[u8; HEADER_BYTES]>()) {
            let _ = Header::decode(&bytes);
        }
    }

    #[test]
    fn newer_version_is_told_from_damage() {
        let mut bytes = SMALL.encode();
        bytes[4] = 2;
        let crc = crc32c::crc32c(&bytes[..SUMMED_BYTES]);
        bytes[SUMMED_BYTES..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(Header::decode(&bytes), Err(HeaderError::UnknownVersion(2)));
    }

    #[test]
    fn length_over_the_limit_is_refused_even_with_a_valid_checksum() {
        let header = Header { length: MAX_RECORD_BYTES as u32 + 1, ..SMALL };
        assert_eq!(Header::decode(&header.encode()), Err(HeaderError::Damaged));
    }

    #[test]
    fn payload_checksum_does_not_depend_on_the_cuts() {
        assert_eq!(payload_crc(&[b"ab", b"", b"c"]), payload_crc(&[b"abc"]));
    }
}
