//! Maps resources, scopes and records onto streams and entries.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::attributes::{Action, OtlpConfig};
use super::value;
use crate::push::batch::{BatchBuilder, PushBatch, Span};
use crate::push::error::PushError;
use crate::push::metadata::normalise_name;
use crate::push::service_name::{SERVICE_NAME, UNKNOWN_SERVICE};
use crate::push::stream_cache::{NamedStream, Naming};

type LabelMap = BTreeMap<String, String>;
type Pairs = Vec<(Span, Span)>;

/// The state of the walk: the resource and scope that the next record belongs to.
pub(super) struct Mapping<'a> {
    builder: BatchBuilder,
    config: &'a OtlpConfig,
    naming: Naming<'a>,
    now: i64,
    labels: LabelMap,
    resource: Pairs,
    scope: Pairs,
    /// Records of the resource so far. Records of one stream must lie together, and attributes of records
    /// may put neighbours into different streams.
    pending: Vec<Pending>,
    streams: BTreeMap<LabelMap, Arc<NamedStream>>,
}

struct Pending {
    stream: Arc<NamedStream>,
    timestamp: i64,
    line: Span,
    metadata: Range<usize>,
}

impl<'a> Mapping<'a> {
    pub(super) fn new(builder: BatchBuilder, config: &'a OtlpConfig, naming: Naming<'a>, now: i64) -> Self {
        Mapping {
            builder,
            config,
            naming,
            now,
            labels: LabelMap::new(),
            resource: Pairs::new(),
            scope: Pairs::new(),
            pending: Vec::new(),
            streams: BTreeMap::new(),
        }
    }

    pub(super) fn resource(&mut self, resource: &Resource) -> Result<(), PushError> {
        self.labels.clear();
        self.resource.clear();
        let named = resource
            .attributes
            .iter()
            .any(|pair| pair.key == "service.name" && !value::text(pair.value.as_ref()).is_empty());
        let mut discover = !named && !self.naming.service_name_sources.is_empty();
        let mut found = None;
        for pair in &resource.attributes {
            match self.config.resource(&pair.key) {
                Action::Drop => {}
                Action::StructuredMetadata => {
                    let (builder, pairs) = (&mut self.builder, &mut self.resource);
                    flatten(pair, &mut |name, value| add_pair(builder, pairs, &name, &value))?;
                }
                Action::IndexLabel => {
                    let (labels, sources) = (&mut self.labels, self.naming.service_name_sources);
                    flatten(pair, &mut |name, value| {
                        if discover && sources.contains(&name) {
                            found = Some(value.clone());
                            discover = false;
                        }
                        labels.insert(name, value);
                        Ok(())
                    })?;
                }
            }
        }
        if discover {
            found = Some(UNKNOWN_SERVICE.to_owned());
        }
        if let Some(name) = found {
            self.labels.insert(SERVICE_NAME.to_owned(), name);
        }
        Ok(())
    }

    pub(super) fn scope(&mut self, scope: &InstrumentationScope) -> Result<(), PushError> {
        self.scope.clear();
        let (builder, pairs) = (&mut self.builder, &mut self.scope);
        for pair in &scope.attributes {
            if self.config.scope(&pair.key) == Action::StructuredMetadata {
                flatten(pair, &mut |name, value| add_pair(builder, pairs, &name, &value))?;
            }
        }
        if !scope.name.is_empty() {
            add_pair(builder, pairs, "scope_name", &scope.name)?;
        }
        if !scope.version.is_empty() {
            add_pair(builder, pairs, "scope_version", &scope.version)?;
        }
        if scope.dropped_attributes_count != 0 {
            let count = scope.dropped_attributes_count.to_string();
            add_pair(builder, pairs, "scope_dropped_attributes_count", &count)?;
        }
        Ok(())
    }

    /// Of pairs with one name the last one stays: a record's fields beat its attributes, the resource's and
    /// the scope's attributes beat both, as in Loki.
    pub(super) fn record(&mut self, record: &LogRecord) -> Result<(), PushError> {
        self.builder.check_entries(self.pending.len() + 1)?;
        let mut labels = LabelMap::new();
        let mut pairs = Pairs::new();
        for pair in &record.attributes {
            match self.config.log(&pair.key) {
                Action::Drop => {}
                Action::StructuredMetadata => {
                    let builder = &mut self.builder;
                    flatten(pair, &mut |name, value| add_pair(builder, &mut pairs, &name, &value))?;
                }
                Action::IndexLabel => flatten(pair, &mut |name, value| {
                    labels.insert(name, value);
                    Ok(())
                })?,
            }
        }
        if !record.severity_text.is_empty() && self.config.severity_text_as_label() {
            labels.insert("severity_text".to_owned(), record.severity_text.clone());
        }
        self.fields(record, &mut pairs)?;
        let mark = self.builder.metadata_mark();
        for (name, value) in pairs.iter().chain(&self.resource).chain(&self.scope) {
            self.builder.metadata(*name, *value)?;
        }
        let line = match record.body.as_ref().and_then(|body| body.value.as_ref()) {
            Some(Value::StringValue(text)) => self.builder.add_text(text.as_bytes())?,
            _ => self.builder.add_text(value::text(record.body.as_ref()).as_bytes())?,
        };
        let timestamp = match (record.time_unix_nano, record.observed_time_unix_nano) {
            (0, 0) => self.now,
            (0, observed) => observed as i64,
            (time, _) => time as i64,
        };
        let stream = self.stream(labels);
        self.pending.push(Pending { stream, timestamp, line, metadata: mark..self.builder.metadata_mark() });
        Ok(())
    }

