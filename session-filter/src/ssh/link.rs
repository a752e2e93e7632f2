//! One authenticated connection to a target.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, AuthResult};
use russh::keys::{Algorithm, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{Channel, ChannelMsg, Disconnect, SshId};
use std::borrow::Cow;

use super::algorithms;
use super::doors::visitors::{Doorbell, Reception, Visit};
use super::lanes::Needs;
use super::target::{Connection, Credential, HostKeyError, Secret, fingerprint};
use super::unrestricted::{RawShell, Start};
use crate::door::Door;
use crate::quote;
use crate::record::Recorded;
use crate::verdict::Permit;

/// A connection that has proved its host key and accepted the credential.
pub(crate) struct Link {
    handle: client::Handle<Target>,
    /// Fingerprint of the key the target proved.
    pub(crate) host_key: String,
    /// The quoting self-test came back byte for byte.
    tested: AtomicBool,
    /// Where to ask for channels that the target opens.
    pub(crate) doorbell: Doorbell,
}

/// Why there is no link. Messages name no secret and nothing the target said unescaped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("the target cannot be reached: {0}")]
    Dial(std::io::Error),
    #[error("the target did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    #[error(transparent)]
    HostKey(#[from] HostKeyError),
    #[error("the target refused the injected credential")]
    Refused,
    #[error("the target broke the protocol: {0}")]
    Protocol(russh::Error),
    #[error("the target opens no channel: {0}")]
    Channel(russh::Error),
    #[error("the target does not listen: {0}")]
    Listen(russh::Error),
    #[error("the target gives no terminal")]
    NoTerminal,
    #[error("the target has no file server")]
    NoFileServer,
    #[error(
        "the target's shell does not keep quoted words as they are, so what runs there could differ from what was checked"
    )]
    SelfTest,
}

impl LinkError {
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Dial(_) => "target_unreachable",
            Self::Timeout(_) => "target_timeout",
            Self::HostKey(HostKeyError::Mismatch(_)) => "host_key_mismatch",
            Self::HostKey(_) => "host_key_unknown",
            Self::Refused => "credential_refused",
            Self::Protocol(_) => "target_protocol",
            Self::Channel(_) => "target_channel_refused",
            Self::Listen(_) => "target_listen_refused",
            Self::NoTerminal => "target_terminal_refused",
            Self::NoFileServer => "target_sftp_refused",
            Self::SelfTest => "quoting_self_test_failed",
        }
    }
}

/// Most bytes the self-test reads before it gives up on a target that prints something else.
const SELF_TEST_BYTES_MAX: usize = 16 * 1024;

/// What a line of ours printed, and how it ended.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: Option<u32>,
}

impl Link {
    /// Key exchange, host key check, login and, where it is needed, self-test over `stream`, within `timeout`.
    pub(crate) async fn open(
        stream: Box<dyn Connection>,
        accepted: Vec<PublicKey>,
        credential: Credential,
        needs: Needs,
        timeout: Duration,
    ) -> Result<Self, LinkError> {
        tokio::time::timeout(timeout, Self::open_now(stream, accepted, credential, needs))
            .await
            .unwrap_or(Err(LinkError::Timeout(timeout)))
    }

    async fn open_now(
        stream: Box<dyn Connection>,
        accepted: Vec<PublicKey>,
        credential: Credential,
        needs: Needs,
    ) -> Result<Self, LinkError> {
        let known: Vec<Algorithm> = accepted.iter().map(PublicKey::algorithm).collect();
        let config = client::Config {
            client_id: SshId::Standard(Cow::Borrowed(concat!(
                "SSH-2.0-session_filter_",
                env!("CARGO_PKG_VERSION")
            ))),
            preferred: algorithms::towards_target(&known),
            keepalive_interval: Some(Duration::from_secs(30)),
            nodelay: true,
            ..client::Config::default()
        };
        let proved = Arc::new(Mutex::new(None));
        let reception = Reception::default();
        let doorbell = reception.doorbell();
        let handler = Target { accepted, proved: Arc::clone(&proved), reception };
        let opened = client::connect_stream(Arc::new(config), stream, handler).await;
        let host_key = proved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
            .unwrap_or_else(|| "unknown".to_owned());
        let mut handle = match opened {
            Ok(handle) => handle,
            Err(russh::Error::UnknownKey) => return Err(HostKeyError::Mismatch(host_key).into()),
            Err(e) => return Err(LinkError::Protocol(e)),
        };
        if !login(&mut handle, credential).await? {
            return Err(LinkError::Refused);
        }
        let link = Self { handle, host_key, tested: AtomicBool::new(false), doorbell };
        if needs == Needs::Quoting {
            link.self_test().await?;
        }
        Ok(link)
    }

