//! `grapevine pack cat`: the lines of a pack. Of a damaged pack it prints every block that is whole: by the
//! directory where that can be read, else by walking the file.

use std::fs::File;
use std::io::{self, BufWriter, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use grapevine_storage::pack::salvage::{Member, Salvage};
use grapevine_storage::pack::{BlockReader, BlockText, Directory, PackError, PackReader, StreamEntry};

use super::{Exit, for_each_file, show_time};

/// What `cat` takes.
#[derive(Debug, Args)]
pub(super) struct CatArgs {
    /// The packs.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Put the stream's labels before each line.
    #[arg(long, short)]
    labels: bool,
    /// Put the time before each line.
    #[arg(long, short)]
    timestamps: bool,
}

/// Bytes of a damaged pack that are searched for whole blocks: packs are a quarter of it.
const SALVAGE_BYTES_MAX: u64 = 1 << 30;

pub(super) fn run(args: &CatArgs) -> Result<Exit> {
    let mut out = BufWriter::new(stdout().lock());
    let done = for_each_file(&args.files, |path, file| cat(args, path, &file, &mut out));
    out.flush()?;
    done
}

fn cat(args: &CatArgs, path: &Path, file: &File, out: &mut impl Write) -> Result<Exit> {
    match directory(file) {
        Ok((reader, directory)) => by_directory(args, path, &reader, &directory, out),
        Err(error) => {
            eprintln!(
                "grapevine: `{}` has no directory that can be read ({error}): its blocks are searched for, \
                 their times and labels are lost",
                path.display()
            );
            by_walking(path, out)
        }
    }
}

fn directory(file: &File) -> Result<(PackReader<&File>, Directory), PackError> {
    let reader = PackReader::open(file)?;
    let directory = reader.directory()?;
    Ok((reader, directory))
}

fn by_directory(
    args: &CatArgs,
    path: &Path,
    reader: &PackReader<&File>,
    directory: &Directory,
    out: &mut impl Write,
) -> Result<Exit> {
    let mut exit = Exit::Done;
    let mut blocks = BlockReader::new();
    for stream in &directory.streams {
        for chunk in &stream.chunks {
            for n in 0..chunk.blocks.len() {
                let opened = reader.blocks(chunk, n..n + 1).and_then(|read| {
                    read.iter().map(|block| Ok(blocks.open(block)?)).collect::<Result<Vec<_>, PackError>>()
                });
                match opened {
                    Ok(texts) => texts.iter().try_for_each(|text| print(args, stream, text, out))?,
                    Err(error) => {
                        exit = Exit::Incomplete;
                        let lines = chunk.blocks[n].entries;
                        let (path, labels) = (path.display(), &stream.labels);
                        eprintln!("grapevine: `{path}`: {lines} lines of {labels} are lost: {error}");
                    }
                }
            }
        }
    }
    Ok(exit)
}

fn print(args: &CatArgs, stream: &StreamEntry, text: &BlockText, out: &mut impl Write) -> io::Result<()> {
    let mut done = Ok(());
    text.for_each(|entry| {
        if done.is_ok() {
            done = print_line(args, stream, entry.timestamp, entry.line, out);
        }
    });
    done
}

fn print_line(
    args: &CatArgs,
    stream: &StreamEntry,
    timestamp: i64,
    line: &[u8],
    out: &mut impl Write,
) -> io::Result<()> {
    if args.timestamps {
        write!(out, "{} ", show_time(timestamp))?;
    }
    if args.labels {
        write!(out, "{} ", stream.labels)?;
    }
    out.write_all(line)?;
    out.write_all(b"\n")
}

fn by_walking(path: &Path, out: &mut impl Write) -> Result<Exit> {
    let failed = || format!("read `{}`", path.display());
    let bytes = std::fs::metadata(path).with_context(failed)?.len();
    anyhow::ensure!(
        bytes <= SALVAGE_BYTES_MAX,
        "`{}` has {bytes} bytes, more than any pack: it is none",
        path.display()
    );
    let bytes = std::fs::read(path).with_context(failed)?;
    let mut walk = Salvage::new(&bytes);
    let mut blocks = 0;
    while let Some((_, member)) = walk.step() {
        if let Member::Block(_) = member {
            out.write_all(walk.text())?;
            blocks += 1;
        }
    }
    eprintln!("grapevine: `{}`: {blocks} blocks are whole and were printed", path.display());
    Ok(Exit::Incomplete)
}
