//! Who may come in over HTTP, and what they may do: passwords and tokens, tenants, permissions.

pub mod hash;
pub mod users;
pub mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;

use self::hash::{PasswordHash, of_token};
use self::users::{User, Users};
use crate::exec::{Exec, Lane};

/// Bytes of the file of users.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Passwords being verified or waiting for it: each takes a fifth of a CPU second, so a flood of wrong ones must not
/// queue up behind each other.
const VERIFYING_MAX: usize = 32;
/// Bytes of a name and a password together.
const CREDENTIALS_BYTES_MAX: usize = 4096;
/// Passwords that were right and need not be verified again.
const KNOWN_MAX: usize = 10_000;

const POISON: &str = "no one panics with the users locked";

/// Why someone is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody is known by what they showed, or they showed nothing.
    Unknown,
    /// Too many passwords are being verified.
    Busy,
}

/// Lets users in. Reads its file again when it changes.
#[derive(Debug)]
pub struct Access {
    path: PathBuf,
    users: RwLock<Arc<Users>>,
    /// Turns credentials into what is remembered of them; drawn anew for each process.
    key: hmac::Key,
    /// Credentials that were right, under the key.
    known: Mutex<BTreeSet<Vec<u8>>>,
    verifying: AtomicUsize,
    /// What the password of a user who does not exist is held to, so that it takes as long.
    nobody: PasswordHash,
}

impl Access {
    /// Reads the file of users.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Access {
            path: path.to_owned(),
            users: RwLock::new(Arc::new(read(path)?)),
            key: key.map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?,
            known: Mutex::default(),
            verifying: AtomicUsize::new(0),
            nobody: PasswordHash::new("")?,
        })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file again. Whoever is no longer in it is not let in from now on.
    ///
    /// # Errors
    /// It cannot be read or understood; then everything stays as it was.
    pub fn reload(&self) -> anyhow::Result<()> {
        let users = Arc::new(read(&self.path)?);
        *self.users.write().expect(POISON) = users;
        self.known.lock().expect(POISON).clear();
        Ok(())
    }

    /// Who it is that shows this `Authorization`.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn who(&self, exec: &Exec, authorization: Option<&str>) -> Result<Arc<User>, Refusal> {
        let (scheme, shown) = authorization.and_then(|text| text.split_once(' ')).ok_or(Refusal::Unknown)?;
        let shown = shown.trim();
        let users = self.users.read().expect(POISON).clone();
        if scheme.eq_ignore_ascii_case("bearer") {
            return users.with_token(&of_token(shown)).cloned().ok_or(Refusal::Unknown);
        }
        if !scheme.eq_ignore_ascii_case("basic") || shown.len() > CREDENTIALS_BYTES_MAX {
            return Err(Refusal::Unknown);
        }
        let decoded = STANDARD.decode(shown).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let decoded = decoded.ok_or(Refusal::Unknown)?;
        let (name, password) = decoded.split_once(':').ok_or(Refusal::Unknown)?;
        self.with_password(exec, &users, name, password).await
    }

    async fn with_password(
        &self,
        exec: &Exec,
        users: &Arc<Users>,
        name: &str,
        password: &str,
    ) -> Result<Arc<User>, Refusal> {
        let found = users.named(name);
        let credentials = hmac::sign(&self.key, format!("{name}:{password}").as_bytes()).as_ref().to_vec();
        if let Some((user, _)) = found
            && self.known.lock().expect(POISON).contains(&credentials)
        {
            return Ok(user.clone());
        }
        let hash = found.map_or(&self.nobody, |(_, hash)| hash).clone();
        let password = password.to_owned();
        let is_right = {
            let _place = Place::take(&self.verifying).ok_or(Refusal::Busy)?;
            exec.run(Lane::Decode, move || hash.is_of(&password)).await
        };
        let (user, _) = found.filter(|_| is_right).ok_or(Refusal::Unknown)?;
        let is_current = Arc::ptr_eq(&*self.users.read().expect(POISON), users);
        let mut known = self.known.lock().expect(POISON);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        if is_current {
            known.insert(credentials);
        }
        Ok(user.clone())
    }
}

/// One of the places for verifying.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(count: &'a AtomicUsize) -> Option<Self> {
        let taken = Place(count);
        (count.fetch_add(1, Ordering::AcqRel) < VERIFYING_MAX).then_some(taken)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn read(path: &Path) -> anyhow::Result<Users> {
    let wrong = || format!("read the users in `{}`", path.display());
    let bytes = std::fs::metadata(path).with_context(wrong)?.len();
    anyhow::ensure!(
        bytes <= FILE_BYTES_MAX,
        "`{}` has {bytes} bytes, of {FILE_BYTES_MAX} at most",
        path.display()
    );
    let text = std::fs::read_to_string(path).with_context(wrong)?;
    Users::parse(&text).map_err(anyhow::Error::msg).with_context(wrong)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::hash::{PasswordHash, of_token, token_text};
    use super::{Access, Refusal};
    use crate::exec::Exec;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[tokio::test]
    async fn users_are_known_by_password_or_token_until_the_file_says_otherwise() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.toml");
        let hash = PasswordHash::with_rounds("hush", NonZeroU32::new(5).unwrap()).unwrap().to_text();
        let token = token_text(&of_token("t"));
        let text = format!(
            "[users.a]\npassword = '{hash}'\ntenants = ['x']\nmay = ['read']\n\
             [users.b]\ntoken = '{token}'\ntenants = ['*']\nmay = ['write']"
        );
        std::fs::write(&path, &text).unwrap();
        let access = Access::open(&path).unwrap();
        let exec = Exec::inline();
        let name = async |shown: Option<String>| {
            access.who(&exec, shown.as_deref()).await.map(|user| user.name.clone())
        };
        for _ in 0..2 {
            assert_eq!(name(Some(basic("a:hush"))).await.as_deref(), Ok("a"));
            assert_eq!(name(Some("bearer t".into())).await.as_deref(), Ok("b"));
            for shown in ["a:hus", "a:", "b:t", "c:hush", "a"] {
                assert_eq!(name(Some(basic(shown))).await, Err(Refusal::Unknown), "{shown}");
            }
            for shown in ["", "Basic", "Basic !", "Bearer x", "Digest t", "Bearer"] {
                assert_eq!(name(Some(shown.into())).await, Err(Refusal::Unknown), "{shown}");
            }
        }
        std::fs::write(&path, "nonsense").unwrap();
        access.reload().unwrap_err();
        assert_eq!(name(Some(basic("a:hush"))).await.as_deref(), Ok("a"), "a broken file changes nothing");
        std::fs::write(&path, text.replace("[users.a]", "[users.z]")).unwrap();
        access.reload().unwrap();
        assert_eq!(name(Some(basic("a:hush"))).await, Err(Refusal::Unknown));
        assert_eq!(name(None).await, Err(Refusal::Unknown));
    }
}
