//! A cluster of nodes on this machine: each on an address of its own within 127.0.0.0/8, so that no two tests meet and
//! a node comes back to where it was.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU8, Ordering};

use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::node::{GRAPEVINE, Node, Serve};
use super::until;

/// Tells the clusters of one process apart.
static CLUSTERS: AtomicU8 = AtomicU8::new(1);

/// The place of a cluster: data directories, a shared chunk store, addresses.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    net: String,
    token: String,
}

/// Runs a command of the binary's to its end.
pub fn grapevine(arguments: &[&str]) -> Output {
    Command::new(GRAPEVINE).args(arguments).output().unwrap()
}

/// What a command that must succeed printed.
pub fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap().trim_end().to_owned()
}

impl Site {
    /// Makes a cluster, whose first node is number 1.
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let (pid, number) = (std::process::id(), CLUSTERS.fetch_add(1, Ordering::Relaxed));
        // 127.0 is left to others.
        let net = format!("127.{}.{number}", 1 + pid % 254);
        let mut site = Site { dir, net, token: String::new() };
        site.token = printed(&site.command("init", 1));
        site
    }

    /// `grapevine cluster …` for a node.
    pub fn command(&self, command: &str, number: u8) -> Output {
        let (dir, listen) = (self.data_dir(number), self.address(number));
        grapevine(&["cluster", command, "--data-dir", dir.to_str().unwrap(), "--peer-listen", &listen])
    }

    /// What others need to join.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where a node keeps its things.
    pub fn data_dir(&self, number: u8) -> PathBuf {
        self.dir.path().join(format!("node-{number}"))
    }

    /// Where a node meets its peers.
    pub fn address(&self, number: u8) -> String {
        format!("{}.{number}:3101", self.net)
    }

    /// A node that knows its cluster already.
    pub fn serve(&self, number: u8) -> Serve {
        let store = self.dir.path().join("packs");
        Serve::on(&self.data_dir(number))
            .with(format!("--peer-listen={}", self.address(number)))
            .with(format!("--chunk-store=file://{}", store.display()))
    }

    /// A node that is new to it.
    pub fn joining(&self, number: u8) -> Serve {
        self.serve(number).variable("GRAPEVINE_CLUSTER_JOIN", &self.token)
    }

    /// Three nodes that have found each other.
    pub fn three(&self) -> [Node; 3] {
        let nodes = [self.serve(1), self.joining(2), self.joining(3)].map(|serve| serve.start_listening());
        agreed(&nodes);
        nodes
    }
}

/// What a node says of the ring.
pub fn ring(client: &Client) -> Value {
    client.get("/ring").expect(200).json()
}

/// Waits until all nodes see each other active and live, and the same ring; gives back its hash.
pub fn agreed(nodes: &[Node]) -> String {
    agreed_among(&nodes.iter().map(Node::client).collect::<Vec<_>>())
}

/// The same of nodes that are asked by these.
pub fn agreed_among(nodes: &[&Client]) -> String {
    until("one ring", || {
        let rings: Vec<Value> = nodes.iter().map(|node| ring(node)).collect();
        let hash = rings[0]["ring_hash"].as_str().unwrap().to_owned();
        let good = |member: &Value| {
            member["state"] == "active" && member["live"] == true && !member["load"].is_null()
        };
        let same = |ring: &Value| {
            // Who has left is still told of for a while.
            let members: Vec<&Value> = ring["members"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|member| member["state"] != "left")
                .collect();
            members.len() == nodes.len()
                && members.iter().all(|member| good(member))
                && ring["ring_hash"] == hash.as_str()
                && ring["disagreements"] == serde_json::json!([])
        };
        rings.iter().all(same).then_some(hash)
    })
}
