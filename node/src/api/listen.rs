//! Serves connections: each has a time for its headers, and those under way are finished when the node stops.
//!
//! axum's own loop gives a client all the time in the world for its headers, so that whoever sends one byte a minute on many
//! connections would keep all files open. Cost of doing it here: this loop.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

/// How long a client may take for a request's headers; also how long a connection may stay idle, which clients that keep
/// some expect to be longer than between two of their pushes.
const HEADERS_MAX: Duration = Duration::from_secs(60);

/// Serves routes until `stop` completes; requests under way are finished.
pub async fn serve<L: Listener<Addr = SocketAddr>>(
    routes: Router,
    listener: L,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    serve_within(routes, listener, HEADERS_MAX, stop).await;
}

async fn serve_within<L: Listener<Addr = SocketAddr>>(
    routes: Router,
    mut listener: L,
    headers_max: Duration,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    // Each connection holds a receiver: who stops sends word, and waits until all are gone.
    let (stopping, stopped) = watch::channel(false);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            (io, _) = listener.accept() => {
                tokio::spawn(connection(routes.clone(), io, headers_max, stopped.clone()));
            }
            () = &mut stop => break,
        }
    }
    drop((listener, stopped));
    let _ = stopping.send(true); // Nobody is there to hear it if there is no connection.
    stopping.closed().await;
}

async fn connection<I>(routes: Router, io: I, headers_max: Duration, mut stopped: watch::Receiver<bool>)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(headers_max);
    let service = TowerToHyperService::new(routes);
    let connection = http.serve_connection(TokioIo::new(io), service).with_upgrades();
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { drop(stopped.wait_for(|stopped| *stopped).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use axum::serve::Listener;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::{Notify, mpsc, oneshot};
    use tokio::task::JoinHandle;

    use super::{HEADERS_MAX, serve_within};

    const SOON: Duration = Duration::from_millis(50);

    struct Pipes(mpsc::Receiver<DuplexStream>);

    impl Listener for Pipes {
        type Io = DuplexStream;
        type Addr = SocketAddr;

        async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
            match self.0.recv().await {
                Some(pipe) => (pipe, ([127, 0, 0, 1], 1).into()),
                None => std::future::pending().await,
            }
        }

        fn local_addr(&self) -> std::io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }
    }

    struct Served {
        connect: mpsc::Sender<DuplexStream>,
        /// Told when `/slow` is asked for.
        asked: Arc<Notify>,
        /// Lets `/slow` answer.
        go_on: Arc<Notify>,
        stop: oneshot::Sender<()>,
        serving: JoinHandle<()>,
    }

    fn served(headers_max: Duration) -> Served {
        let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, wait) = (asked.clone(), go_on.clone());
        let slow = || async move {
            told.notify_one();
            wait.notified().await;
            "done"
        };
        let routes = Router::new().route("/", get(|| async { "here" })).route("/slow", get(slow));
        let ((connect, pipes), (stop, stopped)) = (mpsc::channel(1), oneshot::channel());
        let stopped = async { drop(stopped.await) };
        let serving = tokio::spawn(serve_within(routes, Pipes(pipes), headers_max, stopped));
        Served { connect, asked, go_on, stop, serving }
    }

    impl Served {
        async fn ask(&self, path: &str) -> DuplexStream {
            let (mut ours, theirs) = duplex(4096);
            self.connect.send(theirs).await.unwrap();
            ours.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
            ours
        }
    }

    /// All that comes until the other side closes.
    async fn answer(pipe: &mut DuplexStream) -> String {
        let mut text = String::new();
        pipe.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn a_client_that_sends_its_headers_byte_by_byte_is_cut_off() {
        let served = served(SOON);
        let (mut ours, theirs) = duplex(16);
        served.connect.send(theirs).await.unwrap();
        // It would go on for ever.
        while ours.write_all(b"G").await.is_ok() {
            tokio::task::yield_now().await;
            tokio::time::sleep(SOON / 50).await;
        }
    }

    #[tokio::test]
    async fn an_answer_may_take_longer_than_headers_and_an_idle_connection_is_closed() {
        let served = served(SOON);
        let mut slow = served.ask("/slow").await;
        served.asked.notified().await;
        tokio::time::sleep(SOON * 3).await;
        served.go_on.notify_one();
        assert!(answer(&mut slow).await.ends_with("done"));
    }

    #[tokio::test]
    async fn who_stops_finishes_what_is_under_way_and_closes_what_is_idle() {
        let served = served(HEADERS_MAX);
        let (mut idle, mut slow) = (served.ask("/").await, served.ask("/slow").await);
        served.asked.notified().await;
        served.stop.send(()).unwrap();
        assert!(answer(&mut idle).await.ends_with("here"));
        assert!(!served.serving.is_finished(), "one is under way");
        served.go_on.notify_one();
        assert!(answer(&mut slow).await.ends_with("done"));
        served.serving.await.unwrap();
    }
}
