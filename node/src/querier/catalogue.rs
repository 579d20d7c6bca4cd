//! What there is: label names, their values, and streams.

use std::collections::BTreeSet;
use std::sync::Arc;

use grapevine_logql::ast::Matcher as AstMatcher;
use grapevine_storage::index::{Day, DayIndex, Index, IndexError, Matcher, Snapshot, TimeRange};
use grapevine_storage::stream::Labels;

use super::error::QueryError;
use super::select::{STREAMS_MAX, compile, matches};
use super::{Querier, TENANT_LABEL, with_tenant};
use crate::exec::Lane;
use crate::ingester::heads::Heads;

/// Names or values in one answer.
const NAMES_MAX: usize = 200_000;

/// Labels that are the store's own business.
const HIDDEN: [&str; 3] = ["__stream_shard__", "__aggregated_metric__", "__pattern__"];

impl Querier {
    /// The names of labels of streams that match and have lines in the range.
    ///
    /// # Errors
    /// There are too many, or the index cannot be read.
    pub async fn label_names(
        &self,
        tenants: &[Arc<str>],
        selector: &[AstMatcher],
        range: TimeRange,
    ) -> Result<BTreeSet<String>, QueryError> {
        let several = tenants.len() > 1;
        let mut names = self
            .each(tenants, selector, move |heads, index, tenant, matchers| {
                let mut names = BTreeSet::new();
                for labels in streams_in_heads(heads, tenant, matchers, range) {
                    names.extend(labels.iter().map(|(name, _)| name.to_owned()));
                }
                for day in days(index, range)? {
                    names.extend(day.read(|day| day.label_names(tenant, matchers, range, NAMES_MAX))?);
                }
                names.retain(|name| !HIDDEN.contains(&name.as_str()));
                Ok(names)
            })
            .await?;
        if several {
            names.insert(TENANT_LABEL.to_owned());
        }
        Ok(names)
    }

    /// The values of a label of streams that match and have lines in the range.
    ///
    /// # Errors
    /// As [`Self::label_names`].
    pub async fn label_values(
        &self,
        tenants: &[Arc<str>],
        name: &str,
        selector: &[AstMatcher],
        range: TimeRange,
    ) -> Result<BTreeSet<String>, QueryError> {
        if name == TENANT_LABEL && tenants.len() > 1 {
            return Ok(tenants.iter().map(|tenant| tenant.to_string()).collect());
        }
        let name = name.to_owned();
        self.each(tenants, selector, move |heads, index, tenant, matchers| {
            let mut values = BTreeSet::new();
            for labels in streams_in_heads(heads, tenant, matchers, range) {
                values.extend(labels.get(&name).map(str::to_owned));
            }
            for day in days(index, range)? {
                values.extend(day.read(|day| day.label_values(tenant, &name, matchers, range, NAMES_MAX))?);
            }
            Ok(values)
        })
        .await
    }

    /// The streams that match any of the selectors and have lines in the range.
    ///
    /// # Errors
    /// As [`Self::label_names`].
    pub async fn series(
        &self,
        tenants: &[Arc<str>],
        groups: &[Vec<AstMatcher>],
        range: TimeRange,
    ) -> Result<BTreeSet<Labels>, QueryError> {
        let several = tenants.len() > 1;
        let mut all = BTreeSet::new();
        for group in groups {
            let found = self.each(tenants, group, move |heads, index, tenant, matchers| {
                let mut found: BTreeSet<Labels> =
                    streams_in_heads(heads, tenant, matchers, range).into_iter().collect();
                for day in days(index, range)? {
                    let select = |day: &Snapshot<'_>| day.select(tenant, matchers, range, STREAMS_MAX);
                    found.extend(day.read(select)?.into_iter().map(|stream| stream.labels));
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
        let several = tenants.len() > 1;
        let (of_tenant, of_stream): (Vec<_>, Vec<_>) =
            compile(selector)?.into_iter().partition(|m: &Matcher| several && m.name == TENANT_LABEL);
        let asked = tenants.iter().filter(|tenant| of_tenant.iter().all(|m| m.matches(tenant)));
        let asked: Vec<Arc<str>> = asked.cloned().collect();
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

fn streams_in_heads(heads: &Heads, tenant: &str, matchers: &[Matcher], range: TimeRange) -> Vec<Labels> {
    let heads = heads.of_tenant(tenant, Day::of(range.first), Day::of(range.last));
    let chosen = heads.iter().filter(|head| {
        matches(matchers, &head.labels)
            && head.time_range().is_some_and(|(first, last)| first <= range.last && range.first <= last)
    });
    chosen.map(|head| head.labels.clone()).collect()
}

fn days(index: &Index, range: TimeRange) -> Result<Vec<Arc<DayIndex>>, IndexError> {
    let wanted = Day::of(range.first)..=Day::of(range.last);
    let days = index.days()?.into_iter().filter(|day| wanted.contains(day));
    days.filter_map(|day| index.day(day).transpose()).collect()
}
