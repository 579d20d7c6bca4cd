//! Which grams of a text a chunk filter remembers, as numbers of 18 bits.
//!
//! Text is taken in ASCII lower case. Identifier bytes are `-./0-9:` (0x2D to 0x3A) and `a` to `f`. A position is
//! an *identifier position* if its four bytes are identifier bytes with a digit among them. A position whose
//! gram holds a newline counts for nothing, so grams never span lines.
//!
//! - At every other position the 4-gram counts.
//! - At an identifier position whose right neighbour is one too, and both begin six identifier bytes, the
//!   lesser hash of the two 6-grams counts, hashed again.
//!
//! Digits are why: a chunk of logs holds all 10,000 4-grams of digits, so 4-grams tell nothing of numbers,
//! addresses and ids, and 6-grams everywhere cost too much. Whether and how a position counts depends on the
//! seven bytes from it alone, so a line that holds a literal counts everything the literal does: a filter never
//! rules out a chunk that holds it. Sampling (minimizers), longer grams, two hashes, fuse filters and word
//! tokens were measured and came out worse at equal size.

/// Bits of a gram's number.
pub(crate) const GRAM_BITS: u32 = 18;
/// How many numbers there are.
pub(crate) const GRAMS: usize = 1 << GRAM_BITS;
/// What a position that counts for nothing yields, so that the loop which stores has no branch.
const NOTHING: u32 = GRAMS as u32;

/// Positions looked at together: enough to vectorise, few enough to stay in the first-level cache.
const TILE: usize = 512;
/// A position's number depends on this many bytes beyond it, rounded up.
const BEYOND: usize = 8;

/// A tile's positions and the one after. (Loops over `0..=TILE` would not vectorise.)
const AND_NEXT: usize = TILE + 1;

const IDENTIFIER: u8 = 1;
const DIGIT: u8 = 2;
const NEWLINE: u8 = 4;

// Odd multipliers with well spread bits: of the golden ratio, and MurmurHash3's and xxHash's.
const FOUR: u32 = 0x9E37_79B1;
const SIX_LOW: u32 = 0x85EB_CA6B;
const SIX_HIGH: u32 = 0xC2B2_AE35;
const AGAIN: u32 = 0x27D4_EB2F;

/// The distinct grams of a chunk, one bit each: 32 KiB.
#[derive(Clone)]
pub(crate) struct GramSet(Box<[u64; GRAMS / 64]>);

impl GramSet {
    pub(crate) fn new() -> Self {
        GramSet(Box::new([0; GRAMS / 64]))
    }

    pub(crate) fn distinct(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The grams in it, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().enumerate().flat_map(|(n, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(n as u32 * 64 + bit)
            })
        })
    }

    fn insert(&mut self, gram: u32) {
        self.0[gram as usize / 64] |= 1 << (gram % 64);
    }
}

/// A byte per gram, for one thread to mark blocks with: a byte is stored in one instruction, a bit takes a read
/// and a write. Twice the size it needs, so that masking an index replaces checking it.
pub(crate) struct GramScratch(Box<[u8; SCRATCH]>);

const SCRATCH: usize = 2 * GRAMS;
/// Below this much text, clearing and folding the scratch would cost more than setting bits.
const SMALL_TEXT: usize = 48 << 10;

impl GramScratch {
    pub(crate) fn new() -> Self {
        let zeros = vec![0; SCRATCH].into_boxed_slice();
        GramScratch(zeros.try_into().expect("the vector has the array's length"))
    }

    /// Adds the grams of a text to a set.
    pub(crate) fn mark(&mut self, text: &[u8], set: &mut GramSet) {
        if text.len() < SMALL_TEXT {
            return for_each_gram(text, |gram| set.insert(gram));
        }
        for_each_tile(text, |tile| {
            for gram in tile {
                self.0[*gram as usize % SCRATCH] = 1;
            }
        });
        self.fold_into(set);
    }

    fn fold_into(&mut self, set: &mut GramSet) {
        // Gathers the low bits of eight bytes in the product's top byte, the first byte's lowest.
        const GATHER: u64 = 0x0102_0408_1020_4080;
        for (word, bytes) in set.0.iter_mut().zip(self.0.chunks_exact(64)) {
            for (n, eight) in bytes.as_chunks::<8>().0.iter().enumerate() {
                *word |= (u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56) << (8 * n);
            }
        }
        self.0[..=GRAMS].fill(0);
    }
}

