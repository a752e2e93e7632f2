//! What a directory is like, and how accounts look in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Deserialize;

use super::dn::Dn;
use crate::account::Leaver;

/// A setting that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{key}` {what}")]
pub struct SettingsError {
    /// Which.
    pub key: &'static str,
    /// What is wrong with it.
    pub what: String,
}

impl SettingsError {
    pub(super) fn new(key: &'static str, what: impl Into<String>) -> Self {
        Self { key, what: what.into() }
    }
}

/// How the connection is protected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Security {
    Tls,
    StartTls,
    DangerousPlainText,
}

/// A directory and how accounts look in it. The password is given apart, so that this may be written down anywhere.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LdapSettings {
    /// `ldaps://host[:port]`, or `ldap://host[:port]`, which begins with StartTLS.
    pub url: String,
    /// Speaks `ldap://` without TLS: whoever is on the way reads the password and changes what is written.
    #[serde(default)]
    pub dangerous_plain_text: bool,
    /// Certificates to trust instead of the machine's, as PEM.
    #[serde(default)]
    pub roots_pem: Option<String>,
    /// The name in the server's certificate, where it is not the URL's host.
    #[serde(default)]
    pub server_name: Option<String>,
    /// Who logs in. There is no anonymous access.
    pub bind_dn: String,
    /// Where accounts are, and new ones are made.
    pub people: String,
    /// Object classes of a new account.
    pub object_classes: Vec<String>,
    /// The class by which accounts are told from other entries.
    pub account_class: String,
    /// The attribute that names an account below `people`: `uid`, `cn`.
    pub naming: String,
    /// The attribute that never changes and that the directory sets itself.
    #[serde(default)]
    pub id: IdAttribute,
    /// The attribute that holds the person's identifier: `employeeNumber`, `employeeID`.
    pub person: String,
    /// Attributes by the names that events use.
    pub attributes: BTreeMap<String, String>,
    /// Names in events that this directory has no attribute for.
    #[serde(default)]
    pub passed_by: BTreeSet<String>,
    /// The attribute that tells when somebody last logged in: `lastLogonTimestamp` in Active Directory, which is up to 14 days old,
    /// `pwdLastSuccess` in OpenLDAP with `lastbind`. Unreadable times count as unknown.
    #[serde(default)]
    pub last_use: Option<String>,
    /// What each new account has besides.
    #[serde(default)]
    pub constants: BTreeMap<String, Vec<String>>,
    /// How an account is disabled.
    pub disable: Disable,
    /// What becomes of leavers' accounts.
    #[serde(default)]
    pub leaver: Leaver,
    /// Gives each new account a password that nobody knows, through `unicodePwd`: Active Directory activates none without. Needs TLS.
    #[serde(default)]
    pub random_password: bool,
    /// Where rights are.
    #[serde(default)]
    pub groups: Option<Groups>,
    /// What is done where the directory says that more is elsewhere.
    #[serde(default)]
    pub references: References,
    /// Entries of a page in a listing, at most 10,000.
    #[serde(default = "page_size")]
    pub page_size: u16,
    /// Connections at the same time, a listing's not counted.
    #[serde(default = "connections_max")]
    pub connections_max: u16,
    /// Seconds for name, connection and TLS together.
    #[serde(default = "connect_timeout_secs")]
    pub connect_timeout_secs: u16,
    /// Seconds for each request, a page of a listing say.
    #[serde(default = "timeout_secs")]
    pub timeout_secs: u16,
}

/// The attribute by which accounts are known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdAttribute {
    /// `entryUUID`, `objectGUID`.
    pub name: String,
    /// Whether it is bytes, which are shown in hexadecimal, as `objectGUID` is.
    #[serde(default)]
    pub is_binary: bool,
}

impl Default for IdAttribute {
    fn default() -> Self {
        Self { name: "entryUUID".to_owned(), is_binary: false }
    }
}

