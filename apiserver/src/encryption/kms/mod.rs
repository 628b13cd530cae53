//! Keys that a plugin has (KMS v2, KEP-3299; upstream `storage/value/encrypt/envelope/kmsv2`).
//!
//! ```text
//!  plugin ── Status: the key's ID ──> probe ── another one: a new seed ── Encrypt ──> Writing { seed, encrypted seed }
//!    │                                                                                     │ seals values
//!    └─────── Decrypt ──> keys { hash of an encrypted seed -> seed } ── open values <──────┘
//! ```
//!
//! The plugin never sees a value: values are sealed with seeds of ours, and the seed, as the plugin encrypted it, is stored with
//! each. So it is asked once for each seed there is, not for each value. What is stored is upstream's, byte for byte.

mod object;
mod probe;
mod service;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use parking_lot::Mutex;
use prost::Message;
use store::encrypt::{Envelope, Failure, Fetch, Gcm, Plain, SeededGcm};
use tokio::time::Instant;

use super::config::Kms;
use crate::metrics::Metrics;
use object::{EncryptedObject, Hash, SEED};
use probe::Probe;
use service::Service;

/// So many seeds are remembered; the plugin is asked again for those beyond.
const KEYS: usize = 1000;

/// One plugin, and what it has given us.
pub struct Plugin {
    name: String,
    timeout: Duration,
    service: Service,
    /// What values are sealed with; none before the plugin has answered.
    writing: ArcSwapOption<Writing>,
    keys: Mutex<Keys>,
    probe: tokio::sync::Mutex<Probe>,
    metrics: Arc<Metrics>,
}

/// What values are sealed with now.
struct Writing {
    seed: Arc<Cipher>,
    /// What is stored with each value, which it has none of.
    head: EncryptedObject,
    /// Until when, unless the plugin says again that it is its key.
    until: Instant,
}

impl Writing {
    /// The same for another time.
    fn until(&self, until: Instant) -> Self {
        Self { seed: self.seed.clone(), head: self.head.clone(), until }
    }
}

/// What the plugin decrypted for us.
enum Cipher {
    Seeded(SeededGcm),
    /// As servers before v1.29 wrote.
    Plain(Gcm),
}

/// The newest of what was decrypted.
#[derive(Default)]
struct Keys {
    known: HashMap<Hash, Arc<Cipher>>,
    /// The oldest first.
    order: VecDeque<Hash>,
}

impl Keys {
    /// Takes one in; how many there are now.
    fn add(&mut self, hash: Hash, cipher: Arc<Cipher>) -> usize {
        if self.known.insert(hash, cipher).is_none() {
            self.order.push_back(hash);
        }
        while self.order.len() > KEYS {
            self.order.pop_front().and_then(|oldest| self.known.remove(&oldest));
        }
        self.known.len()
    }
}

impl Cipher {
    /// # Errors
    /// It has a length that no key of its kind has, in upstream's words.
    fn new(seeded: bool, key: &[u8]) -> Result<Self, String> {
        let length = key.len();
        if seeded {
            let seed = SeededGcm::new(key).map(Self::Seeded);
            seed.ok_or_else(|| format!("invalid seed length {length} used for key generation"))
        } else {
            Gcm::new(key).map(Self::Plain).ok_or_else(|| format!("crypto/aes: invalid key size {length}"))
        }
    }

    fn open(&self, stored: &[u8], key: &str) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Seeded(cipher) => cipher.open(stored, key),
            Self::Plain(cipher) => cipher.open(stored, key),
        }
    }

    fn seal(&self, value: &[u8], key: &str) -> Result<Vec<u8>, Failure> {
        match self {
            Self::Seeded(cipher) => cipher.seal(value, key),
            Self::Plain(cipher) => cipher.seal(value, key),
        }
    }
}

