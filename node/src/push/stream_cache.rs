//! From a label string to a stream, remembered: clients repeat their label strings push after push.
//!
//! Reading, sorting and hashing a label set costs some microseconds and a dozen allocations; finding it by the
//! hash of its raw bytes costs some tens of nanoseconds and none. The cache has two generations: when the
//! young one is full, it becomes the old one and what the old one held is forgotten. An entry found in the old
//! one moves to the young one, so what is in use stays.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use grapevine_storage::stream::{Labels, StreamId};
use xxhash_rust::xxh3::Xxh3;

use super::error::PushError;
use super::labels::{self, Pair};
use super::service_name::{self, SERVICE_NAME};

/// Label strings in one generation. At the usual 100 bytes a string this is some 10 MiB for both.
const STRINGS_MAX: usize = 16 * 1024;

/// Bytes of label strings in one generation: the bound that holds when a client sends long ones.
const STRING_BYTES_MAX: usize = 8 << 20;

/// A stream as a label string names it.
#[derive(Debug, PartialEq, Eq)]
pub struct NamedStream {
    /// Sorted, without empty values, with `service_name` where that was derived.
    pub labels: Labels,
    /// The hash of tenant and labels.
    pub id: StreamId,
    /// A name that the client wrote twice: reason enough to refuse the stream.
    pub duplicate: Option<Box<str>>,
}

/// How label strings become streams: the tenant, and where the name of a service is taken from.
#[derive(Clone, Copy, Debug)]
pub struct Naming<'a> {
    /// The tenant whose streams they are.
    pub tenant: &'a str,
    /// Labels to derive `service_name` from; empty turns that off.
    pub service_name_sources: &'a [String],
}

impl Naming<'_> {
    /// The stream of a label set given as pairs in any order.
    pub fn stream(&self, mut pairs: Vec<Pair<'_>>) -> NamedStream {
        let name = service_name::discover(&pairs, self.service_name_sources).map(str::to_owned);
        if let Some(name) = name {
            pairs.push((SERVICE_NAME.into(), name.into()));
        }
        let duplicate = first_duplicate(&pairs);
        let labels = Labels::new(pairs);
        NamedStream { id: StreamId::of(self.tenant, &labels), labels, duplicate }
    }

    /// Two different ways to name streams must not share cache entries: the tenant and the sources go into
    /// the key, each closed by a byte that UTF-8 never holds.
    fn key(&self, text: &str) -> u128 {
        let mut hash = Xxh3::new();
        for part in std::iter::once(self.tenant).chain(self.service_name_sources.iter().map(String::as_str)) {
            hash.update(part.as_bytes());
            hash.update(&[0xFF]);
        }
        hash.update(&[0xFF]);
        hash.update(text.as_bytes());
        hash.digest128()
    }
}

fn first_duplicate(pairs: &[Pair<'_>]) -> Option<Box<str>> {
    let mut names: Vec<&str> =
        pairs.iter().filter(|(_, value)| !value.is_empty()).map(|(name, _)| &**name).collect();
    names.sort_unstable();
    names.windows(2).find(|two| two[0] == two[1]).map(|two| two[0].into())
}

/// The cache. One for a node; its lock is held for a lookup or an insertion, never while a string is read.
#[derive(Debug, Default)]
pub struct StreamCache {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    streams: HashMap<u128, Remembered, BuildHasherDefault<AlreadyHashed>>,
    string_bytes: usize,
}

/// The tenant and string are kept and compared: the hash is not keyed, so a client could make two strings
/// meet in it.
#[derive(Clone, Debug)]
struct Remembered {
    tenant: Box<str>,
    text: Box<str>,
    stream: Arc<NamedStream>,
}

/// The keys are hashes: their low half serves the table as it is. Nothing iterates over the table.
#[derive(Debug, Default)]
struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}

impl StreamCache {
    /// The stream a label string names.
    ///
    /// # Errors
    /// The string cannot be read.
    pub fn stream(&self, naming: Naming<'_>, text: &str) -> Result<Arc<NamedStream>, PushError> {
        let key = naming.key(text);
        if let Some(stream) = self.lock().find(key, naming.tenant, text) {
            return Ok(stream);
        }
        let pairs = labels::parse(text)
            .map_err(|error| PushError::invalid(format!("couldn't parse labels: {error}")))?;
        let stream = Arc::new(naming.stream(pairs));
        let remembered =
            Remembered { tenant: naming.tenant.into(), text: text.into(), stream: stream.clone() };
        self.lock().keep(key, remembered);
        Ok(stream)
    }

