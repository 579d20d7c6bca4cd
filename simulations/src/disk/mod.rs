//! A node's disk: real files on a real file system, and the faults that disks have.
//!
//! The C library's functions that change files are overridden at link level (`shim`), so that LMDB and the
//! standard library need no seam. While a node runs, its [`Disk`] hears of every write, sync and change of
//! names; when the power goes, it takes back what was not synced (`contents`, `names`). It can also fill up,
//! fail, and die at a chosen operation.
//!
//! Not modelled: stores through memory maps (nobody writes through one), reads that fail or lie, and folders
//! removed whole (durable at once).

mod contents;
mod names;
mod shim;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use self::contents::{Change, Changes};
use self::names::Names;
use crate::random::Random;
use crate::trace;

/// Bytes read back at once while a file's old contents are logged.
const CUT_BYTES_MAX: u64 = 256 << 20;
/// LMDB writes whole pages.
const PAGE_BYTES: u64 = 4096;

thread_local! {
    /// The disk of the node that this thread runs at the moment.
    static CURRENT: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The power goes before the operation after so many.
    pub dies_in: Option<u64>,
    /// Files can grow by so many bytes; none where there is no limit.
    pub room: Option<u64>,
    /// So many syncs fail, and lose what they should have kept.
    pub failing_syncs: u32,
    /// So many writes fail.
    pub failing_writes: u32,
    /// Canary: a sync says yes and does nothing, as where a node acknowledges before it syncs.
    pub syncs_lie: bool,
    /// Canary: syncing a folder does nothing, as where a node forgets it.
    pub folder_syncs_lie: bool,
}

/// One node's disk. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Disk(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    node: usize,
    root: PathBuf,
    random: Random,
    faults: Faults,
    dead: bool,
    operations: u64,
    files: BTreeMap<FileId, Logged>,
    names: Names,
}

/// The unsynced changes of one file.
#[derive(Debug)]
struct Logged {
    /// Ascends in the order of first changes. Inode numbers differ from run to run, and must decide nothing.
    number: u64,
    changes: Changes,
}

/// A file, whatever it is called: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileId(u64, u64);

impl FileId {
    fn of(stat: &Stat) -> Self {
        FileId(stat.st_dev, stat.st_ino)
    }

    fn of_path(path: &Path) -> Option<Self> {
        rustix::fs::lstat(path).ok().as_ref().map(Self::of)
    }
}

impl Disk {
    /// Makes a disk below a folder, which should lie in memory (`/dev/shm`): LMDB syncs for real.
    ///
    /// # Errors
    /// The folders cannot be created.
    pub fn create(root: &Path, node: usize, seed: u64) -> io::Result<Self> {
        let attic = root.join("attic");
        fs::create_dir_all(root.join("data"))?;
        fs::create_dir_all(&attic)?;
        Ok(Disk(Rc::new(RefCell::new(State {
            node,
            root: root.to_owned(),
            random: Random::of_part(seed, &format!("disk {node}")),
            faults: Faults::default(),
            dead: false,
            operations: 0,
            files: BTreeMap::new(),
            names: Names::new(attic),
        }))))
    }

    /// The folder that the node is given.
    pub fn data_dir(&self) -> PathBuf {
        self.0.borrow().root.join("data")
    }

    /// Changes what is wrong with the disk.
    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.0.borrow_mut().faults);
    }

    /// Whether the power went at a chosen operation: the node must not run on.
    pub fn is_dead(&self) -> bool {
        self.0.borrow().dead
    }

    /// Whether a sync or a write is about to fail.
    pub fn is_failing(&self) -> bool {
        let faults = self.0.borrow().faults;
        faults.failing_syncs > 0 || faults.failing_writes > 0
    }

    /// Operations so far: writes, syncs and changes of names.
    pub fn operations(&self) -> u64 {
        self.0.borrow().operations
    }

    /// Runs something as the node whose disk this is.
    pub fn during<R>(&self, work: impl FnOnce() -> R) -> R {
        let before = CURRENT.replace(Some(self.clone()));
        let result = work();
        CURRENT.set(before);
        result
    }

    /// Runs what is the simulator's own and no node's doing: it is no operation of any disk.
    pub fn outside<T>(work: impl FnOnce() -> T) -> T {
        let before = CURRENT.take();
        let done = work();
        CURRENT.set(before);
        done
    }

    /// What a power loss leaves: of each file what was synced, and of the rest so many changes in a thousand.
    /// The node's files must be closed. The disk works again afterwards; lasting faults stay.
    ///
    /// # Errors
    /// The file system's, which are the harness's own.
    pub fn lose_power(&self, keep_permille: u64) -> io::Result<()> {
        self.0.borrow_mut().lose_power(keep_permille)
    }

    /// Runs a function on the current node's disk, if there is one and it is not busy: the harness writes files
    /// too.
    fn with<R>(work: impl FnOnce(&mut State) -> R) -> Option<R> {
        let disk = CURRENT.try_with(|current| current.try_borrow().ok()?.clone()).ok()??;
        let mut state = disk.0.try_borrow_mut().ok()?;
        Some(work(&mut state))
    }
}

