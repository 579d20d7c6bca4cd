//! Requests on one member: what others say of them, and how long they count.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use grapevine_storage::index::{Day, TimeRange};
use tempfile::TempDir;

use super::memory::LISTED_FOR;
use super::{DeleteError, Deletes, Status};
use crate::config::Config;
use crate::env::{Env, SystemNet, WallClock};
use crate::exec::Exec;
use crate::housekeeping::retention::Retention;
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
        Bed::with(me, &[]).await
    }

    async fn with(me: Option<&str>, flags: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock::default());
        let config =
            Config::load("", [], flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
                .unwrap();
        let env = Env {
            clock: clock.clone(),
            net: Arc::new(SystemNet),
            exec: Exec::inline(),
            data_dir: dir.path().to_owned(),
            seed: 1,
        };
        let limits = Arc::new(config.tenant_limits());
        let retention = Arc::new(Retention::new(&limits).unwrap());
        let deletes = Deletes::open(env, limits, retention, me).await.unwrap();
        Bed { deletes, clock, _dir: dir }
    }

    fn set_time(&self, now: i64) {
        self.clock.0.store(now, Ordering::Relaxed);
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
    let asked = m.deletes.known();
    n.deletes.cancel("t", &id, false).await.unwrap();
    n.tell(&m).await;
    n.tell(&m).await;
    assert!(!m.hides() && m.deletes.list("t").is_empty());
    assert!(matches!(m.deletes.mark_processed("t", &id).await, Err(DeleteError::Unknown)));
    let again = m.deletes.create("t", QUERY, 0, 9).await.unwrap();
    assert!(again != id && m.hides());
    for bed in [&m, &n] {
        bed.set_time(LISTED_FOR + 1);
    }
    m.deletes.cancel("t", &again, true).await.unwrap();
    // Who was away as long as this has never heard of it.
    n.deletes.learn(asked).await.unwrap();
    n.tell(&m).await;
    m.tell(&n).await;
    assert!([&m, &n].iter().all(|bed| bed.deletes.find("t", &id).unwrap().is_cancelled()));
}

#[tokio::test]
async fn who_was_away_however_long_has_to_carry_out_what_the_others_have() {
    let [m, n] = two().await;
    let id = m.deletes.create("t", QUERY, 0, 9).await.unwrap();
    m.deletes.set_members(["m".to_owned()].into()).await.unwrap();
    m.deletes.mark_processed("t", &id).await.unwrap();
    assert!(
        m.deletes.concern("t", Day(0)) && !m.deletes.concern("t", Day(1)) && !m.deletes.concern("u", Day(0))
    );
    for bed in [&m, &n] {
        bed.set_time(400 * 86_400_000_000_000);
    }
    assert!(!m.hides() && m.deletes.list("t").is_empty(), "it is over, and listed no more");
    m.deletes.create("t", QUERY, 0, 8).await.unwrap();
    m.deletes.set_members(["m".to_owned(), "n".to_owned()].into()).await.unwrap();
    m.tell(&n).await;
    for bed in [&m, &n] {
        let due = bed.deletes.due();
        assert!(due.iter().any(|request| request.id == id), "{due:?}");
        assert!(bed.deletes.list("t").iter().any(|request| request.id == id), "and it is listed again");
    }
}

#[tokio::test]
async fn where_lines_expire_a_request_is_forgotten_after_them() {
    let bed = Bed::with(Some("m"), &[("limits.retention_period", "40d")]).await;
    let id = bed.deletes.create("t", QUERY, 0, 9).await.unwrap();
    bed.deletes.mark_processed("t", &id).await.unwrap();
    for (day, is_kept) in [(40, true), (42, false)] {
        bed.set_time(day * 86_400_000_000_000);
        bed.deletes.create("t", QUERY, 0, day).await.unwrap();
        assert_eq!(bed.deletes.find("t", &id).is_some(), is_kept, "day {day}");
    }
}

#[tokio::test]
async fn who_began_with_nothing_need_not_carry_out_what_was_over_by_then() {
    let [m, n] = two().await;
    let over = m.deletes.create("t", QUERY, 0, 9).await.unwrap();
    m.deletes.mark_processed("t", &over).await.unwrap();
    m.tell(&n).await;
    n.deletes.mark_processed("t", &over).await.unwrap();
    n.tell(&m).await;
    let late = covered::MEMORY.as_nanos() as i64;
    m.set_time(late);
    let pending = m.deletes.create("t", QUERY, 0, 8).await.unwrap();
    let three: std::collections::BTreeSet<_> = ["m", "n", "o"].map(str::to_owned).into();
    for (began, takes_over) in [(late - 1, false), (late, true)] {
        let o = Bed::new(Some("o")).await;
        o.set_time(began);
        o.deletes.begin_empty();
        o.set_time(late + 5);
        // In any order: it may hear of requests before it knows who is there.
        m.tell(&o).await;
        o.deletes.set_members(three.clone()).await.unwrap();
        let is_done = |id| o.deletes.is_done_here(&o.deletes.find("t", id).unwrap());
        assert_eq!((is_done(&over), is_done(&pending)), (takes_over, false));
        if takes_over {
            o.tell(&m).await;
            m.deletes.set_members(three.clone()).await.unwrap();
            let due: Vec<String> = m.deletes.due().into_iter().map(|request| request.id).collect();
            assert!(!due.contains(&over), "nobody looks for it anew");
        }
    }
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
