//! Free loopback ports.

use std::net::{Ipv4Addr, TcpListener};

use crate::Error;

/// A TCP port on 127.0.0.1 that nothing listened on a moment ago.
///
/// Another process may take it before its user binds it, so whoever starts a server on it must be ready to try again
/// with another one.
///
/// # Errors
/// When no loopback port can be bound at all.
pub fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|addr| addr.port())
        .map_err(Error::io("bind a port on", "127.0.0.1"))
}
