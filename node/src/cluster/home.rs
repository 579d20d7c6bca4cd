//! What a member keeps of itself in `DATA/cluster/`, so that it comes back as who it was.
//!
//! `key` is the cluster's key as it is written in join tokens; `member.json` the name, the counter of lives and the
//! tokens; `seeds.json` where members were last reached. The key is written last: where it is, the rest is.

use std::io;
use std::path::{Path, PathBuf};

use grapevine_gossip::identity::{ClusterKey, IdentityError, JoinToken};
use grapevine_gossip::limits::NAME_BYTES_MAX;
use grapevine_gossip::ring::{NodeId, Token};
use grapevine_storage::durable;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of the files.
const VERSION: u32 = 1;
/// Bytes of a file: some times what the most tokens and seeds take.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most members whose addresses are kept: enough to find one that still lives.
pub const SEEDS_MAX: usize = 64;

/// Why a node cannot be a member with what its directory holds.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The directory is another cluster's.
    #[error(
        "`{dir}` belongs to the cluster `{kept}`, the join token to `{joined}`; leave out the token, or choose another \
         --data-dir"
    )]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Its cluster.
        kept: String,
        /// The token's.
        joined: String,
    },
    /// The directory is another member's.
    #[error(
        "`{dir}` belongs to the member `{kept}`, not to `{wished}`; leave out --name, or choose another --data-dir"
    )]
    OtherName {
        /// The directory.
        dir: PathBuf,
        /// The name in it.
        kept: NodeId,
        /// The name wished for.
        wished: NodeId,
    },
    /// There is a key already.
    #[error("`{0}` has a cluster's key already; `grapevine cluster token` prints it")]
    Founded(PathBuf),
    /// A file that cannot be understood.
    #[error(
        "`{path}` is damaged ({reason}); restore it, or remove the folder `cluster` and join again as a new member"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no key to be had.
    #[error(transparent)]
    Key(#[from] IdentityError),
}

/// What a node wishes to be as it starts.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The token it was given.
    pub join: Option<JoinToken>,
    /// The name it was given.
    pub name: Option<NodeId>,
    /// The name it takes if it has none.
    pub fresh_name: NodeId,
    /// Seconds since 1970: the number of a first life. A member that lost its disk and comes back under its old name
    /// so has the higher number, as long as its clock is not behind.
    pub now: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    name: String,
    incarnation: u64,
    tokens: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seeds {
    version: u32,
    addresses: Vec<String>,
}

/// A member's own folder.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    key: ClusterKey,
    name: NodeId,
    incarnation: u64,
    tokens: Vec<Token>,
    seeds: Vec<String>,
}

impl Home {
    /// Begins a new life of the member that lives here, or its first; none if there is neither a key here nor a token.
    ///
    /// # Errors
    /// What is here is another's, or damaged, or the disk refuses.
    pub fn open(data_dir: &Path, wish: Wish) -> Result<Option<Self>, HomeError> {
        let dir = data_dir.join("cluster");
        let kept = key(data_dir)?;
        let joined = wish.join.as_ref().map(|join| join.key.clone());
        let key = match (&kept, joined) {
            (None, None) => return Ok(None),
            (Some(kept), Some(joined)) if *kept != joined => {
                let (kept, joined) = (kept.cluster_name(), joined.cluster_name());
                return Err(HomeError::OtherCluster { dir, kept, joined });
            }
            (Some(kept), _) => kept.clone(),
            (None, Some(joined)) => joined,
        };
        create(&dir)?;
        let (name, incarnation, tokens) = match read_record(&dir)? {
            Some((kept, ..)) if wish.name.as_ref().is_some_and(|wished| *wished != kept) => {
                let wished = wish.name.unwrap_or(wish.fresh_name);
                return Err(HomeError::OtherName { dir, kept, wished });
            }
            Some((name, incarnation, tokens)) => (name, incarnation.saturating_add(1), tokens),
            None => (wish.name.unwrap_or(wish.fresh_name), wish.now.max(1), Vec::new()),
        };
        let given = wish.join.map(|join| join.seeds).unwrap_or_default();
        let seeds = bounded(given.into_iter().chain(read_seeds(&dir)));
        let home = Self { dir, key, name, incarnation, tokens, seeds };
        home.write_record()?;
        home.write_seeds()?;
        if kept.is_none() {
            write_key(&home.dir, &home.key)?;
        }
        Ok(Some(home))
    }

