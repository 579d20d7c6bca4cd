//! What the write-ahead log keeps of a push, and how it comes back.
//!
//! Where every entry of a protobuf push was taken as it came, the log keeps the client's own snappy body: no
//! byte is encoded twice, and decoding it again gives the same batch, since all that decoding adds (sorting,
//! `service_name`, normal metadata names) follows from the body and from the sources of `service_name`, which
//! stand in front of it. Otherwise (JSON, OpenTelemetry, entries refused or changed, only some of the streams
//! wanted) it keeps a `PushRequest` of what was accepted, in the same wire format, so that there is one
//! decoder.
//!
//! ```text
//! payload := version u8 = 1 | kind u8 | rules | snappy block of logproto.PushRequest
//! rules   := nothing where kind is 0 (as written: derive nothing) or 1 (Loki's default sources)
//!          | count varint, (length varint, name)* where kind is 2
//! ```
//!
//! The payload stands in a record of the log that knows the tenant and checks a CRC.

use bytes::Bytes;
use grapevine_storage::stream::StreamId;

use super::batch::PushBatch;
use super::content;
use super::error::PushError;
use super::labels::LabelString;
use super::protobuf;
use super::service_name::DEFAULT_SOURCES;
use super::stream_cache::{Naming, StreamCache};
use super::wire::write;

const VERSION: u8 = 1;
const AS_WRITTEN: u8 = 0;
const DEFAULT_NAMING: u8 = 1;
const OWN_NAMING: u8 = 2;

/// Sources of `service_name` that a payload may list: the bound on what a damaged one makes us read.
const SOURCES_MAX: u64 = 1024;

/// A body in the client's own bytes, and what decoding it again needs.
#[derive(Clone, Debug)]
pub(super) struct ClientBody {
    pub(super) packed: Bytes,
    pub(super) sources: Vec<String>,
}

/// A payload in two parts, so that a client's body need not be copied to get a few bytes in front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalPayload {
    /// Version, kind, rules.
    pub prelude: Vec<u8>,
    /// The snappy block.
    pub body: Bytes,
}

impl WalPayload {
    /// Bytes in both parts.
    pub fn len(&self) -> usize {
        self.prelude.len() + self.body.len()
    }

    /// Never: a payload has a version at least.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both parts, for who need not have them as one.
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.prelude, &self.body]
    }

    /// Both parts as one.
    pub fn to_vec(&self) -> Vec<u8> {
        self.parts().concat()
    }
}

/// Why a payload of the log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalPayloadError {
    /// Written by a later version, or damaged.
    #[error("payload has version `{0}`; this binary reads version `{VERSION}`")]
    Version(u8),
    /// The part in front of the body is not what this version writes.
    #[error("payload has a damaged prelude")]
    Prelude,
    /// The body is damaged.
    #[error("payload cannot be decoded")]
    Body(#[from] PushError),
}

impl PushBatch {
    /// Whether the log may keep the client's own bytes.
    pub fn keeps_client_body(&self) -> bool {
        self.replayable.is_some()
    }

    /// The batch without what the client sent, for those who keep it to be read.
    pub fn without_client_body(self) -> Self {
        PushBatch { replayable: None, ..self }
    }

    /// The payload for the whole batch. Call it on a validated batch: only then is metadata normalised.
    pub fn to_wal(&self) -> WalPayload {
        match &self.replayable {
            Some(client) => WalPayload { prelude: client.prelude(), body: client.packed.clone() },
            None => self.encode_streams(|_| true),
        }
    }

    /// The payload for some streams only: what goes to an owner that does not own all of them.
    pub fn encode_streams(&self, wanted: impl Fn(StreamId) -> bool) -> WalPayload {
        let mut request = Vec::new();
        let mut inner = Vec::new();
        for stream in self.streams().iter().filter(|stream| wanted(stream.id())) {
            inner.clear();
            let labels = LabelString(stream.labels().iter()).to_string();
            write::bytes(&mut inner, 1, labels.as_bytes());
            self.for_each_entry(stream, |entry| {
                protobuf::write_entry(&mut inner, entry.timestamp, entry.line, entry.metadata);
            });
            write::bytes(&mut request, 1, &inner);
        }
        let body = content::pack_snappy(&request);
        WalPayload { prelude: vec![VERSION, AS_WRITTEN], body: body.into() }
    }

    /// The batch a payload was made from, ready to be appended.
    ///
    /// # Errors
    /// The payload is of another version or damaged.
    pub fn from_wal(tenant: &str, payload: Bytes, cache: &StreamCache) -> Result<Self, WalPayloadError> {
        let (sources, packed) = read_prelude(payload)?;
        let body = content::unpack_snappy(&packed)?;
        let naming = Naming { tenant, service_name_sources: &sources };
        let mut batch = protobuf::decode(body, naming, cache)?;
        for entry in 0..batch.entries.len() {
            batch.normalise_metadata(entry)?;
        }
        batch.replayable = Some(ClientBody { packed, sources });
        Ok(batch)
    }
}

impl ClientBody {
    fn prelude(&self) -> Vec<u8> {
        if self.sources.is_empty() {
            return vec![VERSION, AS_WRITTEN];
        }
        if self.sources == DEFAULT_SOURCES {
            return vec![VERSION, DEFAULT_NAMING];
        }
        let mut prelude = vec![VERSION, OWN_NAMING];
        write::varint(&mut prelude, self.sources.len() as u64);
        for source in &self.sources {
            write::varint(&mut prelude, source.len() as u64);
            prelude.extend_from_slice(source.as_bytes());
        }
        prelude
    }
}

