//! Single behaviours, each with a service that needs it.

use scim_client::ensure::{Care, Deprovision, FoundBy, Identity, Membership, Others, State};
use scim_client::error::ErrorKind;
use scim_client::resource::{ResourceId, User};
use scim_client::{Advice, Client};
use serde_json::{Value, json};

use super::service::{Fault, Quirks, Service, Virtual};

fn client(service: &Service) -> Client {
    Client::over("https://app.example.com/scim/v2", service.clone()).unwrap().clock(Virtual::new())
}

fn user(json: Value) -> User {
    serde_json::from_value(json).unwrap()
}

fn ann() -> Identity {
    Identity::external("emp-1").with_user_name("ann@example.com").with_email("ann@example.com")
}

#[tokio::test]
async fn a_repeated_call_writes_nothing() {
    let service = Service::new(Quirks::default());
    let desired = user(json!({ "userName": "ann@example.com", "externalId": "emp-1", "displayName": "Ann" }));
    let first = client(&service).ensure_user(&ann(), &desired).await.unwrap();
    assert_eq!(first.state, State::Created);
    service.truths();
    let second = client(&service).ensure_user(&ann(), &desired).await.unwrap();
    assert_eq!((second.state, second.found_by), (State::Unchanged, Some(FoundBy::ExternalId)));
    assert!(service.truths().iter().all(|truth| truth.method == http::Method::GET));
}

#[tokio::test]
async fn an_account_known_by_its_id_is_renamed() {
    let service = Service::new(Quirks::default());
    let id = service.plant(json!({ "userName": "ann.old", "externalId": "emp-1", "active": true }));
    let identity = ann().with_id(ResourceId::new(&id));
    let desired = user(json!({ "userName": "ann@example.com", "externalId": "emp-1" }));
    let outcome = client(&service).ensure_user(&identity, &desired).await.unwrap();
    assert_eq!((outcome.state, outcome.found_by), (State::Updated, Some(FoundBy::Id)));
    assert_eq!(service.users()[0]["userName"], "ann@example.com");
}

#[tokio::test]
async fn the_case_of_a_name_to_show_is_corrected_and_that_of_a_user_name_is_not() {
    let service = Service::new(Quirks::default());
    service.plant(json!({ "userName": "Ann@Example.com", "externalId": "emp-1", "displayName": "ann" }));
    let named = user(json!({ "userName": "ann@example.com", "displayName": "ann" }));
    assert_eq!(client(&service).ensure_user(&ann(), &named).await.unwrap().state, State::Unchanged);
    let shown = user(json!({ "displayName": "Ann" }));
    assert_eq!(client(&service).ensure_user(&ann(), &shown).await.unwrap().state, State::Updated);
    let kept = &service.users()[0];
    assert_eq!((&kept["userName"], &kept["displayName"]), (&json!("Ann@Example.com"), &json!("Ann")));
}

#[tokio::test]
async fn null_takes_an_attribute_away_and_silence_leaves_it() {
    let service = Service::new(Quirks::default());
    service.plant(
        json!({ "userName": "ann@example.com", "externalId": "emp-1", "title": "Dr", "locale": "en" }),
    );
    let desired = user(json!({ "userName": "ann@example.com", "title": null }));
    let outcome = client(&service).ensure_user(&ann(), &desired).await.unwrap();
    assert_eq!(outcome.state, State::Updated);
    let kept = &service.users()[0];
    assert_eq!((kept.get("title"), &kept["locale"]), (None, &json!("en")));
}

#[tokio::test]
async fn a_password_is_sent_when_the_account_is_made_and_not_again() {
    let service = Service::new(Quirks::default());
    let desired =
        user(json!({ "userName": "ann@example.com", "externalId": "emp-1", "password": "s3cret-9" }));
    client(&service).ensure_user(&ann(), &desired).await.unwrap();
    assert_eq!(service.users()[0]["password"], "s3cret-9");
    let other = user(json!({ "userName": "ann@example.com", "displayName": "Ann", "password": "other" }));
    client(&service).ensure_user(&ann(), &other).await.unwrap();
    assert_eq!(service.users()[0]["password"], "s3cret-9");
    assert_eq!(service.users()[0]["displayName"], "Ann");
}