    /// The cluster's key.
    pub fn key(&self) -> &ClusterKey {
        &self.key
    }

    /// The member's name.
    pub fn name(&self) -> &NodeId {
        &self.name
    }

    /// Which life this is; each has a higher number than those before.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Its tokens; none before it was placed.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Where members may be reached, as `host:port`: those it was told of first.
    pub fn seeds(&self) -> &[String] {
        &self.seeds
    }

    /// Keeps other tokens.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_tokens(&mut self, tokens: &[Token]) -> Result<(), HomeError> {
        if self.tokens == tokens {
            return Ok(());
        }
        self.tokens = tokens.to_vec();
        self.write_record()
    }

    /// Keeps where members are reached.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn keep_seeds(&mut self, seeds: impl Iterator<Item = String>) -> Result<(), HomeError> {
        let seeds = bounded(seeds);
        if self.seeds == seeds {
            return Ok(());
        }
        self.seeds = seeds;
        self.write_seeds()
    }

    fn write_record(&self) -> Result<(), HomeError> {
        let record = Record {
            version: VERSION,
            name: self.name.to_string(),
            incarnation: self.incarnation,
            tokens: self.tokens.iter().map(Token::to_string).collect(),
        };
        write_json(&record_path(&self.dir), &record)
    }

    fn write_seeds(&self) -> Result<(), HomeError> {
        write_json(&seeds_path(&self.dir), &Seeds { version: VERSION, addresses: self.seeds.clone() })
    }
}

/// The key of the cluster to which a data directory belongs.
///
/// # Errors
/// It is damaged or cannot be read.
pub fn key(data_dir: &Path) -> Result<Option<ClusterKey>, HomeError> {
    let path = key_path(&data_dir.join("cluster"));
    let Some(text) = read(&path)? else { return Ok(None) };
    match text.trim_end().parse() {
        Ok(key) => Ok(Some(key)),
        Err(_) => Err(HomeError::Damaged { path, reason: "it holds no key".to_owned() }),
    }
}

/// Where members of the cluster to which a data directory belongs were last reached.
pub fn seeds(data_dir: &Path) -> Vec<String> {
    read_seeds(&data_dir.join("cluster"))
}

/// Makes the key of a new cluster in a data directory.
///
/// # Errors
/// There is one already, the system has no entropy, or the disk refuses.
pub fn found(data_dir: &Path) -> Result<ClusterKey, HomeError> {
    let dir = data_dir.join("cluster");
    if key(data_dir)?.is_some() {
        return Err(HomeError::Founded(data_dir.to_owned()));
    }
    let key = ClusterKey::generate()?;
    create(&dir)?;
    write_key(&dir, &key)?;
    Ok(key)
}

/// A name for a node that was given none: the machine's, as far as it can be a name, and something random.
pub fn fresh_name(machine: &str, random: u32) -> NodeId {
    let suffix = format!("-{:05x}", random & 0xf_ffff);
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let machine: String = machine.chars().filter(fits).take(NAME_BYTES_MAX - suffix.len()).collect();
    let machine = if machine.is_empty() { "node" } else { &machine };
    NodeId::new(&format!("{machine}{suffix}")).expect("it is made of what names are made of")
}

fn key_path(dir: &Path) -> PathBuf {
    dir.join("key")
}

fn record_path(dir: &Path) -> PathBuf {
    dir.join("member.json")
}

