//! `application/vnd.kubernetes.protobuf`: the fact table's field numbers walked next to JSON values, both ways.
//!
//! A body is the magic `k8s\0` and a `runtime.Unknown` around the kind's message; apiVersion and kind stand in the Unknown
//! only. As Go does, zero values of fields without presence are left out of the JSON that decoding gives
//! ([`crate::apply_defaults`] shows those that Go always shows).

mod decode;
mod encode;
mod wire;

use serde_json::Value;

use crate::facts;
use wire::Reader;

const MAGIC: &[u8] = b"k8s\0";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    #[error("no kind {kind:?} is registered for {api_version:?} in protobuf")]
    UnknownKind { api_version: String, kind: String },
    #[error("{0}")]
    Malformed(String),
}

impl ProtoError {
    fn malformed(text: impl Into<String>) -> Self {
        Self::Malformed(text.into())
    }
}

/// Kinds that have facts but no message: upstream leaves them out of protobuf.
const NO_MESSAGE: [&str; 1] = ["Table"];

fn message(api_version: &str, kind: &str) -> Result<&'static crate::model::Struct, ProtoError> {
    let unknown = || ProtoError::UnknownKind { api_version: api_version.to_owned(), kind: kind.to_owned() };
    let without = NO_MESSAGE.contains(&kind) || api_version.starts_with("apiregistration.k8s.io/");
    let index = facts::kind(api_version, kind).filter(|_| !without).ok_or_else(unknown)?;
    Ok(facts::by_index(index))
}

/// Whether the kind has a protobuf form (custom resources and Table have none: answer 406).
#[must_use]
pub fn supports(api_version: &str, kind: &str) -> bool {
    message(api_version, kind).is_ok()
}

/// Whole body: magic `k8s\0` and runtime.Unknown around the message.
///
/// # Errors
/// The kind is unknown, or a value is not what the field holds.
pub fn encode(api_version: &str, kind: &str, value: &Value) -> Result<Vec<u8>, ProtoError> {
    Ok(envelope(api_version, kind, &encode_message(api_version, kind, value)?))
}

/// The bare message, to be kept as an item's cached form for [`encode_list`].
///
/// # Errors
/// See [`encode`].
pub fn encode_message(api_version: &str, kind: &str, value: &Value) -> Result<Vec<u8>, ProtoError> {
    let mut out = Vec::new();
    encode::structure(&mut out, message(api_version, kind)?, value)?;
    Ok(out)
}

/// The envelope around a bare message.
#[must_use]
pub fn envelope(api_version: &str, kind: &str, message: &[u8]) -> Vec<u8> {
    let mut meta = Vec::new();
    wire::bytes(&mut meta, 1, api_version.as_bytes());
    wire::bytes(&mut meta, 2, kind.as_bytes());
    let mut out = Vec::with_capacity(message.len() + meta.len() + 24);
    out.extend_from_slice(MAGIC);
    wire::bytes(&mut out, 1, &meta);
    wire::bytes(&mut out, 2, message);
    wire::bytes(&mut out, 3, b"");
    wire::bytes(&mut out, 4, b"");
    out
}

/// A list body from its metadata and its items' bare messages. Every list has metadata as field 1 and items as field 2.
///
/// # Errors
/// The list's kind is unknown.
pub fn encode_list<'a>(
    api_version: &str,
    list_kind: &str,
    metadata: &Value,
    items: impl Iterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, ProtoError> {
    message(api_version, list_kind)?;
    let meta = facts::index_of("apimachinery.pkg.apis.meta.v1.ListMeta").expect("the fact table holds ListMeta");
    let mut inner = Vec::new();
    encode::structure(&mut inner, facts::by_index(meta), metadata)?;
    let mut list = Vec::new();
    wire::bytes(&mut list, 1, &inner);
    for item in items {
        wire::bytes(&mut list, 2, item);
    }
    Ok(envelope(api_version, list_kind, &list))
}

