//! Takes a push from its body to its owners: decode, validate, hold to the limits, hand on.
//!
//! On a node that stands alone the one owner is its ingester; a member hands on to `replication`.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use grapevine_storage::stream::StreamId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::env::Env;
use crate::exec::Lane;
use crate::housekeeping::retention::Retention;
use crate::ingester::Ingester;
use crate::ingester::log::AppendError;
use crate::limits::{Limits, RateStrategy, TenantLimits};
use crate::metrics::{Discard, Metrics, Tenant};
use crate::push::admit::{admit, admit_streams, drop_expired, drop_late};
use crate::push::batch::{PushBatch, PushStream};
use crate::push::error::{ErrorCode, PushError};
use crate::push::rate_limit::RateLimiter;
use crate::push::rejection::Ignored;
use crate::push::request::{Context, Endpoint, Headers, accept};
use crate::push::stream_cache::StreamCache;
use crate::push::validate::Outcome;
use crate::replication::Replication;

/// Complaints about late entries or hot streams that one answer names.
const IGNORED_SHOWN_MAX: usize = 10;

/// Takes pushes in.
#[derive(Debug)]
pub struct Distributor {
    env: Env,
    limits: Arc<TenantLimits>,
    ingester: Arc<Ingester>,
    replication: Option<Arc<Replication>>,
    metrics: Arc<Metrics>,
    cache: Arc<StreamCache>,
    rates: Mutex<Rates>,
    retention: Arc<Retention>,
    disk: Arc<dyn Gate>,
    in_flight: InFlight,
}

/// Memory that pushes under way may take, one permit a KiB: bodies, and what is decoded and waits for the log.
/// Apart, since a body that waits to be decoded must not keep a decoded push from being finished.
#[derive(Debug)]
struct InFlight {
    bodies: Arc<Semaphore>,
    decoded: Arc<Semaphore>,
    kib: u32,
}

impl InFlight {
    fn new(bytes: u64) -> Self {
        let most = u32::try_from(Semaphore::MAX_PERMITS).unwrap_or(u32::MAX);
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(most);
        let room = || Arc::new(Semaphore::new(kib as usize));
        InFlight { bodies: room(), decoded: room(), kib }
    }

    /// Waits for room. What is larger than all the room there is takes all of it.
    async fn enter(&self, room: &Arc<Semaphore>, bytes: usize) -> OwnedSemaphorePermit {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX).min(self.kib);
        room.clone().acquire_many_owned(kib).await.expect("the semaphores are never closed")
    }
}

#[derive(Debug, Default)]
struct Rates {
    tenants: RateLimiter<String>,
    streams: RateLimiter<StreamId>,
}

/// Says whether the disk lets pushes in.
pub trait Gate: Send + Sync + std::fmt::Debug {
    /// Why not, and how many seconds a client should wait; none if it does.
    fn closed(&self) -> Option<(String, u32)>;
}

/// Headers of a push, on their own so that decoding can leave the runtime.
#[derive(Clone, Debug, Default)]
pub struct PushHeaders {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `X-Loki-Backfill-Shard`.
    pub backfill_shard: Option<String>,
}

/// A push that was decoded.
struct Decoded {
    batch: PushBatch,
    outcome: Outcome,
    ignored: Vec<Ignored>,
}

impl Distributor {
    /// In front of an ingester, and of those of other members.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the node")]
    pub fn new(
        env: Env,
        limits: Arc<TenantLimits>,
        ingester: Arc<Ingester>,
        replication: Option<Arc<Replication>>,
        metrics: Arc<Metrics>,
        retention: Arc<Retention>,
        disk: Arc<dyn Gate>,
        in_flight_bytes: u64,
    ) -> Self {
        let (cache, rates, in_flight) = (Arc::default(), Mutex::default(), InFlight::new(in_flight_bytes));
        Distributor { env, limits, ingester, replication, metrics, cache, rates, retention, disk, in_flight }
    }

    /// Waits until there is room for a body of so many bytes; hold what is returned for as long as the body.
    pub async fn admit_body(&self, bytes: usize) -> OwnedSemaphorePermit {
        self.in_flight.enter(&self.in_flight.bodies, bytes).await
    }

