//! SAP, as its documentation has it: the counterparts here are **fakes built from the documentation**, not recordings. That a
//! test passes says that we do what is written, not that SAP does.
#![allow(clippy::string_slice)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::NaiveDate;
use connector_health::connector::{Access, Connector, Effect, FailureKind, Found, Operation, Right, Target};
use connector_health::event::{Attribute, Attributes, Changes};
use connector_health::sap::{
    AbapSettings, AbapUsers, BusinessUserSettings, BusinessUsers, RfcAnswer, RfcCall, RfcRow, RfcTransport,
    RfcValue, SapLogon, SoapRfc,
};
use connector_health::transport::HttpTransport;
use connector_health::{AccountId, EntitlementId, Failure, PersonId};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Request, Response};

fn target(id: &str) -> Target {
    Target { person: PersonId::new(id).unwrap(), account: None, unique: [].into() }
}

fn attributes(name: &str) -> Attributes {
    Attributes::from([
        ("user_name".to_owned(), Attribute::Unique(name.to_owned())),
        ("family_name".to_owned(), "King & <Sons>".into()),
        ("email".to_owned(), "a@example.org".into()),
        ("locale".to_owned(), "de".into()),
    ])
}

fn account(id: &str, name: &str) -> Operation {
    Operation::Account { target: target(id), attributes: attributes(name), rights: BTreeSet::new() }
}

fn leave(id: &str) -> Operation {
    Operation::Deprovision { target: target(id) }
}

fn entitle(id: &str, entitlement: &str, right: Right) -> Operation {
    Operation::Entitlement {
        target: target(id),
        entitlement: EntitlementId::new(entitlement).unwrap(),
        right,
    }
}

fn logon() -> SapLogon {
    SapLogon::new("COMM", "planted-secret")
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Good,
    LostAnswer,
    /// As that, once.
    LostOnce,
    NoEffect,
    /// HTTP 200 and severity 3.
    Severe,
    Refused,
    Bomb,
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// The first element of that name, and what follows it.
fn tag<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let start = text
        .match_indices(&format!("<{name}"))
        .find(|(at, _)| matches!(text.as_bytes()[at + name.len() + 1], b'>' | b' '))?
        .0;
    let open = start + text[start..].find('>')? + 1;
    let close = open + text[open..].find(&format!("</{name}>"))?;
    Some((&text[open..close], &text[close..]))
}

fn field(text: &str, name: &str) -> Option<String> {
    tag(text, name).map(|(content, _)| unescape(content))
}

#[derive(Clone, Default)]
struct BusinessUser {
    external: String,
    fields: BTreeMap<String, String>,
    roles: BTreeSet<String>,
    is_locked: bool,
    is_archived: bool,
}

