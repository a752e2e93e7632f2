//! What a rule permits besides commands at home: files, doors, directories; and what a session without a list of commands is.

use chrono::{DateTime, Utc};
use session_filter::{
    AbsolutePath, Directory, Door, Facts, FileAccess, Mode, OutputRecord, Policy, Target, User, Verdict,
};

fn policy(rest: &str) -> Policy {
    Policy::from_toml(&format!("[[permit]]\nusers = ['alice']\ntargets = ['*']\n{rest}\n"))
        .unwrap_or_else(|error| panic!("{error}"))
}

fn mistake(rest: &str) -> String {
    let text = format!("[[permit]]\nusers = ['alice']\ntargets = ['*']\n{rest}\n");
    Policy::from_toml(&text).expect_err(rest).to_string()
}

fn alice() -> (User, Target) {
    (User::new("alice"), Target::new("web-1"))
}

fn facts() -> Facts {
    Facts::at(DateTime::<Utc>::UNIX_EPOCH)
}

fn path(text: &str) -> AbsolutePath {
    AbsolutePath::parse(text).unwrap()
}

fn may(policy: &Policy, access: FileAccess, at: &str) -> bool {
    let (user, target) = alice();
    policy.file(&user, &target, access, &path(at), &facts()).is_ok()
}

fn opens(policy: &Policy, door: Door) -> bool {
    let (user, target) = alice();
    policy.open(&user, &target, &door, &facts()).is_ok()
}

fn check_in(policy: &Policy, line: &str, directory: &str) -> Verdict {
    let (user, target) = alice();
    let directory = match directory {
        "~" => Directory::Home,
        directory => Directory::At(path(directory)),
    };
    policy.check_in(&user, &target, line.as_bytes(), &directory, &facts())
}

fn sent(policy: &Policy, line: &str, directory: &str) -> String {
    match check_in(policy, line, directory) {
        Verdict::Allow(permit) => String::from_utf8(permit.bytes().to_vec()).unwrap(),
        Verdict::Deny(denial) => panic!("{denial}"),
    }
}

fn denied(policy: &Policy, line: &str, directory: &str) -> (&'static str, String) {
    match check_in(policy, line, directory) {
        Verdict::Allow(permit) => panic!("{permit:?}"),
        Verdict::Deny(denial) => (denial.code(), denial.to_string()),
    }
}

#[test]
fn each_access_has_paths_of_its_own() {
    let policy = policy(
        "[permit.files]\nread = ['/var/log/**']\nwrite = ['/srv/up/*']\nlist = ['/var/log/**', '/srv/up']\n\
         delete = ['/srv/up/*.tmp']\nrename = ['/srv/up/*']\nchmod = ['/srv/up/bin']\nlink = ['/srv/up/l*']",
    );
    use FileAccess::{Chmod, Delete, Link, List, Read, Rename, Stat, Write};
    for (access, at) in [
        (Read, "/var/log/nginx/error.log"),
        (Write, "/srv/up/x"),
        (List, "/srv/up"),
        (List, "/var/log"),
        (Delete, "/srv/up/x.tmp"),
        (Rename, "/srv/up/x"),
        (Chmod, "/srv/up/bin"),
        (Link, "/srv/up/l1"),
        (Stat, "/"),
        (Stat, "/srv"),
        (Stat, "/srv/up/x"),
    ] {
        assert!(may(&policy, access, at), "{access} {at}");
    }
    for (access, at) in [
        (Read, "/srv/up/x"),
        (Read, "/etc/passwd"),
        (Write, "/var/log/x"),
        (Write, "/srv/up"),
        (Write, "/srv/up/a/b"),
        (List, "/srv"),
        (Delete, "/srv/up/x"),
        (Chmod, "/srv/up/x"),
        (Link, "/srv/up/x"),
        (Stat, "/etc"),
        (Stat, "/srv/down"),
    ] {
        assert!(!may(&policy, access, at), "{access} {at}");
    }
    let (user, target) = alice();
    let refusal = policy.file(&user, &target, Read, &path("/etc/shadow"), &facts()).unwrap_err();
    assert_eq!(
        (refusal.code(), refusal.to_string().as_str()),
        ("path_not_permitted", "no rule permits to read `/etc/shadow`")
    );
}

