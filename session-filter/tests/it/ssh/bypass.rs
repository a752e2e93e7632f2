//! The bypass corpus, kept for ever: every known way around a permitted-command list, through a real client.
//!
//! Each line tries to leave a mark. First a positive control: sent straight to the target, it does. Then through the proxy: it
//! is refused, it is on record, and there is no mark. After each batch the proxy still runs what it should.

use super::fixture::{Fixture, assert_blocked, take_mark};

/// `{}` stands for the file that the line tries to make.
pub(super) const BATCHES: &[(&str, &[&str])] = &[
    (
        "lists and pipelines",
        &[
            "echo x; touch {}",
            "echo x;touch {}",
            "echo x && touch {}",
            "cat /nonexistent || touch {}",
            "echo x | tee {}",
            "echo x |& tee {}",
            "echo x & touch {}",
            "touch {} & echo x",
            "echo x\ntouch {}",
            "echo x\r\ntouch {}",
            "echo x;\n\ntouch {}",
            "(touch {})",
            "{ touch {}; }",
            "! touch {}",
        ],
    ),
    (
        "an allowed word elsewhere in the line",
        &[
            "touch {} echo",
            "touch {} # echo",
            "touch {} 'echo ls'",
            "env echo=1 touch {}",
            "sh -c 'touch {}' echo",
        ],
    ),
    (
        "redirections and here documents",
        &[
            "echo x > {}",
            "echo x >{}",
            "echo x >> {}",
            "echo x >| {}",
            "echo x 2>&1 > {}",
            "ls <> {}",
            "cat <<EOF > {}\nx\nEOF",
            "cat 0</etc/passwd > {}",
        ],
    ),
    (
        "expansions",
        &[
            "echo $(touch {})",
            "echo `touch {}`",
            "echo \"$(touch {})\"",
            "echo \"`touch {}`\"",
            "echo ${x:-$(touch {})}",
            "echo $((1+$(touch {} >&2; echo 1)))",
            "echo <(touch {})",
            "${x:-touch} {}",
            "$'touch' {}",
            "$'\\x74ouch' {}",
            "t\"\"ouch {}",
            "to\\uch {}",
            "/usr/bin/[t]ouch {}",
            "/usr/bin/tou?h {}",
            "{touch,{}}",
            "eval touch {}",
            "command touch {}",
            "exec touch {}",
            "builtin echo; touch {}",
            ". /dev/stdin <<< 'touch {}'",
            "X=1 touch {}",
            "PATH=/usr/bin touch {}",
        ],
    ),
    (
        "functions, aliases, control flow",
        &[
            "f() { touch {}; }; f",
            "alias ls='touch {}'; eval ls",
            "if true; then touch {}; fi",
            "while touch {}; do break; done",
            "for i in 1; do touch {}; done",
            "case x in x) touch {};; esac",
            "trap 'touch {}' EXIT",
            "coproc touch {}",
            "time touch {}",
        ],
    ),
    (
        "continuations and comments",
        &["echo x \\\n; touch {}", "echo 'a\nb'; touch {}", "ec\\\nho x; touch {}", ": # x\ntouch {}"],
    ),
    (
        "interpreters and programs that run programs",
        &[
            "sh -c 'touch {}'",
            "bash -c 'touch {}'",
            "/bin/sh -c 'touch {}'",
            "env touch {}",
            "xargs -a /dev/null touch {}",
            "nohup touch {}",
            "nice touch {}",
            "timeout 5 touch {}",
            "setsid touch {}",
            "find /etc -maxdepth 0 -exec touch {} ;",
            "find /etc -maxdepth 0 -exec touch {} \\;",
            "tar cf /dev/null /etc/hostname --checkpoint=1 --checkpoint-action=exec='touch {}'",
            "perl -e 'open F,\">{}\"'",
            "awk 'BEGIN{system(\"touch {}\")}'",
            "sed -n '1w {}' /etc/hostname",
            "dd if=/dev/null of={}",
            "cp /etc/hostname {}",
            "ssh -o ProxyCommand='touch {}' x",
            "busybox touch {}",
            "python3 -c 'open(\"{}\",\"w\")'",
        ],
    ),
    (
        "look-alikes of a permitted program",
        &[
            "/usr/../usr/bin/touch {}",
            "./../../../../../../usr/bin/touch {}",
            "ECHO x; touch {}",
            " touch {}",
            "\ttouch {}",
        ],
    ),
    (
        "exact arguments are exact",
        &[
            "cat /etc/os-release /etc/passwd > {}",
            "cat /etc/os-release; touch {}",
            "cat '/etc/os-release' > {}",
        ],
    ),
];

