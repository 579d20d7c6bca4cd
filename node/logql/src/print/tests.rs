use crate::parse::parse;

#[track_caller]
fn check(query: &str, canonical: &str) {
    assert_eq!(parse(query).unwrap().to_string(), canonical, "{query}");
}

#[test]
fn canonical_text_is_lokis() {
    check("{a=`x`}", r#"{a="x"}"#);
}
