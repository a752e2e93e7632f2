//! The bypass corpus at the managed prompt: typed, pasted, typed ahead, with control keys, and without a terminal.
//!
//! Whatever the way, a line is checked before anything of it reaches the target: no mark is left, and nothing but permitted programs is
//! on record as sent.

use testbed::Ssh;

use super::bypass::{BATCHES, REFUSED};
use super::fixture::{Fixture, POLICY, take_mark};
use super::managed::sent;

fn fixture() -> Fixture {
    let policy = POLICY.replace("commands =", "mode = \"managed\"\n    commands =");
    Fixture::with_policy(&policy)
}

/// Sends bytes to a prompt, all at once, and waits for the end.
fn type_at(ssh: &Ssh, bytes: impl Into<Vec<u8>>) -> testbed::Output {
    ssh.clone().arg("-tt").stdin(bytes).shell().unwrap()
}

/// Nothing was sent that the policy does not name, and the prompt went on to the end.
fn assert_held(fixture: &Fixture, what: &str) {
    assert!(!fixture.mark().exists(), "{what}: got through");
    for event in fixture.events_of("command.started") {
        let program = event["argv"][0][0].as_str().unwrap_or_default();
        assert!(["echo", "ls", "cat", "sleep"].contains(&program), "{what}: {event}");
    }
}

fn assert_alive(fixture: &Fixture, what: &str, word: &str) {
    assert!(sent(fixture).contains(&format!("echo {word}")), "{what}: {:#?}", fixture.events_text());
}

/// The same bytes do leave a mark where a shell reads them.
fn positive_control(fixture: &Fixture, before: &str, after: &str) {
    let mark = fixture.mark();
    let typed = format!("{before}touch {}{after}\rexit\r", mark.display());
    let direct = fixture.direct().arg("-tt").env("TERM", "xterm").stdin(typed).shell().unwrap();
    assert!(take_mark(&mark), "positive control: {}", direct.stdout_text());
}