    /// Opens a session channel.
    pub(crate) async fn channel(&self) -> Result<Channel<client::Msg>, russh::Error> {
        self.handle.channel_open_session().await
    }

    /// Sends a checked and recorded command on `channel`: the one way in which a user's command reaches a target.
    pub(crate) async fn send(
        &self,
        channel: &Channel<client::Msg>,
        command: Recorded<Permit>,
    ) -> Result<(), russh::Error> {
        channel.exec(true, command.into_bytes()).await
    }

    /// Opens a channel that ends at an address or a socket on the target's side.
    pub(crate) async fn connect(
        &self,
        door: &Door,
        originator: &str,
        originator_port: u32,
    ) -> Result<Channel<client::Msg>, LinkError> {
        let opened = match door {
            Door::LocalForward { host, port } => {
                let (host, port) = (host.as_str(), u32::from(*port));
                self.handle.channel_open_direct_tcpip(host, port, originator, originator_port).await
            }
            Door::LocalSocket { path } => self.handle.channel_open_direct_streamlocal(path.as_str()).await,
            _ => Err(russh::Error::WrongChannel),
        };
        opened.map_err(LinkError::Channel)
    }

    /// Has the target listen on an address or a socket. Says on which port, or 0 for a socket.
    pub(crate) async fn listen(&self, door: &Door) -> Result<u16, LinkError> {
        match door {
            Door::RemoteForward { host, port } => {
                let chosen = self.handle.tcpip_forward(host.as_str(), u32::from(*port)).await;
                // A target that was not asked to choose has nothing to say about it, and one that was has to.
                match (*port, chosen.map_err(LinkError::Listen)?) {
                    (0, 0) => Err(LinkError::Listen(russh::Error::Inconsistent)),
                    (0, chosen) => {
                        u16::try_from(chosen).map_err(|_| LinkError::Listen(russh::Error::Inconsistent))
                    }
                    (port, _) => Ok(port),
                }
            }
            Door::RemoteSocket { path } => {
                self.handle.streamlocal_forward(path.as_str()).await.map_err(LinkError::Listen)?;
                Ok(0)
            }
            _ => Err(LinkError::Listen(russh::Error::WrongChannel)),
        }
    }

    /// Has the target listen no more. One that does not answer ends with the connection.
    pub(crate) async fn listen_no_more(&self, door: &Door, port: u16) {
        let _ = match door {
            Door::RemoteForward { host, .. } => {
                self.handle.cancel_tcpip_forward(host.as_str(), u32::from(port)).await
            }
            Door::RemoteSocket { path } => self.handle.cancel_streamlocal_forward(path.as_str()).await,
            _ => Ok(()),
        };
    }

