//! Requests to delete lines: kept durably, obeyed by every query from the moment they are made, and carried out by
//! housekeeping once they can no longer be taken back.
//!
//! Each member of a cluster keeps all requests, and each carries them out on what it has. A request is done once all
//! members have said so. Its lines stay hidden, and are looked for in packs that turn up, for as long after that as owners
//! that were away may bring them back; and anew when somebody is there who has not said so.

pub mod file;
pub mod matcher;
mod memory;
pub mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use anyhow::Context;
use grapevine_logql::quantity::format_go_duration;
use grapevine_storage::index::{Day, TimeRange};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use self::matcher::Deletion;
pub use self::request::DeleteRequest;
use self::request::{Name, Requests, merge};
use crate::env::Env;
use crate::exec::Lane;
use crate::housekeeping::retention::Retention;
use crate::ingester::covered;
use crate::limits::{DeletionMode, TenantLimits};

/// Requests of all tenants that may be listed: each that is not carried out costs every query that it overlaps.
pub const REQUESTS_MAX: usize = 10_000;
/// Those that are kept, so that nobody who was away brings lines or requests back: all are written whenever one changes.
const KEPT_MAX: usize = 2 * REQUESTS_MAX;

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Queries hide what it names.
    Received,
    /// It is gone from every pack that any member knows.
    Processed,
}

/// Why a request cannot be made or taken back.
#[derive(Debug, thiserror::Error)]
pub enum DeleteError {
    /// The query cannot be used.
    #[error("invalid query expression: {0}")]
    Query(String),
    /// There are too many.
    #[error("there are {REQUESTS_MAX} delete requests already; cancel some, or delete more at once")]
    TooMany,
    /// There is no such request.
    #[error("could not find delete request with given id")]
    Unknown,
    /// It is carried out already.
    #[error("deletion of request which is in process or already processed is not allowed")]
    Processed,
    /// It was made too long ago.
    #[error("deletion of request past the deadline of {0} since its creation is not allowed")]
    TooLate(String),
    /// The file cannot be written.
    #[error("the request cannot be stored: {0:#}")]
    Storage(#[from] anyhow::Error),
}

/// All requests, as a node knows them.
#[derive(Debug)]
pub struct Deletes {
    env: Env,
    limits: Arc<TenantLimits>,
    retention: Arc<Retention>,
    path: PathBuf,
    /// This node's name among the members; empty if it stands alone.
    me: String,
    /// How long after a request is done its lines may be brought back, ns.
    late: i64,
    /// When this process began, if nothing was here.
    began_empty: OnceLock<i64>,
    state: RwLock<State>,
    /// How many in a hundred of a request's packs are through.
    progress: Mutex<BTreeMap<Name, u8>>,
    /// Held while the file is written: writes come one after another.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct State {
    requests: Requests,
    /// Who has to carry requests out.
    members: BTreeSet<String>,
    /// Those that queries obey, by tenant.
    active: BTreeMap<String, Vec<Hiding>>,
}

#[derive(Clone, Debug)]
struct Hiding {
    deletion: Arc<Deletion>,
    until: i64,
}

const POISON: &str = "no one panics with the delete requests locked";

impl Deletes {
    /// Reads what was requested before, as the member `me` or as a node that stands alone.
    ///
    /// # Errors
    /// The file cannot be read: to go on without it would bring deleted lines back.
    pub async fn open(
        env: Env,
        limits: Arc<TenantLimits>,
        retention: Arc<Retention>,
        me: Option<&str>,
    ) -> anyhow::Result<Self> {
        let path = env.data_dir.join("deletes.json");
        let late = me.map_or(0, |_| covered::MEMORY.as_nanos() as i64);
        let me = me.unwrap_or_default().to_owned();
        let (from, name) = (path.clone(), me.clone());
        let requests = env.exec.run(Lane::Disk, move || file::read(&from, &name)).await?;
        let state = State::of(requests, [me.clone()].into(), late, env.clock.now(), &limits);
        let state = state.context("read the delete requests")?;
        let (state, writing) = (RwLock::new(state), tokio::sync::Mutex::default());
        let (progress, began_empty) = (Mutex::default(), OnceLock::new());
        Ok(Deletes { env, limits, retention, path, me, late, began_empty, state, progress, writing })
    }

