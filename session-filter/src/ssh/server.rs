//! The client side: login, and every door a client may knock at.

mod granting;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use russh::keys::Certificate;
use russh::server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelOpenFailure, MethodKind, MethodSet, Pty, server};
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::asked;
use super::channel::{ClientChannel, PtyRequest, SharedSetup, X11Request, terminal_size};
use super::doors::Places;
use super::doors::local::Connection;
use super::doors::remote::{Listeners, Listening};
use super::doors::visitors::told;
use super::entry::{self, Choice, Entered};
use super::journal::Journal;
use super::login::{self, Admitted, Desk, Step};
use super::menu;
use super::proxy::Shared;
use super::session::Session;
use super::text::printable;
use crate::event::{Detail, Line, Outcome, RequestRefused};
use crate::policy::Mode;
use crate::record::RecordError;

/// What became of a connection, for whoever accepted it.
#[derive(Clone)]
pub(crate) enum Standing {
    /// Not logged in yet.
    Stranger,
    /// Logged in, but not admitted: it hears why, and that is all.
    Refused(Arc<str>),
    /// Logged in, and several targets admit them: which one is not said yet.
    Choosing(Arc<Choice>),
    /// A live session.
    Session(Arc<Session>),
}

/// Serves one connection.
pub(crate) struct Doorman {
    shared: Arc<Shared>,
    source: IpAddr,
    desk: Desk,
    standing: watch::Sender<Standing>,
    places: Places,
    listeners: Listeners,
    /// Channels on which something was asked for already: each runs one thing.
    asked: HashSet<ChannelId>,
    /// What was granted on a channel before that.
    setups: HashMap<ChannelId, SharedSetup>,
    /// Of a connection that was logged in but not admitted, with the number of requests refused on it since.
    turned_away: Option<(Journal, u64)>,
}

type Answer = Result<(), russh::Error>;

impl Doorman {
    pub(crate) fn new(shared: Arc<Shared>, source: IpAddr, standing: watch::Sender<Standing>) -> Self {
        let desk = Desk::new(Arc::clone(&shared), source);
        Self {
            shared,
            source,
            desk,
            standing,
            places: Places::default(),
            listeners: Listeners::default(),
            asked: HashSet::new(),
            setups: HashMap::new(),
            turned_away: None,
        }
    }

    /// What the client hears, and what becomes of the connection.
    async fn answer(&mut self, step: Step) -> Result<Auth, russh::Error> {
        Ok(match step {
            Step::Enter(admitted) => {
                self.desk.entered();
                let standing = self
                    .enter(*admitted)
                    .await
                    .unwrap_or_else(|error| Standing::Refused(format!("no session: {error}").into()));
                self.standing.send_replace(standing);
                Auth::Accept
            }
            Step::Sign => Auth::Accept,
            Step::Continue => Auth::Reject {
                proceed_with_methods: Some(MethodSet::from(&[MethodKind::KeyboardInteractive][..])),
                partial_success: true,
            },
            Step::Ask(prompt) => Auth::Partial {
                name: Cow::Borrowed(""),
                instructions: Cow::Borrowed(""),
                prompts: Cow::Owned(vec![(Cow::Borrowed(prompt.text()), false)]),
            },
            Step::Refuse(methods) => {
                Auth::Reject { proceed_with_methods: Some(methods), partial_success: false }
            }
            Step::Leave => return Err(russh::Error::Disconnect),
        })
    }

    /// From an authenticated user to where they stand.
    async fn enter(&mut self, admitted: Admitted) -> Result<Standing, RecordError> {
        let entered = entry::enter(&self.shared, self.source, admitted, &self.standing).await?;
        Ok(match entered {
            Entered::Session(session) => Standing::Session(session),
            Entered::Choosing(choice) => {
                self.turned_away = Some((choice.journal(), 0));
                Standing::Choosing(choice)
            }
            Entered::Refused { journal, reason } => {
                self.turned_away = Some((journal, 0));
                Standing::Refused(reason)
            }
        })
    }

