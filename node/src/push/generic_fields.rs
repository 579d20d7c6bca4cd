//! Fields that an operator wants beside each entry (`discover_generic_fields`): found when an entry arrives, among
//! its labels, in its structured metadata or in its line, and stored with it as structured metadata, as Loki does.

use std::collections::BTreeMap;

use grapevine_logql::field_sources::FieldSources;
use serde::{Deserialize, Serialize};

use super::batch::PushBatch;
use super::error::PushError;
use super::metadata::normalise_name;
use super::stream_cache::NamedStream;

/// Fields looked for, at most: each is looked for in each line.
const FIELDS_MAX: usize = 32;

/// Fields by name, and the names under which each is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenericFields {
    /// As Loki's file has it.
    pub fields: BTreeMap<String, Vec<String>>,
}

impl GenericFields {
    /// What is wrong with them: the name at fault, and why.
    pub fn fault(&self) -> Option<(String, &'static str)> {
        if self.fields.len() > FIELDS_MAX {
            return Some((self.fields.len().to_string(), "fields are too many: at most 32"));
        }
        let is_name = |name: &str| normalise_name(name).is_ok_and(|normal| normal == name);
        let wrong = self.fields.keys().find(|name| !is_name(name));
        wrong.map(|name| (name.clone(), "is no name of structured metadata: letters, digits and single `_`"))
    }

    /// Ready to be looked for.
    pub(super) fn compile(&self) -> Vec<(&str, FieldSources)> {
        let fields = self.fields.iter();
        fields.map(|(name, sources)| (name.as_str(), FieldSources::new(sources.clone()))).collect()
    }
}

/// Adds to an entry the fields that are found; whether there are any. What it has under such a name already stays.
pub(super) fn discover(
    fields: &[(&str, FieldSources)],
    batch: &mut PushBatch,
    named: &NamedStream,
    entry: usize,
) -> Result<bool, PushError> {
    let mut found_any = false;
    for (name, sources) in fields {
        let Some(value) = value(batch, named, entry, name, sources) else { continue };
        batch.add_metadata(entry, name, &String::from_utf8_lossy(&value))?;
        found_any = true;
    }
    Ok(found_any)
}

fn value(
    batch: &PushBatch,
    named: &NamedStream,
    entry: usize,
    name: &str,
    sources: &FieldSources,
) -> Option<Vec<u8>> {
    let metadata = |wanted: &str| batch.metadata_of(entry).find(|(name, _)| *name == wanted).map(|(_, v)| v);
    if metadata(name).is_some() {
        return None;
    }
    let found = sources.find(|name| named.labels.get(name), metadata, batch.line_of(entry))?;
    Some(found.into_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::GenericFields;
    use crate::limits::Limits;
    use crate::push::testing::{NOW, batch};
    use crate::push::validate::validate;

    fn limits() -> Limits {
        let trace = vec!["trace_id".to_owned(), "trace.id".to_owned()];
        let fields = BTreeMap::from([("trace".to_owned(), trace), ("who".to_owned(), vec!["a".to_owned()])]);
        Limits { discover_generic_fields: GenericFields { fields }, ..Limits::default() }
    }

    /// The metadata of an entry of the stream `{a="b"}` whose JSON this is, after validation.
    fn metadata(entry: &str, limits: &Limits) -> Vec<(String, String)> {
        let mut batch = batch(&format!(r#"{{"stream":{{"a":"b"}},"values":[["{NOW}",{entry}]]}}"#));
        validate(&mut batch, "t", limits, NOW).unwrap();
        assert!(batch.replayable.is_none(), "the body that was sent does not say what is stored");
        let mut found = Vec::new();
        batch.for_each_entry(&batch.streams()[0], |entry| {
            found.extend(entry.metadata.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        });
        found
    }

    #[track_caller]
    fn check(entry: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        assert_eq!(metadata(entry, &limits()), expected, "{entry}");
    }

    #[test]
    fn fields_are_stored_beside_what_an_entry_has() {
        check(r#""TRACE_ID=7 x""#, &[("trace", "7"), ("who", "b")]);
        check(r#""{\"trace\":{\"id\":9}}""#, &[("trace", "9"), ("who", "b")]);
        check(
            r#""trace_id=7",{"zone":"z","trace_id":"8","a0":"1"}"#,
            &[("a0", "1"), ("trace", "8"), ("trace_id", "8"), ("who", "b"), ("zone", "z")],
        );
        check(r#""trace_id=7",{"trace":"mine"}"#, &[("trace", "mine"), ("who", "b")]);
        check(r#""nothing""#, &[("who", "b")]);
    }

    #[test]
    fn nothing_is_looked_for_where_metadata_is_not_taken() {
        let limits = Limits { allow_structured_metadata: false, ..limits() };
        assert_eq!(metadata(r#""trace_id=7""#, &limits), []);
    }

    #[test]
    fn a_field_must_have_a_name_that_metadata_can_have() {
        let of = |name: &str| GenericFields { fields: BTreeMap::from([(name.to_owned(), Vec::new())]) };
        assert_eq!(of("trace_id").fault(), None);
        for name in ["trace.id", "1a", "", "a__b"] {
            assert!(of(name).fault().is_some(), "{name}");
        }
        let fields = (0..33).map(|n| (format!("f{n}"), Vec::new())).collect();
        assert!(GenericFields { fields }.fault().is_some());
    }
}
