//! LDAP directories, Active Directory among them.
//!
//! ```text
//! Operation ─▶ account::ensure ─▶ LdapConnector (Accounts) ─▶ pool ─▶ connection ─▶ server
//!                look, write,        filters, names,          bind,     messages as bytes,
//!                read again          modifications            latch     TLS
//! ```
//!
//! The protocol is our own: what reads answers has limits on everything that a hostile server can make grow, does not recurse, and does not
//! panic; and a request of which nothing can have arrived is told from one of which nobody knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use async_trait::async_trait;
use futures::stream::{self, BoxStream, StreamExt as _};
use serde_json::Value;

use crate::account::{self, Account, Accounts, Leaver, MATCHES_MAX, Managed, ValueChanges, Values};
use crate::connector::{
    Access, Confirmation, Connector, Failure, FailureKind, ListedAccount, Operation, Right,
};
use crate::id::{AccountId, EntitlementId, PersonId};

mod ber;
mod connection;
mod dn;
mod filter;
mod group;
mod message;
mod settings;
mod value;

use connection::{Found, Leased, Pool};
use message::{Entry, How, Modification, Outcome, Request, Scope, Search};
use settings::References;

pub use connection::ANSWER_BYTES_MAX;
pub use dn::{DN_BYTES_MAX, DN_DEPTH_MAX, Dn, DnError, escape_value};
pub use filter::{Filter, escape};
#[doc(hidden)]
pub use message::probe as probe_message;
pub use message::{DIAGNOSTIC_BYTES_MAX, ENTRY_VALUES_MAX, MESSAGE_BYTES_MAX};
pub use settings::{
    Disable, Groups, IdAttribute, LdapPassword, LdapSettings, Members, PAGE_SIZE_MAX,
    References as OnReference, SettingsError,
};

/// Most accounts in a listing; a directory that sends more never comes to an end.
pub const LISTED_MAX: u64 = 10_000_000;
/// Most pages in a row that hold nothing and still say that more comes.
pub const EMPTY_PAGES_MAX: u16 = 100;
/// How often a change that somebody else's change got in the way of is tried again.
pub const RACES_MAX: u8 = 3;

/// A directory as a [`Connector`].
///
/// Rights are groups; a right's identifier is the value of the group's naming attribute. Groups that name their members by
/// distinguished name rely on the directory to follow renames and deletions, as Active Directory does and others do with an
/// overlay (refint); whether it did is checked after each.
pub struct LdapConnector {
    settings: LdapSettings,
    people: Dn,
    /// What is asked of an account's entry.
    wanted: Vec<String>,
    /// Names in events, by attribute in lower case.
    names: BTreeMap<String, String>,
    pool: Pool,
}

