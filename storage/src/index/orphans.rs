//! Since when objects of a day have been seen that bear a pack's name and are none, so that one is deleted only after a
//! grace, however often the node is started meanwhile.
//!
//! Kept in the table `meta`, each under its key in the chunk store.

use super::IndexError;
use super::day::DayIndex;

/// Before the key of an object; the value is when it was seen first, ns since 1970, little endian.
const ORPHAN_PREFIX: &[u8] = b"orphan/";

impl DayIndex {
    /// Notes which orphans there are at the moment `now`, and forgets all others. Returns when each was seen first.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn note_orphans(&self, object_keys: &[String], now: i64) -> Result<Vec<(String, i64)>, IndexError> {
        self.env.write(|tables, txn| {
            let mut known = Vec::new();
            for entry in tables.meta.prefix_iter(txn, ORPHAN_PREFIX)? {
                known.push(entry?.0.to_vec());
            }
            let mut seen = Vec::new();
            for object_key in object_keys {
                let key = [ORPHAN_PREFIX, object_key.as_bytes()].concat();
                let first = tables.meta.get(txn, &key)?.and_then(|at| at.try_into().ok());
                let first = first.map_or(now, i64::from_le_bytes);
                tables.meta.put(txn, &key, &first.to_le_bytes())?;
                known.retain(|other| *other != key);
                seen.push((object_key.clone(), first));
            }
            known.iter().try_for_each(|key| tables.meta.delete(txn, key).map(drop))?;
            Ok(seen)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::index::Index;
    use crate::index::tests::{DAY, OPTIONS};

    #[test]
    fn an_orphan_counts_from_when_it_was_seen_first_and_anew_once_it_was_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let note = |keys: &[&str], now| {
            // Opened anew each time, as by a node that is started every day.
            let index = Index::open(dir.path(), OPTIONS).unwrap();
            let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
            index.day_or_create(DAY).unwrap().note_orphans(&keys, now).unwrap()
        };
        let seen = |pairs: &[(&str, i64)]| {
            pairs.iter().map(|(key, at)| ((*key).to_owned(), *at)).collect::<Vec<(String, i64)>>()
        };
        assert_eq!(note(&["a", "b"], 1), seen(&[("a", 1), ("b", 1)]));
        assert_eq!(note(&["a", "c"], 2), seen(&[("a", 1), ("c", 2)]));
        assert_eq!(note(&["a", "b"], 3), seen(&[("a", 1), ("b", 3)]));
    }
}
