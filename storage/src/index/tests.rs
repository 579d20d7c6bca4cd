//! The index as its users see it: against an oracle that looks at every stream, and through its whole life.

use std::collections::BTreeSet;

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert_eq, prop_oneof, proptest};
use tempfile::TempDir;

use super::{
    BlockRecord, ChunkRecord, Day, Extent, FlushMark, Index, IndexError, IndexOptions, Matcher, NewPack,
    NewStream, PackId, PackRecord, PackState, SetAside, Test, TimeRange,
};
use crate::entry::Digest;
use crate::stream::{Labels, StreamId};
use crate::wal::{Mark, Sequence, WalId};

pub(super) const DAY: Day = Day(20_780);
pub(super) const OPTIONS: IndexOptions = IndexOptions { map_bytes: 1 << 20 };
const NO_LIMIT: usize = usize::MAX;

pub(super) fn index() -> (TempDir, Index) {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(dir.path(), OPTIONS).unwrap();
    (dir, index)
}

/// Nanoseconds from the start of the day.
fn at(offset: i64) -> i64 {
    DAY.timestamps().start() + offset
}

fn chunk(pack: u128, number: u32, first: i64, last: i64) -> ChunkRecord {
    ChunkRecord {
        pack: PackId(pack),
        number,
        first_ts: at(first),
        last_ts: at(last),
        text: Extent { offset: u64::from(number) * 100, length: 100 },
        blocks: vec![BlockRecord {
            member_bytes: 100,
            text_bytes: 300,
            column_bytes: 9,
            entries: 3,
            first_ts: at(first),
            last_ts: at(last),
        }],
        columns: Extent::default(),
        filter: Extent::default(),
        digest: Digest { count: 3, xor: 1 },
        text_bytes: 400,
    }
}

/// A pack of one chunk per stream, each from `first` to `last`.
pub(super) fn pack(id: u128, tenant: &str, streams: &[Labels], first: i64, last: i64) -> NewPack {
    let stream = |(number, labels): (u32, &Labels)| NewStream {
        id: StreamId::of(tenant, labels),
        labels: labels.clone(),
        chunks: vec![chunk(id, number, first, last)],
    };
    let record = PackRecord {
        tenant: tenant.to_owned(),
        object_key: format!("{tenant}/{DAY}/{id}.gz"),
        bytes: 1000,
        state: PackState::Spooled,
        areas: [Extent::default(); 3],
        chunks: streams.len() as u32,
        entries: 3,
        text_bytes: 400,
        first_ts: at(first),
        last_ts: at(last),
        arrival: 0,
    };
    NewPack {
        id: PackId(id),
        record,
        streams: (0..).zip(streams).map(stream).collect(),
        marks: Vec::new(),
        covers: (0, Vec::new()),
        within: None,
    }
}

pub(super) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied())
}

fn selected(index: &Index, tenant: &str, matchers: &[Matcher]) -> Vec<Labels> {
    let day = index.day(DAY).unwrap().unwrap();
    let streams = day.read(|day| day.select(tenant, matchers, TimeRange::ALL, NO_LIMIT)).unwrap();
    streams.into_iter().map(|stream| stream.labels).collect()
}

fn label_sets() -> impl Strategy<Value = BTreeSet<Labels>> {
    let long = "long".repeat(100);
    let value = prop_oneof![
        Just("a".to_owned()),
        Just("ab".to_owned()),
        Just("b\u{0}ü".to_owned()),
        Just(format!("{long}1")),
        Just(format!("{long}2")),
    ];
    let name = prop_oneof![Just("n".to_owned()), Just("nn".to_owned()), Just("m".repeat(300))];
    vec(btree_map(name, value, 0..4).prop_map(Labels::new), 0..40).prop_map(|sets| sets.into_iter().collect())
}

fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let name = prop_oneof![Just("n".to_owned()), Just("nn".to_owned()), Just("m".repeat(300))];
    let text = prop_oneof![
        Just("a".to_owned()),
        Just("ab".to_owned()),
        Just(String::new()),
        Just("long".repeat(100) + "1")
    ];
    let regex = prop_oneof![Just("a.*"), Just(".*"), Just(".+"), Just("b.ü|ab"), Just("(long)+2"), Just("")];
    let regex = regex.prop_map(|text| Matcher::anchored(text).unwrap());
    let test = prop_oneof![
        text.clone().prop_map(Test::Equal),
        text.prop_map(Test::NotEqual),
        regex.clone().prop_map(Test::Regex),
        regex.prop_map(Test::NotRegex),
    ];
    vec((name, test).prop_map(|(name, test)| Matcher { name, test }), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn selection_agrees_with_a_look_at_every_stream(sets in label_sets(), matchers in matchers()) {
        let (_dir, index) = index();
        let day = index.day_or_create(DAY).unwrap();
        let sets: Vec<_> = sets.into_iter().collect();
        day.add_pack(&pack(1, "t", &sets, 0, 9)).unwrap();
        day.add_pack(&pack(2, "other", &sets, 0, 9)).unwrap();
        let fits = |set: &&Labels| {
            matchers.iter().all(|matcher| matcher.matches(set.get(&matcher.name).unwrap_or_default()))
        };
        let expected: Vec<_> = sets.iter().filter(fits).cloned().collect();
        let found: BTreeSet<_> = selected(&index, "t", &matchers).into_iter().collect();
        prop_assert_eq!(&found, &expected.iter().cloned().collect());

        let names: BTreeSet<_> = expected.iter().flat_map(Labels::iter).map(|(name, _)| name.to_owned()).collect();
        let found = day.read(|day| day.label_names("t", &matchers, TimeRange::ALL, NO_LIMIT)).unwrap();
        prop_assert_eq!(found, names);
        for name in ["n", "nn", &"m".repeat(300)] {
            let values: BTreeSet<_> = expected.iter().filter_map(|set| set.get(name)).map(str::to_owned).collect();
            let found = day.read(|day| day.label_values("t", name, &matchers, TimeRange::ALL, NO_LIMIT)).unwrap();
            prop_assert_eq!(found, values);
        }
    }
}

#[test]
fn many_streams_are_narrowed_by_every_kind_of_condition() {
    let (_dir, index) = index();
    let set = |n: u32| labels(&[("all", "x"), ("half", &(n % 2).to_string()), ("n", &n.to_string())]);
    let sets: Vec<_> = (0..3000).map(set).collect();
    index.day_or_create(DAY).unwrap().add_pack(&pack(1, "t", &sets, 0, 9)).unwrap();
    let regex =
        |name: &str, text| Matcher { name: name.into(), test: Test::Regex(Matcher::anchored(text).unwrap()) };
    let not = |name: &str, text: &str| Matcher { name: name.into(), test: Test::NotEqual(text.into()) };
    let table: [(&[Matcher], usize); 8] = [
        (&[], 3000),
        (&[Matcher::equal("all", "x")], 3000),
        (&[Matcher::equal("all", "x"), Matcher::equal("half", "1")], 1500),
        (&[Matcher::equal("all", "x"), Matcher::equal("n", "17")], 1),
        (&[Matcher::equal("all", "x"), regex("n", "1[0-9]{3}")], 1000),
        (&[regex("n", "1.*"), regex("half", "0|2")], 555),
        (&[Matcher::equal("half", "0"), not("n", "4")], 1499),
        (&[Matcher::equal("all", "y")], 0),
    ];
    for (matchers, expected) in table {
        assert_eq!(selected(&index, "t", matchers).len(), expected, "{matchers:?}");
    }
}

