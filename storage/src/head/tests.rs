//! A head, step by step.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::{Appended, BlockExtent, Coverage, Head, Packed, Parcel, Snapshot, Source};
use crate::atom::PushId;
use crate::entry::EntryRef;
use crate::pack::limits::BLOCK_TEXT_BYTES;
use crate::pack::limits::CHUNK_BLOCKS;
use crate::pack::{BlockReader, BlockText, Level, Sealer, TextBuffer};
use crate::stream::{Labels, StreamId};
use crate::wal::{Mark, SegmentNumber, SegmentRef, Sequence, WalId};

const WAL: WalId = WalId(7);

fn head() -> Head {
    let labels = Labels::new([("app", "a")]);
    let id = StreamId::of("t", &labels);
    Head::new("t".into(), labels, id)
}

fn mark(sequence: u64) -> Mark {
    Mark { sequence: Sequence(sequence), entries: 1 }
}

/// Appends an entry; none if the head is retired.
fn append(head: &Head, timestamp: i64, line: &[u8]) -> Option<Appended> {
    let segment = SegmentRef::new(SegmentNumber(timestamp as u64 / 10));
    let now = Duration::from_secs(timestamp as u64);
    let source = Source { wal: WAL, segment: &segment, now, push: None };
    let entry = EntryRef { timestamp, line, metadata: &[] };
    Some(head.appending(source)?.append(&entry, mark(timestamp as u64)))
}

/// Half a block: two of them fill one.
fn half(timestamp: i64) -> Vec<u8> {
    let mut line = vec![b'x'; BLOCK_TEXT_BYTES / 2 - 100];
    line.extend_from_slice(timestamp.to_string().as_bytes());
    line
}

fn timestamps(snapshot: &Snapshot) -> Vec<i64> {
    let mut found = Vec::new();
    let (mut reader, mut text, mut stamps) = (BlockReader::new(), TextBuffer::default(), Vec::new());
    for block in &snapshot.sealed {
        let header = reader.inflate(block.member(), &mut text).unwrap();
        reader.timestamps(&header, &block.column().unwrap(), &mut stamps).unwrap();
        found.extend_from_slice(&stamps);
    }
    snapshot.open.iter().for_each(|block: &BlockText| block.for_each(|entry| found.push(entry.timestamp)));
    found
}

fn all(head: &Head) -> Vec<i64> {
    timestamps(&head.snapshot(i64::MIN, i64::MAX))
}

#[test]
fn every_entry_is_visible_at_every_step() {
    let head = head();
    let mut sealer = Sealer::new(Level::default());
    let mut expected = Vec::new();
    for timestamp in 0..40 {
        assert!(append(&head, timestamp, &half(timestamp)).is_some());
        expected.push(timestamp);
        assert_eq!(all(&head), expected, "open");
        if timestamp % 3 == 0 {
            head.seal_waiting(&mut sealer);
            assert_eq!(all(&head), expected, "sealed");
        }
    }
    head.close_open();
    assert_eq!(all(&head), expected, "closed");
    let counted: u64 = head.extents().iter().flatten().map(|block| block.entries).sum();
    assert_eq!(counted, expected.len() as u64, "counted");
    head.seal_waiting(&mut sealer);
    head.complete_chunk();
    assert_eq!(all(&head), expected, "complete");
    let flushing = head.begin_flush().unwrap();
    assert_eq!(flushing.chunks.len(), 40_usize.div_ceil(2 * CHUNK_BLOCKS));
    assert_eq!(all(&head), expected, "flushing");
    head.end_flush(false);
    assert_eq!(all(&head), expected, "given back");
    assert_eq!(head.begin_flush().unwrap().chunks, flushing.chunks);
    head.end_flush(true);
    assert_eq!(all(&head), [0; 0], "let go");
}

#[test]
fn a_snapshot_holds_only_blocks_that_overlap_the_range() {
    let head = head();
    let mut sealer = Sealer::new(Level::default());
    for timestamp in 0..5 {
        append(&head, timestamp, &half(timestamp));
    }
    head.seal_waiting(&mut sealer);
    assert_eq!(timestamps(&head.snapshot(3, 3)), [2, 3]);
    assert_eq!(timestamps(&head.snapshot(4, 9)), [4]);
    assert_eq!(head.time_range(), Some((0, 4)));
}

#[test]
fn a_flush_covers_what_it_takes_and_nothing_that_stays() {
    let head = head();
    let mut sealer = Sealer::new(Level::default());
    for timestamp in 0..5 {
        append(&head, timestamp, &half(timestamp));
    }
    head.seal_waiting(&mut sealer);
    assert!(head.begin_flush().is_none(), "the chunk is not complete");
    head.complete_chunk();
    let flushing = head.begin_flush().unwrap();
    assert_eq!(flushing.coverage.iter().collect::<Vec<_>>(), [(WAL, mark(3))]);
    assert!(head.begin_flush().is_none(), "a flush is under way");
    let size = head.size();
    assert_eq!((size.sealed_bytes, size.since), (0, Some(Duration::from_secs(4))));
    assert_eq!(size.oldest_segment, Some(SegmentNumber(0)));
}

