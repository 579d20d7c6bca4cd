//! One LMDB environment: opening it where that is safe, growing it, and closing it while others may still
//! hold on to it.
//!
//! Commits are durable (LMDB's default: data pages synced, then the meta page). `MDB_WRITEMAP` is not used: a
//! stray store through the map could then damage the file, and simulated power losses could not see the writes.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, DatabaseFlags, EnvOpenOptions, RoTxn, RwTxn, WithoutTls};

use super::{IndexError, verify};

/// A table: keys and values are bytes, laid out by `keys` and `codec`.
pub(super) type Table = Database<'static, Bytes, Bytes>;

/// Reads at one time in one environment; each takes a slot of 64 bytes in its lock file.
const MAX_READERS: u32 = 1024;
/// A map is doubled when it is full, up to here. No day's index comes near: 100,000 streams take some 100 MB.
const MAX_MAP_BYTES: usize = 64 << 30;

/// The tables of a day.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    pub(super) meta: Table,
    pub(super) streams: Table,
    pub(super) postings: Table,
    pub(super) chunks: Table,
    pub(super) packs: Table,
    pub(super) contents: Table,
    pub(super) flushed: Table,
    pub(super) covers: Table,
}

/// Names on disk, and whether a key has many values, all of one length.
const TABLES: [(&str, bool); 8] = [
    ("meta", false),
    ("streams", false),
    ("postings", true),
    ("chunks", false),
    ("packs", false),
    ("contents", true),
    ("flushed", false),
    ("covers", false),
];

/// An environment that can be closed under its users: they then get [`IndexError::Closed`].
pub(super) struct Env {
    path: PathBuf,
    /// Held shared by every transaction, alone to grow the map or to close: LMDB allows either only while no
    /// transaction runs.
    gate: RwLock<Option<Open>>,
}

struct Open {
    env: heed::Env<WithoutTls>,
    tables: Tables,
}

impl Env {
    /// Opens or creates the environment in a directory.
    pub(super) fn open(path: &Path, map_bytes: usize) -> Result<Self, IndexError> {
        std::fs::create_dir_all(path).map_err(|error| IndexError::io("create", path, error))?;
        refuse_network_file_system(path)?;
        verify::verify(&path.join("data.mdb"))?;
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(map_bytes.next_multiple_of(page_bytes())).max_dbs(TABLES.len() as u32);
        options.max_readers(MAX_READERS);
        // SAFETY: the file lies on a local file system, its lock file is left to LMDB, no unsafe flags are
        // set, and nothing but this process writes to the directory.
        let env = unsafe { options.open(path) }?;
        let tables = create_tables(&env)?;
        Ok(Env { path: path.to_owned(), gate: RwLock::new(Some(Open { env, tables })) })
    }

