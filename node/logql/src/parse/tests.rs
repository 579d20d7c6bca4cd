//! The grammar by example: what is taken, how it prints, and what is said of the rest.

use super::{parse, parse_log, parse_matchers, parse_selector};
use crate::limits::{NESTING_MAX, QUERY_BYTES_MAX, TREE_DEPTH_MAX};

/// `canonical` is empty where it is the query itself.
#[track_caller]
fn check(query: &str, canonical: &str) {
    let expected = if canonical.is_empty() { query } else { canonical };
    match parse(query) {
        Ok(expr) => assert_eq!(expr.to_string(), expected, "{query}"),
        Err(error) => panic!("{query}: {error}"),
    }
}

#[track_caller]
fn check_fails(query: &str, expected: &str) {
    match parse(query) {
        Ok(expr) => panic!("{query} is read as {expr}"),
        Err(error) => assert_eq!(error.to_string(), format!("parse error {expected}"), "{query}"),
    }
}

#[test]
fn selectors_must_select() {
    let needs = ": queries require at least one regexp or equality matcher that does not have an empty-compatible \
        value. For instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will";
    check(r#"{app!=""}"#, "");
    check(r#"{app=~".+", env!~"x"}"#, "");
    check(r#"(({app="x"}))"#, r#"{app="x"}"#);
    for query in ["{}", r#"{app=""}"#, r#"{app!="x"}"#, r#"{app=~"a?"}"#, r#"{app!~".+"}"#, "rate({}[1m])"] {
        check_fails(query, needs);
    }
    check_fails(r#"{app=~"["}"#, ": error parsing regexp: missing closing ]: `[`");
    check_fails(r#"{app=~"a)(b"}"#, ": error parsing regexp: unexpected ): `a)(b`");
}

#[test]
fn selector_faults_say_what_could_stand_there() {
    check_fails("", ": syntax error: unexpected $end");
    check_fails("  ", "at line 1, col 3: syntax error: unexpected $end");
    check_fails("{", "at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }");
    check_fails("{app", "at line 1, col 5: syntax error: unexpected $end, expecting = or =~ or !~ or !=");
    check_fails("{app=", "at line 1, col 6: syntax error: unexpected $end, expecting STRING");
    check_fails(r#"{app="x""#, "at line 1, col 9: syntax error: unexpected $end, expecting } or ,");
    check_fails(r#"{app="x",}"#, "at line 1, col 10: syntax error: unexpected }, expecting IDENTIFIER");
    check_fails(
        r#"{app=="x"}"#,
        "at line 0, col 5: syntax error: unexpected ==, expecting = or =~ or !~ or !=",
    );
    check_fails(r#"{by="x"}"#, "at line 1, col 2: syntax error: unexpected by, expecting IDENTIFIER or }");
    check_fails(r#"{app="x"} {b="y"}"#, "at line 1, col 11: syntax error: unexpected {");
    check_fails("{app=\"x\"}\n| @@", "at line 2, col 4: syntax error: unexpected IDENTIFIER");
}

#[test]
fn line_filters_chain_with_or() {
    check(r#"{a="x"} |= "a" or "b" or ip("1.2.3.4")"#, "");
    check(r#"{a="x"} |= ip("::1") or "b" or "c""#, "");
    check(r#"{a="x"} != "a" or "b""#, r#"{a="x"} != "a" != "b""#);
    check(r#"{a="x"} |> `<_> a` !> "b""#, r#"{a="x"} |> "<_> a" !> "b""#);
    check_fails(
        r#"{a="x"} |= "a" or"#,
        "at line 1, col 18: syntax error: unexpected $end, expecting STRING or ip",
    );
    check_fails(
        r#"{a="x"} |= ip(1)"#,
        "at line 1, col 15: syntax error: unexpected NUMBER, expecting STRING",
    );
    check_fails(
        r#"{a="x"} |= ip"#,
        "at line 1, col 12: syntax error: unexpected IDENTIFIER, expecting STRING or ip",
    );
}

#[test]
fn stages_take_their_arguments() {
    check(r#"{a="x"} | json a, b="c.d" | unpack"#, r#"{a="x"} | json a="a",b="c.d" | unpack"#);
    check(r#"{a="x"} | logfmt --keep-empty --strict a"#, r#"{a="x"} | logfmt --strict --keep-empty a="a""#);
    check(r#"{a="x"} | label_format a=b,c="d" | drop a,b="c" | keep d=~"e""#, "");
    check(r#"{a="x"} | LINE_FORMAT "" | decolorize"#, r#"{a="x"} | line_format "" | decolorize"#);
    check_fails(
        r#"{a="x"} | json a,"#,
        "at line 1, col 18: syntax error: unexpected $end, expecting IDENTIFIER",
    );
    check_fails(
        r#"{a="x"} | label_format a"#,
        "at line 1, col 25: syntax error: unexpected $end, expecting =",
    );
    let expected = "at line 1, col 26: syntax error: unexpected NUMBER, expecting IDENTIFIER or STRING";
    check_fails(r#"{a="x"} | label_format a=1"#, expected);
    check_fails(r#"{a="x"} | unwrap b"#, "at line 1, col 11: syntax error: unexpected unwrap");
    check_fails(r#"{a="x"} | pattern "a""#, ": invalid pattern parser: at least one capture is required");
    let expected = ": invalid regexp parser: at least one named capture must be supplied";
    check_fails(r#"{a="x"} | regexp "(a)""#, expected);
    check_fails(r#"{a="x"} | drop a=~"(""#, ": error parsing regexp: missing closing ): `(`");
}

#[test]
fn label_filters_join_as_the_grammar_joins_them() {
    let cases = [
        ("a=1 and b=2 or c=3", "( ( a==1 , b==2 ) or c==3 )"),
        ("a=1 or b=2 and c=3", "( a==1 or ( b==2 , c==3 ) )"),
        ("a=1, b=2 or c=3", "( a==1 , ( b==2 or c==3 ) )"),
        ("a=1 or b=2, c=3", "( a==1 or ( b==2 , c==3 ) )"),
        ("a=1 b=2 c=3", "( a==1 , ( b==2 , c==3 ) )"),
        ("a=1 or b=2 or c=3", "( ( a==1 or b==2 ) or c==3 )"),
        ("(a=1 or b=2) and c=3", "( ( a==1 or b==2 ) , c==3 )"),
        ("a=1 and b=2 c=3 or d=4", "( a==1 , ( b==2 , ( c==3 or d==4 ) ) )"),
    ];
    for (filter, canonical) in cases {
        check(&format!(r#"{{x="y"}} | {filter}"#), &format!(r#"{{x="y"}} | {canonical}"#));
    }
    let expected = "at line 1, col 19: syntax error: unexpected $end, expecting IDENTIFIER or (";
    check_fails(r#"{x="y"} | a=1 and "#, expected);
    check_fails(r#"{x="y"} | (a=1"#, "at line 1, col 15: syntax error: unexpected $end");
    check_fails(r#"{x="y"} | a=~1"#, "at line 1, col 14: syntax error: unexpected NUMBER, expecting STRING");
    check_fails(
        r#"{x="y"} | a>-"b""#,
        "at line 1, col 14: syntax error: unexpected STRING, expecting NUMBER",
    );
}

#[test]
fn label_filters_compare_quantities() {
    check(
        r#"{x="y"} | a>=-1.5 | b<1d | c!=1.5MiB | d=ip("::1") | e==-5m"#,
        r#"{x="y"} | a>=-1.5 | b<24h0m0s | c!=1.6MB | d=ip("::1") | e==-5m0s"#,
    );
    check_fails(r#"{x="y"} | a>0x1f"#, ": strconv.ParseFloat: parsing \"0x1f\": invalid syntax");
}

#[test]
fn windows_stand_before_or_behind_the_pipeline() {
    let cases = [
        r#"rate({a="x"} | json[5m] offset 1h0m0s)"#,
        r#"rate({a="x"}[5m] offset 1h | json)"#,
        r#"rate(({a="x"} | json)[5m] offset 1h)"#,
        r#"rate((({a="x"} | json [5m] offset 1h)))"#,
        r#"rate(({a="x"}[5m] offset 1h | json))"#,
    ];
    for query in cases {
        check(query, r#"rate({a="x"} | json[5m] offset 1h0m0s)"#);
    }
    check(r#"sum_over_time(({a="x"})[5m] | unwrap b)"#, r#"sum_over_time({a="x"} | unwrap b[5m])"#);
    check(r#"sum_over_time({a="x"}[5m] | unwrap b | b>1)"#, r#"sum_over_time({a="x"} | unwrap b | b>1[5m])"#);
    check_fails(
        r#"rate({a="x"}[5m] offset 5)"#,
        "at line 1, col 25: syntax error: unexpected NUMBER, expecting DURATION",
    );
    check_fails(r#"rate(({a="x"}))"#, "at line 1, col 15: syntax error: unexpected ), expecting RANGE");
    check_fails("rate()", "at line 1, col 6: syntax error: unexpected ), expecting NUMBER or { or (");
    check_fails(r#"rate({a="x"})"#, "at line 1, col 13: syntax error: unexpected )");
    check_fails(
        r#"rate({a="x"} | unwrap b)"#,
        "at line 1, col 24: syntax error: unexpected ), expecting RANGE or |",
    );
    check_fails(
        r#"rate(({a="x"})[5m] | json)"#,
        "at line 1, col 22: syntax error: unexpected json, expecting unwrap",
    );
}

#[test]
fn range_functions_suit_their_ranges() {
    check(r#"avg_over_time({a="x"} | unwrap b[5m]) without (c)"#, "");
    check(r#"absent_over_time({a="x"} | unwrap b[5m])"#, "");
    check_fails(r#"rate({a="x"}[5m]) by (b)"#, ": grouping not allowed for rate aggregation");
    check_fails(
        r#"count_over_time({a="x"} | unwrap b[5m])"#,
        ": invalid aggregation count_over_time with unwrap",
    );
    check_fails(r#"sum_over_time({a="x"}[5m])"#, ": invalid aggregation sum_over_time without unwrap");
    check_fails(
        r#"quantile_over_time({a="x"} | unwrap b[5m])"#,
        ": parameter required for operation quantile_over_time",
    );
    check_fails(r#"rate(1, {a="x"}[5m])"#, ": parameter 1 not supported for operation rate");
}

#[test]
fn vector_functions_take_their_parameters() {
    check(r#"topk by (a) (3, rate({a="x"}[5m]))"#, r#"topk by (a)(3,rate({a="x"}[5m]))"#);
    check(r#"sum(rate({a="x"}[5m])) without ()"#, r#"sum without ()(rate({a="x"}[5m]))"#);
    check(r#"max(1 + rate({a="x"}[5m]))"#, r#"max((1 + rate({a="x"}[5m])))"#);
    check_fails(r#"topk(rate({a="x"}[5m]))"#, ": parameter required for operation topk");
    check_fails(r#"topk(0, rate({a="x"}[5m]))"#, ": invalid parameter (must be greater than 0) topk(0");
    check_fails(r#"sum(2, rate({a="x"}[5m]))"#, ": unsupported parameter for operation sum(2,");
    check_fails(r#"sort(rate({a="x"}[5m])) by (a)"#, ": sort and sort_desc doesn't allow grouping by ");
    check_fails(
        r#"approx_topk(2, rate({a="x"}[5m])) by (a)"#,
        ": grouping not allowed for approx_topk aggregation",
    );
    check_fails(r#"sum({a="x"})"#, "at line 1, col 12: syntax error: unexpected )");
    check_fails(r#"sum by (a (b)"#, "at line 1, col 11: syntax error: unexpected (, expecting , or )");
    check_fails(
        r#"sum by (1) (b)"#,
        "at line 1, col 9: syntax error: unexpected NUMBER, expecting IDENTIFIER or )",
    );
}

#[test]
fn binary_operators_bind_by_precedence() {
    let cases = [
        ("vector(1) + vector(2) * vector(3)", "(vector(1.000000) + (vector(2.000000) * vector(3.000000)))"),
        ("vector(1) - vector(2) - vector(3)", "((vector(1.000000) - vector(2.000000)) - vector(3.000000))"),
        ("vector(1) ^ vector(2) ^ vector(3)", "(vector(1.000000) ^ (vector(2.000000) ^ vector(3.000000)))"),
        (
            "vector(1) or vector(2) and vector(3)",
            "(vector(1.000000) or (vector(2.000000) and vector(3.000000)))",
        ),
        ("vector(1) > bool on() vector(2)", "(vector(1.000000) > bool on ()  vector(2.000000))"),
        ("vector(1) + ignoring() vector(2)", "(vector(1.000000) + vector(2.000000))"),
        (
            "vector(1) * on(a, b) group_left(c) vector(2)",
            "(vector(1.000000) * on (a,b) group_left (c) vector(2.000000))",
        ),
        ("-2^2", "4"),
        ("1 + 2 * 3", "7"),
        ("1 / 0", "NaN"),
        ("2 > bool 1", "1"),
        ("5 % 3 - 1 == 1", "1"),
    ];
    for (query, canonical) in cases {
        check(query, canonical);
    }
}

#[test]
fn binary_operators_refuse_what_they_cannot_take() {
    check_fails(
        "1 and vector(1)",
        ": unexpected literal for left leg of logical/set binary operation (and): 1.000000",
    );
    check_fails(
        "vector(1) unless 2.5",
        ": unexpected literal for right leg of logical/set binary operation (unless): 2.500000",
    );
    check_fails(
        r#"{a="x"} |= "y" + 1"#,
        ": unexpected type for left leg of binary operation (+): *syntax.PipelineExpr",
    );
    check_fails("1 +", "at line 1, col 4: syntax error: unexpected $end");
    check_fails("vector(1) + on a", "at line 1, col 16: syntax error: unexpected IDENTIFIER, expecting (");
    check_fails("--1", "at line 1, col 2: syntax error: unexpected -, expecting NUMBER");
    check_fails("vector(-1)", "at line 1, col 8: syntax error: unexpected -, expecting NUMBER");
}

#[test]
fn label_replace_needs_an_expression_and_series() {
    check(
        r#"label_replace(vector(1),"a","$1","b","(.*)")"#,
        r#"label_replace(vector(1.000000),"a","$1","b","(.*)")"#,
    );
    check_fails(
        r#"label_replace(vector(1), "a", "b", "c", "(")"#,
        ": invalid regex in label_replace: error parsing regexp: missing closing ): `(`",
    );
    check_fails(
        r#"label_replace(vector(1), a"#,
        "at line 1, col 26: syntax error: unexpected IDENTIFIER, expecting STRING",
    );
}

#[test]
fn depth_and_length_are_bounded() {
    let nested = |open: &str, count: usize| open.repeat(count) + "vector(1)" + &")".repeat(count);
    assert!(parse(&nested("(", NESTING_MAX / 2)).is_ok());
    let chain = |what: &str, joint: &str, count: usize| vec![what; count].join(joint);
    assert!(parse(&chain("vector(1)", "+", TREE_DEPTH_MAX)).is_ok());
    assert!(parse(&format!("{{a=\"x\"}} | {}", chain("b=1", " ", TREE_DEPTH_MAX))).is_ok());
    let many = QUERY_BYTES_MAX / 20;
    let bombs = [
        "(".repeat(QUERY_BYTES_MAX - 1),
        nested("(", many),
        nested("sum(", many),
        "rate(".to_owned() + &"(".repeat(many),
        chain("vector(1)", "+", many),
        chain("vector(1)", "^", many),
        format!("{{a=\"x\"}} | {}", chain("b=1", " or ", many)),
        format!("{{a=\"x\"}} | {}", chain("b=1", " ", many)),
        format!("{{a=\"x\"}} | {}b=1", "(".repeat(many)),
        " ".repeat(QUERY_BYTES_MAX),
    ];
    for bomb in bombs {
        assert!(parse(&bomb).is_err(), "{}…", &bomb[..40]);
    }
    let long = format!(": input size too long ({QUERY_BYTES_MAX} > {QUERY_BYTES_MAX})");
    check_fails(&" ".repeat(QUERY_BYTES_MAX), &long);
}

#[test]
fn endpoints_take_their_part_of_the_language() {
    assert_eq!(parse_matchers("{}").unwrap(), []);
    assert_eq!(parse_matchers(r#"{a!="x"}"#).unwrap().len(), 1);
    assert!(parse_selector(r#"{a!="x"}"#).is_err());
    assert_eq!(parse_selector(r#"{a="x"}"#).unwrap().len(), 1);
    let refused = parse_selector(r#"{a="x"} |= "y""#).unwrap_err();
    assert_eq!(refused.message(), "only label matchers are supported");
    assert_eq!(parse_log(r#"{a="x"} |= "y""#).unwrap().stages.len(), 1);
    assert_eq!(parse_log("vector(1)").unwrap_err().message(), "only log selector is supported");
}