/// How an account is disabled.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Disable {
    /// By the bit ACCOUNTDISABLE (2) of `userAccountControl`; the other bits stay as they are (MS-ADTS §2.2.16).
    UserAccountControl,
    /// By an attribute.
    Attribute {
        /// `accountDisabled`, `nsAccountLock`, `pwdAccountLockedTime`.
        name: String,
        /// Its value in an active account; without one it is removed there.
        #[serde(default)]
        active: Option<String>,
        /// Its value in a disabled account. Whatever else it is counts as active.
        disabled: String,
    },
}

/// Groups that stand for rights.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Groups {
    /// Where they are.
    pub base: String,
    /// `groupOfNames`, `group`, `groupOfUniqueNames`, `posixGroup`.
    pub class: String,
    /// The attribute whose value is the right's identifier.
    #[serde(default = "group_naming")]
    pub naming: String,
    /// Who is in a group.
    pub members: Members,
    /// Who is put into a group that would be empty otherwise, where its class forbids that.
    #[serde(default)]
    pub placeholder: Option<String>,
    /// Attributes of groups by the names that events use.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// How a group names its members.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "camelCase")]
pub enum Members {
    /// `member`, by distinguished name.
    Member,
    /// `uniqueMember`, by distinguished name.
    UniqueMember,
    /// `memberUid`, by the value of `uid`.
    MemberUid,
}

impl Members {
    pub(super) fn attribute(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::UniqueMember => "uniqueMember",
            Self::MemberUid => "memberUid",
        }
    }
}

/// What is done where the directory says that more is elsewhere. Nothing is ever followed: the credential is not for others.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum References {
    /// The answer is taken for incomplete.
    #[default]
    Refuse,
    /// What is elsewhere is none of this connector's accounts. Active Directory refers to other partitions whenever its root is searched.
    PassBy,
}

fn page_size() -> u16 {
    500
}

fn connections_max() -> u16 {
    4
}

fn connect_timeout_secs() -> u16 {
    10
}

fn timeout_secs() -> u16 {
    30
}

fn group_naming() -> String {
    "cn".to_owned()
}

