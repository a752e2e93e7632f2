//! The main job, shown on the terminal: permitted, blocked, found again, and a flipped byte caught.

use std::path::Path;

use audit_log::{AuditLog, FileKeys, FileStore, Query, Reader, VerifyOptions};
use futures::TryStreamExt as _;

use super::{Mode, Stage, TARGET, USERS, client};
use crate::Failure;

pub(crate) async fn run(stage: &Stage, log: &AuditLog) -> Result<(), Failure> {
    println!("session-proxy demo");
    println!("  proxy on {}, data in {}", stage.address, stage.data_dir.display());
    for user in USERS {
        match user.mode {
            Mode::Unrestricted => println!("  `{}` has a raw terminal on {TARGET}, recorded", user.name),
            Mode::Managed => {
                println!("  `{}` has a prompt on {TARGET}, for: {}", user.name, user.commands.join(", "));
            }
            _ => println!("  `{}` may run on {TARGET}: {}", user.name, user.commands.join(", ")),
        }
    }

    println!("\n1. A permitted command runs on the target:");
    say(stage, "echo hello from the target").await?;

    println!("\n2. A command that no rule permits never reaches it:");
    say(stage, "cat /etc/shadow").await?;
    say(stage, "echo hello; id").await?;

    println!("\n3. The encrypted log finds both:");
    for text in ["hello from the target", "/etc/shadow"] {
        println!("   $ auditor --data-dir {} search '{text}'", stage.data_dir.display());
        let mut hits = log.search(Query::text(text));
        while let Some(hit) = hits.try_next().await.map_err(Failure::because("the search failed"))? {
            let field = |name: &str| hit.fields.get(name).and_then(|v| v.as_str()).unwrap_or("").to_owned();
            if hit.event_type == "command.started" || hit.event_type == "command.blocked" {
                println!(
                    "   {}  {}  {}",
                    hit.timestamp.format("%H:%M:%S%.3f"),
                    hit.event_type,
                    field("command").escape_debug()
                );
            }
        }
    }

    println!("\n4. A copy of the log with one byte flipped is found out:");
    flip_and_verify(stage).await?;

    let (port, dir) = (stage.address.port(), stage.data_dir.display());
    println!("\nServing on. Try, with these passwords:");
    for (user, password) in &stage.users {
        println!("  {:8} {password}", user.name);
    }
    let [alice, maria, ursula] = USERS.map(|user| user.name);
    println!("  ssh -p {port} {alice}@127.0.0.1 'ls -l /'");
    println!("  ssh -p {port} {alice}@127.0.0.1 'ls; rm -rf /tmp/x'    # refused before anything runs");
    println!(
        "  ssh -p {port} {alice}@127.0.0.1                        # no shell: the permitted list instead"
    );
    println!(
        "  ssh -tt -p {port} {maria}@127.0.0.1                    # a prompt; `help` says what it can do"
    );
    println!("  ssh -tt -p {port} {ursula}@127.0.0.1                   # a raw terminal, recorded");
    println!("Look in, from another terminal:");
    println!("  cargo run --release -p session-proxy -- sessions list --socket {dir}/control.sock");
    println!(
        "  cargo run --release -p session-proxy -- sessions watch ID --socket {dir}/control.sock  # `q` leaves"
    );
    println!("  cargo run --release -p session-proxy -- sessions terminate ID --socket {dir}/control.sock");
    println!("Look back:");
    println!("  cargo run --release -p auditor -- --data-dir {dir} verify");
    println!("  cargo run --release -p auditor -- --data-dir {dir} search hello");
    println!("  cargo run --release -p auditor -- --data-dir {dir} play SESSION");
    println!("  edit {dir}/policy.toml and run the next command");
    println!("Stop with Ctrl-C; sessions then end with a reason, and the log is closed.");
    Ok(())
}

async fn say(stage: &Stage, command: &str) -> Result<(), Failure> {
    println!("   $ ssh {}@proxy {command:?}", USERS[0].name);
    let seen = client::exec(stage, command).await?;
    for line in seen.stdout.lines().chain(seen.stderr.lines()) {
        println!("   {}", line.escape_debug());
    }
    let status = seen.exit_status.map_or_else(|| "none".to_owned(), |status| status.to_string());
    println!("   (exit status {status})");
    Ok(())
}

/// Copies the log, flips one bit in the middle of what is written, and verifies both.
async fn flip_and_verify(stage: &Stage) -> Result<(), Failure> {
    let failed = || Failure::because::<std::io::Error>("cannot copy the log");
    let copy = stage.data_dir.join("flipped-copy");
    let _ = std::fs::remove_dir_all(&copy);
    std::fs::create_dir(&copy).map_err(failed())?;
    let mut flipped = None;
    for entry in std::fs::read_dir(stage.data_dir.join("audit")).map_err(failed())? {
        let path = entry.map_err(failed())?.path();
        let Some(name) = path.file_name().filter(|_| path.is_file()) else { continue };
        let mut bytes = std::fs::read(&path).map_err(failed())?;
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        if flipped.is_none()
            && path.extension().is_some_and(|e| e == "log")
            && let Some(byte) = bytes.get_mut(written / 2)
        {
            *byte ^= 1;
            flipped = Some(format!("{} at byte {}", name.to_string_lossy(), written / 2));
        }
        std::fs::write(copy.join(name), bytes).map_err(failed())?;
    }
    println!("   flipped one bit of {}", flipped.ok_or_else(|| Failure::new("the log is empty"))?);
    println!("   the log:  {}", verdict(&stage.data_dir.join("audit"), &stage.data_dir.join("keys")).await?);
    println!("   the copy: {}", verdict(&copy, &stage.data_dir.join("keys")).await?);
    std::fs::remove_dir_all(&copy).map_err(failed())
}

/// Verifies as the auditor binary does: read only, every byte, content included.
async fn verdict(log: &Path, keys: &Path) -> Result<String, Failure> {
    let store = FileStore::read_only(log).map_err(Failure::because("cannot open the log"))?;
    let keys = FileKeys::read_only(keys).map_err(Failure::because("cannot open the keys"))?;
    let reader = Reader::open(store, keys);
    let verified = tokio::task::spawn_blocking(move || reader.verify(&VerifyOptions::new(), |_| ()));
    Ok(match verified.await.map_err(Failure::because("the verification broke"))? {
        Ok(report) => format!("whole, {} entries", report.entries),
        Err(error) => format!("TAMPERED: {error}"),
    })
}
