//! Real syslog servers that write what they receive into a file.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::authority::{CA_CERT, CERT, KEY_FILE, make_certificates};
use crate::process::{Running, poll_until};
use crate::{Error, Toolbox, free_port};

/// Which of the two that most machines have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyslogProgram {
    /// `rsyslogd`.
    Rsyslog,
    /// `syslog-ng`.
    SyslogNg,
}

impl SyslogProgram {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Rsyslog, Self::SyslogNg];
}

/// A syslog server on two free ports of 127.0.0.1: TCP, and TLS with a certificate for `localhost` out of an authority of its own.
///
/// It writes a line for each message: priority, host, application, kind, structured data and the message itself, with tabs between them.
/// The program comes from Debian packages that `cargo xtask test` unpacks ([`Toolbox::unpacked`]); dropping it kills it.
#[derive(Debug)]
pub struct SyslogServer {
    program: Running,
    port: u16,
    tls_port: u16,
    dir: TempDir,
}

impl SyslogServer {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// [`Error::NotPrepared`] without the unpacked packages, [`Error::NotStarted`] where it does not listen within thirty seconds.
    pub fn start(program: SyslogProgram) -> Result<Self, Error> {
        let root = Toolbox::find()?.unpacked().join("root");
        if !root.is_dir() {
            return Err(Error::NotPrepared { what: "the unpacked syslog server" });
        }
        let dir = tempfile::Builder::new().prefix("testbed-syslog-").tempdir();
        let dir = dir.map_err(Error::io("create", "/tmp"))?;
        make_certificates(dir.path())?;
        let (port, tls_port) = (free_port()?, free_port()?);
        let (config, command) = match program {
            SyslogProgram::Rsyslog => (rsyslog(dir.path(), port, tls_port), run_rsyslog(&root, dir.path())),
            SyslogProgram::SyslogNg => {
                (syslog_ng(dir.path(), port, tls_port), run_syslog_ng(&root, dir.path()))
            }
        };
        let path = dir.path().join(CONFIG);
        fs::write(&path, config).map_err(Error::io("write", path))?;
        let mut server = Self { program: Running::spawn(command)?, port, tls_port, dir };
        let listens = |port: &u16| TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok();
        // Each port is asked until it answers once: these connections count against what a server takes at a time.
        let mut silent = vec![port, tls_port];
        let outcome = poll_until(Instant::now() + START_LIMIT, || {
            silent.retain(|port| !listens(port));
            if silent.is_empty() {
                return Some(None);
            }
            server.program.has_ended().ok().filter(|ended| *ended).map(|_| Some("it ended"))
        });
        let reason = match outcome {
            Some(None) => return Ok(server),
            Some(Some(reason)) => reason,
            None => "it did not listen in time",
        };
        let log = String::from_utf8_lossy(&[server.program.stdout(), server.program.stderr()].concat())
            .into_owned();
        Err(Error::NotStarted { program: format!("{program:?}"), reason: reason.to_owned(), log })
    }

