//! Reads an LMDB file as LMDB would, without trusting it.
//!
//! LMDB believes every page number and offset in its file: a damaged one ends the process by a signal or an
//! assertion, at the start of each process anew. So before a file is mapped, each page that its trees reach is
//! read here and checked: page numbers, page kinds, bounds of every node, order of keys. The layout is that of
//! LMDB 0.9 (`mdb.c`: `MDB_meta`, `MDB_page`, `MDB_node`, `MDB_db`) on a 64-bit little-endian machine. A walk
//! costs one read of each page, some 30 ms for 100 MB in the page cache.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::IndexError;

const MAGIC: u32 = 0xBEEF_C0DE;
const DATA_VERSION: u32 = 1;
const PAGE_HEADER: usize = 16;
const NODE_HEADER: usize = 8;
const TREE_BYTES: usize = 48;
const META_BYTES: usize = 152;
const META_PAGES: u64 = 2;
/// `CURSOR_STACK` of LMDB.
const MAX_DEPTH: usize = 32;
/// No page number: the tree is empty.
const NO_PAGE: u64 = u64::MAX;

const BRANCH: u16 = 0x01;
const LEAF: u16 = 0x02;
const OVERFLOW: u16 = 0x04;
const META: u16 = 0x08;
const DIRTY: u16 = 0x10;
const LEAF2: u16 = 0x20;
const SUBPAGE: u16 = 0x40;

const BIG_DATA: u16 = 0x01;
const SUB_DATA: u16 = 0x02;
const DUP_DATA: u16 = 0x04;

/// What is wrong, as a sentence of the kind "page 7 …".
type Fault = String;

/// Checks the file. One that does not exist or is empty is sound: LMDB will fill it.
///
/// # Errors
/// [`IndexError::Corrupt`] names the first fault found.
pub(super) fn verify(path: &Path) -> Result<(), IndexError> {
    let failed = |error| IndexError::io("read", path, error);
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(failed)?,
    };
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes == 0 {
        // LMDB would take it for a new one, and a day's packs would be forgotten without a word.
        let reason = "it is empty".to_owned();
        return Err(IndexError::Corrupt { what: "index file", reason });
    }
    if cfg!(not(all(target_pointer_width = "64", target_endian = "little"))) {
        return Ok(());
    }
    let checked = Walk::start(&file, bytes).and_then(|(mut walk, roots)| {
        roots.into_iter().try_for_each(|(root, ordered)| walk.tree(root, ordered, 0))
    });
    checked.map_err(|reason| IndexError::Corrupt { what: "index file", reason })
}

struct Walk<'a> {
    file: &'a File,
    page_bytes: usize,
    pages: u64,
    /// One bit per page: a page that two nodes point to is a fault, and a loop would be endless.
    seen: Vec<u64>,
}

impl<'a> Walk<'a> {
    /// Reads both meta pages. Returns the roots of the newer one's trees: free list (whose keys are numbers,
    /// not in byte order) and main tree.
    fn start(file: &'a File, bytes: u64) -> Result<(Self, [(u64, bool); 2]), Fault> {
        let first = read_meta(file, 0)?;
        let page_bytes = u32_at(&first, PAGE_HEADER + 24) as usize;
        if !page_bytes.is_power_of_two() || !(512..=65536).contains(&page_bytes) {
            return Err(format!("its page size is `{page_bytes}`"));
        }
        let second = read_meta(file, page_bytes as u64)?;
        let newer = if txn_id(&second) > txn_id(&first) { second } else { first };
        let pages = bytes / page_bytes as u64;
        let seen = vec![0; (pages / 64 + 1) as usize];
        let root = |tree: usize| u64_at(&newer, PAGE_HEADER + 24 + tree * TREE_BYTES + TREE_BYTES - 8);
        Ok((Walk { file, page_bytes, pages, seen }, [(root(0), false), (root(1), true)]))
    }

    fn tree(&mut self, root: u64, ordered: bool, depth: usize) -> Result<(), Fault> {
        if root == NO_PAGE {
            return Ok(());
        }
        if depth > 2 * MAX_DEPTH {
            return Err(format!("page {root} lies too deep"));
        }
        let page = self.page(root)?;
        let flags = u16_at(&page, 10) & !DIRTY;
        if flags == LEAF | LEAF2 {
            return check_fixed_leaf(&page, root);
        }
        if flags != BRANCH && flags != LEAF {
            return Err(format!("page {root} is of kind `{flags:#x}`"));
        }
        let nodes = nodes(&page, root)?;
        let first = usize::from(flags == BRANCH); // The first key of a branch is not used.
        if ordered && !nodes[first.min(nodes.len())..].is_sorted_by(|a, b| a.key < b.key) {
            return Err(format!("page {root} has keys out of order"));
        }
        for node in nodes {
            match flags {
                BRANCH => self.tree(node.child(), ordered, depth + 1)?,
                _ => self.leaf_node(&page, root, &node, ordered, depth)?,
            }
        }
        Ok(())
    }

