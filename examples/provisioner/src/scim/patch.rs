//! `scim patch`: one resource changed in the form that its server reads, and read again to see whether it is so.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path as FilePath;

use scim_client::client::EntityTag;
use scim_client::dialect::{DisableEffect, IfMatch};
use scim_client::message::{PatchOp, PatchOperation};
use scim_client::patch::{apply, between, equivalent, normalise};
use scim_client::path::Path;
use scim_client::read::{ReadLimits, from_slice};
use scim_client::resource::{Attributes, DynamicResource, ResourceId};
use scim_client::transport::{MemoryTransport, Scripted};
use scim_client::{Client, Endpoint, Error, ErrorKind};
use serde_json::{Value, json};

use super::args::Patch;
use super::connection::{Connection, Place};
use crate::failure::{Cause, Failure};
use crate::terminal::{Paint, inert};
use crate::{Answer, json as print_json, say};

/// Changes it, or shows how it would be changed.
pub(crate) async fn run(connection: &Connection, wanted: &Patch, answer: &mut Answer) -> Result<u8, Failure> {
    let asked = operations(wanted)?;
    let (kind, id) = match Place::read(&wanted.resource) {
        Place { kind, id: Some(id) } if !kind.is_empty() => (kind, ResourceId::new(id)),
        _ => return Err(Failure::usage("say which resource: `users/ID`, `groups/ID`")),
    };
    if wanted.if_match.is_some() && connection.dialect.if_match == IfMatch::Never {
        let name = connection.dialect.name;
        return Err(Failure::usage(format!("--if-match: servers of the dialect `{name}` know no versions")));
    }
    let endpoint = connection.client.resources::<DynamicResource>(&kind);
    let before = match endpoint.get(&id).await {
        Ok(before) => before,
        Err(error) => return Err(connection.failed(error).await),
    };
    let version = version(wanted, before.version.as_ref())?;
    let before = before.into_inner().attributes;
    let messages = asked
        .in_dialect(&connection.dialect, &before)
        .map_err(|error| Failure::usage(format!("this does not fit the resource: {error}")))?;
    if wanted.dry_run {
        return dry_run(connection, &kind, &id, &messages, version.as_ref(), answer).await;
    }
    let mut version = version;
    let many = messages.len();
    for (sent, message) in messages.iter().enumerate() {
        let mut call = endpoint.patch(&id, message);
        if let Some(version) = &version {
            call = call.if_match(version);
        }
        match call.await {
            // Each message changes the version, so that the next is for the one that this one made.
            Ok(done) => version = version.and(done.version.clone()),
            Err(error) => {
                if sent > 0 {
                    say(&format!("provisioner: {sent} of {many} messages were done before this failed"));
                }
                return Err(connection.failed(error).await);
            }
        }
    }
    confirm(connection, &endpoint, &id, &asked, before, answer).await
}

/// Reads what became of it, and shows that.
async fn confirm(
    connection: &Connection,
    endpoint: &Endpoint<DynamicResource>,
    id: &ResourceId,
    asked: &PatchOp,
    before: Attributes,
    answer: &mut Answer,
) -> Result<u8, Failure> {
    let now = match endpoint.get(id).await {
        Ok(now) => now.into_inner(),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound)
                && connection.dialect.deprovision.disable == DisableEffect::Deletes =>
        {
            say("the resource is gone: with this dialect, `active: false` deletes");
            return Ok(0);
        }
        Err(error) => {
            say("provisioner: the server said that it was done, and what it became could not be read");
            return Err(connection.failed(error).await);
        }
    };
    let missing = missing(asked, &before, &now.attributes);
    if answer.json {
        print_json::write_line(&mut answer.out, &now)?;
    } else {
        let changes = between(&before, &now.attributes);
        if changes.is_empty() && missing.is_empty() {
            writeln!(answer.out, "it is as asked, and was so before")?;
        }
        for change in &changes.operations {
            writeln!(answer.out, "{}", answer.palette.paint(Paint::Green, &line(change)))?;
        }
    }
    if missing.is_empty() {
        return Ok(0);
    }
    let missing: Vec<String> = missing.iter().map(line).collect();
    let error = Error::new(ErrorKind::Unconfirmed).detail(missing.join("; "));
    Err(Failure::service(
        connection.base.as_str(),
        error,
        Cause::Other,
        Some("what a server ignores or writes in its own way looks like this".into()),
    ))
}

