//! Whole-block search against its definition: asking every line.

use std::ops::ControlFlow;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use regex::bytes::Regex;

use super::{LineFilter, LineNumbers, Needle, Predicate, line_offsets, window_lines};
use crate::pack::filter::{self, Filter};
use crate::pack::grams::{GramScratch, GramSet};

fn regex(pattern: &str) -> Predicate {
    Predicate { negated: false, any_of: vec![Needle::Regex(pattern.to_owned())] }
}

fn literal(text: &str) -> Predicate {
    Predicate { negated: false, any_of: vec![Needle::Literal(text.into())] }
}

fn not(predicate: Predicate) -> Predicate {
    Predicate { negated: !predicate.negated, ..predicate }
}

fn naive(predicates: &[Predicate], line: &[u8]) -> bool {
    predicates.iter().all(|predicate| {
        let found = predicate.any_of.iter().any(|needle| match needle {
            Needle::Literal(bytes) => {
                bytes.is_empty() || line.windows(bytes.len()).any(|window| window == bytes)
            }
            Needle::Regex(pattern) => Regex::new(pattern).unwrap().is_match(line),
        });
        found != predicate.negated
    })
}

fn text_of(lines: &[Vec<u8>]) -> (Vec<u8>, Option<Vec<u32>>) {
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    for line in lines {
        text.extend_from_slice(line);
        ends.push(text.len() as u32);
        text.push(b'\n');
    }
    let inner = lines.iter().any(|line| line.contains(&b'\n'));
    (text, inner.then_some(ends))
}

/// Compares every way of searching with asking each line.
fn check(predicates: &[Predicate], lines: &[Vec<u8>]) {
    let filter = LineFilter::new(predicates).unwrap();
    let expected: Vec<usize> = (0..lines.len()).filter(|n| naive(predicates, &lines[*n])).collect();
    let (text, ends) = text_of(lines);
    let ends = ends.as_deref();
    let mut numbers = LineNumbers::new();
    let mut found = Vec::new();
    let mut note = |offset: usize, line: &[u8]| {
        let number = numbers.number_at(&text, ends, offset);
        assert_eq!(line, lines[number], "the visited line is the one at its offset");
        found.push(number);
        ControlFlow::<()>::Continue(())
    };
    let _ = filter.for_each_match(&text, ends, &mut note);
    let _ = filter.for_each_match_backward(&text, ends, &mut note);
    let both: Vec<_> = expected.iter().chain(expected.iter().rev()).copied().collect();
    assert_eq!(found, both, "{predicates:?} on {lines:?}");
    check_counts(&filter, &text, ends, lines.len(), &expected);
    check_demands(&filter, lines, !expected.is_empty());
}

fn check_counts(filter: &LineFilter, text: &[u8], ends: Option<&[u32]>, lines: usize, expected: &[usize]) {
    let stamps: Vec<i64> = (0..lines as i64).map(|n| n / 2 * 10).collect();
    let boundaries = [5, 10, 20, 20, 41];
    let (mut firsts, mut offsets) = (Vec::new(), Vec::new());
    window_lines(&stamps, &boundaries, &mut firsts);
    line_offsets(text, ends, &firsts, &mut offsets);
    let mut counts = [0; 4];
    filter.count_between(&mut text.to_vec(), ends, &offsets, &mut counts);
    let count =
        |pair: &[i64]| expected.iter().filter(|n| (pair[0]..pair[1]).contains(&stamps[**n])).count() as u64;
    assert_eq!(counts.to_vec(), boundaries.windows(2).map(count).collect::<Vec<_>>());
}

fn check_demands(filter: &LineFilter, lines: &[Vec<u8>], some_match: bool) {
    let chunk = filter_of(lines);
    assert!(filter.may_match(&chunk) || !some_match, "the chunk of {lines:?} was ruled out");
}

