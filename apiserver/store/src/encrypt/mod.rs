//! Values as they are stored: upstream's transformers (`k8s.io/apiserver/pkg/storage/value`), byte for byte.
//!
//! ```text
//!  k8s:enc:aescbc:v1:key1:<initialisation vector><ciphertext>
//!  └── the provider's ──┘└─┘ the key's prefix
//! ```
//!
//! A [`Transformer`] is either one cipher with one key, or a list of others with their prefixes, of which the first writes and
//! all read. What was not read by the first of a list is *stale*: it would be written otherwise today.
//!
//! Of an [`Envelope`] the keys are not known here: they are in the stored bytes, encrypted by somebody who must be asked to
//! decrypt them before the value can be read.

mod aes;
mod layer;
mod secretbox;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;

pub use aes::{Cbc, Gcm, SeededGcm};
pub use layer::{AtRest, Encrypted};
pub use secretbox::Secretbox;

/// What every encrypted value begins with.
const ENCRYPTED: &[u8] = b"k8s:enc:";
const TOO_SHORT: &str = "the stored data was shorter than the required size";

/// Why a value cannot be read or written, in upstream's words, which tell nothing of the value or of a key. Several where
/// several providers were tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Vec<String>);

impl Failure {
    pub fn new(why: impl Into<String>) -> Self {
        Self(vec![why.into()])
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told: Vec<&str> = Vec::new();
        for why in &self.0 {
            if !told.contains(&why.as_str()) {
                told.push(why);
            }
        }
        match told[..] {
            [only] => f.write_str(only),
            _ => write!(f, "[{}]", told.join(", ")),
        }
    }
}

impl std::error::Error for Failure {}

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    FromStorage,
    ToStorage,
}

/// Is told of each step of a transformation.
pub trait Witness {
    /// `prefix` is the list's entry that was tried: empty for the identity; `None`: no entry was for it.
    fn saw(&self, direction: Direction, prefix: Option<&[u8]>, took: Duration, well: bool);
}

/// What must be waited for before a value can be read.
pub type Fetch = BoxFuture<'static, Result<(), Failure>>;

/// A cipher whose keys somebody else decrypts.
pub trait Envelope: Send + Sync {
    /// Has the key of these bytes decrypted; `None`: it is known already, or there is none to ask for.
    fn fetch(self: Arc<Self>, stored: &[u8]) -> Option<Fetch>;

    /// # Errors
    /// The bytes make no sense, have been changed, or their key is not known.
    fn open(&self, stored: &[u8], key: &str) -> Result<Plain, Failure>;

    /// # Errors
    /// There is no key to write with.
    fn seal(&self, value: &[u8], key: &str) -> Result<Vec<u8>, Failure>;
}

/// How a value is stored.
pub enum Transformer {
    /// As it is. What is encrypted is not read.
    Identity,
    Gcm(Gcm),
    Cbc(Cbc),
    Secretbox(Secretbox),
    Envelope(Arc<dyn Envelope>),
    /// One of several, by what the value begins with; with what is said of a value that begins with none of them.
    OneOf(Vec<Entry>, &'static str),
}

/// One of several.
pub struct Entry {
    pub prefix: Vec<u8>,
    pub transformer: Transformer,
}

/// A value as it was before it was stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain {
    pub value: Bytes,
    /// It would be written otherwise today.
    pub stale: bool,
}

impl Transformer {
    /// What [`Transformer::read`] of these bytes has to wait for, and the prefix of who asks for it.
    #[must_use]
    pub fn fetch(&self, stored: &[u8]) -> Option<(&[u8], Fetch)> {
        match self {
            Self::Envelope(envelope) => Some((&[], envelope.clone().fetch(stored)?)),
            Self::OneOf(entries, _) => entries.iter().find_map(|Entry { prefix, transformer }| {
                let (_, fetch) = transformer.fetch(stored.strip_prefix(prefix.as_slice())?)?;
                Some((prefix.as_slice(), fetch))
            }),
            Self::Identity | Self::Gcm(_) | Self::Cbc(_) | Self::Secretbox(_) => None,
        }
    }

