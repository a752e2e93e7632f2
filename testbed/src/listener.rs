//! A listening socket that can be closed, with all its connections, and opened again.

use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use crate::Error;

/// Listens on a free port of 127.0.0.1 and gives each connection a thread. Dropping it closes everything.
pub(crate) struct Listener {
    shared: Arc<Shared>,
    port: u16,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    serve: Box<dyn Fn(&TcpStream) + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    clients: Vec<Weak<TcpStream>>,
    /// Counts the sockets there have been, so that an accepting thread knows when its own is no longer wanted.
    generation: u64,
}

impl Listener {
    pub(crate) fn start(serve: impl Fn(&TcpStream) + Send + Sync + 'static) -> Result<Self, Error> {
        let shared = Arc::new(Shared { serve: Box::new(serve), state: Mutex::default() });
        let (port, thread) = shared.open(0)?;
        Ok(Self { shared, port, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Closes the socket and all connections.
    pub(crate) fn close(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        self.shared.end_connections();
        // The thread waits for a connection; this one it takes as the sign to go. The socket is closed once it has gone.
        if TcpStream::connect(self.addr()).is_ok() {
            let _ = thread.join();
        }
    }

    /// Opens the socket again, on the same port.
    pub(crate) fn open(&self) -> Result<(), Error> {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            *thread = Some(self.shared.open(self.port)?.1);
        }
        Ok(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn open(self: &Arc<Self>, port: u16) -> Result<(u16, JoinHandle<()>), Error> {
        let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
        let (port, listener) = bound.map_err(Error::io("bind a port on", "127.0.0.1"))?;
        let generation = lock(&self.state).generation;
        let shared = Arc::clone(self);
        Ok((port, thread::spawn(move || shared.accept(&listener, generation))))
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener, generation: u64) {
        while let Ok((client, _)) = listener.accept() {
            let client = Arc::new(client);
            {
                let mut state = lock(&self.state);
                if state.generation != generation {
                    return;
                }
                state.clients.retain(|client| client.strong_count() > 0);
                state.clients.push(Arc::downgrade(&client));
            }
            let shared = Arc::clone(self);
            thread::spawn(move || (shared.serve)(&client));
        }
    }

    fn end_connections(&self) {
        let mut state = lock(&self.state);
        state.generation += 1;
        for client in std::mem::take(&mut state.clients).iter().filter_map(Weak::upgrade) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
