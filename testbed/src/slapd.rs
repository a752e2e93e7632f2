//! A real directory: OpenLDAP's slapd.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::authority::{CA_CERT, CERT, KEY_FILE, make_certificates};
use crate::process::{kill_group, poll_until, read_text};
use crate::program::Program;
use crate::{Error, Running, free_port};

/// What a test may change about a [`Slapd`].
#[derive(Debug, Clone, Default)]
pub struct SlapdOptions {
    global: Vec<String>,
    database: Vec<String>,
    ldif: Vec<String>,
}

impl SlapdOptions {
    /// A directory as [`Slapd`] describes it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a line to the global part of `slapd.conf`.
    #[must_use]
    pub fn global_line(mut self, line: impl Into<String>) -> Self {
        self.global.push(line.into());
        self
    }

    /// Adds a line to the database's part of `slapd.conf`, before its limits, access rules and overlays: of the first two, the
    /// first that fits counts.
    #[must_use]
    pub fn database_line(mut self, line: impl Into<String>) -> Self {
        self.database.push(line.into());
        self
    }

    /// Adds entries, as LDIF, before the server starts: nothing checks them but the schema.
    #[must_use]
    pub fn ldif(mut self, entries: impl Into<String>) -> Self {
        self.ldif.push(entries.into());
        self
    }
}

/// A real OpenLDAP server on free ports of 127.0.0.1: LDAP with StartTLS on one, LDAPS on the other, with a certificate for
/// `localhost` and 127.0.0.1 out of its own authority.
///
/// Below [`BASE_DN`](Self::BASE_DN) it holds `ou=people`, empty, and `ou=groups` with `cn=staff` and `cn=admins`
/// (`groupOfNames`), `cn=unique` (`groupOfUniqueNames`) and `cn=posix` (`posixGroup`). Schemas: core, cosine, inetOrgPerson, nis and the auxiliary class
/// `testbedAccount` with `accountDisabled`, `userAccountControl`, `objectGUID` and `sAMAccountName`. The overlays memberof
/// and refint are on. [`BIND_DN`](Self::BIND_DN) may do everything; nobody else may read. A search that is not paged ends
/// after 500 entries, as by default.
///
/// Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Slapd {
    child: Child,
    port: u16,
    tls_port: u16,
    dir: TempDir,
}

impl Slapd {
    /// The top of the tree.
    pub const BASE_DN: &'static str = "dc=example,dc=org";
    /// Who may do everything, as an ordinary entry: the limits of the server hold for it.
    pub const BIND_DN: &'static str = "cn=provisioner,dc=example,dc=org";
    /// The password of [`BIND_DN`](Self::BIND_DN).
    pub const PASSWORD: &'static str = "testbed-password";

    /// Starts the server and waits until it listens.
    ///
    /// # Errors
    /// [`Error::Needs`] without `slapd`, `slapadd` or `openssl`; [`Error::Failed`] where entries are refused;
    /// [`Error::NotStarted`] with its log when it refuses its configuration or does not listen within thirty seconds.
    pub fn start(options: SlapdOptions) -> Result<Self, Error> {
        let slapd = Program::find("slapd", "slapd")?;
        let dir = tempfile::Builder::new().prefix("testbed-slapd-").tempdir();
        let dir = dir.map_err(Error::io("create", "/tmp"))?;
        let program = runnable(&slapd, dir.path())?;
        make_certificates(dir.path())?;
        write_config(dir.path(), &options)?;
        let mut entries = BASE_LDIF.to_owned();
        for more in &options.ldif {
            entries.push('\n');
            entries.push_str(more);
        }
        load(&program, dir.path(), &entries)?;

        let mut refused = None;
        for _ in 0..PORT_TRIES {
            let (port, tls_port) = (free_port()?, free_port()?);
            let mut child = spawn(&program, dir.path(), port, tls_port)?;
            match wait_ready(&mut child, dir.path(), [port, tls_port]) {
                Ok(()) => return Ok(Self { child, port, tls_port, dir }),
                Err(error) => {
                    end(&mut child);
                    // Somebody else took a port between our look and its bind.
                    if !read_text(&dir.path().join(LOG)).contains("Address already in use") {
                        return Err(error);
                    }
                    refused = Some(error);
                }
            }
        }
        Err(refused.unwrap_or_else(|| Error::NotStarted {
            program: "slapd".into(),
            reason: "no port was free".into(),
            log: String::new(),
        }))
    }

    /// Where it speaks LDAP, in the clear until StartTLS.
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Where it speaks LDAP over TLS.
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

    /// The directory that holds its files; whatever a test puts there goes with it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it has logged so far: connections, operations and their results.
    pub fn log(&self) -> String {
        read_text(&self.dir.path().join(LOG))
    }

    /// The process id of the server.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What OpenLDAP's own client finds: LDIF, lines not folded. `filter` is as on its command line, `attributes` too.
    ///
    /// # Errors
    /// [`Error::Needs`] without `ldapsearch`; [`Error::Failed`] where the search is refused.
    pub fn search(&self, filter: &str, attributes: &[&str]) -> Result<String, Error> {
        let mut args =
            vec!["-b", Self::BASE_DN, "-LLL", "-o", "ldif-wrap=no", "-E", "pr=500/noprompt", filter];
        args.extend(attributes);
        self.client("ldapsearch", &args, "")
    }

    /// Changes entries as somebody else would, with OpenLDAP's own client: LDIF with `changetype`.
    ///
    /// # Errors
    /// [`Error::Needs`] without `ldapmodify`; [`Error::Failed`] where a change is refused.
    pub fn modify(&self, ldif: &str) -> Result<(), Error> {
        self.client("ldapmodify", &[], ldif).map(drop)
    }

