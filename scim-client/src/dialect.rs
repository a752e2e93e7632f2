//! What a server does differently from RFC 7644, switch by switch.
//!
//! A [`Preset`] says for each of its switches what the vendor's documentation says and where. None of them was tried with
//! the vendor's service: they are as good as those documents.

mod preset;

pub use preset::{Preset, Switch};

/// How to speak with one server. Made by a preset and changed switch by switch:
///
/// ```
/// use scim_client::dialect::{Dialect, Paging};
///
/// let dialect = Dialect::slack().with(|dialect| dialect.paging = Paging::Index);
/// assert_eq!(dialect.requests_per_minute, Some(180));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Dialect {
    /// The preset's name, for reports.
    pub name: &'static str,
    /// What filters it can read.
    pub filters: FilterForm,
    /// How changes are sent.
    pub update: Update,
    /// How a PATCH is written.
    pub patch: PatchForm,
    /// Whether verbs of a PATCH are written `replace` or `Replace`.
    pub verbs: VerbCase,
    /// How booleans are written.
    pub booleans: BooleanForm,
    /// How members leave a group.
    pub member_removal: MemberRemoval,
    /// How many members one PATCH may touch.
    pub members_per_patch_max: Option<usize>,
    /// How lists are paged.
    pub paging: Paging,
    /// The largest page it gives.
    pub page_size_max: Option<usize>,
    /// Whether `/Bulk` may be used; `Discover` asks `ServiceProviderConfig`.
    pub bulk: Support,
    /// Whether `/.search` may be used.
    pub search_post: Support,
    /// Whether `/Me` may be used.
    pub me: Support,
    /// Whether `sortBy` may be used.
    pub sort: Support,
    /// Whether `attributes` and `excludedAttributes` may be used; where not, answers show more than was asked for.
    pub attribute_selection: Support,
    /// Whether there are lists without a filter; where not, none is asked for.
    pub unfiltered_lists: Support,
    /// Where the server says what it can do, below its base.
    pub config_path: &'static str,
    /// How the identifiers of groups begin whose members can be changed and nothing else.
    pub membership_only: &'static [&'static str],
    /// When `If-Match` is sent.
    pub if_match: IfMatch,
    /// What `active: false` and `DELETE` do.
    pub deprovision: DeprovisionEffect,
    /// Whether a 404 to a filtered list means that nothing matches.
    pub not_found_is_empty: bool,
    /// Whether writes need a CSRF token fetched first.
    pub csrf: bool,
    /// How many requests per minute are welcome.
    pub requests_per_minute: Option<u32>,
}

/// What filters a server can read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum FilterForm {
    /// The whole grammar.
    Full,
    /// The whole grammar, but `and` does not bind tighter than `or`: where both stand, parentheses say what belongs
    /// together.
    Grouped,
    /// `eq` and `and`.
    EqualAnd,
    /// One `eq`.
    Equal,
}

/// How changes are sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Update {
    /// PATCH.
    Patch,
    /// GET, then PUT of the whole resource.
    Replace,
}

/// How a PATCH is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum PatchForm {
    /// As the difference gives it: each with a path, elements chosen by filters.
    Standard,
    /// One operation an attribute, each with a path, no filter addressing a whole element.
    PerAttribute,
    /// One operation an attribute, each with a path without a filter: where an element changes, the attribute is written
    /// as a whole.
    Unfiltered,
    /// One `replace` without a path whose value holds all attributes.
    Pathless,
}

/// How verbs are written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum VerbCase {
    /// `replace`
    #[default]
    Lower,
    /// `Replace`
    Title,
}

/// How booleans are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BooleanForm {
    /// `false`
    Json,
    /// `"False"`
    Text,
}

/// How members leave a group.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MemberRemoval {
    /// `{"op":"remove","path":"members[value eq \"…\"]"}`
    Filter,
    /// `{"op":"remove","path":"members","value":[{"value":"…"}]}`
    Value,
    /// `{"op":"replace","path":"members","value":[…those who stay…]}`
    Replace,
}

/// How lists are paged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Paging {
    /// By cursor where the server offers it, else by index.
    Discover,
    /// `startIndex`, `count`.
    Index,
    /// `cursor` (RFC 9865).
    Cursor,
    /// Everything in one answer.
    None,
}

/// Whether something may be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Support {
    /// It may.
    Yes,
    /// It may not.
    No,
    /// `ServiceProviderConfig` says.
    Discover,
}

/// When `If-Match` is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum IfMatch {
    /// Never.
    Never,
    /// With the entity tag of the resource, where there is one.
    WhenKnown,
    /// `*` with every write.
    Any,
}

/// What `active: false` and `DELETE` do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DeprovisionEffect {
    /// What `active: false` does.
    pub disable: DisableEffect,
    /// What `DELETE` does.
    pub delete: DeleteEffect,
}

/// What `active: false` does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DisableEffect {
    /// The account stays and cannot be used.
    Disables,
    /// The account is gone.
    Deletes,
    /// Nothing; there is no such attribute.
    Unsupported,
}

/// What `DELETE` does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DeleteEffect {
    /// The account is gone.
    Deletes,
    /// The account is gone and cannot be made anew.
    DeletesForever,
    /// The account stays and cannot be used.
    Disables,
    /// It is refused.
    Unsupported,
}

impl Dialect {
    /// As RFC 7644 says; what is optional there is discovered.
    pub fn rfc7644() -> Self {
        Self {
            name: "rfc7644",
            filters: FilterForm::Full,
            update: Update::Patch,
            patch: PatchForm::Standard,
            verbs: VerbCase::Lower,
            booleans: BooleanForm::Json,
            member_removal: MemberRemoval::Filter,
            members_per_patch_max: None,
            paging: Paging::Discover,
            page_size_max: None,
            bulk: Support::Discover,
            search_post: Support::Yes,
            me: Support::Discover,
            sort: Support::Discover,
            attribute_selection: Support::Yes,
            unfiltered_lists: Support::Yes,
            config_path: "ServiceProviderConfig",
            membership_only: &[],
            if_match: IfMatch::WhenKnown,
            deprovision: DeprovisionEffect {
                disable: DisableEffect::Disables,
                delete: DeleteEffect::Deletes,
            },
            not_found_is_empty: false,
            csrf: false,
            requests_per_minute: None,
        }
    }

    /// With some switches changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Default for Dialect {
    fn default() -> Self {
        Self::rfc7644()
    }
}
