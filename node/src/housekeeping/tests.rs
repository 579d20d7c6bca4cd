//! Housekeeping on a whole node with real files: what is pushed, packed, lost, merged, deleted and expired.

mod erase;
mod others;
mod restored;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use grapevine_storage::index::{Day, TimeRange};
use tempfile::TempDir;

use super::Housekeeper;
use crate::config::Config;
use crate::disk::Rung;
use crate::distributor::PushHeaders;
use crate::env::{Env, SystemNet, WallClock};
use crate::exec::Exec;
use crate::ingester::Loops;
use crate::node::{Node, open_store};
use crate::push::request::Endpoint;
use crate::querier::lacks::incomplete_days;
use crate::querier::select::select;
use crate::querier::share::Share;

const DAY: Day = Day(20_000);
const HOUR_NS: i64 = 3_600_000_000_000;

#[derive(Debug)]
struct SetClock(AtomicI64);

impl WallClock for SetClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

struct Bed {
    dir: TempDir,
    clock: Arc<SetClock>,
    node: Arc<Node>,
    working: tokio::task::JoinHandle<()>,
}

async fn node_in(dir: &Path, clock: &Arc<SetClock>, flags: &[(&str, &str)]) -> (Arc<Node>, Loops) {
    let data_dir = dir.display().to_string();
    let flags = flags.iter().copied().chain([("data_dir", data_dir.as_str())]);
    let flags = flags.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config = Config::load("", [], flags).unwrap();
    let env = Env {
        clock: clock.clone(),
        net: Arc::new(SystemNet),
        exec: Exec::inline(),
        data_dir: dir.to_owned(),
        seed: 1,
    };
    let store = open_store(&config, 1, |_| None).unwrap();
    Node::open(env, config, store).await.unwrap()
}

impl Bed {
    async fn new(flags: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(SetClock(AtomicI64::new(at(DAY, 12))));
        let (node, loops) = node_in(dir.path(), &clock, flags).await;
        Bed { dir, clock, node, working: tokio::spawn(loops.run()) }
    }

    /// Stops the node as a power cut would, and starts it again over the same folder.
    async fn restart(self) -> Self {
        let Bed { dir, clock, node, working } = self;
        working.abort();
        let _ = working.await;
        drop(node);
        let (node, loops) = node_in(dir.path(), &clock, &[]).await;
        Bed { dir, clock, node, working: tokio::spawn(loops.run()) }
    }

    fn keeper(&self) -> &Housekeeper {
        &self.node.housekeeper
    }

    fn set_time(&self, day: Day, hour: i64) {
        self.clock.0.store(at(day, hour), Ordering::Relaxed);
    }

    /// Pushes one line for each app at the present hour, and packs them.
    async fn push(&self, apps: &[&str], line: &str) {
        self.append(apps, line).await;
        self.node.ingester.flush_all().await.unwrap();
    }

