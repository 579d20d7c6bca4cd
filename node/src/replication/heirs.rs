//! Who was there when this node had learnt all that it owns: if as many as hold a range have gone since, there may be packs
//! that nobody knows any more, and only the chunk store can tell.
//!
//! Kept as a file, for those who are gone may have gone while this node was down.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use grapevine_gossip::ring::NodeId;
use grapevine_storage::durable;

use super::{Replication, lock};
use crate::exec::Lane;

/// Bytes of the file at most: far more names than there can be members.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The members of whom all was learnt last; none before this node has learnt anything.
pub(super) type Members = BTreeSet<NodeId>;

/// Whether some range may have had no holder but members that are gone.
fn may_lack_heirs(former: &Members, now: &Members, replicas: usize) -> bool {
    former.difference(now).count() >= replicas
}

impl Replication {
    /// Everything was learnt from all of these. Where too many are gone, answers say so until the store is looked through;
    /// where any is, that is done.
    pub(super) async fn on_learnt_from(&self, members: Members) -> Result<()> {
        if self.parts.cluster.is_cut_off() {
            // Who has just started has heard of nobody yet; answers say so.
            return Ok(());
        }
        let former = lock(&self.learnt).heirs.clone();
        let former = match former {
            Some(former) => former,
            None => self.former_heirs().await?,
        };
        let replicas = self.parts.cluster.replication_factor();
        if may_lack_heirs(&former, &members, replicas) {
            let (gone, index) = (former.difference(&members).count(), self.parts.index.clone());
            tracing::info!(
                gone,
                "members are gone that may have been the last to know of packs: the store is looked through"
            );
            self.parts.env.exec.run(Lane::Disk, move || index.want_search()).await?;
        }
        if former != members {
            let (path, names) = (self.heirs_path(), members.clone());
            let write = move || durable::replace(&path, &text(&names));
            self.parts.env.exec.run(Lane::Disk, write).await.context("note who is there")?;
        }
        let is_any_gone = former.difference(&members).next().is_some();
        lock(&self.learnt).heirs = Some(members);
        if is_any_gone {
            self.parts.staff.look_through_store();
        }
        Ok(())
    }

    /// Whether this node went down before it had ever learnt all that it owns, and has learnt from nobody since: others have
    /// what it was to take over. Who is there may not be known to live yet.
    pub(super) async fn knows_nothing_yet(&self) -> Result<bool> {
        let from_nobody = lock(&self.learnt).is_from_nobody();
        Ok(from_nobody && self.parts.cluster.knew_others() && self.former_heirs().await?.is_empty())
    }

    async fn former_heirs(&self) -> Result<Members> {
        let path = self.heirs_path();
        self.parts.env.exec.run(Lane::Disk, move || read(&path)).await
    }

    fn heirs_path(&self) -> PathBuf {
        self.parts.env.data_dir.join("cluster/heirs")
    }
}

/// A name a line.
fn text(members: &Members) -> Vec<u8> {
    members.iter().flat_map(|name| format!("{name}\n").into_bytes()).collect()
}

fn read(path: &Path) -> Result<Members> {
    let content =
        durable::read(path, FILE_BYTES_MAX).with_context(|| format!("read `{}`", path.display()))?;
    let content = content.unwrap_or_default();
    // A name that cannot be read is one that is not there any more.
    Ok(String::from_utf8_lossy(&content).lines().filter_map(|name| name.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::{Members, may_lack_heirs, read, text};

    fn members(names: &[&str]) -> Members {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_range_lacks_heirs_once_as_many_are_gone_as_held_it() {
        let former = members(&["a", "b", "c", "d", "e"]);
        assert!(!may_lack_heirs(&former, &members(&["a", "b", "c"]), 3));
        assert!(may_lack_heirs(&former, &members(&["a", "b"]), 3));
        assert!(may_lack_heirs(&former, &members(&["a", "f", "g", "h", "i"]), 3), "however many have come");
        assert!(!may_lack_heirs(&members(&[]), &former, 1), "nobody was there before");
    }

    #[test]
    fn who_was_there_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("heirs");
        assert_eq!(read(&path).unwrap(), members(&[]));
        let all = members(&["a", "b-2"]);
        grapevine_storage::durable::replace(&path, &text(&all)).unwrap();
        assert_eq!(read(&path).unwrap(), all);
    }
}
