//! A seeded source of numbers for deciders: the same seed gives the same numbers on every machine.

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014). Not for secrets.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts from a seed and a text, so that each member draws other numbers from the same seed.
    pub fn named(seed: u64, name: &str) -> Self {
        let mut draw = Self(seed);
        for byte in name.bytes() {
            draw.0 = draw.next() ^ u64::from(byte);
        }
        draw
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "a source without an end is no iterator")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0. The bias of the multiplication is below 2^-32 for bounds here.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Draw;

    #[test]
    fn the_published_sequence_of_seed_zero_comes_out() {
        let mut draw = Draw::new(0);
        assert_eq!(draw.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(draw.next(), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn names_part_the_sequences_of_one_seed() {
        assert_ne!(Draw::named(1, "a").next(), Draw::named(1, "b").next());
        assert!((0..1000).all(|_| Draw::named(1, "c").below(7) < 7));
    }
}
