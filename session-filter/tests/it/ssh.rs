//! The SSH engine between real peers: OpenSSH's client on one side, OpenSSH's server on the other.

mod anomalies;
mod bypass;
mod doors;
mod fixture;
mod flow;
mod forwards;
mod hostile;
mod lives;
#[cfg(feature = "totp")]
mod logins;
mod managed;
mod managed_bypass;
mod menu;
mod passed_on;
mod relay;
mod scp;
mod sftp;
mod slow_parts;
mod terminals;
mod tmux;
mod tools;
mod unrestricted;
