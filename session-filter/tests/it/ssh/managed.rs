//! The managed prompt, as a person sees it in a terminal, and as a script uses it without one.

use russh::ChannelMsg;
use session_filter::ssh::Limits;
use testbed::SshdOptions;

use super::fixture::Fixture;
use super::hostile::connect;
use super::tmux::{Tmux, assert_golden};

pub(super) const POLICY: &str = r#"
    redact = ['secret-\w+']

    [[permit]]
    users       = ["alice"]
    targets     = ["box"]
    mode        = "managed"
    commands    = ["echo ...", "ls -d *", "cat /etc/hostname", "sleep *", "sh -c 'echo started; sleep 1000'", "sh -c 'exit 7'", "sh -c 'kill -TERM $$'", "stty size", "stty -a",
                   "sh -c 'printf unfinished'", "cat", "head -n 1", "/usr/bin/printf **", "systemctl status nginx", "systemctl status ssh",
                   "systemctl start nginx", "/usr/bin/env pwd", "vi -u NONE /etc/hostname", "less /etc/services", "tput cols"]
    directories = ["/usr", "/usr/share/**"]
    acknowledge = ["sh grants a shell", "vi grants a shell", "less grants a shell", "env grants a shell",
                   "systemctl grants a shell"]
"#;

const PROMPT: &str = "alice@box:~$";

pub(super) fn fixture() -> Fixture {
    Fixture::with_policy(POLICY)
}

fn seat(fixture: &Fixture) -> Tmux {
    let seat = Tmux::new(&fixture.ssh(), (80, 24));
    seat.wait_row(PROMPT);
    seat
}

/// The lines that were sent to the target.
pub(super) fn sent(fixture: &Fixture) -> Vec<String> {
    let events = fixture.events_of("command.started");
    events.iter().map(|event| event["command"].as_str().unwrap_or("(not text)").to_owned()).collect()
}

fn after(fixture: &Fixture, seat: &Tmux, lines: &[&str]) -> String {
    for line in lines {
        let ended = |fixture: &Fixture| {
            ["command.executed", "command.blocked", "builtin.executed"]
                .iter()
                .map(|event| fixture.events_of(event).len())
                .sum::<usize>()
        };
        let before = ended(fixture);
        seat.line(line);
        fixture.wait_for("the line has an end", |fixture| ended(fixture) > before);
        seat.wait("a new prompt", |screen| {
            screen.lines().last().is_some_and(|row| row.starts_with("alice@box:") && row.ends_with('$'))
        });
    }
    seat.screen()
}

#[test]
#[ignore = "needs sshd and tmux: cargo xtask test"]
fn what_a_person_sees() {
    let fixture = fixture();
    let seat = Tmux::new(&fixture.ssh(), (80, 50));
    seat.wait_row(PROMPT);
    let screen = after(
        &fixture,
        &seat,
        &[
            "echo hello",
            "cat /etc/shadow",
            "systemctl restart nginx",
            "echo $HOME",
            "echo x > /tmp/y",
            "sh -c 'exit 7'",
            "sh -c 'printf unfinished'",
            "cd /usr/share",
            "pwd",
            "cd /etc",
            "cd ..",
            "cd /usr/share/nowhere",
            "cd -",
            "cd ~ && ls",
        ],
    );
    assert_golden("managed-prompt", &screen);
    seat.line("exit 3");
    seat.wait_row("[ssh ended: 3]");
}

#[test]
#[ignore = "needs sshd and tmux: cargo xtask test"]
fn help_and_history() {
    let fixture = fixture();
    let seat = Tmux::new(&fixture.ssh(), (110, 40));
    seat.wait_row(PROMPT);
    assert_golden("managed-help", &after(&fixture, &seat, &["help"]));
    seat.press(&["C-l"]);
    seat.wait("a clear screen", |screen| screen.lines().count() == 1);
    let screen = after(&fixture, &seat, &["echo one", "echo secret-word", "echo one", "history"]);
    assert_golden("managed-history", &screen);
    seat.press(&["Up", "Up"]);
    seat.wait_row(&format!("{PROMPT} echo one"));
    seat.press(&["C-r"]);
    seat.type_("hel");
    seat.wait_row("(reverse-i-search)`hel': help");
    seat.press(&["C-c", "C-d"]);
    seat.wait_row("[ssh ended: 0]");
}

