//! `| unpack`: takes apart what an agent's `pack` stage put together: an object whose `_entry` is the line
//! and whose other strings are labels.

use crate::labels::LineError;
use crate::stage::extract::{Extract, Flow};
use crate::stage::json::push_string;
use crate::stage::json_scan::{JsonError, Kind, Members, unescape};
use crate::stage::text::label_name;

/// The member that holds the line.
const ENTRY_KEY: &[u8] = b"_entry";

/// What became of a line.
pub(super) enum Unpacked {
    /// It stays as it is.
    Same,
    /// The line proper has been appended to the buffer.
    Line,
    /// It is to be dropped.
    Drop,
}

/// Buffers kept from line to line.
#[derive(Debug, Default)]
pub(super) struct UnpackScratch {
    name: String,
    key: Vec<u8>,
    unescaped: Vec<u8>,
}

/// Takes a line apart; the line proper goes to `out`. Labels are only taken if there is one.
pub(super) fn unpack(
    line: &[u8],
    extract: &mut Extract<'_>,
    scratch: &mut UnpackScratch,
    out: &mut Vec<u8>,
) -> Unpacked {
    if line.is_empty() {
        return Unpacked::Same;
    }
    match find_entry(line, &mut scratch.key, out) {
        Ok(false) => Unpacked::Same,
        Ok(true) if take_labels(line, extract, scratch) == Flow::Drop => Unpacked::Drop,
        Ok(true) => Unpacked::Line,
        Err(error) => {
            if !extract.satisfied() {
                extract.labels.set_error(LineError::Json, format_args!("{error}"));
            }
            Unpacked::Same
        }
    }
}

/// Reads the whole object and leaves its last `_entry` in `out`.
fn find_entry(line: &[u8], unescaped: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<bool, JsonError> {
    if line[0] != b'{' {
        return Err(JsonError::NotObject);
    }
    let mut found = false;
    let mut members = Members::enter(line)?;
    while let Some((key, value)) = members.next(unescaped)? {
        if key == ENTRY_KEY && value.kind == Kind::String {
            out.clear();
            unescape(value.raw, out).ok_or(JsonError::Escape)?;
            found = true;
        }
        members.advance()?;
    }
    Ok(found)
}

/// Takes the labels of an object that has been read without an error before.
fn take_labels(line: &[u8], extract: &mut Extract<'_>, scratch: &mut UnpackScratch) -> Flow {
    let UnpackScratch { name, key: room, unescaped } = scratch;
    let Ok(mut members) = Members::enter(line) else { return Flow::Continue };
    while let Ok(Some((key, value))) = members.next(room) {
        if key != ENTRY_KEY && value.kind == Kind::String {
            let flow = extract.add(label_name(key, name), |out| push_string(out, value.raw, unescaped));
            if flow != Flow::Continue {
                return flow;
            }
        }
        if members.advance().is_err() {
            break;
        }
    }
    Flow::Continue
}
