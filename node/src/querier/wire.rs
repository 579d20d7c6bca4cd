//! Questions and answers as they travel ([`message`](crate::cluster::message) makes bytes of them). Nothing that comes
//! in is trusted: decoding is bounded, and what was decoded is checked by whoever takes it in.

use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};
use grapevine_gossip::ring::InvalidName;
use grapevine_logql::eval_limits::EvalLimits;
use grapevine_logql::level::LevelSources;
use grapevine_storage::atom::PushId;
use grapevine_storage::index::Day;

use super::Asker;
use super::freshness::{Doubt, Moment, UNCONFIRMED_MAX, Unconfirmed};
use super::notes::SentNotes;
use super::question::Piece;
use super::share::Share;
use crate::cluster::message::MessageError;

/// A question, for a piece of the ring.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Message<W> {
    piece: SentPiece,
    /// What is asked.
    pub question: W,
}

/// [`Piece`] as it travels.
#[derive(Clone, Debug, Encode, Decode)]
struct SentPiece {
    /// Tenants, and where the `detected_level` of their lines is looked for.
    tenants: Vec<(String, Option<SentLevels>)>,
    explain: bool,
    limits: [u64; 4],
    ranges: Vec<(u64, u64)>,
    now: i64,
    /// What readers may lack, and who has it.
    unconfirmed: Vec<(SentDoubt, String)>,
}

/// One message of an answer.
#[derive(Debug, Encode, Decode)]
pub enum Frame<I> {
    /// The first: what comes beside what was found.
    Notes(SentNotes),
    /// Some of what was found.
    Item(I),
    /// The query itself is at fault: no other node would answer it.
    Failed {
        /// The HTTP status that says so.
        status: u16,
        /// Why.
        text: String,
    },
}

impl<W> Message<W> {
    /// Asks `question` about a piece.
    pub fn new(piece: &Piece, question: W) -> Self {
        let asker = &piece.asker;
        let levels = |tenant: &Arc<str>| asker.levels.get(tenant)?.as_deref().map(SentLevels::from);
        let limits = &asker.limits;
        let limits =
            [limits.answer_series_max, limits.leaf_series_max, limits.points_max, limits.leaf_bytes_max];
        let piece = SentPiece {
            tenants: asker.tenants.iter().map(|tenant| (tenant.to_string(), levels(tenant))).collect(),
            explain: asker.explain,
            limits: limits.map(|limit| limit as u64),
            ranges: piece.share.arcs(),
            now: piece.now,
            unconfirmed: piece.unconfirmed.iter().map(sent).collect(),
        };
        Message { piece, question }
    }

    /// The piece it is about; `timeout` is what is left of the asker's time.
    ///
    /// # Errors
    /// It says something that cannot be.
    pub fn piece(&self, timeout: Duration) -> Result<Piece, MessageError> {
        let sent = &self.piece;
        let ascend = |pair: &[(String, Option<SentLevels>)]| pair[0].0 < pair[1].0;
        if sent.tenants.is_empty() || !sent.tenants.windows(2).all(ascend) {
            return Err(malformed("its tenants do not ascend"));
        }
        if sent.unconfirmed.len() > UNCONFIRMED_MAX {
            return Err(malformed(format!("it names more than `{UNCONFIRMED_MAX}` pushes")));
        }
        let tenants: Vec<Arc<str>> = sent.tenants.iter().map(|(tenant, _)| tenant.as_str().into()).collect();
        let levels = sent.tenants.iter().map(|(_, levels)| levels.as_ref().map(SentLevels::received));
        let [answer_series_max, leaf_series_max, points_max, leaf_bytes_max] =
            sent.limits.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        // What one node holds for a query is bounded by that node, whatever is asked.
        let own = EvalLimits::DEFAULT;
        let limits = EvalLimits {
            answer_series_max,
            leaf_series_max: leaf_series_max.min(own.leaf_series_max),
            points_max: points_max.min(own.points_max),
            leaf_bytes_max: leaf_bytes_max.min(own.leaf_bytes_max),
        };
        let levels = tenants.iter().cloned().zip(levels).collect();
        let asker = Asker { tenants, levels, limits, timeout, explain: sent.explain };
        Ok(Piece {
            asker: Arc::new(asker),
            share: Share::of_arcs(&sent.ranges),
            now: sent.now,
            unconfirmed: sent.unconfirmed.iter().map(received).collect::<Result<_, _>>()?,
        })
    }
}

/// [`LevelSources`] as they travel.
#[derive(Clone, Debug, Encode, Decode)]
pub(super) struct SentLevels {
    fields: Vec<String>,
    json_depth: u64,
}

impl From<&LevelSources> for SentLevels {
    fn from(sources: &LevelSources) -> Self {
        SentLevels { fields: sources.fields().to_vec(), json_depth: sources.json_depth() as u64 }
    }
}

