//! Conditions of rules, in virtual time and with given facts.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use session_filter::{Facts, Mode, OutputRecord, Policy, Target, User, Verdict};

fn when(condition: &str) -> Policy {
    let text = format!(
        "[[permit]]\nusers=[\"alice\"]\ntargets=[\"web-1\"]\ncommands=[\"id\"]\nwhen={{{condition}}}\n"
    );
    Policy::from_toml(&text).unwrap_or_else(|error| panic!("{error}"))
}

fn moment(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().with_timezone(&Utc)
}

fn refusal(policy: &Policy, facts: &Facts) -> Option<&'static str> {
    let (alice, web) = (User::new("alice"), Target::new("web-1"));
    let admitted = policy.try_grant(&alice, &web, facts);
    let verdict = policy.check_with(&alice, &web, b"id", facts);
    assert_eq!(admitted.is_ok(), verdict.is_allowed(), "door and command disagree");
    assert_eq!(policy.permitted(&alice, &web, facts).is_empty(), admitted.is_err());
    let refusal = admitted.err()?;
    assert_eq!(Some(refusal.code()), verdict.denial().map(|denial| denial.code()));
    Some(refusal.code())
}

fn holds_at(policy: &Policy, text: &str) -> bool {
    refusal(policy, &Facts::at(moment(text))).is_none()
}

fn valid_until(policy: &Policy, text: &str) -> Option<DateTime<Utc>> {
    policy.grant(&User::new("alice"), &Target::new("web-1"), &Facts::at(moment(text))).unwrap().valid_until
}