fn read_prelude(mut payload: Bytes) -> Result<(Vec<String>, Bytes), WalPayloadError> {
    match payload[..] {
        [VERSION, AS_WRITTEN, ..] => Ok((Vec::new(), payload.split_off(2))),
        [VERSION, DEFAULT_NAMING, ..] => {
            Ok((DEFAULT_SOURCES.map(String::from).to_vec(), payload.split_off(2)))
        }
        [VERSION, OWN_NAMING, ..] => {
            let mut rest = payload.split_off(2);
            let sources = read_sources(&mut rest).ok_or(WalPayloadError::Prelude)?;
            Ok((sources, rest))
        }
        [VERSION, ..] | [] => Err(WalPayloadError::Prelude),
        [other, ..] => Err(WalPayloadError::Version(other)),
    }
}

fn read_sources(rest: &mut Bytes) -> Option<Vec<String>> {
    let count = read_varint(rest).filter(|&count| count <= SOURCES_MAX)?;
    (0..count)
        .map(|_| {
            let len = read_varint(rest).filter(|&len| len <= rest.len() as u64)?;
            String::from_utf8(rest.split_to(len as usize).to_vec()).ok()
        })
        .collect()
}

fn read_varint(rest: &mut Bytes) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *rest.first()?;
        *rest = rest.slice(1..);
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{ClientBody, WalPayloadError};
    use crate::push::batch::PushBatch;
    use crate::push::content::pack_snappy;
    use crate::push::protobuf::{decode, write_entry};
    use crate::push::service_name::DEFAULT_SOURCES;
    use crate::push::stream_cache::{Naming, StreamCache};
    use crate::push::wire::write;

    type Seen = Vec<(String, i64, Vec<u8>, Vec<(String, String)>)>;

    fn seen(batch: &PushBatch) -> Seen {
        let mut all = Vec::new();
        for stream in batch.streams() {
            batch.for_each_entry(stream, |entry| {
                let pairs = entry.metadata.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
                all.push((
                    format!("{} {}", stream.id(), stream.labels()),
                    entry.timestamp,
                    entry.line.to_vec(),
                    pairs,
                ));
            });
        }
        all
    }

    fn batch(sources: &[String], lines: &[(i64, Vec<u8>)]) -> PushBatch {
        let mut request = Vec::new();
        for app in ["web \"1\"", "é\n"] {
            let mut stream = Vec::new();
            write::bytes(&mut stream, 1, format!("{{app={app:?}, 'k.x'='y'}}").as_bytes());
            for (timestamp, line) in lines {
                write_entry(&mut stream, *timestamp, line, &[("k.x", "1"), ("a", "2")]);
            }
            write::bytes(&mut request, 1, &stream);
        }
        let packed = pack_snappy(&request).into();
        let naming = Naming { tenant: "t", service_name_sources: sources };
        let mut batch = decode(request.into(), naming, &StreamCache::default()).unwrap();
        for entry in 0..batch.entries.len() {
            batch.normalise_metadata(entry).unwrap();
        }
        batch.replayable = Some(ClientBody { packed, sources: sources.to_vec() });
        batch
    }

    fn check(batch: &PushBatch, payload: Vec<u8>) {
        let back = PushBatch::from_wal("t", payload.into(), &StreamCache::default()).unwrap();
        assert_eq!(seen(&back), seen(batch));
        assert_eq!(
            seen(&PushBatch::from_wal("t", back.to_wal().to_vec().into(), &StreamCache::default()).unwrap()),
            seen(batch)
        );
    }

    #[test]
    fn both_encodings_bring_back_the_batch() {
        let defaults = DEFAULT_SOURCES.map(String::from);
        for sources in [&[][..], &defaults, &[String::from("k.x")]] {
            let mut batch = batch(sources, &[(1, b"x".to_vec()), (-1, b"\xFF".to_vec())]);
            check(&batch, batch.to_wal().to_vec());
            batch.replayable = None;
            check(&batch, batch.to_wal().to_vec());
        }
    }

    #[test]
    fn a_selection_holds_only_the_streams_wanted() {
        let batch = batch(&[], &[(1, b"x".to_vec())]);
        let wanted = batch.streams()[1].id();
        let payload = batch.encode_streams(|id| id == wanted).to_vec();
        let back = PushBatch::from_wal("t", payload.into(), &StreamCache::default()).unwrap();
        assert_eq!(seen(&back), seen(&batch)[1..]);
    }

    #[test]
    fn other_versions_and_damage_are_told_apart() {
        let read = |payload: &'static [u8]| {
            PushBatch::from_wal("t", Bytes::from_static(payload), &StreamCache::default()).unwrap_err()
        };
        assert_eq!(read(b""), WalPayloadError::Prelude);
        assert_eq!(read(b"\x01"), WalPayloadError::Prelude);
        assert_eq!(read(b"\x01\x09"), WalPayloadError::Prelude);
        assert_eq!(read(b"\x01\x02\x01\x09a"), WalPayloadError::Prelude);
        assert_eq!(read(b"\x02\x00"), WalPayloadError::Version(2));
        assert!(matches!(read(b"\x01\x00\xFF"), WalPayloadError::Body(_)));
    }

    proptest! {
        #[test]
        fn any_payload_is_read_or_refused(
            head in prop::sample::select(vec![vec![1u8, 0], vec![1, 1], vec![1, 2], vec![]]),
            rest in prop::collection::vec(any::<u8>(), 0..120),
        ) {
            let payload = [head, rest].concat();
            let _ = PushBatch::from_wal("t", payload.into(), &StreamCache::default());
        }

        #[test]
        fn batches_survive_the_log(lines in prop::collection::vec((any::<i64>(), prop::collection::vec(any::<u8>(), 0..200)), 1..12)) {
            let mut batch = batch(&[], &lines);
            batch.replayable = None;
            check(&batch, batch.to_wal().to_vec());
        }
    }
}
