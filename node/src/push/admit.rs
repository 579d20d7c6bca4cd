//! What of a push that is in order must not come now: above its tenant's or stream's rate, too far behind its stream, or
//! older than what is kept. Whoever sent it is told, as of all that is refused.

use std::sync::Arc;

use grapevine_storage::stream::StreamId;

use super::batch::{PushBatch, PushStream};
use super::error::PushError;
use super::rate_limit::{Rate, RateLimiter};
use super::rejection::{self, COMPLAINTS_MAX, Ignored, LateFault};
use super::stream_cache::NamedStream;
use super::validate::Outcome;
use crate::limits::Limits;

/// Counts a validated push against the tenant's rate: all of it or nothing. `members` share the rate, as
/// Loki's distributors do.
///
/// # Errors
/// The 429.
pub fn admit(
    outcome: &Outcome,
    limiter: &mut RateLimiter<String>,
    tenant: &str,
    limits: &Limits,
    members: usize,
    now: i64,
) -> Result<(), PushError> {
    const MIB: f64 = 1_048_576.0;
    if limits.ingestion_rate_mb == 0.0 {
        return Ok(());
    }
    let per_second = limits.ingestion_rate_mb * MIB / members.max(1) as f64;
    let rate = Rate { per_second, burst: limits.ingestion_burst_size_mb * MIB };
    if limiter.allow(now, &tenant.to_owned(), rate, outcome.line_bytes) {
        return Ok(());
    }
    Err(rejection::rate_limited(tenant, per_second as u64, outcome.lines, outcome.line_bytes))
}

/// Takes streams above their rate out of the batch, whole; each comes back as what its client is told.
pub fn admit_streams(
    batch: &mut PushBatch,
    limiter: &mut RateLimiter<StreamId>,
    tenant: &str,
    limits: &Limits,
    now: i64,
) -> Vec<Ignored> {
    let rate = Rate {
        per_second: limits.per_stream_rate_limit.0 as f64,
        burst: limits.per_stream_rate_limit_burst.0 as f64,
    };
    let mut ignored = Vec::new();
    if limits.per_stream_rate_limit.0 == 0 {
        return ignored;
    }
    let streams = std::mem::take(&mut batch.streams);
    batch.streams = streams
        .into_iter()
        .filter(|stream| {
            let entries = &batch.entries[stream.entries.clone()];
            let bytes = entries.iter().map(|entry| entry.line.len() as u64).sum();
            let allowed = limiter.allow(now, &stream.id(), rate, bytes);
            if !allowed {
                let fault = LateFault::StreamRate { limit: limits.per_stream_rate_limit.0, bytes };
                let entries = entries.iter().map(|entry| (entry.timestamp, fault.clone()));
                ignored.push(ignored_of(tenant, &stream.named, entries, stream.len()));
            }
            allowed
        })
        .collect();
    batch.replayable = batch.replayable.take().filter(|_| ignored.is_empty());
    ignored
}

/// Takes out entries that are too far behind the newest of their stream (`max_out_of_order_age`); `newest`
/// knows the newest time stored. Entries of the push itself count as they come, as in Loki.
pub fn drop_late(
    batch: &mut PushBatch,
    tenant: &str,
    limits: &Limits,
    newest: impl Fn(StreamId) -> Option<i64>,
) -> Vec<Ignored> {
    if limits.max_out_of_order_age.is_zero() {
        return Vec::new();
    }
    let age = limits.max_out_of_order_age.nanos();
    take_out(batch, tenant, |stream| {
        let mut highest = newest(stream.id());
        move |timestamp| {
            let oldest = highest.map_or(i64::MIN, |time| time.saturating_sub(age));
            let late = timestamp < oldest;
            if !late {
                highest = highest.max(Some(timestamp));
            }
            late.then_some(oldest)
        }
    })
}

/// Takes entries out that are older than `oldest` says for their stream: retention would delete them at once. Those
/// of one stream come back together, as what its client is told.
pub fn drop_expired(
    batch: &mut PushBatch,
    tenant: &str,
    oldest: impl Fn(&PushStream) -> Option<i64>,
) -> Vec<Ignored> {
    take_out(batch, tenant, |stream| {
        let oldest = oldest(stream).unwrap_or(i64::MIN);
        move |timestamp| (timestamp < oldest).then_some(oldest)
    })
}

