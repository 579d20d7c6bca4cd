//! Which packs hold the same pushes.
//!
//! Two nodes that both take themselves for a stream's primary, as those on either side of a partition do, both pack what
//! both hold; so does who takes over from one that fell before it told of its pack. Such entries are one when read, but
//! take room twice until their packs are merged, which small packs of a day that is written to wait for. So packs that
//! hold the same pushes are merged at once, by who packs the stream: it knows both, whoever tends them. Where two nodes
//! know of different streams, both may merge them; then the merged packs hold the same pushes, and are merged in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use grapevine_storage::atom::PushSet;
use grapevine_storage::index::{Cover, Day, DayIndex, IndexError, KnownCover, PackId, PackState};
use grapevine_storage::stream::StreamId;

use super::compact::{Batch, Candidate, runs};
use super::{Housekeeper, lock};
use crate::exec::Lane;

/// Pairs of packs that hold the same pushes, and the first stream of which they do.
type Pairs = BTreeMap<[PackId; 2], StreamId>;

impl Housekeeper {
    /// Packs of a day that hold the same pushes, where it is this node's to merge them.
    pub(super) async fn doubled(
        &self,
        index: &Arc<DayIndex>,
        day: Day,
        packs: &[Candidate],
    ) -> anyhow::Result<Vec<Batch>> {
        let live: BTreeSet<PackId> = packs.iter().map(|pack| pack.id).collect();
        if lock(&self.single).get(&day) == Some(&live) {
            return Ok(Vec::new());
        }
        let (of_day, wanted) = (index.clone(), live.clone());
        let pairs = self.env.exec.run(Lane::Disk, move || doubled_pairs(&of_day, &wanted)).await?;
        if pairs.is_empty() {
            // Looked through again when another pack has come: covers are read whole.
            lock(&self.single).insert(day, live);
        }
        let ours = pairs.into_iter().filter(|(_, stream)| self.custody.packs(*stream));
        Ok(batches(packs, ours.map(|(pair, _)| pair)))
    }
}

/// What several packs cover, and when the last of it was noted: what one that takes their place covers.
pub(super) fn covers_of(index: &DayIndex, packs: &[PackId]) -> Result<(i64, Vec<Cover>), IndexError> {
    let (mut latest, mut all) = (0, BTreeMap::<StreamId, PushSet>::new());
    index.read(|snapshot| {
        for id in packs {
            for KnownCover { at, cover, .. } in snapshot.covers(Some(*id))? {
                latest = latest.max(at);
                all.entry(cover.stream).or_default().merge(&cover.pushes);
            }
        }
        Ok(())
    })?;
    Ok((latest, all.into_iter().map(|(stream, pushes)| Cover { stream, pushes }).collect()))
}

fn doubled_pairs(index: &DayIndex, live: &BTreeSet<PackId>) -> Result<Pairs, IndexError> {
    let gone = index.gone()?.into_iter().filter_map(|(id, by)| Some((id, by?))).collect();
    Ok(pairs(index.read(|snapshot| snapshot.covers(None))?, &gone, live))
}

/// Pairs among the packs that are there; `gone` tells what took the place of those that are not.
fn pairs(covers: Vec<KnownCover>, gone: &BTreeMap<PackId, PackId>, live: &BTreeSet<PackId>) -> Pairs {
    let mut by_stream: BTreeMap<StreamId, BTreeMap<PackId, PushSet>> = BTreeMap::new();
    for KnownCover { pack, cover, .. } in covers {
        if let Some(pack) = heir(pack, gone, live) {
            let packs = by_stream.entry(cover.stream).or_default();
            packs.entry(pack).or_default().merge(&cover.pushes);
        }
    }
    let mut pairs = Pairs::new();
    for (stream, packs) in by_stream {
        let mut before: Vec<(PackId, PushSet)> = Vec::with_capacity(packs.len());
        for (pack, pushes) in packs {
            for (other, _) in before.iter().filter(|(_, others)| others.intersects(&pushes)) {
                pairs.entry([*other, pack]).or_insert(stream);
            }
            before.push((pack, pushes));
        }
    }
    pairs
}

/// The pack that holds now what a pack held.
fn heir(pack: PackId, gone: &BTreeMap<PackId, PackId>, live: &BTreeSet<PackId>) -> Option<PackId> {
    let mut at = pack;
    // As often as packs can have taken the place of others; what members tell each other may go round in a circle.
    for _ in 0..=gone.len() {
        if live.contains(&at) {
            return Some(at);
        }
        at = *gone.get(&at)?;
    }
    None
}

