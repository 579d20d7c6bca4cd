//! Asking: lines and counts of a stream, from any node. An answer is complete, or its warning is true.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::time::sleep;

use super::measure::MEASURES;
use super::{AGAIN, Clients, Phase, State, server, told};
use crate::det;
use crate::random::Random;
use crate::timeline::{self, Mark};
use crate::trace;
use crate::wire::Client;
use crate::workload::{Entry, Workload};

const QUERY_LIMIT: usize = 5000;
/// One of so many questions is for a count, one for all of a stream.
const COUNTS_ONE_IN: u64 = 4;
/// How many lines back others reach, ...
const YOUNG_LINES: u64 = 1000;
/// ... and for how much time on either side of such a line.
const AROUND_NANOS: i64 = 3_000_000_000;

/// What Loki's API says about one stream.
struct Answer<T> {
    result: T,
    warnings: Vec<String>,
}

impl Clients {
    /// Asks nodes about streams by chance, for as long as there are faults.
    pub(super) async fn ask_all(&self, client: &Client) {
        let mut random = Random::of_part(self.lines.seed, "questions");
        let rate = self.scenario.workload.queries_per_second;
        if rate <= 0.0 {
            return;
        }
        let least = (100.0 / rate) as u64;
        while self.phase() == Phase::Faults {
            sleep(Duration::from_millis(random.within(least..=least * 19))).await;
            let streams = self.state().ledger.streams();
            let (Some(node), false) = (self.any_member(&mut random), streams.is_empty()) else { continue };
            let stream = streams[random.below(streams.len() as u64) as usize];
            match random.below(COUNTS_ONE_IN) {
                0 => drop(self.count(client, node, stream).await),
                1 => drop(self.look_at(client, node, stream).await),
                _ => self.look_at_some(client, node, stream, &mut random).await,
            }
        }
    }

    /// Asks for all lines of one stream and holds the answer against the ledger. Gives them back if it was complete.
    pub(super) async fn look_at(&self, client: &Client, node: usize, stream: u64) -> Option<Vec<Entry>> {
        let owed = self.state().ledger.owed(stream);
        self.ask_for(client, node, stream, Workload::ALL, owed).await
    }

    /// The same with the lines around one of the last: whole streams, over and over, are most of what a run costs.
    async fn look_at_some(&self, client: &Client, node: usize, stream: u64, random: &mut Random) {
        let (time, owed) = {
            let ledger = &self.state().ledger;
            let offered = ledger.offered(stream);
            let around = offered.saturating_sub(random.below(offered.min(YOUNG_LINES) + 1));
            let at = self.lines.timestamp(stream, around);
            let time = at - AROUND_NANOS..at + AROUND_NANOS;
            (time.clone(), ledger.owed_within(stream, &time))
        };
        self.ask_for(client, node, stream, time, owed).await;
    }

    async fn ask_for(
        &self,
        client: &Client,
        node: usize,
        stream: u64,
        time: Range<i64>,
        owed: BTreeSet<u64>,
    ) -> Option<Vec<Entry>> {
        let asked = det::elapsed();
        let target = Workload::query_target(stream, &time, QUERY_LIMIT);
        let response = client.call(server(node), "GET", &target, &[], self.patience()).await;
        let answer = read(response.as_ref(), entries);
        let mut state = self.state();
        let what = format!("lines of stream {stream} from node {node}");
        let answer = state.judge(answer, asked, &what, response.as_ref(), self)?;
        let complete = answer.warnings.is_empty();
        let owed = if complete { owed } else { BTreeSet::new() };
        for violation in state.ledger.verify(stream, &owed, &answer.result) {
            state.tell(&format!("{violation} (asked of node {node})"));
        }
        if let Some(entry) = answer.result.iter().find(|entry| !time.contains(&entry.timestamp)) {
            state.tell(&format!("{what}: `{}` is not of the time asked for, {time:?}", entry.timestamp));
        }
        complete.then_some(answer.result)
    }

