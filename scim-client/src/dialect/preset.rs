//! The presets, with the documents that they are from.

use super::{
    BooleanForm, DeleteEffect, Dialect, DisableEffect, FilterForm, IfMatch, MemberRemoval, Paging, PatchForm,
    Support, VerbCase,
};

/// A dialect that has a name, and where it is from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Preset {
    /// Its name in settings: `aws-identity-center`.
    pub name: &'static str,
    /// What it is for.
    pub title: &'static str,
    /// What it switches, compared with [`Dialect::rfc7644`].
    pub switches: &'static [Switch],
    make: fn() -> Dialect,
}

/// What a preset switches, and why.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Switch {
    /// The field of [`Dialect`], as Rust writes it.
    pub field: &'static str,
    /// Its value, as Rust writes it.
    pub value: &'static str,
    /// What the document says.
    pub says: &'static str,
    /// The document.
    pub source: &'static str,
}

impl Preset {
    /// The preset of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|preset| preset.name == name)
    }

    /// The dialect.
    pub fn dialect(&self) -> Dialect {
        (self.make)()
    }
}

macro_rules! presets {
    ($(
        $(#[$doc:meta])*
        $function:ident $name:literal $title:literal {
            $($($field:ident).+ = $value:expr, $says:literal, $source:expr;)*
        }
    )*) => {
        impl Preset {
            /// All of them.
            pub const ALL: &[Self] = &[
                Self { name: "rfc7644", title: "RFC 7644", switches: &[], make: Dialect::rfc7644 },
                $(Self {
                    name: $name,
                    title: $title,
                    switches: &[
                        $(Switch {
                            field: stringify!($($field).+),
                            value: stringify!($value),
                            says: $says,
                            source: $source,
                        },)*
                    ],
                    make: Dialect::$function,
                },)*
            ];
        }

        impl Dialect {
            $(
                $(#[$doc])*
                ///
                /// | switch | value | because |
                /// |---|---|---|
                $(#[doc = concat!("| `", stringify!($($field).+), "` | `", stringify!($value), "` | ", $says, " |")])*
                ///
                /// [`Preset::switches`] names the documents.
                pub fn $function() -> Self {
                    Self { name: $name, ..Self::rfc7644() }.with(|dialect| {
                        $(dialect.$($field).+ = $value;)*
                    })
                }
            )*
        }
    };
}

const INTEROP: &str = "Internet-Draft draft-zollner-scim-interop-profile";
const ENTRA_ISSUES: &str = "Microsoft Learn: Known issues and resolutions with SCIM 2.0 protocol compliance of the Microsoft \
                            Entra user provisioning service (requests without feature flag)";
const ENTRA_TUTORIAL: &str =
    "Microsoft Learn: Tutorial: Develop and plan provisioning for a SCIM endpoint in Microsoft Entra ID";
const OKTA: &str = "Okta Developer: Okta and SCIM Version 2.0";
const AWS_LIMITS: &str =
    "AWS: IAM Identity Center SCIM Implementation, Developer Guide: Limitations from SCIM specification";
const AWS_LIST: &str = "AWS: IAM Identity Center SCIM Implementation, Developer Guide: ListUsers";
const AWS_GROUP: &str = "AWS: IAM Identity Center SCIM Implementation, Developer Guide: PatchGroup";
const AWS_SSOSYNC: &str = "AWS Labs: ssosync, internal/aws/client.go";
const GOOGLE: &str = "Google Cloud: Cloud Identity SCIM API, Unsupported SCIM features";
const GOOGLE_LIST: &str = "Google Cloud: Cloud Identity SCIM API, Method: customers.v2.Users.list";
const GITHUB_REST: &str = "GitHub Docs: REST API endpoints for SCIM (enterprise administration)";
const GITHUB_DEPROVISIONING: &str = "GitHub Docs: Deprovisioning and reinstating users with SCIM";
const GITHUB_ORGANIZATION: &str = "GitHub Docs: REST API endpoints for SCIM (organizations)";
const SLACK: &str = "Slack Developer Docs: SCIM API reference";
const SLACK_LIMITS: &str = "Slack Developer Docs: SCIM API rate limits";
const SALESFORCE_SHEET: &str = "Salesforce Help: SCIM and REST API Reference Sheet";
const SALESFORCE_OVERVIEW: &str = "Salesforce Help: Manage Salesforce User Identities with SCIM";
const PAGERDUTY: &str = "PagerDuty Knowledge Base: SCIM User Provisioning, Assign or Deactivate Users";
const SAP_LIMITS: &str = "SAP Cloud Identity Services: Rate Limiting and Throttling";
const SAP_IAM: &str = "SAP BTP: SCIM Interface for IAM (SAP_COM_0465)";
const SAP_EXAMPLES: &str = "SAP BTP: Example: User Endpoint, Example: Group Endpoint (SAP_COM_0465)";
const SAP_TARGET: &str =
    "SAP Cloud Identity Services: SAP S/4HANA Cloud Public Edition as a target system (connector version 3)";

presets! {
    /// The SCIM 2.0 interoperability profile, for servers that follow it.
    interop_profile "interop-profile" "SCIM 2.0 Interoperability Profile" {
        filters = FilterForm::EqualAnd,
            "Clients use no operators but `eq` and `and`", INTEROP;
        patch = PatchForm::PerAttribute,
            "Every operation has a path, one operation an attribute, no filter that chooses a whole element", INTEROP;
        member_removal = MemberRemoval::Replace,
            "No filter chooses a whole element, and `remove` has no value: what is left to say is who stays", INTEROP;
        if_match = IfMatch::Never,
            "Clients send no conditional headers", INTEROP;
    }

    /// Servers made for Microsoft Entra ID as it is without the `aadOptscim062020` flag. With the flag Entra ID writes
    /// what RFC 7644 has, and so does [`Dialect::rfc7644`].
    entra "entra" "Servers made for Microsoft Entra ID" {
        filters = FilterForm::EqualAnd,
            "Entra ID uses the operators `eq` and `and` only", ENTRA_TUTORIAL;
        patch = PatchForm::PerAttribute,
            "Several attributes are several operations, each with a path", ENTRA_ISSUES;
        verbs = VerbCase::Title,
            "Entra ID writes `Add`, `Replace`, `Remove`", ENTRA_TUTORIAL;
        booleans = BooleanForm::Text,
            "A user is disabled by the value `\"False\"`", ENTRA_ISSUES;
        member_removal = MemberRemoval::Value,
            "A member is removed by `members` with the member as value", ENTRA_ISSUES;
    }

    /// Servers made for Okta as it is with integrations of its network. Those made with its App Integration Wizard are
    /// always sent the whole user: `Dialect::okta().with(|d| d.update = Update::Replace)`.
    okta "okta" "Servers made for Okta" {
        filters = FilterForm::Equal,
            "A user is looked for by `userName eq`", OKTA;
        patch = PatchForm::Pathless,
            "A user is disabled by a `replace` without a path: `{\"active\": false}`", OKTA;
        page_size_max = Some(100),
            "Lists are read 100 at a time", OKTA;
        deprovision.delete = DeleteEffect::Unsupported,
            "Okta does not delete users, it disables them; a server need not have `DELETE`", OKTA;
        not_found_is_empty = true,
            "404 is taken as an empty list when a user is looked for", OKTA;
    }

    /// AWS IAM Identity Center. A group is made with at most 100 members, too, and what is read of a group does not show
    /// its members: ask `id eq \"…\" and members eq \"…\"`.
    aws_identity_center "aws-identity-center" "AWS IAM Identity Center" {
        filters = FilterForm::EqualAnd,
            "Only `eq` with `and` is supported", AWS_LIMITS;
        member_removal = MemberRemoval::Value,
            "A member is removed by `members` with the member as value", AWS_SSOSYNC;
        members_per_patch_max = Some(100),
            "A maximum of 100 membership changes in a single request; replacing or removing all is refused", AWS_GROUP;
        paging = Paging::None,
            "`startIndex` is not supported", AWS_LIST;
        page_size_max = Some(50),
            "Up to 50 results are returned", AWS_LIST;
        bulk = Support::No,
            "`/Bulk` is not supported", AWS_LIMITS;
        search_post = Support::No,
            "`/Search` is not supported", AWS_LIMITS;
        me = Support::No,
            "`/Me` is not supported", AWS_LIMITS;
        attribute_selection = Support::No,
            "`attributes` and `excludedAttributes` are not supported", AWS_LIST;
    }

    /// Google Cloud Identity. Look users up by `userName`: no other attribute can be asked for.
    google_cloud_identity "google-cloud-identity" "Google Cloud Identity" {
        filters = FilterForm::Equal,
            "Only equality on `userName`; no logical operators, no complex value filters", GOOGLE_LIST;
        paging = Paging::None,
            "Neither index-based nor cursor-based pagination is supported", GOOGLE;
        unfiltered_lists = Support::No,
            "Requests must specify a filter, or are answered with `tooMany`", GOOGLE_LIST;
        bulk = Support::No,
            "Bulk operations are not supported", GOOGLE;
        sort = Support::No,
            "Sorting is not supported", GOOGLE;
        if_match = IfMatch::Never,
            "ETags are not supported", GOOGLE;
    }

    /// GitHub Enterprise Managed Users. Users come before the groups that they are in; GitHub asks for no more than 1,000
    /// new users an hour, which is no switch: it is for whoever plans the work. A disabled user has another `userName`;
    /// look it up by `externalId`.
    github "github" "GitHub Enterprise Managed Users" {
        filters = FilterForm::Equal,
            "Multiple filters are not supported", GITHUB_REST;
        patch = PatchForm::Unfiltered,
            "Path selectors that include filters are not supported: `emails[type eq \"work\"]` will not work", GITHUB_REST;
        member_removal = MemberRemoval::Value,
            "Path selectors that include filters are not supported", GITHUB_REST;
        deprovision.delete = DeleteEffect::DeletesForever,
            "After `DELETE` an account cannot be restored, and a new one has to be provisioned", GITHUB_DEPROVISIONING;
    }

    /// A GitHub organisation with SAML single sign-on (not Enterprise Managed Users): `active: false` is final here.
    github_organization "github-organization" "GitHub organisations" {
        filters = FilterForm::Equal,
            "Results are filtered with `eq`, by `id`, `userName`, `emails` or `externalId`", GITHUB_ORGANIZATION;
        patch = PatchForm::Unfiltered,
            "Path selectors that include filters are not supported: `emails[type eq \"work\"]` will not work",
            GITHUB_ORGANIZATION;
        deprovision.disable = DisableEffect::Deletes,
            "`active: false` removes the user from the organization and deletes the external identity", GITHUB_ORGANIZATION;
    }

    /// Slack.
    slack "slack" "Slack" {
        deprovision.delete = DeleteEffect::Disables,
            "`DELETE` sets a user to deactivated", SLACK;
        requests_per_minute = Some(180),
            "180 users may be created, updated or deleted a minute, by all apps of an organisation together", SLACK_LIMITS;
    }

    /// Salesforce.
    salesforce "salesforce" "Salesforce" {
        filters = FilterForm::Grouped,
            "`AND` does not have precedence over `OR`", SALESFORCE_SHEET;
        config_path = "ServiceProviderConfigs",
            "The capabilities are at `/ServiceProviderConfigs`", SALESFORCE_SHEET;
        deprovision.delete = DeleteEffect::Disables,
            "Users are deactivated rather than deleted", SALESFORCE_OVERVIEW;
    }

    /// PagerDuty: who is disabled is gone and comes back as somebody new.
    pagerduty "pagerduty" "PagerDuty" {
        deprovision.disable = DisableEffect::Deletes,
            "When `active` is set to false, the user will be deleted", PAGERDUTY;
    }

    /// SAP Cloud Identity Services, the identity directory's `/scim`.
    sap_cloud_identity "sap-cloud-identity" "SAP Cloud Identity Services" {
        requests_per_minute = Some(200),
            "Up to 200 requests a minute are carried out; more are delayed, and from 281 on refused", SAP_LIMITS;
    }

    /// SAP S/4HANA Cloud Public Edition and SAP BTP ABAP environment, communication scenario SAP_COM_0465. A user is in
    /// one business user group at the most: adding it to another silently takes it out of the first.
    sap_s4hana_cloud "sap-s4hana-cloud" "SAP S/4HANA Cloud Public Edition" {
        csrf = true,
            "The write operations are protected with an X-CSRF-Token", SAP_IAM;
        members_per_patch_max = Some(50),
            "The maximum number of members which can be removed per one `PATCH` request is 50", SAP_TARGET;
        membership_only = &["BROL_"],
            "Business roles (`BROL_…`, type `authorization`) cannot be created or deleted, only their members change",
            SAP_TARGET;
        if_match = IfMatch::Never,
            "`meta.version` is a time (`20150522125356`) and no entity tag", SAP_EXAMPLES;
    }
}
