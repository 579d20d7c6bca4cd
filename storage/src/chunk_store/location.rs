//! Where the chunk store is: `file:///path`, a plain path, or `s3://bucket/prefix`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where the chunk store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// A local or shared directory.
    Directory(PathBuf),
    /// A bucket of S3 or of something compatible.
    S3(S3Options),
}

/// How to reach a bucket. What is `None` is left to the client's defaults.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// Put before every key, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The server's URL where it is not Amazon's.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` by default.
    pub region: Option<String>,
    /// The access key. Without one, the client asks the machine's metadata service.
    pub access_key_id: Option<String>,
    /// The secret that belongs to it.
    pub secret_access_key: Option<String>,
    /// The token of temporary credentials.
    pub session_token: Option<String>,
    /// `endpoint/bucket/key` rather than `bucket.endpoint/key`: most compatible servers need it.
    pub path_style: bool,
    /// Whether an `http://` endpoint is accepted.
    pub allow_http: bool,
}

impl S3Options {
    /// Fills what is not set from the usual variables (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`).
    /// The caller reads them: a library does not look at the environment.
    pub fn or_from_env(mut self, get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name| get(name).filter(|value| !value.is_empty());
        // A key and its secret belong together; never mix two sources.
        if self.access_key_id.is_none() && self.secret_access_key.is_none() {
            self.access_key_id = get("AWS_ACCESS_KEY_ID");
            self.secret_access_key = get("AWS_SECRET_ACCESS_KEY");
            self.session_token = self.session_token.or_else(|| get("AWS_SESSION_TOKEN"));
        }
        self.region = self.region.or_else(|| get("AWS_REGION")).or_else(|| get("AWS_DEFAULT_REGION"));
        let endpoint = || get("AWS_ENDPOINT_URL_S3").or_else(|| get("AWS_ENDPOINT_URL"));
        self.endpoint = self.endpoint.or_else(endpoint);
        self
    }
}

/// Secrets do not print.
impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("has_access_key", &self.access_key_id.is_some())
            .field("path_style", &self.path_style)
            .field("allow_http", &self.allow_http)
            .finish_non_exhaustive()
    }
}

/// The text is no location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no chunk store; write a directory, `file:///path` or `s3://bucket/prefix`")]
pub struct BadLocation(String);

impl FromStr for StoreLocation {
    type Err = BadLocation;

    fn from_str(text: &str) -> Result<Self, BadLocation> {
        let bad = || BadLocation(text.to_owned());
        match text.split_once("://") {
            None if text.is_empty() => Err(bad()),
            None => Ok(StoreLocation::Directory(text.into())),
            Some(("file", path)) if path.starts_with('/') => Ok(StoreLocation::Directory(path.into())),
            Some(("s3", rest)) => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let (bucket, prefix) = (bucket.to_owned(), prefix.trim_matches('/').to_owned());
                match bucket.is_empty() {
                    true => Err(bad()),
                    false => Ok(StoreLocation::S3(S3Options { bucket, prefix, ..S3Options::default() })),
                }
            }
            Some(_) => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{S3Options, StoreLocation};

    #[test]
    fn locations_are_told_apart() {
        let directory = |path: &str| Some(StoreLocation::Directory(path.into()));
        let s3 = |bucket: &str, prefix: &str| {
            let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
            Some(StoreLocation::S3(S3Options { bucket, prefix, ..S3Options::default() }))
        };
        let table = [
            ("/var/lib/x", directory("/var/lib/x")),
            ("relative/x", directory("relative/x")),
            ("file:///var/x", directory("/var/x")),
            ("s3://bucket", s3("bucket", "")),
            ("s3://bucket/", s3("bucket", "")),
            ("s3://bucket/a/b/", s3("bucket", "a/b")),
            ("", None),
            ("file://x", None),
            ("s3:///x", None),
            ("gs://bucket", None),
        ];
        for (text, location) in table {
            assert_eq!(text.parse().ok(), location, "{text}");
        }
    }

    #[test]
    fn environment_fills_only_what_is_not_set_and_never_half_a_credential() {
        let env = |name: &str| Some(format!("env {name}"));
        let set = S3Options { access_key_id: Some("mine".into()), ..S3Options::default() };
        let filled = set.or_from_env(env);
        assert_eq!(filled.access_key_id.as_deref(), Some("mine"));
        assert_eq!(filled.secret_access_key, None);
        assert_eq!(filled.region.as_deref(), Some("env AWS_REGION"));
        let filled = S3Options::default().or_from_env(env);
        assert_eq!(filled.secret_access_key.as_deref(), Some("env AWS_SECRET_ACCESS_KEY"));
        assert_eq!(S3Options::default().or_from_env(|_| Some(String::new())), S3Options::default());
    }

    #[test]
    fn secrets_do_not_print() {
        let options = S3Options { secret_access_key: Some("hunter2".into()), ..S3Options::default() };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