fn seeds_path(dir: &Path) -> PathBuf {
    dir.join("seeds.json")
}

/// The first of them, each once.
fn bounded(seeds: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for seed in seeds {
        if kept.len() < SEEDS_MAX && !kept.contains(&seed) {
            kept.push(seed);
        }
    }
    kept
}

fn read_record(dir: &Path) -> Result<Option<(NodeId, u64, Vec<Token>)>, HomeError> {
    let path = record_path(dir);
    let Some(record) = read_json::<Record>(&path)? else { return Ok(None) };
    let damaged = |reason: String| HomeError::Damaged { path: path.clone(), reason };
    if record.version != VERSION {
        let reason = format!("its version is `{}`, this release reads `{VERSION}`", record.version);
        return Err(damaged(reason));
    }
    let name = record
        .name
        .parse()
        .map_err(|error: grapevine_gossip::ring::InvalidName| damaged(error.to_string()))?;
    let token = |text: &String| u64::from_str_radix(text, 16).map(Token);
    let tokens: Result<Vec<Token>, _> = record.tokens.iter().map(token).collect();
    let tokens = tokens.map_err(|error| damaged(format!("a token is none: {error}")))?;
    Ok(Some((name, record.incarnation, tokens)))
}

/// Where members were last reached. What cannot be read is not worth failing for: gossip finds out again.
fn read_seeds(dir: &Path) -> Vec<String> {
    match read_json::<Seeds>(&seeds_path(dir)) {
        Ok(Some(seeds)) if seeds.version == VERSION => seeds.addresses,
        Ok(_) => Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "starting without the members' last addresses");
            Vec::new()
        }
    }
}

fn create(dir: &Path) -> Result<(), HomeError> {
    durable::create_dir_all(dir).map_err(io("make", dir))
}

fn write_key(dir: &Path, key: &ClusterKey) -> Result<(), HomeError> {
    let path = key_path(dir);
    durable::replace(&path, format!("{}\n", key.expose()).as_bytes()).map_err(io("write", &path))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), HomeError> {
    let text = serde_json::to_vec_pretty(value).expect("texts and numbers can be written as JSON");
    durable::replace(path, &text).map_err(io("write", path))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, HomeError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let damaged =
        |error: serde_json::Error| HomeError::Damaged { path: path.to_owned(), reason: error.to_string() };
    serde_json::from_str(&text).map(Some).map_err(damaged)
}

fn read(path: &Path) -> Result<Option<String>, HomeError> {
    let Some(text) = durable::read(path, FILE_BYTES_MAX).map_err(io("read", path))? else { return Ok(None) };
    let damaged = |_| HomeError::Damaged { path: path.to_owned(), reason: "it is no text".to_owned() };
    String::from_utf8(text).map(Some).map_err(damaged)
}

fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.to_owned();
    move |source| HomeError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use grapevine_gossip::identity::{ClusterKey, JoinToken};
    use grapevine_gossip::ring::Token;

    use super::{Home, HomeError, SEEDS_MAX, Wish, found, fresh_name, key};

    fn wish(cluster: Option<u8>) -> Wish {
        let key = |byte| ClusterKey::from_bytes([byte; 32]);
        let join = cluster.map(|byte| JoinToken { key: key(byte), seeds: vec!["a:1".into()] });
        Wish { join, name: None, fresh_name: "fresh-1".parse().unwrap(), now: 1_000 }
    }

    fn named(name: &str) -> Wish {
        Wish { name: Some(name.parse().unwrap()), ..wish(None) }
    }

    fn open(dir: &Path, wish: Wish) -> Home {
        Home::open(dir, wish).unwrap().unwrap()
    }

    #[test]
    fn a_directory_without_a_key_and_a_token_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Home::open(dir.path(), wish(None)).unwrap().is_none());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_member_comes_back_as_who_it_was_in_a_later_life() {
        let dir = tempfile::tempdir().unwrap();
        let mut home = open(dir.path(), wish(Some(1)));
        assert_eq!((home.name().as_str(), home.incarnation(), home.tokens().len()), ("fresh-1", 1_000, 0));
        home.keep_tokens(&[Token(7), Token(u64::MAX)]).unwrap();
        home.keep_seeds(["b:2".to_owned(), "c:3".to_owned()].into_iter()).unwrap();
        let again = open(dir.path(), Wish { fresh_name: "other".parse().unwrap(), now: 5, ..wish(None) });
        assert_eq!((again.name().as_str(), again.incarnation()), ("fresh-1", 1_001));
        assert_eq!(
            (again.tokens(), again.seeds()),
            (&[Token(7), Token(u64::MAX)][..], &["b:2".into(), "c:3".into()][..])
        );
        // A token given anew is asked first, and nothing is lost by it.
        let joined = open(dir.path(), wish(Some(1)));
        assert_eq!(
            (joined.incarnation(), joined.seeds()),
            (1_002, &["a:1".into(), "b:2".into(), "c:3".into()][..])
        );
    }

    #[test]
    fn seeds_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let mut home = open(dir.path(), wish(Some(1)));
        home.keep_seeds((0..1_000).map(|port| format!("a:{port}"))).unwrap();
        assert_eq!(open(dir.path(), wish(None)).seeds().len(), SEEDS_MAX);
    }

    #[test]
    fn another_clusters_token_and_another_name_are_refused_and_change_nothing() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), wish(Some(1)));
        let error = Home::open(dir.path(), wish(Some(2))).unwrap_err();
        assert!(matches!(error, HomeError::OtherCluster { .. }), "{error}");
        let error = Home::open(dir.path(), named("mine")).unwrap_err();
        assert!(error.to_string().contains("belongs to the member `fresh-1`, not to `mine`"), "{error}");
        assert_eq!(open(dir.path(), named("fresh-1")).incarnation(), 1_001);
    }

    #[test]
    fn a_cluster_is_founded_once() {
        let dir = tempfile::tempdir().unwrap();
        let made = found(dir.path()).unwrap();
        assert!(matches!(found(dir.path()), Err(HomeError::Founded(_))));
        assert_eq!(key(dir.path()).unwrap(), Some(made.clone()));
        let home = open(dir.path(), wish(None));
        assert_eq!((home.key(), home.seeds().len()), (&made, 0));
    }

    #[test]
    fn a_damaged_file_is_named_and_lost_seeds_do_no_harm() {
        let check = |file: &str, text: &str| {
            let dir = tempfile::tempdir().unwrap();
            open(dir.path(), wish(Some(1)));
            let path = dir.path().join("cluster").join(file);
            std::fs::write(&path, text).unwrap();
            Home::open(dir.path(), wish(None)).map(|_| ()).map_err(|error| (error.to_string(), path))
        };
        for (file, text) in [
            ("key", "gv1-00"),
            ("member.json", ""),
            ("member.json", r#"{"version":2,"name":"a","incarnation":1,"tokens":[]}"#),
            ("member.json", r#"{"version":1,"name":"a b","incarnation":1,"tokens":[]}"#),
            ("member.json", r#"{"version":1,"name":"a","incarnation":1,"tokens":["x"]}"#),
        ] {
            let (error, path) = check(file, text).unwrap_err();
            assert!(error.contains(&format!("`{}` is damaged", path.display())), "{error}");
        }
        check("seeds.json", "{").unwrap();
    }

    #[test]
    fn any_machines_name_makes_a_name() {
        for (machine, expected) in
            [("web-1.site", "web-1.site-00abc"), ("", "node-00abc"), ("ü ö", "node-00abc")]
        {
            assert_eq!(fresh_name(machine, 0xabc).as_str(), expected);
        }
        assert_eq!(fresh_name(&"x".repeat(200), u32::MAX).as_str().len(), 63);
    }
}
