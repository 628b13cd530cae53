//! One SPDY connection, seen from the server: the client opens streams, both sides send data on them.

use std::collections::{BTreeMap, HashMap};
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::frame::Frame;
use super::headers::{Decoder, Encoder};
use crate::streaming::QUEUE;

/// Data is sent in frames of at most this size, so that streams take turns.
const MAX_DATA: usize = 32 * 1024;
/// A client that opens more streams than this at a time is refused further ones.
const MAX_STREAMS: usize = 1024;

/// A stream that the client opened.
pub struct Stream {
    pub headers: BTreeMap<String, String>,
    /// What the client sends; ends when it has closed its side.
    pub data: mpsc::Receiver<Bytes>,
    pub writer: StreamWriter,
}

/// Our side of a stream.
#[derive(Clone)]
pub struct StreamWriter {
    id: u32,
    out: mpsc::Sender<Frame>,
}

impl StreamWriter {
    /// Sends data; false when the connection is gone.
    pub async fn send(&self, mut data: Bytes) -> bool {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(MAX_DATA));
            if self.out.send(Frame::Data { id: self.id, fin: false, data: piece }).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Says that nothing more comes from us on this stream.
    pub async fn close(&self) {
        let _ = self.out.send(Frame::Data { id: self.id, fin: true, data: Bytes::new() }).await;
    }
}

/// Speaks SPDY on `io` until either side ends. New streams arrive on the receiver; it ends with the connection.
pub fn serve(io: impl AsyncRead + AsyncWrite + Send + 'static) -> mpsc::Receiver<Stream> {
    let (read, write) = tokio::io::split(io);
    let (opened, accept) = mpsc::channel(QUEUE);
    let (out, frames) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        if let Err(error) = write_all(write, frames).await {
            tracing::debug!(%error, "spdy connection lost while writing");
        }
    });
    tokio::spawn(async move {
        if let Err(error) = read_all(read, out, opened).await {
            tracing::debug!(%error, "spdy connection lost while reading");
        }
    });
    accept
}

async fn read_all(
    mut read: impl AsyncRead + Unpin,
    out: mpsc::Sender<Frame>,
    opened: mpsc::Sender<Stream>,
) -> io::Result<()> {
    let mut decoder = Decoder::new();
    let mut streams: HashMap<u32, mpsc::Sender<Bytes>> = HashMap::new();
    while let Some(frame) = Frame::read(&mut read).await? {
        match frame {
            Frame::SynStream { id, fin, headers } => {
                // Even of a refused stream the headers must be unpacked: all blocks are one zlib stream.
                let headers = decoder.decode(&headers)?;
                streams.retain(|_, data| !data.is_closed());
                if streams.len() >= MAX_STREAMS {
                    let _ = out.send(Frame::RstStream { id }).await;
                    continue;
                }
                let (sender, data) = mpsc::channel(QUEUE);
                if !fin {
                    streams.insert(id, sender);
                }
                let _ = out.send(Frame::SynReply { id, headers: Bytes::new() }).await;
                let writer = StreamWriter { id, out: out.clone() };
                if opened.send(Stream { headers, data, writer }).await.is_err() {
                    return Ok(());
                }
            }
            Frame::Data { id, fin, data } => {
                if let Some(sender) = streams.get(&id)
                    && !data.is_empty()
                    && sender.send(data).await.is_err()
                {
                    streams.remove(&id);
                }
                if fin {
                    streams.remove(&id);
                }
            }
            Frame::RstStream { id } => {
                streams.remove(&id);
            }
            Frame::Ping { id } => {
                let _ = out.send(Frame::Ping { id }).await;
            }
            Frame::GoAway => return Ok(()),
            Frame::SynReply { .. } | Frame::Other => {}
        }
    }
    Ok(())
}

async fn write_all(mut write: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Frame>) -> io::Result<()> {
    let mut encoder = Encoder::new()?;
    let mut wire = BytesMut::new();
    while let Some(frame) = frames.recv().await {
        let mut next = Some(frame);
        // What is waiting already goes out in one write.
        while let Some(mut frame) = next {
            if let Frame::SynReply { headers, .. } = &mut frame {
                *headers = encoder.encode(&BTreeMap::new())?;
            }
            frame.write(&mut wire);
            next = if wire.len() < MAX_DATA { frames.try_recv().ok() } else { None };
        }
        write.write_all_buf(&mut wire).await?;
        write.flush().await?;
    }
    write.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_opened_used_and_closed() {
        let (ours, mut client) = tokio::io::duplex(4096);
        let mut accept = serve(ours);
        let mut encoder = Encoder::new().unwrap();
        let headers = encoder.encode(&BTreeMap::from([("streamType".to_owned(), "stdin".to_owned())])).unwrap();
        let mut wire = BytesMut::new();
        Frame::SynStream { id: 1, fin: false, headers }.write(&mut wire);
        Frame::Data { id: 1, fin: false, data: Bytes::from_static(b"hello") }.write(&mut wire);
        Frame::Data { id: 1, fin: true, data: Bytes::new() }.write(&mut wire);
        Frame::Ping { id: 5 }.write(&mut wire);
        client.write_all(&wire).await.unwrap();

        let mut stream = accept.recv().await.unwrap();
        assert_eq!(stream.headers["streamtype"], "stdin");
        assert_eq!(stream.data.recv().await.unwrap(), "hello");
        assert_eq!(stream.data.recv().await, None, "closed by the client");
        assert!(stream.writer.send(Bytes::from_static(b"answer")).await);
        stream.writer.close().await;

        let reply = Frame::read(&mut client).await.unwrap().unwrap();
        let Frame::SynReply { id: 1, headers } = reply else { panic!("{reply:?}") };
        assert!(Decoder::new().decode(&headers).unwrap().is_empty());
        let mut rest = Vec::new();
        for _ in 0..3 {
            rest.push(Frame::read(&mut client).await.unwrap().unwrap());
        }
        assert!(rest.contains(&Frame::Ping { id: 5 }));
        assert!(rest.contains(&Frame::Data { id: 1, fin: false, data: Bytes::from_static(b"answer") }));
        assert!(rest.contains(&Frame::Data { id: 1, fin: true, data: Bytes::new() }));
        drop(client);
        assert!(accept.recv().await.is_none());
    }
}
