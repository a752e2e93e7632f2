//! This client as a process of its own: this program again, told by its environment what to do.

use std::process::Command;
use std::time::Instant;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use scim_client::auth::Bearer;
use scim_client::filter::user;
use scim_client::message::{ListResponse, PatchOp, PatchOperation, PatchVerb};
use scim_client::path::{AttributePath, Path};
use scim_client::read::{self, ReadLimits};
use scim_client::resource::{EnterpriseUser, MultiValued, Name, User};
use scim_client::{Asserted, Client};
use serde_json::{Value, json};
use testbed::ScimServer;

const RUN: &str = "SCIM_BENCH_RUN";

pub(crate) fn sync_command(server: &ScimServer, users: usize, concurrency: usize) -> Command {
    own(&["sync", &server.base_url(), server.token(), &users.to_string(), &concurrency.to_string()])
}

pub(crate) fn listing_command(base: &str, users: usize) -> Command {
    own(&["listing", base, &users.to_string()])
}

fn own(settings: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(RUN, settings.join("\u{1f}"));
    command
}

/// Does what the environment says and prints what it measured.
pub(crate) fn run_if_asked() -> bool {
    let Ok(settings) = std::env::var(RUN) else { return false };
    let settings: Vec<&str> = settings.split('\u{1f}').collect();
    // One thread, as the others have.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = match settings[..] {
        ["sync", base, token, users, concurrency] => {
            runtime.block_on(sync(base, token, users.parse().unwrap(), concurrency.parse().unwrap()))
        }
        ["listing", base, users] => runtime.block_on(listing(base, users.parse().unwrap())),
        _ => panic!("{settings:?}"),
    };
    println!("{result}");
    true
}

/// Users a second, read from a page in memory.
pub(crate) fn parse_rate(page: &[u8], times: usize) -> f64 {
    let limits = ReadLimits::default();
    let began = Instant::now();
    let mut users = 0;
    for _ in 0..times {
        users += read::from_slice::<ListResponse<User>>(page, &limits).unwrap().resources.len();
    }
    users as f64 / began.elapsed().as_secs_f64()
}

async fn sync(base: &str, token: &str, count: usize, concurrency: usize) -> Value {
    let client = Client::new(base).unwrap().auth(Bearer::new(token)).concurrency(concurrency);
    let mut turns = Vec::new();
    for turn in [1, 2] {
        let began = Instant::now();
        let done: Vec<Done> = stream::iter(0..count)
            .map(|number| bring(&client, wanted(number, turn)))
            .buffer_unordered(concurrency)
            .collect()
            .await;
        let seconds = began.elapsed().as_secs_f64();
        let of = |kind: Done| done.iter().filter(|done| **done == kind).count();
        turns.push(json!({ "seconds": seconds, "created": of(Done::Created), "changed": of(Done::Changed) }));
    }
    assert_eq!(turns[0]["created"], count);
    assert_eq!(turns[1]["changed"], count.div_ceil(10));
    json!({ "turns": turns, "resident_kib": resident("VmHWM:") })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Created,
    Changed,
    Nothing,
}

/// Looks up, then creates or changes where needed. What came back is checked against the filter by the client.
async fn bring(client: &Client, wanted: User) -> Done {
    let users = client.users();
    let name = wanted.user_name.value().unwrap().clone();
    let found: Vec<User> = users.filter(user::user_name().eq(name)).stream().try_collect().await.unwrap();
    match found.first() {
        None => {
            users.create(&wanted).await.unwrap();
            Done::Created
        }
        Some(found) if found.title != wanted.title => {
            let title = PatchOperation {
                verb: PatchVerb::Replace,
                path: Some(Path::from(AttributePath::named("title"))),
                value: wanted.title.into_value().map(Value::from),
            };
            let patch = PatchOp { operations: vec![title], ..PatchOp::default() };
            users.patch(found.id.as_ref().unwrap(), &patch).await.unwrap();
            Done::Changed
        }
        Some(_) => Done::Nothing,
    }
}

/// The same users as `peers/sync.mjs` and `peers/sync.py` have.
fn wanted(number: usize, turn: usize) -> User {
    let mut user = User::new(format!("user{number:06}@example.com"));
    user.external_id = format!("hr-{number:06}").into();
    let mut name = Name::default();
    name.given_name = format!("Given{number}").into();
    name.family_name = format!("Family{number}").into();
    user.name = name.into();
    user.display_name = format!("Given{number} Family{number}").into();
    user.title = if turn == 2 && number.is_multiple_of(10) { "Principal" } else { "Engineer" }.into();
    user.active = true.into();
    let email = MultiValued::new(format!("user{number:06}@example.com")).of_type("work").primary();
    user.emails = Asserted::Value(vec![email]);
    let mut enterprise = EnterpriseUser::default();
    enterprise.department = format!("Department {}", number % 40).into();
    enterprise.employee_number = number.to_string().into();
    user.extensions.set_extension(&enterprise).unwrap();
    user
}

async fn listing(base: &str, count: usize) -> Value {
    let client = Client::new(base).unwrap();
    let mut users = 0_usize;
    let mut resident_kib = Vec::new();
    let mut characters = 0;
    let began = Instant::now();
    let mut listed = client.users().list().page_size(1000).stream();
    while let Some(user) = listed.try_next().await.unwrap() {
        users += 1;
        characters += user.user_name.value().map_or(0, String::len);
        if users.is_multiple_of(count / 100) {
            resident_kib.push(resident("VmRSS:"));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    assert_eq!(characters, count * "user0000000@example.co".len());
    json!({
        "users": users,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds(),
        "resident_early_kib": resident_kib[9],
        "resident_least_kib": resident_kib[10..].iter().min(),
        "resident_most_kib": resident_kib[10..].iter().max(),
        "resident_last_kib": resident_kib.last(),
        "resident_peak_kib": resident("VmHWM:"),
    })
}

/// A line of `/proc/self/status`, in KiB.
fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// Seconds of processor time that this process has taken.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    // utime and stime, in ticks; Linux shows 100 a second to everybody.
    [11, 12].iter().map(|place| fields[*place].parse::<f64>().unwrap()).sum::<f64>() / 100.0
}