/// A frame of a watch stream (4 bytes big-endian length, then metav1.WatchEvent); `object` is an enveloped body.
#[must_use]
pub fn watch_frame(event_type: &str, object: &[u8]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(object.len() + 8);
    wire::bytes(&mut raw, 1, object);
    let mut event = Vec::with_capacity(raw.len() + 16);
    wire::bytes(&mut event, 1, event_type.as_bytes());
    wire::bytes(&mut event, 2, &raw);
    // Bodies are bounded far below 4 GiB.
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(event.len() + 4);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(&event);
    frame
}

/// (apiVersion, kind, object as JSON)
///
/// # Errors
/// No envelope, a kind that is unknown, or a message that ends too early.
pub fn decode(body: &[u8]) -> Result<(String, String, Value), ProtoError> {
    let inner = body
        .strip_prefix(MAGIC)
        .ok_or_else(|| ProtoError::malformed("the body does not begin with the protobuf magic"))?;
    let (mut api_version, mut kind, mut raw): (String, String, &[u8]) = (String::new(), String::new(), &[]);
    let mut reader = Reader::new(inner);
    while let Some((number, field)) = reader.next()? {
        match number {
            1 => {
                let mut meta = Reader::new(field.bytes()?);
                while let Some((number, field)) = meta.next()? {
                    match number {
                        1 => field.text()?.clone_into(&mut api_version),
                        2 => field.text()?.clone_into(&mut kind),
                        _ => {}
                    }
                }
            }
            2 => raw = field.bytes()?,
            _ => {}
        }
    }
    let mut value = decode::structure(message(&api_version, &kind)?, raw)?;
    value["apiVersion"] = api_version.clone().into();
    value["kind"] = kind.clone().into();
    Ok((api_version, kind, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn round_trip(value: Value) {
        let (version, kind) =
            (value["apiVersion"].as_str().unwrap().to_owned(), value["kind"].as_str().unwrap().to_owned());
        let body = encode(&version, &kind, &value).unwrap();
        assert_eq!(decode(&body).unwrap(), (version, kind, value));
    }

    #[test]
    fn objects_survive_the_way_there_and_back() {
        round_trip(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "web", "labels": { "a": "b" }, "creationTimestamp": "2026-01-02T03:04:05Z",
                "managedFields": [{ "manager": "x", "fieldsV1": { "f:spec": {} } }] },
            "spec": { "replicas": 0, "selector": { "matchLabels": { "a": "b" } },
                "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": 1 } },
                "template": { "metadata": {}, "spec": { "containers": [{ "name": "c", "image": "i",
                    "resources": { "limits": { "cpu": "100m" } }, "livenessProbe": { "httpGet": { "path": "/", "port": 80 } },
                    "env": [{ "name": "A", "value": "1" }] }],
                    "securityContext": { "runAsNonRoot": false, "runAsUser": -1 } } } },
            "status": {},
        }));
        round_trip(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s" }, "data": { "k": "aGVsbG8=" }, "type": "Opaque",
        }));
        round_trip(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "l" },
            "spec": { "renewTime": "2026-01-02T03:04:05.000006Z", "leaseDurationSeconds": 40 },
        }));
        round_trip(json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "metadata": {},
            "spec": { "resourceAttributes": { "verb": "list", "resource": "pods" } }, "status": { "allowed": true },
        }));
    }

    #[test]
    fn custom_kinds_have_no_message() {
        assert!(!supports("example.com/v1", "Widget"));
        assert!(
            supports("v1", "Pod") && supports("v1", "Status") && supports("meta.k8s.io/v1", "PartialObjectMetadata")
        );
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let body = encode("v1", "ConfigMap", &json!({ "metadata": { "name": "n" }, "data": { "a": "b" } })).unwrap();
        assert!(decode(&body[..body.len() - 9]).is_err());
        assert!(decode(b"{}").is_err());
    }
}
