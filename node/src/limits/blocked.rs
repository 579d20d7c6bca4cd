//! Queries that are refused: by their text, its hash, their kind, and what the client calls itself.

use std::collections::BTreeMap;

use regex::Regex;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::LimitError;

/// Queries that are blocked, at most: each is held against each query.
const BLOCKED_QUERIES_MAX: usize = 256;

/// Queries that are refused. What is not said fits any query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockedQuery {
    /// The query to the letter, or an expression that matches some part of it.
    pub pattern: String,
    /// `pattern` is a regular expression.
    pub regex: bool,
    /// The query's hash, by 32-bit FNV-1; 0 is none. Then `pattern` says nothing.
    pub hash: u32,
    /// Only queries of these kinds.
    #[serde(deserialize_with = "kinds")]
    pub types: Vec<QueryKind>,
    /// Only queries with all of these in their `X-Query-Tags`, in any case.
    #[serde(alias = "query_tags")]
    pub tags: BTreeMap<String, String>,
}

/// Kinds of queries, by Loki's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueryKind {
    /// It asks for numbers.
    Metric,
    /// It asks for lines, and does something with each.
    Filter,
    /// It asks for lines by a selector alone.
    Limited,
}

/// A list, or as Loki's configuration has it: `filter,limited`.
fn kinds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<QueryKind>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        List(Vec<QueryKind>),
        Text(String),
    }
    let of = |name: &str| match name.trim() {
        "metric" => Ok(QueryKind::Metric),
        "filter" => Ok(QueryKind::Filter),
        "limited" => Ok(QueryKind::Limited),
        other => Err(D::Error::custom(format!("`{other}` is no kind of query: metric, filter or limited"))),
    };
    match Written::deserialize(deserializer)? {
        Written::List(kinds) => Ok(kinds),
        Written::Text(text) => text.split(',').filter(|name| !name.is_empty()).map(of).collect(),
    }
}

/// A query as far as it may be blocked for it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'q> {
    /// Its text.
    pub text: &'q str,
    /// Its kind.
    pub kind: QueryKind,
    /// The client's `X-Query-Tags`: `name=value` and commas.
    pub tags: &'q str,
}

/// Whether a query is refused: the first entry that its text fits decides, as in Loki.
pub fn is_blocked(blocked: &[BlockedQuery], asked: Asked<'_>) -> bool {
    let decides = blocked.iter().find(|blocked| blocked.has_text(asked.text));
    decides.is_some_and(|blocked| blocked.has_kind(asked.kind) && blocked.has_tags(asked.tags))
}

impl BlockedQuery {
    fn has_text(&self, text: &str) -> bool {
        if self.hash > 0 {
            return self.hash == fnv1(text);
        }
        let has_pattern = || Regex::new(&self.pattern).is_ok_and(|regex| regex.is_match(text));
        self.pattern.is_empty() || self.pattern.trim() == text.trim() || (self.regex && has_pattern())
    }

    fn has_kind(&self, kind: QueryKind) -> bool {
        self.types.is_empty() || self.types.contains(&kind)
    }

    fn has_tags(&self, tags: &str) -> bool {
        let is = |a: &str, b: &str| a.trim().to_lowercase() == b.to_lowercase();
        let has = |(name, value): (&String, &String)| {
            let given = tags.split(',').filter_map(|tag| tag.split_once('='));
            given.into_iter().any(|(given, is_value)| is(given, name) && is(is_value, value))
        };
        self.tags.iter().all(has)
    }
}

/// Loki's hash of a query.
fn fnv1(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash: u32, byte| hash.wrapping_mul(0x0100_0193) ^ u32::from(byte))
}

/// Checks what types cannot say.
///
/// # Errors
/// The first entry that makes no sense.
pub(super) fn validate(blocked: &[BlockedQuery]) -> Result<(), LimitError> {
    let error = |value: String, problem: String| Err(LimitError { key: "blocked_queries", value, problem });
    if blocked.len() > BLOCKED_QUERIES_MAX {
        return error(
            blocked.len().to_string(),
            format!("entries are too many: at most {BLOCKED_QUERIES_MAX}"),
        );
    }
    for BlockedQuery { pattern, regex, hash, types, tags } in blocked {
        if pattern.is_empty() && *hash == 0 && types.is_empty() && tags.is_empty() {
            let problem = "would refuse every query; give it a `pattern`, `hash`, `types` or `tags`";
            return error(String::new(), problem.into());
        }
        if *regex && Regex::new(pattern).is_err() {
            return error(pattern.clone(), "is no regular expression".into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Asked, BlockedQuery, QueryKind, fnv1, is_blocked};

    const LINES: Asked<'_> = Asked { text: r#"{a="b"}"#, kind: QueryKind::Limited, tags: "" };
    const SOME: Asked<'_> = Asked { text: r#"{a="b"} |= "x""#, kind: QueryKind::Filter, tags: "" };
    const RATE: Asked<'_> = Asked { text: r#"rate({a="b"}[1m])"#, kind: QueryKind::Metric, tags: "" };

    fn blocked(text: &str) -> Vec<BlockedQuery> {
        #[derive(serde::Deserialize)]
        struct Written {
            blocked_queries: Vec<BlockedQuery>,
        }
        let written: Written = toml::from_str(&format!("blocked_queries = [{text}]")).unwrap();
        written.blocked_queries
    }

    #[test]
    fn queries_are_known_by_their_text_and_kind() {
        for (text, expected) in [
            (r#"{pattern = ' {a="b"}'}"#, [true, false, false]),
            ("{pattern = '=.b', regex = true}", [true, true, true]),
            ("{pattern = '^rate', regex = true}", [false, false, true]),
            ("{types = ['filter', 'limited']}", [true, true, false]),
            ("{types = 'filter,limited'}", [true, true, false]),
            ("{pattern = '=.b', regex = true, types = ['filter']}", [false, true, false]),
            ("{pattern = 'other'}, {types = ['metric']}", [false, false, true]),
            // The first that fits by its text decides.
            (
                "{pattern = '^rate', regex = true, types = 'filter'}, {pattern = '=.b', regex = true}",
                [true, true, false],
            ),
        ] {
            let blocked = blocked(text);
            assert_eq!([LINES, SOME, RATE].map(|asked| is_blocked(&blocked, asked)), expected, "{text}");
        }
    }

    #[test]
    fn queries_are_known_by_lokis_hash() {
        // The hash and its query are those of Loki's documentation.
        let query = r#"{stream="stdout",pod="loki-canary-9w49x"}"#;
        assert_eq!(fnv1(query), 2_943_214_005);
        let hash = "{hash = 2943214005, types = 'filter,limited'}";
        assert!(is_blocked(&blocked(hash), Asked { text: query, ..LINES }));
        assert!(!is_blocked(&blocked(hash), Asked { text: query, ..RATE }));
        assert!(!is_blocked(&blocked(hash), LINES));
        assert!(is_blocked(&blocked(&format!("{hash}, {{types = 'limited'}}")), LINES));
    }

    #[test]
    fn queries_are_known_by_what_the_client_calls_itself() {
        let blocked = blocked("{tags = {Source = 'Grafana', user = 'x'}}");
        for (tags, expected) in [
            ("source=grafana,user=X", true),
            ("a=b, USER=x ,Source=grafana", true),
            ("source=grafana", false),
            ("source=other,user=x", false),
            ("", false),
        ] {
            assert_eq!(is_blocked(&blocked, Asked { tags, ..LINES }), expected, "{tags}");
        }
    }
}
