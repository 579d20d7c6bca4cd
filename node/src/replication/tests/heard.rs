//! What a member is told of packs that it knows.

use grapevine_gossip::ring::NodeId;
use grapevine_storage::atom::{PushId, PushSet};
use grapevine_storage::index::{Cover, Day, PackId};

use super::{NOW, STREAMS, Trio, in_heads, in_packs, packs};
use crate::replication::learn::known_of;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_told_of_a_pack_until_it_has_heard_all_of_it() {
    let trio = Trio::new(true).await;
    trio.push(0, 1).await;
    for n in 0..3 {
        trio.bed(n).flush().await;
    }
    trio.until("nothing is left in heads", |node| in_heads(node) == 0).await;
    trio.until("each index knows all lines", |node| in_packs(node) == STREAMS as u64).await;
    let [teller, hearer] = [0, 1].map(|n| &trio.bed(n).node);
    let [by, to] = [teller, hearer].map(|node| node.replication.as_ref().unwrap());
    let (placement, day) = (to.placement(), Day::of(NOW));
    let told = |known: Vec<(u128, u64)>| {
        let known = known.into_iter().map(|(id, heard)| (PackId(id), heard)).collect();
        let keeps = |stream| placement.keeps(placement.me(), stream);
        by.packs_for(day, &known, keeps, |_| false).unwrap().len()
    };
    let index = hearer.index.day(day).unwrap().unwrap();
    let known = |teller: Option<&NodeId>| known_of(&index, &placement, teller).unwrap();
    let of_teller = by.placement().me().clone();
    assert_eq!(told(known(Some(&of_teller))), 0, "it has heard all there is to say");
    assert_eq!(told(known(None)), packs(hearer).len(), "whom it has not heard before tells all");

    let (pack, teller_index) = (packs(teller)[0], teller.index.day(day).unwrap().unwrap());
    let contents = teller_index.read(|snapshot| snapshot.contents(pack)).unwrap();
    let pushes: PushSet = [PushId { origin: 7, sequence: 7 }].into_iter().collect();
    let more = Cover { stream: contents[0].0, pushes };
    teller_index.add_covers("fake", pack, NOW, &[more]).unwrap();
    assert_eq!(told(known(Some(&of_teller))), 1, "what has come to it since");
}
