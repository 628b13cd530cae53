//! Large frames that leave together. HTTP/2 writes 16 KiB at most at a time and wants each frame sent at once; here a large one stays in
//! TLS's own buffer until there is [`ENOUGH`], until a small one follows, or until the connection has said all it has to say: a long
//! answer takes a third of the system calls, and wakes its reader as seldom.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// So many bytes are worth a system call. Less than what TLS keeps (64 KiB), so that there is always room for a frame.
const ENOUGH: usize = 48 * 1024;
/// Less is sent at once: an answer that is short is mostly whole.
const LARGE: usize = 8 * 1024;

/// A socket that takes nothing for as long as it is closed and there is little to write. It wakes nobody for that: whoever closes
/// it opens it.
pub struct Valve {
    pub stream: TcpStream,
    closed: bool,
}

impl From<TcpStream> for Valve {
    fn from(stream: TcpStream) -> Self {
        Self { stream, closed: false }
    }
}

impl AsRawFd for Valve {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}

impl AsyncRead for Valve {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Valve {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.closed && bufs.iter().map(|buf| buf.len()).sum::<usize>() < ENOUGH {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

struct Shared {
    stream: TlsStream<Valve>,
    /// Somebody calls [`Corked::send`] whenever something may have been written.
    corks: bool,
}

impl Shared {
    /// Lets TLS write with the valve open or closed.
    fn with<T>(&mut self, closed: bool, act: impl FnOnce(Pin<&mut TlsStream<Valve>>) -> T) -> T {
        self.stream.get_mut().0.closed = closed;
        act(Pin::new(&mut self.stream))
    }

    fn write(
        &mut self,
        size: usize,
        cx: &mut Context<'_>,
        act: impl Fn(Pin<&mut TlsStream<Valve>>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let waits = self.corks && size >= LARGE;
        let written = self.with(waits, |stream| act(stream, cx));
        // There was no room: only the socket may let somebody wait.
        if waits && written.is_pending() { self.with(false, |stream| act(stream, cx)) } else { written }
    }
}

/// A TLS stream, and a handle to it: one has the bytes written, the other one sends them.
#[derive(Clone)]
pub struct Corked(Arc<Mutex<Shared>>);

impl Corked {
    /// `corks`: what is written is sent with [`Self::send`].
    #[must_use]
    pub fn new(stream: TlsStream<Valve>, corks: bool) -> Self {
        Self(Arc::new(Mutex::new(Shared { stream, corks })))
    }

    /// Sends what has been written, as far as the socket takes it; the rest when the waker has been woken. What is wrong with the
    /// socket is told to whoever writes next.
    pub fn send(&self, cx: &mut Context<'_>) {
        let mut shared = self.0.lock();
        if shared.corks && shared.stream.get_ref().1.wants_write() {
            let _ = shared.with(false, |stream| stream.poll_flush(cx));
        }
    }
}

impl AsyncRead for Corked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.lock().with(false, |stream| stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().write(buf.len(), cx, |stream, cx| stream.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let size = bufs.iter().map(|buf| buf.len()).sum();
        self.0.lock().write(size, cx, |stream, cx| stream.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut shared = self.0.lock();
        if shared.corks { Poll::Ready(Ok(())) } else { shared.with(false, |stream| stream.poll_flush(cx)) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.lock().with(false, |stream| stream.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use auth::trust::{Trust, client_config};
    use auth::x509::{Asked, server_config};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_rustls::{TlsAcceptor, TlsConnector, client};

    use super::*;

    /// Both ends of a connection, the server's end corked.
    async fn pair() -> (Corked, client::TlsStream<TcpStream>) {
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
        let server = server_config(certificate.as_bytes(), key.as_bytes(), Asked::Anyone).unwrap();
        let client = Arc::new(client_config(Trust::Anyone, None).unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let accept = async { TlsAcceptor::from(server).accept(Valve::from(listener.accept().await.unwrap().0)).await };
        let connect = TlsConnector::from(client).connect("localhost".try_into().unwrap(), stream);
        let (server, client) = tokio::join!(accept, connect);
        (Corked::new(server.unwrap(), true), client.unwrap())
    }

    /// Whether nothing has been sent that could be read.
    fn is_silent(client: &mut client::TlsStream<TcpStream>) -> bool {
        let mut byte = [0];
        Pin::new(client).poll_read(&mut Context::from_waker(Waker::noop()), &mut ReadBuf::new(&mut byte)).is_pending()
    }

    async fn expect(client: &mut client::TlsStream<TcpStream>, byte: u8, count: usize) {
        let mut read = vec![0; count];
        client.read_exact(&mut read).await.unwrap();
        assert!(read.iter().all(|found| *found == byte), "{byte}");
    }

    #[tokio::test]
    async fn large_frames_wait_for_others_for_small_ones_or_for_the_end() {
        let (mut server, mut client) = pair().await;
        let send = |server: &Corked| server.send(&mut Context::from_waker(Waker::noop()));
        server.write_all(&[1; 100]).await.unwrap();
        expect(&mut client, 1, 100).await;
        server.write_all(&[2; LARGE]).await.unwrap();
        server.flush().await.unwrap();
        assert!(is_silent(&mut client));
        send(&server);
        expect(&mut client, 2, LARGE).await;
        server.write_all(&[3; LARGE]).await.unwrap();
        server.write_all(&[3; 9]).await.unwrap();
        expect(&mut client, 3, LARGE + 9).await;
        for _ in 0..=ENOUGH / LARGE {
            server.write_all(&[4; LARGE]).await.unwrap();
        }
        expect(&mut client, 4, ENOUGH).await;
        server.shutdown().await.unwrap();
        expect(&mut client, 4, LARGE).await;
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }

    /// As much as no socket holds, to a reader who comes late.
    #[tokio::test]
    async fn whoever_writes_waits_for_the_reader() {
        const FRAMES: usize = 2048;
        let (mut server, mut client) = pair().await;
        let write = async {
            for _ in 0..FRAMES {
                server.write_all(&[5; 16 * 1024]).await.unwrap();
            }
            server.shutdown().await.unwrap();
        };
        let read = async {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            all.len()
        };
        let ((), count) = tokio::join!(write, read);
        assert_eq!(count, FRAMES * 16 * 1024);
    }
}