    /// Records that something other than a command was asked for and refused.
    async fn refuse(&mut self, request: &'static str, asked: Option<&str>) {
        let asked = asked.map(printable);
        let detail = Detail::RequestRefused(RequestRefused::new(request, asked.as_deref()));
        let why = format!("`{request}` is not open in this session");
        let standing = self.standing.borrow().clone();
        match (standing, &mut self.turned_away) {
            (Standing::Session(session), _) => {
                let event = session.journal.event(Outcome::Blocked, detail);
                session.journal.submit(event.because("door_closed", why)).await;
                session.request_refused();
            }
            (_, Some((journal, count))) if *count < self.shared.limits.refusals_max => {
                *count = count.saturating_add(1);
                let event = journal.event(Outcome::Blocked, detail);
                journal.submit(event.because("not_admitted", why)).await;
            }
            _ => {}
        }
    }
}

impl Handler for Doorman {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        self.answer(Step::Refuse(login::methods())).await
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let step = self.desk.password(user, password).await;
        self.answer(step).await
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        let step = self.desk.offer(user, offer.public_key, offer.algorithm).await;
        self.answer(step).await
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let step = self.desk.key(user, key.public_key, key.algorithm).await;
        self.answer(step).await
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        let step = self.desk.certificate(user, certificate.public_key().clone().into()).await;
        self.answer(step).await
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let step = match response {
            None => self.desk.interactive(user),
            Some(answers) => {
                // One question was asked; whatever else comes is as wrong as no answer.
                let answers: Vec<Bytes> = answers.take(2).collect();
                let answer = match answers.as_slice() {
                    [answer] => Zeroizing::new(String::from_utf8_lossy(answer).into_owned()),
                    _ => Zeroizing::default(),
                };
                self.desk.answer(user, &answer).await
            }
        };
        self.answer(step).await
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut server::Session,
    ) -> Answer {
        let Some(place) = self.places.take(self.shared.limits.channels_max) else {
            self.refuse("session", Some("too many channels")).await;
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        };
        // The library says nothing of channels that were closed from this side first.
        self.setups.retain(|_, setup| setup.is_in_use());
        self.asked.retain(|channel| self.setups.contains_key(channel));
        let standing = self.standing.borrow().clone();
        let setup = SharedSetup::default();
        self.setups.insert(channel.id(), setup.clone());
        let channel = ClientChannel::new(channel, session.handle(), setup, &self.shared.limits);
        match standing {
            Standing::Stranger => reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await,
            Standing::Refused(reason) => {
                reply.accept().await;
                // A client that does not read must not keep the task.
                let patience = self.shared.limits.login_grace;
                tokio::spawn(async move {
                    let _place = place;
                    let _ = tokio::time::timeout(patience, asked::refuse(channel, &reason)).await;
                });
            }
            Standing::Choosing(choice) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let _place = place;
                    menu::serve(choice, channel).await;
                });
            }
            Standing::Session(live) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let _place = place;
                    asked::serve(live, channel).await;
                });
            }
        }
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        address: &str,
        port: u32,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Answer {
        self.refuse("x11", Some(&format!("{address}:{port}"))).await;
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        originator: &str,
        originator_port: u32,
        reply: ChannelOpenHandle,
        session: &mut server::Session,
    ) -> Answer {
        // The target may log it.
        let originator = (told(originator), originator_port);
        let asked = Connection { originator, channel, handle: session.handle(), reply };
        self.local_forward(host, port, asked).await;
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut server::Session,
    ) -> Answer {
        self.refuse("forwarded-tcpip", Some(&format!("{host}:{port}"))).await;
        reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        session: &mut server::Session,
    ) -> Answer {
        let asked = Connection { originator: (String::new(), 0), channel, handle: session.handle(), reply };
        self.local_socket(path, asked).await;
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        term: &str,
        cols: u32,
        rows: u32,
        px_width: u32,
        px_height: u32,
        modes: &[(Pty, u32)],
        session: &mut server::Session,
    ) -> Answer {
        // A terminal is given where a person works at one; single commands have none.
        let is_given = match &*self.standing.borrow() {
            Standing::Session(live) => live.mode() != Mode::ExecOnly,
            Standing::Choosing(_) => true,
            _ => false,
        };
        if is_given
            && !self.asked.contains(&channel)
            && let Some(setup) = self.setups.get(&channel)
            && let Some(pty) = PtyRequest::new(term, (cols, rows), (px_width, px_height), modes)
        {
            setup.lock().pty = Some(pty);
            return session.channel_success(channel);
        }
        self.refuse("pty-req", Some(term)).await;
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        single_connection: bool,
        protocol: &str,
        cookie: &str,
        screen: u32,
        session: &mut server::Session,
    ) -> Answer {
        let (protocol, cookie) = (protocol.to_owned(), cookie.to_owned());
        let asked = X11Request { single_connection, protocol, cookie, screen };
        match self.lend_display(channel, asked).await {
            true => session.channel_success(channel),
            false => session.channel_failure(channel),
        }
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut server::Session,
    ) -> Answer {
        match self.take_variable(channel, name, value).await {
            true => session.channel_success(channel),
            false => session.channel_failure(channel),
        }
    }

    // A first exec or shell request is answered by the channel's own task, which reads it from the channel.

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        line: &[u8],
        session: &mut server::Session,
    ) -> Answer {
        if self.asked.insert(channel) {
            return Ok(());
        }
        let line = Line::new(line, |text| self.shared.gatekeeper.redact(text));
        self.refuse("exec", Some(line.shown())).await;
        session.channel_failure(channel)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut server::Session) -> Answer {
        if self.asked.insert(channel) {
            return Ok(());
        }
        self.refuse("shell", None).await;
        session.channel_failure(channel)
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut server::Session) -> Answer {
        self.asked.remove(&channel);
        self.setups.remove(&channel);
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut server::Session,
    ) -> Answer {
        // Like the first exec or shell request, answered by the channel's own task.
        if self.asked.insert(channel) {
            return Ok(());
        }
        self.refuse("subsystem", Some(name)).await;
        session.channel_failure(channel)
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        cols: u32,
        rows: u32,
        _: u32,
        _: u32,
        session: &mut server::Session,
    ) -> Answer {
        // Once something runs, the channel's own task takes it from there.
        if !self.asked.contains(&channel)
            && let Some(setup) = self.setups.get(&channel)
            && let Some(pty) = &mut setup.lock().pty
        {
            (pty.cols, pty.rows) = terminal_size(cols, rows);
        }
        // Clients want no answer to it; one that does gets what it would get for an unknown request.
        session.channel_failure(channel)
    }

    async fn agent_request(
        &mut self,
        channel: ChannelId,
        _: &mut server::Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.lend_agent(channel).await)
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut server::Session,
    ) -> Result<bool, Self::Error> {
        let listens = self.remote_forward(address, *port, session.handle()).await;
        if let Some(chosen) = listens {
            *port = u32::from(chosen);
        }
        Ok(listens.is_some())
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut server::Session,
    ) -> Result<bool, Self::Error> {
        match u16::try_from(port) {
            Ok(port) => Ok(self.listeners.cancel(&Listening::Port(address.to_owned(), port)).await),
            Err(_) => Ok(false),
        }
    }

    async fn streamlocal_forward(
        &mut self,
        path: &str,
        session: &mut server::Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.remote_socket(path, session.handle()).await)
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _: &mut server::Session,
    ) -> Result<bool, Self::Error> {
        Ok(self.listeners.cancel(&Listening::Socket(path.to_owned())).await)
    }
}
