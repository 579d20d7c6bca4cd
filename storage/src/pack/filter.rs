//! The filter of a chunk: a Bloom filter with one hash over its grams, which says "surely not"
//! of most literals without a block being read.
//!
//! ```text
//! slots u32 | ceil(slots / 8) bytes, bit n of the filter is bit n % 8 of byte n / 8 | CRC-32C of all before it u32
//! ```
//!
//! Gram `g` of 18 bits has the slot `g × slots >> 18`. Slots: 2.8 per distinct gram (30 % come out set), at most
//! a tenth of the blocks' bytes, at most 2¹⁸. A chunk of less than 64 KiB of text has no filter.

use bytes::Bytes;

use super::cursor::Cursor;
use super::error::FormatError;
use super::grams::{GRAM_BITS, GRAMS, GramSet, for_each_gram};

const PART: &str = "filter";
const HEAD_BYTES: usize = 4;
const CRC_BYTES: usize = 4;

/// Slots per distinct gram, in tenths.
const SLOTS_PER_GRAM_TENTHS: usize = 28;
/// The filter takes at most one part in this many of the chunk's compressed bytes.
const SHARE_OF_BLOCKS: usize = 10;

/// The filter of a chunk, whole by its CRC. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    slots: u32,
    bits: Bytes,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// If the bytes are not a whole filter.
    pub fn parse(bytes: &Bytes) -> Result<Self, FormatError> {
        let body_length = bytes.len().checked_sub(CRC_BYTES).filter(|length| *length >= HEAD_BYTES);
        let body_length = body_length.ok_or_else(|| FormatError::new(PART, 0, "it ends early"))?;
        let mut cursor = Cursor::new(PART, bytes);
        let slots = cursor.u32()?;
        let bits = bytes.slice(HEAD_BYTES..body_length);
        cursor.take(bits.len())?;
        if crc32c::crc32c(&bytes[..body_length]) != cursor.u32()? {
            return Err(FormatError::new(PART, 0, "its CRC does not match"));
        }
        if slots == 0 || slots as usize > GRAMS || bits.len() != (slots as usize).div_ceil(8) {
            return Err(FormatError::new(PART, 0, "its size is impossible"));
        }
        Ok(Filter { slots, bits })
    }

    /// Whether a line of the chunk may hold what the query asks for; `false` is certain.
    pub fn may_hold(&self, query: &FilterQuery) -> bool {
        query.grams.iter().all(|gram| {
            let slot = slot(*gram, self.slots);
            self.bits[slot / 8] & 1 << (slot % 8) != 0
        })
    }
}

fn slot(gram: u32, slots: u32) -> usize {
    ((u64::from(gram) * u64::from(slots)) >> GRAM_BITS) as usize
}

/// The bytes of the filter of a chunk whose blocks take `block_bytes`.
pub(crate) fn encode(grams: &GramSet, block_bytes: usize) -> Bytes {
    let wanted = grams.distinct() * SLOTS_PER_GRAM_TENTHS / 10;
    let slots = wanted.min(block_bytes * 8 / SHARE_OF_BLOCKS).clamp(1, GRAMS);
    let mut bytes = vec![0; HEAD_BYTES + slots.div_ceil(8)];
    bytes[..HEAD_BYTES].copy_from_slice(&(slots as u32).to_le_bytes());
    for gram in grams.iter() {
        let slot = slot(gram, slots as u32);
        bytes[HEAD_BYTES + slot / 8] |= 1 << (slot % 8);
    }
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    bytes.into()
}

/// What a literal asks of filters; made once per query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterQuery {
    grams: Box<[u32]>,
}

/// Grams of a query beyond these rule out nothing that the others do not.
const QUERY_GRAMS_MAX: usize = 256;

impl FilterQuery {
    /// The grams of a literal, in any case of its ASCII letters. Literals of less than 4 bytes ask for nothing,
    /// and neither do those of digits and other identifier bytes of less than 7.
    pub fn of_literal(literal: &[u8]) -> Self {
        let mut grams = Vec::new();
        for_each_gram(&literal[..literal.len().min(QUERY_GRAMS_MAX)], |gram| grams.push(gram));
        grams.sort_unstable();
        grams.dedup();
        FilterQuery { grams: grams.into() }
    }

