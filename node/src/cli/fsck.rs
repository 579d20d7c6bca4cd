//! `grapevine fsck`: holds packs, index, spool and chunk store of a stopped node against one another.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use anyhow::Result;
use clap::Args;
use grapevine_storage::index::{Day, PackId, PackState};
use grapevine_storage::pack::verify;

use super::exit::Exit;
use super::offline::{Stopped, open};
use super::serve::ConfigArgs;
use crate::housekeeping::pack_name::PackName;
use crate::housekeeping::restored::replaced_by;

/// Checks what a stopped node holds.
#[derive(Debug, Args)]
pub struct FsckArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Read every pack on this machine's disk and check all its checksums, not only that it is there.
    #[arg(long)]
    deep: bool,
    /// Mend what can be mended without loss: packs the index does not know are indexed.
    #[arg(long)]
    fix: bool,
}

/// What is wrong, and what mends it.
struct Finding {
    what: String,
    mends: &'static str,
}

const RUN_FIX: &str = "`grapevine fsck --fix` mends it, as does starting the node";
const REBUILD: &str = "`grapevine index rebuild` mends it, as does starting the node";
const NO_PACK: &str = "no query needs it; a node deletes what bears a pack's name once it has seen it for a week, the rest is yours";
const REPLACED: &str = "no query needs it; it is safe to delete";
const KEPT: &str = "keep it: starting the node makes of such packs what that one held";
const LOST: &str = "its lines are lost unless the object can be restored; answers say that they are missing";
const DAMAGED: &str =
    "`grapevine pack cat` prints what is whole; restore the object from a copy if there is one";

/// Runs `grapevine fsck`.
///
/// # Errors
/// A node runs, or something cannot be reached. What is wrong with the data ends with exit code 5.
pub async fn run(args: FsckArgs) -> Result<Exit> {
    let stopped = open(&args.config).await?;
    let (mut packs, mut wrong, mut of_others, mut needless) = (0, 0, 0, 0);
    for day in stopped.keeper.stored_days().await? {
        // A member takes in what is its own of a pack, which only the others can tell it.
        if args.fix && !stopped.is_member {
            let found = stopped.keeper.reconcile_day(day).await?;
            found.added.iter().for_each(|key| println!("{day}: mended: `{key}` is indexed now"));
        }
        let checked = check_day(&stopped, day, args.deep).await?;
        (packs, wrong) = (packs + checked.packs, wrong + checked.findings.len());
        (of_others, needless) = (of_others + checked.of_others, needless + checked.needless.len());
        for Finding { what, mends } in checked.findings.into_iter().chain(checked.needless) {
            println!("{day}: {what}\n  {mends}");
        }
    }
    if needless > 0 {
        println!("{needless} objects are back that were replaced or given up");
    }
    if of_others > 0 {
        println!("{of_others} packs of other members' streams are in the chunk store");
    }
    println!("{packs} packs checked, {wrong} things wrong");
    Ok(if wrong == 0 { Exit::Done } else { Exit::Incomplete })
}

/// What was found of a day.
struct Checked {
    packs: usize,
    /// Packs that this node does not know and, as a member of a cluster, need not know.
    of_others: usize,
    /// Objects that this node has replaced or given up. Nothing is wrong with them.
    needless: Vec<Finding>,
    findings: Vec<Finding>,
}

/// Packs that the index will not take in again, and what took their place.
#[derive(Default)]
struct Gone {
    by: BTreeMap<PackId, Option<PackId>>,
    /// Those of which a pack was made that is nowhere now.
    needed: BTreeSet<PackId>,
}

impl Gone {
    fn new(gone: Vec<(PackId, Option<PackId>)>, missing: &[PackId]) -> Self {
        let needed = missing.iter().flat_map(|id| replaced_by(&gone, *id)).collect();
        Gone { by: gone.into_iter().collect(), needed }
    }