    /// The value of the stored bytes; `key` is where they are stored, which some ciphers bind them to.
    ///
    /// # Errors
    /// None of the ciphers and keys is the right one, or the bytes have been changed.
    pub fn read(&self, stored: Bytes, key: &str, witness: &dyn Witness) -> Result<Plain, Failure> {
        let fresh = |value: Vec<u8>| Plain { value: value.into(), stale: false };
        match self {
            Self::Identity if stored.starts_with(ENCRYPTED) => {
                Err(Failure::new("identity transformer tried to read encrypted data"))
            }
            Self::Identity => Ok(Plain { value: stored, stale: false }),
            Self::Gcm(cipher) => cipher.open(&stored, key).map(fresh),
            Self::Cbc(cipher) => cipher.open(&stored).map(fresh),
            Self::Secretbox(cipher) => cipher.open(&stored).map(fresh),
            Self::Envelope(envelope) => envelope.open(&stored, key),
            Self::OneOf(entries, unknown) => read_one_of(entries, unknown, &stored, key, witness),
        }
    }

    /// The bytes to store for a value at `key`.
    ///
    /// # Errors
    /// There is no randomness to be had, or no key.
    pub fn write(&self, value: &Bytes, key: &str, witness: &dyn Witness) -> Result<Bytes, Failure> {
        match self {
            Self::Identity => Ok(value.clone()),
            Self::Gcm(cipher) => cipher.seal(value, key).map(Bytes::from),
            Self::Cbc(cipher) => cipher.seal(value).map(Bytes::from),
            Self::Secretbox(cipher) => cipher.seal(value).map(Bytes::from),
            Self::Envelope(envelope) => envelope.seal(value, key).map(Bytes::from),
            Self::OneOf(entries, unknown) => {
                let Some(Entry { prefix, transformer }) = entries.first() else { return Err(Failure::new(*unknown)) };
                let since = Instant::now();
                let written = transformer.write(value, key, witness);
                witness.saw(Direction::ToStorage, Some(prefix), since.elapsed(), written.is_ok());
                let written = written?;
                if prefix.is_empty() {
                    return Ok(written);
                }
                Ok([prefix, &written[..]].concat().into())
            }
        }
    }
}

/// Several entries may have the same prefix, when keys change, so a failure is not the end.
fn read_one_of(
    entries: &[Entry],
    unknown: &str,
    stored: &Bytes,
    key: &str,
    witness: &dyn Witness,
) -> Result<Plain, Failure> {
    let begin = Instant::now();
    let mut failures = Vec::new();
    let matching = entries.iter().enumerate().filter(|(_, entry)| stored.starts_with(&entry.prefix));
    for (index, Entry { prefix, transformer }) in matching {
        let since = Instant::now();
        let read = transformer.read(stored.slice(prefix.len()..), key, witness);
        // That the identity is not for encrypted values goes without saying.
        if !prefix.is_empty() || read.is_ok() {
            witness.saw(Direction::FromStorage, Some(prefix), since.elapsed(), read.is_ok());
        }
        match read {
            Ok(plain) => return Ok(Plain { stale: plain.stale || index > 0, ..plain }),
            Err(_) if prefix.is_empty() => {}
            Err(Failure(why)) => failures.extend(why),
        }
    }
    if failures.is_empty() {
        witness.saw(Direction::FromStorage, None, begin.elapsed(), false);
        failures.push(unknown.to_owned());
    }
    Err(Failure(failures))
}

/// Fills a nonce.
fn random<const N: usize>() -> Result<[u8; N], Failure> {
    use ring::rand::SecureRandom;
    let mut bytes = [0; N];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::new("unable to read sufficient random bytes"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
