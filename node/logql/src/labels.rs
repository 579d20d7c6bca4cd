//! The labels of one line while it passes through a pipeline.
//!
//! A line starts with the labels of its stream and its structured metadata; parsers add to them, formatters
//! rename them, `drop` and `keep` take them away. [`LabelSet`] holds all three kinds in one arena that is
//! wound back, not freed, between lines, so that a line costs copies of a few bytes and no allocation. The
//! labels of the stream are copied once per stream; what a line does to them is an overlay.
//!
//! The rules are Loki's: a label that a parser finds and that the stream or the metadata already has becomes
//! `name_extracted`; a parsed label hides the others of its name; one that has been extracted, even if it was
//! dropped since, is not extracted again.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128_with_seed;

/// Says what went wrong with a line, as one of [`LineError`]'s names.
pub const ERROR_LABEL: &str = "__error__";
/// Says it in words.
pub const ERROR_DETAILS_LABEL: &str = "__error_details__";
/// What a parsed label gets behind its name when the stream or the metadata has that name already.
pub const DUPLICATE_SUFFIX: &str = "_extracted";

/// Labels that one line may add. Finding a label is a scan, so this bounds a hostile line's cost to a few
/// million comparisons; further labels are ignored.
const OVERLAY_LABELS_MAX: usize = 8192;
/// Bytes of names and values that one line may add. Deep JSON repeats its prefixes in every name, so a line
/// can ask for the square of its length; further labels are ignored.
const TEXT_BYTES_MAX: usize = 16 << 20;
/// Above this the arena is given back after the line that needed it.
const TEXT_BYTES_KEPT_MAX: usize = 1 << 20;

/// Where a label comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Category {
    /// A label of the stream.
    Stream,
    /// Structured metadata of the line.
    Metadata,
    /// Found in or made from the line by a stage.
    Parsed,
}

/// What a stage could not do; the value of `__error__`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineError {
    /// `json` or `unpack`.
    Json,
    /// `logfmt --strict`.
    Logfmt,
    /// A label filter whose label is not a quantity of the kind compared.
    LabelFilter,
    /// `line_format` or `label_format`.
    Template,
    /// `unwrap`.
    SampleExtraction,
}

impl LineError {
    /// The name clients see.
    pub fn name(self) -> &'static str {
        match self {
            LineError::Json => "JSONParserErr",
            LineError::Logfmt => "LogfmtParserErr",
            LineError::LabelFilter => "LabelFilterErr",
            LineError::Template => "TemplateFormatErr",
            LineError::SampleExtraction => "SampleExtractionErr",
        }
    }
}

/// What a line has of a name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// Nothing.
    New,
    /// The stream or the metadata has it.
    Collides,
    /// A parser found it, and only that.
    Extracted,
}

/// One label, borrowed from a [`LabelSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value.
    pub value: &'a str,
    /// Where it comes from.
    pub category: Category,
}

/// Name and value, one behind the other in the arena.
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    name_len: u32,
    value_len: u32,
    /// Tells most names apart without looking at them.
    tag: u32,
    category: Category,
    /// Whether it can be seen; a dead parsed entry still says "extracted".
    live: bool,
}

/// The labels of one line. See the module's text.
pub struct LabelSet {
    text: String,
    base_text_len: usize,
    /// Labels of the stream, sorted by name; dead ones are hidden for this line.
    base: Vec<Entry>,
    base_hash: u128,
    base_hidden: bool,
    overlay: Vec<Entry>,
    /// Live overlay entries by name; valid from `seal` to the next change.
    order: Vec<u32>,
    error: Option<LineError>,
    details: String,
    /// Where [`renamed`](Self::renamed) writes.
    renamed: String,
    /// Metadata that will be there, whether or not it is yet.
    expected: Option<&'static str>,
}

impl LabelSet {
    /// A set over the labels of a stream, in any order; of two with one name the later counts.
    pub fn new(stream: &[(&str, &str)]) -> LabelSet {
        let mut set = LabelSet {
            text: String::new(),
            base_text_len: 0,
            base: Vec::with_capacity(stream.len()),
            base_hash: 0,
            base_hidden: false,
            overlay: Vec::new(),
            order: Vec::new(),
            error: None,
            details: String::new(),
            renamed: String::new(),
            expected: None,
        };
        let mut sorted = stream.to_vec();
        sorted.sort_by_key(|(name, _)| *name);
        for (i, (name, value)) in sorted.iter().enumerate() {
            if sorted.get(i + 1).is_some_and(|next| next.0 == *name) {
                continue;
            }
            let entry = set.write(Category::Stream, name, |text| text.push_str(value));
            set.base_hash = set.base_hash.wrapping_add(set.entry_hash(&entry));
            set.base.push(entry);
        }
        set.base_text_len = set.text.len();
        set
    }

