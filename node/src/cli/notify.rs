//! Tells systemd how a service fares (`sd_notify(3)`): a datagram to the socket that `NOTIFY_SOCKET` names.
//!
//! Twenty lines instead of a crate: the protocol is `KEY=value` lines. Whoever runs without systemd has no such
//! variable, and then nothing happens.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service has begun to answer.
pub const READY: &str = "READY=1\nSTATUS=answers requests";
/// The log is being replayed: not ready, but well.
pub const REPLAYING: &str = "STATUS=replays the write-ahead log";
/// The service was told to stop and does what that takes: half a minute more than packing may, since a unit that has left its
/// cluster may have no time left of its own.
pub const STOPPING: &str =
    "STOPPING=1\nEXTEND_TIMEOUT_USEC=90000000\nSTATUS=finishes requests and packs heads";

/// Sends a state, if anybody waits for one.
pub fn tell(state: &str) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, socket = %socket.display(), "systemd could not be told how the service fares");
    }
}

fn send(socket: &OsStr, state: &str) -> std::io::Result<()> {
    let from = UnixDatagram::unbound()?;
    from.send_to_addr(state.as_bytes(), &address(socket)?)?;
    Ok(())
}

/// A path, or after an `@` a name in Linux's abstract namespace.
fn address(socket: &OsStr) -> std::io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    SocketAddr::from_pathname(socket)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::net::UnixDatagram;

    use super::{READY, address, send};

    fn check(socket: &OsStr) {
        let listener = UnixDatagram::bind_addr(&address(socket).unwrap()).unwrap();
        send(socket, READY).unwrap();
        let mut heard = [0; 128];
        let bytes = listener.recv(&mut heard).unwrap();
        assert_eq!(&heard[..bytes], READY.as_bytes());
    }

    #[test]
    fn a_state_reaches_a_socket_with_a_path_and_one_without() {
        let dir = tempfile::tempdir().unwrap();
        check(dir.path().join("notify").as_os_str());
        check(OsStr::new(&format!("@grapevine-notify-{}", std::process::id())));
    }

    #[test]
    fn a_socket_that_nobody_listens_to_is_an_error_and_no_panic() {
        assert!(send(OsStr::new("/nonexistent/notify"), READY).is_err());
    }
}
