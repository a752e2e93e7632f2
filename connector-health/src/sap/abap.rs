//! Users of an AS ABAP, over BAPIs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{NaiveDate, Utc};
use futures::stream::{self, BoxStream, StreamExt as _};
use serde::Deserialize;
use serde_json::Value;

use super::rfc::{RfcAnswer, RfcCall, RfcRow, RfcTransport, RfcValue};
use crate::account::{self, Account, Accounts, Latch, Leaver, MATCHES_MAX, Managed, ValueChanges, Values};
use crate::connector::{
    Access, Confirmation, Connector, Failure, FailureKind, ListedAccount, Operation, Right,
};
use crate::id::{AccountId, EntitlementId, PersonId};

/// The last day of a role that is given without an end.
pub const ROLES_END: &str = "9999-12-31";

/// How users look in the system.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbapSettings {
    /// Structure and field that hold the person's identifier: `ADDRESS.INHOUSE_ML`, `LOGONDATA.ACCNT`.
    pub person: String,
    /// The name in events of what becomes the user's name in SAP, in capitals. SAP renames nobody.
    pub user_name: String,
    /// Structure and field by the names that events use: `email = "ADDRESS.E_MAIL"`, `valid_to = "LOGONDATA.GLTGB"`.
    pub attributes: BTreeMap<String, String>,
    /// Names in events that SAP has no field for.
    #[serde(default)]
    pub passed_by: BTreeSet<String>,
    /// What becomes of leavers' users.
    #[serde(default)]
    pub leaver: Leaver,
}

/// Users of an AS ABAP as a [`Connector`]. **Built from documentation, not tried against SAP.**
///
/// Disabled means locked by an administrator, locally or centrally; a lock after wrong passwords goes by itself and does not count. Rights are single
/// roles, assigned directly. Roles are always written as the whole list, out of the one that was read a moment
/// before, with their dates: what somebody else changes in that moment is undone. New users have no password.
/// Nobody is renamed: a name that a leaver's user should give up is kept, and a residual of the confirmation says so.
pub struct AbapUsers {
    settings: AbapSettings,
    rfc: Arc<dyn RfcTransport>,
    latch: Latch,
    today: fn() -> NaiveDate,
}

/// A user as BAPI_USER_GET_DETAIL shows it.
struct Detail {
    account: Account,
    roles: Vec<RfcRow>,
}

impl AbapUsers {
    /// Of this system.
    ///
    /// # Errors
    /// [`FailureKind::Unsupported`] where a field is not one of a structure that can be written.
    pub fn new(settings: AbapSettings, rfc: impl RfcTransport + 'static) -> Result<Self, Failure> {
        let all = settings.attributes.values().chain([&settings.person]);
        for field in all {
            let is_known = split(field).is_some_and(|(structure, field)| {
                STRUCTURES.contains(&structure)
                    && !field.is_empty()
                    && field
                        .bytes()
                        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
            });
            if !is_known {
                return Err(Failure::new(
                    FailureKind::Unsupported,
                    format!("`{field}` is no structure and field, as `ADDRESS.FIRSTNAME`"),
                ));
            }
        }
        if settings.attributes.contains_key(&settings.user_name)
            || settings.attributes.values().any(|field| *field == settings.person)
        {
            return Err(Failure::new(
                FailureKind::Unsupported,
                "the user name and the person's field are no attributes",
            ));
        }
        Ok(Self { settings, rfc: Arc::new(rfc), latch: Latch::default(), today: || Utc::now().date_naive() })
    }

    /// With another calendar than the machine's, which is in UTC.
    #[must_use]
    pub fn with_today(self, today: fn() -> NaiveDate) -> Self {
        Self { today, ..self }
    }

    async fn call(&self, call: RfcCall) -> Result<RfcAnswer, Failure> {
        self.latch.check()?;
        let outcome = self.rfc.call(&call).await;
        self.latch.note(&outcome, false);
        outcome
    }

