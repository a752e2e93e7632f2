//! Business users of S/4HANA Cloud.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use connector_health::connector::{Access, Connector, FailureKind, Found, Operation, Right};
use connector_health::event::Changes;
use connector_health::sap::{BusinessUserSettings, BusinessUsers};
use connector_health::transport::HttpTransport;
use connector_health::{AccountId, EntitlementId, Failure};
use futures::{StreamExt as _, TryStreamExt as _};
use http::{Request, Response};

use super::{BOMB, Mode, account, entitle, envelope, escape, field, leave, logon, tag, target};

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