/// What was asked for and cannot be seen: the changes that would have to be made again. Passwords are never shown, so
/// nothing is missed there.
fn missing(asked: &PatchOp, before: &Attributes, now: &Attributes) -> Vec<PatchOperation> {
    let mut wanted = before.clone();
    if apply(&mut wanted, asked).is_err() {
        // The server knows better than this program what its paths mean.
        return Vec::new();
    }
    let mut delta = between(before, &wanted);
    delta.operations.retain(|operation| !is_password(operation));
    let is_seen = |operation: &PatchOperation| {
        let one = PatchOp { operations: vec![operation.clone()], ..PatchOp::default() };
        let mut again = now.clone();
        apply(&mut again, &one).is_ok() && equivalent(&again, now)
    };
    delta.operations.into_iter().filter(|operation| !is_seen(operation)).collect()
}

fn is_password(operation: &PatchOperation) -> bool {
    operation.path.as_ref().is_some_and(|path| path.attribute.name.eq_ignore_ascii_case("password"))
}

/// `replace title = "Engineer"`
fn line(operation: &PatchOperation) -> String {
    let verb = operation.verb.as_str(scim_client::dialect::VerbCase::Lower);
    let path = operation.path.as_ref().map(ToString::to_string).unwrap_or_default();
    match &operation.value {
        Some(_) if is_password(operation) => format!("{verb} {path}"),
        Some(value) => format!("{verb} {path} = {value}"),
        None => format!("{verb} {path}"),
    }
}

/// Sends the messages to nowhere, by the client that would send them, and prints what arrives there.
async fn dry_run(
    connection: &Connection,
    kind: &str,
    id: &ResourceId,
    messages: &[PatchOp],
    version: Option<&EntityTag>,
    answer: &mut Answer,
) -> Result<u8, Failure> {
    let nowhere = MemoryTransport::new(|_| Scripted::status(204).header("x-csrf-token", "TOKEN"));
    let client = Client::over(connection.base.as_str(), nowhere.clone())
        .map_err(|error| Failure::usage(error.to_string()))?
        .dialect(connection.dialect.clone());
    let endpoint = client.resources::<DynamicResource>(kind);
    for message in messages {
        let mut call = endpoint.patch(id, message);
        if let Some(version) = version {
            call = call.if_match(version);
        }
        if let Err(error) = call.await {
            return Err(connection.failed(error).await);
        }
    }
    let requests = nowhere.requests();
    for request in requests.iter().filter(|request| request.method() == http::Method::PATCH) {
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let path = request.uri().path();
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let headers: Vec<(&str, &str)> = ["content-type", "if-match", "x-csrf-token"]
            .into_iter()
            .filter_map(|name| Some((name, header(name)?)))
            .collect();
        if answer.json {
            let headers: serde_json::Map<String, Value> =
                headers.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            let line = json!({"method": "PATCH", "path": path, "headers": headers, "body": body});
            print_json::write_line(&mut answer.out, &line)?;
            continue;
        }
        writeln!(answer.out, "{}", answer.palette.paint(Paint::Bold, &format!("PATCH {path}")))?;
        for (name, value) in headers {
            writeln!(answer.out, "{name}: {}", inert(value))?;
        }
        writeln!(answer.out)?;
        for line in serde_json::to_string_pretty(&body).unwrap_or_default().lines() {
            writeln!(answer.out, "{}", inert(line))?;
        }
        writeln!(answer.out)?;
    }
    if messages.is_empty() {
        say("nothing would be sent");
    } else if !answer.json {
        say("nothing was sent: --dry-run");
    }
    Ok(0)
}

fn version(wanted: &Patch, read: Option<&EntityTag>) -> Result<Option<EntityTag>, Failure> {
    match wanted.if_match.as_deref() {
        None => Ok(None),
        Some("") => read.cloned().map(Some).ok_or_else(|| {
            Failure::usage(
                "--if-match: the server shows no version of this resource, so nothing can be tied to it",
            )
        }),
        Some(text) => EntityTag::parse(text).map(Some).map_err(|_| {
            Failure::usage(format!(
                "--if-match: `{text}` is no entity tag: one looks like W/\"a330bc54\" or \"a330bc54\""
            ))
        }),
    }
}

/// The operations that were asked for.
fn operations(wanted: &Patch) -> Result<PatchOp, Failure> {
    let asked = match &wanted.file {
        Some(path) => {
            let failed =
                |why: &dyn std::fmt::Display| Failure::usage(format!("--file {}: {why}", path.display()));
            let bytes = read(path).map_err(|error| failed(&error))?;
            from_slice::<PatchOp>(&bytes, &ReadLimits::default()).map_err(|error| failed(&error))?
        }
        None => {
            let mut asked = PatchOp::new();
            for text in &wanted.remove {
                asked = asked.remove(path("--remove", text, text)?);
            }
            for text in &wanted.set {
                let (path, value) = assignment("--set", text)?;
                asked = asked.replace(path, value);
            }
            for text in &wanted.add {
                let (path, value) = assignment("--add", text)?;
                asked = asked.add(path, value);
            }
            asked
        }
    };
    if asked.is_empty() {
        return Err(Failure::usage("no operation: nothing would change"));
    }
    normalise(&asked).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(asked)
}

