//! Counts what a selector chooses, chunk by chunk, in heads and in the index.

use grapevine_gossip::rpc::{Method, Refusal};
use grapevine_logql::ast::Matcher as AstMatcher;
use grapevine_storage::head::BlockExtent;
use grapevine_storage::index::{ChunkRecord, Day, Index, Matcher, TimeRange};
use grapevine_storage::stream::{Labels, StreamId};

use super::catalogue::Catalogued;
use super::error::QueryError;
use super::notes::Notes;
use super::question::{Piece, Question, Taken};
use super::select::{STREAMS_MAX, compile_for, matches};
use super::sought::{Bounds, Sought, invalid, selector_text};
use super::volume::{Grouping, Tally, Totals, Volumes};
use super::{Asker, Querier, with_tenant};
use crate::cluster::methods;
use crate::exec::Lane;
use crate::ingester::heads::Heads;

/// Asks how much there is.
#[derive(Clone, Debug)]
pub struct CountQuestion<T> {
    selector: Vec<AstMatcher>,
    range: TimeRange,
    /// Nothing yet.
    tally: T,
}

impl CountQuestion<Totals> {
    /// Asks for totals.
    pub fn totals(selector: Vec<AstMatcher>, (first, last): Bounds) -> Self {
        let range = TimeRange { first, last };
        CountQuestion { selector, range, tally: Totals::new(range) }
    }
}

impl CountQuestion<Volumes> {
    /// Asks for the volumes of groups.
    ///
    /// # Errors
    /// The parts do not ascend.
    pub fn volumes(
        selector: Vec<AstMatcher>,
        (first, last): Bounds,
        labels: Option<Vec<String>>,
        by_name: bool,
        parts: Vec<Bounds>,
    ) -> Result<Self, Refusal> {
        if !parts.windows(2).all(|pair| pair[0].1 < pair[1].0) || parts.len() > STREAMS_MAX {
            return Err(invalid(&"the parts of the range do not ascend, or are too many"));
        }
        let grouping = Grouping { labels: labels.map(|labels| labels.into_iter().collect()), by_name };
        let parts = parts.into_iter().map(|(first, last)| TimeRange { first, last }).collect();
        let tally = Volumes::new(grouping, parts);
        Ok(CountQuestion { selector, range: TimeRange { first, last }, tally })
    }
}

impl<T: Tally> Question for CountQuestion<T> {
    const METHOD: Method = methods::CATALOGUE;
    type Wire = Sought;
    type Found = T;
    type Item = T::Item;

    fn wire(&self) -> Sought {
        self.tally.sought(selector_text(&self.selector), (self.range.first, self.range.last))
    }

    fn range(&self) -> TimeRange {
        self.range
    }

    fn nothing(&self, _: &Asker) -> T {
        self.tally.clone()
    }

    async fn read(&self, querier: &Querier, piece: &Piece, _: &mut Notes) -> Result<T, QueryError> {
        let tenants = &piece.asker.tenants;
        let several = tenants.len() > 1;
        let (asked, of_stream) = compile_for(tenants, &self.selector)?;
        let (ingester, index) = (querier.ingester.clone(), querier.index.clone());
        let (mut tally, range, share) = (self.tally.clone(), self.range, piece.share.clone());
        let work = move || {
            for tenant in &asked {
                let mut each = |id: StreamId, labels: &Labels, blocks: &[BlockExtent]| match several {
                    _ if !share.holds(id) => Ok(()),
                    true => tally.chunk(id, &with_tenant(labels, tenant), blocks),
                    false => tally.chunk(id, labels, blocks),
                };
                count_heads(ingester.heads(), tenant, &of_stream, range, &mut each)?;
                count_index(&index, tenant, &of_stream, range, &mut each)?;
            }
            Ok(tally)
        };
        querier.env.exec.run(Lane::Disk, work).await
    }

    fn items(found: T) -> impl Iterator<Item = T::Item> + Send {
        found.items()
    }

    fn take(&self, item: T::Item, into: &mut T) -> Result<Taken, QueryError> {
        into.take(item)
    }

    fn merge(&self, part: T, into: &mut T) -> Result<(), QueryError> {
        into.merge(part)
    }
}

impl Querier {
    /// Counts what a selector chooses of a range.
    ///
    /// # Errors
    /// There is too much, or the index cannot be read.
    pub async fn count<T: Tally>(
        &self,
        asker: &Asker,
        selector: &[AstMatcher],
        range: TimeRange,
        tally: T,
    ) -> Result<Catalogued<T>, QueryError> {
        self.look_up(asker, range, &CountQuestion { selector: selector.to_vec(), range, tally }).await
    }
}

type Each<'a> = dyn FnMut(StreamId, &Labels, &[BlockExtent]) -> Result<(), QueryError> + 'a;

fn overlaps(block: &BlockExtent, range: TimeRange) -> bool {
    block.first <= range.last && range.first <= block.last
}

fn count_heads(
    heads: &Heads,
    tenant: &str,
    matchers: &[Matcher],
    range: TimeRange,
    each: &mut Each<'_>,
) -> Result<(), QueryError> {
    for head in heads.of_tenant(tenant, Day::of(range.first), Day::of(range.last)) {
        if !matches(matchers, &head.labels) {
            continue;
        }
        for mut chunk in head.extents() {
            chunk.retain(|block| overlaps(block, range));
            if !chunk.is_empty() {
                each(head.id, &head.labels, &chunk)?;
            }
        }
    }
    Ok(())
}

fn count_index(
    index: &Index,
    tenant: &str,
    matchers: &[Matcher],
    range: TimeRange,
    each: &mut Each<'_>,
) -> Result<(), QueryError> {
    let days = Day::of(range.first)..=Day::of(range.last);
    for day in index.days()?.into_iter().filter(|day| days.contains(day)) {
        let Some(day) = index.day(day)? else { continue };
        let mut refused = Ok(());
        day.read(|snapshot| {
            for stream in snapshot.select(tenant, matchers, range, STREAMS_MAX)? {
                for chunk in snapshot.chunks_of(tenant, stream.id, range)? {
                    let blocks = extents(&chunk, range);
                    if blocks.is_empty() || refused.is_err() {
                        continue;
                    }
                    refused = each(stream.id, &stream.labels, &blocks);
                }
            }
            Ok::<_, grapevine_storage::index::IndexError>(())
        })?;
        refused?;
    }
    Ok(())
}

fn extents(chunk: &ChunkRecord, range: TimeRange) -> Vec<BlockExtent> {
    let blocks = chunk.blocks.iter().map(|block| BlockExtent {
        first: block.first_ts,
        last: block.last_ts,
        entries: u64::from(block.entries),
        text_bytes: u64::from(block.text_bytes),
    });
    blocks.filter(|block| overlaps(block, range)).collect()
}
