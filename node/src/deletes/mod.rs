//! Requests to delete lines: kept durably, obeyed by every query from the moment they are made, and carried out by
//! housekeeping once they can no longer be taken back.

pub mod file;
pub mod matcher;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

use anyhow::Context;
use grapevine_logql::quantity::format_go_duration;
use grapevine_storage::index::TimeRange;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use self::matcher::Deletion;
use crate::env::Env;
use crate::exec::Lane;
use crate::limits::{DeletionMode, TenantLimits};

/// Requests of all tenants that are kept, those already carried out included: each costs every query that it
/// overlaps, and all are written whenever one changes.
pub const REQUESTS_MAX: usize = 10_000;
/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Queries hide what it names.
    Received,
    /// It is gone from every pack.
    Processed,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// Names it, among those of its tenant.
    pub id: String,
    /// Whose lines.
    pub tenant: String,
    /// Which lines, in LogQL.
    pub query: String,
    /// The first timestamp, ns.
    pub start: i64,
    /// The last timestamp, ns.
    pub end: i64,
    /// When it was made, ns.
    pub created_at: i64,
    /// What has become of it.
    pub status: Status,
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

/// All requests of a node.
#[derive(Debug)]
pub struct Deletes {
    env: Env,
    limits: Arc<TenantLimits>,
    path: PathBuf,
    state: RwLock<State>,
    /// How many in a hundred of a request's packs are through, by tenant and id.
    progress: Mutex<BTreeMap<(String, String), u8>>,
    /// Held while the file is written: writes come one after another.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct State {
    requests: Vec<DeleteRequest>,
    /// Those that queries obey, by tenant.
    active: BTreeMap<String, Vec<Arc<Deletion>>>,
}

const POISON: &str = "no one panics with the delete requests locked";

impl Deletes {
    /// Reads what was requested before.
    ///
    /// # Errors
    /// The file cannot be read: to go on without it would bring deleted lines back.
    pub async fn open(env: Env, limits: Arc<TenantLimits>) -> anyhow::Result<Self> {
        let path = env.data_dir.join("deletes.json");
        let from = path.clone();
        let requests = env.exec.run(Lane::Disk, move || file::read(&from)).await?;
        let state = State::of(requests).context("read the delete requests")?;
        let (state, writing) = (RwLock::new(state), tokio::sync::Mutex::default());
        Ok(Deletes { env, limits, path, state, progress: Mutex::default(), writing })
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
        let name = format!("{tenant}\n{query}\n{start}\n{end}\n{}", created_at / 1_000_000);
        let id = format!("{:08x}", xxh3_64(name.as_bytes()) as u32);
        let request = DeleteRequest {
            id: id.clone(),
            tenant: tenant.to_owned(),
            query: query.to_owned(),
            start,
            end,
            created_at,
            status: Status::Received,
        };
        Deletion::compile(&request).map_err(DeleteError::Query)?;
        self.change(|requests| {
            if requests.len() >= REQUESTS_MAX {
                return Err(DeleteError::TooMany);
            }
            requests.retain(|other| (&other.tenant, &other.id) != (&request.tenant, &request.id));
            requests.push(request);
            Ok(())
        })
        .await?;
        Ok(id)
    }

    /// Takes a request back; `force` does so after the deadline too.
    ///
    /// # Errors
    /// [`DeleteError`]
    pub async fn cancel(&self, tenant: &str, id: &str, force: bool) -> Result<(), DeleteError> {
        let now = self.env.clock.now();
        let period = self.cancel_period(tenant);
        self.change(|requests| {
            let is_it = |request: &DeleteRequest| request.tenant == tenant && request.id == id;
            let request = requests.iter().find(|request| is_it(request)).ok_or(DeleteError::Unknown)?;
            if request.status == Status::Processed {
                return Err(DeleteError::Processed);
            }
            if !force && now.saturating_sub(request.created_at) > period {
                return Err(DeleteError::TooLate(format_go_duration(period)));
            }
            requests.retain(|request| !is_it(request));
            Ok(())
        })
        .await
    }

