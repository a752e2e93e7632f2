//! Versions, `/Me`, and what is chosen of a resource.

use super::*;

pub(super) async fn all(subject: &Subject) {
    versions(subject).await;
    me(subject).await;
    chosen(subject).await;
}

async fn versions(subject: &Subject) {
    let users = subject.users();
    let made = users.create(&subject.user("versions")).await;
    let made = made.unwrap_or_else(|error| panic!("{}: {error}", subject.name));
    let id = id_of(&made);
    let read = users.get(&id).await.unwrap();
    let change = |title: &str| operation(PatchVerb::Replace, "title", Some(title.into()));
    let stale = match &read.version {
        None => "no versions".to_owned(),
        Some(version) => {
            users.patch(&id, &change("Principal")).await.unwrap();
            let stale = users.patch(&id, &change("Fellow")).if_match(version).await;
            let title = subject.now(&users, &id).await["title"].clone();
            assert_eq!(title == "Fellow", stale.is_ok(), "{}: {title}", subject.name);
            said(&stale, "done all the same")
        }
    };
    subject.note("version: a write in an old one", "concurrency (412)", stale);
    let unchanged = match users.get(&id).await.unwrap().version {
        None => "no versions".to_owned(),
        Some(version) => match users.get_if_changed(&id, &version).await {
            Ok(None) => "not sent again".to_owned(),
            Ok(Some(_)) => "sent again".to_owned(),
            Err(error) => word(&error),
        },
    };
    subject.note("version: a read of the known one", "not sent again", unchanged);
}

async fn me(subject: &Subject) {
    let me = resource(json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "me" }));
    let made = subject.users().create(&me).await.map(|made| id_of(&made));
    let seen = match (subject.client.me::<DynamicResource>().get().await, made) {
        (Ok(me), Ok(made)) if id_of(&me) == made => "answers".to_owned(),
        (Ok(_), _) => "somebody else".to_owned(),
        (Err(error), _) => word(&error),
    };
    subject.note("`/Me`", "answers", seen);
}

async fn chosen(subject: &Subject) {
    let users = subject.users();
    let (id, _) = subject.made("chosen").await;
    let shown = |read: Result<scim_client::client::Answer<DynamicResource>, Error>| match read {
        Err(error) => word(&error),
        Ok(read) => {
            let shown = ["userName", "title"].map(|name| read.attributes.contains_key(name));
            match shown {
                [true, true] => "both",
                [true, false] => "`userName` alone",
                [false, true] => "`title` alone",
                [false, false] => "neither",
            }
            .to_owned()
        }
    };
    let wanted = users.get(&id).attributes(["userName"]).await;
    subject.note("`attributes=userName`", "`userName` alone", shown(wanted));
    let unwanted = users.get(&id).excluding(["title"]).await;
    subject.note("`excludedAttributes=title`", "`userName` alone", shown(unwanted));
}