    async fn write(
        &self,
        function: &'static str,
        account: &str,
        more: Vec<(&'static str, RfcValue)>,
    ) -> Result<(), Failure> {
        let mut parameters = vec![("USERNAME", RfcValue::Text(account.to_owned()))];
        parameters.extend(more);
        parameters.push(("RETURN", RfcValue::Table(Vec::new())));
        let answer = self.call(RfcCall { function, parameters, is_read: false }).await?;
        match worst(&answer) {
            Some(failure) => Err(failure),
            // An answer without a word is no success.
            None if !answer.contains_key("RETURN") => {
                Err(Failure::new(FailureKind::Server, "the answer has no RETURN").perhaps_effective())
            }
            None => Ok(()),
        }
    }

    async fn detail(&self, account: &str) -> Result<Option<Detail>, Failure> {
        let tables = ["ACTIVITYGROUPS", "RETURN"].map(|name| (name, RfcValue::Table(Vec::new())));
        let parameters =
            [("USERNAME", RfcValue::Text(account.to_owned()))].into_iter().chain(tables).collect();
        let answer =
            self.call(RfcCall { function: "BAPI_USER_GET_DETAIL", parameters, is_read: true }).await?;
        match worst(&answer) {
            Some(failure) if failure.kind() == FailureKind::Missing => return Ok(None),
            Some(failure) => return Err(failure),
            None => {}
        }
        let unreadable =
            |what: &str| Failure::new(FailureKind::SchemaMismatch, format!("a user has no readable {what}"));
        let field = |place: &str| {
            let (structure, field) = split(place)?;
            match answer.get(structure) {
                Some(RfcValue::Structure(row)) => {
                    row.get(field).map(String::as_str).filter(|value| !is_initial(value))
                }
                _ => None,
            }
        };
        let Some(RfcValue::Structure(locks)) = answer.get("ISLOCKED") else { return Err(unreadable("lock")) };
        let is_locked =
            ["LOCAL_LOCK", "GLOB_LOCK"].iter().any(|lock| locks.get(*lock).is_some_and(|lock| lock == "L"));
        let person =
            field(&self.settings.person).map(PersonId::new).transpose().map_err(|_| unreadable("person"))?;
        let attributes = self.settings.attributes.iter();
        let mut attributes: Values =
            attributes.filter_map(|(name, place)| Some((name.clone(), field(place)?.into()))).collect();
        attributes.insert(self.settings.user_name.clone(), account.into());
        let Some(RfcValue::Table(roles)) = answer.get("ACTIVITYGROUPS") else {
            return Err(unreadable("roles"));
        };
        // Parts of a collective role come and go with it.
        let roles: Vec<RfcRow> = roles.iter().filter(|row| !is_set(row, "COL_FLAG")).cloned().collect();
        let names =
            roles.iter().map(|row| row.get("AGR_NAME").and_then(|name| EntitlementId::new(name).ok()));
        let entitlements = names.collect::<Option<BTreeSet<_>>>().ok_or_else(|| unreadable("role"))?;
        let account = Account {
            id: AccountId::new(account).map_err(|_| unreadable("name"))?,
            person,
            access: if is_locked { Access::Disabled } else { Access::Active },
            attributes,
            entitlements,
            last_use: None,
        };
        Ok(Some(Detail { account, roles }))
    }

    /// Names of users, all or those with a value in a field.
    async fn names(&self, selection: Option<(&str, &str)>) -> Result<Vec<String>, Failure> {
        let range = selection.and_then(|(place, value)| {
            let (structure, field) = split(place)?;
            Some(row(&[
                ("PARAMETER", structure),
                ("FIELD", field),
                ("SIGN", "I"),
                ("OPTION", "EQ"),
                ("LOW", value),
            ]))
        });
        let parameters = vec![
            ("WITH_USERNAME", RfcValue::Text("X".to_owned())),
            ("SELECTION_RANGE", RfcValue::Table(range.into_iter().collect())),
            ("USERLIST", RfcValue::Table(Vec::new())),
            ("RETURN", RfcValue::Table(Vec::new())),
        ];
        let answer = self.call(RfcCall { function: "BAPI_USER_GETLIST", parameters, is_read: true }).await?;
        if let Some(failure) = worst(&answer) {
            return Err(failure);
        }
        let unreadable = || Failure::new(FailureKind::SchemaMismatch, "the list of users cannot be read");
        let Some(RfcValue::Table(rows)) = answer.get("USERLIST") else { return Err(unreadable()) };
        let count = match answer.get("ROWS") {
            Some(RfcValue::Text(count)) => count.parse::<usize>().ok(),
            _ => None,
        };
        if count.is_some_and(|count| count != rows.len()) {
            return Err(Failure::new(FailureKind::Divergent, "the list of users is not as long as it says"));
        }
        rows.iter()
            .map(|row| row.get("USERNAME").filter(|name| !name.is_empty()).cloned().ok_or_else(unreadable))
            .collect()
    }

    /// Fields of the structures that are to be written, by structure.
    fn structures(&self, changes: &ValueChanges) -> Result<BTreeMap<&'static str, RfcRow>, Failure> {
        let mut structures: BTreeMap<&'static str, RfcRow> = BTreeMap::new();
        for (name, value) in changes {
            let Some(place) = self.settings.attributes.get(name) else { continue };
            let text = match value {
                None => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(Value::Number(number)) => number.to_string(),
                Some(Value::Bool(true)) => "X".to_owned(),
                Some(_) => {
                    return Err(Failure::new(
                        FailureKind::SchemaMismatch,
                        format!("`{name}` holds what no field can"),
                    ));
                }
            };
            set(&mut structures, place, text);
        }
        Ok(structures)
    }
}

