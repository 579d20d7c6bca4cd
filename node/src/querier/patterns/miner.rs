//! Finds the templates behind log lines: a decider after Drain (He, Zhu, Zheng, Lyu: "Drain: an online log parsing
//! approach with fixed depth tree", ICWS 2017).
//!
//! Drain's tree goes by a line's length and first words. Here its one inner level is the shape of the line, that
//! is its punctuation, which tells templates apart far better than the count of words. Words with digits are not
//! masked away beforehand: they simply count for nothing when lines are compared, so a constant such as `HTTP/1.1`
//! stays in the template.

use std::collections::BTreeMap;
use std::ops::Range;

use super::template::render;
use super::words::{has_digit, split};

/// Clusters kept; the rarest gives way, among equally rare ones the one seen longest ago.
pub const CLUSTERS_MAX: usize = 400;
/// Buckets of time that one cluster counts in.
const BUCKETS_MAX: usize = 11_001;
/// Lines are of one cluster if of the words without digits at least so many hundredths are the same (Drain's
/// similarity threshold).
const SAME_PERCENT: usize = 40;

/// Lines that share a template.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The first of them.
    pub example: Vec<u8>,
    /// Its words.
    pub words: Vec<Word>,
    /// Lines in it, by the start of their bucket of time.
    pub counts: BTreeMap<i64, u64>,
    /// Lines in it.
    pub lines: u64,
    last_seen: u64,
}

/// A word of a cluster's example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Where it is.
    pub range: Range<usize>,
    /// Whether it has a digit.
    pub has_digit: bool,
    /// Whether lines differ in it.
    pub differs: bool,
}

/// A template and when its lines came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The template: text and `<_>`, as the pattern filter `|>` takes it.
    pub text: String,
    /// The level of its lines.
    pub level: String,
    /// Lines, by the start of their bucket of time, ns.
    pub counts: BTreeMap<i64, u64>,
}

/// Gathers lines into clusters.
#[derive(Debug)]
pub struct Miner {
    bucket: i64,
    clusters: BTreeMap<(String, u64), Vec<Cluster>>,
    held: usize,
    lines: u64,
    words: Vec<Range<usize>>,
}

impl Miner {
    /// Counts in buckets of so many ns, more than 0.
    pub fn new(bucket: i64) -> Self {
        Miner { bucket: bucket.max(1), clusters: BTreeMap::new(), held: 0, lines: 0, words: Vec::new() }
    }

    /// Takes in a line, which stands for `weight` lines.
    pub fn add(&mut self, level: &str, timestamp: i64, line: &[u8], weight: u64) {
        let mut words = std::mem::take(&mut self.words);
        let shape = split(line, &mut words);
        self.lines += 1;
        let number = self.lines;
        let of_shape = self.clusters.entry((level.to_owned(), shape)).or_default();
        let best = of_shape.iter().enumerate().filter_map(|(n, c)| Some((c.likeness(line, &words)?, n)));
        // Of equally like clusters the oldest.
        let best = best.max_by_key(|(likeness, n)| (*likeness, std::cmp::Reverse(*n)));
        let cluster = match best {
            Some((_, n)) => {
                of_shape[n].learn(line, &words);
                &mut of_shape[n]
            }
            None => {
                self.held += 1;
                of_shape.push(Cluster::new(line, &words));
                of_shape.last_mut().expect("a cluster has just been put there")
            }
        };
        cluster.lines += weight;
        cluster.last_seen = number;
        let bucket = timestamp - timestamp.rem_euclid(self.bucket);
        if cluster.counts.len() < BUCKETS_MAX || cluster.counts.contains_key(&bucket) {
            *cluster.counts.entry(bucket).or_default() += weight;
        }
        self.words = words;
        if self.held > CLUSTERS_MAX {
            self.forget_one();
        }
    }

