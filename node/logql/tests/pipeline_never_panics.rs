//! Whatever bytes a line holds, every stage takes it: nothing panics, and what comes out can be read.

use grapevine_logql::ast::{
    Conversion, Extraction, LabelFilter, LabelFormat, LabelFormatSource, LabelSpec, LineFilter, LineOp,
    LineOperand, MatchOp, Matcher, Stage, Unwrap as UnwrapSource,
};
use grapevine_logql::level::LevelSources;
use grapevine_logql::pipeline::{Options, Pipeline, Wanted};
use grapevine_logql::unwrap::Unwrap;
use proptest::prelude::{Strategy, any, prop_oneof, proptest};
use proptest::{collection::vec, sample::select};

/// Pieces of lines that stages look at closely, to be put together at random.
const PIECES: [&str; 36] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ":",
    ",",
    "=",
    " ",
    "a",
    "b",
    "\"a\":",
    "\"a\":\"1\",",
    "\\u00e9",
    "\\ud83d",
    "\\udc00",
    "a=1 ",
    "b=\"x y\" ",
    "_entry",
    "\"_entry\":\"z\"",
    "\n",
    "\x1b[31m",
    "10.0.0.1",
    "::1",
    "1.5KB",
    "3ms",
    "true",
    "null",
    "-1e9",
    "é",
    "日",
    "\u{fffd}",
    "<",
    ">",
    "level=warn",
];

fn lines() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn stages() -> Vec<Stage> {
    let text = |text: &str| LineOperand::Text(text.into());
    let extraction =
        |label: &str, expression: &str| Extraction { label: label.into(), expression: expression.into() };
    let matcher = |name: &str, op, value: &str| Matcher { name: name.into(), op, value: value.into() };
    let filter = |op, operand| Stage::LineFilter(LineFilter { op, operands: vec![operand] });
    let paths = vec![extraction("p", "a.b[0]"), extraction("q", "[1].a"), extraction("a", "a")];
    let quantity = |name: &str| LabelFilter::Bytes {
        name: name.into(),
        op: grapevine_logql::ast::CompareOp::NotEqual,
        value: 7,
    };
    vec![
        filter(LineOp::Contains, text("")),
        filter(LineOp::NotRegex, text("^never.$")),
        filter(LineOp::NotPattern, text("<_> never")),
        filter(LineOp::NotContains, LineOperand::Ip("9.9.9.9".into())),
        Stage::Decolorize,
        Stage::Json(Vec::new()),
        Stage::Json(paths),
        Stage::Logfmt { strict: true, keep_empty: true, extractions: Vec::new() },
        Stage::Logfmt { strict: false, keep_empty: false, extractions: vec![extraction("l", "\"a\"")] },
        Stage::Pattern("<one>=<_> <two>".into()),
        Stage::Regexp("(?P<r>.)(?P<s>\\W+)?".into()),
        Stage::Unpack,
        Stage::LabelFilter(LabelFilter::Or(
            Box::new(quantity("a")),
            Box::new(LabelFilter::Text(matcher("app", MatchOp::Regex, "x|y"))),
        )),
        Stage::LabelFormat(vec![LabelFormat {
            target: "renamed".into(),
            source: LabelFormatSource::Rename("a".into()),
        }]),
        Stage::Drop(vec![LabelSpec::Matcher(matcher("b", MatchOp::NotEqual, "kept"))]),
        Stage::Keep(["app", "renamed", "l", "one", "r"].map(|name| LabelSpec::Name(name.into())).to_vec()),
    ]
}

fn check(line: &[u8]) {
    let all = stages();
    let alone = all.iter().map(std::slice::from_ref);
    let metadata = [("trace", "t"), ("app", "z")];
    for stages in alone.chain([all.as_slice()]) {
        let pipeline = Pipeline::compile(stages, &Wanted::All).expect("the stages are valid");
        let mut pipeline =
            pipeline.stream(&[("app", "x")], &Options { levels: Some(LevelSources::usual()), now: 0 });
        let first = pipeline.process(1, line, &metadata).map(|o| (o.line.to_vec(), o.labels.hash()));
        if let Some(outcome) = pipeline.process(1, line, &metadata) {
            let names: Vec<&str> = outcome.labels.iter().map(|label| label.name).collect();
            assert!(names.is_sorted_by(|a, b| a < b), "labels are sorted and unique: {names:?}");
            assert_eq!(
                Some((outcome.line.to_vec(), outcome.labels.hash())),
                first,
                "a second run is like the first"
            );
        }
    }
    LevelSources::usual().detect(&[], &[], line, &mut Vec::new());
    for conversion in [Conversion::None, Conversion::Duration, Conversion::Bytes] {
        let unwrap = UnwrapSource { label: "a".into(), conversion, filters: Vec::new() };
        let pipeline = Pipeline::compile(&all[5..8], &Wanted::All).expect("the stages are valid");
        Unwrap::compile(&unwrap).expect("the unwrap is valid").sample(
            &mut pipeline.stream(&[], &Options::default()),
            1,
            line,
            &metadata,
        );
    }
}

proptest! {
    #[test]
    fn any_line_passes_every_stage_without_a_panic(line in lines()) {
        check(&line);
    }

    #[test]
    fn any_bytes_pass_every_stage_without_a_panic(line in vec(any::<u8>(), 0..64)) {
        check(&line);
    }
}

#[test]
fn deep_nesting_exhausts_no_stack() {
    check("{\"a\":".repeat(100_000).as_bytes());
    check(["{\"a\":".repeat(20_000), "1".into(), "}".repeat(20_000)].concat().as_bytes());
    check("[".repeat(100_000).as_bytes());
}
