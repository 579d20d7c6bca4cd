//! A member as the ring knows it: a name, a zone, a weight and the tokens it claims.

use std::{fmt, str::FromStr, sync::Arc};

use super::Token;
use crate::limits::{NAME_BYTES_MAX, WEIGHT_MAX};

/// A node's name: unique in its cluster and kept for the node's whole life, across restarts and new addresses.
/// 1 to 63 characters of `[A-Za-z0-9._-]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(Arc<str>);

/// A failure domain: a rack, a room, a ship's deck. Replicas go to distinct zones first. Same alphabet as
/// [`NodeId`], but may be empty: members without a zone share one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Zone(Arc<str>);

/// What a member wishes to hold in relation to others, 1 to 10,000; 100 is usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

/// A name that is no [`NodeId`] or [`Zone`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be a {what}: use up to {NAME_BYTES_MAX} characters of A-Z, a-z, 0-9, `.`, `_`, `-`")]
pub struct InvalidName {
    what: &'static str,
    name: String,
}

/// A weight outside of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be a weight: use a whole number from 1 to {WEIGHT_MAX}, where 100 is usual")]
pub struct InvalidWeight(String);

impl NodeId {
    /// Takes a name.
    ///
    /// # Errors
    /// When it is empty, too long or has other characters.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        if name.is_empty() {
            return Err(InvalidName { what: "node name", name: String::new() });
        }
        checked("node name", name).map(Self)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Zone {
    /// Takes a zone's name.
    ///
    /// # Errors
    /// When it is too long or has other characters.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        checked("zone", name).map(Self)
    }

    /// The name; empty for the zone of those who have none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn checked(what: &'static str, name: &str) -> Result<Arc<str>, InvalidName> {
    let fits = name.len() <= NAME_BYTES_MAX;
    if fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        return Ok(name.into());
    }
    // The name may come from a peer: only its beginning is worth showing.
    Err(InvalidName { what, name: name.chars().take(NAME_BYTES_MAX).collect() })
}

impl Weight {
    /// Takes a weight.
    ///
    /// # Errors
    /// When it is 0 or above 10,000.
    pub fn new(weight: u16) -> Result<Self, InvalidWeight> {
        if (1..=WEIGHT_MAX).contains(&weight) {
            Ok(Self(weight))
        } else {
            Err(InvalidWeight(weight.to_string()))
        }
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

impl FromStr for NodeId {
    type Err = InvalidName;
    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl FromStr for Zone {
    type Err = InvalidName;
    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl FromStr for Weight {
    type Err = InvalidWeight;
    fn from_str(text: &str) -> Result<Self, InvalidWeight> {
        text.parse()
            .map_err(|_| InvalidWeight(text.chars().take(NAME_BYTES_MAX).collect()))
            .and_then(Self::new)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A member of a [`Ring`](super::Ring).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its name.
    pub id: NodeId,
    /// Its failure domain.
    pub zone: Zone,
    /// What it wishes to hold.
    pub weight: Weight,
    /// The tokens it claims, in any order.
    pub tokens: Vec<Token>,
}

#[cfg(test)]
mod tests {
    use super::{NodeId, Weight, Zone};

    #[test]
    fn names_keep_to_their_alphabet_and_length() {
        for (name, node, zone) in [
            ("a", true, true),
            ("Rack-7.deck_b", true, true),
            ("", false, true),
            ("a b", false, false),
            ("ü", false, false),
            ("a,b", false, false),
            (&"x".repeat(63), true, true),
            (&"x".repeat(64), false, false),
        ] {
            assert_eq!(NodeId::new(name).is_ok(), node, "{name}");
            assert_eq!(Zone::new(name).is_ok(), zone, "{name}");
        }
    }

    #[test]
    fn an_endless_name_is_not_echoed_whole() {
        let error = NodeId::new(&"ü".repeat(100_000)).unwrap_err();
        assert!(error.to_string().len() < 300);
    }

    #[test]
    fn weights_keep_to_their_bounds() {
        for (text, expected) in
            [("1", true), ("10000", true), ("0", false), ("10001", false), ("-1", false), ("x", false)]
        {
            assert_eq!(text.parse::<Weight>().is_ok(), expected, "{text}");
        }
    }
}
