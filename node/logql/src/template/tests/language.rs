//! Tables over the language: what parses, what prints, what is refused.

use std::collections::BTreeSet;

use super::{Line, check, check_fails, check_refused, render};
use crate::template::Template;

#[test]
fn text_and_fields_print_as_they_are() {
    check("", "");
    check("plain } { text", "plain } { text");
    check("<{{.s}}|{{ .n }}>", "<Hello World|42>");
    check("{{.missing}}", "");
    check("{{$.s}}", "Hello World");
    check("{{.app}}{{.app}}", "xx");
    check("{{index . \"n\"}}", "42");
    check("{{index . \"nope\"}}", "");
    check("{{len .}}", "7");
    check("{{define \"x\"}}{{.}}{{end}}{{template \"x\" .n}}", "42");
    let line = Line { line: b"a\xffb".to_vec(), ..Line::sample() };
    assert_eq!(render("{{__line__}}!", &line).unwrap(), b"a\xffb!");
}

#[test]
fn trim_markers_and_comments_leave_no_trace() {
    check("a  {{- \"b\" -}}  c", "abc");
    check("a {{/* note */}} b", "a  b");
    check("a {{- /* note */ -}} b", "ab");
    check("a\n\t{{- .n}}\n", "a42\n");
    check("{{-3}}", "-3");
    check("{{- 3 -}}", "3");
    check("{{.n -}} x", "42x");
}

