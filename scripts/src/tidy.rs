//! House rules that no other tool checks: each file says what it is for and none grows without end.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::run::{command, output, root};

/// No source file is longer.
const LINES_MAX: usize = 1000;

/// Checks every Rust file that git knows of.
pub(crate) fn check() -> Result<()> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"];
    let (listed, files) = output(&mut command("git", &list))?;
    ensure!(listed && !files.is_empty(), "git lists no source files: check a clone, not a bare copy");
    let complaints: Vec<String> = files
        .lines()
        .map(|file| complaint(Path::new(file)))
        .filter_map(Result::transpose)
        .collect::<Result<_>>()?;
    ensure!(complaints.is_empty(), "the house rules are broken:\n{}", complaints.join("\n"));
    Ok(())
}

fn complaint(file: &Path) -> Result<Option<String>> {
    let path = root().join(file);
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
    let lines = text.lines().count();
    let shown = file.display();
    Ok(match () {
        () if !text.starts_with("//!") => {
            Some(format!("{shown}: open the file with `//!` and what it is for"))
        }
        () if lines > LINES_MAX => Some(format!("{shown}: {lines} lines, of {LINES_MAX} at most: split it")),
        () if text.contains(concat!("#[", "ignore")) => {
            Some(format!("{shown}: a test is ignored: mend or delete it"))
        }
        () => None,
    })
}
