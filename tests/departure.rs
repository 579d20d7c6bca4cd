//! How a member goes that is told to stop: it hands over and leaves, and tells systemd how far it is; told twice it goes at
//! once, and loses nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;

use tempfile::TempDir;

use crate::harness::cluster::{Site, agreed, grapevine, ring};
use crate::harness::node::{Node, Serve};
use crate::harness::push::Form;
use crate::harness::until;
use crate::harness::workload::{END, START, Workload};

const WORKLOAD: Workload = Workload { seed: 71 };
const LINES: u64 = 50;

/// What systemd would hear.
struct Systemd {
    dir: TempDir,
    socket: UnixDatagram,
}

impl Systemd {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Systemd { dir, socket }
    }

    fn over(&self, serve: Serve) -> Serve {
        serve.variable("NOTIFY_SOCKET", self.dir.path().join("notify").to_str().unwrap())
    }

    /// Waits for a message that contains this.
    fn hears(&self, text: &str) -> String {
        let mut message = [0; 512];
        until(text, || {
            let bytes = self.socket.recv(&mut message).ok()?;
            let said = String::from_utf8_lossy(&message[..bytes]).into_owned();
            said.contains(text).then_some(said)
        })
    }
}

fn check(node: &Node) {
    let query = crate::harness::client::forward(r#"{stream="0"}"#, START, END);
    let lines = until("a complete answer", || {
        let lines = node.lines(&query);
        lines.warnings.is_empty().then_some(lines)
    });
    WORKLOAD.check(0, &lines.all(), 0, LINES, LINES);
}

/// A third member that hands over when it is told to stop, on which some lines were pushed.
fn three(site: &Site, systemd: &Systemd) -> [Node; 3] {
    let leaver = systemd.over(site.joining(3).set("cluster.on_stop", "leave"));
    let leaver = leaver.listing("leaving is cut short").listing("a reader failed");
    let nodes = [site.serve(1), site.joining(2), leaver].map(|serve| serve.start_listening());
    agreed(&nodes);
    systemd.hears("READY=1");
    nodes[2].push(Form::Protobuf, &[WORKLOAD.push(0, 0..LINES)]);
    nodes
}

#[test]
fn a_member_that_is_to_leave_when_stopped_hands_over_and_asks_systemd_for_time() {
    let (site, systemd) = (Site::new(), Systemd::new());
    let [one, two, three] = three(&site, &systemd);
    let status = three.stop();
    assert_eq!(status.code(), Some(0));
    let said = systemd.hears("STATUS=leaves the cluster");
    assert!(said.starts_with("EXTEND_TIMEOUT_USEC=30000000\n"), "{said}");
    let said = systemd.hears("STOPPING=1");
    assert!(said.contains("\nEXTEND_TIMEOUT_USEC="), "packing may take a minute: {said}");
    agreed(&[one, two]);
}

#[test]
fn the_command_to_leave_comes_back_when_the_node_has_handed_over_and_gone() {
    let site = Site::new();
    let [one, two] = [site.serve(1), site.joining(2)].map(|serve| serve.start_listening());
    let nodes = [one, two];
    agreed(&nodes);
    let [one, two] = nodes;
    two.push(Form::Protobuf, &[WORKLOAD.push(0, 0..LINES)]);
    let said = grapevine(&["leave", "--addr", &two.url()]);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    assert!(String::from_utf8_lossy(&said.stderr).contains("handing over"));
    assert_eq!(two.end().code(), Some(0));
    agreed(std::slice::from_ref(&one));
    check(&one);
}

#[test]
fn a_member_that_is_told_twice_to_stop_goes_at_once_and_its_log_keeps_what_is_left() {
    let (site, systemd) = (Site::new(), Systemd::new());
    let [one, two, three] = three(&site, &systemd);
    // As long as another does not say that it has learnt all, nobody leaves.
    two.pause();
    three.terminate();
    systemd.hears("to hand over");
    three.terminate();
    three.says("leaving is cut short");
    assert_eq!(three.end().code(), Some(0));
    two.resume();
    let three = systemd.over(site.serve(3)).start_listening();
    let nodes = [one, two, three];
    agreed(&nodes);
    assert_eq!(ring(&nodes[0])["members"].as_array().unwrap().len(), 3);
    nodes.iter().for_each(check);
}

#[test]
fn a_lone_node_that_is_told_twice_to_stop_leaves_its_requests_and_loses_no_line() {
    let dir = TempDir::new().unwrap();
    let systemd = Systemd::new();
    let node = systemd.over(Serve::on(dir.path()).listing("told to stop once more")).start();
    node.push(Form::Protobuf, &[WORKLOAD.push(0, 0..LINES)]);
    // A request whose body is awaited.
    let mut slow = TcpStream::connect(node.url().trim_start_matches("http://")).unwrap();
    let head =
        "POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 12];
    slow.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100");
    node.terminate();
    systemd.hears("STOPPING=1");
    node.terminate();
    node.says("told to stop once more");
    assert_eq!(node.end().code(), Some(0));
    drop(slow);
    let node = Serve::on(dir.path()).start();
    assert_eq!(node.metric("loki_ingester_memory_streams"), 1.0, "nothing was packed: the log has it");
    check(&node);
}