    /// Takes a push in; returns when what is accepted of it is durable.
    ///
    /// # Errors
    /// What of it was refused; the rest may have been stored.
    pub async fn push(
        self: &Arc<Self>,
        endpoint: Endpoint,
        tenant: String,
        headers: PushHeaders,
        body: Bytes,
    ) -> Result<(), PushError> {
        if let Some((why, _)) = self.disk.closed() {
            return Err(PushError::new(ErrorCode::RateLimited, why));
        }
        let this = self.clone();
        let owner = tenant.clone();
        let decode = move || this.decode(endpoint, &owner, &headers, &body);
        let Decoded { batch, outcome, ignored } = self.env.exec.run(Lane::Decode, decode).await?;
        if !batch.is_empty() {
            let _room = self.in_flight.enter(&self.in_flight.decoded, batch.memory()).await;
            match &self.replication {
                Some(replication) => replication.push(tenant.as_str().into(), batch).await?,
                None => {
                    let kept = self.ingester.push(tenant.as_str().into(), None, batch).await;
                    kept.map_err(|error| refusal(&error))?;
                }
            }
        }
        self.count(&tenant, &outcome);
        told(&outcome, &ignored).map_or(Ok(()), Err)
    }

    fn decode(
        &self,
        endpoint: Endpoint,
        tenant: &str,
        headers: &PushHeaders,
        body: &Bytes,
    ) -> Result<Decoded, PushError> {
        let limits = self.limits.of(tenant);
        let now = self.env.clock.now();
        let headers = Headers {
            content_type: headers.content_type.as_deref(),
            content_encoding: headers.content_encoding.as_deref(),
            backfill_shard: headers.backfill_shard.as_deref(),
        };
        let context = Context { tenant, limits, cache: &self.cache, now };
        let (mut batch, outcome) = accept(endpoint, headers, body, &context)?;
        let mut rates = self.rates.lock().expect("a panic with the rates locked ends the process");
        if let Err(error) = admit(&outcome, &mut rates.tenants, tenant, limits, self.sharers(limits), now) {
            self.discard(tenant, "rate_limited", outcome.lines, outcome.line_bytes);
            return Err(error);
        }
        let mut ignored = admit_streams(&mut batch, &mut rates.streams, tenant, limits, now);
        drop(rates);
        let heads = self.ingester.heads();
        ignored.extend(drop_late(&mut batch, tenant, limits, |stream| heads.newest(tenant, stream)));
        if self.retention.is_limited(tenant) {
            let oldest = |stream: &PushStream| self.retention.oldest_kept(tenant, stream.labels(), now);
            ignored.extend(drop_expired(&mut batch, tenant, oldest));
        }
        let most = limits.max_global_streams_per_user;
        if most > 0 {
            heads.admit_streams(&batch, tenant, most)?;
        }
        Ok(Decoded { batch, outcome, ignored })
    }

    /// How many members share a tenant's rate.
    fn sharers(&self, limits: &Limits) -> usize {
        match (limits.ingestion_rate_strategy, &self.replication) {
            (RateStrategy::Global, Some(replication)) => replication.living(),
            _ => 1,
        }
    }

    fn count(&self, tenant: &str, outcome: &Outcome) {
        let label = Tenant { tenant: tenant.to_owned() };
        self.metrics.received_lines.get_or_create(&label).inc_by(outcome.lines);
        self.metrics.received_bytes.get_or_create(&label).inc_by(outcome.line_bytes);
        self.metrics.received_metadata_bytes.get_or_create(&label).inc_by(outcome.metadata_bytes);
        for (reason, discarded) in &outcome.discarded {
            self.discard(tenant, reason.as_str(), discarded.entries, discarded.bytes);
        }
    }

    fn discard(&self, tenant: &str, reason: &'static str, lines: u64, bytes: u64) {
        let label = Discard { reason, tenant: tenant.to_owned() };
        self.metrics.discarded_lines.get_or_create(&label).inc_by(lines);
        self.metrics.discarded_bytes.get_or_create(&label).inc_by(bytes);
        if self.metrics.discard_log.allow() {
            tracing::warn!(
                tenant,
                reason,
                lines,
                bytes,
                "lines were refused (further refusals are logged once a second)"
            );
        }
    }
}

/// What the client is told of a push that was stored in part: complaints of validation come before others.
fn told(outcome: &Outcome, ignored: &[Ignored]) -> Option<PushError> {
    if let Some(error) = outcome.complaints.error() {
        return Some(error);
    }
    let first = ignored.first()?.error();
    let texts: Vec<String> = ignored.iter().take(IGNORED_SHOWN_MAX).map(ToString::to_string).collect();
    Some(PushError::new(first.code, texts.join("\n")))
}

fn refusal(error: &AppendError) -> PushError {
    let code = match error {
        AppendError::DiskFull(_) => ErrorCode::RateLimited,
        AppendError::Log(_) | AppendError::Closed => ErrorCode::Unavailable,
    };
    PushError::new(code, error.to_string())
}
