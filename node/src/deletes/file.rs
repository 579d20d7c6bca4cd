//! The file that delete requests are kept in: JSON with a version, replaced whole.

use std::path::Path;

use anyhow::Context;
use grapevine_storage::durable;
use serde::{Deserialize, Serialize};

use super::Status;
use super::request::{DeleteRequest, Requests};

const VERSION: u32 = 2;
/// Bytes of the file: far more than so many requests take.
const FILE_BYTES_MAX: u64 = 1 << 30;

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<R> {
    version: u32,
    requests: Vec<R>,
}

/// A request as version 1 wrote it, when each node had requests of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    id: String,
    tenant: String,
    query: String,
    start: i64,
    end: i64,
    created_at: i64,
    status: Status,
}

impl First {
    fn upgrade(self, me: &str) -> DeleteRequest {
        let First { id, tenant, query, start, end, created_at, status } = self;
        // When it was carried out was not kept.
        let processed = (status == Status::Processed).then(|| (me.to_owned(), created_at));
        let processed = processed.into_iter().collect();
        DeleteRequest { id, tenant, query, start, end, created_at, cancelled_at: None, processed }
    }
}

/// Reads the requests that the member `me` keeps; none where there is no file.
///
/// # Errors
/// The file cannot be read, is damaged, or is of a version from the future.
pub fn read(path: &Path, me: &str) -> anyhow::Result<Requests> {
    let text = durable::read(path, FILE_BYTES_MAX).with_context(|| format!("read `{}`", path.display()))?;
    let Some(text) = text else { return Ok(Requests::new()) };
    let requests = understand(&text, me).with_context(|| format!("understand `{}`", path.display()))?;
    Ok(requests.into_iter().map(|request| (request.name(), request)).collect())
}

fn understand(text: &[u8], me: &str) -> anyhow::Result<Vec<DeleteRequest>> {
    let Version { version } = serde_json::from_slice(text)?;
    match version {
        1 => {
            let written: Written<First> = serde_json::from_slice(text)?;
            Ok(written.requests.into_iter().map(|request| request.upgrade(me)).collect())
        }
        VERSION => Ok(serde_json::from_slice::<Written<DeleteRequest>>(text)?.requests),
        _ => {
            anyhow::bail!("it is of version `{version}`, this release reads {VERSION}; use a newer release")
        }
    }
}

/// Writes the requests durably.
///
/// # Errors
/// Those of the file system; then the file is as it was.
pub fn write(path: &Path, requests: &Requests) -> anyhow::Result<()> {
    let text = serde_json::to_vec(&Written { version: VERSION, requests: requests.values().collect() })?;
    durable::replace(path, &text).with_context(|| format!("write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::request::{DeleteRequest, Requests};
    use super::{read, write};

    fn request(id: &str, cancelled_at: Option<i64>, processed: &[(&str, i64)]) -> DeleteRequest {
        DeleteRequest {
            id: id.into(),
            tenant: "fake".into(),
            query: r#"{a="b"} |= "x""#.into(),
            start: -1,
            end: i64::MAX,
            created_at: 5,
            cancelled_at,
            processed: processed.iter().map(|(member, at)| ((*member).to_owned(), *at)).collect(),
        }
    }

    fn by_name(requests: impl IntoIterator<Item = DeleteRequest>) -> Requests {
        requests.into_iter().map(|request| (request.name(), request)).collect()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deletes.json");
        assert_eq!(read(&path, "me").unwrap(), Requests::new());
        let requests = [request("1", Some(7), &[]), request("2", None, &[("me", 6), ("you", 8)])];
        let requests = by_name(requests);
        write(&path, &requests).unwrap();
        write(&path, &requests).unwrap();
        assert_eq!(read(&path, "me").unwrap(), requests);
    }

    #[test]
    fn a_file_of_the_first_version_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deletes.json");
        let one = |id: &str, status: &str| {
            let query = r#"{a=\"b\"} |= \"x\""#;
            format!(
                r#"{{"id":"{id}","tenant":"fake","query":"{query}","start":-1,"end":{},"created_at":5,"status":"{status}"}}"#,
                i64::MAX
            )
        };
        let text =
            format!(r#"{{"version":1,"requests":[{},{}]}}"#, one("1", "received"), one("2", "processed"));
        std::fs::write(&path, text).unwrap();
        let expected = by_name([request("1", None, &[]), request("2", None, &[("me", 5)])]);
        assert_eq!(read(&path, "me").unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deletes.json");
        for text in ["", "{", r#"{"version":3,"requests":[]}"#, r#"{"version":1}"#, r#"{"version":2}"#] {
            std::fs::write(&path, text).unwrap();
            read(&path, "me").unwrap_err();
        }
    }
}
