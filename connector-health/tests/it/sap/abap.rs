//! Users of an AS ABAP.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::NaiveDate;
use connector_health::connector::{Access, Connector, Effect, FailureKind, Found, Operation, Right, Target};
use connector_health::event::{Attribute, Changes};
use connector_health::sap::{
    AbapSettings, AbapUsers, RfcAnswer, RfcCall, RfcRow, RfcTransport, RfcValue, SoapRfc,
};
use connector_health::transport::HttpTransport;
use connector_health::{EntitlementId, Failure};
use futures::TryStreamExt as _;
use http::{Request, Response};

use super::{Mode, account, attributes, entitle, envelope, escape, leave, logon, tag, target, unescape};

#[derive(Clone, Default)]
struct AbapUser {
    structures: BTreeMap<String, RfcRow>,
    roles: Vec<RfcRow>,
    local_lock: bool,
    wrong_logons: bool,
}

/// The user BAPIs, built from SAP's documentation.
#[derive(Clone)]
pub(crate) struct DocumentedAbap {
    users: Arc<Mutex<BTreeMap<String, AbapUser>>>,
    mode: Arc<Mutex<Mode>>,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

fn row(fields: &[(&str, &str)]) -> RfcRow {
    fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

impl DocumentedAbap {
    #[cfg(feature = "conformance")]
    pub(crate) fn lose_next_answer(&self) {
        *self.mode.lock().unwrap() = Mode::LostOnce;
    }

    #[cfg(feature = "conformance")]
    pub(crate) fn seen_of(&self, person: &str) -> Vec<connector_health::conformance::Seen> {
        let users = self.users.lock().unwrap();
        let is_theirs = |user: &AbapUser| {
            user.structures.get("ADDRESS").and_then(|address| address.get("INHOUSE_ML"))
                == Some(&person.to_owned())
        };
        let of = users.iter().filter(|(_, user)| is_theirs(user));
        of.map(|(name, user)| connector_health::conformance::Seen {
            access: if user.local_lock { Access::Disabled } else { Access::Active },
            name: Some(name.to_lowercase()),
            attribute: user.structures["ADDRESS"].get("E_MAIL").cloned(),
            rights: user.roles.iter().map(|role| EntitlementId::new(&role["AGR_NAME"]).unwrap()).collect(),
        })
        .collect()
    }

    pub(crate) fn new() -> Self {
        Self { users: Arc::default(), mode: Arc::new(Mutex::new(Mode::Good)), calls: Arc::default() }
    }

    fn settings() -> AbapSettings {
        toml::from_str(
            "person = 'ADDRESS.INHOUSE_ML'\nuser_name = 'user_name'\npassed_by = ['locale']\n[attributes]\nfamily_name = 'ADDRESS.LASTNAME'\n\
             email = 'ADDRESS.E_MAIL'\nvalid_to = 'LOGONDATA.GLTGB'\n",
        )
        .unwrap()
    }

    pub(crate) fn connector(&self) -> AbapUsers {
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
            mode @ (Mode::LostAnswer | Mode::LostOnce) if !call.is_read => {
                if mode == Mode::LostOnce {
                    *self.mode.lock().unwrap() = Mode::Good;
                }
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
