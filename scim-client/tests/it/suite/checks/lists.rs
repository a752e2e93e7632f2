//! Discovery, filters, pages and order.

use super::*;
use scim_client::client::Order;
use scim_client::filter::Filter;
use scim_client::path::AttributePath;

pub(super) async fn all(subject: &Subject) {
    discovered(subject).await;
    filtered(subject).await;
    paged(subject).await;
}

async fn discovered(subject: &Subject) {
    let client = &subject.client;
    subject.note(
        "discovery: `ServiceProviderConfig`",
        "read",
        said(&client.service_provider_config().await, "read"),
    );
    let has_user = |found: bool| if found { "has users" } else { "has no users" };
    let schemas = client.schemas().await;
    let schemas = schemas.map(|all| {
        has_user(all.iter().any(|one| one.id.as_ref().is_some_and(|id| id.as_str() == crate::fakes::USER)))
    });
    subject.note(
        "discovery: `Schemas`",
        "has users",
        schemas.map_or_else(|error| word(&error), str::to_owned),
    );
    // The client takes users and groups for granted where the server shows nothing.
    let types = client.resource_types().await;
    let types = types.map(|all| has_user(all.iter().any(|one| one.name.as_deref() == Some("User"))));
    assert_eq!(types.unwrap(), "has users", "{}", subject.name);
}

