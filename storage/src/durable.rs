//! Folders and small files that survive a power loss. A file system keeps a new name only once the folder that holds
//! it has been synced, whatever was synced inside.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Creates a folder and those above it that are missing, and makes every new name durable.
///
/// # Errors
/// Those of the file system.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
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
///
/// # Errors
/// Those of the file system.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads a small file: at most so many bytes of it, of whoever wrote it; none if there is no file.
///
/// # Errors
/// Those of the file system.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut content = Vec::new();
    file.take(bytes_max).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Writes a small file whole, readable by its owner alone: under a temporary name, synced and renamed, so that a crash
/// leaves the old file or the new one.
///
/// # Errors
/// Those of the file system; then the file is as it was.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{create_dir_all, read, replace};

    #[test]
    fn a_replaced_file_is_whole_and_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        replace(&path, b"long before").unwrap();
        replace(&path, b"after").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"after");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        replace(&dir.path().join("none/file.json"), b"").unwrap_err();
    }

    #[test]
    fn a_file_that_is_not_there_is_none_and_a_long_one_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file.json");
        assert_eq!(read(&path, 9).unwrap(), None);
        replace(&path, b"content").unwrap();
        assert_eq!(read(&path, 7).unwrap().unwrap(), b"content");
        assert_eq!(read(&path, 4).unwrap().unwrap(), b"cont");
        read(dir.path(), 9).unwrap_err();
    }

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
