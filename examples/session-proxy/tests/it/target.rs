//! The demo's own target, reached directly: it behaves like a server that people log in to.

use std::time::{Duration, Instant};

use testbed::Running;

use super::on_terminal::OnTerminal;
use super::stage::{Demo, mark, running_with, wait_for};

/// Waits for `text` on a program's output.
fn shows(running: &Running, text: &str) {
    let came = running.wait_for_stdout(text, Duration::from_secs(20));
    assert!(came, "no `{text}` in: {}", String::from_utf8_lossy(&running.stdout()));
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn a_terminal_has_the_client_s_name_size_modes_and_signals() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let ssh = demo.direct().env("TERM", "vt220").arg("-tt");
    let mut shell = ssh.spawn_shell().unwrap();
    shell.write(b"PS1='ready> '; echo \"$0:$TERM:$(tty):$PWD\"\n").unwrap();
    let home = std::env::var("HOME").unwrap();
    shows(&shell, "-sh:vt220:/dev/pts/");
    shows(&shell, &format!(":{home}\r\n"));
    // A line typed to a terminal comes back by its echo.
    shell.write(b"printf '%s-%s\\n' in out\n").unwrap();
    shows(&shell, "in-out\r\n");
    let asleep = mark(98_761);
    shell.write(format!("stty -echo; sleep {asleep}; echo status $?\n").as_bytes()).unwrap();
    wait_for("it sleeps", || running_with(&asleep) == 1);
    shell.write(b"\x03").unwrap();
    // dash gives up the rest of the line at an interrupt, and says so by its status.
    shell.write(b"echo then $?\n").unwrap();
    shows(&shell, "then 130");
    shell.write(b"exit 7\n").unwrap();
    assert_eq!(shell.wait(Duration::from_secs(20)).unwrap().code(), Some(7));
    demo.terminate();
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn a_command_on_a_terminal_ends_with_its_status_and_all_of_its_output() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let output = demo.direct().arg("-tt").run("seq 20000; exit 3").unwrap();
    assert_eq!(output.code(), Some(3), "{}", output.stderr_text());
    let text = output.stdout_text();
    assert!(text.starts_with("1\r\n2\r\n") && text.ends_with("\r\n20000\r\n"), "{}", text.len());
    assert_eq!(text.lines().count(), 20_000);
    // A background job that keeps the terminal open holds nobody up.
    let began = Instant::now();
    let output = demo.direct().arg("-tt").run("sleep 30 & echo gone").unwrap();
    assert_eq!((output.code(), output.stdout_text().as_str()), (Some(0), "gone\r\n"));
    println!("a terminal that a job keeps open was closed after {:?}", began.elapsed());
    // Signals arrive, and their names come back.
    let killed = demo.direct().run("kill -TERM $$").unwrap();
    assert_eq!(killed.code(), Some(255));
    let environment = demo.direct().option("SetEnv=LC_TEST=passed").run("echo $LC_TEST $HOME $USER").unwrap();
    assert!(environment.stdout_text().starts_with("passed /"), "{}", environment.stdout_text());
    demo.terminate();
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn a_terminal_has_the_size_of_the_client_s_and_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let target = &demo.line["target"];
    let (port, key) = (target["port"].to_string(), target["key_file"].as_str().unwrap());
    let mut args: Vec<&str> =
        "-F none -t -o StrictHostKeyChecking=no -o LogLevel=ERROR -l deploy".split(' ').collect();
    args.extend(["-o", "UserKnownHostsFile=/dev/null", "-p", &port, "-i", key, "127.0.0.1"]);
    args.push("trap 'stty size' WINCH; stty size; while :; do sleep 0.05; done");
    let client = OnTerminal::spawn("ssh", &args, (91, 17));
    wait_for("the size is there", || client.text(91, 17).contains("17 91"));
    client.resize(73, 29);
    wait_for("the new size is there", || client.text(91, 17).contains("29 73"));
    client.press("\u{3}");
    client.wait();
    demo.terminate();
}

#[test]
#[ignore = "needs ssh: cargo xtask test"]
fn what_runs_on_a_closed_channel_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    for (on_terminal, mark) in [(true, mark(86_751)), (false, mark(86_752))] {
        let ssh = if on_terminal { demo.direct().arg("-tt") } else { demo.direct() };
        // One in the background, which ignores being hung up, and one in front.
        let line = format!("trap '' HUP; sh -c 'sleep {mark}; :' & sleep {mark}");
        let client = ssh.spawn(line).unwrap();
        wait_for("it runs", || running_with(&mark) >= 3);
        drop(client);
        wait_for("all of it is gone", || running_with(&mark) == 0);
    }
    demo.terminate();
}
