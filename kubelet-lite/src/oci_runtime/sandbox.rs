//! The kubelet's hold on a pod's sandbox: starting [`crate::pause`], finding it again, and talking to it.

use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::mpsc;

use crate::pause::protocol::{Container, Reply, Request, SOCKET, SandboxConfig};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot start pause: {0}")]
    Spawn(#[source] std::io::Error),
    /// Pause ended at once; the text is its own.
    #[error("{0}")]
    Refused(String),
    #[error("the sandbox does not answer: {0}")]
    Lost(#[source] std::io::Error),
}

/// What pause reports of its own accord.
#[derive(Debug)]
pub enum Notice {
    Changed(Container),
    /// Pause is gone, and the pod's namespaces with it.
    Gone,
}

/// A living sandbox.
#[derive(Debug)]
pub struct Sandbox {
    pub pid: i32,
    pub shared_pid: Option<i32>,
    /// What was there when we connected.
    pub containers: Vec<Container>,
    writer: OwnedWriteHalf,
}

impl Sandbox {
    /// Starts a sandbox; returns when its namespaces stand.
    ///
    /// # Errors
    /// [`Error::Refused`] with pause's own words when the kernel did not let it.
    pub async fn create(config: &SandboxConfig, notices: mpsc::UnboundedSender<Notice>) -> Result<Self, Error> {
        std::fs::create_dir_all(&config.dir).map_err(Error::Spawn)?;
        let path = config.dir.join(SOCKET);
        let _ = std::fs::remove_file(&path);
        let listener = StdListener::bind(&path).map_err(Error::Spawn)?;
        let text = serde_json::to_string(config).expect("a configuration is plain data");
        let mut child = tokio::process::Command::new(own_program())
            // `ps` shows `knetsim`, not `exe`.
            .arg0("knetsim")
            .arg("pause")
            .arg(text)
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::Spawn)?;
        let mut complaint = child.stderr.take().expect("stderr is piped");
        let connected = Self::connect(&config.dir, notices).await;
        if connected.is_err() {
            let mut text = String::new();
            let _ = complaint.read_to_string(&mut text).await;
            let _ = child.wait().await;
            let text = text.trim().trim_start_matches("Error: ").replace('\n', " ");
            if !text.is_empty() {
                return Err(Error::Refused(text));
            }
        }
        // Reaps it in its time; it outlives us if we end first.
        tokio::spawn(async move { child.wait().await });
        connected
    }

    /// Connects to the sandbox in `dir`, ours or one that an earlier kubelet left running.
    ///
    /// # Errors
    /// [`Error::Lost`] when no pause listens there.
    pub async fn connect(dir: &Path, notices: mpsc::UnboundedSender<Notice>) -> Result<Self, Error> {
        let stream = UnixStream::connect(dir.join(SOCKET)).await.map_err(Error::Lost)?;
        let (reader, writer) = stream.into_split();
        let mut lines = BufReader::new(reader).lines();
        let first = lines.next_line().await.map_err(Error::Lost)?;
        let ended = || Error::Lost(std::io::ErrorKind::UnexpectedEof.into());
        let reply = serde_json::from_str(&first.ok_or_else(ended)?);
        let Ok(Reply::Sandbox { pid, shared_pid, containers }) = reply else { return Err(ended()) };
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(Reply::Changed(container)) = serde_json::from_str(&line)
                    && notices.send(Notice::Changed(container)).is_err()
                {
                    return;
                }
            }
            let _ = notices.send(Notice::Gone);
        });
        Ok(Self { pid, shared_pid, containers, writer })
    }

    /// Sends a request; its effect comes as a [`Notice`].
    ///
    /// # Errors
    /// When pause is gone, which also comes as a notice.
    pub async fn send(&mut self, request: &Request) -> Result<(), Error> {
        let mut line = serde_json::to_vec(request).expect("a request is plain data");
        line.push(b'\n');
        self.writer.write_all(&line).await.map_err(Error::Lost)
    }
}

/// The running binary, also when its file was replaced meanwhile.
fn own_program() -> &'static Path {
    Path::new("/proc/self/exe")
}

/// Opens a connection that carries a container's standard streams from here on.
///
/// # Errors
/// When no pause listens in `dir`.
pub async fn attach(dir: &Path, id: &str) -> Result<UnixStream, Error> {
    let mut stream = UnixStream::connect(dir.join(SOCKET)).await.map_err(Error::Lost)?;
    // The greeting's line is read byte by byte: what follows it is not lines.
    while stream.read_u8().await.map_err(Error::Lost)? != b'\n' {}
    let mut line = serde_json::to_vec(&Request::Attach { id: id.to_owned() }).expect("a request is plain data");
    line.push(b'\n');
    stream.write_all(&line).await.map_err(Error::Lost)?;
    Ok(stream)
}
