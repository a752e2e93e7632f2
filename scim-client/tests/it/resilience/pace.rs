//! How many at a time, and how fast.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use scim_client::clock::Clock;
use scim_client::dialect::Preset;
use scim_client::resilience::{BURST, CONCURRENCY, Retry};
use scim_client::resource::DynamicResource;
use scim_client::{Dialect, auth::Bearer};

use super::*;
use crate::fakes::{Fake, TOKEN};
use crate::stub::Stub;
use crate::suite::resource;

#[tokio::test(start_paused = true)]
async fn so_many_are_under_way_and_the_others_wait_in_their_order() {
    for (limit, expected) in [(None, CONCURRENCY), (Some(3), 3), (Some(0), 1)] {
        let now = Arc::new(Mutex::new((0, 0)));
        let counted = now.clone();
        let to = Stub::new(move |_| {
            let counted = counted.clone();
            {
                let (now, most) = &mut *counted.lock().unwrap();
                *now += 1;
                *most = (*now).max(*most);
            }
            async move {
                tokio::time::sleep(SECOND).await;
                counted.lock().unwrap().0 -= 1;
                ann()
            }
        });
        let mut client = client(to.clone(), Virtual::new());
        if let Some(limit) = limit {
            client = client.concurrency(limit);
        }
        let calls = (0..40).map(|number| {
            // Each by its own clone.
            let users = client.clone().users();
            async move { users.get(&ResourceId::new(number.to_string())).await.map(drop) }
        });
        assert!(join_all(calls).await.iter().all(Result::is_ok));
        assert_eq!(now.lock().unwrap().1, expected);
        let order: Vec<_> = to.requests().iter().map(|request| request.uri().path().to_owned()).collect();
        let expected: Vec<_> = (0..40).map(|number| format!("/scim/v2/Users/{number}")).collect();
        assert_eq!(order, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dialect_says_how_many_a_minute_are_welcome() {
    let clock = Virtual::new();
    let to = Stub::always(ann);
    let dialect = Dialect::rfc7644().with(|dialect| dialect.requests_per_minute = Some(120));
    let client = client(to.clone(), clock).dialect(dialect);
    let calls = (0..BURST + 240).map(|_| {
        let users = client.users();
        async move { users.get(&id()).await.map(drop) }
    });
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    let took = clock.elapsed().as_secs_f64();
    assert!((119.0..122.0).contains(&took), "{took}");
}

/// Sends as much as it can; how many are told that it was too much.
async fn too_many(fake: Fake, dialect: Dialect) -> usize {
    let clock = Virtual::new();
    let fake = fake.metered(move || clock.elapsed());
    let client = Client::over(&fake.base_url(), fake.transport()).unwrap().auth(Bearer::new(TOKEN));
    let client = client.clock(clock).seed(7).dialect(dialect);
    stream::iter(0..600)
        .for_each_concurrent(32, |number| {
            let users = client.resources::<DynamicResource>("Users");
            async move {
                let user = serde_json::json!({
                    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": format!("u{number}"),
                });
                let _ = users.create(&resource(user)).await;
            }
        })
        .await;
    fake.refused()
}

/// With the switch a vendor never has to say that it is too much; without, it has to.
#[tokio::test(start_paused = true)]
async fn vendors_that_say_how_much_is_welcome_get_no_more() {
    let mut tried = 0;
    for fake in Fake::vendors() {
        let dialect = fake.dialect();
        if dialect.requests_per_minute.is_none() {
            continue;
        }
        tried += 1;
        assert_eq!(too_many(fake.clone(), dialect.clone()).await, 0, "{}", fake.name());
        let flipped = dialect.with(|dialect| dialect.requests_per_minute = None);
        assert!(too_many(fake.clone(), flipped).await > 0, "{}", fake.name());
    }
    let paced = Preset::ALL.iter().filter(|preset| preset.dialect().requests_per_minute.is_some()).count();
    assert_eq!(tried, paced, "a preset with a pace has no fake");
}

/// A server that takes so many a second and says no to the rest.
#[tokio::test(start_paused = true)]
async fn a_storm_of_refusals_calms_down() {
    let clock = Virtual::new();
    let room = Arc::new(Mutex::new((10.0_f64, Duration::ZERO)));
    let ends = Arc::new(Mutex::new(Vec::new()));
    let to = Stub::new({
        let ends = ends.clone();
        move |_| {
            let mut room = room.lock().unwrap();
            let now = clock.elapsed();
            room.0 = ((now - room.1).as_secs_f64().mul_add(10.0, room.0)).min(10.0);
            room.1 = now;
            let takes = room.0 >= 1.0;
            if takes {
                room.0 -= 1.0;
            }
            ends.lock().unwrap().push((now, takes));
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if takes { ann() } else { answer(429, &[], "") }
            }
        }
    });
    let client = client(to, clock);
    let work = stream::iter(0..100_000).for_each_concurrent(64, |_| {
        let users = client.users();
        async move { drop(users.get(&id()).await) }
    });
    let _ = tokio::time::timeout(SECOND * 600, work).await;
    let ends = ends.lock().unwrap();
    let calm = || ends.iter().filter(|(at, _)| *at >= SECOND * 120);
    let (taken, refused) = (calm().filter(|end| end.1).count(), calm().filter(|end| !end.1).count());
    assert!(refused * 20 <= taken, "{refused} refused, {taken} taken");
    assert!(taken >= 480 * 10 * 6 / 10, "{taken} of {} taken", 480 * 10);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_to_show_a_credential_heeds_a_pause_too() {
    let clock = Virtual::new();
    let at = Arc::new(Mutex::new(Vec::new()));
    let to = Stub::new({
        let at = at.clone();
        move |_| {
            let mut at = at.lock().unwrap();
            at.push(clock.elapsed());
            let is_first = at.len() == 1;
            async move {
                tokio::time::sleep(SECOND).await;
                if is_first { answer(429, &[("retry-after", "30")], "") } else { ann() }
            }
        }
    });
    let client = client(to.clone(), clock).auth(Bearer::new("not yet proven"));
    let calls = (0..8).map(|_| {
        let users = client.users();
        async move { users.get(&id()).await.map(drop) }
    });
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    let at = at.lock().unwrap();
    assert_eq!(at[0], Duration::ZERO);
    assert!(at[1..].iter().all(|at| *at >= SECOND * 31), "{at:?}");
}

/// A clock that is a day back once somebody has set it so.
#[derive(Clone)]
struct SetBack(Virtual, Arc<AtomicBool>);

#[async_trait::async_trait]
impl Clock for SetBack {
    fn now(&self) -> DateTime<Utc> {
        let by = if self.1.load(Ordering::Relaxed) { SECOND * 86_400 } else { Duration::ZERO };
        self.0.now() - by
    }

    async fn sleep(&self, duration: Duration) {
        self.0.sleep(duration).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_does_not_make_few_requests_look_like_many() {
    let (clock, is_back) = (Virtual::new(), Arc::new(AtomicBool::new(false)));
    let to = Stub::new({
        let is_back = is_back.clone();
        move |_| {
            let is_back = is_back.load(Ordering::Relaxed);
            async move { if is_back { answer(429, &[], "") } else { ann() } }
        }
    });
    let client =
        Client::over("https://app.example/scim/v2", to).unwrap().clock(SetBack(clock, is_back.clone()));
    let users = client.retry(Retry::never()).users();
    for _ in 0..100 {
        users.get(&id()).await.unwrap();
    }
    is_back.store(true, Ordering::Relaxed);
    users.get(&id()).await.unwrap_err();
    let before = clock.elapsed();
    users.get(&id()).await.unwrap_err();
    // One a second was measured, and less than that is left.
    assert!(clock.elapsed() - before > SECOND);
}