    /// Notes that nothing is here, so that this node need not look for what others had done with before.
    pub fn begin_empty(&self) {
        self.began_empty.get_or_init(|| self.env.clock.now());
    }

    /// Makes a request; once this returns, queries obey it, and go on to after a crash. The same request made twice
    /// within a millisecond is one.
    ///
    /// # Errors
    /// [`DeleteError`]; then nothing has changed, unless the disk failed.
    pub async fn create(
        &self,
        tenant: &str,
        query: &str,
        start: i64,
        end: i64,
    ) -> Result<String, DeleteError> {
        let created_at = self.env.clock.now();
        let mut name = format!("{tenant}\n{query}\n{start}\n{end}\n{}", created_at / 1_000_000);
        let mut request = DeleteRequest {
            id: String::new(),
            tenant: tenant.to_owned(),
            query: query.to_owned(),
            start,
            end,
            created_at,
            cancelled_at: None,
            processed: BTreeMap::new(),
        };
        self.compile(&request).map_err(DeleteError::Query)?;
        let members = self.state.read().expect(POISON).members.clone();
        self.change(|requests| {
            if requests.values().filter(|request| self.is_listed(request, &members)).count() >= REQUESTS_MAX {
                return Err(DeleteError::TooMany);
            }
            loop {
                request.id = format!("{:08x}", xxh3_64(name.as_bytes()) as u32);
                match requests.get(&request.name()) {
                    None => break,
                    Some(known) if !known.is_cancelled() && known.is_same(&request) => {
                        return Ok(request.id);
                    }
                    // The name is taken by another, or by one that was taken back.
                    Some(_) => name.push('\n'),
                }
            }
            let id = request.id.clone();
            requests.insert(request.name(), request);
            Ok(id)
        })
        .await
    }

    /// Takes a request back; `force` does so after the deadline too.
    ///
    /// # Errors
    /// [`DeleteError`]
    pub async fn cancel(&self, tenant: &str, id: &str, force: bool) -> Result<(), DeleteError> {
        let now = self.env.clock.now();
        let period = self.cancel_period(tenant);
        self.change(|requests| {
            let request = living(requests, tenant, id)?;
            if !request.processed.is_empty() {
                return Err(DeleteError::Processed);
            }
            if !force && now.saturating_sub(request.created_at) > period {
                return Err(DeleteError::TooLate(format_go_duration(period)));
            }
            request.cancelled_at = Some(now);
            Ok(())
        })
        .await
    }

    /// Notes that this node has carried a request out.
    ///
    /// # Errors
    /// It has been taken back meanwhile, or the file cannot be written.
    pub async fn mark_processed(&self, tenant: &str, id: &str) -> Result<(), DeleteError> {
        let now = self.env.clock.now();
        self.change(|requests| {
            living(requests, tenant, id)?.processed.entry(self.me.clone()).or_insert(now);
            Ok(())
        })
        .await?;
        self.progress.lock().expect(POISON).remove(&(tenant.to_owned(), id.to_owned()));
        Ok(())
    }

    /// A tenant's requests, in the order in which they were made.
    pub fn list(&self, tenant: &str) -> Vec<DeleteRequest> {
        let state = self.state.read().expect(POISON);
        let own = state.requests.values().filter(|request| request.tenant == tenant);
        let own = own.filter(|request| self.is_listed(request, &state.members));
        let mut own: Vec<DeleteRequest> = own.cloned().collect();
        own.sort_by_key(|request| request.created_at);
        own
    }

    fn is_listed(&self, request: &DeleteRequest, members: &BTreeSet<String>) -> bool {
        !request.is_cancelled() && !memory::is_past(request, members, self.env.clock.now())
    }

