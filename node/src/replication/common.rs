//! What every member is to know, whoever was told first: delete requests, rule groups.
//!
//! Who takes a change tells all that live; and all tell each other what they know when they start, when one comes back and
//! every minute. What two know becomes one in any order, so it does not matter who tells whom how often.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bincode::{Decode, Encode};
use bytes::Bytes;
use futures_util::future::join_all;
use grapevine_gossip::membership::Peer;
use grapevine_gossip::rpc::{CallError, Handler, Method, Refusal, RefusalCode, Reply, Request, Served};
use tokio::time::Instant;

use super::Replication;
use super::message::Tell;
use crate::cluster::message::{decode, encode};

/// How long telling a member may take.
const TELL_MAX: Duration = Duration::from_secs(5);
/// How long telling each other everything may take.
const SWAP_MAX: Duration = Duration::from_secs(60);
/// Bytes of items in one message, beyond which another is begun.
const BATCH_BYTES: usize = 1 << 20;
/// Items that are taken from one member: more than any keeps.
const THEIRS_MAX: usize = 100_000;

/// Something of which all members are to know the same.
pub(super) trait Common: Send + Sync + 'static {
    /// One of many.
    type Item: Clone + Encode + Decode<()> + Send + Sync + 'static;

    /// By which members tell each other.
    const METHOD: Method;
    /// What it is, for people.
    const WHAT: &'static str;

    /// About how many bytes an item takes in a message.
    fn bytes(item: &Self::Item) -> usize;

    /// The same on two members that know the same.
    fn digest(&self) -> u64;

    /// All items.
    fn known(&self) -> Vec<Self::Item>;

    /// What would be news to who knows `theirs`.
    fn news(&self, theirs: &[Self::Item]) -> Vec<Self::Item>;

    /// Adds what another member knows, durably.
    ///
    /// # Errors
    /// There is no room, or it cannot be written.
    fn learn(&self, theirs: Vec<Self::Item>) -> impl Future<Output = Result<()>> + Send;
}

impl Replication {
    /// Tells all members that live of what was changed here.
    pub(super) async fn tell_all<C: Common>(&self, items: Vec<C::Item>) {
        let placement = self.placement();
        for items in batches::<C>(items) {
            let told = Tell { items, digest: None };
            let telling = placement.live_peers().map(|peer| {
                let told = &told;
                async move {
                    if let Err(error) = self.ask_common::<C>(peer, told, TELL_MAX).await {
                        let error = format!("{error:#}");
                        tracing::warn!(peer = %peer.id, error, "a member is not told of {} yet", C::WHAT);
                    }
                }
            });
            join_all(telling).await;
        }
    }

    /// Makes what a member and this node know the same.
    ///
    /// # Errors
    /// The member cannot be reached, or one of the files cannot be written.
    pub(super) async fn swap<C: Common>(&self, common: &C, peer: &Peer) -> Result<()> {
        let question = Tell { items: Vec::new(), digest: Some(common.digest()) };
        let theirs = match self.ask_common::<C>(peer, &question, SWAP_MAX).await {
            Err(error) if is_unknown(&error) => {
                let error = format!("{error:#}");
                tracing::info!(peer = %peer.id, error, "a member takes no part in {}", C::WHAT);
                return Ok(());
            }
            theirs => theirs?,
        };
        let Some(theirs) = theirs else { return Ok(()) };
        common.learn(theirs.clone()).await?;
        for items in batches::<C>(common.news(&theirs)) {
            self.ask_common::<C>(peer, &Tell { items, digest: None }, SWAP_MAX).await?;
        }
        Ok(())
    }

    /// What a member answers; none if it has nothing to say.
    async fn ask_common<C: Common>(
        &self,
        peer: &Peer,
        told: &Tell<C::Item>,
        within: Duration,
    ) -> Result<Option<Vec<C::Item>>> {
        let deadline = Instant::now() + within;
        let peers = self.parts.cluster.peers();
        let mut items = peers.stream(peer.address, C::METHOD, encode(told)?, deadline).await?;
        let mut theirs: Option<Vec<C::Item>> = None;
        while let Some(item) = items.next().await? {
            let more: Vec<C::Item> = decode(&item).with_context(|| format!("understand its {}", C::WHAT))?;
            let theirs = theirs.get_or_insert_default();
            theirs.extend(more);
            ensure!(theirs.len() <= THEIRS_MAX, "it tells of more than `{THEIRS_MAX}` {}", C::WHAT);
        }
        Ok(theirs)
    }
}

/// Whether the other is of a release that does not know of this.
pub(super) fn is_unknown(error: &anyhow::Error) -> bool {
    let Some(CallError::Refused { refusal, .. }) = error.downcast_ref::<CallError>() else { return false };
    matches!(refusal.code, RefusalCode::UnknownMethod | RefusalCode::UnknownVersion)
}

/// Items in parts that fit into a message.
fn batches<C: Common>(items: Vec<C::Item>) -> Vec<Vec<C::Item>> {
    let mut batches: Vec<Vec<C::Item>> = Vec::new();
    let mut bytes = usize::MAX;
    for item in items {
        let more = C::bytes(&item);
        if bytes.saturating_add(more) > BATCH_BYTES {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += more;
        batches.last_mut().expect("one was begun").push(item);
    }
    batches
}

/// Takes note of what others tell, and tells them what is known here.
pub(super) struct Collects<C>(pub(super) Arc<C>);

impl<C: Common> Handler for Collects<C> {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            let Tell { items, digest } = decode::<Tell<C::Item>>(&request.body)?;
            let learnt = self.0.learn(items).await;
            learnt.map_err(|error| Refusal::new(RefusalCode::Failed, format!("{error:#}")))?;
            if digest.is_none_or(|digest| digest == self.0.digest()) {
                return Ok(());
            }
            // At least one: nothing at all would say that both know the same.
            let mut known = batches::<C>(self.0.known());
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
