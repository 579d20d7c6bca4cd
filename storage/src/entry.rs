//! Entries: a timestamp, a line and its structured metadata, and the hash by which two are one.

use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_seed};

/// An entry that borrows its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// Nanoseconds since 1970-01-01 UTC.
    pub timestamp: i64,
    /// The line, without a line end of its own; any bytes.
    pub line: &'a [u8],
    /// Structured metadata: names ascend and are unique.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// The identity of an entry within its stream: entries with equal hashes are one entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryHash(pub u128);

impl EntryRef<'_> {
    /// XXH3-128 of the line, seeded with the timestamp; with metadata, XXH3-128 of that hash and of each name
    /// and value closed by 0xFF (a byte that UTF-8 never holds).
    pub fn hash(&self) -> EntryHash {
        let text = xxh3_128_with_seed(self.line, self.timestamp as u64);
        if self.metadata.is_empty() {
            return EntryHash(text);
        }
        let mut hash = Xxh3::new();
        hash.update(&text.to_le_bytes());
        for part in self.metadata.iter().flat_map(|(name, value)| [name, value]) {
            hash.update(part.as_bytes());
            hash.update(&[0xFF]);
        }
        EntryHash(hash.digest128())
    }
}

/// What a set of entries of one stream comes to: equal digests mean equal sets, up to chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest {
    /// How many entries.
    pub count: u64,
    /// Exclusive or of their hashes.
    pub xor: u128,
}

impl Digest {
    /// Takes one more entry in.
    pub fn add(&mut self, hash: EntryHash) {
        self.count += 1;
        self.xor ^= hash.0;
    }

    /// Takes in a set that shares no entry with this one.
    pub fn merge(&mut self, other: Digest) {
        self.count += other.count;
        self.xor ^= other.xor;
    }
}

#[cfg(test)]
mod tests {
    use super::{Digest, EntryRef};

    const ENTRY: EntryRef<'_> = EntryRef { timestamp: 1, line: b"a", metadata: &[] };

    #[test]
    fn hash_depends_on_each_part() {
        let others = [
            EntryRef { timestamp: 2, ..ENTRY },
            EntryRef { line: b"b", ..ENTRY },
            EntryRef { metadata: &[("a", "b")], ..ENTRY },
        ];
        for other in others {
            assert_ne!(other.hash(), ENTRY.hash());
        }
        let split = |metadata| EntryRef { metadata, ..ENTRY }.hash();
        assert_ne!(split(&[("a", "bc")]), split(&[("ab", "c")]));
    }

    #[test]
    fn digest_does_not_depend_on_order() {
        let (a, b) = (ENTRY.hash(), EntryRef { timestamp: 2, ..ENTRY }.hash());
        let [mut ab, mut ba] = [Digest::default(); 2];
        ab.add(a);
        ab.add(b);
        ba.add(b);
        ba.add(a);
        assert_eq!(ab, ba);
    }
}
