//! Structured metadata of a block's entries, in memory and as a column.
//!
//! Mostly there is none, or the same for long runs of entries, or one name with a new value each time (a trace
//! id). So the column holds runs of entries with equal metadata, a dictionary of values per name, and where a
//! value appears for the first time no number but "the next new one". All numbers are varints:
//!
//! ```text
//! names: count, per name: length, bytes; count of its distinct values, per value: length, bytes
//! runs, until all entries are covered: entries | pairs | per pair: name number | 0 for the name's next unused
//!   value, else 1 + value number
//! ```

use std::collections::BTreeMap;

use super::cursor::{Cursor, put_string, put_varint};
use super::error::FormatError;

const PART: &str = "metadata";

/// A piece of the text, by start and end.
type Span = (u32, u32);

/// The metadata of a run of entries: what an open block gathers and what a column decodes to.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    text: String,
    pairs: Vec<(Span, Span)>,
    runs: Vec<Run>,
}

/// Consecutive entries with equal metadata.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// One past its last entry.
    entries_end: u32,
    /// One past its last pair.
    pairs_end: u32,
}

impl Metadata {
    /// How many entries it covers.
    pub fn entries(&self) -> usize {
        self.runs.last().map_or(0, |run| run.entries_end as usize)
    }

    /// Whether no entry has any.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Bytes held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.text.len() + self.pairs.len() * size_of::<(Span, Span)>() + self.runs.len() * size_of::<Run>()
    }

    /// Forgets all entries and keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.pairs.clear();
        self.runs.clear();
    }

    /// The pairs of an entry, in order of names; none beyond the last entry.
    pub fn pairs(&self, entry: usize) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        let run = self.runs.partition_point(|run| run.entries_end as usize <= entry);
        self.run_pairs(run)
    }

    fn run_pairs(&self, run: usize) -> impl ExactSizeIterator<Item = (&str, &str)> + Clone {
        let end = self.runs.get(run).map_or(0, |run| run.pairs_end as usize);
        let start = if end == 0 || run == 0 { 0 } else { self.runs[run - 1].pairs_end as usize };
        self.pairs[start..end].iter().map(|(name, value)| (self.piece(*name), self.piece(*value)))
    }

    fn piece(&self, (start, end): Span) -> &str {
        &self.text[start as usize..end as usize]
    }

    /// Takes in the metadata of the next entry. Names and values that the entry before has too are shared.
    pub fn push(&mut self, pairs: &[(&str, &str)]) {
        let entry = self.entries() as u32;
        let last = self.runs.len().wrapping_sub(1);
        if !self.runs.is_empty() && self.run_pairs(last).eq(pairs.iter().copied()) {
            self.runs[last].entries_end += 1;
            return;
        }
        let before = self.pairs_before();
        for (name, value) in pairs {
            let known = before.clone().map(|n| self.pairs[n]).find(|(n, _)| self.piece(*n) == *name);
            let name = known.map_or_else(|| self.keep(name), |(name, _)| name);
            let value = match known {
                Some((_, known)) if self.piece(known) == *value => known,
                _ => self.keep(value),
            };
            self.pairs.push((name, value));
        }
        self.runs.push(Run { entries_end: entry + 1, pairs_end: self.pairs.len() as u32 });
    }

    /// Gives the entries up to `entries` that it does not cover yet no metadata.
    pub(crate) fn pad(&mut self, entries: usize) {
        if self.entries() < entries {
            self.runs.push(Run { entries_end: entries as u32, pairs_end: self.pairs.len() as u32 });
        }
    }

    /// The places of the last run's pairs.
    fn pairs_before(&self) -> std::ops::Range<usize> {
        let start = self.runs.len().checked_sub(2).map_or(0, |n| self.runs[n].pairs_end as usize);
        start..self.pairs.len()
    }

    fn keep(&mut self, text: &str) -> Span {
        let start = self.text.len() as u32;
        self.text.push_str(text);
        (start, self.text.len() as u32)
    }

    /// Appends the column.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let mut names: BTreeMap<&str, Dictionary<'_>> = BTreeMap::new();
        let mut runs = Vec::new();
        let mut start = 0;
        // Names are numbered in their order once all are known; values as they come.
        for (name, value) in self.pairs.iter().map(|(name, value)| (self.piece(*name), self.piece(*value))) {
            names.entry(name).or_default().number(value);
        }
        for (number, dictionary) in names.values_mut().enumerate() {
            dictionary.name_number = number as u64;
        }
        for (n, run) in self.runs.iter().enumerate() {
            put_varint(&mut runs, u64::from(run.entries_end) - start);
            start = run.entries_end.into();
            let pairs = self.run_pairs(n);
            put_varint(&mut runs, pairs.len() as u64);
            for (name, value) in pairs {
                let dictionary = names.get_mut(name).expect("every name was numbered above");
                put_varint(&mut runs, dictionary.name_number);
                put_varint(&mut runs, dictionary.reference(value));
            }
        }
        put_varint(out, names.len() as u64);
        for (name, dictionary) in &names {
            put_string(out, name);
            put_varint(out, dictionary.values.len() as u64);
            dictionary.values.iter().for_each(|value| put_string(out, value));
        }
        out.extend_from_slice(&runs);
    }

    /// Reads the column of `entries` entries.
    pub(crate) fn decode(bytes: &[u8], entries: usize) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(PART, bytes);
        let mut metadata = Metadata::default();
        let names = (0..cursor.count(2)?)
            .map(|_| metadata.decode_name(&mut cursor))
            .collect::<Result<Vec<_>, _>>()?;
        let mut unused = vec![0; names.len()];
        while metadata.entries() < entries {
            let length = cursor.varint()?;
            let left = (entries - metadata.entries()) as u64;
            if !(1..=left).contains(&length) {
                return Err(cursor.error("a run's length is impossible"));
            }
            let entries_end = metadata.entries() as u32 + length as u32;
            for _ in 0..cursor.count(2)? {
                let pair = decode_pair(&mut cursor, &names, &mut unused)?;
                metadata.pairs.push(pair);
            }
            metadata.runs.push(Run { entries_end, pairs_end: metadata.pairs.len() as u32 });
        }
        cursor.finish()?;
        Ok(metadata)
    }

    fn decode_name(&mut self, cursor: &mut Cursor<'_>) -> Result<(Span, Vec<Span>), FormatError> {
        let name = self.keep(cursor.string()?);
        let values =
            (0..cursor.count(1)?).map(|_| Ok(self.keep(cursor.string()?))).collect::<Result<_, _>>()?;
        Ok((name, values))
    }
}

