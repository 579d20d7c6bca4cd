//! An owner hears of a pack that another wrote: it indexes the pack, and lets go of what that covers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use grapevine_gossip::rpc::{Handler, Refusal, RefusalCode, Reply, Request, Served};
use grapevine_storage::atom::{NotASet, PushSet};
use grapevine_storage::index::{Cover, Day, DayIndex, IndexError, NewPack, PackId};
use grapevine_storage::stream::StreamId;

use super::Replication;
use super::message::Announce;
use super::placement::Placement;
use crate::cluster::message::decode;
use crate::exec::Lane;
use crate::housekeeping::pack_name::PackName;
use crate::ingester::heads::HeadKey;
use crate::ingester::records::marks;
use crate::planted::{self, Bug};

/// What became of what was heard of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It was taken note of.
    Noted,
    /// The pack is not to be had from anywhere.
    Nowhere,
}

/// A pack as it is to be noted.
struct Noted {
    tenant: String,
    day: Day,
    id: PackId,
    covers: Vec<Cover>,
    replaces: Vec<PackId>,
    /// What the index is to keep of it; none if it knows the pack.
    new: Option<NewPack>,
    placement: Arc<Placement>,
}

impl Replication {
    /// Takes note of a pack: indexes it, fetches it if it is nowhere else, and lets go of what it covers.
    ///
    /// # Errors
    /// The pack cannot be had or read, or the index fails. Nothing was let go of then.
    pub(super) async fn hear(&self, announce: Announce, from: SocketAddr) -> Result<Heard> {
        let name = PackName::parse(&announce.object_key).context("it does not bear the name of a pack")?;
        let (tenant, day, id) = (name.tenant.to_owned(), name.day, PackId(name.content_hash));
        let covers = announce
            .covers
            .iter()
            .map(|(stream, set)| Ok(Cover { stream: StreamId(*stream), pushes: PushSet::from_bytes(set)? }));
        let covers = covers.collect::<Result<Vec<Cover>, NotASet>>()?;
        let replaces = announce.replaces.iter().map(|id| PackId(*id)).collect();
        let new = match self.knows(day, id).await? {
            true => None,
            false => match self.find_pack(&announce.object_key, Some(from)).await? {
                Some((summary, state)) => {
                    Some(NewPack::of_summary(name.tenant, &announce.object_key, state, &summary, Vec::new()))
                }
                None => return Ok(Heard::Nowhere),
            },
        };
        let placement = self.placement();
        self.take_note(Noted { tenant, day, id, covers, replaces, new, placement }).await?;
        // What was fetched goes on to this node's own store.
        self.parts.ingester.wake_shipper();
        Ok(Heard::Noted)
    }

    /// Whether the index knows a pack, or knows that it is gone.
    async fn knows(&self, day: Day, pack: PackId) -> Result<bool, IndexError> {
        let index = self.parts.index.clone();
        let look = move || match index.day(day)? {
            Some(day) => {
                let is_gone = || Ok::<_, IndexError>(day.gone()?.iter().any(|(gone, _)| *gone == pack));
                Ok(day.read(|snapshot| snapshot.pack(pack))?.is_some() || is_gone()?)
            }
            None => Ok(false),
        };
        self.parts.env.exec.run(Lane::Disk, look).await
    }

    /// Indexes a pack and lets go of what it covers, so that neither is ever without the other.
    async fn take_note(&self, noted: Noted) -> Result<()> {
        let ingester = self.parts.ingester.clone();
        let (index, now) = (self.parts.index.clone(), self.parts.env.clock.now());
        let work = move || {
            let Noted { tenant, day, id, mut covers, replaces, new, placement } = noted;
            covers.retain(|cover| placement.keeps(placement.me(), cover.stream));
            let mut leaving = Vec::new();
            let mut coverage = Vec::new();
            for cover in &covers {
                let key = HeadKey { tenant: tenant.as_str().into(), day, id: cover.stream };
                let Some(head) = ingester.heads().get(&key) else { continue };
                if let Some(covered) = head.begin_leaving(&cover.pushes) {
                    coverage.push((cover.stream, covered));
                    leaving.push(head);
                }
            }
            let marks = marks(&coverage);
            let noted = index.day_or_create(day).and_then(|open| match new {
                Some(_) if planted::is(Bug::LetsGoUnindexed) => open.raise_marks(&tenant, &marks),
                Some(mut pack) => {
                    pack.marks = marks;
                    pack.covers = (now, covers.clone());
                    pack.keep_within(placement.kept().arcs());
                    open.replace_packs(&replaces, &pack, now)
                }
                // The others tell of it now and then: what is noted need not be written again.
                None if marks.is_empty() && is_noted(&open, id, &replaces, &covers)? => Ok(()),
                None => {
                    open.raise_marks(&tenant, &marks)?;
                    open.set_gone(&replaces, Some(id), now)?;
                    open.add_covers(&tenant, id, now, &covers)
                }
            });
            if noted.is_ok() {
                // Before heads let go: who asks meanwhile must find a push in one of the two.
                for Cover { stream, pushes } in &covers {
                    let key = HeadKey { tenant: tenant.as_str().into(), day, id: *stream };
                    ingester.on_covered(&key, pushes, now);
                }
            }
            leaving.iter().for_each(|head| head.end_leaving(noted.is_ok()));
            noted?;
            ingester.heads().retire_empty();
            Ok(())
        };
        self.parts.env.exec.run(Lane::Disk, work).await
    }
}

/// Whether a day's index has all of this noted of a pack.
fn is_noted(day: &DayIndex, pack: PackId, replaces: &[PackId], covers: &[Cover]) -> Result<bool, IndexError> {
    let gone: BTreeSet<PackId> = day.gone()?.into_iter().map(|(id, _)| id).collect();
    if !replaces.iter().all(|id| gone.contains(id)) {
        return Ok(false);
    }
    let known = day.read(|snapshot| snapshot.covers(Some(pack)))?;
    let known: BTreeMap<StreamId, PushSet> =
        known.into_iter().map(|known| (known.cover.stream, known.cover.pushes)).collect();
    Ok(covers.iter().all(|cover| known.get(&cover.stream).is_some_and(|known| *known == cover.pushes)))
}

/// Hears of packs.
pub(super) struct Hears(pub(super) Arc<Replication>);

impl Handler for Hears {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            let announce: Announce = decode(&request.body)?;
            let key = announce.object_key.clone();
            let refused = match self.0.hear(announce, request.peer).await {
                Ok(Heard::Noted) => return Ok(reply.send(Bytes::new()).await?),
                // It was written just now: whoever announces it will see to it.
                Ok(Heard::Nowhere) => "it is in no store and with no member".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            tracing::info!(key, error = refused, "a member's pack cannot be taken note of now");
            Err(Refusal::new(RefusalCode::Failed, refused))
        })
    }
}
