//! How a node goes: at once, expected back; or for good, after it has handed over what it holds.
//!
//! While it hands over it takes and answers requests as ever, and systemd is asked for more time again and again, whether
//! there is news or not. A second signal ends that: the log keeps what is left.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use super::{notify, serve};
use crate::config::cluster::OnStop;
use crate::node::Node;
use crate::replication::Replication;

/// For how long systemd is asked to be patient.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked although there is nothing new to tell: packing may take longer than it is patient.
const AGAIN: Duration = Duration::from_secs(10);
const _: () = assert!(AGAIN.as_secs() * 2 < PATIENCE.as_secs());

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
    let (news, heard) = watch::channel(String::new());
    let told = |how_far: &str| {
        let is_news = news.send_if_modified(|last| {
            let is_news = *last != how_far;
            how_far.clone_into(last);
            is_news
        });
        if is_news {
            tracing::info!(how_far, "leaving");
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
        () = ask_for_time(heard, AGAIN, async |text| notify::tell(&text)) => unreachable!("it has no end"),
    }
}

/// Tells systemd how far it is, at each piece of news and after so long without any. Goes on until it is dropped.
async fn ask_for_time(
    mut how_far: watch::Receiver<String>,
    again: Duration,
    mut tell: impl AsyncFnMut(String),
) {
    loop {
        // Whether there is news or not, what was told last is told.
        let _ = timeout(again, how_far.changed()).await;
        let how_far = how_far.borrow_and_update().clone();
        tell(format!("EXTEND_TIMEOUT_USEC={}\nSTATUS=leaves the cluster: {how_far}", PATIENCE.as_micros()))
            .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::{mpsc, watch};

    use super::ask_for_time;

    #[tokio::test]
    async fn systemd_is_asked_for_time_again_and_again_although_there_is_no_news() {
        let (news, heard) = watch::channel("packs".to_owned());
        let (tell, mut told) = mpsc::channel(1);
        let asking = ask_for_time(heard, Duration::from_millis(1), async |text| drop(tell.send(text).await));
        let hearing = async {
            for _ in 0..3 {
                let text = told.recv().await.unwrap();
                assert_eq!(text, "EXTEND_TIMEOUT_USEC=30000000\nSTATUS=leaves the cluster: packs");
            }
            news.send_replace("hands over".to_owned());
            while !told.recv().await.unwrap().ends_with(": hands over") {}
        };
        tokio::select! {
            () = hearing => {}
            () = asking => {}
        }
    }
}
