//! What travels over a link: frames of an 8-byte header and a payload.
//!
//! ```text
//!  0        4       5            8
//!  | stream | kind  | length u24 | payload …
//! ```
//!
//! This is **not AMQP**: skupper-router cannot talk to it. It carries what the stand-in needs (streams, credit, half
//! close, routes, heartbeats) and nothing else.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::routes::Entry;

/// The largest DATA payload: small enough that streams share a link fairly.
pub const MAX_DATA: usize = 16 * 1024;
/// The largest payload of any frame (routes of a large network).
const MAX_PAYLOAD: usize = 1 << 20;

/// The first frame of either side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub router: String,
    pub site_id: String,
    pub site_name: String,
}

/// Asks the other side for a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The router that has the connector.
    pub router: String,
    pub address: String,
    /// How many more routers may pass this on.
    pub hops: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    Hello(Hello),
    Routes(Vec<Entry>),
    /// Sent at a fixed pace by both sides; any frame proves that the other side is there.
    Heartbeat,
    Open(u32, Open),
    Data(u32, Bytes),
    /// The receiver has room for so many more bytes.
    Credit(u32, u32),
    /// No more data in this direction.
    Fin(u32),
    /// The stream is over at once, in both directions.
    Reset(u32),
}

impl Frame {
    fn parts(&self) -> (u32, u8, Bytes) {
        let json = |value: serde_json::Result<Vec<u8>>| Bytes::from(value.expect("plain data always serialises"));
        match self {
            Self::Hello(hello) => (0, 1, json(serde_json::to_vec(hello))),
            Self::Routes(entries) => (0, 2, json(serde_json::to_vec(entries))),
            Self::Heartbeat => (0, 3, Bytes::new()),
            Self::Open(stream, open) => (*stream, 4, json(serde_json::to_vec(open))),
            Self::Data(stream, data) => (*stream, 5, data.clone()),
            Self::Credit(stream, credit) => (*stream, 6, Bytes::copy_from_slice(&credit.to_be_bytes())),
            Self::Fin(stream) => (*stream, 7, Bytes::new()),
            Self::Reset(stream) => (*stream, 8, Bytes::new()),
        }
    }

    /// Writes the frame without flushing.
    ///
    /// # Errors
    /// When the payload is too large or the connection fails.
    pub async fn write(&self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        let (stream, kind, payload) = self.parts();
        if payload.len() > MAX_PAYLOAD {
            return Err(io::Error::other("the payload is too large"));
        }
        let length = u32::try_from(payload.len()).expect("checked against MAX_PAYLOAD");
        to.write_u32(stream).await?;
        to.write_u32(u32::from(kind) << 24 | length).await?;
        to.write_all(&payload).await
    }

    /// Reads one frame. Not safe to cancel in the middle.
    ///
    /// # Errors
    /// When the connection ends or what arrives is no frame.
    pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let stream = from.read_u32().await?;
        let word = from.read_u32().await?;
        let (kind, length) = (word >> 24, (word & 0x00ff_ffff) as usize);
        if length > MAX_PAYLOAD {
            return Err(invalid("a frame is too long"));
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        let json = |_| invalid("a frame's payload cannot be read");
        Ok(match kind {
            1 => Self::Hello(serde_json::from_slice(&payload).map_err(json)?),
            2 => Self::Routes(serde_json::from_slice(&payload).map_err(json)?),
            3 => Self::Heartbeat,
            4 => Self::Open(stream, serde_json::from_slice(&payload).map_err(json)?),
            5 => Self::Data(stream, payload.into()),
            6 => {
                let bytes = payload.try_into().map_err(|_| invalid("a credit is not four bytes"))?;
                Self::Credit(stream, u32::from_be_bytes(bytes))
            }
            7 => Self::Fin(stream),
            8 => Self::Reset(stream),
            _ => return Err(invalid("a frame of an unknown kind")),
        })
    }
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_a_round_trip() {
        let open = Open { router: "r".into(), address: "web".into(), hops: 3 };
        let frames = [
            Frame::Hello(Hello { protocol: 1, router: "a".into(), site_id: "s".into(), site_name: "n".into() }),
            Frame::Heartbeat,
            Frame::Open(3, open),
            Frame::Data(3, Bytes::from_static(b"hello")),
            Frame::Credit(3, 70_000),
            Frame::Fin(3),
            Frame::Reset(3),
            Frame::Routes(Vec::new()),
        ];
        let mut wire = Vec::new();
        for frame in &frames {
            frame.write(&mut wire).await.unwrap();
        }
        let mut reader = wire.as_slice();
        for frame in frames {
            assert_eq!(Frame::read(&mut reader).await.unwrap(), frame);
        }
        assert!(Frame::read(&mut [0, 0, 0, 0, 99, 0, 0, 0].as_slice()).await.is_err());
        assert!(Frame::read(&mut [0, 0, 0, 0, 5, 255, 255, 255].as_slice()).await.is_err());
    }
}
