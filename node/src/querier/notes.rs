//! What comes beside an answer: what it took, what is missing from it, and how it was found.

use bincode::{Decode, Encode};
use grapevine_gossip::ring::NodeId;

use super::answer::Stats;
use super::drive::Warnings;

/// Texts of one kind that a reader may send: far more than it has, far less than would hurt.
const TEXTS_MAX: usize = 4096;

/// What comes beside an answer.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// What it took.
    pub stats: Stats,
    /// What is missing.
    pub warnings: Warnings,
    /// How it was found, for people; empty unless asked for.
    pub explain: Vec<String>,
}

/// [`Notes`] as they travel.
#[derive(Clone, Debug, Encode, Decode)]
pub struct SentNotes {
    stats: Stats,
    warnings: Vec<String>,
    explain: Vec<String>,
}

/// What an answer lacks that a member had no part in. Others read all that it owns, but it may have gone on alone while
/// it was cut off, and nobody can tell a member that is down from one that is: so this is said whenever one is missing.
pub fn unreached(member: &NodeId) -> String {
    format!("`{member}` cannot be reached: lines that it alone took in, if there are any, are missing")
}

impl Notes {
    /// Adds what another part of the same query noted, but for how it was found.
    pub fn merge(&mut self, other: Notes) {
        self.stats.merge(&other.stats);
        other.warnings.into_texts().into_iter().for_each(|text| self.warnings.add(text));
    }

    /// For sending.
    pub fn into_sent(self) -> SentNotes {
        let Notes { stats, warnings, mut explain } = self;
        explain.truncate(TEXTS_MAX);
        SentNotes { stats, warnings: warnings.into_texts(), explain }
    }
}

impl From<SentNotes> for Notes {
    fn from(sent: SentNotes) -> Self {
        let mut warnings = Warnings::default();
        sent.warnings.into_iter().for_each(|text| warnings.add(text));
        let mut explain = sent.explain;
        explain.truncate(TEXTS_MAX);
        Notes { stats: sent.stats, warnings, explain }
    }
}
