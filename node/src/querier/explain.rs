//! Says how a query was answered: what was planned, what was pushed into the scan of blocks, and what was left out
//! on each level. Counted only when asked for, and counted, not estimated.

use grapevine_logql::ast::{LineFilter, LogExpr, Matcher as AstMatcher, Stage};
use grapevine_storage::index::{Day, Index, IndexError, Matcher, TimeRange};

use super::answer::Stats;
use super::error::QueryError;
use super::scan::Span;
use super::select::{STREAMS_MAX, compile};
use super::{Asker, Querier};
use crate::exec::Lane;

/// What the index holds of the streams of a selector, and what of it lies in a range of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    days: u64,
    days_in_range: u64,
    chunks: u64,
    chunks_in_range: u64,
    blocks: u64,
    blocks_in_range: u64,
}

impl Querier {
    /// Lines about one selector and range: what there was, level by level.
    pub(super) async fn explain(
        &self,
        asker: &Asker,
        selector: &[AstMatcher],
        pushed: &[LineFilter],
        span: Span,
    ) -> Result<Vec<String>, QueryError> {
        let mut census = Census::default();
        let matchers = compile(selector)?;
        for tenant in &asker.tenants {
            let (index, tenant, matchers) = (self.index.clone(), tenant.clone(), matchers.clone());
            let range = TimeRange { first: span.first, last: span.last };
            let count = move || count(&index, &tenant, &matchers, range);
            census.add(&self.env.exec.run(Lane::Disk, count).await?);
        }
        let mut lines = vec![pushed_text(pushed)];
        lines.extend(census.lines());
        Ok(lines)
    }
}

fn pushed_text(pushed: &[LineFilter]) -> String {
    if pushed.is_empty() {
        return "pushed into the scan of blocks: nothing".to_owned();
    }
    let stages = pushed.iter().cloned().map(Stage::LineFilter).collect();
    let text = LogExpr { selector: Vec::new(), stages }.to_string();
    format!("pushed into the scan of blocks: {}", text.trim_start_matches("{}").trim_start())
}

fn count(index: &Index, tenant: &str, matchers: &[Matcher], range: TimeRange) -> Result<Census, IndexError> {
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
            for stream in snapshot.select(tenant, matchers, all, STREAMS_MAX)? {
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

impl Census {
    fn add(&mut self, other: &Census) {
        // Every tenant's streams lie on the same days.
        self.days = self.days.max(other.days);
        self.days_in_range = self.days_in_range.max(other.days_in_range);
        self.chunks += other.chunks;
        self.chunks_in_range += other.chunks_in_range;
        self.blocks += other.blocks;
        self.blocks_in_range += other.blocks_in_range;
    }

    fn lines(&self) -> [String; 3] {
        let level = |name: &str, all: u64, within: u64| {
            format!("{name}: {all}, skipped by time {}, left {within}", all - within)
        };
        [
            level("days in the index", self.days, self.days_in_range),
            level("chunks of these streams on those days", self.chunks, self.chunks_in_range),
            level("blocks of those chunks", self.blocks, self.blocks_in_range),
        ]
    }
}

/// Lines about what reading came to.
pub(super) fn read_lines(stats: &Stats) -> Vec<String> {
    vec![
        format!("streams chosen: {}", stats.streams),
        format!("pieces of chunks asked by filter: {}, skipped {}", stats.chunks, stats.chunks_skipped),
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
