//! Why a stream or an entry is not taken, in Loki's names and words.
//!
//! A complaint is kept as numbers, and becomes text only when the answer is written: a push may hold millions
//! of entries that are all refused for one reason. Like Loki, an answer counts complaints that read alike.

mod late;

use std::fmt;
use std::sync::Arc;

pub use self::late::{Ignored, LateFault};
use super::error::{ErrorCode, PushError};
use super::labels::LabelString;
use super::stream_cache::NamedStream;

/// Complaints that an answer spells out; the others are counted.
pub const COMPLAINTS_MAX: usize = 10;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Why something was discarded: the `reason` label of Loki's `loki_discarded_samples_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The tenant's rate is exceeded.
    RateLimited,
    /// The stream's rate is exceeded.
    PerStreamRateLimit,
    /// The tenant has too many streams.
    StreamLimit,
    /// The line is too long.
    LineTooLong,
    /// The entry is too far behind the newest of its stream.
    TooFarBehind,
    /// The entry is too old.
    GreaterThanMaxSampleAge,
    /// The entry is in the future.
    TooFarInFuture,
    /// The labels cannot be read.
    InvalidLabels,
    /// The stream has no labels.
    MissingLabels,
    /// The stream has too many labels.
    MaxLabelNamesPerSeries,
    /// A label's name is too long.
    LabelNameTooLong,
    /// A label's value is too long.
    LabelValueTooLong,
    /// A label is there twice.
    DuplicateLabelNames,
    /// The body is too large.
    RequestBodyTooLarge,
    /// Structured metadata is turned off.
    DisallowedStructuredMetadata,
    /// The structured metadata has too many bytes.
    StructuredMetadataTooLarge,
    /// The structured metadata has too many pairs.
    StructuredMetadataTooMany,
    /// The tenant is blocked.
    BlockedIngestion,
    /// The tenant's policy is blocked.
    BlockedIngestionPolicy,
    /// A label that the tenant must set is missing.
    MissingEnforcedLabels,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 20] = [
        Reason::RateLimited,
        Reason::PerStreamRateLimit,
        Reason::StreamLimit,
        Reason::LineTooLong,
        Reason::TooFarBehind,
        Reason::GreaterThanMaxSampleAge,
        Reason::TooFarInFuture,
        Reason::InvalidLabels,
        Reason::MissingLabels,
        Reason::MaxLabelNamesPerSeries,
        Reason::LabelNameTooLong,
        Reason::LabelValueTooLong,
        Reason::DuplicateLabelNames,
        Reason::RequestBodyTooLarge,
        Reason::DisallowedStructuredMetadata,
        Reason::StructuredMetadataTooLarge,
        Reason::StructuredMetadataTooMany,
        Reason::BlockedIngestion,
        Reason::BlockedIngestionPolicy,
        Reason::MissingEnforcedLabels,
    ];

    /// Loki's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::RateLimited => "rate_limited",
            Reason::PerStreamRateLimit => "per_stream_rate_limit",
            Reason::StreamLimit => "stream_limit",
            Reason::LineTooLong => "line_too_long",
            Reason::TooFarBehind => "too_far_behind",
            Reason::GreaterThanMaxSampleAge => "greater_than_max_sample_age",
            Reason::TooFarInFuture => "too_far_in_future",
            Reason::InvalidLabels => "invalid_labels",
            Reason::MissingLabels => "missing_labels",
            Reason::MaxLabelNamesPerSeries => "max_label_names_per_series",
            Reason::LabelNameTooLong => "label_name_too_long",
            Reason::LabelValueTooLong => "label_value_too_long",
            Reason::DuplicateLabelNames => "duplicate_label_names",
            Reason::RequestBodyTooLarge => "request_body_too_large",
            Reason::DisallowedStructuredMetadata => "disallowed_structured_metadata",
            Reason::StructuredMetadataTooLarge => "structured_metadata_too_large",
            Reason::StructuredMetadataTooMany => "structured_metadata_too_many",
            Reason::BlockedIngestion => "blocked_ingestion",
            Reason::BlockedIngestionPolicy => "blocked_ingestion_policy",
            Reason::MissingEnforcedLabels => "missing_enforced_labels",
        }
    }
}

