//! Packs as a whole: what was put in comes out, by our reader and by gzip's; damage is noticed; settling and merging
//! keep each entry once and in order.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::salvage::{Member, Salvage};
use super::{
    Append, BlockReader, BlockText, ChunkBuilder, ChunkEntry, Fate, Filter, Level, PackReader, PackSummary,
    PackWriter, SealedChunk, Sealer, Sieve, StreamEntry, holds_any, merge, settle, sift,
};
use crate::entry::{Digest, EntryRef};
use crate::stream::{Labels, StreamId};
use crate::testdata::LogLines;

/// An entry that owns its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    timestamp: i64,
    line: Vec<u8>,
    metadata: Vec<(String, String)>,
}

impl Entry {
    fn plain(timestamp: i64, line: &str) -> Self {
        Entry { timestamp, line: line.into(), metadata: Vec::new() }
    }

    fn with_ref<T>(&self, f: impl FnOnce(EntryRef<'_>) -> T) -> T {
        let metadata: Vec<_> =
            self.metadata.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        f(EntryRef { timestamp: self.timestamp, line: &self.line, metadata: &metadata })
    }
}

fn labels(stream: usize) -> (StreamId, Labels) {
    let labels = Labels::new([("app", format!("app-{stream}"))]);
    // The test's own order rather than that of hashes.
    (StreamId(1 + stream as u128), labels)
}

/// Chunks of entries in order of arrival, sealed every `per_block` entries; not settled.
fn chunks(stream: StreamId, entries: &[Entry], per_block: usize, sealer: &mut Sealer) -> Vec<SealedChunk> {
    let (mut chunks, mut chunk, mut block) = (Vec::new(), ChunkBuilder::new(), BlockText::new());
    for part in entries.chunks(per_block.max(1)) {
        for entry in part {
            assert_eq!(entry.with_ref(|entry| block.append(&entry)), Append::Taken);
        }
        if !chunk.has_room_for(block.text_bytes()) {
            chunks.extend(std::mem::take(&mut chunk).finish());
        }
        assert!(sealer.seal(stream, &block, &mut chunk).is_some());
        block.clear();
    }
    chunks.extend(chunk.finish());
    chunks
}

fn pack_of(streams: &[Vec<Entry>], per_block: usize) -> (Bytes, PackSummary) {
    let mut sealer = Sealer::new(Level::default());
    let mut writer = PackWriter::new(Vec::new());
    for (n, entries) in streams.iter().enumerate() {
        let (id, labels) = labels(n);
        let chunks = chunks(id, entries, per_block, &mut sealer);
        for chunk in settle(id, chunks, &mut sealer).unwrap() {
            writer.chunk(id, &labels, &chunk).unwrap();
        }
    }
    let (summary, bytes) = writer.finish().unwrap();
    (bytes.into(), summary)
}

/// Everything a pack holds, by stream.
fn read_all(pack: &Bytes) -> Result<BTreeMap<StreamId, Vec<Entry>>, super::PackError> {
    let pack = PackReader::open(pack.clone())?;
    let mut reader = BlockReader::new();
    let mut streams: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
    for stream in &pack.directory()?.streams {
        let entries = streams.entry(stream.id).or_default();
        for entry in &stream.chunks {
            let chunk = pack.chunk(entry)?;
            let mut digest = Digest::default();
            for block in &chunk.blocks {
                reader.open(block)?.for_each(|entry| {
                    digest.add(entry.hash());
                    let metadata =
                        entry.metadata.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
                    entries.push(Entry { timestamp: entry.timestamp, line: entry.line.to_vec(), metadata });
                });
            }
            assert_eq!(digest, entry.digest, "a chunk's digest is that of its entries");
        }
    }
    Ok(streams)
}

/// What a pack should hold: sorted stably by time, each entry once.
fn expected(streams: &[Vec<Entry>]) -> BTreeMap<StreamId, Vec<Entry>> {
    let settle = |entries: &Vec<Entry>| {
        let mut seen = BTreeSet::new();
        let mut kept: Vec<_> = entries
            .iter()
            .filter(|entry| seen.insert(entry.with_ref(|entry| entry.hash())))
            .cloned()
            .collect();
        kept.sort_by_key(|entry| entry.timestamp);
        kept
    };
    let streams = streams.iter().enumerate().filter(|(_, entries)| !entries.is_empty());
    streams.map(|(n, entries)| (labels(n).0, settle(entries))).collect()
}

fn printed(streams: &BTreeMap<StreamId, Vec<Entry>>) -> Vec<u8> {
    let lines = streams.values().flatten().map(|entry| [&entry.line[..], b"\n"].concat());
    lines.collect::<Vec<_>>().concat()
}

fn entry() -> impl Strategy<Value = Entry> {
    let timestamp = prop_oneof![
        4 => 0_i64..20, 1 => Just(i64::MIN), 1 => Just(i64::MAX), 1 => any::<i64>(),
    ];
    let line = prop_oneof![
        4 => "[ab]{0,2}".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..30), 1 => "[a\n]{0,4}".prop_map(String::into_bytes),
    ];
    let metadata = prop_oneof![3 => Just(BTreeMap::new()), 1 => btree_map("[a-c]", "[x-z]{0,2}", 0..3)];
    (timestamp, line, metadata).prop_map(|(timestamp, line, metadata)| Entry {
        timestamp,
        line,
        metadata: metadata.into_iter().collect(),
    })
}