    fn fields(&mut self, record: &LogRecord, pairs: &mut Pairs) -> Result<(), PushError> {
        let id = |name, bytes: &[u8], len| match bytes.iter().all(|&byte| byte == 0) {
            _ if !bytes.is_empty() && bytes.len() != len => {
                Err(PushError::invalid(format!("invalid length for {name}: `{}` bytes", bytes.len())))
            }
            true => Ok(String::new()),
            false => Ok(hex(bytes)),
        };
        let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
        let observed = if record.time_unix_nano == 0 { 0 } else { record.observed_time_unix_nano };
        let severity = u64::try_from(record.severity_number).unwrap_or(0);
        for (name, text) in [
            ("observed_timestamp", number(observed)),
            ("severity_number", number(severity)),
            ("severity_text", record.severity_text.clone()),
            ("dropped_attributes_count", number(u64::from(record.dropped_attributes_count))),
            ("flags", number(u64::from(record.flags))),
            ("trace_id", id("TraceID", &record.trace_id, 16)?),
            ("span_id", id("SpanID", &record.span_id, 8)?),
            ("event_name", record.event_name.clone()),
        ] {
            if !text.is_empty() {
                add_pair(&mut self.builder, pairs, name, &text)?;
            }
        }
        Ok(())
    }

    /// The stream of the resource's labels and a record's own. Names are derived already, so naming derives
    /// none.
    fn stream(&mut self, own: LabelMap) -> Arc<NamedStream> {
        if let Some(stream) = self.streams.get(&own) {
            return stream.clone();
        }
        let mut labels = self.labels.clone();
        labels.extend(own.iter().map(|(name, value)| (name.clone(), value.clone())));
        let pairs = labels.into_iter().map(|(name, value)| (Cow::Owned(name), Cow::Owned(value))).collect();
        let stream = Arc::new(Naming { service_name_sources: &[], ..self.naming }.stream(pairs));
        self.streams.insert(own, stream.clone());
        stream
    }

    /// Closes the streams of the resource.
    pub(super) fn end_resource(&mut self) -> Result<(), PushError> {
        self.streams.clear();
        let mut pending = std::mem::take(&mut self.pending);
        pending.sort_by_key(|entry| entry.stream.id);
        for entries in pending.chunk_by(|a, b| a.stream.id == b.stream.id) {
            for entry in entries {
                self.builder.entry_with(entry.timestamp, entry.line, entry.metadata.clone())?;
            }
            self.builder.stream(entries[0].stream.clone())?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<PushBatch, PushError> {
        self.builder.finish()
    }
}

fn add_pair(builder: &mut BatchBuilder, pairs: &mut Pairs, name: &str, value: &str) -> Result<(), PushError> {
    let pair = (builder.add_text(name.as_bytes())?, builder.add_text(value.as_bytes())?);
    pairs.push(pair);
    Ok(())
}

/// Calls `each` with the name and text of an attribute, or of each leaf of one that is a map.
fn flatten(
    pair: &KeyValue,
    each: &mut dyn FnMut(String, String) -> Result<(), PushError>,
) -> Result<(), PushError> {
    flatten_under(String::new(), &pair.key, pair.value.as_ref(), each)
}

/// The decoders bound the depth of maps, so recursion is safe; the builder bounds what all the names come to.
fn flatten_under(
    prefix: String,
    key: &str,
    value: Option<&AnyValue>,
    each: &mut dyn FnMut(String, String) -> Result<(), PushError>,
) -> Result<(), PushError> {
    let full = if prefix.is_empty() { key.to_owned() } else { format!("{prefix}_{key}") };
    // Loki answers a bad name of metadata with 500; an OpenTelemetry client would then try again for ever.
    let name = normalise_name(&full).map_err(|error| PushError::invalid(error.message))?.into_owned();
    match value.and_then(|value| value.value.as_ref()) {
        Some(Value::KvlistValue(list)) => list
            .values
            .iter()
            .try_for_each(|pair| flatten_under(name.clone(), &pair.key, pair.value.as_ref(), each)),
        _ => each(name, value::text(value)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