#[test]
fn full_chunks_are_complete_without_being_asked() {
    let head = head();
    let mut sealer = Sealer::new(Level::default());
    for timestamp in 0..=2 * CHUNK_BLOCKS as i64 {
        append(&head, timestamp, &half(timestamp));
    }
    head.seal_waiting(&mut sealer);
    let size = head.size();
    assert!(size.complete_bytes > 0 && size.complete_bytes == size.sealed_bytes);
    assert_eq!(head.begin_flush().unwrap().chunks.len(), 1);
}

#[test]
fn segments_are_released_when_a_flush_ends_and_not_before() {
    let head = head();
    let mut segment = SegmentRef::new(SegmentNumber(3));
    let source = Source { wal: WAL, segment: &segment, now: Duration::ZERO, push: None };
    let entry = EntryRef { timestamp: 1, line: b"a", metadata: &[] };
    assert_eq!(head.appending(source).unwrap().append(&entry, mark(1)), Appended::Taken);
    head.close_open();
    head.seal_waiting(&mut Sealer::new(Level::default()));
    head.complete_chunk();
    drop(head.begin_flush().unwrap());
    assert!(!segment.is_last());
    head.end_flush(true);
    assert!(segment.is_last());
}

#[test]
fn only_an_empty_head_retires_and_then_takes_nothing() {
    let head = head();
    append(&head, 1, b"a");
    assert!(!head.retire_if_empty());
    head.close_open();
    head.seal_waiting(&mut Sealer::new(Level::default()));
    head.complete_chunk();
    head.begin_flush();
    assert!(!head.retire_if_empty(), "what is being flushed is still here");
    head.end_flush(true);
    assert!(head.retire_if_empty());
    assert_eq!(append(&head, 2, b"b"), None);
}

fn push(n: u64) -> PushId {
    PushId { origin: 1, sequence: n }
}

/// Appends the entries of a push, each with the push's number as its place in the log.
fn append_push(head: &Head, n: u64, timestamps: std::ops::Range<i64>) {
    let segment = SegmentRef::new(SegmentNumber(n));
    let source = Source { wal: WAL, segment: &segment, now: Duration::ZERO, push: Some(push(n)) };
    let mut appending = head.appending(source).unwrap();
    for timestamp in timestamps {
        let _ = appending.append(&EntryRef { timestamp, line: &half(timestamp), metadata: &[] }, mark(n));
    }
}

fn seal(head: &Head) {
    head.seal_waiting(&mut Sealer::new(Level::default()));
    head.complete_chunk();
}

#[test]
fn a_flush_covers_only_pushes_of_which_nothing_stays() {
    let head = head();
    // Two entries fill a block: the second push lies on both sides of the cut.
    append_push(&head, 1, 0..2);
    append_push(&head, 2, 2..5);
    seal(&head);
    let flushing = head.begin_flush().unwrap();
    assert_eq!(flushing.covers, [push(1)]);
    head.end_flush(true);
    assert_eq!(head.pushes(), [push(2)]);
    head.close_open();
    seal(&head);
    assert_eq!(head.begin_flush().unwrap().covers, [push(2)]);
}

#[test]
fn what_others_packs_hold_leaves_from_the_oldest_on_and_in_whole_blocks() {
    let head = head();
    append_push(&head, 1, 0..3);
    append_push(&head, 2, 3..4);
    append_push(&head, 3, 4..6);
    let covered = |pushes: &[u64]| pushes.iter().map(|n| push(*n)).collect();
    // Of three blocks the first holds push 1 only, the second 1 and 2, the third 3.
    assert_eq!(head.begin_leaving(&covered(&[3])), None);
    let coverage = head.begin_leaving(&covered(&[1])).unwrap();
    assert_eq!(coverage.iter().collect::<Vec<_>>(), [(WAL, mark(1))]);
    assert_eq!(all(&head), (0..6).collect::<Vec<_>>());
    head.end_leaving(false);
    assert_eq!(all(&head), (0..6).collect::<Vec<_>>());
    assert_eq!(head.begin_leaving(&covered(&[])), None, "nothing was indexed");
    head.on_covered(&covered(&[1, 3]));
    head.begin_leaving(&covered(&[])).unwrap();
    assert_eq!(head.begin_leaving(&covered(&[])), None);
    head.end_leaving(true);
    assert_eq!(all(&head), (2..6).collect::<Vec<_>>());
    assert_eq!(head.pushes(), [push(2)]);
    // What was covered before counts: with push 2 everything goes.
    let coverage = head.begin_leaving(&covered(&[2])).unwrap();
    assert_eq!(coverage.iter().collect::<Vec<_>>(), [(WAL, mark(3))]);
    head.end_leaving(true);
    assert!(head.retire_if_empty());
}