/// What is wrong with a stream or an entry of it, with the numbers that the text shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Older than allowed; both in nanoseconds, the text shows seconds.
    TooOld {
        /// The entry's time.
        timestamp: i64,
        /// The oldest time allowed.
        oldest: i64,
    },
    /// Newer than allowed.
    TooNew {
        /// The entry's time.
        timestamp: i64,
    },
    /// Longer than allowed.
    LineTooLong {
        /// Bytes of the line.
        len: usize,
        /// Bytes allowed.
        limit: u64,
    },
    /// Structured metadata where none is allowed.
    MetadataDisallowed,
    /// Too many bytes of structured metadata.
    MetadataTooLarge {
        /// Bytes of names and values.
        size: usize,
        /// Bytes allowed.
        limit: u64,
    },
    /// Too many pairs of structured metadata.
    MetadataTooMany {
        /// Pairs.
        count: usize,
        /// Pairs allowed.
        limit: usize,
    },
    /// No labels at all.
    NoLabels,
    /// Too many labels.
    TooManyLabels {
        /// Labels, `service_name` not counted.
        count: usize,
        /// Labels allowed.
        limit: usize,
    },
    /// A name that is too long.
    NameTooLong(Box<str>),
    /// A value that is too long.
    ValueTooLong(Box<str>),
    /// A name that is there twice.
    DuplicateName(Box<str>),
    /// Labels that the tenant must set and this stream has not, joined by commas.
    LabelsMissing {
        /// The names.
        names: String,
        /// The tenant.
        tenant: Box<str>,
    },
}

impl Fault {
    /// The reason it is counted under.
    pub fn reason(&self) -> Reason {
        match self {
            Fault::TooOld { .. } => Reason::GreaterThanMaxSampleAge,
            Fault::TooNew { .. } => Reason::TooFarInFuture,
            Fault::LineTooLong { .. } => Reason::LineTooLong,
            Fault::MetadataDisallowed => Reason::DisallowedStructuredMetadata,
            Fault::MetadataTooLarge { .. } => Reason::StructuredMetadataTooLarge,
            Fault::MetadataTooMany { .. } => Reason::StructuredMetadataTooMany,
            Fault::NoLabels => Reason::MissingLabels,
            Fault::TooManyLabels { .. } => Reason::MaxLabelNamesPerSeries,
            Fault::NameTooLong(_) => Reason::LabelNameTooLong,
            Fault::ValueTooLong(_) => Reason::LabelValueTooLong,
            Fault::DuplicateName(_) => Reason::DuplicateLabelNames,
            Fault::LabelsMissing { .. } => Reason::MissingEnforcedLabels,
        }
    }

    /// The fault with times cut to what the text shows, so that faults are equal where texts are.
    fn rounded(self) -> Self {
        let second = |time: i64| time.div_euclid(NANOS_PER_SECOND).saturating_mul(NANOS_PER_SECOND);
        match self {
            Fault::TooOld { timestamp, oldest } => {
                Fault::TooOld { timestamp: second(timestamp), oldest: second(oldest) }
            }
            Fault::TooNew { timestamp } => Fault::TooNew { timestamp: second(timestamp) },
            other => other,
        }
    }
}

