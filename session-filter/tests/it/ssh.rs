//! The SSH engine between real peers: OpenSSH's client on one side, OpenSSH's server on the other.

mod bypass;
mod doors;
mod fixture;
mod flow;
mod forwards;
mod hostile;
mod lives;
#[cfg(feature = "totp")]
mod logins;
mod passed_on;
mod relay;
mod sftp;
mod slow_parts;
mod terminals;
mod tools;
