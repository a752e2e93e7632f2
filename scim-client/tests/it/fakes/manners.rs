//! What a server may do differently.

/// A server's habits. [`Manners::strict`] has them all as RFC 7644 says.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    pub(crate) name: &'static str,
    /// The path of the base.
    pub(crate) base_path: &'static str,
    pub(crate) filters: Filters,
    /// Whether the name of a user is found in any case, as `caseExact: false` wants it.
    pub(crate) finds_names_in_any_case: bool,
    /// Whether a list may be asked for without a filter.
    pub(crate) lists_without_filter: bool,
    pub(crate) pages: Pages,
    pub(crate) page_max: usize,
    pub(crate) empty_list: EmptyList,
    /// `totalResults` as text.
    pub(crate) total_as_text: bool,
    pub(crate) bulk: bool,
    pub(crate) search: bool,
    pub(crate) me: bool,
    pub(crate) sort: bool,
    pub(crate) versions: bool,
    pub(crate) discovery: bool,
    /// Where it says what it can do.
    pub(crate) config_endpoint: &'static str,
    /// `Patch` answers 200 with the resource, or 204.
    pub(crate) patch_answers_resource: bool,
    pub(crate) locations: Locations,
    /// Whether `Replace` is `replace`.
    pub(crate) verbs_in_any_case: bool,
    /// Whether `"False"` is `false`, and how it is written.
    pub(crate) booleans: Booleans,
    /// What a removal of `members` with a value and without a filter does.
    pub(crate) removal_with_value: RemovalWithValue,
    pub(crate) removal_by_filter: bool,
    /// Whether a path with a filter may change elements.
    pub(crate) changes_elements_by_filter: bool,
    pub(crate) replaces_members: bool,
    pub(crate) members_per_patch_max: Option<usize>,
    pub(crate) adds_members_twice: AddedTwice,
    pub(crate) emails_max: Option<usize>,
    pub(crate) user_agent_wanted: bool,
    pub(crate) csrf: bool,
    pub(crate) id_prefixes: Option<(&'static str, &'static str)>,
    pub(crate) upper_case_names: bool,
    pub(crate) disabled: Disabled,
    pub(crate) deleted: Deleted,
    /// Whether errors carry `scimType`.
    pub(crate) scim_types: bool,
    /// Whether a user that is deactivated is left out of lists, though its name stays taken.
    pub(crate) hides_inactive: bool,
    /// How much is welcome, of those who are metered ([`Fake::metered`](super::Fake::metered)).
    pub(crate) welcome: Welcome,
    pub(crate) unknown_attributes: Unknown,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Filters {
    Full,
    EqualAnd,
    Equal,
    /// `eq` of `userName` or `displayName` alone.
    EqualOfName,
    /// Every filter is accepted and none is applied.
    Ignored,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Pages {
    IndexAndCursor,
    Index,
    /// Everything in one answer, whatever was asked.
    None,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum EmptyList {
    Array,
    Null,
    NotFound,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Locations {
    Absolute,
    Relative,
    None,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Booleans {
    Json,
    /// Text is taken, JSON is given.
    TextTaken,
    /// Text is taken and given.
    TextGiven,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RemovalWithValue {
    /// As RFC 7644 §3.5.2.2 has it, which knows no value here: all elements go.
    RemovesAll,
    /// Those that the value names go.
    RemovesNamed,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AddedTwice {
    /// Nothing is done, and that is success (RFC 7644 §3.5.2.1).
    IsNothing,
    Conflicts,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Disabled {
    Kept,
    /// `active: false` deletes.
    Deleted,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Deleted {
    Gone,
    /// `DELETE` sets `active: false`.
    Disabled,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unknown {
    Ignored,
    Refused,
}

/// How many requests are welcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Welcome {
    Everything,
    /// Writes, so many a minute and so many at once; what is beyond is told when there is room again.
    Writes {
        per_minute: u32,
        burst: u32,
    },
    /// All, so many in a minute; whoever asks for more is refused for a minute.
    All {
        per_minute_max: u32,
    },
}

impl Manners {
    pub(crate) fn strict() -> Self {
        Self {
            name: "strict",
            base_path: "/scim/v2",
            filters: Filters::Full,
            finds_names_in_any_case: true,
            lists_without_filter: true,
            pages: Pages::IndexAndCursor,
            page_max: 200,
            empty_list: EmptyList::Array,
            total_as_text: false,
            bulk: true,
            search: true,
            me: true,
            sort: true,
            versions: true,
            discovery: true,
            config_endpoint: "ServiceProviderConfig",
            patch_answers_resource: true,
            locations: Locations::Absolute,
            verbs_in_any_case: false,
            booleans: Booleans::Json,
            removal_with_value: RemovalWithValue::RemovesAll,
            removal_by_filter: true,
            changes_elements_by_filter: true,
            replaces_members: true,
            members_per_patch_max: None,
            adds_members_twice: AddedTwice::IsNothing,
            emails_max: None,
            user_agent_wanted: false,
            csrf: false,
            id_prefixes: None,
            upper_case_names: false,
            disabled: Disabled::Kept,
            deleted: Deleted::Gone,
            scim_types: true,
            hides_inactive: false,
            welcome: Welcome::Everything,
            unknown_attributes: Unknown::Refused,
        }
    }
    /// Without what RFC 7644 makes optional.
    pub(crate) fn minimal() -> Self {
        Self {
            pages: Pages::Index,
            bulk: false,
            search: false,
            me: false,
            sort: false,
            versions: false,
            unknown_attributes: Unknown::Ignored,
            ..Self::strict()
        }
    }
}
