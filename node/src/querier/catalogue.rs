//! What there is: label names, their values, and streams.

use std::collections::BTreeSet;
use std::sync::Arc;

use grapevine_gossip::rpc::Method;
use grapevine_logql::ast::Matcher as AstMatcher;
use grapevine_storage::index::{Day, DayIndex, Index, IndexError, Matcher, Snapshot, TimeRange};
use grapevine_storage::stream::Labels;
use tokio::time::timeout;

use super::answer::Pairs;
use super::error::QueryError;
use super::notes::Notes;
use super::question::{Piece, Question, Taken, pairs_weight, runs};
use super::scatter::Scatter;
use super::select::{STREAMS_MAX, compile_for, matches};
use super::share::Share;
use super::sought::{Bounds, Sought, selector_text};
use super::{Asker, Querier, TENANT_LABEL, with_tenant};
use crate::cluster::methods;
use crate::exec::Lane;
use crate::ingester::heads::Heads;

/// Names or values in one answer.
const NAMES_MAX: usize = 200_000;

/// Labels that are the store's own business.
const HIDDEN: [&str; 3] = ["__stream_shard__", "__aggregated_metric__", "__pattern__"];

/// An answer to a question about what there is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogued<T> {
    /// What there is.
    pub found: T,
    /// What may be missing from it, for people; empty where nothing is.
    pub warnings: Vec<String>,
}

impl Querier {
    /// The names of labels of streams that match and have lines in the range.
    ///
    /// # Errors
    /// There are too many, or the index cannot be read.
    pub async fn label_names(
        &self,
        asker: &Asker,
        selector: &[AstMatcher],
        range: TimeRange,
    ) -> Result<Catalogued<BTreeSet<String>>, QueryError> {
        let question = NamesQuestion::new(None, selector.to_vec(), (range.first, range.last));
        self.look_up(asker, range, &question).await
    }

    /// The values of a label of streams that match and have lines in the range.
    ///
    /// # Errors
    /// As [`Self::label_names`].
    pub async fn label_values(
        &self,
        asker: &Asker,
        name: &str,
        selector: &[AstMatcher],
        range: TimeRange,
    ) -> Result<Catalogued<BTreeSet<String>>, QueryError> {
        if name == TENANT_LABEL && asker.tenants.len() > 1 {
            let found = asker.tenants.iter().map(|tenant| tenant.to_string()).collect();
            return Ok(Catalogued { found, warnings: Vec::new() });
        }
        let bounds = (range.first, range.last);
        self.look_up(asker, range, &NamesQuestion::new(Some(name.to_owned()), selector.to_vec(), bounds))
            .await
    }

    /// The streams that match any of the selectors and have lines in the range.
    ///
    /// # Errors
    /// As [`Self::label_names`].
    pub async fn series(
        &self,
        asker: &Asker,
        groups: &[Vec<AstMatcher>],
        range: TimeRange,
    ) -> Result<Catalogued<BTreeSet<Labels>>, QueryError> {
        let question = SeriesQuestion::new(groups.to_vec(), (range.first, range.last));
        self.look_up(asker, range, &question).await
    }

    /// Asks one question of all that there is, within the asker's time.
    pub(super) async fn look_up<Q: Question>(
        &self,
        asker: &Asker,
        range: TimeRange,
        question: &Q,
    ) -> Result<Catalogued<Q::Found>, QueryError> {
        let run = async {
            let mut scatter = Scatter::begin(self, asker, range).await;
            let found = scatter.ask(question).await?;
            Ok::<_, QueryError>((found, scatter.finish()))
        };
        let (found, notes) = timeout(asker.timeout, run).await.map_err(|_| QueryError::TimedOut)??;
        Ok(Catalogued { found, warnings: self.warnings(notes).0 })
    }

