//! What of a push a tenant's limits let through, in the order in which Loki looks at it.
//!
//! Entries that are refused are taken out of the batch and complained about; the others are stored, and the
//! client is told of the complaints all the same. Nothing here waits or looks at a clock.

use std::collections::BTreeMap;

use grapevine_logql::field_sources::FieldSources;

use super::batch::{PushBatch, PushEntry, PushStream};
use super::error::PushError;
use super::generic_fields;
use super::rejection::{self, Complaints, Fault, Reason};
use super::service_name::{LOKI_OWN, SERVICE_NAME};
use super::stream_cache::NamedStream;
use crate::limits::Limits;

/// How much was discarded for one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// Entries.
    pub entries: u64,
    /// Bytes of their lines and metadata.
    pub bytes: u64,
}

/// What validation came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Entries left in the batch.
    pub lines: u64,
    /// Bytes of their lines: what the tenant's rate is counted in.
    pub line_bytes: u64,
    /// Bytes of their structured metadata.
    pub metadata_bytes: u64,
    /// What was discarded, by reason.
    pub discarded: BTreeMap<Reason, Discarded>,
    /// What the client is told if some of it was discarded: a 400, after the rest is stored.
    pub complaints: Complaints,
}

/// Takes out of the batch what the limits refuse, and brings the metadata of the rest into the form in which
/// it is stored.
///
/// # Errors
/// The whole push is refused: the tenant is blocked, or a metadata name cannot be made a name.
pub fn validate(
    batch: &mut PushBatch,
    tenant: &str,
    limits: &Limits,
    now: i64,
) -> Result<Outcome, PushError> {
    let mut pass = Pass {
        limits,
        oldest: now.saturating_sub(limits.reject_old_samples_max_age.nanos()),
        newest: now.saturating_add(limits.creation_grace_period.nanos()),
        fields: match limits.allow_structured_metadata {
            true => limits.discover_generic_fields.compile(),
            false => Vec::new(),
        },
        outcome: Outcome::default(),
        changed: false,
    };
    let streams = std::mem::take(&mut batch.streams);
    let mut kept_streams = Vec::with_capacity(streams.len());
    let mut kept = 0;
    for mut stream in streams {
        let start = kept;
        match stream_fault(&stream.named, tenant, limits) {
            Some(fault) => pass.discard_stream(batch, &stream, fault),
            None => kept = pass.stream(batch, &stream, start)?,
        }
        stream.entries = start..kept;
        if !stream.entries.is_empty() {
            kept_streams.push(stream);
        }
    }
    batch.entries.truncate(kept);
    batch.streams = kept_streams;
    if pass.changed {
        batch.replayable = None;
    }
    match limits.block_ingestion_until_nanos() {
        Some(until) if now < until && !batch.is_empty() => {
            Err(rejection::blocked(tenant, until, limits.block_ingestion_status_code))
        }
        _ => Ok(pass.outcome),
    }
}

/// What is wrong with a stream as a whole.
fn stream_fault(stream: &NamedStream, tenant: &str, limits: &Limits) -> Option<Fault> {
    let labels = &stream.labels;
    if labels.is_empty() {
        return Some(Fault::NoLabels);
    }
    if LOKI_OWN.iter().any(|name| labels.get(name).is_some()) {
        return None;
    }
    let count = labels.len() - usize::from(labels.get(SERVICE_NAME).is_some());
    if count > limits.max_label_names_per_series {
        return Some(Fault::TooManyLabels { count, limit: limits.max_label_names_per_series });
    }
    for (name, value) in labels.iter() {
        if name.len() > limits.max_label_name_length {
            return Some(Fault::NameTooLong(name.into()));
        }
        if value.len() > limits.max_label_value_length {
            return Some(Fault::ValueTooLong(value.into()));
        }
        if stream.duplicate.as_deref() == Some(name) {
            return Some(Fault::DuplicateName(name.into()));
        }
    }
    let missing: Vec<&str> =
        limits.enforced_labels.iter().map(String::as_str).filter(|name| labels.get(name).is_none()).collect();
    (!missing.is_empty()).then(|| Fault::LabelsMissing { names: missing.join(","), tenant: tenant.into() })
}