impl Plugin {
    /// A plugin that is looked at now and from now on, as long as somebody holds it. That it is not well is not the end: it may
    /// be started after us.
    ///
    /// # Errors
    /// It has no address.
    pub async fn start(config: &Kms, metrics: Arc<Metrics>) -> anyhow::Result<Arc<Self>> {
        let Kms { name, endpoint, timeout, .. } = config;
        let nanoseconds = timeout.as_deref().map_or(Ok(0), schema::time::parse_duration).map_err(anyhow::Error::msg)?;
        let timeout = Duration::from_nanos(nanoseconds.unsigned_abs());
        let service = Service::new(name, endpoint, timeout, metrics.clone());
        let plugin = Arc::new(Self {
            name: name.clone(),
            timeout,
            service: service.with_context(|| format!("could not configure KMSv2-Plugin's probe {name:?}, error"))?,
            writing: ArcSwapOption::empty(),
            keys: Mutex::default(),
            probe: tokio::sync::Mutex::default(),
            metrics,
        });
        probe::start(&plugin).await;
        Ok(plugin)
    }

    /// How long it may take to answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    fn learn(&self, hash: Hash, cipher: Arc<Cipher>) {
        let known = self.keys.lock().add(hash, cipher);
        #[expect(clippy::cast_precision_loss, reason = "they are a thousand at most")]
        self.metrics.kms_seeds.set(&[&self.name], known as f64);
    }

    /// Asks for what an object is sealed with.
    async fn ask(&self, object: EncryptedObject, hash: Hash) -> Result<(), Failure> {
        let seeded = object.source_type == SEED;
        let decrypted = self.service.decrypt(object).await;
        let key = decrypted.map_err(|why| Failure::new(format!("failed to decrypt DEK, error: {why}")))?;
        let cipher = Cipher::new(seeded, &key).map_err(Failure::new)?;
        self.learn(hash, Arc::new(cipher));
        Ok(())
    }
}

impl Envelope for Plugin {
    fn fetch(self: Arc<Self>, stored: &[u8]) -> Option<Fetch> {
        // Who has never answered is not asked for each value; and what makes no sense `open` tells.
        self.writing.load().as_ref()?;
        let object = EncryptedObject::read(stored).ok()?;
        let hash = object.hash();
        let known = self.keys.lock().known.contains_key(&hash);
        (!known).then(|| Box::pin(async move { self.ask(object, hash).await }) as Fetch)
    }

    fn open(&self, stored: &[u8], key: &str) -> Result<Plain, Failure> {
        let object = EncryptedObject::read(stored).map_err(Failure::new)?;
        let writing = self.writing.load();
        let writing = writing.as_ref().ok_or_else(|| Failure::new(NO_STATE))?;
        let cipher = self.keys.lock().known.get(&object.hash()).cloned();
        // Whoever reads has fetched it; it was forgotten if a thousand others have been since.
        let cipher = cipher.ok_or_else(|| Failure::new("the DEK has been forgotten already"))?;
        let value = cipher.open(&object.data, key)?.into();
        let current = (&writing.head.key_id, writing.head.source_type);
        Ok(Plain { value, stale: (&object.key_id, object.source_type) != current })
    }

    fn seal(&self, value: &[u8], key: &str) -> Result<Vec<u8>, Failure> {
        let writing = self.writing.load();
        let writing = writing.as_ref().ok_or_else(|| Failure::new(NO_STATE))?;
        let now = Instant::now();
        if now > writing.until {
            let (at, since) = (SystemTime::now(), now - writing.until);
            return Err(Failure::new(format!(
                "encryptedDEKSource with keyID hash {:?} expired at {} (current time is {})",
                object::hash_of(&writing.head.key_id),
                seconds(at - since),
                seconds(at)
            )));
        }
        Ok(EncryptedObject { data: writing.seed.seal(value, key)?, ..writing.head.clone() }.encode_to_vec())
    }
}

/// What is said before the plugin has answered.
const NO_STATE: &str = "got unexpected nil transformer";

/// As Go writes RFC 3339.
fn seconds(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| String::new(), |time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[cfg(test)]
mod tests;
