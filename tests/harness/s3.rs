//! A real S3 server, `s3s-fs`, which can be taken away and brought back on the same port.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::node::Serve;
use super::tools::tool;
use super::until;

const KEY: &str = "GRAPEVINETEST";
const SECRET: &str = "a secret of tests alone";
const BUCKET: &str = "logs";

/// The server. Its bucket outlives outages.
#[derive(Debug)]
pub struct S3 {
    program: PathBuf,
    root: TempDir,
    host: String,
    port: u16,
    process: Option<Child>,
}

impl S3 {
    /// Starts it with an empty bucket; none where there is no such program.
    pub fn start() -> Option<Self> {
        Self::start_on("127.0.0.1")
    }

    /// The same on another address of where the calling thread is.
    pub fn start_on(host: &str) -> Option<Self> {
        let program = tool("bin/s3s-fs")?;
        let root = TempDir::new().unwrap();
        std::fs::create_dir(root.path().join(BUCKET)).unwrap();
        // The port is free now; nobody else on this machine is told of it.
        let port = TcpListener::bind((host, 0)).unwrap().local_addr().unwrap().port();
        let mut server = S3 { program, root, host: host.to_owned(), port, process: None };
        server.bring_back();
        Some(server)
    }

    /// Ends an outage.
    pub fn bring_back(&mut self) {
        let port = self.port.to_string();
        let arguments = ["--host", &self.host, "--port", &port, "--access-key", KEY, "--secret-key", SECRET];
        let mut command = Command::new(&self.program);
        command.args(arguments).arg(self.root.path()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        until("the S3 server", || TcpStream::connect((&*self.host, self.port)).ok());
    }

    /// Begins an outage: `kill -9`.
    pub fn take_away(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// A node that keeps its packs here.
    pub fn store_of(&self, serve: Serve) -> Serve {
        self.store_with_secret(serve, SECRET)
    }

    /// The same with a secret of one's own.
    pub fn store_with_secret(&self, serve: Serve, secret: &str) -> Serve {
        serve
            .with(format!("--chunk-store=s3://{BUCKET}/packs"))
            .set("s3.endpoint", &format!("http://{}:{}", self.host, self.port))
            .set("s3.allow_http", "true")
            .variable("AWS_ACCESS_KEY_ID", KEY)
            .variable("AWS_SECRET_ACCESS_KEY", secret)
    }

    /// The bucket's folder.
    pub fn bucket(&self) -> PathBuf {
        self.root.path().join(BUCKET)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.take_away();
    }
}