    /// Asks each tenant's heads and index, on the disk lane, and joins what they say.
    async fn each<T, F>(
        &self,
        tenants: &[Arc<str>],
        selector: &[AstMatcher],
        ask: F,
    ) -> Result<BTreeSet<T>, QueryError>
    where
        T: Ord + Send + 'static,
        F: Fn(&Heads, &Index, &str, &[Matcher]) -> Result<BTreeSet<T>, IndexError> + Send + 'static,
    {
        let (asked, of_stream) = compile_for(tenants, selector)?;
        let (ingester, index) = (self.ingester.clone(), self.index.clone());
        let work = move || {
            let mut all = BTreeSet::new();
            for tenant in &asked {
                all.extend(ask(ingester.heads(), &index, tenant, &of_stream)?);
            }
            Ok::<_, QueryError>(all)
        };
        self.env.exec.run(Lane::Disk, work).await
    }
}

/// Asks for the names of labels, or for the values of one.
///
/// Whole nodes are asked, not their shares: names come off the index's postings, which know nothing of tokens, and
/// what two nodes both have is in the answer once.
#[derive(Clone, Debug)]
pub struct NamesQuestion {
    value_of: Option<String>,
    selector: Vec<AstMatcher>,
    range: TimeRange,
}

impl NamesQuestion {
    /// Asks for the values of a label, else for the names of labels.
    pub fn new(value_of: Option<String>, selector: Vec<AstMatcher>, (first, last): Bounds) -> Self {
        NamesQuestion { value_of, selector, range: TimeRange { first, last } }
    }
}

impl Question for NamesQuestion {
    const METHOD: Method = methods::CATALOGUE;
    type Wire = Sought;
    type Found = BTreeSet<String>;
    type Item = Vec<String>;

    fn wire(&self) -> Sought {
        let (selector, range) = (selector_text(&self.selector), (self.range.first, self.range.last));
        match self.value_of.clone() {
            Some(name) => Sought::Values { name, selector, range },
            None => Sought::Names { selector, range },
        }
    }

    fn range(&self) -> TimeRange {
        self.range
    }

    fn nothing(&self, _: &Asker) -> BTreeSet<String> {
        BTreeSet::new()
    }

    async fn read(
        &self,
        querier: &Querier,
        piece: &Piece,
        _: &mut Notes,
    ) -> Result<BTreeSet<String>, QueryError> {
        let (tenants, range) = (&piece.asker.tenants, self.range);
        if let Some(name) = self.value_of.clone() {
            let ask = move |heads: &Heads, index: &Index, tenant: &str, matchers: &[Matcher]| {
                let mut values = BTreeSet::new();
                for labels in streams_in_heads(heads, tenant, matchers, range, &Share::all()) {
                    values.extend(labels.get(&name).map(str::to_owned));
                }
                for day in days(index, range)? {
                    let read =
                        |day: &Snapshot<'_>| day.label_values(tenant, &name, matchers, range, NAMES_MAX);
                    values.extend(day.read(read)?);
                }
                Ok(values)
            };
            return querier.each(tenants, &self.selector, ask).await;
        }
        let ask = move |heads: &Heads, index: &Index, tenant: &str, matchers: &[Matcher]| {
            let mut names = BTreeSet::new();
            for labels in streams_in_heads(heads, tenant, matchers, range, &Share::all()) {
                names.extend(labels.iter().map(|(name, _)| name.to_owned()));
            }
            for day in days(index, range)? {
                names.extend(day.read(|day| day.label_names(tenant, matchers, range, NAMES_MAX))?);
            }
            names.retain(|name| !HIDDEN.contains(&name.as_str()));
            Ok(names)
        };
        let mut names = querier.each(tenants, &self.selector, ask).await?;
        if tenants.len() > 1 {
            names.insert(TENANT_LABEL.to_owned());
        }
        Ok(names)
    }

    fn items(found: BTreeSet<String>) -> impl Iterator<Item = Vec<String>> + Send {
        runs(found, String::len)
    }

    fn take(&self, item: Vec<String>, into: &mut BTreeSet<String>) -> Result<Taken, QueryError> {
        into.extend(item);
        within(into.len(), NAMES_MAX)
    }

    fn merge(&self, part: BTreeSet<String>, into: &mut BTreeSet<String>) -> Result<(), QueryError> {
        into.extend(part);
        within(into.len(), NAMES_MAX).map(drop)
    }
}

