//! What takes time, in paused time and on a network in memory, as the simulation will have it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use grapevine_gossip::{
    endpoint::{Event, Peers},
    limits::{BACKOFF_MAX, HANDSHAKE_TIMEOUT},
    membership::{Membership, Profile, Settings, Tuning, View},
    ring::Loads,
    rpc::{CallError, NoMethods},
};
use tokio::time::{Instant, sleep};

use crate::{
    methods::{ECHO, FAR, Methods},
    node::{Clock, NOW, identity, key},
    wire::Wire,
};

fn address(index: u8) -> SocketAddr {
    ([10, 0, 0, index], 7946).into()
}

fn open(wire: &Wire, index: u8) -> Peers {
    let identity = identity(&key(), &format!("n{index}"));
    Peers::open(wire.socket(address(index)), &identity, Arc::new(Clock(NOW)), Arc::new(Methods::default()))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_two_round_trips_when_it_has_to_connect_and_one_after() {
    let wire = Wire::default();
    let (caller, _called) = (open(&wire, 1), open(&wire, 2));
    for expected in [8, 4] {
        let began = Instant::now();
        let deadline = began + Duration::from_secs(1);
        caller.call(address(2), ECHO, Bytes::from_static(b"x"), deadline).await.unwrap();
        let took = began.elapsed().as_millis();
        assert!((expected..expected + 4).contains(&took), "took {took} ms of {expected} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn who_answers_knows_how_far_away_the_caller_is() {
    let wire = Wire::default();
    let (caller, _called) = (open(&wire, 1), open(&wire, 2));
    for _ in 0..2 {
        let deadline = Instant::now() + Duration::from_secs(1);
        let answer = caller.call(address(2), FAR, Bytes::new(), deadline).await.unwrap();
        let micros = u64::from_be_bytes(answer[..].try_into().unwrap());
        assert!((4000..8000).contains(&micros), "{micros} of 4000");
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_cannot_be_reached_is_tried_less_and_less_and_found_when_it_is_back() {
    let wire = Wire::default();
    let caller = open(&wire, 1);
    let call =
        || caller.call(address(2), ECHO, Bytes::from_static(b"x"), Instant::now() + 2 * HANDSHAKE_TIMEOUT);
    let began = Instant::now();
    assert!(matches!(call().await, Err(CallError::Unreachable { .. })));
    assert!(began.elapsed() <= HANDSHAKE_TIMEOUT + Duration::from_millis(10));
    for failures in 2..8 {
        let Err(CallError::BackingOff { wait, .. }) = call().await else { panic!("tried again at once") };
        assert!(wait <= BACKOFF_MAX);
        sleep(wait).await;
        assert!(matches!(call().await, Err(CallError::Unreachable { .. })));
        assert_eq!(caller.counters().get(Event::DialFailed), failures);
    }
    let _back = open(&wire, 2);
    sleep(BACKOFF_MAX).await;
    assert_eq!(call().await.unwrap(), "x");
}

struct Node {
    _peers: Peers,
    membership: Membership,
}

/// With the defaults users get.
async fn start(wire: &Wire, index: u8) -> Node {
    let peers = open(wire, index);
    let settings = Settings {
        id: format!("n{index}").parse().unwrap(),
        incarnation: 1,
        advertise: address(index),
        cluster: key().cluster_name(),
        seeds: vec![address(1)],
        profile: Profile::default(),
        replicas: 3,
        tuning: Tuning::default(),
    };
    let membership = Membership::start(&peers, settings).await.unwrap();
    Node { _peers: peers, membership }
}

/// How long until all of `nodes` see it.
async fn until(nodes: &[Node], condition: impl Fn(&View) -> bool) -> Duration {
    let began = Instant::now();
    for node in nodes {
        let mut views = node.membership.watch();
        let seen =
            tokio::time::timeout(Duration::from_secs(120), views.wait_for(|view| condition(view))).await;
        assert!(seen.is_ok(), "{:?} does not see it: {:?}", node.membership, node.membership.view());
    }
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn liveness_follows_partitions_soon_and_the_ring_does_not() {
    let wire = Wire::default();
    let mut nodes = Vec::new();
    for index in 1..=5 {
        nodes.push(start(&wire, index).await);
    }
    let joined = until(&nodes, |view| view.ring().members().len() == 5).await;
    assert!(joined <= Duration::from_secs(12), "joining took {joined:?}");
    let ring = Arc::clone(nodes[0].membership.view().ring());
    let worst = Loads::of(&ring, 3).worst();
    assert!(worst <= 1.02, "joining at once left a member with {worst} of what is fair");
    let hash = ring.hash();
    let lost = nodes.pop().unwrap();
    let id = lost.membership.me().clone();
    let live = |view: &View| view.peer(&id).is_some_and(|peer| peer.live);

    // Cut off while young: the case that takes chitchat's defaults half a minute.
    wire.cut_off(address(5), true);
    let noticed = until(&nodes, |view| !live(view)).await;
    assert!(noticed <= Duration::from_secs(15), "noticing took {noticed:?}");
    wire.cut_off(address(5), false);
    let healed = until(&nodes, live).await;
    assert!(healed <= Duration::from_secs(20), "healing took {healed:?}");
    nodes.push(lost);
    until(&nodes, |view| view.peers().values().all(|peer| peer.live) && view.ring().hash() == hash).await;
}

#[tokio::test(start_paused = true)]
async fn who_stays_dead_is_forgotten_by_all_without_a_person() {
    let wire = Wire::default();
    let mut nodes = Vec::new();
    for index in 1..=3 {
        nodes.push(start(&wire, index).await);
    }
    until(&nodes, |view| view.ring().members().len() == 3).await;
    drop(nodes.pop());
    wire.cut_off(address(3), true);
    sleep(Tuning::default().grace + Duration::from_secs(60)).await;
    until(&nodes, |view| view.ring().members().len() == 2 && view.peers().len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_only_gossips_refuses_calls() {
    let wire = Wire::default();
    let identity = identity(&key(), "quiet");
    let clock = Arc::new(Clock(NOW));
    let _quiet = Peers::open(wire.socket(address(2)), &identity, clock, Arc::new(NoMethods)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(1);
    let error = open(&wire, 1).call(address(2), ECHO, Bytes::new(), deadline).await.unwrap_err();
    assert!(!error.is_retryable() && error.has_no_side_effects(), "{error}");
}