fn set(structures: &mut BTreeMap<&'static str, RfcRow>, place: &str, text: String) {
    if let Some((structure, field)) = split(place)
        && let Some(structure) = STRUCTURES.iter().find(|known| **known == structure)
    {
        structures.entry(structure).or_default().insert(field.to_owned(), text);
    }
}

/// Structures with the flags beside them that say which fields count (`ADDRESSX` for `ADDRESS`).
fn flagged(structures: BTreeMap<&'static str, RfcRow>) -> Vec<(&'static str, RfcValue)> {
    let with_flags = structures.into_iter().flat_map(|(structure, fields)| {
        let flags: RfcRow = fields.keys().map(|field| (field.clone(), "X".to_owned())).collect();
        let flag_name = match structure {
            "ADDRESS" => "ADDRESSX",
            "LOGONDATA" => "LOGONDATAX",
            "DEFAULTS" => "DEFAULTSX",
            _ => "COMPANYX",
        };
        [(structure, RfcValue::Structure(fields)), (flag_name, RfcValue::Structure(flags))]
    });
    with_flags.collect()
}

fn split(place: &str) -> Option<(&str, &str)> {
    place.split_once('.')
}

fn row(fields: &[(&str, &str)]) -> RfcRow {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn is_set(row: &RfcRow, field: &str) -> bool {
    row.get(field).is_some_and(|flag| flag == "X")
}

fn is_initial(value: &str) -> bool {
    value.is_empty() || value == "0000-00-00"
}

/// The worst message in RETURN (BAPIRET2): E and A are failures. Texts are left out, as they repeat values.
fn worst(answer: &RfcAnswer) -> Option<Failure> {
    let rows: &[RfcRow] = match answer.get("RETURN") {
        Some(RfcValue::Table(rows)) => rows,
        Some(RfcValue::Structure(row)) => std::slice::from_ref(row),
        Some(RfcValue::Text(_)) | None => return None,
    };
    let field = |row: &RfcRow, name: &str| row.get(name).cloned().unwrap_or_default();
    let bad = rows.iter().find(|row| matches!(field(row, "TYPE").as_str(), "E" | "A"))?;
    let (class, number) = (field(bad, "ID"), field(bad, "NUMBER"));
    let kind = match (class.as_str(), number.as_str()) {
        // The user does not exist; the user exists already.
        ("01", "124") => FailureKind::Missing,
        ("01", "224") => FailureKind::Conflict,
        _ if field(bad, "TYPE") == "A" => FailureKind::Server,
        _ => FailureKind::SchemaMismatch,
    };
    Some(Failure::new(kind, format!("message {class} {number}")))
}

impl fmt::Debug for AbapUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AbapUsers").finish_non_exhaustive()
    }
}

