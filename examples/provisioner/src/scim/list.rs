//! `scim list` and `scim search`: many resources, one line each, as they come.

use futures::TryStreamExt as _;
use scim_client::client::Order;
use scim_client::filter::Filter;
use scim_client::path::AttributePath;
use scim_client::resource::DynamicResource;

use super::args::Question;
use super::connection::{Connection, Place};
use super::show;
use crate::failure::Failure;
use crate::progress::Progress;
use crate::table::Table;
use crate::{Answer, json, say};

/// How the question is put.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum By {
    /// In the URL.
    Get,
    /// In the body of a POST to `.search`.
    Post,
}

/// Asks and shows. In memory is a page at the most.
pub(crate) async fn run(
    connection: &Connection,
    kind: &str,
    question: &Question,
    by: By,
    answer: &mut Answer,
) -> Result<u8, Failure> {
    let place = Place::read(kind);
    if place.id.is_some() && matches!(place.kind.as_str(), "Users" | "Groups") {
        return Err(Failure::usage(format!("`{kind}` is one resource: `get` shows it")));
    }
    let kind = match place {
        Place { kind, id: Some(rest) } => format!("{kind}/{rest}"),
        Place { kind, id: None } => kind,
    };
    if kind.is_empty() && by == By::Get {
        return Err(Failure::usage("say what to list: `users`, `groups`, or another path"));
    }
    let mut query = connection.client.resources::<DynamicResource>(&kind).list();
    if let Some(text) = &question.filter {
        let filter: Filter = text.parse().map_err(|error| Failure::syntax("--filter", text, &error))?;
        query = query.filter(filter);
    }
    for (option, names) in [("--attributes", &question.attributes), ("--exclude", &question.exclude)] {
        for name in names {
            attribute(option, name)?;
        }
    }
    query = query.attributes(&question.attributes).excluding(&question.exclude);
    if let Some(name) = &question.sort_by {
        let order = if question.descending { Order::Descending } else { Order::Ascending };
        query = query.sort_by(attribute("--sort-by", name)?, order);
    }
    let limit = question.limit.unwrap_or(u64::MAX);
    let count = question.count.map(u64::from);
    // Without a page size of its own, a short list is not asked for in long pages.
    if let Some(size) = count.or_else(|| question.limit.filter(|limit| *limit < PAGE_SIZE)) {
        query = query.page_size(usize::try_from(size.max(1)).unwrap_or(usize::MAX));
    }
    if question.unverified {
        query = query.unverified();
    }
    if by == By::Post {
        query = query.by_post();
    }
    let names: Vec<String> = match question.attributes.is_empty() {
        true => show::columns(&kind).iter().map(|&name| name.to_owned()).collect(),
        false => {
            let has_id = question.attributes.iter().any(|name| name.eq_ignore_ascii_case("id"));
            let id = (!has_id).then(|| "id".to_owned());
            id.into_iter().chain(question.attributes.iter().cloned()).collect()
        }
    };
    let mut table = Table::new(names.clone(), answer.palette);
    let progress = Progress::new(true);
    let mut stream = query.stream();
    let mut found = 0_u64;
    let outcome = loop {
        if found >= limit {
            break Ok(());
        }
        let resource = match stream.try_next().await {
            Ok(Some(resource)) => resource,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        found = found.saturating_add(1);
        progress.step("listed");
        match answer.json {
            true => json::write_line(&mut answer.out, &resource)?,
            false => {
                let cells = names.iter().map(|name| show::cell(&resource.attributes, name)).collect();
                table.row(&mut answer.out, cells)?;
            }
        }
    };
    drop(progress);
    // What came before a failure is shown, too.
    table.finish(&mut answer.out)?;
    if let Err(error) = outcome {
        let failure = connection.failed(error).await;
        if found > 0 && !answer.json {
            say(&format!("provisioner: the list is not whole: it ended after {found}"));
        }
        return Err(failure);
    }
    if found == 0 && !answer.json {
        say("nothing found");
    }
    Ok(0)
}

/// Resources of a page that the client asks for by itself.
const PAGE_SIZE: u64 = 100;

fn attribute(option: &str, text: &str) -> Result<AttributePath, Failure> {
    text.parse().map_err(|error| Failure::syntax(option, text, &error))
}
