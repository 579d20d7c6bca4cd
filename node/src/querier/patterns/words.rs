//! Cuts a line into words and what stands between them.
//!
//! Lines of one template nearly always share their punctuation: what stands between the words is their shape,
//! and only lines of one shape are compared word by word.

use std::ops::Range;

use xxhash_rust::xxh3::Xxh3;

/// Words of a line that are told apart; the rest of the line counts as one.
pub const WORDS_MAX: usize = 160;
/// Bytes of a line that are cut into words; the rest belongs to the last word.
pub const LINE_BYTES_MAX: usize = 2048;

/// Lets the shape tell words from what stands between them: no separator byte is 0.
const WORD_MARK: u8 = 0;

/// Cuts a line; `words` gets the range of each. Gives back the shape's hash.
pub fn split(line: &[u8], words: &mut Vec<Range<usize>>) -> u64 {
    words.clear();
    let mut shape = Xxh3::new();
    let mut at = 0;
    while at < line.len() {
        let start = at;
        while at < line.len() && !is_separator(line, at) {
            at += 1;
        }
        if at > start {
            shape.update(&[WORD_MARK]);
            if words.len() + 1 == WORDS_MAX || at > LINE_BYTES_MAX {
                words.push(start..line.len());
                break;
            }
            words.push(start..at);
        }
        let start = at;
        while at < line.len() && is_separator(line, at) {
            at += 1;
        }
        shape.update(&line[start..at]);
    }
    shape.digest()
}

/// A dot separates only what it stands between as letters: `org.apache` is two words, `10.2` is one.
fn is_separator(line: &[u8], at: usize) -> bool {
    let is_letter = |at: Option<usize>| at.and_then(|at| line.get(at)).is_some_and(u8::is_ascii_alphabetic);
    match line[at] {
        b'.' => is_letter(at.checked_sub(1)) && is_letter(at.checked_add(1)),
        b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'<' | b'>' | b'"' | b'\'' | b'`' => true,
        b',' | b';' | b':' | b'=' | b'|' | b'&' | b'?' | b'!' | b'*' | b'/' | b'@' => true,
        byte => byte.is_ascii_whitespace(),
    }
}

/// Whether a word has a digit: most such words differ from line to line.
pub fn has_digit(word: &[u8]) -> bool {
    word.iter().any(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::{LINE_BYTES_MAX, WORDS_MAX, split};

    fn words(line: &str) -> Vec<&str> {
        let mut found = Vec::new();
        split(line.as_bytes(), &mut found);
        found.into_iter().map(|range| &line[range]).collect()
    }

    #[test]
    fn punctuation_separates_words() {
        assert_eq!(words(""), [""; 0]);
        assert_eq!(words("a b=c"), ["a", "b", "c"]);
        assert_eq!(words(r#"{"a_b":"x y"}"#), ["a_b", "x", "y"]);
        assert_eq!(
            words("org.apache 10.2.3.4:80 blk_-12 x."),
            ["org", "apache", "10.2.3.4", "80", "blk_-12", "x."]
        );
    }

    #[test]
    fn lines_of_other_words_share_their_shape_and_of_other_punctuation_do_not() {
        let shape = |line: &str| split(line.as_bytes(), &mut Vec::new());
        assert_eq!(shape("took 5 ms"), shape("came 17 m"));
        for other in ["took 5 ms ", "took  5 ms", "took 5", "took=5 ms", "took 5 ms x"] {
            assert_ne!(shape("took 5 ms"), shape(other), "{other}");
        }
    }

    #[test]
    fn the_end_of_a_long_line_is_one_word() {
        let line = "w ".repeat(WORDS_MAX + 5);
        assert_eq!(words(&line).len(), WORDS_MAX);
        let line = format!("{} a b", "x".repeat(LINE_BYTES_MAX + 1));
        assert_eq!(words(&line), [line.as_str()]);
    }

    proptest! {
        #[test]
        fn words_ascend_and_none_is_empty(line in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut words = Vec::new();
            split(&line, &mut words);
            assert!(words.iter().all(|word| word.start < word.end && word.end <= line.len()));
            assert!(words.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
