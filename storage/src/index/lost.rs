//! Packs of a day that others have told of and that are nowhere to be had: their lines are gone until somebody brings the
//! object back. Remembered, so that answers go on to say what they lack and nobody waits for them.
//!
//! Kept in the table `meta`, each under its id. A pack that is indexed after all, or given up, is not lost any more.

use heed::RwTxn;

use super::IndexError;
use super::day::{DayIndex, gone_key};
use super::env::Tables;
use super::packs::PackId;

/// Before the id of a pack that is lost; the value is its key in the chunk store.
const LOST_PREFIX: &[u8] = b"lost/";

impl DayIndex {
    /// The packs that are nowhere to be had, by id, and their keys in the chunk store.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn lost(&self) -> Result<Vec<(PackId, String)>, IndexError> {
        self.env.read(|tables, txn| {
            let mut all = Vec::new();
            for entry in tables.meta.prefix_iter(txn, LOST_PREFIX)? {
                let (key, value) = entry?;
                let id = key[LOST_PREFIX.len()..].try_into().map(u128::from_be_bytes);
                let id = id.map_err(|_| IndexError::Corrupt {
                    what: "lost pack",
                    reason: format!("its key has `{}` bytes", key.len()),
                })?;
                all.push((PackId(id), String::from_utf8_lossy(value).into_owned()));
            }
            Ok(all)
        })
    }

    /// Notes that a pack is nowhere to be had; of one that is known, that what is not known of it cannot be. Returns whether
    /// that is news, as it never is of one that was given up.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn note_lost(&self, id: PackId, object_key: &str) -> Result<bool, IndexError> {
        self.env.write(|tables, txn| {
            let is_noted = |key: &[u8]| Ok::<_, IndexError>(tables.meta.get(txn, key)?.is_some());
            if is_noted(&gone_key(id))? || is_noted(&lost_key(id))? {
                return Ok(false);
            }
            tables.meta.put(txn, &lost_key(id), object_key.as_bytes())?;
            Ok(true)
        })
    }
}

/// Of a pack that is there after all, or that nobody wants any more.
pub(super) fn forget(tables: &Tables, txn: &mut RwTxn<'_>, id: PackId) -> Result<(), IndexError> {
    Ok(tables.meta.delete(txn, &lost_key(id)).map(drop)?)
}

fn lost_key(id: PackId) -> Vec<u8> {
    [LOST_PREFIX, &id.0.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use crate::index::PackId;
    use crate::index::tests::{DAY, index, labels, pack};

    #[test]
    fn a_pack_is_lost_until_it_is_indexed_or_given_up() {
        let (_dir, index) = index();
        let day = index.day_or_create(DAY).unwrap();
        let of = |id| pack(id, "t", &[labels(&[("n", "a")])], 0, 10);
        day.set_gone(&[PackId(2)], None, 5).unwrap();
        let news = [2, 3, 4, 3].map(|id| day.note_lost(PackId(id), &format!("key {id}")).unwrap());
        assert_eq!(news, [false, true, true, false], "one was given up, one is told of twice");
        let lost = |ids: &[u128]| {
            let expected: Vec<_> = ids.iter().map(|id| (PackId(*id), format!("key {id}"))).collect();
            assert_eq!(day.lost().unwrap(), expected);
        };
        lost(&[3, 4]);
        day.add_pack(&of(3)).unwrap();
        lost(&[4]);
        day.set_gone(&[PackId(4)], Some(PackId(3)), 6).unwrap();
        lost(&[]);
        day.note_lost(PackId(3), "key 3").unwrap();
        lost(&[3]);
        day.add_streams(&of(3)).unwrap();
        lost(&[]);
    }
}
