//! When a joiner takes its tokens, and which. Decides, never waits.
//!
//! A joiner first shows itself without tokens and waits until what it sees has been still for a while. Then it places
//! *all* joiners it sees, in order of their names, and takes its own share. Joiners that came at the same time see
//! the same and so choose alike, with no word between them. Those that gossip kept apart still choose well, only not
//! with regard to each other; later joins even that out.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    state::State,
    view::{Peer, View},
};
use crate::ring::{
    NodeId, RingHash, Token,
    placement::{Joiner, place_all},
};

/// A joiner that waits for its tokens.
#[derive(Debug)]
pub(super) struct Admission {
    me: NodeId,
    replicas: usize,
    settle: Duration,
    /// What was seen last, and since when.
    seen: Option<(Scene, Instant)>,
}

/// What placement depends on.
type Scene = (RingHash, Vec<Joiner>);

impl Admission {
    pub(super) fn new(me: NodeId, replicas: usize, settle: Duration) -> Self {
        Self { me, replicas, settle, seen: None }
    }

    /// Looks at a view; returns the tokens to take once it has been still for long enough.
    pub(super) fn handle_view(&mut self, now: Instant, view: &View) -> Option<Vec<Token>> {
        let scene = (view.ring().hash(), joiners(view));
        match &self.seen {
            Some((seen, since)) if *seen == scene => {
                if now.saturating_duration_since(*since) < self.settle {
                    return None;
                }
                let placed = place_all(view.ring(), &scene.1, self.replicas);
                placed.into_iter().find(|member| member.id == self.me).map(|member| member.tokens)
            }
            _ => {
                self.seen = Some((scene, now));
                None
            }
        }
    }
}

/// Members that wait for tokens. Dead ones are left out: they will see the ring as it is when they come back.
fn joiners(view: &View) -> Vec<Joiner> {
    let waits =
        |peer: &&Peer| peer.live && peer.profile.state == State::Joining && peer.profile.tokens.is_empty();
    let joiner = |peer: &Peer| Joiner {
        id: peer.id.clone(),
        zone: peer.profile.zone.clone(),
        weight: peer.profile.weight,
    };
    view.peers().values().filter(waits).map(joiner).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Admission, Instant, Peer, View};
    use crate::{
        membership::{Profile, State},
        ring::Token,
    };

    const SETTLE: Duration = Duration::from_secs(3);

    fn joiner(name: &str) -> Peer {
        Peer {
            id: name.parse().unwrap(),
            incarnation: 1,
            address: ([127, 0, 0, 1], 1).into(),
            profile: Profile::default(),
            live: true,
        }
    }

    fn admission(name: &str) -> Admission {
        Admission::new(name.parse().unwrap(), 3, SETTLE)
    }

    #[test]
    fn joiners_that_see_each_other_take_tokens_that_fit_together() {
        let now = Instant::now();
        let view = View::new(["a", "b", "c"].map(joiner));
        let mut taken: Vec<Token> = Vec::new();
        for name in ["c", "a", "b"] {
            let mut admission = admission(name);
            assert_eq!(admission.handle_view(now, &view), None);
            taken.extend(admission.handle_view(now + SETTLE, &view).unwrap());
        }
        let count = taken.len();
        taken.sort_unstable();
        taken.dedup();
        assert_eq!(taken.len(), count);
    }

    #[test]
    fn news_starts_the_wait_again() {
        let now = Instant::now();
        let (alone, both) = (View::new([joiner("a")]), View::new([joiner("a"), joiner("b")]));
        let mut admission = admission("a");
        assert_eq!(admission.handle_view(now, &alone), None);
        assert_eq!(admission.handle_view(now + SETTLE, &both), None);
        assert_eq!(admission.handle_view(now + SETTLE + SETTLE / 2, &both), None);
        assert!(admission.handle_view(now + SETTLE * 2, &both).is_some());
    }

    #[test]
    fn who_has_tokens_gets_no_others() {
        let now = Instant::now();
        let mut placed = joiner("a");
        placed.profile = Profile { tokens: vec![Token(1)], state: State::Active, ..Profile::default() };
        let view = View::new([placed]);
        let mut admission = admission("a");
        assert_eq!(admission.handle_view(now, &view), None);
        assert_eq!(admission.handle_view(now + SETTLE, &view), None);
    }
}
