//! Folders that survive a power loss. A file system keeps a new name only once the folder that holds it has
//! been synced, whatever was synced inside.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Creates a folder and those above it that are missing, and makes every new name durable.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let Some(parent) = path.parent() else { return fs::create_dir_all(path) };
    // The parent of a relative path's first part is the empty path.
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    create_dir_all(parent)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created?,
    }
    sync_dir(parent)
}

/// Makes what was created in, renamed within or removed from a folder durable.
pub(crate) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::create_dir_all;

    #[test]
    fn folders_are_created_once_and_files_in_the_way_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir_all(&deep).unwrap();
        create_dir_all(&deep).unwrap();
        assert!(deep.is_dir());
        std::fs::write(dir.path().join("file"), "").unwrap();
        create_dir_all(&dir.path().join("file/x")).unwrap_err();
        create_dir_all(&dir.path().join("file")).unwrap_err();
    }
}
