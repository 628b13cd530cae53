//! Port forwarding: each connection that the client accepts becomes a TCP connection into the pod.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::channels::Codec;
use super::negotiate::{Protocol, negotiate};
use super::spdy::{self, Stream, StreamWriter};
use super::{Body, QUEUE, websocket};

/// SPDY carried in a WebSocket's messages (KEP-4006).
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// Two channels a port, given in the request.
const CHANNELS: &str = "v4.channel.k8s.io";
const BASE64: &str = "v4.base64.channel.k8s.io";
/// On SPDY itself.
const SPDY: &str = "portforward.k8s.io";

/// A client that leaves so many halves of connections unpaired is let go.
const MAX_UNPAIRED: usize = 256;

/// Answers a port-forward request. `ports` are those of the request, which only the channel protocol needs; `connect` opens
/// a connection to a port of the pod, in the pod's network.
pub fn port_forward<C, F>(mut request: Request<Incoming>, ports: Vec<u16>, connect: C) -> Response<Body>
where
    C: Fn(u16) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<TcpStream>> + Send + 'static,
{
    let (protocol, answer) = match negotiate(request.headers(), &[TUNNEL, CHANNELS, BASE64], CHANNELS, &[SPDY]) {
        Ok(agreed) => agreed,
        Err(refusal) => return *refusal,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let connect = Arc::new(connect);
    tokio::spawn(async move {
        let result = match protocol {
            Protocol::Spdy(_) => match upgrade.await {
                Ok(io) => over_spdy(spdy::serve(TokioIo::new(io)), connect).await,
                Err(error) => Err(error.into()),
            },
            Protocol::WebSocket(TUNNEL) => match websocket::accept(upgrade).await {
                Ok(socket) => over_spdy(spdy::serve(websocket::as_bytes(socket)), connect).await,
                Err(error) => Err(error.into()),
            },
            Protocol::WebSocket(protocol) => over_channels(upgrade, Codec::of(protocol), ports, connect).await,
        };
        if let Err(error) = result {
            tracing::debug!(%error, "port forwarding broke off");
        }
    });
    answer
}

/// A connection is a pair of streams with the same request id: one for data, one for what went wrong.
async fn over_spdy<C, F>(mut accept: mpsc::Receiver<Stream>, connect: Arc<C>) -> anyhow::Result<()>
where
    C: Fn(u16) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<TcpStream>> + Send + 'static,
{
    let mut unpaired: HashMap<String, Stream> = HashMap::new();
    while let Some(stream) = accept.recv().await {
        let id = stream.headers.get("requestid").cloned().unwrap_or_default();
        let Some(other) = unpaired.remove(&id) else {
            anyhow::ensure!(unpaired.len() < MAX_UNPAIRED, "too many streams without their other half");
            unpaired.insert(id, stream);
            continue;
        };
        let is_data = |stream: &Stream| stream.headers.get("streamtype").is_some_and(|kind| kind == "data");
        let (data, error) = if is_data(&stream) { (stream, other) } else { (other, stream) };
        let port = data.headers.get("port").and_then(|port| port.parse().ok()).unwrap_or(0);
        let connection = connect(port);
        tokio::spawn(async move {
            let result = match connection.await {
                Ok(tcp) => copy(tcp, data.data, &data.writer).await,
                Err(error) => Err(error),
            };
            if let Err(problem) = result {
                error.writer.send(Bytes::from(failure(port, &problem))).await;
            }
            error.writer.close().await;
            data.writer.close().await;
        });
    }
    Ok(())
}

/// Upstream's words for a connection that the pod refused.
fn failure(port: u16, problem: &io::Error) -> String {
    format!(
        "an error occurred forwarding {port} to the pod: failed to connect to localhost:{port} inside the pod: {problem}"
    )
}

/// Both ways at once; ends when both have ended, or the pod's side has.
async fn copy(tcp: TcpStream, mut from_client: mpsc::Receiver<Bytes>, to_client: &StreamWriter) -> io::Result<()> {
    let (mut read, mut write) = tcp.into_split();
    let upload = tokio::spawn(async move {
        while let Some(data) = from_client.recv().await {
            if write.write_all(&data).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    });
    let mut buffer = BytesMut::with_capacity(32 * 1024);
    let result = loop {
        buffer.reserve(32 * 1024);
        match read.read_buf(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(_) => {
                if !to_client.send(buffer.split().freeze()).await {
                    break Ok(());
                }
            }
            Err(error) => break Err(error),
        }
    };
    upload.abort();
    result
}

/// Channel 2n carries the data of the n-th port, 2n+1 its errors; each begins with the port's number.
async fn over_channels<C, F>(upgrade: OnUpgrade, codec: Codec, ports: Vec<u16>, connect: Arc<C>) -> anyhow::Result<()>
where
    C: Fn(u16) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<TcpStream>> + Send + 'static,
{
    let (mut sink, mut source) = websocket::accept(upgrade).await?.split();
    let (out, mut outgoing) = mpsc::channel::<(u8, Bytes)>(QUEUE);
    let mut uploads = Vec::new();
    for (index, port) in ports.into_iter().enumerate() {
        let data = u8::try_from(index * 2)?;
        for channel in [data, data + 1] {
            sink.send(codec.encode(channel, &port.to_le_bytes())).await?;
        }
        let (upload, mut from_client) = mpsc::channel::<Bytes>(QUEUE);
        uploads.push(upload);
        let (out, connection) = (out.clone(), connect(port));
        tokio::spawn(async move {
            let forwarded = async {
                let (mut read, mut write) = connection.await?.into_split();
                let uploading = tokio::spawn(async move {
                    while let Some(data) = from_client.recv().await {
                        if write.write_all(&data).await.is_err() {
                            return;
                        }
                    }
                    let _ = write.shutdown().await;
                });
                let mut buffer = BytesMut::with_capacity(32 * 1024);
                while read.read_buf(&mut buffer).await? > 0 {
                    if out.send((data, buffer.split().freeze())).await.is_err() {
                        break;
                    }
                    buffer.reserve(32 * 1024);
                }
                uploading.abort();
                io::Result::Ok(())
            };
            if let Err(problem) = forwarded.await {
                let _ = out.send((data + 1, Bytes::from(failure(port, &problem)))).await;
            }
        });
    }
    drop(out);
    let reader = tokio::spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            let Some((channel, data)) = codec.decode(message) else { continue };
            if channel % 2 == 0
                && let Some(upload) = uploads.get(usize::from(channel) / 2)
                && !data.is_empty()
            {
                let _ = upload.send(data).await;
            }
        }
    });
    while let Some((channel, data)) = outgoing.recv().await {
        sink.send(codec.encode(channel, &data)).await?;
    }
    sink.close().await?;
    reader.abort();
    Ok(())
}
