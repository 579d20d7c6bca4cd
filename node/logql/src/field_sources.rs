//! A field that is looked for under several names: among labels, in structured metadata, in the line as JSON or logfmt.
//!
//! This is how Loki's distributor finds what its operator names in `discover_generic_fields`.

use std::borrow::Cow;

use crate::stage::{JsonPath, json_value, logfmt_value};

/// The names, the first that is there deciding.
#[derive(Clone, Debug)]
pub struct FieldSources {
    names: Vec<String>,
    /// The same as places in JSON, as far as they are any.
    paths: Vec<JsonPath>,
}

impl FieldSources {
    /// Under these names; in JSON they are expressions such as `trace.ids[0]`.
    pub fn new(names: Vec<String>) -> Self {
        let paths = names.iter().filter_map(|name| JsonPath::parse(name).ok()).collect();
        FieldSources { names, paths }
    }

    /// The value: that of a label, else that of metadata, else what the line has; never an empty one.
    pub fn find<'a>(
        &self,
        label: impl Fn(&str) -> Option<&'a str>,
        metadata: impl Fn(&str) -> Option<&'a str>,
        line: &'a [u8],
    ) -> Option<Cow<'a, [u8]>> {
        let label = self.names.iter().find_map(|name| label(name));
        let given = label.or_else(|| self.names.iter().find_map(|name| metadata(name)));
        let value = match given {
            Some(given) => Some(Cow::Borrowed(given.as_bytes())),
            None => self.in_line(line),
        };
        value.filter(|value| !value.is_empty())
    }

    fn in_line<'a>(&self, line: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let trimmed = line.trim_ascii();
        if trimmed.starts_with(b"{") && trimmed.ends_with(b"}") {
            return self.paths.iter().find_map(|path| json_value(trimmed, path)).map(Cow::Borrowed);
        }
        logfmt_value(line, &self.names, &mut Vec::new(), <[u8]>::to_vec).map(Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::FieldSources;

    #[track_caller]
    fn check(names: &[&str], line: &str, expected: Option<&str>) {
        let sources = FieldSources::new(names.iter().map(ToString::to_string).collect());
        let none = |_: &str| None;
        let found = sources.find(none, none, line.as_bytes());
        let found = found.map(|value| String::from_utf8_lossy(&value).into_owned());
        assert_eq!(found.as_deref(), expected, "{names:?} in {line}");
    }

    #[test]
    fn a_line_is_looked_through_name_by_name() {
        check(&["a", "b"], r#"{"b":"1","a":"2"}"#, Some("2"));
        check(&["x", "b"], r#" {"b":1.50} "#, Some("1.50"));
        check(&["o.p[1].q"], r#"{"o":{"p":[0,{"q":true}]}}"#, Some("true"));
        check(&["o"], r#"{"o":{"p":[0, 1]}}"#, Some(r#"{"p":[0, 1]}"#));
        check(&["a"], r#"{"a":"say \"hi\""}"#, Some(r#"say \"hi\""#));
        check(&["a-b", "c"], r#"{"a-b":1,"c":2}"#, Some("2"));
        check(&["a", "b"], r#"{"a":"","b":"1"}"#, None);
        check(&["a", "b"], "b=1 A=2", Some("2"));
        check(&["a-b"], r#"a-b="x y""#, Some("x y"));
        check(&["a"], "b=1", None);
        check(&["a"], "a", None);
    }

    #[test]
    fn labels_come_before_metadata_and_metadata_before_the_line() {
        let sources = FieldSources::new(vec!["a".into(), "b".into()]);
        let of = |names: &'static [(&str, &str)]| {
            move |name: &str| names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
        };
        let find = |labels: &'static [(&str, &str)], metadata: &'static [(&str, &str)]| {
            let found = sources.find(of(labels), of(metadata), b"a=line");
            found.map(|value| String::from_utf8_lossy(&value).into_owned())
        };
        assert_eq!(find(&[("b", "label")], &[("a", "sm")]).as_deref(), Some("label"));
        assert_eq!(find(&[("c", "label")], &[("b", "sm")]).as_deref(), Some("sm"));
        assert_eq!(find(&[], &[]).as_deref(), Some("line"));
    }
}
