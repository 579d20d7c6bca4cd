//! How keys of the index are laid out: by hand and big-endian, so that the order of bytes is the order of
//! what they stand for.
//!
//! ```text
//! tenant := length u8 | bytes (at most 150)
//! stream := 16 bytes
//! time   := nanoseconds as i64, top bit flipped
//! text   := bytes | 0xFF                          when it is short
//!         | first bytes | 0xFE | XXH3-128 of all  when it is long
//! ```
//!
//! Neither 0xFE nor 0xFF occurs in UTF-8, so a text ends where its mark stands, no text is a prefix of another,
//! and short texts sort as they read (but for one that begins another, which comes after it). LMDB takes keys of 511 bytes; the limits below keep every key under it.

use xxhash_rust::xxh3::xxh3_128;

use super::IndexError;
use crate::stream::StreamId;

/// The longest tenant name, as in Loki (`X-Scope-OrgID`).
pub const MAX_TENANT_BYTES: usize = 150;

/// Label names up to this length stand in keys as they are.
const SHORT_NAME_BYTES: usize = 100;
/// Label values up to this length stand in keys as they are.
const SHORT_VALUE_BYTES: usize = 200;
const END: u8 = 0xFF;
const HASHED: u8 = 0xFE;
const HASH_BYTES: usize = 16;
/// LMDB's own limit (`MDB_MAXKEYSIZE`).
const MAX_KEY_BYTES: usize = 511;

const _: () = assert!(
    1 + MAX_TENANT_BYTES + SHORT_NAME_BYTES + SHORT_VALUE_BYTES + 2 * (1 + HASH_BYTES) <= MAX_KEY_BYTES
);

/// A key in the making.
pub(super) struct Key(Vec<u8>);

impl Key {
    /// An empty key, for tables that do not keep tenants apart.
    pub(super) fn new() -> Self {
        Key(Vec::with_capacity(64))
    }

    /// Most keys begin with the tenant.
    pub(super) fn of(tenant: &str) -> Result<Self, IndexError> {
        if tenant.len() > MAX_TENANT_BYTES {
            let (bytes, limit) = (tenant.len(), MAX_TENANT_BYTES);
            return Err(IndexError::TooLarge { what: "tenant name", bytes, limit });
        }
        let mut key = Key(Vec::with_capacity(1 + tenant.len() + 128));
        key.0.push(tenant.len() as u8);
        key.0.extend_from_slice(tenant.as_bytes());
        Ok(key)
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(super) fn stream(self, id: StreamId) -> Self {
        self.bytes(&id.0.to_be_bytes())
    }

    pub(super) fn time(self, timestamp: i64) -> Self {
        self.bytes(&ordered(timestamp))
    }

    pub(super) fn name(self, name: &str) -> Self {
        self.text(name, SHORT_NAME_BYTES)
    }

    pub(super) fn value(self, value: &str) -> Self {
        self.text(value, SHORT_VALUE_BYTES)
    }

    /// The first key after all those that begin with this one, where a text follows.
    pub(super) fn after_texts(self) -> Self {
        self.bytes(&[END])
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn text(mut self, text: &str, short: usize) -> Self {
        let bytes = text.as_bytes();
        if bytes.len() <= short {
            self.0.extend_from_slice(bytes);
            self.0.push(END);
        } else {
            self.0.extend_from_slice(&bytes[..short]);
            self.0.push(HASHED);
            self.0.extend_from_slice(&xxh3_128(bytes).to_be_bytes());
        }
        self
    }
}

/// A text as a key shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyText<'a> {
    /// The whole text.
    Short(&'a str),
    /// The key holds a hash: look the text up in the labels of a stream.
    Hashed,
}

/// Reads a text off the front of a key; returns it and the rest. `None` if there is none.
pub(super) fn split_text(key: &[u8]) -> Option<(KeyText<'_>, &[u8])> {
    let end = key.iter().position(|&byte| byte >= HASHED)?;
    let (text, rest) = key.split_at(end);
    match rest[0] {
        END => Some((KeyText::Short(std::str::from_utf8(text).ok()?), &rest[1..])),
        _ => Some((KeyText::Hashed, rest.get(1 + HASH_BYTES..)?)),
    }
}

/// Eight bytes that sort as the number does.
pub(super) fn ordered(number: i64) -> [u8; 8] {
    (number as u64 ^ 1 << 63).to_be_bytes()
}

/// Undoes [`ordered`].
pub(super) fn unordered(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ 1 << 63) as i64
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{
        Key, KeyText, MAX_KEY_BYTES, MAX_TENANT_BYTES, SHORT_NAME_BYTES, ordered, split_text, unordered,
    };

    proptest! {
        #[test]
        fn times_sort_as_numbers_and_come_back(a: i64, b: i64) {
            prop_assert_eq!(ordered(a).cmp(&ordered(b)), a.cmp(&b));
            prop_assert_eq!(unordered(ordered(a)), a);
        }

        #[test]
        fn texts_come_back_or_are_hashed(name in ".{0,150}", rest in vec(any::<u8>(), 0..9)) {
            let key = Key::new().name(&name).bytes(&rest);
            let expected = if name.len() <= SHORT_NAME_BYTES { KeyText::Short(&name) } else { KeyText::Hashed };
            prop_assert_eq!(split_text(key.as_bytes()), Some((expected, &rest[..])));
        }

        #[test]
        fn short_texts_sort_as_they_read(a in ".{0,20}", b in ".{0,20}") {
            let keys = [&a, &b].map(|text| Key::new().name(text));
            prop_assert!(a == b || a.starts_with(&b) || b.starts_with(&a)
                || keys[0].as_bytes().cmp(keys[1].as_bytes()) == a.cmp(&b));
            prop_assert!(a == b || !keys[0].as_bytes().starts_with(keys[1].as_bytes()));
        }

        #[test]
        fn arbitrary_keys_never_panic(key in vec(any::<u8>(), 0..600)) {
            split_text(&key);
        }
    }

    #[test]
    fn long_texts_with_one_beginning_have_different_keys() {
        let long = "x".repeat(2000);
        let keys = [format!("{long}a"), format!("{long}b")].map(|value| Key::new().value(&value));
        assert_ne!(keys[0].as_bytes(), keys[1].as_bytes());
    }

    #[test]
    fn longest_key_fits_and_a_longer_tenant_is_refused() {
        let tenant = "t".repeat(MAX_TENANT_BYTES);
        let key = Key::of(&tenant).unwrap().name(&"n".repeat(5000)).value(&"v".repeat(5000));
        assert!(key.as_bytes().len() <= MAX_KEY_BYTES);
        assert!(Key::of(&format!("{tenant}t")).is_err());
    }
}
