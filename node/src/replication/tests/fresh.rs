//! What a reader may lack: it takes it in before it answers, wherever that has gone since it was told of it.

use grapevine_storage::atom::PushId;
use grapevine_storage::index::TimeRange;
use tokio::time::Instant;

use super::{SOON, Trio, in_heads, in_packs};
use crate::querier::freshness::{Doubt, Found, Freshness, Moment, Unconfirmed};
use crate::querier::share::Share;
use crate::querier::spread::Spread;
use crate::replication::compare::Elsewhere;
use crate::replication::fresh::Fresh;

impl Trio {
    /// What replication tells a query.
    fn fresh(&self, n: usize) -> Fresh {
        Fresh(self.bed(n).node.replication.clone().unwrap())
    }

    /// What readers may lack of what they hold, where one of them is passed over; asked on another node.
    async fn doubts_without(&self, passed: usize, n: usize) -> Found {
        let cluster = self.bed(n).node.cluster.clone().unwrap();
        let mut spread = Spread::new(cluster.me().clone(), &cluster.view(), 3);
        let passed = self.bed(passed).node.cluster.as_ref().unwrap().me();
        spread.handle_failure(passed, &Share::all(), "");
        let tenants = ["fake".into()];
        self.fresh(n).unconfirmed(&tenants, TimeRange::ALL, &spread, Instant::now() + SOON).await
    }

    /// Nobody brings anything to anybody of its own accord.
    fn hold_still(&self) {
        for bed in self.nodes.iter().flatten() {
            for worker in ["repair", "announce", "learn"] {
                bed.node.workers.get(worker).unwrap().pause();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_that_has_left_for_a_pack_since_it_was_doubted_is_found_in_the_pack() {
    let trio = Trio::new(true).await;
    trio.hold_still();
    trio.push_to_one(0, 0).await;
    let (key, _) = trio.bed(0).node.ingester.heads().all().remove(0);
    let duty = |n: &usize| trio.bed(*n).node.replication.as_ref().unwrap().placement().is_primary(key.id);
    let primary = (0..3).find(duty).unwrap();
    let reader = (primary + 1) % 3;
    trio.push_to_one(primary, 1).await;
    // As where who packed a stream until now is not its first owner any more.
    let Found { unconfirmed, warnings } = trio.doubts_without(primary, reader).await;
    assert_eq!(warnings, [""; 0]);
    trio.bed(primary).flush().await;
    assert_eq!((in_heads(&trio.bed(primary).node), in_packs(&trio.bed(reader).node)), (0, 0));
    let warnings = trio.fresh(reader).catch_up(&Share::all(), &unconfirmed, Instant::now() + SOON).await;
    assert_eq!((warnings, in_packs(&trio.bed(reader).node)), (vec![], in_packs(&trio.bed(primary).node)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_had_in_an_earlier_life_is_said_to_be_missing() {
    let trio = Trio::new(true).await;
    let holder = trio.bed(1).node.cluster.as_ref().unwrap();
    let doubt = |doubt| Unconfirmed { doubt, holder: holder.me().clone() };
    let push = doubt(Doubt::Push(PushId { origin: 7, sequence: 7 }));
    let told = |life| doubt(Doubt::Before(Moment { life, turn: 0 }));
    let warnings = async |doubts: &[Unconfirmed]| {
        trio.fresh(0).catch_up(&Share::all(), doubts, Instant::now() + SOON).await
    };
    let missing = "some of the youngest lines, which `n1` holds, may be missing";
    assert_eq!(warnings(&[told(holder.life() - 1), push.clone()]).await, [missing]);
    assert_eq!(warnings(std::slice::from_ref(&push)).await, [missing], "nobody knows when it was said");
    assert_eq!(warnings(&[told(holder.life()), push]).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_passed_a_push_on_takes_it_again_once_it_is_to_read_it() {
    let trio = Trio::new(true).await;
    trio.hold_still();
    trio.push_to_one(1, 0).await;
    let holder = trio.bed(1).node.cluster.as_ref().unwrap();
    let doubt = |doubt| Unconfirmed { doubt, holder: holder.me().clone() };
    let push = PushId { origin: 7, sequence: 0 };
    let moment = Moment { life: holder.life(), turn: 0 };
    let doubts = [doubt(Doubt::Before(moment)), doubt(Doubt::Beyond(push))];
    let catch_up = async || {
        let warnings = trio.fresh(0).catch_up(&Share::all(), &doubts, Instant::now() + SOON).await;
        (warnings, in_heads(&trio.bed(0).node))
    };
    assert_eq!(catch_up().await, (vec![], 1));
    let (key, head) = trio.bed(0).node.ingester.heads().all().remove(0);
    // As where it owned none of the stream.
    let pushes = [(key, head.pushes().into_iter().collect())].into();
    trio.bed(0).node.replication.as_ref().unwrap().let_go(pushes, Elsewhere::InHeads).await;
    assert_eq!(in_heads(&trio.bed(0).node), 0);
    assert_eq!(catch_up().await, (vec![], 1));
}