/// Takes every so-manieth moment out of one stream, and all of another.
struct EveryNth {
    modulus: i64,
    stream: StreamId,
    gone: StreamId,
}

impl Sieve for EveryNth {
    fn stream(&mut self, stream: &StreamEntry) -> Fate {
        match stream.id {
            id if id == self.gone => Fate::Goes,
            id if id == self.stream => Fate::Sifted,
            _ => Fate::Stays,
        }
    }

    fn chunk(&mut self, _: &ChunkEntry, _: Option<&Filter>) -> bool {
        true
    }

    fn entry(&mut self, entry: &EntryRef<'_>) -> bool {
        entry.timestamp % self.modulus == 0
    }
}

proptest! {
    #[test]
    fn any_entries_come_out_sorted_and_once(streams in vec(vec(entry(), 0..60), 0..4), per_block in 1_usize..30) {
        let (pack, summary) = pack_of(&streams, per_block);
        prop_assert_eq!(read_all(&pack).unwrap(), expected(&streams));
        let opened = PackReader::open(pack.clone()).unwrap();
        prop_assert_eq!(opened.footer(), &summary.footer);
        prop_assert_eq!(opened.directory().unwrap(), summary.directory);
        prop_assert_eq!(summary.length, pack.len() as u64);
        prop_assert_eq!(summary.content_hash, xxhash_rust::xxh3::xxh3_128(&pack));
    }

    #[test]
    fn merged_packs_hold_the_union(
        packs in vec(vec(vec(entry(), 0..30), 1..4), 1..4), per_block in 1_usize..20,
    ) {
        let readers: Vec<_> =
            packs.iter().map(|streams| PackReader::open(pack_of(streams, per_block).0).unwrap()).collect();
        let mut sealer = Sealer::new(Level::default());
        let (_, merged) = merge(&readers, |_| true, Vec::new(), &mut sealer).unwrap();
        let mut union = vec![Vec::new(); 4];
        for streams in &packs {
            for (all, entries) in union.iter_mut().zip(streams) {
                // A pack's entries arrive in the pack's order.
                all.extend(expected(std::slice::from_ref(entries)).into_values().flatten());
            }
        }
        let mut expected = expected(&union);
        prop_assert_eq!(&read_all(&merged.into()).unwrap(), &expected);

        let Some((&left_out, _)) = expected.first_key_value() else { return Ok(()) };
        let (_, rest) = merge(&readers, |id| id != left_out, Vec::new(), &mut sealer).unwrap();
        expected.remove(&left_out);
        prop_assert_eq!(read_all(&rest.into()).unwrap(), expected);
    }

    #[test]
    fn a_sifted_pack_holds_all_but_what_goes(
        streams in vec(vec(entry(), 0..60), 1..4), per_block in 1_usize..30, modulus in 1..5_i64, sifted in 0..4_usize,
    ) {
        let (pack, _) = pack_of(&streams, per_block);
        let pack = PackReader::open(pack).unwrap();
        let mut sieve = EveryNth { modulus, stream: labels(sifted).0, gone: labels(3).0 };
        let mut expected = expected(&streams);
        expected.remove(&sieve.gone);
        let before = expected.clone();
        if let Some(entries) = expected.get_mut(&sieve.stream) {
            entries.retain(|entry| entry.timestamp % modulus != 0);
        }
        expected.retain(|_, entries| !entries.is_empty());
        prop_assert_eq!(holds_any(&pack, &mut sieve).unwrap(), before != expected);
        let (summary, output) = sift(&pack, &mut sieve, Vec::new(), &mut Sealer::new(Level::default())).unwrap();
        prop_assert_eq!(summary.directory.streams.is_empty(), expected.is_empty());
        prop_assert_eq!(read_all(&output.into()).unwrap(), expected);
    }

    #[test]
    fn flipped_packs_are_noticed_or_read_the_same(
        streams in vec(vec(entry(), 1..20), 1..3), flip in any::<prop::sample::Index>(), bit in 0..8,
    ) {
        let (pack, _) = pack_of(&streams, 7);
        let mut damaged = pack.to_vec();
        *flip.get_mut(&mut damaged[..]) ^= 1_u8 << bit;
        if let Ok(read) = read_all(&damaged.clone().into()) {
            prop_assert_eq!(read, expected(&streams));
        }
        walk(&damaged);
    }

    #[test]
    fn noise_is_no_pack(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(read_all(&bytes.clone().into()).is_err());
        walk(&bytes);
    }
}