#[test]
fn what_is_about_to_leave_is_named_until_the_index_knows_of_it() {
    let head = head();
    append_push(&head, 1, 0..2);
    append_push(&head, 2, 2..3);
    let covered = [push(1)].into_iter().collect();
    head.begin_leaving(&covered).unwrap();
    assert_eq!(head.pushes(), [push(1), push(2)]);
    head.end_leaving(false);
    assert_eq!(head.pushes(), [push(1), push(2)], "no index knows the pack");
    head.begin_leaving(&covered).unwrap();
    head.on_covered(&covered);
    assert_eq!((head.pushes(), all(&head)), (vec![push(2)], vec![0, 1, 2]));
    head.end_leaving(true);
    assert_eq!((head.pushes(), all(&head)), (vec![push(2)], vec![2]));
}

#[test]
fn what_is_leaving_is_not_flushed_and_what_is_flushed_does_not_leave() {
    let head = head();
    append_push(&head, 1, 0..4);
    seal(&head);
    let covered = [push(1)].into_iter().collect();
    head.begin_leaving(&covered).unwrap();
    assert!(head.begin_flush().is_none());
    head.end_leaving(false);
    head.begin_flush().unwrap();
    assert_eq!(head.begin_leaving(&covered), None);
    head.end_flush(false);
    assert_eq!(all(&head), (0..4).collect::<Vec<_>>());
}

#[test]
fn what_may_leave_is_not_overtaken_by_what_came_later() {
    let head = head();
    append_push(&head, 1, 0..2);
    append_push(&head, 2, 2..5);
    head.begin_leaving(&[push(1)].into_iter().collect()).unwrap();
    head.close_open();
    let mut sealer = Sealer::new(Level::default());
    assert_eq!(head.seal_waiting(&mut sealer), 0);
    head.end_leaving(false);
    assert!(head.seal_waiting(&mut sealer) > 0);
    assert_eq!(all(&head), (0..5).collect::<Vec<_>>());
    head.complete_chunk();
    assert_eq!(head.begin_flush().unwrap().covers, [push(1), push(2)]);
}

/// A push that waits: the entries of each of its parts.
#[derive(Debug)]
struct Waiting(Vec<Vec<i64>>);

