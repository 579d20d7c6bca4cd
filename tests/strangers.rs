//! Whoever has no business with a member's port: noise, and a certificate of another cluster. It is refused and counted,
//! and nothing grows.

use std::net::UdpSocket;

use crate::harness::Random;
use crate::harness::client::Client;
use crate::harness::cluster::{Site, ring};
use crate::harness::node::Node;
use crate::harness::until;

/// Datagrams of noise.
const DATAGRAMS: u64 = 20_000;
/// What resident memory may swing by meanwhile, bytes.
const SWING_BYTES: u64 = 16 << 20;

fn events(node: &Client, event: &str) -> u64 {
    let metrics = node.get("/metrics").expect(200).text();
    let label = format!("event=\"{event}\"");
    let line =
        metrics.lines().find(|line| line.starts_with("grapevine_peer_events") && line.contains(&label));
    line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap()
}

fn files_open(node: &Node) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

#[test]
fn noise_and_strangers_are_counted_and_nothing_grows() {
    let (site, other) = (Site::new(), Site::new());
    let member = site.serve(1).start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut random = Random(7);
    let mut noise = |count: u64| {
        for _ in 0..count {
            let length = 1 + random.below(1400) as usize;
            let mut bytes: Vec<u8> = (0..length).map(|_| random.draw() as u8).collect();
            // Half of it looks like the beginning of a connection.
            if random.below(2) == 0 {
                bytes.resize(1200, 0);
                bytes[..6].copy_from_slice(&[0xC3, 0, 0, 0, 1, 8]);
            }
            // A full queue drops it, as networks do.
            let _ = socket.send_to(&bytes, site.address(1));
        }
    };
    noise(DATAGRAMS / 4);
    until("an answer", || (member.get("/ready").status == 200).then_some(()));
    let ((before, _), files, failed) =
        (member.memory(), files_open(&member), events(&member, "handshake_failed"));
    noise(DATAGRAMS);
    let (key, _) = other.token().split_once('@').unwrap();
    let stranger = site
        .serve(2)
        .variable("GRAPEVINE_CLUSTER_JOIN", &format!("{key}@{}", site.address(1)))
        .listing("no member of the cluster can be reached")
        .start_listening();
    until("a refused certificate", || (events(&member, "handshake_failed") > failed).then_some(()));
    drop(stranger);
    let (after, _) = member.memory();
    assert!(after < before + SWING_BYTES, "{before} bytes in memory became {after}");
    assert!(files_open(&member) <= files + 2, "{files} open files became {}", files_open(&member));
    assert_eq!(ring(&member)["members"].as_array().unwrap().len(), 1);
}
