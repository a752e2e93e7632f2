//! One SOAP 1.1 request and its answer over HTTP.

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use ::http::{Method, Request};
use bytes::Bytes;

use super::SapLogon;
use super::xml::{Element, Writer};
use crate::connector::{Failure, FailureKind};
use crate::transport::{HttpTransport, is_page, refusal};

/// Whether a request changes something.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Effects {
    None,
    Some,
}

pub(super) struct Endpoint<'a> {
    pub(super) transport: &'a dyn HttpTransport,
    pub(super) url: &'a str,
    pub(super) logon: &'a SapLogon,
}

impl Endpoint<'_> {
    /// The element in the answer's body.
    pub(super) async fn call(
        &self,
        effects: Effects,
        namespaces: &str,
        body: impl FnOnce(&mut Writer),
    ) -> Result<Element, Failure> {
        let mut out = Writer::default();
        out.nest(&format!("soapenv:Envelope xmlns:soapenv=\"{ENVELOPE}\" {namespaces}"), |out| {
            out.nest("soapenv:Header", |_| {});
            out.nest("soapenv:Body", body);
        });
        let unusable = |what: &str| Failure::new(FailureKind::SchemaMismatch, what);
        let mut request = Request::new(Bytes::from(out.finish()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.url.parse().map_err(|_| unusable("the URL cannot be requested"))?;
        let mut logon =
            HeaderValue::from_str(&self.logon.basic()).map_err(|_| unusable("the logon fits no header"))?;
        logon.set_sensitive(true);
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, logon);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=utf-8"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/xml"));
        headers.insert(HeaderName::from_static("soapaction"), HeaderValue::from_static("\"\""));
        let outcome = self.exchange(request).await;
        outcome.map_err(|failure| match (effects, failure.wait()) {
            (Effects::Some, _) => failure,
            (Effects::None, None) => Failure::new(failure.kind(), failure.message()),
            (Effects::None, Some(wait)) => Failure::new(failure.kind(), failure.message()).retry_after(wait),
        })
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Element, Failure> {
        let response = self.transport.send(request).await?;
        // A fault comes with status 500 and says more than that.
        if !response.status().is_success() && response.status().as_u16() != 500 {
            return Err(refusal(&response));
        }
        if is_page(&response) {
            return Err(match response.status().is_success() {
                true => {
                    Failure::new(FailureKind::Authentication, "a page for people came instead of an answer")
                        .perhaps_effective()
                }
                false => refusal(&response),
            });
        }
        let root = Element::parse(response.body())
            .map_err(|error| Failure::new(FailureKind::Server, error.to_string()).perhaps_effective())?;
        let body =
            root.child("Body").filter(|_| root.name == "Envelope").and_then(|body| body.children.first());
        match body {
            Some(fault) if fault.name == "Fault" => {
                let code = fault.at(&["faultcode"]).unwrap_or("without a code");
                Err(Failure::new(FailureKind::Server, format!("SOAP fault {code}")).perhaps_effective())
            }
            Some(body) if response.status().is_success() => Ok(body.clone()),
            _ => Err(Failure::new(FailureKind::Server, "the answer is no SOAP message").perhaps_effective()),
        }
    }
}

const ENVELOPE: &str = "http://schemas.xmlsoap.org/soap/envelope/";