impl LdapConnector {
    /// Of this directory. Connects when it is first needed.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn new(settings: LdapSettings, password: LdapPassword) -> Result<Self, SettingsError> {
        settings.check()?;
        let people = settings::name("people", &settings.people)?;
        let own = [&settings.id.name, &settings.person, &settings.naming].into_iter().cloned();
        let mut wanted: Vec<String> = own.chain([settings.disable.attribute().to_owned()]).collect();
        wanted.extend(settings.attributes.values().cloned());
        wanted.extend(settings.last_use.iter().cloned());
        wanted.sort();
        wanted.dedup();
        let names = settings
            .attributes
            .iter()
            .map(|(name, attribute)| (attribute.to_ascii_lowercase(), name.clone()));
        let names = names.collect();
        let pool = Pool::new(&settings, password.0)?;
        Ok(Self { people, wanted, names, pool, settings })
    }

    fn of_class(&self, filter: Filter) -> Filter {
        Filter::And(vec![Filter::equal("objectClass", self.settings.account_class.as_str()), filter])
    }

    fn search(&self, filter: Filter, size_limit: u32) -> Search {
        Search {
            base: self.settings.people.clone(),
            scope: Scope::Subtree,
            filter,
            attributes: self.wanted.clone(),
            size_limit,
            time_limit_secs: self.settings.timeout_secs.into(),
            page: None,
        }
    }

    /// Entries that match, or a failure: never a part of them.
    async fn find(&self, filter: Filter) -> Result<Vec<Entry>, Failure> {
        let limit = MATCHES_MAX.saturating_add(1);
        let search = self.search(self.of_class(filter), u32::try_from(limit).unwrap_or(u32::MAX));
        let found = self.pool.ask(&Request::Search(&search), limit).await?;
        if found.outcome.code == SIZE_LIMIT_EXCEEDED && found.entries.len() > MATCHES_MAX {
            return Err(Failure::new(FailureKind::Ambiguous, "a look-up found too many accounts"));
        }
        self.complete(&found)?;
        found.entries.iter().try_for_each(|entry| self.within(entry))?;
        Ok(found.entries)
    }

    /// Whether a search came to its end, and nothing is elsewhere.
    fn complete(&self, found: &Found) -> Result<(), Failure> {
        check(&found.outcome)?;
        match (found.is_referred, self.settings.references) {
            (true, References::Refuse) => Err(Failure::new(FailureKind::Unsupported, REFERRED)),
            _ => Ok(()),
        }
    }

    fn within(&self, entry: &Entry) -> Result<(), Failure> {
        match entry.dn.parse::<Dn>() {
            Ok(dn) if dn.is_within(&self.people) => Ok(()),
            _ => Err(Failure::new(
                FailureKind::Divergent,
                "the directory answers with an entry from elsewhere",
            )),
        }
    }

    async fn entry(&self, account: &AccountId) -> Result<Option<Entry>, Failure> {
        let id = &self.settings.id;
        let value = match id.is_binary {
            false => account.as_str().as_bytes().to_vec(),
            true => value::unhex(account.as_str()).ok_or_else(|| {
                Failure::new(
                    FailureKind::SchemaMismatch,
                    format!("`{account}` is no identifier of this directory"),
                )
            })?,
        };
        let mut found = self.find(Filter::equal(&id.name, value)).await?.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(entry), None) if self.id(&entry)?.as_str().eq_ignore_ascii_case(account.as_str()) => {
                Ok(Some(entry))
            }
            (Some(_), None) => Err(Failure::new(FailureKind::Divergent, STRANGER)),
            (Some(_), Some(_)) => {
                Err(Failure::new(FailureKind::Ambiguous, "several entries have one identifier"))
            }
        }
    }

    /// The entry that a write is about, as it is now.
    async fn present(&self, account: &Account) -> Result<Entry, Failure> {
        let entry = self.entry(&account.id).await?;
        entry.ok_or_else(|| Failure::new(FailureKind::Missing, "the account is not there any more"))
    }

    fn id(&self, entry: &Entry) -> Result<AccountId, Failure> {
        let IdAttribute { name, is_binary } = &self.settings.id;
        let mut values = entry.values(name);
        let text = match (values.next(), values.next()) {
            (Some(value), None) if *is_binary => Some(value::hex(value)),
            (Some(value), None) => std::str::from_utf8(value).ok().map(str::to_owned),
            _ => None,
        };
        text.and_then(|text| AccountId::new(text).ok()).ok_or_else(|| {
            Failure::new(FailureKind::SchemaMismatch, format!("an account has no readable `{name}`"))
        })
    }

    fn person(&self, entry: &Entry) -> Result<Option<PersonId>, Failure> {
        let unreadable = || {
            Failure::new(FailureKind::SchemaMismatch, "an account carries no readable identifier of a person")
        };
        let mut values = entry.values(&self.settings.person);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                let text = std::str::from_utf8(value).map_err(|_| unreadable())?;
                PersonId::new(text).map(Some).map_err(|_| unreadable())
            }
            (Some(_), Some(_)) => Err(unreadable()),
        }
    }

    fn access(&self, entry: &Entry) -> Result<Access, Failure> {
        let is_disabled = match &self.settings.disable {
            Disable::UserAccountControl => {
                value::control(entry)?.is_some_and(|control| control & ACCOUNT_DISABLE != 0)
            }
            Disable::Attribute { name, disabled, .. } => {
                let mut values = entry.texts(name);
                values.next().is_some_and(|value| value.eq_ignore_ascii_case(disabled))
                    && values.next().is_none()
            }
        };
        Ok(if is_disabled { Access::Disabled } else { Access::Active })
    }

    async fn account(&self, entry: &Entry) -> Result<Account, Failure> {
        let attributes = self
            .names
            .iter()
            .filter_map(|(attribute, name)| Some((name.clone(), value::to_json(entry.values(attribute))?)));
        Ok(Account {
            id: self.id(entry)?,
            person: self.person(entry)?,
            access: self.access(entry)?,
            attributes: attributes.collect(),
            entitlements: self.rights(entry).await?,
            last_use: self.settings.last_use.iter().find_map(|name| value::instant(entry, name)),
        })
    }

    async fn accounts_of(&self, entries: Vec<Entry>) -> Result<Vec<Account>, Failure> {
        let mut accounts = Vec::with_capacity(entries.len());
        for entry in &entries {
            accounts.push(self.account(entry).await?);
        }
        Ok(accounts)
    }

    async fn write(&self, request: &Request<'_>) -> Result<(), Failure> {
        check(&self.pool.ask(request, 0).await?.outcome)
    }

    async fn modify(&self, dn: &str, changes: &[Modification]) -> Result<(), Failure> {
        self.write(&Request::Modify { dn, changes }).await
    }

    /// ACCOUNTDISABLE, with the other bits as they are: what was read is taken away and what is wanted is put in its place at
    /// once, so that somebody else's change in between is noticed and not undone (RFC 4511 §4.6).
    async fn set_control(&self, account: &Account, access: Access) -> Result<(), Failure> {
        let mut raced = Failure::new(FailureKind::Server, "somebody else keeps changing the account");
        for _ in 0..RACES_MAX {
            let entry = self.present(account).await?;
            let control = value::control(&entry)?;
            let bits = control.unwrap_or(NORMAL_ACCOUNT);
            let wanted = match access {
                Access::Active => bits & !ACCOUNT_DISABLE,
                Access::Disabled => bits | ACCOUNT_DISABLE,
            };
            if control == Some(wanted) {
                return Ok(());
            }
            let old = control.map(|control| Modification::new(How::Delete, CONTROL, [control.to_string()]));
            let new = Modification::new(How::Add, CONTROL, [wanted.to_string()]);
            let changes: Vec<_> = old.into_iter().chain([new]).collect();
            match self.modify(&entry.dn, &changes).await {
                Err(failure) if matches!(failure.kind(), FailureKind::Missing | FailureKind::Conflict) => {
                    raced = failure
                }
                done => return done,
            }
        }
        Err(raced)
    }

    async fn rename(&self, entry: &Entry, to: &str) -> Result<(), Failure> {
        let renamed = self.people.child(&self.settings.naming, to);
        renamed.map_err(|_| Failure::new(FailureKind::SchemaMismatch, "the new name is no name"))?;
        self.before_rename(entry, to).await?;
        let rdn = dn::rdn(&self.settings.naming, to);
        self.write(&Request::Rename { dn: &entry.dn, rdn: &rdn }).await?;
        self.after_rename(entry).await
    }
}

