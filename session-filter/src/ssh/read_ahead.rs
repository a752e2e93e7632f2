//! A TCP stream whose reads take the beginning of what follows along.
//!
//! An SSH packet is read in two pieces: four bytes of length, then the rest. Read one by one, a bulk transfer spends every second
//! call to the kernel on four bytes. Here the rest is read into the caller's buffer, and what already follows it into a small buffer of our
//! own by the same call, so that the bulk of the bytes is still never copied.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much is read ahead at most. A length takes four bytes; the rest spares small packets, such as keystrokes' echoes, their second read.
const AHEAD: usize = 256;

/// See the module.
pub(super) struct ReadAhead {
    stream: TcpStream,
    ahead: [u8; AHEAD],
    /// What is still unread of `ahead`.
    unread: std::ops::Range<usize>,
}

impl ReadAhead {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: [0; AHEAD], unread: 0..0 }
    }

    /// Moves what was read ahead into `into`, as far as there is room.
    fn take(&mut self, into: &mut ReadBuf<'_>) {
        let waiting = self.ahead.get(self.unread.clone()).unwrap_or_default();
        let taken = waiting.len().min(into.remaining());
        into.put_slice(waiting.get(..taken).unwrap_or_default());
        self.unread.start = self.unread.start.saturating_add(taken);
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if !this.unread.is_empty() {
            this.take(into);
            return Poll::Ready(Ok(()));
        }
        if into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(this.stream.poll_read_ready(cx))?;
            let room = into.initialize_unfilled();
            let size = room.len();
            let read =
                this.stream.try_read_vectored(&mut [IoSliceMut::new(room), IoSliceMut::new(&mut this.ahead)]);
            match read {
                Ok(read) => {
                    into.advance(read.min(size));
                    this.unread = 0..read.saturating_sub(size);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Packets of any size, written and read in pieces of any size.
        #[test]
        fn what_was_sent_is_read_whole_and_in_order(
            sent in proptest::collection::vec(1_usize..40_000, 1..12),
            wanted in proptest::collection::vec(prop_oneof![1_usize..8, 1_usize..600, 1_usize..70_000], 1..12),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let (expected, read) = runtime.block_on(async move {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (mut peer, _) = listener.accept().await.unwrap();
                let total: usize = sent.iter().sum();
                let expected: Vec<u8> = (0..total).map(|at| u8::try_from(at % 251).unwrap()).collect();
                let bytes = expected.clone();
                let writing = tokio::spawn(async move {
                    let mut rest = bytes.as_slice();
                    for size in sent {
                        let (piece, after) = rest.split_at(size);
                        peer.write_all(piece).await.unwrap();
                        rest = after;
                    }
                });
                let mut stream = ReadAhead::new(stream);
                let mut read = Vec::new();
                let mut piece = vec![0; 70_000];
                for size in wanted.iter().cycle() {
                    let got = stream.read(&mut piece[..*size]).await.unwrap();
                    if got == 0 {
                        break;
                    }
                    read.extend_from_slice(&piece[..got]);
                }
                writing.await.unwrap();
                (expected, read)
            });
            prop_assert_eq!(read, expected);
        }
    }
}
