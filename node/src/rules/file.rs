//! The file that rule groups are kept in: JSON with a version, replaced whole.

use std::path::Path;

use anyhow::Context;
use grapevine_storage::durable;
use serde::{Deserialize, Serialize};

use super::kept::{Groups, Kept, Name};

const VERSION: u32 = 1;
/// Bytes of the file: far more than all groups take.
const FILE_BYTES_MAX: u64 = 1 << 28;

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    version: u32,
    groups: Vec<(Name, Kept)>,
}

/// Reads the groups; none where there is no file.
///
/// # Errors
/// The file cannot be read, is damaged, or is of a version from the future.
pub fn read(path: &Path) -> anyhow::Result<Groups> {
    let text = durable::read(path, FILE_BYTES_MAX).with_context(|| format!("read `{}`", path.display()))?;
    let Some(text) = text else { return Ok(Groups::new()) };
    parse(&text).with_context(|| format!("understand `{}`; mend it, or set it aside", path.display()))
}

fn parse(text: &[u8]) -> anyhow::Result<Groups> {
    let Version { version } = serde_json::from_slice(text)?;
    if version != VERSION {
        anyhow::bail!("it is of version `{version}`, this release reads {VERSION}; use a newer release");
    }
    Ok(serde_json::from_slice::<Written>(text)?.groups.into_iter().collect())
}

/// Writes the groups durably.
///
/// # Errors
/// Those of the file system; then the file is as it was.
pub fn write(path: &Path, groups: Groups) -> anyhow::Result<()> {
    let text = serde_json::to_vec(&Written { version: VERSION, groups: groups.into_iter().collect() })?;
    durable::replace(path, &text).with_context(|| format!("write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{Groups, Kept, Name, read, write};
    use crate::rules::read::group;

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.json");
        assert_eq!(read(&path).unwrap(), Groups::new());
        let name = |group: &str| Name { tenant: "t".into(), namespace: "n".into(), group: group.into() };
        let text = "name: a\nlabels: {x: y}\nrules: [{alert: b, expr: c, for: 1m, annotations: {d: e}}]";
        let groups = Groups::from([
            (name("a"), Kept { at: 5, group: Some(group(text).unwrap()) }),
            (name("b"), Kept { at: -1, group: None }),
        ]);
        write(&path, groups.clone()).unwrap();
        assert_eq!(read(&path).unwrap(), groups);
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rules.json");
        for text in ["", "{", r#"{"version":2,"groups":[]}"#, r#"{"version":1}"#, r#"{"groups":[]}"#] {
            std::fs::write(&path, text).unwrap();
            read(&path).unwrap_err();
        }
    }
}
