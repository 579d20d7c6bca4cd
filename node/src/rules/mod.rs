//! Rule groups: kept durably under Loki's ruler API, told to all members, given back to the letter. Nobody evaluates them.

pub mod check;
pub mod file;
pub mod group;
pub mod kept;
pub mod print;
pub mod read;
pub mod yaml;

use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, RwLock};

use anyhow::Context;
use xxhash_rust::xxh3::Xxh3;

use self::group::Group;
use self::kept::{Groups, Kept, Name, merge};
use crate::env::Env;
use crate::exec::Lane;
use crate::limits::TenantLimits;
use crate::metrics::{Metrics, RuleGroupLabel};

/// Groups of all tenants that are kept, those taken away included: all are written whenever one changes.
pub const GROUPS_MAX: usize = 10_000;
/// Bytes of all groups.
pub const BYTES_MAX: usize = 32 << 20;
/// How long it is remembered that a group was taken away: a member that was away for longer may bring it up.
const GONE_FOR: i64 = 30 * 86_400 * 1_000_000_000;

/// Why a group cannot be kept or taken away.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// It makes no sense, or is beyond the tenant's limits.
    #[error("{0}")]
    Refused(String),
    /// There is no room.
    #[error(
        "rule groups take more room than there is: `{GROUPS_MAX}` groups and `{BYTES_MAX}` bytes; delete some"
    )]
    Full,
    /// There is no such group.
    #[error("group does not exist")]
    NoGroup,
    /// There is no such namespace.
    #[error("group namespace does not exist")]
    NoNamespace,
    /// The file cannot be written.
    #[error("the rules cannot be stored: {0:#}")]
    Storage(#[from] anyhow::Error),
}

/// A group, where it belongs, and when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its namespace.
    pub namespace: String,
    /// When it was written, ns.
    pub at: i64,
    /// The group.
    pub group: Group,
}

/// All groups, as a node knows them.
#[derive(Debug)]
pub struct Rules {
    env: Env,
    limits: Arc<TenantLimits>,
    path: PathBuf,
    groups: RwLock<Arc<Groups>>,
    /// Held while the file is written: writes come one after another.
    writing: tokio::sync::Mutex<()>,
}

const POISON: &str = "no one panics with the rules locked";

impl Rules {
    /// Reads what is kept.
    ///
    /// # Errors
    /// The file cannot be read: to go on without it would lose rules at the next change.
    pub async fn open(env: Env, limits: Arc<TenantLimits>) -> anyhow::Result<Self> {
        let path = env.data_dir.join("rules.json");
        let from = path.clone();
        let groups = env.exec.run(Lane::Disk, move || file::read(&from)).await.context("read the rules")?;
        let (groups, writing) = (RwLock::new(Arc::new(groups)), tokio::sync::Mutex::default());
        Ok(Rules { env, limits, path, groups, writing })
    }

    /// A tenant's groups, of one namespace or of all, by namespace and name.
    pub fn list(&self, tenant: &str, namespace: Option<&str>) -> Vec<Listed> {
        let groups = self.known();
        let wanted = |name: &&Name| {
            name.tenant == tenant && namespace.is_none_or(|namespace| name.namespace == namespace)
        };
        let listed = groups.iter().filter(|(name, _)| wanted(name)).filter_map(|(name, kept)| {
            let group = kept.group.clone()?;
            Some(Listed { namespace: name.namespace.clone(), at: kept.at, group })
        });
        listed.collect()
    }

    /// Shows how many rules each group has.
    pub fn show(&self, metrics: &Metrics) {
        metrics.rules.clear();
        let groups = self.known();
        let living = groups.iter().filter_map(|(name, kept)| Some((name, kept.group.as_ref()?)));
        for (Name { tenant, namespace, group }, kept) in living {
            let label = RuleGroupLabel { rule_group: format!("{namespace};{group}"), user: tenant.clone() };
            metrics.rules.get_or_create(&label).set(kept.rules.len() as i64);
        }
    }

