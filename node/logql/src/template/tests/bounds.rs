//! No source and no line may make a render panic, run on, or grow without end.

use proptest::prelude::{Strategy, prop, proptest};

use super::{Line, check_fails, check_refused};
use crate::template::{Template, limits};

#[test]
fn loops_recursion_and_growth_end() {
    check_fails("{{range 999999999}}{{end}}");
    check_fails("{{range 99999}}{{range 99999}}x{{end}}{{end}}");
    check_fails("{{$x := .s}}{{range 99}}{{$x = print $x $x}}{{end}}");
    check_fails(
        "{{range 99999}}{{$.j}}{{$.j}}{{$.j}}{{$.j}}{{$.j}}{{$.j}}{{$.j}}{{$.j}}{{$.j}}{{$.j}}{{end}}",
    );
    check_fails("{{$x := repeat 4000000 \"a\"}}{{replace \"a\" $x $x}}");
    check_fails("{{$x := repeat 4000000 \"a\"}}{{regexReplaceAll \"a\" $x $x}}");
    check_fails("{{$x := repeat 4000000 \"%9999d\"}}{{printf $x}}");
    check_fails(
        "{{define \"a\"}}{{if lt . 40}}{{$n := int (add . 1)}}{{template \"a\" $n}}{{template \"a\" $n}}{{end}}{{end}}{{template \"a\" 0}}",
    );
    check_fails("{{$p := \"a{9}\"}}{{range 99999}}{{count $p $.s}}{{end}}");
}

#[test]
fn the_deepest_source_that_parses_also_runs() {
    let nested = |levels: usize| {
        let parens = ("(".repeat(levels), ")".repeat(levels));
        let calls = ("print (".repeat(levels), ")".repeat(levels));
        let blocks = ("{{if true}}".repeat(levels), "{{end}}".repeat(levels));
        [
            format!("{{{{{}1{}}}}}", parens.0, parens.1),
            format!("{{{{{}1{}}}}}", calls.0, calls.1),
            format!("{}x{}", blocks.0, blocks.1),
        ]
    };
    let deepest = usize::try_from(limits::NESTING_MAX).unwrap();
    for source in nested(deepest) {
        assert!(super::render(&source, &Line::sample()).is_ok());
    }
    for source in nested(deepest + 1) {
        check_refused(&source);
    }
    check_refused(&" ".repeat(limits::SOURCE_BYTES_MAX + 1));
    check_refused(&format!("{}{}", "{{if 0}}{{else ".repeat(500), "if 1}}x{{end}}"));
}

/// Pieces that make most concatenations nearly a template.
fn source() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{{",
        "}}",
        "{{- ",
        " -}}",
        "if ",
        "else",
        "end",
        "range ",
        "with ",
        "define \"a\"",
        "template \"a\" ",
        ".",
        ".s",
        ".j",
        "$",
        "$x",
        " := ",
        " = ",
        " | ",
        "(",
        ")",
        "1",
        "-1",
        "1e3",
        "9223372036854775807",
        "\"a\"",
        "`\\d`",
        "'x'",
        "nil",
        "true",
        "fromJson ",
        "printf ",
        "\"%*.[2]d%q%x\" ",
        "index ",
        "slice ",
        "substr ",
        "trunc ",
        "repeat ",
        "indent ",
        "toDate ",
        "\"2006-01-02T15:04:05.000 MST\" ",
        "date ",
        "__timestamp__",
        ".Add ",
        ".AddDate ",
        ".Round ",
        ".Format ",
        "add ",
        "mulf ",
        "divf ",
        "round ",
        "regexReplaceAll ",
        "count ",
        "break",
        "continue",
        " ",
        "\u{e9}",
        "\n",
        "/* */",
        "duration ",
        "bytes ",
        "unixToTime ",
        "b64dec ",
        "eq ",
        "len ",
        "{{.s}}",
        "{{end}}",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_source_panics(source in source()) {
        if let Ok(template) = Template::parse(&source) {
            let mut out = Vec::new();
            let _ = template.render(&Line::sample(), &mut out);
            assert!(out.len() <= limits::TEXT_BYTES_MAX);
            let _ = template.label_names();
        }
    }

    #[test]
    fn no_call_panics(
        function in prop::sample::select(vec![
            "substr", "trunc", "repeat", "indent", "alignLeft", "alignRight", "slice", "index", "round", "div", "mod",
            "toDate", "date", "printf", "Replace", "toDateInZone", "unixToTime", "duration", "bytes", "b64dec", "urldecode",
            "(now.AddDate", "(now.Add", "(now.Round", "regexReplaceAll", "fromJson", "int", "divf", "mulf",
        ]),
        args in prop::collection::vec(prop::sample::select(vec![
            "0", "1", "-1", "2", "9223372036854775807", "-9223372036854775808", "1e308", "-0.5", ".s", ".e", "\"%d%s%[9]q%-05.3x\"",
            "\"é日\"", "\"\\xff\\x80\"", "\"2006-01-02 15:04:05.999 -07:00\"", "\"99999\"", "(fromJson .j).k", "now", "nil", "true",
        ]), 0..5),
    ) {
        let close = if function.starts_with('(') { ")" } else { "" };
        let template = Template::parse(&format!("{{{{{function} {}{close}}}}}", args.join(" "))).unwrap();
        let mut out = Vec::new();
        let _ = template.render(&Line::sample(), &mut out);
    }

    #[test]
    fn any_text_is_a_template_or_refused(source in "\\PC{0,64}") {
        let _ = Template::parse(&source).map(|template| template.render(&Line::sample(), &mut Vec::new()));
    }

    #[test]
    fn any_layout_and_date_end_in_a_time(layout in "[0-9JanMoST_.,:Z+ -]{0,24}", text in "[0-9JanFebMoST.,:Z+ -]{0,24}") {
        let source = format!("{{{{toDate `{layout}` `{text}` | date `{layout}`}}}}");
        Template::parse(&source).unwrap().render(&Line::sample(), &mut Vec::new()).unwrap();
    }
}