#[test]
fn a_rule_of_files_or_doors_alone_admits_and_permits_no_command() {
    let policy = policy("[permit.files]\nread = ['/var/log/**']");
    let (user, target) = alice();
    let grant = policy.grant(&user, &target, &facts()).unwrap();
    assert_eq!(grant.mode, Mode::ExecOnly);
    assert_eq!(denied(&policy, "id", "~").0, "no_rule");
    assert!(denied(&policy, "id", "~").1.contains("`files`"), "{}", denied(&policy, "id", "~").1);
    assert!(policy.permitted(&user, &target, &facts()).is_empty());
    assert!(policy.grant(&User::new("bob"), &target, &facts()).is_none());
    assert!(!may(&policy, FileAccess::Write, "/var/log/x"));
    let bob = policy.file(&User::new("bob"), &target, FileAccess::Read, &path("/var/log/x"), &facts());
    assert!(bob.is_err());
}

#[test]
fn conditions_hold_for_files_doors_and_directories_as_for_commands() {
    let policy = policy(
        "mode = 'managed'\ncommands = ['ls *']\ndirectories = ['/srv']\nwhen = { networks = ['10.0.0.0/8'] }\n\
         [permit.files]\nread = ['/srv/**']\n[permit.doors]\nagent = true",
    );
    let (user, target) = alice();
    let inside = facts().source_ip([10, 0, 0, 1].into());
    let outside = facts().source_ip([192, 0, 2, 1].into());
    let srv = path("/srv");
    assert!(policy.file(&user, &target, FileAccess::Read, &srv, &inside).is_ok());
    assert!(policy.open(&user, &target, &Door::Agent, &inside).is_ok());
    assert!(policy.enter(&user, &target, &srv, &inside).is_ok());
    let refused = [
        policy.file(&user, &target, FileAccess::Read, &srv, &outside),
        policy.open(&user, &target, &Door::Agent, &outside),
        policy.enter(&user, &target, &srv, &outside),
    ];
    for refusal in refused {
        assert_eq!(refusal.unwrap_err().code(), "source_network");
    }
    let unmatched = policy.file(&user, &target, FileAccess::Read, &path("/etc"), &outside).unwrap_err();
    assert_eq!(unmatched.code(), "path_not_permitted");
}

