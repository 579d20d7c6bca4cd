//! The level of a line, where its sender did not say: `detected_level`.
//!
//! Loki works it out when a line arrives and stores it; we work it out when somebody asks, from the same
//! sources in the same order: a label of the stream, structured metadata, OpenTelemetry's severity number,
//! and the line itself, as JSON, as logfmt, or by the first word that is a level.

use std::str::FromStr;
use std::sync::{Arc, LazyLock};

use crate::stage::{JSON_DEPTH_MAX, json_strings, logfmt_value};

/// The name under which the level appears, as structured metadata.
pub const LEVEL_LABEL: &str = "detected_level";
/// Nothing says what level it is.
pub const UNKNOWN: &str = "unknown";
/// Where OpenTelemetry's senders put the severity.
const SEVERITY_NUMBER: &str = "severity_number";
/// Objects within objects in which a level is looked for, unless a tenant says otherwise.
pub const USUAL_JSON_DEPTH: usize = 2;

/// Names of labels, metadata and fields that hold a level, in the order in which they are asked, unless a tenant says
/// otherwise.
pub const USUAL_FIELDS: [&str; 14] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
    "SEVERITY_TEXT",
];

/// Values of such a field, in any case, and the level they mean.
const LEVEL_VALUES: [(&str, &str); 14] = [
    ("trace", "trace"),
    ("trc", "trace"),
    ("debug", "debug"),
    ("dbg", "debug"),
    ("info", "info"),
    ("inf", "info"),
    ("information", "info"),
    ("warn", "warn"),
    ("wrn", "warn"),
    ("warning", "warn"),
    ("error", "error"),
    ("err", "error"),
    ("critical", "critical"),
    ("fatal", "fatal"),
];

/// Words of a line that say its level.
const LEVEL_WORDS: [(&str, &str); 9] = [
    ("trace", "trace"),
    ("debug", "debug"),
    ("fatal", "fatal"),
    ("critical", "critical"),
    ("error", "error"),
    ("err", "error"),
    ("warning", "warn"),
    ("warn", "warn"),
    ("info", "info"),
];

/// Where a level is looked for: Loki's `log_level_fields` and `log_level_from_json_max_depth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LevelSources {
    fields: Vec<String>,
    json_depth: usize,
}

impl Default for LevelSources {
    fn default() -> Self {
        LevelSources::new(Vec::new(), USUAL_JSON_DEPTH)
    }
}

impl LevelSources {
    /// Under these names of labels, metadata and fields, the first that is there deciding, and so many objects deep.
    /// No names are the usual ones; a depth of 0 is as deep as lines are looked into at all.
    pub fn new(fields: Vec<String>, json_depth: usize) -> Self {
        let fields = if fields.is_empty() { USUAL_FIELDS.map(String::from).to_vec() } else { fields };
        LevelSources { fields, json_depth }
    }

    /// The usual ones.
    pub fn usual() -> Arc<Self> {
        static USUAL: LazyLock<Arc<LevelSources>> = LazyLock::new(Arc::default);
        USUAL.clone()
    }

    /// The names.
    pub fn fields(&self) -> &[String] {
        &self.fields
    }

    /// How many objects deep, 0 if there is no bound but our own.
    pub fn json_depth(&self) -> usize {
        self.json_depth
    }

    /// The level of a line: one of `trace`, `debug`, `info`, `warn`, `error`, `critical`, `fatal`, `unknown`, or
    /// whatever else a label or the metadata calls it. The buffer saves allocating one; what it holds does not matter.
    pub fn detect<'a>(
        &self,
        labels: &[(&str, &'a str)],
        metadata: &[(&str, &'a str)],
        line: &[u8],
        buffer: &mut Vec<u8>,
    ) -> &'a str {
        let find =
            |of: &[(&str, &'a str)], name: &str| of.iter().find(|(n, _)| *n == name).map(|(_, value)| *value);
        if let Some(level) = find(metadata, LEVEL_LABEL) {
            return plain(level);
        }
        for of in [labels, metadata] {
            if let Some(level) = self.of_labels(of.iter().copied()) {
                return level;
            }
        }
        match find(metadata, SEVERITY_NUMBER) {
            Some(number) if !number.is_empty() => of_severity(number),
            _ => self.of_line(line, buffer),
        }
    }

    /// The level that labels say.
    pub(crate) fn of_labels<'a, 'n>(
        &self,
        labels: impl Iterator<Item = (&'n str, &'a str)>,
    ) -> Option<&'a str> {
        let rank = |name: &str| self.fields.iter().position(|known| *known == name);
        let known = labels.filter_map(|(name, value)| Some((rank(name)?, value)));
        let (_, value) = known.filter(|(_, value)| !value.is_empty()).min_by_key(|(rank, _)| *rank)?;
        Some(plain(value))
    }

    fn of_line(&self, line: &[u8], buffer: &mut Vec<u8>) -> &'static str {
        let trimmed = line.trim_ascii();
        let mut level = None;
        if trimmed.starts_with(b"{") && trimmed.ends_with(b"}") {
            let depth =
                if self.json_depth == 0 { JSON_DEPTH_MAX } else { self.json_depth.min(JSON_DEPTH_MAX) };
            json_strings(trimmed, depth, buffer, &mut |key, value| {
                let names_level = self.fields.iter().any(|name| name.as_bytes() == key);
                if names_level {
                    level = normal(value);
                }
                !names_level
            });
        } else if memchr::memchr(b'=', line).is_some() {
            level = logfmt_value(line, &self.fields, buffer, normal).flatten();
        }
        level.unwrap_or_else(|| first_word(line))
    }
}

/// A level as it is called here, or what else it is called.
pub(crate) fn plain(level: &str) -> &str {
    normal(level.as_bytes()).unwrap_or(level)
}

/// OpenTelemetry's severity numbers, four to a level; what is no number counts as `info`, less than none as the least.
fn of_severity(number: &str) -> &'static str {
    match i64::from_str(number) {
        Err(_) => "info",
        Ok(0) => UNKNOWN,
        Ok(..=4) => "trace",
        Ok(5..=8) => "debug",
        Ok(9..=12) => "info",
        Ok(13..=16) => "warn",
        Ok(17..=20) => "error",
        Ok(21..=24) => "fatal",
        Ok(_) => UNKNOWN,
    }
}

fn normal(value: &[u8]) -> Option<&'static str> {
    let known = LEVEL_VALUES.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(value));
    known.map(|(_, level)| *level)
}