    /// Asks how many lines one stream has and holds the answer against the ledger. True if it was complete.
    pub(super) async fn count(&self, client: &Client, node: usize, stream: u64) -> bool {
        let owed = self.state().ledger.owed(stream).len() as u64;
        let asked = det::elapsed();
        let target = Workload::count_target(stream);
        let response = client.call(server(node), "GET", &target, &[], self.patience()).await;
        let answer = read(response.as_ref(), number);
        let mut state = self.state();
        let what = format!("a count of stream {stream} from node {node}");
        let Some(answer) = state.judge(answer, asked, &what, response.as_ref(), self) else { return false };
        let complete = answer.warnings.is_empty();
        let least = if complete { owed } else { 0 };
        if let Some(violation) = state.ledger.verify_count(stream, least, answer.result) {
            state.tell(&format!("{violation} (asked of node {node})"));
        }
        complete
    }

    /// Asks one node for a measure of a stream over time, and for the stream's lines, until a simple reference makes the
    /// same of these. A push that was not answered may come in between.
    pub(super) async fn must_measure(&self, client: &Client, node: usize, stream: u64) {
        let measure = &MEASURES[(stream / 2) as usize % MEASURES.len()];
        let what = format!("the {} of stream {stream} from node {node}", measure.name);
        let target = measure.target(stream);
        loop {
            let lines = self.look_at(client, node, stream).await;
            let asked = det::elapsed();
            let response = client.call(server(node), "GET", &target, &[], self.patience()).await;
            let answer = read(response.as_ref(), values);
            {
                let mut state = self.state();
                let answer = state.judge(answer, asked, &what, response.as_ref(), self);
                if let Some((lines, answer)) = lines.zip(answer.filter(|answer| answer.warnings.is_empty())) {
                    let expected = measure.of(stream, &lines);
                    if answer.result == expected {
                        return;
                    }
                    let Answer { result, .. } = answer;
                    state.waits_for = format!("{what}: {result:?} where its lines come to {expected:?}");
                }
            }
            sleep(AGAIN).await;
        }
    }

    /// Whether something was wrong, shortly before a time, that can have made an answer incomplete. Where the warning
    /// names nodes, with one of them.
    fn is_true(&self, state: &State, warning: &str, asked: Duration) -> bool {
        let nodes = &self.scenario.nodes;
        let named = |node: &usize| warning.contains(&format!("`{}`", nodes[*node].name));
        let named: Vec<usize> = (0..nodes.len()).filter(named).collect();
        let recent = |trouble: &Option<Duration>| {
            trouble.is_some_and(|at| at + self.scenario.expect.recovery.0 >= asked)
        };
        match &named[..] {
            [] => state.trouble.iter().any(recent),
            named => named.iter().any(|node| recent(&state.trouble[*node])),
        }
    }
}

impl State {
    /// Counts an answer and its warnings; none where there was no answer.
    fn judge<T>(
        &mut self,
        answer: Option<Answer<T>>,
        asked: Duration,
        what: &str,
        response: Option<&(u16, Bytes)>,
        clients: &Clients,
    ) -> Option<Answer<T>> {
        trace::event("answered", usize::MAX, response.map_or(&[][..], |(_, body)| body));
        let Some(answer) = answer else {
            self.counts.unanswered += 1;
            self.waits_for = format!("{what}: {}", told(response));
            return None;
        };
        self.counts.answers += 1;
        timeline::mark(Mark::Answered, None, || format!("{what}, asked at {asked:?}: {:?}", answer.warnings));
        match answer.warnings.first() {
            Some(warning) => {
                self.counts.incomplete += 1;
                self.waits_for = format!("complete {what}: {warning}");
            }
            None => self.waits_for = format!("{what} came last"),
        }
        for warning in &answer.warnings {
            if !clients.is_true(self, warning, asked) {
                self.tell(&format!("{what} came with a warning that is not true: {warning}"));
            }
        }
        Some(answer)
    }
}

