//! How members are: what each holds and which ring it sees, by the method STATUS.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bincode::{Decode, Encode};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use grapevine_gossip::ring::{NodeId, RingHash};
use grapevine_gossip::rpc::{Handler, Refusal, RefusalCode, Reply, Request, Served};
use grapevine_storage::index::{Index, IndexError};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Cluster, message, methods};
use crate::disk::Usage;
use crate::exec::Lane;
use crate::node::Node;

/// How long a member is waited for: somebody waits for the page.
const CALL: Duration = Duration::from_secs(2);
/// How long answers are kept, so that many who look cost the members no more than one.
const FRESH: Duration = Duration::from_secs(3);
/// Members asked at once.
const CALLS_MAX: usize = 32;

/// What a member holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Load {
    /// Streams with lines in memory, each day counted apart.
    pub head_streams: u64,
    /// Bytes of these lines, compressed blocks as compressed.
    pub head_bytes: u64,
    /// Packs in its index.
    pub packs: u64,
    /// Lines in them.
    pub pack_lines: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Bytes in use on the file system of its data directory.
    pub disk_used: u64,
    /// Bytes of that file system.
    pub disk_total: u64,
    /// What it has still to take over and to hand on.
    pub transfer: Transfer,
}

/// How far a member is in moving what changed hands: because somebody joined, left, was lost or was away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Transfer {
    /// Days of other members that it has learnt in this round, or in the last one.
    pub learnt: u64,
    /// Days that it learns of in it, as far as they are known.
    pub to_learn: u64,
    /// Parts of pushes that others lack of what it holds.
    pub lacking: u64,
    /// Bytes of packs read or fetched, and of pushes sent, since it started.
    pub bytes: u64,
}

impl Transfer {
    fn of(node: &Node) -> Self {
        let [learn, repair] = ["learn", "repair"]
            .map(|name| node.workers.get(name).map(|worker| worker.report()).unwrap_or_default());
        Transfer {
            learnt: learn.done,
            to_learn: learn.total,
            lacking: u64::try_from(node.metrics.replica_deficit.get()).unwrap_or_default(),
            bytes: learn.bytes + repair.bytes,
        }
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        self.learnt >= self.to_learn && self.lacking == 0
    }
}

/// How a member is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// The hash of the ring it sees.
    pub ring_hash: u64,
    /// What it holds.
    pub load: Load,
}

/// What members answered, by name; those not asked are missing.
pub type Statuses = BTreeMap<NodeId, Result<Status, String>>;

/// Answers of a moment ago, and the ring that this node saw as it asked: answers about another ring are no longer true.
#[derive(Debug, Default)]
pub(super) struct Asked(tokio::sync::Mutex<Option<(Instant, RingHash, Arc<Statuses>)>>);

/// Answers STATUS. Holds the node weakly: the node holds it.
#[derive(Debug)]
pub struct StatusHandler(pub Weak<Node>);

impl Handler for StatusHandler {
    fn serve<'a>(&'a self, _: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async {
            let gone = || Refusal::new(RefusalCode::Unavailable, "the node is stopping");
            let node = self.0.upgrade().ok_or_else(gone)?;
            let cluster = node.cluster.as_ref().ok_or_else(gone)?;
            let status = measure(&node, cluster).await;
            let status = status.map_err(|error| Refusal::new(RefusalCode::Failed, format!("{error:#}")))?;
            Ok(reply.send(message::encode(&status)?).await?)
        })
    }
}

/// How this node is.
async fn measure(node: &Node, cluster: &Cluster) -> anyhow::Result<Status> {
    let (index, dir, exec) = (node.index.clone(), node.env.data_dir.clone(), node.env.exec.clone());
    let kept = node.env.exec.run(Lane::Disk, move || {
        let load = packs(&index)?;
        let usage = Usage::of(&exec, &dir, 0)?;
        anyhow::Ok(Load { disk_used: usage.used, disk_total: usage.total, ..load })
    });
    let mut load = kept.await?;
    load.transfer = Transfer::of(node);
    for (_, head) in node.ingester.heads().all() {
        let size = head.size();
        load.head_streams += 1;
        load.head_bytes += size.open_bytes + size.sealed_bytes;
    }
    Ok(Status { ring_hash: cluster.view().ring().hash().0, load })
}

fn packs(index: &Index) -> Result<Load, IndexError> {
    let mut load = Load::default();
    for day in index.days()? {
        let Some(open) = index.day(day)? else { continue };
        for (_, record) in open.read(|snapshot| snapshot.packs())? {
            load.packs += 1;
            load.pack_lines += record.entries;
            load.pack_bytes += record.bytes;
        }
    }
    Ok(load)
}

/// How this node and all members it believes alive are; answers are some seconds old at most.
pub async fn statuses(node: &Node, cluster: &Cluster) -> Arc<Statuses> {
    // Held while members are asked: who comes meanwhile waits for the same answers.
    let mut asked = cluster.asked.0.lock().await;
    let view = cluster.view();
    if let Some((at, ring, statuses)) = &*asked
        && at.elapsed() < FRESH
        && *ring == view.ring().hash()
    {
        return Arc::clone(statuses);
    }
    let others = view.peers().values().filter(|peer| peer.live && peer.id != *cluster.me());
    let calls = others.map(|peer| async {
        let called = cluster.peers().call(peer.address, methods::STATUS, Bytes::new(), Instant::now() + CALL);
        let status = match called.await {
            Ok(answer) => message::decode::<Status>(&answer).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        (peer.id.clone(), status)
    });
    // Collected first: the borrow checker does not follow closures through a stream that is awaited.
    let calls: Vec<_> = calls.collect();
    let mut statuses: Statuses = stream::iter(calls).buffer_unordered(CALLS_MAX).collect().await;
    let own = measure(node, cluster).await.map_err(|error| format!("{error:#}"));
    statuses.insert(cluster.me().clone(), own);
    let statuses = Arc::new(statuses);
    *asked = Some((Instant::now(), view.ring().hash(), Arc::clone(&statuses)));
    statuses
}
