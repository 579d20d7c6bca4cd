//! Carries records from a source, which reads and blocks, to the node, which is spoken to like any other: by
//! push over HTTP, in batches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use serde_json::json;
use tokio::sync::mpsc;

use crate::cli::client::Client;
use crate::cli::output::LabelMap;
use crate::env::{SystemClock, WallClock};

/// What a demo reads at most: a minute's work at worst, and less than 100 MB on disk.
const LINES_MAX: usize = 500_000;
const BYTES_MAX: usize = 128 << 20;
/// UTC days that lines may lie on: each has an index of its own.
const DAYS_MAX: usize = 60;
/// Bytes of one line; a longer one is cut off.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Lines of one push, and how many may wait for it.
const BATCH_LINES_MAX: usize = 5_000;
/// Text of one push.
const BATCH_BYTES_MAX: usize = 2 << 20;
const DAY_NS: i64 = 86_400_000_000_000;

/// One line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its stream.
    pub labels: Arc<LabelMap>,
    /// ns since 1970.
    pub timestamp: i64,
    /// The text.
    pub line: String,
}

/// Where a source puts what it reads. Bounded: when it is full the source waits.
#[derive(Debug)]
pub struct Outlet {
    records: mpsc::Sender<Record>,
    days: BTreeSet<i64>,
    lines: usize,
    bytes: usize,
    endless: bool,
}

/// A source has given enough, or nobody wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enough;

/// An outlet for what there is, and what comes out of it.
pub fn channel() -> (Outlet, mpsc::Receiver<Record>) {
    let (records, receiver) = mpsc::channel(BATCH_LINES_MAX);
    (Outlet { records, days: BTreeSet::new(), lines: 0, bytes: 0, endless: false }, receiver)
}

/// An outlet for what is still to come: as many lines as there will be.
pub fn endless_channel() -> (Outlet, mpsc::Receiver<Record>) {
    let (outlet, receiver) = channel();
    (Outlet { endless: true, ..outlet }, receiver)
}

impl Outlet {
    /// Hands a record on; drops one from a day too many. Blocks while the node is busy.
    ///
    /// # Errors
    /// [`Enough`]: stop reading.
    pub fn put(&mut self, record: Record) -> Result<(), Enough> {
        let Some(record) = self.admit(record)? else { return Ok(()) };
        self.records.blocking_send(record).map_err(|_| Enough)
    }

    /// The same where waiting must not block.
    ///
    /// # Errors
    /// [`Enough`]: stop reading.
    pub async fn put_async(&mut self, record: Record) -> Result<(), Enough> {
        let Some(record) = self.admit(record)? else { return Ok(()) };
        self.records.send(record).await.map_err(|_| Enough)
    }

    /// Lines handed on.
    pub fn lines(&self) -> usize {
        self.lines
    }

    fn admit(&mut self, mut record: Record) -> Result<Option<Record>, Enough> {
        if !self.endless && (self.lines >= LINES_MAX || self.bytes >= BYTES_MAX) {
            return Err(Enough);
        }
        let day = record.timestamp.div_euclid(DAY_NS);
        if !self.days.contains(&day) {
            if self.days.len() >= DAYS_MAX {
                return Ok(None);
            }
            self.days.insert(day);
        }
        record.line.truncate(record.line.floor_char_boundary(LINE_BYTES_MAX));
        self.lines += 1;
        self.bytes += record.line.len();
        Ok(Some(record))
    }
}

/// What has been fed.
#[derive(Clone, Debug, Default)]
pub struct Fed {
    /// Lines.
    pub lines: usize,
    /// Their text.
    pub bytes: usize,
    /// Their streams.
    pub streams: BTreeSet<Arc<LabelMap>>,
    /// The oldest and the newest timestamp.
    pub span: Option<(i64, i64)>,
    /// A line from somewhere in the middle.
    pub sample: String,
}

impl Fed {
    fn note(&mut self, record: &Record) {
        self.lines += 1;
        self.bytes += record.line.len();
        if !self.streams.contains(&record.labels) {
            self.streams.insert(record.labels.clone());
        }
        let (oldest, newest) = self.span.unwrap_or((record.timestamp, record.timestamp));
        self.span = Some((oldest.min(record.timestamp), newest.max(record.timestamp)));
        if self.lines.is_power_of_two() {
            self.sample.clone_from(&record.line);
        }
    }
}

/// Pushes records until there are no more.
///
/// # Errors
/// Those of the node.
pub async fn pump(client: &Client, mut records: mpsc::Receiver<Record>, fed: &mut Fed) -> Result<()> {
    let mut batch = Vec::new();
    while records.recv_many(&mut batch, BATCH_LINES_MAX).await > 0 {
        for record in &batch {
            fed.note(record);
        }
        for part in parts(&batch) {
            client.post("/loki/api/v1/push", "application/json", body(part)).await?;
        }
        batch.clear();
    }
    Ok(())
}

/// Cuts a batch so that no push is too large.
fn parts(batch: &[Record]) -> impl Iterator<Item = &[Record]> {
    let mut bytes = 0;
    batch.chunk_by(move |record, _| {
        bytes += record.line.len();
        let fits = bytes < BATCH_BYTES_MAX;
        if !fits {
            bytes = 0;
        }
        fits
    })
}

/// Loki's JSON. A clock that was fast is not ours to argue with: what lies ahead is from now.
fn body(records: &[Record]) -> Vec<u8> {
    let now = SystemClock.now();
    let mut streams: BTreeMap<&LabelMap, Vec<serde_json::Value>> = BTreeMap::new();
    for record in records {
        let value = json!([record.timestamp.min(now).to_string(), record.line]);
        streams.entry(&record.labels).or_default().push(value);
    }
    let streams: Vec<_> =
        streams.iter().map(|(labels, values)| json!({"stream": labels, "values": values})).collect();
    json!({ "streams": streams }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{
        BATCH_BYTES_MAX, DAY_NS, DAYS_MAX, Enough, LINE_BYTES_MAX, LINES_MAX, Record, channel, parts,
    };
    use crate::cli::output::LabelMap;

    fn record(timestamp: i64, line: String) -> Record {
        Record { labels: Arc::new(LabelMap::new()), timestamp, line }
    }

    #[test]
    fn lines_days_and_lengths_are_bounded() {
        let (mut outlet, _records) = channel();
        for day in 0..DAYS_MAX as i64 {
            assert!(outlet.admit(record(day * DAY_NS, String::new())).unwrap().is_some());
        }
        assert_eq!(outlet.admit(record(-1, String::new())), Ok(None), "a day too many");
        let long = outlet.admit(record(0, "é".repeat(LINE_BYTES_MAX))).unwrap().unwrap();
        assert_eq!(long.line.len(), LINE_BYTES_MAX);
        outlet.lines = LINES_MAX;
        assert_eq!(outlet.admit(record(0, String::new())), Err(Enough));
    }

    #[test]
    fn a_source_is_told_when_nobody_listens() {
        let (mut outlet, records) = channel();
        drop(records);
        assert_eq!(outlet.put(record(0, String::new())), Err(Enough));
    }

    #[test]
    fn batches_are_cut_and_nothing_is_lost() {
        let batch: Vec<_> = (0..7).map(|n| record(n, "x".repeat(BATCH_BYTES_MAX / 3))).collect();
        let cut: Vec<_> = parts(&batch).collect();
        assert!(cut.len() > 1 && cut.iter().all(|part| part.len() <= 4));
        assert_eq!(cut.concat(), batch);
    }
}
