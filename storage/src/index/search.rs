//! Whether all that is stored has been looked through since somebody had reason to fear that the index lacks packs which
//! nobody else knows either. Kept as a file beside the days, so that a restart in between does not make it forgotten.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::IndexError;
use crate::durable;

const FILE: &str = "unsearched";

/// Counts what was asked for and what was done.
#[derive(Debug)]
pub(super) struct Search {
    path: PathBuf,
    wanted: AtomicU64,
    done: AtomicU64,
}

impl Search {
    pub(super) fn open(root: &Path) -> Self {
        let path = root.join(FILE);
        let wanted = u64::from(path.exists());
        Search { path, wanted: AtomicU64::new(wanted), done: AtomicU64::new(0) }
    }

    pub(super) fn is_due(&self) -> bool {
        self.done.load(Ordering::Relaxed) < self.wanted()
    }

    pub(super) fn wanted(&self) -> u64 {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(super) fn want(&self) -> Result<(), IndexError> {
        // Before the file is there: should it fail, this process knows at least.
        self.wanted.fetch_add(1, Ordering::Relaxed);
        durable::replace(&self.path, &[]).map_err(|error| IndexError::io("write", &self.path, error))
    }

    pub(super) fn finish(&self, wanted: u64) -> Result<(), IndexError> {
        let before = self.done.fetch_max(wanted, Ordering::Relaxed);
        if self.is_due() || before >= wanted {
            return Ok(());
        }
        fs::remove_file(&self.path).map_err(|error| IndexError::io("delete", &self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use crate::index::Index;
    use crate::index::tests::OPTIONS;

    #[test]
    fn a_search_is_due_until_one_that_was_begun_afterwards_is_over_whoever_restarts_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Index::open(dir.path(), OPTIONS).unwrap();
        let index = open();
        index.finish_search(index.searches_wanted()).unwrap();
        assert!(!index.is_search_due());
        let begun = index.searches_wanted();
        index.want_search().unwrap();
        index.finish_search(begun).unwrap();
        assert!(index.is_search_due(), "it was begun before");
        drop(index);
        let index = open();
        assert!(index.is_search_due(), "after a restart");
        assert_eq!(index.days().unwrap(), []);
        index.finish_search(index.searches_wanted()).unwrap();
        assert!(!index.is_search_due());
        drop(index);
        assert!(!open().is_search_due());
    }
}
