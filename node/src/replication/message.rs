//! What owners of a stream say to each other about the pushes they hold.

use bincode::{Decode, Encode};
use bytes::Bytes;
use grapevine_storage::atom::{PushId, PushRun};

use crate::cluster::message::{MessageError, decode_before, encode_before};
use crate::querier::freshness::Moment;

/// A push, or the part of it that the receiver is to hold. The streams follow it, as the log keeps them:
/// [`PushBatch::from_wal`](crate::push::batch::PushBatch::from_wal) reads them.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Replicate {
    /// Its name.
    pub push: PushId,
    /// Whose it is.
    pub tenant: String,
    /// The hash of the ring by which this is all that the receiver is to hold; none where it may be a part of that.
    pub whole_by: Option<u64>,
}

impl Replicate {
    /// The message, with the streams behind it.
    ///
    /// # Errors
    /// It is too large for one message.
    pub fn encode(&self, payload: &[&[u8]]) -> Result<Bytes, MessageError> {
        encode_before(self, payload)
    }

    /// Reads the message and the streams behind it, which are not copied.
    ///
    /// # Errors
    /// It is not what [`Replicate::encode`] wrote.
    pub fn decode(body: &Bytes) -> Result<(Self, Bytes), MessageError> {
        let (message, payload) = decode_before(body)?;
        Ok((message, body.slice_ref(payload)))
    }
}

/// News of which members hold which pushes, from the node they entered through; and a question.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Compare {
    /// Members' names, and the pushes of which each holds all it is to hold.
    pub held: Vec<(String, Vec<PushRun>)>,
    /// The hash of the ring by which that is so.
    pub ring: u64,
    /// Which of these does the receiver hold?
    pub atoms: Vec<AtomsOf>,
}

/// What a push brought for some streams of one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AtomsOf {
    /// The push.
    pub push: PushId,
    /// The tenant.
    pub tenant: String,
    /// Days (since 1970) and streams.
    pub places: Vec<(i32, u128)>,
}

/// The answer, in the order of the question's places.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Compared {
    /// One for each place.
    pub fates: Vec<Fate>,
}

/// What became of an atom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Fate {
    /// It is not known here.
    Missing,
    /// It is in a head.
    Held,
    /// It is in a pack.
    Packed,
}

/// A pack that a primary wrote, and what it covers.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Announce {
    /// Its key in the chunk store: tenant, day and content hash among it.
    pub object_key: String,
    /// Streams, and the pushes of each that it covers, as [`PushSet::to_bytes`](grapevine_storage::atom::PushSet::to_bytes)
    /// writes them.
    pub covers: Vec<(u128, Vec<u8>)>,
    /// Packs that it took the place of.
    pub replaces: Vec<u128>,
}

/// Asks for the packs of a day that the asker does not know, or for the days of which there are any.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PacksOf {
    /// Days since 1970; none to ask for the days.
    pub day: Option<i32>,
    /// The packs that the asker knows, and for each a digest of what it has heard of it; zero to be told all of it.
    pub known: Vec<(u128, u64)>,
    /// The hash of the asker's placement: who sees another cannot say what the asker is to know.
    pub placement: u64,
}

/// The answer, item by item.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum PackNews {
    /// The days of which the node has packs.
    Days(Vec<i32>),
    /// A pack that the asker does not know, or what one that it knows covers.
    Pack(Announce),
    /// Packs that are gone, and that none took the place of.
    Gone(Vec<u128>),
}

/// Tells of what all members are to know.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tell<T> {
    /// Some of it.
    pub items: Vec<T>,
    /// The digest of all that the asker knows, who wants to be told all that the receiver knows if it differs; none to
    /// be told nothing.
    pub digest: Option<u64>,
}

/// Asks for a pack's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PackOf {
    /// Its key in the chunk store.
    pub object_key: String,
    /// The first byte that is wanted.
    pub from: u64,
}

/// Asks which pushes with lines of some tenants and times the receiver holds that readers may lack.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Doubted {
    /// The tenants.
    pub tenants: Vec<String>,
    /// The first and the last timestamp, ns.
    pub times: (i64, i64),
    /// Readers, and the token ranges that each reads.
    pub readers: Vec<(String, Vec<(u64, u64)>)>,
    /// The most pushes wanted.
    pub most: u32,
}

/// The answer: what readers may lack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Doubtful {
    /// Pushes.
    pub pushes: Vec<PushId>,
    /// Pushes with streams that their readers do not own.
    pub beyond: Vec<PushId>,
    /// Days of which a reader has not heard of all packs, as far as is known in this life.
    pub days: Vec<i32>,
    /// When the member looked.
    pub moment: Moment,
}

/// Asks for pushes that the asker may lack.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PushesOf {
    /// The pushes.
    pub pushes: Vec<PushId>,
    /// When the member said that it has them.
    pub said: Moment,
}

/// The last item of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Supplied {
    /// Days of which something has left heads for packs since the member said what it has: some of the pushes, perhaps.
    pub days: Vec<i32>,
    /// Whether there was too much to send all of it.
    pub is_cut: bool,
}