/// Calls back with the number of each gram that counts, in order, repeats included.
pub(crate) fn for_each_gram(text: &[u8], mut found: impl FnMut(u32)) {
    for_each_tile(text, |tile| tile.iter().filter(|gram| **gram != NOTHING).for_each(|gram| found(*gram)));
}

fn for_each_tile(text: &[u8], mut found: impl FnMut(&[u32; TILE])) {
    let compute = tile_function();
    let mut numbers = [NOTHING; TILE];
    let mut at = 0;
    while let Some(window) = text[at..].first_chunk::<{ TILE + BEYOND }>() {
        compute(window, &mut numbers);
        found(&numbers);
        at += TILE;
    }
    while at < text.len() {
        let rest = &text[at..text.len().min(at + TILE + BEYOND)];
        let mut window = [b'\n'; TILE + BEYOND];
        window[..rest.len()].copy_from_slice(rest);
        compute(&window, &mut numbers);
        found(&numbers);
        at += TILE;
    }
}

type TileFunction = fn(&[u8; TILE + BEYOND], &mut [u32; TILE]);

/// The same code compiled twice: the loops vectorise 8 lanes wide with AVX2, and poorly with what every
/// x86-64 has (no 32-bit multiplication).
fn tile_function() -> TileFunction {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor was just asked for the one feature that `tile_avx2` needs.
        return |window, numbers| unsafe { tile_avx2(window, numbers) };
    }
    tile
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn tile_avx2(window: &[u8; TILE + BEYOND], numbers: &mut [u32; TILE]) {
    tile(window, numbers);
}

#[inline(always)]
fn tile(window: &[u8; TILE + BEYOND], numbers: &mut [u32; TILE]) {
    let (mut lower, mut classes) = ([0; TILE + BEYOND], [0; TILE + BEYOND]);
    for n in 0..TILE + BEYOND {
        lower[n] = window[n].to_ascii_lowercase();
        classes[n] = class(lower[n]);
    }
    // Bit 0: begins six identifier bytes at an identifier position; bit 1: identifier position; bit 2: newline.
    let mut marks = [0_u8; AND_NEXT];
    for n in 0..AND_NEXT {
        let all = classes[n] & classes[n + 1] & classes[n + 2] & classes[n + 3];
        let any = classes[n] | classes[n + 1] | classes[n + 2] | classes[n + 3];
        let identifier = all & (any >> 1) & 1;
        let six = identifier & classes[n + 4] & classes[n + 5];
        marks[n] = six | identifier << 1 | (any & NEWLINE);
    }
    let mut fours = [0_u32; TILE + 4];
    for n in 0..TILE + 4 {
        fours[n] = u32::from(lower[n])
            | u32::from(lower[n + 1]) << 8
            | u32::from(lower[n + 2]) << 16
            | u32::from(lower[n + 3]) << 24;
    }
    let mut sixes = [0_u32; AND_NEXT];
    for n in 0..AND_NEXT {
        sixes[n] = fours[n].wrapping_mul(SIX_LOW) ^ fours[n + 2].wrapping_mul(SIX_HIGH);
    }
    for n in 0..TILE {
        let four = fours[n].wrapping_mul(FOUR) >> (32 - GRAM_BITS);
        let lesser = sixes[n].min(sixes[n + 1]);
        let six = (lesser ^ lesser >> 15).wrapping_mul(AGAIN) >> (32 - GRAM_BITS);
        let neighbours = marks[n] & marks[n + 1] & 1;
        let of_identifier = if neighbours != 0 { six } else { NOTHING };
        let of_line = if marks[n] & 2 != 0 { of_identifier } else { four };
        numbers[n] = if marks[n] & NEWLINE != 0 { NOTHING } else { of_line };
    }
}