struct Pass<'a> {
    limits: &'a Limits,
    /// What is looked for in each entry.
    fields: Vec<(&'a str, FieldSources)>,
    oldest: i64,
    newest: i64,
    outcome: Outcome,
    /// Whether the batch is no longer what decoding the client's body again would give.
    changed: bool,
}

impl Pass<'_> {
    fn discard_stream(&mut self, batch: &PushBatch, stream: &PushStream, fault: Fault) {
        for entry in &batch.entries[stream.entries.clone()] {
            self.count_discarded(fault.reason(), entry_size(batch, entry));
        }
        self.outcome.complaints.add(&stream.named, fault);
        self.changed = true;
    }

    fn count_discarded(&mut self, reason: Reason, bytes: usize) {
        let discarded = self.outcome.discarded.entry(reason).or_default();
        discarded.entries += 1;
        discarded.bytes += bytes as u64;
    }

    /// Moves the good entries of a stream to `kept` and on; returns where they end.
    fn stream(
        &mut self,
        batch: &mut PushBatch,
        stream: &PushStream,
        start: usize,
    ) -> Result<usize, PushError> {
        let mut kept = start;
        let mut previous = None;
        for at in stream.entries.clone() {
            let mut entry = batch.entries[at];
            if self.limits.max_line_size_truncate {
                self.truncate(batch, &mut entry)?;
            }
            let metadata_bytes = metadata_size(batch, &entry);
            if let Some(fault) = self.entry_fault(&entry, metadata_bytes) {
                self.count_discarded(fault.reason(), entry.line.len() + metadata_bytes);
                self.outcome.complaints.add(&stream.named, fault);
                self.changed = true;
                continue;
            }
            batch.entries[kept] = entry;
            if entry.metadata_len > 0 {
                batch.normalise_metadata(kept)?;
            }
            self.changed |= generic_fields::discover(&self.fields, batch, &stream.named, kept)?;
            if self.limits.increment_duplicate_timestamp {
                previous = Some(self.move_apart(batch, kept, kept > start, previous));
            }
            kept += 1;
            self.outcome.lines += 1;
            self.outcome.line_bytes += entry.line.len() as u64;
            self.outcome.metadata_bytes += metadata_bytes as u64;
        }
        Ok(kept)
    }

    fn truncate(&mut self, batch: &mut PushBatch, entry: &mut PushEntry) -> Result<(), PushError> {
        let limit = self.limits.max_line_size.bytes();
        if limit == 0 || entry.line.len() <= limit {
            return Ok(());
        }
        self.changed = true;
        let identifier = self.limits.max_line_size_truncate_identifier.as_bytes();
        let head = entry.line.first(limit - identifier.len().min(limit));
        entry.line = if identifier.is_empty() {
            head
        } else {
            let line = [batch.text(head), identifier].concat();
            batch.add_text(&line)?
        };
        Ok(())
    }

    fn entry_fault(&self, entry: &PushEntry, metadata_bytes: usize) -> Option<Fault> {
        let (limits, timestamp) = (self.limits, entry.timestamp);
        if limits.reject_old_samples && timestamp < self.oldest {
            return Some(Fault::TooOld { timestamp, oldest: self.oldest });
        }
        if timestamp > self.newest {
            return Some(Fault::TooNew { timestamp });
        }
        let limit = limits.max_line_size.0;
        if limit != 0 && entry.line.len() as u64 > limit {
            return Some(Fault::LineTooLong { len: entry.line.len(), limit });
        }
        if entry.metadata_len == 0 {
            return None;
        }
        if !limits.allow_structured_metadata {
            return Some(Fault::MetadataDisallowed);
        }
        let limit = limits.max_structured_metadata_size.0;
        if limit != 0 && metadata_bytes as u64 > limit {
            return Some(Fault::MetadataTooLarge { size: metadata_bytes, limit });
        }
        let (count, limit) = (entry.metadata_len as usize, limits.max_structured_metadata_entries_count);
        (limit != 0 && count > limit).then_some(Fault::MetadataTooMany { count, limit })
    }

    /// Loki's `increment_duplicate_timestamp`: an entry with another line but the time of the one before, or
    /// the time that one had before it was moved, comes a nanosecond after it. Returns the time to compare
    /// the next one with.
    fn move_apart(
        &mut self,
        batch: &mut PushBatch,
        at: usize,
        has_before: bool,
        previous: Option<i64>,
    ) -> i64 {
        let entry = batch.entries[at];
        let Some(previous) = previous.filter(|_| has_before) else { return entry.timestamp };
        let before = batch.entries[at - 1];
        let same_time = entry.timestamp == previous || entry.timestamp == before.timestamp;
        if !same_time || batch.text(entry.line) == batch.text(before.line) {
            return entry.timestamp;
        }
        batch.entries[at].timestamp = before.timestamp.saturating_add(1);
        self.changed = true;
        previous
    }
}

