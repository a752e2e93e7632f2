//! A long listing: whether memory stays flat, and how fast users are read.

use testbed::Toolbox;

use crate::side_by_side::{Asked, count};
use crate::{measured, mib, number, own, stub};

const PYTHON_READER: &str = include_str!("peers/listing.py");
const PAGE: usize = 1000;

pub(crate) fn run(asked: &Asked) {
    let users = asked.pick(1_000_000, 20_000);
    let theirs = asked.pick(20_000, 1_000);
    println!(
        "\nlisting   {users} users of {} bytes in pages of {PAGE}, from a stub in this process",
        stub::USER.len()
    );
    let base = format!("http://{}/scim/v2", stub::serve(users));
    let own = measured(own::listing_command(&base, users));
    assert_eq!(own["users"], users, "a listing that lost users");
    let (seconds, cpu) = (number(&own["seconds"]), number(&own["cpu_seconds"]));
    println!(
        "  scim-client, streamed   {} users/s ({seconds:.2} s; {cpu:.2} s of processor time)",
        count(users as f64 / seconds)
    );
    println!(
        "    resident: {} after a tenth, then between {} and {}, {} at the end, {} peak of the process   goal < 32 MiB, ±5 %",
        mib(&own["resident_early_kib"]),
        mib(&own["resident_least_kib"]),
        mib(&own["resident_most_kib"]),
        mib(&own["resident_last_kib"]),
        mib(&own["resident_peak_kib"]),
    );

    let page = stub::page(1, PAGE, users);
    let parsed = own::parse_rate(&page, asked.pick(300, 3));
    println!("  scim-client, pages in memory        {} users/s on one core", count(parsed));
    let mut command = Toolbox::find().unwrap().python().unwrap_or_else(|error| panic!("{error}"));
    command.args(["-c", PYTHON_READER, &base, &theirs.to_string(), &PAGE.to_string()]);
    let python = measured(command);
    let theirs = |name: &str| number(&python["users"]) / number(&python[name]);
    println!(
        "  scim2-models, pages in memory       {} users/s, {} peak with {} users",
        count(theirs("seconds")),
        mib(&python["resident_kib"]),
        python["users"]
    );
    println!("  json.loads of Python, for scale     {} users/s", count(theirs("json_seconds")));
    println!(
        "  scim-client ÷ scim2-models, in memory        {:.0}×   goal ≥ 50×",
        parsed / theirs("seconds")
    );
    println!(
        "  scim-client with its network ÷ scim2-models without   {:.0}×",
        users as f64 / seconds / theirs("seconds")
    );
}
