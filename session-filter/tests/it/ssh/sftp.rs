//! SFTP between OpenSSH's client and server, and a client that sends whatever it likes.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use session_filter::Policy;
use session_filter::registry::Termination;
use sha2::{Digest as _, Sha256};
use testbed::{Output, Program, Running, Ssh};

use super::fixture::Fixture;

pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Directories on the target: `up` for everything, `ro` to read, `out` for nothing.
pub(crate) struct Place {
    pub(crate) fixture: Fixture,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn policy(root: &Path) -> String {
    let root = root.display();
    format!(
        r#"
        [[permit]]
        users = ["alice"]
        targets = ["box"]
        [permit.files]
        read = ["{root}/up/**", "{root}/ro/**"]
        list = ["{root}/up/**", "{root}/ro/**"]
        write = ["{root}/up/**"]
        delete = ["{root}/up/*/**"]
        rename = ["{root}/up/*/**"]
        chmod = ["{root}/up/**"]
        link = ["{root}/up/**"]
        "#
    )
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["up", "ro", "out", "local"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        std::fs::write(dir.path().join("ro/notes"), "notes\n").unwrap();
        std::fs::write(dir.path().join("out/secret"), "secret\n").unwrap();
        std::fs::write(dir.path().join("local/file"), "content\n").unwrap();
        let fixture = Fixture::with_policy(&policy(dir.path()));
        Self { fixture, dir }
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn ssh(&self) -> Ssh {
        // The tools ask for no prompts; the first value given is the one that counts.
        self.fixture.ssh().option("BatchMode=no")
    }

    /// Runs a batch, in which `@` stands for the directory of all. A line that begins with `-` may fail.
    fn sftp(&self, ssh: &Ssh, batch: &str) -> Output {
        let program = ssh.program().unwrap();
        let mut command = Program::find("sftp", "openssh-client").unwrap().command();
        command.arg("-b").arg("-").arg("-S").arg(program.path()).arg("127.0.0.1");
        command.env_remove("SSH_AUTH_SOCK");
        let mut running = Running::spawn(command).unwrap();
        running.write(batch.replace('@', self.dir.path().to_str().unwrap()).as_bytes()).unwrap();
        running.close_stdin();
        running.wait(LIMIT).unwrap()
    }

    pub(crate) fn scp(&self, ssh: &Ssh, args: &[&str]) -> Output {
        let program = ssh.program().unwrap();
        let mut command = Program::find("scp", "openssh-client").unwrap().command();
        command.arg("-S").arg(program.path());
        command.args(args.iter().map(|arg| arg.replace('@', self.dir.path().to_str().unwrap())));
        command.env_remove("SSH_AUTH_SOCK");
        let mut running = Running::spawn(command).unwrap();
        running.close_stdin();
        running.wait(LIMIT).unwrap()
    }

    pub(crate) fn shown(&self, path: &str) -> String {
        self.path(path).display().to_string()
    }
}

pub(crate) fn assert_done(output: &Output) {
    assert_eq!(output.code(), Some(0), "{}\n{}", output.stdout_text(), output.stderr_text());
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_permitted_batch_runs_and_is_on_record() {
    let place = Place::new();
    let output = place.sftp(
        &place.ssh(),
        "cd @/up\nput @/local/file one\nls -l @/up\nmkdir sub\nput @/local/file sub/one\nrename sub/one sub/three\n-rename one @/ro/one\n\
         chmod 600 sub/three\nln sub/three sub/hard\nln -s three sub/soft\nls -la sub\ndf @/up\nget sub/soft @/local/back\n\
         put -p @/local/file sub/kept\nget -r sub @/local/all\nput -r @/local/all again\nrm sub/hard\nmkdir sub/empty\n\
         rmdir sub/empty\npwd\n",
    );
    assert_done(&output);
    assert_eq!(std::fs::read_to_string(place.path("local/back")).unwrap(), "content\n");
    assert_eq!(std::fs::metadata(place.path("up/sub/three")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_link(place.path("up/sub/soft")).unwrap(), Path::new("three"));
    assert!(!place.path("up/sub/hard").exists() && !place.path("up/sub/empty").exists());
    assert_eq!(std::fs::read_to_string(place.path("up/again/three")).unwrap(), "content\n");
    assert!(output.stdout_text().contains("three"), "{}", output.stdout_text());

    place.fixture.wait_for("the session is over", |f| f.events_of("session.ended").len() == 1);
    let fixture = &place.fixture;
    let changed = fixture.events_of("file.changed");
    let was = |operation: &str, path: &str| {
        let path = place.shown(path);
        changed.iter().any(|event| event["operation"] == operation && event["path"] == path.as_str())
    };
    assert!(was("SSH_FXP_MKDIR", "up/sub") && was("SSH_FXP_SETSTAT", "up/sub/three"));
    assert!(was("posix-rename@openssh.com", "up/sub/one") && was("hardlink@openssh.com", "up/sub/three"));
    assert!(was("SSH_FXP_SYMLINK", "up/sub/soft") && was("SSH_FXP_REMOVE", "up/sub/hard"));
    assert!(was("SSH_FXP_FSETSTAT", "up/sub/kept"));
    let listed = fixture.events_of("file.listed");
    let sub = place.shown("up/sub");
    assert!(
        listed.iter().any(|event| event["operation"] == "SSH_FXP_OPENDIR" && event["path"] == sub.as_str())
    );
    let renamed = changed.iter().find(|event| event["operation"] == "posix-rename@openssh.com").unwrap();
    assert_eq!(renamed["other_path"], place.shown("up/sub/three"));
    let blocked = fixture.events_of("file.blocked");
    assert_eq!(blocked.len(), 1, "{blocked:?}");
    assert_eq!(
        (&blocked[0]["access"], &blocked[0]["path"]),
        (&"rename".into(), &place.shown("ro/one").into())
    );
    let transferred = fixture.events_of("file.transferred");
    let opened = fixture.events_of("file.opened");
    assert_eq!(transferred.len(), opened.len());
    for event in &transferred {
        assert_eq!(event["sha256"], hex(b"content\n"), "{event}");
        assert!(opened.iter().any(|opened| opened["correlation_id"] == event["correlation_id"]));
    }
    let back = transferred.iter().find(|event| event["access"] == "read").unwrap();
    assert_eq!(
        back["path"],
        place.shown("up/sub/three"),
        "the link was followed, and what it leads to is on record"
    );
    let (doors, closed) = (fixture.events_of("door.opened"), fixture.events_of("door.closed"));
    assert_eq!((doors.len(), closed.len()), (1, 1));
    assert!(closed[0]["message"].as_str().unwrap().contains("look-ups"));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn what_is_not_permitted_leaves_no_trace() {
    let place = Place::new();
    symlink(place.path("out"), place.path("up/link")).unwrap();
    symlink(place.path("out/new"), place.path("up/dangling")).unwrap();
    symlink("../out/secret", place.path("up/leak")).unwrap();
    std::fs::create_dir(place.path("up/sub")).unwrap();
    std::fs::write(place.path("up/sub/mine"), "mine").unwrap();
    let denied = [
        "get @/out/secret @/local/got",
        "get @/up/../out/secret @/local/got",
        "get @/up/link/secret @/local/got",
        "get @/up/leak @/local/got",
        "put @/local/file @/out/put",
        "put @/local/file @/up/link/put",
        "put @/local/file @/up/dangling",
        "put @/local/file @/up/sub/../../out/put",
        "put @/local/file @/ro/put",
        "ls @/out",
        "ls @/up/link/",
        "rm @/out/secret",
        "rm @/up/link/secret",
        "rm @/ro/notes",
        "rename @/out/secret @/up/sub/secret",
        "rename @/up/sub/mine @/out/mine",
        "rename @/up/sub/mine @/up/link/mine",
        "ln @/out/secret @/up/sub/hard",
        "ln -s @/out/secret @/up/sub/soft",
        "ln -s ../../out/secret @/up/sub/soft",
        "chmod 777 @/out/secret",
        "chmod 777 @/up/leak",
        "mkdir @/out/dir",
        "mkdir @/up/link/dir",
        "rmdir @/out",
        "chmod 777 @/ro/notes",
        "df @/out",
    ];
    let state = |place: &Place| {
        let mut all = Vec::new();
        for name in ["out", "ro", "up", "up/sub"] {
            for entry in std::fs::read_dir(place.path(name)).unwrap() {
                let path = entry.unwrap().path();
                let meta = path.symlink_metadata().unwrap();
                all.push((path.clone(), meta.permissions().mode(), std::fs::read(&path).ok()));
            }
        }
        all.sort();
        all
    };
    let before = state(&place);
    let batch: String = denied.iter().map(|line| format!("-{line}\n")).collect();
    let output = place.sftp(&place.ssh(), &batch);
    assert_done(&output);
    assert_eq!(state(&place), before, "{}", output.stderr_text());
    assert!(!place.path("local/got").exists());
    let blocked = place.fixture.events_of("file.blocked");
    // Each line on its own: none of them is quietly let through, whatever the client makes of the answers.
    for line in denied {
        let seen = place.fixture.events_of("file.blocked").len();
        let output = place.sftp(&place.ssh(), &format!("{line}\n"));
        // A client that may not list what a link leads to shows the link.
        match line.starts_with("ls") {
            true => assert!(!output.stdout_text().contains("secret"), "{line}"),
            false => assert_ne!(output.code(), Some(0), "{line}"),
        }
        place.fixture.wait_for("it is on record", |f| f.events_of("file.blocked").len() > seen);
    }
    assert!(blocked.len() >= denied.len());
    assert!(blocked.iter().all(|event| event["reason"] == "path_not_permitted"), "{blocked:?}");
    assert_eq!(state(&place), before);
    assert!(place.fixture.events_of("file.transferred").is_empty());

    // The same lines do all of it where nobody checks.
    let output = place.sftp(&place.fixture.direct(), &batch);
    assert_done(&output);
    assert_ne!(state(&place), before, "positive control");
    assert!(
        place.path("local/got").exists() && place.path("out/put").exists() && place.path("out/new").exists()
    );
    // A policy without files has no file server at all.
    let bare = Fixture::new();
    let output = place.sftp(&bare.ssh().option("BatchMode=no"), "pwd\n");
    assert_ne!(output.code(), Some(0));
    assert_eq!(bare.events_of("request.refused")[0]["asked"], "sftp");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn scp_copies_both_ways_and_within_the_target() {
    let place = Place::new();
    let ssh = place.ssh();
    std::fs::create_dir(place.path("local/tree")).unwrap();
    std::fs::write(place.path("local/tree/leaf"), noise(300_000)).unwrap();
    assert_done(&place.scp(&ssh, &["@/local/file", "127.0.0.1:@/up/file"]));
    assert_done(&place.scp(&ssh, &["-r", "-p", "@/local/tree", "127.0.0.1:@/up/tree"]));
    assert_done(&place.scp(&ssh, &["127.0.0.1:@/ro/notes", "@/local/notes"]));
    assert_done(&place.scp(&ssh, &["-r", "127.0.0.1:@/up/tree", "@/local/copy"]));
    assert_done(&place.scp(&ssh, &["-3", "127.0.0.1:@/ro/notes", "127.0.0.1:@/up/notes"]));
    assert_eq!(std::fs::read(place.path("local/copy/leaf")).unwrap(), noise(300_000));
    assert_eq!(std::fs::read_to_string(place.path("up/notes")).unwrap(), "notes\n");
    let hashes: Vec<String> = place
        .fixture
        .events_of("file.transferred")
        .iter()
        .map(|event| event["sha256"].as_str().expect("transferred whole").to_owned())
        .collect();
    assert_eq!(hashes.iter().filter(|hash| **hash == hex(&noise(300_000))).count(), 2);
    assert_eq!(hashes.len(), 6);

    assert_ne!(place.scp(&ssh, &["@/local/file", "127.0.0.1:@/out/file"]).code(), Some(0));
    assert_ne!(place.scp(&ssh, &["127.0.0.1:@/out/secret", "@/local/got"]).code(), Some(0));
    assert!(!place.path("out/file").exists() && !place.path("local/got").exists());
    // Without `chmod` a copy that wants to keep times and modes still arrives.
    let whole = policy(place.dir.path());
    let without: Vec<&str> = whole.lines().filter(|line| !line.contains("chmod")).collect();
    place.fixture.policy.set(Policy::from_toml(&without.join("\n")).unwrap());
    assert_done(&place.scp(&ssh, &["-p", "@/local/file", "127.0.0.1:@/up/kept"]));
    assert_eq!(std::fs::read_to_string(place.path("up/kept")).unwrap(), "content\n");
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_large_file_arrives_whole_and_its_hash_is_that_of_the_file() {
    let place = Place::new();
    let content = noise(100 << 20);
    std::fs::write(place.path("local/big"), &content).unwrap();
    let expected = testbed::run("sha256sum", "coreutils", [place.path("local/big")]).unwrap().stdout_text();
    let expected = expected.split_whitespace().next().unwrap();
    let output = place.sftp(&place.ssh(), "put @/local/big @/up/big\nget @/up/big @/local/back\n");
    assert_done(&output);
    assert!(std::fs::read(place.path("up/big")).unwrap() == content);
    assert!(std::fs::read(place.path("local/back")).unwrap() == content);
    let transferred = place.fixture.events_of("file.transferred");
    assert_eq!(transferred.len(), 2);
    assert_eq!(
        (&transferred[0]["sha256"], &transferred[0]["bytes_written"]),
        (&expected.into(), &content.len().into())
    );
    assert_eq!(
        (&transferred[1]["sha256"], &transferred[1]["bytes_read"]),
        (&expected.into(), &content.len().into())
    );
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn an_interrupted_transfer_has_no_hash() {
    let place = Place::new();
    std::fs::File::create(place.path("ro/endless")).unwrap().set_len(1 << 40).unwrap();
    let program = place.ssh().program().unwrap();
    let mut command = Program::find("sftp", "openssh-client").unwrap().command();
    command.arg("-b").arg("-").arg("-S").arg(program.path()).arg("127.0.0.1");
    let mut running = Running::spawn(command).unwrap();
    let (from, to) = (place.shown("ro/endless"), place.path("local/endless"));
    running.write(format!("get {from} {}\n", to.display()).as_bytes()).unwrap();
    place.fixture.wait_for("some of it is there", |_| to.metadata().is_ok_and(|meta| meta.len() > 0));
    let live = place.fixture.registry.list().remove(0);
    assert!(place.fixture.registry.terminate(&live.session_id, Termination::new("bob", "enough")));
    place.fixture.wait_for("it is over", |f| !f.events_of("session.ended").is_empty());
    drop(running.kill().unwrap());
    let transferred = place.fixture.events_of("file.transferred").remove(0);
    assert_eq!(
        (&transferred["sha256"], &transferred["reason"]),
        (&serde_json::Value::Null, &"interrupted".into())
    );
    assert_eq!(place.fixture.events_of("door.closed")[0]["reason"], "terminated");
}

/// A client of the subsystem that writes packets by itself.
struct Raw(Running);

impl Raw {
    fn start(place: &Place) -> Self {
        let mut raw = Self(place.ssh().spawn_subsystem("sftp").unwrap());
        raw.send(&[1, 0, 0, 0, 3]);
        raw
    }

    fn send(&mut self, body: &[u8]) {
        let mut packet = (body.len() as u32).to_be_bytes().to_vec();
        packet.extend(body);
        self.0.write(&packet).unwrap();
    }

    fn request(&mut self, kind: u8, id: u32, strings: &[&str], rest: &[u8]) {
        let mut body = vec![kind];
        body.extend(id.to_be_bytes());
        for string in strings {
            body.extend((string.len() as u32).to_be_bytes());
            body.extend(string.as_bytes());
        }
        body.extend(rest);
        self.send(&body);
    }

    /// The first answer to `id`, as soon as it is there.
    fn answer(&self, id: u32) -> Option<Vec<u8>> {
        let output = self.0.stdout();
        let mut rest = output.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (packet, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            if packet[0] != 2 && packet[1..5] == id.to_be_bytes() {
                return Some(packet.to_vec());
            }
            rest = after;
        }
        None
    }

    fn wait(&self, place: &Place, id: u32) -> Vec<u8> {
        place.fixture.wait_for("an answer comes", |_| self.answer(id).is_some());
        self.answer(id).unwrap()
    }
}

const OPEN: u8 = 3;
const READ_FLAGS: [u8; 8] = [0, 0, 0, 1, 0, 0, 0, 0];

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn a_policy_that_changes_applies_to_an_open_file() {
    let place = Place::new();
    let mut raw = Raw::start(&place);
    raw.request(OPEN, 1, &[&place.shown("ro/notes")], &READ_FLAGS);
    let handle = raw.wait(&place, 1)[9..].to_vec();
    let handle = std::str::from_utf8(&handle).unwrap().to_owned();
    let at = |offset: u64| [&offset.to_be_bytes()[..], &[0, 0, 0, 1]].concat();
    raw.request(5, 2, &[&handle], &at(0));
    assert_eq!(raw.wait(&place, 2)[0], 103);
    let narrower =
        policy(place.dir.path()).replace(&format!(", \"{}/ro/**\"", place.dir.path().display()), "");
    place.fixture.policy.set(Policy::from_toml(&narrower).unwrap());
    raw.request(5, 3, &[&handle], &at(0));
    assert_eq!(raw.wait(&place, 3)[..9], [101, 0, 0, 0, 3, 0, 0, 0, 3], "permission denied");
    assert_eq!(place.fixture.events_of("file.blocked").len(), 1);
    place.fixture.policy.set(Policy::from_toml(&policy(place.dir.path())).unwrap());
    raw.request(5, 4, &[&handle], &at(0));
    assert_eq!(raw.wait(&place, 4)[0], 103);
    raw.0.close_stdin();
    assert_eq!(raw.0.wait(LIMIT).unwrap().code(), Some(0));
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn nothing_happens_before_it_is_on_record() {
    let place = Place::new();
    std::fs::create_dir(place.path("up/sub")).unwrap();
    std::fs::write(place.path("up/sub/file"), "x").unwrap();
    let mut raw = Raw::start(&place);
    raw.request(7, 1, &[&place.shown("up/sub/file")], &[]);
    assert_eq!(raw.wait(&place, 1)[0], 105);
    let held = place.fixture.recorder.hold();
    raw.request(13, 2, &[&place.shown("up/sub/file")], &[]);
    place.fixture.wait_for("it waits to be recorded", |f| !f.events_of("file.changed").is_empty());
    assert!(place.path("up/sub/file").exists() && raw.answer(2).is_none());
    drop(held);
    assert_eq!(raw.wait(&place, 2)[..9], [101, 0, 0, 0, 2, 0, 0, 0, 0]);
    assert!(!place.path("up/sub/file").exists());
    // With a recorder that fails, nothing happens at all and the session ends.
    std::fs::write(place.path("up/sub/file"), "x").unwrap();
    place.fixture.recorder.inner.break_now();
    raw.request(13, 3, &[&place.shown("up/sub/file")], &[]);
    place.fixture.wait_for("the session is over", |f| f.registry.list().is_empty());
    assert!(place.path("up/sub/file").exists());
    drop(raw.0.wait(LIMIT).unwrap());
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn hostile_packets_end_their_channel_and_nothing_else() {
    let place = Place::new();
    let master = place.ssh().master().unwrap();
    for bytes in [
        [0xff_u8; 64].to_vec(),
        vec![0; 64],
        vec![0, 0, 0, 5, 1, 0, 0, 0, 1],
        vec![0, 0, 0, 5, 3, 0, 0, 0, 1],
        vec![0, 0, 0, 5, 1, 0, 0, 0, 3, 0, 0, 0, 5, 1, 0, 0, 0, 3],
        vec![0, 0, 0, 5, 1, 0, 0, 0, 3, 0, 4, 0xff, 0xff, 3],
    ] {
        let before = place.fixture.events_of("door.closed").len();
        let output = place.ssh().stdin(bytes.clone()).subsystem("sftp").unwrap();
        assert_eq!(output.code(), Some(1), "{bytes:?}: {}", output.stderr_text());
        let closed = place.fixture.events_of("door.closed");
        assert_eq!(closed.len(), before + 1);
        let last = closed.last().unwrap();
        assert_eq!((&last["reason"], &last["outcome"]), (&"client_protocol".into(), &"blocked".into()));
    }
    let mut raw = Raw::start(&place);
    // A handle that was never given, one more time with the file still closed; unknown types; a request cut short.
    raw.request(5, 1, &["\0\0\0\0"], &[0; 12]);
    raw.request(6, 2, &["\0\0\0\0"], &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, b'x']);
    raw.request(99, 3, &[], &[]);
    raw.request(13, 4, &[], &[0, 0, 0, 99]);
    raw.request(200, 5, &["file-hash@example.com", &place.shown("out/secret")], &[]);
    let codes: Vec<u8> = (1..=5).map(|id| raw.wait(&place, id)[8]).collect();
    assert_eq!(codes, [4, 4, 8, 5, 8]);
    place.fixture.wait_for("all are on record", |f| f.events_of("request.refused").len() == 5);
    // And it goes on.
    raw.request(16, 6, &[&place.shown("ro")], &[]);
    assert_eq!(raw.wait(&place, 6)[0], 104);
    raw.0.close_stdin();
    assert_eq!(raw.0.wait(LIMIT).unwrap().code(), Some(0));
    assert_eq!(master.control("check").unwrap().code(), Some(0));
    master.stop().unwrap();
}

#[test]
#[ignore = "needs sshd: cargo xtask test"]
fn requests_sent_all_at_once_are_decided_about_one_by_one() {
    let place = Place::new();
    std::fs::create_dir(place.path("up/sub")).unwrap();
    let mut raw = Raw::start(&place);
    // A link to be swapped in while its neighbour is being decided about.
    let (dir, link) = (place.shown("up/sub/dir"), place.shown("up/sub/dir/link"));
    let secret = place.shown("up/sub/dir/link/secret");
    raw.request(14, 1, &[&dir], &[0; 4]);
    raw.request(20, 2, &[&place.shown("out"), &link], &[]);
    raw.request(20, 3, &["../../../out", &link], &[]);
    raw.request(20, 4, &["../../out", &link], &[]);
    raw.request(18, 5, &[&link, &place.shown("up/sub/up")], &[]);
    raw.request(OPEN, 6, &[&secret], &READ_FLAGS);
    raw.request(OPEN, 7, &[&place.shown("up/sub/up/secret")], &READ_FLAGS);
    let codes: Vec<u8> = (1..=7).map(|id| raw.wait(&place, id)[8]).collect();
    // The fourth link points to `up/out`, which is permitted and does not exist; moved up it would lead out, and is not followed.
    assert_eq!(codes[..4], [0, 3, 3, 0]);
    assert_eq!(codes[4], 0);
    assert!(codes[5] != 0 && codes[6] != 0, "{codes:?}");
    assert!(place.fixture.events_of("file.transferred").is_empty());
    raw.0.close_stdin();
    drop(raw.0.wait(LIMIT).unwrap());
}