#[tokio::test]
async fn a_conflict_that_nothing_explains_is_invisible() {
    // A name that is taken by what no look-up shows: the server compares without accents, say.
    let service = Service::new(Quirks::default());
    service.script([Fault::None, Fault::None, Fault::Conflict]);
    let desired = user(json!({ "userName": "ann@example.com", "externalId": "emp-1" }));
    let error = client(&service).ensure_user(&ann(), &desired).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::ConflictInvisible);
    assert_eq!(error.advice(), Advice::Escalate);
}

#[tokio::test]
async fn a_conflict_is_explained_by_an_address() {
    let service = Service::new(Quirks::default());
    service.plant(json!({ "userName": "ann.b", "emails": [{ "value": "ANN@example.com" }] }));
    service.script([Fault::None, Fault::None, Fault::Conflict]);
    let desired = user(json!({ "userName": "ann@example.com", "externalId": "emp-1" }));
    let outcome = client(&service).ensure_user(&ann(), &desired).await.unwrap();
    assert_eq!((outcome.state, outcome.found_by), (State::Adopted, Some(FoundBy::Email)));
    assert_eq!(service.users()[0]["externalId"], "emp-1");
}

#[tokio::test]
async fn several_that_fit_are_ambiguous_unless_one_bears_our_identifier() {
    let service = Service::new(Quirks::default());
    for _ in 0..2 {
        service.plant(json!({ "userName": "ann@example.com", "active": true }));
    }
    let error = client(&service).ensure_deprovisioned(&ann(), Deprovision::Disable).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Ambiguous { matches: 2 });
    assert!(service.users().iter().all(|user| user["active"] == true));
}

#[tokio::test]
async fn a_leaver_whose_name_was_given_to_another_is_absent_and_the_other_stays() {
    let service = Service::new(Quirks::default());
    service.plant(json!({ "userName": "ann@example.com", "externalId": "emp-2", "active": true }));
    let outcome = client(&service).ensure_deprovisioned(&ann(), Deprovision::Delete).await.unwrap();
    assert_eq!(outcome.state, State::AlreadyAbsent);
    assert_eq!(service.users()[0]["active"], true);
}

#[tokio::test]
async fn a_server_whose_filters_find_nothing_does_not_hide_a_leaver() {
    let service = Service::new(Quirks { filters_find_nothing: true, ..Quirks::default() });
    for n in 0..250 {
        service.plant(
            json!({ "userName": format!("user-{n}"), "externalId": format!("other-{n}"), "active": true }),
        );
    }
    service.plant(json!({ "userName": "ann@example.com", "externalId": "emp-1", "active": true }));
    let outcome = client(&service).ensure_deprovisioned(&ann(), Deprovision::Disable).await.unwrap();
    assert_eq!(outcome.state, State::Disabled);
    let active = service.users().iter().filter(|user| user["active"] == true).count();
    assert_eq!(active, 250);
}

#[tokio::test]
async fn a_misconfigured_base_is_no_proof_of_absence() {
    let service = Service::new(Quirks::default());
    let client =
        Client::over("https://app.example.com/scim/v2/wrong", service).unwrap().clock(Virtual::new());
    let identity = Identity::named("ann@example.com").with_id(ResourceId::new("u1"));
    let error = client.ensure_deprovisioned(&identity, Deprovision::Delete).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::BaseUrl);
    assert_eq!(error.advice(), Advice::StopConnector);
}

#[tokio::test]
async fn an_account_that_is_only_disabled_by_deletion_is_not_called_deleted() {
    let service = Service::new(Quirks { keeps_deleted_as_inactive: true, ..Quirks::default() });
    service.plant(json!({ "userName": "ann@example.com", "externalId": "emp-1", "active": true }));
    let error = client(&service).ensure_deprovisioned(&ann(), Deprovision::Delete).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Unconfirmed);

    let dialect = scim_client::Dialect::rfc7644().with(|dialect| {
        dialect.deprovision.delete = scim_client::dialect::DeleteEffect::Disables;
    });
    let service = Service::new(Quirks { keeps_deleted_as_inactive: true, ..Quirks::default() });
    service.plant(json!({ "userName": "ann@example.com", "externalId": "emp-1", "active": true }));
    let outcome =
        client(&service).dialect(dialect).ensure_deprovisioned(&ann(), Deprovision::Delete).await.unwrap();
    assert_eq!(outcome.state, State::Disabled);
}

