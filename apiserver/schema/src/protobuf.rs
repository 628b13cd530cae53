//! `application/vnd.kubernetes.protobuf`, both ways, driven by the fact table; no generated types.
//!
//! ```text
//! body  = "k8s\0" runtime.Unknown{ typeMeta{apiVersion, kind}, raw = message }
//! frame = length (4 bytes, big endian) metav1.WatchEvent{ type, object{ raw = body } }
//! ```
//! A list's items are bare messages, so a cached message of an object serves in lists as it is ([`ListFrame`]).

mod read;
pub(crate) mod wire;
mod write;

use std::borrow::Cow;

use serde_json::Value;

use self::wire::{Reader, Writer, malformed};
use crate::{
    facts,
    model::{StructRef, Wire},
};

const MAGIC: &[u8] = b"k8s\0";
/// The same, as Go shows it.
const NUMBERS: &str = "[107 56 115 0]";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// Custom resources and Table have no protobuf form: 406 for an answer, 415 for a request.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind { api_version: String, kind: String },
    /// The envelope cannot be read: nothing is known of what is in it.
    #[error("{0}")]
    Envelope(String),
    /// The object in it cannot be read, or written.
    #[error("{why}")]
    Message { api_version: String, kind: String, why: String },
}

/// Whether the kind has a protobuf form.
#[must_use]
pub fn supports(api_version: &str, kind: &str) -> bool {
    facts::kind(api_version, kind).is_some()
}

fn row(api_version: &str, kind: &str) -> Result<StructRef, ProtoError> {
    let unknown = || ProtoError::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
    facts::kind(api_version, kind).map(StructRef::Builtin).ok_or_else(unknown)
}

/// A whole body.
pub fn encode(api_version: &str, kind: &str, value: &Value) -> Result<Vec<u8>, ProtoError> {
    Ok(envelope(api_version, kind, &encode_message(api_version, kind, value)?))
}

/// The bare message, to be kept as an item's cached form.
pub fn encode_message(api_version: &str, kind: &str, value: &Value) -> Result<Vec<u8>, ProtoError> {
    let of = row(api_version, kind)?;
    let mut out = Writer::default();
    write::fields(&mut out, &of, &of.wire, value).map_err(broken(api_version, kind))?;
    Ok(out.0)
}

/// Upstream always writes the envelope's last two fields, empty.
const CLOSING: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// The envelope up to its message.
fn opening(api_version: &str, kind: &str) -> Vec<u8> {
    let mut out = Writer(MAGIC.to_vec());
    let mut meta = Writer::default();
    meta.bytes(1, api_version.as_bytes());
    meta.bytes(2, kind.as_bytes());
    out.bytes(1, &meta.0);
    out.0
}

/// The envelope around a bare message.
#[must_use]
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut out = Writer(opening(api_version, kind));
    out.0.reserve(message.len() + 16);
    out.bytes(2, message);
    out.0.extend_from_slice(CLOSING);
    out.0
}

/// A list body around items that are written by the caller, so that their cached messages are copied once and the whole is
/// never in one piece.
pub struct ListFrame {
    /// What comes before the first item.
    pub head: Vec<u8>,
    /// What comes after the last.
    pub tail: &'static [u8],
    number: u32,
}

impl ListFrame {
    /// `lengths` are those of the items' messages.
    ///
    /// # Errors
    /// The kind is no list with a protobuf form.
    pub fn new(
        api_version: &str,
        list_kind: &str,
        metadata: &Value,
        lengths: impl Iterator<Item = usize>,
    ) -> Result<Self, ProtoError> {
        let of = row(api_version, list_kind)?;
        let number = of.wire.iter().find_map(|entry| match entry {
            Wire::Field { number, index } if &*of.fields[usize::from(*index)].name == "items" => Some(*number),
            _ => None,
        });
        let number = number.ok_or_else(|| broken(api_version, list_kind)(malformed("not a list")))?;
        let mut own = Writer::default();
        let head = Value::Object(std::iter::once(("metadata".to_owned(), metadata.clone())).collect());
        write::fields(&mut own, &of, &of.wire, &head).map_err(broken(api_version, list_kind))?;
        let items: usize = lengths.map(|length| wire::prefix(number, length).len() + length).sum();
        let mut head = opening(api_version, list_kind);
        head.extend_from_slice(&wire::prefix(2, own.0.len() + items));
        head.extend_from_slice(&own.0);
        Ok(Self { head, tail: CLOSING, number })
    }

