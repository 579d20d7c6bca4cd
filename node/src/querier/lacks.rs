//! What an answer may lack of what is stored, as warnings: days whose index is not whole, packs that are nowhere to be
//! had, and a store that was not looked through.
//!
//! Packs that the index knows and that cannot be read are told of by those who read them.

use std::sync::Arc;

use grapevine_storage::index::{Day, Index, IndexError, TimeRange};

use super::share::Share;
use crate::housekeeping::pack_name::PackName;

/// Lost packs of a day that are named; of more it is said how many there are.
const NAMED_MAX: usize = 3;

/// Whatever may be missing from an answer about a range, for these tenants and for streams of a share.
///
/// # Errors
/// The index cannot be read.
pub fn lacks(
    index: &Index,
    tenants: &[Arc<str>],
    range: TimeRange,
    share: &Share,
) -> Result<Vec<String>, IndexError> {
    if range.first > range.last {
        return Ok(Vec::new());
    }
    let days = days(index, range)?;
    let mut warnings = incomplete(index, &days)?;
    for day in days {
        let Some(open) = index.day(day)? else { continue };
        let lost = open.lost()?.into_iter().map(|(_, object_key)| object_key);
        let lost: Vec<String> = lost.filter(|key| concerns(key, tenants, share)).collect();
        let named = lost.iter().take(NAMED_MAX);
        warnings.extend(named.map(|key| {
            format!(
                "the pack `{key}` is gone from the chunk store, and no member has it: its lines are missing"
            )
        }));
        if let Some(more @ 1..) = lost.len().checked_sub(NAMED_MAX) {
            warnings.push(format!("{more} more packs of {day} are gone: their lines are missing"));
        }
    }
    Ok(warnings)
}

/// The days of a range whose index is not whole, and that there may be others, as warnings: lines may be missing.
///
/// # Errors
/// The index cannot be read.
pub fn incomplete_days(index: &Index, range: TimeRange) -> Result<Vec<String>, IndexError> {
    incomplete(index, &days(index, range)?)
}

fn incomplete(index: &Index, days: &[Day]) -> Result<Vec<String>, IndexError> {
    let mut warnings = Vec::new();
    if index.is_unsure() {
        warnings.push(
            "the chunk store could not be looked through since the node started without an index: lines may be missing"
                .to_owned(),
        );
    }
    if index.is_search_due() {
        warnings.push(
            "members are gone that may have been the last to know of some packs, and the chunk store is not looked \
             through yet: lines may be missing"
                .to_owned(),
        );
    }
    for day in days {
        let Some(open) = index.day(*day)? else { continue };
        if open.is_incomplete()? {
            warnings.push(format!(
                "the index of {day} is incomplete until it is rebuilt: lines of that day may be missing"
            ));
        }
    }
    Ok(warnings)
}

fn days(index: &Index, range: TimeRange) -> Result<Vec<Day>, IndexError> {
    let wanted = Day::of(range.first)..=Day::of(range.last);
    Ok(index.days()?.into_iter().filter(|day| wanted.contains(day)).collect())
}

fn concerns(object_key: &str, tenants: &[Arc<str>], share: &Share) -> bool {
    PackName::parse(object_key).is_none_or(|name| {
        tenants.iter().any(|tenant| **tenant == *name.tenant) && !share.and(&name.span()).is_empty()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use grapevine_storage::index::{Day, Index, IndexOptions, PackId, TimeRange};

    use super::{Share, lacks};

    #[test]
    fn lost_packs_are_named_to_those_whose_lines_they_hold_and_no_more_than_some() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path(), IndexOptions { map_bytes: 1 << 20 }).unwrap();
        let day = Day(20_000);
        let key = |tenant: &str, id: u128| format!("{tenant}/{day}/0100-01ff/{id:032x}.gz");
        let open = index.day_or_create(day).unwrap();
        open.note_lost(PackId(1), &key("a", 1)).unwrap();
        for id in 2..8 {
            open.note_lost(PackId(id), &key("b", id)).unwrap();
        }
        let said =
            |tenant: &str, range, share: &Share| lacks(&index, &[Arc::from(tenant)], range, share).unwrap();
        let of_a = said("a", TimeRange::ALL, &Share::all());
        assert!(of_a.len() == 1 && of_a[0].contains(&key("a", 1)), "{of_a:?}");
        assert_eq!(said("c", TimeRange::ALL, &Share::all()), [""; 0]);
        let many = said("b", TimeRange::ALL, &Share::all());
        assert!(many.len() == 4 && many[3].starts_with("3 more packs"), "{many:?}");
        assert_eq!(
            said("a", TimeRange::ALL, &Share::of_arcs(&[(0, 0x00ff << 48)])),
            [""; 0],
            "not its share"
        );
        let next = *Day(20_001).timestamps().start();
        assert_eq!(said("a", TimeRange { first: next, last: next }, &Share::all()), [""; 0], "not its day");
    }
}