#[test]
fn answers_larger_than_the_limit_are_refused() {
    let (_dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let sets = ["1", "2", "3"].map(|n| labels(&[("a", n), (n, "b")]));
    day.add_pack(&pack(1, "t", &sets, 0, 9)).unwrap();
    let b = [Matcher::equal("a", "2")];
    day.read(|day| {
        assert_eq!(day.select("t", &[], TimeRange::ALL, 3)?.len(), 3);
        for refused in [
            day.select("t", &[], TimeRange::ALL, 2).map(|_| ()),
            day.label_names("t", &[], TimeRange::ALL, 3).map(|_| ()),
            day.label_names("t", &b, TimeRange::ALL, 1).map(|_| ()),
            day.label_values("t", "a", &[], TimeRange::ALL, 2).map(|_| ()),
        ] {
            assert!(matches!(refused, Err(IndexError::TooMany { .. })));
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn streams_are_selected_by_the_span_of_their_chunks() {
    let (_dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let sets = [labels(&[("a", "1")])];
    day.add_pack(&pack(1, "t", &sets, 100, 200)).unwrap();
    day.add_pack(&pack(2, "t", &sets, 50, 60)).unwrap();
    for (first, last, found) in [(0, 49, 0), (0, 50, 1), (70, 80, 1), (200, 300, 1), (201, 300, 0)] {
        let range = TimeRange { first: at(first), last: at(last) };
        assert_eq!(day.read(|day| day.select("t", &[], range, NO_LIMIT)).unwrap().len(), found);
    }
}

#[test]
fn pack_and_its_marks_come_and_go_as_a_whole() {
    let (_dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let sets = [labels(&[("a", "1")]), labels(&[("a", "2")])];
    let ids = sets.each_ref().map(|set| StreamId::of("t", set));
    let mut first = pack(1, "t", &sets, 0, 9);
    let through = Mark { sequence: Sequence(7), entries: 1 };
    first.marks = vec![FlushMark { wal_id: WalId(3), stream: ids[0], through }];
    day.add_pack(&first).unwrap();
    day.add_pack(&first).unwrap();
    day.add_pack(&pack(2, "t", &sets[..1], 5, 9)).unwrap();
    let chunks = |stream| day.read(|day| day.chunks_of("t", stream, TimeRange::ALL)).unwrap();
    assert_eq!(chunks(ids[0]).iter().map(|chunk| chunk.pack.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(chunks(ids[1]), [chunk(1, 1, 0, 9)]);
    assert_eq!(day.read(|day| day.flushed(WalId(3), "t", ids[0])).unwrap(), through);

    assert_eq!(day.remove_packs(&[PackId(1), PackId(9)], 7).unwrap(), 1);
    assert_eq!(chunks(ids[0]), [chunk(2, 0, 5, 9)]);
    assert_eq!(selected(&index, "t", &[]), sets[..1], "a stream without chunks goes");
    assert_eq!(selected(&index, "t", &[Matcher::equal("a", "2")]), []);
    let values = day.read(|day| day.label_values("t", "a", &[], TimeRange::ALL, NO_LIMIT)).unwrap();
    assert_eq!(values, BTreeSet::from(["1".to_owned()]), "and so do its postings");
    assert_eq!(day.read(|day| day.flushed(WalId(3), "t", ids[0])).unwrap(), through, "marks stay");
}

#[test]
fn merged_pack_takes_the_place_of_its_parts_at_once() {
    let (_dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let sets = [labels(&[("a", "1")]), labels(&[("a", "2")])];
    day.add_pack(&pack(1, "t", &sets[..1], 0, 4)).unwrap();
    day.add_pack(&pack(2, "t", &sets, 5, 9)).unwrap();
    day.replace_packs(&[PackId(1), PackId(2)], &pack(3, "t", &sets, 0, 9), 7).unwrap();
    day.read(|day| {
        assert_eq!(day.packs()?.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [3]);
        assert_eq!(day.select("t", &[], TimeRange::ALL, NO_LIMIT)?.len(), 2);
        assert_eq!(day.chunks_of("t", StreamId::of("t", &sets[0]), TimeRange::ALL)?.len(), 1);
        day.check()
    })
    .unwrap();
}

#[test]
fn packs_are_numbered_as_they_come_and_a_merged_one_takes_the_first_place() {
    let (_dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let of = |id| pack(id, "t", &[labels(&[("a", "1")])], 0, 9);
    for id in [30, 10, 20] {
        day.add_pack(&of(id)).unwrap();
    }
    let arrivals = || -> Vec<(u128, u64)> {
        let packs = day.read(|day| day.packs()).unwrap();
        packs.iter().map(|(id, record)| (id.0, record.arrival)).collect()
    };
    assert_eq!(arrivals(), [(10, 2), (20, 3), (30, 1)]);
    day.replace_packs(&[PackId(10), PackId(20)], &of(5), 0).unwrap();
    assert_eq!(arrivals(), [(5, 2), (30, 1)]);
}

#[test]
fn shipped_pack_stays_shipped_when_it_is_added_again() {
    let (_dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let pack = pack(1, "t", &[labels(&[("a", "1")])], 0, 9);
    day.add_pack(&pack).unwrap();
    assert!(day.mark_shipped(PackId(1)).unwrap());
    assert!(!day.mark_shipped(PackId(2)).unwrap());
    day.add_pack(&pack).unwrap();
    let record = day.read(|day| day.pack(PackId(1))).unwrap().unwrap();
    assert_eq!(record, PackRecord { state: PackState::Shipped, arrival: 1, ..pack.record });
}

#[test]
fn pack_that_contradicts_itself_is_refused_whole() {
    let (_dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let sets = [labels(&[("a", "1")]), labels(&[("a", "2")])];
    let damages: [fn(&mut NewPack); 6] = [
        |pack| pack.streams[1].chunks[0].first_ts = *DAY.timestamps().start() - 1,
        |pack| pack.streams[1].chunks[0].last_ts = DAY.timestamps().end() + 1,
        |pack| pack.streams[1].chunks[0].first_ts = pack.streams[1].chunks[0].last_ts + 1,
        |pack| pack.streams[1].chunks[0].pack = PackId(2),
        |pack| pack.streams[1].chunks.clear(),
        |pack| pack.streams[1].id = StreamId(1),
    ];
    for damage in damages {
        let mut pack = pack(1, "t", &sets, 0, 9);
        damage(&mut pack);
        assert!(matches!(day.add_pack(&pack), Err(IndexError::Invalid { .. })));
    }
    let too_long = "t".repeat(151);
    assert!(matches!(day.add_pack(&pack(1, &too_long, &sets, 0, 9)), Err(IndexError::TooLarge { .. })));
    assert_eq!(day.read(|day| day.stream_count()).unwrap(), 0);
}

#[test]
fn index_is_found_again_after_a_restart() {
    let (dir, index) = index();
    let sets = [labels(&[("a", "1")])];
    let held = index.day_or_create(DAY).unwrap();
    held.add_pack(&pack(1, "t", &sets, 0, 9)).unwrap();
    drop(index);
    assert!(matches!(held.read(|_| Ok(())), Err(IndexError::Closed)));
    let index = Index::open(dir.path(), OPTIONS).unwrap();
    assert_eq!(index.days().unwrap(), [DAY]);
    assert_eq!(selected(&index, "t", &[]), sets);
    assert_eq!(index.take_set_aside(), []);
}

#[test]
fn dropped_day_is_gone_and_can_begin_anew() {
    let (dir, index) = index();
    let held = index.day_or_create(DAY).unwrap();
    held.add_pack(&pack(1, "t", &[labels(&[("a", "1")])], 0, 9)).unwrap();
    assert!(index.drop_day(DAY).unwrap());
    assert!(!index.drop_day(DAY).unwrap());
    assert!(matches!(held.read(|_| Ok(())), Err(IndexError::Closed)));
    assert!(index.day(DAY).unwrap().is_none());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(index.day_or_create(DAY).unwrap().read(|day| day.stream_count()).unwrap(), 0);
}

#[test]
fn drop_that_a_crash_interrupted_is_finished_at_the_next_start() {
    let (dir, index) = index();
    drop(index);
    let leftover = dir.path().join(format!("{DAY}.dropped"));
    std::fs::create_dir(&leftover).unwrap();
    std::fs::write(leftover.join("data.mdb"), "x").unwrap();
    let index = Index::open(dir.path(), OPTIONS).unwrap();
    assert!(!leftover.exists());
    assert_eq!(index.days().unwrap(), []);
}

#[test]
fn corrupt_day_is_set_aside_reported_and_rebuilt() {
    let (dir, index) = index();
    let sets = [labels(&[("a", "1")])];
    let packs = [pack(1, "t", &sets, 0, 4), pack(2, "t", &sets, 5, 9)];
    packs.iter().for_each(|pack| index.day_or_create(DAY).unwrap().add_pack(pack).unwrap());
    drop(index);
    let file = dir.path().join(DAY.to_string()).join("data.mdb");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();

    let index = Index::open(dir.path(), OPTIONS).unwrap();
    let day = index.day(DAY).unwrap().unwrap();
    let reports = index.take_set_aside();
    let remains = dir.path().join(format!("{DAY}.corrupt-1"));
    assert!(matches!(&reports[..], [SetAside { day: DAY, moved_to: Some(to), .. }] if *to == remains));
    assert!(remains.join("data.mdb").exists());
    assert!(day.is_incomplete().unwrap());
    assert_eq!(index.days().unwrap(), [DAY], "what was set aside is no day");

    let failing = packs[..1].iter().cloned().map(Ok).chain([Err(IndexError::Closed)]);
    index.rebuild(DAY, failing).unwrap_err();
    assert!(index.day(DAY).unwrap().unwrap().is_incomplete().unwrap());
    let rebuilt = index.rebuild(DAY, packs.iter().cloned().map(Ok::<_, IndexError>)).unwrap();
    assert_eq!((rebuilt.packs, rebuilt.chunks), (2, 2));
    let day = index.day(DAY).unwrap().unwrap();
    assert!(!day.is_incomplete().unwrap());
    assert_eq!(day.read(|day| day.packs()).unwrap().len(), 2);
}

#[test]
fn remains_of_corrupt_days_do_not_pile_up() {
    let (dir, index) = index();
    for _ in 0..5 {
        index.day_or_create(DAY).unwrap();
        index.set_aside(DAY, "found unreadable".into()).unwrap();
    }
    assert_eq!(index.take_set_aside().len(), 5);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1 + 3);
    assert!(index.day(DAY).unwrap().unwrap().is_incomplete().unwrap());
}

#[test]
fn a_day_that_was_not_made_whole_is_made_anew_and_never_taken_for_a_corrupt_one() {
    let (dir, index) = index();
    let new = dir.path().join(format!("{DAY}.new"));
    let leave_short = || {
        std::fs::create_dir_all(&new).unwrap();
        std::fs::write(new.join("data.mdb"), [0; 100]).unwrap();
    };
    leave_short();
    assert_eq!(index.days().unwrap(), []);
    assert!(!index.day_or_create(DAY).unwrap().is_incomplete().unwrap());
    assert!(!new.exists());
    leave_short();
    drop(index);
    let index = Index::open(dir.path(), OPTIONS).unwrap();
    assert!(!new.exists());
    assert!(index.take_set_aside().is_empty());
}

#[test]
fn day_of_another_schema_is_set_aside_not_misread() {
    let (dir, index) = index();
    index.day_or_create(DAY).unwrap();
    drop(index);
    let env = super::env::Env::open(&dir.path().join(DAY.to_string()), 1 << 20).unwrap();
    env.write(|tables, txn| Ok(tables.meta.put(txn, b"schema", &[9])?)).unwrap();
    env.close();
    let index = Index::open(dir.path(), OPTIONS).unwrap();
    index.day(DAY).unwrap();
    assert_eq!(index.take_set_aside().len(), 1);
}

#[test]
fn objects_of_packs_that_went_are_remembered_until_they_are_deleted_or_come_again() {
    let (dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let sets = [labels(&[("n", "a")])];
    let packs = [1, 2, 3].map(|id| pack(id, "t", &sets, 0, 9));
    day.add_pack(&packs[0]).unwrap();
    day.add_pack(&packs[1]).unwrap();
    day.replace_packs(&[PackId(1)], &packs[2], 70).unwrap();
    day.remove_packs(&[PackId(2)], 80).unwrap();
    let [first, second, _] = packs.each_ref().map(|pack| pack.record.object_key.clone());
    drop(index);

    let index = Index::open(dir.path(), OPTIONS).unwrap();
    let day = index.day(DAY).unwrap().unwrap();
    assert_eq!(day.given_up().unwrap(), [(first.clone(), 70), (second.clone(), 80)]);
    day.add_pack(&packs[0]).unwrap();
    assert_eq!(day.given_up().unwrap(), [(second.clone(), 80)]);
    day.forget_given_up(&[second]).unwrap();
    assert_eq!(day.given_up().unwrap(), []);
}

#[test]
fn a_hidden_stream_is_not_found_and_its_pack_knows_what_is_left_of_it() {
    let (_dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let sets = [labels(&[("n", "a")]), labels(&[("n", "b")])];
    day.add_pack(&pack(1, "t", &sets, 0, 9)).unwrap();
    let ids = sets.each_ref().map(|labels| StreamId::of("t", labels));
    assert_eq!(day.hide_streams("t", &[ids[0], StreamId(5)]).unwrap(), 1);
    assert_eq!(selected(&index, "t", &[]), [sets[1].clone()]);
    let contents = |id| day.read(|day| day.contents(PackId(id))).unwrap();
    assert_eq!((contents(1), contents(9)), (vec![(ids[1], 100)], vec![]));
    day.hide_streams("t", &[ids[1]]).unwrap();
    assert_eq!(selected(&index, "t", &[]), []);
    assert!(day.read(|day| day.pack(PackId(1))).unwrap().is_some());
}

#[test]
fn packs_that_were_replaced_or_removed_are_remembered_until_they_are_added_again() {
    let (_dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let labels = [Labels::new([("a", "b")])];
    let packs = [1, 2, 3].map(|id| pack(id, "t", &labels, 10, 20));
    day.add_pack(&packs[0]).unwrap();
    day.replace_packs(&[PackId(1), PackId(9)], &packs[1], 5).unwrap();
    assert_eq!(day.gone().unwrap(), [(PackId(1), Some(PackId(2))), (PackId(9), Some(PackId(2)))]);
    day.remove_packs(&[PackId(2)], 6).unwrap();
    day.set_gone(&[PackId(7)], Some(PackId(3)), 7).unwrap();
    day.add_pack(&packs[0]).unwrap();
    let expected = [(PackId(2), None), (PackId(7), Some(PackId(3))), (PackId(9), Some(PackId(2)))];
    assert_eq!(day.gone().unwrap(), expected);
    let given_up = |keys: &[(&str, i64)]| {
        let known = day.given_up().unwrap();
        let known: Vec<(&str, i64)> = known.iter().map(|(key, at)| (key.as_str(), *at)).collect();
        keys.iter().all(|key| known.contains(key))
    };
    day.give_up_objects(&["x".to_owned()], 9).unwrap();
    assert!(given_up(&[("x", 9), (&packs[1].record.object_key, 6)]));
    let [.., last] = packs;
    day.add_pack(&last).unwrap();
    day.set_gone(&[PackId(3)], None, 8).unwrap();
    let left: Vec<PackId> = day.read(|day| day.packs()).unwrap().into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [PackId(1)]);
}

#[test]
fn a_day_says_for_which_tokens_it_has_all_that_its_packs_hold() {
    let (_dir, index) = index();
    let day = index.day_or_create(DAY).unwrap();
    let [a, b] = [labels(&[("n", "a")]), labels(&[("n", "b")])];
    let token = |labels: &Labels| StreamId::of("t", labels).token();
    let (low, high) = (token(&a).min(token(&b)), token(&a).max(token(&b)));
    day.add_pack(&pack(1, "t", std::slice::from_ref(&a), 0, 10)).unwrap();
    assert_eq!(day.reach().unwrap(), None, "nothing was left out");
    let mut part = pack(2, "t", &[a.clone(), b.clone()], 0, 10);
    part.keep_within(vec![(0, low)]);
    day.add_pack(&part).unwrap();
    assert_eq!(part.streams.len(), 1);
    assert_eq!(day.reach().unwrap(), Some(vec![(0, low)]));
    let mut other = pack(3, "t", &[a.clone(), b.clone()], 0, 10);
    other.keep_within(vec![(low, high)]);
    assert_eq!(other.streams.len(), 2);
    day.add_pack(&other).unwrap();
    assert_eq!(day.reach().unwrap(), Some(vec![(0, low)]), "nothing was left out");
    let mut third = pack(3, "t", &[a, b], 0, 10);
    third.keep_within(vec![(low, high - 1)]);
    day.add_pack(&third).unwrap();
    assert_eq!(day.reach().unwrap(), Some(vec![(low, low)]), "what all were kept for");

    let all = [(0, u64::MAX)];
    let seen = [PackId(1), PackId(2)].into();
    assert_eq!(day.widen(&all, &seen).unwrap(), [PackId(3)]);
    assert_eq!(day.reach().unwrap(), Some(vec![(low, low)]), "a pack was not looked at");
    day.add_streams(&pack(9, "t", &[labels(&[("n", "c")])], 0, 10)).unwrap();
    assert_eq!(selected(&index, "t", &[]).len(), 2, "a pack that is not known was added");
    assert_eq!(day.widen(&all, &[1, 2, 3].map(PackId).into()).unwrap(), []);
    assert_eq!(day.reach().unwrap(), Some(all.to_vec()));
}