impl SentLevels {
    pub(super) fn received(&self) -> Arc<LevelSources> {
        let depth = usize::try_from(self.json_depth).unwrap_or(0);
        Arc::new(LevelSources::new(self.fields.clone(), depth))
    }
}

fn malformed(why: impl Into<String>) -> MessageError {
    MessageError::Malformed(why.into())
}

/// [`Doubt`] as it travels.
#[derive(Clone, Copy, Debug, Encode, Decode)]
enum SentDoubt {
    Push(PushId),
    Beyond(PushId),
    Packs(i32),
    Before(Moment),
}

fn sent(unconfirmed: &Unconfirmed) -> (SentDoubt, String) {
    let doubt = match unconfirmed.doubt {
        Doubt::Push(push) => SentDoubt::Push(push),
        Doubt::Beyond(push) => SentDoubt::Beyond(push),
        Doubt::Packs(day) => SentDoubt::Packs(day.0),
        Doubt::Before(moment) => SentDoubt::Before(moment),
    };
    (doubt, unconfirmed.holder.to_string())
}

fn received((doubt, holder): &(SentDoubt, String)) -> Result<Unconfirmed, MessageError> {
    let holder = holder.parse().map_err(|error: InvalidName| MessageError::Malformed(error.to_string()))?;
    let doubt = match doubt {
        SentDoubt::Push(push) => Doubt::Push(*push),
        SentDoubt::Beyond(push) => Doubt::Beyond(*push),
        SentDoubt::Packs(day) => Doubt::Packs(Day(*day)),
        SentDoubt::Before(moment) => Doubt::Before(*moment),
    };
    Ok(Unconfirmed { doubt, holder })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use grapevine_gossip::ring::{Token, TokenRange};
    use grapevine_logql::eval_limits::EvalLimits;
    use grapevine_logql::level::LevelSources;
    use grapevine_storage::atom::PushId;
    use proptest::prelude::{any, prop, proptest};

    use super::{Frame, Message};
    use crate::cluster::message::{decode, encode};
    use crate::querier::Asker;
    use crate::querier::freshness::{Doubt, Unconfirmed};
    use crate::querier::lines::{FoundLines, LinesWanted};
    use crate::querier::numbers::LeafWanted;
    use crate::querier::question::Piece;
    use crate::querier::share::Share;
    use crate::querier::sought::Sought;
    use crate::querier::tails::{TailWanted, Told};

    fn piece() -> Piece {
        let tenants: Vec<Arc<str>> = vec!["a".into(), "b".into()];
        let sources = LevelSources::new(vec!["prio".into()], 3);
        let levels = BTreeMap::from([(tenants[0].clone(), Some(sources.into())), (tenants[1].clone(), None)]);
        let timeout = Duration::from_secs(7);
        let asker = Asker { tenants, levels, limits: EvalLimits::DEFAULT, timeout, explain: true };
        let share = Share::of([TokenRange { first: Token(5), last: Token(9) }]);
        let push = PushId { origin: u64::MAX, sequence: 3 };
        let doubt = Doubt::Push(push);
        let unconfirmed = vec![Unconfirmed { doubt, holder: "n1".parse().unwrap() }].into();
        Piece { asker: Arc::new(asker), share, now: -1, unconfirmed }
    }

    #[test]
    fn a_piece_is_read_as_it_was_written() {
        let bytes = encode(&Message::new(&piece(), "what".to_owned())).unwrap();
        let message: Message<String> = decode(&bytes).unwrap();
        let read = message.piece(Duration::from_secs(7)).unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", piece()));
        assert_eq!(message.question, "what");
        let mut bytes = bytes.to_vec();
        for cut in 0..bytes.len() {
            assert!(decode::<Message<String>>(&bytes[..cut]).is_err());
        }
        bytes[0] = 2;
        assert!(decode::<Message<String>>(&bytes).is_err());
    }

    #[test]
    fn tenants_that_do_not_ascend_are_refused() {
        let asker = Asker { tenants: vec!["b".into(), "a".into()], ..(*piece().asker).clone() };
        let message = Message::new(&Piece { asker: Arc::new(asker), ..piece() }, ());
        assert!(message.piece(Duration::ZERO).is_err());
        let asker = Asker { tenants: Vec::new(), ..(*piece().asker).clone() };
        assert!(
            Message::new(&Piece { asker: Arc::new(asker), ..piece() }, ()).piece(Duration::ZERO).is_err()
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_within_bounds_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [vec![1], bytes].concat();
            let _ = decode::<Message<LinesWanted>>(&bytes).map(|message| message.piece(Duration::ZERO));
            let _ = decode::<Message<LeafWanted>>(&bytes);
            let _ = decode::<Message<Sought>>(&bytes);
            let _ = decode::<Frame<FoundLines>>(&bytes);
            let _ = decode::<TailWanted>(&bytes);
            let _ = decode::<Told>(&bytes);
        }
    }
}
