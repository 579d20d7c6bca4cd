//! What people see of a cluster in a real browser, wide and narrow.

use crate::harness::browser::look_at;
use crate::harness::cluster::{Site, agreed};

#[test]
fn the_page_of_the_ring_can_be_read_in_a_browser_wide_and_narrow() {
    let site = Site::new();
    let nodes = site.three();
    agreed(&nodes);
    let url = format!("{}/ring", nodes[0].url());
    for width in [1280, 390] {
        let Some(seen) = look_at(&url, width) else { return };
        assert!(seen.title.starts_with("Ring "), "{seen:?}");
        assert!(seen.text.contains("3 of 3 members live") && seen.rows >= 3, "{seen:?}");
        assert_eq!(seen.requests, [&*url], "it needs nothing but itself");
        assert!(!seen.overflows, "the table is moved sideways, not the page: {width} {seen:?}");
    }
}