    /// What has become of a request: what the member that is least far says.
    pub fn status(&self, request: &DeleteRequest) -> Status {
        match request.done_at(&self.state.read().expect(POISON).members) {
            Some(_) => Status::Processed,
            None => Status::Received,
        }
    }

    /// Whether this node has carried a request out.
    pub fn is_done_here(&self, request: &DeleteRequest) -> bool {
        request.processed.contains_key(&self.me)
    }

    /// The requests that can no longer be taken back and are to be carried out, or to be carried out again on what turns
    /// up late.
    pub fn due(&self) -> Vec<DeleteRequest> {
        let now = self.env.clock.now();
        let state = self.state.read().expect(POISON);
        let is_due = |request: &&DeleteRequest| {
            now < hides_until(request, &state.members, self.late)
                && now.saturating_sub(request.created_at) > self.cancel_period(&request.tenant)
                && self.limits.of(&request.tenant).deletion_mode == DeletionMode::FilterAndDelete
        };
        state.requests.values().filter(is_due).cloned().collect()
    }

    /// Whether a member has ever deleted lines of a tenant's day.
    pub fn concern(&self, tenant: &str, day: Day) -> bool {
        let times = day.timestamps();
        let overlaps =
            |request: &DeleteRequest| request.start <= *times.end() && *times.start() <= request.end;
        let state = self.state.read().expect(POISON);
        let mut own = state.requests.values().filter(|request| request.tenant == tenant);
        own.any(|request| !request.processed.is_empty() && overlaps(request))
    }

    /// All that is known of requests, those taken back included: what members tell each other.
    pub fn known(&self) -> Requests {
        self.state.read().expect(POISON).requests.clone()
    }

    /// What is known of one request.
    pub fn find(&self, tenant: &str, id: &str) -> Option<DeleteRequest> {
        let name = (tenant.to_owned(), id.to_owned());
        self.state.read().expect(POISON).requests.get(&name).cloned()
    }

    /// The same on two members that know the same.
    pub fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        self.state.read().expect(POISON).requests.hash(&mut hasher);
        hasher.finish()
    }

    /// What a request takes away.
    ///
    /// # Errors
    /// What is wrong with its query.
    pub fn compile(&self, request: &DeleteRequest) -> Result<Deletion, String> {
        compile(request, &self.limits)
    }

