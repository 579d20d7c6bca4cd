//! Conditions on labels, and the streams that may meet them.
//!
//! Postings only narrow the candidates; each candidate's labels are then held against every condition. So a
//! hash collision, or a posting too many, cannot change an answer.

use heed::RoTxn;
use regex::Regex;

use super::env::Tables;
use super::streams::{self, StreamValue};
use super::{IndexError, postings};
use crate::stream::StreamId;

/// While there are more candidates than this, the next condition's postings are intersected with them; below,
/// looking at each one's labels is cheaper.
const NARROW_ABOVE: usize = 256;

/// A condition on one label. As in Prometheus, a label that a stream lacks counts as an empty value.
#[derive(Clone, Debug)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// The condition on its value.
    pub test: Test,
}

/// A condition on a value.
#[derive(Clone, Debug)]
pub enum Test {
    /// `=`
    Equal(String),
    /// `!=`
    NotEqual(String),
    /// `=~`: an expression that is anchored at both ends.
    Regex(Regex),
    /// `!~`: the same, negated.
    NotRegex(Regex),
}

impl Matcher {
    /// A condition `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Matcher { name: name.to_owned(), test: Test::Equal(value.to_owned()) }
    }

    /// Compiles an expression as Prometheus does: anchored at both ends, `.` matches a line end too.
    ///
    /// # Errors
    /// The expression is not valid, or too large once compiled.
    pub fn anchored(expression: &str) -> Result<Regex, regex::Error> {
        Regex::new(&format!("^(?s:{expression})$"))
    }

    /// Whether a value meets the condition.
    pub fn matches(&self, value: &str) -> bool {
        match &self.test {
            Test::Equal(wanted) => value == wanted,
            Test::NotEqual(unwanted) => value != unwanted,
            Test::Regex(wanted) => wanted.is_match(value),
            Test::NotRegex(unwanted) => !unwanted.is_match(value),
        }
    }

    /// Whether only streams that have the label can meet the condition, so that postings find them all.
    fn needs_the_label(&self) -> bool {
        !self.matches("")
    }
}

pub(super) fn all_match(matchers: &[Matcher], stream: &StreamValue<'_>) -> bool {
    matchers.iter().all(|matcher| matcher.matches(stream.get(&matcher.name).unwrap_or_default()))
}

/// Ids, ascending, among which are those of all streams that meet the conditions.
pub(super) fn candidates(
    tables: &Tables,
    txn: &RoTxn<'_>,
    tenant: &str,
    matchers: &[Matcher],
) -> Result<Vec<StreamId>, IndexError> {
    let mut equal = Vec::new();
    let mut others = Vec::new();
    for matcher in matchers.iter().filter(|matcher| matcher.needs_the_label()) {
        match &matcher.test {
            Test::Equal(value) => equal.push((matcher.name.as_str(), value.as_str())),
            _ => others.push(matcher),
        }
    }
    let mut ids = smallest(tables, txn, tenant, &equal)?;
    for (name, value) in equal {
        if ids.as_ref().is_some_and(|ids| ids.len() > NARROW_ABOVE) {
            let more = postings::of_value(tables.postings, txn, tenant, name, value)?;
            narrow(&mut ids, more.collect::<Result<_, _>>()?);
        }
    }
    for matcher in others {
        if ids.as_ref().is_none_or(|ids| ids.len() > NARROW_ABOVE) {
            narrow(&mut ids, of_matching_values(tables, txn, tenant, matcher)?);
        }
    }
    match ids {
        Some(ids) => Ok(ids),
        None => streams::ids(tables.streams, txn, tenant),
    }
}

/// The shortest of several lists of postings, found by walking all of them in step until one ends: LMDB does
/// not say how long a list is.
fn smallest(
    tables: &Tables,
    txn: &RoTxn<'_>,
    tenant: &str,
    equal: &[(&str, &str)],
) -> Result<Option<Vec<StreamId>>, IndexError> {
    let mut lists = Vec::with_capacity(equal.len());
    for (name, value) in equal {
        lists.push((postings::of_value(tables.postings, txn, tenant, name, value)?, Vec::new()));
    }
    if lists.is_empty() {
        return Ok(None);
    }
    loop {
        for (list, ids) in &mut lists {
            match list.next() {
                Some(id) => ids.push(id?),
                None => return Ok(Some(std::mem::take(ids))),
            }
        }
    }
}

/// The streams whose value of the label meets the condition, ascending.
fn of_matching_values(
    tables: &Tables,
    txn: &RoTxn<'_>,
    tenant: &str,
    matcher: &Matcher,
) -> Result<Vec<StreamId>, IndexError> {
    let mut ids = Vec::new();
    postings::each_value(tables, txn, tenant, &matcher.name, |value, key| {
        if matcher.matches(value) { postings::of_key(tables.postings, txn, key, &mut ids) } else { Ok(()) }
    })?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn narrow(ids: &mut Option<Vec<StreamId>>, to: Vec<StreamId>) {
    match ids {
        None => *ids = Some(to),
        Some(ids) => {
            let mut to = to.into_iter().peekable();
            ids.retain(|id| {
                while to.next_if(|other| other < id).is_some() {}
                to.peek() == Some(id)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Matcher, Test, narrow};
    use crate::stream::StreamId;

    #[test]
    fn absent_labels_count_as_empty() {
        let regex = |text| Matcher::anchored(text).unwrap();
        let table = [
            (Test::Equal("a".into()), false, true),
            (Test::Equal(String::new()), true, false),
            (Test::NotEqual("a".into()), true, false),
            (Test::NotEqual(String::new()), false, true),
            (Test::Regex(regex("a|b")), false, true),
            (Test::Regex(regex("a*")), true, true),
            (Test::NotRegex(regex(".+")), true, false),
            (Test::NotRegex(regex("b")), true, true),
        ];
        for (test, empty, a) in table {
            let matcher = Matcher { name: "x".into(), test };
            assert_eq!((matcher.matches(""), matcher.matches("a")), (empty, a), "{matcher:?}");
        }
    }

    #[test]
    fn expressions_are_anchored_and_a_dot_takes_line_ends() {
        let regex = Matcher::anchored("a|b.").unwrap();
        for (text, matches) in [("a", true), ("b\n", true), ("ab", false), ("xa", false), ("b", false)] {
            assert_eq!(regex.is_match(text), matches, "{text:?}");
        }
    }

    #[test]
    fn narrowing_is_an_intersection() {
        let ids = |ids: &[u128]| ids.iter().copied().map(StreamId).collect::<Vec<_>>();
        let check = |before: Option<&[u128]>, to: &[u128], after: &[u128]| {
            let mut narrowed = before.map(ids);
            narrow(&mut narrowed, ids(to));
            assert_eq!(narrowed, Some(ids(after)));
        };
        check(None, &[1, 2], &[1, 2]);
        check(Some(&[1, 3, 5]), &[0, 1, 2, 5, 9], &[1, 5]);
        check(Some(&[1]), &[], &[]);
        check(Some(&[]), &[1], &[]);
    }
}
