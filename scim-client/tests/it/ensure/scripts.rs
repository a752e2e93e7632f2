//! A thousand random scripts of faults and quirks: the final state is the intended one, no stranger is touched, no
//! duplicate is made, and what an outcome says is what the service saw.

use proptest::prelude::*;
use scim_client::ensure::{Deprovision, Identity, Membership, Outcome, State};
use scim_client::resource::{ResourceId, User};
use scim_client::{Advice, Client, Error};
use serde_json::{Value, json};

use super::service::{Fault, Quirks, Service, Truth, Virtual};

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        6 => Just(Fault::None),
        1 => Just(Fault::NotSent),
        1 => Just(Fault::LostBefore),
        2 => Just(Fault::LostAfter),
        1 => Just(Fault::CutBody),
        1 => (1_usize..4).prop_map(Fault::Late),
        1 => Just(Fault::ErrorBefore),
        1 => Just(Fault::ErrorAfter),
        1 => Just(Fault::GatewayAfter),
        1 => Just(Fault::TooMany),
        1 => Just(Fault::Unavailable),
    ]
}

fn quirks() -> impl Strategy<Value = Quirks> {
    (any::<[bool; 10]>(), 0..3_u8).prop_map(|(on, filters)| Quirks {
        ignores_filters: filters == 1,
        filters_find_nothing: filters == 2,
        refuses_external_id_filter: on[0] && on[5],
        patch_answers_nothing: on[1],
        keeps_deleted_as_inactive: false,
        booleans_as_text: on[2],
        drops_nickname: on[3],
        hides_members: on[4] && on[6],
        drops_other_members: false,
        refuses_members_twice: on[7],
    })
}

/// Who is there before.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nobody,
    /// Ours, as it was made earlier.
    Ours,
    /// Ours, disabled.
    OursDisabled,
    /// The person's own, from before provisioning: no external identifier.
    Unmarked,
    /// Somebody else with our user name.
    Stranger,
}

fn before() -> impl Strategy<Value = Before> {
    prop_oneof![
        Just(Before::Nobody),
        Just(Before::Ours),
        Just(Before::OursDisabled),
        Just(Before::Unmarked),
        Just(Before::Stranger),
    ]
}

const OURS: &str = "emp-1";

fn identity() -> Identity {
    Identity::external(OURS).with_user_name("ann@example.com").with_email("ann@example.com")
}

fn desired() -> User {
    serde_json::from_value(json!({
        "schemas": [User::SCHEMA], "userName": "ann@example.com", "externalId": OURS, "active": true,
        "displayName": "Ann", "nickName": "an",
    }))
    .unwrap()
}

fn populate(service: &Service, before: Before) -> Vec<Value> {
    // Somebody who has nothing to do with it.
    service.plant(json!({ "userName": "zoe@example.com", "externalId": "emp-9", "active": true }));
    match before {
        Before::Nobody => {}
        Before::Ours => drop(service.plant(json!({
            "userName": "ann@example.com", "externalId": OURS, "active": true, "displayName": "Old"
        }))),
        Before::OursDisabled => drop(service.plant(json!({
            "userName": "Ann@Example.com", "externalId": OURS, "active": false, "displayName": "Ann"
        }))),
        Before::Unmarked => {
            drop(service.plant(json!({ "userName": "ann@example.com", "active": true })));
        }
        Before::Stranger => drop(service.plant(json!({
            "userName": "ann@example.com", "externalId": "emp-2", "active": true, "displayName": "Another Ann"
        }))),
    }
    strangers(service)
}

fn is_ours(user: &Value) -> bool {
    user["externalId"] == json!(OURS)
        || (user.get("externalId").is_none() && user["userName"] == json!("ann@example.com"))
}

fn strangers(service: &Service) -> Vec<Value> {
    service.users().into_iter().filter(|user| !is_ours(user)).collect()
}

fn ours(service: &Service) -> Vec<Value> {
    service.users().into_iter().filter(is_ours).collect()
}

fn client(service: &Service) -> Client {
    Client::over("https://app.example.com/scim/v2", service.clone()).unwrap().clock(Virtual::new())
}

/// What an outcome says was sent is what the service saw.
fn evidence_is_true(attempts: &[scim_client::trace::Attempt], truths: &[Truth]) -> Result<(), TestCaseError> {
    prop_assert_eq!(attempts.len(), truths.len(), "{:#?}\n{:#?}", attempts, truths);
    for (attempt, truth) in attempts.iter().zip(truths) {
        prop_assert_eq!(&attempt.method, &truth.method);
        prop_assert_eq!(attempt.path.strip_prefix("/scim/v2/"), Some(truth.path.as_str()));
        prop_assert_eq!(attempt.outcome.status(), truth.status);
        // Saying “not sent” of what arrived would be the dangerous lie.
        prop_assert!(attempt.outcome.was_sent() || !truth.arrived, "{:?} {:?}", attempt, truth);
    }
    Ok(())
}

fn confirmed_by_a_reading(outcome: &Outcome, truths: &[Truth]) -> Result<(), TestCaseError> {
    let last = truths.last().unwrap();
    prop_assert_eq!(&last.method, http::Method::GET);
    prop_assert!(last.status == Some(200) || last.status == Some(404), "{:?}", last);
    let writes = truths.iter().filter(|truth| truth.method != http::Method::GET && truth.arrived).count();
    let says_it_wrote =
        !matches!(outcome.state, State::Unchanged | State::AlreadyAbsent | State::AlreadyDisabled);
    prop_assert!(!says_it_wrote || writes > 0);
    Ok(())
}

