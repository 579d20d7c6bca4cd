//! What is asked of a catalogue, as it travels. Selectors travel as text, as queries do.

use bincode::{Decode, Encode};
use grapevine_gossip::rpc::{Refusal, RefusalCode};
use grapevine_logql::ast::{Expr, LogExpr, Matcher};
use grapevine_logql::parse::{parse_log, parse_selector};
use grapevine_logql::print::to_query;

/// A time range: its first and last timestamp, ns.
pub type Bounds = (i64, i64);

/// A question to a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Sought {
    /// The names of labels.
    Names {
        /// Of streams like these.
        selector: String,
        /// With lines in this range.
        range: Bounds,
    },
    /// The values of a label.
    Values {
        /// The label.
        name: String,
        /// Of streams like these.
        selector: String,
        /// With lines in this range.
        range: Bounds,
    },
    /// Streams.
    Series {
        /// Like any of these.
        groups: Vec<String>,
        /// With lines in this range.
        range: Bounds,
    },
    /// How much there is.
    Totals {
        /// Of streams like these.
        selector: String,
        /// In this range.
        range: Bounds,
    },
    /// How much there is of each group.
    Volumes {
        /// Of streams like these.
        selector: String,
        /// In this range.
        range: Bounds,
        /// The labels that count; none given are all.
        labels: Option<Vec<String>>,
        /// One group a label name.
        by_name: bool,
        /// The parts of the range, ascending.
        parts: Vec<Bounds>,
    },
    /// The templates of lines.
    Patterns {
        /// Which lines.
        query: String,
        /// In this range.
        range: Bounds,
        /// Counted in buckets of so many ns.
        step: i64,
    },
}

/// A selector as it travels; one that selects everything is empty.
pub fn selector_text(selector: &[Matcher]) -> String {
    if selector.is_empty() {
        return String::new();
    }
    to_query(&Expr::Log(LogExpr { selector: selector.to_vec(), stages: Vec::new() }))
}

/// The selector of a text.
///
/// # Errors
/// It is none.
pub fn selector_of(text: &str) -> Result<Vec<Matcher>, Refusal> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    parse_selector(text).map_err(|error| invalid(&error))
}

/// The query for lines of a text.
///
/// # Errors
/// It is none.
pub fn log_of(text: &str) -> Result<LogExpr, Refusal> {
    parse_log(text).map_err(|error| invalid(&error))
}

/// What the node that asked has read, this one cannot: they are of different versions.
pub fn invalid(error: &dyn ToString) -> Refusal {
    Refusal::new(RefusalCode::Invalid, error.to_string())
}

#[cfg(test)]
mod tests {
    use grapevine_logql::parse::parse_selector;

    use super::{selector_of, selector_text};

    #[test]
    fn selectors_are_read_as_they_were_written() {
        for text in [r#"{a="b"}"#, r#"{a=~"x|y.*", b!="\"q\\", c!~".+"}"#] {
            let selector = parse_selector(text).unwrap();
            assert_eq!(selector_of(&selector_text(&selector)).unwrap(), selector, "{text}");
        }
        assert_eq!(selector_of(&selector_text(&[])).unwrap(), []);
        assert!(selector_of("{").is_err());
    }
}
