//! A real browser, and what it shows of a page.

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

use super::tools::{skipped, tool};

/// Where Debian's package has it.
const CHROMIUM: &str = "/usr/bin/chromium";

/// What a reader of a page sees.
#[derive(Debug, Deserialize)]
#[allow(dead_code, reason = "no test reads all of it")]
pub struct Seen {
    /// The title of its tab.
    pub title: String,
    /// All text that is shown.
    pub text: String,
    /// Headings that are shown.
    pub headings: Vec<String>,
    /// Rows of tables that are shown.
    pub rows: usize,
    /// What is drawn, ...
    pub shapes: usize,
    /// ... and how much of it says what it is, when one points at it.
    pub explained: usize,
    /// Text in drawings that is cut off or covered.
    pub cut: Vec<String>,
    /// Whether the page must be moved sideways to be read.
    pub overflows: bool,
    /// What the browser complains of.
    pub errors: Vec<String>,
    /// What it asked for: the page, and what the page needs.
    pub requests: Vec<String>,
}

/// Opens a page, so many pixels wide. None where there is no browser.
pub fn look_at(url: &str, width: u32) -> Option<Seen> {
    let modules = tool("node/node_modules/playwright-core")?;
    if !Path::new(CHROMIUM).exists() {
        assert!(
            std::env::var_os("GRAPEVINE_TOOLS").is_none(),
            "there is no {CHROMIUM}; run `cargo xtask tools`"
        );
        skipped(&format!("there is no {CHROMIUM}; run `cargo xtask tools`"));
        return None;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/browser/look.cjs");
    let mut command = Command::new("node");
    command.args([script, url, &width.to_string()]);
    command.env("NODE_PATH", modules.parent().unwrap()).env("CHROMIUM", CHROMIUM);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    let seen: Seen = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(seen.errors, [""; 0], "{url}");
    Some(seen)
}
