//! Servers that lie, hang, or talk nonsense: a few bytes on a socket, no directory needed.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use connector_health::connector::{Connector, Effect, FailureKind, Operation, Target};
use connector_health::ldap::{LdapConnector, LdapPassword, LdapSettings};
use connector_health::{AccountId, Failure, PersonId};
use futures::StreamExt as _;

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut bytes = vec![tag];
    if length < 0x80 {
        bytes.push(length as u8);
    } else {
        bytes.push(0x84);
        bytes.extend((length as u32).to_be_bytes());
    }
    bytes.extend(content);
    bytes
}

fn message(id: u8, op: &[u8]) -> Vec<u8> {
    element(0x30, &[element(0x02, &[id]), op.to_vec()].concat())
}

fn done(tag: u8, code: u8, diagnostic: &str) -> Vec<u8> {
    element(tag, &[element(0x0a, &[code]), element(0x04, b""), element(0x04, diagnostic.as_bytes())].concat())
}

fn entry(dn: &str, attributes: &[(&str, &str)]) -> Vec<u8> {
    let list: Vec<u8> = attributes
        .iter()
        .flat_map(|(name, value)| {
            let values = element(0x31, &element(0x04, value.as_bytes()));
            element(0x30, &[element(0x04, name.as_bytes()), values].concat())
        })
        .collect();
    element(0x64, &[element(0x04, dn.as_bytes()), element(0x30, &list)].concat())
}

/// A server that answers each request by its tag; nothing means that it says nothing more.
fn server(
    answer: impl Fn(u8, u8) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
            std::thread::spawn(move || serve(stream, &seen, &*answer));
        }
    });
    (addr, asked)
}

fn serve(mut stream: TcpStream, asked: &Mutex<Vec<u8>>, answer: &dyn Fn(u8, u8) -> Option<Vec<u8>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        let request = &buffer[..read];
        // Lengths of requests are short or of one more byte here.
        let head = if request[1] < 0x80 { 2 } else { 2 + usize::from(request[1] & 0x7f) };
        let (id, op) = (request[head + 2], request[head + 3]);
        asked.lock().unwrap().push(op);
        if let Some(bytes) = answer(id, op)
            && stream.write_all(&bytes).is_err()
        {
            return;
        }
    }
}

const BIND: u8 = 0x60;
const SEARCH: u8 = 0x63;
const MODIFY: u8 = 0x66;

fn connector(addr: SocketAddr) -> LdapConnector {
    let settings: LdapSettings = toml::from_str(&format!(
        "url = 'ldap://{addr}'\ndangerous_plain_text = true\nbind_dn = 'cn=p,dc=e'\npeople = 'ou=people,dc=e'\n\
         object_classes = ['inetOrgPerson']\naccount_class = 'inetOrgPerson'\nnaming = 'uid'\nperson = 'employeeNumber'\n\
         timeout_secs = 1\ndisable = {{ by = 'attribute', name = 'accountDisabled', disabled = 'TRUE' }}\n\
         [attributes]\nuser_name = 'uid'\n"
    ))
    .unwrap();
    LdapConnector::new(settings, LdapPassword::new("planted-secret").unwrap()).unwrap()
}

fn deprovision() -> Operation {
    let target = Target {
        person: PersonId::new("e1").unwrap(),
        account: Some(AccountId::new("id-1").unwrap()),
        unique: [("user_name".to_owned(), "ada".to_owned())].into(),
    };
    Operation::Deprovision { target }
}

async fn failure_of(answer: impl Fn(u8, u8) -> Option<Vec<u8>> + Send + Sync + 'static) -> Failure {
    let (addr, _) = server(move |id, op| match op {
        BIND => Some(message(id, &done(0x61, 0, ""))),
        _ => answer(id, op),
    });
    let connector = connector(addr);
    let failure = connector.ensure(&deprovision()).await.unwrap_err();
    assert!(
        !failure.to_string().contains("planted-secret")
            && !format!("{failure:?}{connector:?}").contains("planted-secret")
    );
    failure
}

#[tokio::test]
async fn somebody_elses_entry_is_no_match() {
    let failure = failure_of(|id, _| {
        let stranger = entry(
            "uid=eve,ou=people,dc=e",
            &[("entryUUID", "id-2"), ("employeeNumber", "e2"), ("uid", "eve")],
        );
        Some([message(id, &stranger), message(id, &done(0x65, 0, ""))].concat())
    })
    .await;
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Divergent, Effect::None));
}

#[tokio::test]
async fn an_entry_from_outside_the_base_is_refused() {
    let failure = failure_of(|id, _| {
        let elsewhere = entry("uid=ada,dc=other", &[("entryUUID", "id-1"), ("employeeNumber", "e1")]);
        Some([message(id, &elsewhere), message(id, &done(0x65, 0, ""))].concat())
    })
    .await;
    assert_eq!(failure.kind(), FailureKind::Divergent);
}

#[tokio::test]
async fn success_without_effect_is_divergent() {
    let failure = failure_of(|id, op| match op {
        SEARCH => {
            let active = entry(
                "uid=ada,ou=people,dc=e",
                &[("entryUUID", "id-1"), ("employeeNumber", "e1"), ("uid", "ada")],
            );
            Some([message(id, &active), message(id, &done(0x65, 0, ""))].concat())
        }
        MODIFY => Some(message(id, &done(0x67, 0, ""))),
        _ => None,
    })
    .await;
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Divergent, Effect::Unknown));
}

