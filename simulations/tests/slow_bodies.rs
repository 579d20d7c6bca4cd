//! Bodies that come slowly, in time that stands still until somebody waits.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use futures_util::stream;
use grapevine::api::body::read_body;
use tokio::time::{Instant, sleep};

const MOST: usize = 1 << 20;

/// Sends so many bytes every second; of a body without an end where `parts` is none.
async fn read(bytes: usize, parts: Option<usize>) -> (u64, Result<usize, (u16, String)>) {
    let began = Instant::now();
    let part = move |sent: usize| async move {
        sleep(Duration::from_secs(1)).await;
        let more = parts.is_none_or(|parts| sent < parts);
        more.then(|| (Ok::<_, Infallible>(Bytes::from(vec![b'x'; bytes])), sent + 1))
    };
    let body = Body::from_stream(stream::unfold(0, part));
    let answer = read_body(Request::new(body), MOST).await;
    let answer = answer.map(|body| body.len()).map_err(|error| (error.status.as_u16(), error.message));
    (began.elapsed().as_secs(), answer)
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_is_cut_off() {
    let (seconds, answer) = read(1, None).await;
    let (status, message) = answer.unwrap_err();
    assert_eq!((seconds, status), (30, 408), "{message}");
    assert!(message.contains("bytes in 30 s; 16384 bytes a second"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_body_may_take_its_time_as_long_as_it_keeps_to_the_least_rate() {
    assert_eq!(read(16 << 10, Some(64)).await, (65, Ok(MOST)));
    assert_eq!(read(1, Some(20)).await, (21, Ok(20)), "short ones may dawdle");
    let (seconds, answer) = read(8 << 10, Some(128)).await;
    assert_eq!((seconds, answer.unwrap_err().0), (59, 408), "half the rate uses the grace up");
}

#[tokio::test(start_paused = true)]
async fn a_body_beyond_the_most_is_refused_when_it_gets_there() {
    let (seconds, answer) = read(512 << 10, None).await;
    assert_eq!((seconds, answer.unwrap_err().0), (3, 413));
}
