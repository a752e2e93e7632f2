//! The connectors of this crate run the suite that everybody else's run.

use std::sync::Mutex;

use connector_health::conformance::{Loss, Renaming, Seen, Subject, connector};
use connector_health::connector::{Access, Connector};
use connector_health::http::HttpConnector;
use connector_health::ldap::LdapConnector;
use connector_health::sap::{AbapUsers, BusinessUsers};
use connector_health::{EntitlementId, PersonId};
use testbed::{Slapd, SlapdOptions, TcpRelay};

use crate::http::Crm;
use crate::sap::{DocumentedAbap, DocumentedS4};

/// A real directory behind a relay that loses answers; OpenLDAP's own client looks into it.
struct Directory {
    server: Slapd,
    relay: TcpRelay,
    connector: LdapConnector,
}

impl Directory {
    fn start() -> Self {
        let server = Slapd::start(SlapdOptions::new()).unwrap();
        let relay = TcpRelay::start(server.addr()).unwrap();
        let mut settings = crate::ldap::settings(format!("ldap://{}", relay.addr()));
        settings.dangerous_plain_text = true;
        settings.attributes =
            [("user_name", "uid"), ("display_name", "cn")].map(|(name, to)| (name.into(), to.into())).into();
        settings.constants = [("sn".to_owned(), vec!["-".to_owned()])].into();
        Self { server, relay, connector: crate::ldap::connect(settings) }
    }
}

impl Subject for Directory {
    fn connector(&self) -> &dyn Connector {
        &self.connector
    }

    fn unique_name(&self) -> String {
        "user_name".to_owned()
    }

    fn attribute_name(&self) -> String {
        "display_name".to_owned()
    }

    fn right(&self) -> EntitlementId {
        EntitlementId::new("staff").unwrap()
    }

    async fn accounts_of(&self, person: &PersonId) -> Vec<Seen> {
        let wanted = ["uid", "cn", "userAccountControl", "memberOf"];
        let ldif = self.server.search(&format!("(employeeNumber={person})"), &wanted).unwrap();
        let entries = ldif.split("\n\n").filter(|entry| entry.starts_with("dn:"));
        entries
            .map(|entry| {
                let values = |name: &str| -> Vec<String> {
                    let prefix = format!("{name}: ");
                    entry.lines().filter_map(|line| line.strip_prefix(&prefix)).map(str::to_owned).collect()
                };
                let control: u32 = values("userAccountControl")[0].parse().unwrap();
                let group = |dn: &String| EntitlementId::new(dn.split(['=', ',']).nth(1).unwrap()).unwrap();
                Seen {
                    access: if control & 2 == 2 { Access::Disabled } else { Access::Active },
                    name: values("uid").pop(),
                    attribute: values("cn").pop(),
                    rights: values("memberOf").iter().map(group).collect(),
                }
            })
            .collect()
    }

    fn lose_next_answer(&self) -> Loss {
        let left = Mutex::new(1);
        self.relay.choose(move |piece| {
            let is_write = matches!(crate::ldap::operation(piece), Some(0x66 | 0x68 | 0x4a | 0x6c));
            let mut left = left.lock().unwrap();
            if is_write && *left > 0 {
                *left -= 1;
                return testbed::Loss::Reset;
            }
            testbed::Loss::None
        });
        Loss::Armed
    }
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn the_directory_conforms() {
    let directory = Directory::start();
    connector(&directory).await;
    assert_eq!(directory.relay.lost(), 1);
}

struct Described(Crm, HttpConnector);

impl Subject for Described {
    fn connector(&self) -> &dyn Connector {
        &self.1
    }

    fn unique_name(&self) -> String {
        "user_name".to_owned()
    }

    fn attribute_name(&self) -> String {
        "email".to_owned()
    }

    fn right(&self) -> EntitlementId {
        EntitlementId::new("admin").unwrap()
    }

    async fn accounts_of(&self, person: &PersonId) -> Vec<Seen> {
        self.0.seen_of(person.as_str())
    }

    fn lose_next_answer(&self) -> Loss {
        self.0.lose_next_answer();
        Loss::Armed
    }
}

#[tokio::test]
async fn a_described_application_conforms() {
    let crm = Crm::new();
    connector(&Described(crm.clone(), crm.connector())).await;
}

/// A fake built from SAP's documentation.
struct S4(DocumentedS4, BusinessUsers);

impl Subject for S4 {
    fn connector(&self) -> &dyn Connector {
        &self.1
    }

    fn unique_name(&self) -> String {
        "user_name".to_owned()
    }

    fn attribute_name(&self) -> String {
        "email".to_owned()
    }

    fn right(&self) -> EntitlementId {
        EntitlementId::new("SAP_BR_MANAGER").unwrap()
    }

    async fn accounts_of(&self, person: &PersonId) -> Vec<Seen> {
        self.0.seen_of(person.as_str())
    }

    fn lose_next_answer(&self) -> Loss {
        self.0.lose_next_answer();
        Loss::Armed
    }
}

#[tokio::test]
async fn business_users_conform_to_the_suite_over_the_documented_fake() {
    for archive in [false, true] {
        let s4 = DocumentedS4::new();
        let connector_of_it = s4.connector(archive);
        connector(&S4(s4, connector_of_it)).await;
    }
}

/// Another, of a system that renames nobody and whose names have twelve letters at most.
struct Abap(DocumentedAbap, AbapUsers);

impl Subject for Abap {
    fn connector(&self) -> &dyn Connector {
        &self.1
    }

    fn unique_name(&self) -> String {
        "user_name".to_owned()
    }

    fn unique_value(&self, word: &str) -> String {
        format!("conf-{word}")
    }

    fn renaming(&self) -> Renaming {
        Renaming::Never
    }

    fn attribute_name(&self) -> String {
        "email".to_owned()
    }

    fn right(&self) -> EntitlementId {
        EntitlementId::new("Z_BUYER").unwrap()
    }

    async fn accounts_of(&self, person: &PersonId) -> Vec<Seen> {
        self.0.seen_of(person.as_str())
    }

    fn lose_next_answer(&self) -> Loss {
        self.0.lose_next_answer();
        Loss::Armed
    }
}

#[tokio::test]
async fn abap_users_conform_to_the_suite_over_the_documented_fake() {
    let abap = DocumentedAbap::new();
    let connector_of_it = abap.connector();
    connector(&Abap(abap, connector_of_it)).await;
}