    /// Where it speaks syslog over TCP.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where it speaks syslog over TLS.
    pub fn tls_addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.tls_port).into()
    }

    /// The certificate of the authority that its own comes from, as PEM.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn ca_pem(&self) -> Result<String, Error> {
        let path = self.dir.path().join(CA_CERT);
        fs::read_to_string(&path).map_err(Error::io("read", path))
    }

    /// What it has written, once there are so many lines or half a minute has passed.
    pub fn lines(&self, count: usize) -> Vec<String> {
        let read = || {
            let text = fs::read(self.dir.path().join(WRITTEN)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let there =
            poll_until(Instant::now() + START_LIMIT, || Some(read()).filter(|lines| lines.len() >= count));
        there.unwrap_or_else(read)
    }
}

/// What the servers need of the unpacked libraries.
fn within(root: &Path, program: &str) -> Command {
    let mut command = Command::new(root.join(program));
    let libraries: Vec<PathBuf> = ["usr/lib", "lib"]
        .into_iter()
        .flat_map(|lib| {
            let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
            [root.join(lib).join(&triplet), root.join(lib).join("syslog-ng"), root.join(lib)]
        })
        .collect();
    let libraries: Vec<String> = libraries.iter().map(|path| path.display().to_string()).collect();
    command.env("LD_LIBRARY_PATH", libraries.join(":"));
    command
}

fn run_rsyslog(root: &Path, dir: &Path) -> Command {
    let mut command = within(root, "usr/sbin/rsyslogd");
    let modules = root.join(format!("usr/lib/{}-linux-gnu/rsyslog", std::env::consts::ARCH));
    // In the foreground, with no look at the machine's own names.
    command
        .args(["-n", "-x", "-f"])
        .arg(dir.join(CONFIG))
        .arg("-i")
        .arg(dir.join("pid"))
        .arg("-M")
        .arg(modules);
    command
}

fn rsyslog(dir: &Path, port: u16, tls_port: u16) -> String {
    let dir = dir.display();
    format!(
        "global(workDirectory=\"{dir}\" maxMessageSize=\"64k\" parser.escapeControlCharactersOnReceive=\"on\"\n  \
         defaultNetstreamDriverCAFile=\"{dir}/{CA_CERT}\" defaultNetstreamDriverCertFile=\"{dir}/{CERT}\"\n  \
         defaultNetstreamDriverKeyFile=\"{dir}/{KEY_FILE}\")\n\
         module(load=\"imtcp\")\n\
         template(name=\"line\" type=\"string\"\n  \
         string=\"%pri%\\t%hostname%\\t%app-name%\\t%msgid%\\t%structured-data%\\t%msg%\\n\")\n\
         ruleset(name=\"write\") {{ action(type=\"omfile\" file=\"{dir}/{WRITTEN}\" template=\"line\") }}\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" ruleset=\"write\")\n\
         input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{tls_port}\" ruleset=\"write\" streamDriver.name=\"ossl\"\n  \
         streamDriver.mode=\"1\" streamDriver.authMode=\"anon\")\n"
    )
}

fn run_syslog_ng(root: &Path, dir: &Path) -> Command {
    let mut command = within(root, "usr/sbin/syslog-ng");
    let modules = fs::read_dir(root.join("usr/lib/syslog-ng"))
        .ok()
        .and_then(|versions| versions.flatten().map(|version| version.path()).find(|path| path.is_dir()));
    command.args(["-F", "--no-caps", "--stderr", "-f"]).arg(dir.join(CONFIG));
    command
        .arg("-R")
        .arg(dir.join("persist"))
        .arg("-p")
        .arg(dir.join("pid"))
        .arg("-c")
        .arg(dir.join("control"));
    command.arg("--module-path").arg(modules.unwrap_or_default());
    command
}

fn syslog_ng(dir: &Path, port: u16, tls_port: u16) -> String {
    let dir = dir.display();
    format!(
        // Without a number it takes ten connections, and ends the eleventh at once.
        "@version: 3.38\n\
         options {{ keep-hostname(yes); use-dns(no); log-msg-size(65536); stats-freq(0); }};\n\
         source s_tcp {{ syslog(ip(\"127.0.0.1\") port({port}) transport(\"tcp\") max-connections(1000)); }};\n\
         source s_tls {{ syslog(ip(\"127.0.0.1\") port({tls_port}) transport(\"tls\") max-connections(1000) tls(key-file(\"{dir}/{KEY_FILE}\")\n  \
         cert-file(\"{dir}/{CERT}\") peer-verify(optional-untrusted))); }};\n\
         destination d {{ file(\"{dir}/{WRITTEN}\" template(\"$PRI\\t$HOST\\t$PROGRAM\\t$MSGID\\t$SDATA\\t$MSG\\n\")); }};\n\
         log {{ source(s_tcp); source(s_tls); destination(d); }};\n"
    )
}

const CONFIG: &str = "syslog.conf";
const WRITTEN: &str = "written";
const START_LIMIT: Duration = Duration::from_secs(30);
