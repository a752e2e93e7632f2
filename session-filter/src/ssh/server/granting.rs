//! What a client asks for besides commands and terminals.

use russh::{ChannelId, ChannelOpenFailure, server};

use super::{Doorman, Standing};
use crate::door::Door;
use crate::event::{Detail, DoorOpened, Outcome};
use crate::ssh::channel::{SharedSetup, X11Request};
use crate::ssh::doors::{self, local::Connection};
use crate::ssh::session::End;

/// Longest word of an X11 request, in bytes: a protocol's name, a cookie in hexadecimal.
const X11_WORD_BYTES_MAX: usize = 256;

impl Doorman {
    pub(super) async fn local_forward(&mut self, host: &str, port: u32, asked: Connection) {
        match doors::host_and_port(host, port) {
            Ok((host, port)) => self.connect(Door::LocalForward { host, port }, asked).await,
            Err(named) => {
                self.refuse("direct-tcpip", Some(&named)).await;
                asked.reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            }
        }
    }

    pub(super) async fn local_socket(&mut self, path: &str, asked: Connection) {
        match doors::socket_path(path) {
            Some(path) => self.connect(Door::LocalSocket { path }, asked).await,
            None => {
                self.refuse("direct-streamlocal@openssh.com", Some(path)).await;
                asked.reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
            }
        }
    }

    /// Has a task of its own see to a connection from the target's side.
    async fn connect(&mut self, door: Door, asked: Connection) {
        let standing = self.standing.borrow().clone();
        let Standing::Session(live) = standing else {
            self.refuse(door.request(), Some(&door.to_string())).await;
            return asked.reply.reject(ChannelOpenFailure::AdministrativelyProhibited).await;
        };
        let Some(place) = self.places.take(self.shared.limits.channels_max) else {
            self.refuse(door.request(), Some("too many channels")).await;
            return asked.reply.reject(ChannelOpenFailure::ResourceShortage).await;
        };
        tokio::spawn(doors::local::connect(live, door, asked, place));
    }

    /// Has the target listen on a port; says on which.
    pub(super) async fn remote_forward(
        &mut self,
        address: &str,
        port: u32,
        client: server::Handle,
    ) -> Option<u16> {
        let standing = self.standing.borrow().clone();
        let (Standing::Session(live), Ok((host, asked))) = (standing, doors::host_and_port(address, port))
        else {
            self.refuse("tcpip-forward", Some(&format!("{address}:{port}"))).await;
            return None;
        };
        let door = Door::RemoteForward { host, port: asked };
        self.listeners.add(&live, client, self.places.clone(), door).await
    }

    /// Has the target listen on a socket.
    pub(super) async fn remote_socket(&mut self, path: &str, client: server::Handle) -> bool {
        let standing = self.standing.borrow().clone();
        let (Standing::Session(live), Some(path)) = (standing, doors::socket_path(path)) else {
            self.refuse("streamlocal-forward@openssh.com", Some(path)).await;
            return false;
        };
        let door = Door::RemoteSocket { path };
        self.listeners.add(&live, client, self.places.clone(), door).await.is_some()
    }

    /// On record when a command is about to get it.
    pub(super) async fn lend_display(&mut self, channel: ChannelId, asked: X11Request) -> bool {
        let is_word = |text: &str| text.len() <= X11_WORD_BYTES_MAX && !text.chars().any(char::is_control);
        if let Some(setup) = self.setup_of(channel)
            && is_word(&asked.protocol)
            && is_word(&asked.cookie)
            && self.is_open(&Door::X11).await
        {
            let inward = &mut setup.lock().inward;
            inward.x11 = Some(asked);
            inward.places = self.places.clone();
            return true;
        }
        self.refuse("x11-req", None).await;
        false
    }

    /// On record when a command is about to get it.
    pub(super) async fn lend_agent(&mut self, channel: ChannelId) -> bool {
        if let Some(setup) = self.setup_of(channel)
            && self.is_open(&Door::Agent).await
        {
            let inward = &mut setup.lock().inward;
            inward.agent = true;
            inward.places = self.places.clone();
            return true;
        }
        self.refuse("auth-agent-req@openssh.com", None).await;
        false
    }

    pub(super) async fn take_variable(&mut self, channel: ChannelId, name: &str, value: &str) -> bool {
        if let Some(setup) = self.setup_of(channel)
            && doors::is_name(name)
            && value.len() <= doors::VARIABLE_BYTES_MAX
            && !value.contains('\0')
            && setup.lock().env.len() < doors::VARIABLES_MAX
            && self.let_through(Door::Environment { name: name.to_owned() }).await
        {
            setup.lock().env.push((name.to_owned(), value.to_owned()));
            return true;
        }
        self.refuse("env", Some(name)).await;
        false
    }

    /// What was granted on a channel on which nothing runs yet.
    fn setup_of(&self, channel: ChannelId) -> Option<SharedSetup> {
        self.setups.get(&channel).filter(|_| !self.asked.contains(&channel)).cloned()
    }

    /// Whether the policy opens a door that goes on record when it is used.
    async fn is_open(&self, door: &Door) -> bool {
        let standing = self.standing.borrow().clone();
        match standing {
            Standing::Session(live) => self.shared.open(&live.request, door).await.is_ok(),
            _ => false,
        }
    }

    /// Whether the policy opens a door that is used by being asked for; on record if so.
    async fn let_through(&self, door: Door) -> bool {
        if !self.is_open(&door).await {
            return false;
        }
        let standing = self.standing.borrow().clone();
        let Standing::Session(live) = standing else { return false };
        let event = live.journal.event(Outcome::Success, Detail::DoorOpened(DoorOpened::new(&door)));
        let recorded = live.journal.record(event).await;
        if recorded.is_err() {
            live.end(End::RecorderFailed);
        }
        recorded.is_ok()
    }
}