/// Salvages; returns the text of whole blocks and how many bytes were damaged.
fn walk(pack: &[u8]) -> (Vec<u8>, usize) {
    let mut salvage = Salvage::new(pack);
    let (mut text, mut damaged, mut end) = (Vec::new(), 0, 0);
    while let Some((range, member)) = salvage.step() {
        assert_eq!(range.start, end, "a salvage leaves nothing out");
        end = range.end;
        match member {
            Member::Block(_) => text.extend_from_slice(salvage.text()),
            Member::Damaged(_) => damaged += range.len(),
            Member::Slice(_) | Member::Footer(_) => {}
        }
    }
    assert_eq!(end, pack.len());
    (text, damaged)
}

fn sample() -> Vec<Vec<Entry>> {
    let lines = |stream: &str| {
        (0..40)
            .map(|n| Entry::plain(n * 1_000, &format!("{stream} line {n} of {}", n * n)))
            .collect::<Vec<_>>()
    };
    let mut streams = vec![lines("a"), lines("b")];
    streams[1].push(Entry::plain(50_000, "a trace\n  at one\n\n  at two"));
    streams[1].push(Entry { metadata: vec![("id".into(), "7".into())], ..Entry::plain(50_001, "") });
    streams
}

#[test]
fn every_flipped_byte_is_noticed_or_harmless() {
    let (pack, _) = pack_of(&sample(), 15);
    for at in 0..pack.len() {
        let mut damaged = pack.to_vec();
        damaged[at] ^= 0x41;
        assert!(
            read_all(&damaged.clone().into()).is_ok_and(|read| read == expected(&sample()))
                || read_all(&damaged.into()).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn truncated_packs_are_refused_and_their_whole_blocks_salvaged() {
    let (pack, summary) = pack_of(&sample(), 15);
    let all = printed(&expected(&sample()));
    for cut in 0..pack.len() {
        assert!(read_all(&pack.slice(..cut)).is_err(), "cut at {cut}");
        let (text, damaged) = walk(&pack[..cut]);
        assert!(all.starts_with(&text), "cut at {cut}");
        if cut as u64 >= summary.footer.columns_start {
            assert_eq!(text, all);
        }
        assert!(damaged < cut.max(1) || text.is_empty());
    }
}

#[test]
fn salvage_steps_over_a_damaged_block() {
    let (pack, summary) = pack_of(&sample(), 15);
    let chunk = &summary.directory.streams[0].chunks[0];
    let range = chunk.block_range(1).unwrap();
    for at in [range.start + 70, range.start + 20, range.start] {
        let mut damaged = pack.to_vec();
        damaged[at as usize] ^= 0xFF;
        let (text, bytes) = walk(&damaged);
        assert_eq!(bytes as u64, range.end - range.start, "byte {at}");
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.contains("a line 14 of") && !text.contains("a line 15 of") && text.contains("a line 30 of")
        );
    }
}

fn output_of(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(input).unwrap();
    let output = Command::new(program)
        .args(arguments)
        .stdin(file.reopen().unwrap())
        .stderr(Stdio::inherit())
        .output()
        .unwrap_or_else(|error| panic!("cannot run `{program}`: {error}"));
    assert!(output.status.success(), "{program}");
    output.stdout
}

#[test]
fn other_gzip_programs_print_the_lines() {
    const PYTHON: &str = "import gzip,sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
    let mut streams = sample();
    for kind in 0..4 {
        let mut lines = LogLines::new(kind, 1);
        streams
            .push((0..4_000).map(|_| lines.next_entry()).map(|(at, line)| Entry::plain(at, &line)).collect());
    }
    let (pack, _) = pack_of(&streams, 1_000);
    let expected = printed(&expected(&streams));
    assert!(output_of("zcat", &[], &pack) == expected, "zcat prints something else");
    assert!(output_of("python3", &["-c", PYTHON], &pack) == expected, "Python prints something else");
    let mut ours = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&pack[..]), &mut ours).unwrap();
    assert!(ours == expected, "flate2 prints something else");
}