/// Asks for streams.
#[derive(Clone, Debug)]
pub struct SeriesQuestion {
    groups: Vec<Vec<AstMatcher>>,
    range: TimeRange,
}

impl SeriesQuestion {
    /// Asks for streams like any of `groups`.
    pub fn new(groups: Vec<Vec<AstMatcher>>, (first, last): Bounds) -> Self {
        SeriesQuestion { groups, range: TimeRange { first, last } }
    }
}

impl Question for SeriesQuestion {
    const METHOD: Method = methods::CATALOGUE;
    type Wire = Sought;
    type Found = BTreeSet<Labels>;
    type Item = Vec<Pairs>;

    fn wire(&self) -> Sought {
        let groups = self.groups.iter().map(|group| selector_text(group)).collect();
        Sought::Series { groups, range: (self.range.first, self.range.last) }
    }

    fn range(&self) -> TimeRange {
        self.range
    }

    fn nothing(&self, _: &Asker) -> BTreeSet<Labels> {
        BTreeSet::new()
    }

    async fn read(
        &self,
        querier: &Querier,
        piece: &Piece,
        _: &mut Notes,
    ) -> Result<BTreeSet<Labels>, QueryError> {
        let (tenants, range) = (&piece.asker.tenants, self.range);
        let several = tenants.len() > 1;
        let mut all = BTreeSet::new();
        for group in &self.groups {
            let share = piece.share.clone();
            let found = querier.each(tenants, group, move |heads, index, tenant, matchers| {
                let in_heads = streams_in_heads(heads, tenant, matchers, range, &share);
                let mut found: BTreeSet<Labels> = in_heads.into_iter().collect();
                for day in days(index, range)? {
                    let select = |day: &Snapshot<'_>| day.select(tenant, matchers, range, STREAMS_MAX);
                    let streams = day.read(select)?.into_iter().filter(|stream| share.holds(stream.id));
                    found.extend(streams.map(|stream| stream.labels));
                }
                Ok(match several {
                    true => found.iter().map(|labels| with_tenant(labels, tenant)).collect(),
                    false => found,
                })
            });
            all.extend(found.await?);
        }
        Ok(all)
    }

    fn items(found: BTreeSet<Labels>) -> impl Iterator<Item = Vec<Pairs>> + Send {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let pairs = move |labels: Labels| labels.iter().map(owned).collect::<Pairs>();
        runs(found.into_iter().map(pairs), |pairs| pairs_weight(pairs))
    }

    fn take(&self, item: Vec<Pairs>, into: &mut BTreeSet<Labels>) -> Result<Taken, QueryError> {
        into.extend(item.into_iter().map(Labels::new));
        within(into.len(), STREAMS_MAX)
    }

    fn merge(&self, part: BTreeSet<Labels>, into: &mut BTreeSet<Labels>) -> Result<(), QueryError> {
        into.extend(part);
        within(into.len(), STREAMS_MAX).map(drop)
    }
}

fn within(count: usize, most: usize) -> Result<Taken, QueryError> {
    match count <= most {
        true => Ok(Taken::More),
        false => Err(QueryError::Bad(format!(
            "there are more than `{most}`; add matchers, or shorten the time range"
        ))),
    }
}

fn streams_in_heads(
    heads: &Heads,
    tenant: &str,
    matchers: &[Matcher],
    range: TimeRange,
    share: &Share,
) -> Vec<Labels> {
    let heads = heads.of_tenant(tenant, Day::of(range.first), Day::of(range.last));
    let chosen = heads.iter().filter(|head| {
        share.holds(head.id)
            && matches(matchers, &head.labels)
            && head.time_range().is_some_and(|(first, last)| first <= range.last && range.first <= last)
    });
    chosen.map(|head| head.labels.clone()).collect()
}

fn days(index: &Index, range: TimeRange) -> Result<Vec<Arc<DayIndex>>, IndexError> {
    let wanted = Day::of(range.first)..=Day::of(range.last);
    let days = index.days()?.into_iter().filter(|day| wanted.contains(day));
    days.filter_map(|day| index.day(day).transpose()).collect()
}