#[async_trait]
impl Accounts for AbapUsers {
    fn leaver(&self) -> Leaver {
        self.settings.leaver
    }

    fn manages(&self, attribute: &str) -> Managed {
        if attribute == self.settings.user_name || self.settings.attributes.contains_key(attribute) {
            Managed::Yes
        } else if self.settings.passed_by.contains(attribute) {
            Managed::PassedBy
        } else {
            Managed::No
        }
    }

    async fn by_account(&self, account: &AccountId) -> Result<Option<Account>, Failure> {
        Ok(self.detail(account.as_str()).await?.map(|detail| detail.account))
    }

    async fn by_person(&self, person: &PersonId) -> Result<Vec<Account>, Failure> {
        let names = self.names(Some((&self.settings.person, person.as_str()))).await?;
        if names.len() > MATCHES_MAX {
            return Err(Failure::new(FailureKind::Ambiguous, "a look-up found too many users"));
        }
        let mut found = Vec::new();
        for name in names {
            match self.detail(&name).await? {
                Some(detail) if detail.account.person.as_ref() == Some(person) => found.push(detail.account),
                _ => {
                    return Err(Failure::new(
                        FailureKind::Divergent,
                        "the system answers with a user that was not asked for",
                    ));
                }
            }
        }
        Ok(found)
    }

    async fn by_unique(&self, attribute: &str, value: &str) -> Result<Vec<Account>, Failure> {
        if attribute != self.settings.user_name {
            return Ok(Vec::new());
        }
        let detail = self.detail(&value.to_uppercase()).await?;
        Ok(detail.into_iter().map(|detail| detail.account).collect())
    }

    async fn create(&self, person: &PersonId, attributes: &Values) -> Result<Option<AccountId>, Failure> {
        let name = attributes.get(&self.settings.user_name).and_then(Value::as_str).map(str::to_uppercase);
        let name = name.filter(|name| (1..=USER_NAME_CHARS_MAX).contains(&name.chars().count()));
        let name = name.ok_or_else(|| {
            Failure::new(FailureKind::SchemaMismatch, "a user needs a name of at most 12 characters")
        })?;
        let account = AccountId::new(&name)
            .map_err(|_| Failure::new(FailureKind::SchemaMismatch, "the user's name is no name"))?;
        let changes = attributes.iter().map(|(name, value)| (name.clone(), Some(value.clone()))).collect();
        let mut structures = self.structures(&changes)?;
        set(&mut structures, &self.settings.person, person.as_str().to_owned());
        let logon = structures.entry("LOGONDATA").or_default();
        // A dialogue user whose password is switched off.
        logon.entry("USTYP".to_owned()).or_insert_with(|| "A".to_owned());
        logon.entry("CODVN".to_owned()).or_insert_with(|| "X".to_owned());
        let parameters =
            structures.into_iter().map(|(name, fields)| (name, RfcValue::Structure(fields))).collect();
        self.write("BAPI_USER_CREATE1", &name, parameters).await?;
        Ok(Some(account))
    }

    async fn link(&self, account: &Account, person: &PersonId) -> Result<(), Failure> {
        let mut structures = BTreeMap::new();
        set(&mut structures, &self.settings.person, person.as_str().to_owned());
        self.write("BAPI_USER_CHANGE", account.id.as_str(), flagged(structures)).await
    }

    async fn change(&self, account: &Account, changes: &ValueChanges) -> Result<(), Failure> {
        if changes.contains_key(&self.settings.user_name) {
            return Err(Failure::new(FailureKind::Unsupported, "SAP renames no user"));
        }
        self.write("BAPI_USER_CHANGE", account.id.as_str(), flagged(self.structures(changes)?)).await
    }

    async fn set_access(&self, account: &Account, access: Access) -> Result<(), Failure> {
        let function = match access {
            Access::Active => "BAPI_USER_UNLOCK",
            Access::Disabled => "BAPI_USER_LOCK",
        };
        self.write(function, account.id.as_str(), Vec::new()).await
    }

