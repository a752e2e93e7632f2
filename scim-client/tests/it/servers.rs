//! The suite against every server.

use scim_client::dialect::Dialect;
use scim_client::transport::ReqwestTransport;
use testbed::ScimServer;
use testbed::fault::FaultProxy;

use crate::fakes::{Fake, TOKEN};
use crate::suite::{Examined, Subject, check_part, lists, table};

fn real(server: &ScimServer, base: &str) -> Subject {
    let transport = ReqwestTransport::new().unwrap();
    Subject::new(server.name(), base, server.token(), Dialect::rfc7644(), transport)
}

#[tokio::test]
#[ignore = "needs scim2-server and scimmy-routers: cargo xtask test"]
async fn real_servers_are_understood() {
    let mut examined = Vec::new();
    for server in [ScimServer::scim2_server_with_cursor().unwrap(), ScimServer::scimmy().unwrap()] {
        examined.push(real(&server, &server.base_url()).examine().await);
    }
    check_part("real servers", &table(&examined));
}

#[tokio::test]
#[ignore = "needs scim2-server and scimmy-routers: cargo xtask test"]
async fn a_proxy_in_between_changes_nothing() {
    for start in [ScimServer::scim2_server_with_cursor, ScimServer::scimmy] {
        let (straight, proxied) = (start().unwrap(), start().unwrap());
        let proxy = FaultProxy::start(proxied.addr()).unwrap();
        let base = format!("http://{}{}", proxy.addr(), proxied.path());
        let straight = real(&straight, &straight.base_url()).examine().await;
        let proxied = real(&proxied, &base).examine().await;
        assert_eq!(straight.seen, proxied.seen);
    }
}

// Those in memory have a clock whose waits are over at once, for whoever asks to be asked later.
#[tokio::test]
async fn the_strict_server_is_as_the_standard_says() {
    let strict = examine(Fake::strict()).await;
    let different: Vec<_> = strict.seen.iter().filter(|(_, standard, seen)| seen != standard).collect();
    assert!(different.is_empty(), "{different:#?}");
}

#[tokio::test]
async fn servers_made_from_documentation_are_understood() {
    let mut examined = Vec::new();
    for fake in Fake::vendors() {
        examined.push(examine(fake).await);
    }
    check_part("servers made from documentation", &lists(&examined));
}

/// With the preset that is made for it, a documented server can be asked what RFC 7644 has to be asked.
#[tokio::test]
async fn presets_make_up_for_what_is_documented() {
    for fake in Fake::vendors() {
        let (name, dialect) = (fake.name(), fake.dialect());
        if name == "careless" {
            continue;
        }
        let examined = with_dialect(fake, dialect).await;
        let expected = |behaviour: &str| match name {
            // Users are found by `userName` there, and by nothing else.
            "Google Cloud Identity" => behaviour == "filter: `eq`",
            _ => {
                behaviour.starts_with("filter:")
                    || ["list: in pages, as discovered", "patch: remove", "deactivate"].contains(&behaviour)
                        && name != "PagerDuty"
            }
        };
        for (behaviour, standard, seen) in examined.seen.iter().filter(|(behaviour, ..)| expected(behaviour))
        {
            assert_eq!(seen, standard, "{name}: {behaviour}");
        }
    }
}

async fn examine(fake: Fake) -> Examined {
    let dialect = fake.bare_dialect();
    with_dialect(fake, dialect).await
}

async fn with_dialect(fake: Fake, dialect: Dialect) -> Examined {
    Subject::new(fake.name(), &fake.base_url(), TOKEN, dialect, fake.transport()).hasty().examine().await
}
