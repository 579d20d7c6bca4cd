//! Pipelines as a whole: what a query asks of a line, and what is left out of the work.

use super::*;
use crate::labels::Category;
use crate::parse::parse_log;

fn stages(query: &str) -> Vec<Stage> {
    parse_log(&format!("{{app=\"x\"}} {query}")).unwrap().stages
}

fn run(
    query: &str,
    wanted: &Wanted,
    options: &Options,
    line: &[u8],
    metadata: &[(&str, &str)],
) -> Option<String> {
    let pipeline = Pipeline::compile(&stages(query), wanted).unwrap();
    let mut stream = pipeline.stream(&[("app", "x")], options);
    let outcome = stream.process(1, line, metadata)?;
    let label = |l: crate::labels::Label<'_>| {
        let category = match l.category {
            Category::Stream => "",
            Category::Metadata => "sm:",
            Category::Parsed => "p:",
        };
        format!("{category}{}={}", l.name, l.value)
    };
    let labels: Vec<String> =
        outcome.labels.iter().filter(|l| l.name != ERROR_DETAILS_LABEL).map(label).collect();
    Some(format!("{} | {}", String::from_utf8_lossy(outcome.line), labels.join(" ")))
}

fn check(query: &str, line: &str, expected: Option<&str>) {
    let got = run(query, &Wanted::All, &Options::default(), line.as_bytes(), &[("trace", "t")]);
    assert_eq!(got.as_deref(), expected, "{query} on {line}");
}

