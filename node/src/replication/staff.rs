//! Who works in the background so that members hold what they own: each shows state, progress and errors, and can be
//! paused and held to a rate. Others come and go, so that failures are a matter of course here.

use std::sync::Arc;

use crate::workers::Workers;
use crate::workers::worker::Worker;

/// The workers of replication.
#[derive(Debug)]
pub struct Staff {
    /// Compares what owners hold, and sends what they lack.
    pub repair: Arc<Worker>,
    /// Tells owners of packs.
    pub announce: Arc<Worker>,
    /// Learns what this member owns and does not know.
    pub learn: Arc<Worker>,
    /// Hands over what this member holds.
    pub leave: Arc<Worker>,
    /// All of the node's.
    workers: Arc<Workers>,
}

impl Staff {
    /// Hires them. Each of those that move what is stored moves at most so many bytes in a second; 0 is no bound.
    pub fn among(workers: &Arc<Workers>, bytes_per_s: u64) -> Self {
        let staff = Staff {
            repair: workers.add_forgiving("repair", "sends other owners what they lack"),
            announce: workers.add_forgiving("announce", "tells other owners of packs"),
            learn: workers
                .add_forgiving("learn", "learns of packs whose streams became this node's, fetches them"),
            leave: workers
                .add_forgiving("leave", "hands over what this node holds, when it is asked to leave"),
            workers: workers.clone(),
        };
        staff.repair.set_rate(Some(bytes_per_s));
        staff.learn.set_rate(Some(bytes_per_s));
        staff
    }

    /// Has housekeeping look through the chunk store soon.
    pub(super) fn look_through_store(&self) {
        if let Some(worker) = self.workers.get("reconcile") {
            worker.wake();
        }
    }
}
