//! The load: real-shaped lines with their digits varied, cut into batches as an agent would push them.
//!
//! Seeded: the same seed makes the same bytes. Sixteen real logs where the corpus is there, lines of the
//! test generator where it is not; the tables say which.

use std::path::Path;

use anyhow::{Context, Result};
use grapevine_storage::testdata::{KINDS, LogLines, Random};

/// Streams are every kind of log on every host.
pub(crate) const HOSTS: usize = 8;
/// The lines of all batches lie within this many seconds.
pub(crate) const SPAN_S: i64 = 55 * 60;
/// Text of one batch, bytes.
const BATCH_TEXT: usize = 1 << 20;
/// In so many lines of the whole load stands [`NEEDLE_SUBSTRING`].
const SUBSTRING_HITS: u64 = 18;
/// In so many lines of the whole load stands [`NEEDLE_WORD`].
const WORD_HITS: u64 = 3;
/// A needle that stands alone.
pub(crate) const NEEDLE_WORD: &str = "blk_4417029385561820377";
/// A needle inside a longer word.
pub(crate) const NEEDLE_SUBSTRING: &str = "needle0";

/// How hard the load is on a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Evenly spaced timestamps, lines as they are.
    Plain,
    /// Random nanoseconds, and a trace id of 32 hex digits at the end of each line.
    Hard,
}

/// One kind of log.
struct Kind {
    name: String,
    lines: Vec<Vec<u8>>,
}

/// Makes batches one after the other.
pub(crate) struct Load {
    kinds: Vec<Kind>,
    random: Random,
    shape: Shape,
    start_ns: i64,
    batches: usize,
    made: usize,
    /// Which line of its kind a stream is at.
    cursors: Vec<usize>,
}

/// A body for `POST /loki/api/v1/push`: a snappy block of a protobuf `PushRequest`.
pub(crate) struct Batch {
    pub(crate) body: Vec<u8>,
    pub(crate) text_bytes: u64,
    pub(crate) lines: u64,
}

impl Load {
    /// `text_bytes` of lines, the first at `start_ns`.
    pub(crate) fn new(corpus: Option<&Path>, shape: Shape, text_bytes: u64, start_ns: i64) -> Result<Self> {
        let kinds = match corpus {
            Some(folder) => read_corpus(folder)?,
            None => generated(),
        };
        let batches = usize::try_from(text_bytes)? / BATCH_TEXT;
        let cursors = vec![0; kinds.len() * HOSTS];
        Ok(Load { kinds, random: Random(1), shape, start_ns, batches: batches.max(1), made: 0, cursors })
    }

    /// The kinds' names: values of the label `app`.
    pub(crate) fn apps(&self) -> impl Iterator<Item = &str> {
        self.kinds.iter().map(|kind| kind.name.as_str())
    }

    fn batch(&mut self) -> Batch {
        let host = self.made % HOSTS;
        let (from, to) = (self.time_of(self.made), self.time_of(self.made + 1));
        let share = BATCH_TEXT / self.kinds.len();
        let mut request = Vec::with_capacity(BATCH_TEXT * 5 / 4);
        let (mut text_bytes, mut lines) = (0, 0);
        for kind in 0..self.kinds.len() {
            let texts = self.lines_of(kind, host, share);
            text_bytes += texts.iter().map(|t| t.len() as u64 + 1).sum::<u64>();
            lines += texts.len() as u64;
            let times = self.times(texts.len(), from, to);
            let name = &self.kinds[kind].name;
            let labels = format!(r#"{{app="{name}", host="host-{host}", site="bench"}}"#);
            proto::stream(&mut request, &labels, texts.iter().map(Vec::as_slice).zip(times));
        }
        let body =
            snap::raw::Encoder::new().compress_vec(&request).expect("a batch is far below snappy's bound");
        Batch { body, text_bytes, lines }
    }

    fn time_of(&self, batch: usize) -> i64 {
        self.start_ns + SPAN_S * 1_000_000_000 / self.batches as i64 * batch as i64
    }

    fn times(&mut self, count: usize, from: i64, to: i64) -> Vec<i64> {
        match self.shape {
            Shape::Plain => (0..count as i64).map(|n| from + (to - from) / count as i64 * n).collect(),
            Shape::Hard => {
                let mut times: Vec<i64> =
                    (0..count).map(|_| from + (self.random.draw() % (to - from) as u64) as i64).collect();
                times.sort_unstable();
                times
            }
        }
    }

    fn lines_of(&mut self, kind: usize, host: usize, share: usize) -> Vec<Vec<u8>> {
        let mut texts = Vec::new();
        let mut bytes = 0;
        while bytes < share {
            let source = &self.kinds[kind].lines;
            let cursor = &mut self.cursors[kind * HOSTS + host];
            let mut line = source[*cursor % source.len()].clone();
            *cursor += 1;
            vary_digits(&mut line, &mut self.random);
            if self.shape == Shape::Hard {
                let id = (u128::from(self.random.draw()) << 64) | u128::from(self.random.draw());
                line.extend_from_slice(format!(" trace_id={id:032x}").as_bytes());
            }
            bytes += line.len() + 1;
            texts.push(line);
        }
        if kind == self.made % self.kinds.len() {
            self.hide_needles(&mut texts);
        }
        texts
    }

    /// Spreads the needles evenly over the batches.
    fn hide_needles(&self, texts: &mut [Vec<u8>]) {
        let due = |hits: u64| {
            let at = |n: usize| n as u64 * hits / self.batches as u64;
            at(self.made + 1) > at(self.made)
        };
        let middle = texts.len() / 2;
        if due(SUBSTRING_HITS) {
            texts[middle].extend_from_slice(format!(" req=x{NEEDLE_SUBSTRING}y").as_bytes());
        }
        if due(WORD_HITS) {
            texts[middle].extend_from_slice(format!(" {NEEDLE_WORD}").as_bytes());
        }
    }
}

impl Iterator for Load {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.made == self.batches {
            return None;
        }
        let batch = self.batch();
        self.made += 1;
        Some(batch)
    }
}

