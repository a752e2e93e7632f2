//! Real SCIM servers.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use crate::toolbox::Toolbox;
use crate::{Error, Running};

/// A real SCIM server with nothing in it, on a free port of 127.0.0.1.
///
/// It listens for the end of its standard input, so it goes with whoever started it, however that ends. Dropping it kills
/// it at once.
pub struct ScimServer {
    name: &'static str,
    running: Running,
    port: u16,
    path: &'static str,
}

impl ScimServer {
    /// `scim2-server` (Python): every feature of RFC 7644, paging by index. HTTP/1.0, a connection for each request.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] where `cargo xtask test` has not installed it yet; [`Error::NotStarted`] with what it said
    /// when it does not listen within thirty seconds.
    pub fn scim2_server() -> Result<Self, Error> {
        Self::start("scim2-server", "/v2", scim2_server(&[])?)
    }

    /// `scim2-server` that also pages by cursor (RFC 9865).
    ///
    /// # Errors
    /// As [`ScimServer::scim2_server`].
    pub fn scim2_server_with_cursor() -> Result<Self, Error> {
        let dir = tempfile::Builder::new().prefix("testbed-scim-").tempdir();
        let dir = dir.map_err(Error::io("create", "/tmp"))?;
        let config = dir.path().join("config.json");
        std::fs::write(&config, CURSOR_CONFIG).map_err(Error::io("write", &config))?;
        let path = config.display().to_string();
        // The file is read before it listens, so the directory may go after that.
        Self::start("scim2-server", "/v2", scim2_server(&["--service-provider-config", &path])?)
    }

    /// `scimmy-routers` (Node) in a small express application: keeps connections open, answers with relative locations,
    /// has no versions. `/Me` is the user with the name `me`; `/requests` says how many requests came.
    ///
    /// # Errors
    /// As [`ScimServer::scim2_server`].
    pub fn scimmy() -> Result<Self, Error> {
        let mut command = Toolbox::find()?.node(SCIMMY)?;
        command.arg(TOKEN);
        Self::start("scimmy-routers", "/scim/v2", command)
    }

    fn start(name: &'static str, path: &'static str, command: Command) -> Result<Self, Error> {
        let running = Running::spawn(command)?;
        let listens = running.wait_for_stdout("\n", START_LIMIT);
        let said = String::from_utf8_lossy(&running.stdout()).into_owned();
        let port = said.lines().find_map(|line| line.strip_prefix("listening on ")?.trim().parse().ok());
        match port {
            Some(port) if listens => Ok(Self { name, running, port, path }),
            _ => {
                let log = running.kill()?.stderr_text();
                let reason = format!("it did not say where it listens within {START_LIMIT:?}");
                Err(Error::NotStarted { program: name.to_owned(), reason, log })
            }
        }
    }

    /// The name of the product.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The path of its base, as `/v2`.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// The URL of its base, without a slash at its end.
    pub fn base_url(&self) -> String {
        format!("http://{}{}", self.addr(), self.path)
    }

    /// The bearer token that it wants.
    pub fn token(&self) -> &'static str {
        TOKEN
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.running.stderr()).into_owned()
    }
}

impl fmt::Debug for ScimServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScimServer")
            .field("name", &self.name)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

fn scim2_server(options: &[&str]) -> Result<Command, Error> {
    let mut command = Toolbox::find()?.python()?;
    command.args(["-c", SCIM2_SERVER, "--bearer-token", TOKEN]).args(options);
    Ok(command)
}

const SCIM2_SERVER: &str = include_str!("../scim/scim2_server.py");
const SCIMMY: &str = include_str!("../scim/scimmy.mjs");
const CURSOR_CONFIG: &str = include_str!("../scim/spc-cursor.json");
const TOKEN: &str = "testbed-token";
const START_LIMIT: Duration = Duration::from_secs(30);
