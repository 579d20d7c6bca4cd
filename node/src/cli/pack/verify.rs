//! `grapevine pack verify`: reads all of a pack and checks whatever can be checked.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use grapevine_storage::pack::verify::{Verified, verify};

use super::{Exit, for_each_file};

/// What `verify` takes.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// The packs.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub(super) fn run(args: &VerifyArgs) -> Result<Exit> {
    for_each_file(&args.files, |path, file| Ok(tell(path, &file)))
}

fn tell(path: &Path, file: &File) -> Exit {
    let verified = verify(file);
    let problems = problems(path, &verified);
    let (path, chunks, lines) = (path.display(), verified.chunks, verified.entries);
    if problems.is_empty() {
        println!("{path}: whole: {chunks} chunks, {lines} lines, {} bytes of text", verified.text_bytes);
        return Exit::Done;
    }
    println!("{path}: damaged; {chunks} chunks with {lines} lines are whole");
    problems.iter().for_each(|problem| println!("  {problem}"));
    println!("  `grapevine pack cat` prints every block that is whole");
    Exit::Incomplete
}

/// What is wrong, one sentence each.
fn problems(path: &Path, verified: &Verified) -> Vec<String> {
    let mut problems: Vec<String> = verified
        .faults
        .iter()
        .map(|fault| match fault.chunk {
            Some((stream, number)) => format!("chunk {number}, of stream {stream}: {}", fault.error),
            None => fault.error.to_string(),
        })
        .collect();
    let named = path.file_stem().and_then(|name| name.to_str()).and_then(hash_in_name);
    if let (Some(named), Some(actual)) = (named, verified.content_hash)
        && named != actual
    {
        problems.push(format!("its bytes have the hash {actual:032x}, not the one in its name"));
    }
    problems
}

/// The content hash that ends a pack's name, in the chunk store and in the spool.
fn hash_in_name(stem: &str) -> Option<u128> {
    let hash = stem.get(stem.len().checked_sub(32)?..)?;
    u128::from_str_radix(hash, 16).ok()
}