/// `ManageBusinessUserIn` and `QueryBusinessUserIn`, built from SAP's documentation.
#[derive(Clone)]
pub(crate) struct DocumentedS4 {
    users: Arc<Mutex<BTreeMap<String, BusinessUser>>>,
    mode: Arc<Mutex<Mode>>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl DocumentedS4 {
    #[cfg(feature = "conformance")]
    pub(crate) fn lose_next_answer(&self) {
        *self.mode.lock().unwrap() = Mode::LostOnce;
    }

    #[cfg(feature = "conformance")]
    pub(crate) fn seen_of(&self, person: &str) -> Vec<connector_health::conformance::Seen> {
        let users = self.users.lock().unwrap();
        let of = users.values().filter(|user| user.external == person);
        of.map(|user| connector_health::conformance::Seen {
            access: if user.is_locked { Access::Disabled } else { Access::Active },
            name: user.fields.get("UserName").map(|name| name.to_lowercase()),
            attribute: user.fields.get("EmailAddress").cloned(),
            rights: user.roles.iter().map(|role| EntitlementId::new(role).unwrap()).collect(),
        })
        .collect()
    }

    pub(crate) fn new() -> Self {
        Self { users: Arc::default(), mode: Arc::new(Mutex::new(Mode::Good)), requests: Arc::default() }
    }

    pub(crate) fn connector(&self, archive_leavers: bool) -> BusinessUsers {
        let settings: BusinessUserSettings = toml::from_str(
            "url = 'https://my300000-api.s4hana.example'\npassed_by = ['locale']\n[attributes]\nuser_name = 'User.UserName'\n\
             family_name = 'PersonalInformation.LastName'\nemail = 'WorkplaceInformation.EmailAddress'\n",
        )
        .unwrap();
        BusinessUsers::new(BusinessUserSettings { archive_leavers, ..settings }, logon(), self.clone())
            .unwrap()
    }

    fn maintain(&self, mut body: &str, has_effect: bool) -> String {
        let mut users = self.users.lock().unwrap();
        let mut answers = String::new();
        while let Some(start) = body.find("<BusinessUser ") {
            let action = body[start..].split("actionCode=\"").nth(1).unwrap()[..2].to_owned();
            let (user, rest) = tag(body, "BusinessUser").unwrap();
            body = rest;
            assert_eq!(field(user, "BusinessPartnerRoleCode").as_deref(), Some("BUP003"));
            let id = match field(user, "PersonID") {
                Some(id) => id,
                None => format!("{:010}", 9_980_000_000_u64 + users.len() as u64),
            };
            if action == "01"
                && users
                    .values()
                    .any(|known| Some(&known.external) == field(user, "PersonExternalID").as_ref())
            {
                answers += &format!("<BusinessUser><Log>{SEVERE}</Log></BusinessUser>");
                continue;
            }
            let mut known = users.get(&id).cloned().unwrap_or_default();
            known.external = field(user, "PersonExternalID").unwrap_or(known.external);
            for name in ["UserName", "LastName", "EmailAddress"] {
                match field(user, name) {
                    Some(text) if text.is_empty() => drop(known.fields.remove(name)),
                    Some(text) => drop(known.fields.insert(
                        name.to_owned(),
                        if name == "UserName" { text.to_uppercase() } else { text },
                    )),
                    None => {}
                }
            }
            known.is_locked =
                field(user, "LockedIndicator").map_or(known.is_locked, |locked| locked == "true");
            known.is_archived = field(user, "MarkedForArchivingIndicator")
                .map_or(known.is_archived, |marked| marked == "true");
            if let Some(role) = field(user, "RoleName") {
                assert!(user.contains("roleListCompleteTransmissionIndicator=\"false\""), "other roles stay");
                match user.contains("<Role actionCode=\"01\">") {
                    true => known.roles.insert(role),
                    false => known.roles.remove(&role),
                };
            }
            if has_effect {
                users.insert(id.clone(), known);
            }
            answers += &format!(
                "<BusinessUser><PersonID>{id}</PersonID><Log><MaximumLogItemSeverityCode>1</MaximumLogItemSeverityCode></Log></BusinessUser>"
            );
        }
        format!(
            "<n0:BusinessUserBundleMaintainConfirmation_sync xmlns:n0=\"http://sap.com/xi/ABA\">{answers}</n0:BusinessUserBundleMaintainConfirmation_sync>"
        )
    }

    fn query(&self, body: &str) -> String {
        let users = self.users.lock().unwrap();
        let lower = |name: &str| field(body, &format!("LowerBoundary{name}"));
        let range =
            lower("PersonID").map(|low| (low.clone(), field(body, "UpperBoundaryPersonID").unwrap_or(low)));
        let holds = |id: &str, user: &BusinessUser| {
            range.as_ref().is_none_or(|(low, high)| low.as_str() <= id && id <= high.as_str())
                && lower("PersonExtID").is_none_or(|external| external == user.external)
                && lower("UserName")
                    .is_none_or(|name| user.fields.get("UserName") == Some(&name.to_uppercase()))
        };
        let found: Vec<_> = users.iter().filter(|(id, user)| holds(id, user)).collect();
        let limit: usize = field(body, "QueryHitsMaximumNumberValue").unwrap().parse().unwrap();
        let mut out =
            String::from("<n0:BusinessUserSimpleByElementsResponse_sync xmlns:n0=\"http://sap.com/xi/ABA\">");
        for (id, user) in found.iter().take(limit) {
            let text = |name: &str| escape(user.fields.get(name).map_or("", String::as_str));
            let roles: String =
                user.roles.iter().map(|role| format!("<Role><RoleName>{role}</RoleName></Role>")).collect();
            out += &format!(
                "<BusinessUser><PersonExternalID>{}</PersonExternalID><PersonID>{id}</PersonID><MarkedForArchivingIndicator>{}</MarkedForArchivingIndicator>\
                 <PersonalInformation><LastName>{}</LastName></PersonalInformation><User><UserName>{}</UserName><LockedIndicator>{}</LockedIndicator>{roles}</User>\
                 <WorkplaceInformation><EmailAddress>{}</EmailAddress></WorkplaceInformation></BusinessUser>",
                escape(&user.external),
                user.is_archived,
                text("LastName"),
                text("UserName"),
                user.is_locked,
                text("EmailAddress"),
            );
        }
        out + &format!(
            "<ResponseProcessingConditions><HitsTotalNumberValue>{}</HitsTotalNumberValue><MoreHitsAvailableIndiactor>{}</MoreHitsAvailableIndiactor>\
             </ResponseProcessingConditions></n0:BusinessUserSimpleByElementsResponse_sync>",
            found.len(),
            found.len() > limit,
        )
    }
}

const SEVERE: &str = "<MaximumLogItemSeverityCode>3</MaximumLogItemSeverityCode><Item><TypeID>104(MDC_BUPA_API)</TypeID>\
                      <SeverityCode>3</SeverityCode><Note>Combination of Ext. ID secret-value inconsistent</Note></Item>";

fn envelope(body: &str) -> Response<Bytes> {
    let text = format!(
        "<?xml version=\"1.0\"?><soap-env:Envelope xmlns:soap-env=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap-env:Header/><soap-env:Body>{body}</soap-env:Body></soap-env:Envelope>"
    );
    Response::builder().header("content-type", "text/xml; charset=utf-8").body(text.into()).unwrap()
}

const BOMB: &str = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;\">]><x>&b;</x>";

#[async_trait]
impl HttpTransport for DocumentedS4 {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        assert_eq!(request.headers()["authorization"], "Basic Q09NTTpwbGFudGVkLXNlY3JldA==");
        let body = std::str::from_utf8(request.body()).unwrap().to_owned();
        self.requests.lock().unwrap().push(body.clone());
        let is_write = request.uri().path().ends_with("/managebusinessuserin");
        let mode = *self.mode.lock().unwrap();
        Ok(match mode {
            Mode::Refused => Response::builder().status(401).body(Bytes::new()).unwrap(),
            Mode::Bomb => Response::new(Bytes::from_static(BOMB.as_bytes())),
            Mode::Severe if is_write => envelope(&format!(
                "<n0:BusinessUserBundleMaintainConfirmation_sync xmlns:n0=\"u\"><BusinessUser><Log>{SEVERE}</Log></BusinessUser></n0:BusinessUserBundleMaintainConfirmation_sync>"
            )),
            mode @ (Mode::LostAnswer | Mode::LostOnce) if is_write => {
                if mode == Mode::LostOnce {
                    *self.mode.lock().unwrap() = Mode::Good;
                }
                self.maintain(&body, true);
                return Err(Failure::unknown("reset"));
            }
            mode if is_write => envelope(&self.maintain(&body, mode != Mode::NoEffect)),
            _ => envelope(&self.query(&body)),
        })
    }
}