    /// Keeps a group in place of the one of its name; once this returns it stays after a crash.
    ///
    /// # Errors
    /// [`RulesError`]; then nothing has changed, unless the disk failed.
    pub async fn set(&self, tenant: &str, namespace: &str, group: Group) -> Result<Name, RulesError> {
        let problems = check::problems(&group);
        if !problems.is_empty() {
            return Err(RulesError::Refused(problems.join(", ")));
        }
        let name = Name { tenant: tenant.into(), namespace: namespace.into(), group: group.name.clone() };
        self.change(|groups, now| {
            let living = groups.iter().filter(|(name, kept)| name.tenant == tenant && kept.group.is_some());
            // Loki counts the new one even where it takes the place of another.
            let count = living.count() + 1;
            if let Some(over) = check::over_limits(self.limits.of(tenant), group.rules.len(), count) {
                return Err(RulesError::Refused(over));
            }
            put(groups, name.clone(), now, Some(group));
            Ok(name)
        })
        .await
    }

    /// Takes a group away.
    ///
    /// # Errors
    /// [`RulesError`]
    pub async fn remove(&self, tenant: &str, namespace: &str, group: &str) -> Result<Vec<Name>, RulesError> {
        let name = Name { tenant: tenant.into(), namespace: namespace.into(), group: group.into() };
        self.remove_all(RulesError::NoGroup, |known| *known == name).await
    }

    /// Takes all groups of a namespace away.
    ///
    /// # Errors
    /// [`RulesError`]
    pub async fn remove_namespace(&self, tenant: &str, namespace: &str) -> Result<Vec<Name>, RulesError> {
        let is_of_it = |name: &Name| name.tenant == tenant && name.namespace == namespace;
        self.remove_all(RulesError::NoNamespace, is_of_it).await
    }

    async fn remove_all(
        &self,
        none: RulesError,
        wanted: impl Fn(&Name) -> bool,
    ) -> Result<Vec<Name>, RulesError> {
        self.change(|groups, now| {
            let living = groups.iter().filter(|(name, kept)| wanted(name) && kept.group.is_some());
            let names: Vec<Name> = living.map(|(name, _)| name.clone()).collect();
            if names.is_empty() {
                return Err(none);
            }
            names.iter().for_each(|name| put(groups, name.clone(), now, None));
            Ok(names)
        })
        .await
    }

    /// All that is known, groups that were taken away included: what members tell each other.
    pub fn known(&self) -> Arc<Groups> {
        self.groups.read().expect(POISON).clone()
    }

    /// The same on two members that know the same.
    pub fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        self.known().hash(&mut hasher);
        hasher.finish()
    }

    /// Adds what another member knows.
    ///
    /// # Errors
    /// There is too much, or the file cannot be written.
    pub async fn learn(&self, theirs: Vec<(Name, Kept)>) -> Result<(), RulesError> {
        self.change(|groups, _| {
            *groups = merge(std::mem::take(groups), theirs);
            Ok(())
        })
        .await
    }

    async fn change<T>(
        &self,
        change: impl FnOnce(&mut Groups, i64) -> Result<T, RulesError>,
    ) -> Result<T, RulesError> {
        let _one_at_a_time = self.writing.lock().await;
        let (before, now) = (self.known(), self.env.clock.now());
        let mut groups = (*before).clone();
        let outcome = change(&mut groups, now)?;
        groups.retain(|_, kept| kept.group.is_some() || now.saturating_sub(kept.at) <= GONE_FOR);
        if groups == *before {
            return Ok(outcome);
        }
        let bytes: usize = groups.values().flat_map(|kept| &kept.group).map(Group::bytes).sum();
        if groups.len() > GROUPS_MAX || bytes > BYTES_MAX {
            return Err(RulesError::Full);
        }
        let (path, written) = (self.path.clone(), groups.clone());
        self.env.exec.run(Lane::Disk, move || file::write(&path, written)).await?;
        *self.groups.write().expect(POISON) = Arc::new(groups);
        Ok(outcome)
    }
}

/// Notes what is known from now on: later than what was, whatever the clock says.
fn put(groups: &mut Groups, name: Name, now: i64, group: Option<Group>) {
    let before = groups.get(&name).map_or(i64::MIN, |kept| kept.at.saturating_add(1));
    groups.insert(name, Kept { at: now.max(before), group });
}
