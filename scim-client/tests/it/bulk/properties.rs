//! Any operations, with a server that answers as it likes: it knows what it did, and the client must not claim anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use scim_client::dialect::Support;
use scim_client::transport::{Connectivity, Stage};

use super::*;

/// What a server does to its answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mischief {
    None,
    Drops,
    Doubles,
    Strangers,
    CutsOff,
    Silent,
    Fails,
    TakesLess,
}

const MISCHIEF: [Mischief; 8] = [
    Mischief::None,
    Mischief::Drops,
    Mischief::Doubles,
    Mischief::Strangers,
    Mischief::CutsOff,
    Mischief::Silent,
    Mischief::Fails,
    Mischief::TakesLess,
];

struct Server {
    rng: fastrand::Rng,
    mischief: Mischief,
    /// One in so many operations fails.
    fails_in: usize,
    gives_names_back: bool,
    operations_max: usize,
    bytes_max: usize,
    /// The identifiers of what was made.
    made: BTreeSet<String>,
    performed: BTreeMap<String, usize>,
    errors: usize,
}

impl Server {
    /// One operation, by the mark that it bears.
    fn perform(&mut self, method: &str, path: &str, data: &Value) -> (u16, String) {
        assert!(!format!("{path} {data}").contains("bulkId:"), "{path} {data}");
        for reference in data["refers"].as_array().into_iter().flatten() {
            assert!(self.made.contains(reference.as_str().unwrap()), "{reference} is not there");
        }
        let mark = match method {
            "DELETE" => path.rsplit('/').next().unwrap().to_owned(),
            _ => data["mark"].as_str().unwrap().to_owned(),
        };
        let named = path.strip_prefix("/Users/").map(|id| id.replace("%2F", "/"));
        assert!(named.is_none_or(|id| !id.starts_with("made") || self.made.contains(&id)), "{path}");
        if self.fails_in > 0 && self.rng.usize(..self.fails_in) == 0 {
            self.errors += 1;
            return ([400, 404, 409, 412][self.rng.usize(..4)], String::new());
        }
        *self.performed.entry(mark.clone()).or_default() += 1;
        if method != "POST" {
            return (204, path.to_owned());
        }
        let id = format!("made/{mark}");
        self.made.insert(id);
        (201, format!("https://x/scim{path}/made%2F{mark}"))
    }

    fn bulk(&mut self, request: &http::Request<Bytes>) -> Scripted {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let operations = body["Operations"].as_array().unwrap();
        assert!(request.body().len() <= self.bytes_max && operations.len() <= self.operations_max);
        if self.mischief == Mischief::TakesLess && operations.len() > 1 && self.rng.bool() {
            return Scripted::error(413, None, "too much");
        }
        let most = body["failOnErrors"].as_u64().map_or(usize::MAX, |most| most as usize);
        let before = self.errors;
        let mut results = Vec::new();
        for operation in operations {
            if self.errors - before >= most {
                break;
            }
            let method = operation["method"].as_str().unwrap();
            let (status, location) =
                self.perform(method, operation["path"].as_str().unwrap(), &operation["data"]);
            let mut result = json!({"method": method, "status": status.to_string()});
            if method == "POST" || self.gives_names_back {
                result["bulkId"] = operation["bulkId"].clone();
            }
            match (status < 300, method) {
                (true, _) => result["location"] = json!(location),
                (false, "POST") => {}
                (false, _) => result["location"] = operation["path"].clone(),
            }
            if status >= 300 {
                result["response"] = json!({"status": status.to_string(), "detail": "no"});
            }
            results.push(result);
        }
        self.rng.shuffle(&mut results);
        let any = self.rng.usize(..results.len());
        match self.mischief {
            Mischief::Drops => {
                results.remove(any);
            }
            Mischief::Doubles => results.push(results[any].clone()),
            Mischief::Strangers => {
                results.push(
                    json!({"method": "POST", "bulkId": "stranger", "status": "201", "location": "/Users/9"}),
                );
                results.push(json!({"method": "DELETE", "status": "204", "location": "/Users/9"}));
                results.push(json!({}));
            }
            Mischief::Fails if self.rng.bool() => return Scripted::error(500, None, "no"),
            Mischief::Silent if self.rng.bool() => {
                return Scripted::fails(Stage::MaybeSent, Connectivity::Timeout);
            }
            Mischief::CutsOff if self.rng.bool() => {
                return response(&results).breaks_after(self.rng.usize(..200), Connectivity::Reset);
            }
            _ => {}
        }
        response(&results)
    }

