//! Finds lines: newest (or oldest) first, up to a limit, from all streams together.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use bincode::{Decode, Encode};
use grapevine_gossip::rpc::{Method, Refusal};
use grapevine_logql::ast::{Expr, LogExpr};
use grapevine_logql::labels::{Category, LabelSet};
use grapevine_logql::level::LevelSources;
use grapevine_logql::pipeline::{Options, Pipeline, Wanted, split_leading};
use grapevine_logql::print::to_query;
use grapevine_storage::index::TimeRange;
use grapevine_storage::scan::LineFilter;
use grapevine_storage::stream::StreamId;

use super::answer::{LineLabels, LogLine, Stats};
use super::drive::{Job, Reading, drive};
use super::error::QueryError;
use super::notes::Notes;
use super::packs::Packs;
use super::question::{ITEM_BYTES, Piece, Question, Taken, pairs_weight};
use super::scan::{Scanner, Span};
use super::sought::log_of;
use super::work::{Fetched, Unreadable, Work};
use super::{Asker, Querier, pushdown, stage_error};
use crate::cluster::methods;

/// Label sets that one work remembers, so that lines which differ in none share theirs.
const KNOWN_LABELS_MAX: usize = 1024;

/// The job of a log query.
#[derive(Debug)]
pub struct LineJob {
    /// The compiled stages.
    pub pipeline: Pipeline,
    /// The line filters that blocks are searched for.
    pub filter: LineFilter,
    /// Which lines, in which order.
    pub span: Span,
    /// How many.
    pub limit: usize,
    /// What stages are told.
    pub options: OptionsOf,
    /// The best lines so far.
    pub best: Mutex<Best>,
}

/// What each tenant's pipelines are told: where lines have their `detected_level`.
#[derive(Clone, Debug, Default)]
pub struct OptionsOf {
    /// By tenant.
    pub by_tenant: BTreeMap<Arc<str>, Options>,
}

impl OptionsOf {
    /// For the tenants of a piece.
    pub fn of_piece(piece: &Piece) -> Self {
        let levels = piece.asker.levels.iter();
        let of = |(tenant, levels): (&Arc<str>, &Option<Arc<LevelSources>>)| {
            (tenant.clone(), Options { levels: levels.clone(), now: piece.now })
        };
        OptionsOf { by_tenant: levels.map(of).collect() }
    }

    /// For one tenant.
    pub fn of(&self, tenant: &str) -> Options {
        self.by_tenant.get(tenant).cloned().unwrap_or_default()
    }
}

/// Lines found, and where each stands in the order of the answer.
#[derive(Debug, Default)]
pub struct Best {
    lines: Vec<(StreamId, LogLine)>,
    /// Nothing has come since the last cut.
    is_cut: bool,
}

/// Room for so many times the limit before the best are sorted out.
const SLACK: usize = 2;

impl Best {
    fn add(&mut self, found: Vec<(StreamId, LogLine)>, limit: usize, forward: bool) {
        self.is_cut &= found.is_empty();
        self.lines.extend(found);
        if self.lines.len() > limit.saturating_mul(SLACK) {
            self.cut(limit, forward);
        }
    }

    /// Sorts, and keeps the best. Stable: lines of one stream and moment keep the order in which they were found.
    fn cut(&mut self, limit: usize, forward: bool) {
        if std::mem::replace(&mut self.is_cut, true) {
            return;
        }
        sort(&mut self.lines, forward);
        self.lines.truncate(limit);
    }

    /// The timestamp behind which no line can get into the answer any more.
    fn bound(&mut self, limit: usize, forward: bool) -> Option<i64> {
        if self.lines.len() < limit {
            return None;
        }
        self.cut(limit, forward);
        self.lines.last().map(|(_, line)| line.timestamp)
    }
}

fn sort(lines: &mut [(StreamId, LogLine)], forward: bool) {
    if forward {
        lines.sort_by_key(|(stream, line)| (line.timestamp, *stream));
    } else {
        lines.sort_by_key(|(stream, line)| (std::cmp::Reverse(line.timestamp), *stream));
    }
}

impl LineJob {
    fn best(&self) -> std::sync::MutexGuard<'_, Best> {
        self.best.lock().expect("a panic while a query runs ends the process")
    }

    /// The lines found, in their order.
    pub fn finish(&self) -> Vec<(StreamId, LogLine)> {
        let mut best = std::mem::take(&mut *self.best());
        best.cut(self.limit, self.span.forward);
        best.lines
    }
}

impl Job for LineJob {
    type Local = Scanner;

    fn filter(&self) -> &LineFilter {
        &self.filter
    }

    fn reads_text(&self) -> bool {
        true
    }

    fn reading(&self) -> Reading {
        Reading::UntilEnough
    }

