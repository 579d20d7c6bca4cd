//! Requests on one member: what others say of them, and how long they count.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use grapevine_storage::index::TimeRange;
use tempfile::TempDir;

use super::{DeleteError, Deletes, KEPT_FOR, Status};
use crate::config::Config;
use crate::env::{Env, SystemNet, WallClock};
use crate::exec::Exec;
use crate::ingester::covered;

const QUERY: &str = r#"{a="b"}"#;

#[derive(Debug, Default)]
struct SetClock(AtomicI64);

impl WallClock for SetClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Bed {
    deletes: Deletes,
    clock: Arc<SetClock>,
    _dir: TempDir,
}

impl Bed {
    async fn new(me: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock::default());
        let config = Config::load("", [], []).unwrap();
        let env = Env {
            clock: clock.clone(),
            net: Arc::new(SystemNet),
            exec: Exec::inline(),
            data_dir: dir.path().to_owned(),
            seed: 1,
        };
        let limits = Arc::new(config.tenant_limits());
        Bed { deletes: Deletes::open(env, limits, me).await.unwrap(), clock, _dir: dir }
    }

    fn hides(&self) -> bool {
        !self.deletes.overlapping("t", TimeRange::ALL).is_empty()
    }

    async fn tell(&self, other: &Bed) {
        other.deletes.learn(self.deletes.known()).await.unwrap();
    }
}

async fn two() -> [Bed; 2] {
    let beds = [Bed::new(Some("m")).await, Bed::new(Some("n")).await];
    for bed in &beds {
        bed.deletes.set_members(["m".to_owned(), "n".to_owned()].into()).await.unwrap();
    }
    beds
}

#[tokio::test]
async fn lines_stay_hidden_until_no_member_can_bring_them_back() {
    let [m, n] = two().await;
    let id = m.deletes.create("t", QUERY, 0, 9).await.unwrap();
    m.tell(&n).await;
    assert!(n.hides() && n.deletes.digest() == m.deletes.digest());
    m.deletes.mark_processed("t", &id).await.unwrap();
    let request = m.deletes.find("t", &id).unwrap();
    assert_eq!(m.deletes.status(&request), Status::Received, "the other has not carried it out");
    n.clock.0.store(100, Ordering::Relaxed);
    n.deletes.mark_processed("t", &id).await.unwrap();
    n.tell(&m).await;
    let request = m.deletes.find("t", &id).unwrap();
    assert_eq!(m.deletes.status(&request), Status::Processed);
    let end = 100 + covered::MEMORY.as_nanos() as i64;
    m.clock.0.store(end - 1, Ordering::Relaxed);
    assert!(m.hides());
    m.clock.0.store(end, Ordering::Relaxed);
    assert!(!m.hides());
    let three = ["m", "n", "o"].map(str::to_owned);
    m.deletes.set_members(three.into()).await.unwrap();
    assert!(m.hides(), "one that has come back may have lines");
}

#[tokio::test]
async fn a_node_that_stands_alone_hides_nothing_that_is_gone() {
    let bed = Bed::new(None).await;
    let id = bed.deletes.create("t", QUERY, 0, 9).await.unwrap();
    assert!(bed.hides());
    bed.deletes.mark_processed("t", &id).await.unwrap();
    assert!(!bed.hides() && bed.deletes.due().is_empty());
}

#[tokio::test]
async fn a_request_taken_back_stays_so_and_may_be_made_anew() {
    let [m, n] = two().await;
    let id = m.deletes.create("t", QUERY, 0, 9).await.unwrap();
    assert_eq!(m.deletes.create("t", QUERY, 0, 9).await.unwrap(), id, "twice within a millisecond is one");
    m.tell(&n).await;
    n.deletes.cancel("t", &id, false).await.unwrap();
    n.tell(&m).await;
    n.tell(&m).await;
    assert!(!m.hides() && m.deletes.list("t").is_empty());
    assert!(matches!(m.deletes.mark_processed("t", &id).await, Err(DeleteError::Unknown)));
    let again = m.deletes.create("t", QUERY, 0, 9).await.unwrap();
    assert!(again != id && m.hides());
    m.clock.0.store(KEPT_FOR + 1, Ordering::Relaxed);
    m.deletes.cancel("t", &again, true).await.unwrap();
    assert!(m.deletes.find("t", &id).is_none(), "it is forgotten after a while");
}

#[tokio::test]
async fn what_a_member_has_carried_out_cannot_be_taken_back() {
    let [m, n] = two().await;
    let id = m.deletes.create("t", QUERY, 0, 9).await.unwrap();
    m.deletes.mark_processed("t", &id).await.unwrap();
    m.tell(&n).await;
    assert!(matches!(n.deletes.cancel("t", &id, true).await, Err(DeleteError::Processed)));
}

#[tokio::test]
async fn a_request_that_cannot_be_understood_does_not_keep_others_away() {
    let [m, n] = two().await;
    m.deletes.create("t", QUERY, 0, 9).await.unwrap();
    let mut theirs = m.deletes.known();
    let mut odd = theirs.values().next().unwrap().clone();
    (odd.id, odd.query) = ("odd".into(), "from the future".into());
    theirs.insert(odd.name(), odd);
    n.deletes.learn(theirs).await.unwrap();
    assert_eq!(n.deletes.known(), m.deletes.known());
}