/// A fault and the stream it is in; prints as Loki says it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Complaint {
    stream: Arc<NamedStream>,
    fault: Fault,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = LabelString(self.stream.labels.iter());
        match &self.fault {
            Fault::TooOld { timestamp, oldest } => write!(
                f,
                "entry for stream '{labels}' has timestamp too old: {}, oldest acceptable timestamp is: {}",
                rfc3339(*timestamp),
                rfc3339(*oldest)
            ),
            Fault::TooNew { timestamp } => {
                write!(f, "entry for stream '{labels}' has timestamp too new: {}", rfc3339(*timestamp))
            }
            Fault::LineTooLong { len, limit } => write!(
                f,
                "max entry size '{limit}' bytes exceeded for stream '{labels}' while adding an entry with length '{len}' bytes"
            ),
            Fault::MetadataDisallowed => write!(
                f,
                "stream '{labels}' includes structured metadata, but this feature is disallowed. Please see `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it"
            ),
            Fault::MetadataTooLarge { size, limit } => write!(
                f,
                "stream '{labels}' has structured metadata too large: '{size}' bytes, limit: '{limit}' bytes. Please see `limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it"
            ),
            Fault::MetadataTooMany { count, limit } => write!(
                f,
                "stream '{labels}' has too many structured metadata labels: '{count}', limit: '{limit}'. Please see `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it"
            ),
            Fault::NoLabels => f.write_str("error at least one label pair is required per stream"),
            Fault::TooManyLabels { count, limit } => {
                write!(f, "entry for stream '{labels}' has {count} label names; limit {limit}")
            }
            Fault::NameTooLong(name) => write!(f, "stream '{labels}' has label name too long: '{name}'"),
            Fault::ValueTooLong(value) => write!(f, "stream '{labels}' has label value too long: '{value}'"),
            Fault::DuplicateName(name) => write!(f, "stream '{labels}' has duplicate label name: '{name}'"),
            Fault::LabelsMissing { names, tenant } => {
                write!(f, "missing required labels {names} for user {tenant} for stream {labels}")
            }
        }
    }
}

/// The complaints about one push.
#[derive(Clone, Debug, Default)]
pub struct Complaints {
    kept: Vec<(Complaint, u64)>,
    others: u64,
}

