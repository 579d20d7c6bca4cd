//! Of which tenants lines of a day were deleted on request: packs from before that must not be taken for what took their
//! place.
//!
//! Kept in the table `meta`, each under the tenant's name.

use super::IndexError;
use super::day::DayIndex;

/// Before the name of a tenant.
const ERASED_PREFIX: &[u8] = b"erased/";

impl DayIndex {
    /// Notes that lines of a tenant are deleted from the packs of this day.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn note_erased(&self, tenant: &str) -> Result<(), IndexError> {
        if self.was_erased(tenant)? {
            return Ok(());
        }
        self.env.write(|tables, txn| Ok(tables.meta.put(txn, &key(tenant), &[])?))
    }

    /// Whether lines of a tenant were ever deleted from the packs of this day, or were to be.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn was_erased(&self, tenant: &str) -> Result<bool, IndexError> {
        self.env.read(|tables, txn| Ok(tables.meta.get(txn, &key(tenant))?.is_some()))
    }
}

fn key(tenant: &str) -> Vec<u8> {
    [ERASED_PREFIX, tenant.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use crate::index::Index;
    use crate::index::tests::{DAY, OPTIONS};

    #[test]
    fn a_day_remembers_whose_lines_were_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let erased = |note: &[&str]| {
            let index = Index::open(dir.path(), OPTIONS).unwrap();
            let day = index.day_or_create(DAY).unwrap();
            note.iter().for_each(|tenant| day.note_erased(tenant).unwrap());
            ["a", "b", ""].map(|tenant| day.was_erased(tenant).unwrap())
        };
        assert_eq!(erased(&[]), [false; 3]);
        assert_eq!(erased(&["a", "a"]), [true, false, false]);
        assert_eq!(erased(&[]), [true, false, false], "after a restart");
    }
}
