//! An HTTP server that is a closure.

use std::fmt;
use std::io::{self, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::Error;
use crate::http::{Answer, Request};
use crate::listener::Listener;

/// An HTTP/1.1 server on a free port of 127.0.0.1 that keeps connections open and answers what a closure says.
pub struct Stub {
    listener: Listener,
}

impl Stub {
    /// Starts it. The closure may be called from several threads at once, one for each connection.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Result<Self, Error> {
        // A client that goes away is none of the stub's business.
        Ok(Self { listener: Listener::start(move |client| drop(serve(client, &answer)))? })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }
}

impl fmt::Debug for Stub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stub").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

fn serve(mut client: &TcpStream, answer: impl Fn(&Request) -> Answer) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut reader = BufReader::new(client);
    while let Some(request) = Request::read(&mut reader)? {
        let answer = answer(&request);
        client.write_all(&[answer.head(), answer.body].concat())?;
    }
    Ok(())
}
