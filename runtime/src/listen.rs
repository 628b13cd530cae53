//! The loop of every small server: one connection after the other, each served by a task of its own.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// After an accept that failed for want of something: others have to give it back first.
const PAUSE: Duration = Duration::from_millis(50);

/// Hands every connection to `serve`, `at_most` so many at a time where a number is given, for as long as it is polled.
pub async fn connections<F>(
    listener: TcpListener,
    at_most: Option<usize>,
    serve: impl Fn(TcpStream, SocketAddr) -> F,
) -> Infallible
where
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(at_most.unwrap_or(Semaphore::MAX_PERMITS)));
    loop {
        let place = room.clone().acquire_owned().await.expect("nobody closes this semaphore");
        let (stream, peer) = accept(&listener).await;
        let served = serve(stream, peer);
        tokio::spawn(async move {
            served.await;
            drop(place);
        });
    }
}

/// The next connection. An accept that fails is the peer's or a moment's.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "a connection is not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The peer went away before it was accepted.
fn is_the_peers(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn so_many_at_a_time() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(connections(listener, Some(2), |mut stream, _| async move {
            let _ = stream.write_all(b"!").await;
            let _ = stream.read_u8().await;
        }));
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        assert_eq!(clients[0].read_u8().await.unwrap(), b'!');
        assert_eq!(clients[1].read_u8().await.unwrap(), b'!');
        let mut nothing = [0];
        let early = clients[2].try_read(&mut nothing).unwrap_err();
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
        // Who goes makes room for who waits.
        clients.remove(0).write_all(b".").await.unwrap();
        assert_eq!(clients[1].read_u8().await.unwrap(), b'!');
        server.abort();
    }
}