fn metadata_size(batch: &PushBatch, entry: &PushEntry) -> usize {
    batch.metadata[entry.metadata()].iter().map(|(name, value)| name.len() + value.len()).sum()
}

fn entry_size(batch: &PushBatch, entry: &PushEntry) -> usize {
    entry.line.len() + metadata_size(batch, entry)
}

#[cfg(test)]
mod tests {
    use super::{Outcome, validate};
    use crate::config::units::ByteSize;
    use crate::limits::Limits;
    use crate::push::batch::PushBatch;
    use crate::push::error::PushError;
    use crate::push::rejection::Reason;
    use crate::push::testing::{NOW, SECOND, batch, entries, left};

    fn run(batch: &mut PushBatch, limits: &Limits) -> Result<Outcome, PushError> {
        validate(batch, "t", limits, NOW)
    }

    fn check(limits: Limits, mut batch: PushBatch, expected: &[(i64, &str)], reasons: &[(Reason, u64)]) {
        let outcome = run(&mut batch, &limits).unwrap();
        let expected: Vec<_> = expected.iter().map(|&(at, line)| (at, line.to_owned())).collect();
        assert_eq!(left(&batch), expected);
        let discarded: Vec<_> =
            outcome.discarded.iter().map(|(&reason, amount)| (reason, amount.entries)).collect();
        assert_eq!(discarded, reasons);
        assert_eq!(outcome.complaints.is_empty(), reasons.is_empty());
        assert_eq!(outcome.lines, expected.len() as u64);
        assert_eq!(outcome.line_bytes, expected.iter().map(|(_, line)| line.len() as u64).sum::<u64>());
    }

    #[test]
    fn good_entries_survive_bad_ones() {
        let week = 7 * 86_400 * SECOND;
        let all =
            [(0, "a"), (-week - SECOND, "old"), (601 * SECOND, "new"), (600 * SECOND, "b"), (1, "long")];
        let limits = Limits { reject_old_samples: true, max_line_size: ByteSize(3), ..Limits::default() };
        check(
            limits,
            entries(&all),
            &[(0, "a"), (600 * SECOND, "b")],
            &[(Reason::LineTooLong, 1), (Reason::GreaterThanMaxSampleAge, 1), (Reason::TooFarInFuture, 1)],
        );
    }

    #[test]
    fn late_entries_are_taken_unless_asked_not_to() {
        check(Limits::default(), entries(&[(-NOW, "1970")]), &[(-NOW, "1970")], &[]);
    }

    #[test]
    fn long_lines_may_be_cut() {
        let cut = Limits { max_line_size: ByteSize(4), max_line_size_truncate: true, ..Limits::default() };
        check(cut.clone(), entries(&[(0, "abcdef"), (1, "abcd")]), &[(0, "abcd"), (1, "abcd")], &[]);
        let marked = Limits { max_line_size_truncate_identifier: "..".into(), ..cut };
        check(marked, entries(&[(0, "abcdef"), (1, "abcd")]), &[(0, "ab.."), (1, "abcd")], &[]);
    }

