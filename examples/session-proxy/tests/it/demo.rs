//! What the demo promises in its line of JSON.

use super::stage::{Demo, entries, of_type, verify};

#[test]
#[ignore = "needs ssh and python3-cryptography: cargo xtask test"]
fn the_demo_s_user_runs_what_is_permitted_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    assert_eq!(demo.line["users"][0]["mode"], "exec-only");
    let mark = dir.path().join("mark");

    let direct = demo.direct().run(format!("echo direct; touch {}", mark.display())).unwrap();
    assert_eq!(direct.stdout_text(), "direct\n", "{}", direct.stderr_text());
    assert!(std::fs::remove_file(&mark).is_ok(), "positive control");

    assert_eq!(demo.ssh().run("echo hello").unwrap().stdout_text(), "hello\n");
    assert_eq!(
        demo.ssh().run("cat /etc/os-release").unwrap().stdout,
        std::fs::read("/etc/os-release").unwrap()
    );
    assert_eq!(demo.ssh().run("ls -d /").unwrap().stdout_text(), "/\n");
    let blocked = demo.ssh().run(format!("echo x; touch {}", mark.display())).unwrap();
    assert_eq!(blocked.code(), Some(126));
    assert!(!mark.exists());
    let shell = demo.ssh().shell().unwrap();
    assert!(shell.stdout_text().contains("cat /etc/os-release"));

    let (data_dir, password) = (demo.data_dir.clone(), demo.password().to_owned());
    let stopped = demo.terminate();
    assert_eq!(stopped.code(), Some(0), "{}", stopped.stderr_text());
    let entries = entries(&data_dir);
    let started = of_type(&entries, "command.started");
    let commands: Vec<_> = started.iter().map(|entry| entry["command"].as_str().unwrap()).collect();
    assert_eq!(commands, ["echo hello", "cat /etc/os-release", "ls -d /"]);
    assert_eq!(of_type(&entries, "command.blocked").len(), 1);
    assert_eq!(of_type(&entries, "command.executed").len(), 3);
    assert_eq!(of_type(&entries, "session.started").len(), of_type(&entries, "session.ended").len());
    super::stage::agree_with_python(&data_dir);
    assert_eq!(verify(&data_dir).unwrap().entries, entries.len() as u64);
    assert!(entries.iter().all(|entry| !entry.to_string().contains(&password)));
    assert!(!stopped.stderr_text().contains(&password));
}

#[test]
#[ignore = "needs ssh and python3-cryptography: cargo xtask test"]
fn the_data_directory_is_private_and_the_next_run_goes_on_in_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("demo");
    let first = Demo::start(&data_dir);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data_dir), 0o700);
    for file in ["host_key", "target_key", "users.toml", "control.sock"] {
        assert_eq!(mode(&data_dir.join(file)), 0o600, "{file}");
    }
    first.ssh().run("echo first run").unwrap();
    let password = first.password().to_owned();
    first.terminate();
    let second = Demo::start(&data_dir);
    assert_ne!(second.password(), password, "passwords are random per run");
    second.ssh().run("echo second run").unwrap();
    second.terminate();
    let commands: Vec<_> =
        of_type(&entries(&data_dir), "command.started").iter().map(|e| e["command"].clone()).collect();
    assert_eq!(commands, ["echo first run", "echo second run"]);
    verify(&data_dir).unwrap();
}

#[test]
#[ignore = "needs ssh and python3-cryptography: cargo xtask test"]
fn one_flipped_bit_is_found_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let demo = Demo::start(&dir.path().join("demo"));
    let data_dir = demo.data_dir.clone();
    demo.ssh().run("echo evidence").unwrap();
    demo.terminate();
    let segment = data_dir.join("audit/segment-00000000.log");
    let whole = std::fs::read(&segment).unwrap();
    for at in (0..whole.len()).step_by(997).chain([whole.len() - 1]) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        std::fs::write(&segment, &flipped).unwrap();
        let error = verify(&data_dir).expect_err("a flipped bit passed").to_string();
        assert!(error.contains("segment-00000000.log"), "byte {at}: {error}");
    }
    std::fs::write(&segment, &whole).unwrap();
    verify(&data_dir).unwrap();
}