/// Varies the last digits of longer numbers, as counters, ids and clocks do: the text stays as compressible as
/// real logs are.
fn vary_digits(line: &mut [u8], random: &mut Random) {
    const LONG: usize = 4;
    const VARIED: usize = 3;
    let mut at = 0;
    while at < line.len() {
        let run = line[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if run >= LONG {
            for digit in &mut line[at + run - VARIED..at + run] {
                *digit = b'0' + (random.draw() % 10) as u8;
            }
        }
        at += run + 1;
    }
}

fn read_corpus(folder: &Path) -> Result<Vec<Kind>> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .with_context(|| format!("read `{}`", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|e| e == "log"));
    files.sort();
    files.iter().map(|file| read_kind(file)).collect()
}

fn read_kind(file: &Path) -> Result<Kind> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let text = std::fs::read(file).with_context(|| format!("read `{}`", file.display()))?;
    let lines = text.split(|b| *b == b'\n').map(|l| l.trim_ascii_end().to_vec());
    let lines = lines.filter(|l| !l.is_empty()).collect();
    Ok(Kind { name: stem.trim_end_matches("_2k").to_owned(), lines })
}

fn generated() -> Vec<Kind> {
    const LINES: usize = 2000;
    let kind = |kind: usize| {
        let mut lines = LogLines::new(kind, 1);
        let lines = (0..LINES).map(|_| lines.next_entry().1.into_bytes()).collect();
        Kind { name: format!("kind-{kind:02}"), lines }
    };
    (0..KINDS).map(kind).collect()
}

/// The few protobuf fields of `logproto.PushRequest` that a client writes.
mod proto {
    /// Field 1 of the request: a stream of labels (1) and entries (2) of timestamp (1) and line (2).
    pub(super) fn stream<'a>(
        out: &mut Vec<u8>,
        labels: &str,
        entries: impl Iterator<Item = (&'a [u8], i64)>,
    ) {
        let mut stream = Vec::new();
        bytes(&mut stream, 1, labels.as_bytes());
        let (mut entry, mut time) = (Vec::new(), Vec::new());
        for (line, ns) in entries {
            entry.clear();
            time.clear();
            number(&mut time, 1, ns.div_euclid(1_000_000_000) as u64);
            number(&mut time, 2, ns.rem_euclid(1_000_000_000) as u64);
            bytes(&mut entry, 1, &time);
            bytes(&mut entry, 2, line);
            bytes(&mut stream, 2, &entry);
        }
        bytes(out, 1, &stream);
    }

    fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
        varint(out, field << 3 | 2);
        varint(out, value.len() as u64);
        out.extend_from_slice(value);
    }

    fn number(out: &mut Vec<u8>, field: u64, value: u64) {
        varint(out, field << 3);
        varint(out, value);
    }

    fn varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
}