impl fmt::Debug for LdapConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LdapConnector").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

#[async_trait]
impl Accounts for LdapConnector {
    fn leaver(&self) -> Leaver {
        self.settings.leaver
    }

    fn manages(&self, attribute: &str) -> Managed {
        if self.settings.attributes.contains_key(attribute) {
            Managed::Yes
        } else if self.settings.passed_by.contains(attribute) {
            Managed::PassedBy
        } else {
            Managed::No
        }
    }

    async fn by_account(&self, account: &AccountId) -> Result<Option<Account>, Failure> {
        match self.entry(account).await? {
            Some(entry) => Ok(Some(self.account(&entry).await?)),
            None => Ok(None),
        }
    }

    async fn by_person(&self, person: &PersonId) -> Result<Vec<Account>, Failure> {
        let mut entries = self.find(Filter::equal(&self.settings.person, person.as_str())).await?;
        let is_asked_for = |entry: &Entry| {
            entry.texts(&self.settings.person).any(|value| dn::fold(value) == dn::fold(person.as_str()))
        };
        if !entries.iter().all(is_asked_for) {
            return Err(Failure::new(FailureKind::Divergent, STRANGER));
        }
        // Many attributes are compared without regard to case; identifiers of persons are not.
        entries.retain(|entry| entry.texts(&self.settings.person).any(|value| value == person.as_str()));
        self.accounts_of(entries).await
    }

    async fn by_unique(&self, attribute: &str, value: &str) -> Result<Vec<Account>, Failure> {
        let Some(name) = self.settings.attributes.get(attribute) else { return Ok(Vec::new()) };
        let entries = self.find(Filter::equal(name, value)).await?;
        if !entries.iter().all(|entry| entry.texts(name).any(|found| dn::fold(found) == dn::fold(value))) {
            return Err(Failure::new(FailureKind::Divergent, STRANGER));
        }
        self.accounts_of(entries).await
    }

