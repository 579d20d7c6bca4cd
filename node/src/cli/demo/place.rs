//! Where a demo lives: a folder of the user's own and a port nobody uses.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The port that Loki's clients expect, and how many after it are tried.
const PORT: u16 = 3100;
const PORTS_MAX: u16 = 20;

/// The folder: in the user's cache, or where that cannot be written, among the temporary files. It is used again,
/// so that a second run finds the first one's lines.
///
/// # Errors
/// Neither can be made.
pub fn data_dir(variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<PathBuf> {
    let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    if let Some(dir) = cache.map(|cache| cache.join("grapevine/demo"))
        && usable(&dir).is_ok()
    {
        return Ok(dir);
    }
    let user = rustix::process::getuid().as_raw();
    let dir = std::env::temp_dir().join(format!("grapevine-demo-{user}"));
    usable(&dir)
        .with_context(|| format!("write to `{}`; name another folder with --data-dir", dir.display()))?;
    Ok(dir)
}

fn usable(dir: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    // Logs are nobody else's business.
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    std::fs::File::create(dir.join("lock")).map(drop)
}

/// The first free port from Loki's on; if there is none nearby, one that the system picks.
pub fn address() -> SocketAddr {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let free = (PORT..PORT + PORTS_MAX).map(at).find(|address| TcpListener::bind(address).is_ok());
    free.unwrap_or_else(|| at(0))
}

/// Whether this is the port that clients expect.
pub fn is_usual(address: SocketAddr) -> bool {
    address.port() == PORT
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::net::TcpListener;

    use super::{address, data_dir};

    #[test]
    fn the_cache_comes_first_and_temporary_files_last() {
        let dir = tempfile::tempdir().unwrap();
        let cache = |name: &str| (name == "XDG_CACHE_HOME").then(|| dir.path().as_os_str().to_owned());
        assert_eq!(data_dir(cache).unwrap(), dir.path().join("grapevine/demo"));
        let home = |name: &str| (name == "HOME").then(|| dir.path().as_os_str().to_owned());
        assert_eq!(data_dir(home).unwrap(), dir.path().join(".cache/grapevine/demo"));
        let nowhere = |_: &str| Some(OsString::from("/proc/nowhere"));
        assert!(data_dir(nowhere).unwrap().starts_with(std::env::temp_dir()));
    }

    #[test]
    fn a_port_in_use_is_not_chosen() {
        let taken = TcpListener::bind(address()).unwrap();
        assert_ne!(address(), taken.local_addr().unwrap());
    }
}