    /// Works come in the order of their nearest end.
    fn is_done_before(&self, work: &Work) -> bool {
        let forward = self.span.forward;
        let bound = self.best().bound(self.limit, forward);
        bound.is_some_and(|bound| if forward { work.first > bound } else { work.last < bound })
    }

    fn scanner(local: &mut Scanner) -> &mut Scanner {
        local
    }

    fn process(
        &self,
        packs: &Packs,
        work: &Work,
        fetched: &Fetched,
        scanner: &mut Scanner,
    ) -> Result<Result<(), Unreadable>, QueryError> {
        let labels: Vec<(&str, &str)> = work.stream.labels.iter().collect();
        let mut stages = self.pipeline.stream(&labels, &self.options.of(&work.stream.tenant));
        let mut known: BTreeMap<u128, Arc<LineLabels>> = BTreeMap::new();
        let mut found = Vec::new();
        let mut passed = 0;
        let forward = self.span.forward;
        let bound = self.best().bound(self.limit, forward);
        let is_beyond =
            |timestamp| bound.is_some_and(|b| if forward { timestamp > b } else { timestamp < b });
        let read = work.lines::<()>(packs, fetched, scanner, &self.filter, self.span, &mut |line| {
            if is_beyond(line.timestamp) {
                return ControlFlow::Break(());
            }
            let outcome = stages.process(line.timestamp, line.line, line.metadata);
            let Some(outcome) = outcome else { return ControlFlow::Continue(()) };
            passed += 1;
            let labels = share(&mut known, outcome.labels);
            let line = LogLine { timestamp: line.timestamp, line: outcome.line.to_vec(), labels };
            found.push((work.stream.id, line));
            if found.len() >= self.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        scanner.stats.lines_passed += passed;
        self.best().add(found, self.limit, forward);
        Ok(read.map(drop))
    }
}

/// The labels of a line, shared with the lines before it that had the same.
pub(super) fn share(known: &mut BTreeMap<u128, Arc<LineLabels>>, labels: &LabelSet) -> Arc<LineLabels> {
    let hash = labels.hash();
    if let Some(found) = known.get(&hash) {
        return found.clone();
    }
    if known.len() >= KNOWN_LABELS_MAX {
        known.clear();
    }
    let mut made = LineLabels::default();
    for label in labels.iter() {
        let pair = (label.name.to_owned(), label.value.to_owned());
        match label.category {
            Category::Stream => made.stream.push(pair),
            Category::Metadata => made.metadata.push(pair),
            Category::Parsed => made.parsed.push(pair),
        }
    }
    known.entry(hash).or_insert(Arc::new(made)).clone()
}

/// What the workers of a query have read, together.
pub fn stats_of(scanners: impl IntoIterator<Item = Scanner>) -> Stats {
    let mut stats = Stats::default();
    scanners.into_iter().for_each(|scanner| stats.merge(&scanner.stats));
    stats
}

/// Asks for lines.
#[derive(Clone, Debug)]
pub struct LineQuestion {
    log: Arc<LogExpr>,
    span: Span,
    limit: usize,
    /// The timestamp behind which no line can get into the answer any more, once enough have been found.
    bound: Arc<Mutex<Option<i64>>>,
}

/// [`LineQuestion`] as it travels.
#[derive(Clone, Debug, Encode, Decode)]
pub struct LinesWanted {
    query: String,
    first: i64,
    last: i64,
    forward: bool,
    limit: u64,
}

/// Lines as they travel, in their order.
#[derive(Clone, Debug, Default, Encode, Decode)]
pub struct FoundLines {
    /// Each label set once.
    labels: Vec<LineLabels>,
    lines: Vec<FoundLine>,
}

#[derive(Clone, Debug, Encode, Decode)]
struct FoundLine {
    stream: u128,
    timestamp: i64,
    line: Vec<u8>,
    /// Which of the label sets.
    labels: u32,
}

/// Lines in items of about [`ITEM_BYTES`].
pub(super) fn in_items(found: Vec<(StreamId, LogLine)>) -> impl Iterator<Item = FoundLines> + Send {
    let mut found = found.into_iter().peekable();
    std::iter::from_fn(move || {
        found.peek()?;
        let mut item = FoundLines::default();
        let mut known: BTreeMap<Arc<LineLabels>, u32> = BTreeMap::new();
        let mut bytes = 0;
        while bytes < ITEM_BYTES {
            let Some((stream, line)) = found.next() else { break };
            bytes += size_of::<FoundLine>() + line.line.len();
            let labels = *known.entry(line.labels).or_insert_with_key(|labels| {
                let all = [&labels.stream, &labels.metadata, &labels.parsed];
                bytes += all.iter().map(|pairs| pairs_weight(pairs)).sum::<usize>();
                item.labels.push((**labels).clone());
                item.labels.len() as u32 - 1
            });
            let LogLine { timestamp, line, .. } = line;
            item.lines.push(FoundLine { stream: stream.0, timestamp, line, labels });
        }
        Some(item)
    })
}

impl FoundLines {
    /// The lines.
    ///
    /// # Errors
    /// One has labels that were not sent.
    pub(super) fn into_lines(self) -> Result<Vec<(StreamId, LogLine)>, String> {
        let shared: Vec<Arc<LineLabels>> = self.labels.into_iter().map(Arc::new).collect();
        let line = |FoundLine { stream, timestamp, line, labels }| {
            let missing = || format!("a line has label set `{labels}`, which was not sent");
            let labels = shared.get(labels as usize).cloned().ok_or_else(missing)?;
            Ok((StreamId(stream), LogLine { timestamp, line, labels }))
        };
        self.lines.into_iter().map(line).collect()
    }
}

impl LinesWanted {
    /// The question.
    ///
    /// # Errors
    /// The query cannot be read here.
    pub fn question(self) -> Result<LineQuestion, Refusal> {
        let span = Span { first: self.first, last: self.last, forward: self.forward };
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        Ok(LineQuestion::new(Arc::new(log_of(&self.query)?), span, limit))
    }
}

impl LineQuestion {
    /// Asks for the first `limit` lines of a span.
    pub fn new(log: Arc<LogExpr>, span: Span, limit: usize) -> Self {
        LineQuestion { log, span, limit, bound: Arc::default() }
    }

    fn bound(&self) -> std::sync::MutexGuard<'_, Option<i64>> {
        self.bound.lock().expect("a panic while a query runs ends the process")
    }
}

impl Question for LineQuestion {
    const METHOD: Method = methods::READ_LINES;
    type Wire = LinesWanted;
    type Found = Vec<(StreamId, LogLine)>;
    type Item = FoundLines;