/// The level that the first word says that is one; words are runs of letters, digits and `_`.
fn first_word(line: &[u8]) -> &'static str {
    let words = line.split(|b| !(b.is_ascii_alphanumeric() || *b == b'_' || *b >= 0x80));
    let mut levels = words.filter(|word| (3..=8).contains(&word.len())).filter_map(|word| {
        let known = LEVEL_WORDS.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
        known.map(|(_, level)| *level)
    });
    levels.next().unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &[(&str, &str)], metadata: &[(&str, &str)], line: &str, expected: &str) {
        let found = LevelSources::usual().detect(labels, metadata, line.as_bytes(), &mut Vec::new());
        assert_eq!(found, expected, "{labels:?} {metadata:?} {line:?}");
    }

    #[test]
    fn labels_come_before_metadata_and_metadata_before_the_line() {
        check(&[("level", "WRN")], &[("level", "info")], "error", "warn");
        check(&[], &[("severity", "Information")], "error", "info");
        check(&[("level", "notice")], &[], "error", "notice");
        check(&[("level", "warn")], &[("detected_level", "mine")], "error", "mine");
        check(&[("level", "warn")], &[("detected_level", "ERR")], "info", "error");
    }

    #[test]
    fn severity_numbers_are_ranges_of_four() {
        for (number, level) in [
            ("1", "trace"),
            ("8", "debug"),
            ("9", "info"),
            ("24", "fatal"),
            ("0", "unknown"),
            ("-1", "trace"),
            ("25", "unknown"),
            ("x", "info"),
        ] {
            check(&[], &[("severity_number", number)], "error", level);
        }
    }

    #[test]
    fn lines_are_read_as_json_logfmt_or_words() {
        for (line, level) in [
            (r#"{"msg":"error","level":"debug"}"#, "debug"),
            (r#"{"log":{"lvl":"FATAL"}}"#, "fatal"),
            (r#"{"a":{"b":{"level":"fatal"}}}"#, "fatal"),
            (r#"{"level":7,"msg":"an error"}"#, "error"),
            ("LeVeL=wrn msg=error", "warn"),
            ("level=odd msg=\"an error\"", "error"),
            ("a=b info", "info"),
            // The name that comes first in the list decides, not the pair that comes first in the line.
            ("lvl=debug severity=fatal Level=warn", "warn"),
            ("lvl=debug lvl=fatal", "debug"),
            // A pair that cannot be read ends the look at pairs.
            ("a\"b level=debug", "debug"),
            ("=x level=dbg", "unknown"),
            ("[WARNING] disk", "warn"),
            ("no errors, informational", "unknown"),
            ("fatal: error", "fatal"),
            ("", "unknown"),
        ] {
            check(&[], &[], line, level);
        }
    }

    #[test]
    fn a_tenant_may_name_the_fields_and_the_depth() {
        let check = |depth: usize, line: &str, expected: &str| {
            let sources = LevelSources::new(vec!["prio".into(), "sev".into()], depth);
            assert_eq!(
                sources.detect(&[], &[], line.as_bytes(), &mut Vec::new()),
                expected,
                "{depth} {line}"
            );
        };
        check(2, "level=debug SEV=warn PRIO=fatal", "fatal");
        check(2, "level=debug SEV=warn", "warn");
        check(2, "level=dbg", "unknown");
        check(2, r#"{"Prio":"debug","sev":"warn"}"#, "warn");
        check(1, r#"{"a":{"sev":"wrn"}}"#, "unknown");
        check(2, r#"{"a":{"sev":"wrn"}}"#, "warn");
        check(2, r#"{"a":{"b":{"c":{"sev":"wrn"}}}}"#, "unknown");
        check(0, r#"{"a":{"b":{"c":{"sev":"wrn"}}}}"#, "warn");
        check(0, &format!("{}{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)), "unknown");
        let sources = LevelSources::new(vec!["prio".into()], 2);
        assert_eq!(
            sources.detect(&[("level", "warn")], &[("prio", "ERR")], b"info", &mut Vec::new()),
            "error"
        );
    }
}
