//! What a power loss does to names: files created, renamed or removed since their folder was synced may not be,
//! or may still be there.
//!
//! POSIX promises no more than this, and the model is as strict: syncing a file does not keep its name. Of the
//! changes in one folder a prefix survives, as on file systems with a journal. To be able to bring back what is
//! replaced or removed, it is linked into a folder of the harness's own first.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD};

use super::FileId;
use crate::random::Random;

/// A change of names, and how to undo it.
#[derive(Debug)]
enum Change {
    Created(PathBuf),
    Removed { path: PathBuf, kept: PathBuf },
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<PathBuf> },
}

/// The changes of names that a power loss may undo, in order, each with the folder whose sync keeps it.
#[derive(Debug)]
pub(super) struct Names {
    log: Vec<(FileId, Change)>,
    attic: PathBuf,
    kept: u64,
}

impl Names {
    /// `attic` is a folder on the same file system where removed files are kept.
    pub(super) fn new(attic: PathBuf) -> Self {
        Names { log: Vec::new(), attic, kept: 0 }
    }

    pub(super) fn created(&mut self, path: &Path) -> io::Result<()> {
        self.log.push((folder_of(path)?, Change::Created(path.to_owned())));
        Ok(())
    }

    /// To be called before the file is removed.
    pub(super) fn will_remove(&mut self, path: &Path) -> io::Result<()> {
        let folder = folder_of(path)?;
        let kept = self.keep(path)?;
        self.log.push((folder, Change::Removed { path: path.to_owned(), kept }));
        Ok(())
    }

    /// To be called before the rename. One across folders counts as a change of the target's.
    pub(super) fn will_rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let folder = folder_of(to)?;
        let replaced = if FileId::of_path(to).is_some() { Some(self.keep(to)?) } else { None };
        self.log.push((folder, Change::Renamed { from: from.to_owned(), to: to.to_owned(), replaced }));
        Ok(())
    }

    /// The last change was announced but did not happen.
    pub(super) fn take_back(&mut self) -> io::Result<()> {
        match self.log.pop() {
            Some((_, change)) => change.forget(),
            None => Ok(()),
        }
    }

    /// A folder was synced: its changes are durable. Gives back the files that exist no more.
    pub(super) fn sync(&mut self, folder: FileId) -> io::Result<Vec<FileId>> {
        let (durable, rest) = std::mem::take(&mut self.log).into_iter().partition(|(f, _)| *f == folder);
        self.log = rest;
        let durable: Vec<(FileId, Change)> = durable;
        let gone = durable.iter().filter_map(|(_, change)| FileId::of_path(change.kept()?)).collect();
        durable.iter().try_for_each(|(_, change)| change.forget())?;
        Ok(gone)
    }

    /// Undoes what a power loss does not leave: of each folder's changes, all but a prefix.
    pub(super) fn lose_power(&mut self, random: &mut Random) -> io::Result<()> {
        let log = std::mem::take(&mut self.log);
        // In the order in which folders first changed; inode numbers differ from run to run.
        let mut folders: Vec<(FileId, u64, u64)> = Vec::new();
        for (folder, _) in &log {
            match folders.iter_mut().find(|(id, ..)| id == folder) {
                Some((_, changes, _)) => *changes += 1,
                None => folders.push((*folder, 1, 0)),
            }
        }
        for (_, changes, survive) in &mut folders {
            *survive = random.within(0..=*changes);
        }
        let undone: Vec<bool> = log
            .iter()
            .map(|(folder, _)| match folders.iter_mut().find(|(id, ..)| id == folder) {
                Some((_, _, 0)) | None => true,
                Some((_, _, survive)) => {
                    *survive -= 1;
                    false
                }
            })
            .collect();
        for ((_, change), undone) in log.iter().zip(undone).rev() {
            if undone {
                change.undo()?;
            } else {
                change.forget()?;
            }
        }
        Ok(())
    }

    fn keep(&mut self, path: &Path) -> io::Result<PathBuf> {
        self.kept += 1;
        let kept = self.attic.join(self.kept.to_string());
        rustix::fs::linkat(CWD, path, CWD, &kept, AtFlags::empty())?;
        Ok(kept)
    }
}

impl Change {
    fn kept(&self) -> Option<&Path> {
        match self {
            Change::Created(_) => None,
            Change::Removed { kept, .. } => Some(kept),
            Change::Renamed { replaced, .. } => replaced.as_deref(),
        }
    }

