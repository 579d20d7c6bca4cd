//! Delete requests carried out on a whole node: the text is gone from every file, the rest is not.

use std::collections::BTreeSet;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::{Bed, DAY, Day, at, pairs};
use crate::deletes::Status;
use crate::env::WallClock;

const SECRETS: &str = r#"{app="a"} | logfmt | secret="1""#;

impl Bed {
    /// What `zcat` of every pack in the chunk store and the spool prints.
    fn text(&self) -> String {
        let mut text = String::new();
        let spool = std::fs::read_dir(self.dir.path().join("spool")).unwrap();
        let spooled = spool.map(|entry| entry.unwrap().path());
        for path in self.objects().into_iter().chain(spooled) {
            MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        }
        text
    }

    async fn request(&self, query: &str) {
        self.node.deletes.create("fake", query, 0, self.clock.now()).await.unwrap();
    }

    fn statuses(&self) -> Vec<Status> {
        let requests = self.node.deletes.list("fake");
        requests.iter().map(|request| self.node.deletes.status(request)).collect()
    }

    /// One turn of the workers that delete, at an hour of a day.
    async fn tidy(&self, day: Day, hour: i64) {
        self.set_time(day, hour);
        self.keeper().expire().await.unwrap();
        self.keeper().erase(&self.node.ingester).await.unwrap();
        self.node.ingester.flush_all().await.unwrap();
    }

    /// Lines of two apps in two packs and in heads, half of them secret.
    async fn with_secrets() -> Self {
        let bed = Bed::new(&[]).await;
        for hour in 1..3 {
            bed.set_time(DAY, hour);
            bed.push(&["a", "b"], &format!("hour={hour} secret=0")).await;
            bed.set_time(DAY, hour + 3);
            bed.push(&["a", "b"], &format!("hour={hour} secret=1")).await;
        }
        bed.set_time(DAY, 8);
        bed.append(&["a", "b"], "hour=8 secret=1").await;
        bed
    }
}

fn tomorrow() -> Day {
    Day(DAY.0 + 1)
}

#[tokio::test]
async fn what_is_deleted_is_gone_from_every_pack_and_the_rest_is_not() {
    let bed = Bed::with_secrets().await;
    bed.request(SECRETS).await;
    bed.tidy(DAY, 20).await;
    assert_eq!(bed.text().matches("secret=1 of a").count(), 3, "it can still be taken back");
    bed.tidy(tomorrow(), 9).await;
    assert_eq!(bed.statuses(), [Status::Received], "the old objects are there for queries that began before");
    bed.tidy(tomorrow(), 10).await;
    assert_eq!(bed.statuses(), [Status::Processed]);
    let text = bed.text();
    let count = |part: &str| text.matches(part).count();
    assert_eq!((count("secret=1 of a"), count("secret=0 of a"), count("of b")), (0, 2, 5), "{text}");
    assert_eq!(bed.found(), pairs(&[("a", 2), ("b", 5)]));
    assert!(bed.node.metrics.text().contains("loki_compactor_delete_requests_processed_total 1\n"));
}

#[tokio::test]
async fn a_deletion_cut_off_goes_on_after_a_restart_and_even_without_an_index() {
    let bed = Bed::with_secrets().await;
    bed.request(SECRETS).await;
    let bed = bed.restart().await;
    bed.tidy(tomorrow(), 9).await;
    let bed = bed.restart().await;
    assert_eq!(bed.statuses(), [Status::Received]);
    // With the index goes the memory of which objects were given up: the old packs are taken in again.
    bed.node.index.set_aside(DAY, "a test".into()).unwrap();
    bed.tidy(tomorrow(), 9).await;
    assert_eq!(
        bed.statuses(),
        [Status::Received],
        "a day that is not whole may lack packs that hold some of it"
    );
    bed.keeper().mend().await.unwrap();
    assert!(bed.text().contains("secret=1 of a"));
    bed.tidy(tomorrow(), 9).await;
    let bed = bed.restart().await;
    bed.tidy(tomorrow(), 10).await;
    bed.tidy(tomorrow(), 11).await;
    assert_eq!(bed.statuses(), [Status::Processed]);
    let text = bed.text();
    let lines: BTreeSet<&str> = text.lines().collect();
    let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
    assert_eq!((count("secret=1 of a"), count("secret=0 of a"), count("of b")), (0, 2, 5), "{text}");
}

#[tokio::test]
async fn a_stream_deleted_whole_leaves_the_index_and_an_empty_pack_is_no_pack() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "one").await;
    bed.set_time(DAY, 13);
    bed.push(&["a", "b"], "two").await;
    bed.set_time(DAY, 14);
    bed.request(r#"{app="a"}"#).await;
    bed.tidy(tomorrow(), 15).await;
    bed.tidy(tomorrow(), 16).await;
    assert_eq!((bed.found(), bed.objects().len()), (pairs(&[("b", 1)]), 1));
    assert_eq!((bed.text().as_str(), bed.statuses()), ("two of b\n", vec![Status::Processed]));
}

#[tokio::test]
async fn a_day_that_no_request_is_about_is_left_alone() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "one").await;
    let before = bed.objects();
    let (start, end) = (at(Day(DAY.0 - 5), 0), at(Day(DAY.0 - 4), 0));
    bed.node.deletes.create("fake", r#"{app="a"}"#, start, end).await.unwrap();
    bed.request(r#"{app="a"} |= "two""#).await;
    bed.tidy(tomorrow(), 13).await;
    assert_eq!((bed.objects(), bed.statuses()), (before, vec![Status::Processed; 2]));
}