#[test]
fn doors_open_for_what_they_name() {
    let policy = policy(
        "[permit.doors]\nlocal-forward = ['10.0.0.5:5432', 'db-*.example.org:8000-8100', '[2001:db8::1]:443', '*:25']\n\
         local-socket = ['/run/app.sock']\nremote-forward = ['127.0.0.1:8080', '192.0.2.7:0']\n\
         remote-socket = ['/tmp/alice/*']\nenv = ['LANG', 'LC_*']\nsubsystems = ['netconf']",
    );
    let local = |host: &str, port| opens(&policy, Door::LocalForward { host: host.to_owned(), port });
    for (host, port) in [
        ("10.0.0.5", 5432),
        ("::ffff:10.0.0.5", 5432),
        ("db-1.example.org", 8000),
        ("DB-1.Example.ORG", 8100),
        ("2001:db8:0::1", 443),
        ("anything", 25),
        ("::1", 25),
    ] {
        assert!(local(host, port), "{host} {port}");
    }
    for (host, port) in [
        ("10.0.0.5", 5433),
        ("10.0.0.50", 5432),
        ("db-1.example.org", 8101),
        ("db-1.example.org", 7999),
        ("db-1.evil.example.org", 8000),
        ("db-.x.example.org", 8000),
        ("db-1.example.org.evil.net", 8000),
        ("db-1.example.org.", 8000),
        ("2001:db8::2", 443),
        ("any thing", 25),
        ("", 25),
        ("any\u{1b}[2J", 25),
        ("10.0.0.5", 0),
    ] {
        assert!(!local(host, port), "{host} {port}");
    }
    let remote = |host: &str, port| opens(&policy, Door::RemoteForward { host: host.to_owned(), port });
    for (host, port) in [("127.0.0.1", 8080), ("localhost", 8080), ("::1", 8080), ("192.0.2.7", 0)] {
        assert!(remote(host, port), "{host} {port}");
    }
    for (host, port) in
        [("", 8080), ("0.0.0.0", 8080), ("127.0.0.1", 0), ("127.0.0.1", 8081), ("192.0.2.7", 80)]
    {
        assert!(!remote(host, port), "{host} {port}");
    }
    let socket = |path: &str| opens(&policy, Door::LocalSocket { path: path.to_owned() });
    assert!(socket("/run/app.sock"));
    for no in ["/run/other.sock", "/run//app.sock", "/run/x/../app.sock", "run/app.sock", ""] {
        assert!(!socket(no), "{no}");
    }
    assert!(opens(&policy, Door::RemoteSocket { path: "/tmp/alice/s".to_owned() }));
    assert!(!opens(&policy, Door::RemoteSocket { path: "/tmp/alice/../s".to_owned() }));
    let env = |name: &str| opens(&policy, Door::Environment { name: name.to_owned() });
    assert!(env("LANG") && env("LC_ALL"));
    assert!(!env("LANGUAGE") && !env("lang") && !env("LD_PRELOAD") && !env("LC_=x"));
    assert!(opens(&policy, Door::Subsystem { name: "netconf".to_owned() }));
    assert!(!opens(&policy, Door::Subsystem { name: "sftp".to_owned() }));
    assert!(!opens(&policy, Door::Agent) && !opens(&policy, Door::X11) && !opens(&policy, Door::LegacyScp));
}

#[test]
fn a_wildcard_never_passes_a_variable_that_runs_programs() {
    let policy = policy("[permit.doors]\nenv = ['P*', 'GIT_*', 'B*', 'E*']");
    let env = |name: &str| opens(&policy, Door::Environment { name: name.to_owned() });
    assert!(env("PROJECT") && env("GIT_AUTHOR_NAME") && env("BRANCH"));
    for name in [
        "PATH",
        "PAGER",
        "PYTHONPATH",
        "PERL5OPT",
        "GIT_SSH_COMMAND",
        "BASH_ENV",
        "ENV",
        "EDITOR",
        "PROMPT_COMMAND",
    ] {
        assert!(!env(name), "{name}");
    }
}

