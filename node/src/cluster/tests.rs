//! Members over real sockets, in one process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use grapevine_gossip::identity::ClusterKey;
use grapevine_gossip::membership::{State, View};
use tempfile::TempDir;
use tokio::time::timeout;

use super::{Cluster, advertised, home, lock};
use crate::config::Config;
use crate::env::{Env, SystemClock, SystemNet, WallClock};

/// A folder and what is set for the node in it.
struct Place {
    dir: TempDir,
    flags: Vec<(String, String)>,
}

impl Place {
    fn new(flags: &[(&str, &str)]) -> Self {
        let flags = flags.iter().map(|(key, value)| (format!("cluster.{key}"), (*value).to_owned()));
        Place { dir: tempfile::tempdir().unwrap(), flags: flags.collect() }
    }

    /// The first node of a cluster, on a port that is kept for later lives.
    fn founder() -> Self {
        let place = Place::new(&[("peer_listen", "127.0.0.1:0")]);
        home::found(place.dir.path()).unwrap();
        place
    }

    fn joining(token: &str) -> Self {
        Place::new(&[("peer_listen", "127.0.0.1:0"), ("join", token)])
    }

    async fn open(&self) -> anyhow::Result<Option<Arc<Cluster>>> {
        self.open_in(&Env::system(self.dir.path().to_owned())).await
    }

    async fn open_in(&self, env: &Env) -> anyhow::Result<Option<Arc<Cluster>>> {
        let config = Config::load("", [], self.flags.clone()).unwrap();
        Cluster::open(env, &config).await
    }

    async fn start(&self) -> Arc<Cluster> {
        let cluster = self.open().await.unwrap().unwrap();
        cluster.start();
        cluster
    }

    fn token(&self, at: SocketAddr) -> String {
        format!("{}@{at}", home::key(self.dir.path()).unwrap().unwrap().expose())
    }
}

async fn sees(cluster: &Cluster, what: &str, condition: impl Fn(&View) -> bool) -> Arc<View> {
    let mut views = cluster.watch();
    let seen = timeout(Duration::from_secs(60), views.wait_for(|view| condition(view))).await;
    let view = seen.unwrap_or_else(|_| panic!("{} did not see {what}: {:?}", cluster.me(), cluster.view()));
    Arc::clone(&view.unwrap())
}

/// Waits until a node says that it waits, and why.
async fn waits(cluster: &Cluster, why: &str) {
    let told = async {
        while !cluster.waiting().is_some_and(|text| text.contains(why)) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), told).await.expect("it says why");
}

fn placed(view: &View, count: usize) -> bool {
    view.peers().values().filter(|peer| peer.live && !peer.profile.tokens.is_empty()).count() == count
        && view.ring().members().len() == count
}

#[tokio::test]
async fn a_node_without_a_key_stands_alone() {
    assert!(Place::new(&[]).open().await.unwrap().is_none());
}

#[tokio::test]
async fn members_find_each_other_and_come_back_with_their_tokens() {
    let (a, port) = (Place::founder(), "peer_listen");
    let first = a.start().await;
    sees(&first, "itself placed", |view| placed(view, 1)).await;
    assert_eq!(first.waiting(), None);
    let b = Place::joining(&a.token(first.address()));
    let second = b.start().await;
    for node in [&first, &second] {
        sees(node, "both placed", |view| placed(view, 2)).await;
    }
    let (ring, names) = (first.view().ring().hash(), [first.me().clone(), second.me().clone()]);
    // Both go away and come back on their addresses, without a token, in the other order.
    let addresses = [first.address(), second.address()];
    for node in [first, second] {
        node.stop().await;
    }
    let again = |place: &Place, address: SocketAddr| Place {
        flags: vec![(format!("cluster.{port}"), address.to_string())],
        dir: TempDir::with_prefix_in("x", place.dir.path()).unwrap(),
    };
    let mut places = [again(&a, addresses[0]), again(&b, addresses[1])];
    for (place, kept) in places.iter_mut().zip([a, b]) {
        place.dir = kept.dir;
    }
    let [a, b] = places;
    let (second, first) = (b.start().await, a.start().await);
    assert_eq!([first.me(), second.me()], [&names[0], &names[1]]);
    for node in [&first, &second] {
        let view = sees(node, "both placed again", |view| placed(view, 2)).await;
        assert_eq!(view.ring().hash(), ring);
    }
}

#[tokio::test]
async fn a_member_that_has_left_gives_its_tokens_up() {
    let a = Place::founder();
    let first = a.start().await;
    let second = Place::joining(&a.token(first.address())).start().await;
    sees(&second, "both placed", |view| placed(view, 2)).await;
    second.set_state(State::Left).await;
    let given_up = async {
        while !lock(&second.home).tokens().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), given_up).await.expect("it keeps no tokens");
    sees(&first, "itself alone in the ring", |view| view.ring().members().len() == 1).await;
}

#[tokio::test]
async fn a_joiner_that_reaches_nobody_takes_no_tokens_and_says_why() {
    let stranger = Place::founder();
    let other = stranger.start().await;
    let key = ClusterKey::from_bytes([9; 32]).expose();
    let joiner = Place::joining(&format!("{key}@{}", other.address())).start().await;
    waits(&joiner, "it belongs to another cluster").await;
    assert!(joiner.view().peers().is_empty());
}

/// A clock that is set by hand.
#[derive(Debug)]
struct SetClock(AtomicI64);

impl WallClock for SetClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_node_whose_clock_was_wrong_is_let_in_once_it_is_set_right() {
    const IN_1971: i64 = 365 * 86_400_000_000_000;
    let founder = Place::founder();
    let first = founder.start().await;
    let place = Place::joining(&founder.token(first.address()));
    let clock = Arc::new(SetClock(AtomicI64::new(IN_1971)));
    let env = Env { clock: clock.clone(), ..Env::system(place.dir.path().to_owned()) };
    let late = place.open_in(&env).await.unwrap().unwrap();
    late.start();
    waits(&late, "a certificate is not valid now").await;
    clock.0.store(SystemClock.now(), Ordering::SeqCst);
    late.renew().unwrap();
    sees(&late, "itself placed", |view| placed(view, 2)).await;
}

#[tokio::test]
async fn a_dropped_cluster_gives_its_port_back() {
    let mut place = Place::founder();
    let address = place.start().await.address();
    place.flags = vec![("cluster.peer_listen".to_owned(), address.to_string())];
    let freed = async {
        while place.open().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), freed).await.expect("the port is free again");
}

#[test]
fn the_advertised_address_is_the_operators_the_sockets_or_that_on_the_way() {
    let check = |listen: &str, advertise: &str, seed: &str, expected: &str| {
        let flags = [("peer_listen", listen), ("advertise", advertise)];
        let flags = flags.map(|(key, value)| (format!("cluster.{key}"), value.to_owned()));
        let meant = Config::load("", [], flags).unwrap().cluster.meant().unwrap();
        let found = advertised(&SystemNet, &meant, &[seed.parse().unwrap()]).unwrap();
        assert_eq!(found.to_string(), expected);
    };
    check("0.0.0.0:1", "10.1.2.3", "127.0.0.1:9", "10.1.2.3");
    check("127.0.0.2:1", "", "127.0.0.1:9", "127.0.0.2");
    check("0.0.0.0:1", "", "127.0.0.1:9", "127.0.0.1");
}