    /// Every line will have metadata of this name, even if it is only added at the end: parsers must give way.
    pub(crate) fn expect_metadata(&mut self, name: Option<&'static str>) {
        self.expected = name;
    }

    /// Forgets what the last line did.
    pub fn reset(&mut self) {
        self.text.truncate(self.base_text_len);
        if self.text.capacity() > self.base_text_len + TEXT_BYTES_KEPT_MAX {
            self.text.shrink_to(self.base_text_len + TEXT_BYTES_KEPT_MAX);
        }
        self.overlay.clear();
        self.order.clear();
        self.error = None;
        self.details.clear();
        if self.base_hidden {
            self.base_hidden = false;
            self.base.iter_mut().for_each(|entry| entry.live = true);
        }
    }

    /// The value of a visible label.
    pub fn get(&self, name: &str) -> Option<&str> {
        let entry = self.find_visible(name)?;
        Some(self.value(entry))
    }

    /// The value of a visible label, `__error__` and `__error_details__` included.
    pub fn get_or_error(&self, name: &str) -> Option<&str> {
        match name {
            ERROR_LABEL if self.error.is_some() => self.error.map(LineError::name),
            ERROR_DETAILS_LABEL if !self.details.is_empty() => Some(&self.details),
            _ => self.get(name),
        }
    }

    /// Where a visible label comes from.
    pub fn category(&self, name: &str) -> Option<Category> {
        self.find_visible(name).map(|entry| entry.category)
    }

    /// Whether the stream has a label of this name, hidden or not, or the metadata has it still: a parser
    /// must then call its label `name_extracted`.
    pub fn collides(&self, name: &str) -> bool {
        let tag = tag(name);
        self.expected == Some(name)
            || self.base.iter().any(|entry| self.is(entry, tag, name))
            || self
                .overlay
                .iter()
                .any(|entry| entry.live && entry.category == Category::Metadata && self.is(entry, tag, name))
    }

    /// Whether this line has had a parsed label of this name, even one dropped since.
    pub fn extracted(&self, name: &str) -> bool {
        let tag = tag(name);
        self.overlay.iter().any(|entry| entry.category == Category::Parsed && self.is(entry, tag, name))
    }

    /// What a parser must know of a name, in one look: see [`collides`](Self::collides) and
    /// [`extracted`](Self::extracted).
    pub(crate) fn presence(&self, name: &str) -> Presence {
        let tag = tag(name);
        if self.expected == Some(name) || self.base.iter().any(|entry| self.is(entry, tag, name)) {
            return Presence::Collides;
        }
        let mut presence = Presence::New;
        for entry in &self.overlay {
            if !self.is(entry, tag, name) {
                continue;
            }
            match entry.category {
                Category::Parsed => presence = Presence::Extracted,
                _ if entry.live => return Presence::Collides,
                _ => {}
            }
        }
        presence
    }

    /// Adds a parsed label that is [`Presence::New`], so that there is nothing to hide or to replace.
    pub(crate) fn add_new_parsed(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        if self.is_full() {
            return;
        }
        let entry = self.write(Category::Parsed, name, write);
        self.overlay.push(entry);
    }

    /// Adds structured metadata, as `name_extracted` where the stream has the name already.
    pub fn add_metadata(&mut self, name: &str, value: &str) {
        match name {
            ERROR_LABEL | ERROR_DETAILS_LABEL => {
                self.put(Category::Parsed, name, |text| text.push_str(value))
            }
            _ if self.base_has(name) => self.renamed(name, |labels, renamed| {
                labels.put(Category::Metadata, renamed, |text| text.push_str(value));
            }),
            _ => self.put(Category::Metadata, name, |text| text.push_str(value)),
        }
    }

    /// Calls `with` with `name_extracted`, which lies in a buffer kept from line to line.
    pub(crate) fn renamed<T>(&mut self, name: &str, with: impl FnOnce(&mut Self, &str) -> T) -> T {
        let mut renamed = std::mem::take(&mut self.renamed);
        renamed.clear();
        renamed.extend([name, DUPLICATE_SUFFIX]);
        let done = with(self, &renamed);
        self.renamed = renamed;
        done
    }

