//! Line filters as the block scan takes them.

use grapevine_logql::ast::{LineFilter as AstFilter, LineOp, LineOperand, Stage};
use grapevine_logql::pipeline::split_leading;
use grapevine_logql::re2::translate;
use grapevine_storage::scan::{LineFilter, Needle, Predicate};

use super::error::QueryError;

/// The line filters that see lines as they are stored, as one filter on blocks.
#[derive(Debug)]
pub struct Pushed {
    /// What every line that passes the query passes.
    pub filter: LineFilter,
    /// Whether it is all of the line filters asked for, so that what passes it need not be asked again.
    pub exact: bool,
}

/// The leading line filters of a query's stages.
///
/// # Errors
/// An expression that cannot be compiled.
pub fn of_stages(stages: &[Stage]) -> Result<Pushed, QueryError> {
    let (filters, _) = split_leading(stages);
    of_filters(&filters)
}

/// These line filters.
///
/// # Errors
/// An expression that cannot be compiled.
pub fn of_filters(filters: &[AstFilter]) -> Result<Pushed, QueryError> {
    let mut predicates = Vec::new();
    let mut exact = true;
    for filter in filters {
        match predicate(filter)? {
            Some(predicate) => predicates.push(predicate),
            None => exact = false,
        }
    }
    let filter = LineFilter::new(&predicates).map_err(|error| QueryError::Bad(error.to_string()))?;
    Ok(Pushed { filter, exact })
}

/// `None` for what blocks are not searched for: patterns and addresses.
fn predicate(filter: &AstFilter) -> Result<Option<Predicate>, QueryError> {
    let (negated, regex) = match filter.op {
        LineOp::Contains => (false, false),
        LineOp::NotContains => (true, false),
        LineOp::Regex => (false, true),
        LineOp::NotRegex => (true, true),
        LineOp::Pattern | LineOp::NotPattern => return Ok(None),
    };
    let mut any_of = Vec::new();
    for operand in &filter.operands {
        any_of.push(match (operand, regex) {
            (LineOperand::Text(text), true) => {
                Needle::Regex(translate(text).map_err(|error| QueryError::Bad(error.to_string()))?)
            }
            (LineOperand::Text(text), false) => Needle::Literal(text.clone().into_bytes()),
            (LineOperand::Bytes(bytes), false) => Needle::Literal(bytes.clone()),
            (LineOperand::Bytes(_), true) | (LineOperand::Ip(_), _) => return Ok(None),
        });
    }
    Ok(Some(Predicate { negated, any_of }))
}

#[cfg(test)]
mod tests {
    use grapevine_logql::ast::Expr;
    use grapevine_logql::parse::parse;

    use super::of_stages;

    fn check(query: &str, exact: bool, passes: &[&str], fails: &[&str]) {
        let Expr::Log(log) = parse(query).unwrap() else { panic!("{query} asks for lines") };
        let pushed = of_stages(&log.stages).unwrap();
        assert_eq!(pushed.exact, exact, "{query}");
        passes.iter().for_each(|line| assert!(pushed.filter.is_match(line.as_bytes()), "{query}: {line}"));
        fails.iter().for_each(|line| assert!(!pushed.filter.is_match(line.as_bytes()), "{query}: {line}"));
    }

    #[test]
    fn line_filters_become_searches_of_blocks() {
        check(r#"{a="b"}"#, true, &["", "x"], &[]);
        check(r#"{a="b"} |= "x" != "y""#, true, &["x"], &["xy", ""]);
        check(r#"{a="b"} |= "x" or "z" |~ "^[xz]$""#, true, &["x", "z"], &["xz", "y"]);
        check(r#"{a="b"} |= "\xc3x""#, true, &[], &["x", "\u{e9}x"]);
        check(r#"{a="b"} !~ "x+|y""#, true, &["z"], &["xx", "ay"]);
        check(r#"{a="b"} | json |= "x""#, true, &["x"], &["y"]);
    }

    #[test]
    fn what_blocks_are_not_searched_for_is_left_to_the_pipeline() {
        check(r#"{a="b"} |= ip("1.2.3.4") |= "x""#, false, &["x"], &["1.2.3.4"]);
        check(r#"{a="b"} |> "<_> y""#, false, &["anything"], &[]);
        check(r#"{a="b"} | line_format "z" |= "x""#, true, &["anything"], &[]);
    }
}
