//! What sealing, reading and searching blocks costs per byte of text, on made-up lines of sixteen kinds, or on real
//! ones if `GRAPEVINE_CORPUS` names a folder of log files.
#![allow(missing_docs, reason = "benchmarks are no library")]

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use grapevine_storage::entry::EntryRef;
use grapevine_storage::pack::{
    Append, BlockReader, BlockText, ChunkBuilder, FilterQuery, Level, SealedBlock, Sealer, TextBuffer,
};
use grapevine_storage::scan::{LineFilter, Needle, Predicate};
use grapevine_storage::stream::StreamId;
use grapevine_storage::testdata::{KINDS, LogLines};

fn main() {
    divan::main();
}

/// Blocks of every kind, three each.
fn blocks() -> Vec<BlockText> {
    if let Some(folder) = std::env::var_os("GRAPEVINE_CORPUS") {
        return corpus_blocks(&folder);
    }
    (0..KINDS)
        .flat_map(|kind| {
            let mut lines = LogLines::new(kind, 1);
            (0..3).map(move |_| lines.block())
        })
        .collect()
}

/// A block of each file, its digits varied where the file is repeated.
fn corpus_blocks(folder: &std::ffi::OsStr) -> Vec<BlockText> {
    let files = std::fs::read_dir(folder).expect("the corpus folder can be listed");
    let mut paths: Vec<_> = files.map(|file| file.expect("a corpus file can be listed").path()).collect();
    paths.sort();
    paths
        .iter()
        .flat_map(|path| file_blocks(&std::fs::read(path).expect("a corpus file can be read")))
        .collect()
}

fn file_blocks(text: &[u8]) -> Vec<BlockText> {
    let mut blocks = vec![BlockText::new()];
    let mut state = 1_u32;
    for n in 0_i64.. {
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for (at, line) in lines.enumerate() {
            let mut line = line.to_vec();
            for digit in line.iter_mut().filter(|byte| byte.is_ascii_digit()) {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if state >> 29 == 0 {
                    *digit = b'0' + (state >> 16) as u8 % 10;
                }
            }
            let timestamp = (n * 2_000 + at as i64) * 12_345_678;
            let entry = EntryRef { timestamp, line: &line, metadata: &[] };
            let last = blocks.last_mut().expect("there is always a block");
            if last.append(&entry) != Append::Taken {
                if blocks.len() == 3 {
                    return blocks;
                }
                let mut next = BlockText::new();
                assert_eq!(next.append(&entry), Append::Taken);
                blocks.push(next);
            }
        }
    }
    blocks
}

fn sealed(level: u8) -> Vec<SealedBlock> {
    let mut sealer = Sealer::new(Level::new(level).expect("the level exists"));
    let seal = |block: &BlockText| sealer.seal(StreamId(1), block, &mut ChunkBuilder::new());
    blocks().iter().map(seal).map(|block| block.expect("no block is empty")).collect()
}

fn text_bytes(blocks: &[BlockText]) -> BytesCount {
    BytesCount::new(blocks.iter().map(BlockText::text_bytes).sum::<usize>())
}

/// Sealing with filter, digest and columns; compare with FORMAT's 5.9 CPU s/GB for deflate alone at level 5.
#[divan::bench(args = [1, 5, 6])]
fn seal(bencher: Bencher<'_, '_>, level: u8) {
    let blocks = blocks();
    let mut sealer = Sealer::new(Level::new(level).expect("the level exists"));
    bencher.counter(text_bytes(&blocks)).bench_local(|| {
        for run in blocks.chunks(3) {
            let mut chunk = ChunkBuilder::new();
            for block in run {
                sealer.seal(StreamId(1), block, &mut chunk);
            }
            black_box(chunk.finish());
        }
    });
}

/// Hashing, timestamps and the filter: what sealing costs beside deflate, which level 0 only copies.
#[divan::bench]
fn seal_without_deflate(bencher: Bencher<'_, '_>) {
    let blocks = blocks();
    let mut sealer = Sealer::new(Level::new(0).expect("the level exists"));
    bencher.counter(text_bytes(&blocks)).bench_local(|| {
        for run in blocks.chunks(3) {
            let mut chunk = ChunkBuilder::new();
            for block in run {
                sealer.seal(StreamId(1), block, &mut chunk);
            }
            black_box(chunk.finish());
        }
    });
}

/// XXH3-128 of every entry, which sealing needs for digests.
#[divan::bench]
fn hash_entries(bencher: Bencher<'_, '_>) {
    let blocks = blocks();
    bencher.counter(text_bytes(&blocks)).bench_local(|| {
        for block in &blocks {
            block.for_each(|entry| {
                black_box(entry.hash());
            });
        }
    });
}

#[divan::bench]
fn inflate(bencher: Bencher<'_, '_>) {
    let (blocks, mut reader, mut text) = (sealed(5), BlockReader::new(), TextBuffer::default());
    let bytes: usize = blocks.iter().map(|block| block.text_bytes() as usize).sum();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        for block in &blocks {
            reader.inflate(block.member(), &mut text).expect("the block is whole");
        }
    });
}

/// Decoding every timestamp, CRC and inflating of columns included.
#[divan::bench]
fn timestamps(bencher: Bencher<'_, '_>) {
    let (blocks, mut reader, mut stamps) = (sealed(5), BlockReader::new(), Vec::new());
    let entries: u64 = blocks.iter().map(|block| u64::from(block.header().entries)).sum();
    bencher.counter(ItemsCount::new(entries)).bench_local(|| {
        for block in &blocks {
            let column = block.column().expect("the column is whole");
            reader.timestamps(block.header(), &column, &mut stamps).expect("the column is whole");
            black_box(&stamps);
        }
    });
}

#[divan::bench]
fn filter_query(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| FilterQuery::of_literal(black_box(b"connection refused by 10.0.0.17")));
}

/// Inflated texts, to tell searching from inflating.
fn texts() -> Vec<TextBuffer> {
    let mut reader = BlockReader::new();
    let inflate = |block: &SealedBlock| {
        let mut text = TextBuffer::default();
        reader.inflate(block.member(), &mut text).expect("the block is whole");
        text
    };
    sealed(1).iter().map(inflate).collect()
}

fn count(bencher: Bencher<'_, '_>, needle: Needle) {
    let mut texts = texts();
    let filter = LineFilter::new(&[Predicate { negated: false, any_of: vec![needle] }]);
    let filter = filter.expect("the needle compiles");
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let mut counts = [0];
        for text in &mut texts {
            let boundaries = [0, text.len()];
            filter.count_between(text, None, &boundaries, &mut counts);
        }
        counts
    });
}

#[divan::bench]
fn count_absent_needle(bencher: Bencher<'_, '_>) {
    count(bencher, Needle::Literal(b"needle0".to_vec()));
}

#[divan::bench]
fn count_regex_ignoring_case(bencher: Bencher<'_, '_>) {
    count(bencher, Needle::Regex("(?i)error|timed? ?out".to_owned()));
}

#[divan::bench]
fn count_regex(bencher: Bencher<'_, '_>) {
    count(bencher, Needle::Regex("status: ([0-9]+)".to_owned()));
}
