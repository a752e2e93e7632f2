//! `session-proxy demo`: everything on loopback, the main job shown, then served on.

mod client;
mod show;
mod target;

use std::path::PathBuf;

use russh::keys::PublicKey;
use serde_json::json;
use session_filter::ssh::{Credential, Destination, HostKeys, Inventory};
use session_filter::{Mode, Target};
use tokio::net::TcpListener;

use crate::limits::LimitsToml;
use crate::operators::Operators;
use crate::serve::{Parts, Ready, stop_signal};
use crate::{Failure, files, users};

/// The account on the demo's target. The demo's target runs commands as whoever started the demo, whatever it is called.
const ACCOUNT: &str = "deploy";
const TARGET: &str = "demo-target";

/// The users that the demo makes: one for each way to work. What they may do stands in `demo/policy.toml`.
const USERS: [User; 3] = [
    User { name: "alice", mode: Mode::ExecOnly, commands: COMMANDS },
    User { name: "maria", mode: Mode::Managed, commands: COMMANDS },
    // There is no list of commands for a raw terminal.
    User { name: "ursula", mode: Mode::Unrestricted, commands: &[] },
];
const COMMANDS: &[&str] = &["echo ...", "ls ...", "cat /etc/os-release"];

/// A user of the demo.
#[derive(Clone, Copy)]
pub(crate) struct User {
    pub(crate) name: &'static str,
    pub(crate) mode: Mode,
    pub(crate) commands: &'static [&'static str],
}

const POLICY: &str = include_str!("../demo/policy.toml");

/// What a run of the demo is made of; also what `--json` prints.
pub(crate) struct Stage {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) users: Vec<(User, String)>,
    pub(crate) host_key: PublicKey,
    pub(crate) data_dir: PathBuf,
}

pub(crate) async fn run(data_dir: PathBuf, json: bool) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        crate::say!(
            "warning: running as root: the demo's target runs permitted commands as root; \
             an ordinary user will do"
        );
    }
    files::private_dir(&data_dir)?;
    let data_dir = data_dir.canonicalize().map_err(Failure::because("cannot use the data directory"))?;
    let stop = stop_signal()?;

    // The target, with keys of this run only.
    let target_listener =
        TcpListener::bind(("127.0.0.1", 0)).await.map_err(Failure::because("cannot listen on loopback"))?;
    let target_address =
        target_listener.local_addr().map_err(Failure::because("cannot listen on loopback"))?;
    let (target_host_key, credential) = (files::new_key()?, files::new_key()?);
    let key_file = data_dir.join("target_key");
    files::write_key(&key_file, &credential)?;
    let destination = Destination::new(
        Target::new(TARGET).tag("demo"),
        target_address.ip().to_string(),
        target_address.port(),
        HostKeys::Pinned(vec![target_host_key.public_key().clone()]),
    );
    tokio::spawn(target::serve(
        target_listener,
        target_host_key,
        ACCOUNT.to_owned(),
        credential.public_key().clone(),
    ));

    // Users and policy, in files that can be edited while it runs.
    let mut stage_users = Vec::new();
    let mut listed = "# Edit while the demo runs: a user who is removed is out within a second.\n".to_owned();
    for user in USERS {
        let password = random_password()?;
        listed.push_str(&format!(
            "\n[[user]]\nname = \"{}\"\npassword = \"{}\"\nroles = [\"visitor\"]\n",
            user.name,
            users::hash(&password)?
        ));
        stage_users.push((user, password));
    }
    let users_file = data_dir.join("users.toml");
    files::private_file(&users_file, listed.as_bytes())?;
    let policy_file = data_dir.join("policy.toml");
    files::private_file(&policy_file, POLICY.as_bytes())?;

    let host_key = files::kept_key(&data_dir.join("host_key"))?;
    let control_socket = data_dir.join("control.sock");
    let ready = Ready::new(Parts {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: data_dir.clone(),
        totp_key: None,
        host_key: host_key.clone(),
        policy: policy_file,
        users: users_file,
        control_socket: control_socket.clone(),
        control_group: None,
        operators: Operators::own_account_and_root(),
        limits: LimitsToml::default(),
        anomalies: None,
        checkpoints: crate::config::Checkpoints::default(),
        receiver: None,
        inventory: Inventory::new().target(destination, Credential::key(ACCOUNT, credential)),
    })
    .await?;

    let stage = Stage {
        address: ready.address,
        users: stage_users,
        host_key: host_key.public_key().clone(),
        data_dir: data_dir.clone(),
    };
    if json {
        let line = json!({
            "ssh": { "host": ready.address.ip().to_string(), "port": ready.address.port() },
            "users": stage.users.iter().map(|(user, password)| json!({
                "name": user.name,
                "password": password,
                "target": TARGET,
                "mode": user.mode,
                "commands": user.commands,
            })).collect::<Vec<_>>(),
            "target": {
                "host": target_address.ip().to_string(),
                "port": target_address.port(),
                "user": ACCOUNT,
                "key_file": key_file,
            },
            "data_dir": data_dir,
            "control_socket": control_socket,
        });
        println!("{line}");
        return ready.serve_until(stop).await;
    }

    let log = ready.log.clone();
    let (shown, show_over) = tokio::sync::oneshot::channel();
    let show = tokio::spawn(async move {
        let result = show::run(&stage, &log).await;
        if result.is_err() {
            let _ = shown.send(());
        }
        result
    });
    // A show that fails ends the demo: it has nothing left to demonstrate.
    let until = async {
        tokio::select! {
            () = stop => {}
            Ok(()) = show_over => {}
        }
    };
    ready.serve_until(until).await?;
    if show.is_finished() { show.await.map_err(Failure::because("the demo broke"))? } else { Ok(()) }
}

/// 128 random bits, in letters and digits that survive any quoting.
fn random_password() -> Result<String, Failure> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(Failure::because("no randomness"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
