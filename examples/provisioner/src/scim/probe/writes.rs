//! What can be found out only by changing something: on a user and a group made for it, which are taken away again.

use http::Method;
use http::header::{IF_MATCH, LOCATION};
use scim_client::error::ScimType;
use scim_client::filter::Filter;
use scim_client::resource::{Attributes, Resource as _, attribute};
use scim_client::{Error, ErrorKind, urn};
use serde_json::{Value, json};

use super::ask::{Ask, Asker, Seen};
use super::finding::{Findings, Standing};
use crate::progress::Progress;

/// What is made, found again by its name even where the answer to its making was lost.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) user: String,
    pub(super) group: String,
    user_id: Option<String>,
    group_id: Option<String>,
    /// Whether its making was asked for, whatever came back.
    user_asked: bool,
    group_asked: bool,
    /// Whether an answer was lost that may have been about a second one.
    doubtful: bool,
}

impl Names {
    pub(super) fn new() -> Self {
        let run = format!("{:08x}", fastrand::u32(..));
        Self {
            user: format!("provisioner-probe-{run}@example.invalid"),
            group: format!("provisioner-probe-{run}"),
            user_id: None,
            group_id: None,
            user_asked: false,
            group_asked: false,
            doubtful: false,
        }
    }
}

type Result<T> = std::result::Result<T, Error>;
type Judged = (Standing, String);

struct Writer<'a> {
    asker: &'a mut Asker,
    findings: &'a mut Findings,
    names: &'a mut Names,
    progress: &'a Progress,
}

/// Makes, changes and deletes. What is left is for [`clean_up`].
///
/// # Errors
/// Where no answer comes, the credential is refused, or no user can be made.
pub(super) async fn ask(
    asker: &mut Asker,
    findings: &mut Findings,
    names: &mut Names,
    progress: &Progress,
) -> Result<()> {
    let mut writer = Writer { asker, findings, names, progress };
    let id = writer.create().await?;
    writer.patches(&id).await?;
    writer.group(&id).await?;
    writer.versions(&id).await?;
    writer.deactivate(&id).await?;
    writer.delete(&id).await
}

/// Deletes what was made, also where its identifier never came. Says what could not be deleted.
pub(super) async fn clean_up(asker: &mut Asker, names: &Names) -> Vec<String> {
    let mut left = Vec::new();
    let things = [
        ("Groups", "displayName", &names.group, &names.group_id, names.group_asked),
        ("Users", "userName", &names.user, &names.user_id, names.user_asked),
    ];
    for (kind, attribute, name, id, asked) in things {
        if !asked {
            continue;
        }
        // Also by name: an answer that was lost may have been about a second one.
        let found = look_up(asker, kind, attribute, name).await;
        if found.is_err() && (id.is_none() || names.doubtful) {
            left.push(format!("{kind} with {attribute} `{name}` (if it was made)"));
        }
        let mut ids: Vec<String> = id.iter().cloned().collect();
        ids.extend(found.unwrap_or_default().into_iter().filter(|found| id.as_ref() != Some(found)));
        for id in ids {
            if !delete_one(asker, kind, &id).await {
                left.push(format!("{kind}/{id} ({attribute} `{name}`)"));
            }
        }
    }
    left
}

/// Whether it is gone.
async fn delete_one(asker: &mut Asker, kind: &str, id: &str) -> bool {
    match asker.send(Ask::get(&[kind, id])).await {
        Ok(seen) if matches!(seen.status, 404 | 410) => return true,
        _ => {}
    }
    match asker.send(Ask::new(Method::DELETE, &[kind, id])).await {
        Ok(seen) => seen.is_success() || matches!(seen.status, 404 | 410),
        Err(_) => false,
    }
}

