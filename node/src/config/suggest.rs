//! The nearest name: what somebody meant who wrote a key that does not exist.

/// The candidate with the fewest edits between, if those are few for its length.
pub fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = candidates.into_iter().map(|name| (distance(written, name), name));
    let (edits, name) = scored.min()?;
    (edits <= 1 + name.len() / 3).then_some(name)
}

/// How many characters must be put in, taken out or replaced to get from one name to the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn edits_are_counted() {
        for (a, b, edits) in
            [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("a_b", "ab", 1), ("é", "e", 1)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (edits, edits), "{a} {b}");
        }
    }

    #[test]
    fn only_near_names_are_offered() {
        let names = ["data_dir", "http_listen", "chunk_store"];
        assert_eq!(nearest("datadir", names), Some("data_dir"));
        assert_eq!(nearest("http_listne", names), Some("http_listen"));
        assert_eq!(nearest("retention", names), None);
        assert_eq!(nearest("x", []), None);
    }
}
