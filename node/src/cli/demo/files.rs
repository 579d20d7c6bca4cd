//! Text files as a source: what lies below `/var/log`, rotated and compressed ones included.
//!
//! The newest files come first, so that the bounds cut off the oldest. A rotated file belongs to the stream of
//! the file it was rotated from. What may not be read is passed over: the demo asks for no rights.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;
use jiff::tz::TimeZone;

use super::feed::{Enough, Outlet, Record};
use super::timestamp::LineClock;
use crate::cli::output::LabelMap;

/// How deep folders are searched, and how many files are looked at.
const DEPTH_MAX: usize = 4;
const FILES_MAX: usize = 500;
/// Text of one file: the last of a plain one, the first of a compressed one.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of a line; what is longer is read as several.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// What is looked at to tell text from something else.
const PROBE_BYTES: usize = 512;
/// How often files are looked at for new lines, and how much of one is read then.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_BYTES_MAX: u64 = 1 << 20;

/// A file that was read and can grow.
#[derive(Debug)]
pub struct Growing {
    path: PathBuf,
    labels: Arc<LabelMap>,
    clock: LineClock,
    /// Up to where it has been read: always the end of a line.
    offset: u64,
}

/// Reads the text files below a folder; gives back those that can be followed.
pub fn read(root: &Path, host: &str, outlet: &mut Outlet) -> Vec<Growing> {
    let mut found = Vec::new();
    search(root, DEPTH_MAX, &mut found);
    found.sort_by(|(a, a_meta), (b, b_meta)| written(b_meta).cmp(&written(a_meta)).then_with(|| a.cmp(b)));
    let (mut growing, mut labels) = (Vec::new(), BTreeMap::<String, Arc<LabelMap>>::new());
    for (path, meta) in found {
        let name = stream_name(&path);
        let labels = labels.entry(name.clone()).or_insert_with(|| {
            let pairs = [("job", "varlogs".to_owned()), ("filename", name), ("host", host.to_owned())];
            Arc::new(pairs.map(|(name, value)| (name.to_owned(), value)).into())
        });
        let clock = LineClock::new(written(&meta), TimeZone::system());
        let mut file = Growing { path, labels: labels.clone(), clock, offset: 0 };
        let read = file.read_first(&meta, outlet);
        if matches!(read, Ok(true)) {
            growing.push(file);
        }
        if read.is_err() {
            break;
        }
    }
    growing
}

/// Reads what is added to the files, until nobody wants it any more.
pub async fn follow(mut files: Vec<Growing>, mut outlet: Outlet) {
    let mut interval = tokio::time::interval(LOOK_EVERY);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let look = move || {
            let alive = files.iter_mut().all(|file| file.look(&mut outlet).is_ok());
            alive.then_some((files, outlet))
        };
        match tokio::task::spawn_blocking(look).await {
            Ok(Some(back)) => (files, outlet) = back,
            _ => return,
        }
    }
}

fn search(folder: &Path, depth: usize, found: &mut Vec<(PathBuf, Metadata)>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        // Of links nothing is known; what they lead to may be anywhere.
        let Ok(meta) = std::fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() && depth > 1 {
            search(&path, depth - 1, found);
        } else if meta.is_file() && meta.len() > 0 && found.len() < FILES_MAX {
            found.push((path, meta));
        }
    }
}

fn written(meta: &Metadata) -> i64 {
    let since = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

fn compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz")
}

/// `/var/log/syslog` for `/var/log/syslog.2.gz`, `/var/log/syslog.1` and `/var/log/syslog-20260922`.
fn stream_name(path: &Path) -> String {
    let text = path.to_string_lossy();
    let name = text.strip_suffix(".gz").unwrap_or(&text);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let rotated = name.rsplit_once(['.', '-']).filter(|(_, number)| digits(number));
    rotated.map_or(name, |(name, _)| name).to_owned()
}

