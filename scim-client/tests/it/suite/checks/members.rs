//! Groups and their members.

use super::*;

pub(super) async fn all(subject: &Subject) {
    let groups = subject.groups();
    let mut ids = Vec::new();
    for name in ["m1", "m2", "m3"] {
        ids.push(subject.made(name).await.0);
    }
    let member = |id: &ResourceId| json!({ "value": id.as_str() });
    let all: Vec<Value> = ids.iter().map(member).collect();
    let group = resource(json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
        "displayName": subject.name_for("group"),
        "members": all,
    }));
    let group = groups.create(&group).await.unwrap_or_else(|error| panic!("{}: {error}", subject.name));
    let id = id_of(&group);
    let members = async || -> Vec<String> {
        let now = subject.now(&groups, &id).await;
        let members = now.get("members").and_then(Value::as_array).cloned().unwrap_or_default();
        members.iter().map(|member| member["value"].as_str().unwrap().to_owned()).collect()
    };
    subject.note(
        "group: made with members",
        "all in it",
        match members().await.len() {
            3 => "all in it".to_owned(),
            other => format!("{other} of 3 in it"),
        },
    );

    let twice = operation(PatchVerb::Add, "members", Some(json!([member(&ids[0])])));
    let done = subject.patch(&groups, &id, &twice).await;
    let seen = match (done, members().await.len()) {
        (Err(error), _) => word(&error),
        (Ok(()), 3) => "done, once in it".to_owned(),
        (Ok(()), count) => format!("done, {count} in it"),
    };
    subject.note("group: a member added again", "done, once in it", seen);

    let by_filter = format!("members[value eq \"{}\"]", ids[0].as_str());
    let done = subject.patch(&groups, &id, &operation(PatchVerb::Remove, &by_filter, None)).await;
    let left = members().await;
    assert_eq!(
        left.len() == 2 && !left.contains(&ids[0].as_str().to_owned()),
        done.is_ok(),
        "{}: {left:?}",
        subject.name
    );
    subject.note("group: a member removed by filter", "done", said(&done, "done"));

    let put = |members: Vec<Value>| operation(PatchVerb::Replace, "members", Some(members.into()));
    let done = subject.patch(&groups, &id, &put(all.clone())).await;
    subject.note("group: members replaced", "done", said(&done, "done"));
    assert!(done.is_err() || members().await.len() == 3, "{}", subject.name);
    if done.is_err() {
        // The next check wants all of them in it again.
        let _ = subject
            .patch(&groups, &id, &operation(PatchVerb::Add, "members", Some(all.clone().into())))
            .await;
    }
    let before = members().await.len();

    let with_value = operation(PatchVerb::Remove, "members", Some(json!([member(&ids[1])])));
    let done = subject.patch(&groups, &id, &with_value).await;
    let left = members().await;
    let named_is_left = left.contains(&ids[1].as_str().to_owned());
    let seen = match done {
        Err(error) => word(&error),
        Ok(()) if left.is_empty() => "all are removed".to_owned(),
        Ok(()) if left.len() + 1 == before && !named_is_left => "the named is removed".to_owned(),
        Ok(()) => format!("{} of {before} are left", left.len()),
    };
    subject.note("group: removal with a value and no filter", "all are removed", seen);
    let renamed = operation(PatchVerb::Replace, "displayName", Some(subject.name_for("renamed").into()));
    subject.note("group: renamed", "done", said(&subject.patch(&groups, &id, &renamed).await, "done"));
    subject.note("group: deleted", "done", said(&groups.delete(&id).await, "done"));
}
