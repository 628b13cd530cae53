//! The channels of exec and attach: standard streams, terminal size, and how it ended.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::negotiate::{Protocol, negotiate};
use super::spdy::{self, Stream, StreamWriter};
use super::{Body, QUEUE, websocket};

const V5: &str = "v5.channel.k8s.io";
const V4: &str = "v4.channel.k8s.io";

/// Channel numbers (upstream's `remotecommand` constants).
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Since v5: the second byte names a channel that its sender has closed.
const CLOSE: u8 = 255;

/// How long a SPDY client may take to open its streams (upstream's `StreamCreationTimeout`).
const STREAM_PATIENCE: Duration = Duration::from_secs(30);

/// Which streams the client asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// The command's ends.
pub struct Session {
    /// What the client types; ends at end of file, or when the client is gone. `None` when not asked for.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// New sizes of the client's terminal: columns, rows.
    pub resize: mpsc::Receiver<(u16, u16)>,
    pub output: Output,
}

/// Where output goes.
#[derive(Clone)]
pub struct Output {
    out: mpsc::Sender<(Channel, Bytes)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    Stdout,
    Stderr,
}

/// The client is gone.
#[derive(Debug, thiserror::Error)]
#[error("the client has closed the connection")]
pub struct Closed;

impl Output {
    /// Sends output; waits while the client is slow.
    ///
    /// # Errors
    /// When the client is gone.
    pub async fn write(&self, channel: Channel, data: Bytes) -> Result<(), Closed> {
        self.out.send((channel, data)).await.map_err(|_| Closed)
    }

    /// Resolves when the client is gone.
    pub async fn closed(&self) {
        self.out.closed().await;
    }
}

/// How the command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Exited(i32),
    /// It could not be run, or waited for.
    Failed(String),
}

impl Ended {
    /// The Status on the error channel (upstream's `remotecommand.WriteStatus` and `ExecInContainer` results).
    fn status(&self) -> Value {
        match self {
            Self::Exited(0) => json!({ "metadata": {}, "status": "Success" }),
            Self::Exited(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            }),
            Self::Failed(why) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("error executing command in container: {why}"),
                "reason": "InternalError",
                "code": 500,
            }),
        }
    }
}

/// Answers an exec or attach request, and runs `run` with its streams once the client has switched.
pub fn exec<F>(
    mut request: Request<Incoming>,
    wanted: Wanted,
    run: impl FnOnce(Session) -> F + Send + 'static,
) -> Response<Body>
where
    F: Future<Output = Ended> + Send + 'static,
{
    let (protocol, answer) = match negotiate(request.headers(), &[V5, V4], &[V4]) {
        Ok(agreed) => agreed,
        Err(refusal) => return *refusal,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let result = match protocol {
            Protocol::WebSocket(_) => over_websocket(upgrade, wanted, run).await,
            Protocol::Spdy(_) => over_spdy(upgrade, wanted, run).await,
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a command's streams broke off");
        }
    });
    answer
}

/// Our ends of a session's queues.
struct Ends {
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: mpsc::Sender<(u16, u16)>,
    out: mpsc::Receiver<(Channel, Bytes)>,
}

fn session(wanted: Wanted) -> (Session, Ends) {
    let (stdin_in, stdin) = mpsc::channel(QUEUE);
    let (resize_in, resize) = mpsc::channel(QUEUE);
    let (out, out_end) = mpsc::channel(QUEUE);
    let session = Session { stdin: wanted.stdin.then_some(stdin), resize, output: Output { out } };
    (session, Ends { stdin: wanted.stdin.then_some(stdin_in), resize: resize_in, out: out_end })
}

async fn over_websocket<F>(upgrade: OnUpgrade, wanted: Wanted, run: impl FnOnce(Session) -> F) -> anyhow::Result<()>
where
    F: Future<Output = Ended> + Send + 'static,
{
    let (mut sink, mut source) = websocket::accept(upgrade).await?.split();
    let (session, Ends { mut stdin, resize, mut out }) = session(wanted);
    let reader = tokio::spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            let Message::Binary(data) = message else { continue };
            match data.first() {
                Some(&STDIN) => {
                    if let Some(sender) = &stdin
                        && data.len() > 1
                        && sender.send(data.slice(1..)).await.is_err()
                    {
                        stdin = None;
                    }
                }
                Some(&CLOSE) if data.get(1) == Some(&STDIN) => stdin = None,
                Some(&RESIZE) => {
                    if let Some(size) = parse_size(&data[1..]) {
                        let _ = resize.send(size).await;
                    }
                }
                _ => {}
            }
        }
    });
    let writer = async move {
        while let Some((channel, data)) = out.recv().await {
            let number = if channel == Channel::Stdout { STDOUT } else { STDERR };
            sink.send(message(number, &data)).await?;
        }
        anyhow::Ok(sink)
    };
    let (ended, sink) = tokio::join!(run(session), writer);
    let mut sink = sink?;
    sink.send(message(ERROR, ended.status().to_string().as_bytes())).await?;
    sink.close().await?;
    reader.abort();
    Ok(())
}

