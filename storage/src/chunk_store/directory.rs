//! Durable, atomic puts into a directory. Reads go through `object_store`'s local file system.
//!
//! That crate can put with syncs too, but only from memory. Here the object exists as a durable file in the
//! spool already, so where both lie on one file system it is linked, not copied.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::durable;

/// Names `key#1`, `key#2`… are tried for the file that becomes `key`; `object_store` never lists them. More
/// than one exists only where a crash left one behind, or where two nodes put the same object at once.
const MAX_TEMPORARY: u32 = 8;

/// Makes `target` a durable object with the contents of `source`, which must not change afterwards. Readers see
/// all of it or nothing.
pub(super) fn put(target: &Path, source: &Path) -> io::Result<()> {
    let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    durable::create_dir_all(folder)?;
    let (temporary, older) = place(target, source)?;
    let placed = File::open(&temporary).and_then(|file| {
        file.sync_all()?;
        fs::rename(&temporary, target)
    });
    if placed.is_err() {
        let _ = fs::remove_file(&temporary); // The error that matters is the one returned.
    }
    placed?;
    // A rename between two links of one file leaves both; what a crash left behind has the same contents.
    for leftover in older.iter().chain([&temporary]) {
        let _ = fs::remove_file(leftover);
    }
    durable::sync_dir(folder)
}

/// Links or copies the source next to the target. Returns where, and which other such files there are.
fn place(target: &Path, source: &Path) -> io::Result<(PathBuf, Vec<PathBuf>)> {
    let mut older = Vec::new();
    for n in 1..=MAX_TEMPORARY {
        let mut name = target.as_os_str().to_owned();
        name.push(format!("#{n}"));
        let temporary = PathBuf::from(name);
        match fs::hard_link(source, &temporary) {
            Ok(()) => return Ok((temporary, older)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => older.push(temporary),
            // Another file system, or one without links.
            Err(_) => {
                let copied = fs::copy(source, &temporary);
                if copied.is_err() {
                    let _ = fs::remove_file(&temporary);
                }
                return copied.map(|_| (temporary, older));
            }
        }
    }
    // All of them are left over, or several nodes are busy with this object: clear up and let them try again.
    older.iter().try_for_each(fs::remove_file)?;
    Err(io::ErrorKind::ResourceBusy.into())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{MAX_TEMPORARY, put};

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn put_leaves_the_object_and_nothing_else_and_may_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("a/b/key"));
        fs::write(&source, "contents").unwrap();
        for _ in 0..2 {
            put(&target, &source).unwrap();
            assert_eq!(fs::read(&target).unwrap(), b"contents");
            assert_eq!(names(&dir.path().join("a/b")), ["key"]);
        }
        fs::remove_file(&source).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"contents");
    }

    #[test]
    fn what_a_crash_left_behind_neither_stops_a_put_nor_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = (dir.path().join("source"), dir.path().join("x/key"));
        fs::write(&source, "contents").unwrap();
        fs::create_dir(dir.path().join("x")).unwrap();
        for n in 1..=MAX_TEMPORARY {
            fs::write(dir.path().join(format!("x/key#{n}")), "torn").unwrap();
        }
        assert!(put(&target, &source).is_err(), "all names were taken");
        fs::write(dir.path().join("x/key#1"), "torn").unwrap();
        put(&target, &source).unwrap();
        assert_eq!(names(&dir.path().join("x")), ["key"]);
        assert_eq!(fs::read(&target).unwrap(), b"contents");
    }

    #[test]
    fn missing_source_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("x/key"), &dir.path().join("absent")).unwrap_err();
        assert_eq!(names(&dir.path().join("x")), Vec::<String>::new());
    }
}