    async fn create(&self, person: &PersonId, attributes: &Values) -> Result<Option<AccountId>, Failure> {
        let mut new: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let classes = self.settings.object_classes.iter();
        new.insert("objectClass".to_owned(), classes.map(|class| class.as_bytes().to_vec()).collect());
        for (name, values) in &self.settings.constants {
            new.insert(name.clone(), values.iter().map(|value| value.as_bytes().to_vec()).collect());
        }
        for (name, wanted) in attributes {
            let Some(attribute) = self.settings.attributes.get(name) else { continue };
            new.insert(attribute.clone(), value::from_json(name, wanted)?);
        }
        let own =
            new.get(self.names_key(&new).unwrap_or_default()).and_then(|values| match values.as_slice() {
                [only] => std::str::from_utf8(only).ok(),
                _ => None,
            });
        let dn = own.and_then(|own| self.people.child(&self.settings.naming, own).ok()).ok_or_else(|| {
            Failure::new(
                FailureKind::SchemaMismatch,
                format!("a new account needs one `{}`", self.settings.naming),
            )
        })?;
        new.insert(self.settings.person.clone(), vec![person.as_str().as_bytes().to_vec()]);
        match &self.settings.disable {
            Disable::UserAccountControl => {
                let control = NORMAL_ACCOUNT | ACCOUNT_DISABLE;
                new.insert(CONTROL.to_owned(), vec![control.to_string().into_bytes()]);
            }
            Disable::Attribute { name, active: Some(active), .. } => {
                new.insert(name.clone(), vec![active.clone().into_bytes()]);
            }
            Disable::Attribute { active: None, .. } => {}
        }
        if self.settings.random_password {
            new.insert("unicodePwd".to_owned(), vec![value::random_password()?]);
        }
        let attributes: Vec<_> = new.into_iter().collect();
        self.write(&Request::Add { dn: dn.as_str(), attributes: &attributes }).await?;
        Ok(None)
    }

    async fn link(&self, account: &Account, person: &PersonId) -> Result<(), Failure> {
        let entry = self.present(account).await?;
        // Added, not replaced: whose it has become meanwhile it stays.
        let change = Modification::new(How::Add, &self.settings.person, [person.as_str()]);
        self.modify(&entry.dn, &[change]).await
    }

    async fn change(&self, account: &Account, changes: &ValueChanges) -> Result<(), Failure> {
        let mut modifications = Vec::new();
        let mut name = None;
        for (key, wanted) in changes {
            let Some(attribute) = self.settings.attributes.get(key) else { continue };
            let values = match wanted {
                Some(wanted) => value::from_json(key, wanted)?,
                None => Vec::new(),
            };
            if attribute.eq_ignore_ascii_case(&self.settings.naming) {
                let [only] = values.as_slice() else {
                    return Err(Failure::new(
                        FailureKind::SchemaMismatch,
                        format!("an account needs one `{key}`"),
                    ));
                };
                name = Some(String::from_utf8_lossy(only).into_owned());
            } else {
                modifications.push(Modification::new(How::Replace, attribute, values));
            }
        }
        let entry = self.present(account).await?;
        if !modifications.is_empty() {
            self.modify(&entry.dn, &modifications).await?;
        }
        match name {
            Some(name) => self.rename(&entry, &name).await,
            None => Ok(()),
        }
    }

    async fn set_access(&self, account: &Account, access: Access) -> Result<(), Failure> {
        let (name, value) = match &self.settings.disable {
            Disable::UserAccountControl => return self.set_control(account, access).await,
            Disable::Attribute { name, active, disabled } => match access {
                Access::Active => (name, active.as_deref()),
                Access::Disabled => (name, Some(disabled.as_str())),
            },
        };
        let entry = self.present(account).await?;
        self.modify(&entry.dn, &[Modification::new(How::Replace, name, value)]).await
    }

    async fn set_right(
        &self,
        account: &Account,
        entitlement: &EntitlementId,
        right: Right,
    ) -> Result<(), Failure> {
        let entry = self.present(account).await?;
        self.set_member(&entry, entitlement, right).await
    }

    async fn delete(&self, account: &Account) -> Result<(), Failure> {
        let entry = self.present(account).await?;
        // Whoever gets the name next must not get the rights with it.
        for entitlement in self.rights(&entry).await? {
            self.set_member(&entry, &entitlement, Right::Revoked).await?;
        }
        self.write(&Request::Delete { dn: &entry.dn }).await
    }

    fn reference(&self, account: &Account) -> Value {
        let own = self.names.get(&self.settings.naming.to_ascii_lowercase());
        let own = own.and_then(|name| account.attributes.get(name)).and_then(Value::as_str);
        let dn = own.and_then(|own| self.people.child(&self.settings.naming, own).ok());
        dn.map_or(Value::Null, |dn| dn.as_str().into())
    }

    fn agrees(&self, _attribute: &str, wanted: &Value, found: &Value) -> bool {
        value::agree(wanted, found, &self.people)
    }

    async fn ensure_group(&self, group: &EntitlementId, changes: &ValueChanges) -> Result<bool, Failure> {
        self.group(group, changes).await
    }
}

