//! Against a real directory.

use std::collections::BTreeSet;

use connector_health::account::Leaver;
use connector_health::connector::{
    Access, Connector, Effect, FailureKind, Found, ListedAccount, Operation, Right, Target,
};
use connector_health::event::{Attribute, Attributes, Changes};
use connector_health::ldap::{
    Disable, Filter, IdAttribute, LdapConnector, LdapPassword, LdapSettings, Members,
};
use connector_health::{AccountId, EntitlementId, PersonId};
use futures::{StreamExt as _, TryStreamExt as _};
use testbed::{Loss, Slapd, SlapdOptions, TcpRelay};

pub(crate) fn settings(url: String) -> LdapSettings {
    let settings: LdapSettings = toml::from_str(
        "url = ''\nbind_dn = 'cn=provisioner,dc=example,dc=org'\npeople = 'ou=people,dc=example,dc=org'\n\
         object_classes = ['inetOrgPerson', 'testbedAccount']\naccount_class = 'inetOrgPerson'\nnaming = 'uid'\n\
         person = 'employeeNumber'\npassed_by = ['locale']\ndisable = { by = 'user_account_control' }\n\
         [attributes]\nuser_name = 'uid'\ndisplay_name = 'cn'\nfamily_name = 'sn'\nemail = 'mail'\nmanager = 'manager'\n\
         [groups]\nbase = 'ou=groups,dc=example,dc=org'\nclass = 'groupOfNames'\nmembers = 'member'\n\
         placeholder = 'cn=provisioner,dc=example,dc=org'\n[groups.attributes]\ndescription = 'description'\n",
    )
    .unwrap();
    LdapSettings { url, ..settings }
}

fn plain(server: &Slapd) -> LdapSettings {
    LdapSettings { dangerous_plain_text: true, ..settings(format!("ldap://{}", server.addr())) }
}

pub(crate) fn connect(settings: LdapSettings) -> LdapConnector {
    LdapConnector::new(settings, LdapPassword::new(Slapd::PASSWORD).unwrap()).unwrap()
}

fn person(id: &str) -> PersonId {
    PersonId::new(id).unwrap()
}

fn right(id: &str) -> EntitlementId {
    EntitlementId::new(id).unwrap()
}

fn target(id: &str) -> Target {
    Target { person: person(id), account: None, unique: [].into() }
}

fn attributes(name: &str) -> Attributes {
    Attributes::from([
        ("user_name".to_owned(), Attribute::Unique(name.to_owned())),
        ("display_name".to_owned(), format!("{name} Example").into()),
        ("family_name".to_owned(), "Example".into()),
        ("email".to_owned(), serde_json::json!(["b@example.org", "a@example.org"]).into()),
        ("locale".to_owned(), "de".into()),
    ])
}

fn account(id: &str, name: &str) -> Operation {
    Operation::Account { target: target(id), attributes: attributes(name), rights: BTreeSet::new() }
}

fn leave(id: &str) -> Operation {
    Operation::Deprovision { target: target(id) }
}

fn entitle(id: &str, entitlement: &str, to: Right) -> Operation {
    Operation::Entitlement { target: target(id), entitlement: right(entitlement), right: to }
}

async fn found(connector: &LdapConnector, operation: Operation) -> Found {
    connector.ensure(&operation).await.unwrap().found
}

