//! `grapevine push`: lines from files or standard input into a stream.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::client::Client;
use super::exit::{Exit, ExitError};
use super::output::LabelMap;
use super::{ClientArgs, Source};
use crate::env::{SystemClock, WallClock};

/// Lines sent at once, and their text.
const BATCH_LINES_MAX: usize = 10_000;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// Arguments of `grapevine push`.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Files to send; standard input if none, or `-`.
    files: Vec<Source>,
    #[command(flatten)]
    client: ClientArgs,
    /// A label of the stream; may be given several times. Files get `filename` by themselves.
    #[arg(long = "label", short, value_name = "NAME=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs the command.
pub async fn run(args: PushArgs) -> Result<Exit> {
    let client = Client::new(&args.client)?;
    let files = if args.files.is_empty() { vec![Source::from("-")] } else { args.files };
    let mut sent = 0;
    for file in &files {
        let mut labels: LabelMap = args.labels.iter().cloned().collect();
        if file != Path::new("-") {
            labels.entry("filename".to_owned()).or_insert_with(|| file.display().to_string());
        } else if labels.is_empty() {
            labels.insert("job".to_owned(), "push".to_owned());
        }
        sent += push_file(&client, file, &labels).await?;
    }
    eprintln!("{sent} lines sent");
    Ok(Exit::Done)
}

async fn push_file(client: &Client, file: &Path, labels: &LabelMap) -> Result<u64> {
    let mut lines = open(file)?;
    let mut last = 0;
    let mut sent = 0;
    loop {
        let batch = read_batch(&mut *lines).with_context(|| format!("read `{}`", file.display()))?;
        if batch.is_empty() {
            return Ok(sent);
        }
        sent += batch.len() as u64;
        let values: Vec<_> =
            batch.iter().map(|line| json!([next_time(&mut last).to_string(), line])).collect();
        let body = json!({"streams": [{"stream": labels, "values": values}]});
        client.post("/loki/api/v1/push", "application/json", body.to_string().into_bytes()).await?;
    }
}

/// Lines get the time at which they are sent, ascending: the order of the file is the order of the stream, and
/// equal lines stay apart.
fn next_time(last: &mut i64) -> i64 {
    *last = SystemClock.now().max(*last + 1);
    *last
}

fn open(file: &Path) -> Result<Box<dyn BufRead>> {
    if file == Path::new("-") {
        return Ok(Box::new(BufReader::new(io::stdin())));
    }
    let opened = File::open(file).map_err(|error| ExitError {
        exit: Exit::Usage,
        message: format!("cannot read `{}`: {error}", file.display()),
    })?;
    Ok(Box::new(BufReader::new(opened)))
}

fn read_batch(lines: &mut dyn BufRead) -> io::Result<Vec<String>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    let mut line = Vec::new();
    while batch.len() < BATCH_LINES_MAX && bytes < BATCH_BYTES_MAX {
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        bytes += text.len();
        batch.push(String::from_utf8_lossy(text).into_owned());
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use super::{BATCH_LINES_MAX, next_time, read_batch};

    #[test]
    fn lines_end_at_either_line_end_and_at_the_end_of_the_file() {
        let batch = read_batch(&mut &b"a\r\nb\n\nc"[..]).unwrap();
        assert_eq!(batch, ["a", "b", "", "c"]);
    }

    #[test]
    fn a_batch_is_bounded() {
        let text = "x\n".repeat(BATCH_LINES_MAX + 1);
        let mut lines = text.as_bytes();
        assert_eq!(read_batch(&mut lines).unwrap().len(), BATCH_LINES_MAX);
        assert_eq!(read_batch(&mut lines).unwrap().len(), 1);
        assert_eq!(read_batch(&mut lines).unwrap().len(), 0);
    }

    #[test]
    fn times_ascend_even_if_the_clock_stands_still() {
        let mut last = i64::MAX - 1;
        assert_eq!(next_time(&mut last), i64::MAX);
    }
}
