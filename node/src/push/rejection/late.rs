//! What an owner of a stream does not take, in the words of Loki's ingester.

use std::fmt;
use std::sync::Arc;

use super::{Reason, go_time, rfc3339};
use crate::config::units::ByteSize;
use crate::push::error::{ErrorCode, PushError};
use crate::push::labels::LabelString;
use crate::push::stream_cache::NamedStream;

/// Why an owner of a stream, who knows its newest entry and its rate, did not take an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LateFault {
    /// Too far behind the newest entry.
    TooFarBehind {
        /// The entry's time.
        timestamp: i64,
        /// The oldest time allowed.
        oldest: i64,
    },
    /// The stream's rate is exceeded.
    StreamRate {
        /// Bytes a second allowed.
        limit: u64,
        /// Bytes of the lines refused.
        bytes: u64,
    },
}

impl LateFault {
    /// The reason it is counted under.
    pub fn reason(&self) -> Reason {
        match self {
            LateFault::TooFarBehind { .. } => Reason::TooFarBehind,
            LateFault::StreamRate { .. } => Reason::PerStreamRateLimit,
        }
    }
}

/// What was not taken of one stream after validation; prints in the form of Loki's ingester.
#[derive(Clone, Debug)]
pub struct Ignored {
    /// The tenant.
    pub tenant: Box<str>,
    /// The stream.
    pub stream: Arc<NamedStream>,
    /// The first [`COMPLAINTS_MAX`](super::COMPLAINTS_MAX) entries not taken: their times and why.
    pub entries: Vec<(i64, LateFault)>,
    /// Entries not taken.
    pub ignored: u64,
    /// Entries of the stream in this push.
    pub total: u64,
}

impl Ignored {
    /// The answer: 429 where a rate is exceeded, else 400.
    pub fn error(&self) -> PushError {
        let rate = self.entries.iter().any(|(_, fault)| matches!(fault, LateFault::StreamRate { .. }));
        PushError::new(if rate { ErrorCode::RateLimited } else { ErrorCode::Invalid }, self.to_string())
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = LabelString(self.stream.labels.iter());
        for (timestamp, fault) in &self.entries {
            write!(f, "entry with timestamp {} ignored, reason: '", go_time(*timestamp))?;
            match fault {
                LateFault::TooFarBehind { timestamp, oldest } => write!(
                    f,
                    "entry too far behind, entry timestamp is: {}, oldest acceptable timestamp is: {}",
                    rfc3339(*timestamp),
                    rfc3339(*oldest)
                )?,
                LateFault::StreamRate { limit, bytes } => write!(
                    f,
                    "per stream rate limit exceeded (limit: {}/sec) while attempting to ingest for stream '{labels}' totaling {}, consider splitting a stream via additional labels or contact your Loki administrator to see if the limit can be increased",
                    ByteSize(*limit),
                    ByteSize(*bytes)
                )?,
            }
            f.write_str("',\n")?;
        }
        let (tenant, ignored, total) = (&self.tenant, self.ignored, self.total);
        write!(f, "user '{tenant}', total ignored: {ignored} out of {total} for stream: {labels}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Ignored, LateFault};
    use crate::push::stream_cache::{NamedStream, Naming};

    fn stream(app: &str) -> Arc<NamedStream> {
        let naming = Naming { tenant: "t", service_name_sources: &[] };
        Arc::new(naming.stream(vec![("app".into(), app.into())]))
    }

    #[test]
    fn late_faults_read_as_in_lokis_ingester() {
        let ignored =
            |entries| Ignored { tenant: "t".into(), stream: stream("a"), entries, ignored: 1, total: 2 };
        let error = ignored(vec![(
            1_500_000_000,
            LateFault::TooFarBehind { timestamp: 1_500_000_000, oldest: 2_000_000_000 },
        )])
        .error();
        assert_eq!(
            (error.code.status(), error.message.as_str()),
            (
                400,
                "entry with timestamp 1970-01-01 00:00:01.5 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp is: 1970-01-01T00:00:01Z, oldest acceptable timestamp is: 1970-01-01T00:00:02Z',\nuser 't', total ignored: 1 out of 2 for stream: {app=\"a\"}"
            )
        );
        let error = ignored(vec![(0, LateFault::StreamRate { limit: 3 << 20, bytes: 5 })]).error();
        assert_eq!(error.code.status(), 429);
        assert!(
            error.message.contains("(limit: 3MB/sec)") && error.message.contains("totaling 5B,"),
            "{error}"
        );
    }
}
