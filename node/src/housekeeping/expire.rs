//! Retention at work: whole days dropped, packs of expired streams deleted, expired streams of other packs hidden;
//! and the objects that no query needs any more deleted once queries that began before are over.

use std::collections::BTreeSet;
use std::sync::Arc;

use grapevine_storage::index::{Day, DayIndex, Index, IndexError, PackId, TimeRange};
use grapevine_storage::stream::StreamId;

use super::Housekeeper;
use crate::exec::Lane;
use crate::querier::select::STREAMS_MAX;

impl Housekeeper {
    /// One round of retention over all days.
    pub(crate) async fn expire(&self) -> anyhow::Result<()> {
        let days = self.days().await?;
        let total = days.len() as u64;
        for (done, day) in (0..).zip(days) {
            self.staff.retention.progress(done, total);
            if self.staff.retention.is_paused() {
                return Ok(());
            }
            self.expire_day(day).await?;
            self.delete_given_up(day).await?;
        }
        self.staff.retention.progress(total, total);
        Ok(())
    }

    async fn expire_day(&self, day: Day) -> anyhow::Result<()> {
        let now = self.env.clock.now();
        let Some(index) = self.open(day).await? else { return Ok(()) };
        let tenants = {
            let index = index.clone();
            self.env.exec.run(Lane::Disk, move || tenants(&index)).await?
        };
        let whole = !tenants.is_empty()
            && tenants.iter().all(|tenant| self.retention.is_day_expired(tenant, day, now));
        if whole {
            tracing::info!(%day, "every tenant's retention has passed this day: it is dropped");
            // A tenant that the index does not know yet may keep its entries longer.
            return self.drop_day(day, |tenant| self.retention.is_day_expired(tenant, day, now)).await;
        }
        for tenant in tenants.into_iter().filter(|tenant| self.retention.is_limited(tenant)) {
            let streams = {
                let (index, tenant) = (index.clone(), tenant.clone());
                let select = move || index.read(|day| day.select(&tenant, &[], TimeRange::ALL, STREAMS_MAX));
                self.env.exec.run(Lane::Disk, select).await?
            };
            let expired = streams.iter().filter(|s| self.retention.is_expired(&tenant, &s.labels, day, now));
            let expired: Vec<StreamId> = expired.map(|stream| stream.id).collect();
            if !expired.is_empty() {
                tracing::info!(%day, tenant, streams = expired.len(), "streams are past their retention");
                let index = index.clone();
                self.env.exec.run(Lane::Disk, move || index.hide_streams(&tenant, &expired)).await?;
            }
        }
        if !self.custody.sees_all() {
            return self.judge_packs(&index, day, now).await;
        }
        self.env.exec.run(Lane::Disk, move || remove_empty(&index, now)).await?;
        Ok(())
    }

    /// Drops a day: its index first, so that no query looks for what is about to go; then the packs of those tenants
    /// that `of` says. A crash between the two brings the day back, until retention drops it again.
    pub(super) async fn drop_day(&self, day: Day, of: impl Fn(&str) -> bool) -> anyhow::Result<()> {
        let (index, spool) = (self.index.clone(), self.spool.clone());
        let spooled = self.env.exec.run(Lane::Disk, move || {
            index.drop_day(day)?;
            Ok::<_, anyhow::Error>(spool.keys()?)
        });
        let is_doomed = |key: &String| {
            let mut parts = key.split('/');
            parts.next().is_some_and(&of) && parts.next() == Some(&day.to_string())
        };
        let doomed: Vec<String> = spooled.await?.into_iter().filter(is_doomed).collect();
        let spool = self.spool.clone();
        let remove = move || doomed.iter().try_for_each(|key| spool.remove(key));
        self.env.exec.run(Lane::Disk, remove).await?;
        self.metrics.days_dropped.inc();
        for tenant in self.store.folders("").await?.iter().filter(|tenant| of(tenant)) {
            for object in self.store.list(&format!("{tenant}/{day}")).await? {
                self.store.delete(&object.key).await?;
            }
        }
        Ok(())
    }

    /// Deletes what was given up long enough ago.
    async fn delete_given_up(&self, day: Day) -> anyhow::Result<()> {
        let Some(index) = self.open(day).await? else { return Ok(()) };
        let given_up = {
            let index = index.clone();
            self.env.exec.run(Lane::Disk, move || index.given_up()).await?
        };
        // Who tends a pack deletes it; but that one may have heard that it is replaced and never of the pack itself. So the
        // others do it later: what is not there counts as deleted.
        let (now, after) = (self.env.clock.now(), self.config.housekeeping.delete_after.nanos());
        let patience = |key: &str| if self.custody.deletes(key) { after } else { after.saturating_mul(2) };
        let is_due = |key: &str, when: i64| when <= now.saturating_sub(patience(key));
        let due = given_up.into_iter().filter(|(key, when)| is_due(key, *when));
        let due: Vec<String> = due.map(|(key, _)| key).collect();
        for key in &due {
            self.store.delete(key).await?;
        }
        if due.is_empty() {
            return Ok(());
        }
        let spool = self.spool.clone();
        self.env
            .exec
            .run(Lane::Disk, move || {
                due.iter().try_for_each(|key| spool.remove(key))?;
                Ok::<_, anyhow::Error>(index.forget_given_up(&due)?)
            })
            .await
    }

    pub(super) async fn open(&self, day: Day) -> Result<Option<Arc<DayIndex>>, IndexError> {
        let index = self.index.clone();
        self.env.exec.run(Lane::Disk, move || Index::day(&index, day)).await
    }
}

fn tenants(day: &DayIndex) -> Result<BTreeSet<String>, IndexError> {
    let packs = day.read(|snapshot| snapshot.packs())?;
    Ok(packs.into_iter().map(|(_, record)| record.tenant).collect())
}

/// Removes the packs all of whose streams are hidden.
fn remove_empty(day: &DayIndex, now: i64) -> Result<usize, IndexError> {
    let empty: Vec<PackId> = day.read(|snapshot| {
        let mut empty = Vec::new();
        for (id, _) in snapshot.packs()? {
            if snapshot.contents(id)?.is_empty() {
                empty.push(id);
            }
        }
        Ok(empty)
    })?;
    match empty.is_empty() {
        true => Ok(0),
        false => day.remove_packs(&empty, now),
    }
}