impl LdapConnector {
    /// The naming attribute as the entry spells it.
    fn names_key<'a>(&self, entry: &'a BTreeMap<String, Vec<Vec<u8>>>) -> Option<&'a str> {
        entry.keys().find(|name| name.eq_ignore_ascii_case(&self.settings.naming)).map(String::as_str)
    }

    async fn next_listed<'a>(
        &'a self,
        mut listing: Listing<'a>,
    ) -> Result<Option<(ListedAccount, Listing<'a>)>, Failure> {
        let mut empty: u16 = 0;
        loop {
            if let Some(entry) = listing.page.pop_front() {
                listing.listed = listing.listed.saturating_add(1);
                if listing.listed > LISTED_MAX {
                    return Err(Failure::new(FailureKind::Server, "the listing never comes to an end"));
                }
                self.within(&entry)?;
                let account = self.account(&entry).await?;
                return Ok(Some((account.into(), listing)));
            }
            let Some(cookie) = listing.cookie.take() else { return Ok(None) };
            let mut leased = match listing.leased.take() {
                Some(leased) => leased,
                // Servers keep the place of a listing with its connection: it is nobody else's.
                None => self.pool.open().await?,
            };
            let mut search = self.search(self.of_class(Filter::present("objectClass")), 0);
            search.page = Some((self.settings.page_size.into(), cookie));
            let found = leased.ask(&Request::Search(&search), self.settings.page_size.into()).await?;
            self.complete(&found)?;
            listing.leased = Some(leased);
            listing.cookie = Some(found.cookie).filter(|cookie| !cookie.is_empty());
            empty = if found.entries.is_empty() { empty.saturating_add(1) } else { 0 };
            if empty > EMPTY_PAGES_MAX {
                return Err(Failure::new(FailureKind::Server, "the listing goes on with nothing in it"));
            }
            listing.page = found.entries.into();
        }
    }
}

struct Listing<'a> {
    leased: Option<Leased<'a>>,
    page: VecDeque<Entry>,
    /// Where the next page begins; the first has an empty one, and there is none after the last.
    cookie: Option<Vec<u8>>,
    listed: u64,
}

#[async_trait]
impl Connector for LdapConnector {
    async fn probe(&self) -> Result<(), Failure> {
        let mut leased = self.pool.try_credential().await?;
        let search = Search {
            scope: Scope::Base,
            attributes: vec![NO_ATTRIBUTES.to_owned()],
            ..self.search(Filter::present("objectClass"), 1)
        };
        let found = leased.ask(&Request::Search(&search), 1).await?;
        leased.give_back();
        check(&found.outcome)?;
        match found.entries.len() {
            1 => Ok(()),
            _ => Err(Failure::new(FailureKind::Authorization, "the place of the accounts cannot be read")),
        }
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        account::ensure(self, operation).await
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        let listing = Listing { leased: None, page: VecDeque::new(), cookie: Some(Vec::new()), listed: 0 };
        stream::try_unfold(listing, |listing| self.next_listed(listing)).boxed()
    }
}

/// What a result code means (RFC 4511 appendix A).
fn check(outcome: &Outcome) -> Result<(), Failure> {
    let kind = match outcome.code {
        0 => return Ok(()),
        8 | 13 | 48 | 49 => FailureKind::Authentication,
        50 => FailureKind::Authorization,
        51 => FailureKind::RateLimited,
        // A value that must be unique is refused by an overlay in this way.
        19 if outcome.diagnostic.contains("unique") => FailureKind::Conflict,
        20 | 68 => FailureKind::Conflict,
        16 | 32 => FailureKind::Missing,
        17..=19 | 21 | 34 | 53 | 64..=67 | 69 => FailureKind::SchemaMismatch,
        10 => return Err(Failure::new(FailureKind::Unsupported, REFERRED)),
        12 | 71 => FailureKind::Unsupported,
        _ if outcome.has_referral => return Err(Failure::new(FailureKind::Unsupported, REFERRED)),
        _ => FailureKind::Server,
    };
    Err(Failure::new(kind, format!("result {}: {}", outcome.code, outcome.diagnostic)))
}

const REFERRED: &str = "the directory refers to another one, which is not followed";
const STRANGER: &str = "the directory answers with an entry that was not asked for";
const CONTROL: &str = "userAccountControl";
const ACCOUNT_DISABLE: u32 = 0x2;
const NORMAL_ACCOUNT: u32 = 0x200;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
/// Asks for none (RFC 4511 §4.5.1.8).
const NO_ATTRIBUTES: &str = "1.1";

type Rights = BTreeSet<EntitlementId>;