    /// Pushes one line for each app at the present hour.
    async fn append(&self, apps: &[&str], line: &str) {
        let now = self.clock.now();
        let stream =
            |app: &&str| format!(r#"{{"stream":{{"app":"{app}"}},"values":[["{now}","{line} of {app}"]]}}"#);
        let streams: Vec<String> = apps.iter().map(stream).collect();
        let body = format!(r#"{{"streams":[{}]}}"#, streams.join(","));
        let headers = PushHeaders { content_type: Some("application/json".into()), ..PushHeaders::default() };
        self.node.distributor.push(Endpoint::Loki, "fake".into(), headers, body.into()).await.unwrap();
    }

    /// The apps whose streams a query finds, and how many chunks they have.
    fn found(&self) -> Vec<(String, usize)> {
        let heads = self.node.ingester.heads();
        let selection = select(heads, &self.node.index, "fake", &[], TimeRange::ALL, &Share::all()).unwrap();
        let app = |labels: &grapevine_storage::stream::Labels| labels.get("app").unwrap_or("").to_owned();
        let mut found: Vec<_> = selection.values().map(|s| (app(&s.labels), s.packed.len())).collect();
        found.sort();
        found
    }

    fn objects(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.dir.path().join("packs")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }
}

fn at(day: Day, hour: i64) -> i64 {
    day.timestamps().start() + hour * HOUR_NS
}

fn pairs(pairs: &[(&str, usize)]) -> Vec<(String, usize)> {
    pairs.iter().map(|(app, chunks)| ((*app).to_owned(), *chunks)).collect()
}

#[tokio::test]
async fn small_packs_of_a_past_day_become_one_and_the_others_go_after_a_grace() {
    let bed = Bed::new(&[]).await;
    for hour in 1..5 {
        bed.set_time(DAY, hour);
        bed.push(&["a", "b"], &format!("line {hour}")).await;
    }
    assert_eq!((bed.objects().len(), bed.found()), (4, pairs(&[("a", 4), ("b", 4)])));
    bed.set_time(Day(DAY.0 + 1), 12);
    bed.keeper().compact().await.unwrap();
    bed.node.ingester.flush_all().await.unwrap();
    assert_eq!((bed.objects().len(), bed.found()), (5, pairs(&[("a", 1), ("b", 1)])));
    bed.keeper().expire().await.unwrap();
    assert_eq!(bed.objects().len(), 5, "queries that began before may still read them");
    bed.set_time(Day(DAY.0 + 1), 13);
    bed.keeper().expire().await.unwrap();
    assert_eq!((bed.objects().len(), bed.found()), (1, pairs(&[("a", 1), ("b", 1)])));
    bed.keeper().compact().await.unwrap();
    assert_eq!(bed.keeper().reconcile_day(DAY).await.unwrap(), super::rebuild::Found::default());
}

#[tokio::test]
async fn a_merge_that_the_disk_refuses_is_made_once_the_disk_takes_it() {
    let bed = Bed::new(&[]).await;
    for line in ["one", "two"] {
        bed.push(&["a"], line).await;
    }
    bed.set_time(Day(DAY.0 + 1), 12);
    let [spool, elsewhere] = ["spool", "elsewhere"].map(|name| bed.dir.path().join(name));
    std::fs::rename(&spool, &elsewhere).unwrap();
    bed.keeper().compact().await.unwrap_err();
    std::fs::rename(&elsewhere, &spool).unwrap();
    bed.keeper().compact().await.unwrap();
    assert_eq!(bed.found(), pairs(&[("a", 1)]));
}

#[tokio::test]
async fn expired_streams_are_hidden_then_rewritten_and_whole_days_dropped() {
    let rules = r#"[{ selector = '{app=~"short.*"}', priority = 1, period = "1d" }]"#;
    let bed = Bed::new(&[("limits.retention_period", "4d"), ("limits.retention_stream", rules)]).await;
    bed.push(&["long", "short1", "short2", "short3"], "text").await;
    bed.set_time(Day(DAY.0 + 2), 1);
    bed.keeper().expire().await.unwrap();
    assert_eq!(bed.found(), pairs(&[("long", 1)]));
    bed.keeper().compact().await.unwrap();
    bed.node.ingester.flush_all().await.unwrap();
    bed.set_time(Day(DAY.0 + 2), 2);
    bed.keeper().expire().await.unwrap();
    let objects = bed.objects();
    assert_eq!((objects.len(), bed.found()), (1, pairs(&[("long", 1)])));
    let pack = grapevine_storage::pack::PackReader::open(std::fs::File::open(&objects[0]).unwrap()).unwrap();
    assert_eq!(pack.directory().unwrap().streams.len(), 1, "the rewritten pack holds what has not expired");

    bed.set_time(Day(DAY.0 + 5), 1);
    bed.keeper().expire().await.unwrap();
    assert_eq!((bed.objects(), bed.found()), (vec![], vec![]));
    assert_eq!(bed.node.index.days().unwrap(), []);
}

#[tokio::test]
async fn an_index_that_is_gone_is_made_again_from_packs_and_keeps_what_is_flushed_meanwhile() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a", "b"], "one").await;
    bed.node.index.set_aside(DAY, "a test".into()).unwrap();
    assert_eq!(bed.found(), []);
    assert_eq!(incomplete_days(&bed.node.index, TimeRange::ALL).unwrap().len(), 1);
    bed.set_time(DAY, 13);
    bed.push(&["a"], "two").await;
    bed.keeper().mend().await.unwrap();
    assert_eq!(bed.found(), pairs(&[("a", 2), ("b", 1)]));
    assert_eq!(incomplete_days(&bed.node.index, TimeRange::ALL).unwrap(), [""; 0]);

    bed.node.index.drop_day(DAY).unwrap();
    bed.keeper().reconcile().await.unwrap();
    assert_eq!(bed.found(), pairs(&[("a", 2), ("b", 1)]));
    let rebuilt = bed.keeper().rebuild_day(DAY).await.unwrap();
    assert_eq!((rebuilt.added.len(), bed.found()), (2, pairs(&[("a", 2), ("b", 1)])));
}

#[tokio::test]
async fn a_spooled_pack_without_its_day_is_indexed_and_one_that_was_never_indexed_is_removed() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "one").await;
    let object = bed.objects().pop().unwrap();
    let key = object.strip_prefix(bed.dir.path().join("packs")).unwrap().display().to_string();
    let (dir, clock) = (tempfile::tempdir().unwrap(), bed.clock.clone());
    let spooled = dir.path().join("spool").join(key.replace('/', "@"));
    std::fs::create_dir_all(spooled.parent().unwrap()).unwrap();
    std::fs::copy(&object, &spooled).unwrap();
    let (node, loops) = node_in(dir.path(), &clock, &[]).await;
    let second = Bed { dir, clock, node, working: tokio::spawn(loops.run()) };
    second.keeper().mend().await.unwrap();
    assert_eq!(second.found(), pairs(&[("a", 1)]));
    second.node.ingester.flush_all().await.unwrap();
    assert!(!spooled.exists() && second.objects().len() == 1, "a spooled pack is shipped as any other");

    let other = spooled.with_file_name(format!("fake@{DAY}@0000-0000@{:032x}.gz", 5));
    std::fs::copy(&object, &other).unwrap();
    super::rebuild::settle_spool(
        &second.node.index,
        &crate::ingester::spool::Spool::open(other.parent().unwrap()).unwrap(),
    )
    .unwrap();
    assert!(!other.exists());
}

