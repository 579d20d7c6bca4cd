//! A network of machines that are not there: namespaces of Linux, each with an interface of its own to one bridge, and
//! `nft` in each to drop what a broken line would. Takes root, `ip` and `nft`; delay is left to the simulation.
//!
//! Addresses of `10.77.0.0/24` exist inside these namespaces only. A namespace's name carries the process that made it,
//! so that what a killed run left behind is found and removed by the next.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// Tells the networks of one process apart.
static NETS: AtomicU32 = AtomicU32::new(0);
/// What the names of namespaces begin with.
const PREFIX: &str = "grapevine-test-";
/// The address of what is no node: servers that the nodes use.
pub const HUB: &str = "10.77.0.254";

/// A network namespace, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(String);

/// A thread's stay in a namespace. Sockets it opens and processes it starts belong there; dropping it goes back.
#[derive(Debug)]
pub struct Stay(File);

/// What becomes of datagrams that one node sends to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// None arrives.
    Cut,
    /// So many of a hundred are lost, by chance.
    Lossy(u8),
}

/// Machines from 1 on, and a bridge between them.
#[derive(Debug)]
pub struct Net {
    hub: Namespace,
    nodes: Vec<Namespace>,
    /// Lines that are not whole, as (from, to).
    lines: Mutex<BTreeMap<(usize, usize), Line>>,
}

impl Namespace {
    /// Takes the calling thread there.
    pub fn enter(&self) -> Stay {
        let home = File::open("/proc/thread-self/ns/net").unwrap();
        let there = File::open(PathBuf::from("/run/netns").join(&self.0)).unwrap();
        go(&there);
        Stay(home)
    }

    fn add(name: String) -> Self {
        must(Command::new("ip").args(["netns", "add", &name]));
        let namespace = Namespace(name);
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    /// `ip …` inside.
    fn ip(&self, arguments: &[&str]) {
        must(Command::new("ip").args(["-n", &self.0]).args(arguments));
    }

    /// Ends what still runs inside, and takes it away.
    fn remove(&self) {
        let inside = Command::new("ip").args(["netns", "pids", &self.0]).output();
        let inside = inside.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for pid in inside.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()) {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

fn go(namespace: &File) {
    // SAFETY: changes which network this thread's next sockets belong to, and no memory.
    let done = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(done, 0, "cannot enter a network namespace: {}", std::io::Error::last_os_error());
}

impl Drop for Stay {
    fn drop(&mut self) {
        go(&self.0);
    }
}

impl Net {
    /// Builds so many machines.
    ///
    /// # Panics
    /// Where this is not permitted: a test that proved nothing would look like one that passed.
    pub fn new(nodes: usize) -> Self {
        remove_stale();
        let number = NETS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}", std::process::id());
        let hub = Namespace::add(format!("{prefix}-hub"));
        let mut net = Net { hub, nodes: Vec::new(), lines: Mutex::default() };
        net.hub.ip(&["link", "add", "bridge", "type", "bridge"]);
        net.hub.ip(&["address", "add", &format!("{HUB}/24"), "dev", "bridge"]);
        net.hub.ip(&["link", "set", "bridge", "up"]);
        for node in 1..=nodes {
            let namespace = Namespace::add(format!("{prefix}-{node}"));
            let (port, inside) = (format!("node{node}"), &namespace.0);
            net.hub.ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", inside]);
            net.hub.ip(&["link", "set", &port, "master", "bridge", "up"]);
            namespace.ip(&["address", "add", &format!("{}/24", address(node)), "dev", "eth0"]);
            namespace.ip(&["link", "set", "eth0", "up"]);
            net.nodes.push(namespace);
        }
        net
    }

    /// Where servers live that all nodes use.
    pub fn hub(&self) -> &Namespace {
        &self.hub
    }

    /// Where a node lives.
    pub fn node(&self, node: usize) -> &Namespace {
        &self.nodes[node - 1]
    }

    /// Spoils the line from one node to another, in this direction only.
    pub fn spoil(&self, from: usize, to: usize, line: Line) {
        self.lines.lock().unwrap().insert((from, to), line);
        self.apply(to);
    }

    /// Cuts all lines between some nodes and all others, in both directions.
    pub fn part(&self, some: &[usize]) {
        for here in some {
            for there in (1..=self.nodes.len()).filter(|node| !some.contains(node)) {
                self.spoil(*here, there, Line::Cut);
                self.spoil(there, *here, Line::Cut);
            }
        }
    }

    /// Mends all lines.
    pub fn heal(&self) {
        self.lines.lock().unwrap().clear();
        (1..=self.nodes.len()).for_each(|node| self.apply(node));
    }

    /// Makes a node deaf to what its lines lose, all at once.
    fn apply(&self, to: usize) {
        let rule = |((from, _), line): (&(usize, usize), &Line)| {
            let lost = match line {
                Line::Cut => String::new(),
                Line::Lossy(percent) => format!("numgen random mod 100 < {percent} "),
            };
            format!("ip saddr {} meta l4proto udp {lost}drop\n", address(*from))
        };
        let rules: String =
            self.lines.lock().unwrap().iter().filter(|((_, end), _)| *end == to).map(rule).collect();
        let table = format!(
            "add table ip lines\ndelete table ip lines\ntable ip lines {{\nchain input {{\n\
             type filter hook input priority 0\n{rules}}}\n}}\n"
        );
        let _inside = self.node(to).enter();
        let mut nft = Command::new("nft");
        nft.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let nft = nft.spawn();
        let mut nft = nft.unwrap_or_else(|error| panic!("`nft`: {error}; run `cargo xtask tools`"));
        nft.stdin.take().unwrap().write_all(table.as_bytes()).unwrap();
        succeeded("nft", &nft.wait_with_output().unwrap());
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.nodes.iter().chain([&self.hub]).for_each(Namespace::remove);
    }
}

/// A node's address.
pub fn address(node: usize) -> String {
    format!("10.77.0.{node}")
}

/// Removes what runs left behind that are no more.
fn remove_stale() {
    let Ok(names) = std::fs::read_dir("/run/netns") else { return };
    for name in names.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|pid| !PathBuf::from("/proc").join(pid).exists()) {
            Namespace(name).remove();
        }
    }
}

fn must(command: &mut Command) {
    let what = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{what}: {error}; run `cargo xtask tools`"));
    succeeded(&what, &output);
}

fn succeeded(what: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{what}: {said}these tests build networks, which takes root and network namespaces"
    );
}