    /// Adds what another member knows; once this returns, queries obey it. A request that this release cannot understand
    /// is left out.
    ///
    /// # Errors
    /// There are too many, or the file cannot be written.
    pub async fn learn(&self, mut theirs: Requests) -> Result<(), DeleteError> {
        theirs.retain(|_, request| match self.compile(request) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(id = request.id, error, "a member's delete request cannot be understood");
                false
            }
        });
        self.change(|requests| {
            *requests = merge(std::mem::take(requests), theirs);
            Ok(())
        })
        .await
    }

    /// Says who has to carry requests out from now on.
    ///
    /// # Errors
    /// A request cannot be compiled, although it could before, or the file cannot be written.
    pub async fn set_members(&self, members: BTreeSet<String>) -> anyhow::Result<()> {
        if self.state.read().expect(POISON).members == members {
            return Ok(());
        }
        {
            let _one_at_a_time = self.writing.lock().await;
            let state = State::of(self.known(), members, self.late, self.env.clock.now(), &self.limits)?;
            *self.state.write().expect(POISON) = state;
        }
        // What was heard before it was known who is there.
        Ok(self.change(|_| Ok(())).await?)
    }

    /// Takes for carried out here what others had done with when this node began with nothing.
    fn take_over(&self, requests: &mut Requests, members: &BTreeSet<String>) {
        let Some(began) = self.began_empty.get() else { return };
        let others = members.iter().filter(|member| **member != self.me).cloned().collect();
        for request in requests.values_mut() {
            let over = request.done_at(&others).filter(|at| at.saturating_add(self.late) <= *began);
            if let Some(at) = over {
                request.processed.entry(self.me.clone()).or_insert(at);
            }
        }
    }

    fn cancel_period(&self, tenant: &str) -> i64 {
        self.limits.of(tenant).delete_request_cancel_period.nanos()
    }

    /// Notes that so many of the packs that a request concerns hold nothing of it any more.
    pub fn note_progress(&self, request: &DeleteRequest, clean: usize, packs: usize) {
        let percent = (clean * 100).checked_div(packs).unwrap_or(0) as u8;
        self.progress.lock().expect(POISON).insert(request.name(), percent);
    }

    /// How many in a hundred of the packs that this node knows and a request concerns hold nothing of it any more.
    pub fn progress(&self, request: &DeleteRequest) -> u8 {
        if self.is_done_here(request) {
            return 100;
        }
        self.progress.lock().expect(POISON).get(&request.name()).copied().unwrap_or(0)
    }

    /// What queries of a tenant must hide in a range; usually nothing.
    pub fn overlapping(&self, tenant: &str, range: TimeRange) -> Vec<Arc<Deletion>> {
        if self.limits.of(tenant).deletion_mode == DeletionMode::Disabled {
            return Vec::new();
        }
        let now = self.env.clock.now();
        let state = self.state.read().expect(POISON);
        let active = state.active.get(tenant).into_iter().flatten();
        let active = active.filter(|hiding| now < hiding.until).map(|hiding| &hiding.deletion);
        active.filter(|deletion| deletion.overlaps(range.first, range.last)).cloned().collect()
    }

    async fn change<T>(
        &self,
        change: impl FnOnce(&mut Requests) -> Result<T, DeleteError>,
    ) -> Result<T, DeleteError> {
        let _one_at_a_time = self.writing.lock().await;
        let State { requests: before, members, .. } = self.state.read().expect(POISON).clone();
        let now = self.env.clock.now();
        let mut requests = before.clone();
        let outcome = change(&mut requests)?;
        self.take_over(&mut requests, &members);
        memory::forget(&mut requests, &members, &self.retention, now, KEPT_MAX);
        if requests == before {
            return Ok(outcome);
        }
        if requests.len() > KEPT_MAX.max(before.len()) {
            return Err(DeleteError::TooMany);
        }
        let state = State::of(requests.clone(), members, self.late, now, &self.limits)?;
        let path = self.path.clone();
        self.env.exec.run(Lane::Disk, move || file::write(&path, &requests)).await?;
        *self.state.write().expect(POISON) = state;
        Ok(outcome)
    }
}

/// A request that was not taken back.
fn living<'r>(
    requests: &'r mut Requests,
    tenant: &str,
    id: &str,
) -> Result<&'r mut DeleteRequest, DeleteError> {
    let request = requests.get_mut(&(tenant.to_owned(), id.to_owned()));
    request.filter(|request| !request.is_cancelled()).ok_or(DeleteError::Unknown)
}

/// Until when a request's lines are hidden and looked for, as far as is known.
fn hides_until(request: &DeleteRequest, members: &BTreeSet<String>, late: i64) -> i64 {
    if request.is_cancelled() {
        return i64::MIN;
    }
    request.done_at(members).map_or(i64::MAX, |at| at.saturating_add(late))
}

fn compile(request: &DeleteRequest, limits: &TenantLimits) -> Result<Deletion, String> {
    Deletion::compile(request, limits.of(&request.tenant).levels())
}

impl State {
    fn of(
        requests: Requests,
        members: BTreeSet<String>,
        late: i64,
        now: i64,
        limits: &TenantLimits,
    ) -> anyhow::Result<Self> {
        let mut active: BTreeMap<String, Vec<Hiding>> = BTreeMap::new();
        for request in requests.values() {
            let until = hides_until(request, &members, late);
            if until <= now {
                continue;
            }
            let deletion = compile(request, limits).map_err(anyhow::Error::msg);
            let deletion =
                deletion.with_context(|| format!("compile the delete request `{}`", request.id))?;
            let hiding = Hiding { deletion: Arc::new(deletion), until };
            active.entry(request.tenant.clone()).or_default().push(hiding);
        }
        Ok(State { requests, members, active })
    }
}

#[cfg(test)]
mod tests;
