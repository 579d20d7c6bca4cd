//! Holds a cluster's querier to the reference: whatever the ring looks like, whoever is asked and whoever fails, the
//! answer is that of one node which holds everything, or says what is missing. Real nodes, real QUIC, in one process.

mod tails;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use grapevine_gossip::endpoint::{Peers, bind_udp};
use grapevine_gossip::identity::{ClusterKey, Identity};
use grapevine_gossip::membership::{Peer, Profile, State, View};
use grapevine_gossip::ring::{NodeId, Token};
use grapevine_logql::ast::Expr;
use grapevine_logql::eval_limits::EvalLimits;
use grapevine_logql::parse::parse_selector;
use grapevine_logql::range::Steps;
use grapevine_storage::atom::PushId;
use grapevine_storage::index::TimeRange;
use grapevine_storage::stream::{Labels, StreamId};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, proptest};
use rustls::time_provider::TimeProvider;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::answer::{Answer, Value};
use super::freshness::{Doubt, Found, Freshness, NothingUnconfirmed, Unconfirmed};
use super::notes::unreached;
use super::reference_test::{
    Event, LABELS, LOG_QUERIES, METRIC_QUERIES, NOW, START, Stored, asker, check_lines, check_numbers, event,
    push, reference, steps, stored, window,
};
use super::scatter::Neighbours;
use super::serve::Reads;
use super::share::Share;
use super::spread::Spread;
use super::volume::{Grouping, Totals, Volumes};
use super::{Asker, LogQuery, Querier};
use crate::cluster::methods::Dispatch;
use crate::env::CertificateTime;
use crate::testbed::{SECOND, Testbed};

/// A cluster that does not gossip: what a member sees is what the test says.
#[derive(Debug)]
struct Told {
    me: NodeId,
    view: Arc<watch::Sender<Arc<View>>>,
    replicas: usize,
    peers: Peers,
    is_cut_off: bool,
}

impl Neighbours for Told {
    fn me(&self) -> NodeId {
        self.me.clone()
    }

    fn view(&self) -> Arc<View> {
        self.view.borrow().clone()
    }

    fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.view.subscribe()
    }

    fn replication_factor(&self) -> usize {
        self.replicas
    }

    fn peers(&self) -> Peers {
        self.peers.clone()
    }

    fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }
}

fn id(n: usize) -> NodeId {
    format!("n{}", n + 1).parse().unwrap()
}

/// Some nodes, and one beside them that holds everything by itself.
struct House {
    beds: Vec<Testbed>,
    alone: Testbed,
    peers: Vec<Peers>,
    view: Arc<watch::Sender<Arc<View>>>,
    replicas: usize,
    all: Vec<Stored>,
}

impl House {
    /// Members with these tokens.
    async fn new(tokens: &[Vec<u64>], replicas: usize) -> Self {
        Self::with(tokens, replicas, |_| Arc::new(NothingUnconfirmed)).await
    }