async fn filtered(subject: &Subject) {
    let users = subject.users();
    let prefix = subject.name_for("f-").replace("@example.com", "");
    for (name, title, active) in
        [("f-alpha", "Engineer", true), ("f-beta", "Manager", false), ("f-gamma", "", true)]
    {
        let mut user = subject.user(name);
        user.attributes["active"] = active.into();
        user.attributes["displayName"] = format!("a \"quoted\" \\ {name}").into();
        if title.is_empty() {
            user.attributes.remove("title");
        } else {
            user.attributes["title"] = title.into();
        }
        let extension = json!({ "department": format!("dep-{name}") });
        user.attributes.insert(crate::fakes::ENTERPRISE.to_owned(), extension);
        users.create(&user).await.unwrap_or_else(|error| panic!("{}: {name}: {error}", subject.name));
    }
    let alpha = subject.name_for("f-alpha");
    let upper = alpha.to_uppercase();
    let beta = subject.name_for("f-beta");
    let ours = format!("userName sw \"{prefix}\"");
    let department = format!("{}:department", crate::fakes::ENTERPRISE);
    let (a, b, g) = ("f-alpha", "f-beta", "f-gamma");
    let filters: [(&'static str, String, &[&str]); 17] = [
        ("filter: `eq`", format!("userName eq \"{alpha}\""), &[a]),
        ("filter: `eq`, another case", format!("userName eq \"{upper}\""), &[a]),
        ("filter: `eq` of `externalId`", "externalId eq \"hr-f-beta\"".to_owned(), &[b]),
        ("filter: `eq` of a boolean", format!("active eq false and {ours}"), &[b]),
        ("filter: `eq` with quotes in it", r#"displayName eq "a \"quoted\" \\ f-alpha""#.to_owned(), &[a]),
        ("filter: `and`", format!("userName eq \"{alpha}\" and active eq true"), &[a]),
        ("filter: `or`", format!("userName eq \"{alpha}\" or userName eq \"{beta}\""), &[a, b]),
        ("filter: `not`", format!("not (active eq true) and {ours}"), &[b]),
        ("filter: `sw`", ours.clone(), &[a, b, g]),
        ("filter: `co`", "userName co \"-f-bet\"".to_owned(), &[b]),
        ("filter: `ew`", "userName ew \"f-gamma@example.com\"".to_owned(), &[g]),
        ("filter: `pr`", format!("title pr and {ours}"), &[a, b]),
        ("filter: `gt`", format!("title gt \"F\" and {ours}"), &[b]),
        (
            "filter: `gt` of a time",
            format!("meta.lastModified gt \"2011-05-13T04:42:34Z\" and {ours}"),
            &[a, b, g],
        ),
        ("filter: a sub-attribute", format!("emails.value eq \"{alpha}\""), &[a]),
        ("filter: an element", format!("emails[type eq \"work\" and value eq \"{alpha}\"]"), &[a]),
        ("filter: an extension's attribute", format!("{department} eq \"dep-f-beta\""), &[b]),
    ];
    for (behaviour, filter, wanted) in filters {
        let filter: Filter = filter.parse().expect("a filter");
        let found = users.filter(filter).all().await;
        subject.note(behaviour, "found", subject.told(found, wanted));
    }
    let ours: Filter = ours.parse().expect("a filter");
    let by_post = users.filter(ours.clone()).by_post().all().await;
    subject.note("`.search`", "found", subject.told(by_post, &[a, b, g]));
    let order = |order| users.filter(ours.clone()).sort_by(AttributePath::named("userName"), order).all();
    let rising = order(Order::Ascending).await;
    let falling = order(Order::Descending).await;
    let seen = match (rising, falling) {
        (Err(error), _) | (_, Err(error)) => word(&error),
        (Ok(rising), Ok(mut falling)) => {
            falling.reverse();
            let sorted = names_of(&rising).is_sorted_by_key(|name| name.to_lowercase());
            let agree = names_of(&rising) == names_of(&falling);
            if sorted && agree && rising.len() == 3 { "in order" } else { "not in order" }.to_owned()
        }
    };
    subject.note("`sortBy`", "in order", seen);
}

async fn paged(subject: &Subject) {
    let users = subject.users();
    let mut ids = Vec::new();
    for number in 0..12 {
        ids.push(subject.made(&format!("p{number}")).await.0);
    }
    let complete = |listed: Result<Vec<DynamicResource>, Error>| match listed {
        Err(error) => word(&error),
        Ok(listed) => {
            let times = |id: &ResourceId| listed.iter().filter(|one| id_of(one) == *id).count();
            assert!(
                ids.iter().all(|id| times(id) == 1),
                "{}: a listing lost or doubled somebody",
                subject.name
            );
            "each once".to_owned()
        }
    };
    let by = |paging| {
        subject.client.clone().dialect(subject.dialect.clone().with(|dialect| dialect.paging = paging))
    };
    let users_by = |paging| by(paging).resources::<DynamicResource>("Users").list().page_size(5).all();
    subject.note(
        "list: in pages, as discovered",
        "each once",
        complete(users.list().page_size(5).all().await),
    );
    subject.note("list: by index", "each once", complete(users_by(Paging::Index).await));
    subject.note("list: by cursor", "each once", complete(users_by(Paging::Cursor).await));

    let (_, page) = subject.raw("GET", "Users?startIndex=1&count=0", "").await;
    let resources = |page: &Value| page["Resources"].as_array().map_or(0, Vec::len);
    let total = page["totalResults"].as_u64();
    subject.note(
        "list: `count=0`",
        "the total alone",
        match (total, resources(&page)) {
            (Some(_), 0) => "the total alone".to_owned(),
            (None, 0) if page["totalResults"].is_string() => "the total as text".to_owned(),
            (_, count) => if count > 0 { "resources" } else { "no total" }.to_owned(),
        },
    );
    let (_, page) = subject.raw("GET", "Users?startIndex=1000&count=5", "").await;
    let beyond = if resources(&page) == 0 { "nothing" } else { "resources" };
    subject.note("list: a page beyond the end", "nothing", beyond);
    let (status, page) =
        subject.raw("GET", "Users?filter=userName%20eq%20%22nobody-of-that-name%22", "").await;
    let nothing = match (status, &page["Resources"]) {
        (200, Value::Array(none)) if none.is_empty() => "an empty list".to_owned(),
        (200, Value::Array(_)) => "somebody".to_owned(),
        (200, Value::Null) => "no list".to_owned(),
        (status, _) => format!("status {status}"),
    };
    subject.note("list: nothing found", "an empty list", nothing);
    let (status, _) = subject.raw("GET", "Users?filter=userName%20is%20nonsense", "").await;
    subject.note("list: no filter at all", "status 400", format!("status {status}"));
}

impl Subject {
    /// What a filter found beside what it is to find. Whatever came, none of it may be a stranger.
    fn told(&self, found: Result<Vec<DynamicResource>, Error>, wanted: &[&str]) -> String {
        let wanted: Vec<String> = wanted.iter().map(|check| self.name_for(check).to_lowercase()).collect();
        match found {
            Err(error) => word(&error),
            Ok(found) => {
                let names: Vec<String> = found.iter().map(|one| name_of(one).to_lowercase()).collect();
                assert!(
                    names.iter().all(|name| wanted.contains(name)),
                    "{}: {names:?} for {wanted:?}",
                    self.name
                );
                match names.len() {
                    count if count == wanted.len() => "found".to_owned(),
                    0 => "not found".to_owned(),
                    count => format!("{count} of {} found", wanted.len()),
                }
            }
        }
    }
}

fn names_of(all: &[DynamicResource]) -> Vec<&str> {
    all.iter().map(name_of).collect()
}

fn name_of(resource: &DynamicResource) -> &str {
    resource.attributes["userName"].as_str().unwrap()
}