/// Reads Loki's JSON; none if it is not.
fn read<'a, R: Deserialize<'a>, T>(
    response: Option<&'a (u16, Bytes)>,
    result: fn(R) -> Option<T>,
) -> Option<Answer<T>> {
    #[derive(Deserialize)]
    struct Body<R> {
        data: Data<R>,
        #[serde(default)]
        warnings: Vec<String>,
    }
    #[derive(Deserialize)]
    struct Data<R> {
        result: R,
    }
    let (200, body) = response? else { return None };
    let Body { data, warnings } = serde_json::from_slice::<Body<R>>(body).ok()?;
    Some(Answer { result: result(data.result)?, warnings })
}

/// Of a stream in an answer, its lines.
#[derive(Deserialize)]
struct Lines {
    values: Vec<(String, String)>,
}

fn entries(streams: Vec<Lines>) -> Option<Vec<Entry>> {
    let values = streams.into_iter().flat_map(|stream| stream.values);
    values.map(|(timestamp, line)| Some(Entry { timestamp: timestamp.parse().ok()?, line })).collect()
}

/// Of a series at one time, its value.
#[derive(Deserialize)]
struct Sample {
    value: (f64, String),
}

/// The one value of a vector; an empty one is 0.
fn number(vector: Vec<Sample>) -> Option<u64> {
    match &vector[..] {
        [] => Some(0),
        [sample] => sample.value.1.parse().ok(),
        _ => None,
    }
}

/// Of a series over time, its values.
#[derive(Deserialize)]
struct Series {
    values: Vec<(f64, String)>,
}

/// The values of the one series of a matrix, by seconds since 1970; an empty one has none.
fn values(matrix: Vec<Series>) -> Option<BTreeMap<i64, u64>> {
    match &matrix[..] {
        [] => Some(BTreeMap::new()),
        [series] => series.values.iter().map(|(at, value)| Some((*at as i64, value.parse().ok()?))).collect(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{entries, number, read, values};

    fn body(result: &str, more: &str) -> Option<(u16, bytes::Bytes)> {
        Some((200, format!(r#"{{"status":"success","data":{{"result":{result}}}{more}}}"#).into()))
    }

    #[test]
    fn warnings_make_an_answer_incomplete_and_other_texts_are_none() {
        let lines = r#"[{"stream":{},"values":[["5","a"]]}]"#;
        let whole = read(body(lines, "").as_ref(), entries).unwrap();
        assert!(whole.warnings.is_empty() && whole.result[0].timestamp == 5 && whole.result[0].line == "a");
        let partial = read(body(lines, r#","warnings":["x"]"#).as_ref(), entries).unwrap();
        assert_eq!(partial.warnings, ["x"]);
        assert!(read(Some(&(200, "too many requests".into())), entries).is_none());
        assert!(read(Some(&(500, body(lines, "").unwrap().1)), entries).is_none());
    }

    #[test]
    fn a_count_is_the_one_sample_or_nothing_at_all() {
        let count = |result| read(body(result, "").as_ref(), number).map(|answer| answer.result);
        assert_eq!(count(r#"[{"metric":{},"value":[1,"17"]}]"#), Some(17));
        assert_eq!(count("[]"), Some(0));
        assert_eq!(count(r#"[{"value":[1,"1"]},{"value":[1,"1"]}]"#), None);
    }

    #[test]
    fn a_measure_over_time_is_the_one_series_or_nothing_at_all() {
        let measure = |result| read(body(result, "").as_ref(), values).map(|answer| answer.result);
        assert_eq!(measure(r#"[{"metric":{},"values":[[7,"2"],[14,"1"]]}]"#), Some([(7, 2), (14, 1)].into()));
        assert_eq!(measure("[]"), Some([].into()));
        assert_eq!(measure(r#"[{"values":[]},{"values":[]}]"#), None);
    }
}
