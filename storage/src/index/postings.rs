//! Postings: from a label's name and value to the streams that bear it.
//!
//! One key per (tenant, name, value), its streams as LMDB duplicates of 16 bytes: a million postings take some
//! 16 MB, where a key each would take a hundred.

use std::collections::BTreeSet;

use heed::{RoTxn, RwTxn};

use super::IndexError;
use super::env::{Table, Tables};
use super::keys::{Key, KeyText, split_text};
use super::streams::{self, id_at_end};
use crate::stream::{Labels, StreamId};

pub(super) fn add(
    table: Table,
    txn: &mut RwTxn<'_>,
    tenant: &str,
    id: StreamId,
    labels: &Labels,
) -> Result<(), IndexError> {
    for (name, value) in labels.iter() {
        let key = Key::of(tenant)?.name(name).value(value);
        table.put(txn, key.as_bytes(), &id.0.to_be_bytes())?;
    }
    Ok(())
}

pub(super) fn remove(
    table: Table,
    txn: &mut RwTxn<'_>,
    tenant: &str,
    id: StreamId,
    labels: &Labels,
) -> Result<(), IndexError> {
    for (name, value) in labels.iter() {
        let key = Key::of(tenant)?.name(name).value(value);
        table.delete_one_duplicate(txn, key.as_bytes(), &id.0.to_be_bytes())?;
    }
    Ok(())
}

/// The streams of a value (of those with its hash, if it is long), ascending, without taking them all.
pub(super) fn of_value<'t>(
    table: Table,
    txn: &'t RoTxn<'_>,
    tenant: &str,
    name: &str,
    value: &str,
) -> Result<impl Iterator<Item = Result<StreamId, IndexError>> + use<'t>, IndexError> {
    let key = Key::of(tenant)?.name(name).value(value);
    let ids = table.get_duplicates(txn, key.as_bytes())?;
    Ok(ids.into_iter().flatten().map(|entry| id_at_end(entry?.1)))
}

/// Gives each value of a label once, with the key that leads to its streams. The order is that of keys.
pub(super) fn each_value(
    tables: &Tables,
    txn: &RoTxn<'_>,
    tenant: &str,
    name: &str,
    mut on_value: impl FnMut(&str, &[u8]) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let prefix = Key::of(tenant)?.name(name);
    for entry in tables.postings.prefix_iter(txn, prefix.as_bytes())?.move_between_keys() {
        let (key, first) = entry?;
        match split_text(&key[prefix.as_bytes().len()..]).ok_or_else(bad_key)?.0 {
            KeyText::Short(value) => on_value(value, key)?,
            KeyText::Hashed => {
                let stream = streams::get(tables.streams, txn, tenant, id_at_end(first)?)?;
                if let Some(value) = stream.as_ref().and_then(|stream| stream.get(name)) {
                    on_value(value, key)?;
                }
            }
        }
    }
    Ok(())
}

/// Adds the streams of a key that [`each_value`] gave.
pub(super) fn of_key(
    table: Table,
    txn: &RoTxn<'_>,
    key: &[u8],
    ids: &mut Vec<StreamId>,
) -> Result<(), IndexError> {
    for entry in table.get_duplicates(txn, key)?.into_iter().flatten() {
        ids.push(id_at_end(entry?.1)?);
    }
    Ok(())
}

/// The label names of a tenant's streams: one seek per name, however many values it has.
pub(super) fn names(
    tables: &Tables,
    txn: &RoTxn<'_>,
    tenant: &str,
    names: &mut BTreeSet<String>,
) -> Result<(), IndexError> {
    let prefix = Key::of(tenant)?;
    let mut from = Key::of(tenant)?;
    while let Some((key, first)) = tables.postings.get_greater_than_or_equal_to(txn, from.as_bytes())? {
        let Some(rest) = key.strip_prefix(prefix.as_bytes()) else { break };
        let (name, after) = split_text(rest).ok_or_else(bad_key)?;
        let field = &rest[..rest.len() - after.len()];
        match name {
            KeyText::Short(name) => drop(names.insert(name.to_owned())),
            KeyText::Hashed => {
                let stream = streams::get(tables.streams, txn, tenant, id_at_end(first)?)?;
                let labels = stream.map(|stream| stream.labels).unwrap_or_default();
                let found = labels.iter().find(|(name, _)| Key::new().name(name).as_bytes() == field);
                names.extend(found.map(|(name, _)| (*name).to_owned()));
            }
        }
        from = Key::of(tenant)?.bytes(field).after_texts();
    }
    Ok(())
}

fn bad_key() -> IndexError {
    IndexError::Corrupt { what: "postings key", reason: "it holds no text".into() }
}
