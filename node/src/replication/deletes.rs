//! Every member knows every delete request: who takes one, or takes one back, tells all that live; and all tell each other
//! what they know when they start, when one comes back and every minute.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures_util::future::join_all;
use grapevine_gossip::membership::Peer;
use grapevine_gossip::rpc::{CallError, Handler, Refusal, RefusalCode, Reply, Request, Served};
use tokio::time::Instant;

use super::Replication;
use super::message::TellDeletes;
use crate::cluster::message::{decode, encode};
use crate::cluster::methods::DELETES;
use crate::deletes::request::{DeleteRequest, Requests, news};

/// How long telling a member may take.
const TELL_MAX: Duration = Duration::from_secs(5);
/// How long telling each other everything may take.
const SWAP_MAX: Duration = Duration::from_secs(60);
/// Bytes of queries in one message, beyond which another is begun.
const BATCH_BYTES: usize = 1 << 20;
/// Requests that are taken from one member: more than any keeps.
const THEIRS_MAX: usize = 100_000;

impl Replication {
    /// Tells all members that live of a request that was made or taken back here.
    pub async fn tell_delete(&self, tenant: &str, id: &str) {
        let Some(request) = self.parts.deletes.find(tenant, id) else { return };
        let (placement, told) = (self.placement(), TellDeletes { requests: vec![request], digest: None });
        let telling = placement.live_peers().map(|peer| {
            let told = &told;
            async move {
                if let Err(error) = self.ask_deletes(peer, told, TELL_MAX).await {
                    let error = format!("{error:#}");
                    tracing::warn!(peer = %peer.id, id, error, "a member is not told of a delete request yet");
                }
            }
        });
        join_all(telling).await;
    }

    /// Makes what a member and this node know of requests the same.
    ///
    /// # Errors
    /// The member cannot be reached, or one of the files cannot be written.
    pub(super) async fn swap_deletes(&self, peer: &Peer) -> Result<()> {
        let deletes = &self.parts.deletes;
        let question = TellDeletes { requests: Vec::new(), digest: Some(deletes.digest()) };
        let theirs = match self.ask_deletes(peer, &question, SWAP_MAX).await {
            Err(error) if is_unknown(&error) => {
                let error = format!("{error:#}");
                tracing::info!(peer = %peer.id, error, "a member takes no part in delete requests");
                return Ok(());
            }
            theirs => theirs?,
        };
        let Some(theirs) = theirs else { return Ok(()) };
        deletes.learn(theirs.clone()).await?;
        for requests in batches(news(&deletes.known(), &theirs)) {
            self.ask_deletes(peer, &TellDeletes { requests, digest: None }, SWAP_MAX).await?;
        }
        Ok(())
    }

    /// What a member answers; none if it has nothing to say.
    async fn ask_deletes(
        &self,
        peer: &Peer,
        told: &TellDeletes,
        within: Duration,
    ) -> Result<Option<Requests>> {
        let deadline = Instant::now() + within;
        let peers = self.parts.cluster.peers();
        let mut items = peers.stream(peer.address, DELETES, encode(told)?, deadline).await?;
        let mut theirs: Option<Requests> = None;
        while let Some(item) = items.next().await? {
            let requests: Vec<DeleteRequest> = decode(&item).context("understand its delete requests")?;
            let theirs = theirs.get_or_insert_default();
            theirs.extend(by_name(requests));
            ensure!(theirs.len() <= THEIRS_MAX, "it tells of more than `{THEIRS_MAX}` delete requests");
        }
        Ok(theirs)
    }
}

/// Whether the other is of a release that does not know of this.
fn is_unknown(error: &anyhow::Error) -> bool {
    let Some(CallError::Refused { refusal, .. }) = error.downcast_ref::<CallError>() else { return false };
    matches!(refusal.code, RefusalCode::UnknownMethod | RefusalCode::UnknownVersion)
}

fn by_name(
    requests: Vec<DeleteRequest>,
) -> impl Iterator<Item = (crate::deletes::request::Name, DeleteRequest)> {
    requests.into_iter().map(|request| (request.name(), request))
}

/// Requests in parts that fit into a message.
fn batches(requests: Vec<DeleteRequest>) -> Vec<Vec<DeleteRequest>> {
    let mut batches: Vec<Vec<DeleteRequest>> = Vec::new();
    let mut bytes = usize::MAX;
    for request in requests {
        let more = request.query.len() + request.tenant.len() + 100 + 100 * request.processed.len();
        if bytes.saturating_add(more) > BATCH_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        batches.last_mut().expect("one was begun").push(request);
    }
    batches
}

/// Takes note of requests, and tells of those that are known here.
pub(super) struct Collects(pub(super) Arc<Replication>);

impl Handler for Collects {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            let TellDeletes { requests, digest } = decode(&request.body)?;
            let deletes = &self.0.parts.deletes;
            let learnt = deletes.learn(by_name(requests).collect()).await;
            learnt.map_err(|error| Refusal::new(RefusalCode::Failed, error.to_string()))?;
            if digest.is_none_or(|digest| digest == deletes.digest()) {
                return Ok(());
            }
            // At least one: nothing at all would say that both know the same.
            let mut known = batches(deletes.known().into_values().collect());
            if known.is_empty() {
                known.push(Vec::new());
            }
            for batch in known {
                let item: Bytes = encode(&batch)?;
                reply.send(item).await?;
            }
            Ok(())
        })
    }
}
