//! Where queries and the youngest lines meet: what an owner may not have yet, and how it gets it before it reads.
//!
//! A line is acknowledged once some of its owners have it; the one that is to read may be another. So a query first
//! asks what is not known to be with all owners (*unconfirmed*), and each reader fetches what it lacks of that
//! before it reads. A node without a cluster has nothing to ask: [`NothingUnconfirmed`].

use std::fmt;
use std::sync::Arc;

use bincode::{Decode, Encode};
use grapevine_gossip::ring::NodeId;
use grapevine_storage::atom::PushId;
use grapevine_storage::index::{Day, TimeRange};
use tokio::time::Instant;

use super::share::Share;
use super::spread::Spread;

/// Pushes that one query can be told of, each once for each holder. Ten thousand a second with two other holders,
/// confirmed within half a second, fit; what does not fit is a warning in the answer.
pub const UNCONFIRMED_MAX: usize = 16_384;

/// What a reader may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// A push that not all its owners are known to have.
    Push(PushId),
    /// A push with streams that its reader does not own, so that it was not sent these with the others.
    Beyond(PushId),
    /// Packs of a day that not all owners of their streams have heard of.
    Packs(Day),
    /// What its holder told others of in an earlier life, which in its present one it does not know; and what has left
    /// its heads for packs since it was asked.
    Before(Moment),
}

/// When a holder said what it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Moment {
    /// Its life then, from which a reader must have learnt.
    pub life: u64,
    /// How often something had left its heads in this life.
    pub turn: u64,
}

/// What a reader may lack, and one who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// What it is.
    pub doubt: Doubt,
    /// A member that has it.
    pub holder: NodeId,
}

/// What was found before the pieces of a query go out.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// At most [`UNCONFIRMED_MAX`]; more are cut off, with a warning.
    pub unconfirmed: Vec<Unconfirmed>,
    /// What may be missing because someone could not be asked.
    pub warnings: Vec<String>,
}

/// Knows what is not yet with all its owners.
#[async_trait::async_trait]
pub trait Freshness: Send + Sync + fmt::Debug {
    /// Asks the owners in the spread, before the pieces go out, which pushes of these tenants with lines in the range
    /// are not known to be with all their owners.
    async fn unconfirmed(
        &self,
        tenants: &[Arc<str>],
        range: TimeRange,
        spread: &Spread,
        deadline: Instant,
    ) -> Found;

    /// Makes sure, on a reader of a share, that it has what it owns of these, and has learnt from everyone who lives;
    /// returns what may be missing, for people.
    async fn catch_up(&self, share: &Share, unconfirmed: &[Unconfirmed], deadline: Instant) -> Vec<String>;

    /// Why this node cannot answer for a share, if it cannot: another owner is asked then.
    fn unreadable(&self, _: &Share) -> Option<String> {
        None
    }
}

/// For nodes that own everything they have.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingUnconfirmed;

#[async_trait::async_trait]
impl Freshness for NothingUnconfirmed {
    async fn unconfirmed(&self, _: &[Arc<str>], _: TimeRange, _: &Spread, _: Instant) -> Found {
        Found::default()
    }

    async fn catch_up(&self, _: &Share, _: &[Unconfirmed], _: Instant) -> Vec<String> {
        Vec::new()
    }
}
