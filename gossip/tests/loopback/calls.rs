//! Calls between two nodes.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use grapevine_gossip::{
    endpoint::{Event, Peers},
    limits::{BACKOFF_MAX, CALLS_PER_CONNECTION_MAX, MESSAGE_BYTES_MAX},
    rpc::{CallError, Method, NoMethods, RefusalCode},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    methods::{BREAK, ECHO, FLOOD, FLOOD_ITEM_BYTES, Methods, REFUSE, STALL},
    node::{ample, identity, in_time, key, open},
};

/// A caller, whom it calls, and what that one does.
fn pair() -> (Peers, Peers, SocketAddr, Methods) {
    let methods = Methods::default();
    let (called, address) = open(&identity(&key(), "called"), methods.clone());
    let (caller, _) = open(&identity(&key(), "caller"), NoMethods);
    (caller, called, address, methods)
}

#[tokio::test]
async fn a_call_brings_back_what_the_peer_sends() {
    let (caller, _called, address, _) = pair();
    for length in [0, 1, 1200, 5 << 20, MESSAGE_BYTES_MAX] {
        let body = Bytes::from(vec![length as u8; length]);
        let answer = caller.call(address, ECHO, body.clone(), ample()).await.unwrap();
        assert!(answer == body, "{length} bytes came back otherwise");
    }
    assert_eq!(caller.counters().get(Event::Dialled), 1, "calls share a connection");
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_not_sent() {
    let (caller, called, address, _) = pair();
    let body = Bytes::from(vec![0; MESSAGE_BYTES_MAX + 1]);
    let error = caller.call(address, ECHO, body, ample()).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge(_)) && !error.is_retryable() && error.has_no_side_effects());
    assert_eq!(called.counters().get(Event::Answered), 0);
}

#[tokio::test]
async fn refusals_arrive_with_their_code_and_reason() {
    let (caller, _called, address, _) = pair();
    let unknown = Method { id: 999, version: 1 };
    for (method, expected, text, retryable) in [
        (REFUSE, RefusalCode::Unavailable, "the disk is full", true),
        (BREAK, RefusalCode::Failed, "broke in the middle", true),
        (unknown, RefusalCode::UnknownMethod, "`999.1`", false),
    ] {
        let error = caller.call(address, method, Bytes::new(), ample()).await.unwrap_err();
        assert_eq!(error.is_retryable(), retryable);
        let CallError::Refused { refusal, .. } = error else { panic!("{error}") };
        assert_eq!((refusal.code, &*refusal.text), (expected, text));
    }
}

#[tokio::test]
async fn a_deadline_ends_the_call_here_and_the_work_there() {
    let (caller, _called, address, methods) = pair();
    let soon = Instant::now() + Duration::from_millis(300);
    let error = caller.call(address, STALL, Bytes::new(), soon).await.unwrap_err();
    match &error {
        CallError::DeadlinePassed { .. } => {}
        CallError::Refused { refusal, .. } => assert_eq!(refusal.code, RefusalCode::DeadlinePassed),
        other => panic!("{other}"),
    }
    assert!(error.is_retryable() && !error.has_no_side_effects());
    in_time("the end of the work", methods.stall_ended.notified()).await;
}

#[tokio::test]
async fn a_dropped_call_stops_the_work_there() {
    let (caller, called, address, methods) = pair();
    let call = caller.stream(address, STALL, Bytes::new(), ample()).await.unwrap();
    in_time("the work", methods.stall_began.notified()).await;
    drop(call);
    in_time("the end of the work", methods.stall_ended.notified()).await;
    in_time("counting it", called.counters().reach(Event::Cancelled, 1)).await;
}

#[tokio::test]
async fn who_does_not_read_is_not_sent_to() {
    let (caller, _called, address, methods) = pair();
    let count = 1024_u32;
    let body = Bytes::copy_from_slice(&count.to_be_bytes());
    let mut flood = caller.stream(address, FLOOD, body, ample()).await.unwrap();
    // Other calls go on beside it.
    for _ in 0..100 {
        caller.call(address, ECHO, Bytes::from_static(b"x"), ample()).await.unwrap();
    }
    // The peer's send window of 16 MiB and our stream window of 4 MiB may be full, no more.
    let sent = methods.flooded.load(Ordering::Relaxed) as usize * FLOOD_ITEM_BYTES;
    assert!(sent <= 20 << 20, "{sent} bytes were sent to one who does not read");
    let mut items = 0;
    while let Some(item) = flood.next().await.unwrap() {
        assert_eq!(item.len(), FLOOD_ITEM_BYTES);
        items += 1;
    }
    assert_eq!(items, count);
}

#[tokio::test]
async fn more_calls_than_a_connection_takes_wait_their_turn() {
    let (caller, _called, address, _) = pair();
    let mut calls = JoinSet::new();
    for _ in 0..3 * CALLS_PER_CONNECTION_MAX {
        let caller = caller.clone();
        calls.spawn(async move { caller.call(address, ECHO, Bytes::from_static(b"x"), ample()).await });
    }
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap().unwrap(), "x");
    }
}

#[tokio::test]
async fn two_that_connect_at_once_end_up_with_one_connection() {
    let (a, a_address) = open(&identity(&key(), "a"), Methods::default());
    let (b, b_address) = open(&identity(&key(), "b"), Methods::default());
    let call = |from: &Peers, to| {
        let from = from.clone();
        async move { from.call(to, ECHO, Bytes::from_static(b"x"), ample()).await }
    };
    for _ in 0..20 {
        let (there, back) = tokio::join!(call(&a, b_address), call(&b, a_address));
        assert_eq!((there.unwrap(), back.unwrap()), (Bytes::from_static(b"x"), Bytes::from_static(b"x")));
    }
    assert_eq!((a.connected(), b.connected()), (1, 1));
}

#[tokio::test]
async fn a_peer_that_comes_back_is_connected_to_again() {
    let (caller, called, address, _) = pair();
    caller.call(address, ECHO, Bytes::new(), ample()).await.unwrap();
    called.close().await;
    drop(called);
    let error = caller.call(address, ECHO, Bytes::new(), Instant::now() + BACKOFF_MAX).await.unwrap_err();
    assert!(error.is_retryable());
    // The port is free again when the endpoint's driver is gone.
    let identity = identity(&key(), "called");
    let socket = in_time("the port", async {
        loop {
            match grapevine_gossip::endpoint::bind_udp(address) {
                Ok(socket) => return socket,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    let clock = std::sync::Arc::new(crate::node::Clock(crate::node::NOW));
    let _again =
        Peers::open(socket.await, &identity, clock, std::sync::Arc::new(Methods::default())).unwrap();
    in_time("the first answer", async {
        while caller.call(address, ECHO, Bytes::new(), ample()).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
