//! What a demo application knows: users and groups, in memory and in a file that outlives it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};
use scim_client::filter::Filter;
use scim_client::message::PatchOp;
use scim_client::patch;
use scim_client::resource::Attributes;
use serde_json::{Map, Value, json};

/// Most resources of one kind: a demo that is fed by a program must not fill the memory.
const RESOURCES_MAX: usize = 100_000;

/// The two kinds of resources.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    User,
    Group,
}

impl Kind {
    pub(super) fn of_endpoint(endpoint: &str) -> Option<Self> {
        match endpoint {
            "Users" => Some(Self::User),
            "Groups" => Some(Self::Group),
            _ => None,
        }
    }

    pub(super) fn endpoint(self) -> &'static str {
        match self {
            Self::User => "Users",
            Self::Group => "Groups",
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::User => "User",
            Self::Group => "Group",
        }
    }

    fn schema(self) -> &'static str {
        match self {
            Self::User => scim_client::urn::USER,
            Self::Group => scim_client::urn::GROUP,
        }
    }

    /// What no two of them may share.
    fn unique(self) -> &'static str {
        match self {
            Self::User => "userName",
            Self::Group => "displayName",
        }
    }
}

/// Why a request is refused: status, `scimType` and a sentence.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) scim_type: Option<&'static str>,
    pub(super) detail: String,
}

impl Refusal {
    pub(super) fn new(status: u16, detail: impl Into<String>) -> Self {
        Self { status, scim_type: None, detail: detail.into() }
    }

    pub(super) fn bad(scim_type: &'static str, detail: impl Into<String>) -> Self {
        Self { status: 400, scim_type: Some(scim_type), detail: detail.into() }
    }
}

/// The resources of one application.
pub(super) struct Directory {
    file: PathBuf,
    users: BTreeMap<String, Attributes>,
    groups: BTreeMap<String, Attributes>,
    next: u64,
}

impl Directory {
    /// Reads what an earlier run left in `file`.
    pub(super) fn open(file: &Path) -> Result<Self, std::io::Error> {
        let mut directory =
            Self { file: file.to_owned(), users: BTreeMap::new(), groups: BTreeMap::new(), next: 1 };
        match std::fs::read(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(text) => {
                let mut kept: Value = serde_json::from_slice(&text)?;
                directory.next = kept.get("next").and_then(Value::as_u64).unwrap_or(1);
                for (kind, name) in [(Kind::User, "users"), (Kind::Group, "groups")] {
                    let resources = kept.get_mut(name).and_then(Value::as_object_mut).map(std::mem::take);
                    *directory.of_mut(kind) = resources
                        .into_iter()
                        .flatten()
                        .filter_map(|(id, resource)| match resource {
                            Value::Object(resource) => Some((id, resource)),
                            _ => None,
                        })
                        .collect();
                }
            }
        }
        Ok(directory)
    }