    /// Notes that a request has been carried out: queries need not look for its lines any more.
    ///
    /// # Errors
    /// It has been taken back meanwhile, or the file cannot be written.
    pub async fn mark_processed(&self, tenant: &str, id: &str) -> Result<(), DeleteError> {
        self.change(|requests| {
            let request = requests.iter_mut().find(|request| request.tenant == tenant && request.id == id);
            request.ok_or(DeleteError::Unknown)?.status = Status::Processed;
            Ok(())
        })
        .await?;
        self.progress.lock().expect(POISON).remove(&(tenant.to_owned(), id.to_owned()));
        Ok(())
    }

    /// A tenant's requests, in the order in which they were made.
    pub fn list(&self, tenant: &str) -> Vec<DeleteRequest> {
        let state = self.state.read().expect(POISON);
        state.requests.iter().filter(|request| request.tenant == tenant).cloned().collect()
    }

    /// The requests that can no longer be taken back and are to be carried out.
    pub fn due(&self) -> Vec<DeleteRequest> {
        let now = self.env.clock.now();
        let is_due = |request: &&DeleteRequest| {
            request.status == Status::Received
                && now.saturating_sub(request.created_at) > self.cancel_period(&request.tenant)
                && self.limits.of(&request.tenant).deletion_mode == DeletionMode::FilterAndDelete
        };
        self.state.read().expect(POISON).requests.iter().filter(is_due).cloned().collect()
    }

    fn cancel_period(&self, tenant: &str) -> i64 {
        self.limits.of(tenant).delete_request_cancel_period.nanos()
    }

    /// Notes that so many of the packs that a request concerns hold nothing of it any more.
    pub fn note_progress(&self, request: &DeleteRequest, clean: usize, packs: usize) {
        let percent = (clean * 100).checked_div(packs).unwrap_or(0) as u8;
        let mut progress = self.progress.lock().expect(POISON);
        progress.insert((request.tenant.clone(), request.id.clone()), percent);
    }

    /// How many in a hundred of the packs that a request concerns hold nothing of it any more.
    pub fn progress(&self, request: &DeleteRequest) -> u8 {
        let progress = self.progress.lock().expect(POISON);
        progress.get(&(request.tenant.clone(), request.id.clone())).copied().unwrap_or(0)
    }

    /// What queries of a tenant must hide in a range; usually nothing.
    pub fn overlapping(&self, tenant: &str, range: TimeRange) -> Vec<Arc<Deletion>> {
        if self.limits.of(tenant).deletion_mode == DeletionMode::Disabled {
            return Vec::new();
        }
        let state = self.state.read().expect(POISON);
        let active = state.active.get(tenant).into_iter().flatten();
        active.filter(|deletion| deletion.overlaps(range.first, range.last)).cloned().collect()
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut Vec<DeleteRequest>) -> Result<(), DeleteError>,
    ) -> Result<(), DeleteError> {
        let _one_at_a_time = self.writing.lock().await;
        let mut requests = self.state.read().expect(POISON).requests.clone();
        change(&mut requests)?;
        let state = State::of(requests.clone())?;
        let path = self.path.clone();
        self.env.exec.run(Lane::Disk, move || file::write(&path, &requests)).await?;
        *self.state.write().expect(POISON) = state;
        Ok(())
    }
}

impl State {
    fn of(requests: Vec<DeleteRequest>) -> anyhow::Result<Self> {
        let mut active: BTreeMap<String, Vec<Arc<Deletion>>> = BTreeMap::new();
        for request in requests.iter().filter(|request| request.status == Status::Received) {
            let deletion = Deletion::compile(request).map_err(anyhow::Error::msg);
            let deletion =
                deletion.with_context(|| format!("compile the delete request `{}`", request.id))?;
            active.entry(request.tenant.clone()).or_default().push(Arc::new(deletion));
        }
        Ok(State { requests, active })
    }
}
