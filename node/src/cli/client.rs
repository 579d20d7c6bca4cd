//! HTTP to a node, with errors that say what to do.

use anyhow::{Context, Result};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::de::DeserializeOwned;

use super::ClientArgs;
use super::exit::{Exit, ExitError};

/// Talks to one node as one tenant.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    org_id: Option<String>,
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
        let http = reqwest::Client::builder().build().context("set up the HTTP client")?;
        Ok(Client { http, base, org_id: args.org_id.clone() })
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
        let request = self.http.request(method, format!("{}{path}", self.base));
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
