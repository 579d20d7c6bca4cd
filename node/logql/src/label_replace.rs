//! `label_replace(v, dst, replacement, src, regex)`.

use crate::plan::PlanError;
use crate::re2::{Re2, RegexError, lossy};
use crate::series::{SeriesLabels, StepMatrix};

/// A compiled `label_replace` expression, fully anchored.
#[derive(Debug)]
pub(crate) struct Replacement {
    regex: Re2,
}

impl Replacement {
    /// # Errors
    /// The expression does not compile.
    pub(crate) fn compile(regex: &str) -> Result<Self, PlanError> {
        let compiled = Re2::new(&format!("^(?:{regex})$"));
        let invalid =
            |error: RegexError| PlanError::InvalidRegex { regex: regex.to_owned(), reason: error.reason };
        compiled.map(|regex| Replacement { regex }).map_err(invalid)
    }

    /// Sets `dst` of every series whose `src` matches to `replacement`, `$1` and `${name}` filled in; an empty
    /// result removes it. Series that come out alike are not an error, as in Loki.
    pub(crate) fn apply(&self, matrix: &mut StepMatrix, dst: &str, replacement: &str, src: &str) {
        for series in &mut matrix.series {
            if let Some(labels) = self.labels(&series.labels, dst, replacement, src) {
                series.labels = labels;
            }
        }
    }

    fn labels(&self, labels: &SeriesLabels, dst: &str, replacement: &str, src: &str) -> Option<SeriesLabels> {
        let captures = self.regex.regex().captures(labels.get(src).as_bytes())?;
        let mut value = Vec::new();
        captures.expand(replacement.as_bytes(), &mut value);
        Some(labels.with(dst, &lossy(&value)))
    }
}

#[cfg(test)]
mod tests {
    use super::Replacement;
    use crate::series::SeriesLabels;

    fn check(regex: &str, replacement: &str, expected: Option<&str>) {
        let labels: SeriesLabels = [("pod", "api-1"), ("new", "old")].into_iter().collect();
        let found = Replacement::compile(regex).unwrap().labels(&labels, "new", replacement, "pod");
        assert_eq!(
            found.map(|labels| labels.get("new").to_owned()).as_deref(),
            expected,
            "{regex} {replacement}"
        );
    }

    #[test]
    fn a_matching_series_gets_the_label_and_others_stay() {
        check("api-(.*)", "$1", Some("1"));
        check("api-(.*)", "${1}x", Some("1x"));
        check("(?P<name>.*)", "$name", Some("api-1"));
        check("api", "$0", None);
        check("web-(.*)", "$1", None);
    }

    #[test]
    fn an_empty_value_removes_the_label() {
        check("(a)(z)?.*", "$2", Some(""));
        check("(.*)", "$1x", Some(""));
    }

    #[test]
    fn a_missing_source_is_an_empty_text() {
        let labels: SeriesLabels = [("pod", "api-1")].into_iter().collect();
        let found = Replacement::compile("").unwrap().labels(&labels, "new", "x", "missing");
        assert_eq!(found.unwrap().get("new"), "x");
    }

    #[test]
    fn an_expression_that_does_not_compile_is_refused() {
        assert!(Replacement::compile("(").unwrap_err().to_string().contains("`(`"));
    }
}
