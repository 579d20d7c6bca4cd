//! What a chunk store may fail with, sorted by what the caller can do about it.

use std::io;

/// What the caller can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// There is no such object. Trying again does not help.
    NotFound,
    /// The store knows us not, or does not let us. Credentials must change.
    Denied,
    /// The request can never succeed: a bad key, a range beyond the object, a wrong configuration.
    Invalid,
    /// A local directory has no room left. Trying again helps once there is.
    DiskFull,
    /// Anything else: the store is down, slow, or unwell. Try again later.
    Unavailable,
}

impl ErrorKind {
    /// Whether the same request may succeed later without anyone changing anything but the store's health.
    pub fn is_retryable(self) -> bool {
        match self {
            ErrorKind::Unavailable => true,
            ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Invalid | ErrorKind::DiskFull => false,
        }
    }

    /// What is wrong in general, and the way out where there is one: the end of a message.
    fn hint(self) -> &'static str {
        match self {
            ErrorKind::NotFound => "there is no such object",
            ErrorKind::Denied => {
                "access is denied; check the credentials (`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or \
                 `[s3]` in the configuration) and what they may do, or the directory's permissions"
            }
            ErrorKind::Invalid => "the request can never succeed",
            ErrorKind::DiskFull => "its disk is full; make room there",
            ErrorKind::Unavailable => "it is not available",
        }
    }
}

/// A request to the chunk store failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{key}` in the chunk store: {}", .kind.hint())]
pub struct StoreError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// The object or prefix.
    pub key: String,
    /// What can be done about it.
    pub kind: ErrorKind,
    /// What went wrong underneath.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A failure before it is known what it was part of.
pub(super) type Failure = (ErrorKind, Box<dyn std::error::Error + Send + Sync>);

pub(super) fn of_store(error: object_store::Error) -> Failure {
    (classify(&error), error.into())
}

pub(super) fn of_file(error: io::Error) -> Failure {
    (classify_io(&error), error.into())
}

pub(super) fn invalid(reason: impl Into<String>) -> Failure {
    (ErrorKind::Invalid, reason.into().into())
}

fn classify(error: &object_store::Error) -> ErrorKind {
    use object_store::Error as E;
    match error {
        E::NotFound { .. } => ErrorKind::NotFound,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => ErrorKind::Denied,
        E::InvalidPath { .. }
        | E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::AlreadyExists { .. }
        | E::Precondition { .. }
        | E::NotModified { .. }
        | E::UnknownConfigurationKey { .. } => ErrorKind::Invalid,
        other => io_source(other).map_or(ErrorKind::Unavailable, classify_io),
    }
}

fn classify_io(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::Denied,
        _ => ErrorKind::Unavailable,
    }
}

/// The file system's error among the causes, if a local directory failed.
fn io_source<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a io::Error> {
    std::iter::successors(error.source(), |error| error.source()).find_map(|error| error.downcast_ref())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{ErrorKind, classify};

    #[test]
    fn failures_are_sorted_by_what_helps() {
        let generic = |kind: io::ErrorKind| object_store::Error::Generic {
            store: "test",
            source: Box::new(io::Error::from(kind)),
        };
        let source = || "x".into();
        let path = || "p".to_owned();
        let table = [
            (object_store::Error::NotFound { path: path(), source: source() }, ErrorKind::NotFound),
            (object_store::Error::PermissionDenied { path: path(), source: source() }, ErrorKind::Denied),
            (object_store::Error::Unauthenticated { path: path(), source: source() }, ErrorKind::Denied),
            (object_store::Error::NotSupported { source: source() }, ErrorKind::Invalid),
            (object_store::Error::Generic { store: "s", source: source() }, ErrorKind::Unavailable),
            (generic(io::ErrorKind::StorageFull), ErrorKind::DiskFull),
            (generic(io::ErrorKind::PermissionDenied), ErrorKind::Denied),
            (generic(io::ErrorKind::TimedOut), ErrorKind::Unavailable),
        ];
        for (error, kind) in table {
            assert_eq!(classify(&error), kind, "{error}");
        }
    }
}
