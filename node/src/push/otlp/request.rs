//! Walks a request, and decodes one resource, scope or record at a time.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::record::Mapping;
use crate::push::error::{ErrorCode, PushError};
use crate::push::wire::{Value, Wire};

/// Bytes of one resource, scope or record. Decoded it takes up to some thirty times as much memory, for as
/// long as it is mapped.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

fn check_size(bytes: usize) -> Result<(), PushError> {
    if bytes > MESSAGE_BYTES_MAX {
        let text =
            format!("a log record or resource of {bytes} bytes is too large: at most {MESSAGE_BYTES_MAX}");
        return Err(PushError::new(ErrorCode::TooLarge, text));
    }
    Ok(())
}

/// Reads an `ExportLogsServiceRequest { resource_logs = 1 }`.
pub(super) fn protobuf(body: &[u8], mapping: &mut Mapping<'_>) -> Result<(), PushError> {
    for_each(body, 0..body.len(), 1, |logs| resource_logs(body, logs, mapping))
}

/// `ResourceLogs { resource = 1, scope_logs = 2 }`; the resource may come last, so it is looked for first.
fn resource_logs(body: &[u8], within: Range<usize>, mapping: &mut Mapping<'_>) -> Result<(), PushError> {
    let mut resource = Resource::default();
    for_each(body, within.clone(), 1, |part| message(&body[part], &mut resource))?;
    mapping.resource(&resource)?;
    for_each(body, within, 2, |logs| scope_logs(body, logs, mapping))?;
    mapping.end_resource()
}

/// `ScopeLogs { scope = 1, log_records = 2 }`.
fn scope_logs(body: &[u8], within: Range<usize>, mapping: &mut Mapping<'_>) -> Result<(), PushError> {
    let mut scope = InstrumentationScope::default();
    for_each(body, within.clone(), 1, |part| message(&body[part], &mut scope))?;
    mapping.scope(&scope)?;
    for_each(body, within, 2, |part| {
        let mut record = LogRecord::default();
        message(&body[part], &mut record)?;
        mapping.record(&record)
    })
}

fn message<M: Message>(bytes: &[u8], into: &mut M) -> Result<(), PushError> {
    check_size(bytes.len())?;
    into.merge(bytes).map_err(|error| PushError::invalid(format!("proto: {error}")))
}

/// Calls `each` with the place of every length-delimited field of a number.
fn for_each(
    body: &[u8],
    within: Range<usize>,
    number: u64,
    mut each: impl FnMut(Range<usize>) -> Result<(), PushError>,
) -> Result<(), PushError> {
    let mut wire = Wire::part(body, within);
    while let Some(field) = wire.field()? {
        if let Value::Bytes(part) = field.value
            && field.number == number
        {
            each(part)?;
        }
    }
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RequestJson<'a> {
    #[serde(borrow)]
    resource_logs: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceLogsJson<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    scope_logs: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ScopeLogsJson<'a> {
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow)]
    log_records: Option<&'a RawValue>,
}

/// Reads the JSON form of a request; each level leaves the next as text.
pub(super) fn json(body: &[u8], mapping: &mut Mapping<'_>) -> Result<(), PushError> {
    let body =
        std::str::from_utf8(body).map_err(|error| PushError::invalid(format!("invalid JSON: {error}")))?;
    let request: RequestJson<'_> = object(body.trim_ascii_start())?;
    for_each_item(request.resource_logs, |logs| {
        let logs: ResourceLogsJson<'_> = part(logs)?;
        mapping.resource(&logs.resource.map_or_else(|| Ok(Resource::default()), small_part)?)?;
        for_each_item(logs.scope_logs, |logs| {
            let logs: ScopeLogsJson<'_> = part(logs)?;
            mapping.scope(&logs.scope.map_or_else(|| Ok(InstrumentationScope::default()), small_part)?)?;
            for_each_item(logs.log_records, |record| mapping.record(&small_part(record)?))
        })?;
        mapping.end_resource()
    })
}

/// Calls `each` with the text of each item of an array, without a list of them all.
fn for_each_item<'a>(
    array: Option<&'a RawValue>,
    each: impl FnMut(&'a RawValue) -> Result<(), PushError>,
) -> Result<(), PushError> {
    let Some(array) = array else { return Ok(()) };
    let mut items = Items { each, refused: None, text: PhantomData };
    let read = serde_json::Deserializer::from_str(array.get()).deserialize_seq(&mut items);
    match (items.refused, read) {
        (Some(refused), _) => Err(refused),
        (None, Err(error)) => Err(invalid(&error)),
        (None, Ok(())) => Ok(()),
    }
}

struct Items<'a, F> {
    each: F,
    /// What `each` said; serde's own error cannot carry it.
    refused: Option<PushError>,
    text: PhantomData<&'a RawValue>,
}

impl<'a, F: FnMut(&'a RawValue) -> Result<(), PushError>> Visitor<'a> for &mut Items<'a, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'a>>(self, mut items: S) -> Result<(), S::Error> {
        while let Some(item) = items.next_element()? {
            if let Err(refused) = (self.each)(item) {
                self.refused = Some(refused);
                return Err(S::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

fn part<'a, T: Deserialize<'a>>(text: &'a RawValue) -> Result<T, PushError> {
    object(text.get())
}

/// Reads an object. Derived readers would also take an array of the fields in order.
fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, PushError> {
    if text.starts_with('[') {
        return Err(PushError::invalid("invalid JSON: expected an object, found an array"));
    }
    serde_json::from_str(text).map_err(|error| invalid(&error))
}

fn small_part<'a, T: Deserialize<'a>>(text: &'a RawValue) -> Result<T, PushError> {
    check_size(text.get().len())?;
    part(text)
}

fn invalid(error: &serde_json::Error) -> PushError {
    PushError::invalid(format!("invalid JSON: {error}"))
}