#[test]
fn each_parser_finds_its_labels() {
    check(
        "| json",
        r#"{"a":{"b":1},"c":[2],"d":null,"e":true}"#,
        Some(r#"{"a":{"b":1},"c":[2],"d":null,"e":true} | p:a_b=1 app=x p:e=true sm:trace=t"#),
    );
    check(
        "| json",
        r#"{"app":"y","trace":"u"}"#,
        Some(r#"{"app":"y","trace":"u"} | app=x p:app_extracted=y sm:trace=t p:trace_extracted=u"#),
    );
    check(
        "| json",
        r#"{"a":"1","a":"2","b":"\x"}"#,
        Some(r#"{"a":"1","a":"2","b":"\x"} | p:a=1 app=x p:b= sm:trace=t"#),
    );
    check(
        r#"| json v="a[1].b", w="x""#,
        r#"{"a":[0,{"b":"c"}]}"#,
        Some(r#"{"a":[0,{"b":"c"}]} | app=x sm:trace=t p:v=c p:w="#),
    );
    check("| logfmt", "a=1 b= c=\"x y\"", Some("a=1 b= c=\"x y\" | p:a=1 app=x p:c=x y sm:trace=t"));
    check("| logfmt --keep-empty", "a", Some("a | p:a= app=x sm:trace=t"));
    check("| logfmt --strict", "a=1 =2", Some("a=1 =2 | p:__error__=LogfmtParserErr p:a=1 app=x sm:trace=t"));
    check(r#"| logfmt v="a""#, "a=1 a=2", Some("a=1 a=2 | app=x sm:trace=t p:v=2"));
    check(r#"| pattern "<m> <_>""#, "GET /", Some("GET / | app=x p:m=GET sm:trace=t"));
    check(r#"| regexp "(?P<m>\\w+)( (?P<n>x))?""#, "GET", Some("GET | app=x p:m=GET p:n= sm:trace=t"));
    check("| unpack", r#"{"a":"1","_entry":"l"}"#, Some("l | p:a=1 app=x sm:trace=t"));
    check("| unpack", r#"{"a":"1"}"#, Some(r#"{"a":"1"} | app=x sm:trace=t"#));
    check("| unpack", "x", Some("x | p:__error__=JSONParserErr app=x sm:trace=t"));
}

#[test]
fn quantities_that_cannot_be_read_keep_the_line_with_an_error() {
    let error = Some("v=x | p:__error__=LabelFilterErr app=x sm:trace=t p:v=x");
    check("| logfmt | v > 1", "v=x", error);
    check("| logfmt | v > 1s", "v=x", error);
    check("| logfmt | v > 1KB", "v=x", error);
    check("| logfmt | v > 1 | w=\"\" | v != ip(\"1.1.1.1\")", "v=x", error);
    check("| logfmt | v > 1", "w=2", None);
    check("| logfmt | v > 1", "v=1", None);
    check(
        "| logfmt | v >= 1KB or v = \"small\"",
        "v=small",
        Some("v=small | p:__error__=LabelFilterErr app=x sm:trace=t p:v=small"),
    );
    check("| logfmt | v =~ \"s.*\" | v !~ \".*x\"", "v=small", Some("v=small | app=x sm:trace=t p:v=small"));
}

#[test]
fn a_line_with_an_error_is_still_compared_but_for_its_addresses() {
    let broken = r#"{"v":"7","w":"x""#;
    let error = Some(r#"{"v":"7","w":"x" | p:__error__=JSONParserErr app=x sm:trace=t p:v=7 p:w=x"#);
    check("| json | v > 6", broken, error);
    check("| json | v > 7", broken, None);
    check("| json | v < 7", broken, None);
    check("| json | v >= 1KB", broken, None);
    check("| json | v < 1KB", broken, error);
    check("| json | v > 7s", broken, error);
    check("| json | w > 1 | v = ip(\"1.1.1.1\") | missing != ip(\"1.1.1.1\")", broken, error);
    check("| json | missing > 1", broken, None);
}

#[test]
fn filters_see_the_kind_of_an_error_and_only_drop_sees_its_words() {
    let error = Some("x | p:__error__=JSONParserErr app=x sm:trace=t");
    check("| json | __error__ = \"JSONParserErr\"", "x", error);
    check("| json | __error_details__ = \"\"", "x", error);
    check("| json | __error_details__ =~ \".+\"", "x", None);
    let details = |query: &str| {
        let pipeline = Pipeline::compile(&stages(query), &Wanted::All).unwrap();
        let mut stream = pipeline.stream(&[], &Options::default());
        let outcome = stream.process(1, b"x", &[]).unwrap();
        outcome.labels.get(ERROR_DETAILS_LABEL).map(str::to_owned)
    };
    assert!(details("| json | drop __error_details__=\"other\"").is_some());
    assert_eq!(details("| json | drop __error_details__=~\".+\""), None);
}

#[test]
fn a_line_that_is_one_label_is_looked_up_among_the_labels_proper() {
    let line = |query: &str, line: &str| {
        run(query, &Wanted::All, &Options::default(), line.as_bytes(), &[])
            .and_then(|shown| shown.split_once(" | ").map(|(line, _)| line.to_owned()))
    };
    let is = |query: &str, text: &str, expected: &str| {
        assert_eq!(line(query, text).as_deref(), Some(expected), "{query}");
    };
    is("| json | line_format \"{{.__error__}}\"", "x", "");
    is("| json | line_format \"{{.__error__}}!\"", "x", "JSONParserErr!");
    is("| json | line_format \"{{- .__error__ -}}\"", "x", "");
    is("| json | line_format \"{{.__error__ | ToLower}}\"", "x", "jsonparsererr");
    is("| logfmt | line_format \"{{.a}}\"", "a=1", "1");
    is("| logfmt | line_format \"{{.missing}}\"", "a=1", "");
    is("| logfmt | line_format \"{{$x := .a}}\"", "a=1", "1");
    is("| logfmt | line_format \"{{$x := .a}}{{$x}}!\"", "a=1", "1!");
}

#[test]
fn templates_see_the_labels_as_they_are_when_the_first_is_reached() {
    let format = |formats: &str, parsed: &str| {
        let query = format!("| logfmt | label_format {formats}");
        check(&query, "a=1", Some(&format!("a=1 | app=x {parsed}")));
    };
    format(r#"x=a, y="{{.x}}-{{.a}}""#, "sm:trace=t p:x=1 p:y=1-");
    format(r#"y="{{.x}}-{{.a}}", x=a"#, "sm:trace=t p:x=1 p:y=-1");
    format(r#"y="{{.a}}", x=a, z="{{.x}}{{.a}}""#, "sm:trace=t p:x=1 p:y=1 p:z=1");
}

#[test]
fn labels_are_dropped_kept_and_renamed() {
    check("| logfmt | drop a, b=\"2\", app", "a=1 b=2 c=3", Some("a=1 b=2 c=3 | p:c=3 sm:trace=t"));
    check("| logfmt | keep a, trace", "a=1 b=2", Some("a=1 b=2 | p:a=1 sm:trace=t"));
    check("| logfmt | label_format z=a, y=missing", "a=1", Some("a=1 | app=x sm:trace=t p:z=1"));
    check("| json | drop __error__", "x", Some("x | app=x sm:trace=t"));
    check("| json | keep nothing", "x", Some("x | p:__error__=JSONParserErr"));
    check("| logfmt | drop a | logfmt", "a=1", Some("a=1 | app=x sm:trace=t"));
}

#[test]
fn a_filter_sees_what_the_stages_before_it_have_made_of_a_label() {
    check("| logfmt | label_format a=\"new\" | a=\"new\"", "a=1", Some("a=1 | p:a=new app=x sm:trace=t"));
    check("| logfmt | drop a | a=\"\"", "a=1", Some("a=1 | app=x sm:trace=t"));
    check("| a=\"\" | logfmt", "a=1", Some("a=1 | p:a=1 app=x sm:trace=t"));
    check("| logfmt | a=\"\"", "a=1", None);
    check("| logfmt b=\"a\" | b=\"1\"", "a=1", Some("a=1 | app=x p:b=1 sm:trace=t"));
    check("| json | a=\"1\"", r#"{"":"2","a":"1"}"#, Some(r#"{"":"2","a":"1"} | p:a=1 app=x sm:trace=t"#));
}

#[test]
fn line_filters_run_before_a_decolorize_but_not_past_a_new_line() {
    let red = "\x1b[31mred\x1b[0m";
    check("| decolorize |= \"31m\"", red, Some("red | app=x sm:trace=t"));
    check("| decolorize | app=\"x\" |= \"31m\"", red, None);
    check("| unpack |= \"in\"", r#"{"_entry":"in"}"#, Some("in | app=x sm:trace=t"));
    check("| unpack |= \"_entry\"", r#"{"_entry":"in"}"#, None);
}

#[test]
fn filters_that_see_the_stored_line_can_be_split_off() {
    let check = |query: &str, filters: usize, rest: usize| {
        let (leading, others) = split_leading(&stages(query));
        assert_eq!((leading.len(), others.len()), (filters, rest), "{query}");
    };
    check("|= \"a\" | json | x=\"1\" |~ \"b\"", 2, 2);
    check("| decolorize |= \"a\"", 1, 1);
    check("| decolorize | x=\"1\" |= \"a\"", 0, 3);
    check("|= \"a\" | unpack |= \"b\" | json |= \"c\"", 1, 4);
    check("| json | x > 1", 0, 2);
}

#[test]
fn parsers_extract_only_what_somebody_looks_at() {
    let only = |names: &[&str]| Wanted::Only(names.iter().map(ToString::to_string).collect());
    let check = |query: &str, wanted: &Wanted, line: &str, expected: Option<&str>| {
        let got = run(query, wanted, &Options::default(), line.as_bytes(), &[]);
        assert_eq!(got.as_deref(), expected, "{query} on {line}");
    };
    let line = r#"{"a":"1","b":{"c":"2","d":"3"},"app":"y"}"#;
    check("| json", &only(&["b_c"]), line, Some(&format!("{line} | app=x p:b_c=2")));
    check("| json | a=\"1\"", &only(&[]), line, Some(&format!("{line} | p:a=1 app=x")));
    check("| json", &only(&["app_extracted"]), line, Some(&format!("{line} | app=x p:app_extracted=y")));
    check("| json", &only(&[]), "not JSON", Some("not JSON | app=x"));
    check("| json", &only(&["a"]), r#"{"a":"1",damage"#, Some(r#"{"a":"1",damage | p:a=1 app=x"#));
    check("| json", &only(&["z"]), "not JSON", Some("not JSON | p:__error__=JSONParserErr app=x"));
    check("| logfmt b=\"a\"", &only(&["b"]), "a=1", Some("a=1 | app=x p:b=1"));
    check("| logfmt | unpack", &only(&["a"]), "a=1", Some("a=1 | p:a=1 app=x"));
    check("| unpack", &only(&["a"]), "a=1", Some("a=1 | p:__error__=JSONParserErr app=x"));
    check("| unpack |= \"l\"", &only(&[]), r#"{"a":"1","_entry":"l"}"#, Some("l | app=x"));
}

#[test]
fn a_level_is_metadata_that_parsers_give_way_to() {
    let options = Options { levels: Some(LevelSources::usual()), now: 0 };
    let check = |query: &str, wanted: &Wanted, line: &str, expected: Option<&str>| {
        let got = run(query, wanted, &options, line.as_bytes(), &[]);
        assert_eq!(got.as_deref(), expected, "{query} on {line}");
    };
    let error = Wanted::Only(["detected_level".to_string()].into());
    check("", &Wanted::All, "an error", Some("an error | app=x sm:detected_level=error"));
    check("", &error, "an error", Some("an error | app=x sm:detected_level=error"));
    check("", &Wanted::Only(BTreeSet::new()), "an error", Some("an error | app=x"));
    check("| detected_level=\"warn\"", &Wanted::All, "an error", None);
    check("| keep app", &Wanted::All, "an error", Some("an error | app=x"));
    check("| drop detected_level", &Wanted::All, "an error", Some("an error | app=x"));
    check(
        "| logfmt",
        &Wanted::All,
        "detected_level=mine",
        Some("detected_level=mine | app=x sm:detected_level=unknown p:detected_level_extracted=mine"),
    );
    let called = |level: &str| run("", &Wanted::All, &options, b"an error", &[("detected_level", level)]);
    assert_eq!(called("WRN").as_deref(), Some("an error | app=x sm:detected_level=warn"));
    assert_eq!(called("Notice").as_deref(), Some("an error | app=x sm:detected_level=Notice"));
    check(
        "| unpack",
        &Wanted::All,
        r#"{"_entry":"an error"}"#,
        Some("an error | app=x sm:detected_level=error"),
    );
}

#[test]
fn stages_that_cannot_work_are_refused() {
    let text = |s: &str| s.to_string();
    let refused = [
        Stage::Pattern(text("no capture")),
        Stage::Regexp(text("(a)")),
        Stage::Regexp(text("(?P<a>")),
        Stage::Json(vec![crate::ast::Extraction { label: text("a"), expression: text("b..c") }]),
        Stage::LineFormat(text("{{if}}")),
    ];
    for stage in refused {
        assert!(Pipeline::compile(std::slice::from_ref(&stage), &Wanted::All).is_err(), "{stage:?}");
    }
    for query in
        ["|= ip(\"x\")", "|> \"<x> a\"", "| a=ip(\"x\")", "| label_format a=b,a=c", "| logfmt a=\"b.c\""]
    {
        assert!(Pipeline::compile(&stages(query), &Wanted::All).is_err(), "{query}");
    }
}
