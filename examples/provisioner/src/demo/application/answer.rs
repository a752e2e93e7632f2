//! How a demo application answers: SCIM 2.0, as much of it as a provisioner needs.

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use http_body_util::Full;
use percent_encoding::percent_decode_str;
use scim_client::filter::Filter;
use scim_client::message::PatchOp;
use scim_client::resource::Attributes;
use scim_client::urn;
use serde_json::{Value, json};

use super::directory::{Directory, Kind, Refusal};

/// The largest page.
const PAGE_MAX: usize = 200;

/// A request, read whole.
pub(super) struct Asked {
    pub(super) method: Method,
    /// The path below the application's base, still percent-encoded.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: Bytes,
}

/// Answers as the application does when nothing is wrong with it.
pub(super) fn answer(directory: &mut Directory, base: &str, asked: &Asked) -> Response<Full<Bytes>> {
    match route(directory, base, asked) {
        Ok(answer) => answer,
        Err(refusal) => refused(&refusal),
    }
}

/// A refusal as RFC 7644 §3.12 has it.
pub(super) fn refused(refusal: &Refusal) -> Response<Full<Bytes>> {
    let mut body = json!({
        "schemas": [urn::ERROR],
        "status": refusal.status.to_string(),
        "detail": refusal.detail,
    });
    if let (Some(kind), Some(body)) = (refusal.scim_type, body.as_object_mut()) {
        body.insert("scimType".to_owned(), json!(kind));
    }
    shown(refusal.status, &body)
}

fn route(directory: &mut Directory, base: &str, asked: &Asked) -> Result<Response<Full<Bytes>>, Refusal> {
    let segments: Vec<String> = asked
        .path
        .trim_matches('/')
        .split('/')
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
        .collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let kind = segments.first().and_then(|endpoint| Kind::of_endpoint(endpoint));
    let one = |status: u16, resource: Attributes| shown(status, &Value::Object(resource));
    match (&asked.method, kind, segments.as_slice()) {
        (&Method::GET, None, ["ServiceProviderConfig"]) => Ok(shown(200, &config(base))),
        (&Method::GET, None, ["ResourceTypes"]) => Ok(shown(200, &resource_types(base))),
        (&Method::GET, Some(kind), [_]) => list(directory, kind, base, asked),
        (&Method::POST, Some(kind), [_]) => {
            let resource = directory.create(kind, object(asked)?, base)?;
            let location = resource.get("meta").and_then(|meta| meta.get("location")).cloned();
            let mut answer = one(201, resource);
            if let Some(location) = location.as_ref().and_then(Value::as_str)
                && let Ok(location) = location.parse()
            {
                answer.headers_mut().insert(header::LOCATION, location);
            }
            Ok(answer)
        }
        (&Method::GET, Some(kind), [_, id]) => Ok(one(200, directory.get(kind, id, base)?)),
        (&Method::PUT, Some(kind), [_, id]) => {
            Ok(one(200, directory.replace(kind, id, object(asked)?, base)?))
        }
        (&Method::PATCH, Some(kind), [_, id]) => {
            let operations: PatchOp = serde_json::from_slice(&asked.body)
                .map_err(|error| Refusal::bad("invalidSyntax", error.to_string()))?;
            Ok(one(200, directory.patch(kind, id, &operations, base)?))
        }
        (&Method::DELETE, Some(kind), [_, id]) => {
            directory.delete(kind, id)?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        (_, Some(_), [_] | [_, _]) => Err(Refusal::new(405, "this cannot be done here")),
        _ => Err(Refusal::new(404, "there is no such endpoint")),
    }
}

fn list(
    directory: &Directory,
    kind: Kind,
    base: &str,
    asked: &Asked,
) -> Result<Response<Full<Bytes>>, Refusal> {
    let mut filter = None;
    let (mut start, mut count) = (1usize, PAGE_MAX);
    for (name, value) in url::form_urlencoded::parse(asked.query.as_bytes()) {
        let number = || {
            value.parse::<i64>().map_err(|_| Refusal::bad("invalidValue", format!("`{name}` is a number")))
        };
        match &*name {
            "filter" => {
                let parsed: Filter =
                    value.parse().map_err(|error| Refusal::bad("invalidFilter", format!("{error}")))?;
                filter = Some(parsed);
            }
            // RFC 7644 §3.4.2.4: less than 1 is 1, a negative count is 0.
            "startIndex" => start = usize::try_from(number()?.max(1)).unwrap_or(usize::MAX),
            "count" => count = usize::try_from(number()?.max(0)).unwrap_or(PAGE_MAX).min(PAGE_MAX),
            _ => {}
        }
    }
    let (total, page) = directory.list(kind, filter.as_ref(), start, count, base);
    Ok(shown(
        200,
        &json!({
            "schemas": [urn::LIST_RESPONSE],
            "totalResults": total,
            "startIndex": start,
            "itemsPerPage": page.len(),
            "Resources": page,
        }),
    ))
}

fn object(asked: &Asked) -> Result<Attributes, Refusal> {
    match serde_json::from_slice(&asked.body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Refusal::bad("invalidSyntax", "a resource is a JSON object")),
        Err(error) => Err(Refusal::bad("invalidSyntax", error.to_string())),
    }
}

fn config(base: &str) -> Value {
    json!({
        "schemas": [urn::SERVICE_PROVIDER_CONFIG],
        "patch": {"supported": true},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": PAGE_MAX},
        "changePassword": {"supported": false},
        "sort": {"supported": false},
        "etag": {"supported": false},
        "authenticationSchemes": [{
            "type": "oauthbearertoken", "name": "Bearer token", "description": "A token of this demo", "primary": true,
        }],
        "meta": {"resourceType": "ServiceProviderConfig", "location": format!("{base}/ServiceProviderConfig")},
    })
}

fn resource_types(base: &str) -> Value {
    let types: Vec<Value> = [(Kind::User, urn::USER), (Kind::Group, urn::GROUP)]
        .into_iter()
        .map(|(kind, schema)| {
            json!({
                "schemas": [urn::RESOURCE_TYPE],
                "id": kind.name(),
                "name": kind.name(),
                "endpoint": format!("/{}", kind.endpoint()),
                "schema": schema,
                "meta": {"resourceType": "ResourceType", "location": format!("{base}/ResourceTypes/{}", kind.name())},
            })
        })
        .collect();
    json!({"schemas": [urn::LIST_RESPONSE], "totalResults": types.len(), "Resources": types})
}

pub(super) fn shown(status: u16, body: &Value) -> Response<Full<Bytes>> {
    with_type(status, "application/scim+json", body.to_string())
}

pub(super) fn with_type(status: u16, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    answer
}

pub(super) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = status;
    answer
}