    fn leaf_node(
        &mut self,
        page: &[u8],
        number: u64,
        node: &Node<'_>,
        ordered: bool,
        depth: usize,
    ) -> Result<(), Fault> {
        let outside = || format!("page {number} has a value that reaches beyond it");
        let length = node.length();
        let inline = if node.flags & BIG_DATA != 0 { 8 } else { length };
        let data = page.get(node.data..node.data.saturating_add(inline)).ok_or_else(outside)?;
        if node.flags & BIG_DATA != 0 {
            return self.overflow(u64_at(data, 0), length);
        }
        if node.flags & SUB_DATA != 0 {
            if length != TREE_BYTES {
                return Err(format!("page {number} has a subtree of `{length}` bytes"));
            }
            return self.tree(u64_at(data, TREE_BYTES - 8), ordered, depth + 1);
        }
        if node.flags & DUP_DATA != 0 {
            if data.len() < PAGE_HEADER || u16_at(data, 10) & SUBPAGE == 0 {
                return Err(format!("page {number} has a list of values that is none"));
            }
            return check_fixed_leaf(data, number);
        }
        Ok(())
    }

    fn overflow(&mut self, number: u64, length: usize) -> Result<(), Fault> {
        let page = self.page(number)?;
        let pages = u64::from(u32_at(&page, 12));
        let fits = (PAGE_HEADER + length) as u64 <= pages * self.page_bytes as u64;
        if u16_at(&page, 10) & OVERFLOW == 0 || !fits || number + pages > self.pages {
            return Err(format!("page {number} does not hold a value of `{length}` bytes"));
        }
        (number + 1..number + pages).try_for_each(|next| self.mark(next))
    }

    fn page(&mut self, number: u64) -> Result<Vec<u8>, Fault> {
        if !(META_PAGES..self.pages).contains(&number) {
            return Err(format!("page {number} of `{}` is asked for", self.pages));
        }
        self.mark(number)?;
        let mut page = vec![0; self.page_bytes];
        let read = self.file.read_exact_at(&mut page, number * self.page_bytes as u64);
        read.map_err(|error| format!("page {number} cannot be read: {error}"))?;
        match u64_at(&page, 0) {
            stated if stated == number => Ok(page),
            stated => Err(format!("page {number} says it is page `{stated}`")),
        }
    }

    fn mark(&mut self, number: u64) -> Result<(), Fault> {
        let (word, bit) = (&mut self.seen[(number / 64) as usize], 1 << (number % 64));
        if *word & bit != 0 {
            return Err(format!("page {number} is used twice"));
        }
        *word |= bit;
        Ok(())
    }
}

/// An entry of a branch or leaf page.
struct Node<'a> {
    low: u32,
    flags: u16,
    key: &'a [u8],
    /// Where its data begins in the page.
    data: usize,
}

impl Node<'_> {
    fn child(&self) -> u64 {
        u64::from(self.low) | u64::from(self.flags) << 32
    }

    fn length(&self) -> usize {
        self.low as usize
    }
}

fn nodes(page: &[u8], number: u64) -> Result<Vec<Node<'_>>, Fault> {
    let (lower, upper) = (u16_at(page, 12) as usize, u16_at(page, 14) as usize);
    if lower < PAGE_HEADER || lower > upper || upper > page.len() {
        return Err(format!("page {number} has impossible bounds"));
    }
    let pointers = page[PAGE_HEADER..lower].chunks_exact(2);
    pointers
        .map(|at| node(page, u16_at(at, 0) as usize))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("page {number} has a key that reaches beyond it"))
}

fn node(page: &[u8], at: usize) -> Option<Node<'_>> {
    let header = page.get(at..at + NODE_HEADER).filter(|_| at >= PAGE_HEADER)?;
    let data = at + NODE_HEADER + u16_at(header, 6) as usize;
    Some(Node {
        low: u32_at(header, 0),
        flags: u16_at(header, 4),
        key: page.get(at + NODE_HEADER..data)?,
        data,
    })
}

