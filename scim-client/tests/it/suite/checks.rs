//! The checks.

use super::*;
use scim_client::dialect::Paging;
use scim_client::message::{PatchOp, PatchOperation, PatchVerb};

mod bulk;
mod lists;
mod members;
mod more;

pub(super) async fn all(subject: &Subject) {
    made(subject).await;
    replaced(subject).await;
    patched(subject).await;
    leniently(subject).await;
    gone(subject).await;
    members::all(subject).await;
    lists::all(subject).await;
    bulk::all(subject).await;
    more::all(subject).await;
}

/// What a result is called in the table.
pub(super) fn said<T>(result: &Result<T, Error>, well: &str) -> String {
    match result {
        Ok(_) => well.to_owned(),
        Err(error) => word(error),
    }
}

pub(super) fn operation(verb: PatchVerb, path: &str, value: Option<Value>) -> PatchOp {
    let path = (!path.is_empty()).then(|| path.parse().expect("a path"));
    PatchOp { operations: vec![PatchOperation { verb, path, value }], ..PatchOp::default() }
}

impl Subject {
    /// What is really there now.
    pub(super) async fn now(&self, endpoint: &Endpoint<DynamicResource>, id: &ResourceId) -> Attributes {
        let read = endpoint.get(id).await;
        read.unwrap_or_else(|error| panic!("{}: {error}", self.name)).into_inner().attributes
    }

    /// Patches, and holds what the client says against a reading.
    pub(super) async fn patch(
        &self,
        endpoint: &Endpoint<DynamicResource>,
        id: &ResourceId,
        patch: &PatchOp,
    ) -> Result<(), Error> {
        let answer = endpoint.patch(id, patch).await?;
        if let Some(shown) = answer.into_inner() {
            let now = self.now(endpoint, id).await;
            for name in ["userName", "displayName", "title", "active", "members", "emails"] {
                assert_eq!(
                    shown.attributes.get(name),
                    now.get(name),
                    "{}: {name} after {patch:?}",
                    self.name
                );
            }
        }
        Ok(())
    }
}

async fn made(subject: &Subject) {
    let users = subject.users();
    let wanted = subject.user("made");
    let made = users.create(&wanted).await;
    let made = made.unwrap_or_else(|error| panic!("{}: {error}", subject.name));
    let answer = subject.last();
    subject.note("create: status", "201", made.status.to_string());
    let location = |text: Option<&str>| match text {
        None => "none",
        Some(text) if text.starts_with("http") => "absolute",
        Some(_) => "relative",
    };
    if answer.method == "POST" {
        subject.note("create: `Location`", "absolute", location(answer.header("location")));
    }
    subject.note(
        "create: `meta.location`",
        "absolute",
        location(made.attributes["meta"]["location"].as_str()),
    );
    let id = id_of(&made);
    let now = subject.now(&users, &id).await;
    let name = now["userName"].as_str().unwrap();
    assert!(name.eq_ignore_ascii_case(&subject.name_for("made")), "{}: {name}", subject.name);
    subject.note(
        "create: `userName`",
        "as sent",
        if name == subject.name_for("made") { "as sent" } else { "upper case" },
    );
    subject.note(
        "create: `active`",
        "JSON boolean",
        if now["active"].is_boolean() { "JSON boolean" } else { "text" },
    );

    let again = users.create(&wanted).await.expect_err("the name is taken");
    assert_eq!(again.kind(), &ErrorKind::Conflict, "{}: {again}", subject.name);
    subject.note("create: name taken", "conflict (409)", word(&again));
    let mut other_case = wanted.clone();
    other_case.attributes["userName"] = subject.name_for("made").to_uppercase().into();
    let other_case = users.create(&other_case).await;
    subject.note("create: name taken in another case", "conflict (409)", said(&other_case, "made"));
    let nameless = resource(
        json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "displayName": "Nobody" }),
    );
    let nameless = users.create(&nameless).await;
    subject.note("create: without `userName`", "schema_mismatch (400)", said(&nameless, "made"));
    let nobody = users.get(&ResourceId::new("there/is%20no such?id#x")).await.expect_err("it is not there");
    assert_eq!(nobody.kind(), &ErrorKind::NotFound, "{}: {nobody}", subject.name);
    subject.note("get: unknown id", "not_found (404)", word(&nobody));
}

