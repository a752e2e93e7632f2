//! What the proxy itself says to a user: on standard error, beside whatever runs.

use bytes::Bytes;
use futures::FutureExt as _;
use russh::{ChannelWriteHalf, server};
use tokio::sync::broadcast;

use super::terminal::Terminal;
use super::text::printable;

/// Says something on standard error. Where the user sees it on a terminal, it is part of that terminal's recording.
pub(crate) async fn say_on(write: &ChannelWriteHalf<server::Msg>, terminal: Option<&Terminal>, text: &str) {
    let line = format!("proxy: {}\r\n", printable(text));
    if let Some(terminal) = terminal {
        // Taken at once and written when it may be: a user hears that a session ends also where its recorder hangs.
        let _ = terminal.output(line.as_bytes()).now_or_never();
    }
    let _ = write.extended_data_bytes(1, Bytes::from(line)).await;
}

/// The next thing that the session has to say; nothing any more once it is gone.
pub(crate) async fn next(notices: &mut broadcast::Receiver<String>) -> String {
    loop {
        match notices.recv().await {
            Ok(text) => return text,
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// Shows what the session has to say while a command runs.
pub(crate) async fn notify(
    notices: &mut broadcast::Receiver<String>,
    client: &ChannelWriteHalf<server::Msg>,
    terminal: Option<&Terminal>,
) -> std::convert::Infallible {
    loop {
        let text = next(notices).await;
        say_on(client, terminal, &text).await;
    }
}
