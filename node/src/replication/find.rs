//! Where a pack is: in this node's chunk store, in its spool, or with another member. And what becomes of those that are
//! nowhere: they are noted as lost, so that answers say so and nobody waits for them.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use grapevine_storage::chunk_store::ErrorKind;
use grapevine_storage::index::{IndexError, PackId, PackState};
use grapevine_storage::pack::{PackError, PackSummary};

use super::Replication;
use crate::exec::Lane;
use crate::housekeeping::pack_name::PackName;
use crate::housekeeping::rebuild::{Tails, tail_bytes};

impl Replication {
    /// What a pack says of itself, read from the store or fetched from who has it, `from` above all; and where it is now.
    /// None if the store and all members that live say that they have no such pack, or none that is whole.
    ///
    /// # Errors
    /// One of them does not answer, so that it may have it.
    pub(super) async fn find_pack(
        &self,
        object_key: &str,
        from: Option<SocketAddr>,
    ) -> Result<Option<(PackSummary, PackState)>> {
        // One that does not answer may have it; so may a member.
        if let Ok(Some(summary)) = self.stored(object_key).await {
            return Ok(Some((summary, PackState::Shipped)));
        }
        if self.fetch_from_any(object_key, from).await? {
            return Ok(Some((self.summary(object_key, None).await??, PackState::Spooled)));
        }
        // Again: it may have come there after the store was asked, and before who had it was.
        Ok(self.stored(object_key).await?.map(|summary| (summary, PackState::Shipped)))
    }

    /// What a pack in the store says of itself; none if the store has no such pack, or none that is whole.
    async fn stored(&self, object_key: &str) -> Result<Option<PackSummary>> {
        let bytes = match self.parts.store.head(object_key).await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            stored => stored?.bytes,
        };
        Ok(self.summary(object_key, Some(bytes)).await?.ok())
    }

    /// Brings a pack into the spool, unless it is there, from any member that lives. Returns whether one had it.
    ///
    /// # Errors
    /// None had it that answered, and one did not.
    async fn fetch_from_any(&self, object_key: &str, first: Option<SocketAddr>) -> Result<bool> {
        // Who has just started may be the only one to have it, and know of nobody yet.
        let spooled = self.parts.spool.path(object_key);
        if self.parts.env.exec.run(Lane::Disk, move || spooled.is_file()).await {
            return Ok(true);
        }
        let placement = self.placement();
        let others = placement.live_peers().map(|peer| peer.address).filter(|at| Some(*at) != first);
        let mut outcome = Ok(false);
        for address in first.into_iter().chain(others) {
            match self.fetch_pack(object_key, address).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// Notes that a pack is nowhere to be had.
    pub(super) async fn note_lost(&self, object_key: &str) -> Result<()> {
        let name = PackName::parse(object_key).context("it does not bear the name of a pack")?;
        let (index, key, day) = (self.parts.index.clone(), object_key.to_owned(), name.day);
        let id = PackId(name.content_hash);
        let note = move || index.day_or_create(day)?.note_lost(id, &key);
        let is_news: Result<bool, IndexError> = self.parts.env.exec.run(Lane::Disk, note).await;
        if is_news? {
            self.parts.metrics.missing_packs.inc();
            let hint = "answers say so until the object is restored";
            tracing::error!(
                object_key,
                "a pack is gone from the chunk store and no member has it; its lines are lost: {hint}"
            );
        }
        Ok(())
    }

    /// Brings back what this node's store has lost and another member still has; the shipper does the rest.
    ///
    /// # Errors
    /// A member did not answer; what is left is asked for again.
    pub(super) async fn seek_missing(&self) -> Result<()> {
        let mut sought = self.announcing.take_sought();
        while let Some(key) = sought.pop_first() {
            match self.fetch_from_any(&key, None).await {
                Ok(true) => self.on_found(&key).await?,
                Ok(false) => {}
                Err(error) => {
                    self.announcing.seek(sought.into_iter().chain([key]));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// A pack that was gone from the store is in the spool: it is shipped from there.
    pub(super) async fn on_found(&self, object_key: &str) -> Result<()> {
        let name = PackName::parse(object_key).context("it does not bear the name of a pack")?;
        let (index, day, id) = (self.parts.index.clone(), name.day, PackId(name.content_hash));
        let note = move || index.day(day)?.map_or(Ok(false), |day| day.mark_spooled(id));
        let is_known: Result<bool, IndexError> = self.parts.env.exec.run(Lane::Disk, note).await;
        if is_known? {
            tracing::warn!(
                object_key,
                "a pack that was gone from the chunk store is brought back from another member"
            );
            self.parts.ingester.wake_shipper();
        }
        Ok(())
    }

    /// What a pack says of itself, read within the rate that learning is held to; `bytes` as for [`Tails::summary`]. The
    /// inner error says that it is no pack.
    pub(super) async fn summary(
        &self,
        object_key: &str,
        bytes: Option<u64>,
    ) -> Result<Result<PackSummary, PackError>> {
        let super::Parts { env, spool, store, .. } = &self.parts;
        let tails = Tails { exec: env.exec.clone(), spool: spool.clone(), store: store.clone() };
        let summary = tails.summary(object_key, bytes).await?;
        self.parts.staff.learn.spend(tail_bytes(&summary)).await;
        Ok(summary)
    }
}