#[test]
#[ignore = "needs sshd and tmux: cargo xtask test"]
fn tab_completes_what_may_be_run() {
    let fixture = fixture();
    let seat = seat(&fixture);
    seat.type_("sys\t");
    seat.wait_row(&format!("{PROMPT} systemctl"));
    seat.type_("\t");
    seat.wait_row(&format!("{PROMPT} systemctl sta"));
    seat.type_("\t");
    seat.wait("the list", |screen| screen.matches("systemctl").count() > 1);
    seat.type_("tu\t\t\t");
    seat.wait("the second list", |screen| screen.contains("nginx"));
    assert_golden("managed-completion", &seat.screen());
}

#[test]
#[ignore = "needs sshd and tmux: cargo xtask test"]
fn a_line_taller_than_the_terminal_scrolls_within_it() {
    let fixture = fixture();
    let seat = Tmux::new(&fixture.ssh(), (40, 8));
    seat.wait_row(PROMPT);
    seat.line("echo before");
    seat.wait_row(PROMPT);
    let numbers: String = (100..200).map(|number| format!(" {number}")).collect();
    seat.type_(&format!("echo{numbers}"));
    seat.wait("the end of the line", |screen| screen.contains("199"));
    let mut seen = String::new();
    let mut look = |what: &str, screen: String| seen.push_str(&format!("--- {what}\n{screen}"));
    seat.press(&["C-a"]);
    let begins = |screen: &str, with: &str| screen.starts_with(with) && screen.lines().count() == 7;
    look("home", seat.wait("the beginning of the line", |screen| begins(screen, "alice@box:~$ echo")));
    seat.type_("#");
    look("a letter", seat.wait("the letter", |screen| begins(screen, "alice@box:~$ #echo")));
    seat.press(&["BSpace", "C-e"]);
    look("end", seat.wait("the end of the line", |screen| screen.contains("199")));
    seat.resize(40, 5);
    let is_redrawn = |screen: &str| screen.lines().count() == 4 && screen.contains("199");
    look("five rows", seat.wait("a smaller window", is_redrawn));
    seat.press(&["Enter"]);
    look("accepted", seat.wait_row(PROMPT));
    assert_eq!(sent(&fixture), ["echo before".to_owned(), format!("echo{numbers}")]);
    assert_golden("managed-tall-line", &seen);
}

#[test]
#[ignore = "needs sshd, tmux, vi and less: cargo xtask test"]
fn full_screen_programs_work_and_leave_the_terminal_as_it_was() {
    let fixture = fixture();
    let seat = seat(&fixture);
    seat.line("echo before");
    seat.wait("the output and a prompt", |screen| screen.ends_with(&format!("\nbefore\n{PROMPT}\n")));
    seat.line("vi -u NONE /etc/hostname");
    seat.wait("vi", |screen| screen.contains("/etc/hostname\"") && screen.contains('~'));
    assert_eq!(seat.variable("alternate_on"), "1");
    seat.line(":q!");
    seat.wait_row(PROMPT);
    assert_eq!(seat.variable("alternate_on"), "0");
    seat.line("less /etc/services");
    seat.wait("less", |screen| screen.contains("tcpmux"));
    seat.type_("q");
    seat.wait_row(PROMPT);
    let mess = "/usr/bin/printf '\\033[?25l\\033[?1000h\\033[?1h\\033[2;5r\\033[5;5Hleft a mess'";
    seat.line(mess);
    seat.wait("the mess is over", |screen| {
        screen.lines().last() == Some(PROMPT) && screen.contains("left a mess")
    });
    assert_eq!(seat.variable("cursor_flag"), "1", "the cursor is shown");
    assert_eq!(seat.variable("mouse_any_flag"), "0", "the mouse is off");
    assert_eq!(seat.variable("keypad_cursor_flag"), "0", "cursor keys are as they were");
    assert_eq!(seat.variable("scroll_region_lower"), "23", "the whole screen scrolls");
    seat.line("echo after");
    seat.wait("the next command", |screen| screen.lines().any(|row| row == "after"));
}

