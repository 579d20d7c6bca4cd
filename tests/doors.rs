//! Who gets in: TLS, passwords and tokens, and that nobody is let in from outside without a word of the operator.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::harness::cluster::Site;
use crate::harness::http::Request;
use crate::harness::node::{GRAPEVINE, Serve};
use crate::harness::until;
use crate::served::Node;

const ADDRESS: &str = "127.0.0.1";

/// Runs a command of ours; gives back its exit code, what it printed and what it complained of.
fn run(arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut child = Command::new(GRAPEVINE)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that refuses its arguments does not wait for its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// A certificate for this machine and its key, in files; it is its own authority.
fn certify(dir: &Path) {
    let certified = rcgen::generate_simple_self_signed([ADDRESS.to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), certified.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
}

fn write_users(path: &Path, password_hash: &str, token_hash: &str) {
    let text = format!(
        "[users.ada]\npassword = '{password_hash}'\ntenants = ['shop']\nmay = ['read']\n\n\
         [users.agent]\ntoken = '{token_hash}'\ntenants = ['shop', 'ship']\nmay = ['write']\n"
    );
    std::fs::write(path, text).unwrap();
}

#[test]
fn clients_log_in_over_tls_and_others_stay_out() {
    let dir = TempDir::new().unwrap();
    certify(dir.path());
    let (_, hash, _) = run(&["hash", "password"], "open sesame\n");
    let (_, made, _) = run(&["hash", "token"], "");
    let (token, token_hash) = made.trim().split_once('\n').unwrap();
    let users = dir.path().join("users.toml");
    write_users(&users, hash.trim(), token_hash);
    std::fs::write(dir.path().join("token"), token).unwrap();
    let file = |name: &str| dir.path().join(name).display().to_string();
    let node = Node::start(&[
        &format!("http.tls_cert={}", file("cert.pem")),
        &format!("http.tls_key={}", file("key.pem")),
        &format!("http.users={}", file("users.toml")),
    ]);
    let address = format!("https://{}", node.address);
    let (ca, token_file) = (file("cert.pem"), file("token"));
    let at = ["--addr", &address, "--ca-cert", &ca];
    let ada = ["--username=ada", "--password=open sesame"];
    let query = |more: &[&str]| run(&[&["query", "--output=raw", r#"{app="x"}"#], more].concat(), "");

    let push = ["push", "--label=app=x", "--org-id=shop", "--bearer-token-file", &token_file];
    assert_eq!(run(&[&push[..], &at].concat(), "one line\n").0, 0);
    assert_eq!(
        query(&[&at[..], &ada].concat()),
        (0, "one line\n".into(), String::new()),
        "her one tenant is meant"
    );
    let (code, printed, said) = query(&[&at[..], &ada, &["--org-id=ship"]].concat());
    assert!(
        code == 4 && printed.is_empty() && said.contains("`ada` may not act for tenant `ship`"),
        "{said}"
    );
    let (code, _, said) = query(&[&at[..], &["--username=ada", "--password=sesame"]].concat());
    assert!(code == 4 && said.contains("401"), "{said}");
    let (code, _, said) = query(&[&at[..], &["--bearer-token", token, "--org-id=shop"]].concat());
    assert!(code == 4 && said.contains("it takes `read`"), "{said}");
    assert_eq!(query(&[&["--addr", &address][..], &ada].concat()).0, 3, "a certificate nobody vouches for");
    assert_eq!(query(&[&["--addr", &address.replace("https", "http")][..], &ada].concat()).0, 3);

    let mut tail = Command::new(GRAPEVINE)
        .args(["tail", "--output=raw", r#"{app="x"}"#])
        .args([&at[..], &ada].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(tail.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert_eq!(told, "one line");
    tail.kill().unwrap();
    tail.wait().unwrap();

    let (_, other, _) = run(&["hash", "password"], "another\n");
    write_users(&users, other.trim(), token_hash);
    until("the file of users to be read again", || (query(&[&at[..], &ada].concat()).0 == 4).then_some(()));
    assert_eq!(query(&[&at[..], &["--username=ada", "--password=another"]].concat()).0, 0);
}

#[test]
fn nobody_is_let_in_from_outside_without_a_word() {
    let dir = TempDir::new().unwrap();
    let outside = || Serve::on(dir.path()).set("http_listen", "0.0.0.0:0");
    let refusal = outside().refusal();
    assert_eq!(refusal.status.code(), Some(2), "{}", refusal.log);
    assert!(
        refusal.log.contains("http.without_auth = \"anyone who reaches it may read and write\""),
        "{}",
        refusal.log
    );
    let refusal = outside().set("http.without_auth", "yes").refusal();
    assert_eq!(refusal.status.code(), Some(2), "{}", refusal.log);
}

#[test]
fn no_secret_is_in_a_log_or_in_the_configuration_that_is_shown() {
    let (site, users) = (Site::new(), TempDir::new().unwrap());
    let (_, made, _) = run(&["hash", "token"], "");
    let (token, hash) = made.trim().split_once('\n').unwrap();
    let path = users.path().join("users.toml");
    let all = "may = ['read', 'write', 'delete', 'admin']";
    std::fs::write(&path, format!("[users.ada]\ntoken = '{hash}'\ntenants = ['shop']\n{all}\n")).unwrap();
    let (key, session) = ("SECRETSECRETSECRET", "hush-hush-session");
    let node = site
        .joining(2)
        .set("log.level", "trace")
        .set("http.users", path.to_str().unwrap())
        .variable("GRAPEVINE_S3_SECRET_ACCESS_KEY", key)
        .variable("GRAPEVINE_S3_ACCESS_KEY_ID", "known-to-all")
        .variable("GRAPEVINE_S3_SESSION_TOKEN", session)
        .listing("no member of the cluster can be reached")
        .start_listening();
    let bearer = format!("Bearer {token}");
    let ask = |target: &str| node.send(Request::get(target).header("Authorization", &bearer)).unwrap();
    let mut shown = String::new();
    for target in ["/config", "/config?mode=diff", "/config?mode=defaults", "/metrics", "/ring", "/workers"] {
        shown += &ask(target).expect(200).text();
    }
    assert!(shown.contains("<secret>"), "the configuration is shown");
    // One that is wrong is not repeated either.
    let wrong = Request::get("/config").header("Authorization", "Bearer not-the-token");
    shown += &node.send(wrong).unwrap().expect(401).text();
    shown += &node.last_words();
    let (cluster_key, _) = site.token().split_once('@').unwrap();
    for secret in [cluster_key, token, hash, key, session, "not-the-token"] {
        assert!(!shown.contains(secret), "`{secret}` is shown: {shown}");
    }
}
