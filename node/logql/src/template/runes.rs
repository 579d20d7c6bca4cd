//! Walks bytes as Go walks a string: code point by code point, a byte that is not UTF-8 standing for U+FFFD.

/// One step through a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rune {
    pub(super) value: char,
    /// Bytes it takes: 1 where they are not UTF-8.
    pub(super) width: usize,
}

/// The code point `bytes` starts with; `None` if they are empty.
pub(super) fn first(bytes: &[u8]) -> Option<Rune> {
    let lead = *bytes.first()?;
    let width = match lead {
        0x00..=0x7f => return Some(Rune { value: char::from(lead), width: 1 }),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    let decoded = bytes.get(..width).and_then(|head| std::str::from_utf8(head).ok());
    match decoded.and_then(|text| text.chars().next()) {
        Some(value) => Some(Rune { value, width }),
        None => Some(Rune { value: char::REPLACEMENT_CHARACTER, width: 1 }),
    }
}

/// The code point `bytes` ends with.
pub(super) fn last(bytes: &[u8]) -> Option<Rune> {
    let found = (1..=bytes.len().min(4)).find_map(|width| {
        first(&bytes[bytes.len() - width..])
            .filter(|rune| rune.width == width && (width > 1 || is_rune(rune)))
    });
    match found {
        None if bytes.is_empty() => None,
        None => Some(Rune { value: char::REPLACEMENT_CHARACTER, width: 1 }),
        found => found,
    }
}

fn is_rune(rune: &Rune) -> bool {
    rune.value != char::REPLACEMENT_CHARACTER
}

/// All code points with their byte offsets.
pub(super) fn iter(bytes: &[u8]) -> impl Iterator<Item = (usize, Rune)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rune = first(&bytes[at..])?;
        at += rune.width;
        Some((at - rune.width, rune))
    })
}

pub(super) fn count(bytes: &[u8]) -> usize {
    iter(bytes).count()
}

/// Byte offset of the code point number `index`, or the length if there are fewer.
pub(super) fn offset(bytes: &[u8], index: usize) -> usize {
    iter(bytes).nth(index).map_or(bytes.len(), |(at, _)| at)
}

pub(super) fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::{count, first, iter, last, offset};

    #[test]
    fn a_byte_that_is_not_utf8_is_one_rune() {
        let runes: Vec<_> = iter(b"a\xe6\x97z\xff").map(|(at, rune)| (at, rune.value)).collect();
        assert_eq!(runes, [(0, 'a'), (1, '\u{fffd}'), (2, '\u{fffd}'), (3, 'z'), (4, '\u{fffd}')]);
        assert_eq!(count("日本".as_bytes()), 2);
        assert_eq!(offset("日本".as_bytes(), 1), 3);
        assert_eq!(first(b""), None);
    }

    #[test]
    fn the_last_rune_is_found_from_the_end() {
        let check = |bytes: &[u8], want| assert_eq!(last(bytes).map(|r| (r.value, r.width)), want);
        check("aé".as_bytes(), Some(('é', 2)));
        check(b"a", Some(('a', 1)));
        check(b"\xff", Some(('\u{fffd}', 1)));
        check(b"\x97", Some(('\u{fffd}', 1)));
        check("\u{fffd}".as_bytes(), Some(('\u{fffd}', 3)));
        check(b"", None);
    }
}