#[test]
fn ascending_blocks_are_kept_as_they_are() {
    let mut sealer = Sealer::new(Level::default());
    let (id, _) = labels(0);
    let entries: Vec<_> = (0..3_000).map(|n| Entry::plain(n, &format!("{n:060}"))).collect();
    let before = chunks(id, &entries, 1_500, &mut sealer);
    assert!(before[0].filter.is_some());
    assert_eq!(settle(id, before.clone(), &mut sealer).unwrap(), before);
}

/// Lines long enough that blocks are not tiny, which settling treats in another way.
fn large_entry() -> impl Strategy<Value = Entry> {
    (0_i64..60, 0_u8..3).prop_map(|(timestamp, letter)| Entry {
        timestamp,
        line: vec![b'a' + letter; 70 << 10],
        metadata: Vec::new(),
    })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]

    #[test]
    fn large_blocks_that_overlap_or_touch_come_out_sorted_and_once(
        mut entries in vec(large_entry(), 1..16), per_block in 1_usize..4, nearly_sorted in any::<bool>(),
    ) {
        if nearly_sorted {
            entries.sort_by_key(|entry| entry.timestamp);
        }
        let (pack, _) = pack_of(std::slice::from_ref(&entries), per_block);
        prop_assert_eq!(read_all(&pack).unwrap(), expected(&[entries]));
    }
}

#[test]
fn blocks_that_touch_are_kept_unless_they_share_an_entry() {
    let mut sealer = Sealer::new(Level::default());
    let (id, _) = labels(0);
    let large = |timestamp, letter: &str| Entry::plain(timestamp, &letter.repeat(70 << 10));
    let touching = chunks(id, &[large(1, "a"), large(2, "a"), large(2, "b"), large(3, "a")], 2, &mut sealer);
    assert_eq!(settle(id, touching.clone(), &mut sealer).unwrap(), touching);
    let sharing = chunks(id, &[large(1, "a"), large(2, "a"), large(2, "a"), large(3, "a")], 2, &mut sealer);
    let settled = settle(id, sharing, &mut sealer).unwrap();
    assert_eq!(settled.iter().map(|chunk| chunk.digest.count).sum::<u64>(), 3);
}

#[test]
fn an_entry_is_found_again_beyond_a_block_of_the_same_moment() {
    let entries: Vec<Entry> = ["a", "b", "a"].map(|letter| Entry::plain(27, &letter.repeat(70 << 10))).into();
    for per_chunk in [1, 3] {
        let mut sealer = Sealer::new(Level::default());
        let (id, _) = labels(0);
        let mut parts: Vec<_> =
            entries.iter().flat_map(|e| chunks(id, std::slice::from_ref(e), 1, &mut sealer)).collect();
        if per_chunk == 3 {
            parts = chunks(id, &entries, 1, &mut sealer);
        }
        let settled = settle(id, parts, &mut sealer).unwrap();
        assert_eq!(
            settled.iter().map(|chunk| chunk.digest.count).sum::<u64>(),
            2,
            "{per_chunk} blocks a chunk"
        );
    }
}

#[test]
fn tiny_chunks_are_sealed_together() {
    let mut sealer = Sealer::new(Level::default());
    let (id, _) = labels(0);
    let one =
        |n: i64| chunks(id, &[Entry::plain(n, &format!("line {n}"))], 1, &mut Sealer::new(Level::default()));
    let settled = settle(id, (0..50).flat_map(one).collect(), &mut sealer).unwrap();
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0].blocks.len(), 1);
    assert_eq!(settled[0].digest.count, 50);
}

#[test]
fn writer_refuses_what_the_format_forbids() {
    let mut sealer = Sealer::new(Level::default());
    let (first, names) = labels(0);
    let (second, _) = labels(1);
    let chunk = |id, at: &[i64]| {
        let entries: Vec<_> = at.iter().map(|at| Entry::plain(*at, "x")).collect();
        chunks(id, &entries, 1, &mut Sealer::new(Level::default())).remove(0)
    };
    let mut writer = PackWriter::new(Vec::new());
    assert!(writer.chunk(first, &names, &chunk(second, &[1])).is_err(), "a foreign block");
    assert!(writer.chunk(first, &names, &chunk(first, &[2, 1])).is_err(), "blocks that descend");
    writer.chunk(first, &names, &chunk(first, &[5])).unwrap();
    assert!(writer.chunk(first, &names, &chunk(first, &[4])).is_err(), "chunks that descend");
    writer.chunk(second, &names, &chunk(second, &[1])).unwrap();
    assert!(writer.chunk(first, &names, &chunk(first, &[9])).is_err(), "ids that descend");
    let (summary, bytes) = writer.finish().unwrap();
    assert_eq!(summary.directory.streams.len(), 2);
    assert!(sealer.seal(first, &BlockText::new(), &mut ChunkBuilder::new()).is_none());
    assert_eq!(read_all(&bytes.into()).unwrap().len(), 2);
}