#[test]
#[ignore = "needs sshd and tmux: cargo xtask test"]
fn keys_and_size_reach_the_running_command() {
    let fixture = fixture();
    let seat = seat(&fixture);
    seat.line("sh -c 'echo started; sleep 1000'");
    seat.wait_row("started");
    seat.resize(100, 30);
    seat.press(&["C-c"]);
    seat.wait("the prompt is back", |screen| {
        screen.lines().filter(|row| row.starts_with(PROMPT)).count() == 2
    });
    let executed = fixture.events_of("command.executed").pop().unwrap();
    assert!(
        executed["exit_signal"] == "INT" || executed["exit_status"] == 130,
        "Ctrl-C interrupted it: {executed}"
    );
    after(&fixture, &seat, &["stty size"]);
    seat.wait("the new size", |screen| screen.lines().any(|row| row == "30 100"));
    let screen = seat.screen();
    after(&fixture, &seat, &["stty -a"]);
    seat.wait("the client's modes", |screen| screen.contains("erase = ^H"));
    assert_golden("managed-interrupt", &screen.replace("[signal INT]", "[exit 130]"));
}

#[test]
#[ignore = "needs sshd and tmux: cargo xtask test"]
fn a_pasted_list_runs_line_by_line_and_each_is_checked() {
    let fixture = fixture();
    let seat = seat(&fixture);
    seat.paste("echo one\ntouch /tmp/never\necho\ttwo\n\nsh -c 'exit 7'\necho three");
    seat.wait_row(&format!("{PROMPT} echo three"));
    assert_golden("managed-paste", &seat.screen());
    assert_eq!(sent(&fixture), ["echo one", "echo two", "sh -c 'exit 7'"]);
    seat.press(&["C-c"]);
    // Whoever interrupts one line does not mean the next.
    seat.paste("sleep 1000\necho never\n");
    fixture.wait_for("it runs", |fixture| fixture.registry.list().iter().any(|s| !s.running.is_empty()));
    // The target may not have given the terminal to the command yet.
    seat.wait("it is stopped", |screen| {
        seat.press(&["C-c"]);
        screen.contains("[pasted lines not run: 1]")
    });
    assert!(!sent(&fixture).contains(&"echo never".to_owned()));
}

#[test]
#[ignore = "needs sshd and tmux: cargo xtask test"]
fn the_end_of_a_session_is_said_and_leaves_the_terminal_sane() {
    let fixture = fixture();
    let seat = seat(&fixture);
    seat.type_("half a line");
    seat.wait_row(&format!("{PROMPT} half a line"));
    let id = fixture.registry.list()[0].session_id.clone();
    let termination = session_filter::registry::Termination::new("ops", "maintenance");
    assert!(fixture.registry.terminate(&id, termination));
    let screen = seat.wait_row("[ssh ended: 255]");
    assert!(screen.contains("session ended: ended by ops: maintenance"), "{screen}");
    assert_eq!(seat.variable("alternate_on"), "0");
}

#[test]
#[ignore = "needs sshd, tmux and vi: cargo xtask test"]
fn the_end_of_a_session_takes_a_full_screen_program_off_the_terminal() {
    let fixture = fixture();
    let seat = seat(&fixture);
    seat.line("vi -u NONE /etc/hostname");
    seat.wait("vi", |screen| screen.contains("/etc/hostname\"") && screen.contains('~'));
    let id = fixture.registry.list()[0].session_id.clone();
    let termination = session_filter::registry::Termination::new("ops", "maintenance");
    assert!(fixture.registry.terminate(&id, termination));
    let screen = seat.wait_row("[ssh ended: 255]");
    assert_eq!(seat.variable("alternate_on"), "0", "{screen}");
    assert!(screen.contains("session ended: ended by ops: maintenance"), "{screen}");
}

