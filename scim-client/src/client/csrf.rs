//! CSRF tokens, which some services want with each write: fetched with a session that is kept.

use std::sync::Arc;

use http::Method;
use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use tokio::sync::Mutex;

use crate::client::Client;
use crate::client::receive::Received;
use crate::error::{Error, ErrorKind};
use crate::request;

const TOKEN: &str = "x-csrf-token";

/// Most cookies of a session that are kept, and most bytes of them together.
const COOKIES_MAX: usize = 32;
const COOKIE_BYTES_MAX: usize = 8 << 10;

/// The session that a token belongs to.
#[derive(Default)]
pub(crate) struct Csrf(Mutex<Option<Arc<Session>>>);

/// A token and the cookies that came with it.
pub(crate) struct Session {
    token: HeaderValue,
    cookies: Option<HeaderValue>,
}

impl Client {
    /// Adds token and session to a write, where the dialect wants that.
    pub(super) async fn protect(
        &self,
        method: Method,
        headers: &mut HeaderMap,
    ) -> Result<Option<Arc<Session>>, Error> {
        if !self.shared.dialect.csrf || matches!(method, Method::GET | Method::HEAD) {
            return Ok(None);
        }
        // One fetches, the others wait; who is dropped while fetching lets the next one fetch.
        let mut held = self.shared.state.csrf.0.lock().await;
        let session = match &*held {
            Some(session) => session.clone(),
            None => {
                let session = Arc::new(self.fetch_token().await?);
                *held = Some(session.clone());
                session
            }
        };
        headers.insert(TOKEN, session.token.clone());
        if let Some(cookies) = &session.cookies {
            headers.insert(COOKIE, cookies.clone());
        }
        Ok(Some(session))
    }

    /// The server wants another token than this one.
    pub(super) async fn forget_token(&self, refused: Option<Arc<Session>>) {
        let mut held = self.shared.state.csrf.0.lock().await;
        if let (Some(current), Some(refused)) = (&*held, &refused)
            && Arc::ptr_eq(current, refused)
        {
            *held = None;
        }
    }

    async fn fetch_token(&self) -> Result<Session, Error> {
        let mut last = None;
        for (path, count) in [(self.shared.dialect.config_path, false), ("Users", true)] {
            let mut address = self.shared.base.at(path)?;
            if count {
                address.parameter("count", "1");
            }
            let mut request = request::bare(Method::GET, &address, &self.shared.user_agent)?;
            request.headers_mut().insert(TOKEN, HeaderValue::from_static("Fetch"));
            // Boxed: a call that needs a token makes a call that needs none.
            match Box::pin(self.call_once(request)).await {
                Ok(received) => match Session::of(&received) {
                    Some(session) => return Ok(session),
                    None => {
                        let error = Error::new(ErrorKind::Protocol)
                            .detail("no CSRF token came although one was asked for");
                        last = Some(received.error(error));
                    }
                },
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unsupported) => {
                    last = Some(error);
                }
                Err(error) => return Err(error.not_sent()),
            }
        }
        Err(last.unwrap_or_else(|| Error::new(ErrorKind::Protocol)).not_sent())
    }
}

impl Session {
    fn of(received: &Received) -> Option<Self> {
        let mut token = received.headers.get(TOKEN)?.clone();
        if token.is_empty() || token.as_bytes().eq_ignore_ascii_case(b"required") {
            return None;
        }
        token.set_sensitive(true);
        let mut cookies = Vec::new();
        for cookie in received.headers.get_all(SET_COOKIE).iter().take(COOKIES_MAX) {
            let pair = cookie.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            if pair.is_empty() || cookies.len() + pair.len() > COOKIE_BYTES_MAX {
                continue;
            }
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(pair);
        }
        let cookies = (!cookies.is_empty()).then(|| HeaderValue::from_bytes(&cookies).ok()).flatten();
        let cookies = cookies.map(|mut cookies| {
            cookies.set_sensitive(true);
            cookies
        });
        Some(Self { token, cookies })
    }
}
