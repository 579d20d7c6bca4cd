//! Asking: lines and counts of a stream, from any node. An answer is complete, or its warning is true.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::sleep;

use super::{Clients, Phase, State, server, told};
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
                0 => self.count(client, node, stream).await,
                1 => self.look_at(client, node, stream).await,
                _ => self.look_at_some(client, node, stream, &mut random).await,
            };
        }
    }

    /// Asks for all lines of one stream and holds the answer against the ledger. True if it was complete.
    pub(super) async fn look_at(&self, client: &Client, node: usize, stream: u64) -> bool {
        let owed = self.state().ledger.owed(stream);
        self.ask_for(client, node, stream, Workload::ALL, owed).await
    }

    /// The same with the lines around one of the last: whole streams, over and over, are most of what a run costs.
    async fn look_at_some(&self, client: &Client, node: usize, stream: u64, random: &mut Random) -> bool {
        let (time, owed) = {
            let ledger = &self.state().ledger;
            let offered = ledger.offered(stream);
            let around = offered.saturating_sub(random.below(offered.min(YOUNG_LINES) + 1));
            let at = self.lines.timestamp(stream, around);
            let time = at - AROUND_NANOS..at + AROUND_NANOS;
            (time.clone(), ledger.owed_within(stream, &time))
        };
        self.ask_for(client, node, stream, time, owed).await
    }

    async fn ask_for(
        &self,
        client: &Client,
        node: usize,
        stream: u64,
        time: Range<i64>,
        owed: BTreeSet<u64>,
    ) -> bool {
        let asked = det::elapsed();
        let target = Workload::query_target(stream, &time, QUERY_LIMIT);
        let response = client.call(server(node), "GET", &target, &[], self.patience()).await;
        let answer = read(response.as_ref(), entries);
        let mut state = self.state();
        let what = format!("lines of stream {stream} from node {node}");
        let Some(answer) = state.judge(answer, asked, &what, response.as_ref(), self) else { return false };
        let complete = answer.warnings.is_empty();
        let owed = if complete { owed } else { BTreeSet::new() };
        for violation in state.ledger.verify(stream, &owed, &answer.result) {
            state.tell(&format!("{violation} (asked of node {node})"));
        }
        if let Some(entry) = answer.result.iter().find(|entry| !time.contains(&entry.timestamp)) {
            state.tell(&format!("{what}: `{}` is not of the time asked for, {time:?}", entry.timestamp));
        }
        complete
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
        if let Some(warning) = answer.warnings.first() {
            self.counts.incomplete += 1;
            self.waits_for = format!("complete {what}: {warning}");
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
fn read<T>(response: Option<&(u16, Bytes)>, result: fn(&Value) -> Option<T>) -> Option<Answer<T>> {
    let (200, body) = response? else { return None };
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = |warning: &Value| warning.as_str().unwrap_or("(no text)").to_owned();
    let warnings = answer["warnings"].as_array().map(|all| all.iter().map(text).collect());
    Some(Answer { result: result(&answer["data"]["result"])?, warnings: warnings.unwrap_or_default() })
}

fn entries(result: &Value) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    for stream in result.as_array()? {
        for value in stream["values"].as_array()? {
            let timestamp = value[0].as_str()?.parse().ok()?;
            entries.push(Entry { timestamp, line: value[1].as_str()?.to_owned() });
        }
    }
    Some(entries)
}

/// The one value of a vector; an empty one is 0.
fn number(result: &Value) -> Option<u64> {
    match &result.as_array()?[..] {
        [] => Some(0),
        [sample] => sample["value"][1].as_str()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{entries, number, read};

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
}
