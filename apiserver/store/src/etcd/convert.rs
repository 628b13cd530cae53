//! etcd's messages as ours.

use crate::{Event, KeyValue, Revision, StoreError};
use bytes::Bytes;
use etcd_client::{Error, EventType, ResponseHeader};

/// gRPC's numbers of the codes we tell apart; the client shows them only through its errors.
mod code {
    pub const CANCELLED: i32 = 1;
    pub const UNKNOWN: i32 = 2;
    pub const INVALID_ARGUMENT: i32 = 3;
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    pub const OUT_OF_RANGE: i32 = 11;
    pub const UNAVAILABLE: i32 = 14;
}

/// A failed call that asked for `requested`. etcd does not say which revisions it has, so the nearest possible is said.
pub(super) fn failure(error: Error, requested: Revision) -> StoreError {
    if let Error::GRpcStatus(status) = &error {
        let (code, message) = (i32::from(status.code()), status.message());
        let large = message.contains("too large") || message.contains("larger than max");
        match code {
            code::OUT_OF_RANGE if message.contains("compacted") => {
                return StoreError::Compacted { requested, oldest: requested + 1 };
            }
            code::OUT_OF_RANGE if message.contains("future") => {
                return StoreError::Future { requested, newest: requested - 1 };
            }
            code::INVALID_ARGUMENT | code::RESOURCE_EXHAUSTED if large => {
                return StoreError::TooLarge { size: 0, limit: super::VALUE_LIMIT };
            }
            _ => {}
        }
    }
    StoreError::Unavailable(anyhow::Error::new(error).context("etcd"))
}

/// The call may not have arrived, so a read may be tried again.
pub(super) fn broken_connection(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => {
            matches!(i32::from(status.code()), code::CANCELLED | code::UNKNOWN | code::UNAVAILABLE)
        }
        Error::TransportError(_) | Error::IoError(_) => true,
        _ => false,
    }
}

pub(super) fn revision_of(header: Option<&ResponseHeader>) -> Result<Revision, StoreError> {
    let header = header.ok_or_else(|| StoreError::Unavailable(anyhow::anyhow!("etcd answered without header")))?;
    Ok(header.revision())
}

pub(super) fn item(found: etcd_client::KeyValue) -> Result<KeyValue, StoreError> {
    let (create_revision, mod_revision) = (found.create_revision(), found.mod_revision());
    let (key, value) = found.into_key_value();
    let key = String::from_utf8(key)
        .map_err(|error| StoreError::Unavailable(anyhow::Error::new(error).context("a key in etcd is no UTF-8")))?;
    Ok(KeyValue { key, value: Bytes::from(value), create_revision, mod_revision, stale: false })
}

/// An event and its revision; no event for a key that is no text and so none of ours.
pub(super) fn event(event: &etcd_client::Event) -> Option<(Option<Event>, Revision)> {
    let found = event.kv()?;
    let revision = found.mod_revision();
    let previous = event.prev_kv().and_then(|previous| item(previous.clone()).ok());
    let event = match event.event_type() {
        EventType::Put => item(found.clone()).ok().map(|kv| Event::Put { kv, previous }),
        EventType::Delete => found.key_str().ok().map(|key| Event::Delete { key: key.to_owned(), revision, previous }),
    };
    Some((event, revision))
}

/// The first key behind all that begin with `prefix`.
pub(super) fn prefix_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // etcd's way to say: to the end of all keys.
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_prefixes() {
        assert_eq!(prefix_end("/registry/pods/"), b"/registry/pods0");
        assert_eq!(prefix_end(""), [0]);
    }
}
