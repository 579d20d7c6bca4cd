//! What a power loss does to the bytes of a file: writes since the last sync may be kept, lost or torn.
//!
//! Between two syncs the kernel writes pages back when and in the order it likes. So after a power loss the file
//! is what it was at the last sync, plus any subset of the writes since, the last sector of each perhaps
//! missing. To be able to go back, each write is logged with the bytes that it overwrote.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::random::Random;

/// A device writes a sector as a whole or not at all.
const SECTOR_BYTES: u64 = 512;
/// How many of the writes that are kept are torn, of a thousand.
const TORN_PERMILLE: u64 = 250;

/// A change of a file's bytes, and how to undo it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Bytes written at an offset, which replaced `old`. That is shorter where the file grew.
    Write { at: u64, old: Vec<u8>, new: Vec<u8>, length_before: u64 },
    /// Another length. `cut` is what lay beyond it.
    Resize { length_before: u64, length_after: u64, cut: Vec<u8> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The next sync makes it durable; a power loss before that tosses a coin.
    Pending,
    /// Synced, and logged on only because something before it is doomed.
    Durable,
    /// A sync failed: the kernel has forgotten that the page was dirty. Readers see it until the power goes.
    Doomed,
}

/// The changes of one file that a power loss may undo, in order.
#[derive(Debug, Default)]
pub(super) struct Changes {
    log: Vec<(Change, Fate)>,
}

impl Changes {
    pub(super) fn add(&mut self, change: Change) {
        self.log.push((change, Fate::Pending));
    }

    /// A change that is durable at once (`O_DSYNC`). It is remembered only where undoing an earlier one would
    /// take it along.
    pub(super) fn add_durable(&mut self, change: Change) {
        if !self.log.is_empty() {
            self.log.push((change, Fate::Durable));
        }
    }

    pub(super) fn sync(&mut self) {
        self.log
            .iter_mut()
            .filter(|(_, fate)| *fate == Fate::Pending)
            .for_each(|(_, fate)| *fate = Fate::Durable);
        if self.log.iter().all(|(_, fate)| *fate == Fate::Durable) {
            self.log.clear();
        }
    }

    /// A sync that failed: some pages had been written before, the others never will be.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        for (_, fate) in self.log.iter_mut().filter(|(_, fate)| *fate == Fate::Pending) {
            *fate = if random.permille(500) { Fate::Durable } else { Fate::Doomed };
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// Turns the file into what a power loss leaves of it: each unsynced change stays so many times in a
    /// thousand.
    pub(super) fn lose_power(self, path: &Path, random: &mut Random, keep_permille: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        for (change, _) in self.log.iter().rev() {
            change.undo(&file)?;
        }
        for (change, fate) in &self.log {
            match fate {
                Fate::Durable => change.redo(&file, u64::MAX)?,
                Fate::Pending if random.permille(keep_permille) => {
                    let whole = !random.permille(TORN_PERMILLE);
                    change.redo(&file, if whole { u64::MAX } else { random.next() })?;
                }
                Fate::Pending | Fate::Doomed => {}
            }
        }
        Ok(())
    }
}

impl Change {
    fn undo(&self, file: &File) -> io::Result<()> {
        match self {
            Change::Write { at, old, length_before, .. } => {
                file.write_all_at(old, *at)?;
                file.set_len(*length_before)
            }
            Change::Resize { length_before, length_after, cut } => {
                file.set_len(*length_before)?;
                file.write_all_at(cut, *length_after)
            }
        }
    }

    /// Does it again; of a write, at most about so many bytes, cut between two sectors.
    fn redo(&self, file: &File, bytes: u64) -> io::Result<()> {
        match self {
            Change::Write { at, new, .. } => {
                file.write_all_at(&new[..whole_sectors(*at, new.len(), bytes)], *at)
            }
            Change::Resize { length_after, .. } => file.set_len(*length_after),
        }
    }
}

/// How much of a write of `length` bytes is on the device after about `bytes` of it.
fn whole_sectors(at: u64, length: usize, bytes: u64) -> usize {
    let length = length as u64;
    if bytes == u64::MAX || length == 0 {
        return length as usize;
    }
    let end = at + bytes % length;
    (end / SECTOR_BYTES * SECTOR_BYTES).saturating_sub(at) as usize // At most `length`.
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::{
        ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    };

    use super::{Change, Changes, whole_sectors};
    use crate::random::Random;

    /// Applies changes to a file as the shim would, and logs them.
    fn write(path: &std::path::Path, changes: &mut Changes, at: usize, new: &[u8]) {
        let mut bytes = fs::read(path).unwrap();
        let length_before = bytes.len() as u64;
        let end = at + new.len();
        let old = bytes.get(at.min(bytes.len())..end.min(bytes.len())).unwrap_or_default().to_vec();
        bytes.resize(bytes.len().max(end), 0);
        bytes[at..end].copy_from_slice(new);
        fs::write(path, bytes).unwrap();
        changes.add(Change::Write { at: at as u64, old, new: new.to_vec(), length_before });
    }

    fn resize(path: &std::path::Path, changes: &mut Changes, length: usize) {
        let mut bytes = fs::read(path).unwrap();
        let length_before = bytes.len() as u64;
        let cut = bytes.get(length..).unwrap_or_default().to_vec();
        bytes.resize(length, 0);
        fs::write(path, bytes).unwrap();
        changes.add(Change::Resize { length_before, length_after: length as u64, cut });
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize, Vec<u8>),
        Resize(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let write = (0..2000usize, proptest::collection::vec(any::<u8>(), 0..700))
            .prop_map(|(a, b)| Step::Write(a, b));
        proptest::collection::vec(prop_oneof![4 => write, 1 => (0..2500usize).prop_map(Step::Resize)], 0..12)
    }

    fn apply(path: &std::path::Path, changes: &mut Changes, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Write(at, new) => write(path, changes, *at, new),
                Step::Resize(length) => resize(path, changes, *length),
            }
        }
    }

    proptest! {
        // Each case writes files a dozen times.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_synced_is_what_is_left_when_nothing_else_is_kept(before in steps(), after in steps()) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("file");
            fs::write(&path, "").unwrap();
            let mut changes = Changes::default();
            apply(&path, &mut changes, &before);
            changes.sync();
            prop_assert!(changes.is_empty());
            let synced = fs::read(&path).unwrap();
            apply(&path, &mut changes, &after);
            changes.lose_power(&path, &mut Random::new(1), 0).unwrap();
            prop_assert_eq!(fs::read(&path).unwrap(), synced);
        }

        #[test]
        fn torn_write_ends_between_sectors_inside_it(at in 0..5000u64, length in 1..5000usize, bytes: u64) {
            let kept = whole_sectors(at, length, bytes);
            prop_assert!(kept <= length);
            prop_assert!(kept == 0 || kept == length || (at + kept as u64).is_multiple_of(512));
        }
    }

    #[test]
    fn failed_sync_may_lose_what_a_later_sync_cannot_bring_back() {
        let outcomes: std::collections::BTreeSet<Vec<u8>> = (0..20)
            .map(|seed| {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("file");
                fs::write(&path, "..").unwrap();
                let mut changes = Changes::default();
                write(&path, &mut changes, 0, b"a");
                changes.fail_sync(&mut Random::new(seed));
                write(&path, &mut changes, 1, b"b");
                changes.sync();
                changes.lose_power(&path, &mut Random::new(seed), 1000).unwrap();
                fs::read(&path).unwrap()
            })
            .collect();
        assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), [b".b".to_vec(), b"ab".to_vec()]);
    }
}
