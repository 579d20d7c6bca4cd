//! What a line's labels are after each stage that touches them.

use super::*;

fn check(set: &mut LabelSet, expected: &[(&str, &str, Category)]) {
    set.seal();
    let got: Vec<_> = set.iter().map(|l| (l.name, l.value, l.category)).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_reset_set_shows_the_stream_again() {
    let mut set = LabelSet::new(&[("b", "2"), ("a", "1")]);
    let fresh = set.hash();
    set.remove("a");
    set.set_parsed("b", "3");
    set.set_error(LineError::Json, format_args!("bad"));
    set.seal();
    assert_ne!(set.hash(), fresh);
    set.reset();
    assert_eq!(set.hash(), fresh);
    check(&mut set, &[("a", "1", Category::Stream), ("b", "2", Category::Stream)]);
}

#[test]
fn metadata_named_like_a_stream_label_gets_a_suffix() {
    let mut set = LabelSet::new(&[("app", "x")]);
    set.add_metadata("app", "z");
    set.add_metadata("trace", "t");
    assert!(set.collides("trace") && set.collides("app") && !set.collides("app_extracted_"));
    check(
        &mut set,
        &[
            ("app", "x", Category::Stream),
            ("app_extracted", "z", Category::Metadata),
            ("trace", "t", Category::Metadata),
        ],
    );
}

#[test]
fn a_parsed_label_hides_the_others_of_its_name() {
    let mut set = LabelSet::new(&[("app", "x")]);
    set.add_metadata("trace", "t");
    set.set_parsed("app", "1");
    set.set_parsed("trace", "2");
    assert_eq!(set.category("trace"), Some(Category::Parsed));
    check(&mut set, &[("app", "1", Category::Parsed), ("trace", "2", Category::Parsed)]);
}

#[test]
fn a_dropped_label_still_counts_as_extracted() {
    let mut set = LabelSet::new(&[]);
    set.set_parsed("a", "1");
    set.remove("a");
    assert!(set.extracted("a"));
    assert_eq!(set.get("a"), None);
    check(&mut set, &[]);
}

#[test]
fn renaming_moves_the_value_and_ignores_what_is_missing() {
    let mut set = LabelSet::new(&[("app", "x")]);
    set.rename("service", "app");
    set.rename("other", "missing");
    check(&mut set, &[("service", "x", Category::Parsed)]);
}

#[test]
fn equal_labels_hash_alike_wherever_they_come_from() {
    let mut stream = LabelSet::new(&[("a", "1"), ("b", "2")]);
    let mut parsed = LabelSet::new(&[("b", "2")]);
    parsed.set_parsed("a", "1");
    stream.seal();
    parsed.seal();
    assert_eq!(stream.hash(), parsed.hash());
    parsed.set_parsed("a", "12");
    parsed.seal();
    assert_ne!(stream.hash(), parsed.hash());
}

#[test]
fn errors_become_labels_when_the_line_is_done() {
    let mut set = LabelSet::new(&[]);
    set.set_error(LineError::Logfmt, format_args!("at {}", 3));
    check(
        &mut set,
        &[
            ("__error__", "LogfmtParserErr", Category::Parsed),
            ("__error_details__", "at 3", Category::Parsed),
        ],
    );
}

#[test]
fn a_line_cannot_add_labels_without_bound() {
    let mut set = LabelSet::new(&[]);
    let long = "x".repeat(TEXT_BYTES_MAX);
    set.set_parsed("a", &long);
    set.set_parsed("b", &long);
    set.set_parsed("c", &long);
    assert_eq!(set.get("c"), None);
    set.reset();
    assert!(set.text.capacity() <= TEXT_BYTES_KEPT_MAX);
}
