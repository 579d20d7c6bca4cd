//! Prints log lines and numbers, for people on a terminal and for programs behind a pipe.

use std::collections::BTreeMap;
use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::json;

use super::OutputFormat;

/// Label sets as JSON carries them.
pub type LabelMap = BTreeMap<String, String>;

/// One line, ready to be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// ns since 1970.
    pub timestamp: i64,
    /// Its stream's labels, and those that the query made.
    pub labels: LabelMap,
    /// The text.
    pub text: String,
}

/// Writes lines in one format.
#[derive(Debug)]
pub struct Printer {
    format: OutputFormat,
    colour: bool,
    /// Labels not worth repeating on each line.
    hidden: LabelMap,
}

/// Colours that can be read on light and dark ground.
const PALETTE: [u8; 6] = [31, 32, 33, 34, 35, 36];

impl Printer {
    /// Colours labels if `colour` is set.
    pub fn new(format: OutputFormat, colour: bool) -> Self {
        Printer { format, colour, hidden: LabelMap::new() }
    }

    /// From now on leaves out labels that every line bears.
    pub fn hide(&mut self, common: LabelMap) {
        self.hidden = common;
    }

    /// Writes one line.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn line(&self, out: &mut impl Write, line: &Line) -> io::Result<()> {
        match self.format {
            OutputFormat::Raw => writeln!(out, "{}", line.text),
            OutputFormat::Jsonl => {
                let time = show_time(line.timestamp);
                writeln!(out, "{}", json!({"labels": line.labels, "line": line.text, "timestamp": time}))
            }
            OutputFormat::Default => {
                let labels = self.show_labels(&line.labels);
                writeln!(out, "{} {labels} {}", show_time(line.timestamp), line.text)
            }
        }
    }

    fn show_labels(&self, labels: &LabelMap) -> String {
        let shown: LabelMap = labels.iter().filter(|(n, _)| !self.hidden.contains_key(*n)).map(own).collect();
        let text = show(&shown);
        if !self.colour {
            return text;
        }
        let colour = PALETTE[text.bytes().map(usize::from).sum::<usize>() % PALETTE.len()];
        format!("\u{1b}[{colour}m{text}\u{1b}[0m")
    }
}

/// `{a="b", c="d"}`
pub fn show(labels: &LabelMap) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// The labels that all of the sets share.
pub fn common<'a>(mut sets: impl Iterator<Item = &'a LabelMap>) -> LabelMap {
    let Some(first) = sets.next() else { return LabelMap::new() };
    sets.fold(first.clone(), |mut common, set| {
        common.retain(|name, value| set.get(name) == Some(value));
        common
    })
}

/// RFC 3339 in UTC, as many digits as needed.
pub fn show_time(ns: i64) -> String {
    Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ns.to_string(), |time| time.to_string())
}

fn own((name, value): (&String, &String)) -> (String, String) {
    (name.clone(), value.clone())
}

#[cfg(test)]
mod tests {
    use super::{LabelMap, Line, Printer, common};
    use crate::cli::OutputFormat;

    fn labels(pairs: &[(&str, &str)]) -> LabelMap {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    fn check(printer: &Printer, want: &str) {
        let line = Line {
            timestamp: 1_700_000_000_500_000_000,
            labels: labels(&[("app", "api"), ("pod", "a\"1")]),
            text: "hello \"you\"".into(),
        };
        let mut out = Vec::new();
        printer.line(&mut out, &line).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn each_format_prints_the_line_its_own_way() {
        check(&Printer::new(OutputFormat::Raw, true), "hello \"you\"\n");
        check(
            &Printer::new(OutputFormat::Default, false),
            "2023-11-14T22:13:20.5Z {app=\"api\", pod=\"a\\\"1\"} hello \"you\"\n",
        );
        check(
            &Printer::new(OutputFormat::Jsonl, true),
            "{\"labels\":{\"app\":\"api\",\"pod\":\"a\\\"1\"},\"line\":\"hello \\\"you\\\"\",\"timestamp\":\"2023-11-14T22:13:20.5Z\"}\n",
        );
    }

    #[test]
    fn common_labels_are_not_repeated() {
        let mut printer = Printer::new(OutputFormat::Default, false);
        printer.hide(labels(&[("app", "api")]));
        check(&printer, "2023-11-14T22:13:20.5Z {pod=\"a\\\"1\"} hello \"you\"\n");
    }

    #[test]
    fn common_labels_are_those_of_every_set() {
        let sets = [labels(&[("a", "1"), ("b", "2")]), labels(&[("a", "1"), ("b", "3")])];
        assert_eq!(common(sets.iter()), labels(&[("a", "1")]));
        assert_eq!(common([].iter()), LabelMap::new());
    }
}
