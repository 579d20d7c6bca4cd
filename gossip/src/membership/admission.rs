//! When a joiner takes its tokens, and which. Decides, never waits.
//!
//! A joiner first shows itself without tokens and waits until nobody has come or gone for a while. Then it places
//! *all* joiners it saw, in order of their names, on the ring it saw when the last of them came, and takes its own
//! share. Joiners that came at the same time recorded the same and so choose alike, with no word between them and
//! whoever is the first to choose. Those that gossip kept apart still choose well, only not with regard to each
//! other; later joins even that out.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Settings,
    state::{Profile, State},
    view::{Peer, View},
};
use crate::ring::{
    Member, NodeId, Ring, Token,
    placement::{Joiner, place_all},
};

/// A joiner that waits for its tokens.
#[derive(Debug)]
pub(super) struct Admission {
    me: NodeId,
    replicas: usize,
    settle: Duration,
    scene: Option<Scene>,
}

/// What was to be seen when somebody came or went last.
#[derive(Debug)]
struct Scene {
    since: Instant,
    /// Everybody who has tokens or waits for them.
    roll: Vec<NodeId>,
    ring: Arc<Ring>,
    joiners: Vec<Joiner>,
}

impl Admission {
    pub(super) fn new(me: NodeId, replicas: usize, settle: Duration) -> Self {
        Self { me, replicas, settle, scene: None }
    }

    /// Looks at a view; returns the tokens to take once it has been still for long enough.
    pub(super) fn handle_view(&mut self, now: Instant, view: &View) -> Option<Vec<Token>> {
        let joiners = joiners(view);
        let roll = roll(view, &joiners);
        let Some(scene) = self.scene.as_ref().filter(|scene| scene.roll == roll) else {
            self.scene = Some(Scene { since: now, roll, ring: Arc::clone(view.ring()), joiners });
            return None;
        };
        if now.saturating_duration_since(scene.since) < self.settle {
            return None;
        }
        let mut plan = place_all(&scene.ring, &scene.joiners, self.replicas);
        if plan.iter().any(|member| chose_otherwise(view, member)) {
            plan = place_all(view.ring(), &joiners, self.replicas);
        }
        plan.into_iter().find(|member| member.id == self.me).map(|member| member.tokens)
    }
}

/// The tokens of a cluster's first node.
pub(super) fn tokens_alone(settings: &Settings) -> Vec<Token> {
    let Profile { zone, weight, .. } = settings.profile.clone();
    let me = Joiner { id: settings.id.clone(), zone, weight };
    place_all(&Ring::new([]), &[me], settings.replicas).into_iter().flat_map(|member| member.tokens).collect()
}

/// Whether a member that was to be placed has tokens other than planned: it had seen something else.
fn chose_otherwise(view: &View, planned: &Member) -> bool {
    let tokens = view.peer(&planned.id).map_or(&[][..], |peer| &peer.profile.tokens);
    !tokens.is_empty() && tokens != planned.tokens
}

fn roll(view: &View, joiners: &[Joiner]) -> Vec<NodeId> {
    let owning = view.ring().members().iter().map(|member| &member.id);
    let mut roll: Vec<NodeId> = owning.chain(joiners.iter().map(|joiner| &joiner.id)).cloned().collect();
    roll.sort_unstable();
    roll
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
    fn who_chooses_later_keeps_to_what_all_saw() {
        let now = Instant::now();
        let view = View::new(["a", "b", "c"].map(joiner));
        let [mut a, mut b] = ["a", "b"].map(admission);
        assert_eq!((a.handle_view(now, &view), b.handle_view(now, &view)), (None, None));
        let expected = a.handle_view(now + SETTLE, &view);
        // c, though the last by name, was the first to choose.
        let mut c = admission("c");
        c.handle_view(now, &view);
        let tokens = c.handle_view(now + SETTLE, &view).unwrap();
        let with = |tokens| Peer { profile: Profile { tokens, ..Profile::default() }, ..joiner("c") };
        let later = View::new([joiner("a"), joiner("b"), with(tokens)]);
        assert_eq!(a.handle_view(now + SETTLE, &later), expected);
        // Had c chosen otherwise, b would take that into account.
        let otherwise = View::new([joiner("a"), joiner("b"), with(vec![Token(1)])]);
        let adapted = b.handle_view(now + SETTLE, &otherwise).unwrap();
        assert_ne!(Some(adapted), b.handle_view(now + SETTLE, &later));
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
