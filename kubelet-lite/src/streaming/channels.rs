//! WebSocket messages of the channel protocols: which channel, and its bytes, as they are or in base64
//! (`k8s.io/streaming/pkg/httpstream/wsstream`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::Message;

/// How channel numbers and bytes stand in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// `channel.k8s.io` and its later versions: a byte with the number, then the bytes.
    Raw,
    /// `base64.channel.k8s.io` and its later version: a digit, then base64, as text.
    Base64,
}

impl Codec {
    /// The codec of a subprotocol.
    #[must_use]
    pub fn of(protocol: &str) -> Self {
        if protocol.contains("base64.") { Self::Base64 } else { Self::Raw }
    }

    /// A message to the client.
    #[must_use]
    pub fn encode(self, channel: u8, data: &[u8]) -> Message {
        match self {
            Self::Raw => {
                let mut bytes = BytesMut::with_capacity(data.len() + 1);
                bytes.put_u8(channel);
                bytes.put_slice(data);
                Message::Binary(bytes.freeze())
            }
            Self::Base64 => Message::text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(data))),
        }
    }

    /// The channel and the bytes of a client's message; `None` for what is no data, or no base64.
    #[must_use]
    pub fn decode(self, message: Message) -> Option<(u8, Bytes)> {
        let data = match message {
            Message::Binary(data) => data,
            Message::Text(text) => text.into(),
            _ => return None,
        };
        let first = *data.first()?;
        match self {
            Self::Raw => Some((first, data.slice(1..))),
            Self::Base64 => Some((first.checked_sub(b'0')?, STANDARD.decode(&data[1..]).ok()?.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read_back() {
        for (protocol, codec, sent) in [
            ("channel.k8s.io", Codec::Raw, Message::binary(&b"\x01foo\n"[..])),
            ("v4.channel.k8s.io", Codec::Raw, Message::binary(&b"\x01foo\n"[..])),
            ("base64.channel.k8s.io", Codec::Base64, Message::text("1Zm9vCg==")),
            ("v4.base64.channel.k8s.io", Codec::Base64, Message::text("1Zm9vCg==")),
        ] {
            assert_eq!(Codec::of(protocol), codec, "{protocol}");
            assert_eq!(codec.encode(1, b"foo\n"), sent, "{protocol}");
            assert_eq!(codec.decode(sent), Some((1, Bytes::from_static(b"foo\n"))), "{protocol}");
        }
        // A client may send base64 as bytes, and raw messages as text.
        assert_eq!(Codec::Base64.decode(Message::binary(&b"0Zm8"[..])), None, "its padding is missing");
        assert_eq!(Codec::Base64.decode(Message::binary(&b"0Zm8="[..])), Some((0, Bytes::from_static(b"fo"))));
        assert_eq!(Codec::Raw.decode(Message::text("\u{1}x")), Some((1, Bytes::from_static(b"x"))));
        assert_eq!(Codec::Raw.decode(Message::binary(Bytes::new())), None);
        assert_eq!(Codec::Raw.decode(Message::Ping(Bytes::new())), None);
    }
}
