//! A small company's working day with real servers: virtual hours, real answers. What goes wrong happens on the way to them, and what is
//! true is read from the servers themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use connector_health::account::{Account, Values};
use connector_health::alert::{Alert, AlertRules, Occasion};
use connector_health::connector::Access;
use connector_health::event::{Attributes, Changes};
use connector_health::ldap::{LdapConnector, LdapPassword, LdapSettings};
use connector_health::monitor::{FailureClass, Tier};
use connector_health::outbox::Accepted;
use connector_health::{
    AccountId, Connector, Connectors, EntitlementId, Event, Fleet, MemoryStore, Observation, Options, Outbox,
    PersonId, Thresholds,
};
use scim_client::Client;
use scim_client::auth::Bearer;
use scim_client::ensure::Deprovision;
use scim_client::mapping::Mapping;
use scim_client::resilience::Retry;
use serde_json::Value;
use testbed::fault::{Fault as Spoiled, FaultProxy, Reply};
use testbed::http::{Answer, Request};
use testbed::{ScimServer, Slapd, SlapdOptions, TcpRelay};

use simulation::application::{Truth, Turn};
use simulation::drive::{Day, number};
use simulation::fault::{Fault, Kind, plan};
use simulation::feed::{Feed, GROUPS, connector, group};
use simulation::judge;

#[path = "../../src/connector.rs"]
#[allow(dead_code)]
mod scim_connector;
#[path = "../../../../connector-health/tests/it/day/simulation/mod.rs"]
mod simulation;

use scim_connector::ScimConnector;

const PEOPLE: usize = 40;
const HOURS: i64 = 8;
/// How a person of the feed is mapped to a SCIM user.
const MAPPING: &str = r#"
version = 1

[source]
userName = "string"
title = "string"
display_name = "string"
family_name = "string"

[attributes]
userName = { copy = "userName", required = true }
title = "title"
displayName = "display_name"
'name.familyName' = "family_name"
"#;

/// What is on the way to an application, and the application itself.
enum Behind {
    Scim { server: ScimServer, _proxy: FaultProxy, wrong: Arc<AtomicU8> },
    Ldap { server: Slapd, relay: TcpRelay, is_down: bool },
}

struct Real {
    behind: Behind,
    faults: Vec<Fault>,
    turns: Vec<Turn>,
    active: BTreeSet<PersonId>,
}

fn code(kind: Option<Kind>) -> u8 {
    kind.and_then(|kind| Kind::ALL.iter().position(|other| *other == kind)).map_or(0, |at| at as u8 + 1)
}

fn scim(server: ScimServer) -> (Real, ScimConnector) {
    let proxy = FaultProxy::start(server.addr()).unwrap();
    let wrong = Arc::new(AtomicU8::new(0));
    let seen = Arc::clone(&wrong);
    let mut dice = fastrand::Rng::with_seed(11);
    proxy.choose(move |request| {
        let writes = request.method != "GET";
        match seen.load(Ordering::Acquire).checked_sub(1).map(|at| Kind::ALL[usize::from(at)]) {
            None => Spoiled::PASS,
            Some(Kind::Down) => Spoiled::instead(Reply::Reset),
            Some(Kind::Expired) => Spoiled::instead(Reply::Status(401, None)),
            Some(Kind::LostAnswers) if dice.u8(..10) < 6 => Spoiled::after(Reply::Reset),
            // A create is to be answered with what was created, which would be more than a lie.
            Some(Kind::Lies) if writes && request.method != "POST" => {
                Spoiled::instead(Reply::Canned(Answer::new(204, "application/scim+json", "")))
            }
            Some(_) => Spoiled::PASS,
        }
    });
    let client = Client::new(&format!("http://{}{}", proxy.addr(), server.path())).unwrap();
    let client = client.dangerous_plain_http().auth(Bearer::new(server.token())).retry(Retry::never());
    let mapping = Mapping::from_toml(MAPPING).unwrap();
    let connector = ScimConnector::new(client, mapping, Deprovision::Disable);
    (Real::of(Behind::Scim { server, _proxy: proxy, wrong }), connector)
}

