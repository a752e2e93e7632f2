//! SAP, as its documentation has it: the counterparts here are **fakes built from the documentation**, not recordings. That a
//! test passes says that we do what is written, not that SAP does.
#![allow(clippy::string_slice)]
use std::collections::BTreeSet;

use bytes::Bytes;
use connector_health::connector::{Operation, Right, Target};
use connector_health::event::{Attribute, Attributes};
use connector_health::sap::SapLogon;
use connector_health::{EntitlementId, PersonId};
use http::Response;

mod abap;
mod business_user;

#[cfg(feature = "conformance")]
pub(crate) use abap::DocumentedAbap;
#[cfg(feature = "conformance")]
pub(crate) use business_user::DocumentedS4;

fn target(id: &str) -> Target {
    Target { person: PersonId::new(id).unwrap(), account: None, unique: [].into() }
}

fn attributes(name: &str) -> Attributes {
    Attributes::from([
        ("user_name".to_owned(), Attribute::Unique(name.to_owned())),
        ("family_name".to_owned(), "King & <Sons>".into()),
        ("email".to_owned(), "a@example.org".into()),
        ("locale".to_owned(), "de".into()),
    ])
}

fn account(id: &str, name: &str) -> Operation {
    Operation::Account { target: target(id), attributes: attributes(name), rights: BTreeSet::new() }
}

fn leave(id: &str) -> Operation {
    Operation::Deprovision { target: target(id) }
}

fn entitle(id: &str, entitlement: &str, right: Right) -> Operation {
    Operation::Entitlement {
        target: target(id),
        entitlement: EntitlementId::new(entitlement).unwrap(),
        right,
    }
}

fn logon() -> SapLogon {
    SapLogon::new("COMM", "planted-secret")
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Good,
    LostAnswer,
    /// As that, once.
    LostOnce,
    NoEffect,
    /// HTTP 200 and severity 3.
    Severe,
    Refused,
    Bomb,
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The first element of that name, and what follows it.
fn tag<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let start = text
        .match_indices(&format!("<{name}"))
        .find(|(at, _)| matches!(text.as_bytes()[at + name.len() + 1], b'>' | b' '))?
        .0;
    let open = start + text[start..].find('>')? + 1;
    let close = open + text[open..].find(&format!("</{name}>"))?;
    Some((&text[open..close], &text[close..]))
}

fn field(text: &str, name: &str) -> Option<String> {
    tag(text, name).map(|(content, _)| unescape(content))
}
fn envelope(body: &str) -> Response<Bytes> {
    let text = format!(
        "<?xml version=\"1.0\"?><soap-env:Envelope xmlns:soap-env=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap-env:Header/><soap-env:Body>{body}</soap-env:Body></soap-env:Envelope>"
    );
    Response::builder().header("content-type", "text/xml; charset=utf-8").body(text.into()).unwrap()
}

const BOMB: &str = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;\">]><x>&b;</x>";
#[test]
fn xml_that_bites_is_not_read() {
    use connector_health::sap::probe_xml;
    let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(probe_xml(b"<a>&amp;&#65;<![CDATA[<x>]]></a>"));
    assert!(probe_xml(deep(32).as_bytes()));
    let wide = format!("<a>{}</a>", "<b/>".repeat(200_001));
    for bad in [
        BOMB,
        "<a>&x;</a>",
        "<?pi x?><a/>",
        "<a></b>",
        "<a/><b/>",
        "<a>",
        "text",
        "<a>&#0;</a>",
        &deep(33),
        &deep(100_000),
        &wide,
    ] {
        assert!(!probe_xml(bad.as_bytes()), "{}", &bad[..bad.len().min(40)]);
    }
}
