//! Packs that are in no store that both nodes can reach go from one to the other: piece by piece, at the rate that the
//! worker `learn` is held to, and on from where it ended when a line breaks or the node is started anew.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use grapevine_gossip::rpc::{Handler, Refusal, RefusalCode, Reply, Request, Served};
use grapevine_storage::chunk_store::{ErrorKind, StoreError};
use tokio::time::Instant;
use xxhash_rust::xxh3::Xxh3;

use super::Replication;
use super::message::PackOf;
use crate::cluster::message::{decode, encode};
use crate::cluster::methods::PACK;
use crate::exec::Lane;
use crate::housekeeping::pack_name::PackName;

/// Bytes sent at a time.
const ITEM_BYTES: usize = 1 << 20;
/// How long one request for a pack may take; what came until then is kept, and the rest asked for anew.
const FETCH_MAX: Duration = Duration::from_secs(100);

/// A pack that is being received: bytes, how many, and what they hash to so far.
struct Incoming {
    file: File,
    bytes: u64,
    hash: Box<Xxh3>,
}

impl Incoming {
    /// Takes up what came of it before.
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        let (mut bytes, mut hash, mut item) = (0, Box::<Xxh3>::default(), vec![0; ITEM_BYTES]);
        loop {
            match file.read(&mut item)? {
                0 => return Ok(Incoming { file, bytes, hash }),
                length => {
                    hash.update(&item[..length]);
                    bytes += length as u64;
                }
            }
        }
    }

    fn write(mut self, item: &[u8]) -> io::Result<Self> {
        self.file.write_all(item)?;
        self.hash.update(item);
        self.bytes += item.len() as u64;
        Ok(self)
    }
}

impl Replication {
    /// Brings a pack from another node into the spool, whole and durable. Returns whether the other has it, whole.
    ///
    /// # Errors
    /// The other does not answer, what came before does not go with what comes now, or the disk refuses. What came of it
    /// is taken up the next time.
    pub(super) async fn fetch_pack(&self, object_key: &str, from: SocketAddr) -> Result<bool> {
        let name = PackName::parse(object_key).context("it does not bear the name of a pack")?;
        // One at a time: two that want the same pack must not both write it, and the rate is for all.
        let _turn = self.fetching.lock().await;
        let (path, exec) = (self.parts.spool.incoming(object_key), &self.parts.env.exec);
        let spooled = self.parts.spool.path(object_key);
        let resumed = path.clone();
        let open = move || if spooled.is_file() { Ok(None) } else { Incoming::open(&resumed).map(Some) };
        let Some(mut incoming) = exec.run(Lane::Disk, open).await? else { return Ok(true) };
        let before = incoming.bytes;
        let body = encode(&PackOf { object_key: object_key.to_owned(), from: incoming.bytes })?;
        let mut items =
            self.parts.cluster.peers().stream(from, PACK, body, Instant::now() + FETCH_MAX).await?;
        while let Some(item) = items.next().await? {
            let length = item.len() as u64;
            self.parts.metrics.fetched_bytes.inc_by(length);
            incoming = exec.run(Lane::Disk, move || incoming.write(&item)).await?;
            self.parts.staff.learn.spend(length).await;
        }
        let (spool, key) = (self.parts.spool.clone(), object_key.to_owned());
        let expected = name.content_hash;
        let keep = move || {
            if incoming.hash.digest128() != expected {
                std::fs::remove_file(&path)?;
                ensure!(before == 0, "what came of it at two times does not go together; it is fetched anew");
                return Ok(false);
            }
            incoming.file.sync_all()?;
            spool.adopt(&path, &key)?;
            Ok(true)
        };
        exec.run(Lane::Disk, keep).await.with_context(|| format!("fetch `{object_key}` from `{from}`"))
    }

    /// Removes what came of packs in part. To be called once everything is known and nothing is waited for.
    pub(super) async fn forget_parts(&self) -> Result<()> {
        let _turn = self.fetching.lock().await;
        let spool = self.parts.spool.clone();
        let forget = move || spool.forget_incoming();
        self.parts
            .env
            .exec
            .run(Lane::Disk, forget)
            .await
            .context("remove parts of packs that were not needed")
    }