/// Lines that need no positive control: they are broken, or leave no mark anywhere, and must be refused all the same.
pub(super) const REFUSED: &[&str] = &[
    "cat /etc/os-release /etc/shadow",
    "cat /etc/os-releas?",
    "cat /etc/os-release\u{0}",
    "cat /etc/../etc/shadow",
    "cat",
    "",
    " ",
    "'",
    "\"",
    "echo 'unfinished",
    "echo x\\",
    "echo \u{1b}[31mred",
    "echo \u{202e}oof",
    "echo a\u{200b}b",
    "ech\u{43e} x",
    "echo x\u{a0}y",
    "echo x\u{85}touch y",
    "echo x\u{2028}touch y",
    "!!",
    "!echo",
    "history",
    "fc -s",
    "bind -x '\"a\":id'",
    "vim",
    "less /etc/os-release",
    "man ls",
    "psql",
    "scp -t /tmp",
    "scp x; sh",
    "rsync --server . /tmp",
    "git-upload-pack /tmp",
    "internal-sftp",
    "/usr/lib/openssh/sftp-server",
    "\u{3}echo x",
    "echo x\u{16}\u{a}id",
    "\u{1b}[200~echo x\u{1b}[201~",
];

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn no_line_of_the_corpus_leaves_a_mark() {
    let fixture = Fixture::new();
    let mark = fixture.mark();
    let path = mark.to_str().unwrap();
    let mut controls = 0;
    for (batch, lines) in BATCHES {
        for line in *lines {
            // `{touch,{}}` and `{ touch {}; }` hold braces of their own, so only the exact pair is replaced.
            let line = line.replace("{}", path);
            let direct = fixture.direct().run(&line).unwrap();
            let marked = take_mark(&mark);
            if marked {
                controls += 1;
            } else {
                // A shell or program that the target lacks proves nothing; the line stays in the corpus.
                let why = direct.stderr_text();
                assert!(
                    NO_MARK.iter().any(|known| line.contains(known)) || why.contains("not found"),
                    "positive control left no mark: {line:?}: {why}"
                );
            }
            let blocked_before = fixture.events_of("command.blocked").len();
            assert_blocked(&fixture.ssh().run(&line).unwrap());
            assert!(!mark.exists(), "{batch}: {line:?} got through");
            let blocked = fixture.events_of("command.blocked");
            assert_eq!(blocked.len(), blocked_before + 1, "{line:?} is not on record");
            assert_eq!(blocked.last().unwrap()["command"], line.as_str());
        }
        fixture.assert_alive();
    }
    assert!(controls >= 70, "only {controls} positive controls left a mark");
    assert!(fixture.events_of("command.started").iter().all(|event| event["command"] == "echo alive"));
}

