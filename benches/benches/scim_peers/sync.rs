//! The same users, brought to the same kind of server by each contender in turn.

use std::process::Command;

use serde_json::Value;
use testbed::http::Request;
use testbed::{ScimServer, Toolbox};

use crate::side_by_side::{Asked, Samples};
use crate::{measured, mib, number, own};

const NODE_CLIENT: &str = include_str!("peers/sync.mjs");
const PYTHON_CLIENT: &str = include_str!("peers/sync.py");
const OWN: &str = "scim-client";
const NODE: &str = "Node, bare keep-alive";
const PYTHON: &str = "scim2-client";

/// One contender's two turns against a fresh server.
struct Run {
    seconds: [f64; 2],
    requests: u64,
    resident_kib: Value,
}

pub(crate) fn run(asked: &Asked) {
    let users = asked.pick(10_000, 100);
    let rounds = asked.pick(3, 1);
    println!(
        "\nsync      {users} users: look up by userName, create where absent; then again with a tenth changed"
    );
    println!("server    scimmy-routers with express on Node, in memory, fresh for each run, on this machine");
    println!(
        "  {:<28} {:>6} {:>10} {:>10} {:>10} {:>10}",
        "", "at once", "first", "second", "requests", "resident"
    );
    for concurrency in [1, 8, 32] {
        let (mut own, mut node) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // Who begins changes, so that whatever disturbs the machine disturbs both alike.
            for turn in 0..2 {
                if (round + turn) % 2 == 0 {
                    own.push(against_fresh_server(OWN, concurrency, |server| {
                        own::sync_command(server, users, concurrency)
                    }));
                } else {
                    node.push(against_fresh_server(NODE, concurrency, |server| {
                        let mut command = Toolbox::find().unwrap().node(NODE_CLIENT).unwrap();
                        command.args(arguments(server, users)).arg(concurrency.to_string());
                        command
                    }));
                }
            }
        }
        for (turn, name) in [(0, "first"), (1, "second")] {
            // In pairs of one round, each with the time of the same round.
            let ratios = own.iter().zip(&node).map(|(own, node)| own.seconds[turn] / node.seconds[turn]);
            let ratios = Samples(ratios.collect());
            let [median, least, most] = [0.5, 0.0, 1.0].map(|part| ratios.quantile(part));
            println!(
                "  {OWN} ÷ {NODE}, {name} turn, {concurrency} at once: {median:.2}× ({least:.2}–{most:.2})   goal ≤ 1.10×"
            );
        }
        let (requests, theirs) = (own[0].requests, node[0].requests);
        println!("  requests {requests} against {theirs}; what is more is a look at what the server can do");
    }
    let python = against_fresh_server(PYTHON, 1, |server| {
        let mut command = Toolbox::find().unwrap().python().unwrap();
        command.args(["-c", PYTHON_CLIENT]).args(arguments(server, users));
        command
    });
    let own = against_fresh_server(OWN, 1, |server| own::sync_command(server, users, 1));
    let [first, second] = [0, 1].map(|turn| own.seconds[turn] / python.seconds[turn]);
    println!("  {OWN} ÷ {PYTHON}, 1 at once: first turn {first:.2}×, second turn {second:.2}×");
}

fn against_fresh_server(name: &str, concurrency: usize, command: impl FnOnce(&ScimServer) -> Command) -> Run {
    let server = ScimServer::scimmy().unwrap_or_else(|error| panic!("{error}"));
    let result = measured(command(&server));
    let answer = Request::new("GET", "/requests").send(server.addr()).unwrap();
    let requests = String::from_utf8(answer.body).unwrap().parse().unwrap();
    let seconds = [0, 1].map(|turn| number(&result["turns"][turn]["seconds"]));
    let run = Run { seconds, requests, resident_kib: result["resident_kib"].clone() };
    println!(
        "  {name:<28} {concurrency:>6} {:>8.2} s {:>8.2} s {:>10} {:>10}",
        run.seconds[0],
        run.seconds[1],
        run.requests,
        mib(&run.resident_kib),
    );
    run
}

fn arguments(server: &ScimServer, users: usize) -> [String; 3] {
    [server.base_url(), server.token().to_owned(), users.to_string()]
}