fn ldap(server: Slapd) -> (Real, LdapConnector) {
    let relay = TcpRelay::start(server.addr()).unwrap();
    let settings: LdapSettings = toml::from_str(
        "url = ''\nbind_dn = 'cn=provisioner,dc=example,dc=org'\npeople = 'ou=people,dc=example,dc=org'\n\
         object_classes = ['inetOrgPerson', 'testbedAccount']\naccount_class = 'inetOrgPerson'\nnaming = 'uid'\n\
         person = 'employeeNumber'\ndisable = { by = 'user_account_control' }\n\
         [attributes]\nuserName = 'uid'\ndisplay_name = 'cn'\nfamily_name = 'sn'\ntitle = 'title'\n\
         [groups]\nbase = 'ou=groups,dc=example,dc=org'\nclass = 'groupOfNames'\nmembers = 'member'\n\
         placeholder = 'cn=provisioner,dc=example,dc=org'\n[groups.attributes]\ndescription = 'description'\n",
    )
    .unwrap();
    let url = format!("ldap://{}", relay.addr());
    let settings = LdapSettings { url, dangerous_plain_text: true, ..settings };
    let connector = LdapConnector::new(settings, LdapPassword::new(Slapd::PASSWORD).unwrap()).unwrap();
    (Real::of(Behind::Ldap { server, relay, is_down: false }), connector)
}

impl Real {
    fn of(behind: Behind) -> Self {
        Self { behind, faults: Vec::new(), turns: Vec::new(), active: BTreeSet::new() }
    }

    /// Breaks and mends what is on the way, as it is planned for this time.
    fn turn_to(&mut self, now: DateTime<Utc>) {
        let wrong = self.faults.iter().find(|fault| fault.is_on(now)).map(|fault| fault.kind);
        match &mut self.behind {
            Behind::Scim { wrong: switch, .. } => switch.store(code(wrong), Ordering::Release),
            Behind::Ldap { relay, is_down, .. } if wrong.is_some() != *is_down => {
                *is_down = wrong.is_some();
                if *is_down { relay.refuse_connections() } else { relay.accept_connections().unwrap() }
            }
            Behind::Ldap { .. } => {}
        }
    }

    /// What the server itself says, asked past everything that is wrong.
    fn accounts(&self) -> Vec<Account> {
        match &self.behind {
            Behind::Scim { server, .. } => scim_accounts(server),
            Behind::Ldap { server, .. } => ldap_accounts(server),
        }
    }

    /// Notes who can log in now.
    fn look(&mut self, now: DateTime<Utc>) {
        let of = |account: Account| account.person.filter(|_| account.access == Access::Active);
        let active: BTreeSet<PersonId> = self.accounts().into_iter().filter_map(of).collect();
        let turn = |person: &PersonId, access| Turn { at: now, person: person.clone(), access };
        self.turns.extend(active.difference(&self.active).map(|person| turn(person, Access::Active)));
        self.turns.extend(self.active.difference(&active).map(|person| turn(person, Access::Disabled)));
        self.active = active;
    }
}

fn resources(server: &ScimServer, kind: &str) -> Vec<Value> {
    let request = Request::new("GET", format!("{}/{kind}?count=1000", server.path()))
        .header("authorization", format!("Bearer {}", server.token()));
    let answer = request.send(server.addr()).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let list: Value = serde_json::from_slice(&answer.body).unwrap();
    let all = list["Resources"].as_array().cloned().unwrap_or_default();
    assert_eq!(list["totalResults"].as_u64(), Some(all.len() as u64));
    all
}

fn scim_accounts(server: &ScimServer) -> Vec<Account> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let groups = resources(server, "Groups");
    let mut accounts = Vec::new();
    for user in resources(server, "Users") {
        let id = text(&user["id"]).unwrap();
        let holds = |group: &&Value| {
            group["members"]
                .as_array()
                .is_some_and(|members| members.iter().any(|member| member["value"] == id.as_str()))
        };
        let entitlements = groups.iter().filter(holds);
        let entitlements =
            entitlements.map(|group| EntitlementId::new(text(&group["displayName"]).unwrap()).unwrap());
        let kept = ["userName", "title"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), user[name].as_str()?.into())));
        accounts.push(Account {
            person: text(&user["externalId"]).map(|id| PersonId::new(id).unwrap()),
            access: if user["active"] == false { Access::Disabled } else { Access::Active },
            attributes: kept.collect::<Values>(),
            entitlements: entitlements.collect(),
            id: AccountId::new(&id).unwrap(),
            last_use: None,
        });
    }
    accounts
}

