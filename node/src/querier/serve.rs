//! Answers what other nodes ask this one of their queries.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use grapevine_gossip::rpc::{Handler, Method, Refusal, RefusalCode, Reply, Request, Served};
use tokio::time::Instant;

use super::Querier;
use super::catalogue::{NamesQuestion, SeriesQuestion};
use super::count::CountQuestion;
use super::lines::LinesWanted;
use super::notes::Notes;
use super::numbers::LeafWanted;
use super::patterns::PatternQuestion;
use super::question::{Piece, Question};
use super::sought::{Sought, selector_of};
use super::wire::{Frame, Message};
use crate::cluster::message::{compressed, decode, encode};
use crate::cluster::methods;
use crate::exec::{Exec, Lane};

/// From this round trip on what was found travels compressed: on a line between sites bytes are dearer than CPU. Within one, a
/// thousand lines take less time as they are.
const FAR: Duration = Duration::from_millis(20);

/// Whom an answer goes to, until when, and how far.
struct Answering<'a> {
    reply: &'a mut Reply,
    deadline: Instant,
    round_trip: Duration,
}

/// What was found, as it travels so far.
async fn dressed(exec: &Exec, item: Bytes, round_trip: Duration) -> Bytes {
    if round_trip < FAR { item } else { exec.run(Lane::Scan, move || compressed(item)).await }
}

/// The handler of a node's reading methods.
#[derive(Debug)]
pub struct Reads {
    /// Weak: the querier knows the cluster, which knows its handlers.
    querier: Weak<Querier>,
}

impl Reads {
    /// The methods that it answers.
    pub const METHODS: [Method; 4] =
        [methods::READ_LINES, methods::READ_LEAF, methods::CATALOGUE, methods::TAIL];

    /// Answers from what this querier reads.
    pub fn new(querier: &Arc<Querier>) -> Self {
        Reads { querier: Arc::downgrade(querier) }
    }

    fn querier(&self) -> Result<Arc<Querier>, Refusal> {
        let going = || Refusal::new(RefusalCode::Unavailable, "the node is shutting down");
        self.querier.upgrade().ok_or_else(going)
    }

    async fn answer(&self, request: Request, reply: &mut Reply) -> Result<(), Refusal> {
        let deadline = request.deadline;
        let answering = &mut Answering { reply, deadline, round_trip: request.round_trip };
        let timeout = deadline.saturating_duration_since(Instant::now());
        if request.method == methods::READ_LINES {
            let message: Message<LinesWanted> = decode(&request.body)?;
            let piece = message.piece(timeout)?;
            return self.put(message.question.question()?, piece, answering).await;
        }
        if request.method == methods::READ_LEAF {
            let message: Message<LeafWanted> = decode(&request.body)?;
            let piece = message.piece(timeout)?;
            return self.put(message.question.question()?, piece, answering).await;
        }
        if request.method == methods::CATALOGUE {
            let message: Message<Sought> = decode(&request.body)?;
            let piece = message.piece(timeout)?;
            return self.put_sought(message.question, piece, answering).await;
        }
        if request.method == methods::TAIL {
            return self.querier()?.tell(decode(&request.body)?, answering.reply).await;
        }
        let text = format!("method `{}` is not for reading", request.method);
        Err(Refusal::new(RefusalCode::UnknownMethod, text))
    }

    async fn put_sought(
        &self,
        sought: Sought,
        piece: Piece,
        answering: &mut Answering<'_>,
    ) -> Result<(), Refusal> {
        match sought {
            Sought::Names { selector, range } => {
                let question = NamesQuestion::new(None, selector_of(&selector)?, range);
                self.put(question, piece, answering).await
            }
            Sought::Values { name, selector, range } => {
                let question = NamesQuestion::new(Some(name), selector_of(&selector)?, range);
                self.put(question, piece, answering).await
            }
            Sought::Series { groups, range } => {
                let groups = groups.iter().map(|group| selector_of(group)).collect::<Result<_, _>>()?;
                self.put(SeriesQuestion::new(groups, range), piece, answering).await
            }
            Sought::Totals { selector, range } => {
                let question = CountQuestion::totals(selector_of(&selector)?, range);
                self.put(question, piece, answering).await
            }
            Sought::Volumes { selector, range, labels, by_name, parts } => {
                let selector = selector_of(&selector)?;
                let question = CountQuestion::volumes(selector, range, labels, by_name, parts)?;
                self.put(question, piece, answering).await
            }
            Sought::Patterns { query, range, step } => {
                self.put(PatternQuestion::of_text(&query, range, step)?, piece, answering).await
            }
        }
    }

    /// Reads a piece and sends what comes of it: notes first, then items.
    async fn put<Q: Question>(
        &self,
        question: Q,
        piece: Piece,
        answering: &mut Answering<'_>,
    ) -> Result<(), Refusal> {
        let querier = self.querier()?;
        let Answering { reply, deadline, round_trip } = answering;
        let mut notes = Notes::default();
        let found = match querier.read_piece(&question, &piece, *deadline, &mut notes).await {
            Ok(found) => found,
            Err(error) if error.is_of_one_node() => {
                return Err(Refusal::new(RefusalCode::Failed, error.to_string()));
            }
            Err(error) => {
                let failed = Frame::<Q::Item>::Failed { status: error.status(), text: error.to_string() };
                return Ok(reply.send(encode(&failed)?).await?);
            }
        };
        reply.send(encode(&Frame::<Q::Item>::Notes(notes.into_sent()))?).await?;
        for item in Q::items(found) {
            let item = encode(&Frame::Item(item))?;
            reply.send(dressed(&querier.env.exec, item, *round_trip).await).await?;
        }
        Ok(())
    }
}

impl Handler for Reads {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(self.answer(request, reply))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Exec, FAR, decode, dressed, encode};

    #[tokio::test]
    async fn what_goes_far_is_compressed_and_what_does_not_stays_as_it_is() {
        let lines = vec!["GET /cart 200 12ms".to_owned(); 1000];
        let (item, exec) = (encode(&lines).unwrap(), Exec::inline());
        assert_eq!(dressed(&exec, item.clone(), FAR - Duration::from_millis(1)).await, item);
        let far = dressed(&exec, item.clone(), FAR).await;
        assert!(far.len() * 10 < item.len(), "{} of {}", far.len(), item.len());
        assert_eq!(decode::<Vec<String>>(&far), Ok(lines));
    }
}