    /// Gives what follows of a pack that only this node's store has: it may be no directory, and not the asker's. Nothing
    /// if it has no such pack: none is empty.
    async fn give_stored(&self, object_key: &str, from: u64, reply: &mut Reply) -> Result<(), Refusal> {
        let failed = |error: StoreError| Refusal::new(RefusalCode::Failed, error.to_string());
        let bytes = match self.parts.store.head(object_key).await {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
            stored => stored.map_err(failed)?.bytes,
        };
        for piece in pieces(from..bytes) {
            reply.send(self.parts.store.get_range(object_key, piece).await.map_err(failed)?).await?;
        }
        Ok(())
    }

    fn pack_paths(&self, object_key: &str) -> Vec<PathBuf> {
        let spooled = self.parts.spool.path(object_key);
        [Some(spooled), self.parts.store.local_path(object_key)].into_iter().flatten().collect()
    }
}

/// A range cut into what is sent at a time.
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    range.clone().step_by(ITEM_BYTES).map(move |start| start..range.end.min(start + ITEM_BYTES as u64))
}

/// Gives packs to others.
pub(super) struct Gives(pub(super) Arc<Replication>);

impl Handler for Gives {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(async move {
            let PackOf { object_key, from } = decode(&request.body)?;
            // Only what bears the name of a pack: nothing else of the disk is anybody's business.
            if PackName::parse(&object_key).is_none() || object_key.contains("..") {
                return Err(Refusal::new(RefusalCode::Invalid, format!("`{object_key}` is no pack")));
            }
            let exec = &self.0.parts.env.exec;
            let paths = self.0.pack_paths(&object_key);
            let open = move || paths.into_iter().find_map(|path| File::open(path).ok());
            let Some(mut file) = exec.run(Lane::Disk, open).await else {
                return self.0.give_stored(&object_key, from, reply).await;
            };
            let mut at = from;
            loop {
                let read = move || {
                    let mut item = vec![0; ITEM_BYTES];
                    file.seek(SeekFrom::Start(at))?;
                    let length = file.read(&mut item)?;
                    item.truncate(length);
                    Ok::<_, io::Error>((file, item))
                };
                let failed = |error: io::Error| Refusal::new(RefusalCode::Failed, error.to_string());
                let item;
                (file, item) = exec.run(Lane::Disk, read).await.map_err(failed)?;
                if item.is_empty() {
                    return Ok(());
                }
                at += item.len() as u64;
                reply.send(Bytes::from(item)).await?;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{ITEM_BYTES, Incoming, pieces};

    #[test]
    fn pieces_follow_one_another_from_where_the_asker_is() {
        let (item, bytes) = (ITEM_BYTES as u64, 2 * ITEM_BYTES as u64 + 77);
        let of = |from| pieces(from..bytes).collect::<Vec<_>>();
        assert_eq!(of(0), [0..item, item..2 * item, 2 * item..bytes]);
        assert_eq!(of(item + 5), [item + 5..2 * item + 5, 2 * item + 5..bytes]);
        assert_eq!(of(bytes), []);
        assert_eq!(of(bytes + 1), [], "more came than there is");
    }

    #[test]
    fn what_came_of_a_pack_before_is_taken_up_and_hashes_as_if_it_had_come_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pack");
        let bytes: Vec<u8> = (0..2 * ITEM_BYTES + 77).map(|n| (n * 7 % 251) as u8).collect();
        let (before, after) = bytes.split_at(ITEM_BYTES + 5);
        drop(Incoming::open(&path).unwrap().write(before).unwrap());
        let again = Incoming::open(&path).unwrap();
        assert_eq!(again.bytes, before.len() as u64, "the rest is asked for from here");
        let whole = again.write(after).unwrap();
        assert_eq!(whole.hash.digest128(), xxhash_rust::xxh3::xxh3_128(&bytes));
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}