fn ldap_accounts(server: &Slapd) -> Vec<Account> {
    let shown = ["uid", "employeeNumber", "title", "userAccountControl", "memberOf"];
    let text = server.search("(employeeNumber=*)", &shown).unwrap();
    let entries = text.split("\n\n").filter(|entry| entry.contains("employeeNumber: "));
    let account = |entry: &str| {
        let all = |name: &str| {
            let name = format!("{name}: ");
            entry.lines().filter_map(|line| line.strip_prefix(&name)).map(str::to_owned).collect::<Vec<_>>()
        };
        let one = |name: &str| all(name).pop();
        let control: u32 = one("userAccountControl").map_or(512, |bits| bits.parse().unwrap());
        let attributes = [("userName", "uid"), ("title", "title")];
        let attributes =
            attributes.into_iter().filter_map(|(ours, theirs)| Some((ours.to_owned(), one(theirs)?.into())));
        let right = |dn: String| {
            dn.split(',').next().and_then(|first| first.split_once('=')).map(|(_, name)| name.to_owned())
        };
        Account {
            id: AccountId::new(one("uid").unwrap()).unwrap(),
            last_use: None,
            person: one("employeeNumber").map(|id| PersonId::new(id).unwrap()),
            access: if control & 2 == 2 { Access::Disabled } else { Access::Active },
            attributes: attributes.collect::<Values>(),
            entitlements: all("memberOf")
                .into_iter()
                .filter_map(right)
                .map(|name| EntitlementId::new(name).unwrap())
                .collect(),
        }
    };
    entries.map(account).collect()
}

/// The service, as it is asked to do its work: time goes on while servers answer, and jumps to when something is due.
struct Service {
    outbox: Outbox<MemoryStore>,
    connectors: Connectors,
    fleet: Arc<Fleet>,
    real: Vec<Real>,
    now: DateTime<Utc>,
    alerts: Vec<Alert>,
    shown: Vec<(DateTime<Utc>, usize, Tier)>,
    /// Who was told of a refused credential puts a new one in, then.
    rotations: BTreeMap<DateTime<Utc>, usize>,
    passes: usize,
}

impl Service {
    /// One pass, and when the next one is due.
    async fn pass(&mut self) -> DateTime<Utc> {
        for real in &mut self.real {
            real.turn_to(self.now);
        }
        let began = Instant::now();
        let worked = self.outbox.work(&self.connectors, self.now).await.unwrap();
        self.now += TimeDelta::from_std(began.elapsed()).unwrap();
        self.passes += 1;
        if worked.delivered > 0 || worked.failed > 0 {
            for real in &mut self.real {
                real.look(self.now);
            }
        }
        for alert in self.fleet.advance(self.now) {
            if alert.failure_type == FailureClass::CredentialRefused && alert.occasion == Occasion::Opened {
                self.rotations.insert(self.now + TimeDelta::minutes(20), number(&alert.connector));
            }
            self.alerts.push(alert);
        }
        for health in self.fleet.health(self.now) {
            let number = number(&health.connector);
            let before =
                self.shown.iter().rev().find(|(_, other, _)| *other == number).map(|(.., tier)| *tier);
            if before != Some(health.tier) {
                self.shown.push((self.now, number, health.tier));
            }
        }
        let deadline = self.fleet.next_deadline(self.now);
        worked.next_at.map_or(deadline, |next| next.min(deadline)).max(self.now + TimeDelta::seconds(1))
    }

    fn rotate(&mut self) {
        while let Some((at, number)) = self.rotations.first_key_value().map(|(at, number)| (*at, *number)) {
            if at > self.now {
                return;
            }
            self.rotations.remove(&at);
            for fault in self.real[number].faults.iter_mut().filter(|fault| fault.kind == Kind::Expired) {
                if fault.is_on(at) {
                    fault.ends = self.now;
                }
            }
            self.fleet.observe(&connector(number), Observation::credential_replaced(), self.now);
        }
    }

    /// Goes on until then.
    async fn until(&mut self, then: DateTime<Utc>) {
        while self.now < then {
            self.rotate();
            let next = self.pass().await;
            let rotation = self.rotations.keys().next().copied().unwrap_or(then);
            // What breaks or is whole again does so on time.
            let edges =
                self.real.iter().flat_map(|real| &real.faults).flat_map(|fault| [fault.begins, fault.ends]);
            let edge = edges.filter(|edge| *edge > self.now).min().unwrap_or(then);
            self.now = next.min(rotation.max(self.now)).min(edge).min(then.max(self.now));
        }
    }

    async fn is_quiet(&self) -> bool {
        for number in 0..self.real.len() {
            if self.outbox.counts(&connector(number)).await.unwrap().queued() > 0 {
                return false;
            }
        }
        self.fleet.open_alerts().is_empty()
    }
}

