//! The network, with an eye on pages for people: whoever asks a wrong address mostly gets one, and what it is for tells a
//! refused credential from a web server that is no SCIM service.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::header::{CONTENT_TYPE, LOCATION};
use scim_client::transport::{Body, ReqwestTransport, Transport, TransportError};

/// Bytes of a page that are looked at.
const PAGE_BYTES_MAX: usize = 64 << 10;

/// What the last page for people was for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Page {
    /// To sign in.
    SignIn,
    /// Anything else.
    Other,
}

/// Clones are the same one.
#[derive(Clone)]
pub(crate) struct Wire {
    network: ReqwestTransport,
    page: Arc<Mutex<Option<Page>>>,
}

impl Wire {
    pub(crate) fn new(network: ReqwestTransport) -> Self {
        Self { network, page: Arc::default() }
    }

    /// What the last answer was, where it was a page for people.
    pub(crate) fn page(&self) -> Option<Page> {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn saw(&self, page: Option<Page>) {
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
}

#[async_trait]
impl Transport for Wire {
    async fn send(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Body>, TransportError> {
        self.saw(None);
        let (head, body) = self.network.send(request, timeout).await?.into_parts();
        let value = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if head.status.is_redirection() && !value(LOCATION).is_empty() {
            let place = value(LOCATION).to_ascii_lowercase();
            let signs = ["login", "signin", "sign-in", "saml", "oauth", "/sso", "/auth"];
            let is_sign_in = signs.iter().any(|sign| place.contains(sign));
            self.saw(Some(if is_sign_in { Page::SignIn } else { Page::Other }));
        }
        let kind = value(CONTENT_TYPE).trim_start().to_ascii_lowercase();
        // Most answers pass untouched, so that lists are read while they arrive.
        if !kind.is_empty() && !kind.starts_with("text/html") {
            return Ok(http::Response::from_parts(head, body));
        }
        let mut body = body.fuse();
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        while text.len() < PAGE_BYTES_MAX
            && let Some(piece) = body.next().await
        {
            if let Ok(piece) = &piece {
                text.extend_from_slice(piece);
            }
            pieces.push(piece);
        }
        if text.trim_ascii_start().first() == Some(&b'<') {
            self.saw(Some(purpose(&String::from_utf8_lossy(&text))));
        }
        Ok(http::Response::from_parts(head, stream::iter(pieces).chain(body).boxed()))
    }
}

/// What a page is for: one that asks for a password, posts an assertion or is titled so is there to sign in.
fn purpose(html: &str) -> Page {
    let html = html.to_ascii_lowercase();
    let title =
        html.split_once("<title").and_then(|(_, rest)| rest.split_once("</title")).map(|(title, _)| title);
    let titled = title.is_some_and(|title| {
        ["sign in", "sign-in", "signin", "log in", "login", "single sign"]
            .iter()
            .any(|word| title.contains(word))
    });
    let asks = ["type=password", "type=\"password\"", "type='password'", "samlrequest"];
    if titled || asks.iter().any(|sign| html.contains(sign)) { Page::SignIn } else { Page::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_to_sign_in_are_told_from_others() {
        for page in [
            "<form><input type=password></form>",
            "<INPUT TYPE='PASSWORD'>",
            "<html><head><title lang=en>Sign In — Contoso</title>",
            "<form method=post><input name=SAMLRequest value=x>",
        ] {
            assert_eq!(purpose(page), Page::SignIn, "{page}");
        }
        for page in [
            "<html><title>Directory listing</title>",
            "<h1>It works!</h1><a href=/login>Log in</a>",
            "<",
            "<title>",
        ] {
            assert_eq!(purpose(page), Page::Other, "{page}");
        }
    }
}
