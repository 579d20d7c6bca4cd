//! Many seeds, a process each: finds those that break a promise or do not replay, and makes them smaller.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};

use crate::trace;

/// Exit code of a run in which a promise was broken.
pub const EXIT_BROKEN: u8 = 1;

/// What is hunted with.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The `grapevine-sim` executable.
    pub program: PathBuf,
    /// The scenario and its options, the seed and what is to be left out excepted.
    pub arguments: Vec<OsString>,
    /// Run each seed twice and compare the traces.
    pub twice: bool,
    /// Processes at a time.
    pub jobs: usize,
}

/// What came of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All promises were kept; the run's summary.
    Held(String),
    /// Some were broken; the run's own words.
    Broken(String),
    /// Two runs differed; where.
    Diverged(String),
    /// The process failed otherwise.
    Failed(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Held(summary) => f.write_str(summary),
            Verdict::Broken(text) => write!(f, "BROKEN\n{text}"),
            Verdict::Diverged(text) => write!(f, "DIVERGED: two runs of this seed differ\n{text}"),
            Verdict::Failed(text) => write!(f, "FAILED: the harness or the whole process\n{text}"),
        }
    }
}

impl Verdict {
    /// Whether all promises were kept.
    pub fn held(&self) -> bool {
        matches!(self, Verdict::Held(_))
    }
}

impl Hunt {
    /// Runs a range of seeds, up to the first that does not hold or `all`, and tells of each as it is done. Gives back
    /// those that did not hold, in order.
    ///
    /// # Errors
    /// No process can be started.
    pub fn run(
        &self,
        seeds: Range<u64>,
        all: bool,
        tell: &(dyn Fn(u64, &Verdict) + Sync),
    ) -> Result<Vec<(u64, Verdict)>> {
        self.each(seeds, all, &|seed| self.judge(seed, &[]), tell)
    }

    /// Runs one seed over and over: the power goes before one of the first node's disk operations, before every so many
    /// as `every` says. Tells of each as it is done, and gives back those operations before which it must not go.
    ///
    /// # Errors
    /// The seed does not hold as it is, or no process can be started.
    pub fn sweep(
        &self,
        seed: u64,
        every: u64,
        tell: &(dyn Fn(u64, &Verdict) + Sync),
    ) -> Result<Vec<(u64, Verdict)>> {
        let operations = match self.judge(seed, &[])? {
            Verdict::Held(summary) => {
                operations_of(&summary).context("the summary counts disk operations")?
            }
            verdict => bail!("seed {seed} does not hold without a sweep: {verdict}"),
        };
        let every = every.max(1);
        let dies_at = |turn: u64| {
            let option = ["--dies-at".into(), (turn * every).to_string().into()];
            Hunt { arguments: self.arguments.iter().cloned().chain(option).collect(), ..self.clone() }
        };
        let judge = |turn| dies_at(turn).judge(seed, &[]);
        let found = self.each(0..operations.div_ceil(every), true, &judge, &|turn, verdict| {
            tell(turn * every, verdict)
        })?;
        Ok(found.into_iter().map(|(turn, verdict)| (turn * every, verdict)).collect())
    }