#[tokio::test]
async fn more_entries_than_asked_for_are_an_error_and_not_memory() {
    let failure = failure_of(|id, _| {
        let one = message(id, &entry("uid=a,ou=people,dc=e", &[("employeeNumber", "e1")]));
        Some(one.repeat(10_000))
    })
    .await;
    assert_eq!(failure.kind(), FailureKind::Connectivity);
    assert!(failure.message().contains("more entries"), "{failure}");
}

#[tokio::test]
async fn many_matches_are_ambiguous() {
    let failure = failure_of(|id, _| {
        let one = message(id, &entry("uid=a,ou=people,dc=e", &[("employeeNumber", "e1")]));
        Some([one.repeat(17), message(id, &done(0x65, 4, ""))].concat())
    })
    .await;
    assert_eq!(failure.kind(), FailureKind::Ambiguous);
}

#[tokio::test]
async fn referrals_are_refused_and_not_followed() {
    let reference = element(0x73, &element(0x04, b"ldap://elsewhere/dc=e"));
    let failure =
        failure_of(move |id, _| Some([message(id, &reference), message(id, &done(0x65, 0, ""))].concat()))
            .await;
    assert_eq!(failure.kind(), FailureKind::Unsupported);
    let failure = failure_of(|id, _| {
        let referral = element(0xa3, &element(0x04, b"ldap://127.0.0.1/dc=e"));
        let content = [element(0x0a, &[10]), element(0x04, b""), element(0x04, b""), referral].concat();
        Some(message(id, &element(0x65, &content)))
    })
    .await;
    assert_eq!(failure.kind(), FailureKind::Unsupported);
}

#[tokio::test]
async fn nonsense_and_hugeness_end_the_exchange() {
    let huge = || [&[0x30, 0x84][..], &u32::MAX.to_be_bytes()].concat();
    let deep = element(0x30, &[&[0x02, 1, 2, 0x64][..], &[0x30; 200]].concat());
    let many: Vec<u8> = [0x04, 0].repeat(300_000);
    let many = element(0x30, &[element(0x04, b"x"), element(0x31, &many)].concat());
    let many = element(0x64, &[element(0x04, b"uid=a,ou=people,dc=e"), element(0x30, &many)].concat());
    for bytes in [
        b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
        huge(),
        deep,
        message(2, &many),
        vec![0x30, 0x80],
        message(2, &[0x65, 0]),
    ] {
        let failure = failure_of(move |_, _| Some(bytes.clone())).await;
        assert_eq!(failure.kind(), FailureKind::Connectivity, "{failure}");
        assert!(failure.message().contains("not an LDAP message"), "{failure}");
    }
}

#[tokio::test]
async fn answers_to_other_questions_are_none() {
    let wrong_id = failure_of(|id, _| Some(message(id + 1, &done(0x65, 0, "")))).await;
    assert!(wrong_id.message().contains("not asked"), "{wrong_id}");
    let wrong_kind = failure_of(|id, _| Some(message(id, &done(0x67, 0, "")))).await;
    assert!(wrong_kind.message().contains("another kind"), "{wrong_kind}");
    let notice = failure_of(|_, _| Some(message(0, &done(0x78, 52, "going down")))).await;
    assert!(notice.message().contains("ends the connection"), "{notice}");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let failure = failure_of(|_, _| None).await;
    assert_eq!(
        (failure.kind(), failure.effect()),
        (FailureKind::Connectivity, Effect::None),
        "only read so far"
    );
    assert!(failure.message().contains("in time"), "{failure}");
}

#[tokio::test]
async fn a_refused_bind_is_not_tried_again_until_a_probe_is_good() {
    let good = Arc::new(Mutex::new(false));
    let is_good = Arc::clone(&good);
    let (addr, asked) = server(move |id, op| match op {
        BIND if *is_good.lock().unwrap() => Some(message(id, &done(0x61, 0, ""))),
        BIND => Some(message(id, &done(0x61, 49, "80090308: \u{1b}[31mplanted"))),
        _ => Some(message(id, &done(0x65, 0, ""))),
    });
    let connector = connector(addr);
    for _ in 0..10 {
        let failure = connector.ensure(&deprovision()).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Authentication);
        assert!(!failure.message().contains('\u{1b}'));
    }
    assert_eq!(*asked.lock().unwrap(), [BIND], "one refusal is enough");
    assert_eq!(connector.probe().await.unwrap_err().kind(), FailureKind::Authentication);
    *good.lock().unwrap() = true;
    // The credential is good; the place of the accounts is not there, which is another matter.
    assert_eq!(connector.probe().await.unwrap_err().kind(), FailureKind::Authorization);
    connector.ensure(&deprovision()).await.unwrap();
}

#[tokio::test]
async fn a_listing_that_never_ends_is_given_up() {
    let cookie = element(0x30, &[element(0x02, &[0]), element(0x04, b"again")].concat());
    let control = element(0x30, &[element(0x04, b"1.2.840.113556.1.4.319"), element(0x04, &cookie)].concat());
    let (addr, asked) = server(move |id, op| match op {
        BIND => Some(message(id, &done(0x61, 0, ""))),
        _ => {
            Some(element(0x30, &[element(0x02, &[id]), done(0x65, 0, ""), element(0xa0, &control)].concat()))
        }
    });
    let connector = connector(addr);
    let listed: Vec<_> = connector.accounts().collect().await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].as_ref().unwrap_err().kind(), FailureKind::Server);
    assert!(asked.lock().unwrap().len() <= 110);
}

#[test]
fn nothing_secret_and_nothing_anonymous_in_settings() {
    assert!(LdapPassword::new("").is_err());
    assert!(!format!("{:?}", LdapPassword::new("planted-secret").unwrap()).contains("planted"));
}
