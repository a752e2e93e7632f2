use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use testbed::{Error, Loss, Slapd, SlapdOptions, TcpRelay};

use crate::processes::gone_soon;

const PERSON: &str = "dn: uid=ada,ou=people,dc=example,dc=org\nobjectClass: inetOrgPerson\n\
                      objectClass: testbedAccount\nuid: ada\ncn: Ada\nsn: L\nuserAccountControl: 512\n";

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn holds_its_entries_and_takes_changes_from_others() {
    let server = Slapd::start(SlapdOptions::new().ldif(PERSON)).unwrap();
    server
        .modify(
            "dn: cn=staff,ou=groups,dc=example,dc=org\nchangetype: modify\nadd: member\n\
             member: uid=ada,ou=people,dc=example,dc=org\n",
        )
        .unwrap();
    let found = server.search("(uid=ada)", &["userAccountControl", "memberOf"]).unwrap();
    assert!(found.contains("userAccountControl: 512\n"), "{found}");
    assert!(found.contains("memberOf: cn=staff,ou=groups,dc=example,dc=org\n"), "{found}");
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn speaks_tls_with_its_own_authority() {
    let server = Slapd::start(SlapdOptions::new()).unwrap();
    let ca = server.dir().join("ca.pem");
    std::fs::write(&ca, server.ca_pem().unwrap()).unwrap();
    let address = server.tls_addr().to_string();
    let args = ["s_client", "-verify_return_error", "-CAfile", ca.to_str().unwrap(), "-connect", &address];
    let output = testbed::run("openssl", "openssl", args).unwrap();
    assert!(output.stdout_text().contains("Verify return code: 0 (ok)"), "{output:?}");
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn dropping_it_leaves_nothing() {
    let server = Slapd::start(SlapdOptions::new()).unwrap();
    let (pid, dir, addr) = (server.pid().to_string(), server.dir().to_owned(), server.addr());
    drop(server);
    assert!(gone_soon(&pid));
    assert!(!dir.exists());
    assert!(TcpStream::connect(addr).is_err());
}

#[test]
#[ignore = "needs slapd: cargo xtask test"]
fn says_why_it_does_not_start() {
    match Slapd::start(SlapdOptions::new().ldif("dn: uid=x,dc=example,dc=org\nobjectClass: nothing\n")) {
        Err(Error::Failed { stderr, .. }) => assert!(stderr.contains("objectClass"), "{stderr}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn an_answer_is_lost_after_the_server_gave_it() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = TcpRelay::start(server.local_addr().unwrap()).unwrap();
    let echo = std::thread::spawn(move || {
        let mut seen = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = server.accept().unwrap();
            let mut buffer = [0; 16];
            while let Ok(read @ 1..) = stream.read(&mut buffer) {
                seen.extend_from_slice(&buffer[..read]);
                stream.write_all(&buffer[..read]).unwrap();
            }
        }
        seen
    });
    relay.choose(|piece| if piece == b"lose" { Loss::Reset } else { Loss::None });
    let mut client = TcpStream::connect(relay.addr()).unwrap();
    let mut buffer = [0; 4];
    client.write_all(b"keep").unwrap();
    client.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"keep");
    client.write_all(b"lose").unwrap();
    assert!(client.read_exact(&mut buffer).is_err());
    assert_eq!(relay.lost(), 1);

    relay.pass();
    let mut client = TcpStream::connect(relay.addr()).unwrap();
    client.write_all(b"lose").unwrap();
    client.read_exact(&mut buffer).unwrap();
    drop(client);
    assert_eq!(echo.join().unwrap(), b"keeploselose");
}