    /// Lets go of what was kept for undoing it.
    fn forget(&self) -> io::Result<()> {
        self.kept().map_or(Ok(()), |kept| absent_is_fine(rustix::fs::unlink(kept).map_err(io::Error::from)))
    }

    fn undo(&self) -> io::Result<()> {
        match self {
            // Gone already where it was created in a folder that has gone, or moved to another.
            Change::Created(path) if path.is_dir() => absent_is_fine(std::fs::remove_dir_all(path)),
            Change::Created(path) => absent_is_fine(std::fs::remove_file(path)),
            Change::Removed { path, kept } => absent_is_fine(std::fs::rename(kept, path)),
            Change::Renamed { from, to, replaced } => {
                absent_is_fine(std::fs::rename(to, from))?;
                replaced.as_ref().map_or(Ok(()), |replaced| absent_is_fine(std::fs::rename(replaced, to)))
            }
        }
    }
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn folder_of(path: &Path) -> io::Result<FileId> {
    path.parent().and_then(FileId::of_path).ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::{FileId, Names};
    use crate::random::Random;

    /// All that may be left after a power loss, over many seeds: names with contents.
    fn outcomes(change: impl Fn(&Path, &mut Names)) -> Vec<String> {
        let outcome = |seed| {
            let dir = tempfile::tempdir().unwrap();
            let [attic, data] = ["attic", "data"].map(|name| dir.path().join(name));
            fs::create_dir(&attic).unwrap();
            fs::create_dir(&data).unwrap();
            let mut names = Names::new(attic.clone());
            change(&data, &mut names);
            names.lose_power(&mut Random::new(seed)).unwrap();
            assert_eq!(fs::read_dir(attic).unwrap().count(), 0, "nothing is kept any longer");
            let mut left: Vec<String> = fs::read_dir(data)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .map(|path| {
                    format!("{}={}", path.file_name().unwrap().display(), fs::read_to_string(&path).unwrap())
                })
                .collect();
            left.sort();
            left.join(" ")
        };
        (0..40).map(outcome).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn create(names: &mut Names, path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        names.created(path).unwrap();
    }

    fn rename(names: &mut Names, from: &Path, to: &Path) {
        names.will_rename(from, to).unwrap();
        fs::rename(from, to).unwrap();
    }

    fn sync(names: &mut Names, folder: &Path) {
        names.sync(FileId::of_path(folder).unwrap()).unwrap();
    }

    #[test]
    fn created_file_is_there_or_not_until_its_folder_is_synced() {
        assert_eq!(outcomes(|data, names| create(names, &data.join("a"), "1")), ["", "a=1"]);
        let synced = outcomes(|data, names| {
            create(names, &data.join("a"), "1");
            sync(names, data);
        });
        assert_eq!(synced, ["a=1"]);
    }

    #[test]
    fn replaced_file_comes_back_whole() {
        let outcomes = outcomes(|data, names| {
            create(names, &data.join("a"), "old");
            sync(names, data);
            create(names, &data.join("b"), "new");
            rename(names, &data.join("b"), &data.join("a"));
        });
        assert_eq!(outcomes, ["a=new", "a=old", "a=old b=new"]);
    }

    #[test]
    fn removed_file_may_come_back_until_its_folder_is_synced() {
        let remove = |data: &Path, names: &mut Names| {
            create(names, &data.join("a"), "1");
            sync(names, data);
            names.will_remove(&data.join("a")).unwrap();
            fs::remove_file(data.join("a")).unwrap();
        };
        assert_eq!(outcomes(remove), ["", "a=1"]);
        let synced = outcomes(|data, names| {
            remove(data, names);
            sync(names, data);
        });
        assert_eq!(synced, [""]);
    }

    #[test]
    fn folder_that_never_was_takes_synced_files_with_it() {
        let left = |seed| {
            let dir = tempfile::tempdir().unwrap();
            let (folder, mut names) = (dir.path().join("f"), Names::new(dir.path().join("attic")));
            fs::create_dir(&folder).unwrap();
            names.created(&folder).unwrap();
            create(&mut names, &folder.join("a"), "1");
            sync(&mut names, &folder);
            names.lose_power(&mut Random::new(seed)).unwrap();
            (folder.is_dir(), folder.join("a").is_file())
        };
        let outcomes: BTreeSet<_> = (0..20).map(left).collect();
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [(false, false), (true, true)]);
    }
}