/// Takes out the entries for which the rule of their stream says, in order, that they are older than the time it
/// gives back.
fn take_out<R: FnMut(i64) -> Option<i64>>(
    batch: &mut PushBatch,
    tenant: &str,
    rule_of: impl Fn(&PushStream) -> R,
) -> Vec<Ignored> {
    let mut ignored = Vec::new();
    let mut kept = 0;
    for stream in &mut batch.streams {
        let (start, total) = (kept, stream.len());
        let mut rule = rule_of(stream);
        let mut late = Vec::new();
        for at in stream.entries.clone() {
            let entry = batch.entries[at];
            let timestamp = entry.timestamp;
            if let Some(oldest) = rule(timestamp) {
                late.push((timestamp, LateFault::TooFarBehind { timestamp, oldest }));
            } else {
                batch.entries[kept] = entry;
                kept += 1;
            }
        }
        stream.entries = start..kept;
        if !late.is_empty() {
            ignored.push(ignored_of(tenant, &stream.named, late.into_iter(), total));
        }
    }
    batch.entries.truncate(kept);
    batch.streams.retain(|stream| !stream.is_empty());
    batch.replayable = batch.replayable.take().filter(|_| ignored.is_empty());
    ignored
}

fn ignored_of(
    tenant: &str,
    stream: &Arc<NamedStream>,
    entries: impl ExactSizeIterator<Item = (i64, LateFault)>,
    total: usize,
) -> Ignored {
    let ignored = entries.len() as u64;
    let entries = entries.take(COMPLAINTS_MAX).collect();
    Ignored { tenant: tenant.into(), stream: stream.clone(), entries, ignored, total: total as u64 }
}

#[cfg(test)]
mod tests {
    use super::{admit, admit_streams, drop_late};
    use crate::config::units::{ByteSize, Period};
    use crate::limits::Limits;
    use crate::push::rate_limit::RateLimiter;
    use crate::push::testing::{NOW, SECOND, batch, entries, left};
    use crate::push::validate::Outcome;

    #[test]
    fn a_tenants_rate_is_all_or_nothing_and_shared_by_members() {
        let limits = Limits { ingestion_rate_mb: 2.0, ingestion_burst_size_mb: 1.0, ..Limits::default() };
        let outcome = Outcome { lines: 3, line_bytes: 1 << 20, ..Outcome::default() };
        let mut limiter = RateLimiter::default();
        admit(&outcome, &mut limiter, "t", &limits, 4, NOW).unwrap();
        let error = admit(&outcome, &mut limiter, "t", &limits, 4, NOW + SECOND).unwrap_err();
        assert_eq!(error.code.status(), 429);
        assert_eq!(
            error.message,
            "ingestion rate limit exceeded for user t (limit: 524288 bytes/sec) while attempting to ingest '3' lines totaling '1048576' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased"
        );
        admit(&outcome, &mut limiter, "t", &limits, 4, NOW + 2 * SECOND).unwrap();
    }

    #[test]
    fn a_rate_of_nothing_is_no_limit() {
        let limits =
            Limits { ingestion_rate_mb: 0.0, per_stream_rate_limit: ByteSize(0), ..Limits::default() };
        let outcome = Outcome { line_bytes: 1 << 40, ..Outcome::default() };
        admit(&outcome, &mut RateLimiter::default(), "t", &limits, 1, NOW).unwrap();
        let limits = Limits { per_stream_rate_limit_burst: ByteSize(0), ..limits };
        assert!(
            admit_streams(&mut entries(&[(0, "a")]), &mut RateLimiter::default(), "t", &limits, NOW)
                .is_empty()
        );
    }

    #[test]
    fn a_stream_above_its_rate_is_left_out_whole() {
        let mut batch = batch(&format!(
            r#"{{"stream":{{"a":"1"}},"values":[["{NOW}","12345"],["{NOW}","6"]]}},{{"stream":{{"a":"2"}},"values":[["{NOW}","x"]]}}"#
        ));
        let limits = Limits { per_stream_rate_limit_burst: ByteSize(5), ..Limits::default() };
        let ignored = admit_streams(&mut batch, &mut RateLimiter::default(), "t", &limits, NOW);
        assert_eq!(left(&batch), [(0, "x".to_owned())]);
        assert_eq!((ignored.len(), ignored[0].ignored, ignored[0].total), (1, 2, 2));
        assert_eq!(ignored[0].error().code.status(), 429);
    }

    #[test]
    fn entries_far_behind_are_left_out_only_on_request() {
        let all = [
            (0, "a"),
            (-3600 * SECOND, "b"),
            (-3601 * SECOND, "c"),
            (10 * SECOND, "d"),
            (-3591 * SECOND, "e"),
        ];
        let mut batch = entries(&all);
        assert!(drop_late(&mut batch, "t", &Limits::default(), |_| Some(NOW)).is_empty());
        let limits = Limits { max_out_of_order_age: Period::hours(1), ..Limits::default() };
        let ignored = drop_late(&mut batch, "t", &limits, |_| None);
        let lines: Vec<_> = left(&batch).into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, ["a", "b", "d"]);
        assert_eq!((ignored[0].ignored, ignored[0].total), (2, 5));
        let ignored = drop_late(&mut batch, "t", &limits, |_| Some(i64::MAX));
        assert_eq!((ignored[0].ignored, batch.is_empty()), (3, true));
    }
}