    async fn with(
        tokens: &[Vec<u64>],
        replicas: usize,
        freshness: impl Fn(usize) -> Arc<dyn Freshness>,
    ) -> Self {
        let key = ClusterKey::generate().unwrap();
        let view = Arc::new(watch::Sender::new(Arc::default()));
        let (mut beds, mut all_peers, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for (n, tokens) in tokens.iter().enumerate() {
            let bed = Testbed::new(NOW, &[]).await;
            let time = Arc::new(CertificateTime(bed.node.env.clock.clone()));
            let identity = Identity::mint(&key, &id(n), time.current_time().unwrap()).unwrap();
            let methods = Arc::new(Dispatch::default());
            methods.register(&Reads::METHODS, Arc::new(Reads::new(&bed.node.querier)));
            let socket = bind_udp(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
            let peers = Peers::open(socket, &identity, time, methods).unwrap();
            let told =
                Told { me: id(n), view: view.clone(), replicas, peers: peers.clone(), is_cut_off: false };
            bed.node.querier.join(Arc::new(told), freshness(n));
            let tokens = tokens.iter().map(|token| Token(*token)).collect();
            let profile = Profile { state: State::Active, tokens, ..Profile::default() };
            let address = peers.local_addr().unwrap();
            members.push(Peer { id: id(n), incarnation: 1, address, profile, live: true });
            beds.push(bed);
            all_peers.push(peers);
        }
        view.send_replace(Arc::new(View::new(members)));
        let alone = Testbed::new(NOW, &[]).await;
        House { beds, alone, peers: all_peers, view, replicas, all: Vec::new() }
    }

    /// Three members that own about a third each.
    async fn of_three(replicas: usize) -> Self {
        let spaced = |n: u64| (0..8).map(|at| (at * 3 + n) * (u64::MAX / 24)).collect();
        Self::new(&[spaced(0), spaced(1), spaced(2)], replicas).await
    }

    fn owners(&self, stream: usize) -> Vec<usize> {
        let token = StreamId::of("fake", &Labels::new(LABELS[stream])).token();
        let view = self.view.borrow().clone();
        let owners = view.ring().owners(Token(token), self.replicas);
        let number = |owner: &NodeId| (0..self.beds.len()).find(|n| id(*n) == *owner).unwrap();
        owners.iter().map(|member| number(&member.id)).collect()
    }

    /// Lines reach their owners, and a node more that has no business with them.
    async fn push(&mut self, lines: Vec<Stored>, stray: Option<usize>) {
        for (n, bed) in self.beds.iter().enumerate() {
            let has = |line: &&Stored| stray == Some(n) || self.owners(line.0).contains(&n);
            let own: Vec<Stored> = lines.iter().filter(has).cloned().collect();
            if !own.is_empty() {
                push(bed, &own).await;
            }
        }
        push(&self.alone, &lines).await;
        self.all.extend(lines);
    }

    fn see(&self, change: impl Fn(&mut Peer)) {
        let mut members: Vec<Peer> = self.view.borrow().peers().values().cloned().collect();
        members.iter_mut().for_each(change);
        self.view.send_replace(Arc::new(View::new(members)));
    }

    fn querier(&self, n: usize) -> &Querier {
        &self.beds[n].node.querier
    }
}

/// A line of each kind for each stream, second by second.
fn some_lines(count: i64) -> Vec<Stored> {
    (0..count).map(|n| stored((n as usize % LABELS.len(), n, (n / 4 % 6) as u8, n % 3 == 0))).collect()
}

fn everything(query: &str, limit: usize) -> LogQuery {
    let Expr::Log(log) = Querier::parse(query).unwrap() else { panic!("{query} asks for lines") };
    LogQuery { log, start: START, end: NOW, limit, forward: false, interval: 0 }
}

fn texts(answer: &Answer) -> Vec<(i64, Vec<u8>)> {
    let Value::Lines(lines) = &answer.value else { panic!("lines were asked for") };
    lines.iter().map(|line| (line.timestamp, line.line.clone())).collect()
}

const ALL: TimeRange = TimeRange { first: START, last: NOW };

fn ring() -> impl Strategy<Value = (Vec<Vec<u64>>, usize)> {
    let members = prop::collection::vec(prop::collection::vec(any::<u64>(), 1..6), 1..4);
    (members, 1..4usize)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_split_query_gives_the_answer_of_an_unsplit_one(
        (tokens, replicas) in ring(),
        events in prop::collection::vec((event(), prop::option::of(0..3usize)), 1..8),
        windows in prop::collection::vec(window(), LOG_QUERIES.len()),
        steps in prop::collection::vec(steps(), METRIC_QUERIES.len()),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut house = House::new(&tokens, replicas).await;
            for (n, (event, stray)) in events.into_iter().enumerate() {
                let bed = &house.beds[n % house.beds.len()];
                match event {
                    Event::Push(lines) => house.push(lines.into_iter().map(stored).collect(), stray).await,
                    Event::Again(from, count) if !house.all.is_empty() => {
                        let from = from % house.all.len();
                        let again = house.all[from..house.all.len().min(from + count)].to_vec();
                        house.push(again, stray).await;
                    }
                    Event::Again(..) => {}
                    Event::Seal => bed.seal(),
                    Event::Flush | Event::Restart => bed.flush().await,
                }
            }
            let reference = reference(&house.all);
            for (n, (query, window)) in LOG_QUERIES.iter().zip(windows).enumerate() {
                check_lines(&house.beds[n % house.beds.len()], &reference, query, window).await;
            }
            for (n, (query, steps)) in METRIC_QUERIES.iter().zip(&steps).enumerate() {
                check_numbers(&house.beds[n % house.beds.len()], &reference, query, steps).await;
            }
        });
    }
}

