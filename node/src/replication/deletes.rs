//! Every member knows every delete request.

use anyhow::Result;
use grapevine_gossip::rpc::Method;

use super::Replication;
use super::common::Common;
use crate::cluster::methods::DELETES;
use crate::deletes::Deletes;
use crate::deletes::request::{DeleteRequest, Name, news};

impl Common for Deletes {
    type Item = DeleteRequest;

    const METHOD: Method = DELETES;
    const WHAT: &'static str = "delete requests";

    fn bytes(request: &DeleteRequest) -> usize {
        request.query.len() + request.tenant.len() + 100 + 100 * request.processed.len()
    }

    fn digest(&self) -> u64 {
        Deletes::digest(self)
    }

    fn known(&self) -> Vec<DeleteRequest> {
        Deletes::known(self).into_values().collect()
    }

    fn news(&self, theirs: &[DeleteRequest]) -> Vec<DeleteRequest> {
        news(&Deletes::known(self), &theirs.iter().cloned().map(by_name).collect())
    }

    async fn learn(&self, theirs: Vec<DeleteRequest>) -> Result<()> {
        Ok(Deletes::learn(self, theirs.into_iter().map(by_name).collect()).await?)
    }
}

impl Replication {
    /// Tells all members that live of a request that was made or taken back here.
    pub async fn tell_delete(&self, tenant: &str, id: &str) {
        self.tell_all::<Deletes>(self.parts.deletes.find(tenant, id).into_iter().collect()).await;
    }
}

fn by_name(request: DeleteRequest) -> (Name, DeleteRequest) {
    (request.name(), request)
}
