//! Writes rule groups as YAML, to the letter as Go's library does: `lokitool`, Terraform and Git compare texts.
//!
//! The rules are those of libyaml, which Go's library follows: a text stands as it is where nothing in it could be
//! taken for something else, else in quotes, or as a block if it has several lines. But for blocks that begin with a
//! blank: how far they are indented is written wrongly there, and such a text stands in quotes here.

use std::collections::BTreeMap;
use std::fmt::Write;

use grapevine_logql::quantity::format_prometheus_duration;

use super::group::{Group, Rule};

/// Columns that a block stands further right than what holds it.
const INDENT: usize = 4;

/// One group.
pub fn group(group: &Group) -> String {
    let mut out = String::new();
    write_group(&mut out, group, 0);
    out
}

/// Groups by namespace.
pub fn namespaces(namespaces: &BTreeMap<&str, Vec<&Group>>) -> String {
    let mut out = String::new();
    for (name, groups) in namespaces {
        let _ = writeln!(out, "{}:", scalar(name, None)); // Writing to a String cannot fail; so below.
        for group in groups {
            out.push_str("    - ");
            write_group(&mut out, group, 6);
        }
    }
    out
}

/// Writes a map's fields, the first of which follows what stands on its line already.
struct Fields<'o> {
    out: &'o mut String,
    column: usize,
    first: bool,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.extend(std::iter::repeat_n(' ', self.column));
        }
        let _ = write!(self.out, "{name}:");
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(&scalar(name, None));
        let _ = writeln!(self.out, " {}", scalar(text, Some(next_stop(self.column))));
    }

    fn some_text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    fn duration(&mut self, name: &str, ns: i64) {
        if ns != 0 {
            self.text(name, &format_prometheus_duration(ns));
        }
    }

    fn texts(&mut self, name: &str, texts: &BTreeMap<String, String>) {
        if texts.is_empty() {
            return;
        }
        self.name(name);
        self.out.push('\n');
        let mut inner = Fields { out: self.out, column: next_stop(self.column), first: false };
        texts.iter().for_each(|(name, text)| inner.text(name, text));
    }
}

/// Where a block begins whose holder begins at a column.
fn next_stop(column: usize) -> usize {
    INDENT * ((column + INDENT) / INDENT)
}

/// The line is already as far as `column`.
fn write_group(out: &mut String, group: &Group, column: usize) {
    let mut fields = Fields { out, column, first: true };
    fields.text("name", &group.name);
    fields.duration("interval", group.interval);
    if let Some(offset) = group.query_offset {
        fields.text("query_offset", &format_prometheus_duration(offset));
    }
    if group.limit != 0 {
        fields.name("limit");
        let _ = writeln!(fields.out, " {}", group.limit);
    }
    fields.name("rules");
    fields.out.push_str(if group.rules.is_empty() { " []\n" } else { "\n" });
    for rule in &group.rules {
        let at = next_stop(column);
        let _ = write!(fields.out, "{:at$}- ", "");
        write_rule(fields.out, rule, at + 2);
    }
    fields.texts("labels", &group.labels);
}

fn write_rule(out: &mut String, rule: &Rule, column: usize) {
    let mut fields = Fields { out, column, first: true };
    fields.some_text("record", &rule.record);
    fields.some_text("alert", &rule.alert);
    fields.text("expr", &rule.expr);
    fields.duration("for", rule.hold);
    fields.duration("keep_firing_for", rule.keep_firing);
    fields.texts("labels", &rule.labels);
    fields.texts("annotations", &rule.annotations);
}

/// A text as YAML; as a block that begins at `block` if it has several lines and stands where it may.
fn scalar(text: &str, block: Option<usize>) -> String {
    let marks = Marks::of(text);
    match block {
        Some(column) if text.contains('\n') && marks.block => literal(text, column),
        _ if text.contains('\n') => double_quoted(text),
        _ if is_another_kind(text) => double_quoted(text),
        _ if marks.plain => text.to_owned(),
        _ if marks.single => format!("'{}'", text.replace('\'', "''")),
        _ => double_quoted(text),
    }
}

/// In which ways a text may stand.
struct Marks {
    plain: bool,
    single: bool,
    block: bool,
}