impl LdapSettings {
    pub(super) fn endpoint(&self) -> Result<(Security, String, u16), SettingsError> {
        let unusable = |what: &str| SettingsError::new("url", what);
        let url = url::Url::parse(&self.url).map_err(|error| unusable(&format!("is no URL: {error}")))?;
        let (security, port) = match (url.scheme(), self.dangerous_plain_text) {
            ("ldaps", false) => (Security::Tls, 636),
            ("ldaps", true) => return Err(SettingsError::new("dangerous_plain_text", "contradicts the URL")),
            ("ldap", false) => (Security::StartTls, 389),
            ("ldap", true) => (Security::DangerousPlainText, 389),
            _ => return Err(unusable("must begin with `ldaps://` or `ldap://`")),
        };
        if !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.path().len() > 1
        {
            return Err(unusable("has a host and a port and nothing else"));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| unusable("has no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok((security, host.to_owned(), url.port().unwrap_or(port)))
    }

    /// Whether it can be used at all.
    ///
    /// # Errors
    /// The first setting that cannot.
    pub fn check(&self) -> Result<(), SettingsError> {
        let (security, ..) = self.endpoint()?;
        name("bind_dn", &self.bind_dn)?;
        name("people", &self.people)?;
        attribute("naming", &self.naming)?;
        attribute("person", &self.person)?;
        attribute("id.name", &self.id.name)?;
        attribute("account_class", &self.account_class)?;
        self.object_classes.iter().try_for_each(|class| attribute("object_classes", class))?;
        self.attributes.values().try_for_each(|name| attribute("attributes", name))?;
        self.constants.keys().try_for_each(|name| attribute("constants", name))?;
        self.last_use.iter().try_for_each(|name| attribute("last_use", name))?;
        let reserved: Vec<&str> =
            [self.person.as_str(), &self.id.name, "objectClass", self.disable.attribute()].into();
        let mapped = self.attributes.values().chain(self.constants.keys());
        for name in mapped {
            if reserved.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
                return Err(SettingsError::new(
                    "attributes",
                    format!("must not have `{name}`, which has a role of its own"),
                ));
            }
        }
        let mut once = BTreeSet::new();
        if let Some(twice) = self.attributes.values().find(|name| !once.insert(name.to_ascii_lowercase())) {
            return Err(SettingsError::new("attributes", format!("has `{twice}` twice")));
        }
        if !self.attributes.values().any(|name| name.eq_ignore_ascii_case(&self.naming)) {
            return Err(SettingsError::new("attributes", "must have the naming attribute"));
        }
        if self.object_classes.is_empty() {
            return Err(SettingsError::new("object_classes", "is empty"));
        }
        if let Disable::Attribute { name, active, disabled } = &self.disable {
            attribute("disable.name", name)?;
            if disabled.is_empty()
                || active.as_ref().is_some_and(|active| active.eq_ignore_ascii_case(disabled))
            {
                return Err(SettingsError::new("disable", "does not tell active from disabled"));
            }
        }
        if self.random_password && security == Security::DangerousPlainText {
            return Err(SettingsError::new("random_password", "needs TLS"));
        }
        if !(1..=PAGE_SIZE_MAX).contains(&self.page_size) {
            return Err(SettingsError::new("page_size", format!("must be 1 to {PAGE_SIZE_MAX}")));
        }
        let counts = [
            ("connections_max", self.connections_max),
            ("connect_timeout_secs", self.connect_timeout_secs),
            ("timeout_secs", self.timeout_secs),
        ];
        if let Some((key, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(SettingsError::new(key, "must not be 0"));
        }
        let Some(groups) = &self.groups else { return Ok(()) };
        name("groups.base", &groups.base)?;
        attribute("groups.class", &groups.class)?;
        attribute("groups.naming", &groups.naming)?;
        groups.attributes.values().try_for_each(|name| attribute("groups.attributes", name))?;
        match &groups.placeholder {
            Some(placeholder) if groups.members != Members::MemberUid => {
                name("groups.placeholder", placeholder).map(drop)
            }
            Some(_) => Err(SettingsError::new(
                "groups.placeholder",
                "is a distinguished name, which `memberUid` has none of",
            )),
            None => Ok(()),
        }
    }
}

impl Disable {
    pub(super) fn attribute(&self) -> &str {
        match self {
            Self::UserAccountControl => "userAccountControl",
            Self::Attribute { name, .. } => name,
        }
    }
}

pub(super) fn name(key: &'static str, text: &str) -> Result<Dn, SettingsError> {
    match text.parse() {
        Ok(_) if text.trim().is_empty() => Err(SettingsError::new(key, "is empty")),
        Ok(name) => Ok(name),
        Err(error) => Err(SettingsError::new(key, format!("is {error}"))),
    }
}

/// `descr` of RFC 4512 §1.4.
fn attribute(key: &'static str, text: &str) -> Result<(), SettingsError> {
    let is_name = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.len() <= 128
        && text.chars().all(|character| character.is_ascii_alphanumeric() || character == '-');
    match is_name {
        true => Ok(()),
        false => Err(SettingsError::new(key, format!("has `{text}`, which is no attribute's name"))),
    }
}

/// The password that the connector logs in with. Never shown, wiped when dropped.
#[derive(Clone)]
pub struct LdapPassword(pub(super) zeroize::Zeroizing<Vec<u8>>);

impl LdapPassword {
    /// This one.
    ///
    /// # Errors
    /// Where it is empty: a server would take that for a wish to stay unknown, and let in whoever asks (RFC 4513 §5.1.2).
    pub fn new(password: impl Into<Vec<u8>>) -> Result<Self, SettingsError> {
        let password = zeroize::Zeroizing::new(password.into());
        match password.is_empty() {
            true => Err(SettingsError::new("password", "is empty")),
            false => Ok(Self(password)),
        }
    }
}

impl fmt::Debug for LdapPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LdapPassword(…)")
    }
}

/// Most entries of a page in a listing.
pub const PAGE_SIZE_MAX: u16 = 10_000;
