//! Buffers kept to be used again.
//!
//! A large buffer that is freed goes back to the system, and the next one costs a page fault and the clearing of a page
//! for every 4 KiB: for the text of all blocks together a tenth of the CPU that ingesting takes.

use std::sync::{Mutex, MutexGuard};

/// A bounded store of buffers that nobody uses.
#[derive(Debug)]
pub struct Spare {
    kept: Mutex<Vec<Vec<u8>>>,
    most: usize,
    bytes_max: usize,
}

impl Spare {
    /// Keeps `most` buffers of at most `bytes_max` bytes each; others go back to the system.
    pub const fn new(most: usize, bytes_max: usize) -> Self {
        Spare { kept: Mutex::new(Vec::new()), most, bytes_max }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.kept.lock().expect("no one panics with the spare buffers locked")
    }

    /// The buffer that came last, with whatever is in it, or an empty one.
    pub fn take(&self) -> Vec<u8> {
        self.kept().pop().unwrap_or_default()
    }

    /// Takes back a buffer.
    pub fn give(&self, buffer: Vec<u8>) {
        if buffer.capacity() == 0 || buffer.capacity() > self.bytes_max {
            return;
        }
        let mut kept = self.kept();
        if kept.len() < self.most {
            kept.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Spare;

    #[test]
    fn so_many_buffers_are_kept_and_none_too_large() {
        let spare = Spare::new(2, 100);
        for capacity in [0, 101, 10, 20, 30] {
            spare.give(Vec::with_capacity(capacity));
        }
        let capacities: Vec<usize> = std::iter::repeat_with(|| spare.take().capacity()).take(3).collect();
        assert_eq!(capacities, [20, 10, 0]);
    }
}
