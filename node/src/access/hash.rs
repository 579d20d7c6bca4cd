//! What is kept of a password or a token: never the thing itself.
//!
//! A password is guessed, so its hash must be slow: PBKDF2 with HMAC-SHA256. A token is 256 bits of chance, which
//! nobody guesses, so SHA-256 of it will do.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};

/// Rounds of a new hash of a password, as OWASP advises: about a fifth of a CPU second.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("it is not 0");
/// Rounds that are believed: more would let a file stall the node.
const ROUNDS_MAX: u32 = 10_000_000;
const SALT_BYTES: usize = 16;
const TOKEN_BYTES: usize = 32;
const PASSWORD: &str = "pbkdf2-sha256";
const TOKEN: &str = "sha256";

/// SHA-256 of a token.
pub type TokenHash = [u8; SHA256_OUTPUT_LEN];

/// A password's hash.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    rounds: NonZeroU32,
    salt: Vec<u8>,
    hash: [u8; SHA256_OUTPUT_LEN],
}

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(<secret>)")
    }
}

impl PasswordHash {
    /// Hashes a password.
    ///
    /// # Errors
    /// The system has no random numbers.
    pub fn new(password: &str) -> anyhow::Result<Self> {
        Self::with_rounds(password, ROUNDS)
    }

    pub(super) fn with_rounds(password: &str, rounds: NonZeroU32) -> anyhow::Result<Self> {
        let salt = random::<SALT_BYTES>()?.to_vec();
        let mut hash = [0; SHA256_OUTPUT_LEN];
        pbkdf2::derive(PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut hash);
        Ok(PasswordHash { rounds, salt, hash })
    }

    /// Reads what [`Self::to_text`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let (name, rounds, salt, hash) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let rounds = rounds.parse().ok().filter(|rounds: &NonZeroU32| rounds.get() <= ROUNDS_MAX)?;
        let (salt, hash) = (STANDARD_NO_PAD.decode(salt).ok()?, STANDARD_NO_PAD.decode(hash).ok()?);
        let hash = hash.try_into().ok()?;
        (name == PASSWORD && parts.next().is_none()).then_some(PasswordHash { rounds, salt, hash })
    }

    /// For the file of users.
    pub fn to_text(&self) -> String {
        let [salt, hash] = [&self.salt[..], &self.hash].map(|part| STANDARD_NO_PAD.encode(part));
        format!("{PASSWORD}${}${salt}${hash}", self.rounds)
    }

    /// Whether it is that of a password. Slow.
    pub fn is_of(&self, password: &str) -> bool {
        pbkdf2::verify(PBKDF2_HMAC_SHA256, self.rounds, &self.salt, password.as_bytes(), &self.hash).is_ok()
    }
}

/// Draws a token.
///
/// # Errors
/// The system has no random numbers.
pub fn new_token() -> anyhow::Result<String> {
    Ok(format!("gv_{}", URL_SAFE_NO_PAD.encode(random::<TOKEN_BYTES>()?)))
}

/// The hash of a token.
pub fn of_token(token: &str) -> TokenHash {
    let hash = digest(&SHA256, token.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// For the file of users.
pub fn token_text(hash: &TokenHash) -> String {
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{TOKEN}${hex}")
}

/// Reads what [`token_text`] wrote.
pub fn parse_token(text: &str) -> Option<TokenHash> {
    let hex = text.strip_prefix(TOKEN)?.strip_prefix('$').filter(|hex| hex.len() == 64 && hex.is_ascii())?;
    let mut hash = [0; SHA256_OUTPUT_LEN];
    for (n, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(hash)
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::{PasswordHash, new_token, of_token, parse_token, token_text};

    #[test]
    fn a_password_is_known_by_its_hash_and_another_is_not() {
        let hash = PasswordHash::with_rounds("hush", NonZeroU32::new(10).unwrap()).unwrap();
        let read = PasswordHash::parse(&hash.to_text()).unwrap();
        assert_eq!(read, hash);
        assert!(read.is_of("hush") && !read.is_of("hush ") && !read.is_of(""));
        assert!(!format!("{hash:?}").contains(&hash.to_text()[20..]));
    }

    #[test]
    fn tokens_differ_and_are_known_by_their_hash() {
        let (token, other) = (new_token().unwrap(), new_token().unwrap());
        assert_ne!(token, other);
        assert_eq!(parse_token(&token_text(&of_token(&token))), Some(of_token(&token)));
    }

    #[test]
    fn what_is_no_hash_is_told_apart() {
        for text in [
            "",
            "hush",
            "pbkdf2-sha256$0$YQ$YQ",
            "pbkdf2-sha256$99999999999$YQ$YQ",
            "sha256$12",
            "pbkdf2-sha256$1$a",
        ] {
            assert!(PasswordHash::parse(text).is_none() && parse_token(text).is_none(), "{text}");
        }
    }
}
