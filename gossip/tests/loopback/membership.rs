//! Nodes that find each other by gossip.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use grapevine_gossip::{
    endpoint::{Event, Peers},
    identity::ClusterKey,
    membership::{Membership, Profile, Settings, State, Tuning, View},
    rpc::NoMethods,
};

use crate::node::{identity, in_time, key, open};

struct Node {
    peers: Peers,
    address: SocketAddr,
    membership: Membership,
}

async fn start(name: &str, incarnation: u64, seeds: &[SocketAddr]) -> Node {
    start_in(&key(), name, incarnation, seeds).await
}

async fn start_in(key: &ClusterKey, name: &str, incarnation: u64, seeds: &[SocketAddr]) -> Node {
    let identity = identity(key, name);
    let (peers, address) = open(&identity, NoMethods);
    let settings = Settings {
        id: name.parse().unwrap(),
        incarnation,
        advertise: address,
        cluster: identity.cluster().to_owned(),
        seeds: seeds.to_vec(),
        profile: Profile::default(),
        replicas: 3,
        tuning: Tuning {
            interval: Duration::from_millis(50),
            settle: Duration::from_millis(500),
            ..Tuning::default()
        },
    };
    let membership = Membership::start(&peers, settings).await.unwrap();
    Node { peers, address, membership }
}

impl Node {
    async fn sees(&self, what: &str, condition: impl Fn(&View) -> bool) -> Arc<View> {
        let mut views = self.membership.watch();
        let what = format!("{} seeing {what}", self.membership.me());
        Arc::clone(&*in_time(&what, views.wait_for(|view| condition(view))).await.unwrap())
    }
}

fn placed(view: &View, count: usize) -> bool {
    view.ring().members().len() == count
}

async fn three() -> [Node; 3] {
    let a = start("a", 1, &[]).await;
    let (b, c) = (start("b", 1, &[a.address]).await, start("c", 1, &[a.address]).await);
    for node in [&a, &b, &c] {
        node.sees("three members with tokens", |view| placed(view, 3)).await;
    }
    [a, b, c]
}

#[tokio::test]
async fn three_nodes_come_to_the_same_ring_and_follow_its_changes() {
    let nodes = three().await;
    let hash = nodes[0].membership.view().ring().hash();
    for node in &nodes {
        node.sees("the same ring", |view| view.ring().hash() == hash).await;
    }
    nodes[1].membership.set_state(State::Active).await;
    let b = nodes[1].membership.me().clone();
    for node in &nodes {
        node.sees("b active", |view| view.peer(&b).is_some_and(|peer| peer.profile.state == State::Active))
            .await;
    }
    nodes[2].membership.set_state(State::Left).await;
    let rest = nodes[2].sees("its own leaving", |view| placed(view, 2)).await.ring().hash();
    for node in &nodes {
        node.sees("the same rest", |view| view.ring().hash() == rest).await;
    }
}

#[tokio::test]
async fn a_dead_member_is_noticed_and_its_next_life_takes_its_place() {
    let [a, b, c] = three().await;
    let id = c.membership.me().clone();
    let hash = a.membership.view().ring().hash();
    let tokens = a.membership.view().peer(&id).unwrap().profile.tokens.clone();
    c.peers.close().await;
    drop(c);
    for node in [&a, &b] {
        let view = node.sees("c dead", |view| view.peer(&id).is_some_and(|peer| !peer.live)).await;
        assert_eq!(view.ring().hash(), hash, "who is dead for a moment keeps its ranges");
    }
    let again = start("c", 2, &[a.address]).await;
    again.membership.set_tokens(&tokens).await;
    for node in [&a, &b, &again] {
        let alive = |view: &View| {
            view.peer(&id)
                .is_some_and(|peer| peer.live && peer.incarnation == 2 && peer.address == again.address)
        };
        node.sees("c alive again with its ranges", |view| alive(view) && view.ring().hash() == hash).await;
    }
}

#[tokio::test]
async fn gossip_of_another_cluster_does_not_come_in() {
    let node = start("a", 1, &[]).await;
    let other = start_in(&ClusterKey::from_bytes([2; 32]), "other", 1, &[node.address]).await;
    in_time("refusing it", node.peers.counters().reach(Event::HandshakeFailed, 1)).await;
    for node in [&node, &other] {
        node.sees("itself placed", |view| placed(view, 1)).await;
        assert_eq!(node.membership.view().peers().len(), 1);
    }
}

#[tokio::test]
async fn an_endpoint_carries_one_membership() {
    let node = start("a", 1, &[]).await;
    assert!(node.peers.clone().counters().get(Event::Malformed) == 0);
    let settings = Settings {
        id: "b".parse().unwrap(),
        incarnation: 1,
        advertise: node.address,
        cluster: String::new(),
        seeds: Vec::new(),
        profile: Profile::default(),
        replicas: 3,
        tuning: Tuning::default(),
    };
    assert!(Membership::start(&node.peers, settings).await.is_err());
}
