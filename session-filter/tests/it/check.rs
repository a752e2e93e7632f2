//! From a line to a permit or a denial.

use session_filter::{OutputRecord, Policy, Target, User, Verdict};

fn policy(text: &str) -> Policy {
    match Policy::from_toml(text) {
        Ok(policy) => policy,
        Err(error) => panic!("{error}"),
    }
}

fn rule(commands: &str) -> Policy {
    policy(&format!("[[permit]]\nusers = [\"alice\"]\ntargets = [\"web-1\"]\ncommands = [{commands}]\n"))
}

fn ask(policy: &Policy, line: &str) -> Verdict {
    policy.check(&User::new("alice"), &Target::new("web-1"), line)
}

fn denied(policy: &Policy, line: &str) -> (&'static str, String) {
    match ask(policy, line) {
        Verdict::Deny(denial) => (denial.code(), denial.to_string()),
        Verdict::Allow(permit) => panic!("`{line}` was permitted by {permit:?}"),
    }
}

fn sent(policy: &Policy, line: &str) -> String {
    match ask(policy, line) {
        Verdict::Allow(permit) => String::from_utf8(permit.bytes().to_vec()).unwrap(),
        Verdict::Deny(denial) => panic!("{denial}"),
    }
}

#[test]
fn sends_the_words_that_were_checked_each_in_quotes() {
    let policy = rule(r#""systemctl status *""#);
    assert_eq!(sent(&policy, r#"  systemctl   "status" ngi'n'x "#), "'systemctl' 'status' 'nginx'");
    let Verdict::Allow(permit) = ask(&policy, "systemctl status 'o'\\''clock'") else { panic!("denied") };
    assert_eq!(permit.argv(), ["systemctl", "status", "o'clock"]);
    assert_eq!(permit.bytes(), br"'systemctl' 'status' 'o'\''clock'");
    assert_eq!(permit.rule(), "systemctl status *");
    assert_eq!(permit.rule_line(), 4);
    assert_eq!(permit.line(), b"systemctl status 'o'\\''clock'");
    assert_eq!(permit.record(), OutputRecord::Digest);
}

#[test]
fn says_which_word_no_rule_permits_and_what_could_stand_there() {
    let policy = rule(r#""systemctl status *", "journalctl -u nginx", "df -h", "systemctl is-active nginx""#);
    assert_eq!(
        denied(&policy, "systemctl restart nginx"),
        (
            "no_rule",
            "`systemctl restart nginx`: no rule permits `restart`; permitted: status, is-active".to_owned()
        )
    );
    assert_eq!(
        denied(&policy, "rm -rf /").1,
        "`rm -rf /`: no rule permits `rm`; permitted: systemctl, journalctl, df"
    );
    assert_eq!(denied(&policy, "df -h /").1, "`df -h /`: no rule permits `/`; permitted: nothing more");
    assert_eq!(
        denied(&policy, "systemctl").1,
        "`systemctl`: no rule permits it without a further argument; permitted: status, is-active"
    );
}

#[test]
fn options_do_not_pass_for_operands() {
    let policy = rule(r#""systemctl status *", "cat /var/log/**""#);
    for line in [
        "systemctl status -Hevil",
        "systemctl status --host=evil",
        "systemctl status '-Hevil'",
        "systemctl status ''",
        "systemctl status a b",
        "systemctl",
        "cat /var/log/../../etc/shadow",
        "cat /var/log/..",
    ] {
        assert_eq!(denied(&policy, line).0, "no_rule", "{line}");
    }
    assert_eq!(sent(&policy, "cat /var/log/nginx/error.log"), "'cat' '/var/log/nginx/error.log'");
}

#[test]
fn an_allowed_word_elsewhere_in_the_line_permits_nothing() {
    let policy = rule(r#""df -h", "uptime""#);
    for line in [
        "rm df -h",
        "rm -rf / df -h",
        "xdf -h",
        "df -hx",
        "dfx -h",
        "df",
        "-h df",
        "'df -h'",
        "uptimeuptime",
        "DF -h",
    ] {
        assert_eq!(denied(&policy, line).0, "no_rule", "{line}");
    }
}

#[test]
fn the_programs_name_stands_for_the_absolute_path_that_is_sent() {
    let policy = rule(r#""/usr/bin/df -h", "uptime""#);
    assert_eq!(sent(&policy, "df -h"), "'/usr/bin/df' '-h'");
    assert_eq!(sent(&policy, "/usr/bin/df -h"), "'/usr/bin/df' '-h'");
    assert_eq!(sent(&policy, "uptime"), "'uptime'");
    for line in
        ["/bin/df -h", "./df -h", "bin/df -h", "/usr/bin/uptime", "/usr/bin/../bin/df -h", "//usr/bin/df -h"]
    {
        assert_eq!(denied(&policy, line).0, "no_rule", "{line}");
    }
}

#[test]
fn any_rest_takes_everything_and_only_at_the_end() {
    let policy = rule(r#""echo ...", "ls -l ...""#);
    assert_eq!(sent(&policy, "echo"), "'echo'");
    assert_eq!(sent(&policy, "echo -n '' ../x '; rm'"), "'echo' '-n' '' '../x' '; rm'");
    assert_eq!(sent(&policy, "ls -l"), "'ls' '-l'");
    assert_eq!(denied(&policy, "ls").0, "no_rule");
}

#[test]
fn commands_are_joined_only_where_their_rules_permit_it() {
    let policy = policy(
        r#"
        [[permit]]
        users = ["alice"]
        targets = ["web-1"]
        commands = ["uptime", "df -h"]

        [[permit]]
        users = ["alice"]
        targets = ["web-1"]
        commands = ["dmesg", "wc -l"]
        pipelines = true

        [[permit]]
        users = ["alice"]
        targets = ["web-1"]
        commands = ["true", "id"]
        lists = true
        record = "full"
        "#,
    );
    assert_eq!(sent(&policy, "dmesg|wc -l"), "'dmesg' | 'wc' '-l'");
    assert_eq!(sent(&policy, "true&&id;id||true"), "'true' && 'id' ; 'id' || 'true'");
    assert_eq!(denied(&policy, "uptime; df -h").0, "list_not_permitted");
    assert_eq!(denied(&policy, "uptime | df -h").0, "pipeline_not_permitted");
    assert_eq!(
        denied(&policy, "uptime | df -h").1,
        "`uptime | df -h`: no rule permits joining commands with `|` here (byte 7)"
    );
    assert_eq!(denied(&policy, "dmesg && wc -l").0, "list_not_permitted");
    assert_eq!(denied(&policy, "id | id").0, "pipeline_not_permitted");
    assert_eq!(denied(&policy, "dmesg | wc -l ; id").0, "list_not_permitted");
    // Every part is checked, not only the first.
    assert_eq!(denied(&policy, "id && rm -rf /").0, "no_rule");
    assert_eq!(denied(&policy, "dmesg | sh").0, "no_rule");
    for (line, code) in [
        ("id &", "background"),
        ("id & id", "background"),
        ("id;", "empty"),
        ("; id", "empty"),
        ("id ;; id", "empty"),
        ("id && ", "empty"),
        ("| id", "empty"),
    ] {
        assert_eq!(denied(&policy, line).0, code, "{line}");
    }
    let Verdict::Allow(permit) = ask(&policy, "id && true") else { panic!("denied") };
    assert_eq!(permit.commands().collect::<Vec<_>>(), [["id"], ["true"]]);
    assert_eq!(permit.record(), OutputRecord::Full);
    assert_eq!(permit.rules().map(|(pattern, _)| pattern).collect::<Vec<_>>(), ["id", "true"]);
}

#[test]
fn finds_a_later_rule_that_permits_the_joint() {
    let policy = policy(
        r#"
        [[permit]]
        users = ["*"]
        targets = ["*"]
        commands = ["uptime"]

        [[permit]]
        users = ["alice"]
        targets = ["web-1"]
        commands = ["uptime"]
        lists = true
        "#,
    );
    let Verdict::Allow(permit) = ask(&policy, "uptime; uptime") else { panic!("denied") };
    assert_eq!(permit.rule_line(), 10);
    let Verdict::Allow(permit) = ask(&policy, "uptime") else { panic!("denied") };
    assert_eq!(permit.rule_line(), 5);
}

#[test]
fn commands_of_different_rules_are_not_joined() {
    let rule = |rest: &str| format!("[[permit]]\nusers=['alice']\ntargets=['web-1']\n{rest}\n");
    let reads = "commands=['cat /var/log/*', 'uptime']";
    let apart = policy(&format!(
        "{}{}{}",
        rule(&format!("{reads}\npipelines=true\nlists=true")),
        rule("commands=['wc -l', 'id']\npipelines=true\nlists=true\nrecord='full'"),
        rule("commands=['cat /var/log/x', 'wc -l', 'df']\npipelines=true"),
    ));
    // The third rule permits both, though each has a pattern in an earlier one.
    let Verdict::Allow(permit) = ask(&apart, "cat /var/log/x | wc -l") else { panic!("denied") };
    assert_eq!(permit.rules().collect::<Vec<_>>(), [("cat /var/log/x", 17), ("wc -l", 17)]);
    assert_eq!(
        permit.record(),
        OutputRecord::Digest,
        "the rule that wants everything kept has no part in it"
    );
    for (line, code, position) in [
        ("cat /var/log/y | wc -l", "pipeline_not_permitted", 15),
        ("uptime; id", "list_not_permitted", 6),
        ("uptime && cat /var/log/y | wc -l", "list_not_permitted", 7),
        ("uptime | wc -l && id", "pipeline_not_permitted", 7),
        ("cat /var/log/x | wc -l | id", "pipeline_not_permitted", 15),
    ] {
        let Verdict::Deny(denial) = ask(&apart, line) else { panic!("`{line}` was permitted") };
        assert_eq!((denial.code(), denial.position()), (code, Some(position)), "{line}");
    }
    assert_eq!(
        denied(&apart, "uptime; id").1,
        "`uptime; id`: each command is permitted, but no one rule permits all of them together (byte 6)"
    );
}

#[test]
fn a_rule_that_is_not_in_force_joins_nothing() {
    let policy = policy(
        "[[permit]]\nusers=['alice']\ntargets=['*']\ncommands=['id', 'df']\nlists=true\nwhen={until=1971-01-01T00:00:00Z}\n\
         [[permit]]\nusers=['alice']\ntargets=['*']\ncommands=['id']\nlists=true\n\
         [[permit]]\nusers=['alice']\ntargets=['*']\ncommands=['df']\nlists=true\n",
    );
    let at = |seconds| {
        let facts = session_filter::Facts::at(chrono::DateTime::from_timestamp(seconds, 0).unwrap());
        policy.check_with(&User::new("alice"), &Target::new("web-1"), b"id; df", &facts)
    };
    assert!(at(0).is_allowed());
    assert_eq!(at(1_000_000_000).denial().unwrap().code(), "list_not_permitted");
}

#[test]
fn rules_name_users_roles_targets_and_tags() {
    let policy = policy(
        r#"
        [[permit]]
        users = ["alice", "role:vendor"]
        targets = ["web-1", "tag:web"]
        commands = ["uptime"]

        [[permit]]
        users = ["*"]
        targets = ["jump"]
        commands = ["id"]
        "#,
    );
    let may = |user: &User, target: &Target, line: &str| policy.check(user, target, line).is_allowed();
    let vendor = User::new("bob").role("vendor");
    let web = Target::new("web-7").tag("web");
    assert!(may(&User::new("alice"), &Target::new("web-1"), "uptime"));
    assert!(may(&vendor, &web, "uptime"));
    assert!(may(&User::new("carol"), &Target::new("jump"), "id"));
    assert!(!may(&User::new("bob"), &web, "uptime"));
    assert!(!may(&vendor, &Target::new("web-7"), "uptime"));
    assert!(!may(&vendor, &web, "id"));
    // A name cannot pass for a role, a tag or everyone.
    assert!(!may(&User::new("role:vendor"), &web, "uptime"));
    assert!(!may(&User::new("vendor"), &web, "uptime"));
    assert!(!may(&User::new("x").role("alice"), &web, "uptime"));
    assert!(!may(&vendor, &Target::new("tag:web"), "uptime"));
    assert!(!may(&vendor, &Target::new("*"), "uptime"));
    assert!(!may(&User::new("*"), &web, "uptime"));
    let Verdict::Deny(denial) = policy.check(&User::new("bob"), &web, "uptime") else { panic!("permitted") };
    assert_eq!(denial.code(), "no_entry");
    assert_eq!(denial.to_string(), "`uptime`: no rule permits `bob` anything on `web-7`");
}

#[test]
fn an_empty_policy_denies_everyone() {
    let policy = policy("");
    assert_eq!(denied(&policy, "true").0, "no_entry");
    assert_eq!(policy.warnings().len(), 1);
}

#[test]
fn a_raw_terminal_has_no_list_to_check_single_commands_against() {
    let policy = policy("[[permit]]\nusers = [\"alice\"]\ntargets = [\"*\"]\nmode = \"unrestricted\"\n");
    assert_eq!(sent(&policy, "id > /tmp/x"), "id > /tmp/x");
}

#[test]
fn denials_cannot_act_on_the_terminal_that_shows_them() {
    let policy = rule(r#""uptime""#);
    let user = User::new("alice\x1b[2J");
    let Verdict::Deny(denial) =
        policy.check(&user, &Target::new("web-1"), "ls \x1b]0;pwned\x07 \u{202e}x\u{9b}1m")
    else {
        panic!("permitted")
    };
    let shown = denial.to_string();
    assert_eq!(denial.code(), "control_character");
    assert_eq!(denial.position(), Some(3));
    assert!(shown.starts_with(r"`ls \u{1b}]0;pwned\u{7} \u{202e}x\u{9b}1m`: "), "{shown}");
    let Verdict::Deny(denial) = policy.check(&user, &Target::new("web-1"), "id") else { panic!("permitted") };
    assert!(!denial.to_string().contains('\x1b'));
}

#[test]
fn long_denied_lines_are_cut_when_shown() {
    let policy = rule(r#""uptime""#);
    let line = format!("cat {}", "é".repeat(4000));
    let (code, shown) = denied(&policy, &line);
    assert_eq!(code, "no_rule");
    assert!(shown.len() < 400, "{} bytes", shown.len());
    assert!(shown.contains('…'));
    let (code, _) = denied(&policy, &"x".repeat(16 * 1024 + 1));
    assert_eq!(code, "line_too_long");
}

#[test]
fn neither_permit_nor_denial_shows_arguments_in_debug() {
    let policy = rule(r#""mytool --password=*""#);
    let permit = ask(&policy, "mytool --password=hunter2").permit().unwrap();
    assert!(!format!("{permit:?}").contains("hunter2"));
    assert!(format!("{permit:?}").contains("mytool"));
    let denial = ask(&policy, "mytool --user=hunter2").denial().unwrap();
    assert!(!format!("{denial:?}").contains("hunter2"));
    let line = session_filter::grammar::lex(b"mytool --user=hunter2").unwrap();
    assert!(!format!("{line:?}").contains("hunter2"));
}

#[test]
fn hides_what_the_policy_says_is_secret() {
    let policy = policy(r#"redact = ['(?i)password=\S+', 'ghp_[A-Za-z0-9]+']"#);
    let redacted = policy.redact("mysql --PASSWORD=hunter2 -e x ghp_abc123");
    assert_eq!(redacted.text, "mysql --[redacted] -e x [redacted]");
    assert!(redacted.changed);
    assert!(!policy.redact("df -h").changed);
}

#[test]
fn every_grammar_refusal_comes_with_name_and_place() {
    let policy = rule(r#""echo ...""#);
    for (line, code, position) in [
        (&b"echo $HOME"[..], "expansion", 5),
        (b"echo \"a$(id)\"", "expansion", 7),
        (b"echo `id`", "expansion", 5),
        (b"echo $'a'", "expansion", 5),
        (b"echo a*", "glob", 6),
        (b"echo a?", "glob", 6),
        (b"echo [a]", "glob", 5),
        (b"echo {a,b}", "brace", 5),
        (b"echo ~", "tilde", 5),
        (b"echo a=~", "tilde", 7),
        (b"echo #x", "comment", 5),
        (b"echo !!", "history", 5),
        (b"echo \"!!\"", "history", 6),
        (b"echo >x", "redirect", 5),
        (b"echo 2>&1", "redirect", 6),
        (b"echo <x", "redirect", 5),
        (b"echo &>x", "redirect", 5),
        (b"echo |& cat", "redirect", 5),
        (b"echo <<x", "here_doc", 5),
        (b"echo <<<x", "here_doc", 5),
        (b"echo <(id)", "process_substitution", 5),
        (b"echo >(id)", "process_substitution", 5),
        (b"(echo)", "subshell", 0),
        (b"echo() { id; }", "subshell", 4),
        (b"echo & id", "background", 5),
        (b"A=b echo", "assignment", 0),
        (b"PATH=/tmp", "assignment", 0),
        (b"if echo", "reserved_word", 0),
        (b"time echo", "reserved_word", 0),
        (b"echo 'a", "unbalanced_quote", 5),
        (b"echo \"a", "unbalanced_quote", 5),
        (b"echo a\\", "escape", 6),
        (b"echo \"a\\\"\"", "escape", 7),
        (b"echo \\\xc3\xa9", "escape", 5),
        (b"echo a\nid", "newline", 6),
        (b"echo 'a\rid'", "newline", 7),
        (b"echo\tid", "control_character", 4),
        (b"echo \x00", "control_character", 5),
        (b"echo \x7f", "control_character", 5),
        (b"echo \x03", "control_character", 5),
        (b"echo '\x1b[A'", "control_character", 6),
        (b"echo \xc2\x9b", "control_character", 5),
        (b"echo \xff", "not_utf8", 5),
        (b"echo \xc0\xaf", "not_utf8", 5),
        (b"echo \xed\xa0\x80", "not_utf8", 5),
        ("echo \u{202e}x".as_bytes(), "invisible_character", 5),
        ("echo '\u{200b}'".as_bytes(), "invisible_character", 6),
        ("echo\u{a0}x".as_bytes(), "invisible_character", 4),
        ("echo\u{3000}x".as_bytes(), "invisible_character", 4),
        ("echo \u{e000}".as_bytes(), "invisible_character", 5),
        ("echo \u{fffe}".as_bytes(), "invisible_character", 5),
        ("echo \u{fe0f}".as_bytes(), "invisible_character", 5),
        ("echo \u{3164}".as_bytes(), "invisible_character", 5),
        ("echo \u{2028}".as_bytes(), "invisible_character", 5),
        ("echo \u{e0041}".as_bytes(), "invisible_character", 5),
        ("echo \u{0378}".as_bytes(), "invisible_character", 5),
        (b"", "empty", 0),
        (b"   ", "empty", 3),
        (b"'' x", "empty", 0),
    ] {
        let facts = session_filter::Facts::at(chrono::DateTime::UNIX_EPOCH);
        let shown = String::from_utf8_lossy(line);
        match policy.check_with(&User::new("alice"), &Target::new("web-1"), line, &facts) {
            Verdict::Deny(denial) => {
                assert_eq!((denial.code(), denial.position()), (code, Some(position)), "{shown:?}")
            }
            Verdict::Allow(_) => panic!("{shown:?} was permitted"),
        }
    }
    for line in [
        "echo 'a$b`c*?[]{}~#!<>()&|;\\'",
        "echo a=b file~ a:b~ a=b~ HEAD~1 a#b \\$HOME \\* x^y %1 @ + , : é 漢字 Ünïcode",
    ] {
        assert!(ask(&policy, line).is_allowed(), "{line}");
    }
}
