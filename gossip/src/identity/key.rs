//! The cluster's secret, and how it is written down.

use std::{fmt, str::FromStr};

use rustls::crypto::{ring, tls13::HkdfExpander};

use super::IdentityError;

/// What a written key starts with: product and version of the notation.
const PREFIX: &str = "gv1-";

/// Bytes of the check at the end of a written key. Against slips of the pen, not against attackers.
const CHECK_BYTES: usize = 4;

/// Longest host in a join token: the longest DNS name.
const HOST_BYTES_MAX: usize = 253;

/// The cluster's secret: who has it belongs to the cluster and can make others belong. 256 random bits, from which
/// all else is derived (HKDF-SHA-256, RFC 5869), each under a label of its own.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; 32]);

/// Most addresses of members in a join token: enough for every node of a small cluster.
const SEEDS_MAX: usize = 64;

/// What a joining node needs: the cluster's key and the addresses of some members, written `TOKEN@host:port` or
/// `TOKEN@host:port,host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// The cluster's key.
    pub key: ClusterKey,
    /// `host:port` of each of these members, to be resolved by whoever connects; at least one.
    pub seeds: Vec<String>,
}

/// A text that is no token. The text itself is a secret and not repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// It does not begin as tokens do.
    #[error("this is no join token: it must begin with `{PREFIX}`, as printed by `grapevine cluster init`")]
    Prefix,
    /// It is cut off, or has a wrong character somewhere.
    #[error("this join token is damaged: copy it again, whole, as printed by `grapevine cluster init`")]
    Damaged,
    /// The part behind the `@` is missing or is no address.
    #[error("this join token names no member: write it as `TOKEN@host:port` or `TOKEN@host:port,host:port`")]
    Seed,
}

impl ClusterKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// When the system gives no entropy.
    pub fn generate() -> Result<Self, IdentityError> {
        let mut key = [0; 32];
        ring::default_provider().secure_random.fill(&mut key).map_err(|_| IdentityError::Entropy)?;
        Ok(Self(key))
    }

    /// The key with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Writes the key down. The text is as secret as the key.
    pub fn expose(&self) -> String {
        let check = self.derived::<CHECK_BYTES>(b"grapevine check 1");
        let bytes = self.0.iter().chain(&check);
        std::iter::once(PREFIX.to_owned()).chain(bytes.map(|byte| format!("{byte:02x}"))).collect()
    }

    /// The seed of the authority's Ed25519 key.
    pub(super) fn authority_seed(&self) -> [u8; 32] {
        self.derived(b"grapevine authority 1")
    }

    /// A name for the cluster that tells nothing about the key.
    pub fn cluster_name(&self) -> String {
        self.derived::<8>(b"grapevine cluster name 1").iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn derived<const N: usize>(&self, label: &[u8]) -> [u8; N] {
        let mut out = [0; N];
        self.expander().expand_slice(&[label], &mut out).expect("a few bytes are below what HKDF can give");
        out
    }

    fn expander(&self) -> Box<dyn HkdfExpander> {
        let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
        let suite = suite.tls13().expect("the suite is one of TLS 1.3 by name");
        suite.hkdf_provider.extract_from_secret(Some(b"grapevine"), &self.0)
    }
}

impl FromStr for ClusterKey {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let hex = text.strip_prefix(PREFIX).ok_or(InvalidToken::Prefix)?.as_bytes();
        if hex.len() != 2 * (32 + CHECK_BYTES) {
            return Err(InvalidToken::Damaged);
        }
        let mut key = [0; 32];
        for (byte, pair) in key.iter_mut().zip(hex.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        let key = Self(key);
        // Comparing the written forms checks the check, and that there is one way only to write a key.
        if key.expose().eq_ignore_ascii_case(text) { Ok(key) } else { Err(InvalidToken::Damaged) }
    }
}

fn digit(character: u8) -> Result<u8, InvalidToken> {
    char::from(character).to_digit(16).map(|digit| digit as u8).ok_or(InvalidToken::Damaged)
}

