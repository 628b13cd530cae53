//! The channels of exec and attach: standard streams, terminal size, and how it ended.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::channels::Codec;
use super::negotiate::{Protocol, negotiate};
use super::spdy::{self, Stream, StreamWriter};
use super::{Body, QUEUE, websocket};

const V4: &str = "v4.channel.k8s.io";
/// The subprotocols of WebSockets. Those before v4 tell an error as plain text, and success by silence.
const WEBSOCKET: &[&str] = &["v5.channel.k8s.io", V4, "v4.base64.channel.k8s.io", V1, "base64.channel.k8s.io"];
/// The first of all, which is also spoken with a client that names none.
const V1: &str = "channel.k8s.io";

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
    /// What the error channel says in a WebSocket's subprotocol, if anything.
    fn told(&self, protocol: &str) -> Option<String> {
        if protocol.starts_with('v') {
            return Some(self.status().to_string());
        }
        match self {
            Self::Exited(0) => None,
            _ => self.status()["message"].as_str().map(str::to_owned),
        }
    }

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
    let (protocol, answer) = match negotiate(request.headers(), WEBSOCKET, V1, &[V4]) {
        Ok(agreed) => agreed,
        Err(refusal) => return *refusal,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let result = match protocol {
            Protocol::WebSocket(protocol) => over_websocket(upgrade, protocol, wanted, run).await,
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

async fn over_websocket<F>(
    upgrade: OnUpgrade,
    protocol: &'static str,
    wanted: Wanted,
    run: impl FnOnce(Session) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = Ended> + Send + 'static,
{
    let codec = Codec::of(protocol);
    let (mut sink, mut source) = websocket::accept(upgrade).await?.split();
    // An empty message on the first channel there is tells the client that it is connected. Clients of v4 and v5 are not told:
    // kubectl before 1.33 complains of messages that come before it has made its streams.
    let first = [(wanted.stdout, STDOUT), (wanted.stderr, STDERR), (true, ERROR)];
    if let Some((_, channel)) = first.into_iter().find(|(asked, _)| *asked && !protocol.starts_with('v')) {
        sink.send(codec.encode(channel, &[])).await?;
    }
    let (session, Ends { mut stdin, resize, mut out }) = session(wanted);
    let mut reader = tokio::spawn(async move {
        while let Some(Ok(message)) = source.next().await {
            match codec.decode(message) {
                Some((STDIN, data)) => {
                    if let Some(sender) = &stdin
                        && !data.is_empty()
                        && sender.send(data).await.is_err()
                    {
                        stdin = None;
                    }
                }
                Some((CLOSE, data)) if data.first() == Some(&STDIN) => stdin = None,
                Some((RESIZE, data)) => {
                    if let Some(size) = parse_size(&data) {
                        let _ = resize.send(size).await;
                    }
                }
                _ => {}
            }
        }
    });
    let writer = async move {
        while let Some((channel, data)) = out.recv().await {
            let (asked, number) = match channel {
                Channel::Stdout => (wanted.stdout, STDOUT),
                Channel::Stderr => (wanted.stderr, STDERR),
            };
            if asked {
                sink.send(codec.encode(number, &data)).await?;
            }
        }
        anyhow::Ok(sink)
    };
    let (ended, sink) = tokio::join!(run(session), writer);
    let mut sink = sink?;
    if let Some(text) = ended.told(protocol) {
        sink.send(codec.encode(ERROR, text.as_bytes())).await?;
    }
    sink.send(websocket::goodbye()).await?;
    // The client answers the close when it has read all before it; only then is the connection dropped.
    if tokio::time::timeout(STREAM_PATIENCE, &mut reader).await.is_err() {
        reader.abort();
    }
    Ok(())
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
        let words = "command terminated with non-zero exit code: exit status 7".to_owned();
        assert_eq!(Ended::Exited(7).told("channel.k8s.io"), Some(words));
        assert_eq!(Ended::Exited(0).told("base64.channel.k8s.io"), None);
        let status =
            serde_json::from_str::<Value>(&Ended::Exited(0).told("v4.base64.channel.k8s.io").unwrap()).unwrap();
        assert_eq!(status["status"], "Success");
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size(br#"{"Width":80,"Height":24}"#), Some((80, 24)));
        assert_eq!(parse_size(b"{}"), None);
        assert_eq!(parse_size(br#"{"Width":800000,"Height":24}"#), None);
    }
}
