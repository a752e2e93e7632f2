//! Command checks against 1,000 rules. Goal: at least a million decisions per second and core.
//!
//! `mixed` is the figure that counts: people with roles, targets with tags, two lines out of three permitted, the rest
//! denied for a word, a program and an expansion. The others show where the time goes.
#![allow(missing_docs, clippy::expect_used, reason = "a bench")]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use session_filter::{Policy, Target, User};

const RULES: usize = 1_000;

/// A thousand rules: every tenth for a role and a tag, the rest for a person and a machine each.
fn policy() -> Policy {
    let mut text = String::new();
    for number in 0..RULES {
        let (user, target) = match number % 10 {
            0 => (format!("role:team-{}", number % 50), format!("tag:site-{}", number % 40)),
            _ => (format!("user-{number}"), format!("host-{number}")),
        };
        writeln!(
            text,
            "[[permit]]\nusers = [\"{user}\"]\ntargets = [\"{target}\"]\ncommands = [\"systemctl status *\", \
             \"journalctl -u nginx --since *\", \"df -h\", \"/usr/bin/tool-{number} --level=* /srv/**\"]"
        )
        .expect("a String takes everything");
    }
    Policy::from_toml(&text).expect("the policy is sound")
}

/// A thousand rules for one role on one tag: all of them are candidates.
fn crowded() -> Policy {
    let mut text = String::new();
    for number in 0..RULES {
        writeln!(
            text,
            "[[permit]]\nusers = [\"role:ops\"]\ntargets = [\"tag:web\"]\ncommands = [\"tool-{} run-{number} *\"]",
            number % 100
        )
        .expect("a String takes everything");
    }
    Policy::from_toml(&text).expect("the policy is sound")
}

fn command_check(criterion: &mut Criterion) {
    let policy = policy();
    let user = User::new("user-501").role("team-20").role("staff");
    let target = Target::new("host-501").tag("site-20").tag("linux");
    let allowed = [
        "systemctl status nginx",
        "df -h",
        "journalctl -u nginx --since '1 hour ago'",
        "tool-501 --level=3 /srv/app/data",
    ];
    let denied = ["systemctl restart nginx", "rm -rf /"];
    for line in allowed {
        assert!(policy.check(&user, &target, line).is_allowed(), "{line}");
    }
    for line in denied {
        assert!(!policy.check(&user, &target, line).is_allowed(), "{line}");
    }

    let mut group = criterion.benchmark_group("command_check_1000_rules");
    let mixed: Vec<&str> = allowed.into_iter().chain(denied).collect();
    let lines: Vec<&str> = mixed.iter().copied().cycle().take(1_000).collect();
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("mixed", |bencher| {
        bencher.iter(|| {
            lines.iter().filter(|line| policy.check(&user, &target, black_box(line)).is_allowed()).count()
        });
    });
    group.throughput(Throughput::Elements(1));
    let singles = [
        ("allowed", "systemctl status nginx"),
        ("allowed_path", "tool-501 --level=3 /srv/app/data"),
        ("denied_word", "systemctl restart nginx"),
        ("denied_program", "rm -rf /"),
        ("denied_grammar", "systemctl status $(id)"),
    ];
    for (name, line) in singles {
        group.bench_function(name, |bencher| bencher.iter(|| policy.check(&user, &target, black_box(line))));
    }
    let stranger = User::new("nobody");
    group.bench_function("denied_stranger", |bencher| {
        bencher.iter(|| policy.check(&stranger, &target, black_box("systemctl status nginx")));
    });
    group.finish();

    let policy = crowded();
    let user = User::new("alice").role("ops");
    let target = Target::new("web-1").tag("web");
    let mut group = criterion.benchmark_group("command_check_1000_rules_for_one_role");
    group.throughput(Throughput::Elements(1));
    for (name, line) in [("allowed", "tool-42 run-542 x"), ("denied", "tool-42 run-543 x")] {
        group.bench_function(name, |bencher| bencher.iter(|| policy.check(&user, &target, black_box(line))));
    }
    group.finish();
}

criterion_group!(benches, command_check);
criterion_main!(benches);