    async fn set_right(
        &self,
        account: &Account,
        entitlement: &EntitlementId,
        right: Right,
    ) -> Result<(), Failure> {
        let detail = self.detail(account.id.as_str()).await?;
        let detail =
            detail.ok_or_else(|| Failure::new(FailureKind::Missing, "the user is not there any more"))?;
        let is_it = |row: &RfcRow| row.get("AGR_NAME").is_some_and(|name| name == entitlement.as_str());
        // What comes out of the organisation is assigned there, and what is written here would be assigned twice.
        let direct = detail.roles.into_iter().filter(|row| !is_set(row, "ORG_FLAG"));
        let mut roles: Vec<RfcRow> = direct.filter(|row| right == Right::Granted || !is_it(row)).collect();
        if right == Right::Granted && !roles.iter().any(is_it) {
            let today = (self.today)().to_string();
            roles.push(row(&[
                ("AGR_NAME", entitlement.as_str()),
                ("FROM_DAT", &today),
                ("TO_DAT", ROLES_END),
            ]));
        }
        let rows = roles.iter().map(|role| {
            ["AGR_NAME", "FROM_DAT", "TO_DAT"]
                .iter()
                .filter_map(|field| Some(((*field).to_owned(), role.get(*field)?.clone())))
                .collect()
        });
        let rows: Vec<RfcRow> = rows.collect();
        match rows.is_empty() {
            // An empty list is no list for BAPI_USER_ACTGROUPS_ASSIGN.
            true => self.write("BAPI_USER_ACTGROUPS_DELETE", account.id.as_str(), Vec::new()).await,
            false => {
                let roles = vec![("ACTIVITYGROUPS", RfcValue::Table(rows))];
                self.write("BAPI_USER_ACTGROUPS_ASSIGN", account.id.as_str(), roles).await
            }
        }
    }

    async fn delete(&self, account: &Account) -> Result<(), Failure> {
        self.write("BAPI_USER_DELETE", account.id.as_str(), Vec::new()).await
    }

    fn given_up(&self, attribute: &str, value: &Value, account: &Account) -> Option<Value> {
        let is_fixed = attribute == self.settings.user_name;
        (!is_fixed).then(|| account::given_up(&account.id, value.as_str().unwrap_or_default()).into())
    }

    fn agrees(&self, attribute: &str, wanted: &Value, found: &Value) -> bool {
        match (wanted, found) {
            (Value::String(wanted), Value::String(found)) if attribute == self.settings.user_name => {
                wanted.to_uppercase() == found.to_uppercase()
            }
            (Value::Number(wanted), Value::String(found)) => wanted.to_string() == *found,
            (Value::Bool(true), Value::String(found)) => found == "X",
            _ => wanted == found,
        }
    }
}

#[async_trait]
impl Connector for AbapUsers {
    async fn probe(&self) -> Result<(), Failure> {
        let parameters = vec![
            ("MAX_ROWS", RfcValue::Text("1".to_owned())),
            ("USERLIST", RfcValue::Table(Vec::new())),
            ("RETURN", RfcValue::Table(Vec::new())),
        ];
        let outcome =
            self.rfc.call(&RfcCall { function: "BAPI_USER_GETLIST", parameters, is_read: true }).await;
        self.latch.note(&outcome, true);
        worst(&outcome?).map_or(Ok(()), Err)
    }

    async fn ensure(&self, operation: &Operation) -> Result<Confirmation, Failure> {
        account::ensure(self, operation).await
    }

    fn accounts(&self) -> BoxStream<'_, Result<ListedAccount, Failure>> {
        let next = move |names: Option<Vec<String>>| async move {
            let mut names = match names {
                Some(names) => names,
                None => self.names(None).await?,
            };
            while let Some(name) = names.pop() {
                // Somebody may have been deleted since the list was made.
                if let Some(detail) = self.detail(&name).await? {
                    return Ok(Some((detail.account.into(), Some(names))));
                }
            }
            Ok(None)
        };
        stream::try_unfold(None, next).boxed()
    }
}

const STRUCTURES: [&str; 4] = ["ADDRESS", "LOGONDATA", "DEFAULTS", "COMPANY"];
const USER_NAME_CHARS_MAX: usize = 12;