    /// What there is to say of an object; none if it is not of such a pack.
    fn finding(&self, object_key: &str) -> Option<Finding> {
        let id = PackId(PackName::parse(object_key)?.content_hash);
        let (what, mends) = match self.by.get(&id)? {
            Some(_) if self.needed.contains(&id) => ("is of those that made a pack that is gone", KEPT),
            Some(_) => ("was replaced by another pack and is back", REPLACED),
            None => ("was given up, with all its lines, and is back", REPLACED),
        };
        Some(Finding { what: format!("object `{object_key}` {what}"), mends })
    }
}

async fn check_day(stopped: &Stopped, day: Day, deep: bool) -> Result<Checked> {
    let mut findings = Vec::new();
    let mut find = |what: String, mends| findings.push(Finding { what, mends });
    let mut stored = BTreeMap::new();
    for tenant in stopped.store.folders("").await? {
        let listed = stopped.store.list(&format!("{tenant}/{day}")).await?;
        stored.extend(listed.into_iter().map(|object| (object.key, object.bytes)));
    }
    let (mut records, mut given_up, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    let (mut gone, mut missing) = (Vec::new(), Vec::new());
    match stopped.index.day(day)? {
        Some(index) => {
            if index.is_incomplete()? {
                find("its index is incomplete".into(), REBUILD);
            }
            if let Err(error) = index.read(|snapshot| snapshot.check()) {
                find(error.to_string(), REBUILD);
            }
            records = index.read(|snapshot| snapshot.packs()).unwrap_or_default();
            given_up = index.given_up().unwrap_or_default();
            lost = index.lost().unwrap_or_default();
            gone = index.gone().unwrap_or_default();
        }
        None => find("it has no index".into(), REBUILD),
    }
    // What is stored again is read when all is reconciled; of what is known as well the rest is said below.
    lost.retain(|(id, key)| !stored.contains_key(key) && !records.iter().any(|(known, _)| known == id));
    for (_, key) in lost {
        find(format!("pack `{key}`, of which another member told, is nowhere"), LOST);
    }
    for (id, record) in &records {
        let key = &record.object_key;
        let spooled = stopped.spool.path(key);
        let bytes = stored.remove(key);
        let local = match record.state {
            PackState::Spooled if spooled.is_file() => Some(spooled),
            _ => stopped.store.local_path(key),
        };
        match bytes {
            _ if local.as_deref().is_some_and(|path| path.starts_with(stopped.spool.dir())) => {}
            None => {
                missing.push(*id);
                find(format!("pack `{key}` is in neither the spool nor the chunk store"), LOST);
            }
            Some(bytes) if bytes != record.bytes => {
                find(format!("pack `{key}` has {bytes} bytes, not {}", record.bytes), DAMAGED);
            }
            Some(_) => {}
        }
        if let Some(file) = local.filter(|_| deep).and_then(|path| File::open(path).ok())
            && let Some(faults) = faults(*id, file).await?
        {
            find(format!("pack `{key}` is damaged in {faults} places"), DAMAGED);
        }
    }
    let gone = Gone::new(gone, &missing);
    let (mut of_others, mut needless) = (0, Vec::new());
    for (key, bytes) in stored.into_iter().filter(|(key, _)| !given_up.iter().any(|(other, _)| other == key))
    {
        if let Some(finding) = gone.finding(&key) {
            needless.push(finding);
            continue;
        }
        match stopped.keeper.damage_of(&key, bytes).await? {
            Some(why) => find(format!("object `{key}` is no pack: {why}"), NO_PACK),
            None if stopped.is_member => of_others += 1,
            None => find(format!("object `{key}` is not in the index"), RUN_FIX),
        }
    }
    Ok(Checked { packs: records.len(), of_others, needless, findings })
}

/// In how many places a pack's file is damaged; none if it is whole.
async fn faults(id: PackId, file: File) -> Result<Option<usize>> {
    let verified = tokio::task::spawn_blocking(move || verify(file)).await?;
    let is_whole = verified.is_whole() && verified.content_hash == Some(id.0);
    Ok((!is_whole).then_some(verified.faults.len()))
}
