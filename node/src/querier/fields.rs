//! Which fields a sample of lines has: their names, types, and how many values each has.
//!
//! A decider over the lines of an answer. Fields are structured metadata, what the query's own stages made, and
//! what `json` or else `logfmt` finds in the line, under the rules of Loki's `detected_fields`.

use std::collections::{BTreeMap, BTreeSet};

use grapevine_logql::ast::Expr;
use grapevine_logql::labels::Category;
use grapevine_logql::parse::parse;
use grapevine_logql::pipeline::{Options, Pipeline, StreamPipeline, Wanted};
use grapevine_logql::quantity::format_bytes;
use grapevine_logql::value::{parse_bytes, parse_duration, parse_number};
use serde_json::Value as Json;

use super::answer::LogLine;
use super::error::QueryError;

/// Values of one field that are told apart; further ones are left out.
const VALUES_MAX: usize = 10_000;
/// Objects within objects of which paths are remembered.
const JSON_DEPTH_MAX: usize = 32;

/// What the values of a field look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Anything.
    String,
    /// A whole number that fits 64 bits.
    Int,
    /// A number.
    Float,
    /// `true`, `f` and whatever else Go takes for a boolean.
    Boolean,
    /// `1.5s`.
    Duration,
    /// `3 MiB`.
    Bytes,
}

impl FieldType {
    /// The first type, in Loki's order, that a value can be read as.
    pub fn of(value: &str) -> Self {
        const BOOLEANS: [&str; 10] = ["t", "T", "TRUE", "true", "True", "f", "F", "FALSE", "false", "False"];
        match value {
            _ if value.parse::<i64>().is_ok() => FieldType::Int,
            _ if parse_number(value).is_ok() => FieldType::Float,
            _ if BOOLEANS.contains(&value) => FieldType::Boolean,
            _ if parse_duration(value).is_ok() => FieldType::Duration,
            _ if parse_bytes(value).is_ok() => FieldType::Bytes,
            _ => FieldType::String,
        }
    }

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            FieldType::String => "string",
            FieldType::Int => "int",
            FieldType::Float => "float",
            FieldType::Boolean => "boolean",
            FieldType::Duration => "duration",
            FieldType::Bytes => "bytes",
        }
    }
}

/// A field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The type of the last value seen, as in Loki: of lines that differ, the last one counts.
    pub kind: FieldType,
    /// Its values.
    pub values: BTreeSet<String>,
    /// The parsers that find it, in the order in which they did; none for structured metadata.
    pub parsers: Vec<&'static str>,
    /// Where it lies in a JSON line, key by key.
    pub json_path: Vec<String>,
}

impl Field {
    /// The values as a query may name them: sizes found in lines are written as LogQL writes them.
    pub fn askable(self) -> BTreeSet<String> {
        match self.parsers.is_empty() {
            true => self.values,
            false => self.values.into_iter().map(|value| askable_size(&value).unwrap_or(value)).collect(),
        }
    }
}

/// A size with a unit, in its shortest form.
fn askable_size(value: &str) -> Option<String> {
    // Every unit ends in one of these: `5MB`, `5 MiB`, `5Mi`, `5m`.
    let has_unit = value.to_ascii_lowercase().ends_with(['b', 'i', 'k', 'm', 'g', 't', 'p', 'e']);
    let bytes = parse_bytes(value).ok().filter(|_| has_unit)?;
    Some(format_bytes(bytes))
}

/// Fields by name, so many at most.
#[derive(Debug, Default)]
struct Fields {
    limit: usize,
    fields: BTreeMap<String, Field>,
}

