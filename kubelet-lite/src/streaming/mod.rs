//! Streams between a client and a container: exec, attach and port-forward, over WebSocket or SPDY/3.1.
//!
//! ```text
//! request ─ negotiate ─┬─ WebSocket: [v5.|v4.][base64.]channel.k8s.io ───────────────┐
//!                      │    one byte of every message says which channel it is       ├─ exec: a Session for the command
//!                      ├─ SPDY/3.1: a stream a channel (kubectl before 1.31) ────────┤
//!                      └─ WebSocket carrying SPDY/3.1 (port-forward since 1.31) ─────┴─ port_forward: a TCP connection each
//! ```
//!
//! Promised to callers: every queue between the two ends is bounded, so a slow client slows the command and nothing grows;
//! the error channel's Status is always written before the connection ends. Upstream: `apimachinery/pkg/util/httpstream`,
//! `cri-streaming`'s `remotecommand` and `portforward`, KEP-4006.

mod channels;
mod exec;
mod negotiate;
mod port_forward;
pub mod spdy;
mod websocket;

pub use exec::{Channel, Closed, Ended, Output, Session, Wanted, exec};
pub use port_forward::port_forward;

/// Messages waiting in each direction before the sender has to wait.
const QUEUE: usize = 32;

/// The body of the answers to streaming requests: short and known.
pub type Body = http_body_util::Full<bytes::Bytes>;
