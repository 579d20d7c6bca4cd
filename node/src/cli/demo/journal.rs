//! The journal as a source, by `journalctl -o json`: the one interface to it that needs no library.
//!
//! Without membership in a group such as `systemd-journal` it shows the user's own lines only, or none; then the
//! next source is asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use super::feed::{Enough, Outlet, Record};
use crate::cli::output::LabelMap;

/// How far back, and how many lines at most.
const READ: [&str; 2] = ["--since=-60d", "--lines=500000"];
/// What has been written since is read again from a little before: the same entry twice is one entry.
const FOLLOW: [&str; 2] = ["--follow", "--lines=1000"];
const FIELDS: &str =
    "--output-fields=MESSAGE,_SYSTEMD_UNIT,_SYSTEMD_USER_UNIT,SYSLOG_IDENTIFIER,_COMM,_HOSTNAME";
/// Bytes of one entry's JSON; a longer one is passed over.
const ENTRY_BYTES_MAX: u64 = 1 << 20;
/// Streams of the journal; lines of further units go to one named `other`.
const STREAMS_MAX: usize = 300;

/// A running `journalctl`, which ends with this value.
#[derive(Debug)]
pub struct Journal(Child);

impl Drop for Journal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> std::io::Result<(Journal, impl BufRead + use<>)> {
    let mut command = Command::new("journalctl");
    command.args(["--quiet", "--no-pager", "--output=json", FIELDS]).args(arguments);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let out = child.stdout.take().expect("standard output was asked for above");
    Ok((Journal(child), BufReader::new(out)))
}

/// Reads what the journal holds; nothing where there is none.
pub fn read(outlet: &mut Outlet) {
    if let Ok((_journal, out)) = start(&READ) {
        // Enough is enough, and what cannot be read is not there.
        let _ = copy(out, outlet);
    }
}

/// Follows the journal in a thread of its own until the value is dropped.
///
/// # Errors
/// `journalctl` cannot be started.
pub fn follow(mut outlet: Outlet) -> std::io::Result<Journal> {
    let (journal, out) = start(&FOLLOW)?;
    std::thread::Builder::new().name("journal".to_owned()).spawn(move || copy(out, &mut outlet))?;
    Ok(journal)
}

fn copy(mut out: impl BufRead, outlet: &mut Outlet) -> Result<(), Enough> {
    let mut streams = Streams::default();
    let mut entry = Vec::new();
    loop {
        entry.clear();
        match out.by_ref().take(ENTRY_BYTES_MAX).read_until(b'\n', &mut entry) {
            Ok(0) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
        if let Some(record) = streams.record(&entry) {
            outlet.put(record)?;
        }
    }
}

#[derive(Debug, Deserialize)]
struct Entry {
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    microseconds: String,
    #[serde(rename = "MESSAGE", default)]
    message: Value,
    #[serde(rename = "_SYSTEMD_UNIT")]
    unit: Option<Value>,
    #[serde(rename = "_SYSTEMD_USER_UNIT")]
    user_unit: Option<Value>,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    identifier: Option<Value>,
    #[serde(rename = "_COMM")]
    program: Option<Value>,
    #[serde(rename = "_HOSTNAME")]
    host: Option<Value>,
}

/// The label sets met so far, by host and unit.
#[derive(Debug, Default)]
struct Streams(BTreeMap<(String, String), Arc<LabelMap>>);

impl Streams {
    fn record(&mut self, json: &[u8]) -> Option<Record> {
        let entry: Entry = serde_json::from_slice(json).ok()?;
        let microseconds: i64 = entry.microseconds.parse().ok()?;
        let line = text(&entry.message).filter(|line| !line.is_empty())?;
        let host = entry.host.as_ref().and_then(text).unwrap_or_else(|| "localhost".to_owned());
        let labels = self.labels(host, unit(&entry));
        Some(Record { labels, timestamp: microseconds.checked_mul(1000)?, line })
    }

    fn labels(&mut self, host: String, unit: String) -> Arc<LabelMap> {
        let full = self.0.len() >= STREAMS_MAX && !self.0.contains_key(&(host.clone(), unit.clone()));
        let unit = if full { "other".to_owned() } else { unit };
        let labels = self.0.entry((host.clone(), unit.clone())).or_insert_with(|| {
            let pairs = [("job", "journal".to_owned()), ("unit", unit), ("host", host)];
            Arc::new(pairs.map(|(name, value)| (name.to_owned(), value)).into())
        });
        labels.clone()
    }
}

/// The unit; for a session, of which each login has another, the program.
fn unit(entry: &Entry) -> String {
    let of = |field: &Option<Value>| field.as_ref().and_then(text).filter(|name| !name.is_empty());
    let units = [&entry.user_unit, &entry.unit].map(of);
    let lasting = units.into_iter().flatten().find(|unit| !unit.ends_with(".scope"));
    let name = lasting.or_else(|| of(&entry.identifier)).or_else(|| of(&entry.program));
    let mut name = name.unwrap_or_else(|| "unknown".to_owned());
    name.truncate(name.floor_char_boundary(256));
    name
}

/// A field is a string, an array of bytes if it is not UTF-8, or an array of those if it was given several times.
fn text(field: &Value) -> Option<String> {
    match field {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) if parts.iter().all(Value::is_u64) => {
            let bytes: Option<Vec<u8>> = parts.iter().map(|b| u8::try_from(b.as_u64()?).ok()).collect();
            Some(String::from_utf8_lossy(&bytes?).into_owned())
        }
        Value::Array(parts) => parts.first().filter(|part| !part.is_array()).and_then(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Streams;

    fn check(json: &str, want: Option<(&str, i64, &str)>) {
        let record = Streams::default().record(json.as_bytes());
        let got = record.as_ref().map(|r| (r.labels["unit"].as_str(), r.timestamp, r.line.as_str()));
        assert_eq!(got, want, "{json}");
    }

    #[test]
    fn entries_become_records_whatever_their_fields_look_like() {
        check(
            r#"{"__REALTIME_TIMESTAMP":"1700000000000001","MESSAGE":"hi","_SYSTEMD_UNIT":"ssh.service"}"#,
            Some(("ssh.service", 1_700_000_000_000_001_000, "hi")),
        );
        check(
            r#"{"__REALTIME_TIMESTAMP":"5","MESSAGE":[104,105,255],"SYSLOG_IDENTIFIER":"kernel"}"#,
            Some(("kernel", 5000, "hi\u{fffd}")),
        );
        check(
            r#"{"__REALTIME_TIMESTAMP":"5","MESSAGE":["a","b"],"_SYSTEMD_UNIT":"session-3.scope","_COMM":"sudo"}"#,
            Some(("sudo", 5000, "a")),
        );
        check(r#"{"__REALTIME_TIMESTAMP":"5","MESSAGE":"x"}"#, Some(("unknown", 5000, "x")));
    }

    #[test]
    fn what_is_no_entry_is_passed_over() {
        for json in [
            "",
            "{",
            "[]",
            r#"{"MESSAGE":"x"}"#,
            r#"{"__REALTIME_TIMESTAMP":"soon","MESSAGE":"x"}"#,
            r#"{"__REALTIME_TIMESTAMP":"9223372036854775807","MESSAGE":"x"}"#,
            r#"{"__REALTIME_TIMESTAMP":"5","MESSAGE":null}"#,
            r#"{"__REALTIME_TIMESTAMP":"5","MESSAGE":[256]}"#,
            r#"{"__REALTIME_TIMESTAMP":"5","MESSAGE":[[1]]}"#,
        ] {
            check(json, None);
        }
    }
}
