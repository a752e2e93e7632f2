//! Any text as a policy. It loads or its mistakes have places; what loads answers questions without panicking, and never
//! permits a line whose program it does not name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use session_filter::{AbsolutePath, Directory, Door, Facts, FileAccess, Mode, Policy, Target, User, Verdict};

fuzz_target!(|text: &str| {
    let policy = match Policy::from_toml(text) {
        Ok(policy) => policy,
        Err(error) => {
            assert!(!error.mistakes().is_empty());
            let lines = text.split('\n').count();
            assert!(
                error
                    .mistakes()
                    .iter()
                    .all(|mistake| (1..=lines).contains(&mistake.line) && mistake.column >= 1)
            );
            assert!(error.to_string().chars().all(|c| c == '\n' || !c.is_control()));
            return;
        }
    };
    let user = User::new("alice").role("vendor");
    let target = Target::new("web-1").tag("web");
    let now = chrono::DateTime::from_timestamp(1_800_000_000, 0).expect("a moment");
    let facts = Facts::at(now)
        .source_ip([10, 0, 0, 1].into())
        .country("IN")
        .reputation(50)
        .device("enrolled")
        .mfa_at(now)
        .risk(10);
    let grant = policy.grant(&user, &target, &facts);
    let permitted = policy.permitted(&user, &target, &facts);
    if let Some(grant) = &grant {
        assert!(grant.valid_until.is_none_or(|end| end > now));
        assert!(grant.limits.warn_before < grant.limits.idle);
        assert!(grant.mode != Mode::Unrestricted || permitted.is_empty());
    }
    for line in permitted.iter().map(String::as_str).chain(["id", "systemctl status nginx", "a | b"]) {
        if let Verdict::Allow(permit) = policy.check_with(&user, &target, line.as_bytes(), &facts) {
            assert!(grant.is_some());
            let is_raw = grant.as_ref().is_some_and(|grant| grant.mode == Mode::Unrestricted);
            assert!(is_raw == (permit.rule() == "unrestricted" && permit.argv().is_empty()));
            assert!(is_raw || permitted.iter().any(|pattern| pattern == permit.rule()));
        }
        for path in ["/", "/srv/x", "/var/log/nginx/error.log"].into_iter().filter_map(AbsolutePath::parse) {
            for access in [FileAccess::Read, FileAccess::Write, FileAccess::Delete] {
                if policy.file(&user, &target, access, &path, &facts).is_ok() {
                    assert!(policy.file(&user, &target, FileAccess::Stat, &path, &facts).is_ok());
                }
            }
            let may_enter = policy.enter(&user, &target, &path, &facts).is_ok();
            let here = Directory::At(path);
            if policy.check_in(&user, &target, line.as_bytes(), &here, &facts).is_allowed() {
                assert!(policy.check_with(&user, &target, line.as_bytes(), &facts).is_allowed());
                assert!(may_enter || grant.as_ref().is_some_and(|grant| grant.mode != Mode::Managed));
            }
        }
        for door in [
            Door::Agent,
            Door::LegacyScp,
            Door::Environment { name: line.to_owned() },
            Door::LocalForward { host: "db-1".to_owned(), port: 5432 },
            Door::RemoteForward { host: String::new(), port: 0 },
        ] {
            let _ = policy.open(&user, &target, &door, &facts);
        }
        let _ = policy.check(&user, &target, line);
    }
    let _ = policy.redact("password=hunter2");
});