impl Growing {
    /// Reads the file within its bounds. `true` if it is text that can be followed.
    fn read_first(&mut self, meta: &Metadata, outlet: &mut Outlet) -> Result<bool, Enough> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(false) };
        if compressed(&self.path) {
            let text = BufReader::new(MultiGzDecoder::new(file).take(FILE_BYTES_MAX));
            self.copy(text, true, outlet)?;
            return Ok(false);
        }
        let start = meta.len().saturating_sub(FILE_BYTES_MAX);
        if file.seek(SeekFrom::Start(start)).is_err() {
            return Ok(false);
        }
        let mut text = BufReader::new(file.take(FILE_BYTES_MAX));
        self.offset = start;
        if start > 0 {
            // Most likely the middle of a line.
            self.offset += text.skip_until(b'\n').unwrap_or(0) as u64;
        }
        self.copy(text, false, outlet)
    }

    /// Reads what has been added. A file that has become shorter is a new one.
    fn look(&mut self, outlet: &mut Outlet) -> Result<(), Enough> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(()) };
        let Ok(meta) = file.metadata() else { return Ok(()) };
        if meta.len() < self.offset {
            self.offset = 0;
        }
        if meta.len() == self.offset || file.seek(SeekFrom::Start(self.offset)).is_err() {
            return Ok(());
        }
        self.clock.handle_written(written(&meta));
        self.copy(BufReader::new(file.take(LOOK_BYTES_MAX)), false, outlet).map(drop)
    }

    /// Hands on each line; an unfinished last one only if the file is `complete`. `false` if this is no text.
    fn copy(&mut self, mut text: impl BufRead, complete: bool, outlet: &mut Outlet) -> Result<bool, Enough> {
        match text.fill_buf() {
            Ok(begin) if !begin[..begin.len().min(PROBE_BYTES)].contains(&0) => {}
            _ => return Ok(false),
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = text.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            let Ok(bytes @ 1..) = read else { return Ok(true) };
            let ends = line.last() == Some(&b'\n') || bytes as u64 == LINE_BYTES_MAX;
            if !ends && !complete {
                return Ok(true);
            }
            self.offset += bytes as u64;
            self.put(line.trim_ascii_end(), outlet)?;
        }
    }

    fn put(&mut self, line: &[u8], outlet: &mut Outlet) -> Result<(), Enough> {
        if line.is_empty() {
            return Ok(());
        }
        let line = String::from_utf8_lossy(line).into_owned();
        let timestamp = self.clock.time_of(&line);
        outlet.put(Record { labels: self.labels.clone(), timestamp, line })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use super::{Growing, read, stream_name};
    use crate::cli::demo::feed::{Record, channel};

    /// What a folder holds, as pairs of file and line, and the files that can be followed.
    fn all(root: &Path) -> (Vec<(String, String)>, Vec<Growing>) {
        let (mut outlet, mut records) = channel();
        let growing = read(root, "here", &mut outlet);
        drop(outlet);
        let mut lines = Vec::new();
        while let Some(record) = records.blocking_recv() {
            lines.push(pair(root, &record));
        }
        lines.sort();
        (lines, growing)
    }

    fn pair(root: &Path, record: &Record) -> (String, String) {
        let name = Path::new(&record.labels["filename"]).strip_prefix(root).unwrap();
        (name.display().to_string(), record.line.clone())
    }

    fn own(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(file, line)| ((*file).to_owned(), (*line).to_owned())).collect()
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(text).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn rotated_files_join_their_stream_and_what_is_no_text_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("app")).unwrap();
        std::fs::write(dir.path().join("app/a.log"), "new\nunfinished").unwrap();
        std::fs::write(dir.path().join("app/a.log.1"), "old\r\n\n").unwrap();
        std::fs::write(dir.path().join("app/a.log.2.gz"), gzip(b"oldest\nend")).unwrap();
        std::fs::write(dir.path().join("wtmp"), [7, 0, 0, 0, b'\n']).unwrap();
        std::fs::write(dir.path().join("noise.gz"), "not gzip\n").unwrap();
        std::os::unix::fs::symlink("app/a.log", dir.path().join("link.log")).unwrap();
        let (lines, growing) = all(dir.path());
        let want =
            [("app/a.log", "end"), ("app/a.log", "new"), ("app/a.log", "old"), ("app/a.log", "oldest")];
        assert_eq!(lines, own(&want));
        assert_eq!(growing.len(), 2);
    }

    #[test]
    fn what_is_added_is_read_once_and_a_file_that_begins_anew_from_its_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        std::fs::write(&path, "first line\nsec").unwrap();
        let (_, mut growing) = all(dir.path());
        let (mut outlet, mut records) = channel();
        for (text, want) in [
            ("first line\nsecond line\n", Some("second line")),
            ("first line\nsecond line\n", None),
            ("anew\n", Some("anew")),
        ] {
            std::fs::write(&path, text).unwrap();
            growing[0].look(&mut outlet).unwrap();
            assert_eq!(records.try_recv().ok().map(|record| record.line).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn a_folder_that_is_not_there_has_no_lines() {
        assert!(all(Path::new("/nonexistent")).0.is_empty());
    }

    #[test]
    fn rotation_is_told_by_the_name() {
        for (path, name) in [
            ("/v/syslog", "/v/syslog"),
            ("/v/syslog.1", "/v/syslog"),
            ("/v/syslog.12.gz", "/v/syslog"),
            ("/v/syslog-20260922", "/v/syslog"),
            ("/v/postgresql-15-main.log", "/v/postgresql-15-main.log"),
            ("/v/a.log.gz", "/v/a.log"),
        ] {
            assert_eq!(stream_name(Path::new(path)), name);
        }
    }
}
