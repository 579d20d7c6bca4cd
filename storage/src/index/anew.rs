//! What was tried with the packs of which one was made that the chunk store has lost: they may come back a few at a time,
//! and the same few need not be merged twice.
//!
//! Kept in the table `meta`, each under the id of the lost pack, until that is given up.

use std::collections::BTreeSet;

use heed::RwTxn;

use super::IndexError;
use super::day::DayIndex;
use super::env::Tables;
use super::packs::PackId;

/// Before the id of a pack that is lost; the value is the ids of what was tried.
const ANEW_PREFIX: &[u8] = b"anew/";
const ID_BYTES: usize = size_of::<u128>();

/// What was made of packs that came back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MadeAnew {
    /// The pack that they were merged into; none if nothing came of it.
    pub into: Option<PackId>,
    /// The packs that were back.
    pub of: BTreeSet<PackId>,
}

impl DayIndex {
    /// What was tried last for a pack that is lost.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn made_anew(&self, lost: PackId) -> Result<MadeAnew, IndexError> {
        self.env.read(|tables, txn| {
            let value = tables.meta.get(txn, &anew_key(lost))?.unwrap_or_default();
            let (ids, rest) = value.as_chunks::<ID_BYTES>();
            if !rest.is_empty() {
                let reason = format!("it has `{}` bytes", value.len());
                return Err(IndexError::Corrupt { what: "packs that came back", reason });
            }
            let mut ids = ids.iter().map(|id| PackId(u128::from_be_bytes(*id)));
            let into = ids.next().filter(|id| *id != NOTHING);
            Ok(MadeAnew { into, of: ids.collect() })
        })
    }

    /// Notes what was tried for a pack that is lost.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn note_made_anew(&self, lost: PackId, made: &MadeAnew) -> Result<(), IndexError> {
        let into = made.into.unwrap_or(NOTHING);
        let ids = [into].into_iter().chain(made.of.iter().copied());
        let value: Vec<u8> = ids.flat_map(|id| id.0.to_be_bytes()).collect();
        self.env.write(|tables, txn| Ok(tables.meta.put(txn, &anew_key(lost), &value)?))
    }
}

/// In the place of a pack where there is none.
const NOTHING: PackId = PackId(0);

/// Of a pack that nobody wants any more.
pub(super) fn forget(tables: &Tables, txn: &mut RwTxn<'_>, id: PackId) -> Result<(), IndexError> {
    Ok(tables.meta.delete(txn, &anew_key(id)).map(drop)?)
}

fn anew_key(id: PackId) -> Vec<u8> {
    [ANEW_PREFIX, &id.0.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::MadeAnew;
    use crate::index::PackId;
    use crate::index::tests::{DAY, index};

    #[test]
    fn what_was_tried_for_a_lost_pack_is_known_until_that_is_given_up() {
        let (_dir, index) = index();
        let day = index.day_or_create(DAY).unwrap();
        let made = |into, of: &[u128]| MadeAnew { into, of: of.iter().map(|id| PackId(*id)).collect() };
        assert_eq!(day.made_anew(PackId(9)).unwrap(), MadeAnew::default());
        for tried in [made(None, &[1, 2]), made(Some(PackId(7)), &[1, 2, 3]), made(None, &[])] {
            day.note_made_anew(PackId(9), &tried).unwrap();
            assert_eq!(day.made_anew(PackId(9)).unwrap(), tried);
        }
        day.note_made_anew(PackId(9), &made(None, &[1])).unwrap();
        assert_eq!(day.made_anew(PackId(8)).unwrap(), MadeAnew::default(), "of another");
        day.set_gone(&[PackId(9)], Some(PackId(10)), 5).unwrap();
        assert_eq!(day.made_anew(PackId(9)).unwrap(), MadeAnew::default());
    }
}
