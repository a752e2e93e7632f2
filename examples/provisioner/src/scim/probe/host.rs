//! Vendors that are known by their address, as their documentation gives it.

use url::Url;

/// Where a service is.
#[derive(Debug)]
pub(super) struct Address {
    host: String,
    path: String,
}

/// The dialect of an address, and what in the address says so.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) dialect: &'static str,
    pub(super) by: String,
}

impl Address {
    pub(super) fn of(base: &Url) -> Self {
        Self {
            host: base.host_str().unwrap_or_default().to_ascii_lowercase(),
            path: base.path().to_ascii_lowercase(),
        }
    }

    /// Whose it is.
    pub(super) fn known(&self) -> Option<Known> {
        let host = self.host.as_str();
        let is =
            |name: &str| host == name || host.strip_suffix(name).is_some_and(|before| before.ends_with('.'));
        let by_host = |dialect| Some(Known { dialect, by: format!("the host is `{host}`") });
        let by_path = |dialect, path: &str| Some(Known { dialect, by: format!("the path holds `{path}`") });
        let github = host == "api.github.com" || (host.starts_with("api.") && is("ghe.com"));
        match () {
            () if host.starts_with("scim.") && is("amazonaws.com") => by_host("aws-identity-center"),
            () if host == "cloudidentity.googleapis.com" => by_host("google-cloud-identity"),
            () if github && self.path.contains("/organizations/") => {
                by_path("github-organization", "/organizations/")
            }
            () if github => by_host("github"),
            () if host == "api.slack.com" || host == "slack.com" => by_host("slack"),
            () if is("salesforce.com") || is("force.com") => by_host("salesforce"),
            () if is("pagerduty.com") => by_host("pagerduty"),
            () if self.path.contains("/aps_iam_api_scim") => by_path("sap-s4hana-cloud", "/aps_iam_api_scim"),
            () if is("accounts.ondemand.com") || is("accounts.cloud.sap") => by_host("sap-cloud-identity"),
            () => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scim_client::dialect::Preset;

    #[test]
    fn vendors_are_known_by_their_address_and_nobody_else_is() {
        let of = |url: &str| Address::of(&url.parse().unwrap()).known().map(|known| known.dialect);
        for (url, dialect) in [
            ("https://scim.us-east-1.amazonaws.com/abc/scim/v2/", "aws-identity-center"),
            ("https://cloudidentity.googleapis.com/scim/v2beta1", "google-cloud-identity"),
            ("https://api.github.com/scim/v2/enterprises/e", "github"),
            ("https://api.github.com/scim/v2/organizations/o", "github-organization"),
            ("https://api.octo.ghe.com/scim/v2/", "github"),
            ("https://api.slack.com/scim/v2", "slack"),
            ("https://acme.my.salesforce.com/services/scim/v2", "salesforce"),
            ("https://app.pagerduty.com/scim", "pagerduty"),
            ("https://acme.accounts.ondemand.com/scim", "sap-cloud-identity"),
            ("https://x.example/sap/bc/http/sap/aps_iam_api_scim/", "sap-s4hana-cloud"),
        ] {
            assert_eq!(of(url), Some(dialect), "{url}");
            assert!(Preset::named(dialect).is_some(), "{dialect}");
        }
        for url in [
            "https://notslack.com/",
            "https://slack.com.evil.example/",
            "https://x.example/",
            "http://127.0.0.1/",
        ] {
            assert_eq!(of(url), None, "{url}");
        }
    }
}
