//! A member leaves: it packs what is its to pack, hands over what only it holds, and waits until those who take over know
//! what they need to answer for it.
//!
//! From the moment it is *leaving* it owns nothing: new pushes go to those who own its ranges then, and it is read no
//! more, but still asked what others may lack. What is left in its heads goes to the owners as any stranger's does
//! (`compare`); what they must know of packs, they learn because the ring has changed
//! (`learn`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use grapevine_gossip::membership::{Peer, State};
use grapevine_gossip::rpc::{Handler, Reply, Request, Served};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::placement::Placement;
use super::{Replication, lock};
use crate::cluster::message::{decode, encode};
use crate::cluster::methods::LEARNT;

/// How often it is looked whether all is handed over.
const LOOK: Duration = Duration::from_millis(500);
/// How long one member may take to say what it has learnt.
const ASK_MAX: Duration = Duration::from_secs(3);
/// How long gossip gets to carry that the member has left.
const FAREWELL: Duration = Duration::from_secs(3);

/// What is still to be done before a member can go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remainder {
    /// Parts of pushes in its heads.
    pub atoms: usize,
    /// Packs that some owner has not heard of, or that are not in the chunk store.
    pub packs: usize,
    /// Members that have not learnt yet what they own without it.
    pub behind: Vec<String>,
}

impl Remainder {
    /// How many things are left.
    fn steps(&self) -> u64 {
        (self.atoms + self.packs + self.behind.len()) as u64
    }

    /// Whether nothing is left.
    pub fn is_nothing(&self) -> bool {
        *self == Remainder::default()
    }
}

impl fmt::Display for Remainder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Remainder { atoms, packs, behind } = self;
        write!(f, "{atoms} parts of pushes and {packs} packs to hand over")?;
        if !behind.is_empty() {
            write!(f, "; waiting for {} to learn what they own", behind.join(", "))?;
        }
        Ok(())
    }
}

impl Replication {
    /// Asks this node to leave its cluster.
    pub fn ask_to_leave(&self) {
        self.leave_asked.notify_one();
    }

    /// Waits until the node is asked to leave.
    pub async fn asked_to_leave(&self) {
        self.leave_asked.notified().await;
    }

    /// Leaves the cluster; returns when others hold and know all that this node did. `told` learns how far it is.
    ///
    /// # Errors
    /// Nobody is there to take over, or it takes longer than `most`; the node is then still a member, and its log keeps
    /// everything.
    pub async fn hand_over(&self, most: Duration, told: impl FnMut(&str)) -> Result<()> {
        let worker = &self.parts.staff.leave;
        worker.round(self.hand_over_all(most, told)).await.map_err(anyhow::Error::msg)
    }

    async fn hand_over_all(&self, most: Duration, mut told: impl FnMut(&str)) -> Result<()> {
        let is_active = |peer: &Peer| peer.profile.state == State::Active;
        if !self.placement().live_peers().any(is_active) {
            bail!("no other active member is there to take over");
        }
        let give_up = Instant::now() + most;
        told("packs what is its to pack");
        let packed = timeout_at(give_up, self.parts.ingester.flush_all()).await;
        if let Err(error) = packed.context("it takes too long").flatten() {
            let error = format!("{error:#}");
            tracing::warn!(error, "not everything could be packed; what was not is handed over as it is");
        }
        self.parts.cluster.set_state(State::Leaving).await;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut most_left = 0;
        loop {
            looks.tick().await;
            let left = self.remainder().await;
            most_left = left.steps().max(most_left);
            self.parts.staff.leave.progress(most_left - left.steps(), most_left);
            if left.is_nothing() {
                break;
            }
            if Instant::now() >= give_up {
                bail!("not done within {most:?}: {left}");
            }
            told(&left.to_string());
        }
        self.parts.cluster.set_state(State::Left).await;
        told("has left the cluster");
        tokio::time::sleep(FAREWELL).await;
        Ok(())
    }

    async fn remainder(&self) -> Remainder {
        let placement = self.placement();
        let is_leaving = placement.ring().member(placement.me()).is_none();
        let atoms = self.parts.ingester.heads().all().iter().map(|(_, head)| head.pushes().len()).sum();
        let is_active = |peer: &&Peer| peer.profile.state == State::Active;
        let asked = placement.live_peers().filter(is_active).map(|peer| self.is_behind(peer, &placement));
        let mut behind: Vec<String> =
            futures_util::future::join_all(asked).await.into_iter().flatten().collect();
        if !is_leaving {
            behind.push("gossip".to_owned());
        }
        Remainder { atoms, packs: self.announcing.len(), behind }
    }

    /// A member's name, if it has not learnt everything by the ring as it is without this node, this node's packs among
    /// it.
    async fn is_behind(&self, peer: &Peer, placement: &Arc<Placement>) -> Option<String> {
        let (peers, deadline) = (self.parts.cluster.peers(), Instant::now() + ASK_MAX);
        let answer = peers.call(peer.address, LEARNT, Bytes::new(), deadline).await;
        let learnt = answer.ok().and_then(|answer| decode::<(u64, bool)>(&answer).ok());
        (learnt != Some((placement.ring().hash().0, true))).then(|| peer.id.to_string())
    }
}

/// Says what this node has learnt: by which ring, and whether from the asker.
pub(super) struct Tells(pub(super) Arc<Replication>);

impl Handler for Tells {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            let placement = self.0.placement();
            let asker = placement.member_at(request.peer).and_then(|id| placement.view().peer(id));
            let learnt = {
                let learnt = lock(&self.0.learnt);
                (learnt.ring_hash(), asker.is_some_and(|asker| learnt.from(asker)))
            };
            Ok(reply.send(encode(&learnt)?).await?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Remainder;

    #[test]
    fn what_is_left_is_told_in_words() {
        let left = Remainder { atoms: 3, packs: 1, behind: vec!["n2".into(), "n3".into()] };
        assert_eq!(
            left.to_string(),
            "3 parts of pushes and 1 packs to hand over; waiting for n2, n3 to learn what they own"
        );
        assert!(!left.is_nothing() && Remainder::default().is_nothing());
    }
}