#[test]
fn constants_print_with_the_type_they_are_written_in() {
    check("{{1}} {{-1}} {{0x10}} {{1_000}} {{'a'}}", "1 -1 16 1000 97");
    check(
        "{{1.0}} {{1e6}} {{1e5}} {{.5}} {{1e-5}} {{123456789.0}}",
        "1 1e+06 100000 0.5 1e-05 1.23456789e+08",
    );
    check("{{true}} {{false}}", "true false");
    check(r#"{{"a\tb\x21"}} {{`r\aw`}}"#, "a\tb! r\\aw");
    check("{{print nil}}", "<nil>");
    check("{{printf \"%T %T %T %T\" 1 1.0 'a' \"s\"}}", "int float64 int string");
}

#[test]
fn pipelines_pass_their_value_on_as_the_last_argument() {
    check("{{.s | upper | trunc 5}}", "HELLO");
    check("{{ (print 1 2) | len }}", "3");
    check("{{.s | printf \"%s-%s\" \"a\"}}", "a-Hello World");
    check("{{ printf \"%d\" (len .s) }}", "11");
    check("{{ ((((1)))) }}", "1");
    check_fails("{{ .s | .n }}");
    check_fails("{{ .s \"arg\" }}");
    check_fails("{{ nil }}");
    check_fails("{{ 1 2 }}");
    check_fails("{{ (len .s) 2 }}");
    check_fails("{{ .s.x }}");
    check_fails("{{ trunc (add 1 2) .s }}");
}

#[test]
fn variables_live_to_the_end_of_their_block() {
    check("{{$x := .n}}{{$x}}{{$x}}", "4242");
    check("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2");
    check("{{$x := 1}}{{if true}}{{$x := 2}}{{$x}}{{end}}{{$x}}", "21");
    check("{{with $y := .n}}{{$y}}{{$.s}}{{end}}", "42Hello World");
    check("{{if $z := .e}}y{{else}}[{{$z}}]{{end}}", "[]");
    check_fails("{{$new = 1}}");
    check_refused("{{$x}}");
    check_refused("{{if true}}{{$x := 1}}{{end}}{{$x}}");
    check_refused("{{$x := 1}}{{define \"a\"}}{{$x}}{{end}}");
    check_refused("{{$x, $y := 1}}");
    check_refused("{{range $x, $y, $z := .}}{{end}}");
}

#[test]
fn conditions_follow_gos_truth() {
    check("{{if .s}}y{{end}}{{if .e}}n{{end}}{{if 0}}n{{end}}{{if 0.0}}n{{end}}{{if false}}n{{end}}", "y");
    check("{{if .}}y{{end}}{{if __timestamp__}}y{{end}}{{if fromJson \"null\"}}n{{end}}", "yy");
    check("{{if fromJson \"[]\"}}n{{else if fromJson \"[0]\"}}y{{else}}n{{end}}", "y");
    check("{{if eq .n \"1\"}}1{{else if eq .n \"42\"}}2{{else}}3{{end}}", "2");
    check("{{with .e}}{{.}}{{else with .n}}<{{.}}>{{else}}none{{end}}", "<42>");
    check("{{with .e}}{{.}}{{else}}{{.n}}{{end}}", "42");
    check("{{and 1 0 2}} {{and 1 2}} {{or 0 \"\" 3}} {{or 0 .e}}|", "0 2 3 |");
    check("{{0 | and 1}} {{7 | or 0}} {{not 0}}", "0 7 true");
    check_fails("{{and 1 (index .j 9999)}}");
    check("{{or 1 (index .j 9999)}}{{and 0 (index .j 9999)}}", "10");
}

#[test]
fn ranges_run_over_lists_maps_and_counts() {
    check("{{range fromJson \"[1,2,3]\"}}{{.}},{{end}}", "1,2,3,");
    check("{{range $i, $x := fromJson `[\"a\",\"b\"]`}}{{$i}}={{$x}};{{end}}", "0=a;1=b;");
    check("{{range $k, $v := fromJson `{\"b\":1,\"a\":[2]}`}}{{$k}}={{$v}};{{end}}", "a=[2];b=1;");
    check("{{range 3}}{{.}}{{end}}{{range $i := 2}}{{$i}}{{end}}", "01201");
    check("{{range fromJson \"[]\"}}x{{else}}none{{end}}{{range 0}}x{{else}}none{{end}}", "nonenone");
    check("{{range fromJson \"bad\"}}x{{else}}none{{end}}", "none");
    check("{{range $k, $v := .}}{{$k}} {{end}}", "app e f j n neg s ");
    check("{{range 9}}{{if eq . 2}}{{continue}}{{end}}{{if gt . 4}}{{break}}{{end}}{{.}}{{end}}", "0134");
    check("{{range 2}}{{range 2}}{{break}}{{end}}{{.}}{{end}}", "01");
    check("{{$x := 0}}{{range $x = 4}}{{end}}{{$x}}", "3");
    check("{{$s := \"\"}}{{range 3}}{{$s = print $s .}}{{end}}{{$s}}", "012");
    check("{{range fromJson \"[null]\"}}[{{.}}]{{end}}", "[<no value>]");
    check_fails("{{range .s}}x{{end}}");
    check_fails("{{range 1.5}}x{{end}}");
    check_fails("{{range $i, $x := 3}}x{{end}}");
    check_fails("{{range fromJson \"[null]\"}}{{.x}}{{end}}");
    check_refused("{{break}}");
    check_refused("{{if true}}{{continue}}{{end}}");
    check_refused("{{range 2}}{{define \"x\"}}{{end}}{{end}}");
    check_refused("{{range 2}}{{else}}{{break}}{{end}}");
}

#[test]
fn templates_are_defined_once_and_called_by_name() {
    check("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .n}}{{template \"t\"}}", "<42><<no value>>");
    check("{{template \"t\" .s}}{{define \"t\"}}{{len .}}{{end}}", "11");
    check("{{block \"b\" .n}}[{{.}}]{{end}}{{template \"b\" 1}}", "[42][1]");
    check("{{define \"t\"}}{{$}}{{end}}{{with .s}}{{template \"t\" .}}{{end}}", "Hello World");
    let countdown =
        "{{define \"c\"}}{{if .}}{{.}}{{template \"c\" (int (sub . 1))}}{{end}}{{end}}{{template \"c\" 3}}";
    check(countdown, "321");
    check_fails("{{template \"nope\"}}");
    check_fails("{{define \"r\"}}{{template \"r\"}}{{end}}{{template \"r\"}}");
    check_refused("{{define \"t\"}}a{{end}}{{define \"t\"}}b{{end}}");
    check_refused("{{if true}}{{define \"t\"}}a{{end}}{{end}}");
    check_refused("{{define t}}{{end}}");
}

#[test]
fn decoded_json_is_looked_into() {
    check("{{(fromJson .j).f}} {{(fromJson .j).n}} {{(fromJson .j).nope}}", "1.5 <no value> <no value>");
    check("{{$j := fromJson .j}}{{(index $j.k 2).z}}{{len $j.k}}", "y3");
    check("{{index (fromJson .j) \"k\" 2 \"z\"}}", "y");
    check("{{$n := (fromJson .j).n}}{{$n.x}}", "<no value>");
    check_fails("{{(fromJson .j).n.x}}");
    check_fails("{{(fromJson .j).f.x}}");
    check_fails("{{index (fromJson .j).k 3}}");
    check_fails("{{index (fromJson .j).k -1}}");
    check_fails("{{(fromJson .j).k.x}}");
}

#[test]
fn sources_that_are_no_templates_are_refused() {
    for source in [
        "{{",
        "{{.s",
        "{{}}",
        "{{ }}",
        "{{.s}",
        "{{end}}",
        "{{else}}",
        "{{if}}{{end}}",
        "{{if true}}",
        "{{nosuch}}",
        "{{.s | nosuch}}",
        "{{(1}}",
        "{{1)}}",
        "{{\"a}}",
        "{{`a}}",
        "{{'ab'}}",
        "{{''}}",
        "{{\"\\q\"}}",
        "{{1a}}",
        "{{08}}",
        "{{1.2.3}}",
        "{{99999999999999999999}}",
        "{{.s\"a\"}}",
        "{{\"a\"\"b\"}}",
        "{{$x := }}",
        "{{$x :}}",
        "{{.s | 1}}",
        "{{.s | \"a\"}}",
        "{{.s | .}}",
        "{{\"a\".x}}",
        "{{nil.x}}",
        "{{true.x}}",
        "{{1 .}}{{end}}",
        "{{/* open}}",
        "{{/* c */ x}}",
        "{{ /* c */ }}",
        "{{.s!}}",
        "{{a-b}}",
        "{{template}}",
        "{{template x}}",
        "{{block \"x\"}}{{end}}",
        "{{if true}}{{else}}{{else}}{{end}}",
        "{{if true}}{{else with 1}}{{end}}",
        "{{with 1}}{{else if 1}}{{end}}{{end}}",
        "{{range 2}}{{break 1}}{{end}}",
        "{{end x}}",
        "{{$}}{{$.}}{{.a.}}",
        "{{toJson .}}",
        "{{sha256sum .s}}",
        "{{Contains .s \"a\"}}",
        "{{1i}}",
        "{{😀}}",
        "{{\"a\nb\"}}",
    ] {
        check_refused(source);
    }
}

#[test]
fn the_labels_a_template_reads_are_known() {
    let check = |source: &str, want: Option<&[&str]>| {
        let names = Template::parse(source).unwrap().label_names();
        let want = want.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
        assert_eq!(names, want, "{source}");
    };
    check("text", Some(&[]));
    check("{{.a}} {{$.b}} {{upper .c | printf .d}}", Some(&["a", "b", "c", "d"]));
    check("{{if .a}}{{.b}}{{else}}{{.c}}{{end}}", Some(&["a", "b", "c"]));
    check("{{with .a}}{{.}}{{else}}{{.b}}{{end}}", Some(&["a", "b"]));
    check("{{range fromJson .a}}{{.}}{{end}}", Some(&["a"]));
    check("{{index . \"a\"}}", Some(&["a"]));
    check("{{(fromJson .a).k}}", Some(&["a"]));
    check("{{__line__}}{{__timestamp__.Unix}}", Some(&[]));
    check("{{define \"t\"}}{{.x}}{{end}}{{template \"t\" .a}}", Some(&["a", "x"]));
    check("{{.}}", None);
    check("{{$}}", None);
    check("{{$x := .}}{{$x.a}}", None);
    check("{{range $k, $v := .}}{{end}}", None);
    check("{{template \"t\" .}}{{define \"t\"}}{{.x}}{{end}}", None);
    check("{{with .a}}{{$}}{{end}}", None);
    check("{{with .a}}{{else}}{{.}}{{end}}", None);
    check("{{index . .a}}", None);
    check("{{template \"line\" .a}}", None);
}

#[test]
fn templates_of_others_are_checked_against_the_functions_these_have() {
    let check = |source: &str| Template::check(source, &["humanize", "toUpper"]).is_ok();
    assert!(check("{{ .Value | humanize | printf `%s` }} {{ toUpper $.x }} {{ if eq 1 2 }}{{ end }}"));
    for source in ["{{ upper .x }}", "{{ default 1 .x }}", "{{ humanise .x }}", "{{ .x ", "{{ $labels.x }}"] {
        assert!(!check(source), "{source}");
    }
}