#[tokio::test]
async fn a_business_user_comes_changes_leaves_and_comes_back_as_documented() {
    for archive in [false, true] {
        let s4 = DocumentedS4::new();
        let connector = s4.connector(archive);
        connector.probe().await.unwrap();
        for (operation, expected) in [
            (account("e1", "ada"), Found::Changed),
            (account("e1", "ada"), Found::AlreadySo),
            (entitle("e1", "SAP_BR_MANAGER", Right::Granted), Found::Changed),
            (entitle("e1", "SAP_BR_BUYER", Right::Granted), Found::Changed),
            (entitle("e1", "SAP_BR_BUYER", Right::Revoked), Found::Changed),
            (leave("e1"), Found::Changed),
            (leave("e1"), Found::AlreadySo),
            (leave("nobody"), Found::Absent),
            (account("e1", "king"), Found::Changed),
        ] {
            assert_eq!(connector.ensure(&operation).await.unwrap().found, expected, "{operation:?}");
            let users = s4.users.lock().unwrap();
            let user = users.values().next().unwrap();
            if matches!(operation, Operation::Deprovision { .. }) {
                assert!(user.is_locked && user.is_archived == archive && user.roles.is_empty());
            }
        }
        let changes = Changes::from([("email".to_owned(), None)]);
        connector.ensure(&Operation::Attributes { target: target("e1"), changes }).await.unwrap();
        let users = s4.users.lock().unwrap();
        let user = users.values().next().unwrap();
        assert!(!user.is_locked && !user.is_archived);
        assert_eq!(
            user.fields,
            BTreeMap::from([("LastName".into(), "King & <Sons>".into()), ("UserName".into(), "KING".into())])
        );
        assert!(!format!("{connector:?}{:?}", logon()).contains("planted-secret"));
    }
}

