//! A chunk store that is rolled back to before a merge: what the merged pack held is made anew of those it replaced.

use std::path::{Path, PathBuf};

use grapevine_storage::index::TimeRange;

use super::{Bed, DAY, Day, pairs};
use crate::env::WallClock;
use crate::querier::lacks::lacks;
use crate::querier::share::Share;

/// Objects and what is in them.
type Saved = Vec<(PathBuf, Vec<u8>)>;

fn tomorrow() -> Day {
    Day(DAY.0 + 1)
}

fn restore(saved: &[(PathBuf, Vec<u8>)]) {
    saved.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
}

impl Bed {
    fn saved(&self) -> Saved {
        self.objects().into_iter().map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
    }

    async fn merged() -> (Self, Saved) {
        Bed::merged_with(&[]).await
    }

    /// Four packs merged into one, which alone is left; and what there was before.
    async fn merged_with(flags: &[(&str, &str)]) -> (Self, Saved) {
        let bed = Bed::new(flags).await;
        for hour in 1..5 {
            bed.set_time(DAY, hour);
            bed.push(&["a", "b"], &format!("line {hour}")).await;
        }
        let saved = bed.saved();
        bed.set_time(tomorrow(), 12);
        bed.keeper().compact().await.unwrap();
        bed.tidy_up(13).await;
        assert_eq!((saved.len(), bed.objects().len()), (4, 1));
        (bed, saved)
    }

    /// Ships what is to be shipped, and deletes what was given up, at an hour of the next day.
    async fn tidy_up(&self, hour: i64) {
        self.node.ingester.flush_all().await.unwrap();
        self.keeper().expire().await.unwrap();
        self.set_time(tomorrow(), hour);
        self.keeper().expire().await.unwrap();
    }

    fn has(&self, path: &Path) -> bool {
        self.objects().iter().any(|object| object == path)
    }
}

#[tokio::test]
async fn what_a_lost_pack_was_made_of_is_made_into_one_that_takes_its_place() {
    let (bed, saved) = Bed::merged().await;
    std::fs::remove_file(bed.objects().remove(0)).unwrap();
    restore(&saved);
    bed.keeper().reconcile().await.unwrap();
    assert_eq!(bed.node.metrics.missing_packs.get(), 0);
    bed.tidy_up(14).await;
    assert_eq!((bed.objects().len(), bed.found()), (1, pairs(&[("a", 1), ("b", 1)])));
    assert!(saved.iter().all(|(path, _)| !bed.has(path)), "what was restored is given up again");
    bed.keeper().reconcile().await.unwrap();
    assert_eq!(bed.node.metrics.missing_packs.get(), 0, "it is stored");
}

#[tokio::test]
async fn where_only_some_are_back_their_lines_are_and_the_lost_pack_stays_missing() {
    let (bed, saved) = Bed::merged().await;
    std::fs::remove_file(bed.objects().remove(0)).unwrap();
    restore(&saved[..3]);
    for _ in 0..2 {
        bed.keeper().reconcile().await.unwrap();
        assert_eq!(bed.node.metrics.missing_packs.get(), 1);
        assert_eq!(bed.found(), pairs(&[("a", 2), ("b", 2)]), "chunks of the lost pack and of one more");
        bed.tidy_up(14).await;
        assert_eq!(
            bed.objects().len(),
            4,
            "the one more, and those it was made of for when the rest is back"
        );
    }
}

#[tokio::test]
async fn a_pack_whose_parts_come_back_one_after_another_is_missing_until_all_are_there() {
    let (bed, saved) = Bed::merged().await;
    std::fs::remove_file(bed.objects().remove(0)).unwrap();
    bed.keeper().reconcile().await.unwrap();
    for (back, hour) in (0..4).zip(14..) {
        assert_eq!(bed.node.metrics.missing_packs.get(), 1, "{back} of four are back");
        restore(&saved[back..=back]);
        bed.keeper().look_again().await.unwrap();
        bed.tidy_up(hour).await;
    }
    assert_eq!(bed.node.metrics.missing_packs.get(), 0);
    bed.tidy_up(20).await;
    assert_eq!(
        (bed.objects().len(), bed.found()),
        (1, pairs(&[("a", 1), ("b", 1)])),
        "no line is there twice"
    );
    bed.keeper().reconcile().await.unwrap();
    assert_eq!(bed.node.metrics.missing_packs.get(), 0, "it is stored");
}

#[tokio::test]
async fn what_was_made_of_some_may_be_lost_as_well_and_is_made_anew() {
    let (bed, saved) = Bed::merged().await;
    let clear = || bed.objects().into_iter().for_each(|object| std::fs::remove_file(object).unwrap());
    for _ in 0..2 {
        clear();
        restore(&saved[..3]);
        bed.keeper().reconcile().await.unwrap();
        bed.tidy_up(14).await;
        bed.keeper().look_again().await.unwrap();
        assert_eq!((bed.node.metrics.missing_packs.get(), bed.objects().len()), (1, 4));
    }
}

