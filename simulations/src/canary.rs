//! Bugs planted on purpose: a harness that does not find them is worth nothing.
//!
//! Some are of the ground that nodes stand on: it lies, as where a node forgets to ask it. The others are in the nodes
//! themselves ([`grapevine::planted`]), which have them only where this crate is.

use std::fmt;
use std::str::FromStr;

use grapevine::planted::{self, Bug};

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Syncs of files do nothing: a node that acknowledges before it syncs.
    SyncsLie,
    /// Syncs of folders do nothing: a node that forgets that names must be synced too.
    FolderSyncsLie,
    /// Puts into the chunk store do nothing: a node that lets go of a pack before it is stored.
    PutsLie,
    /// One of the nodes' own.
    InNodes(Bug),
}

impl Canary {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        let ground = [Canary::SyncsLie, Canary::FolderSyncsLie, Canary::PutsLie];
        ground.into_iter().chain(Bug::ALL.map(Canary::InNodes))
    }

    /// Plants it in the nodes of this process, if it is one of theirs.
    pub fn plant(self) {
        if let Canary::InNodes(bug) = self {
            planted::plant(bug);
        }
    }
}

impl fmt::Display for Canary {
    /// What it is called in the code, in small letters: `AnswersUnsynced` is `answers-unsynced`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Canary::InNodes(bug) => format!("{bug:?}"),
            ground => format!("{ground:?}"),
        };
        for (at, letter) in name.char_indices() {
            if at > 0 && letter.is_ascii_uppercase() {
                f.write_str("-")?;
            }
            write!(f, "{}", letter.to_ascii_lowercase())?;
        }
        Ok(())
    }
}

impl FromStr for Canary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Canary::all().find(|canary| canary.to_string() == text).ok_or_else(|| {
            let names: Vec<String> = Canary::all().map(|canary| canary.to_string()).collect();
            format!("no bug is called `{text}`; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Canary;

    #[test]
    fn every_bug_is_found_again_by_its_name() {
        for canary in Canary::all() {
            assert_eq!(canary.to_string().parse(), Ok(canary));
        }
        assert_eq!(Canary::all().nth(3).unwrap().to_string(), "answers-unsynced");
        assert!("no-bug".parse::<Canary>().unwrap_err().contains("`no-bug`; there are syncs-lie, "));
    }
}