#[tokio::test]
async fn the_severity_decides_and_not_the_status() {
    let s4 = DocumentedS4::new();
    let connector = s4.connector(false);
    connector.ensure(&account("e1", "ada")).await.unwrap();
    for (mode, kind) in [
        (Mode::Severe, FailureKind::SchemaMismatch),
        (Mode::NoEffect, FailureKind::Divergent),
        (Mode::Bomb, FailureKind::Server),
    ] {
        *s4.mode.lock().unwrap() = mode;
        let failure = connector.ensure(&leave("e1")).await.unwrap_err();
        assert_eq!(failure.kind(), kind, "{failure}");
        assert!(!failure.message().contains("secret-value"), "texts repeat values: {failure}");
    }
    *s4.mode.lock().unwrap() = Mode::LostAnswer;
    assert_eq!(connector.ensure(&leave("e1")).await.unwrap().found, Found::Changed);
    assert_eq!(connector.ensure(&account("e2", "eve")).await.unwrap().found, Found::Changed);
    assert_eq!(s4.users.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_refused_logon_to_sap_is_not_tried_five_times() {
    let s4 = DocumentedS4::new();
    let connector = s4.connector(false);
    *s4.mode.lock().unwrap() = Mode::Refused;
    for _ in 0..10 {
        assert_eq!(connector.ensure(&leave("e1")).await.unwrap_err().kind(), FailureKind::Authentication);
    }
    assert_eq!(s4.requests.lock().unwrap().len(), 1);
    assert_eq!(connector.probe().await.unwrap_err().kind(), FailureKind::Authentication);
    *s4.mode.lock().unwrap() = Mode::Good;
    connector.probe().await.unwrap();
    assert_eq!(connector.ensure(&leave("e1")).await.unwrap().found, Found::Absent);
}

#[tokio::test]
async fn many_business_users_are_listed_in_parts_and_locked_in_batches() {
    let s4 = DocumentedS4::new();
    let connector = s4.connector(false);
    for n in 0..750 {
        let user = BusinessUser { external: format!("e{n}"), ..BusinessUser::default() };
        s4.users.lock().unwrap().insert(format!("{:010}", n * 13_000_000_u64), user);
    }
    let all: Vec<_> = connector.accounts().try_collect().await.unwrap();
    assert_eq!(all.iter().map(|account| &account.account).collect::<BTreeSet<_>>().len(), 750);
    let ids: Vec<AccountId> = all.into_iter().map(|account| account.account).collect();
    s4.requests.lock().unwrap().clear();
    let outcomes = connector.lock_all(&ids).await;
    assert_eq!(s4.requests.lock().unwrap().len(), 8, "at most 100 at once");
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_ok()));
    assert!(s4.users.lock().unwrap().values().all(|user| user.is_locked));
    assert_eq!(connector.ensure(&leave("e7")).await.unwrap().found, Found::AlreadySo);
    // Somebody whose identifier lies in no range is missed, and the listing says that it is not whole.
    s4.users.lock().unwrap().insert("X".to_owned(), BusinessUser::default());
    let last = connector.accounts().collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(last.unwrap_err().kind(), FailureKind::Divergent);
}

#[derive(Clone, Default)]
struct AbapUser {
    structures: BTreeMap<String, RfcRow>,
    roles: Vec<RfcRow>,
    local_lock: bool,
    wrong_logons: bool,
}

