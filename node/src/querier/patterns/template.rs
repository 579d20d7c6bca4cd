//! Writes a cluster as a template that people read and the pattern filter `|>` takes.

use super::miner::Cluster;

const WILDCARD: &str = "<_>";
/// A word with digits counts as constant once so many lines have had it.
const CONSTANT_LINES: u64 = 8;

/// The template: `<_>` for what differs from line to line.
pub fn render(cluster: &Cluster) -> String {
    let variable = variable_words(cluster);
    let mut out = Vec::with_capacity(cluster.example.len());
    let mut at = 0;
    let mut word = 0;
    while word < variable.len() {
        let last = if variable[word] { end_of_run(cluster, &variable, word) } else { word };
        let range = cluster.words[word].range.start..cluster.words[last].range.end;
        out.extend_from_slice(&cluster.example[at..range.start]);
        match variable[word] {
            true => out.extend_from_slice(WILDCARD.as_bytes()),
            false => out.extend_from_slice(&cluster.example[range.clone()]),
        }
        at = range.end;
        word = last + 1;
    }
    out.extend_from_slice(&cluster.example[at..]);
    String::from_utf8_lossy(&out).into_owned()
}

fn variable_words(cluster: &Cluster) -> Vec<bool> {
    let words = &cluster.words;
    let rare = cluster.lines < CONSTANT_LINES;
    let mut variable: Vec<bool> = (0..words.len())
        .map(|n| words[n].differs || words[n].has_digit && rare || is_capture(cluster, n))
        .collect();
    // A number beside one that differs is part of the same thing: the hour of a time, the port of an address.
    for order in [true, false] {
        for step in 1..words.len() {
            let n = if order { step } else { words.len() - 1 - step };
            let beside = if order { n - 1 } else { n + 1 };
            let near = joins(cluster, n.min(beside)) && words[beside].has_digit && variable[beside];
            variable[n] |= words[n].has_digit && near;
        }
    }
    variable
}

/// Between `<` and `>` a constant word would be read as the name of a capture.
fn is_capture(cluster: &Cluster, word: usize) -> bool {
    let range = &cluster.words[word].range;
    let byte = |at: Option<usize>| at.and_then(|at| cluster.example.get(at));
    byte(range.start.checked_sub(1)) == Some(&b'<') && byte(Some(range.end)) == Some(&b'>')
}

/// Whether one mark, and no space, stands between a word and the next.
fn joins(cluster: &Cluster, word: usize) -> bool {
    let (Some(one), Some(next)) = (cluster.words.get(word), cluster.words.get(word + 1)) else {
        return false;
    };
    matches!(&cluster.example[one.range.end..next.range.start], b":" | b"," | b"." | b"/" | b";" | b"@")
}

/// The last of the variable words that are joined to this one; words without digits stay apart.
fn end_of_run(cluster: &Cluster, variable: &[bool], from: usize) -> usize {
    let digits = |n: usize| cluster.words[n].has_digit;
    let mut last = from;
    while last + 1 < variable.len()
        && variable[last + 1]
        && joins(cluster, last)
        && (digits(last) || digits(last + 1))
    {
        last += 1;
    }
    last
}