    /// What comes before an item of this length.
    #[must_use]
    pub fn prefix(&self, length: usize) -> Vec<u8> {
        wire::prefix(self.number, length)
    }
}

/// A frame of a watch stream; `object` is a whole body.
#[must_use]
pub fn watch_frame(event_type: &str, object: &[u8]) -> Vec<u8> {
    let mut event = Writer(vec![0; 4]);
    event.bytes(1, event_type.as_bytes());
    let mut raw = Writer::default();
    raw.bytes(1, object);
    event.bytes(2, &raw.0);
    let mut frame = event.0;
    // A frame is far below 4 GiB: objects are bounded by the request limit.
    let length = u32::try_from(frame.len() - 4).unwrap_or(u32::MAX);
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// (apiVersion, kind, object as JSON with both set).
pub fn decode(body: &[u8]) -> Result<(String, String, Value), ProtoError> {
    decode_as(body, ("", ""))
}

/// The same, of a body that need not say what it is: what it leaves out of apiVersion and kind is taken from here.
pub fn decode_as(body: &[u8], unsaid: (&str, &str)) -> Result<(String, String, Value), ProtoError> {
    let Envelope { api_version, kind, raw } = unpack(body).map_err(ProtoError::Envelope)?;
    // What is no version is none (`runtime.TypeMeta.GroupVersionKind`).
    let is_version = match api_version.split_once('/') {
        Some((_, version)) => !version.is_empty() && !version.contains('/'),
        None => !api_version.is_empty(),
    };
    let api_version = if is_version { &*api_version } else { unsaid.0 };
    let kind = if kind.is_empty() { unsaid.1 } else { &*kind };
    let of = row(api_version, kind)?;
    let mut value = read::message(raw, &of, &of.wire).map_err(broken(api_version, kind))?;
    if let Value::Object(map) = &mut value {
        map.insert("apiVersion".into(), api_version.into());
        map.insert("kind".into(), kind.into());
    }
    Ok((api_version.to_owned(), kind.to_owned(), value))
}

/// `runtime.Unknown`.
#[derive(Default)]
struct Envelope<'a> {
    api_version: Cow<'a, str>,
    kind: Cow<'a, str>,
    /// The object's message.
    raw: &'a [u8],
}

fn unpack(body: &[u8]) -> Result<Envelope<'_>, String> {
    let rest = match body.strip_prefix(MAGIC) {
        None if body.is_empty() => return Err("empty data".to_owned()),
        None => {
            return Err(format!("provided data does not appear to be a protobuf message, expected prefix {NUMBERS}"));
        }
        Some(b"") => return Err("empty body".to_owned()),
        Some(rest) => rest,
    };
    let mut found = Envelope::default();
    let mut reader = Reader::new(rest, "Unknown");
    while let Some(tag) = reader.next()? {
        match tag.number {
            1 => {
                let mut meta = Reader::new(reader.bytes(tag, "typeMeta")?, "TypeMeta");
                while let Some(tag) = meta.next()? {
                    match tag.number {
                        1 => found.api_version = meta.text(tag, "apiVersion")?,
                        2 => found.kind = meta.text(tag, "kind")?,
                        _ => meta.skip(tag)?,
                    }
                }
            }
            2 => found.raw = reader.bytes(tag, "raw")?,
            3 => drop(reader.bytes(tag, "contentEncoding")?),
            4 => drop(reader.bytes(tag, "contentType")?),
            _ => reader.skip(tag)?,
        }
    }
    Ok(found)
}

/// Names the object that something is wrong with.
fn broken(api_version: &str, kind: &str) -> impl Fn(String) -> ProtoError {
    move |why| ProtoError::Message { api_version: api_version.to_owned(), kind: kind.to_owned(), why }
}

#[cfg(test)]
mod tests;