#[tokio::test]
async fn other_members_who_go_away_are_said() {
    let service = Service::new(Quirks { drops_other_members: true, ..Quirks::default() });
    let group = ResourceId::new(service.plant_group(&["a", "b"]));
    let me = ResourceId::new("me");
    let outcome = client(&service).ensure_membership(&group, &me, Membership::Member).await.unwrap();
    assert_eq!(outcome.state, State::Joined);
    assert_eq!(outcome.divergent[0].path, "members");

    let group = ResourceId::new(service.plant_group(&["a", "b"]));
    let mut care = Care::default();
    care.others = Others::Trust;
    let outcome =
        client(&service).care(care).ensure_membership(&group, &me, Membership::Member).await.unwrap();
    assert!(outcome.divergent.is_empty());
}

#[tokio::test]
async fn a_member_who_is_there_is_not_added_again() {
    let service = Service::new(Quirks { refuses_members_twice: true, ..Quirks::default() });
    let group = ResourceId::new(service.plant_group(&["me"]));
    let outcome =
        client(&service).ensure_membership(&group, &ResourceId::new("me"), Membership::Member).await.unwrap();
    assert_eq!(outcome.state, State::Unchanged);
    assert_eq!(outcome.attempts.len(), 1);
}

#[tokio::test]
async fn an_outcome_is_evidence_in_json() {
    let service = Service::new(Quirks::default());
    service.plant(json!({ "userName": "ann@example.com", "externalId": "emp-1", "active": true }));
    let outcome = client(&service).ensure_deprovisioned(&ann(), Deprovision::Disable).await.unwrap();
    let json = serde_json::to_value(&outcome).unwrap();
    assert_eq!(json["state"], "disabled");
    assert_eq!(json["found_by"], "external_id");
    let methods: Vec<_> =
        json["attempts"].as_array().unwrap().iter().map(|attempt| attempt["method"].clone()).collect();
    assert_eq!(methods, ["GET", "PATCH", "GET"]);
    assert!(json["confirmed_at"].as_str().is_some_and(|at| at.ends_with("Z")));
}

#[tokio::test]
async fn an_identity_that_says_nothing_is_refused_before_anything_is_sent() {
    let service = Service::new(Quirks::default());
    let error =
        client(&service).ensure_deprovisioned(&Identity::default(), Deprovision::Disable).await.unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::Invalid);
    assert!(service.truths().is_empty());
}

#[tokio::test]
async fn what_is_dropped_halfway_is_finished_by_calling_again() {
    for polls in 1..12 {
        let service = Service::new(Quirks::default());
        let desired =
            user(json!({ "userName": "ann@example.com", "externalId": "emp-1", "displayName": "Ann" }));
        {
            // The virtual clock yields once for each pause; a transport that answers at once is polled through.
            service.script((0..polls).map(|n| if n % 2 == 0 { Fault::LostAfter } else { Fault::LostBefore }));
            let client = client(&service);
            let identity = ann();
            let mut call = Box::pin(client.ensure_user(&identity, &desired));
            for _ in 0..polls {
                if futures::poll!(&mut call).is_ready() {
                    break;
                }
            }
        }
        service.script([]);
        client(&service).ensure_user(&ann(), &desired).await.unwrap();
        assert_eq!(service.users().len(), 1);
        assert_eq!(service.users()[0]["displayName"], "Ann");
    }
}

#[tokio::test]
async fn who_cannot_be_looked_for_is_not_called_absent() {
    let quirks = Quirks { refuses_external_id_filter: true, ..Quirks::default() };
    for identity in [Identity::external("emp-1"), Identity::external("emp-1").with_user_name("ann.new")] {
        let service = Service::new(quirks);
        service.plant(json!({ "userName": "ann.old", "externalId": "emp-1", "active": true }));
        let outcome = client(&service).ensure_deprovisioned(&identity, Deprovision::Disable).await.unwrap();
        assert_eq!(outcome.state, State::Disabled);
        assert_eq!(service.users()[0]["active"], json!(false));
    }
    let service = Service::new(quirks);
    service.plant(json!({ "userName": "bob", "externalId": "emp-2", "active": true }));
    let nobody = Identity::external("emp-1");
    let outcome = client(&service).ensure_deprovisioned(&nobody, Deprovision::Disable).await.unwrap();
    assert_eq!(outcome.state, State::AlreadyAbsent);
    // Where no list without a filter is to be had, either, nothing is said.
    let dialect = scim_client::Dialect::rfc7644()
        .with(|dialect| dialect.unfiltered_lists = scim_client::dialect::Support::No);
    let only = client(&service).dialect(dialect);
    only.ensure_deprovisioned(&nobody, Deprovision::Disable).await.unwrap_err();
}
