//! HTTP to a node, with errors that say what to do.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::ClientArgs;
use super::exit::{Exit, ExitError};

/// Talks to one node as one tenant.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    org_id: Option<String>,
    /// The value of `Authorization`.
    login: Option<String>,
    /// The authorities that the node's certificate may come from; the public ones if none.
    authorities: Option<PathBuf>,
}

/// Without the login.
impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("base", &self.base)
            .field("org_id", &self.org_id)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Takes the address and the tenant from the command line.
    pub fn new(args: &ClientArgs) -> Result<Self> {
        let base = args.addr.trim_end_matches('/').to_owned();
        let known = base.starts_with("http://") || base.starts_with("https://");
        if !known {
            let message =
                format!("`{base}` is not an address; write it with its scheme, as in http://127.0.0.1:3100");
            return Err(ExitError { exit: Exit::Usage, message }.into());
        }
        crate::tls::install_crypto();
        let mut builder = reqwest::Client::builder();
        if let Some(path) = &args.ca_cert {
            let wrong = || format!("read --ca-cert `{}`", path.display());
            let pem = std::fs::read(path).with_context(wrong)?;
            let bundle = reqwest::Certificate::from_pem_bundle(&pem).with_context(wrong)?;
            builder = builder.tls_certs_only(bundle);
        }
        let http = builder.build().context("set up the HTTP client")?;
        let (login, authorities) = (login(args)?, args.ca_cert.clone());
        Ok(Client { http, base, org_id: args.org_id.clone(), login, authorities })
    }

    /// The value of `Authorization`, if the user logs in.
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    /// A file of the authorities that the node's certificate may come from.
    pub fn authorities(&self) -> Option<&Path> {
        self.authorities.as_deref()
    }

    /// The address, without a slash at its end.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The tenant, if one is named.
    pub fn org_id(&self) -> Option<&str> {
        self.org_id.as_deref()
    }

    /// Asks for JSON.
    pub async fn get<T: DeserializeOwned>(&self, path: &str, parameters: &[(&str, String)]) -> Result<T> {
        let answer = self.send(self.request(Method::GET, path).query(parameters)).await?;
        let body = answer.bytes().await.context("read the answer")?;
        serde_json::from_slice(&body)
            .with_context(|| format!("the answer of `{}{path}` is not Loki's", self.base))
    }

    /// Posts an order without a body, and reads the JSON that answers it.
    pub async fn order<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let answer = self.send(self.request(Method::POST, path)).await?;
        let body = answer.bytes().await.context("read the answer")?;
        serde_json::from_slice(&body)
            .with_context(|| format!("the answer of `{}{path}` is not ours", self.base))
    }

    /// Posts a body.
    pub async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> Result<()> {
        let request = self.request(Method::POST, path).header("content-type", content_type).body(body);
        self.send(request).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(login) = &self.login {
            request = request.header(reqwest::header::AUTHORIZATION, login);
        }
        match &self.org_id {
            Some(tenant) => request.header("X-Scope-OrgID", tenant),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        let exit = if status == StatusCode::SERVICE_UNAVAILABLE { Exit::Unreachable } else { Exit::Refused };
        let message = format!("the node at `{}` says {status}: {}", self.base, text.trim());
        Err(ExitError { exit, message }.into())
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let base = &self.base;
        let message = format!(
            "cannot reach a node at `{base}`: {cause}; start one with `grapevine serve`, or name another with --addr"
        );
        ExitError { exit: Exit::Unreachable, message }.into()
    }
}

/// The value of `Authorization` that the arguments ask for.
fn login(args: &ClientArgs) -> Result<Option<String>> {
    if let Some(name) = &args.username {
        let password = args.password.as_deref().unwrap_or_default();
        return Ok(Some(format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))));
    }
    let token = match (&args.bearer_token, &args.bearer_token_file) {
        (Some(token), _) => Some(token.clone()),
        (None, Some(path)) => {
            let wrong = || format!("read --bearer-token-file `{}`", path.display());
            Some(std::fs::read_to_string(path).with_context(wrong)?)
        }
        (None, None) => None,
    };
    Ok(token.map(|token| format!("Bearer {}", token.trim())))
}
