//! Who is told of logins: the address, the key, and what an answer means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mfa_events::Event;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Url};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::files::{self, Kept};
use crate::users::place;

use super::RETRY_LONGEST;

/// How long one message may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// Longest file with a key, or with certificates.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// `[events]` of the settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EventsToml {
    url: toml::Spanned<String>,
    key_file: toml::Spanned<PathBuf>,
    /// Certificates that are trusted besides the machine's.
    ca_file: Option<toml::Spanned<PathBuf>>,
}

/// Who is told, and with which key.
pub(crate) struct Receiver {
    pub(super) client: Client,
    pub(super) url: Url,
    pub(super) authorization: HeaderValue,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

impl EventsToml {
    /// Reads the key and checks the rest. `text` is that of the settings; mistakes are named with their place in it.
    pub(crate) fn receiver(&self, base: &Path, text: &str) -> Result<Receiver, String> {
        let at = |offset: usize, what: &str| format!("{}: events: {what}", place(text, offset));
        let url_at = self.url.span().start;
        let url: Url = self.url.get_ref().parse().map_err(|_| at(url_at, "`url` is no address"))?;
        let is_own = matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if url.scheme() != "https" && !(url.scheme() == "http" && is_own) {
            return Err(at(
                url_at,
                "`url` begins with `https://`: whoever listens on the way would have the key",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(at(url_at, "`url` holds no credentials: the key is in `key_file`"));
        }
        let key_at = self.key_file.span().start;
        let path = base.join(self.key_file.get_ref());
        let key = read(&path).map_err(|why| at(key_at, &why))?;
        if let Some(exposed) = files::exposure(&path, Kept::Secret) {
            return Err(at(key_at, &format!("{exposed}; chmod 600 keeps them out")));
        }
        let key = Zeroizing::new(key.trim_ascii().to_vec());
        let bearer = Zeroizing::new([b"Bearer ", key.as_slice()].concat());
        let mut authorization = HeaderValue::from_bytes(&bearer)
            .ok()
            .filter(|_| !key.is_empty())
            .ok_or_else(|| at(key_at, "the file holds no key"))?;
        authorization.set_sensitive(true);
        let mut client =
            Client::builder().timeout(ANSWER_WITHIN).redirect(reqwest::redirect::Policy::none()).no_proxy();
        if let Some(file) = &self.ca_file {
            let ca_at = file.span().start;
            let pem = read(&base.join(file.get_ref())).map_err(|why| at(ca_at, &why))?;
            let roots = Certificate::from_pem_bundle(&pem).unwrap_or_default();
            if roots.is_empty() {
                return Err(at(ca_at, "the file holds no certificate"));
            }
            client = client.tls_certs_merge(roots);
        }
        let client = client.build().map_err(|_| at(url_at, "TLS cannot be set up"))?;
        Ok(Receiver { client, url, authorization })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read as _;
    let failed = |error: std::io::Error| format!("cannot read `{}`: {error}", path.display());
    let mut text = Vec::new();
    std::fs::File::open(path)
        .map_err(failed)?
        .take(FILE_BYTES_MAX.saturating_add(1))
        .read_to_end(&mut text)
        .map_err(failed)?;
    match text.len() as u64 > FILE_BYTES_MAX {
        true => Err(format!("`{}` is longer than {FILE_BYTES_MAX} bytes", path.display())),
        false => Ok(text),
    }
}

/// What came of one message.
pub(super) enum Sent {
    /// Taken; with those events that were refused for good, and why.
    Taken(Vec<(String, String)>),
    /// Another time, not before this has passed.
    Later { why: String, after: Option<Duration> },
}

impl Receiver {
    /// Sends events as one message.
    pub(super) async fn post(&self, events: &[Event]) -> Sent {
        let later = |why: &str| Sent::Later { why: why.to_owned(), after: None };
        let mut body = Vec::new();
        for event in events {
            if serde_json::to_writer(&mut body, event).is_err() {
                return later("an event cannot be written");
            }
            body.push(b'\n');
        }
        let request = self
            .client
            .post(self.url.clone())
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(body);
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            // Its text has the address in it, which may be nobody's business.
            Err(error) if error.is_timeout() => return later("no answer in time"),
            Err(error) if error.is_connect() => return later("no connection"),
            Err(_) => return later("the connection broke"),
        };
        let status = answer.status().as_u16();
        let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let after = after.map(Duration::from_secs);
        let mut text = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if text.len().saturating_add(chunk.len()) <= ANSWER_BYTES_MAX => {
                    text.extend_from_slice(&chunk)
                }
                Ok(None) => break,
                Ok(Some(_)) => return later("the answer is too long"),
                Err(_) => return later("the connection broke"),
            }
        }
        match (status, serde_json::from_slice::<Report>(&text)) {
            // 422: none was taken, and the report says why.
            (200..300 | 422, Ok(report)) => Sent::Taken(report.refused(events)),
            (401 | 403, _) => {
                Sent::Later { why: "the key is refused".to_owned(), after: Some(RETRY_LONGEST) }
            }
            _ => Sent::Later { why: format!("the answer was {status}"), after },
        }
    }
}

/// What became of a message.
#[derive(Deserialize)]
struct Report {
    rejected: Vec<Rejected>,
}

#[derive(Deserialize)]
struct Rejected {
    index: usize,
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    code: String,
    message: String,
}

impl Report {
    fn refused(self, events: &[Event]) -> Vec<(String, String)> {
        let refused = self.rejected.into_iter().filter_map(|rejected| {
            let fault = rejected.errors.into_iter().next()?;
            // It was taken under this id before; what it said of a user may have changed since.
            if fault.code == "conflict" {
                return None;
            }
            let id = events.get(rejected.index).map(|event| event.id().to_string());
            Some((id.unwrap_or_default(), fault.message))
        });
        refused.collect()
    }
}