    fn each(
        &self,
        numbers: Range<u64>,
        all: bool,
        judge: &(dyn Fn(u64) -> Result<Verdict> + Sync),
        tell: &(dyn Fn(u64, &Verdict) + Sync),
    ) -> Result<Vec<(u64, Verdict)>> {
        let next = AtomicU64::new(numbers.start);
        let found = Mutex::new(Vec::new());
        let work = || -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return Ok(());
                }
                let verdict = judge(number)?;
                tell(number, &verdict);
                if !verdict.held() {
                    found.lock().expect("no holder of this lock panics").push((number, verdict));
                    if !all {
                        next.store(numbers.end, Ordering::Relaxed);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs.max(1)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        })?;
        let mut found = found.into_inner().expect("no holder of this lock panics");
        found.sort_by_key(|(number, _)| *number);
        Ok(found)
    }

    /// Runs one seed, with these faults left out.
    ///
    /// # Errors
    /// No process can be started.
    pub fn judge(&self, seed: u64, skip: &[usize]) -> Result<Verdict> {
        if !self.twice {
            return Ok(verdict(&self.process(seed, skip, None)?));
        }
        let dir = tempfile::tempdir()?;
        let traces = ["first", "second"].map(|name| dir.path().join(name));
        let mut runs = Vec::new();
        for trace in &traces {
            runs.push(self.process(seed, skip, Some(trace))?);
        }
        match trace::first_difference(&traces[0], &traces[1]) {
            Ok(None) => Ok(verdict(&runs[0])),
            Ok(Some((number, [one, other]))) => {
                Ok(Verdict::Diverged(format!("event {number}\n  first run:  {one}\n  second run: {other}")))
            }
            // A process that failed early kept no trace.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(verdict(&runs[0])),
            Err(error) => Err(error).context("compare the traces"),
        }
    }

    /// Leaves out faults of a seed that does not hold, as long as it does not: halves first, then smaller parts, until
    /// none of those left can go (Zeller, Hildebrandt: "Simplifying and Isolating Failure-Inducing Input", 2002).
    /// Gives back those to skip.
    ///
    /// # Errors
    /// The seed holds, or no process can be started.
    pub fn shrink(&self, seed: u64, faults: usize) -> Result<Vec<usize>> {
        if self.judge(seed, &[])?.held() {
            bail!("seed {seed} holds: there is nothing to make smaller");
        }
        let mut fails = |kept: &[usize]| -> Result<bool> {
            let skip: Vec<usize> = (0..faults).filter(|fault| !kept.contains(fault)).collect();
            Ok(!self.judge(seed, &skip)?.held())
        };
        let kept = smallest((0..faults).collect(), &mut fails)?;
        Ok((0..faults).filter(|fault| !kept.contains(fault)).collect())
    }

    fn process(&self, seed: u64, skip: &[usize], trace: Option<&PathBuf>) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command.arg("run").args(&self.arguments).args(["--seed", &seed.to_string()]);
        if !skip.is_empty() {
            let skip: Vec<String> = skip.iter().map(usize::to_string).collect();
            command.args(["--skip", &skip.join(",")]);
        }
        if let Some(trace) = trace {
            command.arg("--trace").arg(trace);
        }
        command.output().with_context(|| format!("run `{}`", self.program.display()))
    }
}

fn verdict(output: &Output) -> Verdict {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.code() {
        Some(0) => Verdict::Held(last_line(&output.stdout)),
        Some(code) if code == i32::from(EXIT_BROKEN) => Verdict::Broken(text(&output.stdout)),
        _ => Verdict::Failed(format!("{}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))),
    }
}

fn last_line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).lines().last().unwrap_or_default().to_owned()
}

fn operations_of(summary: &str) -> Option<u64> {
    summary.split_once("disk_operations=")?.1.split(' ').next()?.parse().ok()
}

/// The fewest of these that still fail, as far as leaving out parts leads.
fn smallest(mut kept: Vec<usize>, fails: &mut dyn FnMut(&[usize]) -> Result<bool>) -> Result<Vec<usize>> {
    let mut part = kept.len().div_ceil(2);
    while part > 0 && !kept.is_empty() {
        let mut smaller = false;
        let mut start = 0;
        while start < kept.len() {
            let end = (start + part).min(kept.len());
            let rest: Vec<usize> = kept[..start].iter().chain(&kept[end..]).copied().collect();
            if fails(&rest)? {
                kept = rest;
                smaller = true;
            } else {
                start = end;
            }
        }
        part = match part {
            1 if smaller => 1,
            1 => 0,
            larger => larger.div_ceil(2).min(kept.len().max(1)),
        };
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::smallest;

    proptest! {
        #[test]
        fn only_what_matters_is_left(matters in proptest::collection::btree_set(0_usize..30, 0..5), more: bool) {
            let mut tries = 0;
            let mut fails = |kept: &[usize]| {
                tries += 1;
                Ok(matters.iter().all(|fault| kept.contains(fault)))
            };
            let kept = smallest((0..30 + usize::from(more)).collect(), &mut fails).unwrap();
            prop_assert_eq!(kept, matters.iter().copied().collect::<Vec<_>>());
            prop_assert!(tries < 150);
        }

        #[test]
        fn what_fails_by_chance_ends_too(answers in proptest::collection::vec(any::<bool>(), 400)) {
            let mut answers = answers.into_iter().chain(std::iter::repeat(false));
            smallest((0..20).collect(), &mut |_: &[usize]| Ok(answers.next() == Some(true))).unwrap();
        }
    }
}
