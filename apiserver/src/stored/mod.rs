//! How a stored value is read: decrypted, then brought to the form in which it would be written today.
//!
//! ```text
//!  store ── Encryption ── Stored ──> JSON of today's version, for the registry, the caches and watches
//!                           ├─ `k8s\0` …  message: what upstream's kube-apiserver has written
//!                           └─ v1beta1    definition: CustomResourceDefinitions of servers before 1.22
//! ```
//!
//! So a cluster may change from upstream's server to this one with its etcd as it is. What was not stored in today's form is
//! *stale*, as what is under a key of before: the next write, even one that changes nothing, stores it as it would be today.
//! What cannot be read stays as it is, for those who come upon it to refuse or to leave out; the log says why.

mod definition;
mod message;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use store::encrypt::{AtRest, Failure, Fetch, Plain};

use crate::encryption::Encryption;
use crate::http::answer::to_json;
use crate::kinds::Kind;
use crate::registry::{create, object};

/// The way of values from the store and to it.
pub struct Stored {
    encryption: Arc<Encryption>,
    /// Below which key definitions are: `/registry/apiextensions.k8s.io/customresourcedefinitions/`.
    definitions: String,
}

impl Stored {
    /// `prefix` is where all keys are (`--etcd-prefix`).
    #[must_use]
    pub fn new(prefix: &str, encryption: Arc<Encryption>) -> Self {
        let definitions = format!("/{}/{}/{}/", prefix.trim_matches('/'), crate::crd::GROUP, crate::crd::PLURAL);
        Self { encryption, definitions }
    }

    /// The value in today's form, `None` where it is in it, or cannot be brought to it.
    fn today(&self, key: &str, stored: &[u8]) -> Option<Bytes> {
        let read = match stored.first()? {
            b'{' if !key.starts_with(&self.definitions) => return None,
            b'{' if definition::is_old(stored) => definition::read(stored),
            _ if message::is_one(stored) => message::read(stored),
            _ => return None,
        };
        match read {
            Ok(value) => Some(to_json(&value)),
            Err(why) => {
                tracing::error!(key, why, "a stored value cannot be decoded");
                None
            }
        }
    }
}

impl AtRest for Stored {
    fn fetch(&self, key: &str, stored: &Bytes) -> Option<Fetch> {
        self.encryption.fetch(key, stored)
    }

    fn read(&self, key: &str, stored: Bytes) -> Result<Plain, Failure> {
        let plain = self.encryption.read(key, stored)?;
        Ok(match self.today(key, &plain.value) {
            Some(value) => Plain { value, stale: true },
            None => plain,
        })
    }

    fn write(&self, key: &str, value: &Bytes) -> Result<Bytes, Failure> {
        self.encryption.write(key, value)
    }
}

/// The kind of this name, in whichever version.
fn kind(api_version: &str, name: &str) -> Option<&'static Kind> {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    crate::kinds::all().iter().find(|kind| kind.is_stored() && kind.kind == name && kind.group == group)
}

/// An object of `kind` as a write would store it. Like everybody who decodes it, we fill in the defaults that there were not yet
/// when it was written.
fn settle(kind: &Kind, mut value: Value) -> Value {
    let fill = |value: &mut Value| {
        let api_version = value["apiVersion"].as_str().unwrap_or_default();
        let schema = schema::builtin(api_version, kind.kind);
        create::fill_by(schema.as_ref(), kind.strategy.default, value);
        schema
    };
    fill(&mut value);
    kind.convert(&mut value, &kind.storage_api_version());
    if let Some(schema) = fill(&mut value) {
        schema::forget_empty(&schema, &mut value);
    }
    for unstored in ["selfLink", "resourceVersion"] {
        object::set(&mut value, unstored, Value::Null);
    }
    value
}

#[cfg(test)]
mod tests;
