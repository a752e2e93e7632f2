//! Raw terminals: recorded as they are, with commands told apart as well as can be.

use std::time::Duration;

use session_filter::Policy;
use session_filter::ssh::Limits;
use testbed::{Output, Running, Ssh, SshdOptions};

use super::fixture::Fixture;
use super::terminals::{bytes_of, hash};

const RAW: &str = r#"
    [[permit]]
    users   = ["alice"]
    targets = ["box"]
    mode    = "unrestricted"
"#;
const PATIENCE: Duration = Duration::from_secs(20);

fn raw(fixture: &Fixture) -> Running {
    tty(fixture.ssh()).spawn_shell().unwrap()
}

fn tty(ssh: Ssh) -> Ssh {
    ssh.arg("-tt").env("TERM", "xterm")
}

/// A session whose target says that its login shell is `shell`, so that no marks are set up.
fn with_shell(shell: &str) -> Fixture {
    Fixture::with(RAW, SshdOptions::new().set_env("SHELL", shell), Limits::default())
}

/// Types a line and waits for what it prints.
fn type_line(running: &mut Running, line: &str, printed: &str) {
    running.write(format!("{line}\r").as_bytes()).unwrap();
    assert!(
        running.wait_for_stdout(printed, PATIENCE),
        "{line}: {}",
        String::from_utf8_lossy(&running.stdout())
    );
}

/// Makes the prompt something that is easy to wait for.
fn settle(running: &mut Running) {
    let line = "bind 'set enable-bracketed-paste off' 2>&-; unset HISTCONTROL; PS1='$((6+1))> '; echo o''k";
    type_line(running, line, "ok\r\n7> ");
}

fn leave(mut running: Running, status: i32) -> Output {
    running.write(format!("exit {status}\r").as_bytes()).unwrap();
    let output = running.wait(PATIENCE).unwrap();
    assert_eq!(output.code(), Some(status), "{}", output.stderr_text());
    output
}

fn observed(fixture: &Fixture) -> Vec<(String, String, Option<u64>)> {
    fixture.wait_for("the end", |f| !f.events_of("session.ended").is_empty());
    let seen = fixture.events_of("command.observed").into_iter();
    seen.map(|event| {
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        (text("command"), text("observed_by"), event["exit_status"].as_u64())
    })
    .collect()
}