    /// Whether every filter passes it.
    pub fn asks_nothing(&self) -> bool {
        self.grams.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop, prop_assert, proptest};

    use super::{Filter, FilterQuery, encode};
    use crate::pack::grams::{GramScratch, GramSet};

    fn filter_of(text: &[u8], block_bytes: usize) -> Filter {
        let mut grams = GramSet::new();
        GramScratch::new().mark(text, &mut grams);
        Filter::parse(&encode(&grams, block_bytes)).unwrap()
    }

    proptest! {
        #[test]
        fn no_substring_of_a_line_is_ever_ruled_out(
            lines in vec(vec(any::<u8>(), 0..60), 1..20), plain in "[0-9a-h./:\\- ]{8,60}",
            line in any::<prop::sample::Index>(), ends in any::<(prop::sample::Index, prop::sample::Index)>(),
            block_bytes in 0_usize..5_000, upper in any::<bool>(),
        ) {
            let mut lines = lines;
            lines.push(plain.into_bytes());
            let mut line = line.get(&lines).clone();
            line.retain(|byte| *byte != b'\n');
            lines.push(line.clone());
            let filter = filter_of(&lines.join(&b'\n'), block_bytes);
            let (a, b) = (ends.0.index(line.len() + 1), ends.1.index(line.len() + 1));
            let mut literal = line[a.min(b)..a.max(b)].to_vec();
            if upper {
                literal.make_ascii_uppercase();
            }
            prop_assert!(filter.may_hold(&FilterQuery::of_literal(&literal)));
        }

        #[test]
        fn damaged_filters_never_panic(mut bytes in vec(any::<u8>(), 0..40), query in "[a-z]{4,9}") {
            let crc = crc32c::crc32c(&bytes);
            bytes.extend_from_slice(&crc.to_le_bytes());
            if let Ok(filter) = Filter::parse(&bytes.into()) {
                filter.may_hold(&FilterQuery::of_literal(query.as_bytes()));
            }
        }
    }

    #[test]
    fn absent_literals_are_ruled_out() {
        let text: Vec<u8> = (0..5_000)
            .flat_map(|n| format!("request {n} from 10.1.2.{} took {} ms\n", n % 256, n * 7).into_bytes())
            .collect();
        let filter = filter_of(&text, usize::MAX / 8);
        for absent in ["needle0", "192.168.77.14", "9918273645", "deadbeefcafe"] {
            assert!(!filter.may_hold(&FilterQuery::of_literal(absent.as_bytes())), "{absent}");
        }
        for present in ["REQUEST 17 from", "10.1.2.255", "took"] {
            assert!(filter.may_hold(&FilterQuery::of_literal(present.as_bytes())), "{present}");
        }
    }

    #[test]
    fn short_literals_ask_nothing() {
        for (literal, expected) in [
            ("abc", true),
            ("user", false),
            ("123456", true),
            ("1234567", false),
            ("10.0.0", true),
            ("", true),
        ] {
            assert_eq!(FilterQuery::of_literal(literal.as_bytes()).asks_nothing(), expected, "{literal}");
        }
    }

    #[test]
    fn size_keeps_to_a_tenth_of_the_blocks() {
        let text: Vec<u8> = (0..50_000_u32).flat_map(|n| n.wrapping_mul(0x9E37_79B1).to_le_bytes()).collect();
        let mut grams = GramSet::new();
        GramScratch::new().mark(&text, &mut grams);
        assert_eq!(encode(&grams, 10_000).len(), 1_000 + 8);
        assert_eq!(encode(&grams, usize::MAX / 8).len(), (1 << 15) + 8);
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let mut grams = GramSet::new();
        GramScratch::new().mark(b"a few words", &mut grams);
        let bytes = encode(&grams, 1_000);
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Filter::parse(&Bytes::from(bytes)).is_err(), "bit {bit}");
        }
    }
}