    /// Sets a parsed label, which hides those of its name in the other categories.
    pub fn set_parsed(&mut self, name: &str, value: &str) {
        self.set_parsed_with(name, |text| text.push_str(value));
    }

    /// [`set_parsed`](Self::set_parsed) with a value that is appended to the arena; `write` may only append.
    pub fn set_parsed_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        let tag = tag(name);
        self.hide_base(tag, name);
        for i in 0..self.overlay.len() {
            let entry = self.overlay[i];
            if entry.category == Category::Metadata && self.is(&entry, tag, name) {
                self.overlay[i].live = false;
            }
        }
        self.put(Category::Parsed, name, write);
    }

    /// Gives `target` the value of `source` and removes `source`; nothing happens if that is not visible.
    pub fn rename(&mut self, target: &str, source: &str) {
        let Some(entry) = self.find_visible(source).copied() else { return };
        let start = (entry.start + entry.name_len) as usize;
        self.set_parsed_with(target, |text| text.extend_from_within(start..start + entry.value_len as usize));
        self.remove(source);
    }

    /// Takes a label away from every category.
    pub fn remove(&mut self, name: &str) {
        let tag = tag(name);
        self.hide_base(tag, name);
        for i in 0..self.overlay.len() {
            let entry = self.overlay[i];
            if entry.live && self.is(&entry, tag, name) {
                self.overlay[i].live = false;
            }
        }
    }

    /// Takes away every label for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        for i in 0..self.base.len() {
            let entry = self.base[i];
            if entry.live && !keep(self.name(&entry), self.value(&entry)) {
                self.base[i].live = false;
                self.base_hidden = true;
            }
        }
        for i in 0..self.overlay.len() {
            let entry = self.overlay[i];
            if entry.live && !keep(self.name(&entry), self.value(&entry)) {
                self.overlay[i].live = false;
            }
        }
    }

    /// What went wrong with this line, if anything did.
    pub fn error(&self) -> Option<LineError> {
        self.error
    }

    /// What went wrong, in words; empty if nothing did.
    pub fn error_details(&self) -> &str {
        &self.details
    }

    /// Notes that something went wrong; a later error replaces an earlier one.
    pub fn set_error(&mut self, error: LineError, details: fmt::Arguments<'_>) {
        self.error = Some(error);
        self.details.clear();
        // Writing to a String cannot fail.
        let _ = fmt::Write::write_fmt(&mut self.details, details);
    }

    /// Notes that something went wrong, without a word on what.
    pub fn mark_error(&mut self, error: LineError) {
        self.error = Some(error);
    }

    /// Forgets `__error__`.
    pub fn clear_error(&mut self) {
        self.error = None;
    }

    /// Forgets `__error_details__`.
    pub fn clear_error_details(&mut self) {
        self.details.clear();
    }

    /// Ends the changes: turns the error into labels and sorts, so that [`iter`](Self::iter) can be called.
    pub fn seal(&mut self) {
        self.order.clear();
        if let Some(error) = self.error {
            self.put(Category::Parsed, ERROR_LABEL, |text| text.push_str(error.name()));
        }
        // Loki shows details left behind by `drop __error__` only if something else changed as well.
        if !self.details.is_empty() && (self.error.is_some() || self.base_hidden || !self.overlay.is_empty())
        {
            let details = std::mem::take(&mut self.details);
            self.put(Category::Parsed, ERROR_DETAILS_LABEL, |text| text.push_str(&details));
            self.details = details;
        }
        let mut order = std::mem::take(&mut self.order);
        order.extend((0..self.overlay.len() as u32).filter(|i| self.overlay[*i as usize].live));
        order.sort_unstable_by(|a, b| {
            self.name(&self.overlay[*a as usize]).cmp(self.name(&self.overlay[*b as usize]))
        });
        self.order = order;
    }

    /// The visible labels by name. Only what [`seal`](Self::seal) has seen: stages use
    /// [`visible`](Self::visible).
    pub fn iter(&self) -> impl Iterator<Item = Label<'_>> {
        let mut base = self.base.iter().filter(|entry| entry.live).peekable();
        let mut overlay = self.order.iter().map(|i| &self.overlay[*i as usize]).peekable();
        std::iter::from_fn(move || {
            let overlay_first = match (base.peek(), overlay.peek()) {
                (Some(b), Some(o)) => self.name(o) < self.name(b),
                (None, _) => true,
                (Some(_), None) => false,
            };
            let next = if overlay_first { overlay.next() } else { base.next() };
            next.map(|entry| self.label(entry))
        })
    }

    /// The visible labels in no particular order, without the error's.
    pub fn visible(&self) -> impl Iterator<Item = Label<'_>> {
        self.base.iter().chain(&self.overlay).filter(|entry| entry.live).map(|entry| self.label(entry))
    }

    /// Tells the visible labels of one line from those of another, whatever their categories and whatever
    /// stream they come from. A sum of the labels' hashes, so that nothing needs sorting and a line that
    /// changes nothing costs nothing. Call after [`seal`](Self::seal).
    pub fn hash(&self) -> u128 {
        let hidden = self.base.iter().filter(|entry| !entry.live);
        let hash = hidden.fold(self.base_hash, |sum, entry| sum.wrapping_sub(self.entry_hash(entry)));
        let added = self.overlay.iter().filter(|entry| entry.live);
        added.fold(hash, |sum, entry| sum.wrapping_add(self.entry_hash(entry)))
    }

    fn base_has(&self, name: &str) -> bool {
        let tag = tag(name);
        self.base.iter().any(|entry| self.is(entry, tag, name))
    }

    fn find_visible(&self, name: &str) -> Option<&Entry> {
        let tag = tag(name);
        self.overlay.iter().chain(&self.base).find(|entry| entry.live && self.is(entry, tag, name))
    }

    fn hide_base(&mut self, tag: u32, name: &str) {
        if let Some(i) = self.base.iter().position(|entry| entry.live && self.is(entry, tag, name)) {
            self.base[i].live = false;
            self.base_hidden = true;
        }
    }

    /// Appends or replaces an overlay entry of this category and name.
    fn put(&mut self, category: Category, name: &str, write: impl FnOnce(&mut String)) {
        if self.is_full() {
            return;
        }
        let entry = self.write(category, name, write);
        let same = self.overlay.iter().position(|e| e.category == category && self.is(e, entry.tag, name));
        match same {
            Some(i) => self.overlay[i] = entry,
            None => self.overlay.push(entry),
        }
    }

    fn is_full(&self) -> bool {
        self.overlay.len() >= OVERLAY_LABELS_MAX || self.text.len() - self.base_text_len > TEXT_BYTES_MAX
    }

    fn write(&mut self, category: Category, name: &str, write: impl FnOnce(&mut String)) -> Entry {
        let start = self.text.len();
        self.text.push_str(name);
        write(&mut self.text);
        let value_len = (self.text.len() - start - name.len()) as u32;
        Entry {
            start: start as u32,
            name_len: name.len() as u32,
            value_len,
            tag: tag(name),
            category,
            live: true,
        }
    }

    fn is(&self, entry: &Entry, tag: u32, name: &str) -> bool {
        entry.tag == tag && self.name(entry) == name
    }

    fn name(&self, entry: &Entry) -> &str {
        &self.text[entry.start as usize..][..entry.name_len as usize]
    }

    fn value(&self, entry: &Entry) -> &str {
        &self.text[(entry.start + entry.name_len) as usize..][..entry.value_len as usize]
    }

    fn label(&self, entry: &Entry) -> Label<'_> {
        Label { name: self.name(entry), value: self.value(entry), category: entry.category }
    }

    fn entry_hash(&self, entry: &Entry) -> u128 {
        let text = &self.text[entry.start as usize..][..(entry.name_len + entry.value_len) as usize];
        xxh3_128_with_seed(text.as_bytes(), u64::from(entry.name_len))
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.visible()).finish()
    }
}

/// Length and some bytes of a name: cheap to make, and enough to tell the names of one line apart.
fn tag(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let at = |i: usize| u32::from(bytes.get(i).copied().unwrap_or(0));
    let last = u32::from(bytes.last().copied().unwrap_or(0));
    let middle = u32::from(bytes.get(bytes.len() / 2).copied().unwrap_or(0));
    (at(0) | middle << 8 | last << 16 | at(2) << 24) ^ (bytes.len() as u32).wrapping_mul(0x9E37_79B1)
}

#[cfg(test)]
mod tests;