impl State {
    /// Counts an operation; all fail once the power is gone.
    fn admit(&mut self, kind: &str) -> Result<(), Errno> {
        if let Some(left) = &mut self.faults.dies_in {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => self.dead = true,
            }
        }
        if self.dead {
            return Err(Errno::IO);
        }
        self.operations += 1;
        trace::event(kind, self.node, &self.operations.to_le_bytes());
        Ok(())
    }

    /// How many of `length` bytes a write at `offset` of a file may write, once it is admitted.
    fn admit_write(&mut self, file: &Stat, offset: u64, length: usize) -> Result<usize, Errno> {
        self.admit("write")?;
        if self.faults.failing_writes > 0 {
            self.faults.failing_writes -= 1;
            return Err(Errno::IO);
        }
        let Some(room) = &mut self.faults.room else { return Ok(length) };
        let grows = (offset + length as u64).saturating_sub(file.st_size as u64);
        let missing = grows.saturating_sub(*room);
        let written = (length as u64).saturating_sub(missing);
        if written == 0 && length > 0 {
            return Err(Errno::NOSPC);
        }
        *room -= grows - missing;
        Ok(written as usize)
    }

    fn changes(&mut self, file: FileId) -> &mut Changes {
        let number = self.files.values().map(|logged| logged.number + 1).max().unwrap_or(0);
        &mut self.files.entry(file).or_insert_with(|| Logged { number, changes: Changes::default() }).changes
    }

    fn wrote(&mut self, file: &Stat, offset: u64, old: Vec<u8>, new: &[u8], durable: bool) {
        // LMDB leaves bytes of its pages as it found them in memory: they differ from run to run, and decide nothing.
        let is_pages = offset.is_multiple_of(PAGE_BYTES) && (new.len() as u64).is_multiple_of(PAGE_BYTES);
        let length = (new.len() as u64).to_le_bytes();
        trace::event("wrote", self.node, if is_pages { &length } else { new });
        let length_before = file.st_size as u64;
        let change = Change::Write { at: offset, old, new: new.to_vec(), length_before };
        let changes = self.changes(FileId::of(file));
        if durable {
            changes.add_durable(change);
        } else {
            changes.add(change);
        }
    }

    fn resized(&mut self, file: &Stat, length_after: u64, cut: Vec<u8>) {
        if let Some(room) = &mut self.faults.room {
            *room += cut.len() as u64;
        }
        let length_before = file.st_size as u64;
        self.changes(FileId::of(file)).add(Change::Resize { length_before, length_after, cut });
    }

    /// Before a file or folder is synced. An error is what the caller gets instead.
    fn sync(&mut self, file: &Stat) -> Result<(), Errno> {
        self.admit("sync")?;
        let id = FileId::of(file);
        if self.faults.failing_syncs > 0 {
            self.faults.failing_syncs -= 1;
            if let Some(logged) = self.files.get_mut(&id) {
                logged.changes.fail_sync(&mut self.random);
            }
            return Err(Errno::IO);
        }
        if FileType::from_raw_mode(file.st_mode) == FileType::Directory {
            return if self.faults.folder_syncs_lie { Ok(()) } else { self.sync_names(id) };
        }
        if !self.faults.syncs_lie
            && let Some(logged) = self.files.get_mut(&id)
        {
            logged.changes.sync();
            if logged.changes.is_empty() {
                self.files.remove(&id);
            }
        }
        Ok(())
    }

    fn sync_names(&mut self, folder: FileId) -> Result<(), Errno> {
        let gone = self.names.sync(folder).map_err(|_| Errno::IO)?;
        gone.iter().for_each(|file| drop(self.files.remove(file)));
        Ok(())
    }

    fn lose_power(&mut self, keep_permille: u64) -> io::Result<()> {
        self.names.lose_power(&mut self.random)?;
        let mut paths = BTreeMap::new();
        paths_below(&self.root, &mut paths)?;
        let mut files: Vec<(FileId, Logged)> = std::mem::take(&mut self.files).into_iter().collect();
        files.sort_by_key(|(_, logged)| logged.number);
        for (id, logged) in files {
            // A file without a name any more is gone with the power.
            if let Some(path) = paths.get(&id) {
                logged.changes.lose_power(path, &mut self.random, keep_permille)?;
            }
        }
        self.dead = false;
        self.faults.dies_in = None;
        Ok(())
    }
}

fn paths_below(folder: &Path, paths: &mut BTreeMap<FileId, PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            paths_below(&path, paths)?;
        } else if let Some(id) = FileId::of_path(&path) {
            paths.insert(id, path);
        }
    }
    Ok(())
}