fn seen(line: &str, by: &str, status: Option<u64>) -> (String, String, Option<u64>) {
    (line.to_owned(), by.to_owned(), status)
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn bash_says_what_ran_and_how_it_ended() {
    let fixture = Fixture::with_policy(RAW);
    let mut shell = raw(&fixture);
    settle(&mut shell);
    type_line(&mut shell, "echo be$((1))gin; false", "be1gin\r\n7> ");
    type_line(&mut shell, "(exit 3) ; echo 'a;b\\c' | tr a-c x-z", "x;y\\z\r\n7> ");
    type_line(&mut shell, "for n in 1 2; do\recho n$n\rdone", "n2\r\n7> ");
    type_line(&mut shell, "sh -c 'kill -TERM $$'", "Terminated\r\n7> ");
    let output = leave(shell, 7);
    assert!(!output.stdout_text().contains("633"), "a mark is shown: {:?}", output.stdout_text());
    let by = |line: &str, status| seen(line, "prompt_marks", status);
    assert_eq!(
        observed(&fixture)[1..],
        [
            by("echo be$((1))gin; false", Some(1)),
            by("(exit 3) ; echo 'a;b\\c' | tr a-c x-z", Some(0)),
            by("for n in 1 2; do echo n$n; done", Some(0)),
            by("sh -c 'kill -TERM $$'", Some(143)),
            by("exit 7", None),
        ]
    );
    let recording = fixture.events_of("terminal.started").pop().unwrap()["recording_id"].clone();
    let shown = bytes_of(&fixture.events_of("terminal.output"), &recording);
    assert_eq!(shown, output.stdout);
    assert_eq!(fixture.events_of("terminal.ended")[0]["sha256"], hash(&shown));
    // The place in the recording is where the command's output begins.
    let second = &fixture.events_of("command.observed")[2];
    let offset = usize::try_from(second["offset"].as_u64().unwrap()).unwrap();
    assert!(String::from_utf8_lossy(&shown[offset..]).trim_start().starts_with("x;y"));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn marks_change_nothing_that_a_user_of_bash_would_notice() {
    let fixture = Fixture::with_policy(RAW);
    let questions = "echo \"[$0|$-|$SHLVL|$(shopt login_shell)|$?|$_]\"; env | sort | grep -v -e '^SSH_' -e '^_=' -e '^XDG' > out; \
                     env | grep -c -e 633 -e MARK; false; echo \"<$?>\"; exec 3>&1; bash -c 'echo ${PS0-none} ${PROMPT_COMMAND-none}'";
    let ask = |ssh: Ssh, out: &str| {
        let out = fixture.dir.path().join(out);
        let mut shell = tty(ssh).spawn_shell().unwrap();
        // What is typed before the shell is ready is echoed twice; the prompt is waited for.
        settle(&mut shell);
        let question = questions.replace("out;", &format!("{};", out.display()));
        type_line(&mut shell, &question, "none none\r\n7> ");
        let output = leave(shell, 0).stdout_text();
        let answer = output.split("none none").next().unwrap().rsplit_once("\r\n[").unwrap().1.to_owned();
        (answer, std::fs::read_to_string(out).unwrap())
    };
    let (with, direct) = (ask(fixture.ssh(), "with"), ask(fixture.direct(), "direct"));
    assert_eq!(with, direct);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_line_that_bash_keeps_out_of_its_history_is_seen_all_the_same() {
    let fixture = Fixture::with_policy(RAW);
    let mut shell = raw(&fixture);
    settle(&mut shell);
    type_line(&mut shell, "HISTCONTROL=ignoreboth", "\r\n7> ");
    type_line(&mut shell, "echo o''ne", "one\r\n7> ");
    type_line(&mut shell, " echo t''wo", "two\r\n7> ");
    leave(shell, 0);
    let seen_lines = observed(&fixture);
    assert_eq!(seen_lines[2], seen("echo o''ne", "prompt_marks", Some(0)));
    assert_eq!(seen_lines[3], seen(" echo t''wo", "screen", Some(0)));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn other_shells_are_read_off_the_screen() {
    let fixture = with_shell("/bin/dash");
    let mut shell = raw(&fixture);
    // The account's shell is bash all the same; it makes no marks, and has its own line editor.
    settle(&mut shell);
    type_line(&mut shell, "PS1='dash> ' exec dash", "\r\ndash> ");
    type_line(&mut shell, "PS1='d> '; echo d''ash", "dash\r\nd> ");
    type_line(&mut shell, "echo wrng\x7f\x7f\x7frong | tr r R", "wRong\r\nd> ");
    type_line(&mut shell, "stty -echo; echo o''ff", "off\r\nd> ");
    type_line(&mut shell, "hunter2; echo at le''ast", "at least\r\nd> ");
    type_line(&mut shell, "stty echo; echo o''n", "on\r\nd> ");
    leave(shell, 5);
    let by = |line: &str| seen(line, "screen", None);
    let lines = observed(&fixture);
    assert!(lines.contains(&by("echo wrong | tr r R")), "{lines:?}");
    assert!(lines.contains(&by("exit 5")), "{lines:?}");
    // What is not shown is not seen.
    assert!(lines.iter().all(|(line, ..)| !line.contains("hunter2; echo")), "{lines:?}");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn forged_marks_are_output_and_shells_in_the_shell_are_read_off_the_screen() {
    let fixture = Fixture::with_policy(RAW);
    let mut shell = raw(&fixture);
    settle(&mut shell);
    type_line(
        &mut shell,
        "printf '\\033]633;P;0\\007\\033]633;nonce;E;1  forged\\007\\n'; echo pas''sed",
        "passed\r\n7> ",
    );
    type_line(&mut shell, "env PS1='$((2))in> ' bash --norc", "2in> ");
    type_line(&mut shell, "echo in''side", "inside\r\n");
    type_line(&mut shell, "exit 4", "exit\r\n7> ");
    let output = leave(shell, 0);
    assert!(output.stdout_text().contains("\x1b]633;nonce;E;1  forged\x07"));
    let lines = observed(&fixture);
    assert!(lines.iter().all(|(line, ..)| line != "forged"));
    assert!(lines.contains(&seen("echo in''side", "screen", None)), "{lines:?}");
    assert!(lines.contains(&seen("env PS1='$((2))in> ' bash --norc", "prompt_marks", Some(4))), "{lines:?}");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn full_screen_programs_are_no_commands() {
    let fixture = with_shell("/bin/dash");
    let mut shell = raw(&fixture);
    settle(&mut shell);
    type_line(&mut shell, "printf '\\033[?1049h'; read x; printf '\\033[?1049l'; echo ba''ck", "\x1b[?1049h");
    type_line(&mut shell, "typed to a program", "back\r\n7> ");
    leave(shell, 0);
    assert!(
        observed(&fixture).iter().all(|(line, ..)| !line.contains("typed to")),
        "{:?}",
        observed(&fixture)
    );
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_shell_without_a_terminal_reads_commands_from_its_input() {
    let fixture = Fixture::with_policy(RAW);
    let output = fixture.ssh().stdin("echo out; shopt login_shell; exit 6\n").arg("-T").shell().unwrap();
    assert_eq!(output.code(), Some(6), "{}", output.stderr_text());
    assert!(output.stdout_text().contains("out\nlogin_shell    \ton\n"), "{}", output.stdout_text());
    fixture.wait_for("the end", |f| !f.events_of("session.ended").is_empty());
    let executed = fixture.events_of("command.executed").pop().unwrap();
    assert_eq!((&executed["exit_status"], &executed["stdin_bytes"]), (&6.into(), &36.into()));
    assert_eq!(fixture.events_of("command.started")[0]["rule"], "unrestricted");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn size_and_interrupt_reach_the_shell() {
    let fixture = Fixture::with_policy(RAW);
    let mut shell = raw(&fixture);
    type_line(&mut shell, "stty size", "24 80");
    type_line(&mut shell, "sleep 4713 || echo interrupted=$?", "sleep 4713");
    fixture
        .wait_for("it runs", |f| f.registry.list()[0].running.iter().any(|line| line.starts_with("sleep")));
    // The shell says so before it starts the program, and an interrupt in between would be lost on both.
    fixture.wait_for("the program runs", |_| super::lives::sleeping("4713"));
    shell.write(b"\x03").unwrap();
    type_line(&mut shell, "echo sta''tus $?", "status 130");
    leave(shell, 0);
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_warning_in_the_middle_of_a_line_is_recorded_and_the_line_is_seen_whole() {
    let fixture = with_shell("/bin/dash");
    let mut shell = raw(&fixture);
    settle(&mut shell);
    shell.write(b"echo one ").unwrap();
    assert!(shell.wait_for_stdout("echo one ", PATIENCE));
    // Half of the longest duration is the earliest warning.
    let ending = RAW.replace("mode    =", "longest = \"12s\"\n    warn = \"6s\"\n    mode    =");
    fixture.policy.set(Policy::from_toml(&ending).unwrap());
    assert!(shell.wait_for_stderr("this session ends in", PATIENCE));
    fixture.policy.set(Policy::from_toml(RAW).unwrap());
    type_line(&mut shell, "two | tr o 0", "0ne tw0\r\n7> ");
    leave(shell, 0);
    let lines = observed(&fixture);
    assert!(lines.contains(&seen("echo one two | tr o 0", "screen", None)), "{lines:?}");
    let recording = &fixture.events_of("terminal.started")[0]["recording_id"];
    let shown = String::from_utf8(bytes_of(&fixture.events_of("terminal.output"), recording)).unwrap();
    let (before, after) = shown.split_once("proxy: this session ends in ").expect(&shown);
    assert!(before.ends_with("echo one ") && after.contains("0ne tw0"), "{shown:?}");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_session_that_is_no_longer_unrestricted_ends() {
    let fixture = Fixture::with_policy(RAW);
    let mut shell = raw(&fixture);
    type_line(&mut shell, "echo o''k", "ok\r\n");
    let managed = RAW.replace("\"unrestricted\"", "\"managed\"\ncommands = [\"ls\"]");
    fixture.policy.set(Policy::from_toml(&managed).unwrap());
    let output = shell.wait(PATIENCE).unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(
        output.stderr_text().contains("raw terminal is not permitted any more"),
        "{}",
        output.stderr_text()
    );
    fixture.wait_for("the end", |f| !f.events_of("terminal.ended").is_empty());
    let recording = &fixture.events_of("terminal.started")[0]["recording_id"];
    let shown = String::from_utf8(bytes_of(&fixture.events_of("terminal.output"), recording)).unwrap();
    assert!(shown.contains("proxy: session ended: access was withdrawn: a raw terminal"), "{shown:?}");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_recorder_that_fails_ends_a_raw_terminal() {
    let fixture = Fixture::with_policy(RAW);
    let mut shell = raw(&fixture);
    type_line(&mut shell, "echo o''k", "ok\r\n");
    fixture.recorder.inner.break_now();
    shell.write(b"echo more\r").unwrap();
    let output = shell.wait(PATIENCE).unwrap();
    assert_eq!(output.code(), Some(255));
    assert!(output.stderr_text().contains("can no longer be recorded"), "{}", output.stderr_text());
    // And none begins.
    assert_eq!(tty(fixture.ssh()).shell().unwrap().code(), Some(255));
}
