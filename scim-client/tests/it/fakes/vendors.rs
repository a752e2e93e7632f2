//! Vendors' servers as their documentation describes them. Nothing here was recorded.
//!
//! The documents are those of the presets (`scim_client::dialect::Preset::switches`). Where they do not speak of something that
//! RFC 7644 makes optional, the fake has it not.

use super::*;

impl Fake {
    /// All vendors.
    pub(crate) fn vendors() -> Vec<Self> {
        vec![
            Self::aws_identity_center(),
            Self::google_cloud_identity(),
            Self::sap_cloud_identity(),
            Self::sap_s4hana(),
            Self::github(),
            Self::slack(),
            Self::salesforce(),
            Self::pagerduty(),
            Self::lenient(),
            Self::careless(),
        ]
    }

    /// AWS IAM Identity Center Developer Guide, "SCIM Profile and SAML 2.0 implementation".
    pub(crate) fn aws_identity_center() -> Self {
        Self::with(Manners {
            name: "AWS IAM Identity Center",
            filters: Filters::EqualAnd,
            pages: Pages::None,
            page_max: 50,
            removal_by_filter: false,
            removal_with_value: RemovalWithValue::RemovesNamed,
            replaces_members: false,
            members_per_patch_max: Some(100),
            emails_max: Some(1),
            ..Manners::minimal()
        })
    }

    /// Google Cloud Identity documentation, "SCIM API limitations".
    pub(crate) fn google_cloud_identity() -> Self {
        Self::with(Manners {
            name: "Google Cloud Identity",
            filters: Filters::EqualOfName,
            lists_without_filter: false,
            pages: Pages::None,
            page_max: usize::MAX,
            ..Manners::minimal()
        })
    }

    /// SAP Cloud Identity Services documentation, "Identity Directory SCIM REST API" and "Rate Limiting and Throttling".
    pub(crate) fn sap_cloud_identity() -> Self {
        Self::with(Manners {
            name: "SAP Cloud Identity Services",
            base_path: "/scim",
            page_max: 100,
            welcome: Welcome::All { per_minute_max: 280 },
            bulk: true,
            search: true,
            ..Manners::minimal()
        })
    }

    /// SAP Help, "SCIM Interface for Identity and Access Management" (SAP_COM_0465) and "SAP S/4HANA Cloud Public Edition"
    /// of Identity Provisioning.
    pub(crate) fn sap_s4hana() -> Self {
        Self::with(Manners {
            name: "SAP S/4HANA Cloud",
            base_path: "/sap/bc/http/sap/aps_iam_api_scim",
            patch_answers_resource: false,
            locations: Locations::Relative,
            members_per_patch_max: Some(50),
            csrf: true,
            id_prefixes: Some(("CB", "BUGR_")),
            upper_case_names: true,
            ..Manners::minimal()
        })
    }

    /// GitHub Docs, "REST API endpoints for SCIM" (Enterprise Managed Users).
    pub(crate) fn github() -> Self {
        Self::with(Manners {
            name: "GitHub",
            filters: Filters::Equal,
            user_agent_wanted: true,
            removal_by_filter: false,
            removal_with_value: RemovalWithValue::RemovesNamed,
            changes_elements_by_filter: false,
            ..Manners::minimal()
        })
    }

    /// Slack API documentation, "SCIM API" and its rate limits.
    pub(crate) fn slack() -> Self {
        Self::with(Manners {
            name: "Slack",
            page_max: 1000,
            deleted: Deleted::Disabled,
            welcome: Welcome::Writes { per_minute: 180, burst: 20 },
            ..Manners::minimal()
        })
    }

    /// Salesforce Help, "SCIM": users are deactivated and never deleted.
    pub(crate) fn salesforce() -> Self {
        Self::with(Manners {
            name: "Salesforce",
            config_endpoint: "ServiceProviderConfigs",
            deleted: Deleted::Disabled,
            ..Manners::minimal()
        })
    }

    /// PagerDuty documentation, "SCIM": a user that is deactivated is deleted.
    pub(crate) fn pagerduty() -> Self {
        Self::with(Manners {
            name: "PagerDuty",
            page_max: 100,
            disabled: Disabled::Deleted,
            ..Manners::minimal()
        })
    }

    /// No vendor: everything that servers written for Entra's and Okta's clients are seen to do, at once.
    pub(crate) fn lenient() -> Self {
        Self::with(Manners {
            name: "lenient",
            empty_list: EmptyList::NotFound,
            total_as_text: true,
            bulk: false,
            me: false,
            discovery: false,
            pages: Pages::Index,
            patch_answers_resource: false,
            locations: Locations::None,
            verbs_in_any_case: true,
            booleans: Booleans::TextGiven,
            removal_with_value: RemovalWithValue::RemovesNamed,
            removal_by_filter: false,
            scim_types: false,
            unknown_attributes: Unknown::Ignored,
            versions: false,
            ..Manners::strict()
        })
    }

    /// No vendor: what makes a client adopt strangers and lose members, if it lets it.
    pub(crate) fn careless() -> Self {
        Self::with(Manners {
            name: "careless",
            filters: Filters::Ignored,
            empty_list: EmptyList::Null,
            finds_names_in_any_case: false,
            pages: Pages::None,
            page_max: usize::MAX,
            bulk: false,
            search: false,
            me: false,
            sort: false,
            versions: false,
            adds_members_twice: AddedTwice::Conflicts,
            booleans: Booleans::TextTaken,
            hides_inactive: true,
            ..Manners::strict()
        })
    }
}