/// The user BAPIs, built from SAP's documentation.
#[derive(Clone)]
struct DocumentedAbap {
    users: Arc<Mutex<BTreeMap<String, AbapUser>>>,
    mode: Arc<Mutex<Mode>>,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

fn row(fields: &[(&str, &str)]) -> RfcRow {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl DocumentedAbap {
    fn new() -> Self {
        Self { users: Arc::default(), mode: Arc::new(Mutex::new(Mode::Good)), calls: Arc::default() }
    }

    fn settings() -> AbapSettings {
        toml::from_str(
            "person = 'ADDRESS.INHOUSE_ML'\nuser_name = 'user_name'\npassed_by = ['locale']\n[attributes]\nfamily_name = 'ADDRESS.LASTNAME'\n\
             email = 'ADDRESS.E_MAIL'\nvalid_to = 'LOGONDATA.GLTGB'\n",
        )
        .unwrap()
    }

    fn connector(&self) -> AbapUsers {
        AbapUsers::new(Self::settings(), self.clone())
            .unwrap()
            .with_today(|| NaiveDate::from_ymd_opt(2026, 3, 1).unwrap())
    }

    fn answer(&self, call: &RfcCall) -> RfcAnswer {
        let given: BTreeMap<&str, &RfcValue> =
            call.parameters.iter().map(|(name, value)| (*name, value)).collect();
        let text = |name: &str| match given.get(name) {
            Some(RfcValue::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let table = |name: &str| match given.get(name) {
            Some(RfcValue::Table(rows)) => rows.clone(),
            _ => panic!("{name} is a table of {}", call.function),
        };
        let said = |kind: &str, number: &str| {
            let message =
                row(&[("TYPE", kind), ("ID", "01"), ("NUMBER", number), ("MESSAGE", "User secret-value …")]);
            RfcAnswer::from([("RETURN".to_owned(), RfcValue::Table(vec![message]))])
        };
        let mut users = self.users.lock().unwrap();
        let name = text("USERNAME");
        match call.function {
            "BAPI_USER_GETLIST" => {
                let range =
                    if given.contains_key("SELECTION_RANGE") { table("SELECTION_RANGE") } else { Vec::new() };
                let holds = |user: &AbapUser| {
                    range.iter().all(|range| {
                        assert_eq!((&*range["SIGN"], &*range["OPTION"]), ("I", "EQ"));
                        user.structures
                            .get(&range["PARAMETER"])
                            .and_then(|fields| fields.get(&range["FIELD"]))
                            == Some(&range["LOW"])
                    })
                };
                let list: Vec<_> = users
                    .iter()
                    .filter(|(_, user)| holds(user))
                    .map(|(name, _)| row(&[("USERNAME", name)]))
                    .collect();
                RfcAnswer::from([
                    ("ROWS".to_owned(), RfcValue::Text(list.len().to_string())),
                    ("USERLIST".to_owned(), RfcValue::Table(list)),
                    ("RETURN".to_owned(), RfcValue::Table(Vec::new())),
                ])
            }
            "BAPI_USER_CREATE1" if users.contains_key(&name) => said("E", "224"),
            "BAPI_USER_CREATE1" => {
                let mut user = AbapUser::default();
                for (name, value) in &call.parameters {
                    if let RfcValue::Structure(fields) = value {
                        user.structures.insert((*name).to_owned(), fields.clone());
                    }
                }
                assert_eq!(user.structures["LOGONDATA"]["CODVN"], "X", "no password");
                users.insert(name, user);
                said("S", "102")
            }
            _ if !users.contains_key(&name) => said("E", "124"),
            "BAPI_USER_GET_DETAIL" => {
                let user = &users[&name];
                let lock = |is_locked: bool| if is_locked { "L" } else { "U" };
                let locks = row(&[
                    ("LOCAL_LOCK", lock(user.local_lock)),
                    ("GLOB_LOCK", "U"),
                    ("WRNG_LOGON", lock(user.wrong_logons)),
                ]);
                let mut answer: RfcAnswer = user
                    .structures
                    .iter()
                    .map(|(name, fields)| (name.clone(), RfcValue::Structure(fields.clone())))
                    .collect();
                answer.insert("ISLOCKED".to_owned(), RfcValue::Structure(locks));
                answer.insert("ACTIVITYGROUPS".to_owned(), RfcValue::Table(user.roles.clone()));
                answer.insert("RETURN".to_owned(), RfcValue::Table(Vec::new()));
                answer
            }
            function => {
                let user = users.get_mut(&name).unwrap();
                match function {
                    "BAPI_USER_LOCK" => user.local_lock = true,
                    "BAPI_USER_UNLOCK" => user.local_lock = false,
                    "BAPI_USER_CHANGE" => {
                        for (name, value) in &call.parameters {
                            let RfcValue::Structure(fields) = value else { continue };
                            let Some(RfcValue::Structure(flags)) = given.get(format!("{name}X").as_str())
                            else {
                                continue;
                            };
                            for (field, text) in fields
                                .iter()
                                .filter(|(field, _)| flags.get(*field).is_some_and(|flag| flag == "X"))
                            {
                                user.structures
                                    .entry((*name).to_owned())
                                    .or_default()
                                    .insert(field.clone(), text.clone());
                            }
                        }
                    }
                    // The whole list, always.
                    "BAPI_USER_ACTGROUPS_ASSIGN" => {
                        user.roles.retain(|role| role.get("ORG_FLAG").is_some_and(|flag| flag == "X"));
                        user.roles.extend(table("ACTIVITYGROUPS"));
                    }
                    "BAPI_USER_ACTGROUPS_DELETE" => {
                        user.roles.retain(|role| role.get("ORG_FLAG").is_some_and(|flag| flag == "X"))
                    }
                    "BAPI_USER_DELETE" => drop(users.remove(&name)),
                    other => panic!("{other}"),
                }
                said("S", "039")
            }
        }
    }
}

#[async_trait]
impl RfcTransport for DocumentedAbap {
    async fn call(&self, call: &RfcCall) -> Result<RfcAnswer, Failure> {
        self.calls.lock().unwrap().push(call.function);
        assert_eq!(call.is_read, call.function.contains("_GET"));
        let mode = *self.mode.lock().unwrap();
        match mode {
            Mode::Refused => Err(Failure::new(FailureKind::Authentication, "refused")),
            Mode::LostAnswer if !call.is_read => {
                self.answer(call);
                Err(Failure::unknown("reset"))
            }
            Mode::NoEffect if !call.is_read => {
                Ok(RfcAnswer::from([("RETURN".to_owned(), RfcValue::Table(vec![row(&[("TYPE", "S")])]))]))
            }
            Mode::Severe if !call.is_read => {
                let message =
                    row(&[("TYPE", "E"), ("ID", "01"), ("NUMBER", "512"), ("MESSAGE", "secret-value")]);
                Ok(RfcAnswer::from([("RETURN".to_owned(), RfcValue::Table(vec![message]))]))
            }
            _ => Ok(self.answer(call)),
        }
    }
}

#[tokio::test]
async fn an_abap_user_comes_changes_leaves_and_comes_back_as_documented() {
    let abap = DocumentedAbap::new();
    let connector = abap.connector();
    connector.probe().await.unwrap();
    for (operation, expected) in [
        (account("e1", "ada"), Found::Changed),
        (account("e1", "ada"), Found::AlreadySo),
        (entitle("e1", "Z_BUYER", Right::Granted), Found::Changed),
        (entitle("e1", "Z_CLERK", Right::Granted), Found::Changed),
        (entitle("e1", "Z_CLERK", Right::Revoked), Found::Changed),
    ] {
        assert_eq!(connector.ensure(&operation).await.unwrap().found, expected, "{operation:?}");
    }
    // A role with dates that somebody else gave: read, merged, written back as it was.
    abap.users.lock().unwrap().get_mut("ADA").unwrap().roles.push(row(&[
        ("AGR_NAME", "Z_TEMP"),
        ("FROM_DAT", "2026-01-01"),
        ("TO_DAT", "2026-06-30"),
    ]));
    connector.ensure(&entitle("e1", "Z_NEW", Right::Granted)).await.unwrap();
    let roles = abap.users.lock().unwrap()["ADA"].roles.clone();
    assert_eq!(roles.len(), 3);
    assert!(roles.contains(&row(&[
        ("AGR_NAME", "Z_TEMP"),
        ("FROM_DAT", "2026-01-01"),
        ("TO_DAT", "2026-06-30")
    ])));
    assert!(roles.contains(&row(&[
        ("AGR_NAME", "Z_NEW"),
        ("FROM_DAT", "2026-03-01"),
        ("TO_DAT", "9999-12-31")
    ])));

    let until = Changes::from([("valid_to".to_owned(), Some("2026-12-31".into()))]);
    connector.ensure(&Operation::Attributes { target: target("e1"), changes: until }).await.unwrap();
    assert_eq!(abap.users.lock().unwrap()["ADA"].structures["LOGONDATA"]["GLTGB"], "2026-12-31");
    let rename = Changes::from([("user_name".to_owned(), Some(Attribute::Unique("king".to_owned())))]);
    let failure =
        connector.ensure(&Operation::Attributes { target: target("e1"), changes: rename }).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unsupported);

    assert_eq!(connector.ensure(&leave("e1")).await.unwrap().found, Found::Changed);
    assert_eq!(connector.ensure(&leave("e1")).await.unwrap().found, Found::AlreadySo);
    let user = abap.users.lock().unwrap()["ADA"].clone();
    assert!(user.local_lock && user.roles.is_empty());
    let all: Vec<_> = connector.accounts().try_collect().await.unwrap();
    assert_eq!((all.len(), all[0].access), (1, Access::Disabled));
    assert_eq!(connector.ensure(&account("e1", "ada")).await.unwrap().found, Found::Changed);
    // Names are given anew; somebody else has this one.
    let wanted = Target { unique: [("user_name".to_owned(), "ada".to_owned())].into(), ..target("e2") };
    let claim = Operation::Account { target: wanted, attributes: attributes("ada"), rights: BTreeSet::new() };
    assert_eq!(connector.ensure(&claim).await.unwrap_err().kind(), FailureKind::Conflict);
}

#[tokio::test]
async fn a_lock_after_wrong_passwords_is_no_deprovisioning() {
    let abap = DocumentedAbap::new();
    let connector = abap.connector();
    connector.ensure(&account("e1", "ada")).await.unwrap();
    abap.users.lock().unwrap().get_mut("ADA").unwrap().wrong_logons = true;
    assert_eq!(connector.ensure(&leave("e1")).await.unwrap().found, Found::Changed);
    assert!(abap.users.lock().unwrap()["ADA"].local_lock);
}

#[tokio::test]
async fn what_return_says_counts_and_then_the_read() {
    let abap = DocumentedAbap::new();
    let connector = abap.connector();
    connector.ensure(&account("e1", "ada")).await.unwrap();
    for (mode, kind) in
        [(Mode::Severe, FailureKind::SchemaMismatch), (Mode::NoEffect, FailureKind::Divergent)]
    {
        *abap.mode.lock().unwrap() = mode;
        let failure = connector.ensure(&leave("e1")).await.unwrap_err();
        assert_eq!(failure.kind(), kind);
        assert!(!failure.message().contains("secret-value"), "{failure}");
    }
    *abap.mode.lock().unwrap() = Mode::LostAnswer;
    for operation in [leave("e1"), account("e2", "eve"), entitle("e2", "Z_ROLE", Right::Granted)] {
        assert_eq!(connector.ensure(&operation).await.unwrap().found, Found::Changed, "{operation:?}");
    }
    // A role out of the organisation cannot be taken here, which is said.
    *abap.mode.lock().unwrap() = Mode::Good;
    abap.users
        .lock()
        .unwrap()
        .get_mut("EVE")
        .unwrap()
        .roles
        .push(row(&[("AGR_NAME", "Z_ORG"), ("ORG_FLAG", "X")]));
    let failure = connector.ensure(&leave("e2")).await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Divergent, Effect::Unknown));
    *abap.mode.lock().unwrap() = Mode::Refused;
    abap.calls.lock().unwrap().clear();
    for _ in 0..10 {
        assert_eq!(connector.ensure(&leave("e1")).await.unwrap_err().kind(), FailureKind::Authentication);
    }
    assert_eq!(abap.calls.lock().unwrap().len(), 1);
}

/// `/sap/bc/soap/rfc` in front of the BAPIs, built from SAP's documentation.
#[derive(Clone)]
struct DocumentedSoapRfc(DocumentedAbap);

#[async_trait]
impl HttpTransport for DocumentedSoapRfc {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        assert_eq!(request.uri().to_string(), "https://sap.example/sap/bc/soap/rfc?sap-client=100");
        let body = std::str::from_utf8(request.body()).unwrap();
        const FUNCTIONS: [&str; 7] = [
            "BAPI_USER_GETLIST",
            "BAPI_USER_GET_DETAIL",
            "BAPI_USER_CREATE1",
            "BAPI_USER_CHANGE",
            "BAPI_USER_LOCK",
            "BAPI_USER_UNLOCK",
            "BAPI_USER_ACTGROUPS_ASSIGN",
        ];
        const TABLES: [&str; 4] = ["RETURN", "ACTIVITYGROUPS", "USERLIST", "SELECTION_RANGE"];
        let function =
            FUNCTIONS.into_iter().find(|function| body.contains(&format!("<rfc:{function}>"))).unwrap();
        let (content, _) = tag(body, &format!("rfc:{function}")).unwrap();
        let fields = |mut text: &str| {
            let mut row = RfcRow::new();
            while let Some(start) = text.find('<') {
                let name = text[start + 1..].split('>').next().unwrap().to_owned();
                let (value, rest) = tag(text, &name).unwrap();
                row.insert(name.clone(), unescape(value));
                text = &rest[name.len() + 3..];
            }
            row
        };
        let mut parameters = Vec::new();
        for name in
            ["USERNAME", "WITH_USERNAME", "MAX_ROWS", "ADDRESS", "ADDRESSX", "LOGONDATA", "LOGONDATAX"]
                .into_iter()
                .chain(TABLES)
        {
            let Some((mut text, _)) = tag(content, name) else { continue };
            let value = if TABLES.contains(&name) {
                let mut rows = Vec::new();
                while let Some((item, rest)) = tag(text, "item") {
                    rows.push(fields(item));
                    text = rest;
                }
                RfcValue::Table(rows)
            } else if text.contains('<') {
                RfcValue::Structure(fields(text))
            } else {
                RfcValue::Text(unescape(text))
            };
            parameters.push((name, value));
        }
        let answer = self.0.answer(&RfcCall { function, parameters, is_read: true });
        let row = |row: &RfcRow| {
            row.iter().map(|(name, value)| format!("<{name}>{}</{name}>", escape(value))).collect::<String>()
        };
        let content: String = answer
            .iter()
            .map(|(name, value)| match value {
                RfcValue::Text(text) => format!("<{name}>{}</{name}>", escape(text)),
                RfcValue::Structure(fields) => format!("<{name}>{}</{name}>", row(fields)),
                RfcValue::Table(rows) => format!(
                    "<{name}>{}</{name}>",
                    rows.iter().map(|fields| format!("<item>{}</item>", row(fields))).collect::<String>()
                ),
            })
            .collect();
        Ok(envelope(&format!(
            "<urn:{function}.Response xmlns:urn=\"urn:sap-com:document:sap:rfc:functions\">{content}</urn:{function}.Response>"
        )))
    }
}

