//! `| json`: every string, number and boolean of an object, nested ones named `outer_inner`.

use crate::labels::LineError;
use crate::stage::extract::{Extract, Flow};
use crate::stage::json_scan::{DEPTH_MAX, JsonError, Kind, Members, Value, unescape};
use crate::stage::text::{label_name, push_lossy, push_name, push_spaced, trim};

/// Extracts the fields of a line. False if the line is to be dropped.
pub(super) fn json(line: &[u8], extract: &mut Extract<'_>, scratch: &mut JsonScratch) -> bool {
    scratch.name.clear();
    let mut walk = Walk { extract, scratch };
    match walk.object(line, 0) {
        Ok(flow) => flow != Flow::Drop,
        Err(error) => {
            walk.extract.labels.set_error(LineError::Json, format_args!("{error}"));
            true
        }
    }
}

/// Buffers kept from line to line.
#[derive(Debug, Default)]
pub(super) struct JsonScratch {
    /// The names of the objects entered, joined by `_`.
    name: String,
    /// The name of one label.
    label: String,
    /// A key with its escapes undone; of the innermost object that has such.
    pub(super) key: Vec<u8>,
    /// A value with its escapes undone.
    pub(super) unescaped: Vec<u8>,
}

struct Walk<'w, 'l> {
    extract: &'w mut Extract<'l>,
    scratch: &'w mut JsonScratch,
}

impl Walk<'_, '_> {
    fn object(&mut self, data: &[u8], depth: usize) -> Result<Flow, JsonError> {
        let mut members = Members::enter(data)?;
        while members.find_key(&mut self.scratch.key)?.is_some() {
            let value = members.value()?;
            let flow = match value.kind {
                Kind::Object => self.nested(&members, value.raw, depth + 1)?,
                Kind::Array | Kind::Null => Flow::Continue,
                Kind::String | Kind::Number | Kind::Boolean => self.member(&members, value),
            };
            if flow != Flow::Continue {
                return Ok(flow);
            }
            members.advance()?;
        }
        Ok(Flow::Continue)
    }

    fn nested(&mut self, of: &Members<'_>, data: &[u8], depth: usize) -> Result<Flow, JsonError> {
        let outer = self.scratch.name.len();
        push(&mut self.scratch.name, of.key(&self.scratch.key));
        let flow = if depth < DEPTH_MAX && self.extract.wants_below(&self.scratch.name) {
            self.object(data, depth)
        } else {
            Ok(Flow::Continue)
        };
        self.scratch.name.truncate(outer);
        flow
    }

    fn member(&mut self, of: &Members<'_>, value: Value<'_>) -> Flow {
        let JsonScratch { name, label, key, unescaped } = &mut *self.scratch;
        let (outer, key) = (name.len(), of.key(key));
        let label = if outer > 0 {
            push(name, key);
            name.as_str()
        } else {
            label_name(key, label)
        };
        let flow = self.extract.add(label, |out| push_value(out, value, unescaped));
        self.scratch.name.truncate(outer);
        flow
    }
}

/// Adds a key to the name; one without text leaves the name as it is.
fn push(name: &mut String, key: &[u8]) {
    if trim(key).is_empty() {
        return;
    }
    if !name.is_empty() {
        name.push('_');
    }
    push_name(name, key);
}

/// Appends a value's text: strings with escapes undone (and empty if that fails), anything else as it stands.
pub(super) fn push_value(out: &mut String, value: Value<'_>, unescaped: &mut Vec<u8>) {
    match value.kind {
        Kind::Null => {}
        Kind::Object | Kind::Number | Kind::Boolean => push_lossy(out, value.raw),
        Kind::String | Kind::Array => push_string(out, value.raw, unescaped),
    }
}

/// Appends a string with its escapes undone, or nothing if one is invalid.
pub(super) fn push_string(out: &mut String, raw: &[u8], unescaped: &mut Vec<u8>) {
    if memchr::memchr(b'\\', raw).is_none() {
        return push_spaced(out, raw);
    }
    unescaped.clear();
    if unescape(raw, unescaped).is_some() {
        push_spaced(out, unescaped);
    }
}

/// Hands the strings of an object and of the objects in it, so many levels deep, to `found` until that says
/// stop. Damage ends the walk. `unescaped` is room for a key.
pub(crate) fn json_strings(
    data: &[u8],
    depth: usize,
    unescaped: &mut Vec<u8>,
    found: &mut dyn FnMut(&[u8], &[u8]) -> bool,
) -> bool {
    let Ok(mut members) = Members::enter(data) else { return false };
    while let Ok(Some((key, value))) = members.next(unescaped) {
        let goes_on = match value.kind {
            Kind::String => found(key, value.raw),
            Kind::Object if depth > 1 => json_strings(value.raw, depth - 1, unescaped, found),
            _ => true,
        };
        if !goes_on || members.advance().is_err() {
            return goes_on;
        }
    }
    true
}
