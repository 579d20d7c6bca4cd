//! All days of the index: opened when first asked for, set aside when corrupt, dropped by retention.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::IndexError;
use super::calendar::Day;
use super::day::{DayIndex, NewPack};
use super::search::Search;
use crate::durable;

/// Corrupt copies of one day that are kept for inspection; the next one is deleted instead.
const MAX_SET_ASIDE: u32 = 3;
/// The folder of a day that is being deleted.
const DROPPED_SUFFIX: &str = ".dropped";
/// The folder of a day that is being made.
const NEW_SUFFIX: &str = ".new";

/// How the index is kept.
#[derive(Clone, Copy, Debug)]
pub struct IndexOptions {
    /// Address space a new day reserves; it doubles by itself. Takes neither memory nor disk, but a process
    /// with hundreds of days in a simulation wants it small.
    pub map_bytes: usize,
}

impl Default for IndexOptions {
    fn default() -> Self {
        IndexOptions { map_bytes: 64 << 20 }
    }
}

/// A corrupt day that was moved out of the way. The day that took its place is marked as incomplete: rebuild it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// The day.
    pub day: Day,
    /// Where its remains are; none when there were too many already and they were deleted.
    pub moved_to: Option<PathBuf>,
    /// What was wrong.
    pub reason: String,
}

/// What a rebuild wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// How many packs.
    pub packs: u64,
    /// How many chunks.
    pub chunks: u64,
}

/// The index of a node. Dropping it closes all days, also for those who still hold one.
#[derive(Debug)]
pub struct Index {
    root: PathBuf,
    options: IndexOptions,
    open: Mutex<BTreeMap<Day, Arc<DayIndex>>>,
    set_aside: Mutex<Vec<SetAside>>,
    is_unsure: AtomicBool,
    search: Search,
}

impl Index {
    /// Opens the index in a directory, which is created if need be; finishes drops that a crash interrupted, and
    /// removes days that were not made whole. Opens no day.
    pub fn open(root: &Path, options: IndexOptions) -> Result<Self, IndexError> {
        durable::create_dir_all(root).map_err(|error| IndexError::io("create", root, error))?;
        let (open, set_aside, is_unsure) = Default::default();
        let search = Search::open(root);
        let index = Index { root: root.to_owned(), options, open, set_aside, is_unsure, search };
        for name in index.names()? {
            if [DROPPED_SUFFIX, NEW_SUFFIX].iter().any(|suffix| name.ends_with(suffix)) {
                index.remove(&root.join(name))?;
            }
        }
        Ok(index)
    }

    /// The days that exist, ascending.
    pub fn days(&self) -> Result<Vec<Day>, IndexError> {
        let mut days: Vec<Day> = self.names()?.iter().filter_map(|name| name.parse().ok()).collect();
        days.sort_unstable();
        Ok(days)
    }

    /// Whether days may be missing altogether: nobody could tell yet what is stored.
    pub fn is_unsure(&self) -> bool {
        self.is_unsure.load(Ordering::Relaxed)
    }

    /// Notes that days may be missing altogether, or that none is.
    pub fn set_unsure(&self, is_unsure: bool) {
        self.is_unsure.store(is_unsure, Ordering::Relaxed);
    }

    /// Notes that packs may be stored which neither this index nor anybody else knows, until all has been looked through.
    /// Survives a restart.
    ///
    /// # Errors
    /// That cannot be written down; until a restart it holds all the same.
    pub fn want_search(&self) -> Result<(), IndexError> {
        self.search.want()
    }

    /// Whether packs may be stored that nobody knows.
    pub fn is_search_due(&self) -> bool {
        self.search.is_due()
    }

    /// What a search that begins now answers; for [`Self::finish_search`].
    pub fn searches_wanted(&self) -> u64 {
        self.search.wanted()
    }

    /// Notes that all has been looked through, for what was wanted when that began.
    ///
    /// # Errors
    /// That cannot be written down; the next start takes it for due.
    pub fn finish_search(&self, wanted: u64) -> Result<(), IndexError> {
        self.search.finish(wanted)
    }

    /// A day, if it exists. A corrupt one is set aside and an empty, incomplete one takes its place.
    pub fn day(&self, day: Day) -> Result<Option<Arc<DayIndex>>, IndexError> {
        let mut open = self.lock();
        match open.get(&day) {
            Some(found) => Ok(Some(found.clone())),
            None if !self.path(day).is_dir() => Ok(None),
            None => self.open_day(&mut open, day).map(Some),
        }
    }

    /// A day, created if need be. A corrupt one is set aside and an empty, incomplete one takes its place.
    pub fn day_or_create(&self, day: Day) -> Result<Arc<DayIndex>, IndexError> {
        let mut open = self.lock();
        match open.get(&day) {
            Some(found) => Ok(found.clone()),
            None => self.open_day(&mut open, day),
        }
    }

