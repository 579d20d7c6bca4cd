//! A small file system of its own, to be filled up: tmpfs, which takes the right to mount.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::tools::skipped;

/// A mounted tmpfs. Dropping it unmounts it.
#[derive(Debug)]
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts so many MiB; none where that is not permitted, which is said.
    pub fn mount(mib: u32) -> Option<Self> {
        let disk = SmallDisk(TempDir::new().unwrap());
        let size = format!("size={mib}m");
        match disk.run("mount", &["-t", "tmpfs", "-o", &size, "none"]) {
            true => Some(disk),
            false => {
                skipped("mounting a tmpfs is not permitted");
                None
            }
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) -> bool {
        let output = Command::new(program).args(arguments).arg(self.path()).output();
        output.is_ok_and(|output| output.status.success())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
        let zeros = vec![0; 1 << 20];
        let full = loop {
            if let Err(error) = ballast.write_all(&zeros) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::StorageFull);
    }

    /// Takes away what filled it.
    pub fn relieve(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    /// Makes it read-only, or not; nothing may be open for writing.
    pub fn set_read_only(&self, read_only: bool) {
        assert!(self.run("mount", &["-o", if read_only { "remount,ro" } else { "remount,rw" }]));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that failed may leave someone inside.
        self.run("umount", &["--lazy"]);
    }
}
