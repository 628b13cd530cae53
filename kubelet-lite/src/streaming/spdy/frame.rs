//! Frames on the wire (SPDY protocol draft 3.1, section 2.2).

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const FLAG_FIN: u8 = 1;

/// No frame of a Kubernetes client is larger; one that claims to be is an error, not an allocation.
const MAX_PAYLOAD: usize = 1 << 20;

/// What we understand; the rest ([`Frame::Other`]) is passed over, as the protocol allows.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A new stream; `headers` is still compressed.
    SynStream {
        id: u32,
        fin: bool,
        headers: Bytes,
    },
    SynReply {
        id: u32,
        headers: Bytes,
    },
    Data {
        id: u32,
        fin: bool,
        data: Bytes,
    },
    RstStream {
        id: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    Other,
}

impl Frame {
    /// Reads one frame; `None` at a clean end.
    ///
    /// # Errors
    /// When the bytes are no SPDY/3.
    pub async fn read(source: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Self>> {
        let mut head = [0; 8];
        match source.read_exact(&mut head).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let flags = head[4];
        let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
        if length > MAX_PAYLOAD {
            return Err(invalid("a frame is too large"));
        }
        let mut payload = vec![0; length];
        source.read_exact(&mut payload).await?;
        let payload = Bytes::from(payload);
        let fin = flags & FLAG_FIN != 0;
        if first >> 31 == 0 {
            return Ok(Some(Self::Data { id: first, fin, data: payload }));
        }
        if (first >> 16) & 0x7fff != u32::from(VERSION) {
            return Err(invalid("not SPDY version 3"));
        }
        let id = || -> io::Result<u32> {
            let bytes = payload.get(..4).ok_or_else(|| invalid("a control frame is too short"))?;
            Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) & 0x7fff_ffff)
        };
        Ok(Some(match u16::try_from(first & 0xffff).expect("masked to 16 bits") {
            SYN_STREAM => {
                if payload.len() < 10 {
                    return Err(invalid("SYN_STREAM is too short"));
                }
                Self::SynStream { id: id()?, fin, headers: payload.slice(10..) }
            }
            SYN_REPLY => Self::SynReply { id: id()?, headers: payload.slice(4..) },
            RST_STREAM => Self::RstStream { id: id()? },
            PING => Self::Ping { id: id()? },
            GOAWAY => Self::GoAway,
            _ => Self::Other,
        }))
    }

    /// Appends the frame's bytes.
    pub fn write(&self, out: &mut BytesMut) {
        match self {
            Self::SynStream { id, fin, headers } => {
                control(out, SYN_STREAM, u8::from(*fin), headers.len() + 10);
                out.put_u32(*id);
                // No stream it belongs to, no priority, no credential slot.
                out.put_bytes(0, 6);
                out.put_slice(headers);
            }
            Self::SynReply { id, headers } => {
                control(out, SYN_REPLY, 0, headers.len() + 4);
                out.put_u32(*id);
                out.put_slice(headers);
            }
            Self::Data { id, fin, data } => {
                out.put_u32(*id);
                out.put_u32(u32::from(*fin) << 24 | length_of(data.len()));
                out.put_slice(data);
            }
            Self::RstStream { id } => {
                control(out, RST_STREAM, 0, 8);
                out.put_u32(*id);
                // CANCEL
                out.put_u32(5);
            }
            Self::Ping { id } => {
                control(out, PING, 0, 4);
                out.put_u32(*id);
            }
            Self::GoAway => {
                control(out, GOAWAY, 0, 8);
                out.put_bytes(0, 8);
            }
            Self::Other => {}
        }
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(u32::from(flags) << 24 | length_of(length));
}

fn length_of(length: usize) -> u32 {
    u32::try_from(length).expect("senders cut their data to pieces far below 2^24")
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_again() {
        let frames = [
            Frame::SynStream { id: 1, fin: false, headers: Bytes::from_static(b"abc") },
            Frame::SynReply { id: 1, headers: Bytes::from_static(b"x") },
            Frame::Data { id: 3, fin: true, data: Bytes::from_static(b"hello") },
            Frame::RstStream { id: 7 },
            Frame::Ping { id: 9 },
            Frame::GoAway,
        ];
        let mut wire = BytesMut::new();
        frames.iter().for_each(|frame| frame.write(&mut wire));
        let mut source = &wire[..];
        for frame in frames {
            assert_eq!(Frame::read(&mut source).await.unwrap(), Some(frame));
        }
        assert_eq!(Frame::read(&mut source).await.unwrap(), None);
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        for wire in [[0x80, 2, 0, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0xff, 0xff, 0xff]] {
            assert!(Frame::read(&mut &wire[..]).await.is_err());
        }
    }
}
