//! Owners that do not keep up: one is passed over, and gets what it missed; of all of them clients are told.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use tokio::sync::OwnedSemaphorePermit;
use tower::ServiceExt;

use super::{NOW, STREAMS, Trio, in_heads};
use crate::api::server::router;
use crate::replication::{LAG_BYTES_MAX, LAG_UNIT};

/// As much is on its way from the first node to another as may be.
async fn lag_of(trio: &Trio, member: &str) -> OwnedSemaphorePermit {
    let lag = trio.bed(0).node.replication.as_ref().unwrap().lag_of(&member.parse().unwrap());
    lag.acquire_many_owned((LAG_BYTES_MAX / LAG_UNIT) as u32).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_slow_holds_up_nobody_and_gets_what_it_missed() {
    let trio = Trio::new(true).await;
    let lag = lag_of(&trio, "n2").await;
    // Every push is acknowledged.
    trio.push(0, 1).await;
    assert_eq!(trio.bed(0).node.metrics.replica_lags.get(), STREAMS as u64, "it was passed over each time");
    trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
    drop(lag);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_that_too_few_owners_keep_up_with_are_refused_with_a_time_to_come_again() {
    let trio = Trio::new(true).await;
    let lags = [lag_of(&trio, "n1").await, lag_of(&trio, "n2").await];
    let push = || {
        let body = format!(r#"{{"streams":[{{"stream":{{"app":"s1"}},"values":[["{NOW}","line"]]}}]}}"#);
        let request = Request::post("/loki/api/v1/push").header(header::CONTENT_TYPE, "application/json");
        router(trio.bed(0).node.clone()).oneshot(request.body(Body::from(body)).unwrap())
    };
    let refused = push().await.unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers().get(header::RETRY_AFTER).unwrap(), "1");
    drop(lags);
    assert_eq!(push().await.unwrap().status(), StatusCode::NO_CONTENT);
    trio.until("each node holds the line", |node| in_heads(node) >= 1).await;
}
