//! A node as users run it: `grapevine serve` on a free port, in a directory of its own.

use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use super::client::{Client, LIMIT};
use super::log::{Log, is_trouble};
use super::net::Namespace;
use super::until;

/// The binary under test.
pub const GRAPEVINE: &str = env!("CARGO_BIN_EXE_grapevine");

/// How to start a node.
#[derive(Clone, Debug)]
pub struct Serve {
    dir: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    listed: Vec<String>,
    place: Option<Namespace>,
}

/// A node that runs. Dropping it kills it and complains of every line of trouble that was not listed.
#[derive(Debug)]
pub struct Node {
    child: Child,
    client: Client,
    log: Log,
    listed: Vec<String>,
}

/// A node that did not start.
#[derive(Debug)]
pub struct Refusal {
    pub status: ExitStatus,
    pub log: String,
}

impl Serve {
    /// On a data directory. Answers hold all lines at once, and a stream's lines are not told apart by level.
    pub fn on(dir: &Path) -> Self {
        let (arguments, variables, listed, place) = Default::default();
        Serve { dir: dir.to_owned(), arguments, variables, listed, place }
            .set("limits.max_entries_limit_per_query", &LIMIT.to_string())
            .set("limits.discover_log_levels", "false")
    }

    /// With an argument.
    pub fn with(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// With a key of the configuration.
    pub fn set(self, key: &str, value: &str) -> Self {
        self.with(format!("--set={key}={value}"))
    }

    /// With a variable.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lists lines of trouble that are expected: those that contain this.
    pub fn listing(mut self, text: &str) -> Self {
        self.listed.push(text.to_owned());
        self
    }

    /// On a machine of its own: there the port is Loki's.
    pub fn within(mut self, place: Namespace) -> Self {
        self.place = Some(place);
        self
    }

    fn spawn(&self) -> Child {
        let _there = self.place.as_ref().map(Namespace::enter);
        let mut command = Command::new(GRAPEVINE);
        let port = if self.place.is_some() { 3100 } else { 0 };
        command.arg("serve").arg("--data-dir").arg(&self.dir).arg(format!("--http-listen=127.0.0.1:{port}"));
        command.args(&self.arguments).envs(self.variables.iter().cloned());
        // No key of whoever runs the tests reaches the node.
        for name in ["GRAPEVINE_CONFIG", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"] {
            if !self.variables.iter().any(|(variable, _)| variable == name) {
                command.env_remove(name);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Starts it and waits until it is ready.
    pub fn start(&self) -> Node {
        let node = self.start_listening();
        until("readiness", || node.get("/ready").status.eq(&200).then_some(()));
        node
    }

    /// Starts it and waits until it listens.
    pub fn start_listening(&self) -> Node {
        let mut child = self.spawn();
        let log = Log::read(child.stderr.take().unwrap());
        let Some(line) = log.line_with("grapevine listens") else {
            panic!("the node did not start:\n{}", log.whole().join("\n"));
        };
        let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let client = Client::new(address.unwrap());
        let client = match &self.place {
            Some(place) => client.within(place.clone()),
            None => client,
        };
        Node { child, client, log, listed: self.listed.clone() }
    }

    /// Starts it, and expects it to end by itself.
    pub fn refusal(&self) -> Refusal {
        let mut child = self.spawn();
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        Refusal { status: child.wait().unwrap(), log }
    }
}

impl Node {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Who asks it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub fn stop(self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.end()
    }

    /// SIGTERM, and no wait.
    pub fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Waits until it says something in its log.
    pub fn says(&self, text: &str) {
        assert!(self.log.line_with(text).is_some(), "it never said `{text}`");
    }

    /// SIGTERM, the wait for its end, and all that it ever said.
    pub fn last_words(self) -> String {
        let log = self.log.clone();
        self.stop();
        log.whole().join("\n")
    }

    /// Waits until it ends by itself.
    pub fn end(mut self) -> ExitStatus {
        until("the end of the process", || self.child.try_wait().unwrap())
    }

    /// SIGSTOP: it is there, and does nothing.
    pub fn pause(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Resident memory now, and the most it has been, bytes.
    pub fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

/// A node is asked as its client is.
impl Deref for Node {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let lines = self.log.whole();
        if std::thread::panicking() {
            eprintln!("--- the node said:\n{}", lines.join("\n"));
            return;
        }
        let listed = |line: &&String| self.listed.iter().any(|text| line.contains(text.as_str()));
        let trouble: Vec<&String> = lines.iter().filter(|line| is_trouble(line) && !listed(line)).collect();
        assert!(trouble.is_empty(), "the node complained of what no one expected: {trouble:#?}");
    }
}
