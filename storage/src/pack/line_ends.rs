//! Where lines end in a block that holds lines with inner newlines.
//!
//! Such lines are rare (stack traces), so the column lists only them. All numbers are varints:
//!
//! ```text
//! count | per line with inner newlines: lines without since the one before | its inner newlines
//! ```

use memchr::memchr_iter;

use super::cursor::{Cursor, put_varint};
use super::error::FormatError;

const PART: &str = "line ends";

/// Appends the column of a text whose lines end (at the newline that terminates them) at `ends`.
pub(crate) fn encode(text: &[u8], ends: &[u32], out: &mut Vec<u8>) {
    let (mut count, mut pairs) = (0, Vec::new());
    let (mut start, mut without) = (0, 0);
    for end in ends {
        let end = *end as usize;
        let inner = memchr_iter(b'\n', &text[start..end]).count() as u64;
        start = end + 1;
        if inner == 0 {
            without += 1;
            continue;
        }
        count += 1;
        put_varint(&mut pairs, without);
        put_varint(&mut pairs, inner);
        without = 0;
    }
    put_varint(out, count);
    out.extend_from_slice(&pairs);
}

/// Finds the ends of the `entries` lines of `text` by its newlines and the column, into `out`, which is cleared.
pub(crate) fn decode(
    bytes: &[u8],
    text: &[u8],
    entries: usize,
    out: &mut Vec<u32>,
) -> Result<(), FormatError> {
    out.clear();
    out.reserve(entries);
    let mut cursor = Cursor::new(PART, bytes);
    let mut newlines = memchr_iter(b'\n', text);
    let too_few = FormatError::new(PART, 0, "the text has fewer newlines");
    for _ in 0..cursor.count(2)? {
        let (without, inner) = (cursor.varint()?, cursor.varint()?);
        if without >= (entries - out.len()) as u64 {
            return Err(cursor.error("it lists more lines than there are"));
        }
        for _ in 0..without {
            out.push(newlines.next().ok_or_else(|| too_few.clone())? as u32);
        }
        let end = usize::try_from(inner).ok().and_then(|inner| newlines.nth(inner));
        out.push(end.ok_or_else(|| too_few.clone())? as u32);
    }
    cursor.finish()?;
    out.extend(newlines.map(|end| end as u32));
    if out.len() != entries || out.last().map(|end| *end as usize + 1) != Some(text.len()) {
        return Err(FormatError::new(PART, 0, "the text has other lines"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::{decode, encode};

    proptest! {
        #[test]
        fn any_line_ends_read_back(lines in vec("[a\n]{0,5}", 1..50)) {
            let (mut text, mut ends) = (Vec::new(), Vec::new());
            for line in &lines {
                text.extend_from_slice(line.as_bytes());
                ends.push(text.len() as u32);
                text.push(b'\n');
            }
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            encode(&text, &ends, &mut bytes);
            decode(&bytes, &text, ends.len(), &mut back).unwrap();
            prop_assert_eq!(&back, &ends);
            prop_assert!(decode(&bytes, &text, ends.len() + 1, &mut back).is_err());
        }

        #[test]
        fn damaged_columns_never_panic(
            bytes in vec(any::<u8>(), 0..20), text in vec(0_u8..20, 0..100), entries in 1_usize..100,
        ) {
            let mut out = Vec::new();
            if decode(&bytes, &text, entries, &mut out).is_ok() {
                prop_assert_eq!(out.len(), entries);
                prop_assert!(out.iter().all(|end| text[*end as usize] == b'\n'));
            }
        }
    }
}