    fn forget_one(&mut self) {
        let all = self.clusters.iter().flat_map(|(key, of_shape)| of_shape.iter().map(move |c| (key, c)));
        let rarest = all.min_by_key(|(_, cluster)| (cluster.lines, cluster.last_seen));
        let Some((key, cluster)) = rarest else { return };
        let (key, seen) = (key.clone(), cluster.last_seen);
        if let Some(of_shape) = self.clusters.get_mut(&key) {
            of_shape.retain(|cluster| cluster.last_seen != seen);
            self.held -= 1;
            if of_shape.is_empty() {
                self.clusters.remove(&key);
            }
        }
    }

    /// The templates, the most frequent first. Clusters that read alike are one.
    pub fn finish(self) -> Vec<Pattern> {
        let mut patterns: BTreeMap<(String, String), BTreeMap<i64, u64>> = BTreeMap::new();
        for ((level, _), of_shape) in self.clusters {
            for cluster in of_shape {
                let counts = patterns.entry((level.clone(), render(&cluster))).or_default();
                cluster.counts.iter().for_each(|(at, lines)| *counts.entry(*at).or_default() += lines);
            }
        }
        let pattern = |((level, text), counts)| Pattern { text, level, counts };
        let mut patterns: Vec<Pattern> = patterns.into_iter().map(pattern).collect();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.counts.values().sum::<u64>()));
        patterns
    }
}

impl Cluster {
    fn new(line: &[u8], words: &[Range<usize>]) -> Self {
        let word = |range: &Range<usize>| Word {
            range: range.clone(),
            has_digit: has_digit(&line[range.clone()]),
            differs: false,
        };
        let words = words.iter().map(word).collect();
        Cluster { example: line.to_vec(), words, counts: BTreeMap::new(), lines: 0, last_seen: 0 }
    }

    /// How many words without digits a line shares with the template; none if it is not of the cluster. A cluster
    /// never loses so many words that a line of its template is turned away.
    fn likeness(&self, line: &[u8], words: &[Range<usize>]) -> Option<usize> {
        // Shapes are compared by their hash: were two ever to share one, their words would be compared wrongly.
        if words.len() != self.words.len() {
            return None;
        }
        let mut asked = 0;
        let mut same = 0;
        for (own, other) in self.words.iter().zip(words).filter(|(own, _)| !own.has_digit) {
            asked += 1;
            same += usize::from(!own.differs && self.example[own.range.clone()] == line[other.clone()]);
        }
        (same * 100 >= asked * SAME_PERCENT).then_some(same)
    }

    fn learn(&mut self, line: &[u8], words: &[Range<usize>]) {
        for (own, other) in self.words.iter_mut().zip(words).filter(|(own, _)| !own.differs) {
            own.differs = self.example[own.range.clone()] != line[other.clone()];
        }
    }
}

#[cfg(test)]
mod tests {
    use grapevine_logql::pattern::Pattern as Filter;
    use grapevine_storage::testdata::{KINDS, LogLines};
    use proptest::prelude::{prop, proptest};

    use super::{CLUSTERS_MAX, Miner};

    fn mine(lines: &[&str]) -> Vec<(String, u64)> {
        let mut miner = Miner::new(10);
        for (at, line) in (0..).zip(lines) {
            miner.add("info", at, line.as_bytes(), 1);
        }
        miner.finish().into_iter().map(|p| (p.text, p.counts.values().sum())).collect()
    }

    #[test]
    fn lines_that_differ_in_a_few_words_share_a_template() {
        let lines = [
            "user ada logged in from 10.0.0.1",
            "user bob logged in from 10.0.0.2",
            "cache miss for key 17",
            "user eve logged in from 10.0.0.3",
        ];
        let expected =
            [("user <_> logged in from <_>".to_owned(), 3), ("cache miss for key <_>".to_owned(), 1)];
        assert_eq!(mine(&lines), expected);
    }

    #[test]
    fn levels_and_buckets_are_counted_apart() {
        let mut miner = Miner::new(10);
        for (level, at) in [("info", 3), ("info", 9), ("info", 10), ("error", 11), ("info", -1)] {
            miner.add(level, at, b"a b", 2);
        }
        let found = miner.finish();
        let found: Vec<_> = found.iter().map(|p| (p.level.as_str(), p.counts.clone())).collect();
        assert_eq!(found, [("info", [(-10, 2), (0, 4), (10, 2)].into()), ("error", [(10, 2)].into())]);
    }

