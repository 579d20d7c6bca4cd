//! A cluster whose nodes each have a machine of their own on a network that can be broken.
//!
//! A node is asked from within its machine, as by a client beside it: what is cut between nodes cuts off no client.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use super::client::Client;
use super::cluster::{agreed_among, grapevine, printed, ring};
use super::http::Request;
use super::net::{HUB, Net, address};
use super::node::{Node, Serve};
use super::s3::S3;
use super::until;

/// Nodes from 1 on.
#[derive(Debug)]
pub struct Fleet {
    // Before what they stand on, so that they end first.
    nodes: Vec<Option<Node>>,
    dir: TempDir,
    store: Option<S3>,
    /// Whether each node has a directory of its own for packs.
    apart: bool,
    net: Net,
    token: String,
    /// What each node is started with beside what it needs.
    more: Vec<fn(Serve) -> Serve>,
    /// With what all are started.
    keys: Vec<(&'static str, &'static str)>,
    /// Of what all may complain.
    listed: Vec<&'static str>,
}

/// What nodes may complain of while others are gone, slow or cut off.
const EXPECTED: [&str; 5] = [
    "a reader failed; the next owners are asked",
    "no member of the cluster can be reached",
    "torn record",
    // What others packed meanwhile.
    "a day was missing from the index; it was rebuilt from its packs",
    "packs that the index did not know were taken in",
];

impl Fleet {
    /// Machines for so many nodes, none of them started, which share a directory for packs.
    pub fn new(machines: usize) -> Self {
        let (net, dir) = (Net::new(machines), TempDir::new().unwrap());
        let nodes = (0..machines).map(|_| None).collect();
        let mut fleet = Fleet {
            nodes,
            dir,
            store: None,
            apart: false,
            net,
            token: String::new(),
            more: vec![|serve| serve; machines],
            keys: Vec::new(),
            listed: Vec::new(),
        };
        fleet.token = fleet.init();
        fleet
    }

    /// So many nodes that have found each other.
    pub fn started(machines: usize) -> Self {
        Self::new(machines).start_all()
    }

    /// Starts every node, and waits until all have found each other.
    pub fn start_all(mut self) -> Self {
        let machines = self.nodes.len();
        (1..=machines).for_each(|node| self.start_listening(node));
        self.agree();
        self
    }

    /// Keeps the packs in a real S3 server on the same network; none where there is no such program.
    pub fn with_s3(mut self) -> Option<Self> {
        let _inside = self.net.hub().enter();
        self.store = Some(S3::start_on(HUB)?);
        drop(_inside);
        Some(self)
    }

    /// Each node keeps its packs itself.
    pub fn with_stores_of_their_own(mut self) -> Self {
        self.apart = true;
        self
    }

    /// Starts a node with something special from now on.
    pub fn with(mut self, node: usize, more: fn(Serve) -> Serve) -> Self {
        self.more[node - 1] = more;
        self
    }

    /// Starts every node with a key of the configuration from now on.
    pub fn set(mut self, key: &'static str, value: &'static str) -> Self {
        self.keys.push((key, value));
        self
    }

    /// Lists lines of trouble that are expected of every node from now on.
    pub fn listing(mut self, text: &'static str) -> Self {
        self.listed.push(text);
        self
    }

    fn data_dir(&self, node: usize) -> String {
        self.dir.path().join(format!("node-{node}")).display().to_string()
    }

    fn serve(&self, node: usize) -> Serve {
        let data = self.data_dir(node);
        let serve = Serve::on(data.as_ref())
            .within(self.net.node(node).clone())
            .with(format!("--peer-listen={}:3101", address(node)))
            .with(format!("--name=n{node}"))
            // Small and short, so that blocks are closed and packs are shipped all the while.
            .set("wal.segment_size", "1MB")
            .set("head.age_max", "4s")
            // How full this machine's disk is, is no fault that is meant here.
            .set("disk.read_only_percent", "100")
            .set("disk.refuse_percent", "99");
        let serve = EXPECTED.iter().chain(&self.listed).fold(serve, |serve, text| serve.listing(text));
        let serve = match &self.store {
            Some(store) => store.store_of(serve),
            None if self.apart => serve,
            None => serve.with(format!("--chunk-store=file://{}", self.packs().display())),
        };
        let serve = self.keys.iter().fold(serve, |serve, (key, value)| serve.set(key, value));
        let is_known = self.dir.path().join(format!("node-{node}/cluster")).exists();
        let serve =
            if is_known { serve } else { serve.variable("GRAPEVINE_CLUSTER_JOIN", &self.token(node)) };
        self.more[node - 1](serve)
    }

