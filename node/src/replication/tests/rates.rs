//! Members that share a tenant's rate, and those that do not.

use axum::http::StatusCode;
use serde_json::json;

use super::{NOW, Trio};
use crate::testbed::SECOND;

const KIB: usize = 1024;
/// Bytes of one line; longer ones are refused.
const LINE: usize = 256 * KIB;

/// Three members of a tenant that may push 3 MiB a second, and 1 MiB at once.
async fn trio(strategy: &str) -> Trio {
    let settings = [
        ("limits.ingestion_rate_strategy", strategy),
        ("limits.ingestion_rate_mb", "3"),
        ("limits.ingestion_burst_size_mb", "1"),
    ];
    Trio::with(true, &settings).await
}

/// What a member says to so many bytes of lines that nobody has pushed yet.
async fn push(trio: &Trio, member: usize, number: i64, bytes: usize) -> Result<(), String> {
    let lines = [LINE; 4].iter().scan(bytes, |left, line| {
        let taken = (*left).min(*line);
        *left -= taken;
        (taken > 0).then(|| "x".repeat(taken))
    });
    let values: Vec<_> = lines
        .enumerate()
        .map(|(n, line)| json!([(NOW + number * 10 + n as i64).to_string(), line]))
        .collect();
    let body = json!({"streams": [{"stream": {"app": "a"}, "values": values}]});
    match trio.bed(member).call("POST", "/loki/api/v1/push", Some(body)).await {
        (StatusCode::NO_CONTENT, _) => Ok(()),
        (StatusCode::TOO_MANY_REQUESTS, text) => Err(text),
        other => panic!("{other:?}"),
    }
}

/// The rate that a member refuses a push by.
async fn rate(trio: &Trio, member: usize) -> usize {
    let refused = push(trio, member, 999, 4 * LINE).await.unwrap_err();
    let (_, rest) = refused.split_once("(limit: ").unwrap();
    rest.split_once(" bytes/sec)").unwrap().0.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_share_a_global_rate_and_each_has_the_whole_burst() {
    let mut trio = trio("global").await;
    for member in 0..3 {
        assert_eq!(push(&trio, member, member as i64, KIB * KIB).await, Ok(()), "the burst is each member's");
        assert_eq!(rate(&trio, member).await, KIB * KIB);
    }
    // Half a second later there is half of what is one member's third.
    trio.bed(1).set_clock(NOW + SECOND / 2);
    assert!(push(&trio, 1, 10, 513 * KIB).await.is_err());
    assert_eq!(push(&trio, 1, 11, 512 * KIB).await, Ok(()));
    let fourth = trio.join().await;
    push(&trio, fourth, 12, KIB * KIB).await.unwrap();
    for member in [0, fourth] {
        assert_eq!(rate(&trio, member).await, 3 * KIB * KIB / 4, "a member that joins takes its part");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_local_rate_is_each_members_own() {
    let trio = trio("local").await;
    push(&trio, 2, 1, KIB * KIB).await.unwrap();
    assert_eq!(rate(&trio, 2).await, 3 * KIB * KIB);
}