/// Who plays the recording sees each line being typed before its command begins.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn what_is_typed_at_the_prompt_is_on_record_before_its_command() {
    let fixture = fixture();
    let typed = "ecko one\x7f\x7f\x7f\x7f\x7f\x7fho one\recho two\rcat /etc/shadow\rexit\r";
    fixture.ssh().arg("-tt").stdin(typed).shell().unwrap();
    fixture.wait_for("the recording ends", |fixture| !fixture.events_of("terminal.ended").is_empty());
    let (mut input, mut seen) = (String::new(), Vec::new());
    for event in fixture.events() {
        let event = serde_json::to_value(&event).unwrap();
        match event["event_type"].as_str().unwrap() {
            "terminal.input" => input.push_str(event["text"].as_str().unwrap()),
            "command.started" | "command.blocked" => {
                seen.push((event["command"].as_str().unwrap().to_owned(), input.matches('\r').count()));
            }
            _ => {}
        }
    }
    assert_eq!(input, typed);
    let expected = [("echo one", 1), ("echo two", 2), ("cat /etc/shadow", 3)];
    assert_eq!(seen.len(), 3);
    for ((line, returns), (expected, at_least)) in seen.iter().zip(expected) {
        assert_eq!(line, expected);
        assert!(*returns >= at_least, "{line}: {returns} returns were on record");
    }
}

#[test]
#[ignore = "needs sshd and tmux: cargo xtask test"]
fn a_warning_shows_at_the_prompt_and_typing_is_activity() {
    let policy = POLICY.replace("mode        =", "idle = \"3s\"\n    warn = \"2s\"\n    mode        =");
    let fixture = Fixture::with(&policy, SshdOptions::new().config_line("AcceptEnv *"), Limits::default());
    let seat = seat(&fixture);
    seat.type_("ec");
    seat.wait("the warning", |screen| screen.contains("idle; this session ends in"));
    seat.wait_row(&format!("{PROMPT} ec"));
    seat.line("ho still here");
    seat.wait("the line runs", |screen| screen.lines().any(|row| row == "still here"));
    seat.wait_row("[ssh ended: 255]");
}

/// Each line is a command, in order; none gets the rest of the script as its input.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_script_without_a_terminal_runs_line_by_line() {
    let fixture = fixture();
    let script = "echo one\ncat\ncd /usr/share\r\n/usr/bin/env pwd\ncd /etc\ntouch /tmp/never\nhead -n 1\necho $(id)\n\necho last";
    let output = fixture.ssh().stdin(script).shell().unwrap();
    let home = fixture.direct().run("pwd -P").unwrap().stdout_text();
    assert_eq!(output.stdout_text(), "one\n/usr/share\nlast\n", "{}", output.stderr_text());
    assert_ne!(home.trim(), "/usr/share");
    let said = output.stderr_text();
    let sentences: Vec<&str> = said.lines().map(str::trim_end).collect();
    assert_eq!(sentences.len(), 3, "{said}");
    assert!(sentences[0].starts_with("proxy: cd: no rule"), "{said}");
    assert!(sentences[1].starts_with("proxy: blocked: `touch /tmp/never`: no rule permits"), "{said}");
    assert!(sentences[2].starts_with("proxy: blocked: `echo $(id)`: expansion is not permitted"), "{said}");
    assert_eq!(output.code(), Some(0));
    assert_eq!(sent(&fixture), ["echo one", "cat", "/usr/bin/env pwd", "head -n 1", "echo last"]);
    let status = |script: &str| fixture.ssh().stdin(script).shell().unwrap().code();
    assert_eq!(status("sh -c 'exit 7'\n"), Some(7));
    assert_eq!(status("echo x\ntouch /x"), Some(126));
    assert_eq!(status("exit 9\necho x\n"), Some(9));
    assert_eq!(status(""), Some(0));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn builtins_are_on_record() {
    let fixture = fixture();
    fixture.ssh().stdin("pwd\nhelp\ncd /usr\ncd secret-place\ncd /etc\nexit x\n").shell().unwrap();
    let events = fixture.events_of("builtin.executed");
    let seen: Vec<(String, String, String)> = events
        .iter()
        .map(|event| {
            let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
            (text("command"), text("outcome"), text("directory"))
        })
        .collect();
    let seen: Vec<(&str, &str, &str)> =
        seen.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("pwd", "success", "~"),
            ("help", "success", "~"),
            ("cd /usr", "success", "/usr"),
            ("cd [redacted]", "blocked", "/usr"),
            ("cd /etc", "blocked", "/usr"),
            ("exit x", "failure", "/usr"),
        ]
    );
}

