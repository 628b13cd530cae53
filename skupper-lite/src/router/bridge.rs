//! Between TCP connections and streams, and between two streams (a router on the way).

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::frame::MAX_DATA;
use super::link::{Receiver, Reset, Sender, Stream};

/// A server that does not answer within this is not there.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Carries bytes both ways until both sides have finished or either fails. Half-closes are passed on.
pub async fn tcp(connection: TcpStream, stream: Stream) {
    let (mut reader, mut writer) = connection.into_split();
    let Stream { sender, mut receiver } = stream;
    let outward = async move {
        let mut buffer = BytesMut::with_capacity(MAX_DATA);
        loop {
            buffer.reserve(MAX_DATA);
            let read = tokio::select! {
                read = reader.read_buf(&mut buffer) => read,
                () = sender.gone() => return Err(Reset),
            };
            match read {
                Ok(0) => return sender.finish().await,
                Ok(_) => sender.send(buffer.split().freeze()).await?,
                Err(_) => return Err(Reset),
            }
        }
    };
    let inward = async move {
        while let Some(data) = receiver.receive().await? {
            writer.write_all(&data).await.map_err(|_| Reset)?;
            receiver.passed_on(data.len()).await?;
        }
        writer.shutdown().await.map_err(|_| Reset)?;
        // Keeps the receiver: while it lives, the stream is not reset.
        Ok(receiver)
    };
    // An error drops both halves: the socket is closed and the stream reset.
    let _ = tokio::try_join!(outward, inward);
}

/// Carries bytes between two streams.
pub async fn relay(one: Stream, two: Stream) {
    let _ = tokio::try_join!(pump(one.receiver, two.sender), pump(two.receiver, one.sender));
}

async fn pump(mut from: Receiver, to: Sender) -> Result<Receiver, Reset> {
    loop {
        let data = tokio::select! {
            data = from.receive() => data?,
            () = to.gone() => return Err(Reset),
        };
        match data {
            Some(data) => {
                let size = data.len();
                to.send(data).await?;
                from.passed_on(size).await?;
            }
            None => {
                to.finish().await?;
                return Ok(from);
            }
        }
    }
}

/// Carries bytes between two connections of this router: listener and connector are at the same site.
pub async fn local(mut client: TcpStream, mut server: TcpStream) {
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Connects to the first of `targets` that answers.
pub async fn connect(targets: &[String]) -> Option<TcpStream> {
    for target in targets {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await {
            Ok(Ok(connection)) => {
                // Requests are small: do not wait to fill a segment.
                let _ = connection.set_nodelay(true);
                return Some(connection);
            }
            Ok(Err(error)) => tracing::debug!(%error, target, "no connection"),
            Err(_) => tracing::debug!(target, "no answer"),
        }
    }
    None
}