#[tokio::test]
async fn bapis_go_over_soap_as_documented() {
    let abap = DocumentedAbap::new();
    let rfc = SoapRfc::new("https://sap.example", "100", logon(), DocumentedSoapRfc(abap.clone())).unwrap();
    let connector = AbapUsers::new(DocumentedAbap::settings(), rfc).unwrap();
    for (operation, expected) in [
        (account("e1", "ada"), Found::Changed),
        (account("e1", "ada"), Found::AlreadySo),
        (entitle("e1", "Z_BUYER", Right::Granted), Found::Changed),
        (entitle("e1", "Z_BUYER", Right::Granted), Found::AlreadySo),
        (leave("nobody"), Found::Absent),
    ] {
        assert_eq!(connector.ensure(&operation).await.unwrap().found, expected, "{operation:?}");
    }
    assert_eq!(abap.users.lock().unwrap()["ADA"].structures["ADDRESS"]["LASTNAME"], "King & <Sons>");
    assert!(SoapRfc::new("http://sap.example", "100", logon(), DocumentedSoapRfc(abap.clone())).is_err());
    assert!(SoapRfc::new("https://sap.example", "1", logon(), DocumentedSoapRfc(abap)).is_err());
}

#[test]
fn xml_that_bites_is_not_read() {
    use connector_health::sap::probe_xml;
    let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    assert!(probe_xml(b"<a>&amp;&#65;<![CDATA[<x>]]></a>"));
    assert!(probe_xml(deep(32).as_bytes()));
    let wide = format!("<a>{}</a>", "<b/>".repeat(200_001));
    for bad in [
        BOMB,
        "<a>&x;</a>",
        "<?pi x?><a/>",
        "<a></b>",
        "<a/><b/>",
        "<a>",
        "text",
        "<a>&#0;</a>",
        &deep(33),
        &deep(100_000),
        &wide,
    ] {
        assert!(!probe_xml(bad.as_bytes()), "{}", &bad[..bad.len().min(40)]);
    }
}