    /// Closes a day and deletes its folder. Returns whether it existed.
    pub fn drop_day(&self, day: Day) -> Result<bool, IndexError> {
        let mut open = self.lock();
        close(&mut open, day);
        let (path, doomed) = (self.path(day), self.root.join(format!("{day}{DROPPED_SUFFIX}")));
        if doomed.is_dir() {
            self.remove(&doomed)?; // A drop before this one did not get to its end.
        }
        match fs::rename(&path, &doomed) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            renamed => renamed.map_err(|error| IndexError::io("rename", &path, error))?,
        }
        self.remove(&doomed).map(|()| true)
    }

    /// Moves a day out of the way that turned out to be corrupt while in use.
    pub fn set_aside(&self, day: Day, reason: String) -> Result<(), IndexError> {
        let mut open = self.lock();
        close(&mut open, day);
        self.move_aside(day, reason)?;
        self.open_day(&mut open, day)?.set_incomplete(true)
    }

    /// The days set aside since the last call: rebuild each.
    pub fn take_set_aside(&self) -> Vec<SetAside> {
        std::mem::take(&mut self.set_aside.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a day afresh from its packs. Readers see it grow; it is incomplete until the last pack is in,
    /// also if this fails or the process ends. Flush marks are lost, which makes a later replay longer.
    ///
    /// # Errors
    /// What `packs` yields, or what [`DayIndex::add_pack`] fails with.
    pub fn rebuild<E: From<IndexError>>(
        &self,
        day: Day,
        packs: impl IntoIterator<Item = Result<NewPack, E>>,
    ) -> Result<Rebuilt, E> {
        self.drop_day(day)?;
        let index = self.day_or_create(day)?;
        index.set_incomplete(true)?;
        let mut rebuilt = Rebuilt::default();
        for pack in packs {
            let pack = pack?;
            index.add_pack(&pack)?;
            rebuilt.packs += 1;
            rebuilt.chunks += pack.streams.iter().map(|stream| stream.chunks.len() as u64).sum::<u64>();
        }
        index.set_incomplete(false)?;
        Ok(rebuilt)
    }

    fn open_day(
        &self,
        open: &mut BTreeMap<Day, Arc<DayIndex>>,
        day: Day,
    ) -> Result<Arc<DayIndex>, IndexError> {
        let path = self.path(day);
        let index = match self.open_or_make(day, &path) {
            Err(error @ IndexError::Corrupt { .. }) => {
                self.move_aside(day, error.to_string())?;
                let index = self.open_or_make(day, &path)?;
                index.set_incomplete(true)?;
                index
            }
            opened => opened?,
        };
        // Not only where the folder is new: a process that was killed after making it, or whose sync failed, has
        // left names behind that a power loss may still take.
        self.sync(&path)?;
        self.sync(&self.root)?;
        let index = Arc::new(index);
        open.insert(day, index.clone());
        Ok(index)
    }

    /// A new day is made under another name: one that a full disk or a crash left short is never taken for a day.
    fn open_or_make(&self, day: Day, path: &Path) -> Result<DayIndex, IndexError> {
        if !path.is_dir() {
            let new = self.root.join(format!("{day}{NEW_SUFFIX}"));
            if new.is_dir() {
                self.remove(&new)?; // It was not made whole.
            }
            DayIndex::open(day, &new, self.options.map_bytes)?.close();
            self.sync(&new)?;
            fs::rename(&new, path).map_err(|error| IndexError::io("rename", &new, error))?;
        }
        DayIndex::open(day, path, self.options.map_bytes)
    }

    fn move_aside(&self, day: Day, reason: String) -> Result<(), IndexError> {
        let path = self.path(day);
        let places = (1..=MAX_SET_ASIDE).map(|n| self.root.join(format!("{day}.corrupt-{n}")));
        let moved_to = places.into_iter().find(|place| !place.exists());
        match &moved_to {
            Some(place) => {
                fs::rename(&path, place).map_err(|error| IndexError::io("rename", &path, error))?
            }
            None => self.remove(&path)?,
        }
        tracing::error!(%day, %reason, ?moved_to, "a day of the index is corrupt and was set aside");
        let mut list = self.set_aside.lock().unwrap_or_else(PoisonError::into_inner);
        list.push(SetAside { day, moved_to, reason });
        Ok(())
    }

    fn names(&self) -> Result<Vec<String>, IndexError> {
        let failed = |error| IndexError::io("list", &self.root, error);
        let entries = fs::read_dir(&self.root).map_err(failed)?;
        let names = entries.map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()));
        names.collect::<io::Result<_>>().map_err(failed)
    }

    fn remove(&self, path: &Path) -> Result<(), IndexError> {
        fs::remove_dir_all(path).map_err(|error| IndexError::io("delete", path, error))
    }

    fn sync(&self, path: &Path) -> Result<(), IndexError> {
        durable::sync_dir(path).map_err(|error| IndexError::io("sync", path, error))
    }

    fn path(&self, day: Day) -> PathBuf {
        self.root.join(day.to_string())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Day, Arc<DayIndex>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for running transactions. Days that someone still holds fail as closed from then on.
impl Drop for Index {
    fn drop(&mut self) {
        self.lock().values().for_each(|day| day.close());
    }
}

fn close(open: &mut BTreeMap<Day, Arc<DayIndex>>, day: Day) {
    if let Some(index) = open.remove(&day) {
        index.close();
    }
}
