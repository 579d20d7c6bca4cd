//! A real S3 server for the packs: `s3s-fs`, which `cargo xtask tools` brings.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::run::tools_dir;

const KEY: &str = "GRAPEVINEBENCH";
const SECRET: &str = "a secret of benchmarks alone";
const BUCKET: &str = "logs";

/// The server, until it is dropped.
pub(crate) struct Store {
    process: Child,
    folder: PathBuf,
    port: u16,
}

impl Store {
    /// Starts it over a fresh folder.
    pub(crate) fn start(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(folder.join(BUCKET))?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let program = tools_dir().join("bin/s3s-fs");
        let mut command = Command::new(&program);
        command.args(["--host=127.0.0.1", "--port", &port.to_string()]);
        command.args(["--access-key", KEY, "--secret-key", SECRET]).arg(&folder);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process
            .with_context(|| format!("start `{}`; `cargo xtask tools` brings it", program.display()))?;
        Ok(Store { process, folder, port })
    }

    /// What tells a node to keep its packs here.
    pub(crate) fn arguments(&self) -> Vec<String> {
        [
            format!("--chunk-store=s3://{BUCKET}/packs"),
            format!("--set=s3.endpoint=http://127.0.0.1:{}", self.port),
            "--set=s3.allow_http=true".to_owned(),
            format!("--set=s3.access_key_id={KEY}"),
            format!("--set=s3.secret_access_key={SECRET}"),
        ]
        .to_vec()
    }

    /// Where the bucket's files lie.
    pub(crate) fn folder(&self) -> &PathBuf {
        &self.folder
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
