use super::parse;

#[test]
fn essential_faults_are_placed() {
    assert_eq!(
        parse("{app=}").unwrap_err().to_string(),
        "parse error at line 1, col 6: syntax error: unexpected }, expecting STRING"
    );
}