/// Lines whose positive control depends on the target's login shell or on programs that may be missing there.
const NO_MARK: &[&str] = &[
    "|&",
    "alias ls",
    "<(",
    "$'",
    "<<<",
    "coproc",
    "{touch,",
    "builtin",
    "xargs -a",
    "busybox",
    "ssh -o",
    "-exec touch",
    "ECHO",
    "trap ",
    "\\\n",
    "PATH=",
    "0</etc",
    "x |",
];

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn broken_and_forbidden_lines_are_refused_and_recorded() {
    let fixture = Fixture::new();
    let master = fixture.ssh().master().unwrap();
    for line in REFUSED.iter().filter(|line| !line.contains('\0') && !line.is_empty()) {
        let before = fixture.events_of("command.blocked").len();
        assert_blocked(&master.run(line).unwrap());
        assert_eq!(fixture.events_of("command.blocked").len(), before + 1, "{line:?} is not on record");
    }
    master.stop().unwrap();
    fixture.assert_alive();
    assert!(fixture.events_of("command.started").iter().all(|event| event["command"] == "echo alive"));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn bytes_that_no_client_would_type_are_refused() {
    let fixture = Fixture::new();
    let lines: [&[u8]; 9] = [
        b"",
        b"echo x\0; id",
        b"\0",
        b"echo \xff\xfe",
        b"\xc0\xaf",
        b"echo \xed\xa0\x80",
        b"echo \xf4\x90\x80\x80",
        b"echo \x9b2J",
        &[b'a'; 200_000],
    ];
    for line in lines {
        let seen = super::hostile::exec_raw(&fixture, line);
        assert_eq!(seen.exit_status, Some(126), "{:?}", &line[..line.len().min(40)]);
    }
    assert_eq!(fixture.events_of("command.blocked").len(), lines.len());
    let longest = fixture.events_of("command.blocked").pop().unwrap();
    assert_eq!(longest["command_bytes"], 200_000);
    assert_eq!(longest["command"].as_str().unwrap().len(), session_filter::event::RECORDED_LINE_BYTES_MAX);
    fixture.assert_alive();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_user_s_words_reach_the_program_unchanged() {
    let fixture = Fixture::new();
    for (line, expected) in [
        ("echo 'a;b' \"c|d\" e\\&f", "a;b c|d e&f\n"),
        ("echo '$HOME' '`id`' '*'", "$HOME `id` *\n"),
        ("echo 'it'\\''s'", "it's\n"),
        ("echo '{a,b}' '~' '#x'", "{a,b} ~ #x\n"),
        ("echo  two   spaces", "two spaces\n"),
        ("echo '  kept  '", "  kept  \n"),
        ("echo grüße 漢字 🦀", "grüße 漢字 🦀\n"),
        ("'echo' \"x\"", "x\n"),
    ] {
        let output = fixture.ssh().run(line).unwrap();
        assert_eq!(output.stdout_text(), expected, "{line}: {}", output.stderr_text());
    }
}

/// Typed, pasted and spoofed input has no editor to fool: what is not an exec request is data for the running command.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn input_streams_are_never_taken_for_commands() {
    let fixture = Fixture::new();
    let mark = fixture.mark();
    let typed = format!(
        "touch {0}\r\x1b[200~touch {0}\r\x1b[201~\x03touch {0}\n\x05\x15\rtouch {0}\n",
        mark.display()
    );

    let direct =
        fixture.direct().arg("-tt").stdin(format!("touch {}\nexit\n", mark.display())).shell().unwrap();
    assert!(take_mark(&mark), "positive control: a shell takes typed lines: {}", direct.stderr_text());

    let insisting = fixture.ssh().arg("-tt").stdin(typed.clone()).shell().unwrap();
    assert_eq!(insisting.code(), Some(255), "no terminal is given");
    for ssh in [fixture.ssh(), fixture.ssh().arg("-T")] {
        let shell = ssh.clone().stdin(typed.clone()).shell().unwrap();
        assert_eq!(shell.code(), Some(1));
        assert!(
            shell.stdout_text().contains("cat /etc/os-release"),
            "the permitted list: {}",
            shell.stdout_text()
        );
        let output = ssh.stdin(typed.clone()).run("cat /etc/os-release").unwrap();
        assert_eq!(output.code(), Some(0));
    }
    assert!(!mark.exists());
    fixture.assert_alive();
}

/// What a target prints cannot change what the proxy permits: there is no screen that it looks at.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn output_of_the_target_changes_no_verdict() {
    let fixture = Fixture::new();
    let spoof = fixture.dir.path().join("spoof");
    std::fs::write(&spoof, "\x1b[?1049h\x1b[2;1H\x1b]133;A\x07$ \x1b]633;E;touch\x07\x1b[?1049l").unwrap();
    let policy = format!(
        "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\ncommands=[\"cat {}\", \"echo ...\"]\n",
        spoof.display()
    );
    fixture.policy.set(session_filter::Policy::from_toml(&policy).unwrap());
    let master = fixture.ssh().master().unwrap();
    let shown = master.run(format!("cat {}", spoof.display())).unwrap();
    assert!(shown.stdout_text().contains("\x1b[?1049h"), "{}", shown.stderr_text());
    let mark = fixture.mark();
    assert_blocked(&master.run(format!("touch {}", mark.display())).unwrap());
    assert!(!mark.exists());
    master.stop().unwrap();
    fixture.assert_alive();
}