#[allow(clippy::print_stdout)]
async fn live(seed: u64) {
    let midnight = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let (one, first) = scim(ScimServer::scim2_server().unwrap());
    let (other, second) = scim(ScimServer::scimmy().unwrap());
    let (directory, third) = ldap(Slapd::start(SlapdOptions::new()).unwrap());
    let connectors: [Arc<dyn Connector>; 3] = [Arc::new(first), Arc::new(second), Arc::new(third)];
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut feed = Feed::new(&mut dice, midnight, HOURS, PEOPLE, vec![true; 3]);
    feed.common = Attributes::from([
        ("display_name".to_owned(), "Somebody".into()),
        ("family_name".to_owned(), "Somebody".into()),
    ]);
    feed.without_managers();
    let ids = (0..3).map(connector);
    let fleet = Arc::new(Fleet::new(ids, Thresholds::default(), AlertRules::default()));
    let options = Options::default().gate(Arc::clone(&fleet)).observer(Arc::clone(&fleet));
    let outbox = Outbox::open_with(MemoryStore::new(), options).await.unwrap();
    let mut all = Connectors::new();
    for (number, one) in connectors.into_iter().enumerate() {
        all.insert(connector(number), one);
    }
    let mut service = Service {
        outbox,
        connectors: all,
        fleet,
        real: vec![one, other, directory],
        now: midnight,
        alerts: Vec::new(),
        shown: Vec::new(),
        rotations: BTreeMap::new(),
        passes: 0,
    };
    let mut known: BTreeMap<(usize, usize), DateTime<Utc>> = BTreeMap::new();
    let mut events: Vec<Event> = (0..3)
        .flat_map(|app| (0..GROUPS).map(move |right| (app, right)))
        .map(|(app, right)| {
            Event::group(&connector(app), &group(right), Changes::new())
                .occurred_at(midnight - TimeDelta::days(60))
        })
        .collect();
    events.extend(feed.happened.iter().take(PEOPLE).flat_map(|joined| feed.events(joined)));
    for accepted in service.outbox.accept_all(events, midnight).await {
        assert_eq!(accepted.unwrap(), Accepted::Queued);
    }
    for joined in feed.happened.iter().take(PEOPLE) {
        known.extend((0..3).map(|app| ((joined.number, app), midnight)));
    }
    service.until(midnight + TimeDelta::minutes(2)).await;
    // Asked to wait, the client itself does, for as long as was said: that is no virtual time.
    let web = [Kind::Down, Kind::Expired, Kind::LostAnswers, Kind::Lies];
    let kinds: [&[Kind]; 3] = [&web, &web, &[Kind::Down]];
    for (real, kinds) in service.real.iter_mut().zip(kinds) {
        real.faults = plan(&mut dice, midnight, HOURS, kinds).0;
    }

    let mut said: Vec<(DateTime<Utc>, usize)> = Vec::new();
    for happened in feed.happened.iter().skip(PEOPLE) {
        let times = [Some(happened.said_at), happened.again_at];
        said.extend(times.into_iter().flatten().map(|at| (at, happened.number)));
    }
    said.sort_unstable();
    for (at, happened) in said {
        service.until(at).await;
        let happened = &feed.happened[happened];
        let accepted = service.outbox.accept_all(feed.events(happened), service.now).await;
        for (app, accepted) in feed.applications_of(happened.person).iter().zip(accepted) {
            if accepted.unwrap() == Accepted::Queued {
                known.insert((happened.number, *app), service.now);
            }
        }
    }
    service.until(midnight + TimeDelta::hours(HOURS)).await;
    while !service.is_quiet().await && service.now < midnight + TimeDelta::hours(HOURS + 12) {
        service.until(service.now + TimeDelta::minutes(1)).await;
    }
    for real in &mut service.real {
        real.look(service.now);
    }
    let is_quiet = service.is_quiet().await;
    let truth = |real: &Real| Truth {
        turns: real.turns.clone(),
        faults: real.faults.clone(),
        accounts: real.accounts(),
        strangers_are_untouched: true,
    };
    let day = Day {
        midnight,
        feed,
        applications: service.real.iter().map(truth).collect(),
        outbox: service.outbox,
        known,
        held: BTreeSet::new(),
        alerts: service.alerts,
        shown: service.shown,
        ended_at: service.now,
        is_quiet,
        passes: service.passes,
        // The servers are asked after each pass.
        truth_lag: TimeDelta::seconds(60),
    };
    let (violations, seen) = judge(&day).await;
    println!("{PEOPLE} people, seed {seed}: {seen:?}, {} passes", day.passes);
    for violation in &violations {
        println!("{violation}");
    }
    assert!(violations.is_empty(), "{} do not hold", violations.len());
    assert!(
        seen.leavers > 20 && seen.gaps > 0 && seen.faults > 2 && seen.alerts > 1 && seen.records > 5,
        "{seen:?}"
    );
}

#[tokio::test]
#[ignore = "needs scim2-server, scimmy-routers and slapd: cargo xtask test"]
async fn a_day_with_real_servers_leaves_no_leaver_active_and_no_failure_unseen() {
    let seeds = std::env::var("SOAK_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .map_or(vec![2, 3], |seed| vec![seed]);
    for seed in seeds {
        live(seed).await;
    }
}