fn corpus(fixture: &Fixture) -> Vec<(String, Vec<String>)> {
    let mark = fixture.mark();
    let path = mark.to_str().unwrap();
    let batches = BATCHES.iter().map(|(name, lines)| {
        ((*name).to_owned(), lines.iter().map(|line| line.replace("{}", path)).collect())
    });
    let refused = REFUSED.iter().map(|line| (*line).to_owned()).collect();
    batches.chain([("refused".to_owned(), refused)]).collect()
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn no_typed_line_of_the_corpus_leaves_a_mark() {
    let fixture = fixture();
    positive_control(&fixture, "", "");
    for (at, (batch, lines)) in corpus(&fixture).into_iter().enumerate() {
        let mut typed: String = lines.iter().map(|line| format!("{line}\r")).collect();
        // The corpus ends some lines inside a sequence of the terminal's; Ctrl-C is always Ctrl-C.
        typed.push_str(&format!("\x03\x03echo alive{at}\rexit\r"));
        type_at(&fixture.ssh(), typed);
        assert_held(&fixture, &batch);
        assert_alive(&fixture, &batch, &format!("alive{at}"));
    }
    assert!(fixture.events_of("command.blocked").len() > 100);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn no_pasted_line_of_the_corpus_leaves_a_mark() {
    let fixture = fixture();
    positive_control(&fixture, "\x1b[200~", "\x1b[201~");
    for (at, (batch, lines)) in corpus(&fixture).into_iter().enumerate() {
        let mut typed: String = lines.iter().map(|line| format!("\x1b[200~{line}\x1b[201~\r")).collect();
        // And all at once.
        typed.push_str(&format!("\x1b[200~{}\x1b[201~\r", lines.join("\n")));
        typed.push_str(&format!("\x03echo alive{at}\rexit\r"));
        type_at(&fixture.ssh(), typed);
        assert_held(&fixture, &batch);
        assert_alive(&fixture, &batch, &format!("alive{at}"));
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn no_scripted_line_of_the_corpus_leaves_a_mark() {
    let fixture = fixture();
    for (at, (batch, lines)) in corpus(&fixture).into_iter().enumerate() {
        let output = fixture.ssh().stdin(format!("{}\necho alive{at}\n", lines.join("\n"))).shell().unwrap();
        assert!(output.stdout_text().ends_with(&format!("alive{at}\n")), "{batch}: {}", output.stdout_text());
        assert_held(&fixture, &batch);
    }
}

/// `{}` stands for the file that the keys try to make; beside them, what may be sent because of them.
const KEYS: &[(&str, &str, &[&str])] = &[
    ("a burst in one packet", "echo a\rtouch {}\r", &["echo a"]),
    ("Ctrl-E Ctrl-U and return", "touch {}\x05\x15\r", &[]),
    ("Ctrl-V Ctrl-J", "echo a\x16\ntouch {}\r", &["echo a"]),
    ("a lone line feed", "echo a\ntouch {}\n", &["echo a"]),
    ("Ctrl-C and a stale line", "echo a\x03touch {}\r", &[]),
    ("cursor keys", "touc {}\x01\x1b[C\x1b[C\x1b[C\x1b[Ch\r", &[]),
    ("up, home and kill", "echo a\r\x1b[A\x01touch {}\x0b\r", &["echo a"]),
    ("a search, then more", "echo a\r\x12ech\x05; touch {}\r", &["echo a"]),
    ("kill and yank", "echo a\x15touch {}\x01\x0b\x19\r", &[]),
    ("transposed", "otuch {}\x01\x06\x06\x14\r", &[]),
    ("completed", "ec\tx; touch {}\r", &[]),
    ("history expansion", "echo a\r!!; touch {}\r", &["echo a"]),
    ("NUL in the middle", "to\0uch {}\r", &[]),
    ("a reply with a line in it", "\x1b]ltouch {}\x07\x1b[24;80R\r", &[]),
    ("a reply broken off", "\x1bP\rtouch {}\r", &[]),
    ("a paste in a paste", "\x1b[200~echo a\x1b[200~\ntouch {}\n\x1b[201~\r", &[]),
    ("a paste that ends itself", "\x1b[200~echo a\x1b[201~;touch {}\r", &[]),
    ("control keys in a paste", "\x1b[200~echo a\x15touch {}\x1b[201~\r", &[]),
    ("lines in a paste", "\x1b[200~echo a\ntouch {}\necho b\x1b[201~\r", &["echo a", "echo b"]),
    ("a hidden line", "echo a\u{2028}touch {}\r", &[]),
    ("a C1 control", "echo a\u{85}touch {}\r", &[]),
    ("very long", "LONG; touch {}\r", &[]),
];

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn keys_make_no_line_that_is_not_checked() {
    let fixture = fixture();
    let mark = fixture.mark();
    for (what, keys, expected) in KEYS {
        let before = sent(&fixture).len();
        let long = format!("echo {}", "x".repeat(20_000));
        let keys = keys.replace("{}", mark.to_str().unwrap()).replace("LONG", &long);
        type_at(&fixture.ssh(), format!("{keys}\x03echo alive\rexit\r"));
        let mut expected: Vec<&str> = expected.to_vec();
        expected.push("echo alive");
        assert_eq!(sent(&fixture)[before..], expected, "{what}");
        assert_held(&fixture, what);
    }
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn bytes_that_are_no_text_make_no_line() {
    let fixture = fixture();
    let mark = fixture.mark();
    let path = mark.to_str().unwrap().as_bytes();
    for bytes in
        [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x9b2J", b"\xe2\x80", b"\xc3"]
    {
        let keys =
            [b"to", bytes, b"uch ", path, b"\recho ", bytes, b";touch ", path, b"\r\x03echo alive\rexit\r"]
                .concat();
        type_at(&fixture.ssh(), keys.clone());
        assert_held(&fixture, "invalid UTF-8");
        let script = [b"touch ", bytes, path, b"\necho ", bytes, b";touch ", path, b"\n"].concat();
        fixture.ssh().stdin(script).shell().unwrap();
        assert_held(&fixture, "invalid UTF-8 without a terminal");
    }
    assert!(sent(&fixture).iter().all(|line| line == "echo alive"), "{:?}", sent(&fixture));
    assert_eq!(sent(&fixture).len(), 7);
}

/// What a permitted command prints looks like a prompt, enters the alternate screen, asks the terminal questions: nothing of it is read.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn output_that_looks_like_a_prompt_changes_nothing() {
    let fixture = fixture();
    let spoof = fixture.dir.path().join("spoof");
    std::fs::write(
        &spoof,
        "\x1b[?1049h\x1b[2;1H\x1b]133;A\x07alice@box:~$ \x1b]633;E;touch\x07\x1b[?2004h\x1b[c\x1b[6n\x1b]0;touch\x07\x1b[21t",
    )
    .unwrap();
    let policy = format!(
        "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\nmode=\"managed\"\ncommands=[\"cat {}\", \"echo ...\"]\n",
        spoof.display()
    );
    fixture.policy.set(session_filter::Policy::from_toml(&policy).unwrap());
    let mark = fixture.mark();
    let spoofed = format!("cat {}", spoof.display());
    let keys =
        format!("{spoofed}\rtouch {0}\r\x1b[200~touch {0}\n\x1b[201~\x03echo alive\rexit\r", mark.display());
    let seen = type_at(&fixture.ssh(), keys).stdout_text();
    assert!(seen.contains("\x1b]633;E;touch"), "{seen:?}");
    assert!(seen.contains("\x1b[?1049l"), "the alternate screen is left again: {seen:?}");
    assert_eq!(sent(&fixture), [spoofed, "echo alive".to_owned()]);
    assert_eq!(fixture.events_of("command.blocked").len(), 2);
    assert!(!mark.exists());
}

/// What is typed while a command runs goes to that command and to nothing else; what was typed before it ran is a line.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn input_of_a_running_command_is_no_line() {
    let fixture = fixture();
    let reader = "sh -c 'echo started; head -n 1'";
    let policy = format!(
        "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\nmode=\"managed\"\ncommands=[\"{reader}\"]\nacknowledge=[\"sh grants a shell\"]\n"
    );
    fixture.policy.set(session_filter::Policy::from_toml(&policy).unwrap());
    let mark = fixture.mark();
    let mut seat = fixture.ssh().arg("-tt").spawn_shell().unwrap();
    seat.write(format!("{reader}\r").as_bytes()).unwrap();
    let limit = std::time::Duration::from_secs(20);
    assert!(seat.wait_for_stdout("started\r\n", limit), "{}", String::from_utf8_lossy(&seat.stdout()));
    seat.write(format!("touch {}\r", mark.display()).as_bytes()).unwrap();
    fixture.wait_for("the command ends", |fixture| !fixture.events_of("command.executed").is_empty());
    seat.write(b"exit\r").unwrap();
    let output = seat.wait(limit).unwrap();
    assert_eq!(output.code(), Some(0), "{}", output.stdout_text());
    assert_eq!(sent(&fixture), [reader]);
    assert!(fixture.events_of("command.blocked").is_empty());
    assert!(!mark.exists());
}

/// A terminal's driver forgets what was typed ahead when Ctrl-C stops a command: what was given up must not run at the next prompt.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn keys_that_come_faster_than_they_are_answered_hold_up_nothing() {
    let fixture = fixture();
    let policy =
        "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\nmode=\"managed\"\ncommands=[\"echo ...\"]\n";
    fixture.policy.set(session_filter::Policy::from_toml(policy).unwrap());
    fixture.runtime.block_on(async {
        let config = std::sync::Arc::new(russh::client::Config::default());
        let proxy = ("127.0.0.1", fixture.port);
        let mut client = russh::client::connect(config, proxy, super::hostile::AnyKey).await.unwrap();
        assert!(client.authenticate_password("alice", super::fixture::PASSWORD).await.unwrap().success());
        let channel = client.channel_open_session().await.unwrap();
        channel.request_pty(false, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
        channel.request_shell(false).await.unwrap();
        let (mut read, write) = channel.split();
        tokio::spawn(async move { while read.wait().await.is_some() {} });
        // Packets of many keys each, faster than they can be answered with a new prompt for each key.
        for _ in 0..200 {
            write.data_bytes(vec![3; 32]).await.unwrap();
        }
        write.data_bytes("echo meant\r").await.unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while fixture.events_of("command.executed").is_empty() {
            assert!(std::time::Instant::now() < deadline, "the prompt does not answer any more");
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(sent(&fixture), ["echo meant"]);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn what_was_typed_ahead_goes_with_the_command_that_is_interrupted() {
    let fixture = fixture();
    let policy = "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\nmode=\"managed\"\ncommands=[\"sleep 1000\", \"echo ...\"]\n";
    fixture.policy.set(session_filter::Policy::from_toml(policy).unwrap());
    let limit = std::time::Duration::from_secs(20);
    let mut seat = fixture.ssh().arg("-tt").spawn_shell().unwrap();
    seat.write(b"sleep 1000\recho given up\r").unwrap();
    fixture.wait_for("it runs", |fixture| fixture.registry.list().iter().any(|s| !s.running.is_empty()));
    // The target may not have given the terminal to the command yet.
    fixture.wait_for("it is stopped", |fixture| {
        seat.write(b"\x03").unwrap();
        !fixture.events_of("command.executed").is_empty()
    });
    assert!(seat.wait_for_stdout("[dropped: what was typed ahead]", limit));
    seat.write(b"echo meant\r").unwrap();
    fixture.wait_for("the next line", |fixture| fixture.events_of("command.executed").len() > 1);
    seat.write(b"exit\r").unwrap();
    seat.wait(limit).unwrap();
    assert_eq!(sent(&fixture), ["sleep 1000", "echo meant"]);
}