    /// A panic under the lock leaves a table that is whole: it is a cache of pure results.
    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn find(&mut self, key: u128, tenant: &str, text: &str) -> Option<Arc<NamedStream>> {
        let same = |found: &Remembered| &*found.text == text && &*found.tenant == tenant;
        if let Some(found) = self.young.streams.get(&key) {
            return same(found).then(|| found.stream.clone());
        }
        if !self.old.streams.get(&key).is_some_and(same) {
            return None;
        }
        let found = self.old.streams.remove(&key)?;
        let stream = found.stream.clone();
        self.keep(key, found);
        Some(stream)
    }

    fn keep(&mut self, key: u128, stream: Remembered) {
        let bytes = stream.text.len() + stream.tenant.len();
        let full =
            self.young.streams.len() >= STRINGS_MAX || self.young.string_bytes + bytes > STRING_BYTES_MAX;
        if full {
            self.old = std::mem::take(&mut self.young);
        }
        if bytes <= STRING_BYTES_MAX {
            self.young.string_bytes += bytes;
            self.young.streams.insert(key, stream);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Naming, STRING_BYTES_MAX, STRINGS_MAX, StreamCache};

    const NONE: &[String] = &[];

    fn naming<'a>(tenant: &'a str, sources: &'a [String]) -> Naming<'a> {
        Naming { tenant, service_name_sources: sources }
    }

    #[test]
    fn a_string_is_read_once() {
        let cache = StreamCache::default();
        let first = cache.stream(naming("t", NONE), r#"{b="c",a="b"}"#).unwrap();
        let again = cache.stream(naming("t", NONE), r#"{b="c",a="b"}"#).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let other_spelling = cache.stream(naming("t", NONE), r#"{a="b", b="c"}"#).unwrap();
        assert_eq!(other_spelling.id, first.id);
    }

    #[test]
    fn tenants_and_naming_rules_do_not_share() {
        let cache = StreamCache::default();
        let sources = [String::from("a")];
        let id = |naming| cache.stream(naming, r#"{a="b"}"#).unwrap().id;
        let ids = [id(naming("t", NONE)), id(naming("u", NONE)), id(naming("t", &sources))];
        assert!(ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2]);
        let named = cache.stream(naming("t", &sources), r#"{a="b"}"#).unwrap();
        assert_eq!(named.labels.to_string(), r#"{a="b", service_name="b"}"#);
    }

    #[test]
    fn duplicates_are_noticed_and_empty_values_are_not() {
        let cache = StreamCache::default();
        let duplicate = |text| cache.stream(naming("t", NONE), text).unwrap().duplicate.clone();
        assert_eq!(duplicate(r#"{a="b",c="d",a="e"}"#).as_deref(), Some("a"));
        assert_eq!(duplicate(r#"{a="b",a=""}"#), None);
    }

    #[test]
    fn what_is_in_use_outlives_a_flood_of_strings() {
        let cache = StreamCache::default();
        let kept = cache.stream(naming("t", NONE), r#"{a="kept"}"#).unwrap();
        for n in 0..3 * STRINGS_MAX {
            cache.stream(naming("t", NONE), &format!(r#"{{a="{n}"}}"#)).unwrap();
            if n % 1000 == 0 {
                assert!(Arc::ptr_eq(&kept, &cache.stream(naming("t", NONE), r#"{a="kept"}"#).unwrap()));
            }
        }
        let generations = cache.lock();
        assert!(
            generations.young.streams.len() <= STRINGS_MAX && generations.old.streams.len() <= STRINGS_MAX
        );
    }

    #[test]
    fn long_strings_are_bounded_in_bytes() {
        let cache = StreamCache::default();
        for n in 0..40 {
            let text = format!(r#"{{a="{}{n}"}}"#, "x".repeat(1 << 20));
            cache.stream(naming("t", NONE), &text).unwrap();
        }
        let generations = cache.lock();
        assert!(generations.young.string_bytes <= STRING_BYTES_MAX);
        assert!(generations.old.string_bytes <= STRING_BYTES_MAX);
    }
}
