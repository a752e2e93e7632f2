//! `scim get`: one resource.

use scim_client::resource::{DynamicResource, ResourceId};

use super::args::Get;
use super::connection::{Connection, Place};
use super::show;
use crate::failure::Failure;
use crate::{Answer, json};

/// Reads and shows it.
pub(crate) async fn run(connection: &Connection, wanted: &Get, answer: &mut Answer) -> Result<u8, Failure> {
    let place = Place::read(&wanted.resource);
    let call = match &place {
        Place { kind, .. } if kind.is_empty() => {
            return Err(Failure::usage(
                "say which resource: `users/ID`, `groups/ID`, `ServiceProviderConfig`",
            ));
        }
        Place { kind, id: Some(id) } if has_ids(kind) => {
            connection.client.resources::<DynamicResource>(kind).get(&ResourceId::new(id))
        }
        Place { kind, id: None } if is_users_or_groups(kind) => {
            return Err(Failure::usage(format!("say which one: `{kind}/ID`; `list {kind}` shows them")));
        }
        Place { kind, id: Some(rest) } => connection.client.document(&format!("{kind}/{rest}")),
        Place { kind, id: None } => connection.client.document(kind),
    };
    let call = call.attributes(&wanted.attributes).excluding(&wanted.exclude);
    let read = match call.await {
        Ok(read) => read,
        Err(error) => return Err(connection.failed(error).await),
    };
    match answer.json {
        true => json::write_line(&mut answer.out, &read.resource)?,
        false => show::print(&mut answer.out, &read.resource.attributes, answer.palette)?,
    }
    Ok(0)
}

/// Whether what follows is one identifier, slashes and all.
fn has_ids(kind: &str) -> bool {
    matches!(kind, "Users" | "Groups" | "Schemas" | "ResourceTypes")
}

fn is_users_or_groups(kind: &str) -> bool {
    matches!(kind, "Users" | "Groups")
}
