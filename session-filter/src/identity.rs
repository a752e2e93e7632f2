//! Who asks, and for what: the two names that every rule speaks about.

use serde::{Deserialize, Serialize};

/// A person (or a service) as the authenticator named them, with the roles they hold.
///
/// A user whose id happens to read `role:vendor` or `*` is matched by that id alone: ids and roles are kept
/// apart, so a name can never pass for a role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct User {
    id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
}

impl User {
    /// A user without roles.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), roles: Vec::new() }
    }

    /// The same user, also holding `role` (without the `role:` that policy files write before it).
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.roles.push(role.into());
        self
    }

    /// The name that the authenticator established.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The roles held, in the order they were added.
    pub fn roles(&self) -> &[String] {
        &self.roles
    }
}

/// A machine that sessions go to, with the tags it carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    id: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
}

impl Target {
    /// A target without tags.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), tags: Vec::new() }
    }

    /// The same target, also carrying `tag` (without the `tag:` that policy files write before it).
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// The name that the inventory knows.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The tags carried, in the order they were added.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }
}
