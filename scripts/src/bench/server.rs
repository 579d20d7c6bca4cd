//! The server under test: its process, what it has used, and HTTP to it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Client;

/// Ticks of `/proc/PID/stat` in a second: fixed by Linux's user interface.
const TICKS_PER_S: f64 = 100.0;
/// How often the server is asked whether it is ready, and how long it may take.
const READY_POLL_MS: u64 = 50;
const READY_POLLS_MAX: u32 = 600;

/// Where a Loki-compatible server listens. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Target {
    url: String,
    client: Client,
}

/// A Loki-compatible server.
pub(crate) struct Server {
    pub(crate) target: Target,
    /// The process whose time and memory count.
    pid: Option<u32>,
    /// Ours to stop, if we started it.
    child: Option<Child>,
    /// What it stores, if we know where.
    pub(crate) data_dir: Option<PathBuf>,
    /// How it is started, if we do that.
    command: Option<Launch>,
}

/// How our own server is started.
struct Launch {
    binary: String,
    arguments: Vec<String>,
    log: PathBuf,
}

impl Server {
    /// Starts the release binary on a fresh directory.
    pub(crate) async fn start(binary: &str, data_dir: PathBuf, extra: &[String]) -> Result<Self> {
        std::fs::create_dir_all(&data_dir)?;
        let mut arguments = vec![format!("--data-dir={}", data_dir.display())];
        arguments.extend_from_slice(extra);
        let launch = Launch { binary: binary.to_owned(), arguments, log: data_dir.with_extension("log") };
        let target = Target { url: String::new(), client: Client::new() };
        let (pid, child) = (None, None);
        let mut server = Server { target, pid, child, data_dir: Some(data_dir), command: Some(launch) };
        server.launch().await?;
        Ok(server)
    }

    /// Starts it, again perhaps, on a free port.
    pub(crate) async fn launch(&mut self) -> Result<()> {
        let launch = self.command.as_ref().context("a server that is not ours cannot be started")?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let listen = format!("127.0.0.1:{port}");
        let mut command = Command::new(&launch.binary);
        command.args(["serve", "--http-listen", &listen]).args(&launch.arguments);
        let log = std::fs::File::options().create(true).append(true).open(&launch.log)?;
        let child = command
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start `{}`; `cargo build --release` makes it", launch.binary))?;
        self.pid = Some(child.id());
        self.child = Some(child);
        self.target.url = format!("http://{listen}");
        self.target.wait_ready().await
    }

    /// Ends it as an operator does, and waits until it is gone.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let mut child = self.child.take().context("a server that is not ours cannot be stopped")?;
        rustix::process::kill_process(
            rustix::process::Pid::from_child(&child),
            rustix::process::Signal::TERM,
        )?;
        child.wait()?;
        Ok(())
    }

    /// A server that runs already; its process is found by `pid`, if given.
    pub(crate) fn attach(url: &str, pid: Option<u32>) -> Self {
        let url = url.trim_end_matches('/').to_owned();
        Server {
            target: Target { url, client: Client::new() },
            pid,
            child: None,
            data_dir: None,
            command: None,
        }
    }

    /// CPU seconds that the process has used, user and system.
    pub(crate) fn cpu_s(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid?)).ok()?;
        // The name in parentheses may hold spaces: fields are counted from its end.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |n: usize| fields.get(n)?.parse::<f64>().ok();
        Some((ticks(11)? + ticks(12)?) / TICKS_PER_S)
    }

    /// The most memory it has had resident, MiB.
    pub(crate) fn peak_rss_mib(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
        Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
    }
}

impl Target {
    async fn wait_ready(&self) -> Result<()> {
        for _ in 0..READY_POLLS_MAX {
            let answer = self.client.get(format!("{}/ready", self.url)).send().await;
            if answer.is_ok_and(|a| a.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(READY_POLL_MS)).await;
        }
        bail!("the server at `{}` does not become ready", self.url)
    }

    /// Pushes one body.
    pub(crate) async fn push(&self, body: Vec<u8>) -> Result<()> {
        let request = self.client.post(format!("{}/loki/api/v1/push", self.url));
        let answer = request.header("content-type", "application/x-protobuf").body(body).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "push: {status}: {}", answer.text().await.unwrap_or_default());
        Ok(())
    }

    /// Pushes streams written as JSON.
    pub(crate) async fn push_json(&self, body: String) -> Result<()> {
        let request = self.client.post(format!("{}/loki/api/v1/push", self.url));
        let answer = request.header("content-type", "application/json").body(body).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "push: {status}: {}", answer.text().await.unwrap_or_default());
        Ok(())
    }

    /// Ships what is in memory.
    pub(crate) async fn flush(&self) -> Result<()> {
        let answer = self.client.post(format!("{}/flush", self.url)).send().await?;
        ensure!(answer.status().is_success(), "flush: {}", answer.status());
        Ok(())
    }

    /// The value of a metric, labels included in its name.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let text = self.client.get(format!("{}/metrics", self.url)).send().await?.text().await?;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(value.with_context(|| format!("`{}` has no metric `{name}`", self.url))?.parse()?)
    }

    /// Runs a query and gives back its JSON.
    pub(crate) async fn query(&self, parameters: &[(&str, String)]) -> Result<serde_json::Value> {
        self.get("/loki/api/v1/query_range", parameters).await
    }

    /// Asks for JSON.
    pub(crate) async fn get(&self, path: &str, parameters: &[(&str, String)]) -> Result<serde_json::Value> {
        let answer = self.client.get(format!("{}{path}", self.url)).query(parameters).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path} {parameters:?}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself; either way it is gone after this.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