#[test]
fn mistakes_in_files_doors_and_directories_have_places() {
    for (rest, said) in [
        (
            "[permit.files]\nread = ['var/log']",
            "line 5, column 9: `read`: `var/log`: a path must be absolute",
        ),
        ("[permit.files]\nread = ['~/x']", "line 5, column 9: `read`: `~/x`: `~` is not known here"),
        (
            "[permit.files]\nread = ['/a', '/a/../b']",
            "line 5, column 15: `read`: `/a/../b`: a path cannot hold `.` or `..`",
        ),
        ("[permit.files]\nread = []", "line 5, column 8: `read` is empty"),
        ("[permit.files]", "line 4, column 1: `files` permits nothing"),
        ("files = 1", "line 4, column 9: `files` must be a table"),
        ("[permit.files]\nexecute = ['/a']", "line 5, column 1: `execute` is not a key of `files`"),
        ("[permit.doors]", "line 4, column 1: `doors` opens nothing"),
        ("[permit.doors]\nagent = 'yes'", "line 5, column 9: `agent` must be true or false"),
        (
            "[permit.doors]\nlocal-forward = ['db']",
            "line 5, column 18: `local-forward`: `db`: must be written as host:port",
        ),
        ("[permit.doors]\nlocal-forward = ['db:0']", "there is nothing to connect to on port 0"),
        ("[permit.doors]\nlocal-forward = ['db:9-8']", "the range of ports is empty"),
        ("[permit.doors]\nlocal-forward = ['::1:80']", "stands in brackets"),
        ("[permit.doors]\nlocal-forward = ['[::x]:80']", "no IPv6 address in the brackets"),
        ("[permit.doors]\nlocal-forward = ['a b:80']", "the host is neither a name"),
        ("[permit.doors]\nenv = ['LD_PRELOAD']", "line 5, column 8: `env`: `LD_PRELOAD`: never passed on"),
        ("[permit.doors]\nenv = ['LD_*']", "never passed on"),
        ("[permit.doors]\nenv = ['*']", "everything would be passed on"),
        ("[permit.doors]\nenv = ['A B']", "no variable's name"),
        ("[permit.doors]\nsubsystems = ['sftp']", "write [permit.files] instead"),
        (
            "commands = ['id']\ndirectories = ['/srv']",
            "line 5, column 15: `directories` means nothing without mode `managed`",
        ),
        (
            "mode = 'managed'\ncommands = ['id']\ndirectories = ['srv']",
            "line 6, column 16: `directories`: `srv`: a path must be absolute",
        ),
        ("mode = 'managed'", "line 1, column 1: `commands` is missing"),
        (
            "commands = ['id']\nrecord = 'some'",
            "line 5, column 10: `record` must be `off`, `digest` or `full`",
        ),
        ("commands = ['-x y']", "a program's name cannot begin with `-`"),
    ] {
        let mistake = mistake(rest);
        assert!(mistake.contains(said), "{rest}\n{mistake}\n{said}");
    }
    let many = "'/a',".repeat(session_filter::limits::RULE_ENTRIES_MAX + 1);
    assert!(mistake(&format!("[permit.files]\nread = [{many}]")).contains("has more than"));
}

#[test]
fn what_depends_on_the_directory_runs_where_its_rule_says() {
    let policy = policy(
        "mode = 'managed'\nlists = true\ndirectories = ['/srv/**']\n\
         commands = ['df -h', 'cat *', 'tail /var/log/*', './run', '/opt/bin/stat --all', 'tool ...', 'other a/b']\n\
         [[permit]]\nusers = ['alice']\ntargets = ['*']\ncommands = ['wc *', 'uptime']",
    );
    assert_eq!(sent(&policy, "cat notes", "~"), "'cat' 'notes'");
    assert_eq!(sent(&policy, "cat notes", "/srv/it's"), r"cd -- '/srv/it'\''s' && exec 'cat' 'notes'");
    assert_eq!(sent(&policy, "df -h; cat x", "/srv"), "cd -- '/srv' && { 'df' '-h' ; 'cat' 'x'; }");
    assert_eq!(sent(&policy, "stat --all", "/srv"), "cd -- '/srv' && exec '/opt/bin/stat' '--all'");
    // The second rule names no directory, so its wildcards mean home.
    assert_eq!(sent(&policy, "wc notes", "~"), "'wc' 'notes'");
    assert_eq!(sent(&policy, "uptime", "/srv"), "cd -- '/srv' && exec 'uptime'");
    assert_eq!(
        denied(&policy, "wc notes", "/srv"),
        (
            "directory_not_permitted",
            "`wc notes`: permitted only at home; no rule that permits it names `/srv` in `directories`"
                .to_owned()
        )
    );
    for line in ["df -h", "cat x", "tail /var/log/syslog", "./run", "tool x", "other a/b"] {
        assert!(check_in(&policy, line, "/srv/a").is_allowed(), "{line}");
        // A directory that nobody may enter: not even what means the same anywhere.
        assert_eq!(denied(&policy, line, "/etc").0, "directory_not_permitted", "{line}");
    }
    assert_eq!(denied(&policy, "rm x", "/srv").0, "no_rule");
    let (user, target) = alice();
    assert!(policy.enter(&user, &target, &path("/srv/a"), &facts()).is_ok());
    let refusal = policy.enter(&user, &target, &path("/etc"), &facts()).unwrap_err();
    assert_eq!(
        (refusal.code(), refusal.to_string().as_str()),
        ("directory_not_permitted", "no rule names `/etc` in `directories`")
    );
}