#[test]
fn office_hours_follow_the_zone() {
    let policy = when(r#"days="mon-fri", hours="08:00-18:00", zone="Asia/Kolkata""#);
    // 2026-01-30 is a Friday; India is 5:30 ahead of UTC.
    assert!(!holds_at(&policy, "2026-01-30T02:29:59Z"));
    assert!(holds_at(&policy, "2026-01-30T02:30:00Z"));
    assert!(holds_at(&policy, "2026-01-30T12:29:59.999Z"));
    assert!(!holds_at(&policy, "2026-01-30T12:30:00Z"));
    assert!(!holds_at(&policy, "2026-01-31T06:00:00Z"));
    // Sunday evening in London is Monday morning in Kolkata.
    assert!(holds_at(&policy, "2026-02-02T03:00:00Z"));
    assert_eq!(valid_until(&policy, "2026-01-30T05:12:34Z"), Some(moment("2026-01-30T12:30:00Z")));
}

#[test]
fn a_window_past_midnight_belongs_to_the_day_it_began_on() {
    let policy = when(r#"days="fri", hours="22:00-06:00""#);
    assert!(!holds_at(&policy, "2026-01-30T05:00:00Z"));
    assert!(holds_at(&policy, "2026-01-30T22:00:00Z"));
    assert!(holds_at(&policy, "2026-01-31T05:59:00Z"));
    assert!(!holds_at(&policy, "2026-01-31T06:00:00Z"));
    assert!(!holds_at(&policy, "2026-01-31T23:00:00Z"));
    assert_eq!(valid_until(&policy, "2026-01-30T23:00:00Z"), Some(moment("2026-01-31T06:00:00Z")));
}

#[test]
fn windows_that_touch_are_one_window() {
    let policy = when(r#"days="mon-fri""#);
    assert_eq!(valid_until(&policy, "2026-01-28T12:00:00Z"), Some(moment("2026-01-31T00:00:00Z")));
    let policy = when(r#"days="mon-sun", hours="00:00-24:00""#);
    assert_eq!(valid_until(&policy, "2026-01-28T12:00:00Z"), None);
    let policy = when(r#"hours="12:00-11:58""#);
    assert_eq!(valid_until(&policy, "2026-01-28T12:00:00Z"), Some(moment("2026-01-29T11:58:00Z")));
}

#[test]
fn windows_end_when_clocks_are_put_forward_over_their_end() {
    // Berlin skips 02:00 to 03:00 on 2026-03-29: a window until 02:30 ends when the hour is skipped.
    let policy = when(r#"hours="01:00-02:30", zone="Europe/Berlin""#);
    assert_eq!(valid_until(&policy, "2026-03-29T00:30:00Z"), Some(moment("2026-03-29T01:00:00Z")));
    // It repeats 02:00 to 03:00 on 2026-10-25: the window until 02:30 ends at the first 02:30 and opens again.
    assert_eq!(valid_until(&policy, "2026-10-25T00:00:00Z"), Some(moment("2026-10-25T00:30:00Z")));
    assert!(!holds_at(&policy, "2026-10-25T00:45:00Z"));
    assert!(holds_at(&policy, "2026-10-25T01:15:00Z"));
}

#[test]
fn an_approved_window_opens_and_closes() {
    let policy = when(r#"from=2026-01-31T09:00:00+05:30, until="2026-01-31T10:00:00+05:30""#);
    assert!(!holds_at(&policy, "2026-01-31T03:29:59Z"));
    assert!(holds_at(&policy, "2026-01-31T03:30:00Z"));
    assert!(!holds_at(&policy, "2026-01-31T04:30:00Z"));
    assert_eq!(valid_until(&policy, "2026-01-31T04:00:00Z"), Some(moment("2026-01-31T04:30:00Z")));
}

#[test]
fn networks_are_compared_by_address_even_when_mapped() {
    let policy = when(r#"networks=["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]"#);
    let from = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        refusal(&policy, &Facts::at(DateTime::UNIX_EPOCH).source_ip(address))
    };
    for inside in ["10.1.2.3", "192.0.2.7", "2001:db8::1", "::ffff:10.9.9.9"] {
        assert_eq!(from(inside), None, "{inside}");
    }
    for outside in ["11.1.2.3", "192.0.2.8", "2001:db9::1", "::ffff:11.9.9.9", "::10.1.2.3"] {
        assert_eq!(from(outside), Some("source_network"), "{outside}");
    }
}

#[test]
fn unknown_facts_keep_the_door_shut() {
    let now = Facts::at(DateTime::UNIX_EPOCH);
    for (condition, code) in [
        (r#"networks=["0.0.0.0/0"]"#, "source_network"),
        (r#"countries=["IN"]"#, "country"),
        (r#"reputation_min=0"#, "reputation"),
        (r#"device="enrolled""#, "device"),
        (r#"mfa_within="15m""#, "mfa_age"),
        (r#"risk_max=100"#, "risk"),
    ] {
        assert_eq!(refusal(&when(condition), &now), Some(code), "{condition}");
    }
}

#[test]
fn known_facts_are_weighed() {
    let now = || Facts::at(DateTime::UNIX_EPOCH);
    let country = when(r#"countries=["IN","DE"]"#);
    assert_eq!(refusal(&country, &now().country("DE")), None);
    assert_eq!(refusal(&country, &now().country("US")), Some("country"));
    let reputation = when("reputation_min=50");
    assert_eq!(refusal(&reputation, &now().reputation(50)), None);
    assert_eq!(refusal(&reputation, &now().reputation(49)), Some("reputation"));
    let device = when(r#"device=["enrolled","managed"]"#);
    assert_eq!(refusal(&device, &now().device("managed")), None);
    assert_eq!(refusal(&device, &now().device("revoked")), Some("device"));
    let risk = when("risk_max=30");
    assert_eq!(refusal(&risk, &now().risk(30)), None);
    assert_eq!(refusal(&risk, &now().risk(31)), Some("risk"));
}

#[test]
fn a_second_factor_ages_and_one_from_the_future_does_not_count() {
    let policy = when(r#"mfa_within="15m""#);
    let passed = moment("2026-01-31T09:00:00Z");
    let at = |seconds: i64| Facts::at(passed + TimeDelta::seconds(seconds)).mfa_at(passed);
    assert_eq!(refusal(&policy, &at(0)), None);
    assert_eq!(refusal(&policy, &at(900)), None);
    assert_eq!(refusal(&policy, &at(901)), Some("mfa_age"));
    assert_eq!(refusal(&policy, &at(-30)), None);
    assert_eq!(refusal(&policy, &at(-31)), Some("mfa_age"));
    let grant = policy.grant(&User::new("alice"), &Target::new("web-1"), &at(10)).unwrap();
    assert_eq!(grant.valid_until, Some(passed + TimeDelta::milliseconds(900_001)));
}

#[test]
fn without_facts_a_rule_with_conditions_does_not_hold_and_the_denial_says_so() {
    let policy = when(r#"days="mon-sun""#);
    let Verdict::Deny(denial) = policy.check(&User::new("alice"), &Target::new("web-1"), "id") else {
        panic!("permitted")
    };
    assert_eq!(denial.code(), "facts_unknown");
    assert!(denial.to_string().contains("neither time nor source is known"), "{denial}");
}

#[test]
fn the_terms_of_a_session_come_from_all_rules_in_force() {
    let policy = Policy::from_toml(
        r#"
        [[permit]]
        users = ["alice"]
        targets = ["web-1"]
        commands = ["id"]
        idle = "10m"

        [[permit]]
        users = ["role:vendor"]
        targets = ["tag:web"]
        mode = "managed"
        commands = ["df"]
        idle = "1h"
        longest = "2h"
        warn = "5m"
        record = "full"

        [[permit]]
        users = ["role:admin"]
        targets = ["*"]
        mode = "unrestricted"
        "#,
    )
    .unwrap();
    let facts = Facts::at(DateTime::UNIX_EPOCH);
    let web = Target::new("web-1").tag("web");
    let grant = policy.grant(&User::new("alice"), &web, &facts).unwrap();
    assert_eq!((grant.mode, grant.record), (Mode::ExecOnly, OutputRecord::Digest));
    assert_eq!(grant.limits.idle, Duration::from_secs(600));
    assert_eq!(grant.limits.longest, Duration::from_secs(8 * 3600));
    assert_eq!(grant.limits.warn_before, Duration::from_secs(60));

    let grant = policy.grant(&User::new("alice").role("vendor"), &web, &facts).unwrap();
    assert_eq!((grant.mode, grant.record), (Mode::Managed, OutputRecord::Full));
    assert_eq!(grant.limits.idle, Duration::from_secs(600));
    assert_eq!(grant.limits.longest, Duration::from_secs(7200));
    assert_eq!(grant.limits.warn_before, Duration::from_secs(300));

    assert_eq!(
        policy.grant(&User::new("root").role("admin"), &web, &facts).unwrap().mode,
        Mode::Unrestricted
    );
    // A list of commands is never combined with a raw terminal, whatever roles come together.
    assert_eq!(policy.grant(&User::new("alice").role("admin"), &web, &facts).unwrap().mode, Mode::ExecOnly);
    assert!(policy.grant(&User::new("bob"), &web, &facts).is_none());
}

#[test]
fn a_list_whose_hours_are_over_does_not_leave_a_raw_terminal() {
    let policy = Policy::from_toml(
        r#"
        [[permit]]
        users = ["alice"]
        targets = ["web-1"]
        commands = ["id"]
        when = { hours = "08:00-18:00" }

        [[permit]]
        users = ["role:admin"]
        targets = ["web-1"]
        mode = "unrestricted"
        "#,
    )
    .unwrap();
    let web = Target::new("web-1");
    let midnight = Facts::at(DateTime::UNIX_EPOCH);
    assert!(policy.grant(&User::new("alice").role("admin"), &web, &midnight).is_none());
    assert_eq!(
        policy.grant(&User::new("root").role("admin"), &web, &midnight).unwrap().mode,
        Mode::Unrestricted
    );
}

#[test]
fn a_session_lasts_as_long_as_the_last_of_its_rules() {
    let policy = Policy::from_toml(
        r#"
        [[permit]]
        users = ["alice"]
        targets = ["web-1"]
        commands = ["id"]
        when = { hours = "08:00-18:00" }

        [[permit]]
        users = ["alice"]
        targets = ["web-1"]
        commands = ["df"]
        when = { hours = "08:00-12:00" }
        "#,
    )
    .unwrap();
    assert_eq!(valid_until(&policy, "2026-01-28T09:00:00Z"), Some(moment("2026-01-28T18:00:00Z")));
    let (alice, web) = (User::new("alice"), Target::new("web-1"));
    let facts = Facts::at(moment("2026-01-28T13:00:00Z"));
    assert_eq!(policy.permitted(&alice, &web, &facts), ["id"]);
    let Verdict::Deny(denial) = policy.check_with(&alice, &web, b"df", &facts) else { panic!("permitted") };
    assert_eq!(denial.code(), "outside_time_window");
    assert_eq!(denial.to_string(), "`df`: a rule permits it, but not at this time");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_window_holds_until_it_ends_and_not_at_its_end(
        start in 0u32..1440, end in 0u32..=1440, days in 1u8..128, zone in 0usize..6, seconds in 0i64..400 * 86_400,
    ) {
        prop_assume!(start != end);
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let days: Vec<&str> = (0..7).filter(|day| days & (1 << day) != 0).map(|day| names[day]).collect();
        let zone = ["UTC", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Europe/Dublin"][zone];
        let clock = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
        let policy = when(&format!(
            r#"days="{}", hours="{}-{}", zone="{zone}""#, days.join(","), clock(start), clock(end),
        ));
        let now = moment("2026-01-01T00:00:00Z") + TimeDelta::seconds(seconds);
        let admit = |now| policy.grant(&User::new("alice"), &Target::new("web-1"), &Facts::at(now));
        if let Some(grant) = admit(now) && let Some(end) = grant.valid_until {
            prop_assert!(end > now);
            prop_assert!(admit(end).is_none());
            prop_assert!(admit(end - TimeDelta::seconds(1)).is_some());
            let middle = now + (end - now) / 2;
            prop_assert_eq!(admit(middle).unwrap().valid_until, Some(end));
        }
    }
}