fn filter_of(lines: &[Vec<u8>]) -> Filter {
    let mut grams = GramSet::new();
    GramScratch::new().mark(&lines.join(&b'\n'), &mut grams);
    Filter::parse(&filter::encode(&grams, usize::MAX / 8)).unwrap()
}

fn lines(text: &str) -> Vec<Vec<u8>> {
    text.split('|').map(|line| line.as_bytes().to_vec()).collect()
}

#[test]
fn anchors_and_newlines_mean_a_line_edge() {
    let plain = lines("error|an error||error at the end error|  |\r|ends\r|x-y|word");
    let inner = lines("a\nerror\nb|error|x\n|\n||\nx");
    for pattern in [
        "^error",
        "error$",
        "^error$",
        "^$",
        "^",
        "$",
        r"\Aerror",
        r"error\z",
        "(?m)^error$",
        "(?mR)^error",
        "(?mR)x?$",
        r"\s+",
        r"r\s*e",
        r"[^a]e",
        "(?s).e",
        "(?s)^.$",
        r"\n",
        r"a\n?n",
        r"\berror\b",
        r"\B",
        r"\b",
        r"(?-u:\b)w",
        r"x\B",
        r"^\s*$",
        "error|^$",
        "",
        "x*",
        r"\b{start-half}e",
        "(?i)ERR",
        r"[\r\n]$",
        "(?R)(?m)$",
    ] {
        for lines in [&plain, &inner] {
            check(&[regex(pattern)], lines);
            check(&[not(regex(pattern))], lines);
            check(&[literal("e"), not(regex(pattern))], lines);
        }
    }
}

#[test]
fn literals_with_newlines_match_within_lines_alone() {
    check(&[literal("a\nb")], &lines("a|b"));
    check(&[literal("a\nb")], &lines("a\nb|a|b"));
    check(&[not(literal("\n"))], &lines("a|b"));
}

#[test]
fn case_folds_beyond_ascii() {
    let lines: Vec<Vec<u8>> = ["KELVIN", "kelvin", "\u{212A}elvin", "\u{17F}tatu\u{17F}", "STATUS", "É", "é"]
        .map(|l| l.as_bytes().to_vec())
        .into();
    for pattern in ["(?i)kelvin", "(?i)status", "(?i)é", "(?i-u)kelvin", "(?i)[k-s]e", "KELVIN|(?i)status"] {
        check(&[regex(pattern)], &lines);
        check(&[not(regex(pattern)), regex("(?i)e")], &lines);
    }
}

#[test]
fn any_of_and_negation_follow_the_definition() {
    let lines = lines("alpha|beta|alpha beta|gamma|");
    let both = Predicate {
        negated: false,
        any_of: vec![Needle::Literal(b"alpha".to_vec()), Needle::Regex("^g".to_owned())],
    };
    check(std::slice::from_ref(&both), &lines);
    check(&[not(both.clone())], &lines);
    check(&[both.clone(), not(literal("beta"))], &lines);
    check(&[], &lines);
    check(&[Predicate { negated: false, any_of: vec![] }], &lines);
    check(&[Predicate { negated: true, any_of: vec![] }], &lines);
    check(&[literal("")], &lines);
    check(&[not(literal(""))], &lines);
}

#[test]
fn demands_rule_out_what_cannot_match() {
    let block: Vec<Vec<u8>> =
        (0..5_000).map(|n| format!("GET /items/{n} took {} ms", n * 7 % 991).into_bytes()).collect();
    let filter = filter_of(&block);
    for (pattern, expected) in [
        ("(?i)error|timed? ?out", false),
        ("(?i)error|GET", true),
        ("connection (refused|reset)", false),
        ("items/.*took", true),
        ("items/.*(lost|gone away)", false),
        ("(refused)+", false),
        ("(refused)*", true),
        ("(?i)status", false),
        (".", true),
    ] {
        let line_filter = LineFilter::new(&[regex(pattern)]).unwrap();
        assert_eq!(line_filter.may_match(&filter), expected, "{pattern}");
        assert!(LineFilter::new(&[not(regex(pattern))]).unwrap().may_match(&filter), "not {pattern}");
    }
}

