//! What is stored of a value, and what of it comes from the plugin (upstream `envelope/kmsv2/v2/api.proto`).

use std::collections::BTreeMap;

use prost::Message;
use schema::field::{Error, Path};
use schema::names;
use sha2::{Digest, Sha256};

use crate::access::file::aggregate;

/// What the plugin's key encrypted is the key of the value.
const KEY: i32 = 0;
/// It is what the value's key is made of.
pub const SEED: i32 = 1;

const LONGEST_KEY_ID: usize = 1024;
const LONGEST_SOURCE: usize = 1024;
/// All of them, with their names.
const LONGEST_ANNOTATIONS: usize = 32 * 1024;

/// Tells apart what values are sealed with.
pub type Hash = [u8; 32];

#[derive(Clone, PartialEq, Message)]
pub struct EncryptedObject {
    /// The sealed value.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
    /// Of the plugin's key.
    #[prost(string, tag = "2")]
    pub key_id: String,
    /// What the value is sealed with, as the plugin encrypted it.
    #[prost(bytes = "vec", tag = "3")]
    pub source: Vec<u8>,
    /// What the plugin wants to know when it is to decrypt that.
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub annotations: BTreeMap<String, Vec<u8>>,
    #[prost(int32, tag = "5")]
    pub source_type: i32,
}

impl EncryptedObject {
    /// # Errors
    /// It is none, or not one that is written, in upstream's words.
    pub fn read(stored: &[u8]) -> Result<Self, String> {
        let object = Self::decode(stored).map_err(|_| "proto: cannot parse invalid wire-format data".to_owned())?;
        if object.data.is_empty() && matches!(object.source_type, KEY | SEED) {
            return Err("encrypted data is empty".to_owned());
        }
        object.check()?;
        Ok(object)
    }

    /// What is wrong with it, but for its data.
    ///
    /// # Errors
    /// In upstream's words.
    pub fn check(&self) -> Result<(), String> {
        if !matches!(self.source_type, KEY | SEED) {
            return Err(format!("unknown encryptedDEKSourceType: {}", self.source_type));
        }
        let source = match self.source.len() {
            0 => Err("encrypted DEK source is empty".to_owned()),
            length if length > LONGEST_SOURCE => {
                Err(format!("encrypted DEK source is {length} bytes, which exceeds the max size of {LONGEST_SOURCE}"))
            }
            _ => Ok(()),
        };
        source.map_err(|why| format!("failed to validate encrypted DEK source: {why}"))?;
        check_key_id(&self.key_id).map_err(|(_, why)| format!("failed to validate key id: {why}"))?;
        check_annotations(&self.annotations).map_err(|why| format!("failed to validate annotations: {why}"))
    }

    /// Of all that decides what the value is sealed with.
    pub fn hash(&self) -> Hash {
        let mut hash = Sha256::new();
        hash.update(self.source_type.to_be_bytes());
        let mut part = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        part(&self.source);
        part(self.key_id.as_bytes());
        for (name, value) in &self.annotations {
            part(name.as_bytes());
            part(value);
        }
        hash.finalize().into()
    }
}

/// # Errors
/// A word for it, and what is wrong.
pub fn check_key_id(id: &str) -> Result<(), (&'static str, String)> {
    match id.len() {
        0 => Err(("empty", "keyID is empty".to_owned())),
        length if length > LONGEST_KEY_ID => {
            Err(("too_long", format!("keyID is {length} bytes, which exceeds the max size of {LONGEST_KEY_ID}")))
        }
        _ => Ok(()),
    }
}

fn check_annotations(annotations: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let mut wrong: Vec<String> = annotations.keys().filter_map(|name| domain(name)).collect();
    let size: usize = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > LONGEST_ANNOTATIONS {
        wrong.push(format!("total size of annotations is {size}, which exceeds the max size of {LONGEST_ANNOTATIONS}"));
    }
    if wrong.is_empty() { Ok(()) } else { Err(aggregate(&wrong)) }
}

/// What is wrong with the name of an annotation, which is to be a domain of at least two parts.
fn domain(name: &str) -> Option<String> {
    let path = Path::new("annotations");
    if name.is_empty() {
        return Some(Error::required(&path, "").to_string());
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let invalid = |why: String| Some(Error::invalid(&path, name, why).to_string());
    let wrong = names::dns1123_subdomain(name);
    if !wrong.is_empty() {
        return invalid(wrong.join(","));
    }
    if !name.contains('.') {
        return invalid("should be a domain with at least two segments separated by dots".to_owned());
    }
    let wrong = name.split('.').map(|label| (label, names::dns1123_label(label))).find(|(_, wrong)| !wrong.is_empty());
    wrong.map(|(label, wrong)| Error::invalid(&path, label, wrong.join(",")).to_string())
}

/// How a key's ID is told, which may say more than it should.
pub fn hash_of(id: &str) -> String {
    if id.is_empty() {
        return String::new();
    }
    let hash: String = Sha256::digest(id).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}