    #[test]
    fn the_rarest_cluster_gives_way() {
        let mut miner = Miner::new(10);
        (0..9).for_each(|at| miner.add("", at, b"the common line", 1));
        for n in 0..CLUSTERS_MAX * 3 {
            miner.add("", 0, format!("x{}", "=x ".repeat(n % 150 + 1) + &" ".repeat(n)).as_bytes(), 1);
        }
        let found = miner.finish();
        assert!(found.len() <= CLUSTERS_MAX);
        assert_eq!(found[0].text, "the common line");
    }

    /// What every line of a kind of test data has, in the order in which it stands there.
    const TEMPLATES: [&[&str]; KINDS] = [
        &["D WindowManager: <_> token=<_>, visible=<_>"],
        &["[Sun Dec 04 <_> 2005] [", "] mod_jk child <_> <_> in state <_>"],
        &["RAS KERNEL ", " <_> parity error corrected"],
        &[" dfs.DataNode$PacketResponder: <_> <_> for block <_> terminating"],
        &["unix.hw state_change.unavailable <_> 1 Component State Change: <_> <_>"],
        &["[AsyncDispatcher] org.apache.hadoop.mapreduce.<_>: <_> <_>"],
        &["|Step_LSC|<_>|<_> <_>"],
        &["Jun 14 <_> combo sshd(pam_unix)[<_>]: <_> failure; logname= uid=0 euid=0 rhost=<_> user=<_>"],
        &["Jul  1 <_> <_> kernel[0]: ARPT: <_>: <_>::<_>(): <_>"],
        &["Dec 10 <_> LabSZ sshd[<_>]: Failed password for invalid user <_> from <_> port <_> ssh2"],
        &[
            "nova-api.log ",
            "nova.osapi_compute.wsgi [<_>] <_> \"GET /v2/servers/<_> HTTP/1.1\" status: <_> len: <_> time: <_>",
        ],
        &["chrome.exe - proxy.<_>.example:<_> close, <_> bytes sent, <_> bytes received, lifetime <_>"],
        &["storage.BlockManager: Found <_> <_> locally, <_> <_> ms"],
        &["crond(pam_unix)[<_>]: session <_> for user <_> by (uid=0)"],
        &["                  CBS    <_> package <_> <_> [HRESULT = <_>]"],
        &[" - ", "  [QuorumPeer[myid=1]/<_>] - <_> request timed out"],
    ];

    #[test]
    fn the_templates_of_sixteen_kinds_of_logs_are_found() {
        for (kind, parts) in TEMPLATES.iter().enumerate() {
            let mut lines = LogLines::new(kind, 7);
            let lines: Vec<String> = (0..2000).map(|_| lines.next_entry().1).collect();
            let found = mine(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            let (text, count) = &found[0];
            let mut rest = text.as_str();
            for part in *parts {
                let Some(at) = rest.find(part) else {
                    panic!("kind {kind}: `{part}` is not in `{text}` of `{}`", lines[0])
                };
                rest = &rest[at + part.len()..];
            }
            // A few lines differ in their spacing, since numbers are padded.
            assert!(*count >= 1700 && found.len() <= 8, "kind {kind}: {found:#?}");
            let filter = Filter::filter(text).unwrap();
            let fit = lines.iter().filter(|line| filter.is_match(line.as_bytes())).count();
            assert!(fit as u64 >= *count, "kind {kind}: {fit} lines of {count} fit `{text}`");
        }
    }

    proptest! {
        #[test]
        fn no_line_is_lost_and_every_template_can_be_a_filter(
            lines in prop::collection::vec("[ab<>_ .=:1-9\"é]{0,20}", 1..60),
        ) {
            let found = mine(&lines.iter().map(String::as_str).collect::<Vec<_>>());
            assert_eq!(found.iter().map(|(_, count)| count).sum::<u64>(), lines.len() as u64);
            found.iter().for_each(|(text, _)| drop(Filter::filter(text).unwrap()));
        }
    }
}
