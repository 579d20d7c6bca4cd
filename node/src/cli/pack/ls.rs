//! `grapevine pack ls`: the directory of a pack, as a table or as JSON.

use std::fs::File;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use grapevine_storage::pack::{ChunkEntry, Directory, PackError, PackReader, StreamEntry};
use serde_json::{Value, json};

use super::{Exit, for_each_file, show_time};

/// What `ls` takes.
#[derive(Debug, Args)]
pub(super) struct LsArgs {
    /// The packs.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A line for each chunk, not only for each stream.
    #[arg(long)]
    chunks: bool,
    /// A JSON object for each pack.
    #[arg(long)]
    json: bool,
}

/// What a row is about, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    chunks: u64,
    entries: u64,
    text_bytes: u64,
    compressed_bytes: u64,
    span: Option<(i64, i64)>,
}

pub(super) fn run(args: &LsArgs) -> Result<Exit> {
    for_each_file(&args.files, |path, file| match open(file) {
        Ok((bytes, directory)) => {
            let mut out = stdout().lock();
            match args.json {
                true => writeln!(out, "{}", as_json(path, bytes, &directory))?,
                false => table(&mut out, path, bytes, &directory, args.chunks)?,
            }
            Ok(Exit::Done)
        }
        Err(error) => {
            let way_out = "`grapevine pack cat` prints what is whole";
            eprintln!("grapevine: `{}` cannot be listed: {error}; {way_out}", path.display());
            Ok(Exit::Incomplete)
        }
    })
}

fn open(file: File) -> Result<(u64, Directory), PackError> {
    let reader = PackReader::open(file)?;
    Ok((reader.footer().pack_bytes(), reader.directory()?))
}

fn table(out: &mut impl Write, path: &Path, bytes: u64, pack: &Directory, chunks: bool) -> Result<()> {
    let all = Sum::of(pack.chunks());
    writeln!(out, "{}", path.display())?;
    writeln!(out, "  {bytes} bytes, {} streams, {}", pack.streams.len(), all.show())?;
    for stream in &pack.streams {
        writeln!(out, "  {} {}", stream.labels, Sum::of(&stream.chunks).show())?;
        for chunk in stream.chunks.iter().filter(|_| chunks) {
            writeln!(out, "    at {}: {}", chunk.start, Sum::of([chunk]).show())?;
        }
    }
    Ok(())
}

fn as_json(path: &Path, bytes: u64, pack: &Directory) -> Value {
    let stream = |stream: &StreamEntry| {
        let labels: serde_json::Map<String, Value> =
            stream.labels.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let chunks: Vec<Value> = stream.chunks.iter().map(|chunk| Sum::of([chunk]).json()).collect();
        json!({"id": stream.id.to_string(), "labels": labels, "chunks": chunks})
    };
    let streams: Vec<Value> = pack.streams.iter().map(stream).collect();
    json!({"file": path.display().to_string(), "bytes": bytes, "total": Sum::of(pack.chunks()).json(), "streams": streams})
}

impl Sum {
    fn of<'a>(chunks: impl IntoIterator<Item = &'a ChunkEntry>) -> Self {
        let mut sum = Sum::default();
        for chunk in chunks {
            sum.chunks += 1;
            sum.entries += chunk.entries();
            sum.text_bytes += chunk.text_bytes();
            let range = chunk.file_range();
            sum.compressed_bytes += range.end - range.start;
            let (first, last) = sum.span.unwrap_or((i64::MAX, i64::MIN));
            sum.span = Some((first.min(chunk.first()), last.max(chunk.last())));
        }
        sum
    }

    fn show(&self) -> String {
        let Sum { chunks, entries, text_bytes, compressed_bytes, .. } = self;
        let span = self
            .span
            .map_or(String::new(), |(first, last)| format!(", {} to {}", show_time(first), show_time(last)));
        format!("{chunks} chunks, {entries} lines, {text_bytes} bytes of text in {compressed_bytes}{span}")
    }

    fn json(&self) -> Value {
        let (first, last) = self.span.unzip();
        json!({
            "chunks": self.chunks, "lines": self.entries, "text_bytes": self.text_bytes,
            "compressed_bytes": self.compressed_bytes,
            "first": first.map(show_time), "last": last.map(show_time),
        })
    }
}