#[test]
fn wrong_expressions_are_named() {
    let error = LineFilter::new(&[regex("a(b")]).unwrap_err();
    assert_eq!(error.to_string(), "cannot use the regular expression `a(b`: error: unclosed group");
    assert!(LineFilter::new(&[regex(r"\w{1000}{100}")]).is_err());
}

fn pattern() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[abkS ]{1,3}",
        Just("^".to_owned()),
        Just("$".to_owned()),
        Just(r"\b".to_owned()),
        Just(r"\s".to_owned()),
        Just("[^a]".to_owned()),
        Just(".".to_owned()),
        Just(r"\n".to_owned()),
        Just(r"\B".to_owned()),
        Just("(?s:.)".to_owned()),
        Just("(?m:^)".to_owned()),
        Just("(?m:$)".to_owned()),
        Just("(?-u:[^a])".to_owned()),
        Just(r"(?-u:\xFF)".to_owned()),
        Just("é".to_owned()),
        Just(r"\z".to_owned()),
        Just("(?R:(?m:$))".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(|parts| parts.concat()),
            vec(inner.clone(), 2..3).prop_map(|parts| format!("(?:{})", parts.join("|"))),
            (inner.clone(), prop_oneof![Just("*"), Just("?"), Just("+"), Just("{2}")])
                .prop_map(|(inner, times)| format!("(?:{inner}){times}")),
            inner.prop_map(|inner| format!("(?i:{inner})")),
        ]
    })
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        8 => prop_oneof![Just(b"a".to_vec()), Just(b"b".to_vec()), Just(b"K".to_vec()), Just(b"s".to_vec())],
        2 => Just(b" ".to_vec()), 1 => Just(b"\r".to_vec()), 1 => Just(b"\xFF".to_vec()),
        1 => Just("é".as_bytes().to_vec()), 1 => Just("\u{212A}".as_bytes().to_vec()),
    ];
    vec(byte, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn whole_block_search_finds_what_asking_each_line_does(
        patterns in vec((any::<bool>(), pattern()), 1..3), lines in vec(line(), 1..8),
        newline in any::<Option<(u8, u8)>>(),
    ) {
        let mut lines = lines;
        if let Some((line, at)) = newline {
            let count = lines.len();
            let line = &mut lines[usize::from(line) % count];
            line.insert(usize::from(at) % (line.len() + 1), b'\n');
        }
        let predicates: Vec<_> = patterns
            .iter()
            .filter(|(_, pattern)| Regex::new(pattern).is_ok())
            .map(|(negated, pattern)| Predicate { negated: *negated, ..regex(pattern) })
            .collect();
        check(&predicates, &lines);
    }

    #[test]
    fn literals_find_what_asking_each_line_does(
        needles in vec((any::<bool>(), "[ab\n]{0,3}"), 1..3), lines in vec("[ab]{0,6}", 1..8),
    ) {
        let predicates: Vec<_> =
            needles.iter().map(|(negated, text)| Predicate { negated: *negated, ..literal(text) }).collect();
        check(&predicates, &lines.iter().map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn backward_search_crosses_windows(words in vec(0_u8..40, 1_000..4_000)) {
        let lines: Vec<Vec<u8>> = words.iter().map(|word| format!("{:a>30}-{word}", "").into_bytes()).collect();
        let (text, _) = text_of(&lines);
        let filter = LineFilter::new(&[literal("-7")]).unwrap();
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        let _ = filter.for_each_match(&text, None, |at, _| { forward.push(at); ControlFlow::<()>::Continue(()) });
        let _ = filter.for_each_match_backward(&text, None, |at, _| { backward.push(at); ControlFlow::<()>::Continue(()) });
        backward.reverse();
        prop_assert_eq!(&forward, &backward);
        prop_assert!(forward.is_sorted());
    }
}
