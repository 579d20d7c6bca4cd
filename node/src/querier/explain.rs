//! Says how a query was answered: what was planned, what was pushed into the scan of blocks, and what was left out
//! on each level. Counted only when asked for, and counted, not estimated.

use grapevine_gossip::ring::NodeId;
use grapevine_logql::ast::{LineFilter, LogExpr, Matcher as AstMatcher, Stage};
use grapevine_storage::index::{Day, Index, IndexError, Matcher, TimeRange};

use super::Querier;
use super::answer::Stats;
use super::error::QueryError;
use super::notes::Notes;
use super::question::Piece;
use super::scan::Span;
use super::select::{STREAMS_MAX, compile_for, matches};
use super::share::Share;
use crate::exec::Lane;
use crate::ingester::heads::Heads;

/// What index and heads hold of the streams of a selector, and what of it lies in a range of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    days: u64,
    days_in_range: u64,
    chunks: u64,
    chunks_in_range: u64,
    blocks: u64,
    blocks_in_range: u64,
    head_blocks: u64,
    head_blocks_in_range: u64,
}

impl Querier {
    /// Notes about one selector and range, if asked for: what there was of a piece, level by level.
    pub(super) async fn explain(
        &self,
        piece: &Piece,
        selector: &[AstMatcher],
        pushed: &[LineFilter],
        span: Span,
        notes: &mut Notes,
    ) -> Result<(), QueryError> {
        if !piece.asker.explain {
            return Ok(());
        }
        let mut census = Census::default();
        let (asked, matchers) = compile_for(&piece.asker.tenants, selector)?;
        for tenant in &asked {
            let (ingester, index) = (self.ingester.clone(), self.index.clone());
            let (tenant, matchers) = (tenant.clone(), matchers.clone());
            let range = TimeRange { first: span.first, last: span.last };
            let share = piece.share.clone();
            let count = move || {
                let mut census = count(&index, &tenant, &matchers, range, &share)?;
                count_heads(ingester.heads(), &tenant, &matchers, range, &share, &mut census);
                Ok::<_, IndexError>(census)
            };
            census.add(&self.env.exec.run(Lane::Disk, count).await?);
        }
        notes.explain.push(pushed_text(pushed));
        notes.explain.extend(census.lines());
        Ok(())
    }
}

/// Lines about what one of several readers has read; none unless it explains itself.
pub(super) fn of_reader(node: &NodeId, share: &Share, notes: &Notes) -> Vec<String> {
    if notes.explain.is_empty() {
        return Vec::new();
    }
    let percent = share.fraction() * 100.0;
    let head = format!("`{node}` reads {percent:.1} % of the ring, in {} ranges:", share.ranges().len());
    let of_reader = notes.explain.iter().cloned().chain(read_lines(&notes.stats));
    [head].into_iter().chain(of_reader.map(|line| format!("  {line}"))).collect()
}

fn pushed_text(pushed: &[LineFilter]) -> String {
    if pushed.is_empty() {
        return "pushed into the scan of blocks: nothing".to_owned();
    }
    let stages = pushed.iter().cloned().map(Stage::LineFilter).collect();
    let text = LogExpr { selector: Vec::new(), stages }.to_string();
    format!("pushed into the scan of blocks: {}", text.trim_start_matches("{}").trim_start())
}

fn count(
    index: &Index,
    tenant: &str,
    matchers: &[Matcher],
    range: TimeRange,
    share: &Share,
) -> Result<Census, IndexError> {
    let mut census = Census::default();
    let wanted = Day::of(range.first)..=Day::of(range.last);
    for day in index.days()? {
        census.days += 1;
        let Some(open) = wanted.contains(&day).then(|| index.day(day)).transpose()?.flatten() else {
            continue;
        };
        census.days_in_range += 1;
        let all = TimeRange { first: *day.timestamps().start(), last: *day.timestamps().end() };
        open.read(|snapshot| {
            let streams = snapshot.select(tenant, matchers, all, STREAMS_MAX)?;
            for stream in streams.into_iter().filter(|stream| share.holds(stream.id)) {
                for chunk in snapshot.chunks_of(tenant, stream.id, all)? {
                    let times = chunk.blocks.iter().map(|block| (block.first_ts, block.last_ts));
                    let within = times.filter(|(first, last)| *first <= range.last && range.first <= *last);
                    let within = within.count() as u64;
                    census.chunks += 1;
                    census.chunks_in_range += u64::from(within > 0);
                    census.blocks += chunk.blocks.len() as u64;
                    census.blocks_in_range += within;
                }
            }
            Ok(())
        })?;
    }
    Ok(census)
}

fn count_heads(
    heads: &Heads,
    tenant: &str,
    matchers: &[Matcher],
    range: TimeRange,
    share: &Share,
    census: &mut Census,
) {
    for head in heads.of_tenant(tenant, Day::of(range.first), Day::of(range.last)) {
        if !share.holds(head.id) || !matches(matchers, &head.labels) {
            continue;
        }
        for block in head.extents().iter().flatten() {
            census.head_blocks += 1;
            census.head_blocks_in_range += u64::from(block.first <= range.last && range.first <= block.last);
        }
    }
}

impl Census {
    fn add(&mut self, other: &Census) {
        // Every tenant's streams lie on the same days.
        self.days = self.days.max(other.days);
        self.days_in_range = self.days_in_range.max(other.days_in_range);
        self.chunks += other.chunks;
        self.chunks_in_range += other.chunks_in_range;
        self.blocks += other.blocks;
        self.blocks_in_range += other.blocks_in_range;
        self.head_blocks += other.head_blocks;
        self.head_blocks_in_range += other.head_blocks_in_range;
    }

    fn lines(&self) -> [String; 4] {
        let level = |name: &str, all: u64, within: u64| {
            format!("{name}: {all}, skipped by time {}, left {within}", all - within)
        };
        [
            level("days in the index", self.days, self.days_in_range),
            level("chunks of these streams on those days", self.chunks, self.chunks_in_range),
            level("blocks of those chunks", self.blocks, self.blocks_in_range),
            level("blocks in heads of those days", self.head_blocks, self.head_blocks_in_range),
        ]
    }
}

/// Lines about what reading came to.
pub(super) fn read_lines(stats: &Stats) -> Vec<String> {
    vec![
        format!("streams chosen: {}", stats.streams),
        format!("pieces of chunks: {}, skipped by filter {}", stats.chunks, stats.chunks_skipped),
        format!(
            "blocks read: {} ({} bytes of text, {} bytes packed)",
            stats.blocks, stats.text_bytes, stats.compressed_bytes
        ),
        format!(
            "lines in them: {} ({} in memory), passed {}, dropped as duplicates {}",
            stats.lines, stats.head_lines, stats.lines_passed, stats.duplicates
        ),
    ]
}