/// Policy is asked about the directory as it is named and about where it really is; home needs nobody's leave.
#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_link_out_of_a_permitted_directory_leads_nowhere() {
    let fixture = fixture();
    let dir = fixture.dir.path().canonicalize().unwrap();
    let allowed = dir.join("allowed");
    std::fs::create_dir_all(allowed.join("below")).unwrap();
    std::os::unix::fs::symlink("/etc", allowed.join("out")).unwrap();
    std::os::unix::fs::symlink(allowed.join("below"), dir.join("in")).unwrap();
    let allowed = allowed.display();
    let policy = format!(
        "[[permit]]\nusers=[\"alice\"]\ntargets=[\"box\"]\nmode=\"managed\"\ncommands=[\"/usr/bin/env pwd\"]\n\
         acknowledge=[\"env grants a shell\"]\ndirectories=[\"{allowed}\", \"{allowed}/**\"]\n"
    );
    fixture.policy.set(session_filter::Policy::from_toml(&policy).unwrap());
    let run = |script: String| {
        let output = fixture.ssh().stdin(script).shell().unwrap();
        (output.stdout_text(), output.stderr_text())
    };
    let positive = fixture.direct().run(format!("cd {allowed}/out && pwd -P")).unwrap();
    assert_eq!(positive.stdout_text(), "/etc\n", "positive control: the link leads out");
    let (stdout, stderr) = run(format!("cd {allowed}\n/usr/bin/env pwd\ncd out\n/usr/bin/env pwd\n"));
    assert_eq!(stdout, format!("{allowed}\n{allowed}\n"), "{stderr}");
    assert!(stderr.contains("cd: no rule names `/etc`"), "{stderr}");
    let (stdout, stderr) = run(format!("cd {}/in\n/usr/bin/env pwd\n", dir.display()));
    assert!(stderr.contains("cd: no rule names"), "a link into it is not in it: {stderr}");
    let home = fixture.direct().run("pwd -P").unwrap().stdout_text();
    assert_eq!(stdout, home, "{stderr}");
    let (stdout, stderr) =
        run(format!("cd {allowed}/below\ncd ..\ncd below\n/usr/bin/env pwd\ncd ~\n/usr/bin/env pwd\n"));
    assert_eq!(stdout, format!("{allowed}/below\n{home}"), "{stderr}");
    // Whatever a directory is called, it is one word to the target.
    let (_, stderr) =
        run(format!("cd '{allowed}/below/a'\\''; touch {}; '\\'''\n", fixture.mark().display()));
    assert!(!fixture.mark().exists(), "{stderr}");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn terminals_that_the_target_refuses_leave_the_session_usable() {
    let options = SshdOptions::new().config_line("PermitTTY no").config_line("MaxSessions 4");
    let fixture = Fixture::with(POLICY, options, Limits::default());
    fixture.runtime.block_on(async {
        let client = connect(&fixture).await;
        let run = async |terminal: bool| {
            let mut channel = client.channel_open_session().await.unwrap();
            if terminal {
                channel.request_pty(true, "xterm", 80, 24, 0, 0, &[]).await.unwrap();
            }
            channel.exec(true, "echo in").await.unwrap();
            let mut status = None;
            while let Some(message) = channel.wait().await {
                if let ChannelMsg::ExitStatus { exit_status } = message {
                    status = Some(exit_status);
                }
            }
            status
        };
        assert_eq!(run(false).await, Some(0));
        // More than the channels that the server gives on one connection.
        for _ in 0..12 {
            assert_eq!(run(true).await, Some(255));
        }
        assert_eq!(run(false).await, Some(0));
    });
    let reasons = fixture.events_of("command.executed");
    assert!(reasons.iter().filter(|e| e["reason"] == "target_terminal_refused").count() == 12, "{reasons:?}");
}