impl FromStr for JoinToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let (key, seeds) = text.trim().split_once('@').ok_or(InvalidToken::Seed)?;
        let key = key.parse()?;
        let seeds: Vec<String> = seeds.split(',').map(|seed| seed.trim().to_owned()).collect();
        let usable = seeds.len() <= SEEDS_MAX && seeds.iter().all(|seed| is_address(seed));
        if usable { Ok(Self { key, seeds }) } else { Err(InvalidToken::Seed) }
    }
}

/// Whether a text is `host:port`, as far as can be told without asking anybody.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_is_one = !host.is_empty() && host.len() <= HOST_BYTES_MAX && !host.contains(char::is_whitespace);
    host_is_one && port.parse::<u16>().is_ok_and(|port| port != 0)
}

impl JoinToken {
    /// Writes the token down. The text is as secret as the key.
    pub fn expose(&self) -> String {
        format!("{}@{}", self.key.expose(), self.seeds.join(","))
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Logs are read by many.
        write!(f, "ClusterKey(of {})", self.cluster_name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{ClusterKey, InvalidToken, JoinToken};

    fn check(text: &str, expected: Result<(), InvalidToken>) {
        assert_eq!(text.parse::<JoinToken>().map(|_| ()), expected, "{text}");
    }

    #[test]
    fn tokens_are_read_as_printed_and_else_refused_with_a_reason() {
        let key = ClusterKey::from_bytes([7; 32]).expose();
        check(&format!("{key}@node-1.site:7946"), Ok(()));
        check(&format!("  {key}@[::1]:7946\n"), Ok(()));
        check(&format!("{key}@a:1, b:2,[::1]:3"), Ok(()));
        check(&format!("{key}@a:1,b"), Err(InvalidToken::Seed));
        check(&format!("{key}@a:1,"), Err(InvalidToken::Seed));
        check(&format!("{key}@{}", ["a:1"; 65].join(",")), Err(InvalidToken::Seed));
        check(&key, Err(InvalidToken::Seed));
        check(&format!("{key}@host"), Err(InvalidToken::Seed));
        check(&format!("{key}@host:0"), Err(InvalidToken::Seed));
        check(&format!("{key}@:1"), Err(InvalidToken::Seed));
        check(&format!("{key}@{}:1", "x".repeat(300)), Err(InvalidToken::Seed));
        check(&format!("{}@host:1", &key[4..]), Err(InvalidToken::Prefix));
        check(&format!("{}@host:1", &key[..key.len() - 1]), Err(InvalidToken::Damaged));
        check(&format!("{}0@host:1", &key[..key.len() - 1]), Err(InvalidToken::Damaged));
        check("@", Err(InvalidToken::Prefix));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_one_wrong_digit_is_noticed(bytes: [u8; 32], at in 4_usize..76) {
            let key = ClusterKey::from_bytes(bytes);
            let text = key.expose();
            prop_assert_eq!(text.parse::<ClusterKey>(), Ok(key));
            let mut wrong = text.into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            prop_assert!(String::from_utf8(wrong).unwrap().parse::<ClusterKey>().is_err());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,100}") {
            let _ = text.parse::<JoinToken>();
            let _ = format!("gv1-{text}@h:1").parse::<JoinToken>();
        }
    }

    #[test]
    fn every_address_of_a_token_is_kept() {
        let text = format!("{}@a:1,[::1]:2", ClusterKey::from_bytes([7; 32]).expose());
        let token: JoinToken = text.parse().unwrap();
        assert_eq!((token.seeds.len(), token.expose()), (2, text));
    }

    #[test]
    fn what_is_derived_never_changes() {
        // Nodes of different versions must derive the same authority and name.
        let key = ClusterKey::from_bytes([7; 32]);
        assert_eq!(key.cluster_name(), "4f7bb71e3693387e");
        assert_eq!(key.authority_seed()[..4], [209, 136, 146, 204]);
    }

    #[test]
    fn the_secret_does_not_reach_logs() {
        let key = ClusterKey::from_bytes([0xab; 32]);
        assert!(!format!("{key:?}").contains("abab"));
    }
}
