//! A cluster whose nodes each have a machine of their own on a network that can be broken.
//!
//! A node is asked from within its machine, as by a client beside it: what is cut between nodes cuts off no client.

use tempfile::TempDir;

use super::client::Client;
use super::cluster::{agreed_among, grapevine, printed};
use super::net::{HUB, Net, address};
use super::node::{Node, Serve};
use super::s3::S3;

/// Nodes from 1 on.
#[derive(Debug)]
pub struct Fleet {
    // Before what they stand on, so that they end first.
    nodes: Vec<Option<Node>>,
    dir: TempDir,
    store: Option<S3>,
    net: Net,
    token: String,
    /// What each node is started with beside what it needs.
    more: Vec<fn(Serve) -> Serve>,
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
        let mut fleet =
            Fleet { nodes, dir, store: None, net, token: String::new(), more: vec![|serve| serve; machines] };
        let (data, listen) = (fleet.data_dir(1), format!("{}:3101", address(1)));
        let init = ["cluster", "init", "--data-dir", &data, "--peer-listen", &listen];
        let _inside = fleet.net.node(1).enter();
        fleet.token = printed(&grapevine(&init));
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

    /// Starts a node with something special from now on.
    pub fn with(mut self, node: usize, more: fn(Serve) -> Serve) -> Self {
        self.more[node - 1] = more;
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
        let serve = EXPECTED.iter().fold(serve, |serve, text| serve.listing(text));
        let serve = match &self.store {
            Some(store) => store.store_of(serve),
            None => serve.with(format!("--chunk-store=file://{}/packs", self.dir.path().display())),
        };
        let is_known = self.dir.path().join(format!("node-{node}/cluster")).exists();
        let serve = if is_known { serve } else { serve.variable("GRAPEVINE_CLUSTER_JOIN", &self.token) };
        self.more[node - 1](serve)
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

    fn start_listening(&mut self, node: usize) {
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

    /// Those that run.
    pub fn running(&self) -> Vec<&Node> {
        self.nodes.iter().flatten().collect()
    }

    /// Waits until all that run, and nobody else, are active and see one ring.
    pub fn agree(&self) -> String {
        agreed_among(&self.running().iter().map(|node| node.client()).collect::<Vec<_>>())
    }
}
