//! The README's commands, run as they stand there. Every fenced block says in a comment before it what becomes of
//! it: `run`; `config`: the node takes it; `syntax: KIND -- REASON`: it is only parsed; `not run: REASON`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

const GRAPEVINE: &str = env!("CARGO_BIN_EXE_grapevine");
/// Where the README says that the node listens.
const ADDRESS: &str = "127.0.0.1:3100";

/// A fenced block, and the comment that stands before it.
struct Block {
    mark: String,
    language: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn blocks() -> Vec<Block> {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut lines = readme.lines();
    let (mut blocks, mut mark) = (Vec::new(), String::new());
    while let Some(line) = lines.next() {
        if let Some(comment) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            mark = comment.to_owned();
        } else if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let mark = std::mem::take(&mut mark);
            blocks.push(Block { mark, language: language.to_owned(), text: text.join("\n") + "\n" });
        }
    }
    blocks
}

/// A node that ends with the test.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path) -> (Node, String) {
    use std::io::{BufRead, BufReader};
    let mut command = Command::new(GRAPEVINE);
    command.args(["serve", "--data-dir=data", "--http-listen=127.0.0.1:0"]).current_dir(folder);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    let node = Node(child);
    let (found, address) = std::sync::mpsc::channel();
    // Reads on to the end: a full pipe would stop the node.
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
            if let Some(address) = address {
                let _ = found.send(address.to_owned());
            }
        }
    });
    let address = address.recv().expect("the node says where it listens before it ends");
    (node, address)
}

fn shell(arguments: &[&str], text: &str, folder: &Path, address: &str) -> String {
    let bin = Path::new(GRAPEVINE).parent().unwrap().display().to_string();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail"]).args(arguments).arg("-c").arg(text.replace(ADDRESS, address));
    command.env("PATH", path).env("GRAPEVINE_ADDR", format!("http://{address}")).current_dir(folder);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{complaints}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_block_of_the_readme_says_what_becomes_of_it() {
    for block in blocks() {
        let (mark, language) = (block.mark.as_str(), block.language.as_str());
        let reason = mark.strip_prefix("not run: ").or_else(|| mark.split_once(" -- ").map(|(_, why)| why));
        let plain = ["run", "config"].contains(&mark);
        assert!(plain || reason.is_some_and(|why| why.len() > 5), "`{mark}`:\n{}", block.text);
        assert!(!language.is_empty(), "name the language of:\n{}", block.text);
    }
}

#[test]
fn the_readmes_commands_do_what_it_says() {
    let dir = TempDir::new().unwrap();
    let (_node, address) = start(dir.path());
    let mut printed = String::new();
    for block in blocks() {
        match block.mark.split(" -- ").next().unwrap() {
            "run" => printed += &shell(&[], &block.text, dir.path(), &address),
            "syntax: sh" => drop(shell(&["-n"], &block.text, dir.path(), &address)),
            "syntax: toml" => drop(block.text.parse::<toml::Table>().expect(&block.text)),
            "config" => drop(grapevine::config::Config::load(&block.text, [], []).expect(&block.text)),
            _ => assert!(block.mark.starts_with("not run: "), "unknown mark `{}`", block.mark),
        }
    }
    for found in [
        "lost the database",
        "started\nlost the database\nfound it",
        "GET /cart 502",
        "ready",
        "max_line_size",
    ] {
        assert!(printed.contains(found), "`{found}` is missing:\n{printed}");
    }
    assert!(printed.matches("lost the database").count() >= 3, "the packs hold it too:\n{printed}");
}

#[test]
fn the_readme_and_the_program_agree_on_exit_codes() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for line in grapevine::cli::exit::HELP.lines().skip(1) {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(readme.contains(&format!("| {code} | {meaning} |")), "{line}");
    }
}
