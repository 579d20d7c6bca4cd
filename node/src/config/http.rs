//! The keys of the HTTP API's doors: TLS, and who may come in.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::keys::table;

/// What an operator writes who lets everyone in.
pub const WITHOUT_AUTH: &str = "anyone who reaches it may read and write";

table! {
    /// Who reaches the HTTP API and how. Between nodes there is always mutual TLS; this is about clients.
    "http": HttpWritten => Http {
        /// A PEM file with the node's certificate, then those of the authorities between it and a root. With it
        /// the API speaks HTTPS only. It is read again when it changes.
        tls_cert: PathBuf = PathBuf::new(),
        /// A PEM file with the key that belongs to `tls_cert`.
        tls_key: PathBuf = PathBuf::new(),
        /// A TOML file of users, each with a hash from `grapevine hash`, its tenants and what it may do. With it
        /// every request but `/ready` must log in. It is read again when it changes.
        users: PathBuf = PathBuf::new(),
        /// Without `users` a node listens on addresses of this machine only, unless this says, in these words:
        /// `anyone who reaches it may read and write`.
        without_auth: String = String::new(),
    }
}

impl Http {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// What is wrong, and the way out.
    pub fn validate(&self) -> Result<(), String> {
        if self.tls_cert.as_os_str().is_empty() != self.tls_key.as_os_str().is_empty() {
            return Err("`http.tls_cert` and `http.tls_key` belong together: give both or none".into());
        }
        if !["", WITHOUT_AUTH].contains(&self.without_auth.as_str()) {
            let said = &self.without_auth;
            return Err(format!("`http.without_auth` = `{said}` does not say `{WITHOUT_AUTH}`"));
        }
        Ok(())
    }

    /// Refuses to let others in who need not log in, unless that is what the operator says.
    ///
    /// # Errors
    /// The ways out.
    pub fn check_exposure(&self, address: SocketAddr) -> Result<(), String> {
        let is_open = self.users.as_os_str().is_empty() && self.without_auth != WITHOUT_AUTH;
        match is_open && !address.ip().is_loopback() {
            true => Err(format!(
                "`http_listen` = `{address}` lets other machines in, and nobody has to log in: name a file of users \
                 in `http.users`, or write `http.without_auth = \"{WITHOUT_AUTH}\"`"
            )),
            false => Ok(()),
        }
    }

    /// Whether the API speaks HTTPS.
    pub fn has_tls(&self) -> bool {
        !self.tls_cert.as_os_str().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::{Http, WITHOUT_AUTH};

    #[test]
    fn only_this_machine_is_let_in_without_a_word() {
        let silent = Http::default();
        let said = Http { without_auth: WITHOUT_AUTH.into(), ..Http::default() };
        let users = Http { users: "users.toml".into(), ..Http::default() };
        for (address, is_local) in [
            ("127.0.0.1:1", true),
            ("[::1]:1", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("10.0.0.1:1", false),
        ] {
            let address = address.parse().unwrap();
            assert_eq!(silent.check_exposure(address).is_ok(), is_local, "{address}");
            assert!(said.check_exposure(address).is_ok() && users.check_exposure(address).is_ok());
        }
        assert!(Http { without_auth: "yes".into(), ..Http::default() }.validate().is_err());
        assert!(Http { tls_cert: "c.pem".into(), ..Http::default() }.validate().is_err());
    }
}