async fn listed(connector: &LdapConnector) -> Vec<ListedAccount> {
    connector.accounts().try_collect().await.unwrap()
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn a_person_comes_changes_leaves_and_comes_back() {
    let server = Slapd::start(SlapdOptions::new()).unwrap();
    let connector = connect(plain(&server));
    connector.probe().await.unwrap();

    let made = connector.ensure(&account("e1", "ada")).await.unwrap();
    assert_eq!(made.found, Found::Changed);
    assert_eq!(found(&connector, account("e1", "ada")).await, Found::AlreadySo);
    assert_eq!(found(&connector, entitle("e1", "staff", Right::Granted)).await, Found::Changed);
    assert_eq!(found(&connector, entitle("e1", "staff", Right::Granted)).await, Found::AlreadySo);
    assert_eq!(found(&connector, entitle("e1", "admins", Right::Granted)).await, Found::Changed);

    // A rename: the identifier stays, the directory's groups follow.
    let changes = Changes::from([
        ("user_name".to_owned(), Some(Attribute::Unique("ada,+king".to_owned()))),
        ("email".to_owned(), None),
    ]);
    let renamed = Operation::Attributes { target: target("e1"), changes };
    let confirmed = connector.ensure(&renamed).await.unwrap();
    assert_eq!((confirmed.found, confirmed.account), (Found::Changed, made.account));
    let all = listed(&connector).await;
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].entitlements, BTreeSet::from([right("admins"), right("staff")]));
    assert_eq!(all[0].attributes["user_name"], "ada,+king".into());
    assert!(!all[0].attributes.contains_key("email"));

    // Bits that somebody else set survive.
    let dn = "uid=ada\\2C\\2Bking,ou=people,dc=example,dc=org";
    server
        .modify(&format!(
            "dn: {dn}\nchangetype: modify\nreplace: userAccountControl\nuserAccountControl: 66048\n"
        ))
        .unwrap();
    assert_eq!(found(&connector, leave("e1")).await, Found::Changed);
    assert_eq!(found(&connector, leave("e1")).await, Found::AlreadySo);
    let seen = server.search("(employeeNumber=e1)", &["userAccountControl", "memberOf"]).unwrap();
    assert!(seen.contains("userAccountControl: 66050\n") && !seen.contains("memberOf:"), "{seen}");

    // Attributes change without anybody being let in.
    let changes = Changes::from([("display_name".to_owned(), Some("Ada".into()))]);
    assert_eq!(
        found(&connector, Operation::Attributes { target: target("e1"), changes }).await,
        Found::Changed
    );
    assert_eq!(listed(&connector).await[0].access, Access::Disabled);

    let back = Operation::Account {
        target: target("e1"),
        attributes: attributes("ada"),
        rights: [right("staff")].into(),
    };
    assert_eq!(found(&connector, back).await, Found::Changed);
    let all = listed(&connector).await;
    assert_eq!((all[0].access, &all[0].entitlements), (Access::Active, &BTreeSet::from([right("staff")])));
    let strip = Operation::Strip { target: target("e1"), keep: BTreeSet::new() };
    assert_eq!(found(&connector, strip).await, Found::Changed);
    assert!(listed(&connector).await[0].entitlements.is_empty());
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn lost_answers_leave_no_doubt() {
    let server = Slapd::start(SlapdOptions::new()).unwrap();
    let relay = TcpRelay::start(server.addr()).unwrap();
    let connector = connect(LdapSettings {
        dangerous_plain_text: true,
        timeout_secs: 2,
        ..settings(format!("ldap://{}", relay.addr()))
    });
    let (add, modify, delete) = (Some(0x68), Some(0x66), Some(0x4a));
    let steps = [
        (account("e1", "ada"), add),
        (entitle("e1", "staff", Right::Granted), modify),
        (leave("e1"), modify),
        (account("e1", "ada"), modify),
    ];
    for (loss, rounds) in [(Loss::Reset, &steps[..]), (Loss::Silence, &steps[1..3])] {
        for (operation, lost) in rounds {
            let mut left = 1;
            let lost = *lost;
            let before = relay.lost();
            relay.choose(move |piece| {
                if super::operation(piece) == lost && left > 0 {
                    left -= 1;
                    return loss;
                }
                Loss::None
            });
            let first = connector.ensure(operation).await;
            assert!(relay.lost() > before, "{}: an answer was lost", operation.name());
            relay.pass();
            // What the read after the loss showed counts; what was cut short is repeated.
            if let Err(failure) = &first {
                assert_eq!(failure.effect(), Effect::Unknown, "{}: {failure}", operation.name());
                connector.ensure(operation).await.unwrap();
            }
            assert_eq!(found(&connector, operation.clone()).await, Found::AlreadySo, "{}", operation.name());
        }
    }
    let all = listed(&connector).await;
    assert_eq!(all.len(), 1, "no second account");

    let deleting = connect(LdapSettings {
        dangerous_plain_text: true,
        leaver: Leaver::DisableThenDelete,
        ..settings(format!("ldap://{}", relay.addr()))
    });
    relay.choose(move |piece| if super::operation(piece) == delete { Loss::Reset } else { Loss::None });
    assert_eq!(found(&deleting, leave("e1")).await, Found::Changed);
    relay.pass();
    assert_eq!(found(&deleting, leave("e1")).await, Found::Absent);
    assert!(listed(&deleting).await.is_empty());
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn names_that_try_to_break_out_stay_names() {
    let server = Slapd::start(SlapdOptions::new()).unwrap();
    let connector = connect(plain(&server));
    let nasty = [
        "*",
        "a)(uid=*",
        "x,ou=groups",
        "\"q\"",
        "#1",
        " lead",
        "trail ",
        "a+cn=b",
        "back\\slash",
        "semi;colon",
        "a=b",
        "Ünï",
        "<>",
        "a\\2cb",
    ];
    for (number, name) in nasty.iter().enumerate() {
        let id = format!("e{number}*)(");
        assert_eq!(found(&connector, account(&id, name)).await, Found::Changed, "{name}");
        assert_eq!(found(&connector, account(&id, name)).await, Found::AlreadySo, "{name}");
        // The text form of the filter means the same to OpenLDAP's own client.
        let seen =
            server.search(&Filter::equal("employeeNumber", id.as_str()).to_string(), &["uid"]).unwrap();
        assert_eq!(seen.matches("dn:").count(), 1, "{name}: {seen}");
    }
    assert_eq!(listed(&connector).await.len(), nasty.len());
    assert_eq!(found(&connector, leave("*")).await, Found::Absent);
    assert!(listed(&connector).await.iter().all(|account| account.access == Access::Active));
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn tls_is_checked_and_secrets_stay_secret() {
    let server = Slapd::start(SlapdOptions::new()).unwrap();
    let roots = Some(server.ca_pem().unwrap());
    let ldaps = format!("ldaps://{}", server.tls_addr());
    let start_tls = format!("ldap://{}", server.addr());
    for url in [&ldaps, &start_tls] {
        let trusted = connect(LdapSettings { roots_pem: roots.clone(), ..settings(url.clone()) });
        trusted.probe().await.unwrap();
        let name = Some("other.example".to_owned());
        let misnamed =
            connect(LdapSettings { roots_pem: roots.clone(), server_name: name, ..settings(url.clone()) });
        assert_eq!(misnamed.probe().await.unwrap_err().kind(), FailureKind::Connectivity);
        let untrusted = connect(settings(url.clone()));
        assert_eq!(untrusted.probe().await.unwrap_err().kind(), FailureKind::Connectivity);
    }
    let wrong = LdapConnector::new(plain(&server), LdapPassword::new("planted-secret").unwrap()).unwrap();
    let failure = wrong.probe().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Authentication);
    assert!(!format!("{failure:?}{failure}{wrong:?}").contains("planted-secret"));
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn whose_account_it_is_decides() {
    let entry = |uid: &str, more: &str| {
        format!(
            "dn: uid={uid},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: testbedAccount\nuid: {uid}\ncn: {uid}\nsn: x\n{more}"
        )
    };
    let server = Slapd::start(
        SlapdOptions::new()
            .ldif(entry("unclaimed", ""))
            .ldif(entry("taken", "employeeNumber: e9\n"))
            .ldif(entry("one", "employeeNumber: twice\n"))
            .ldif(entry("two", "employeeNumber: twice\n"))
            .ldif(entry("upper", "employeeNumber: E5\n")),
    )
    .unwrap();
    let connector = connect(plain(&server));
    let with = |id: &str, name: &str| Target {
        unique: [("user_name".to_owned(), name.to_owned())].into(),
        ..target(id)
    };
    let claim = |id: &str, name: &str| Operation::Account {
        target: with(id, name),
        attributes: attributes(name),
        rights: BTreeSet::new(),
    };

    assert_eq!(found(&connector, claim("e1", "unclaimed")).await, Found::Changed);
    let seen = server.search("(uid=unclaimed)", &["employeeNumber", "cn"]).unwrap();
    assert!(seen.contains("employeeNumber: e1\n") && seen.contains("cn: unclaimed Example\n"), "{seen}");
    assert_eq!(connector.ensure(&claim("e2", "taken")).await.unwrap_err().kind(), FailureKind::Conflict);
    assert_eq!(connector.ensure(&account("e2", "taken")).await.unwrap_err().kind(), FailureKind::Conflict);
    assert_eq!(connector.ensure(&account("twice", "one")).await.unwrap_err().kind(), FailureKind::Ambiguous);
    // Identifiers of persons are compared byte by byte, whatever the directory does.
    assert_eq!(found(&connector, leave("e5")).await, Found::Absent);
    // A leaver's old name belongs to somebody else by now.
    assert_eq!(
        found(&connector, Operation::Deprovision { target: with("e3", "taken") }).await,
        Found::Absent
    );
    // Every account of a leaver goes.
    assert_eq!(found(&connector, leave("twice")).await, Found::Changed);
    let active: Vec<_> =
        listed(&connector).await.into_iter().filter(|account| account.access == Access::Active).collect();
    assert_eq!(active.len(), 3);
    // An account that was confirmed as somebody's and now carries another person's identifier needs a person to look at it.
    let taken = active.iter().find(|account| account.person == Some(person("e9"))).unwrap().account.clone();
    let stolen = Target { account: Some(taken), ..target("e3") };
    let failure = connector.ensure(&Operation::Deprovision { target: stolen }).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Ambiguous);
    let gone = Target {
        account: Some(AccountId::new("00000000-0000-0000-0000-000000000000").unwrap()),
        ..target("e3")
    };
    assert_eq!(found(&connector, Operation::Deprovision { target: gone }).await, Found::Absent);
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn groups_of_every_kind() {
    for (class, members, group) in [
        ("groupOfNames", Members::Member, "staff"),
        ("groupOfUniqueNames", Members::UniqueMember, "unique"),
        ("posixGroup", Members::MemberUid, "posix"),
    ] {
        let server = Slapd::start(SlapdOptions::new()).unwrap();
        let mut settings = plain(&server);
        let groups = settings.groups.as_mut().unwrap();
        (groups.class, groups.members) = (class.to_owned(), members);
        if members == Members::MemberUid {
            groups.placeholder = None;
        }
        let connector = connect(settings.clone());
        connector.ensure(&account("e1", "ada")).await.unwrap();
        connector.ensure(&entitle("e1", group, Right::Granted)).await.unwrap();
        let renamed = Changes::from([("user_name".to_owned(), Some(Attribute::Unique("king".to_owned())))]);
        connector.ensure(&Operation::Attributes { target: target("e1"), changes: renamed }).await.unwrap();
        assert_eq!(listed(&connector).await[0].entitlements, BTreeSet::from([right(group)]), "{class}");
        // Whoever gets the old name gets no right with it.
        connector.ensure(&account("e2", "ada")).await.unwrap();
        let rights: Vec<_> = listed(&connector)
            .await
            .into_iter()
            .filter(|account| account.person == Some(person("e2")))
            .collect();
        assert!(rights[0].entitlements.is_empty(), "{class}");

        let missing = connector.ensure(&entitle("e1", "no such", Right::Granted)).await.unwrap_err();
        assert_eq!(missing.kind(), FailureKind::Missing);
        assert_eq!(found(&connector, entitle("e1", "no such", Right::Revoked)).await, Found::AlreadySo);
        // The last member of a class that wants one.
        if members == Members::Member {
            server.modify("dn: cn=staff,ou=groups,dc=example,dc=org\nchangetype: modify\ndelete: member\nmember: cn=provisioner,dc=example,dc=org\n").unwrap();
        }
        assert_eq!(found(&connector, leave("e1")).await, Found::Changed, "{class}");
        let deleting = connect(LdapSettings { leaver: Leaver::Delete, ..settings });
        deleting.ensure(&entitle("e2", group, Right::Granted)).await.unwrap();
        assert_eq!(found(&deleting, leave("e2")).await, Found::Changed);
        connector.ensure(&account("e3", "ada")).await.unwrap();
        let all = listed(&connector).await;
        assert!(all.iter().all(|account| account.entitlements.is_empty()), "{class}: {all:?}");
    }
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn a_listing_tells_who_has_logged_in_and_when() {
    let person = |name: &str| {
        format!(
            "dn: uid={name},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: x\nuserPassword: {}\n\n",
            Slapd::PASSWORD
        )
    };
    let people = ["ada", "bob"].map(person).concat();
    let server = Slapd::start(SlapdOptions::new().database_line("lastbind on").ldif(people)).unwrap();
    let before = chrono::Utc::now() - chrono::TimeDelta::seconds(1);
    let ada = "uid=ada,ou=people,dc=example,dc=org".to_owned();
    let logs_in = connect(LdapSettings { bind_dn: ada, ..plain(&server) });
    // She may log in, and see nothing.
    logs_in.probe().await.unwrap_err();
    let connector = connect(LdapSettings { last_use: Some("pwdLastSuccess".to_owned()), ..plain(&server) });
    let used: Vec<_> = listed(&connector).await.into_iter().map(|account| account.last_use).collect();
    assert!(matches!(used[..], [Some(at), None] if (before..=chrono::Utc::now()).contains(&at)), "{used:?}");
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn a_listing_is_whole_or_an_error() {
    let people: String = (0..1700)
        .map(|n| format!("dn: uid=p{n},ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: p{n}\ncn: p{n}\nsn: x\nemployeeNumber: {n}\n\n"))
        .collect();
    let server = Slapd::start(SlapdOptions::new().ldif(people)).unwrap();
    let whole = connect(LdapSettings { page_size: 300, groups: None, ..plain(&server) });
    let ids: BTreeSet<_> = listed(&whole).await.into_iter().map(|account| account.person.unwrap()).collect();
    assert_eq!(ids.len(), 1700);
    // Two listings at once, each in its place.
    let one = connect(LdapSettings { page_size: 100, ..plain(&server) });
    let mut streams = (one.accounts(), one.accounts());
    let mut count = 0;
    while let (Some(one), Some(other)) = (streams.0.next().await, streams.1.next().await) {
        assert_eq!(one.unwrap().account, other.unwrap().account);
        count += 1;
    }
    assert_eq!(count, 1700);

    let limited = Slapd::start(
        SlapdOptions::new()
            .database_line("limits dn.exact=\"cn=provisioner,dc=example,dc=org\" size.soft=1 size.hard=1 size.prtotal=1")
            .ldif("dn: uid=a,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: a\ncn: a\nsn: x\n\ndn: uid=b,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: b\ncn: b\nsn: x\n"),
    )
    .unwrap();
    let connector = connect(LdapSettings { groups: None, ..plain(&limited) });
    let last = connector.accounts().collect::<Vec<_>>().await.pop().unwrap();
    assert_eq!(last.unwrap_err().kind(), FailureKind::Server);
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn an_attribute_disables_where_there_is_no_control() {
    let server = Slapd::start(SlapdOptions::new()).unwrap();
    let by = |active: Option<&str>| Disable::Attribute {
        name: "accountDisabled".to_owned(),
        active: active.map(str::to_owned),
        disabled: "TRUE".to_owned(),
    };
    for (id, active) in [("e1", None), ("e2", Some("FALSE"))] {
        let connector = connect(LdapSettings { disable: by(active), ..plain(&server) });
        connector.ensure(&account(id, id)).await.unwrap();
        assert_eq!(found(&connector, leave(id)).await, Found::Changed);
        assert!(
            server
                .search(&format!("(uid={id})"), &["accountDisabled"])
                .unwrap()
                .contains("accountDisabled: TRUE\n")
        );
        connector.ensure(&account(id, id)).await.unwrap();
        let seen = server.search(&format!("(uid={id})"), &["accountDisabled"]).unwrap();
        assert_eq!(seen.contains("accountDisabled: FALSE\n"), active.is_some(), "{seen}");
    }
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn what_the_directory_refuses_is_told_apart() {
    let server = Slapd::start(SlapdOptions::new()).unwrap();
    let connector = connect(plain(&server));
    let mut without = attributes("ada");
    without.remove("family_name");
    let refused = Operation::Account { target: target("e1"), attributes: without, rights: BTreeSet::new() };
    assert_eq!(connector.ensure(&refused).await.unwrap_err().kind(), FailureKind::SchemaMismatch);
    let unknown = Changes::from([("shoe_size".to_owned(), Some(42.into()))]);
    connector.ensure(&account("e1", "ada")).await.unwrap();
    let failure = connector
        .ensure(&Operation::Attributes { target: target("e1"), changes: unknown })
        .await
        .unwrap_err();
    assert_eq!(failure.kind(), FailureKind::SchemaMismatch);
    assert!(failure.message().contains("shoe_size"));
    assert_eq!(
        connector.ensure(&entitle("nobody", "staff", Right::Granted)).await.unwrap_err().kind(),
        FailureKind::Missing
    );

    // A manager is referred to by the name of their entry, and has to be there first.
    let managed = |by: &str| Changes::from([("manager".to_owned(), Some(Attribute::Person(person(by))))]);
    let failure = connector
        .ensure(&Operation::Attributes { target: target("e1"), changes: managed("e2") })
        .await
        .unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Missing);
    connector.ensure(&account("e2", "boss")).await.unwrap();
    connector.ensure(&Operation::Attributes { target: target("e1"), changes: managed("e2") }).await.unwrap();
    assert!(
        server
            .search("(uid=ada)", &["manager"])
            .unwrap()
            .contains("manager: uid=boss,ou=people,dc=example,dc=org\n")
    );

    let described = Changes::from([("description".to_owned(), Some("new".into()))]);
    let group = Operation::Group { group: right("fresh"), changes: described };
    assert_eq!(found(&connector, group.clone()).await, Found::Changed);
    assert_eq!(found(&connector, group).await, Found::AlreadySo);

    drop(server);
    assert_eq!(connector.probe().await.unwrap_err().kind(), FailureKind::Connectivity);
}

#[tokio::test]
#[ignore = "needs slapd: cargo xtask test"]
async fn identifiers_may_be_bytes() {
    // Every byte that a filter's text form escapes is in it: `*`, `(`, `)`, a backslash, zero, and what is no UTF-8.
    let entry = "dn: uid=ada,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\nobjectClass: testbedAccount\nuid: ada\n\
                 cn: ada\nsn: x\nemployeeNumber: e1\nobjectGUID:: KigpXAD/KigpXAD/KigpXA==\n";
    let server = Slapd::start(SlapdOptions::new().ldif(entry)).unwrap();
    let id = IdAttribute { name: "objectGUID".to_owned(), is_binary: true };
    let connector = connect(LdapSettings { id, ..plain(&server) });
    let guid = AccountId::new("2a28295c00ff2a28295c00ff2a28295c").unwrap();
    assert_eq!(listed(&connector).await[0].account, guid);
    // The person's identifier is gone, the account's is known.
    server
        .modify("dn: uid=ada,ou=people,dc=example,dc=org\nchangetype: modify\ndelete: employeeNumber\n")
        .unwrap();
    let known = Target { account: Some(guid), ..target("e1") };
    assert_eq!(found(&connector, Operation::Deprovision { target: known }).await, Found::Changed);
    let unreadable = Target { account: Some(AccountId::new("no hexadecimal").unwrap()), ..target("e1") };
    let failure = connector.ensure(&Operation::Deprovision { target: unreadable }).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::SchemaMismatch);
}
