//! A node as `grapevine serve` runs it, but for its listener: what a simulated machine runs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result};
use grapevine::api::server::router;
use grapevine::config::Config;
use grapevine::env::{Env, Net};
use grapevine::exec::Exec;
use grapevine::node::Node;
use grapevine_gossip::endpoint::AsyncUdpSocket;
use grapevine_gossip::identity::ClusterKey;
use grapevine_storage::chunk_store::{ChunkStore, StoreOptions};
use tokio::sync::watch;

use crate::client::{Clients, HTTP_PORT};
use crate::host::{Birth, Order, Program};
use crate::net::{Network, address};
use crate::random::Random;
use crate::scenario::Scenario;
use crate::scenario::format::StoreKind;
use crate::store::FaultyStore;
use crate::wire;

/// Where nodes talk to each other.
const PEER_PORT: u16 = 3101;
/// How long heads may take to be packed when a node stops.
const FLUSH_ON_STOP: Duration = Duration::from_secs(60);

/// The running nodes, for whoever looks at them from outside. They are not kept alive by it.
#[derive(Clone, Debug)]
pub struct Nodes(Arc<Mutex<Vec<Weak<Node>>>>);

impl Nodes {
    /// Nobody runs yet.
    pub fn new(count: usize) -> Self {
        Nodes(Arc::new(Mutex::new((0..count).map(|_| Weak::new()).collect())))
    }

    /// A node, if it runs and has read its log.
    pub fn get(&self, node: usize) -> Option<Arc<Node>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[node].upgrade()
    }

    /// All that run, with their numbers.
    pub fn all(&self) -> Vec<(usize, Arc<Node>)> {
        let nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.iter().enumerate().filter_map(|(number, node)| Some((number, node.upgrade()?))).collect()
    }

    /// Lets go of a node whose process is about to end: its handlers hold it as it holds them, which does not matter to
    /// a real process.
    pub fn let_go(&self, node: usize) {
        if let Some(cluster) = self.get(node).and_then(|node| node.cluster.clone()) {
            cluster.methods().clear();
        }
    }

    fn put(&self, place: usize, node: &Arc<Node>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[place] = Arc::downgrade(node);
    }
}

/// The network as a node sees it.
#[derive(Debug)]
struct SimulatedNet {
    network: Network,
    host: usize,
}

#[async_trait::async_trait]
impl Net for SimulatedNet {
    async fn http(&self, _: SocketAddr) -> io::Result<tokio::net::TcpListener> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "clients ask in datagrams here"))
    }

    fn udp(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(self.network.bind(self.host, address.port())?)
    }

    fn route(&self, _: SocketAddr) -> io::Result<IpAddr> {
        Ok(address(self.host))
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        let parsed = host.parse().map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(vec![parsed])
    }
}

/// What a node is told by its scenario.
///
/// # Errors
/// A key that does not exist, or a value that it cannot have.
pub fn configuration(scenario: &Scenario, node: usize, seed: u64) -> Result<Config> {
    let plan = &scenario.nodes[node];
    let mut membership = if scenario.is_cluster() { membership(scenario, node, seed) } else { Vec::new() };
    if scenario.store.kind == StoreKind::Shared {
        // Nobody goes there, but a store that is named is taken to be everybody's.
        membership.push(("chunk_store", "s3://simulated".into()));
    }
    let keys = membership.into_iter().map(|(key, value)| (key.to_owned(), value));
    let keys = keys.chain(plan.config.iter().map(|(key, value)| (key.clone(), value.clone())));
    Config::load("", [], keys).with_context(|| format!("configure node `{}`", plan.name))
}

/// What makes a node a member: the first founds the cluster, the others join it by any that is there from the
/// beginning.
fn membership(scenario: &Scenario, node: usize, seed: u64) -> Vec<(&'static str, String)> {
    let mut key = [0; 32];
    Random::of_part(seed, "cluster key").fill(&mut key);
    let peer = |node: usize| format!("{}:{PEER_PORT}", address(node));
    let present = (0..scenario.nodes.len()).filter(|node| !scenario.nodes[*node].spare);
    let first = present.clone().next().unwrap_or(0);
    let seeds: Vec<String> = if node == first { vec![peer(node)] } else { present.map(peer).collect() };
    let plan = &scenario.nodes[node];
    vec![
        ("cluster.join", format!("{}@{}", ClusterKey::from_bytes(key).expose(), seeds.join(","))),
        ("cluster.peer_listen", peer(node)),
        ("cluster.name", plan.name.clone()),
        ("cluster.zone", plan.zone.clone()),
        ("cluster.weight", plan.weight.to_string()),
        ("cluster.replication_factor", scenario.replication_factor.to_string()),
        ("cluster.write_acks", scenario.write_acks.to_string()),
    ]
}

/// The program of a node.
pub fn program(store: FaultyStore, config: Config, nodes: Nodes) -> Program {
    Box::new(move |birth: Birth| {
        let (store, config, nodes) = (store.clone(), config.clone(), nodes.clone());
        Box::pin(serve(birth, store, config, nodes))
    })
}

async fn serve(birth: Birth, store: FaultyStore, config: Config, nodes: Nodes) -> Result<()> {
    let Birth { host, data_dir, clock, network, seed, mut orders, .. } = birth;
    let net = Arc::new(SimulatedNet { network: network.clone(), host });
    let env = Env { clock, net, exec: Exec::inline(), data_dir, seed };
    let retries = StoreOptions { seed, ..StoreOptions::default() };
    let store = ChunkStore::from_object_store(Arc::new(store), retries);
    let (node, loops) = Node::open(env, config, store).await?;
    nodes.put(host, &node);
    let working = tokio::spawn(loops.run());
    node.housekeeper.prepare().await;
    let keeping = tokio::spawn({
        let node = Arc::clone(&node);
        async move { Box::pin(node.housekeeper.run(&node.ingester)).await }
    });
    let socket = network.bind(host, HTTP_PORT)?;
    let left = tokio::select! {
        () = wire::serve(router(Arc::clone(&node)), socket) => Ok(()),
        left = depart(&node, &mut orders) => left,
    };
    match tokio::time::timeout(FLUSH_ON_STOP, node.ingester.flush_all()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = format!("{error:#}"), "not everything was packed"),
        Err(_) => tracing::warn!("packing took too long and was left"),
    }
    if let Some(cluster) = &node.cluster {
        cluster.stop().await;
    }
    working.abort();
    keeping.abort();
    left
}

/// Waits until the node is to end. Who leaves takes and answers requests until all is handed over.
async fn depart(node: &Node, orders: &mut watch::Receiver<Order>) -> Result<()> {
    let order = orders.wait_for(|order| *order != Order::Run).await.map(|order| *order);
    match (order, &node.replication) {
        (Ok(Order::Leave), Some(replication)) => {
            let most = node.config.cluster.leave_timeout.0;
            replication.hand_over(most, |_| ()).await.context("leave the cluster")
        }
        _ => Ok(()),
    }
}

/// The program of the clients' machine.
pub fn clients(clients: Clients) -> Program {
    Box::new(move |birth: Birth| {
        let clients = clients.clone();
        Box::pin(async move {
            let socket = birth.network.bind(birth.host, 1)?;
            clients.run(wire::Client::new(socket)).await;
            Ok(())
        })
    })
}
