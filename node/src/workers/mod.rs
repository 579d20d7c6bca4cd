//! Work in the background, all of it in one shape: each worker has a name, shows what it does and what went wrong,
//! and can be paused, asked for a round, and held to a rate.
//!
//! The registry is what `/workers` lists; a part of the node that works by itself adds its worker here.

pub mod pace;
pub mod worker;

use std::sync::{Arc, Mutex, MutexGuard};

use self::worker::Worker;
use crate::metrics::Metrics;

/// Every worker of a node, in the order in which they were added.
#[derive(Debug)]
pub struct Workers {
    metrics: Arc<Metrics>,
    list: Mutex<Vec<Arc<Worker>>>,
}

impl Workers {
    /// None yet.
    pub fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Workers { metrics, list: Mutex::default() })
    }

    /// Adds one. `name` stands in commands, logs and metrics; `about` says in a few words what it does.
    ///
    /// # Panics
    /// If there is one of that name.
    pub fn add(&self, name: &'static str, about: &'static str) -> Arc<Worker> {
        self.added(Worker::new((name, about), false, self.metrics.clone()))
    }

    /// Adds one that works with other nodes, whose failures are a matter of course.
    ///
    /// # Panics
    /// If there is one of that name.
    pub fn add_forgiving(&self, name: &'static str, about: &'static str) -> Arc<Worker> {
        self.added(Worker::new((name, about), true, self.metrics.clone()))
    }

    fn added(&self, worker: Worker) -> Arc<Worker> {
        assert!(self.get(worker.name).is_none(), "two workers are named {}", worker.name);
        let worker = Arc::new(worker);
        self.lock().push(worker.clone());
        worker
    }

    /// The one of that name.
    pub fn get(&self, name: &str) -> Option<Arc<Worker>> {
        self.lock().iter().find(|worker| worker.name == name).cloned()
    }

    /// All of them.
    pub fn list(&self) -> Vec<Arc<Worker>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Worker>>> {
        self.list.lock().expect("no one panics with the list of workers locked")
    }
}

#[cfg(test)]
mod tests {
    use super::Workers;
    use crate::metrics::Metrics;

    #[test]
    fn workers_are_listed_in_order_and_found_by_name() {
        let workers = Workers::new(Metrics::new());
        workers.add("second", "");
        workers.add("first", "");
        let names: Vec<&str> = workers.list().iter().map(|worker| worker.name).collect();
        assert_eq!(names, ["second", "first"]);
        assert!(workers.get("first").is_some() && workers.get("third").is_none());
    }
}