    fn client(&self, program: &str, args: &[&str], input: &str) -> Result<String, Error> {
        let url = format!("ldap://{}", self.addr());
        let mut command = Program::find(program, "ldap-utils")?.command();
        // The settings of whoever runs the tests are not part of the test.
        command.env("LDAPNOINIT", "1");
        command.args(["-x", "-H", &url, "-D", Self::BIND_DN, "-w", Self::PASSWORD]).args(args);
        finish(program, Running::spawn(command)?, input)
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    kill_group(child);
    let _ = child.wait();
}

fn finish(program: &str, mut running: Running, input: &str) -> Result<String, Error> {
    running.feed_stdin(input.as_bytes().to_vec());
    let output = running.wait(START_LIMIT)?;
    match output.status.success() {
        true => Ok(output.stdout_text()),
        false => Err(Error::Failed { program: program.to_owned(), stderr: output.stderr_text() }),
    }
}

/// Ubuntu confines `/usr/sbin/slapd` to the system's own directories, by its path. A copy is not confined.
fn runnable(slapd: &Program, dir: &Path) -> Result<PathBuf, Error> {
    let own = dir.join("slapd");
    match Path::new("/etc/apparmor.d/usr.sbin.slapd").exists() {
        true => fs::copy(slapd.path(), &own).map(|_| own).map_err(Error::io("copy", slapd.path())),
        false => Ok(slapd.path().to_owned()),
    }
}

fn write_config(dir: &Path, options: &SlapdOptions) -> Result<(), Error> {
    let schema = dir.join("testbed.schema");
    fs::write(&schema, SCHEMA).map_err(Error::io("write", &schema))?;
    let data = dir.join("data");
    fs::create_dir(&data).map_err(Error::io("create", &data))?;
    let directory = dir.display();
    let (base, bind) = (Slapd::BASE_DN, Slapd::BIND_DN);
    let config = format!(
        "include /etc/ldap/schema/core.schema\n\
         include /etc/ldap/schema/cosine.schema\n\
         include /etc/ldap/schema/inetorgperson.schema\n\
         include /etc/ldap/schema/nis.schema\n\
         include {directory}/testbed.schema\n\
         modulepath /usr/lib/ldap\n\
         moduleload back_mdb\n\
         moduleload memberof\n\
         moduleload refint\n\
         pidfile {directory}/pid\n\
         argsfile {directory}/args\n\
         TLSCACertificateFile {directory}/{CA_CERT}\n\
         TLSCertificateFile {directory}/{CERT}\n\
         TLSCertificateKeyFile {directory}/{KEY_FILE}\n\
         {global}\n\
         database mdb\n\
         suffix \"{base}\"\n\
         rootdn \"cn=root,{base}\"\n\
         directory {directory}/data\n\
         maxsize 1073741824\n\
         dbnosync\n\
         index objectClass,uid,employeeNumber,entryUUID,member,memberUid eq\n\
         {database}\n\
         limits dn.exact=\"{bind}\" size.soft=500 size.hard=500 size.prtotal=unlimited\n\
         access to attrs=userPassword by dn.exact=\"{bind}\" manage by anonymous auth by * none\n\
         access to * by dn.exact=\"{bind}\" manage by * none\n\
         overlay memberof\n\
         overlay refint\n\
         refint_attributes member uniqueMember\n\
         refint_nothing \"{bind}\"\n",
        global = options.global.join("\n"),
        database = options.database.join("\n"),
    );
    let path = dir.join(CONFIG);
    fs::write(&path, config).map_err(Error::io("write", path))
}

/// `slapadd` is slapd under another name.
fn load(program: &Path, dir: &Path, entries: &str) -> Result<(), Error> {
    let mut command = std::process::Command::new(program);
    command.arg0("slapadd").arg("-q").arg("-f").arg(dir.join(CONFIG));
    finish("slapadd", Running::spawn(command)?, entries).map(drop)
}

fn spawn(program: &Path, dir: &Path, port: u16, tls_port: u16) -> Result<Child, Error> {
    let path = dir.join(LOG);
    let log = fs::File::create(&path).map_err(Error::io("create", &path))?;
    std::process::Command::new(program)
        .args(["-d", "stats", "-h", &format!("ldap://127.0.0.1:{port} ldaps://127.0.0.1:{tls_port}"), "-f"])
        .arg(dir.join(CONFIG))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(Error::io("run", program))
}

/// Waits for its own word, which it says once the ports are its own, and then until it listens there.
fn wait_ready(child: &mut Child, dir: &Path, ports: [u16; 2]) -> Result<(), Error> {
    let log = dir.join(LOG);
    let not_started = |reason| Error::NotStarted { program: "slapd".into(), reason, log: read_text(&log) };
    let outcome = poll_until(Instant::now() + START_LIMIT, || {
        let listens = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        if read_text(&log).contains("slapd starting") && ports.into_iter().all(listens) {
            return Some(Ok(()));
        }
        match child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(Err(not_started(format!("it ended with {status}")))),
            Err(error) => Some(Err(not_started(error.to_string()))),
        }
    });
    outcome.unwrap_or_else(|| Err(not_started(format!("it did not listen within {START_LIMIT:?}"))))
}

const SCHEMA: &str = include_str!("../ldap/testbed.schema");
const BASE_LDIF: &str = include_str!("../ldap/base.ldif");
const CONFIG: &str = "slapd.conf";
const LOG: &str = "log";
const PORT_TRIES: usize = 5;
const START_LIMIT: Duration = Duration::from_secs(30);