#[tokio::test]
async fn what_there_is_is_the_same_whoever_is_asked() {
    let mut house = House::of_three(2).await;
    house.push(some_lines(400), Some(1)).await;
    house.beds[0].flush().await;
    house.beds[1].seal();
    let alone = &house.alone.node.querier;
    let selector = parse_selector(r#"{env=~".+"}"#).unwrap();
    let grouping = Grouping { labels: Some(BTreeSet::from(["app".to_owned()])), by_name: false };
    let parts = vec![
        TimeRange { first: START, last: START + 199 * SECOND },
        TimeRange { first: START + 200 * SECOND, last: NOW },
    ];
    let volumes = || Volumes::new(grouping.clone(), parts.clone());
    for n in 0..3 {
        let (querier, asker) = (house.querier(n), asker());
        let found = querier.label_names(&asker, &[], ALL).await.unwrap();
        assert_eq!(found, alone.label_names(&asker, &[], ALL).await.unwrap());
        let found = querier.label_values(&asker, "app", &selector, ALL).await.unwrap();
        assert_eq!(found.found, ["api", "db", "web"].map(str::to_owned).into());
        let groups = [selector.clone(), Vec::new()];
        let found = querier.series(&asker, &groups, ALL).await.unwrap();
        assert_eq!(found, alone.series(&asker, &groups, ALL).await.unwrap());
        assert_eq!(found.found.len(), LABELS.len());
        let found = querier.count(&asker, &selector, ALL, Totals::new(ALL)).await.unwrap().found;
        let expected = alone.count(&asker, &selector, ALL, Totals::new(ALL)).await.unwrap().found;
        assert_eq!(found.streams(), LABELS.len() as u64);
        assert_eq!((found.entries, found.bytes), (expected.entries, expected.bytes));
        let found = querier.count(&asker, &selector, ALL, volumes()).await.unwrap().found.largest(9);
        let expected = alone.count(&asker, &selector, ALL, volumes()).await.unwrap().found.largest(9);
        let total = |volumes: &[super::volume::Volume]| -> BTreeMap<_, u64> {
            volumes.iter().map(|(labels, parts)| (labels.clone(), parts.values().sum())).collect()
        };
        assert_eq!(total(&found), total(&expected));
    }
}

#[tokio::test]
async fn templates_of_all_shares_are_added_up() {
    let mut house = House::of_three(2).await;
    let line =
        |n: i64| (n as usize % LABELS.len(), START + n * SECOND, format!("user {n} logged in"), Vec::new());
    house.push((0..200).map(line).collect(), None).await;
    let query = || super::patterns::PatternQuery {
        log: everything(r#"{env=~".+"}"#, 1).log,
        start: START,
        end: NOW,
        step: 60 * SECOND,
    };
    let expected = house.alone.node.querier.patterns(&asker(), query()).await.unwrap();
    let found = house.querier(2).patterns(&asker(), query()).await.unwrap();
    assert_eq!(found.patterns, expected.patterns);
    assert_eq!(found.patterns[0].counts.values().sum::<u64>(), 200);
    assert_eq!(found.stats.lines_passed, 200);
}

#[tokio::test]
async fn a_reader_that_fails_is_replaced_by_the_next_owner_and_named() {
    let mut house = House::of_three(2).await;
    house.push(some_lines(100), None).await;
    let expected =
        texts(&house.alone.node.querier.lines(&asker(), everything(r#"{app=~".+"}"#, 500)).await.unwrap());
    assert_eq!(expected.len(), 100);
    let retried = || house.beds[0].node.metrics.pieces_retried.get();
    // The cluster still believes it alive.
    house.peers[2].close().await;
    let answer = house.querier(0).lines(&asker(), everything(r#"{app=~".+"}"#, 500)).await.unwrap();
    assert_eq!(texts(&answer), expected);
    let lost = unreached(&id(2));
    assert_eq!(answer.warnings, std::slice::from_ref(&lost));
    assert_eq!(retried(), 1);
    let sum = Querier::parse(r#"sum(count_over_time({app=~".+"}[1h]))"#).unwrap();
    let answer = house.querier(0).numbers(&asker(), &sum, &Steps::instant(NOW)).await.unwrap();
    let Value::Numbers(grapevine_logql::series::QueryValue::Vector(samples)) = &answer.value else {
        panic!()
    };
    assert_eq!((samples[0].value, &answer.warnings[..]), (100.0, std::slice::from_ref(&lost)));
    // Once it is known to be dead, nobody waits for it, but it is still said.
    house.see(|peer| peer.live &= peer.id != id(2));
    let before = retried();
    let found = house.querier(0).label_names(&asker(), &[], ALL).await.unwrap();
    assert_eq!((found.warnings, retried()), (vec![lost], before));
}

#[tokio::test]
async fn what_only_the_dead_hold_is_missing_and_they_are_named() {
    let mut house = House::of_three(1).await;
    house.push(some_lines(100), None).await;
    let dead = house.owners(0)[0];
    house.see(|peer| peer.live &= peer.id != id(dead));
    let asked = (dead + 1) % 3;
    let answer = house.querier(asked).lines(&asker(), everything(r#"{app=~".+"}"#, 500)).await.unwrap();
    assert!(texts(&answer).len() < 100);
    assert_eq!(answer.warnings, [unreached(&id(dead))]);
}

#[tokio::test]
async fn answers_of_many_items_arrive_whole_and_in_order() {
    let mut house = House::of_three(1).await;
    let long = |n: i64| {
        (n as usize % LABELS.len(), START + n * SECOND / 4, format!("{n} {}", "x".repeat(20_000)), Vec::new())
    };
    house.push((0..800).map(long).collect(), None).await;
    for limit in [800, 70] {
        let query = || everything(r#"{app=~".+"}"#, limit);
        let expected = texts(&house.alone.node.querier.lines(&asker(), query()).await.unwrap());
        assert_eq!(expected.len(), limit);
        assert!(texts(&house.querier(1).lines(&asker(), query()).await.unwrap()) == expected, "{limit}");
    }
}

#[tokio::test]
async fn a_query_at_fault_is_refused_as_one_node_would() {
    let mut house = House::of_three(1).await;
    house.push(some_lines(100), None).await;
    let limits = EvalLimits { leaf_series_max: 2, ..EvalLimits::DEFAULT };
    let asker = Asker { limits, ..asker() };
    let expr = Querier::parse(r#"count_over_time({app=~".+"}[1h])"#).unwrap();
    let steps = Steps::instant(NOW);
    let expected = house.alone.node.querier.numbers(&asker, &expr, &steps).await.unwrap_err();
    for n in 0..3 {
        let found = house.querier(n).numbers(&asker, &expr, &steps).await.unwrap_err();
        assert_eq!((found.status(), found.to_string()), (expected.status(), expected.to_string()));
    }
}

#[tokio::test]
async fn an_explained_query_says_who_read_what() {
    let mut house = House::of_three(3).await;
    house.push(some_lines(100), None).await;
    let asker = Asker { explain: true, ..asker() };
    let answer = house.querier(0).lines(&asker, everything(r#"{app=~".+"}"#, 500)).await.unwrap();
    for n in 0..3 {
        let head = format!("`{}` reads 33.3 % of the ring, in ", id(n));
        assert!(answer.explain.iter().any(|line| line.starts_with(&head)), "{:#?}", answer.explain);
    }
    let streams = answer.explain.iter().filter(|line| line.starts_with("  streams chosen:")).count();
    assert_eq!(streams, 3, "{:#?}", answer.explain);
    assert!(answer.explain.contains(&"streams chosen: 4".to_owned()), "{:#?}", answer.explain);
}

/// Notes what readers are told; where told to, does not come back.
#[derive(Debug)]
struct Hooked {
    node: usize,
    told: mpsc::UnboundedSender<(usize, Vec<Unconfirmed>)>,
    hangs: bool,
    dropped: mpsc::UnboundedSender<usize>,
}

struct OnDrop(mpsc::UnboundedSender<usize>, usize);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

fn unconfirmed() -> Vec<Unconfirmed> {
    let doubt = Doubt::Push(PushId { origin: 7, sequence: 9 });
    vec![Unconfirmed { doubt, holder: id(1) }]
}

#[async_trait::async_trait]
impl Freshness for Hooked {
    async fn unconfirmed(
        &self,
        tenants: &[Arc<str>],
        range: TimeRange,
        spread: &Spread,
        _: Instant,
    ) -> Found {
        assert_eq!((tenants.len(), range.first, spread.replicas()), (1, START, 3));
        Found { unconfirmed: unconfirmed(), warnings: vec!["who knows".into()] }
    }

    async fn catch_up(&self, _: &Share, unconfirmed: &[Unconfirmed], _: Instant) -> Vec<String> {
        let _ = self.told.send((self.node, unconfirmed.to_vec()));
        let _guard = OnDrop(self.dropped.clone(), self.node);
        if self.hangs {
            std::future::pending::<()>().await;
        }
        vec!["a holder is gone".into()]
    }
}

async fn hooked(
    hangs: bool,
) -> (House, mpsc::UnboundedReceiver<(usize, Vec<Unconfirmed>)>, mpsc::UnboundedReceiver<usize>) {
    let (told, heard) = mpsc::unbounded_channel();
    let (dropped, drops) = mpsc::unbounded_channel();
    let tokens: Vec<Vec<u64>> = (0..3).map(|n| vec![n * (u64::MAX / 3)]).collect();
    let freshness = |node| -> Arc<dyn Freshness> {
        Arc::new(Hooked { node, told: told.clone(), hangs: hangs && node != 0, dropped: dropped.clone() })
    };
    let house = House::with(&tokens, 3, freshness).await;
    (house, heard, drops)
}

#[tokio::test]
async fn every_reader_is_told_what_it_may_lack_before_it_reads() {
    let (house, mut heard, _drops) = hooked(false).await;
    let answer = house.querier(0).lines(&asker(), everything(r#"{app=~".+"}"#, 5)).await.unwrap();
    assert_eq!(answer.warnings, ["who knows", "a holder is gone"]);
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(heard.recv().await.unwrap());
    }
    told.sort_by_key(|(node, _)| *node);
    assert_eq!(told, [(0, unconfirmed()), (1, unconfirmed()), (2, unconfirmed())]);
}

#[tokio::test]
async fn a_query_that_goes_away_is_given_up_by_its_readers() {
    let (house, mut heard, mut drops) = hooked(true).await;
    let asker = asker();
    let query = house.querier(0).lines(&asker, everything(r#"{app=~".+"}"#, 5));
    let mut reading = BTreeSet::new();
    {
        tokio::pin!(query);
        while reading.len() < 3 {
            tokio::select! {
                _ = &mut query => panic!("two readers hang"),
                told = heard.recv() => reading.extend(told.map(|(node, _)| node)),
            }
        }
    }
    let mut given_up = BTreeSet::new();
    while given_up.len() < 3 {
        given_up.insert(drops.recv().await.unwrap());
    }
    assert_eq!(given_up, reading);
}

#[tokio::test]
async fn a_reader_that_hangs_costs_no_more_than_the_askers_time() {
    let (house, ..) = hooked(true).await;
    let asker = Asker { timeout: Duration::from_millis(300), ..asker() };
    let error = house.querier(0).lines(&asker, everything(r#"{app=~".+"}"#, 5)).await.unwrap_err();
    assert_eq!(error.status(), 504);
}

#[tokio::test]
async fn a_node_that_does_not_serve_yet_asks_the_others() {
    let mut house = House::of_three(3).await;
    house.push(some_lines(60), None).await;
    house.see(|peer| {
        if peer.id == id(0) {
            peer.profile.state = State::Joining;
        }
    });
    let asker = Asker { explain: true, ..asker() };
    let answer = house.querier(0).lines(&asker, everything(r#"{app=~".+"}"#, 500)).await.unwrap();
    assert_eq!((texts(&answer).len(), &answer.warnings[..]), (60, &[][..]));
    assert!(!answer.explain.iter().any(|line| line.starts_with("`n1`")), "{:#?}", answer.explain);
}