/// A page, or a part of one, that holds values of one length and nothing else.
fn check_fixed_leaf(page: &[u8], number: u64) -> Result<(), Fault> {
    let (width, lower) = (u16_at(page, 8) as usize, u16_at(page, 12) as usize);
    let count = lower.checked_sub(PAGE_HEADER).map(|bytes| bytes / 2);
    let end = count.map(|count| PAGE_HEADER + count * width);
    if width == 0 || u16_at(page, 10) & LEAF2 == 0 || end.is_none_or(|end| end > page.len()) {
        return Err(format!("page {number} has a list of values that reaches beyond it"));
    }
    match page[PAGE_HEADER..end.unwrap_or(PAGE_HEADER)].chunks_exact(width).is_sorted_by(|a, b| a < b) {
        true => Ok(()),
        false => Err(format!("page {number} has values out of order")),
    }
}

fn read_meta(file: &File, offset: u64) -> Result<[u8; META_BYTES], Fault> {
    let mut meta = [0; META_BYTES];
    file.read_exact_at(&mut meta, offset).map_err(|_| "it ends within its first two pages".to_owned())?;
    let (kind, magic, version) = (u16_at(&meta, 10), u32_at(&meta, 16), u32_at(&meta, 20));
    if kind != META || magic != MAGIC || version != DATA_VERSION {
        return Err(format!("its meta page at `{offset}` is not one of LMDB 0.9"));
    }
    Ok(meta)
}

fn txn_id(meta: &[u8]) -> u64 {
    u64_at(meta, PAGE_HEADER + 128)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::{ProptestConfig, proptest};
    use tempfile::TempDir;

    use super::verify;
    use crate::index::env::Env;

    /// A file with every kind of page: branches, overflow pages, lists of values in pages of their own and
    /// within others.
    fn sample() -> (TempDir, PathBuf, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::open(dir.path(), 1 << 24).unwrap();
        for round in 0..3u32 {
            env.write(|tables, txn| {
                for n in 0..3000u32 {
                    let key = (n * 3 + round).to_be_bytes();
                    tables.streams.put(txn, &key, &[1; 100])?;
                    tables.postings.put(txn, b"one", &key)?;
                    tables.postings.put(txn, &(n % 100).to_be_bytes(), &key)?;
                }
                Ok(tables.chunks.put(txn, &round.to_be_bytes(), &[2; 20_000])?)
            })
            .unwrap();
        }
        env.close();
        let path = dir.path().join("data.mdb");
        let bytes = std::fs::read(&path).unwrap();
        (dir, path, bytes)
    }

    #[test]
    fn sound_and_missing_files_pass_and_empty_ones_do_not() {
        let (dir, path, _) = sample();
        verify(&path).unwrap();
        verify(&dir.path().join("absent")).unwrap();
        std::fs::write(dir.path().join("empty"), "").unwrap();
        assert!(verify(&dir.path().join("empty")).is_err());
    }

    #[test]
    fn truncated_and_overwritten_files_are_noticed() {
        let (_dir, path, bytes) = sample();
        let damages: [fn(&mut Vec<u8>); 5] = [
            |bytes| bytes.truncate(100),
            |bytes| bytes.truncate(5000),
            |bytes| bytes.truncate(bytes.len() / 2),
            |bytes| bytes[2 * 4096..].fill(0),
            |bytes| bytes[..16].fill(0xAA),
        ];
        for damage in damages {
            let mut damaged = bytes.clone();
            damage(&mut damaged);
            std::fs::write(&path, damaged).unwrap();
            verify(&path).unwrap_err();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn arbitrary_damage_never_panics_and_what_passes_can_be_read(
            spots in proptest::collection::vec((0.0..1.0f64, 0u8..), 1..4)
        ) {
            thread_local!(static SAMPLE: (TempDir, PathBuf, Vec<u8>) = sample());
            SAMPLE.with(|(dir, path, bytes)| {
                let mut damaged = bytes.clone();
                for (place, value) in spots {
                    let at = (place * damaged.len() as f64) as usize;
                    damaged[at] = value;
                }
                std::fs::write(path, damaged).unwrap();
                if let Ok(env) = Env::open(dir.path(), 1 << 24) {
                    let _ = env.read(|tables, txn| {
                        for table in [tables.streams, tables.postings, tables.chunks] {
                            assert!(table.iter(txn)?.take(50_000).all(|entry| entry.is_ok()));
                        }
                        Ok(())
                    });
                }
            });
        }
    }
}