#[tokio::test]
async fn a_pack_that_is_just_being_written_is_left_to_who_writes_it() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "one").await;
    let spool = bed.dir.path().join("spool");
    let object = bed.objects().pop().unwrap();
    let unindexed = spool.join(format!("fake@{DAY}@0000-0000@{:032x}.gz", 5));
    std::fs::copy(&object, &unindexed).unwrap();
    assert_eq!(bed.keeper().reconcile_day(DAY).await.unwrap(), super::rebuild::Found::default());
    assert!(unindexed.exists());
    // Of a day whose index is lost it may be all there is.
    bed.node.index.day(DAY).unwrap().unwrap().set_incomplete(true).unwrap();
    assert_eq!(bed.keeper().reconcile_day(DAY).await.unwrap().added.len(), 1);
}

#[tokio::test]
async fn damaged_objects_are_told_and_the_rest_is_indexed() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "one").await;
    bed.set_time(DAY, 13);
    bed.push(&["b"], "two").await;
    let damaged = bed.objects().remove(0);
    std::fs::write(&damaged, "no pack at all").unwrap();
    let found = bed.keeper().rebuild_day(DAY).await.unwrap();
    assert_eq!((found.added.len(), found.unreadable.len(), bed.found().len()), (1, 1, 1));
    assert_eq!(incomplete_days(&bed.node.index, TimeRange::ALL).unwrap().len(), 1, "answers say so");
    assert!(damaged.ends_with(found.unreadable[0].0.rsplit('/').next().unwrap()));
    bed.keeper().reconcile().await.unwrap();
    assert!(damaged.exists(), "what may be salvaged is not deleted before its time");
    assert!(bed.node.metrics.text().contains("grapevine_chunk_store_orphans 1"));
}

#[tokio::test]
async fn above_its_size_the_oldest_day_is_given_up_and_today_is_not() {
    let bed = Bed::new(&[("disk.size_max", "1B")]).await;
    bed.push(&["a"], "old").await;
    bed.set_time(Day(DAY.0 + 1), 1);
    bed.push(&["b"], "new").await;
    for _ in 0..3 {
        bed.keeper().relieve().await.unwrap();
    }
    assert_eq!((bed.found(), bed.objects().len()), (pairs(&[("b", 1)]), 1));
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_is_written_to_by_neither_merges_nor_shipping() {
    let bed = Bed::new(&[]).await;
    for hour in 1..4 {
        bed.set_time(DAY, hour);
        bed.push(&["a"], "text").await;
    }
    bed.set_time(Day(DAY.0 + 1), 12);
    bed.node.disk.set(Rung::ReadOnly, "full".into());
    bed.keeper().compact().await.unwrap();
    assert_eq!(bed.found(), pairs(&[("a", 3)]), "no merge began");
    bed.node.disk.set(Rung::Free, String::new());
    bed.keeper().compact().await.unwrap();
    bed.node.disk.set(Rung::ReadOnly, "full".into());
    let refused = bed.node.ingester.flush_all().await.unwrap_err();
    assert!(format!("{refused:#}").contains("too full to carry packs"), "{refused:#}");
    assert_eq!(
        (bed.objects().len(), bed.found()),
        (3, pairs(&[("a", 1)])),
        "the merged pack waits in the spool"
    );
    bed.node.disk.set(Rung::Free, String::new());
    bed.node.ingester.flush_all().await.unwrap();
    assert_eq!(bed.objects().len(), 4);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_not_taken_for_an_empty_one() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "one").await;
    bed.node.index.drop_day(DAY).unwrap();
    let [packs, aside] = ["packs", "aside"].map(|name| bed.dir.path().join(name));
    std::fs::rename(&packs, &aside).unwrap();
    // A folder that leads nowhere but to itself cannot be listed.
    std::os::unix::fs::symlink(&packs, &packs).unwrap();
    bed.keeper().prepare().await;
    let warnings = incomplete_days(&bed.node.index, TimeRange::ALL).unwrap();
    assert!(warnings[0].contains("could not be looked through"), "{warnings:?}");
    std::fs::remove_file(&packs).unwrap();
    std::fs::rename(&aside, &packs).unwrap();
    bed.keeper().reconcile().await.unwrap();
    assert_eq!(bed.found(), pairs(&[("a", 1)]));
    assert_eq!(incomplete_days(&bed.node.index, TimeRange::ALL).unwrap(), [""; 0]);
}