fn read(path: &FilePath) -> io::Result<Vec<u8>> {
    // One byte more than is read at all, so that what is longer is seen to be.
    let most = u64::try_from(ReadLimits::default().bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    if path == FilePath::new("-") {
        io::stdin().take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

fn path(option: &str, text: &str, whole: &str) -> Result<Path, Failure> {
    text.parse().map_err(|error| Failure::syntax(option, whole, &error))
}

/// `path=value` or `path:=JSON`.
fn assignment(option: &str, text: &str) -> Result<(Path, Value), Failure> {
    let Some(at) = equals_sign(text) else {
        let column = text.chars().count().saturating_add(1);
        return Err(Failure::mistake(
            option,
            text,
            &format!("column {column}: expected `=` and a value"),
            column,
        ));
    };
    let (left, right) = text.split_at(at);
    let right = right.strip_prefix('=').unwrap_or(right);
    let (name, is_json) = match left.strip_suffix(':') {
        Some(name) => (name, true),
        None => (left, false),
    };
    let path = path(option, name, text)?;
    let looks_like_json = matches!(right, "true" | "false" | "null") || right.starts_with(['"', '{', '[']);
    if !is_json && !looks_like_json {
        return Ok((path, right.into()));
    }
    let value = serde_json::from_str(right).map_err(|error| {
        let before = left.chars().count().saturating_add(1);
        let within =
            if error.is_eof() { right.chars().count().saturating_add(1) } else { error.column().max(1) };
        let column = before.saturating_add(within);
        let why = error.to_string();
        let why = why.rsplit_once(" at line ").map_or(why.as_str(), |(why, _)| why);
        Failure::mistake(option, text, &format!("column {column}: the value is not JSON: {why}"), column)
    })?;
    Ok((path, value))
}

/// The first `=` that is not part of the path: paths hold some in filters.
fn equals_sign(text: &str) -> Option<usize> {
    let (mut in_text, mut escaped, mut in_filter) = (false, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_text => escaped = true,
            '"' if in_filter => in_text = !in_text,
            _ if in_text => {}
            '[' => in_filter = true,
            ']' => in_filter = false,
            '=' if !in_filter => return Some(at),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(text: &str) -> (String, Value) {
        let (path, value) = assignment("--set", text).unwrap();
        (path.to_string(), value)
    }

    #[test]
    fn values_are_text_unless_they_are_plainly_json() {
        let of = |path: &str, value: Value| (path.to_owned(), value);
        assert_eq!(assigned("title=Engineer"), of("title", json!("Engineer")));
        assert_eq!(assigned("externalId=4711"), of("externalId", json!("4711")));
        assert_eq!(assigned("active=false"), of("active", json!(false)));
        assert_eq!(assigned("title=\"true\""), of("title", json!("true")));
        assert_eq!(assigned("x:=4711"), of("x", json!(4711)));
        assert_eq!(assigned("title="), of("title", json!("")));
        assert_eq!(assigned("title=a=b"), of("title", json!("a=b")));
        assert_eq!(assigned("name={\"givenName\":\"Ann\"}"), of("name", json!({"givenName": "Ann"})));
        assert_eq!(
            assigned(r#"emails[type eq "a=\"]b"].value=x=y"#),
            of(r#"emails[type eq "a=\"]b"].value"#, json!("x=y"))
        );
        assert_eq!(
            assigned("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department=R&D").1,
            json!("R&D")
        );
    }

    #[test]
    fn mistakes_have_a_column() {
        for (text, column) in [("title", 6), ("ti tle=x", 4), ("x=[1,", 6), ("x:=abc", 4), ("é=1", 1)] {
            let failure = assignment("--set", text).unwrap_err();
            let Failure::Usage { what, mistake: Some(_) } = failure else { panic!("{failure:?}") };
            assert!(what.contains(&format!("column {column}:")), "{text}: {what}");
        }
    }

    #[test]
    fn what_cannot_be_seen_afterwards_is_missing() {
        let before = json!({"userName": "ann", "title": "Clerk", "active": true});
        let asked = PatchOp::new()
            .replace("title".parse().unwrap(), "Engineer")
            .replace("password".parse().unwrap(), "secret")
            .replace("active".parse().unwrap(), false);
        let seen = |now: Value| {
            let missing = missing(&asked, before.as_object().unwrap(), now.as_object().unwrap());
            missing.iter().map(line).collect::<Vec<_>>()
        };
        assert!(seen(json!({"userName": "ann", "title": "Engineer", "active": false, "id": "1"})).is_empty());
        assert_eq!(
            seen(json!({"userName": "ann", "title": "Clerk", "active": false})),
            ["replace title = \"Engineer\""]
        );
    }
}
