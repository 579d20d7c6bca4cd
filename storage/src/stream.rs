//! Streams: one label set of one tenant, and the 128-bit id that names it everywhere.

use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

/// A label set: names ascend and are unique, no value is empty. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<[(Box<str>, Box<str>)]>);

impl Labels {
    /// Sorts the pairs and drops those with an empty value, as Loki does. Of several pairs with one name the
    /// last in the iterator's order wins.
    pub fn new<N: Into<Box<str>>, V: Into<Box<str>>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut pairs: Vec<(Box<str>, Box<str>)> =
            pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|later, first| later.0 == first.0);
        pairs.retain(|(_, value)| !value.is_empty());
        Labels(pairs.into())
    }

    /// The value of a label, if the set has it.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        Some(&self.0[at].1)
    }

    /// Names and values, in order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Prints as Loki and Prometheus do: `{a="b", c="d"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (n, (name, value)) in self.iter().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

/// Names a stream: the 128-bit XXH3 hash of its tenant and labels.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u128);

impl StreamId {
    /// Hashes the tenant and each label's name and value, each closed by 0xFF: a byte that UTF-8 never holds,
    /// so that no two different sets are written alike.
    pub fn of(tenant: &str, labels: &Labels) -> Self {
        const END: &[u8] = &[0xFF];
        let mut hash = Xxh3::new();
        for part in std::iter::once(tenant).chain(labels.iter().flat_map(|(name, value)| [name, value])) {
            hash.update(part.as_bytes());
            hash.update(END);
        }
        StreamId(hash.digest128())
    }

    /// The place on the ring: the top 64 bits.
    pub fn token(self) -> u64 {
        (self.0 >> 64) as u64
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{Labels, StreamId};

    #[test]
    fn labels_are_sorted_and_empty_values_dropped() {
        let labels = Labels::new([("b", "2"), ("a", "1"), ("c", "")]);
        assert_eq!(labels.to_string(), r#"{a="1", b="2"}"#);
        assert_eq!(labels.get("b"), Some("2"));
        assert_eq!(labels.get("c"), None);
    }

    #[test]
    fn last_of_two_values_wins() {
        assert_eq!(Labels::new([("a", "1"), ("a", "2")]).get("a"), Some("2"));
    }

    #[test]
    fn stream_id_depends_on_tenant_names_and_values() {
        let labels = Labels::new([("a", "bc")]);
        let id = StreamId::of("t", &labels);
        assert_eq!(id, StreamId::of("t", &labels));
        assert_ne!(id, StreamId::of("u", &labels));
        assert_ne!(id, StreamId::of("t", &Labels::new([("ab", "c")])));
    }
}
