//! A relay for any protocol over TCP that loses answers on request.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

use crate::Error;
use crate::listener::Listener;

/// What becomes of the answer to what a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It arrives.
    None,
    /// The server answers, so it has acted; then the connection is reset without a byte of the answer.
    Reset,
    /// The server answers; the client waits until it gives up.
    Silence,
}

/// A relay on a free port of 127.0.0.1 in front of one server. Dropping it closes everything.
pub struct TcpRelay {
    shared: Arc<Shared>,
    listener: Listener,
}

struct Shared {
    upstream: SocketAddr,
    chooser: Mutex<Option<Chooser>>,
    lost: Mutex<usize>,
}

type Chooser = Box<dyn FnMut(&[u8]) -> Loss + Send>;

impl TcpRelay {
    /// Starts in front of `upstream`.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(upstream: SocketAddr) -> Result<Self, Error> {
        let shared = Arc::new(Shared { upstream, chooser: Mutex::default(), lost: Mutex::default() });
        let serving = Arc::clone(&shared);
        let listener = Listener::start(move |client| drop(serve(&serving, client)))?;
        Ok(Self { shared, listener })
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// Decides by what the client sent. It is asked once for each piece as it was read: one request of a client that
    /// waits for answers, where requests are short.
    pub fn choose(&self, chooser: impl FnMut(&[u8]) -> Loss + Send + 'static) {
        *lock(&self.shared.chooser) = Some(Box::new(chooser));
    }

    /// Everything arrives again.
    pub fn pass(&self) {
        *lock(&self.shared.chooser) = None;
    }

    /// How many answers the server gave that no client got.
    pub fn lost(&self) -> usize {
        *lock(&self.shared.lost)
    }

    /// Stops listening and closes all connections: whoever connects now is refused.
    pub fn refuse_connections(&self) {
        self.listener.close();
    }

    /// Listens again, on the same port.
    ///
    /// # Errors
    /// When somebody else took the port meanwhile.
    pub fn accept_connections(&self) -> Result<(), Error> {
        self.listener.open()
    }
}

impl fmt::Debug for TcpRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpRelay").field("addr", &self.addr()).finish_non_exhaustive()
    }
}

fn serve(shared: &Shared, client: &TcpStream) -> io::Result<()> {
    let server = TcpStream::connect(shared.upstream)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let loss = Mutex::new(Loss::None);
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = answers(shared, &server, client, &loss);
        });
        let _ = copy(client, &server, |piece| {
            if let Some(chooser) = lock(&shared.chooser).as_mut() {
                let chosen = chooser(piece);
                if chosen != Loss::None {
                    *lock(&loss) = chosen;
                }
            }
        });
        let _ = server.shutdown(Shutdown::Both);
    });
    Ok(())
}

fn answers(
    shared: &Shared,
    mut server: &TcpStream,
    mut client: &TcpStream,
    loss: &Mutex<Loss>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = server.read(&mut buffer)?;
        let piece = buffer.get(..read).unwrap_or_default();
        let chosen = *lock(loss);
        if read > 0 && chosen != Loss::None {
            *lock(&shared.lost) += 1;
        }
        match chosen {
            Loss::None if read == 0 => return client.shutdown(Shutdown::Both),
            Loss::None => client.write_all(piece)?,
            Loss::Silence if read == 0 => return Ok(()),
            Loss::Silence => {}
            Loss::Reset => {
                set_socket_linger(client, Some(Duration::ZERO))?;
                return client.shutdown(Shutdown::Both);
            }
        }
    }
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, mut seen: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        let piece = buffer.get(..read).unwrap_or_default();
        seen(piece);
        to.write_all(piece)?;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const PIECE_BYTES: usize = 64 * 1024;
