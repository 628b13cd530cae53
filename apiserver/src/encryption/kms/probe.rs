//! Whether the plugin is well, and which key it has (upstream `server/options/encryptionconfig/config.go`).
//!
//! Its status is asked for every minute, and every ten seconds while it is not well. With another key values are sealed with a new
//! seed. Without its word a seed is written with for three minutes more, and read with for ever.

use std::sync::{Arc, Weak};
use std::time::Duration;

use store::encrypt::SeededGcm;
use tokio::time::Instant;

use super::object::{self, EncryptedObject, SEED};
use super::service::StatusResponse;
use super::{Cipher, NO_STATE, Plugin, Writing, seconds};
use crate::access::file::aggregate;

const EVERY: Duration = Duration::from_secs(60);
const EVERY_UNWELL: Duration = Duration::from_secs(10);
/// How long its last word counts for who asks.
const BELIEVED: Duration = Duration::from_secs(20);
const BELIEVED_UNWELL: Duration = Duration::from_secs(3);
/// How long a seed is written with after the plugin's last word.
const WRITES: Duration = Duration::from_secs(3 * 60);
/// What plugins say they speak.
const VERSIONS: [&str; 2] = ["v2", "v2beta1"];

/// What the plugin has said.
#[derive(Default)]
pub struct Probe {
    last: Option<(Instant, Result<(), String>)>,
    /// It may not change.
    version: String,
}

#[cfg(test)]
impl Probe {
    /// What was said a moment ago.
    pub fn forget(&mut self) {
        self.last = None;
    }
}

/// Asks the plugin how it is, now and from now on.
pub async fn start(plugin: &Arc<Plugin>) {
    let well = look(plugin).await;
    tokio::spawn(follow(Arc::downgrade(plugin), well));
}

async fn follow(plugin: Weak<Plugin>, mut well: bool) {
    loop {
        tokio::time::sleep(if well { EVERY } else { EVERY_UNWELL }).await;
        let Some(plugin) = plugin.upgrade() else { return };
        well = look(&plugin).await;
    }
}

async fn look(plugin: &Plugin) -> bool {
    let said = plugin.check().await;
    if let Err(error) = &said {
        tracing::error!(name = plugin.name, error, "kms plugin failed health check probe");
    }
    said.is_ok()
}

impl Plugin {
    /// What is wrong with the plugin, as it was said a moment ago or is said now.
    ///
    /// # Errors
    /// In upstream's words.
    pub async fn check(&self) -> Result<(), String> {
        let mut probe = self.probe.lock().await;
        if let Some((at, said)) = &probe.last
            && at.elapsed() < if said.is_ok() { BELIEVED } else { BELIEVED_UNWELL }
        {
            return said.clone();
        }
        let said = match self.service.status().await {
            Ok(status) => self.judge(&mut probe.version, &status).await,
            Err(why) => Err(format!(
                "failed to perform status section of the healthz check for KMS Provider {}, error: {why}",
                self.name
            )),
        };
        probe.last = Some((Instant::now(), said.clone()));
        said
    }

    async fn judge(&self, version: &mut String, status: &StatusResponse) -> Result<(), String> {
        let mut wrong = Vec::new();
        if status.healthz != "ok" {
            wrong.push(format!("got unexpected healthz status: {}", status.healthz));
        }
        let said = &status.version;
        if !VERSIONS.contains(&said.as_str()) {
            wrong.push(format!("expected KMSv2 API version {}, got {said}", VERSIONS[0]));
        } else if version.is_empty() {
            version.clone_from(said);
        } else if version != said {
            wrong.push(format!(
                "KMSv2 API version should not change after the initial status response version {version}, got {said}"
            ));
        }
        if let Err((word, why)) = object::check_key_id(&status.key_id) {
            self.metrics.kms_invalid_keys.increase(&[word, &self.name]);
            wrong.push(format!("got invalid KMSv2 KeyID hash {:?}: {why}", object::hash_of(&status.key_id)));
        } else if let Err(why) = self.rotate(&status.key_id).await {
            wrong.push(why);
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!("kmsv2 Provider {} is not healthy, error: {}", self.name, aggregate(&wrong)))
    }

    /// Writes on with what there is if the plugin has the same key still, else with a new seed. Where that fails, what there is
    /// stays.
    async fn rotate(&self, key_id: &str) -> Result<(), String> {
        let writing = self.writing.load_full();
        // Counted from before the plugin is asked.
        let until = Instant::now() + WRITES;
        if let Some(same) = writing.as_deref().filter(|writing| writing.head.key_id == key_id) {
            self.writing.store(Some(Arc::new(same.until(until))));
            return Ok(());
        }
        let uid = uuid::Uuid::new_v4().to_string();
        let made = self.generate(&uid).await;
        let failed = match made {
            Ok((seed, head)) if head.key_id == key_id => {
                let seed = Arc::new(Cipher::Seeded(seed));
                self.learn(head.hash(), seed.clone());
                self.writing.store(Some(Arc::new(Writing { seed, head, until })));
                return Ok(());
            }
            Ok((_, head)) => (None, head.key_id),
            Err(why) => (Some(why), String::new()),
        };
        let (error, encrypted) = (failed.0.as_deref().unwrap_or("<nil>"), object::hash_of(&failed.1));
        let (before, state, expires) = match writing.as_deref() {
            Some(writing) => {
                let left = writing.until.saturating_duration_since(Instant::now());
                let expires = seconds(std::time::SystemTime::now() + left);
                ("<nil>", object::hash_of(&writing.head.key_id), expires)
            }
            None => (NO_STATE, String::new(), "0001-01-01T00:00:00Z".to_owned()),
        };
        Err(format!(
            "failed to rotate DEK uid={uid:?}, useSeed=true, errState={before}, errGen={error}, statusKeyIDHash={:?}, \
             encryptKeyIDHash={encrypted:?}, stateKeyIDHash={state:?}, expirationTimestamp={expires}",
            object::hash_of(key_id)
        ))
    }

    /// A new seed, and what the plugin made of it.
    async fn generate(&self, uid: &str) -> Result<(SeededGcm, EncryptedObject), String> {
        let (cipher, seed) = SeededGcm::generate().map_err(|why| why.to_string())?;
        let encrypted = self.service.encrypt(&seed, uid).await;
        let encrypted = encrypted.map_err(|why| format!("failed to encrypt DEK, error: {why}"))?;
        let head = EncryptedObject {
            data: Vec::new(),
            key_id: encrypted.key_id,
            source: encrypted.ciphertext,
            annotations: encrypted.annotations,
            source_type: SEED,
        };
        head.check()?;
        Ok((cipher, head))
    }
}