/// Repeats an operation as a caller does, until it is done; every end's evidence is checked.
async fn until_done<F, R>(service: &Service, operation: F) -> Result<Result<Outcome, Error>, TestCaseError>
where
    F: Fn(Client) -> R,
    R: Future<Output = Result<Outcome, Error>>,
{
    for _ in 0..40 {
        service.truths();
        // A caller who comes back later, so that no breaker of an earlier client is in the way.
        match operation(client(service)).await {
            Ok(outcome) => {
                let truths = service.truths();
                evidence_is_true(&outcome.attempts, &truths)?;
                confirmed_by_a_reading(&outcome, &truths)?;
                return Ok(Ok(outcome));
            }
            Err(error) => {
                evidence_is_true(error.attempts(), &service.truths())?;
                if is_final(&error) {
                    return Ok(Err(error));
                }
            }
        }
    }
    Err(TestCaseError::fail("it is never done"))
}

/// Whether trying again changes nothing.
fn is_final(error: &Error) -> bool {
    !matches!(error.advice(), Advice::Retry { .. } | Advice::ResolveByReading | Advice::Adopt)
}

fn run(test: impl Future<Output = Result<(), TestCaseError>>) -> Result<(), TestCaseError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_user_is_made_or_adopted_once(
        before in before(),
        quirks in quirks(),
        script in prop::collection::vec(fault(), 0..24),
    ) {
        run(async {
            let service = Service::new(quirks);
            let strangers_before = populate(&service, before);
            service.script(script);
            let end = until_done(&service, |client| async move {
                client.ensure_user(&identity(), &desired()).await
            }).await?;
            prop_assert_eq!(strangers(&service), strangers_before);
            match (before, end) {
                (Before::Stranger, Err(_)) => prop_assert_eq!(ours(&service).len(), 0),
                (Before::Stranger, Ok(outcome)) => prop_assert!(false, "took a stranger's: {:?}", outcome),
                (_, Err(error)) => prop_assert!(false, "{}", error),
                (_, Ok(outcome)) => {
                    let ours = ours(&service);
                    prop_assert_eq!(ours.len(), 1);
                    prop_assert_eq!(&ours[0]["externalId"], &json!(OURS));
                    prop_assert_eq!(&ours[0]["active"], &json!(true));
                    prop_assert_eq!(&ours[0]["displayName"], &json!("Ann"));
                    prop_assert_eq!(outcome.id.as_ref().map(ResourceId::as_str), ours[0]["id"].as_str());
                    prop_assert_eq!(outcome.divergent.is_empty(), !quirks.drops_nickname);
                    if !matches!(before, Before::Nobody) {
                        prop_assert_ne!(outcome.state, State::Created);
                    }
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_leaver_is_out(
        before in before(),
        quirks in quirks(),
        how in prop_oneof![
            Just(Deprovision::Disable), Just(Deprovision::Delete), Just(Deprovision::DisableThenDelete)
        ],
        by_id in any::<bool>(),
        script in prop::collection::vec(fault(), 0..24),
    ) {
        run(async {
            let service = Service::new(quirks);
            let strangers_before = populate(&service, before);
            service.script(script);
            let mut who = identity();
            if by_id && let Some(user) = ours(&service).first() {
                who = who.with_id(ResourceId::new(user["id"].as_str().unwrap()));
            }
            let end = until_done(&service, |client| {
                let who = who.clone();
                async move { client.ensure_deprovisioned(&who, how).await }
            }).await?;
            prop_assert_eq!(strangers(&service), strangers_before);
            let ours = ours(&service);
            prop_assert!(end.is_ok(), "{}", end.unwrap_err());
            let outcome = end.unwrap();
            match how {
                Deprovision::Disable => {
                    prop_assert!(ours.iter().all(|user| user["active"] == json!(false)), "{:?}", ours);
                }
                _ => prop_assert!(ours.is_empty(), "{:?}", ours),
            }
            let was_there = matches!(before, Before::Ours | Before::OursDisabled | Before::Unmarked);
            if !was_there {
                prop_assert_eq!(outcome.state, State::AlreadyAbsent);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_member_is_in_or_out_and_the_others_stay(
        quirks in quirks(),
        is_member in any::<bool>(),
        join in any::<bool>(),
        script in prop::collection::vec(fault(), 0..16),
    ) {
        run(async {
            let service = Service::new(quirks);
            let mut members = vec!["a", "b"];
            if is_member {
                members.push("me");
            }
            let group = service.plant_group(&members);
            service.script(script);
            let wanted = if join { Membership::Member } else { Membership::NotMember };
            let end = until_done(&service, |client| {
                let group = ResourceId::new(group.clone());
                async move { client.ensure_membership(&group, &ResourceId::new("me"), wanted).await }
            }).await?;
            prop_assert!(end.is_ok(), "{}", end.unwrap_err());
            let mut expected = vec!["a", "b"];
            if join {
                expected.push("me");
            }
            prop_assert_eq!(service.members(&group), expected);
            prop_assert!(end.unwrap().divergent.is_empty());
            Ok(())
        })?;
    }
}