    /// Runs a function on one snapshot. It must not start another transaction on the same environment: a
    /// writer that waits for the gate would lock both out.
    pub(super) fn read<R>(
        &self,
        read: impl FnOnce(&Tables, &RoTxn<'_>) -> Result<R, IndexError>,
    ) -> Result<R, IndexError> {
        let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let open = gate.as_ref().ok_or(IndexError::Closed)?;
        let txn = open.env.read_txn()?;
        read(&open.tables, &txn)
    }

    /// Runs a function in one write transaction, which an error undoes. When the map is full, the function
    /// runs again in a larger one.
    pub(super) fn write<R>(
        &self,
        mut write: impl FnMut(&Tables, &mut RwTxn<'_>) -> Result<R, IndexError>,
    ) -> Result<R, IndexError> {
        loop {
            let full_at = {
                let gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
                let open = gate.as_ref().ok_or(IndexError::Closed)?;
                let mut txn = open.env.write_txn()?;
                let written = write(&open.tables, &mut txn);
                match written.and_then(|result| txn.commit().map(|()| result).map_err(IndexError::from)) {
                    Err(IndexError::MapFull { .. }) => open.env.info().map_size,
                    done => return done,
                }
            };
            self.grow(full_at)?;
        }
    }

    /// Closes the environment once running transactions are done; later ones are refused.
    pub(super) fn close(&self) {
        self.gate.write().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn grow(&self, full_at: usize) -> Result<(), IndexError> {
        let gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let open = gate.as_ref().ok_or(IndexError::Closed)?;
        if open.env.info().map_size > full_at {
            return Ok(()); // Another writer was here first.
        }
        if full_at >= MAX_MAP_BYTES {
            return Err(IndexError::MapFull { limit: MAX_MAP_BYTES });
        }
        tracing::debug!(path = %self.path.display(), from = full_at, "index map doubled");
        // SAFETY: every transaction holds the gate shared, and this thread holds it alone.
        Ok(unsafe { open.env.resize(full_at * 2) }?)
    }
}

fn create_tables(env: &heed::Env<WithoutTls>) -> Result<Tables, IndexError> {
    let txn = env.write_txn()?;
    let created = env.create_databases_and_commit(txn, |opener, txn| {
        let mut tables = Vec::with_capacity(TABLES.len());
        for (name, many) in TABLES {
            let mut options = opener.database_options().types::<Bytes, Bytes>();
            options.name(name);
            if many {
                options.flags(DatabaseFlags::DUP_SORT | DatabaseFlags::DUP_FIXED);
            }
            tables.push(options.create(txn)?);
        }
        let tables: [_; TABLES.len()] = tables.try_into().map_err(|_| heed::MdbError::Problem)?;
        Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(tables))
    })?;
    let CommitOrAbort::Commit(tables) = created else { unreachable!("the closure above always commits") };
    let [meta, streams, postings, chunks, packs, contents, flushed, covers] = tables;
    Ok(Tables { meta, streams, postings, chunks, packs, contents, flushed, covers })
}

fn page_bytes() -> usize {
    rustix::param::page_size()
}

/// LMDB shares its file and locks through memory maps, which network file systems do not keep coherent.
fn refuse_network_file_system(path: &Path) -> Result<(), IndexError> {
    let stat = rustix::fs::statfs(path).map_err(|error| IndexError::io("examine", path, error.into()))?;
    match network_file_system(stat.f_type as u64) {
        None => Ok(()),
        Some(name) => Err(IndexError::NetworkFileSystem { path: path.to_owned(), name }),
    }
}

/// The name of a network file system by its magic number (`statfs(2)`, `linux/magic.h`).
fn network_file_system(magic: u64) -> Option<&'static str> {
    match magic & 0xFFFF_FFFF {
        0x6969 => Some("nfs"),
        0x517B => Some("smb"),
        0xFF53_4D42 => Some("cifs"),
        0xFE53_4D42 => Some("smb2"),
        0x00C3_6400 => Some("ceph"),
        0x0102_1997 => Some("9p"),
        0x5346_414F | 0x6B41_4653 => Some("afs"),
        0x7375_7245 => Some("coda"),
        0x0BD0_0BD0 => Some("lustre"),
        0x4750_4653 => Some("gpfs"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Env, network_file_system};
    use crate::index::IndexError;

    const PAGE: usize = 4096;

    fn count(env: &Env) -> u64 {
        env.read(|tables, txn| Ok(tables.streams.len(txn)?)).unwrap()
    }

    #[test]
    fn full_map_grows_and_nothing_is_lost_or_written_twice() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::open(dir.path(), 32 * PAGE).unwrap();
        let mut runs = 0;
        for round in 0..20u32 {
            env.write(|tables, txn| {
                runs += 1;
                for n in 0..100u32 {
                    let key = [round.to_be_bytes(), n.to_be_bytes()].concat();
                    tables.streams.put(txn, &key, &[7; 1000])?;
                }
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(count(&env), 2000);
        assert!(runs > 20, "the map was never full");
    }

    #[test]
    fn error_undoes_the_whole_transaction() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::open(dir.path(), 1 << 20).unwrap();
        let failed = env.write(|tables, txn| {
            tables.streams.put(txn, b"a", b"1")?;
            Err::<(), _>(IndexError::Closed)
        });
        assert!(failed.is_err());
        assert_eq!(count(&env), 0);
    }

    #[test]
    fn process_killed_before_the_commit_leaves_nothing_of_it() {
        let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let env = Env::open(dir.path(), 1 << 20).unwrap();
        env.write(|tables, txn| Ok(tables.streams.put(txn, b"before", b"1")?)).unwrap();
        env.write(|tables, txn| {
            for n in 0..200u32 {
                tables.streams.put(txn, &n.to_be_bytes(), &[1; 900])?;
            }
            std::fs::copy(dir.path().join("data.mdb"), copy.path().join("data.mdb")).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(count(&env), 201);
        assert_eq!(count(&Env::open(copy.path(), 1 << 20).unwrap()), 1);
    }

    #[test]
    fn closed_environment_refuses_and_can_be_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::open(dir.path(), 1 << 20).unwrap();
        assert!(matches!(Env::open(dir.path(), 1 << 20), Err(IndexError::AlreadyOpen)));
        env.close();
        assert!(matches!(env.read(|_, _| Ok(())), Err(IndexError::Closed)));
        assert!(matches!(env.write(|_, _| Ok(())), Err(IndexError::Closed)));
        Env::open(dir.path(), 1 << 20).map(|env| count(&env)).unwrap();
    }

    #[test]
    fn network_file_systems_are_known_and_local_ones_pass() {
        for (magic, name) in [(0x6969, "nfs"), (0xFE53_4D42, "smb2"), (0xFFFF_FFFF_FF53_4D42, "cifs")] {
            assert_eq!(network_file_system(magic), Some(name));
        }
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994] {
            assert_eq!(network_file_system(local), None);
        }
    }
}
