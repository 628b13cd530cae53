//! Answers to pings leave with the next request.
//!
//! etcd's gRPC server measures the connection with a ping each time it is sent data, and h2 answers at once: another packet on
//! a connection where a request is two, at the very moment when somebody waits for what came with the ping. Such an answer may
//! wait a few milliseconds for company, as TCP's acknowledgements do.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long an answer waits at most.
const PATIENCE: Duration = Duration::from_millis(5);
/// So much may wait; no peer has this many pings under way.
const HELD: usize = 16 * PONG;
/// The size of a PING frame: its head and eight bytes (RFC 9113, 6.7).
const PONG: usize = 17;

/// A connection whose lone answers to pings wait for company.
pub(super) struct LatePongs<S> {
    inner: S,
    held: Vec<u8>,
    /// When what is held goes alone. Polled by the reading side, for that is polled whenever nothing is to be written.
    due: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncWrite + Unpin> LatePongs<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, held: Vec::new(), due: None }
    }

    /// Writes what is held, then `buffers`: how much of them was taken.
    fn write(&mut self, context: &mut Context<'_>, buffers: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            let mut all = Vec::with_capacity(buffers.len() + 1);
            all.push(IoSlice::new(&self.held));
            all.extend_from_slice(buffers);
            let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, &all))?;
            let held = written.min(self.held.len());
            self.held.drain(..held);
            if written > held || written == 0 || (self.held.is_empty() && buffers.is_empty()) {
                return Poll::Ready(Ok(written - held));
            }
        }
    }
}

/// Nothing but one answer to a ping: type 6 with the flag ACK.
fn is_pong(bytes: &[u8]) -> bool {
    bytes.len() == PONG && bytes[..5] == [0, 0, 8, 6, 1]
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for LatePongs<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.due.as_mut().is_some_and(|due| due.as_mut().poll(context).is_ready()) {
            this.due = None;
        }
        if this.due.is_none() && !this.held.is_empty() && this.write(context, &[])?.is_ready() {
            // What could not be flushed is so by the next write; a plain socket has nothing to flush.
            let _ = Pin::new(&mut this.inner).poll_flush(context)?;
        }
        Pin::new(&mut this.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LatePongs<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let [only] = buffers
            && is_pong(only)
            && this.held.len() < HELD
        {
            this.held.extend_from_slice(only);
            let due = this.due.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
            // Known to the timer from now on: nobody reads before this writer is done.
            let _ = due.as_mut().poll(context);
            return Poll::Ready(Ok(PONG));
        }
        if this.held.is_empty() {
            return Pin::new(&mut this.inner).poll_write_vectored(context, buffers);
        }
        this.write(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const FRAME: [u8; PONG] = [0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    #[tokio::test]
    async fn a_pong_leaves_with_the_next_write_or_alone_when_it_is_due() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut ours = LatePongs::new(ours);
        let mut seen = [0; 64];
        ours.write_all(&FRAME).await.unwrap();
        ours.flush().await.unwrap();
        assert!(theirs.read(&mut seen).now_or_never().is_none(), "it waits");
        ours.write_all(b"request").await.unwrap();
        let count = theirs.read(&mut seen).await.unwrap();
        assert_eq!(seen[..count], [&FRAME[..], b"request"].concat(), "and goes first, so that frames stay whole");
        ours.write_all(&FRAME).await.unwrap();
        let mut nothing = [0; 1];
        tokio::select! {
            _ = ours.read(&mut nothing) => panic!("nothing was sent to us"),
            count = theirs.read(&mut seen) => assert_eq!(seen[..count.unwrap()], FRAME),
        }
    }

    #[tokio::test]
    async fn a_full_socket_takes_what_is_held_in_parts() {
        let (ours, mut theirs) = tokio::io::duplex(5);
        let mut ours = LatePongs::new(ours);
        let writer = tokio::spawn(async move {
            ours.write_all(&FRAME).await.unwrap();
            ours.write_all(b"request").await.unwrap();
        });
        let mut seen = [0; PONG + 7];
        theirs.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen[..], [&FRAME[..], b"request"].concat());
        writer.await.unwrap();
    }

    #[test]
    fn only_lone_pongs_wait() {
        assert!(is_pong(&FRAME));
        let mut ping = FRAME;
        ping[4] = 0;
        assert!(!is_pong(&ping), "our own question");
        assert!(!is_pong(&[&FRAME[..], &FRAME[..]].concat()) && !is_pong(&FRAME[..16]) && !is_pong(b""));
    }
}
