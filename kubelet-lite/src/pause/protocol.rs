//! What kubelet and pause say to each other: one JSON value a line over `<sandbox dir>/pause.sock`.
//!
//! On connecting, the kubelet first reads [`Reply::Sandbox`]: all pause knows. That is the whole of re-adoption after a
//! kubelet restart. From then on every change is told as it happens.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The socket's name inside the sandbox's directory.
pub const SOCKET: &str = "pause.sock";

/// What the sandbox is to be; the only argument of `knetsim pause`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxConfig {
    /// Holds the socket and the containers' bundles.
    pub dir: PathBuf,
    pub hostname: String,
    /// Where the pod's network namespace is pinned; absent: the node's own.
    pub netns: Option<PathBuf>,
    pub host_ipc: bool,
    /// One PID namespace for all containers.
    pub shared_pid: bool,
    /// `net.ipv4.ip_forward=1` style settings of the pod's namespaces.
    pub sysctls: Vec<(String, String)>,
    /// The OCI runtime's state folder.
    pub runtime_root: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// The container's name in the pod.
    pub name: String,
    /// How many times this container was started before.
    pub attempt: u32,
    pub id: String,
    pub bundle: PathBuf,
    pub log: PathBuf,
    pub tty: bool,
    pub stdin: bool,
    pub stdin_once: bool,
    /// The container file's hash of the specification it was made from.
    pub image_id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Request {
    Start(Start),
    /// Sends a signal to a container's first process, or to all its processes when it has none left to take it.
    Signal { id: String, signal: i32 },
    /// Drops what is remembered of a dead container.
    Forget { id: String },
    /// From here on this connection carries the container's standard streams: what the client writes is its input, what
    /// it reads are [`Output`] frames.
    Attach { id: String },
    /// Sets the size of a container's terminal.
    Resize { id: String, columns: u16, rows: u16 },
    /// Ends pause itself, and with it the sandbox.
    Quit,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reply {
    /// The answer to connecting.
    Sandbox { pid: i32, shared_pid: Option<i32>, containers: Vec<Container> },
    /// A container changed: it started, failed to start, or ended.
    Changed(Container),
}

/// One start of one container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    pub name: String,
    pub attempt: u32,
    pub id: String,
    pub image_id: String,
    pub phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    Starting,
    /// Milliseconds since the epoch, as everywhere here.
    Running { pid: i32, started_at: i64 },
    /// The runtime could not start it; the message is its own.
    Failed { message: String, at: i64 },
    Exited { code: i32, signal: Option<i32>, started_at: i64, finished_at: i64 },
}

impl Phase {
    /// Whether no process of it is left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Exited { .. })
    }
}

/// An attached client's frames: a stream number (1 stdout, 2 stderr), a length (big endian), the bytes.
pub fn output_frame(stream: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(5 + data.len());
    frame.push(stream);
    frame.extend_from_slice(&u32::try_from(data.len()).expect("a frame is one read, at most 16 KiB").to_be_bytes());
    frame.extend_from_slice(data);
    frame
}
