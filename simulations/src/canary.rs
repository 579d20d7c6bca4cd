//! Bugs planted on purpose: a harness that does not find them is worth nothing.
//!
//! Some are of the ground that nodes stand on: it lies, as where a node forgets to ask it. The others are in the nodes
//! themselves ([`grapevine::planted`]), which have them only where this crate is.

use grapevine::planted::{self, Bug};

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Canary {
    /// Syncs of files do nothing: a node that acknowledges before it syncs.
    SyncsLie,
    /// Syncs of folders do nothing: a node that forgets that names must be synced too.
    FolderSyncsLie,
    /// Puts into the chunk store do nothing: a node that lets go of a pack before it is stored.
    PutsLie,
    /// [`Bug::AnswersUnsynced`].
    AnswersUnsynced,
    /// [`Bug::AnswersUnheld`].
    AnswersUnheld,
    /// [`Bug::ForgetsRepairs`].
    ForgetsRepairs,
    /// [`Bug::ForgetsADay`].
    ForgetsADay,
    /// [`Bug::ReadsUnlearnt`].
    ReadsUnlearnt,
    /// [`Bug::LetsGoUnindexed`].
    LetsGoUnindexed,
    /// [`Bug::DoubtsNothing`].
    DoubtsNothing,
    /// [`Bug::KeepsSilent`].
    KeepsSilent,
    /// [`Bug::ReadsTwice`].
    ReadsTwice,
}

impl Canary {
    /// Plants it in the nodes of this process, if it is one of theirs.
    pub fn plant(self) {
        self.of_nodes().into_iter().for_each(planted::plant);
    }

    fn of_nodes(self) -> Option<Bug> {
        Some(match self {
            Canary::SyncsLie | Canary::FolderSyncsLie | Canary::PutsLie => return None,
            Canary::AnswersUnsynced => Bug::AnswersUnsynced,
            Canary::AnswersUnheld => Bug::AnswersUnheld,
            Canary::ForgetsRepairs => Bug::ForgetsRepairs,
            Canary::ForgetsADay => Bug::ForgetsADay,
            Canary::ReadsUnlearnt => Bug::ReadsUnlearnt,
            Canary::LetsGoUnindexed => Bug::LetsGoUnindexed,
            Canary::DoubtsNothing => Bug::DoubtsNothing,
            Canary::KeepsSilent => Bug::KeepsSilent,
            Canary::ReadsTwice => Bug::ReadsTwice,
        })
    }
}
