//! The running service, asked over its API.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use crate::failure::{Cause, Failure};
use crate::scim::{USER_AGENT, is_here};
use crate::{config, secrets};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What a segment of a path may have as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where the service runs, and as whom it is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "Service")]
pub(crate) struct At {
    /// The service's address, as `serve` says it
    #[arg(long, value_name = "URL", default_value_t = format!("http://{}", config::LISTEN))]
    api: String,
    /// Read the token from this file, which only its owner may read
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Trust the certificates in this PEM file, too
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// The service.
pub(crate) struct Remote {
    base: Url,
    token: Zeroizing<String>,
    client: Client,
}

impl Remote {
    /// Asks nothing yet.
    pub(crate) fn new(at: &At) -> Result<Self, Failure> {
        let base = Url::parse(&at.api).ok().filter(|base| {
            matches!(base.scheme(), "http" | "https") && base.has_host() && base.username().is_empty()
        });
        let Some(base) = base else {
            return Err(Failure::usage(format!(
                "--api {}: no address such as http://{}",
                at.api,
                config::LISTEN
            )));
        };
        if base.scheme() == "http" && !is_here(&base) {
            let why = "is not encrypted, so the token would be there for whoever listens: use https";
            return Err(Failure::usage(format!("--api {base} {why}")));
        }
        let token =
            secrets::read(&at.token_file).map_err(|why| Failure::usage(format!("--token-file {why}")))?;
        let mut client =
            Client::builder().no_proxy().redirect(Policy::none()).timeout(TIMEOUT).user_agent(USER_AGENT);
        if let Some(path) = &at.ca {
            let failed =
                |why: &dyn std::fmt::Display| Failure::usage(format!("--ca {}: {why}", path.display()));
            let pem = std::fs::read(path).map_err(|error| failed(&error))?;
            let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| failed(&error))?;
            client = client.tls_certs_merge(roots);
        }
        let client = client.build().map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Self { base, token, client })
    }

    /// Below the address, each segment as it is.
    pub(crate) fn url(&self, segments: &[&str], query: &str) -> String {
        let path: Vec<String> =
            segments.iter().map(|segment| utf8_percent_encode(segment, SEGMENT).to_string()).collect();
        format!("{}/{}{query}", self.base.as_str().trim_end_matches('/'), path.join("/"))
    }

    pub(crate) async fn look(&self, segments: &[&str]) -> Result<Value, Failure> {
        let (_, text) = self.ask(Method::GET, &self.url(segments, ""), None).await?;
        self.json(&text)
    }

    pub(crate) async fn text(&self, segments: &[&str], query: &str) -> Result<String, Failure> {
        Ok(self.ask(Method::GET, &self.url(segments, query), None).await?.1)
    }

    /// Asks for a change that takes more words.
    pub(crate) async fn send(&self, segments: &[&str], body: &Value) -> Result<Value, Failure> {
        let (_, text) = self.ask(Method::POST, &self.url(segments, ""), Some(body)).await?;
        self.json(&text)
    }

    /// Asks for a change; what is answered, also where it was refused in part.
    pub(crate) async fn change(&self, segments: &[&str], query: &str) -> Result<Value, Failure> {
        let (_, text) = self.ask(Method::POST, &self.url(segments, query), None).await?;
        self.json(&text)
    }

    fn json(&self, text: &str) -> Result<Value, Failure> {
        serde_json::from_str(text)
            .map_err(|_| self.failed(Cause::NoService, "something else answers".to_owned()))
    }

    pub(crate) fn failed(&self, cause: Cause, what: String) -> Failure {
        Failure::Remote { base: self.base.to_string(), what, cause }
    }

    async fn ask(
        &self,
        method: Method,
        url: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, String), Failure> {
        let unreachable = |error: reqwest::Error| {
            let why = if error.is_timeout() { "no answer in time".to_owned() } else { innermost(&error) };
            self.failed(Cause::Unreachable, why)
        };
        let mut asked = self.client.request(method, url).bearer_auth(self.token.as_str());
        if let Some(body) = body {
            asked = asked.header("content-type", "application/json").body(body.to_string());
        }
        let mut answer = asked.send().await.map_err(unreachable)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(unreachable)? {
            if body.len().saturating_add(piece.len()) > ANSWER_BYTES_MAX {
                return Err(self.failed(Cause::Other, format!("more than {ANSWER_BYTES_MAX} bytes came")));
            }
            body.extend_from_slice(&piece);
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok((status, text));
        }
        let message = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|said| said.get("message")?.as_str().map(str::to_owned))
            .unwrap_or_else(|| format!("status {}", status.as_u16()));
        let cause = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Cause::Credential,
            StatusCode::NOT_FOUND => Cause::NotFound,
            _ => Cause::Other,
        };
        Err(self.failed(cause, message))
    }
}

/// What lies at the bottom of an error, without the address.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