impl Complaints {
    /// Adds one.
    pub fn add(&mut self, stream: &Arc<NamedStream>, fault: Fault) {
        let fault = fault.rounded();
        let same = |(kept, _): &&mut (Complaint, u64)| kept.fault == fault && kept.stream.id == stream.id;
        if let Some((_, count)) = self.kept.iter_mut().find(same) {
            *count += 1;
        } else if self.kept.len() < COMPLAINTS_MAX {
            self.kept.push((Complaint { stream: stream.clone(), fault }, 1));
        } else {
            self.others += 1;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The 400 for them: a single complaint as it is, several counted by their text, as Loki does.
    pub fn error(&self) -> Option<PushError> {
        let text = match &self.kept[..] {
            [] => return None,
            [(complaint, 1)] => complaint.to_string(),
            several => {
                let counted =
                    several.iter().map(|(complaint, count)| format!("{count} errors like: {complaint}"));
                counted.collect::<Vec<_>>().join("; ")
            }
        };
        let others =
            if self.others > 0 { format!("; and {} other errors", self.others) } else { String::new() };
        Some(PushError::invalid(text + &others))
    }
}

/// The 429 of a tenant above its rate. Nothing of the push is stored.
pub fn rate_limited(tenant: &str, limit: u64, lines: u64, bytes: u64) -> PushError {
    PushError::new(
        ErrorCode::RateLimited,
        format!(
            "ingestion rate limit exceeded for user {tenant} (limit: {limit} bytes/sec) while attempting to ingest '{lines}' lines totaling '{bytes}' bytes, reduce log volume or contact your Loki administrator to see if the limit can be increased"
        ),
    )
}

/// The 429 of a stream that would be one too many.
pub fn stream_limit(tenant: &str, stream: &NamedStream) -> PushError {
    let labels = LabelString(stream.labels.iter());
    PushError::new(
        ErrorCode::RateLimited,
        format!(
            "maximum active stream limit exceeded when trying to create stream {labels}, reduce the number of active streams (reduce labels or reduce label values), or contact your Loki administrator to see if the limit can be increased, user: '{tenant}'"
        ),
    )
}

/// The refusal of a tenant that the operator has blocked.
pub fn blocked(tenant: &str, until: i64, status: u16) -> PushError {
    let until = rfc3339(until);
    let text = format!("ingestion blocked for user {tenant} until '{until}' with status code '{status}'");
    PushError::new(ErrorCode::Blocked(status), text)
}

/// `2026-11-23T12:00:00Z`; parts of a second are left out, as Go's `time.RFC3339` does.
fn rfc3339(nanos: i64) -> String {
    time(nanos).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-11-23 12:00:00.5 +0000 UTC`, as Go's `Time.String` does.
fn go_time(nanos: i64) -> String {
    time(nanos).strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC").to_string()
}

fn time(nanos: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(nanos)).expect("64 bits of nanoseconds reach to 2262")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Complaints, Fault, Reason};
    use crate::push::stream_cache::{NamedStream, Naming};

    fn stream(app: &str) -> Arc<NamedStream> {
        let naming = Naming { tenant: "t", service_name_sources: &[] };
        Arc::new(naming.stream(vec![("app".into(), app.into())]))
    }

    fn check(faults: &[(&str, Fault)], expected: &str) {
        let mut complaints = Complaints::default();
        for (app, fault) in faults {
            complaints.add(&stream(app), fault.clone());
        }
        assert_eq!(complaints.error().map(|error| error.message).as_deref(), Some(expected));
    }

    #[test]
    fn each_fault_reads_as_in_loki() {
        let short = Fault::LineTooLong { len: 3, limit: 2 };
        check(
            &[("a", short)],
            "max entry size '2' bytes exceeded for stream '{app=\"a\"}' while adding an entry with length '3' bytes",
        );
        check(
            &[("a", Fault::TooOld { timestamp: -1, oldest: 1_700_000_000_999_999_999 })],
            "entry for stream '{app=\"a\"}' has timestamp too old: 1969-12-31T23:59:59Z, oldest acceptable timestamp is: 2023-11-14T22:13:20Z",
        );
        check(
            &[("a", Fault::TooNew { timestamp: i64::MAX })],
            "entry for stream '{app=\"a\"}' has timestamp too new: 2262-04-11T23:47:16Z",
        );
        check(&[("a", Fault::NoLabels)], "error at least one label pair is required per stream");
        check(
            &[("a", Fault::LabelsMissing { names: "x,y".into(), tenant: "t".into() })],
            "missing required labels x,y for user t for stream {app=\"a\"}",
        );
        check(
            &[("a", Fault::DuplicateName("app".into()))],
            "stream '{app=\"a\"}' has duplicate label name: 'app'",
        );
    }

    #[test]
    fn complaints_that_read_alike_are_counted() {
        let old = |timestamp| Fault::TooOld { timestamp, oldest: 0 };
        let text = |n| {
            format!(
                "{n} errors like: entry for stream '{{app=\"a\"}}' has timestamp too old: 1969-12-31T23:59:59Z, oldest acceptable timestamp is: 1970-01-01T00:00:00Z"
            )
        };
        check(&[("a", old(-1)), ("a", old(-2))], &text(2));
        let no_labels = "1 errors like: error at least one label pair is required per stream";
        check(
            &[("a", old(-1)), ("a", Fault::NoLabels), ("a", old(-9))],
            &format!("{}; {no_labels}", text(2)),
        );
    }

    #[test]
    fn an_answer_is_bounded() {
        let mut complaints = Complaints::default();
        for n in 0..1000 {
            complaints.add(&stream("a"), Fault::LineTooLong { len: n, limit: 1 });
        }
        let text = complaints.error().unwrap().message;
        assert!(text.ends_with("; and 990 other errors") && text.len() < 2000, "{text}");
    }

    #[test]
    fn reasons_have_names_of_their_own() {
        let names: std::collections::BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}