#[test]
fn where_no_rule_names_directories_one_may_go_anywhere_and_wildcards_stay_at_home() {
    let policy = policy(
        "mode = 'managed'\ncommands = ['df -h', 'cat *', 'tail /var/log/*', './run', 'cat ../x', 'cat a/b', 'du -s']",
    );
    let (user, target) = alice();
    assert!(policy.enter(&user, &target, &path("/etc"), &facts()).is_ok());
    for line in ["df -h", "tail /var/log/syslog", "du -s"] {
        assert!(check_in(&policy, line, "/etc").is_allowed(), "{line}");
    }
    for line in ["cat shadow", "./run", "cat ../x", "cat a/b"] {
        assert!(check_in(&policy, line, "~").is_allowed(), "{line}");
        let (code, said) = denied(&policy, line, "/etc");
        assert_eq!(code, "directory_not_permitted", "{line}");
        assert!(said.ends_with("permitted only at home; no rule names `/etc` in `directories`"), "{said}");
    }
}

#[test]
fn what_will_not_run_after_cd_is_warned_about_once() {
    let warnings = |rest: &str| -> Vec<String> {
        policy(rest).warnings().iter().map(|warning| warning.message.clone()).collect()
    };
    let said = warnings("mode = 'managed'\ncommands = ['df -h', 'cat *', 'wc *']");
    assert_eq!(
        said,
        ["`cat *` (and 1 more of this rule): permitted only at home, since the rule has no `directories`"]
    );
    assert!(warnings("mode = 'managed'\ncommands = ['df -h', 'cat /srv/*']").is_empty());
    assert!(warnings("mode = 'managed'\ndirectories = ['/srv']\ncommands = ['cat *']").is_empty());
    assert!(warnings("commands = ['cat *']").is_empty());
}

#[test]
fn only_managed_sessions_have_directories() {
    let policy = policy("commands = ['id']");
    let (user, target) = alice();
    assert_eq!(
        policy.enter(&user, &target, &path("/"), &facts()).unwrap_err().code(),
        "directory_not_permitted"
    );
}

#[test]
fn an_unrestricted_line_is_sent_as_it_came() {
    let policy = policy("mode = 'unrestricted'");
    let (user, target) = alice();
    let check = |line: &[u8]| policy.check_with(&user, &target, line, &facts());
    for line in [b"for i in 1 2; do echo $i > /tmp/x; done\n".as_slice(), b"\xff\x01\t", b"id"] {
        let Verdict::Allow(permit) = check(line) else { panic!("{line:?}") };
        assert_eq!((permit.bytes(), permit.line()), (line, line));
        assert_eq!((permit.rule(), permit.rule_line()), ("unrestricted", 1));
        assert!(permit.nested_uncontrolled() && permit.argv().is_empty() && permit.commands().count() == 0);
    }
    for (line, code) in [
        (b"a\0b".as_slice(), "control_character"),
        (b"", "empty"),
        (&[b'a'; session_filter::limits::LINE_BYTES_MAX + 1], "line_too_long"),
    ] {
        assert_eq!(check(line).denial().unwrap().code(), code);
    }
    assert_eq!(denied(&policy, "id", "/srv").0, "directory_not_permitted");
}

