//! The protobuf wire format: fields of a message, in place.
//!
//! Positions are those of the whole body, so that what is found can be kept as a range of it.

use std::ops::Range;

use super::error::PushError;

#[cold]
fn truncated() -> PushError {
    PushError::invalid("proto: unexpected end of message")
}

/// One field.
pub(super) struct Field {
    /// Its number.
    pub(super) number: u64,
    /// Its value.
    pub(super) value: Value,
}

/// A value as far as the wire tells.
pub(super) enum Value {
    /// A varint.
    Number(u64),
    /// Where a length-delimited field lies in the whole body.
    Bytes(Range<usize>),
    /// Four or eight bytes; no field that we read by hand has this type.
    Fixed,
}

/// A message within the body, read field by field. Positions are those of the whole body.
pub(super) struct Wire<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Wire<'a> {
    pub(super) fn whole(body: &'a [u8]) -> Self {
        Wire { message: body, at: 0 }
    }

    pub(super) fn part(body: &'a [u8], within: Range<usize>) -> Self {
        Wire { message: &body[..within.end], at: within.start }
    }

    #[inline]
    pub(super) fn field(&mut self) -> Result<Option<Field>, PushError> {
        if self.at == self.message.len() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.skip(len)?)
            }
            1 => self.skip(8).map(|_| Value::Fixed)?,
            5 => self.skip(4).map(|_| Value::Fixed)?,
            other => return Err(PushError::invalid(format!("proto: unsupported wire type `{other}`"))),
        };
        match key >> 3 {
            0 => Err(PushError::invalid("proto: illegal field number `0`")),
            number => Ok(Some(Field { number, value })),
        }
    }

    #[inline]
    fn skip(&mut self, len: u64) -> Result<Range<usize>, PushError> {
        let left = self.message.len() - self.at;
        if len > left as u64 {
            return Err(truncated());
        }
        let start = self.at;
        self.at += len as usize;
        Ok(start..self.at)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, PushError> {
        match self.message.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, PushError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.message.get(self.at).ok_or_else(truncated)?;
            self.at += 1;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(PushError::invalid("proto: a number takes more than ten bytes"))
    }
}

/// The other way round.
pub(super) mod write {
    /// Appends a varint.
    pub(in super::super) fn varint(out: &mut Vec<u8>, mut number: u64) {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }

    /// How many bytes [`varint`] appends.
    pub(in super::super) fn varint_len(number: u64) -> usize {
        (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
    }

    /// Appends a length-delimited field.
    pub(in super::super) fn bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
        out.push(number << 3 | 2);
        varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}