    fn one(&mut self, request: &http::Request<Bytes>, path: &str) -> Scripted {
        let data = serde_json::from_slice(request.body()).unwrap_or_default();
        let (status, location) = self.perform(request.method().as_str(), path, &data);
        if self.mischief == Mischief::Silent && self.rng.bool() {
            return Scripted::fails(Stage::MaybeSent, Connectivity::Timeout);
        }
        Scripted::status(status).header("location", &location)
    }

    fn answer(&mut self, request: &http::Request<Bytes>) -> Scripted {
        match request.uri().path().strip_prefix("/scim/v2").unwrap() {
            "/ServiceProviderConfig" => {
                Scripted::json(200, &config(self.operations_max as u64, self.bytes_max as u64))
            }
            "/Bulk" => self.bulk(request),
            path => self.one(request, path),
        }
    }
}

/// Operations, and the mark of each. What refers to others refers to such as come earlier in a hidden order, so that there
/// is no circle; then all are shuffled.
fn operations(count: usize, rng: &mut fastrand::Rng) -> Vec<(String, BulkOperation)> {
    let mut made: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for n in 0..count {
        let mark = format!("m{n}");
        let refers: Vec<String> = (0..rng.usize(..4))
            .filter(|_| !made.is_empty())
            .map(|_| format!("bulkId:{}", made[rng.usize(..made.len())]))
            .collect();
        let padding = "x".repeat(rng.usize(..300));
        let data = json!({"mark": mark, "refers": refers, "padding": padding});
        let operation = match rng.usize(..6) {
            0 => BulkOperation::delete(format!("/Users/{mark}")),
            1 => change(&format!("/Groups/g{}", rng.usize(..2)), data),
            2 if !made.is_empty() => {
                change(&format!("/Users/bulkId:{}", made[rng.usize(..made.len())]), data)
            }
            _ => {
                made.push(format!("n{n}"));
                create(&format!("n{n}"), data)
            }
        };
        all.push((mark, operation));
    }
    rng.shuffle(&mut all);
    all
}

async fn hold(count: usize, seed: u64, mischief: Mischief, fail_on_errors: Option<u64>, support: Support) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (marks, operations): (Vec<_>, Vec<_>) = operations(count, &mut rng).into_iter().unzip();
    let server = Arc::new(Mutex::new(Server {
        mischief,
        fails_in: [0, 4][rng.usize(..2)],
        gives_names_back: rng.bool(),
        operations_max: rng.usize(1..8),
        bytes_max: rng.usize(800..2_000),
        made: BTreeSet::new(),
        performed: BTreeMap::new(),
        errors: 0,
        rng,
    }));
    let transport = MemoryTransport::new({
        let server = server.clone();
        move |request| server.lock().unwrap().answer(request)
    });
    let dialect = scim_client::Dialect::rfc7644().with(|dialect| dialect.bulk = support);
    let mut bulk = client(&transport).dialect(dialect).bulk(operations);
    if let Some(errors) = fail_on_errors {
        bulk = bulk.fail_on_errors(errors);
    }
    let report = bulk.await.unwrap();

    let server = server.lock().unwrap();
    assert_eq!(report.outcomes.len(), count);
    let mut all_done = true;
    for (mark, outcome) in marks.iter().zip(&report.outcomes) {
        let times = server.performed.get(mark).copied().unwrap_or_default();
        match outcome {
            BulkOutcome::Done(done) => {
                assert_eq!(times, 1, "{mark} is done");
                if done.status == 201 {
                    assert_eq!(done.id.as_ref().unwrap().as_str(), format!("made/{mark}"));
                }
            }
            BulkOutcome::Failed(error) if error.advice() == Advice::ResolveByReading => assert!(times <= 1),
            BulkOutcome::Failed(error) => assert_eq!(times, 0, "{mark}: {error}"),
            BulkOutcome::NotAttempted(why) => assert_eq!(times, 0, "{mark}: {why}"),
            _ => unreachable!(),
        }
        all_done &= outcome.done().is_some();
    }
    if let Some(most) = fail_on_errors {
        assert!(server.errors as u64 <= most.max(1), "{} errors", server.errors);
    }
    let is_kind = matches!(mischief, Mischief::None | Mischief::TakesLess | Mischief::Strangers);
    if server.fails_in == 0 && is_kind {
        assert!(all_done, "{:?}", words(&report));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn nothing_is_claimed_that_did_not_happen(
        count in 0_usize..30,
        seed: u64,
        mischief in 0_usize..8,
        fail_on_errors in proptest::option::of(0_u64..6),
        is_bulk in proptest::bool::weighted(0.8),
    ) {
        let support = if is_bulk { Support::Discover } else { Support::No };
        futures::executor::block_on(hold(count, seed, MISCHIEF[mischief], fail_on_errors, support));
    }
}