#[tokio::test]
async fn what_has_expired_of_a_lost_pack_need_not_come_back() {
    let rules = r#"[{ selector = '{app="b"}', priority = 1, period = "1d" }]"#;
    let (bed, saved) = Bed::merged_with(&[("limits.retention_stream", rules)]).await;
    std::fs::remove_file(bed.objects().remove(0)).unwrap();
    bed.set_time(Day(DAY.0 + 2), 12);
    bed.keeper().expire().await.unwrap();
    restore(&saved);
    bed.keeper().reconcile().await.unwrap();
    assert_eq!((bed.node.metrics.missing_packs.get(), bed.found()), (0, pairs(&[("a", 1)])));
}

#[tokio::test]
async fn a_pack_that_is_back_is_noticed_within_a_minute_and_named_no_more() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "text").await;
    let day = bed.node.index.day(DAY).unwrap().unwrap();
    let (object, saved) = (bed.objects().remove(0), bed.saved());
    // Another member told of it, and it was nowhere: that it is there again no query finds out.
    let packs = day.read(|snapshot| snapshot.packs()).unwrap();
    let (id, key) = packs.into_iter().map(|(id, record)| (id, record.object_key)).next().unwrap();
    bed.node.index.drop_day(DAY).unwrap();
    std::fs::remove_file(&object).unwrap();
    bed.node.index.day_or_create(DAY).unwrap().note_lost(id, &key).unwrap();
    let named = || lacks(&bed.node.index, &["fake".into()], TimeRange::ALL, &Share::all()).unwrap().len();
    bed.keeper().look_again().await.unwrap();
    assert_eq!((named(), bed.node.metrics.missing_packs.get()), (1, 1));
    restore(&saved);
    bed.keeper().look_again().await.unwrap();
    assert_eq!((named(), bed.node.metrics.missing_packs.get(), bed.found()), (0, 0, pairs(&[("a", 1)])));
}

#[tokio::test]
async fn days_that_lack_nothing_are_not_listed_again() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "text").await;
    bed.keeper().reconcile().await.unwrap();
    // Were it listed, it would be missed.
    std::fs::remove_file(bed.objects().remove(0)).unwrap();
    bed.keeper().look_again().await.unwrap();
    assert_eq!(bed.node.metrics.missing_packs.get(), 0);
}

#[tokio::test]
async fn what_was_deleted_on_request_does_not_come_back_with_packs_from_before() {
    let bed = Bed::new(&[]).await;
    bed.append(&["a"], "secret=0").await;
    for (hour, secret) in [(13, 1), (14, 0)] {
        bed.set_time(DAY, hour);
        bed.push(&["a"], &format!("secret={secret}")).await;
    }
    let saved = bed.saved();
    bed.node.deletes.create("fake", r#"{app="a"} |= "secret=1""#, 0, bed.clock.now()).await.unwrap();
    for hour in [15, 16, 17] {
        bed.set_time(tomorrow(), hour);
        bed.keeper().erase(&bed.node.ingester).await.unwrap();
        bed.keeper().compact().await.unwrap();
        bed.tidy_up(hour).await;
    }
    let known = bed.found();
    assert_eq!((bed.objects().len(), &known), (1, &pairs(&[("a", 1)])), "one pack without the deleted line");
    bed.objects().iter().for_each(|path| std::fs::remove_file(path).unwrap());
    restore(&saved);
    bed.keeper().reconcile().await.unwrap();
    assert_eq!(bed.found(), known, "nothing was taken in");
    assert_eq!(bed.node.metrics.missing_packs.get(), 1);
}

#[tokio::test]
async fn nor_where_only_the_request_tells_that_lines_were_deleted() {
    let (bed, saved) = Bed::merged().await;
    std::fs::remove_file(bed.objects().remove(0)).unwrap();
    // As of one that came when all was over, and knows of it from the others.
    bed.set_time(DAY, 20);
    let id = bed.node.deletes.create("fake", r#"{app="c"}"#, 0, bed.clock.now()).await.unwrap();
    bed.node.deletes.mark_processed("fake", &id).await.unwrap();
    bed.set_time(tomorrow(), 14);
    restore(&saved[..3]);
    bed.keeper().reconcile().await.unwrap();
    bed.tidy_up(15).await;
    assert_eq!((bed.node.metrics.missing_packs.get(), bed.found()), (1, pairs(&[("a", 1), ("b", 1)])));
    restore(&saved);
    bed.keeper().reconcile().await.unwrap();
    assert_eq!(bed.node.metrics.missing_packs.get(), 0, "as much as was lost is the lost one");
}