/// What a range of a file holds now; shorter where the file ends. The descriptor need not be open for reading.
fn read_back(file: BorrowedFd<'_>, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let readable = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut bytes = vec![0; length.min(CUT_BYTES_MAX) as usize];
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::pread(readable.as_fd(), &mut bytes[filled..], offset + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, Write};
    use std::os::unix::fs::FileExt;

    use super::Disk;

    struct Bench {
        _dir: tempfile::TempDir,
        disk: Disk,
    }

    fn bench(seed: u64) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::create(dir.path(), 0, seed).unwrap();
        Bench { _dir: dir, disk }
    }

    /// A file whose name is durable.
    fn named(bench: &Bench) -> File {
        let path = bench.disk.data_dir().join("file");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        File::open(bench.disk.data_dir()).unwrap().sync_all().unwrap();
        file
    }

    fn left(bench: &Bench) -> Vec<u8> {
        fs::read(bench.disk.data_dir().join("file")).unwrap_or_default()
    }

    #[test]
    fn every_way_to_write_is_undone_unless_synced() {
        type Way = fn(&mut File) -> io::Result<()>;
        let ways: [(&str, Way); 5] = [
            ("write", |file| file.write_all(b"new")),
            ("writev", |file| {
                file.write_vectored(&[io::IoSlice::new(b"ne"), io::IoSlice::new(b"w")]).map(drop)
            }),
            ("pwrite", |file| file.write_all_at(b"new", 0)),
            ("truncate", |file| file.set_len(0)),
            ("extend", |file| file.set_len(100)),
        ];
        for (name, way) in ways {
            for synced in [false, true] {
                let bench = bench(1);
                let after = bench.disk.during(|| {
                    let mut file = named(&bench);
                    file.write_all_at(b"old text", 0).unwrap();
                    file.sync_data().unwrap();
                    way(&mut file).unwrap();
                    if synced {
                        file.sync_data().unwrap();
                    }
                    left(&bench)
                });
                bench.disk.lose_power(0).unwrap();
                let expected = if synced { after } else { b"old text".to_vec() };
                assert_eq!(left(&bench), expected, "{name}, synced: {synced}");
            }
        }
    }

    #[test]
    fn truncating_open_is_undone_too() {
        let bench = bench(1);
        bench.disk.during(|| {
            let file = named(&bench);
            file.write_all_at(b"old", 0).unwrap();
            file.sync_all().unwrap();
            File::create(bench.disk.data_dir().join("file")).unwrap().write_all(b"x").unwrap();
        });
        bench.disk.lose_power(0).unwrap();
        assert_eq!(left(&bench), b"old");
    }

    #[test]
    fn nothing_happens_after_the_operation_the_disk_dies_at() {
        for die_at in 0..4 {
            let bench = bench(1);
            let written = bench.disk.during(|| {
                let file = named(&bench);
                bench.disk.set(|faults| faults.dies_in = Some(die_at));
                (0..4).take_while(|n| file.write_all_at(b"x", *n).is_ok()).count()
            });
            assert_eq!((written as u64, left(&bench).len() as u64), (die_at, die_at));
            assert!(bench.disk.is_dead());
            bench.disk.lose_power(1000).unwrap();
            assert!(!bench.disk.is_dead());
        }
    }

    #[test]
    fn full_disk_writes_what_fits_and_refuses_the_rest() {
        let bench = bench(1);
        bench.disk.during(|| {
            let mut file = named(&bench);
            bench.disk.set(|faults| faults.room = Some(5));
            let error = file.write_all(b"12345678").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            assert_eq!(left(&bench), b"12345");
            file.write_all_at(b"ab", 0).expect("overwriting needs no room");
            file.set_len(3).unwrap();
            file.write_all_at(b"45", 3).expect("what was cut off is room again");
        });
    }

    #[test]
    fn failed_sync_is_told_once() {
        let bench = bench(1);
        bench.disk.during(|| {
            let file = named(&bench);
            bench.disk.set(|faults| faults.failing_syncs = 1);
            assert!(file.sync_data().is_err());
            assert!(file.sync_data().is_ok());
        });
    }

    #[test]
    fn renamed_file_may_bear_its_old_name_after_a_power_loss() {
        let names = |seed| {
            let bench = bench(seed);
            let dir = bench.disk.data_dir();
            bench.disk.during(|| {
                let file = named(&bench);
                file.write_all_at(b"text", 0).unwrap();
                file.sync_all().unwrap();
                fs::rename(dir.join("file"), dir.join("other")).unwrap();
            });
            bench.disk.lose_power(0).unwrap();
            ["file", "other"].map(|name| fs::read(dir.join(name)).ok().map(|text| text == b"text"))
        };
        let seen: std::collections::BTreeSet<_> = (0..20).map(names).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [[None, Some(true)], [Some(true), None]]);
    }

    #[test]
    fn one_seed_leaves_one_outcome() {
        let outcome = |seed| {
            let bench = bench(seed);
            bench.disk.during(|| {
                let file = named(&bench);
                (0..50).for_each(|n| file.write_all_at(&[n as u8; 3000], n * 1000).unwrap());
            });
            bench.disk.lose_power(500).unwrap();
            left(&bench)
        };
        assert_eq!(outcome(1), outcome(1));
        assert_ne!(outcome(1), outcome(2));
    }
}
