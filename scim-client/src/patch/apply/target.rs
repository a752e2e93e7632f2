//! What a path's attribute is in a resource.

use super::Applier;
use crate::patch::name;
use crate::path::AttributePath;

/// Where a path leads.
pub(super) enum Target {
    /// To the resource itself.
    Resource,
    /// To an extension.
    Extension(String),
    /// To an attribute of an extension or of the resource itself.
    Attribute(Option<String>, String),
}

impl Applier<'_> {
    /// A URN alone cannot be told from an attribute by its form: `…:2.0:User` may be the attribute `User`. What the
    /// resource speaks of decides.
    pub(super) fn target(&self, path: &AttributePath) -> Target {
        let Some(schema) = &path.schema else {
            return match name::is_urn(&path.name) {
                true => self.schema(&path.name),
                false => Target::Attribute(None, path.name.clone()),
            };
        };
        let alone = format!("{schema}:{}", path.name);
        if alone.eq_ignore_ascii_case(name::ENTERPRISE)
            || name::is_core_alone(&alone)
            || self.is_known(&alone)
        {
            return self.schema(&alone);
        }
        let urn = (!self.is_own(schema)).then(|| schema.clone());
        Target::Attribute(urn, path.name.clone())
    }

    /// What a URN alone is, which the path took for a schema's: its last part may be an attribute's name.
    fn schema(&self, urn: &str) -> Target {
        if !self.is_known(urn)
            && let Some((schema, name)) = urn.rsplit_once(':')
            && self.is_known(schema)
        {
            let urn = (!self.is_own(schema)).then(|| schema.to_owned());
            return Target::Attribute(urn, name.to_owned());
        }
        if self.is_own(urn) { Target::Resource } else { Target::Extension(urn.to_owned()) }
    }

    /// Whether the resource speaks of a schema.
    fn is_known(&self, urn: &str) -> bool {
        name::key_of(self.resource, urn).is_some()
            || name::schemas(self.resource).any(|known| known.eq_ignore_ascii_case(urn))
    }

    /// Whether the attributes of this schema stand in the resource itself.
    fn is_own(&self, urn: &str) -> bool {
        if name::is_core(urn) {
            return true;
        }
        let mut schemas = name::schemas(self.resource);
        name::key_of(self.resource, urn).is_none()
            && schemas.next().is_some_and(|only| only.eq_ignore_ascii_case(urn))
            && schemas.next().is_none()
    }
}
