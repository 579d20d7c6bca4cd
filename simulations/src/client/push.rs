//! Pushing: each pusher has streams of its own, sends some lines of some of them to any node, and tries again,
//! at another node, what was not answered.

use std::ops::Range;
use std::time::Duration;

use tokio::time::sleep;

use super::{AGAIN, Clients, Phase, server, told};
use crate::det;
use crate::random::Random;
use crate::timeline::{self, Mark};
use crate::trace;
use crate::wire::Client;

const PUSH: &str = "/loki/api/v1/push";
/// How often a push is sent before a client gives it up for the next.
const ATTEMPTS_MAX: u32 = 4;
/// Streams of one push at most.
const STREAMS_MAX: u64 = 3;
/// Lines of one stream at most: an answer of Loki's API has 5,000.
const STREAM_LINES_MAX: u64 = 4500;

/// Streams, each with the lines to push.
type Parts = Vec<(u64, Range<u64>)>;

impl Clients {
    /// One to two streams: pushes of one stream must not overlap, those of others should.
    pub(super) fn pushers(&self) -> u64 {
        self.scenario.workload.streams.div_ceil(2)
    }

    /// Pushes some streams, for as long as there are faults.
    pub(super) async fn push_all(&self, client: &Client, pusher: u64) {
        let mut random = Random::of_part(self.lines.seed, &format!("pushes of {pusher}"));
        let pushers = self.pushers() as usize;
        let mut streams: Vec<u64> = (pusher..self.scenario.workload.streams).step_by(pushers).collect();
        while self.phase() == Phase::Faults {
            sleep(self.pause(&mut random, streams.len())).await;
            if self.is_quiet() {
                sleep(Duration::from_secs(1)).await;
                continue;
            }
            let parts = self.offer(&mut random, &mut streams);
            for attempt in 0..ATTEMPTS_MAX {
                let Some(node) = self.any_member(&mut random) else { break };
                let status = self.push(client, node, &parts).await;
                // Refused for good: a timestamp too far ahead of a clock that jumped.
                if status == Some(204) || status == Some(400) {
                    break;
                }
                sleep(Duration::from_millis(200 << attempt)).await;
            }
        }
    }

    /// As long as it takes on average to have the lines of a push, give or take nine tenths.
    fn pause(&self, random: &mut Random, streams: usize) -> Duration {
        let workload = &self.scenario.workload;
        let streams = (streams as u64).min(STREAMS_MAX) as f64;
        let lines = (1.0 + streams) / 2.0 * (1 + workload.batch) as f64 / 2.0;
        let mean = lines * self.pushers() as f64 / workload.lines_per_second;
        let least = (mean * 100.0) as u64;
        Duration::from_millis(random.within(least..=least * 19))
    }

    fn is_quiet(&self) -> bool {
        let workload = &self.scenario.workload;
        let (busy, quiet) = (workload.busy.0.as_millis(), workload.quiet.0.as_millis());
        quiet > 0 && det::elapsed().as_millis() % (busy + quiet) >= busy
    }

    /// The next lines of one to three of a pusher's streams. A stream that is full is followed by another.
    fn offer(&self, random: &mut Random, streams: &mut [u64]) -> Parts {
        let count = random.within(1..=STREAMS_MAX.min(streams.len() as u64)) as usize;
        let first = random.below(streams.len() as u64) as usize;
        streams.rotate_left(first);
        let ledger = &mut self.state().ledger;
        let next = |stream: &mut u64| {
            if ledger.offered(*stream) + self.scenario.workload.batch > STREAM_LINES_MAX {
                *stream += self.scenario.workload.streams;
            }
            (*stream, ledger.offer(*stream, random.within(1..=self.scenario.workload.batch)))
        };
        streams[..count].iter_mut().map(next).collect()
    }

    async fn push(&self, client: &Client, node: usize, parts: &Parts) -> Option<u16> {
        let body = self.lines.push_body(parts);
        for (stream, sequences) in parts {
            self.state().ledger.send(*stream, sequences.start, node);
        }
        let answer = client.call(server(node), "POST", PUSH, &body, self.patience()).await;
        let status = answer.as_ref().map(|(status, _)| *status);
        let mut state = self.state();
        state.counts.pushes += 1;
        if status == Some(204) {
            parts.iter().for_each(|(stream, sequences)| state.ledger.acknowledge(*stream, sequences.start));
            state.waits_for = format!("a push to node {node} came last");
            timeline::mark(Mark::Answered, Some(node), || format!("took {parts:?}"));
        } else {
            state.counts.refused += 1;
            state.waits_for = format!("a push to node {node}: {}", told(answer.as_ref()));
        }
        trace::event("pushed", usize::MAX, &status.unwrap_or(0).to_le_bytes());
        status
    }

    /// Pushes a line until it is taken.
    pub(super) async fn must_push(&self, client: &Client, node: usize, stream: u64) {
        let sequences = self.state().ledger.offer(stream, 1);
        let parts = vec![(stream, sequences)];
        while self.push(client, node, &parts).await != Some(204) {
            sleep(AGAIN).await;
        }
    }
}