impl Packed for Waiting {
    fn visit(&self, part: u32, visit: &mut dyn FnMut(&EntryRef<'_>)) {
        for timestamp in &self.0[part as usize] {
            visit(&EntryRef { timestamp: *timestamp, line: &half(*timestamp), metadata: &[] });
        }
    }
}

/// Parks the entries of a push, before which `before` others of it stand; says whether the head took them.
fn park(head: &Head, n: u64, before: u32, timestamps: std::ops::Range<i64>) -> bool {
    let (first, last) = (timestamps.start, timestamps.end - 1);
    let entries: Vec<i64> = timestamps.collect();
    let text_bytes = entries.iter().map(|n| half(*n).len() as u64 + 1).sum();
    let extent = BlockExtent { first, last, entries: entries.len() as u64, text_bytes };
    let segment = SegmentRef::new(SegmentNumber(n));
    let source = Source { wal: WAL, segment: &segment, now: Duration::from_secs(n), push: Some(push(n)) };
    let before = Mark { sequence: Sequence(n), entries: before };
    head.park(
        Parcel { push: Arc::new(Waiting(vec![vec![-1], entries])), part: 1, extent, bytes: 10, before },
        source,
    )
}

fn marks(coverage: &Coverage) -> Vec<(u64, u32)> {
    coverage.iter().map(|(_, mark)| (mark.sequence.0, mark.entries)).collect()
}

#[test]
fn what_waits_as_it_came_counts_and_is_seen_in_its_place() {
    let head = head();
    append_push(&head, 1, 0..1);
    assert!(park(&head, 2, 0, 1..4));
    assert!(park(&head, 3, 0, 4..5));
    assert!(head.has_parked());
    assert_eq!(head.pushes(), [push(1), push(2), push(3)]);
    assert_eq!(head.time_range(), Some((0, 4)));
    assert_eq!(head.extents().iter().flatten().map(|block| block.entries).sum::<u64>(), 5);
    let size = head.size();
    let text = half(0).len() as u64 + 1;
    assert_eq!((size.open_bytes, size.parked_bytes, size.chunks), (text + 20, 20, 1));
    assert_eq!((size.since, size.oldest_segment), (Some(Duration::ZERO), Some(SegmentNumber(1))));
    assert_eq!(timestamps(&head.snapshot(-9, 0)), [0], "nobody need unpack what is out of range");
    assert!(head.has_parked());
    assert_eq!(all(&head), [0, 1, 2, 3, 4]);
    assert!(!head.has_parked());
    append_push(&head, 4, 5..6);
    assert_eq!(all(&head), [0, 1, 2, 3, 4, 5]);
    assert_eq!(head.size().open_bytes, 6 * text);
}

#[test]
fn an_append_comes_behind_what_waits() {
    let head = head();
    park(&head, 1, 0, 0..2);
    append_push(&head, 2, 2..3);
    assert_eq!(all(&head), [0, 1, 2]);
    assert_eq!(head.pushes(), [push(1), push(2)]);
}

#[test]
fn what_waits_leaves_push_by_push_and_covers_no_more_of_the_log() {
    let head = head();
    park(&head, 1, 7, 0..2);
    park(&head, 2, 0, 2..3);
    park(&head, 3, 0, 3..5);
    let covered = |pushes: &[u64]| pushes.iter().map(|n| push(*n)).collect();
    head.on_covered(&covered(&[1, 3]));
    let coverage = head.begin_leaving(&covered(&[])).unwrap();
    assert_eq!(marks(&coverage), [(1, 9)]);
    assert_eq!(all(&head), [0, 1, 2, 3, 4], "it is seen until the index knows the pack");
    assert!(!head.retire_if_empty());
    head.end_leaving(true);
    assert_eq!(all(&head), [2, 3, 4]);
    assert_eq!(head.pushes(), [push(2)]);
    let coverage = head.begin_leaving(&covered(&[2])).unwrap();
    assert_eq!(marks(&coverage), [(3, 2)]);
    head.end_leaving(true);
    assert!(head.retire_if_empty());
    assert!(!park(&head, 4, 0, 5..6), "a head that has retired takes nothing");
}

#[test]
fn what_waits_behind_text_that_stays_stays_too() {
    let head = head();
    append_push(&head, 1, 0..1);
    park(&head, 2, 0, 1..2);
    let covered = |pushes: &[u64]| pushes.iter().map(|n| push(*n)).collect();
    assert_eq!(head.begin_leaving(&covered(&[2])), None, "the log would be covered up to push 2");
    head.on_covered(&covered(&[2]));
    let coverage = head.begin_leaving(&covered(&[1])).unwrap();
    assert_eq!(marks(&coverage), [(2, 1)]);
    head.end_leaving(true);
    assert!(head.retire_if_empty());
}

#[test]
fn what_cannot_leave_keeps_its_place_before_what_came_meanwhile() {
    let head = head();
    append_push(&head, 1, 0..1);
    park(&head, 2, 0, 1..3);
    let covered = [push(1), push(2)].into_iter().collect();
    head.begin_leaving(&covered).unwrap();
    append_push(&head, 3, 3..4);
    park(&head, 4, 0, 4..5);
    head.end_leaving(false);
    assert_eq!(all(&head), [0, 1, 2, 3, 4]);
    assert_eq!(head.pushes(), [1, 2, 3, 4].map(push));
    let leaving = head.begin_leaving(&covered).unwrap();
    assert_eq!(marks(&leaving), [(2, 2)]);
}

#[test]
fn a_flush_covers_of_a_push_that_waited_what_it_takes() {
    let head = head();
    let in_a_chunk = 2 * CHUNK_BLOCKS as u32;
    park(&head, 1, 0, 0..i64::from(in_a_chunk) + 1);
    head.unpack();
    head.seal_waiting(&mut Sealer::new(Level::default()));
    let flushing = head.begin_flush().unwrap();
    assert_eq!(marks(&flushing.coverage), [(1, in_a_chunk)]);
    assert_eq!(flushing.covers, [], "the last entry stays");
}

#[test]
fn the_cut_of_a_flush_may_fall_between_text_and_what_waits() {
    let head = head();
    append_push(&head, 1, 0..2);
    head.close_open();
    park(&head, 1, 2, 2..3);
    seal(&head);
    assert_eq!(head.begin_flush().unwrap().covers, []);
}

#[test]
fn readers_see_all_that_was_there_before_they_looked_however_fast_more_comes() {
    let head = head();
    let parked = AtomicI64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..200 {
                park(&head, n as u64, 0, n..n + 1);
                parked.store(n + 1, Ordering::SeqCst);
            }
        });
        while parked.load(Ordering::SeqCst) < 200 {
            let before = parked.load(Ordering::SeqCst);
            let seen = all(&head);
            assert!(seen.len() as i64 >= before);
            assert_eq!(seen, (0..seen.len() as i64).collect::<Vec<_>>());
        }
    });
}