    #[test]
    fn bad_streams_do_not_hurt_good_ones() {
        let good = format!(r#"{{"stream":{{"a":"b"}},"values":[["{NOW}","x"]]}}"#);
        let limits = Limits {
            max_label_names_per_series: 2,
            max_label_name_length: 4,
            max_label_value_length: 5,
            enforced_labels: vec!["a".into()],
            ..Limits::default()
        };
        for (labels, reason) in [
            (r#"{}"#, Reason::MissingLabels),
            (r#"{"a":"","b":""}"#, Reason::MissingLabels),
            (r#"{"a":"1","b":"2","c":"3"}"#, Reason::MaxLabelNamesPerSeries),
            (r#"{"aaaaa":"1"}"#, Reason::LabelNameTooLong),
            (r#"{"a":"123456"}"#, Reason::LabelValueTooLong),
            (r#"{"b":"1"}"#, Reason::MissingEnforcedLabels),
        ] {
            let bad = format!(r#"{{"stream":{labels},"values":[["{NOW}","y"],["{NOW}","z"]]}}"#);
            check(limits.clone(), batch(&format!("{bad},{good},{bad}")), &[(0, "x")], &[(reason, 4)]);
        }
        let named = r#"{"a":"1","b":"2","service_name":"3"}"#;
        let with_name = format!(r#"{{"stream":{named},"values":[["{NOW}","y"]]}}"#);
        check(Limits { max_label_name_length: 12, ..limits }, batch(&with_name), &[(0, "y")], &[]);
    }

    #[test]
    fn metadata_has_limits() {
        let entry = |metadata: &str| {
            batch(&format!(r#"{{"stream":{{"a":"b"}},"values":[["{NOW}","x",{metadata}]]}}"#))
        };
        let limits = Limits {
            max_structured_metadata_size: ByteSize(6),
            max_structured_metadata_entries_count: 2,
            ..Limits::default()
        };
        check(limits.clone(), entry(r#"{"k":"v","l":"w"}"#), &[(0, "x")], &[]);
        check(limits.clone(), entry(r#"{"k":"123456"}"#), &[], &[(Reason::StructuredMetadataTooLarge, 1)]);
        check(
            limits.clone(),
            entry(r#"{"k":"","l":"","m":""}"#),
            &[],
            &[(Reason::StructuredMetadataTooMany, 1)],
        );
        let off = Limits { allow_structured_metadata: false, ..limits };
        check(off.clone(), entry(r#"{"k":"v"}"#), &[], &[(Reason::DisallowedStructuredMetadata, 1)]);
        check(off, entry("{}"), &[(0, "x")], &[]);
    }

    #[test]
    fn a_metadata_name_that_vanishes_refuses_the_whole_push() {
        let mut batch = batch(&format!(r#"{{"stream":{{"a":"b"}},"values":[["{NOW}","x",{{"é":"1"}}]]}}"#));
        assert_eq!(run(&mut batch, &Limits::default()).unwrap_err().code.status(), 500);
    }

    #[test]
    fn duplicate_timestamps_are_moved_apart_on_request() {
        let limits = Limits { increment_duplicate_timestamp: true, ..Limits::default() };
        check(
            limits,
            entries(&[(0, "a"), (0, "b"), (0, "c"), (5, "d"), (5, "d"), (5, "e")]),
            &[(0, "a"), (1, "b"), (2, "c"), (5, "d"), (5, "d"), (6, "e")],
            &[],
        );
    }

    #[test]
    fn a_blocked_tenant_gets_the_operators_status() {
        let limits = Limits { block_ingestion_until: "2030-01-01T00:00:00Z".into(), ..Limits::default() };
        let error = run(&mut entries(&[(0, "a")]), &limits).unwrap_err();
        assert_eq!(error.code.status(), 260);
        assert_eq!(
            error.message,
            "ingestion blocked for user t until '2030-01-01T00:00:00Z' with status code '260'"
        );
        let past = Limits { block_ingestion_until: "2020-01-01T00:00:00Z".into(), ..Limits::default() };
        run(&mut entries(&[(0, "a")]), &past).unwrap();
    }
}