#[inline(always)]
fn class(byte: u8) -> u8 {
    let digit = byte.wrapping_sub(b'0') < 10;
    let identifier = byte.wrapping_sub(b'-') <= b':' - b'-' || byte.wrapping_sub(b'a') <= b'f' - b'a';
    (if identifier { IDENTIFIER } else { 0 })
        | (if digit { DIGIT } else { 0 })
        | (if byte == b'\n' { NEWLINE } else { 0 })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::{GRAM_BITS, GramScratch, GramSet, IDENTIFIER, class, for_each_gram};

    /// The rule of the module's first page, position by position.
    fn grams_by_the_book(text: &[u8]) -> Vec<u32> {
        let text = text.to_ascii_lowercase();
        let identifier_bytes = |at: usize, n: usize| {
            text.get(at..at + n).is_some_and(|gram| gram.iter().all(|byte| class(*byte) & IDENTIFIER != 0))
        };
        let identifier_position =
            |at: usize| identifier_bytes(at, 4) && text[at..at + 4].iter().any(u8::is_ascii_digit);
        let word = |at: usize| u32::from_le_bytes([text[at], text[at + 1], text[at + 2], text[at + 3]]);
        let six =
            |at: usize| word(at).wrapping_mul(super::SIX_LOW) ^ word(at + 2).wrapping_mul(super::SIX_HIGH);
        let mut grams = Vec::new();
        for at in 0..text.len().saturating_sub(3) {
            if text[at..at + 4].contains(&b'\n') {
                continue;
            }
            if !identifier_position(at) {
                grams.push(word(at).wrapping_mul(super::FOUR) >> (32 - GRAM_BITS));
            } else if identifier_position(at + 1) && identifier_bytes(at, 6) && identifier_bytes(at + 1, 6) {
                let lesser = six(at).min(six(at + 1));
                grams.push((lesser ^ lesser >> 15).wrapping_mul(super::AGAIN) >> (32 - GRAM_BITS));
            }
        }
        grams
    }

    fn grams(text: &[u8]) -> Vec<u32> {
        let mut grams = Vec::new();
        for_each_gram(text, |gram| grams.push(gram));
        grams
    }

    fn marked(text: &[u8]) -> BTreeSet<u32> {
        let mut set = GramSet::new();
        GramScratch::new().mark(text, &mut set);
        set.iter().collect()
    }

    #[test]
    fn lengths_around_a_tile_follow_the_book() {
        let text: Vec<u8> = b"GET /api/10.0.0.17:8080 id=4fe1c0de77 done\n".repeat(60);
        for length in (0..40).chain(500..540).chain(1_020..1_060) {
            assert_eq!(grams(&text[..length]), grams_by_the_book(&text[..length]), "length {length}");
        }
    }

    #[test]
    fn large_and_small_texts_are_marked_alike() {
        let text: Vec<u8> =
            (0..4_000).flat_map(|n| format!("line {n} of block {:x}\n", n * 7_919).into_bytes()).collect();
        assert!(text.len() > super::SMALL_TEXT);
        let expected: BTreeSet<u32> = grams_by_the_book(&text).into_iter().collect();
        assert_eq!(marked(&text), expected);
        assert_eq!(marked(&text[..1_000]), grams_by_the_book(&text[..1_000]).into_iter().collect());
    }

    #[test]
    fn scratch_is_clean_after_use() {
        let mut scratch = GramScratch::new();
        scratch.mark(&vec![b'x'; super::SMALL_TEXT], &mut GramSet::new());
        assert!(scratch.0.iter().all(|byte| *byte == 0));
    }

    proptest! {
        #[test]
        fn any_text_follows_the_book(text in vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(grams(&text), grams_by_the_book(&text));
        }

        #[test]
        fn identifier_like_text_follows_the_book(text in "[0-9a-gA-G.:\\-/ \n]{0,600}") {
            prop_assert_eq!(grams(text.as_bytes()), grams_by_the_book(text.as_bytes()));
        }

        #[test]
        fn a_substring_counts_nothing_that_the_line_does_not(
            line in "[0-9a-gA-G.:\\-/ xyz]{8,80}", start in any::<prop::sample::Index>(), length in 1_usize..80,
        ) {
            let start = start.index(line.len());
            let part = &line.as_bytes()[start..line.len().min(start + length)];
            let all = grams(line.as_bytes());
            prop_assert!(grams(part).iter().all(|gram| all.contains(gram)));
        }

        #[test]
        fn eight_bytes_always_count(literal in "[ -~]{8,20}") {
            prop_assert!(!grams(literal.as_bytes()).is_empty());
        }
    }
}
