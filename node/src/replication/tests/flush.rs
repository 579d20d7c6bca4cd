//! `POST /flush` in a cluster: nothing is packed before owners have what they lack, and who fails is told by name.

use std::time::Duration;

use grapevine_storage::atom::PushId;

use super::{STREAMS, Trio, in_heads, in_packs};
use crate::replication::lock;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_packs_what_has_not_reached_its_primary_yet() {
    let trio = Trio::new(true).await;
    for n in 0..3 {
        trio.push_to_one(n, n as i64).await;
    }
    let (status, text) = trio.bed(0).call("POST", "/flush", None).await;
    assert_eq!(status.as_u16(), 204, "{text}");
    let packed: Vec<u64> = trio.nodes.iter().flatten().map(|bed| in_packs(&bed.node)).collect();
    assert!(
        packed.contains(&3),
        "the primary has all three in packs as soon as the flush is answered: {packed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_a_member_cannot_bring_others_what_they_lack_nothing_is_packed_and_it_is_named() {
    let trio = Trio::new(true).await;
    trio.push(0, 1).await;
    trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
    trio.until("nothing is in doubt", |node| node.metrics.replica_deficit.get() == 0).await;
    // It lives, and answers nothing any more.
    trio.bed(2).node.cluster.as_ref().unwrap().methods().clear();
    let (status, text) = trio.bed(0).call("POST", "/flush", None).await;
    assert_eq!(status.as_u16(), 503, "{text}");
    assert!(text.contains("until then nothing is packed"), "{text}");
    assert!(text.contains("have `n2` bring the others what they lack"), "{text}");
    assert!(!text.contains("pack what it holds"), "{text}");
    for bed in trio.nodes.iter().flatten() {
        assert_eq!((in_heads(&bed.node), bed.node.metrics.packs_written.get()), (STREAMS as u64, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_take_what_it_lacks_is_told_by_name() {
    let trio = Trio::new(true).await;
    trio.bed(2).node.cluster.as_ref().unwrap().methods().clear();
    trio.push_to_one(0, 1).await;
    let [replication, other] = [0, 1].map(|n| trio.bed(n).node.replication.as_ref().unwrap());
    let (push, other) = (PushId { origin: 7, sequence: 1 }, other.placement().me().clone());
    trio.until("the first knows that the other has it", |node| {
        node.env.data_dir != trio.bed(0).node.env.data_dir || lock(&replication.confirmed).has(&other, push)
    })
    .await;
    let error = replication.settle_all(Duration::ZERO).await.unwrap_err().to_string();
    assert_eq!(error, "bring `n2` what they lack: they do not take it");
}
