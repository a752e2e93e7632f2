//! The managed prompt.

use std::sync::Arc;

use super::channel::ClientChannel;
use super::command::EXIT_NO_SHELL;
use super::session::Session;

pub(crate) async fn serve(_session: &Arc<Session>, channel: &mut ClientChannel) {
    channel.accept().await;
    channel.say("not available in this version").await;
    channel.finish(EXIT_NO_SHELL).await;
}