/// Batches of packs that hang together by such pairs, and have left the spool.
fn batches(packs: &[Candidate], pairs: impl Iterator<Item = [PackId; 2]>) -> Vec<Batch> {
    let mut groups: Vec<BTreeSet<PackId>> = Vec::new();
    for pair in pairs {
        let (joined, apart): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| pair.iter().any(|pack| group.contains(pack)));
        groups = apart;
        groups.push(joined.into_iter().flatten().chain(pair).collect());
    }
    let is_ready = |pack: &&Candidate| pack.record.state == PackState::Shipped;
    let of =
        |group: BTreeSet<PackId>| packs.iter().filter(is_ready).filter(move |pack| group.contains(&pack.id));
    groups.into_iter().flat_map(|group| runs(of(group).cloned().collect())).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use grapevine_storage::atom::PushId;
    use grapevine_storage::index::{Cover, KnownCover, PackId, PackState};
    use grapevine_storage::stream::StreamId;

    use super::{batches, pairs};
    use crate::housekeeping::compact::tests::pack;

    /// Covers as (pack, stream, pushes), and what took the place of what; packs from 10 on are gone.
    fn check(covers: &[(u128, u128, &[u64])], gone: &[(u128, u128)], expected: &[([u128; 2], u128)]) {
        let known = |(pack, stream, pushes): &(u128, u128, &[u64])| KnownCover {
            pack: PackId(*pack),
            at: 0,
            tenant: "t".into(),
            cover: Cover {
                stream: StreamId(*stream),
                pushes: pushes.iter().map(|sequence| PushId { origin: 1, sequence: *sequence }).collect(),
            },
        };
        let gone = gone.iter().map(|(id, by)| (PackId(*id), PackId(*by))).collect::<BTreeMap<_, _>>();
        let live = (0..10).map(PackId).collect::<BTreeSet<_>>();
        let found = pairs(covers.iter().map(known).collect(), &gone, &live).into_iter();
        let found: Vec<_> = found.map(|(pair, stream)| (pair.map(|id| id.0), stream.0)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn packs_that_cover_the_same_push_of_a_stream_are_a_pair_by_the_first_such_stream() {
        check(&[(1, 1, &[1, 2]), (2, 1, &[3]), (3, 2, &[1, 2])], &[], &[]);
        check(&[(1, 7, &[1, 2]), (2, 7, &[2, 3]), (1, 8, &[9]), (2, 8, &[9])], &[], &[([1, 2], 7)]);
        let all_three: &[_] = &[([1, 2], 1), ([1, 3], 1), ([2, 3], 1)];
        check(&[(1, 1, &[5]), (2, 1, &[5]), (3, 1, &[4, 5])], &[], all_three);
    }

    #[test]
    fn what_a_pack_covered_that_is_gone_counts_for_what_took_its_place() {
        check(&[(10, 1, &[1]), (2, 1, &[1])], &[(10, 11), (11, 3)], &[([2, 3], 1)]);
        // Itself, nobody, and in a circle.
        check(&[(10, 1, &[1]), (2, 1, &[1])], &[(10, 2)], &[]);
        check(&[(10, 1, &[1]), (2, 1, &[1])], &[], &[]);
        check(&[(10, 1, &[1]), (2, 1, &[1])], &[(10, 11), (11, 10)], &[]);
    }

    #[test]
    fn packs_that_hang_together_are_merged_at_once_when_they_are_in_the_store() {
        let mut packs: Vec<_> = (1..=6).map(|id| pack(id, "t", 1)).collect();
        let ids = |packs: &[_], pairs: &[[u128; 2]]| {
            let found = batches(packs, pairs.iter().map(|pair| pair.map(PackId))).into_iter();
            found.map(|batch| batch.iter().map(|pack| pack.id.0).collect()).collect::<Vec<Vec<_>>>()
        };
        assert_eq!(ids(&packs, &[[1, 4], [2, 3], [3, 4], [5, 6]]), [vec![1, 2, 3, 4], vec![5, 6]]);
        packs[4].record.state = PackState::Spooled;
        assert_eq!(ids(&packs, &[[1, 4], [5, 6]]), [[1, 4]]);
    }
}
