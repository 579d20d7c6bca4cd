//! `| json a="x.y[0]", b`: chosen values, all found in one walk over the line.

use crate::ast::Extraction;
use crate::labels::LineError;
use crate::pipeline::CompileError;
use crate::stage::extract::Extract;
use crate::stage::json::{JsonScratch, push_value};
use crate::stage::json_scan::{DEPTH_MAX, JsonError, Kind, Members, Value, elements};
use crate::stage::path::{Segment, json_path};

/// Expressions of one walk: as many as a word has bits.
const WALK_PATHS_MAX: usize = 64;

/// A compiled `json` with expressions.
#[derive(Debug)]
pub(crate) struct JsonPaths {
    paths: Vec<Path>,
}

#[derive(Debug)]
struct Path {
    label: String,
    segments: Vec<Segment>,
}

impl JsonPaths {
    /// Compiles a `json` with expressions.
    pub(crate) fn compile(source: &[Extraction]) -> Result<JsonPaths, CompileError> {
        let mut paths = Vec::with_capacity(source.len());
        for Extraction { label, expression } in source {
            paths.push(Path { label: label.clone(), segments: json_path(expression)? });
        }
        Ok(JsonPaths { paths })
    }

    /// Extracts from a line. A label whose value is not there is empty.
    pub(super) fn apply(&self, line: &[u8], extract: &mut Extract<'_>, scratch: &mut JsonScratch) {
        let Some(first) = line.first() else { return };
        if !matches!(first, b'"' | b'{' | b'[') {
            return extract.labels.mark_error(LineError::Json);
        }
        let mut complete = true;
        for paths in self.paths.chunks(WALK_PATHS_MAX) {
            let JsonScratch { key, unescaped, .. } = &mut *scratch;
            let missing = u64::MAX >> (WALK_PATHS_MAX - paths.len());
            let mut walk = Walk { paths, missing, extract, key, unescaped };
            let all = walk.missing;
            match first {
                b'{' => walk.object(line, 0, all),
                b'[' => walk.array(line, 0, all),
                _ => {}
            }
            complete &= walk.missing == 0;
        }
        if !complete {
            self.fill(extract);
        }
    }

    /// Sets what has no value yet to nothing.
    fn fill(&self, extract: &mut Extract<'_>) {
        for Path { label, .. } in &self.paths {
            if extract.labels.get(label).is_none() {
                extract.set(label, |_| {});
            }
        }
    }
}

struct Walk<'w, 'l> {
    paths: &'w [Path],
    /// A bit for each path not found yet.
    missing: u64,
    extract: &'w mut Extract<'l>,
    key: &'w mut Vec<u8>,
    unescaped: &'w mut Vec<u8>,
}

impl Walk<'_, '_> {
    /// Looks for the paths of `active`, whose first `depth` segments led here, in an object.
    fn object(&mut self, data: &[u8], depth: usize, active: u64) {
        let Ok(mut members) = Members::enter(data) else { return };
        while let Ok(Some(())) = members.find_key(self.key) {
            let key = members.key(self.key);
            let fitting =
                self.fitting(depth, active, |s| matches!(s, Segment::Key(k) if k.as_bytes() == key));
            match members.value() {
                Ok(value) => self.found(value, depth + 1, fitting),
                Err(error) => return self.broken(error, members.rest(), depth + 1, fitting),
            }
            if self.missing & active == 0 || members.advance().is_err() {
                return;
            }
        }
    }

    fn array(&mut self, data: &[u8], depth: usize, active: u64) {
        elements(data, |index, value| {
            let fitting = self.fitting(depth, active, |s| matches!(s, Segment::Index(i) if *i == index));
            self.found(value, depth + 1, fitting);
            self.missing & active != 0
        });
    }

    fn fitting(&self, depth: usize, active: u64, fits: impl Fn(&Segment) -> bool) -> u64 {
        let mut fitting = 0;
        for i in bits(active & self.missing) {
            if self.paths[i].segments.get(depth).is_some_and(&fits) {
                fitting |= 1 << i;
            }
        }
        fitting
    }

    /// Takes a value for the paths that end here and goes on into it for the others.
    fn found(&mut self, value: Value<'_>, depth: usize, fitting: u64) {
        for i in bits(fitting) {
            if self.paths[i].segments.len() == depth {
                self.missing &= !(1 << i);
                self.set(i, value);
            }
        }
        self.descend(value.kind, value.raw, depth, fitting & self.missing);
    }

    fn descend(&mut self, kind: Kind, raw: &[u8], depth: usize, fitting: u64) {
        if fitting == 0 || depth >= DEPTH_MAX {
            return;
        }
        match kind {
            Kind::Object => self.object(raw, depth, fitting),
            Kind::Array => self.array(raw, depth, fitting),
            _ => {}
        }
    }

    /// A value that cannot be read is an error for the paths that end here; others still look into it, since
    /// what they want may stand before the damage.
    fn broken(&mut self, error: JsonError, rest: &[u8], depth: usize, fitting: u64) {
        if bits(fitting).any(|i| self.paths[i].segments.len() == depth) {
            self.extract.labels.set_error(LineError::Json, format_args!("{error}"));
        }
        match rest.first() {
            Some(b'{') => self.descend(Kind::Object, rest, depth, fitting),
            Some(b'[') => self.descend(Kind::Array, rest, depth, fitting),
            _ => {}
        }
    }

    fn set(&mut self, i: usize, value: Value<'_>) {
        let unescaped = &mut *self.unescaped;
        self.extract.set_or_rename(&self.paths[i].label, |out| push_value(out, value, unescaped));
    }
}

/// The positions of a word's bits.
fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let i = (word != 0).then(|| word.trailing_zeros() as usize)?;
        word &= word - 1;
        Some(i)
    })
}
