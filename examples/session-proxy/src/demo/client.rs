//! A user's end of the demo: logs in to the proxy as an SSH client would, so that the demo needs no client installed.

use std::sync::Arc;

use russh::keys::{PublicKey, PublicKeyOrCertificate};
use russh::{ChannelMsg, client};

use super::Stage;
use crate::Failure;

/// What the user sees of one command.
pub(crate) struct Seen {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) exit_status: Option<u32>,
}

struct Client(PublicKey);

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(
            matches!(key, PublicKeyOrCertificate::PublicKey { key, .. } if key.key_data() == self.0.key_data()),
        )
    }
}

/// Runs one command through the proxy, as the first user.
pub(crate) async fn exec(stage: &Stage, command: &str) -> Result<Seen, Failure> {
    let failed = || Failure::because::<russh::Error>("the demo's own client failed");
    let config = Arc::new(client::Config { nodelay: true, ..client::Config::default() });
    let mut connection =
        client::connect(config, stage.address, Client(stage.host_key.clone())).await.map_err(failed())?;
    let [(user, password), ..] = stage.users.as_slice() else {
        return Err(Failure::new("the demo has no user"));
    };
    let login = connection.authenticate_password(user.name, password.as_str()).await.map_err(failed())?;
    if !login.success() {
        return Err(Failure::new("the demo's own user was not let in"));
    }
    let mut channel = connection.channel_open_session().await.map_err(failed())?;
    channel.exec(true, command).await.map_err(failed())?;
    let (mut stdout, mut stderr, mut exit_status) = (Vec::new(), Vec::new(), None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => stdout.extend_from_slice(&data),
            ChannelMsg::ExtendedData { data, .. } => stderr.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status: status } => exit_status = Some(status),
            _ => {}
        }
    }
    let _ = connection.disconnect(russh::Disconnect::ByApplication, "", "en").await;
    Ok(Seen {
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
        exit_status,
    })
}
