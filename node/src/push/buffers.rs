//! Buffers that bodies are unpacked into, used again and again.
//!
//! A body lives from its decoding until its lines are in the heads. A new buffer for each costs a page fault for every
//! 4 KiB and the zeroing of all of it: about 0.2 CPU seconds for a gigabyte of text.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use grapevine_storage::spare::Spare;

/// Clients send a mebibyte or two; what is larger goes back to the system.
static SPARE: Spare = Spare::new(8, 2 << 20);

/// A buffer of the wanted length, filled with anything; it comes back when it is dropped.
#[derive(Debug)]
pub(super) struct Buffer(Vec<u8>, usize);

/// A buffer of `len` bytes.
pub(super) fn take(len: usize) -> Buffer {
    let mut buffer = SPARE.take();
    if buffer.len() < len {
        // Zeroed once; its old contents need not be copied.
        buffer = vec![0; len];
    }
    Buffer(buffer, len)
}

impl Buffer {
    /// The first bytes of it, as long as anyone refers to them.
    pub(super) fn into_bytes(mut self, len: usize) -> Bytes {
        self.1 = self.1.min(len);
        Bytes::from_owner(self)
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0[..self.1]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0[..self.1]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        SPARE.give(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::take;

    #[test]
    fn a_buffer_has_the_length_asked_for_whatever_was_in_it_before() {
        for len in [0, 10, 3, 7, 5000, 1] {
            let mut buffer = take(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(len as u8);
            let bytes = buffer.into_bytes(len / 2);
            assert_eq!(bytes, vec![len as u8; len / 2]);
        }
    }
}