/// Of these alone that bear the name: a server that ignores the filter shows others, which are nobody's to delete.
async fn look_up(asker: &mut Asker, kind: &str, name: &str, value: &str) -> Result<Vec<String>> {
    let filter = format!("{name} eq {}", Value::from(value));
    let seen = asker.send(Ask::get(&[kind]).query(&[("filter", &filter)])).await?;
    let Some(list) = seen.list() else {
        return match seen.status {
            404 => Ok(Vec::new()),
            _ => Err(Error::new(ErrorKind::Protocol)),
        };
    };
    let filter: Filter = filter.parse().map_err(|_| Error::new(ErrorKind::Invalid))?;
    let theirs = list.resources.iter().filter(|one| filter.matches(&one.attributes));
    Ok(theirs.filter_map(|one| one.id().map(|id| id.as_str().to_owned())).collect())
}

impl Writer<'_> {
    async fn send(&mut self, what: &str, ask: Ask) -> Result<Seen> {
        self.progress.step(what);
        self.asker.send(ask).await
    }

    /// What a resource is now; `None` where it is not there.
    async fn read(&mut self, kind: &str, id: &str) -> Result<Option<Attributes>> {
        let seen = self.send("reading it again", Ask::get(&[kind, id])).await?;
        Ok(seen.attributes().filter(|_| seen.is_success()))
    }

    /// Makes something that bears the name. Where the answer is lost, it is made again only if nothing of the name is there.
    ///
    /// A read comes first: some servers close a connection after a refusal, and what is sent into the closing is lost.
    async fn make(
        &mut self,
        what: &str,
        kind: &str,
        attribute: &str,
        name: &str,
        body: &Value,
    ) -> Result<Seen> {
        let ask = || Ask::new(Method::POST, &[kind]).body(body.clone());
        self.send(what, Ask::get(&[kind]).query(&[("count", "1")])).await?;
        match self.send(what, ask()).await {
            Err(error) if matches!(error.kind(), ErrorKind::UnknownOutcome(_)) => {
                match look_up(self.asker, kind, attribute, name).await {
                    Ok(there) if there.is_empty() => self.send(what, ask()).await,
                    _ => Err(error),
                }
            }
            made => made,
        }
    }

    async fn create(&mut self) -> Result<String> {
        let user = json!({
            "schemas": [urn::USER], "userName": self.names.user, "externalId": self.names.group,
            "displayName": "provisioner probe, may be deleted", "active": true,
            "name": {"givenName": "Probe", "familyName": "Provisioner"},
            "emails": [{"value": self.names.user, "type": "work", "primary": true}],
        });
        self.names.user_asked = true;
        let name = self.names.user.clone();
        let made = self.make("making a user", "Users", "userName", &name, &user).await?;
        let shown = made.attributes().filter(|_| made.is_success()).unwrap_or_default();
        let id = attribute(&shown, "id").and_then(Value::as_str).map(str::to_owned);
        let Some(id) = id else {
            self.findings.note("create.user", "making a user", "201", (Standing::Deviates, made.outcome()));
            let status = made.status;
            return Err(Error::new(ErrorKind::Unsupported)
                .about(Method::POST, "Users")
                .status(status)
                .detail(made.refusal().detail.unwrap_or_else(|| "no test user could be made".to_owned())));
        };
        self.names.user_id = Some(id.clone());
        let judged = match made.status {
            201 => (Standing::Conforms, "201".to_owned()),
            other => (Standing::Deviates, other.to_string()),
        };
        self.findings.note("create.user", "making a user", "201", judged);
        let judged = match made.header(LOCATION) {
            Some(location) if location.contains("://") => (Standing::Conforms, "absolute"),
            Some(_) => (Standing::Deviates, "relative"),
            None => (Standing::Deviates, "none"),
        };
        self.findings.note("create.location", "`Location` of what was made", "absolute", judged);
        let judged = match self.read("Users", &id).await? {
            Some(_) => (Standing::Conforms, "at once"),
            None => (Standing::Deviates, "not at once"),
        };
        self.findings.note("create.read", "reading what was made", "at once", judged);
        let judged = match self.send("making it again", Ask::new(Method::POST, &["Users"]).body(user)).await {
            Ok(again) => {
                let other = again.attributes().filter(|_| again.is_success());
                let other = other.and_then(|user| Some(attribute(&user, "id")?.as_str()?.to_owned()));
                if let Some(other) = other.filter(|other| *other != id) {
                    delete_one(self.asker, "Users", &other).await;
                }
                match (again.status, again.refusal().scim_type) {
                    (409, Some(ScimType::Uniqueness)) => (Standing::Conforms, again.outcome()),
                    _ if again.is_success() => (Standing::Deviates, "MADE TWICE".to_owned()),
                    _ => (Standing::Deviates, again.outcome()),
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::UnknownOutcome(_)) => {
                self.names.doubtful = true;
                (Standing::Unclear, "no answer".to_owned())
            }
            Err(error) => return Err(error),
        };
        self.findings.note("create.conflict", "the same again", "refused (409 uniqueness)", judged);
        let found = look_up(self.asker, "Users", "userName", &name).await;
        let judged = match found.as_deref() {
            Ok([only]) if *only == id => (Standing::Conforms, "at once"),
            Ok([]) => (Standing::Deviates, "not at once"),
            Ok(_) => (Standing::Deviates, "several"),
            Err(_) => (Standing::Unclear, "no look-up"),
        };
        self.findings.note("create.found", "found by its name", "at once", judged);
        Ok(id)
    }

    async fn patch(&mut self, what: &str, kind: &str, id: &str, operations: Value) -> Result<Seen> {
        let body = json!({"schemas": [urn::PATCH_OP], "Operations": operations});
        self.send(what, Ask::new(Method::PATCH, &[kind, id]).body(body)).await
    }

    async fn patches(&mut self, id: &str) -> Result<()> {
        let work = r#"emails[type eq "work"].display"#;
        let enterprise = urn::ENTERPRISE_USER;
        // Each sets something that was not so before, so that a server which does nothing is seen.
        let forms: [(&'static str, &'static str, Value, &[&str], Value); 6] = [
            (
                "patch.path",
                "PATCH with a path",
                json!([{"op": "replace", "path": "displayName", "value": "probe 1"}]),
                &["displayName"],
                json!("probe 1"),
            ),
            (
                "patch.pathless",
                "PATCH without a path",
                json!([{"op": "replace", "value": {"displayName": "probe 2"}}]),
                &["displayName"],
                json!("probe 2"),
            ),
            (
                "patch.title",
                "PATCH with `Replace`",
                json!([{"op": "Replace", "path": "displayName", "value": "probe 3"}]),
                &["displayName"],
                json!("probe 3"),
            ),
            (
                "patch.sub",
                "PATCH of a sub-attribute",
                json!([{"op": "replace", "path": "name.familyName", "value": "Probe 4"}]),
                &["name", "familyName"],
                json!("Probe 4"),
            ),
            (
                "patch.element",
                "PATCH of an element by its filter",
                json!([{"op": "replace", "path": work, "value": "probe 5"}]),
                &["emails", "display"],
                json!("probe 5"),
            ),
            (
                "patch.extension",
                "PATCH of an extension",
                json!([{"op": "add", "path": format!("{enterprise}:department"), "value": "probe 6"}]),
                &[enterprise, "department"],
                json!("probe 6"),
            ),
        ];
        for (code, what, operations, place, value) in forms {
            let seen = self.patch(what, "Users", id, operations).await?;
            let now = self.read("Users", id).await?;
            let judged = match (&now, seen.is_success()) {
                (Some(now), true) if at(now, place) == Some(&value) => (Standing::Conforms, seen.outcome()),
                (Some(_), true) => (Standing::Deviates, format!("{}, AND NOTHING CHANGED", seen.outcome())),
                (None, _) => (Standing::Deviates, "the user is gone".to_owned()),
                (_, false) => (Standing::Deviates, seen.outcome()),
            };
            let (rfc, judged) = match code {
                // RFC 7644 §3.5.2 has verbs in lower case, and says nothing of others.
                "patch.title" if judged.0 == Standing::Deviates => ("optional", (Standing::Absent, judged.1)),
                "patch.title" => ("optional", judged),
                _ => ("done", judged),
            };
            self.findings.note(code, what, rfc, judged);
        }
        Ok(())
    }

    async fn group(&mut self, member: &str) -> Result<()> {
        let members = json!([{"value": member}]);
        let group = json!({"schemas": [urn::GROUP], "displayName": self.names.group, "members": members});
        self.names.group_asked = true;
        let name = self.names.group.clone();
        let made = self.make("making a group", "Groups", "displayName", &name, &group).await?;
        let shown = made.attributes().filter(|_| made.is_success()).unwrap_or_default();
        let Some(id) = attribute(&shown, "id").and_then(Value::as_str).map(str::to_owned) else {
            self.names.group_asked = made.is_success();
            self.findings.note("create.group", "making a group", "201", (Standing::Deviates, made.outcome()));
            return Ok(());
        };
        self.names.group_id = Some(id.clone());
        let judged = match self.is_member(&id, member).await? {
            Some(true) => (Standing::Conforms, "with its member"),
            Some(false) => (Standing::Deviates, "without its member"),
            None => (Standing::Deviates, "members are not shown"),
        };
        let shows = judged.1 != "members are not shown";
        self.findings.note("create.group", "making a group with a member", "with its member", judged);
        if !shows {
            return Ok(());
        }
        let add = json!([{"op": "add", "path": "members", "value": members}]);
        let forms: [(&'static str, &'static str, Value); 3] = [
            (
                "member.filter",
                "a member removed by a filter",
                json!([{"op": "remove", "path": format!("members[value eq {}]", Value::from(member))}]),
            ),
            (
                "member.value",
                "a member removed by its value",
                json!([{"op": "remove", "path": "members", "value": members}]),
            ),
            (
                "member.replace",
                "members replaced",
                json!([{"op": "replace", "path": "members", "value": []}]),
            ),
        ];
        for (code, what, operations) in forms {
            if self.is_member(&id, member).await? != Some(true) {
                self.patch("adding the member", "Groups", &id, add.clone()).await?;
            }
            if self.is_member(&id, member).await? != Some(true) {
                self.findings.note(code, what, "gone", (Standing::Unclear, "no member could be added"));
                continue;
            }
            let seen = self.patch(what, "Groups", &id, operations).await?;
            let there = self.is_member(&id, member).await?;
            let judged = match (there, seen.is_success()) {
                (Some(false), true) => (Standing::Conforms, seen.outcome()),
                (_, true) => (Standing::Deviates, format!("{}, AND NOTHING CHANGED", seen.outcome())),
                (_, false) => (Standing::Deviates, seen.outcome()),
            };
            // A value beside `remove` is no part of RFC 7644, though many servers want it.
            let (rfc, judged) = match (code, judged.0) {
                ("member.value", Standing::Deviates) => ("optional", (Standing::Absent, judged.1)),
                ("member.value", _) => ("optional", judged),
                _ => ("done", judged),
            };
            self.findings.note(code, what, rfc, judged);
        }
        Ok(())
    }

    /// `None` where members are not shown.
    async fn is_member(&mut self, group: &str, member: &str) -> Result<Option<bool>> {
        let Some(group) = self.read("Groups", group).await? else { return Ok(None) };
        let members = match attribute(&group, "members") {
            Some(Value::Array(members)) => members.as_slice(),
            _ => &[],
        };
        let is =
            |one: &Value| one.as_object().and_then(|one| attribute(one, "value")?.as_str()) == Some(member);
        Ok(Some(members.iter().any(is)))
    }

    async fn versions(&mut self, id: &str) -> Result<()> {
        let operations = json!({
            "schemas": [urn::PATCH_OP],
            "Operations": [{"op": "replace", "path": "displayName", "value": "probe 7"}],
        });
        let ask = Ask::new(Method::PATCH, &["Users", id])
            .header(IF_MATCH, "W/\"provisioner-probe-never-was\"")
            .body(operations);
        let seen = self.send("a write in a version that never was", ask).await?;
        let judged = match seen.status {
            412 => (Standing::Conforms, "refused (412)".to_owned()),
            _ if seen.is_success() => (Standing::Absent, "done all the same".to_owned()),
            _ => (Standing::Absent, seen.outcome()),
        };
        self.findings.note("version.stale", "a write in an old version", "optional", judged);
        Ok(())
    }

    async fn deactivate(&mut self, id: &str) -> Result<()> {
        let with = |value: Value| json!([{"op": "replace", "path": "active", "value": value}]);
        let as_text = self.patch("\"False\"", "Users", id, with(json!("False"))).await?;
        let inactive = self.read("Users", id).await?;
        let is_off = |user: &Attributes| match attribute(user, "active") {
            Some(Value::Bool(active)) => !active,
            Some(Value::String(text)) => text.eq_ignore_ascii_case("false"),
            _ => false,
        };
        let judged: Judged = match &inactive {
            Some(user) if as_text.is_success() && is_off(user) => (Standing::Conforms, "is false".to_owned()),
            Some(_) if as_text.is_success() => (Standing::Absent, "done, and nothing changed".to_owned()),
            _ => (Standing::Absent, as_text.outcome()),
        };
        self.findings.note("patch.text_boolean", "`\"False\"` for a boolean", "optional", judged);
        if inactive.as_ref().is_some_and(is_off) {
            self.patch("active again", "Users", id, with(json!(true))).await?;
        }
        let done = self.patch("deactivating", "Users", id, with(json!(false))).await?;
        let judged = match (done.is_success(), self.read("Users", id).await?) {
            (true, Some(user)) if is_off(&user) => (Standing::Conforms, "stays, inactive".to_owned()),
            (true, Some(_)) => (Standing::Deviates, "done, AND STILL ACTIVE".to_owned()),
            (true, None) => (Standing::Deviates, "IS DELETED".to_owned()),
            (false, _) => (Standing::Deviates, done.outcome()),
        };
        self.findings.note("deactivate", "`active: false`", "stays, inactive", judged);
        Ok(())
    }

    async fn delete(&mut self, id: &str) -> Result<()> {
        if let Some(group) = self.names.group_id.clone() {
            let seen = self.send("deleting the group", Ask::new(Method::DELETE, &["Groups", &group])).await?;
            let gone = self.read("Groups", &group).await?.is_none();
            let judged = match (seen.is_success(), gone) {
                (true, true) => (Standing::Conforms, seen.outcome()),
                (true, false) => (Standing::Deviates, "done, AND STILL THERE".to_owned()),
                (false, _) => (Standing::Deviates, seen.outcome()),
            };
            self.findings.note("delete.group", "deleting a group", "gone", judged);
        }
        let seen = self.send("deleting the user", Ask::new(Method::DELETE, &["Users", id])).await?;
        let there = self.read("Users", id).await?;
        let judged = match (seen.is_success(), &there) {
            (true, None) => (Standing::Conforms, "gone".to_owned()),
            (true, Some(_)) => (Standing::Deviates, "stays".to_owned()),
            (false, _) => (Standing::Deviates, seen.outcome()),
        };
        self.findings.note("delete.user", "deleting a user", "gone", judged);
        if there.is_none() {
            let again = self.send("deleting it again", Ask::new(Method::DELETE, &["Users", id])).await?;
            let judged = match again.status {
                404 => (Standing::Conforms, "404".to_owned()),
                _ => (Standing::Deviates, again.outcome()),
            };
            self.findings.note("delete.again", "deleting it again", "404", judged);
        }
        Ok(())
    }
}

/// What is at a place; of several elements, the first that has something there.
fn at<'a>(resource: &'a Attributes, place: &[&str]) -> Option<&'a Value> {
    let (first, rest) = place.split_first()?;
    let value = attribute(resource, first)?;
    match (value, rest) {
        (value, []) => Some(value),
        (Value::Object(inner), rest) => at(inner, rest),
        (Value::Array(elements), rest) => {
            elements.iter().filter_map(Value::as_object).find_map(|inner| at(inner, rest))
        }
        _ => None,
    }
}
