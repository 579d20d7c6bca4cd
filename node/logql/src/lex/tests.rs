//! Tokens of texts, one table a subject.

use super::{Kind, Lexer};

#[track_caller]
fn check(query: &str, expected: &[&str]) {
    let mut lexer = Lexer::new(query);
    let mut found = Vec::new();
    loop {
        let token = lexer.next_token().unwrap();
        if token.kind == Kind::End {
            break;
        }
        found.push(match token.text.as_ref() {
            "" => token.kind.to_string(),
            text => format!("{} {text}", token.kind),
        });
    }
    assert_eq!(found, expected, "{query}");
}

#[track_caller]
fn check_fails(query: &str, expected: &str) {
    let mut lexer = Lexer::new(query);
    let error = loop {
        match lexer.next_token() {
            Ok(token) => assert_ne!(token.kind, Kind::End, "{query} has no fault"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), expected);
}

#[test]
fn operators_take_the_longest_form() {
    check(">=>=!= !~!>|~|=|>|", &[">=", ">=", "!=", "!~", "!>", "|~", "|=", "|>", "|"]);
    check("= == =~", &["=", "==", "=~"]);
    check("a-b", &["IDENTIFIER a", "-", "IDENTIFIER b"]);
}

#[test]
fn keywords_ignore_case_and_functions_need_a_parenthesis() {
    check(
        "SUM (sum By(x) sum byx",
        &["SUM", "(", "SUM", "by", "(", "IDENTIFIER x", ")", "IDENTIFIER sum", "IDENTIFIER byx"],
    );
    check(
        "JSON Or bytes(x) bytes",
        &["json", "or", "BYTES_CONV", "(", "IDENTIFIER x", ")", "IDENTIFIER bytes"],
    );
}

#[test]
fn numbers_become_durations_and_sizes_by_their_units() {
    check("5 5m 1.5h -5m 1w2d", &["NUMBER 5", "DURATION", "DURATION", "DURATION", "DURATION"]);
    check("1KB 1KiB 1B 0B 1kb", &["BYTES", "BYTES", "BYTES", "BYTES", "BYTES", "IDENTIFIER b"]);
    check(
        "1e3 1_000 .5 0x1f -1d",
        &["NUMBER 1e3", "NUMBER 1_000", "NUMBER .5", "NUMBER 0x1f", "-", "DURATION"],
    );
    check("[5m] [1h30m]", &["RANGE", "RANGE"]);
}

#[test]
fn comments_and_byte_order_mark_are_blank() {
    check("\u{feff}a # b\nc // d\n/* e\n */ f", &["IDENTIFIER a", "IDENTIFIER c", "IDENTIFIER f"]);
    check("#", &[]);
}

#[test]
fn flags_are_whole_words() {
    check("--strict --keep-empty --other", &["FUNCTION_FLAG", "FUNCTION_FLAG", "-", "-", "IDENTIFIER other"]);
}

#[test]
fn stray_characters_are_identifiers() {
    check("@ \u{a0} 'x' !", &["IDENTIFIER @", "IDENTIFIER \u{a0}", "IDENTIFIER 'x'", "IDENTIFIER !"]);
}

#[test]
fn positions_count_characters_and_lines() {
    let mut lexer = Lexer::new("é\n  b == 5m");
    let mut found = Vec::new();
    loop {
        let token = lexer.next_token().unwrap();
        found.push((token.line, token.column));
        if token.kind == Kind::End {
            break;
        }
    }
    assert_eq!(found, [(1, 1), (2, 3), (0, 5), (0, 8), (2, 10)]);
}

#[test]
fn faulty_words_are_named() {
    check_fails("\"a", "parse error at line 1, col 1: literal not terminated");
    check_fails("`a", "parse error at line 1, col 1: literal not terminated");
    check_fails("a \"\\q\"", "parse error at line 1, col 3: invalid char escape");
    check_fails("\"\\400\"", "parse error at line 1, col 1: invalid syntax");
    check_fails("[5m", "parse error at line 0, col 1: missing closing ']' in duration");
    check_fails("[]", "parse error at line 0, col 1: empty duration string");
    check_fails("08", "parse error at line 1, col 1: invalid digit '8' in octal literal");
    check_fails("1__0", "parse error at line 1, col 1: '_' must separate successive digits");
    check_fails("1e", "parse error at line 1, col 1: exponent has no digits");
    check_fails("/* a", "parse error at line 1, col 1: comment not terminated");
    check_fails("'ab'", "parse error at line 1, col 1: invalid char literal");
    check_fails("a \0", "parse error at line 1, col 3: invalid character NUL");
    check_fails("\"a\0\"", "parse error at line 1, col 1: invalid character NUL");
    check_fails("`a\0`", "parse error at line 1, col 1: invalid character NUL");
}