/// Finds the fields of lines, so many at most.
///
/// # Errors
/// None: its own two queries are sound.
pub fn fields_of(lines: &[LogLine], limit: usize) -> Result<BTreeMap<String, Field>, QueryError> {
    let parsers = [("json", pipeline(r#"{a="b"} | json"#)?), ("logfmt", pipeline(r#"{a="b"} | logfmt"#)?)];
    let mut fields = Fields { limit, fields: BTreeMap::new() };
    let mut by_stream: BTreeMap<&[(String, String)], Vec<&LogLine>> = BTreeMap::new();
    lines.iter().for_each(|line| by_stream.entry(&line.labels.stream).or_default().push(line));
    for (stream, lines) in by_stream {
        let labels: Vec<(&str, &str)> = stream.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let mut parsers: Vec<(&'static str, StreamPipeline<'_>)> = parsers
            .iter()
            .map(|(name, stages)| (*name, stages.stream(&labels, &Options::default())))
            .collect();
        for line in lines {
            for (name, value) in &line.labels.metadata {
                fields.add(name, value, None);
            }
            let by = parsers.iter_mut().find_map(|(parser, stages)| {
                parse_line(stages, line, |name, value| fields.add(name, value, Some(parser)))
                    .then_some(*parser)
            });
            for (name, value) in line.labels.parsed.iter().filter(|(name, _)| !name.starts_with("__")) {
                fields.add(name, value, by);
            }
            if by == Some("json") {
                fields.note_paths(&line.line);
            }
        }
    }
    Ok(fields.fields)
}

fn pipeline(query: &str) -> Result<Pipeline, QueryError> {
    let bad = |text: String| QueryError::Bad(text);
    match parse(query).map_err(|error| bad(error.to_string()))? {
        Expr::Log(log) => {
            Pipeline::compile(&log.stages, &Wanted::All).map_err(|error| bad(error.to_string()))
        }
        Expr::Sample(_) => Err(bad(format!("`{query}` does not ask for lines"))),
    }
}

/// Whether the parser can read the line; hands out what it finds.
fn parse_line(stages: &mut StreamPipeline<'_>, line: &LogLine, mut found: impl FnMut(&str, &str)) -> bool {
    let Some(outcome) = stages.process(line.timestamp, &line.line, &[]) else { return false };
    if outcome.labels.error().is_some() {
        return false;
    }
    let parsed = outcome.labels.iter().filter(|label| label.category == Category::Parsed);
    parsed.for_each(|label| found(label.name, label.value));
    true
}

impl Fields {
    fn add(&mut self, name: &str, value: &str, parser: Option<&'static str>) {
        if !self.fields.contains_key(name) {
            if self.fields.len() >= self.limit {
                return;
            }
            let (values, parsers, json_path) = (BTreeSet::new(), Vec::new(), Vec::new());
            let kind = FieldType::String;
            self.fields.insert(name.to_owned(), Field { kind, values, parsers, json_path });
        }
        let Some(field) = self.fields.get_mut(name) else { return };
        field.kind = FieldType::of(value);
        if field.values.len() < VALUES_MAX && !field.values.contains(value) {
            field.values.insert(value.to_owned());
        }
        field.parsers.extend(parser.filter(|parser| !field.parsers.contains(parser)));
    }

    /// Notes where in a JSON line the fields lie.
    fn note_paths(&mut self, line: &[u8]) {
        let Ok(json @ Json::Object(_)) = serde_json::from_slice::<Json>(line) else { return };
        self.note(&json, "", &mut Vec::new());
    }

    fn note(&mut self, value: &Json, name: &str, path: &mut Vec<String>) {
        let Json::Object(members) = value else {
            for name in [name.to_owned(), format!("{name}_extracted")] {
                if let Some(field) = self.fields.get_mut(&name).filter(|field| field.json_path.is_empty()) {
                    field.json_path.clone_from(path);
                }
            }
            return;
        };
        if path.len() >= JSON_DEPTH_MAX {
            return;
        }
        for (key, value) in members {
            let name = if name.is_empty() { label_of(key) } else { format!("{name}_{}", clean(key)) };
            path.push(key.clone());
            self.note(value, &name, path);
            path.pop();
        }
    }
}

/// A key as the `json` stage makes a label's name of it.
fn label_of(key: &str) -> String {
    let clean = clean(key);
    if clean.starts_with(|c: char| c.is_ascii_digit()) { format!("_{clean}") } else { clean }
}

fn clean(key: &str) -> String {
    key.trim().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// Whether all values are numbers or UUIDs: such a label tells streams apart and says nothing.
pub fn are_ids<'a>(mut values: impl Iterator<Item = &'a str>) -> bool {
    values.all(|value| parse_number(value).is_ok() || is_uuid(value))
}

/// The forms that Go's `uuid.Parse` takes.
fn is_uuid(text: &str) -> bool {
    let bare = text.strip_prefix("urn:uuid:").unwrap_or(text);
    let bare = bare.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(bare);
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let groups: Vec<&str> = bare.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    (lengths == [32] || lengths == [8, 4, 4, 4, 12]) && groups.iter().all(|group| digits(group))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{FieldType, are_ids, fields_of};
    use crate::querier::answer::{LineLabels, LogLine};

    #[test]
    fn types_are_told_from_values() {
        for (value, kind) in [
            ("7", "int"),
            ("-7", "int"),
            ("7.5", "float"),
            ("1e3", "float"),
            ("true", "boolean"),
            ("1", "int"),
            ("1.5s", "duration"),
            ("250ms", "duration"),
            ("3MB", "bytes"),
            ("3 KiB", "bytes"),
            ("x", "string"),
            ("", "string"),
        ] {
            assert_eq!(FieldType::of(value).as_str(), kind, "{value}");
        }
    }

    #[test]
    fn labels_of_nothing_but_numbers_and_uuids_are_ids() {
        let check = |values: &[&str], ids| assert_eq!(are_ids(values.iter().copied()), ids, "{values:?}");
        check(&["1", "2.5"], true);
        check(&["123e4567-e89b-12d3-a456-426614174000", "7"], true);
        check(&["123e4567e89b12d3a456426614174000"], true);
        check(&["123e4567-e89b-12d3-a456-42661417400g"], false);
        check(&["1", "api"], false);
    }

    #[test]
    fn the_last_line_tells_a_fields_type() {
        let types = |texts: &[&str]| {
            let lines: Vec<LogLine> = texts.iter().map(|text| line(text, &[])).collect();
            fields_of(&lines, 9).unwrap()["v"].kind.as_str()
        };
        assert_eq!(types(&["v=1", "v=x", "v=2.5"]), "float");
        assert_eq!(types(&["v=x", r#"{"v":true}"#]), "boolean");
    }

    #[test]
    fn sizes_in_lines_are_listed_as_a_query_writes_them() {
        let values = |text: &str, metadata: &[(&str, &str)]| {
            let found = fields_of(&[line(text, metadata)], 9).unwrap();
            found["v"].clone().askable().pop_first().unwrap()
        };
        for (text, value) in [
            ("v=1KB", "1.0kB"),
            ("v=21KB", "21kB"),
            ("v=\"1 MiB\"", "1.0MB"),
            ("v=512b", "512B"),
            ("v=3g", "3.0GB"),
            ("v=1000", "1000"),
            ("v=5ms", "5ms"),
            ("v=abc", "abc"),
            (r#"{"v":"2Ki"}"#, "2.0kB"),
        ] {
            assert_eq!(values(text, &[]), value, "{text}");
        }
        assert_eq!(values("x", &[("v", "1KB")]), "1KB");
    }

    fn line(text: &str, metadata: &[(&str, &str)]) -> LogLine {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let labels =
            LineLabels { stream: pairs(&[("app", "a")]), metadata: pairs(metadata), parsed: Vec::new() };
        LogLine { timestamp: 1, line: text.as_bytes().to_vec(), labels: Arc::new(labels) }
    }

    #[test]
    fn fields_of_json_logfmt_and_metadata_are_found() {
        let lines = [
            line(r#"{"user":{"id":7,"na me":"ada"},"app":"b"}"#, &[("trace", "t1")]),
            line(r#"{"user":{"id":8}}"#, &[("trace", "t2")]),
            line("took=5ms ok=true", &[]),
            line("nothing here", &[]),
        ];
        let found = fields_of(&lines, 100).unwrap();
        let shown: Vec<String> = found
            .iter()
            .map(|(name, f)| {
                let (kind, count, path) = (f.kind.as_str(), f.values.len(), f.json_path.join("."));
                format!("{name} {kind} {count} {} {path}", f.parsers.join("+"))
            })
            .collect();
        let expected = [
            "app_extracted string 1 json app",
            "ok boolean 1 logfmt ",
            "took duration 1 logfmt ",
            "trace string 2  ",
            "user_id int 2 json user.id",
            "user_na_me string 1 json user.na me",
        ];
        assert_eq!(shown, expected);
        assert_eq!(fields_of(&lines, 2).unwrap().len(), 2);
    }
}
