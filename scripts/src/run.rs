//! Runs other programs from the workspace's root and says which one failed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR"));
    scripts.parent().expect("the package lies in a folder of the workspace").to_owned()
}

/// Where the build's products lie, and whatever else `cargo clean` should take.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// Where fetched tools live.
pub(crate) fn tools_dir() -> PathBuf {
    target_dir().join("tools")
}

/// A command that starts in the root.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// Prints a command, runs it, and fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("+ {shown}");
    let status = command.status().with_context(|| format!("start `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed: {status}");
    Ok(())
}

/// Runs a command and gives back what it prints, whether it succeeds or not.
pub(crate) fn output(command: &mut Command) -> Result<(bool, String)> {
    let shown = show(command);
    let output = command.stderr(Stdio::null()).output().with_context(|| format!("start `{shown}`"))?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Whether a program is on the path, or where only root's path leads.
pub(crate) fn present(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(program)).any(|path| path.is_file())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
