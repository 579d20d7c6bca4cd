//! Texts that are no queries: whatever comes over the network must end in an answer or an error.

use super::{parse, parse_matchers};
use crate::print::{pretty, to_query};

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const ROUNDS: usize = 5_000;

const WORDS: &[&str] = &[
    "{",
    "}",
    "(",
    ")",
    "[5m]",
    "[",
    "]",
    ",",
    "|",
    "|=",
    "!=",
    "=~",
    "!~",
    "|~",
    "|>",
    "!>",
    "=",
    "==",
    ">",
    "<=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "^",
    "and",
    "or",
    "unless",
    "app",
    "\"x\"",
    "`y`",
    "'z'",
    "1",
    "-1",
    "5m",
    "1KB",
    "1e3",
    "rate",
    "sum",
    "by",
    "without",
    "topk",
    "quantile_over_time",
    "avg_over_time",
    "unwrap",
    "offset",
    "json",
    "logfmt",
    "--strict",
    "regexp",
    "pattern",
    "line_format",
    "label_format",
    "drop",
    "keep",
    "ip",
    "bytes",
    "vector",
    "label_replace",
    "bool",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "#",
    "//",
    "/*",
    "\n",
    "\u{a0}",
    "\"\\xff\"",
    "\"",
    "{app=\"x\"}",
    "rate({app=\"x\"}[1m])",
    "0x",
    "1_",
    ".5",
    "é",
    "\u{0}",
];

const QUERIES: &[&str] = &[
    r#"sum by (a, b) (rate({app="x", env=~"y.+"} |= "e" or ip("10.0.0.0/8") | json a="b[0]" | a > 5m or b = 1KB [5m] offset 1h)) > bool 2"#,
    r#"quantile_over_time(0.99, {app="x"} | logfmt --strict | unwrap duration(took) | __error__="" [1h]) by (pod)"#,
    r#"label_replace(topk(3, count_over_time({app="x"}[1m])), "a", "$1", "b", "(.*)") * on (a) group_left (c) vector(2)"#,
    r#"{app="x"} | pattern "<a> <_>" | regexp "(?P<b>\\d+)" | line_format `{{.a}}` | label_format c=a,d="e" | drop a, b="x""#,
];

/// Numbers without end from a seed (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

/// What parses must also print, and mean the same when read again.
fn check(text: &str) {
    let _ = parse_matchers(text);
    let Ok(expr) = parse(text) else {
        return;
    };
    let exact = to_query(&expr);
    let again = parse(&exact).unwrap_or_else(|error| panic!("{text:?} printed {exact:?}: {error}"));
    assert_eq!(to_query(&again), exact, "{text:?}");
    assert!(!pretty(&expr).is_empty());
}

#[test]
fn soups_of_words_never_panic() {
    let mut numbers = Numbers(SEED);
    for _ in 0..ROUNDS {
        let words: Vec<&str> = (0..numbers.below(14)).map(|_| WORDS[numbers.below(WORDS.len())]).collect();
        check(&words.join(if numbers.below(3) == 0 { "" } else { " " }));
    }
}

#[test]
fn mutated_queries_never_panic() {
    let mut numbers = Numbers(SEED);
    for _ in 0..ROUNDS {
        let mut text: Vec<char> = QUERIES[numbers.below(QUERIES.len())].chars().collect();
        for _ in 0..=numbers.below(3) {
            mutate(&mut text, &mut numbers);
        }
        check(&text.into_iter().collect::<String>());
    }
}

/// Cuts out, repeats or replaces a piece.
fn mutate(text: &mut Vec<char>, numbers: &mut Numbers) {
    let start = numbers.below(text.len() + 1);
    let end = (start + numbers.below(6)).min(text.len());
    let by: Vec<char> = match numbers.below(3) {
        0 => Vec::new(),
        1 => text[start..end].repeat(2),
        _ => WORDS[numbers.below(WORDS.len())].chars().collect(),
    };
    text.splice(start..end, by);
}
