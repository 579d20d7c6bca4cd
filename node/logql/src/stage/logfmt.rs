//! `| logfmt`: every `key=value` of a line; `| logfmt a="b"`: chosen ones.

use std::collections::BTreeSet;

use crate::ast::Extraction;
use crate::labels::LineError;
use crate::pipeline::CompileError;
use crate::stage::extract::{Extract, Flow};
use crate::stage::logfmt_scan::{LogfmtError, Pairs};
use crate::stage::path::field;
use crate::stage::text::{label_name, push_spaced};

/// A compiled `logfmt`.
#[derive(Debug)]
pub(crate) struct Logfmt {
    strict: bool,
    keep_empty: bool,
    /// The chosen keys; none for all.
    chosen: Vec<Extraction>,
    ids: BTreeSet<String>,
}

/// Buffers kept from line to line.
#[derive(Debug, Default)]
pub(super) struct LogfmtScratch {
    key: String,
    unquoted: Vec<u8>,
}

impl Logfmt {
    /// Compiles a `logfmt`.
    pub(crate) fn compile(
        strict: bool,
        keep_empty: bool,
        source: &[Extraction],
    ) -> Result<Logfmt, CompileError> {
        let mut chosen = Vec::with_capacity(source.len());
        for extraction in source {
            let expression = field(&extraction.expression)?;
            chosen.push(Extraction { label: extraction.label.clone(), expression });
        }
        let ids = source.iter().map(|extraction| extraction.label.clone()).collect();
        Ok(Logfmt { strict, keep_empty, chosen, ids })
    }

    /// Extracts from a line. False if the line is to be dropped.
    pub(super) fn apply(&self, line: &[u8], extract: &mut Extract<'_>, scratch: &mut LogfmtScratch) -> bool {
        if self.chosen.is_empty() {
            self.all(line, extract, scratch)
        } else {
            self.some(line, extract, scratch)
        }
    }

    fn all(&self, line: &[u8], extract: &mut Extract<'_>, scratch: &mut LogfmtScratch) -> bool {
        let LogfmtScratch { key: buffer, unquoted } = scratch;
        let mut pairs = Pairs::new(line, unquoted);
        while let Some(pair) = pairs.next() {
            let (key, value) = match pair {
                Ok(pair) => pair,
                Err(error) if self.strict => return note(error, extract),
                Err(_) => continue,
            };
            if value.is_empty() && !self.keep_empty {
                continue;
            }
            match extract.add(label_name(key, buffer), |out| push_spaced(out, value)) {
                Flow::Continue => {}
                Flow::Done => return true,
                Flow::Drop => return false,
            }
        }
        true
    }

    /// Every label chosen exists afterwards, if only empty; of a key that stands twice the last value counts;
    /// a key named like a chosen label is taken for it as well.
    fn some(&self, line: &[u8], extract: &mut Extract<'_>, scratch: &mut LogfmtScratch) -> bool {
        for id in &self.ids {
            if !extract.labels.collides(id) {
                extract.labels.set_parsed(id, "");
            }
        }
        let LogfmtScratch { key: buffer, unquoted } = scratch;
        let mut pairs = Pairs::new(line, unquoted);
        while let Some(pair) = pairs.next() {
            let (key, value) = match pair {
                Ok(pair) => pair,
                Err(error) if self.strict => return note(error, extract),
                Err(_) => continue,
            };
            let Some(label) = self.label_of(label_name(key, buffer)) else { continue };
            let value = text(value);
            extract.set_or_rename(label, |out| push_spaced(out, value));
        }
        true
    }

    fn label_of(&self, key: &str) -> Option<&str> {
        let by_key = self.chosen.iter().find(|extraction| extraction.expression == key);
        by_key.map(|extraction| extraction.label.as_str()).or_else(|| self.ids.get(key).map(String::as_str))
    }
}

/// The value, or nothing if it is not text.
fn text(value: &[u8]) -> &[u8] {
    match std::str::from_utf8(value) {
        Ok(text) if !text.contains(char::REPLACEMENT_CHARACTER) => value,
        _ => b"",
    }
}

fn note(error: LogfmtError, extract: &mut Extract<'_>) -> bool {
    extract.labels.set_error(LineError::Logfmt, format_args!("{error}"));
    true
}

/// What `read` makes of the value of the first of these names, in any case, that a line has. A pair that cannot be
/// read ends the line, as for Loki where it looks for fields by itself.
pub(crate) fn logfmt_value<T>(
    line: &[u8],
    names: &[String],
    unquoted: &mut Vec<u8>,
    read: impl Fn(&[u8]) -> T,
) -> Option<T> {
    let mut pairs = Pairs::new(line, unquoted);
    let (mut best, mut found) = (names.len(), None);
    while let Some(Ok((key, value))) = pairs.next() {
        let better = names[..best].iter().position(|name| name.as_bytes().eq_ignore_ascii_case(key));
        if let Some(rank) = better {
            (best, found) = (rank, Some(read(value)));
        }
        if best == 0 {
            break;
        }
    }
    found
}
