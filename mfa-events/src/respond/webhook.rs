//! Notices to an HTTPS endpoint, signed.

use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use zeroize::Zeroizing;

use super::sign::{WEBHOOK_SECRET_BYTES_MIN, signature};
use super::{Notice, RespondError, Responder};
use crate::outlet::{Outlet, OutletError, Way};

/// Posts each notice as JSON, signed as the Standard Webhooks specification has it.
///
/// `webhook-id` is the notice's id, the same at each try; `webhook-timestamp` is seconds since 1970, of that try; `webhook-signature` is
/// `v1,` and the Base64 of HMAC-SHA256 over `id.timestamp.body`. A receiver checks it with a [`Verifier`](super::Verifier) or any library
/// for Standard Webhooks. Only a 2xx answer means that it has arrived.
pub struct Webhook {
    way: Way,
    key: Zeroizing<Vec<u8>>,
}

impl Webhook {
    /// To this address, signed with `secret` as bytes (where the receiver gave `whsec_…`, the decoded rest).
    ///
    /// # Errors
    /// Where the address is none or may not be reached, or the secret is too short.
    pub fn new(url: &str, secret: impl Into<Vec<u8>>, outlet: &Outlet) -> Result<Self, OutletError> {
        let key = Zeroizing::new(secret.into());
        if key.len() < WEBHOOK_SECRET_BYTES_MIN {
            return Err(OutletError::Setting("the secret of a webhook has at least 24 bytes"));
        }
        Ok(Self { way: outlet.open(url)?, key })
    }
}

const _: () = assert!(WEBHOOK_SECRET_BYTES_MIN == 24, "the message says so");

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path may be the receiver's secret.
        f.debug_struct("Webhook").field("host", &self.way.url().host_str()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Responder for Webhook {
    async fn respond(&self, notice: &Notice, now: DateTime<Utc>) -> Result<(), RespondError> {
        let body = notice.body().to_string().into_bytes();
        let timestamp = now.timestamp();
        let unwritable = |_| RespondError::Refused { why: "it cannot be written".to_owned() };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert("webhook-id", HeaderValue::from_str(notice.id()).map_err(unwritable)?);
        headers.insert("webhook-timestamp", HeaderValue::from(timestamp));
        let signature = signature(&self.key, notice.id(), timestamp, &body);
        headers.insert("webhook-signature", HeaderValue::from_str(&signature).map_err(unwritable)?);
        match self.way.post(self.way.url().clone(), headers, body).await {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            // Gone: the receiver asks for no more (Standard Webhooks, "Response").
            Ok(answer) if answer.status == 410 => {
                Err(RespondError::Refused { why: "it answered 410".to_owned() })
            }
            Ok(answer) => {
                let why = format!("it answered {}", answer.status);
                Err(RespondError::Unavailable { why, after: answer.after })
            }
            // Also where its name points inside just now: where names have two answers, the right one comes back.
            Err(silence) => Err(RespondError::Unavailable { why: silence.as_str().to_owned(), after: None }),
        }
    }
}
