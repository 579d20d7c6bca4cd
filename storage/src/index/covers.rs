//! Which pushes a pack holds, stream by stream: by it, the owners of a stream in a cluster know which of their
//! entries they need not keep, and need not send to each other. Kept for hours, not for ever: without it an owner that
//! was away that long merely stores some entries a second time, which are one when read.

use heed::{RoTxn, RwTxn};

use super::IndexError;
use super::env::Table;
use super::keys::Key;
use super::packs::PackId;
use crate::atom::PushSet;
use crate::stream::StreamId;

/// What one pack covers of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// The stream.
    pub stream: StreamId,
    /// The pushes of which the pack, with those before it, holds everything the stream had of the day.
    pub pushes: PushSet,
}

/// A cover of some pack, as the index keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownCover {
    /// The pack.
    pub pack: PackId,
    /// When it was indexed, nanoseconds since 1970.
    pub at: i64,
    /// Whose the pack is.
    pub tenant: String,
    /// What it covers.
    pub cover: Cover,
}

/// Bytes of one cover at most; runs beyond are left out, which only costs space.
const COVER_BYTES_MAX: usize = 256 << 10;
const VERSION: u8 = 1;

fn key(pack: PackId, stream: StreamId) -> Key {
    Key::new().bytes(&pack.0.to_be_bytes()).stream(stream)
}

/// value := version u8 | when i64 | tenant length u8 | tenant | set
pub(super) fn put(
    table: Table,
    txn: &mut RwTxn<'_>,
    pack: PackId,
    (tenant, at): (&str, i64),
    cover: &Cover,
) -> Result<(), IndexError> {
    let mut set = cover.pushes.to_bytes();
    if set.len() > COVER_BYTES_MAX {
        let mut runs = cover.pushes.runs().collect::<Vec<_>>();
        runs.truncate(COVER_BYTES_MAX / 20); // A run with its origin takes no more.
        set = runs.into_iter().collect::<PushSet>().to_bytes();
    }
    let mut value = vec![VERSION];
    value.extend_from_slice(&at.to_le_bytes());
    value.push(tenant.len() as u8); // Keys are made of it too, which bounds it.
    value.extend_from_slice(tenant.as_bytes());
    value.extend_from_slice(&set);
    Ok(table.put(txn, key(pack, cover.stream).as_bytes(), &value)?)
}

/// Pack, stream, time, tenant and set.
fn split<'a>(key: &[u8], value: &'a [u8]) -> Option<(PackId, StreamId, i64, &'a str, &'a [u8])> {
    let (pack, stream) = key.split_first_chunk::<16>()?;
    let stream = StreamId(u128::from_be_bytes(stream.try_into().ok()?));
    let (&VERSION, value) = value.split_first()? else { return None };
    let (at, value) = value.split_first_chunk::<8>()?;
    let (length, value) = value.split_first()?;
    let (tenant, set) = value.split_at_checked(usize::from(*length))?;
    let (pack, at) = (PackId(u128::from_be_bytes(*pack)), i64::from_le_bytes(*at));
    Some((pack, stream, at, std::str::from_utf8(tenant).ok()?, set))
}

fn decode(key: &[u8], value: &[u8]) -> Option<KnownCover> {
    let (pack, stream, at, tenant, set) = split(key, value)?;
    let pushes = PushSet::from_bytes(set).ok()?;
    Some(KnownCover { pack, at, tenant: tenant.to_owned(), cover: Cover { stream, pushes } })
}

/// Gives every cover, of one pack or of all.
pub(super) fn each(
    table: Table,
    txn: &RoTxn<'_>,
    pack: Option<PackId>,
    mut on_cover: impl FnMut(KnownCover),
) -> Result<(), IndexError> {
    let mut give = |key: &[u8], value: &[u8]| decode(key, value).ok_or_else(corrupt).map(&mut on_cover);
    match pack {
        None => table.iter(txn)?.try_for_each(|entry| entry.map(|(key, value)| give(key, value))?),
        Some(pack) => {
            let mut of_pack = table.prefix_iter(txn, &pack.0.to_be_bytes())?;
            of_pack.try_for_each(|entry| entry.map(|(key, value)| give(key, value))?)
        }
    }
}

/// Gives what one pack covers of each stream, as bytes of a set that are not looked into.
pub(super) fn each_of(
    table: Table,
    txn: &RoTxn<'_>,
    pack: PackId,
    mut on_cover: impl FnMut(StreamId, &[u8]),
) -> Result<(), IndexError> {
    for entry in table.prefix_iter(txn, &pack.0.to_be_bytes())? {
        let (key, value) = entry?;
        let (_, stream, _, _, set) = split(key, value).ok_or_else(corrupt)?;
        on_cover(stream, set);
    }
    Ok(())
}

fn corrupt() -> IndexError {
    IndexError::Corrupt { what: "cover", reason: "it cannot be read".into() }
}

/// Forgets the covers of packs that were indexed before a moment. Returns how many there were.
pub(super) fn forget(table: Table, txn: &mut RwTxn<'_>, before: i64) -> Result<usize, IndexError> {
    let mut old = Vec::new();
    for entry in table.iter(txn)? {
        let (key, value) = entry?;
        if split(key, value).is_none_or(|(_, _, at, _, _)| at < before) {
            old.push(key.to_vec());
        }
    }
    for key in &old {
        table.delete(txn, key)?;
    }
    Ok(old.len())
}