    /// What a node needs to join those that run, or the first.
    fn token(&self, node: usize) -> String {
        let others = (1..=self.nodes.len()).filter(|other| *other != node && self.nodes[other - 1].is_some());
        let addresses: Vec<String> = others.map(|other| format!("{}:3101", address(other))).collect();
        match self.token.split_once('@') {
            Some((key, _)) if !addresses.is_empty() => format!("{key}@{}", addresses.join(",")),
            _ => self.token.clone(),
        }
    }

    /// Where packs are, if they are in a directory.
    pub fn packs(&self) -> PathBuf {
        self.dir.path().join("packs")
    }

    /// Where a node keeps its own packs.
    pub fn own_packs(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("node-{node}/packs"))
    }

    /// Takes away all that a node which does not run has on its disk.
    pub fn empty(&self, node: usize) {
        assert!(self.nodes[node - 1].is_none(), "node {node} runs");
        std::fs::remove_dir_all(self.data_dir(node)).unwrap();
    }

    /// Founds the cluster anew on the empty disk of the first node: nobody has its key any more.
    pub fn found_again(&mut self) {
        self.token = self.init();
    }

    /// What `grapevine fsck` says of a node that does not run.
    pub fn fsck(&self, node: usize) -> String {
        let (data, store) = (self.data_dir(node), format!("file://{}", self.packs().display()));
        let said = grapevine(&["fsck", "--data-dir", &data, "--chunk-store", &store]);
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    fn init(&self) -> String {
        let (data, listen) = (self.data_dir(1), format!("{}:3101", address(1)));
        let init = ["cluster", "init", "--data-dir", &data, "--peer-listen", &listen];
        let _inside = self.net.node(1).enter();
        printed(&grapevine(&init))
    }

    /// The network between them.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Who asks a node, whether it runs or not.
    pub fn client(&self, node: usize) -> Client {
        Client::new("127.0.0.1:3100").within(self.net.node(node).clone())
    }

    /// Who asks some nodes.
    pub fn clients(&self, nodes: impl IntoIterator<Item = usize>) -> Vec<Client> {
        nodes.into_iter().map(|node| self.client(node)).collect()
    }

    /// A node that runs.
    pub fn node(&self, node: usize) -> &Node {
        self.nodes[node - 1].as_ref().unwrap()
    }

    /// Starts a node, and waits only until it listens.
    pub fn start_listening(&mut self, node: usize) {
        self.nodes[node - 1] = Some(self.serve(node).start_listening());
    }

    /// Starts a node and waits until it is ready.
    pub fn start(&mut self, node: usize) {
        self.nodes[node - 1] = Some(self.serve(node).start());
    }

    /// `kill -9`.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node - 1].take().unwrap().kill();
    }

    /// SIGTERM, and the wait for its end.
    pub fn stop(&mut self, node: usize) {
        let status = self.nodes[node - 1].take().unwrap().stop();
        assert_eq!(status.code(), Some(0), "node {node}");
    }

    /// Has a node hand over and leave.
    pub fn ask_to_leave(&self, node: usize) {
        self.client(node).send(Request::post("/leave", "")).unwrap();
    }

    /// Waits until a node that was asked to leave has ended and those that stay have noticed.
    pub fn await_leave(&mut self, node: usize) {
        let status = self.nodes[node - 1].take().unwrap().end();
        assert_eq!(status.code(), Some(0), "node {node}");
        let name = format!("n{node}");
        until("its leave", || {
            let stays = |member: &Value| member["name"] == *name && member["state"] != "left";
            let has_it = |node: &&Node| ring(node)["members"].as_array().unwrap().iter().any(stays);
            (!self.running().iter().any(has_it)).then_some(())
        });
    }

    /// Those that run.
    pub fn running(&self) -> Vec<&Node> {
        self.nodes.iter().flatten().collect()
    }

    /// Waits until owners that run have compared what they hold, and lack nothing.
    pub fn mend(&self) {
        for node in self.running() {
            let rounds = || repair(node)["rounds"].as_u64().unwrap();
            // What is in doubt in one round is asked for in the next, and counted.
            let goal = rounds() + 3;
            until("owners that lack nothing", || {
                (rounds() >= goal && node.metric("grapevine_replica_deficit") == 0.0).then_some(())
            });
        }
    }

    /// Waits until all that run, and nobody else, are active and see one ring.
    pub fn agree(&self) -> String {
        agreed_among(&self.running().iter().map(|node| node.client()).collect::<Vec<_>>())
    }
}

/// What a node tells of its worker that compares.
fn repair(node: &Node) -> Value {
    let workers = node.get("/workers").expect(200).json();
    let repair = workers.as_array().unwrap().iter().find(|worker| worker["name"] == "repair");
    repair.unwrap().clone()
}
