//! Files by SFTP, each operation checked.

use std::sync::Arc;

use super::channel::ClientChannel;
use super::session::Session;
use crate::event::{Detail, Outcome, RequestRefused};

pub(crate) async fn serve(session: &Arc<Session>, channel: &mut ClientChannel) {
    let refused = RequestRefused::new("subsystem", Some("sftp"));
    let event = session.journal.event(Outcome::Blocked, Detail::RequestRefused(refused));
    session.journal.submit(event.because("door_closed", "no rule permits files in this session")).await;
    session.request_refused();
    channel.reject().await;
}