#[test]
fn a_list_keeps_every_line_checked_whoever_wrote_the_raw_rule() {
    let raw = "[[permit]]\nusers = ['role:admin']\ntargets = ['*']\nmode = 'unrestricted'\n";
    let user = User::new("alice").role("admin");
    let target = Target::new("web-1");
    for list in [
        "commands = ['id']",
        "commands = ['id']\nwhen = { networks = ['10.0.0.0/8'] }",
        "mode = 'managed'\ncommands = ['id']\nwhen = { until = 1969-01-01T00:00:00Z }",
        // States a mode, so it is a list, of nothing.
        "mode = 'exec-only'\n[permit.files]\nread = ['/srv']",
        "mode = 'managed'\n[permit.doors]\nagent = true\n",
    ] {
        let text = format!("{raw}[[permit]]\nusers = ['alice']\ntargets = ['*']\n{list}\n");
        let policy = Policy::from_toml(&text).unwrap_or_else(|error| panic!("{error}"));
        for line in ["rm -rf /", "echo $HOME", "x; y"] {
            let verdict = policy.check_with(&user, &target, line.as_bytes(), &facts());
            assert!(!verdict.is_allowed(), "{list}: {line}");
            assert!(!policy.check(&user, &target, line).is_allowed(), "{list}: {line}");
        }
        let mode = policy.grant(&user, &target, &facts()).map(|grant| grant.mode);
        assert_ne!(mode, Some(Mode::Unrestricted), "{list}");
        // Without the list the same user has a raw terminal.
        let bob = User::new("bob").role("admin");
        assert!(policy.check_with(&bob, &target, b"rm -rf /", &facts()).is_allowed());
    }
}

#[test]
fn files_and_doors_beside_a_raw_terminal_take_nothing_from_it_and_add_nothing_to_its_hours() {
    let text = "[[permit]]\nusers = ['alice']\ntargets = ['*']\nmode = 'unrestricted'\n\
                when = { until = 1970-01-01T01:00:00Z }\n\
                [[permit]]\nusers = ['alice']\ntargets = ['*']\n[permit.files]\nread = ['/srv/**']\n";
    let policy = Policy::from_toml(text).unwrap();
    let (user, target) = alice();
    let grant = policy.grant(&user, &target, &facts()).unwrap();
    assert_eq!(grant.mode, Mode::Unrestricted);
    assert_eq!(grant.valid_until.map(|end| end.timestamp()), Some(3600));
    assert!(policy.check_with(&user, &target, b"a > b", &facts()).is_allowed());
    let later = Facts::at(DateTime::from_timestamp(3600, 0).unwrap());
    let grant = policy.grant(&user, &target, &later).unwrap();
    assert_eq!((grant.mode, grant.valid_until), (Mode::ExecOnly, None));
    assert!(!policy.check_with(&user, &target, b"a > b", &later).is_allowed());
    assert!(policy.file(&user, &target, FileAccess::Read, &path("/srv/x"), &later).is_ok());
}

#[test]
fn output_is_not_kept_only_where_every_rule_says_so() {
    let (user, target) = alice();
    let record = |policy: &Policy| policy.grant(&user, &target, &facts()).unwrap().record;
    assert_eq!(record(&policy("commands = ['id']\nrecord = 'off'")), OutputRecord::Off);
    let files = "\n[[permit]]\nusers = ['alice']\ntargets = ['*']\n[permit.files]\nread = ['/a']";
    assert_eq!(record(&policy(&format!("commands = ['id']\nrecord = 'off'{files}"))), OutputRecord::Off);
    let more = "\n[[permit]]\nusers = ['alice']\ntargets = ['*']\ncommands = ['w']";
    assert_eq!(record(&policy(&format!("commands = ['id']\nrecord = 'off'{more}"))), OutputRecord::Digest);
    let Verdict::Allow(permit) = check_in(&policy("commands = ['id']\nrecord = 'off'"), "id", "~") else {
        panic!()
    };
    assert_eq!(permit.record(), OutputRecord::Off);
}

#[test]
fn what_is_acknowledged_to_run_others_is_said_to() {
    let policy = policy(
        "commands = ['vi /etc/motd', 'id', '/bin/sh -c *', 'find /srv -exec ls', 'chmod 600 /srv/key']\nlists = true\n\
         acknowledge = ['vi grants a shell', 'sh is a shell', 'find runs programs', 'chmod anything']",
    );
    let nested = |line: &str| check_in(&policy, line, "~").permit().unwrap().nested_uncontrolled();
    assert!(nested("vi /etc/motd") && nested("id; vi /etc/motd"));
    assert!(nested("/bin/sh -c 'echo hello'") && nested("find /srv -exec ls"));
    // Acknowledged for what it does to files.
    assert!(!nested("id") && !nested("chmod 600 /srv/key"));
}
