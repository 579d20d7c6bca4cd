//! Bounded reading of little-endian numbers and LEB128 varints, and the writing of the latter.
//!
//! Every decoder of this folder reads through [`Cursor`], so that no length is trusted before it was compared
//! with the bytes that are left.

use super::error::FormatError;

pub(crate) struct Cursor<'a> {
    part: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(part: &'static str, bytes: &'a [u8]) -> Self {
        Cursor { part, bytes, at: 0 }
    }

    pub(crate) fn error(&self, problem: &'static str) -> FormatError {
        FormatError::new(self.part, self.at, problem)
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..length).ok_or_else(|| self.error("it ends early"))?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FormatError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, FormatError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FormatError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, FormatError> {
        self.array().map(i64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, FormatError> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, FormatError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return Err(self.error("a number exceeds 64 bits"));
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.error("a number exceeds 64 bits"))
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32, FormatError> {
        let value = self.varint()?;
        u32::try_from(value).map_err(|_| self.error("a number exceeds 32 bits"))
    }

    /// A count of things that take at least `bytes_each` bytes in what is left, so that it bounds allocation.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Result<usize, FormatError> {
        let count = self.varint()?;
        let most = (self.remaining() / bytes_each) as u64;
        if count > most {
            return Err(self.error("a count exceeds what the bytes can hold"));
        }
        Ok(count as usize)
    }

    /// A string behind its length.
    pub(crate) fn string(&mut self) -> Result<&'a str, FormatError> {
        let length = self.count(1)?;
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| self.error("a string is not UTF-8"))
    }

    /// Refuses bytes that nothing has read.
    pub(crate) fn finish(self) -> Result<(), FormatError> {
        if self.remaining() > 0 { Err(self.error("bytes are left over")) } else { Ok(()) }
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn put_string(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Maps small negative numbers to small unsigned ones.
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

pub(crate) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{Cursor, put_varint, unzigzag, zigzag};

    proptest! {
        #[test]
        fn varints_read_back(value in any::<u64>(), shift in 0_u32..64) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut cursor = Cursor::new("varint", &bytes);
            prop_assert_eq!(cursor.varint(), Ok(value));
            prop_assert_eq!(cursor.finish(), Ok(()));
        }

        #[test]
        fn zigzag_reads_back(value in any::<i64>()) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        for bytes in
            [&[0xFF; 11][..], &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2][..], &[0x80][..]]
        {
            assert!(Cursor::new("varint", bytes).varint().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn counts_are_bounded_by_what_is_left() {
        assert!(Cursor::new("list", &[3, 0, 0]).count(1).is_err());
        assert_eq!(Cursor::new("list", &[2, 0, 0]).count(1), Ok(2));
    }
}