    fn of(&self, kind: Kind) -> &BTreeMap<String, Attributes> {
        match kind {
            Kind::User => &self.users,
            Kind::Group => &self.groups,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut BTreeMap<String, Attributes> {
        match kind {
            Kind::User => &mut self.users,
            Kind::Group => &mut self.groups,
        }
    }

    /// As the application shows it: without the password, users with the groups that they are in.
    fn shown(&self, kind: Kind, resource: &Attributes, base: &str) -> Attributes {
        let mut shown = resource.clone();
        shown.retain(|name, _| !name.eq_ignore_ascii_case("password"));
        let id = text(resource, "id").unwrap_or_default().to_owned();
        if let Some(Value::Object(meta)) = shown.get_mut("meta") {
            meta.insert("location".to_owned(), json!(format!("{base}/{}/{id}", kind.endpoint())));
        }
        if kind == Kind::User {
            let groups: Vec<Value> = self
                .groups
                .values()
                .filter(|group| members(group).any(|member| member == id))
                .map(|group| json!({"value": group.get("id"), "display": group.get("displayName")}))
                .collect();
            if !groups.is_empty() {
                shown.insert("groups".to_owned(), Value::Array(groups));
            }
        }
        shown
    }

    pub(super) fn get(&self, kind: Kind, id: &str, base: &str) -> Result<Attributes, Refusal> {
        let resource = self.of(kind).get(id).ok_or_else(|| missing(kind, id))?;
        Ok(self.shown(kind, resource, base))
    }

    /// One page of those for which the filter holds, and how many there are.
    pub(super) fn list(
        &self,
        kind: Kind,
        filter: Option<&Filter>,
        start: usize,
        count: usize,
        base: &str,
    ) -> (usize, Vec<Attributes>) {
        let mut total = 0usize;
        let mut page = Vec::new();
        for resource in self.of(kind).values() {
            let shown = self.shown(kind, resource, base);
            if filter.is_some_and(|filter| !filter.matches(&shown)) {
                continue;
            }
            total += 1;
            if total >= start && page.len() < count {
                page.push(shown);
            }
        }
        (total, page)
    }

    pub(super) fn create(
        &mut self,
        kind: Kind,
        mut resource: Attributes,
        base: &str,
    ) -> Result<Attributes, Refusal> {
        if self.of(kind).len() >= RESOURCES_MAX {
            return Err(Refusal::new(507, "there is no room for more"));
        }
        self.check(kind, None, &resource)?;
        let id = format!("{}-{}", if kind == Kind::User { "u" } else { "g" }, self.next);
        self.next += 1;
        let now = now();
        resource.retain(|name, _| !["id", "meta", "groups"].iter().any(|own| name.eq_ignore_ascii_case(own)));
        if kind == Kind::User && !resource.keys().any(|name| name.eq_ignore_ascii_case("active")) {
            resource.insert("active".to_owned(), json!(true));
        }
        resource.entry("schemas").or_insert_with(|| json!([kind.schema()]));
        resource.insert("id".to_owned(), json!(id));
        resource.insert(
            "meta".to_owned(),
            json!({"resourceType": kind.name(), "created": now, "lastModified": now}),
        );
        self.of_mut(kind).insert(id.clone(), resource);
        self.keep()?;
        self.get(kind, &id, base)
    }

    pub(super) fn replace(
        &mut self,
        kind: Kind,
        id: &str,
        mut resource: Attributes,
        base: &str,
    ) -> Result<Attributes, Refusal> {
        let old = self.of(kind).get(id).ok_or_else(|| missing(kind, id))?;
        let own = ["id", "meta", "password"];
        resource.retain(|name, _| !own.iter().chain(&["groups"]).any(|own| name.eq_ignore_ascii_case(own)));
        for name in own {
            if let Some(value) = old.get(name) {
                resource.insert(name.to_owned(), value.clone());
            }
        }
        self.put(kind, id, resource)?;
        self.get(kind, id, base)
    }

    pub(super) fn patch(
        &mut self,
        kind: Kind,
        id: &str,
        operations: &PatchOp,
        base: &str,
    ) -> Result<Attributes, Refusal> {
        let mut resource = self.of(kind).get(id).ok_or_else(|| missing(kind, id))?.clone();
        let refused = |error: patch::ApplyError| Refusal {
            status: 400,
            scim_type: Some("invalidValue"),
            detail: error.to_string(),
        };
        let operations = patch::normalise(operations).map_err(refused)?;
        patch::apply(&mut resource, &operations).map_err(refused)?;
        self.put(kind, id, resource)?;
        self.get(kind, id, base)
    }

    pub(super) fn delete(&mut self, kind: Kind, id: &str) -> Result<(), Refusal> {
        self.of_mut(kind).remove(id).ok_or_else(|| missing(kind, id))?;
        for group in self.groups.values_mut() {
            if let Some(Value::Array(members)) = group.get_mut("members") {
                members.retain(|member| member.get("value").and_then(Value::as_str) != Some(id));
            }
        }
        self.keep()
    }

    fn put(&mut self, kind: Kind, id: &str, mut resource: Attributes) -> Result<(), Refusal> {
        self.check(kind, Some(id), &resource)?;
        if let Some(Value::Object(meta)) = resource.get_mut("meta") {
            meta.insert("lastModified".to_owned(), json!(now()));
        }
        self.of_mut(kind).insert(id.to_owned(), resource);
        self.keep()
    }

    fn check(&self, kind: Kind, id: Option<&str>, resource: &Attributes) -> Result<(), Refusal> {
        let name = kind.unique();
        let wanted = text(resource, name)
            .filter(|wanted| !wanted.trim().is_empty())
            .ok_or_else(|| Refusal::bad("invalidValue", format!("`{name}` is required")))?;
        if let Some(active) = attribute(resource, "active")
            && !active.is_boolean()
        {
            return Err(Refusal::bad("invalidValue", "`active` is true or false"));
        }
        let taken = self.of(kind).iter().any(|(other, resource)| {
            Some(other.as_str()) != id
                && text(resource, name).is_some_and(|text| text.to_lowercase() == wanted.to_lowercase())
        });
        if taken {
            return Err(Refusal {
                status: 409,
                scim_type: Some("uniqueness"),
                detail: format!("another {} has this `{name}`", kind.name()),
            });
        }
        if kind == Kind::Group
            && let Some(stranger) = members(resource).find(|member| !self.users.contains_key(*member))
        {
            return Err(Refusal::bad("invalidValue", format!("there is no user `{stranger}`")));
        }
        Ok(())
    }

    /// Writes all of it to the file: what an application has done, it has done.
    fn keep(&self) -> Result<(), Refusal> {
        let all = json!({"next": self.next, "users": self.users, "groups": self.groups});
        let fresh = self.file.with_extension("new");
        std::fs::write(&fresh, all.to_string())
            .and_then(|()| std::fs::rename(&fresh, &self.file))
            .map_err(|error| Refusal::new(500, format!("cannot keep what changed: {error}")))
    }
}

fn attribute<'a>(resource: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    resource.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn text<'a>(resource: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    attribute(resource, name).and_then(Value::as_str)
}

fn members(group: &Attributes) -> impl Iterator<Item = &str> {
    group
        .get("members")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|member| member.get("value").and_then(Value::as_str))
}

fn missing(kind: Kind, id: &str) -> Refusal {
    Refusal::new(404, format!("there is no {} `{id}`", kind.name()))
}

fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true)
}
