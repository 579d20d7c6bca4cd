//! Makes a written pack visible: its name in the chunk store, its place in the index.

use grapevine_storage::head::Coverage;
use grapevine_storage::index::{Cover, Day, FlushMark, Index, IndexError, NewPack, PackState};
use grapevine_storage::pack::{PackSummary, StreamEntry};
use grapevine_storage::stream::StreamId;

/// Names a pack in the chunk store: `<tenant>/<day>/<first token>-<last token>/<content hash>.gz`. Tokens are the
/// top 16 bits of those of the pack's first and last stream, so that a listing shows which ranges an object covers.
pub fn object_key(tenant: &str, day: Day, summary: &PackSummary) -> String {
    let token = |stream: Option<&StreamEntry>| stream.map_or(0, |stream| stream.id.token() >> 48);
    let streams = &summary.directory.streams;
    let (first, last) = (token(streams.first()), token(streams.last()));
    format!("{tenant}/{day}/{first:04x}-{last:04x}/{:032x}.gz", summary.content_hash)
}

/// What a pack takes the place of.
#[derive(Clone, Debug, Default)]
pub struct Covering {
    /// How far it covers the log, stream by stream.
    pub log: Vec<(StreamId, Coverage)>,
    /// Which pushes it covers.
    pub pushes: Vec<Cover>,
    /// Now, ns since 1970.
    pub at: i64,
}

/// Marks of the log for what is covered of it.
pub fn marks(log: &[(StreamId, Coverage)]) -> Vec<FlushMark> {
    let mark = |stream: StreamId| move |(wal_id, through)| FlushMark { wal_id, stream, through };
    log.iter().flat_map(|(stream, coverage)| coverage.iter().map(mark(*stream))).collect()
}

/// Makes a spooled pack visible and marks the log as covered, in one transaction.
///
/// # Errors
/// Those of the index; nothing is visible then.
pub fn commit(
    index: &Index,
    tenant: &str,
    day: Day,
    summary: &PackSummary,
    covering: Covering,
) -> Result<(), IndexError> {
    let key = object_key(tenant, day, summary);
    let marks = marks(&covering.log);
    let mut pack = NewPack::of_summary(tenant, &key, PackState::Spooled, summary, marks);
    pack.covers = (covering.at, covering.pushes);
    index.day_or_create(day)?.add_pack(&pack)
}
