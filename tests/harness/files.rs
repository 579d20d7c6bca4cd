//! What lies on a disk.

use std::path::{Path, PathBuf};

/// Every pack under a folder, in the order of paths.
pub fn packs(dir: &Path) -> Vec<PathBuf> {
    let mut packs = files(dir);
    packs.retain(|path| path.extension().is_some_and(|extension| extension == "gz"));
    packs
}

/// Every file under a folder, in the order of paths; none where there is no folder.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(dir) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
