//! Operations written by hand.

use serde_json::{Value, json};

use crate::filter::Filter;
use crate::message::{PatchOp, PatchOperation, PatchVerb};
use crate::path::{AttributePath, Path};
use crate::resource::ResourceId;

impl PatchOp {
    /// No operation yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// And adds `value` at `path`: to the elements of a multi-valued attribute, to the sub-attributes of a complex one,
    /// in place of any other.
    #[must_use]
    pub fn add(self, path: Path, value: impl Into<Value>) -> Self {
        self.with(PatchVerb::Add, Some(path), Some(value.into()))
    }

    /// And puts `value` at `path` in place of what is there. The sub-attributes of a complex attribute that `value` does
    /// not name stay (RFC 7644 §3.5.2.3).
    #[must_use]
    pub fn replace(self, path: Path, value: impl Into<Value>) -> Self {
        self.with(PatchVerb::Replace, Some(path), Some(value.into()))
    }

    /// And removes what is at `path`.
    #[must_use]
    pub fn remove(self, path: Path) -> Self {
        self.with(PatchVerb::Remove, Some(path), None)
    }

    /// And adds these to the members of a group.
    #[must_use]
    pub fn add_members<'a>(self, ids: impl IntoIterator<Item = &'a ResourceId>) -> Self {
        let members: Vec<Value> = ids.into_iter().map(|id| json!({ "value": id.as_str() })).collect();
        if members.is_empty() {
            return self;
        }
        self.add(members_path(), members)
    }

    /// And removes these from the members of a group.
    #[must_use]
    pub fn remove_members<'a>(self, ids: impl IntoIterator<Item = &'a ResourceId>) -> Self {
        ids.into_iter().fold(self, |patch, id| patch.remove(member_path(id.as_str())))
    }

    pub(super) fn with(mut self, verb: PatchVerb, path: Option<Path>, value: Option<Value>) -> Self {
        self.operations.push(PatchOperation { verb, path, value });
        self
    }
}

pub(super) fn members_path() -> Path {
    Path::from(AttributePath::named("members"))
}

/// `members[value eq "…"]`
pub(super) fn member_path(id: &str) -> Path {
    members_path().elements(equals("value", id))
}

/// `sub eq "text"`
pub(super) fn equals(sub: &str, text: &str) -> Filter {
    AttributePath::named(sub).equals(text)
}
