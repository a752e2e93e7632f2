//! After failures: what is tried again, how fast, and what is never done.

use std::time::Duration;

use scim_client::Client;
use scim_client::resource::ResourceId;
use scim_client::transport::Transport;
use serde_json::json;

use crate::stub::{Answer, Virtual, answer};

mod credentials;
mod deadline;
mod dropping;
mod pace;
mod retries;
mod scripts;

fn client(transport: impl Transport + 'static, clock: Virtual) -> Client {
    Client::over("https://app.example/scim/v2", transport).unwrap().clock(clock).seed(7)
}

fn id() -> ResourceId {
    ResourceId::new("1")
}

/// The user, as a server shows it.
fn ann() -> Answer {
    let body =
        json!({"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": "1", "userName": "ann"});
    answer(200, &[("content-type", "application/scim+json")], &body.to_string())
}

const SECOND: Duration = Duration::from_secs(1);
