//! A member that keeps only some of the streams.

use std::collections::BTreeSet;
use std::sync::Arc;

use grapevine_storage::index::{Arcs, Day, PackId};
use grapevine_storage::stream::StreamId;

use super::{Bed, DAY};
use crate::housekeeping::custody::Custody;
use crate::housekeeping::retention::Retention;
use crate::housekeeping::{Housekeeper, Parts};
use crate::ingester::spool::Spool;
use crate::workers::Workers;

/// Keeps streams with these tokens.
#[derive(Debug)]
struct Keeps(Arcs);

impl Custody for Keeps {
    fn tends(&self, _: &str) -> bool {
        false
    }

    fn packs(&self, _: StreamId) -> bool {
        false
    }

    fn deletes(&self, _: &str) -> bool {
        false
    }

    fn sees_all(&self) -> bool {
        false
    }

    fn is_settled(&self) -> bool {
        true
    }

    fn reach(&self) -> Option<Arcs> {
        Some(self.0.clone())
    }

    fn on_replaced(&self, _: Day, _: PackId) {}

    fn on_awaited(&self, _: Day) {}

    fn on_missing(&self, _: BTreeSet<String>) {}
}

impl Bed {
    /// Another that keeps house over the same node.
    fn keeper_with(&self, custody: impl Custody + 'static) -> Housekeeper {
        let node = &self.node;
        Housekeeper::new(Parts {
            env: node.env.clone(),
            config: node.config.clone(),
            retention: Arc::new(Retention::new(&node.limits).unwrap()),
            index: node.index.clone(),
            store: node.store.clone(),
            spool: Spool::open(&node.env.data_dir.join("spool")).unwrap(),
            metrics: node.metrics.clone(),
            disk: node.disk.clone(),
            workers: Workers::new(node.metrics.clone()),
            deletes: node.deletes.clone(),
            custody: Arc::new(custody),
        })
    }
}

#[tokio::test]
async fn a_pack_of_others_streams_that_is_gone_is_theirs_to_miss() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "text").await;
    bed.push(&["b"], "text").await;
    let day = bed.node.index.day(DAY).unwrap().unwrap();
    let (pack, _) = day.read(|snapshot| snapshot.packs()).unwrap().remove(0);
    let (stream, _) = day.read(|snapshot| snapshot.contents(pack)).unwrap().remove(0);
    bed.objects().into_iter().for_each(|object| std::fs::remove_file(object).unwrap());
    let missing = async |arcs| {
        bed.keeper_with(Keeps(arcs)).reconcile().await.unwrap();
        bed.node.metrics.missing_packs.get()
    };
    assert_eq!(missing(vec![(0, u64::MAX)]).await, 2);
    assert_eq!(missing(vec![(stream.token(), stream.token())]).await, 1);
    assert_eq!(missing(vec![]).await, 0);
}

#[tokio::test]
async fn a_member_that_looks_through_the_store_keeps_within_the_rate_of_transfers() {
    let bed = Bed::new(&[("cluster.transfer_rate_max", "100MB")]).await;
    bed.push(&["a"], "text").await;
    bed.push(&["b"], "text").await;
    let keeper = bed.keeper_with(Keeps(vec![(0, u64::MAX)]));
    keeper.reconcile().await.unwrap();
    assert_eq!(keeper.staff.reconcile.report().bytes, 0, "what is known is not read");
    bed.node.index.drop_day(DAY).unwrap();
    keeper.reconcile().await.unwrap();
    let report = keeper.staff.reconcile.report();
    assert_eq!((report.bytes, report.bytes_per_s), (2 * (64 << 10), Some(100 << 20)));
    assert_eq!(
        bed.node.housekeeper.staff.reconcile.report().bytes_per_s,
        None,
        "a node alone has nobody to spare"
    );
}
