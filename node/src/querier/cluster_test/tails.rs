//! Tails across members: each line once, wherever it arrives and whoever goes.

use std::collections::BTreeSet;
use std::time::Duration;

use grapevine_logql::ast::Expr;
use grapevine_logql::pipeline::Options;
use tokio::time::timeout;

use super::{House, id};
use crate::querier::Querier;
use crate::querier::reference_test::{NOW, START, Stored, stored};
use crate::querier::tails::{Following, Heard};
use crate::testbed::SECOND;

async fn follow(house: &House, n: usize, query: &str) -> Following {
    let Expr::Log(log) = Querier::parse(query).unwrap() else { panic!("{query} asks for lines") };
    let options = Options { levels: None, now: NOW };
    house.querier(n).follow(&"fake".into(), &log, options, 9).await.unwrap().unwrap()
}

/// The next lines that a tail hears, so many.
async fn hear(following: &mut Following, count: usize) -> Vec<Vec<u8>> {
    let mut heard = Vec::new();
    while heard.len() < count {
        match following.next().await.unwrap() {
            Heard::Push(_) => panic!("a member hears lines"),
            Heard::Lines(lines, missed) => {
                assert_eq!(missed, []);
                heard.extend(lines.into_iter().map(|line| line.line));
            }
        }
    }
    heard.sort();
    heard
}

#[tokio::test]
async fn a_tail_hears_each_line_once_wherever_it_arrives() {
    let mut house = House::of_three(3).await;
    let mut tails = Vec::new();
    for n in 0..3 {
        tails.push(follow(&house, n, r#"{app=~".+"} |= "level""#).await);
    }
    let lines = |from: i64| -> Vec<Stored> {
        (from..from + 40).map(|n| stored((n as usize % 4, n, (n % 4) as u8, false))).collect()
    };
    house.push(lines(0), None).await;
    let expected = |from| {
        let mut texts: Vec<Vec<u8>> = lines(from).into_iter().map(|line| line.2.into_bytes()).collect();
        texts.retain(|text| text.windows(5).any(|part| part == b"level"));
        texts.sort();
        texts
    };
    for tail in &mut tails {
        assert_eq!(hear(tail, expected(0).len()).await, expected(0));
    }
    // Nothing came twice: what is heard next is what comes next.
    house.push(lines(40), None).await;
    for tail in &mut tails {
        assert_eq!(hear(tail, expected(40).len()).await, expected(40));
    }
}

#[tokio::test]
async fn a_tail_goes_on_at_the_next_owners_when_members_go() {
    let mut house = House::of_three(3).await;
    let mut tail = follow(&house, 0, r#"{app=~".+"}"#).await;
    house.peers[2].close().await;
    house.see(|peer| peer.live &= peer.id != id(2));
    // The shares are dealt anew behind this task's back: until the other member listens, lines may pass it by.
    let mut streams = BTreeSet::new();
    for n in 0.. {
        house
            .push(
                (0..4).map(|stream| (stream, START + n * SECOND, format!("{stream}"), Vec::new())).collect(),
                None,
            )
            .await;
        while let Ok(Some(Heard::Lines(lines, _))) = timeout(Duration::from_millis(20), tail.next()).await {
            streams.extend(lines.into_iter().map(|line| line.line));
        }
        if streams.len() == 4 {
            break;
        }
    }
}

#[tokio::test]
async fn who_no_longer_follows_is_told_nothing_anywhere() {
    let house = House::of_three(3).await;
    let tails =
        || -> Vec<usize> { house.beds.iter().map(|bed| bed.node.ingester.followers().count()).collect() };
    let tail = follow(&house, 0, r#"{app=~".+"}"#).await;
    assert_eq!(tails(), [1, 1, 1]);
    drop(tail);
    while tails() != [0, 0, 0] {
        tokio::task::yield_now().await;
    }
}
