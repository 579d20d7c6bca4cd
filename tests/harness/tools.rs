//! Programs that the tests start and that no one here wrote: `cargo xtask tools` brings them.

use std::io::Write;
use std::path::PathBuf;

/// Where one of them is. Without it a test is skipped, unless somebody said where the tools are: then it fails.
pub fn tool(path: &str) -> Option<PathBuf> {
    let named = std::env::var_os("GRAPEVINE_TOOLS");
    let root = named.clone().map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tools")),
        PathBuf::from,
    );
    let found = root.join(path);
    if found.exists() {
        return Some(found);
    }
    assert!(named.is_none(), "GRAPEVINE_TOOLS has no `{path}`; run `cargo xtask tools`");
    skipped(&format!("there is no `{path}`; run `cargo xtask tools`"));
    None
}

/// Says that a test proves nothing here, and why: past the capture of passing tests' output.
pub fn skipped(why: &str) {
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    // Whoever closed standard error does not want to know.
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {why}");
}
