//! Random failures: nothing is done twice that was not to be, retries stay within their budget, and what is said is true.

use std::sync::{Arc, Mutex};

use http::Method;
use proptest::prelude::*;
use scim_client::message::PatchOp;
use scim_client::resilience::{Failure, RETRY_COST, Verdict};
use scim_client::resource::User;
use scim_client::trace::AttemptOutcome;
use scim_client::transport::{Connectivity, Stage};

use super::*;
use crate::stub::{Stub, failure};

#[derive(Clone, Copy, Debug)]
enum End {
    Status(u16),
    Wait(u16, u32),
    NotSent,
    Lost,
    Page,
}

impl End {
    /// Whether it is certain that the service did nothing.
    fn did_nothing(self) -> bool {
        matches!(self, Self::NotSent | Self::Wait(..) | Self::Status(429 | 401))
    }

    fn answer(self) -> Answer {
        match self {
            Self::Status(200) => ann(),
            Self::Status(status) => answer(status, &[], ""),
            Self::Wait(status, seconds) => answer(status, &[("retry-after", &seconds.to_string())], ""),
            Self::NotSent => failure(Stage::NotSent, Connectivity::Connect),
            Self::Lost => failure(Stage::MaybeSent, Connectivity::Reset),
            Self::Page => answer(200, &[("content-type", "text/html")], "<html>"),
        }
    }
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Status(200)),
        4 => prop::sample::select(vec![500_u16, 502, 503, 504, 408, 403, 409, 412, 429, 400]).prop_map(End::Status),
        2 => (prop::sample::select(vec![429_u16, 503]), 0_u32..90).prop_map(|(status, wait)| End::Wait(status, wait)),
        2 => Just(End::NotSent),
        2 => Just(End::Lost),
        1 => Just(End::Page),
    ]
}

fn method() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_done_twice_and_retries_stay_within_their_budget(
        calls in prop::collection::vec(method(), 1..60),
        script in prop::collection::vec(end(), 0..120),
        eager in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let script = Mutex::new(script.into_iter());
            let ends: Arc<Mutex<Vec<(Method, End)>>> = Arc::default();
            let to = Stub::new({
                let ends = ends.clone();
                move |request| {
                    let end = script.lock().unwrap().next().unwrap_or(End::Status(500));
                    ends.lock().unwrap().push((request.method().clone(), end));
                    async move { end.answer() }
                }
            });
            let mut client = client(to, Virtual::new());
            if eager {
                // Whoever wants everything to be tried again gets what is safe.
                client = client.classify(|_: &Failure<'_>| Some(Verdict::Retry { after: None }));
            }
            let (mut answered, mut retries) = (0, 0);
            for method in &calls {
                let users = client.users();
                let ann = User::new("ann");
                let result = match *method {
                    Method::GET => users.get(&id()).await.map(|read| read.exchange),
                    Method::POST => users.create(&ann).await.map(|made| made.exchange),
                    Method::PUT => users.replace(&id(), &ann).await.map(|made| made.exchange),
                    Method::DELETE => users.delete(&id()).await.map(|gone| gone.exchange),
                    _ => users.patch(&id(), &PatchOp::new().add_members([&id()])).await.map(|made| made.exchange),
                };
                let ends = std::mem::take(&mut *ends.lock().unwrap());
                prop_assert!(ends.iter().all(|(of, _)| of == method));
                let own: Vec<End> = ends.iter().map(|(_, end)| *end).collect();
                if matches!(*method, Method::POST | Method::PATCH) {
                    let (_, before) = own.split_last().unwrap_or((&End::NotSent, &[]));
                    prop_assert!(before.iter().all(|end| end.did_nothing()), "{:?}: {:?}", method, own);
                }
                let attempts = match &result {
                    Ok(exchange) => exchange.attempts(),
                    Err(error) => error.attempts(),
                };
                prop_assert_eq!(attempts.len(), own.len(), "{:?} {:?}", attempts, ends);
                for (attempt, end) in attempts.iter().zip(&own) {
                    prop_assert_eq!(attempt.outcome.was_sent(), !matches!(end, End::NotSent));
                    if let End::Status(status) | End::Wait(status, _) = end {
                        prop_assert_eq!(attempt.outcome, AttemptOutcome::Answered { status: *status });
                    }
                }
                if let Err(error) = &result
                    && own.iter().any(|end| !end.did_nothing())
                {
                    prop_assert!(error.was_sent(), "{error}");
                }
                let good = |end: &End| matches!(end, End::Page) || matches!(end, End::Status(status) if *status < 500 && *status != 429);
                answered += u32::try_from(ends.iter().filter(|(_, end)| good(end)).count()).unwrap();
                retries += u32::try_from(own.len().saturating_sub(1)).unwrap();
                prop_assert!(own.len() <= 4, "{:?}", own);
                prop_assert!(retries * RETRY_COST <= 100 + answered, "{} retries, {} answers", retries, answered);
            }
            Ok(())
        })?;
    }
}
