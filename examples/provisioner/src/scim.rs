//! `provisioner scim`: one SCIM service, asked by hand.
//!
//! `args` is its command line, `connection` makes the client, `credential` reads what nobody may see, `wire` is the network with
//! an eye on pages for people; `get`, `list`, `patch` and `probe` are the verbs, `show` puts resources into words.

pub(crate) mod args;
mod connection;
mod credential;
mod get;
mod list;
mod patch;
mod probe;
mod show;
mod wire;

pub(crate) use connection::{CONNECT_MAX, USER_AGENT, is_here};
pub(crate) use credential::explained;

use crate::Answer;
use crate::failure::Failure;
use args::{Arguments, Verb};
use connection::Connection;

/// Does what was asked; the exit status where it went well.
pub(crate) async fn run(arguments: &Arguments, answer: &mut Answer) -> Result<u8, Failure> {
    let connect = |url: &str| Connection::new(url, &arguments.connection);
    match &arguments.verb {
        Verb::Probe(wanted) => probe::run(&connect(&wanted.url)?, wanted, answer).await,
        Verb::Get(wanted) => get::run(&connect(&wanted.url)?, wanted, answer).await,
        Verb::List(wanted) => {
            list::run(&connect(&wanted.url)?, &wanted.kind, &wanted.question, list::By::Get, answer).await
        }
        Verb::Search(wanted) => {
            let kind = wanted.kind.as_deref().unwrap_or_default();
            list::run(&connect(&wanted.url)?, kind, &wanted.question, list::By::Post, answer).await
        }
        Verb::Patch(wanted) => patch::run(&connect(&wanted.url)?, wanted, answer).await,
    }
}