#[tokio::test]
async fn days_that_lost_their_index_all_say_so_until_they_are_looked_through() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "one").await;
    bed.set_time(Day(DAY.0 + 1), 12);
    bed.push(&["b"], "two").await;
    for day in [DAY, Day(DAY.0 + 1)] {
        bed.node.index.drop_day(day).unwrap();
    }
    bed.keeper().note_missing_days().await.unwrap();
    assert_eq!(incomplete_days(&bed.node.index, TimeRange::ALL).unwrap().len(), 2);
    bed.keeper().mend().await.unwrap();
    assert_eq!(bed.found(), pairs(&[("a", 1), ("b", 1)]));
    assert_eq!(incomplete_days(&bed.node.index, TimeRange::ALL).unwrap(), [""; 0]);
}

#[tokio::test]
async fn objects_that_are_gone_from_the_store_are_counted_and_those_given_up_are_not() {
    let bed = Bed::new(&[]).await;
    for hour in 1..4 {
        bed.set_time(DAY, hour);
        bed.push(&["a"], "text").await;
    }
    let count = |number| format!("grapevine_chunk_store_missing_packs {number}\n");
    let missing = async || {
        bed.keeper().reconcile().await.unwrap();
        bed.node.metrics.text()
    };
    assert!(missing().await.contains(&count(0)));
    std::fs::remove_file(bed.objects().remove(0)).unwrap();
    let text = missing().await;
    assert!(text.contains(&count(1)), "{text}");
    assert_eq!(bed.found(), pairs(&[("a", 3)]), "answers go on to say what they lack");
    let packs = bed.node.index.day(DAY).unwrap().unwrap().read(|snapshot| snapshot.packs()).unwrap();
    let ids: Vec<_> = packs.into_iter().map(|(id, _)| id).collect();
    bed.node.index.day(DAY).unwrap().unwrap().remove_packs(&ids, 0).unwrap();
    assert!(missing().await.contains(&count(0)));
}

#[tokio::test]
async fn a_pack_that_the_store_has_lost_and_the_spool_still_has_is_shipped_again() {
    let bed = Bed::new(&[]).await;
    bed.push(&["a"], "text").await;
    let object = bed.objects().remove(0);
    let key = object.strip_prefix(bed.dir.path().join("packs")).unwrap().display().to_string();
    std::fs::rename(&object, bed.dir.path().join("spool").join(key.replace('/', "@"))).unwrap();
    bed.keeper().reconcile().await.unwrap();
    assert_eq!(bed.node.metrics.missing_packs.get(), 0);
    bed.node.ingester.flush_all().await.unwrap();
    assert!(object.is_file());
}

#[tokio::test]
async fn an_orphan_goes_after_a_week_although_the_node_is_started_anew_every_day() {
    let mut bed = Bed::new(&[]).await;
    bed.push(&["a"], "text").await;
    let object = bed.objects().remove(0);
    let orphan = object.with_file_name(format!("{:032x}.gz", 5));
    std::fs::write(&orphan, "no pack at all").unwrap();
    for day in 0..=7 {
        bed.set_time(Day(DAY.0 + day), 12);
        bed.keeper().reconcile().await.unwrap();
        assert_eq!(orphan.exists(), day < 7, "day {day}");
        bed = bed.restart().await;
    }
    assert!(object.is_file());
}
