//! The file of users: who may do what to whose lines.
//!
//! ```toml
//! [users.grafana]
//! password = "pbkdf2-sha256$600000$…" # from `grapevine hash password`
//! tenants = ["shop", "ship"]          # or ["*"]
//! may = ["read"]
//!
//! [users.alloy]
//! token = "sha256$…"                  # from `grapevine hash token`
//! tenants = ["shop"]
//! may = ["write"]
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Deserialize;

use super::hash::{PasswordHash, TokenHash, parse_token};

/// Users of one node; each is kept in memory.
const USERS_MAX: usize = 10_000;
/// Stands for every tenant.
const EVERY_TENANT: &str = "*";

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Ask for lines and what there is.
    Read,
    /// Push lines.
    Write,
    /// Ask for lines to be deleted.
    Delete,
    /// See and change the node itself.
    Admin,
}

impl Permission {
    /// As it is written in the file.
    pub fn name(self) -> &'static str {
        match self {
            Permission::Read => "read",
            Permission::Write => "write",
            Permission::Delete => "delete",
            Permission::Admin => "admin",
        }
    }
}

/// Someone who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What they are called.
    pub name: String,
    /// The tenants they act for; none is all.
    pub tenants: Option<BTreeSet<String>>,
    /// What they may do for them.
    pub may: BTreeSet<Permission>,
}

impl User {
    /// Whether they may act for a tenant.
    pub fn acts_for(&self, tenant: &str) -> bool {
        self.tenants.as_ref().is_none_or(|tenants| tenants.contains(tenant))
    }

    /// The tenant they mean who name none.
    pub fn only_tenant(&self) -> Option<&str> {
        let tenants = self.tenants.as_ref().filter(|tenants| tenants.len() == 1)?;
        tenants.first().map(String::as_str)
    }
}

/// All users of a node.
#[derive(Clone, Debug, Default)]
pub struct Users {
    by_name: BTreeMap<String, (Arc<User>, PasswordHash)>,
    by_token: BTreeMap<TokenHash, Arc<User>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    users: BTreeMap<String, UserWritten>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserWritten {
    password: Option<String>,
    token: Option<String>,
    tenants: BTreeSet<String>,
    may: BTreeSet<Permission>,
}

impl Users {
    /// Reads the file's text.
    ///
    /// # Errors
    /// What is wrong with it. Nothing of what a secret's place holds is repeated.
    pub fn parse(text: &str) -> Result<Self, String> {
        let written: Written = toml::from_str(text).map_err(|error| {
            // The error as a whole quotes the line, and the line may be a password.
            let line =
                error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            format!("line {line}: {}", error.message())
        })?;
        if written.users.len() > USERS_MAX {
            return Err(format!("`{}` users are too many: at most {USERS_MAX}", written.users.len()));
        }
        let mut users = Users::default();
        for (name, written) in written.users {
            users.add(name, written)?;
        }
        Ok(users)
    }

    fn add(&mut self, name: String, written: UserWritten) -> Result<(), String> {
        let UserWritten { password, token, tenants, may } = written;
        if name.contains(':') || tenants.is_empty() || may.is_empty() {
            return Err(format!(
                "`users.{name}` needs a name without `:`, and at least one of `tenants` and of `may`"
            ));
        }
        let tenants = (!tenants.contains(EVERY_TENANT)).then_some(tenants);
        let user = Arc::new(User { name: name.clone(), tenants, may });
        let no_hash = |key| format!("`users.{name}.{key}` is no hash; make one with `grapevine hash {key}`");
        if let Some(password) = &password {
            let hash = PasswordHash::parse(password).ok_or_else(|| no_hash("password"))?;
            self.by_name.insert(name.clone(), (user.clone(), hash));
        }
        if let Some(token) = &token {
            let hash = parse_token(token).ok_or_else(|| no_hash("token"))?;
            if self.by_token.insert(hash, user).is_some() {
                return Err(format!("`users.{name}.token` is another user's too"));
            }
        }
        match password.or(token) {
            Some(_) => Ok(()),
            None => Err(format!("`users.{name}` has neither a `password` nor a `token`")),
        }
    }

    /// Who has a password, and its hash.
    pub fn named(&self, name: &str) -> Option<&(Arc<User>, PasswordHash)> {
        self.by_name.get(name)
    }

    /// Whose token it is.
    pub fn with_token(&self, hash: &TokenHash) -> Option<&Arc<User>> {
        self.by_token.get(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::Users;
    use crate::access::hash::{of_token, token_text};

    #[test]
    fn users_are_read_with_what_they_may_do() {
        let token = token_text(&of_token("t"));
        let text = format!("[users.a]\ntoken = '{token}'\ntenants = ['x']\nmay = ['write', 'read']");
        let users = Users::parse(&text).unwrap();
        let user = users.with_token(&of_token("t")).unwrap();
        assert!(user.acts_for("x") && !user.acts_for("y") && user.only_tenant() == Some("x"));
        let all = Users::parse(&text.replace("'x'", "'*', 'x'")).unwrap();
        let user = all.with_token(&of_token("t")).unwrap();
        assert!(user.acts_for("y") && user.only_tenant().is_none());
        assert!(users.with_token(&of_token("other")).is_none() && users.named("a").is_none());
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is_repeated() {
        for (text, expected) in [
            (
                "[users.a]\npassword = 'hush'\ntenants = ['x']\nmay = ['read']",
                "`users.a.password` is no hash",
            ),
            ("[users.a]\ntoken = 'hush'\ntenants = ['x']\nmay = ['read']", "`users.a.token` is no hash"),
            ("[users.a]\npassword = 'hush\ntenants = ['x']", "line 2: "),
            ("[users.a]\ntenants = ['x']\nmay = ['read']", "neither"),
            ("[users.a]\nmay = ['read']", "tenants"),
            ("[users.a]\ntenants = []\nmay = ['read']", "at least one"),
            ("[users.a]\ntenants = ['x']\nmay = ['everything']", "everything"),
        ] {
            let error = Users::parse(text).unwrap_err();
            assert!(error.contains(expected) && !error.contains("hush"), "{error}");
        }
    }
}