fn message(channel: u8, data: &[u8]) -> Message {
    let mut bytes = BytesMut::with_capacity(data.len() + 1);
    bytes.put_u8(channel);
    bytes.put_slice(data);
    Message::Binary(bytes.freeze())
}

async fn over_spdy<F>(upgrade: OnUpgrade, wanted: Wanted, run: impl FnOnce(Session) -> F) -> anyhow::Result<()>
where
    F: Future<Output = Ended> + Send + 'static,
{
    let mut accept = spdy::serve(TokioIo::new(upgrade.await?));
    let mut streams = tokio::time::timeout(STREAM_PATIENCE, open_streams(&mut accept, wanted)).await??;
    let (session, Ends { stdin, resize, mut out }) = session(wanted);
    if let (Some(sender), Some(mut stream)) = (stdin, streams.remove("stdin")) {
        tokio::spawn(async move {
            while let Some(data) = stream.data.recv().await {
                if sender.send(data).await.is_err() {
                    return;
                }
            }
        });
    }
    if let Some(mut stream) = streams.remove("resize") {
        tokio::spawn(async move {
            while let Some(data) = stream.data.recv().await {
                if let Some(size) = parse_size(&data)
                    && resize.send(size).await.is_err()
                {
                    return;
                }
            }
        });
    }
    let writer = |name: &str| -> Option<StreamWriter> { streams.get(name).map(|stream| stream.writer.clone()) };
    let (stdout, stderr, error) = (writer("stdout"), writer("stderr"), writer("error"));
    let pump = async {
        while let Some((channel, data)) = out.recv().await {
            let target = if channel == Channel::Stdout { &stdout } else { &stderr };
            if let Some(target) = target
                && !target.send(data).await
            {
                return;
            }
        }
    };
    let (ended, ()) = tokio::join!(run(session), pump);
    if let Some(error) = &error {
        error.send(Bytes::from(ended.status().to_string())).await;
    }
    for stream in [stdout, stderr, error].into_iter().flatten() {
        stream.close().await;
    }
    // The client ends the connection when it has read the Status.
    while accept.recv().await.is_some() {}
    Ok(())
}

/// The streams by their type, once all that belong to `wanted` are there.
async fn open_streams(accept: &mut mpsc::Receiver<Stream>, wanted: Wanted) -> anyhow::Result<HashMap<String, Stream>> {
    let expected = [true, wanted.stdin, wanted.stdout, wanted.stderr && !wanted.tty, wanted.tty];
    let expected = expected.into_iter().filter(|asked| *asked).count();
    let mut streams = HashMap::new();
    while streams.len() < expected {
        let stream = accept.recv().await.ok_or_else(|| anyhow::anyhow!("the client opened too few streams"))?;
        let kind = stream.headers.get("streamtype").cloned().unwrap_or_default();
        streams.insert(kind, stream);
    }
    Ok(streams)
}

fn parse_size(data: &[u8]) -> Option<(u16, u16)> {
    let size: Value = serde_json::from_slice(data).ok()?;
    let field = |name: &str| size[name].as_u64().and_then(|n| u16::try_from(n).ok());
    Some((field("Width")?, field("Height")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(Ended::Exited(0).status()["status"], "Success");
        let seven = Ended::Exited(7).status();
        assert_eq!(seven["reason"], "NonZeroExitCode");
        assert_eq!(seven["details"]["causes"][0], json!({ "reason": "ExitCode", "message": "7" }));
        assert_eq!(Ended::Failed("no such file".into()).status()["code"], 500);
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size(br#"{"Width":80,"Height":24}"#), Some((80, 24)));
        assert_eq!(parse_size(b"{}"), None);
        assert_eq!(parse_size(br#"{"Width":800000,"Height":24}"#), None);
    }
}
