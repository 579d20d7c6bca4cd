//! What a member tells of itself, as chitchat's key-values.
//!
//! Gossip carries little: zone, weight, state, tokens and versions, some 1.2 KiB a member. Only the member itself
//! writes its values, and chitchat versions each of them, so nobody's news can be undone by somebody else's.
//! A key that is missing or cannot be read has its default, so that members of other versions stay visible.

use std::{fmt, str::FromStr};

use crate::{
    limits::{BUILD_BYTES_MAX, TOKENS_PER_MEMBER_MAX},
    ring::{Token, Weight, Zone},
};

const STATE: &str = "state";
const ZONE: &str = "zone";
const WEIGHT: &str = "weight";
const TOKENS: &str = "tokens";
const BUILD: &str = "build";

/// Hexadecimal digits of one token.
const TOKEN_DIGITS: usize = 16;

/// What a member is doing in the cluster. It moves down this list, never up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Takes writes for its ranges, fetches what others hold of them, and is not asked yet. Without tokens: waits to
    /// be placed.
    #[default]
    Joining,
    /// Writes and reads.
    Active,
    /// Hands over what it holds; still reads.
    Leaving,
    /// Has handed over everything and is about to end.
    Left,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Leaving => "leaving",
            Self::Left => "left",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A state that does not exist in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such state; states are `joining`, `active`, `leaving` and `left`")]
pub struct UnknownState;

impl FromStr for State {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let all = [Self::Joining, Self::Active, Self::Leaving, Self::Left];
        all.into_iter().find(|state| state.text() == text).ok_or(UnknownState)
    }
}

/// What a member tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Profile {
    /// What it is doing.
    pub state: State,
    /// Its failure domain.
    pub zone: Zone,
    /// What it wishes to hold.
    pub weight: Weight,
    /// Its tokens; none until it is placed.
    pub tokens: Vec<Token>,
    /// The version of the software, for people; at most [`BUILD_BYTES_MAX`] bytes.
    pub build: String,
}

impl Profile {
    /// The key-values to gossip.
    pub(super) fn encode(&self) -> Vec<(String, String)> {
        let pairs = [
            (STATE, self.state.to_string()),
            (ZONE, self.zone.to_string()),
            (WEIGHT, self.weight.to_string()),
            (TOKENS, encode_tokens(&self.tokens)),
            (BUILD, cut(&self.build).to_owned()),
        ];
        pairs.map(|(key, value)| (key.to_owned(), value)).to_vec()
    }

    /// Reads key-values; `get` returns a key's value. None as long as any is missing: gossip tells that a member is there
    /// before it tells anything of it.
    pub(super) fn decode<'a>(get: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        Some(Self {
            state: read(get(STATE)?),
            zone: read(get(ZONE)?),
            weight: read(get(WEIGHT)?),
            tokens: decode_tokens(get(TOKENS)?),
            build: cut(get(BUILD)?).to_owned(),
        })
    }
}

fn read<T: FromStr + Default>(value: &str) -> T {
    value.parse().unwrap_or_default()
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(BUILD_BYTES_MAX)]
}

fn encode_tokens(tokens: &[Token]) -> String {
    tokens.iter().take(TOKENS_PER_MEMBER_MAX).map(Token::to_string).collect()
}

/// Sorted and distinct, at most [`TOKENS_PER_MEMBER_MAX`]; what is no token is passed over.
fn decode_tokens(text: &str) -> Vec<Token> {
    let digits = text.as_bytes().chunks_exact(TOKEN_DIGITS).take(TOKENS_PER_MEMBER_MAX);
    let read = |digits| u64::from_str_radix(str::from_utf8(digits).ok()?, 16).ok().map(Token);
    let mut tokens: Vec<Token> = digits.filter_map(read).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::{Profile, State, Token};
    use crate::limits::{BUILD_BYTES_MAX, TOKENS_PER_MEMBER_MAX};

    fn decode(pairs: &BTreeMap<String, String>) -> Profile {
        try_decode(pairs).unwrap()
    }

    fn try_decode(pairs: &BTreeMap<String, String>) -> Option<Profile> {
        Profile::decode(|key| pairs.get(key).map(String::as_str))
    }

    #[test]
    fn of_a_member_nothing_is_known_before_all_is() {
        let all: BTreeMap<String, String> = Profile::default().encode().into_iter().collect();
        assert_eq!(try_decode(&all), Some(Profile::default()));
        for key in all.keys() {
            let mut most = all.clone();
            most.remove(key);
            assert_eq!(try_decode(&most), None, "{key}");
        }
    }

    proptest! {
        #[test]
        fn a_profile_is_read_as_written(
            tokens in proptest::collection::btree_set(proptest::num::u64::ANY, 0..=TOKENS_PER_MEMBER_MAX),
            zone in "[a-z0-9._-]{0,63}", weight in 1_u16..=10_000, build in "[ -~]{0,64}"
        ) {
            for state in [State::Joining, State::Active, State::Leaving, State::Left] {
                let profile = Profile {
                    state,
                    zone: zone.parse().unwrap(),
                    weight: weight.to_string().parse().unwrap(),
                    tokens: tokens.iter().copied().map(Token).collect(),
                    build: build.clone(),
                };
                prop_assert_eq!(&decode(&profile.encode().into_iter().collect()), &profile);
            }
        }

        #[test]
        fn any_values_are_read_within_bounds(values in proptest::collection::vec(".{0,300}", 5)) {
            let keys = ["state", "zone", "weight", "tokens", "build"].map(str::to_owned);
            let profile = decode(&keys.into_iter().zip(values).collect());
            prop_assert!(profile.build.len() <= BUILD_BYTES_MAX);
        }
    }

    #[test]
    fn a_peer_cannot_gossip_tokens_without_end() {
        let text = (0..100_000_u64).map(|token| Token(token).to_string()).collect();
        let mut pairs: BTreeMap<String, String> = Profile::default().encode().into_iter().collect();
        pairs.insert("tokens".to_owned(), text);
        let profile = decode(&pairs);
        assert_eq!(profile.tokens.len(), TOKENS_PER_MEMBER_MAX);
    }
}