    /// Starts a shell in which nothing is checked, in a session that is unrestricted.
    pub(crate) async fn shell(
        &self,
        channel: &Channel<client::Msg>,
        shell: RawShell,
    ) -> Result<(), russh::Error> {
        match shell.into_start() {
            Start::Shell => channel.request_shell(true).await,
            Start::Line(line) => channel.exec(true, line).await,
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    pub(crate) async fn close(&self) {
        // The target may be gone already; then there is nothing to tell it.
        let _ = self.handle.disconnect(Disconnect::ByApplication, "session ended", "en").await;
    }

    /// Every character that a shell could take for its own must come back as it was sent, or quoting does not hold on this
    /// target (a C shell, a network device, Windows) and nothing is run there.
    pub(crate) async fn self_test(&self) -> Result<(), LinkError> {
        let told = self.ask(quote::probe_command(), SELF_TEST_BYTES_MAX).await?;
        if told.stdout == quote::probe_expected() && told.status == Some(0) {
            self.tested.store(true, Ordering::Release);
            Ok(())
        } else {
            Err(LinkError::SelfTest)
        }
    }

    /// Runs a line of our own, without any input, and reads what it prints. An answer of more than `bytes_max` is cut there, and has
    /// no status.
    pub(crate) async fn ask(&self, line: Vec<u8>, bytes_max: usize) -> Result<Told, LinkError> {
        let mut channel = self.channel().await.map_err(LinkError::Protocol)?;
        channel.exec(true, line).await.map_err(LinkError::Protocol)?;
        let mut told = Told::default();
        while let Some(message) = channel.wait().await {
            let (printed, data) = match message {
                ChannelMsg::Data { data } => (&mut told.stdout, data),
                ChannelMsg::ExtendedData { data, ext: 1 } => (&mut told.stderr, data),
                ChannelMsg::ExitStatus { exit_status } => {
                    told.status = Some(exit_status);
                    continue;
                }
                ChannelMsg::Failure => break,
                _ => continue,
            };
            printed.extend_from_slice(&data);
            if printed.len() > bytes_max {
                printed.truncate(bytes_max);
                told.status = None;
                break;
            }
        }
        // The library leaves a channel open that is merely dropped.
        let _ = channel.close().await;
        Ok(told)
    }

    pub(crate) fn is_tested(&self) -> bool {
        self.tested.load(Ordering::Acquire)
    }
}

async fn login(handle: &mut client::Handle<Target>, credential: Credential) -> Result<bool, LinkError> {
    let result = match credential.secret {
        Secret::Key(key) => {
            let hash = if key.algorithm().is_rsa() {
                // `Some(None)` is SHA-1, which we never use.
                handle.best_supported_rsa_hash().await.map_err(LinkError::Protocol)?.flatten()
            } else {
                None
            };
            let hash = hash.or(Some(russh::keys::HashAlg::Sha512));
            handle.authenticate_publickey(credential.account, PrivateKeyWithHashAlg::new(key, hash)).await
        }
        Secret::Password(password) => {
            handle.authenticate_password(credential.account, password.as_str()).await
        }
    };
    match result {
        Ok(AuthResult::Success) => Ok(true),
        Ok(AuthResult::Failure { .. }) => Ok(false),
        Err(e) => Err(LinkError::Protocol(e)),
    }
}

/// Answers what the target asks of us: it may prove its key, and open the channels that somebody waits for.
struct Target {
    accepted: Vec<PublicKey>,
    proved: Arc<Mutex<Option<String>>>,
    reception: Reception,
}

impl client::Handler for Target {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            // No certificate algorithm was offered.
            return Ok(false);
        };
        *self.proved.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint(key));
        Ok(self.accepted.iter().any(|known| known.key_data() == key.key_data()))
    }

    // Nobody waits for channels unless something was granted that makes a target open some. The library accepts forwarded ones by
    // default, hence these.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<client::Msg>,
        _connected_address: &str,
        port: u32,
        originator: &str,
        originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        // One connection has one forward, and its port tells it.
        let visit = Visit::Port { port, originator: originator.to_owned(), originator_port };
        self.reception.announce(visit, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<client::Msg>,
        path: &str,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.reception.announce(Visit::Socket { path: path.to_owned() }, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<client::Msg>,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        self.reception.announce(Visit::Agent, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<client::Msg>,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<client::Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<client::Msg>,
        _socket_path: &str,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        refuse(reply).await
    }

    async fn server_channel_open_x11(
        &mut self,
        channel: Channel<client::Msg>,
        originator: &str,
        originator_port: u32,
        reply: client::ChannelOpenHandle,
        _session: &mut client::Session,
    ) -> Result<(), Self::Error> {
        let visit = Visit::Display { originator: originator.to_owned(), originator_port };
        self.reception.announce(visit, channel, reply).await;
        Ok(())
    }
}

async fn refuse(reply: client::ChannelOpenHandle) -> Result<(), russh::Error> {
    reply.reject(russh::ChannelOpenFailure::AdministrativelyProhibited).await;
    Ok(())
}
