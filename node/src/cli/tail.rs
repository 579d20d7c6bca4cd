//! `grapevine tail`: lines as they arrive, over Loki's WebSocket.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use futures_util::StreamExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio_tungstenite::tungstenite::{self, Message, client::IntoClientRequest};
use tokio_tungstenite::{Connector, connect_async_tls_with_config};

use super::client::Client;
use super::exit::{Exit, ExitError};
use super::output::{LabelMap, Line, Printer};
use super::{ClientArgs, OutputFormat};

/// Arguments of `grapevine tail`.
#[derive(Debug, Args)]
pub struct TailArgs {
    /// The LogQL query; log lines only.
    query: String,
    #[command(flatten)]
    client: ClientArgs,
    /// Begin with up to so many lines of the past hour.
    #[arg(long, default_value_t = 10)]
    limit: u32,
    /// Wait so many seconds for late lines, so that they come in order; 5 at most.
    #[arg(long, default_value_t = 0)]
    delay_for: u32,
    /// How to print.
    #[arg(long, short, value_enum, default_value_t)]
    output: OutputFormat,
}

#[derive(Debug, Deserialize)]
struct Frame {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    dropped_entries: Option<Vec<serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    stream: LabelMap,
    values: Vec<(String, String)>,
}

/// Runs the command until the node or the user ends it.
pub async fn run(args: TailArgs) -> Result<Exit> {
    let client = Client::new(&args.client)?;
    let request = request(&client, &args)?;
    let connector = connector(&client)?;
    let connected = connect_async_tls_with_config(request, None, false, connector).await;
    let (mut socket, _) = connected.map_err(|error| refused(client.base(), error))?;
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let printer = Printer::new(args.output, colour);
    while let Some(message) = socket.next().await {
        match message.context("the connection to the node broke; run the command again")? {
            Message::Text(text) => print(&printer, text.as_str())?,
            Message::Close(Some(close)) if !close.reason.is_empty() => {
                let message = format!("the node ended the tail: {}", close.reason);
                return Err(ExitError { exit: Exit::Refused, message }.into());
            }
            Message::Close(_) => break,
            _ => {}
        }
    }
    Ok(Exit::Done)
}

fn request(client: &Client, args: &TailArgs) -> Result<tungstenite::handshake::client::Request> {
    let base = client.base().replacen("http", "ws", 1);
    let mut url = reqwest::Url::parse(&format!("{base}/loki/api/v1/tail")).context("read --addr")?;
    url.query_pairs_mut()
        .append_pair("query", &args.query)
        .append_pair("limit", &args.limit.to_string())
        .append_pair("delay_for", &args.delay_for.to_string());
    let mut request = url.as_str().into_client_request().context("build the request")?;
    if let Some(tenant) = client.org_id() {
        let value = tenant.parse().context("--org-id cannot be a header")?;
        request.headers_mut().insert("X-Scope-OrgID", value);
    }
    if let Some(login) = client.login() {
        let value = login.parse().context("the login cannot be a header")?;
        request.headers_mut().insert("Authorization", value);
    }
    Ok(request)
}

/// Which certificates are believed; none leaves it to the public authorities.
fn connector(client: &Client) -> Result<Option<Connector>> {
    let Some(path) = client.authorities() else { return Ok(None) };
    let wrong = || format!("read --ca-cert `{}`", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).with_context(wrong)? {
        roots.add(certificate.with_context(wrong)?).with_context(wrong)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(Some(Connector::Rustls(Arc::new(config))))
}

fn refused(base: &str, error: tungstenite::Error) -> ExitError {
    match error {
        tungstenite::Error::Http(answer) => {
            let text = answer.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            let message = format!("the node at `{base}` says {}: {}", answer.status(), text.trim());
            ExitError { exit: Exit::Refused, message }
        }
        error => {
            let message = format!("cannot reach a node at `{base}`: {error}");
            ExitError { exit: Exit::Unreachable, message }
        }
    }
}

fn print(printer: &Printer, text: &str) -> Result<()> {
    let frame: Frame = serde_json::from_str(text).context("the node's frame is not Loki's")?;
    let mut out = io::stdout().lock();
    for stream in frame.streams {
        for (time, text) in stream.values {
            let timestamp = time.parse().with_context(|| format!("`{time}` is no timestamp"))?;
            printer.line(&mut out, &Line { timestamp, labels: stream.stream.clone(), text })?;
        }
    }
    out.flush().context("write to standard output")?;
    let dropped = frame.dropped_entries.map_or(0, |entries| entries.len());
    if dropped > 0 {
        eprintln!("warning: the node dropped {dropped} lines: this reader is too slow for them");
    }
    Ok(())
}