    fn wire(&self) -> LinesWanted {
        LinesWanted {
            query: to_query(&Expr::Log((*self.log).clone())),
            first: self.span.first,
            last: self.span.last,
            forward: self.span.forward,
            limit: self.limit as u64,
        }
    }

    fn range(&self) -> TimeRange {
        self.span.range()
    }

    fn nothing(&self, _: &Asker) -> Self::Found {
        Vec::new()
    }

    async fn read(
        &self,
        querier: &Querier,
        piece: &Piece,
        notes: &mut Notes,
    ) -> Result<Self::Found, QueryError> {
        let LineQuestion { log, span, limit, .. } = self;
        let (span, limit) = (*span, *limit);
        let pipeline = Pipeline::compile(&log.stages, &Wanted::All)
            .map_err(|error| QueryError::Bad(stage_error(&log.stages, &error)))?;
        let filter = pushdown::of_stages(&log.stages)?.filter;
        if span.first > span.last || limit == 0 {
            return Ok(Vec::new());
        }
        let options = OptionsOf::of_piece(piece);
        let job = Arc::new(LineJob { pipeline, filter, span, limit, options, best: Mutex::default() });
        let mut works = querier.works(piece, &log.selector, span, notes).await?;
        match span.forward {
            true => works.sort_by_key(|work| work.first),
            false => works.sort_by_key(|work| std::cmp::Reverse(work.last)),
        }
        let scanners = querier.workers(Scanner::new);
        let packs = &querier.packs;
        let scanners = drive(&querier.env.exec, packs, &job, works, scanners, &mut notes.warnings).await?;
        notes.stats.merge(&stats_of(scanners));
        let (pushed, _) = split_leading(&log.stages);
        querier.explain(piece, &log.selector, &pushed, span, notes).await?;
        Ok(job.finish())
    }

    fn items(found: Self::Found) -> impl Iterator<Item = FoundLines> + Send {
        in_items(found)
    }

    fn take(&self, item: FoundLines, into: &mut Self::Found) -> Result<Taken, QueryError> {
        let lines = match item.into_lines() {
            Ok(lines) => lines,
            Err(why) => return Ok(Taken::Unfit(why)),
        };
        let bound = *self.bound();
        for (stream, line) in lines {
            let timestamp = line.timestamp;
            // They come in the order of the answer.
            if bound.is_some_and(|b| if self.span.forward { timestamp > b } else { timestamp < b }) {
                return Ok(Taken::Enough);
            }
            if into.len() >= self.limit || !self.span.contains(timestamp) {
                return Ok(Taken::Unfit("a reader sent lines that nobody asked for".into()));
            }
            into.push((stream, line));
        }
        Ok(Taken::More)
    }

    /// No line is in two shares, so nothing is dropped as a duplicate: two entries that the stages have made alike
    /// are two lines.
    fn merge(&self, part: Self::Found, into: &mut Self::Found) -> Result<(), QueryError> {
        into.extend(part);
        sort(into, self.span.forward);
        into.truncate(self.limit);
        if into.len() >= self.limit {
            *self.bound() = into.last().map(|(_, line)| line.timestamp);
        }
        Ok(())
    }
}
