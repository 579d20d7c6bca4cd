//! What a node can be asked of a query, for a share of the ring: by itself, or by another over the network.
//!
//! Each kind of question says how one node answers it, how that answer is cut into items that travel, and how the
//! answers of several shares become one. The node that was asked by a client puts its questions through
//! `scatter::Scatter`, whether there is a cluster or not.

use std::future::Future;
use std::sync::Arc;

use bincode::{Decode, Encode};
use grapevine_gossip::rpc::Method;
use grapevine_storage::index::TimeRange;

use super::error::QueryError;
use super::freshness::Unconfirmed;
use super::notes::Notes;
use super::share::Share;
use super::{Asker, Querier};

/// Items of an answer take about so many bytes of memory each.
pub const ITEM_BYTES: usize = 1 << 20;

/// Whose question it is, about which share, at which moment.
#[derive(Clone, Debug)]
pub struct Piece {
    /// Who asks.
    pub asker: Arc<Asker>,
    /// Which streams.
    pub share: Share,
    /// The time that stages are told, ns: the same on all nodes.
    pub now: i64,
    /// What the reader may lack.
    pub unconfirmed: Arc<[Unconfirmed]>,
}

/// What became of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was taken in; the next may come.
    More,
    /// No further item can matter.
    Enough,
    /// It does not belong to the question: why.
    Unfit(String),
}

/// A kind of question.
pub trait Question: Clone + Send + Sync + 'static {
    /// The method by which it is asked of another node.
    const METHOD: Method;
    /// The question as it travels.
    type Wire: Encode + Decode<()> + Send;
    /// What is found.
    type Found: Send + 'static;
    /// Some of it, as it travels.
    type Item: Encode + Decode<()> + Send + 'static;

    /// The question as it travels.
    fn wire(&self) -> Self::Wire;

    /// The time of the lines that it is about.
    fn range(&self) -> TimeRange;

    /// What is found where nothing is.
    fn nothing(&self, asker: &Asker) -> Self::Found;

    /// Answers from what this node holds.
    fn read(
        &self,
        querier: &Querier,
        piece: &Piece,
        notes: &mut Notes,
    ) -> impl Future<Output = Result<Self::Found, QueryError>> + Send;

    /// What was found, in items of about [`ITEM_BYTES`].
    fn items(found: Self::Found) -> impl Iterator<Item = Self::Item> + Send;

    /// Takes in an item of another node's answer.
    ///
    /// # Errors
    /// It is more than a query may hold.
    fn take(&self, item: Self::Item, into: &mut Self::Found) -> Result<Taken, QueryError>;

    /// Adds what was found for another share.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn merge(&self, part: Self::Found, into: &mut Self::Found) -> Result<(), QueryError>;
}

/// Cuts values into runs that weigh about [`ITEM_BYTES`] together.
pub fn runs<T, I>(values: I, weight: impl Fn(&T) -> usize) -> impl Iterator<Item = Vec<T>>
where
    I: IntoIterator<Item = T>,
{
    let mut values = values.into_iter();
    std::iter::from_fn(move || {
        let mut run = Vec::new();
        let mut bytes = 0;
        while bytes < ITEM_BYTES {
            let Some(value) = values.next() else { break };
            bytes += size_of::<T>() + weight(&value);
            run.push(value);
        }
        (!run.is_empty()).then_some(run)
    })
}

/// What pairs of texts weigh, beside the list that holds them.
pub fn pairs_weight(pairs: &[(String, String)]) -> usize {
    pairs.iter().map(|(name, value)| size_of::<(String, String)>() + name.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::{ITEM_BYTES, runs};

    #[test]
    fn runs_are_bounded_and_lose_nothing() {
        let values: Vec<usize> = (0..100).collect();
        let cut: Vec<Vec<usize>> = runs(values.clone(), |_| ITEM_BYTES / 10).collect();
        assert!(cut.iter().all(|run| run.len() == 10), "{cut:?}");
        assert_eq!(cut.concat(), values);
        assert_eq!(runs(Vec::<usize>::new(), |_| 1).count(), 0);
    }
}
