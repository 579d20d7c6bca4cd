//! `POST /flush` in a cluster: afterwards everything that was acknowledged before is in packs, whichever node it came to.
//!
//! A push is acknowledged when enough owners hold it, and the primary, which alone packs, may not be one of them yet. So
//! all members first bring each other what the owners lack, and then all pack.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::future::join_all;
use grapevine_gossip::rpc::{Handler, Method, Refusal, RefusalCode, Reply, Request, Served};
use grapevine_storage::atom::PushId;
use tokio::time::{Instant, sleep};

use super::Replication;
use super::common::is_unknown;
use crate::cluster::methods::{FLUSH, SETTLE};

/// How long a member may take to pack and ship all it holds.
const FLUSH_MAX: Duration = Duration::from_secs(120);
/// How long a member tries to bring the others what they lack.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// How long it may take to answer: longer, so that it can say who did not take it.
const SETTLE_ANSWER_MAX: Duration = Duration::from_secs(SETTLE_MAX.as_secs() + 5);
/// How long to wait for a push that another is just bringing.
const AGAIN: Duration = Duration::from_millis(50);

/// What members are asked for, in words.
const BRING: &str = "bring the others what they lack";
const PACK: &str = "pack what it holds";

impl Replication {
    /// Has every live member pack and ship what is its to pack; returns when all have.
    ///
    /// # Errors
    /// One of them could not, or could not be reached.
    pub async fn flush_everywhere(&self) -> Result<()> {
        let (own, others) =
            tokio::join!(self.settle_all(SETTLE_MAX), self.ask_all(SETTLE, SETTLE_ANSWER_MAX, BRING));
        own.and(others).context("bring owners what they lack; until then nothing is packed")?;
        let (own, others) =
            tokio::join!(self.parts.ingester.flush_all(), self.ask_all(FLUSH, FLUSH_MAX, PACK));
        own.context("pack what this node holds").and(others)
    }

    /// Asks all live members for something that has no answer; `what` they are asked for is said where one fails.
    async fn ask_all(&self, method: Method, within: Duration, what: &str) -> Result<()> {
        let placement = self.placement();
        let asked = placement.live_peers().map(|peer| async {
            let deadline = Instant::now() + within;
            let done = self.parts.cluster.peers().call(peer.address, method, Bytes::new(), deadline).await;
            match done.map_err(anyhow::Error::from) {
                // A release that does not know of it does without.
                Err(error) if method == SETTLE && is_unknown(&error) => Ok(()),
                done => done.map(drop).with_context(|| format!("have `{}` {what}", peer.id)),
            }
        });
        join_all(asked).await.into_iter().fold(Ok(()), Result::and)
    }

    /// Brings all live owners what this node holds now and they lack, within so long.
    ///
    /// # Errors
    /// Some do not take it.
    pub(super) async fn settle_all(&self, within: Duration) -> Result<()> {
        let give_up = Instant::now() + within;
        let mut wanted: Option<BTreeSet<PushId>> = None;
        loop {
            let placement = self.placement();
            let mut doubts = self.doubts(&placement).await;
            doubts.retain(|member, _| placement.is_live(member));
            // What comes in meanwhile was not acknowledged before.
            let wanted = wanted.get_or_insert_with(|| doubts.values().flat_map(|d| d.pushes()).collect());
            doubts.values_mut().for_each(|doubts| doubts.keep(wanted));
            doubts.retain(|_, doubts| !doubts.is_empty());
            if doubts.is_empty() {
                return Ok(());
            }
            if Instant::now() >= give_up {
                let members: Vec<String> = doubts.keys().map(ToString::to_string).collect();
                bail!("bring `{}` what they lack: they do not take it", members.join("`, `"));
            }
            for peer in placement.live_peers() {
                if let Some(doubts) = doubts.remove(&peer.id)
                    && let Err(error) = self.settle(placement.ring().hash(), peer, doubts).await
                {
                    tracing::debug!(peer = %peer.id, %error, "an owner could not be brought what it lacks");
                }
            }
            sleep(AGAIN).await;
        }
    }
}

/// Packs all when another asks for it.
pub(super) struct Flushes(pub(super) Arc<Replication>);

impl Handler for Flushes {
    fn serve<'a>(&'a self, _: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move { done(self.0.parts.ingester.flush_all().await, reply).await })
    }
}

/// Brings others what they lack when another asks for it.
pub(super) struct Settles(pub(super) Arc<Replication>);

impl Handler for Settles {
    fn serve<'a>(&'a self, _: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move { done(self.0.settle_all(SETTLE_MAX).await, reply).await })
    }
}

async fn done(done: Result<()>, reply: &mut Reply) -> Result<(), Refusal> {
    done.map_err(|error| Refusal::new(RefusalCode::Failed, format!("{error:#}")))?;
    Ok(reply.send(Bytes::new()).await?)
}
