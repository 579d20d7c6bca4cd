//! The file that delete requests are kept in: JSON with a version, replaced whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use grapevine_storage::durable;
use serde::{Deserialize, Serialize};

use super::DeleteRequest;

const VERSION: u32 = 1;
/// Bytes of the file: far more than so many requests take.
const FILE_BYTES_MAX: u64 = 1 << 30;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    requests: Vec<DeleteRequest>,
}

/// Reads the requests; none where there is no file.
///
/// # Errors
/// The file cannot be read, is damaged, or is of a version from the future.
pub fn read(path: &Path) -> anyhow::Result<Vec<DeleteRequest>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file.with_context(|| format!("open `{}`", path.display()))?,
    };
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut text).with_context(|| format!("read `{}`", path.display()))?;
    let written: Written =
        serde_json::from_slice(&text).with_context(|| format!("understand `{}`", path.display()))?;
    anyhow::ensure!(
        written.version == VERSION,
        "`{}` is of version `{}`, this release reads {VERSION}; use a newer release",
        path.display(),
        written.version
    );
    Ok(written.requests)
}

/// Writes the requests durably.
///
/// # Errors
/// Those of the file system; then the file is as it was.
pub fn write(path: &Path, requests: &[DeleteRequest]) -> anyhow::Result<()> {
    let text = serde_json::to_vec(&Written { version: VERSION, requests: requests.to_vec() })?;
    durable::replace(path, &text).with_context(|| format!("write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::{DeleteRequest, Status};
    use super::{read, write};

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deletes.json");
        assert_eq!(read(&path).unwrap(), []);
        let request = |id: &str, status| DeleteRequest {
            id: id.into(),
            tenant: "fake".into(),
            query: r#"{a="b"} |= "x""#.into(),
            start: -1,
            end: i64::MAX,
            created_at: 5,
            status,
        };
        let requests = [request("1", Status::Received), request("2", Status::Processed)];
        write(&path, &requests).unwrap();
        write(&path, &requests).unwrap();
        assert_eq!(read(&path).unwrap(), requests);
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deletes.json");
        for text in ["", "{", r#"{"version":2,"requests":[]}"#, r#"{"version":1}"#] {
            std::fs::write(&path, text).unwrap();
            read(&path).unwrap_err();
        }
    }
}
