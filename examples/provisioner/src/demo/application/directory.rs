//! What a demo application knows: users and groups, in memory and in a file that outlives it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use chrono::{SecondsFormat, Utc};
use scim_client::filter::Filter;
use scim_client::message::PatchOp;
use scim_client::patch;
use scim_client::resource::Attributes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Most resources of one kind: a demo that is fed by a program must not fill the memory.
const RESOURCES_MAX: usize = 100_000;

/// The two kinds of resources.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
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

/// The groups that each user is in.
type Rights<'a> = BTreeMap<&'a str, Vec<&'a Attributes>>;

/// One change of a resource, as its file has it; without the resource, it is gone.
#[derive(Serialize, Deserialize)]
struct Change {
    kind: Kind,
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource: Option<Attributes>,
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
        let text = match std::fs::read_to_string(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            other => other?,
        };
        // A line that a crash has torn is of a change that nobody was told of.
        for change in text.lines().filter_map(|line| serde_json::from_str::<Change>(line).ok()) {
            let number = change.id.rsplit('-').next().and_then(|number| number.parse::<u64>().ok());
            directory.next = directory.next.max(number.unwrap_or(0).saturating_add(1));
            match change.resource {
                Some(resource) => drop(directory.of_mut(change.kind).insert(change.id, resource)),
                None => drop(directory.of_mut(change.kind).remove(&change.id)),
            }
        }
        let mut kept = String::new();
        for kind in [Kind::User, Kind::Group] {
            kept.extend(directory.of(kind).keys().map(|id| directory.change(kind, id)));
        }
        let fresh = file.with_extension("new");
        std::fs::write(&fresh, kept)?;
        std::fs::rename(&fresh, file)?;
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
    fn shown(&self, kind: Kind, resource: &Attributes, base: &str, rights: &Rights<'_>) -> Attributes {
        let mut shown = resource.clone();
        shown.retain(|name, _| !name.eq_ignore_ascii_case("password"));
        let id = text(resource, "id").unwrap_or_default();
        if let Some(Value::Object(meta)) = shown.get_mut("meta") {
            meta.insert("location".to_owned(), json!(format!("{base}/{}/{id}", kind.endpoint())));
        }
        if let Some(groups) = rights.get(id).filter(|_| kind == Kind::User) {
            let groups = groups
                .iter()
                .map(|group| json!({"value": group.get("id"), "display": group.get("displayName")}))
                .collect();
            shown.insert("groups".to_owned(), Value::Array(groups));
        }
        shown
    }

    fn rights(&self) -> Rights<'_> {
        let mut rights = Rights::new();
        for group in self.groups.values() {
            for member in members(group) {
                rights.entry(member).or_default().push(group);
            }
        }
        rights
    }

    pub(super) fn get(&self, kind: Kind, id: &str, base: &str) -> Result<Attributes, Refusal> {
        let resource = self.of(kind).get(id).ok_or_else(|| missing(kind, id))?;
        Ok(self.shown(kind, resource, base, &self.rights()))
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
        let rights = self.rights();
        let mut total = 0usize;
        let mut page = Vec::new();
        // To look at what lies there costs less than to look at what is shown of it, and is as good for most attributes.
        let is_plain = filter.is_none_or(|filter| {
            let text = filter.to_string().to_ascii_lowercase();
            !["groups", "password", "meta"].iter().any(|made| text.contains(made))
        });
        let matches = |resource: &Attributes| filter.is_none_or(|filter| filter.matches(resource));
        for resource in self.of(kind).values() {
            if is_plain && !matches(resource) {
                continue;
            }
            let is_wanted = total + 1 >= start && page.len() < count;
            if is_plain && !is_wanted {
                total += 1;
                continue;
            }
            let shown = self.shown(kind, resource, base, &rights);
            if is_plain || matches(&shown) {
                total += 1;
                if is_wanted {
                    page.push(shown);
                }
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
        self.keep(kind, &id)?;
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
        let mut left = Vec::new();
        for (group, resource) in &mut self.groups {
            if let Some(Value::Array(members)) = resource.get_mut("members") {
                let before = members.len();
                members.retain(|member| member.get("value").and_then(Value::as_str) != Some(id));
                if members.len() < before {
                    left.push(group.clone());
                }
            }
        }
        left.iter().try_for_each(|group| self.keep(Kind::Group, group))?;
        self.keep(kind, id)
    }

    fn put(&mut self, kind: Kind, id: &str, mut resource: Attributes) -> Result<(), Refusal> {
        self.check(kind, Some(id), &resource)?;
        if let Some(Value::Object(meta)) = resource.get_mut("meta") {
            meta.insert("lastModified".to_owned(), json!(now()));
        }
        self.of_mut(kind).insert(id.to_owned(), resource);
        self.keep(kind, id)
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

    /// Writes a change to the file: what an application has done, it has done.
    fn keep(&self, kind: Kind, id: &str) -> Result<(), Refusal> {
        std::fs::OpenOptions::new()
            .append(true)
            .open(&self.file)
            .and_then(|mut file| file.write_all(self.change(kind, id).as_bytes()))
            .map_err(|error| Refusal::new(500, format!("cannot keep what changed: {error}")))
    }

    fn change(&self, kind: Kind, id: &str) -> String {
        let change = Change { kind, id: id.to_owned(), resource: self.of(kind).get(id).cloned() };
        // INVARIANT: what came from JSON can be written as JSON.
        serde_json::to_string(&change).unwrap_or_default() + "\n"
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
