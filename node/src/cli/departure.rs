//! How a node goes: at once, expected back; or for good, after it has handed over what it holds.
//!
//! While it hands over it takes and answers requests as ever, and systemd is asked for more time again and again. A second
//! signal ends that: the log keeps what is left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{notify, serve};
use crate::config::cluster::OnStop;
use crate::node::Node;
use crate::replication::Replication;

/// For how long systemd is asked to be patient, each time there is something new to tell it.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a node that was told to stop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It finishes requests and packs heads, unless it is told once more.
    InOrder,
    /// It was told twice: at once. The log keeps what is left.
    AtOnce,
}

/// Waits until the node is to end: it was told to stop, or it was asked to leave and has.
pub(super) async fn wait(stop: impl Future<Output = ()>, node: oneshot::Receiver<Arc<Node>>) -> Ending {
    tokio::pin!(stop);
    let node = tokio::select! {
        () = &mut stop => return Ending::InOrder,
        node = node => node,
    };
    let replication = node.as_ref().ok().and_then(|node| node.replication.clone());
    let (Ok(node), Some(replication)) = (node, replication) else {
        stop.await;
        return Ending::InOrder;
    };
    let most = node.config.cluster.leave_timeout.0;
    tokio::select! {
        () = &mut stop => match node.config.cluster.on_stop {
            OnStop::Leave => leave(&replication, most, serve::wait_for_stop()).await,
            OnStop::Stay => Ending::InOrder,
        },
        () = replication.asked_to_leave() => leave(&replication, most, stop).await,
    }
}

/// Leaves the cluster, unless it is told to stop meanwhile.
async fn leave(replication: &Replication, most: Duration, stop: impl Future<Output = ()>) -> Ending {
    tracing::info!("leaving the cluster");
    let mut last = String::new();
    let told = |how_far: &str| {
        notify::tell(&format!(
            "EXTEND_TIMEOUT_USEC={}\nSTATUS=leaves the cluster: {how_far}",
            PATIENCE.as_micros()
        ));
        if last != how_far {
            tracing::info!(how_far, "leaving");
            how_far.clone_into(&mut last);
        }
    };
    tokio::select! {
        left = replication.hand_over(most, told) => {
            if let Err(error) = left {
                let error = format!("{error:#}");
                tracing::error!(error, "this node did not leave in order; start it again, or others replace it in time");
            }
            Ending::InOrder
        }
        () = stop => {
            tracing::warn!("told to stop: leaving is cut short, the log keeps what is left");
            Ending::AtOnce
        }
    }
}