impl Marks {
    fn of(text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let is_blank = |at: usize| characters.get(at).is_none_or(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
        let mut indicators = text.starts_with("---") || text.starts_with("...");
        let (mut special, mut tab, mut space_break, mut break_space) = (false, false, false, false);
        for (at, character) in characters.iter().enumerate() {
            let next = characters.get(at + 1);
            indicators |= match character {
                '#' => at == 0 || is_blank(at - 1),
                ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@' | '`' => {
                    at == 0
                }
                '-' | '?' => at == 0 && is_blank(1),
                ':' => is_blank(at + 1),
                _ => false,
            };
            match character {
                '\t' => tab = true,
                ' ' => space_break |= next == Some(&'\n'),
                '\n' => break_space |= next == Some(&' '),
                character => special |= !is_printable(*character),
            }
        }
        let edge = |c: Option<&char>| matches!(c, Some(' ' | '\n'));
        let edges = edge(characters.first()) || edge(characters.last());
        let broken = space_break || tab || special;
        Marks {
            plain: !(indicators || edges || broken || break_space || text.contains('\n')),
            single: !(broken || break_space),
            block: !(space_break || special || text.ends_with(' ') || text.starts_with([' ', '\n'])),
        }
    }
}

fn is_printable(character: char) -> bool {
    matches!(character, '\n' | ' '..='~' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FEFE}' | '\u{FF00}'..='\u{FFFD}'
        | '\u{10000}'..='\u{10FFFF}')
}

/// Whether a text without quotes would be taken for something else: nothing, a truth value, a number, a time.
fn is_another_kind(text: &str) -> bool {
    const WORDS: [&str; 31] = [
        "", "~", "<<", "null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE", "y", "Y",
        "yes", "Yes", "YES", "on", "On", "ON", "n", "N", "no", "No", "NO", "off", "Off", "OFF", ".nan",
        ".NaN", ".NAN",
    ];
    WORDS.contains(&text) || is_number(text) || is_time(text)
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if [".inf", ".Inf", ".INF"].contains(&unsigned) {
        return true;
    }
    let in_base = |prefix: &str, digits: u32| {
        unsigned
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_digit(digits) || c == '_'))
    };
    let bare: String = unsigned.chars().filter(|c| *c != '_').collect();
    let is_decimal = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && bare.ends_with(|c: char| c.is_ascii_digit() || c == '.')
        && bare.parse::<f64>().is_ok();
    let is_base_60 = unsigned.contains(':')
        && unsigned.starts_with(|c: char| c.is_ascii_digit())
        && unsigned.chars().all(|c| c.is_ascii_digit() || matches!(c, ':' | '.' | '_'));
    is_decimal || is_base_60 || in_base("0x", 16) || in_base("0o", 8) || in_base("0b", 2)
}

/// Whether it begins as a date does and consists of what times consist of.
fn is_time(text: &str) -> bool {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    digits == 4
        && text.as_bytes().get(4) == Some(&b'-')
        && text
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '-' | ':' | '.' | 'T' | 't' | 'Z' | ' ' | '+'))
}

fn literal(text: &str, column: usize) -> String {
    let mut out = String::from("|");
    let body = text.strip_suffix('\n');
    match body {
        None => out.push('-'),
        Some(body) if body.is_empty() || body.ends_with('\n') => out.push('+'),
        Some(_) => {}
    }
    for line in body.unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            let _ = write!(out, "{:column$}{line}", "");
        }
    }
    out
}

fn double_quoted(text: &str) -> String {
    let mut out = String::from('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0' => out.push_str("\\0"),
            character if is_printable(character) => out.push(character),
            character if u32::from(character) <= 0xFF => {
                let _ = write!(out, "\\x{:02X}", u32::from(character));
            }
            character if u32::from(character) <= 0xFFFF => {
                let _ = write!(out, "\\u{:04X}", u32::from(character));
            }
            character => {
                let _ = write!(out, "\\U{:08X}", u32::from(character));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::{Strategy, prop_assert_eq, proptest};

    use super::{namespaces, scalar};
    use crate::rules::group::{Group, Rule};
    use crate::rules::read;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn texts_stand_as_gos_library_writes_them() {
        for (text, expected) in [
            ("up", "up"),
            ("", "\"\""),
            ("1", "\"1\""),
            ("-1.5e3", "\"-1.5e3\""),
            ("0x1f", "\"0x1f\""),
            ("1:30", "\"1:30\""),
            ("yes", "\"yes\""),
            ("null", "\"null\""),
            ("2026-01-31", "\"2026-01-31\""),
            ("1m", "1m"),
            ("v1.2.3", "v1.2.3"),
            (r#"sum(rate({app="a"}[1m])) > 0"#, r#"sum(rate({app="a"}[1m])) > 0"#),
            (r#"{app="a"} |= "b""#, r#"'{app="a"} |= "b"'"#),
            ("a: b", "'a: b'"),
            ("a:b", "a:b"),
            ("ends with:", "'ends with:'"),
            ("a #b", "'a #b'"),
            ("it's", "it's"),
            ("'quoted' it's", "'''quoted'' it''s'"),
            ("- a", "'- a'"),
            ("-a", "-a"),
            ("{{ $value }} lines", "'{{ $value }} lines'"),
            (" padded", "' padded'"),
            ("tab\there", "\"tab\\there\""),
            ("straße", "straße"),
            ("bell\u{7}", "\"bell\\x07\""),
        ] {
            assert_eq!(scalar(text, Some(8)), expected, "{text:?}");
        }
    }

    #[test]
    fn texts_of_several_lines_stand_as_blocks() {
        for (text, expected) in [
            ("a\nb", "|-\n        a\n        b"),
            ("a\nb\n", "|\n        a\n        b"),
            ("a\n\nb\n\n", "|+\n        a\n\n        b\n"),
            (" a\nb", "\" a\\nb\""),
            ("a \nb", "\"a \\nb\""),
        ] {
            assert_eq!(scalar(text, Some(8)), expected, "{text:?}");
        }
    }

    #[test]
    fn groups_are_indented_as_lokis() {
        let rule = Rule {
            alert: "High".into(),
            expr: r#"sum(rate({app="a"}[1m])) > 0"#.into(),
            hold: 600 * SECOND,
            labels: BTreeMap::from([("severity".into(), "page".into())]),
            ..Rule::default()
        };
        let record = Rule { record: "a:b".into(), expr: "vector(1)".into(), ..Rule::default() };
        let group =
            Group { name: "g".into(), interval: 60 * SECOND, rules: vec![rule, record], ..Group::default() };
        let expected = "\
name: g
interval: 1m
rules:
    - alert: High
      expr: sum(rate({app=\"a\"}[1m])) > 0
      for: 10m
      labels:
        severity: page
    - record: a:b
      expr: vector(1)
";
        assert_eq!(super::group(&group), expected);
        let expected = "\
ns:
    - name: g
      interval: 1m
      rules:
        - alert: High
          expr: sum(rate({app=\"a\"}[1m])) > 0
          for: 10m
          labels:
            severity: page
        - record: a:b
          expr: vector(1)
    - name: none
      rules: []
";
        let none = Group { name: "none".into(), ..Group::default() };
        assert_eq!(namespaces(&BTreeMap::from([("ns", vec![&group, &none])])), expected);
    }

    fn text() -> impl Strategy<Value = String> {
        r#"[-:&*{}'"|>#,a0 \n!?%@~.\té\u{7}]{0,12}"#
    }

    fn texts() -> impl Strategy<Value = BTreeMap<String, String>> {
        btree_map(text(), text(), 0..3)
    }

    fn rule() -> impl Strategy<Value = Rule> {
        (text(), text(), text(), 0..90_000_i64, 0..3_i64, texts(), texts()).prop_map(
            |(record, alert, expr, hold, keep_firing, labels, annotations)| Rule {
                record,
                alert,
                expr,
                hold: hold * SECOND,
                keep_firing: keep_firing * SECOND,
                labels,
                annotations,
            },
        )
    }

    fn group() -> impl Strategy<Value = Group> {
        (text(), 0..9_i64, option::of(0..3_i64), 0..3_i64, vec(rule(), 0..3), texts()).prop_map(
            |(name, interval, query_offset, limit, rules, labels)| Group {
                name,
                interval: interval * SECOND,
                query_offset: query_offset.map(|offset| offset * SECOND),
                limit,
                rules,
                labels,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(group in group()) {
            let text = super::group(&group);
            let read = read::group(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            prop_assert_eq!(read, group, "{}", text);
        }
    }
}