fn decode_pair(
    cursor: &mut Cursor<'_>,
    names: &[(Span, Vec<Span>)],
    unused: &mut [usize],
) -> Result<(Span, Span), FormatError> {
    let number = cursor.varint()? as usize;
    let (name, values) = names.get(number).ok_or_else(|| cursor.error("a name is unknown"))?;
    let value = match cursor.varint()? {
        0 => {
            unused[number] += 1;
            unused[number] - 1
        }
        known => (known - 1) as usize,
    };
    let value = values.get(value).ok_or_else(|| cursor.error("a value is unknown"))?;
    Ok((*name, *value))
}

/// The distinct values of one name, numbered as they appear.
#[derive(Default)]
struct Dictionary<'a> {
    name_number: u64,
    numbers: BTreeMap<&'a str, u64>,
    values: Vec<&'a str>,
    /// How many of them `reference` has named.
    named: u64,
}

impl<'a> Dictionary<'a> {
    fn number(&mut self, value: &'a str) {
        let next = self.values.len() as u64;
        if *self.numbers.entry(value).or_insert(next) == next {
            self.values.push(value);
        }
    }

    fn reference(&mut self, value: &str) -> u64 {
        let number = self.numbers[value];
        if number == self.named {
            self.named += 1;
            return 0;
        }
        number + 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::Metadata;

    fn check(entries: &[Vec<(&str, &str)>]) -> usize {
        let mut metadata = Metadata::default();
        entries.iter().for_each(|pairs| metadata.push(pairs));
        let mut bytes = Vec::new();
        metadata.encode(&mut bytes);
        let back = Metadata::decode(&bytes, entries.len()).unwrap();
        for metadata in [&metadata, &back] {
            assert_eq!(metadata.entries(), entries.len());
            for (n, pairs) in entries.iter().enumerate() {
                assert_eq!(metadata.pairs(n).collect::<Vec<_>>(), *pairs, "entry {n}");
            }
            assert_eq!(metadata.pairs(entries.len()).len(), 0);
        }
        bytes.len()
    }

    #[test]
    fn repeated_metadata_takes_no_room_per_entry() {
        let entries = vec![vec![("level", "info"), ("pod", "api-7")]; 5_000];
        assert!(check(&entries) < 40);
    }

    #[test]
    fn unique_values_take_four_bytes_beside_themselves() {
        let ids: Vec<String> = (0..1_000).map(|n| format!("{n:032x}")).collect();
        let entries: Vec<_> = ids.iter().map(|id| vec![("trace_id", id.as_str())]).collect();
        assert!(check(&entries) < 1_000 * (32 + 1 + 4) + 20);
    }

    #[test]
    fn entries_with_and_without_read_back() {
        check(&[vec![], vec![("a", "")], vec![], vec![], vec![("a", "1"), ("b", "1")], vec![("b", "1")]]);
    }

    proptest! {
        #[test]
        fn any_metadata_reads_back(entries in vec(btree_map("[a-d]{0,2}", "[xyé]{0,3}", 0..4), 1..40)) {
            let entries: Vec<Vec<(&str, &str)>> =
                entries.iter().map(|e| e.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect()).collect();
            check(&entries);
        }

        #[test]
        fn damaged_columns_never_panic(bytes in vec(any::<u8>(), 0..100), entries in 1_usize..2_000) {
            if let Ok(metadata) = Metadata::decode(&bytes, entries) {
                prop_assert_eq!(metadata.entries(), entries);
            }
        }
    }
}
