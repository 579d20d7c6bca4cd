//! What happened, as one hash: two runs of a seed must agree on it, event by event.
//!
//! Every datagram, disk operation, fault, push and answer is an event. The hash tells whether two runs differ; a
//! kept trace tells where they first did, which names the leak (a random seed, an address, a thread).

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

use crate::det;
use crate::disk::Disk;

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

struct Trace {
    hash: Box<Xxh3Default>,
    events: u64,
    kept: Option<BufWriter<File>>,
}

/// What a trace comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Of all events, in order.
    pub hash: u64,
    /// How many there were.
    pub events: u64,
}

/// Begins the trace of this thread's simulation; events are written to a file too, if one is given.
///
/// # Errors
/// The file cannot be created.
pub fn begin(keep: Option<&Path>) -> io::Result<()> {
    let kept = keep.map(File::create).transpose()?.map(BufWriter::new);
    TRACE.set(Some(Trace { hash: Box::default(), events: 0, kept }));
    Ok(())
}

/// Adds an event: its kind, the node it happened on, and what it was about.
pub fn event(kind: &str, node: usize, data: &[u8]) {
    let _ = TRACE.try_with(|trace| {
        if let Ok(mut trace) = trace.try_borrow_mut() {
            trace.iter_mut().for_each(|trace| trace.add(kind, node, data));
        }
    });
}

/// Ends the trace of this thread's simulation.
///
/// # Errors
/// The file could not be written.
pub fn end() -> io::Result<Digest> {
    let Some(mut trace) = TRACE.take() else { return Ok(Digest { hash: 0, events: 0 }) };
    trace.kept.as_mut().map_or(Ok(()), Write::flush)?;
    Ok(Digest { hash: trace.hash.digest(), events: trace.events })
}

impl Trace {
    fn add(&mut self, kind: &str, node: usize, data: &[u8]) {
        let now = det::elapsed().as_nanos() as u64; // A simulation is shorter than 584 years.
        self.events += 1;
        self.hash.update(&now.to_le_bytes());
        self.hash.update(kind.as_bytes());
        self.hash.update(&(node as u64).to_le_bytes());
        self.hash.update(&(data.len() as u64).to_le_bytes());
        self.hash.update(data);
        if let Some(kept) = &mut self.kept {
            // A full disk shows when the trace ends.
            let hash = xxh3_64(data);
            let write = || writeln!(kept, "{now} {kind} node={node} bytes={} hash={hash:016x}", data.len());
            let _ = Disk::outside(write);
        }
    }
}

/// The first event in which two kept traces differ, with its number; none where they are equal.
///
/// # Errors
/// A file cannot be read.
pub fn first_difference(one: &Path, other: &Path) -> io::Result<Option<(u64, [String; 2])>> {
    let open = |path| File::open(path).map(|file| BufReader::new(file).lines());
    let (mut one, mut other) = (open(one)?, open(other)?);
    for number in 1.. {
        let pair = [one.next().transpose()?, other.next().transpose()?];
        match pair {
            [None, None] => break,
            [left, right] if left != right => {
                let shown = [left, right].map(|line| line.unwrap_or_else(|| "(the end)".into()));
                return Ok(Some((number, shown)));
            }
            _ => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::{begin, end, event, first_difference};

    fn run(events: &[(&str, &[u8])], keep: Option<&std::path::Path>) -> u64 {
        begin(keep).unwrap();
        events.iter().for_each(|(kind, data)| event(kind, 0, data));
        end().unwrap().hash
    }

    #[test]
    fn hash_tells_order_kind_and_cut_apart() {
        let base = run(&[("a", b"12"), ("b", b"3")], None);
        assert_eq!(base, run(&[("a", b"12"), ("b", b"3")], None));
        for other in
            [[("b", &b"3"[..]), ("a", b"12")], [("a", b"12"), ("c", b"3")], [("a", b"1"), ("b", b"23")]]
        {
            assert_ne!(base, run(&other, None), "{other:?}");
        }
    }

    #[test]
    fn first_differing_event_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
        run(&[("a", b"1"), ("b", b"2"), ("c", b"3")], Some(&one));
        run(&[("a", b"1"), ("b", b"x"), ("c", b"3")], Some(&other));
        let (number, [left, right]) = first_difference(&one, &other).unwrap().unwrap();
        assert_eq!(number, 2);
        assert!(left.contains(" b ") && left != right);
        run(&[("a", b"1")], Some(&other));
        let (number, [_, right]) = first_difference(&one, &other).unwrap().unwrap();
        assert_eq!((number, right.as_str()), (2, "(the end)"));
        assert_eq!(first_difference(&one, &one).unwrap(), None);
    }
}
