//! Which streams a selector chooses, in heads and in the index, and what each of them holds of a time range.

use std::collections::BTreeMap;
use std::sync::Arc;

use grapevine_logql::ast::{MatchOp, Matcher as AstMatcher};
use grapevine_storage::index::{
    ChunkRecord, Day, Index, IndexError, Matcher, PackId, PackRecord, Test, TimeRange,
};
use grapevine_storage::pack::{BlockText, SealedBlock};
use grapevine_storage::stream::{Labels, StreamId};

use super::TENANT_LABEL;
use super::error::QueryError;
use super::share::Share;
use crate::deletes::matcher::Deletion;
use crate::ingester::heads::Heads;

/// Streams that one query may touch: bounds the memory of selecting them.
pub const STREAMS_MAX: usize = 200_000;

/// A chunk and the pack that it lies in.
#[derive(Clone, Debug)]
pub struct PackedChunk {
    /// The chunk.
    pub chunk: ChunkRecord,
    /// Its pack's name.
    pub pack: PackId,
    /// Its pack.
    pub record: Arc<PackRecord>,
}

/// What is known of one stream.
#[derive(Clone, Debug)]
pub struct StreamParts {
    /// Its labels.
    pub labels: Labels,
    /// Sealed blocks of its heads, in order of arrival.
    pub sealed: Vec<SealedBlock>,
    /// Blocks of its heads that are not compressed yet, each in order of time and without duplicates.
    pub open: Vec<BlockText>,
    /// Its chunks in packs.
    pub packed: Vec<PackedChunk>,
    /// What of it is to be deleted, and must not be seen.
    pub deletions: Vec<Arc<Deletion>>,
}

impl StreamParts {
    /// Notes which of the deletions are about this stream.
    pub fn hide(&mut self, deletions: &[Arc<Deletion>]) {
        let own = deletions.iter().filter(|deletion| deletion.selects(&self.labels));
        self.deletions.extend(own.cloned());
    }
}

/// Streams by id.
pub type Selection = BTreeMap<StreamId, StreamParts>;

/// Compiles a selector.
///
/// # Errors
/// An expression that does not compile.
pub fn compile(selector: &[AstMatcher]) -> Result<Vec<Matcher>, QueryError> {
    selector.iter().map(compile_one).collect()
}

/// The tenants that a selector chooses, and what it says of their streams: where several tenants are asked, a matcher
/// of [`TENANT_LABEL`] is about them.
///
/// # Errors
/// An expression that does not compile.
pub fn compile_for(
    tenants: &[Arc<str>],
    selector: &[AstMatcher],
) -> Result<(Vec<Arc<str>>, Vec<Matcher>), QueryError> {
    let several = tenants.len() > 1;
    let (of_tenant, of_stream): (Vec<_>, Vec<_>) =
        compile(selector)?.into_iter().partition(|m: &Matcher| several && m.name == TENANT_LABEL);
    let chosen = tenants.iter().filter(|tenant| of_tenant.iter().all(|m| m.matches(tenant)));
    Ok((chosen.cloned().collect(), of_stream))
}

fn compile_one(matcher: &AstMatcher) -> Result<Matcher, QueryError> {
    let value = matcher.value.clone();
    let regex = |value: &str| Matcher::anchored(value).map_err(|error| QueryError::Bad(error.to_string()));
    let test = match matcher.op {
        MatchOp::Equal => Test::Equal(value),
        MatchOp::NotEqual => Test::NotEqual(value),
        MatchOp::Regex => Test::Regex(regex(&value)?),
        MatchOp::NotRegex => Test::NotRegex(regex(&value)?),
    };
    Ok(Matcher { name: matcher.name.clone(), test })
}

/// Whether a label set meets every condition; a missing label is an empty one.
pub fn matches(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(&matcher.name).unwrap_or("")))
}

/// Selects what one tenant's streams of a share hold of a range, heads first: what moves from a head into the index
/// meanwhile is then found twice, and one of the two is dropped when blocks that overlap are merged.
///
/// # Errors
/// More than [`STREAMS_MAX`] streams, or an index that cannot be read.
pub fn select(
    heads: &Heads,
    index: &Index,
    tenant: &str,
    matchers: &[Matcher],
    range: TimeRange,
    share: &Share,
) -> Result<Selection, QueryError> {
    let mut selection = Selection::new();
    let days = Day::of(range.first)..=Day::of(range.last);
    for head in heads.of_tenant(tenant, *days.start(), *days.end()) {
        if !share.holds(head.id) || !matches(matchers, &head.labels) {
            continue;
        }
        let snapshot = head.snapshot(range.first, range.last);
        if snapshot.sealed.is_empty() && snapshot.open.is_empty() {
            continue;
        }
        let parts = parts_of(&mut selection, head.id, &head.labels)?;
        parts.sealed.extend(snapshot.sealed);
        parts.open.extend(snapshot.open);
    }
    for day in index.days()?.into_iter().filter(|day| days.contains(day)) {
        match select_day(index, day, tenant, matchers, range, share, &mut selection) {
            // Its packs are whole: the answer lacks this day until housekeeping has indexed them anew.
            Err(QueryError::Index(error @ IndexError::Corrupt { .. })) => {
                index.set_aside(day, error.to_string())?;
            }
            selected => selected?,
        }
    }
    Ok(selection)
}

fn select_day(
    index: &Index,
    day: Day,
    tenant: &str,
    matchers: &[Matcher],
    range: TimeRange,
    share: &Share,
    selection: &mut Selection,
) -> Result<(), QueryError> {
    let Some(day) = index.day(day)? else { return Ok(()) };
    let found = day.read(|snapshot| {
        let mut packs: BTreeMap<PackId, Arc<PackRecord>> = BTreeMap::new();
        let mut found = Vec::new();
        let streams = snapshot.select(tenant, matchers, range, STREAMS_MAX)?;
        for stream in streams.into_iter().filter(|stream| share.holds(stream.id)) {
            let mut packed = Vec::new();
            for chunk in snapshot.chunks_of(tenant, stream.id, range)? {
                let pack = chunk.pack;
                let record = match packs.get(&pack) {
                    Some(record) => record.clone(),
                    None => {
                        let Some(record) = snapshot.pack(pack)? else { continue };
                        packs.entry(pack).or_insert(Arc::new(record)).clone()
                    }
                };
                packed.push(PackedChunk { chunk, pack, record });
            }
            found.push((stream, packed));
        }
        Ok::<_, IndexError>(found)
    })?;
    for (stream, packed) in found {
        if !packed.is_empty() {
            parts_of(selection, stream.id, &stream.labels)?.packed.extend(packed);
        }
    }
    Ok(())
}

fn parts_of<'a>(
    selection: &'a mut Selection,
    id: StreamId,
    labels: &Labels,
) -> Result<&'a mut StreamParts, QueryError> {
    if selection.len() >= STREAMS_MAX && !selection.contains_key(&id) {
        return Err(QueryError::TooManyStreams);
    }
    Ok(selection.entry(id).or_insert_with(|| StreamParts {
        labels: labels.clone(),
        sealed: Vec::new(),
        open: Vec::new(),
        packed: Vec::new(),
        deletions: Vec::new(),
    }))
}
