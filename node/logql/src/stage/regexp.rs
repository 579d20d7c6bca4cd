//! `| regexp "(?P<name>…)"`: the named groups of the first match.

use regex::bytes::CaptureLocations;

use crate::pipeline::CompileError;
use crate::re2::Re2;
use crate::stage::extract::{Extract, Flow};

/// A compiled `regexp`.
#[derive(Debug)]
pub(crate) struct Regexp {
    regex: Re2,
    /// Index and name of the named groups.
    groups: Vec<(usize, String)>,
}

impl Regexp {
    /// Compiles a `regexp`; at least one group must have a name, and each name must do for a label.
    pub(crate) fn compile(source: &str) -> Result<Regexp, CompileError> {
        let regex = Re2::new(source)?;
        let named = regex.group_names().filter_map(|(i, name)| Some((i, name?.to_string())));
        let groups: Vec<_> = named.collect();
        if groups.is_empty() {
            return Err(CompileError::NoNamedGroup(source.into()));
        }
        if let Some((_, name)) = groups.iter().find(|(_, name)| !is_label_name(name)) {
            return Err(CompileError::LabelName(name.clone()));
        }
        Ok(Regexp { regex, groups })
    }

    /// Room for the groups of one match.
    pub(super) fn locations(&self) -> CaptureLocations {
        self.regex.locations()
    }

    /// Extracts from a line. False if the line is to be dropped.
    pub(super) fn apply(
        &self,
        line: &[u8],
        extract: &mut Extract<'_>,
        locations: &mut CaptureLocations,
    ) -> bool {
        let Some(text) = self.regex.captures(line, locations) else { return true };
        for (i, name) in &self.groups {
            let value = locations.get(*i).map_or("", |(start, end)| &text[start..end]);
            match extract.add(name, |out| out.push_str(value)) {
                Flow::Continue => {}
                Flow::Done => return true,
                Flow::Drop => return false,
            }
        }
        true
    }
}

fn is_label_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
