//! A node in a process of its own, on a free port and in a directory that goes with it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A node of its own, with tenants from the header.
pub struct Node {
    process: Child,
    /// Where it listens: host and port.
    pub address: String,
    _dir: TempDir,
}

impl Node {
    /// Starts one with these keys of its configuration, as in `--set`.
    pub fn start(keys: &[&str]) -> Node {
        let dir = TempDir::new().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_grapevine"));
        command.args(["serve", "--http-listen", "127.0.0.1:0", "--tenancy", "header"]);
        command.arg("--data-dir").arg(dir.path()).args(keys.iter().flat_map(|key| ["--set", key]));
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = log.find_map(|line| {
            let (_, rest) = line.split_once("grapevine listens address=")?;
            rest.split_whitespace().next().map(str::to_owned)
        });
        // The pipe is read to its end, or the node would stop where it is full.
        std::thread::spawn(move || log.for_each(drop));
        Node { process, address: address.expect("the node says where it listens"), _dir: dir }
    }

    /// The port it listens on.
    pub fn port(&self) -> &str {
        self.address.rsplit(':').next().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