async fn replaced(subject: &Subject) {
    let users = subject.users();
    let (id, made) = subject.made("replaced").await;
    let mut wanted = made.clone();
    wanted.attributes["title"] = "Principal".into();
    wanted.attributes.remove("displayName");
    let replaced = users.replace(&id, &wanted).await;
    subject.note("replace", "done", said(&replaced, "done"));
    let now = subject.now(&users, &id).await;
    assert_eq!(now["title"] == "Principal", replaced.is_ok(), "{}", subject.name);
    let kept = now.get("displayName").is_some_and(|name| !name.is_null());
    subject.note("replace: what is left out", "removed", if kept { "kept" } else { "removed" });
}

async fn patched(subject: &Subject) {
    use PatchVerb::{Add, Remove, Replace};
    let users = subject.users();
    let (id, made) = subject.made("patched").await;
    let title = |now: &Attributes| now.get("title").and_then(Value::as_str).map(str::to_owned);

    let one = operation(Replace, "title", Some("Principal".into()));
    let done = subject.patch(&users, &id, &one).await;
    subject.note("patch: replace with a path", "done", said(&done, "done"));
    assert_eq!(title(&subject.now(&users, &id).await).as_deref() == Some("Principal"), done.is_ok());
    let again = subject.patch(&users, &id, &one).await;
    subject.note("patch: the same again", "done", said(&again, "done"));

    let pathless = operation(Replace, "", Some(json!({ "title": "Fellow", "nickName": "Babs" })));
    let done = subject.patch(&users, &id, &pathless).await;
    subject.note("patch: replace without a path", "done", said(&done, "done"));
    assert_eq!(
        title(&subject.now(&users, &id).await).as_deref() == Some("Fellow"),
        done.is_ok(),
        "{}",
        subject.name
    );

    let part = operation(Replace, "name.familyName", Some("Smith".into()));
    let done = subject.patch(&users, &id, &part).await;
    subject.note("patch: a sub-attribute", "done", said(&done, "done"));
    assert_eq!(
        subject.now(&users, &id).await["name"]["familyName"] == "Smith",
        done.is_ok(),
        "{}",
        subject.name
    );

    let address = format!("new-{}", subject.name_for("patched"));
    let element = operation(Replace, r#"emails[type eq "work"].value"#, Some(address.clone().into()));
    let done = subject.patch(&users, &id, &element).await;
    subject.note("patch: an element by its filter", "done", said(&done, "done"));
    assert_eq!(subject.now(&users, &id).await["emails"][0]["value"] == address.as_str(), done.is_ok());

    let home = json!([{ "value": "home@example.com", "type": "home" }]);
    let done = subject.patch(&users, &id, &operation(Add, "emails", Some(home))).await;
    let emails = subject.now(&users, &id).await["emails"].as_array().map_or(0, Vec::len);
    subject.note("patch: add an element", "done", said(&done, "done"));
    assert_eq!(emails == 2, done.is_ok(), "{}: {emails} emails", subject.name);

    let extension = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
    let done = subject.patch(&users, &id, &operation(Add, extension, Some("Research".into()))).await;
    let now = subject.now(&users, &id).await;
    let extension = now.get("urn:ietf:params:scim:schemas:extension:enterprise:2.0:User");
    let is_there = extension.is_some_and(|extension| extension["department"] == "Research");
    subject.note(
        "patch: an extension's attribute",
        "done",
        match (&done, is_there) {
            (Ok(()), true) => "done".to_owned(),
            (Ok(()), false) => "said done, not done".to_owned(),
            (Err(error), _) => word(error),
        },
    );

    let done = subject.patch(&users, &id, &operation(Remove, "title", None)).await;
    subject.note("patch: remove", "done", said(&done, "done"));
    assert_eq!(title(&subject.now(&users, &id).await).is_none(), done.is_ok(), "{}", subject.name);
    let nothing = operation(Replace, r#"emails[type eq "pager"].value"#, Some("x@example.com".into()));
    let nothing = subject.patch(&users, &id, &nothing).await;
    subject.note(
        "patch: replace where no element matches",
        "schema_mismatch (400)",
        said(&nothing, "said done"),
    );
    let read_only = subject.patch(&users, &id, &operation(Replace, "id", Some("mine".into()))).await;
    subject.note("patch: a read-only attribute", "schema_mismatch (400)", said(&read_only, "said done"));
    assert_eq!(subject.now(&users, &id).await["id"], made.attributes["id"], "{}", subject.name);
}

/// What Entra's client sends and RFC 7644 does not know.
async fn leniently(subject: &Subject) {
    let users = subject.users();
    let (id, _) = subject.made("leniently").await;
    let text = operation(PatchVerb::Replace, "active", Some("False".into()));
    let done = subject.patch(&users, &id, &text).await;
    let result = match done {
        Err(error) => word(&error),
        Ok(()) => match users.get(&id).await {
            Ok(now) if is_false(&now.attributes["active"]) => "is false".to_owned(),
            Ok(now) => format!("is {}", now.attributes["active"]),
            Err(error) => word(&error),
        },
    };
    subject.note("patch: `\"False\"` for a boolean", "schema_mismatch (400)", result);
    let (id, _) = subject.made("verbs").await;
    let mut title = operation(PatchVerb::Replace, "title", Some("Principal".into()));
    title.verbs = scim_client::dialect::VerbCase::Title;
    let done = subject.patch(&users, &id, &title).await;
    subject.note("patch: `Replace` for `replace`", "schema_mismatch (400)", said(&done, "done"));
    assert_eq!(subject.now(&users, &id).await["title"] == "Principal", done.is_ok(), "{}", subject.name);
}

async fn gone(subject: &Subject) {
    let users = subject.users();
    let (id, wanted) = subject.made("gone").await;
    let off = operation(PatchVerb::Replace, "active", Some(false.into()));
    let done = subject.users().patch(&id, &off).await;
    let now = users.get(&id).await;
    subject.note(
        "deactivate",
        "stays, inactive",
        match (&done, &now) {
            (Ok(_), Ok(now)) if is_false(&now.attributes["active"]) => "stays, inactive".to_owned(),
            (Ok(_), Ok(_)) => "said done, still active".to_owned(),
            (Ok(_), Err(error)) if *error.kind() == ErrorKind::NotFound => "deletes".to_owned(),
            (Ok(_), Err(error)) => word(error),
            (Err(error), _) => word(error),
        },
    );
    let (id, _) = match now {
        Ok(_) => (id, wanted),
        Err(_) => subject.made("gone").await,
    };
    let deleted = users.delete(&id).await;
    subject.note("delete", "done", said(&deleted, "done"));
    let now = users.get(&id).await;
    subject.note(
        "delete: read afterwards",
        "not_found (404)",
        match &now {
            Ok(now) if is_false(&now.attributes["active"]) => "there, inactive".to_owned(),
            Ok(_) => "there".to_owned(),
            Err(error) => word(error),
        },
    );
    subject.note("delete: again", "not_found (404)", said(&users.delete(&id).await, "done"));
    let anew = users.create(&subject.user("gone")).await;
    subject.note("delete: the name afterwards", "free", said(&anew, "free"));
}

fn is_false(value: &Value) -> bool {
    *value == false || value.as_str().is_some_and(|text| text.eq_ignore_ascii_case("false"))
}
