//! Encryption at rest (`--encryption-provider-config`): which resources are stored how.
//!
//! ```text
//!  file ── config (fields) ── validate ──> Rules { resource -> transformer } <── Stored ── store::encrypt::Encrypted
//!   └─ watched, if it is to be ────────────────┘ (a broken one leaves those before)
//! ```
//!
//! What was decrypted may still be of another form than today's: that is for [`crate::stored`].
//!
//! The ciphers are [`store::encrypt`]'s; their keys are in the file, or with plugins that it names ([`kms`]). Nothing that is said
//! here, to the log or to clients, shows a key or a value.

mod config;
mod kms;
mod reload;
mod resource;
mod validate;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use futures::FutureExt;
use sha2::{Digest, Sha256};
use store::encrypt::{AtRest, Cbc, Direction, Entry, Failure, Fetch, Gcm, Plain, Secretbox, Transformer, Witness};

use crate::access::{file, reloads};
use crate::app::App;
use crate::metrics::families::ENCRYPTION_CONFIG;
use crate::metrics::{Metrics, Page, storage};
use crate::options::Options;
use config::{Configuration, Keys, Provider};
use kms::Plugin;
use resource::GroupResource;

pub use reload::start;

/// How long plugins that are new in the file may take to be well, at least, and how often they are asked.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(100);

/// How resources are stored; without a file all of them as they are.
pub struct Encryption {
    rules: ArcSwap<Rules>,
    /// Below which keys resources are: `/registry/`.
    below: String,
    metrics: Arc<Metrics>,
}

/// What a file says.
#[derive(Default)]
struct Rules {
    /// By group, and then by resource.
    of: HashMap<String, HashMap<String, Transformer>>,
    /// In the order of the file.
    plugins: Vec<Arc<Plugin>>,
    /// Of the file: `sha256:` and hexadecimal digits; empty where there is none.
    hash: String,
}

impl Encryption {
    /// What the flags say. Plugins are asked how they are; it does not matter here whether they answer.
    ///
    /// # Errors
    /// The file cannot be read, or makes no sense.
    pub async fn load(options: &Options, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let reload = options.encryption_provider_config_automatic_reload;
        let rules = match &options.encryption_provider_config {
            Some(path) => {
                let (text, hash) =
                    read(path).context("error while loading file").context("error while parsing file")?;
                Rules::parse(&text, &hash, path, reload, &metrics).await?
            }
            None => {
                anyhow::ensure!(
                    !reload,
                    "--encryption-provider-config-automatic-reload must be set with --encryption-provider-config"
                );
                Rules::default()
            }
        };
        let below = format!("/{}/", options.etcd_prefix.trim_matches('/'));
        Ok(Self { rules: ArcSwap::from_pointee(rules), below, metrics })
    }

    /// What there is without a file.
    #[cfg(test)]
    pub fn none() -> Self {
        Self { rules: ArcSwap::default(), below: "/registry/".to_owned(), metrics: Arc::default() }
    }

    /// Whether keys are asked of plugins.
    #[must_use]
    pub fn has_plugins(&self) -> bool {
        !self.rules.load().plugins.is_empty()
    }

    /// What is wrong with the plugins, if something is.
    pub async fn check(&self) -> Option<String> {
        let rules = self.rules.load_full();
        rules.check().await
    }

    /// Upstream's series of the file that is in force.
    pub fn tell(&self, app: &App, page: &mut Page) {
        let rules = self.rules.load();
        if !rules.hash.is_empty() {
            page.number(&ENCRYPTION_CONFIG, &[&reloads::server(app), &rules.hash], 1.0);
        }
    }

    /// What is stored at a key; `None`: nothing that is served, and so never encrypted.
    fn resource<'a>(&self, rules: &Rules, key: &'a str) -> Option<GroupResource<'a>> {
        if rules.of.is_empty() {
            return None;
        }
        let (group, resource) = storage::stored_below(key.strip_prefix(&self.below)?)?;
        Some(GroupResource { group, resource })
    }
}

impl AtRest for Encryption {
    fn fetch(&self, key: &str, stored: &Bytes) -> Option<Fetch> {
        let rules = self.rules.load();
        if rules.plugins.is_empty() {
            return None;
        }
        let resource = self.resource(&rules, key);
        let (prefix, fetch) = rules.of(resource).fetch(stored)?;
        let (metrics, since) = (self.metrics.clone(), Instant::now());
        let (name, prefix, key) =
            (resource.map(|resource| resource.to_string()).unwrap_or_default(), prefix.to_vec(), key.to_owned());
        let told = move |error: &Failure| {
            let counted = Counted { metrics: &metrics, resource: Some(GroupResource::parse(&name)) };
            counted.saw(Direction::FromStorage, Some(&prefix), since.elapsed(), false);
            tracing::error!(key, %error, "failed to decrypt data");
        };
        Some(fetch.map(move |fetched| fetched.inspect_err(told)).boxed())
    }

    fn read(&self, key: &str, stored: Bytes) -> Result<Plain, Failure> {
        let rules = self.rules.load();
        let resource = self.resource(&rules, key);
        let read = rules.of(resource).read(stored, key, &Counted { metrics: &self.metrics, resource });
        read.inspect_err(|error| tracing::error!(key, %error, "failed to decrypt data"))
    }

    fn write(&self, key: &str, value: &Bytes) -> Result<Bytes, Failure> {
        let rules = self.rules.load();
        let resource = self.resource(&rules, key);
        let written = rules.of(resource).write(value, key, &Counted { metrics: &self.metrics, resource });
        written.inspect_err(|error| tracing::error!(key, %error, "failed to encrypt data"))
    }
}

/// Counts the steps of transformations.
struct Counted<'a> {
    metrics: &'a Metrics,
    resource: Option<GroupResource<'a>>,
}

impl Witness for Counted<'_> {
    fn saw(&self, direction: Direction, prefix: Option<&[u8]>, took: Duration, well: bool) {
        let resource = self.resource.map(|resource| resource.to_string()).unwrap_or_default();
        let prefix = prefix.map(String::from_utf8_lossy);
        let (direction, prefix) = match (direction, prefix.as_deref()) {
            (Direction::FromStorage, Some("")) => ("from_storage", "identity"),
            (Direction::FromStorage, prefix) => ("from_storage", prefix.unwrap_or("unknown")),
            (Direction::ToStorage, prefix) => ("to_storage", prefix.unwrap_or_default()),
        };
        let status = if well { "OK" } else { "unknown-non-grpc" };
        self.metrics.transformations.increase(&[&resource, status, direction, prefix]);
        if well {
            self.metrics.transformation_duration.observe(&[direction, prefix], took.as_secs_f64());
        }
    }
}

impl Rules {
    async fn parse(text: &str, hash: &str, path: &Path, reload: bool, metrics: &Arc<Metrics>) -> anyhow::Result<Self> {
        const PARSING: &str = "error while parsing file";
        let configuration = Configuration::parse(text)
            .with_context(|| format!("error decoding encryption provider configuration file {path:?}"))
            .context(PARSING)?;
        let wrong = validate::validate(&configuration, reload);
        if !wrong.is_empty() {
            return Err(anyhow::Error::msg(file::aggregate(&wrong)).context(PARSING));
        }
        let built = async {
            let plugins = plugins(&configuration, metrics).await?;
            anyhow::Ok((transformers(&configuration, &plugins)?, plugins))
        };
        let (of, plugins) = built.await.context("error while building transformers")?;
        Ok(Self { of, plugins: plugins.into_iter().map(|(_, plugin)| plugin).collect(), hash: hash.to_owned() })
    }

    /// What is wrong with the plugins, if something is.
    async fn check(&self) -> Option<String> {
        let mut wrong = Vec::new();
        for (index, plugin) in self.plugins.iter().enumerate() {
            wrong.extend(plugin.check().await.err().map(|why| format!("kms-provider-{index}: {why}")));
        }
        (!wrong.is_empty()).then(|| crate::access::file::aggregate(&wrong))
    }

    /// That the plugins are well, once they have had some time.
    ///
    /// # Errors
    /// What is wrong with them.
    async fn settle(&self) -> anyhow::Result<()> {
        let patience = (2 * self.plugins.iter().map(|plugin| plugin.timeout()).sum::<Duration>()).max(PATIENCE);
        let begun = tokio::time::Instant::now();
        while let Some(why) = self.check().await {
            anyhow::ensure!(
                begun.elapsed() < patience,
                "health check for new transformers failed, polling error context deadline exceeded: {why}"
            );
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }

    fn of(&self, resource: Option<GroupResource<'_>>) -> &Transformer {
        let named = |GroupResource { group, resource }| self.of.get(group)?.get(resource);
        let Some(own) = resource else { return &Transformer::Identity };
        let found = [own, own.whole_group(), GroupResource::EVERYTHING].into_iter().find_map(named);
        found.unwrap_or(&Transformer::Identity)
    }
}

/// The file, and the hash of what is in it.
fn read(path: &Path) -> anyhow::Result<(String, String)> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("error reading encryption provider configuration file {path:?}"))?;
    anyhow::ensure!(!text.is_empty(), "encryption provider configuration file {path:?} is empty");
    let hash: String = Sha256::digest(&text).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((text, format!("sha256:{hash}")))
}

/// The plugins that the file names, each of which has a name of its own.
async fn plugins<'a>(
    configuration: &'a Configuration,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Vec<(&'a str, Arc<Plugin>)>> {
    let mut plugins = Vec::new();
    for kms in configuration.resources.iter().flat_map(|rule| &rule.providers).filter_map(|one| one.kms.as_ref()) {
        anyhow::ensure!(
            kms.api_version != "v1",
            "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set \
             --feature-gates=KMSv1=true to use the deprecated KMSv1 feature."
        );
        plugins.push((kms.name.as_str(), Plugin::start(kms, metrics.clone()).await?));
    }
    Ok(plugins)
}

/// Rules of one resource add up; one behind a wildcard that covers it would never be looked at.
fn transformers(
    configuration: &Configuration,
    plugins: &[(&str, Arc<Plugin>)],
) -> anyhow::Result<HashMap<String, HashMap<String, Transformer>>> {
    let mut entries: HashMap<GroupResource<'_>, Vec<Entry>> = HashMap::new();
    for rule in &configuration.resources {
        for name in &rule.resources {
            let resource = GroupResource::parse(name);
            for wildcard in [resource.whole_group(), GroupResource::EVERYTHING] {
                anyhow::ensure!(
                    !entries.contains_key(&wildcard),
                    "resource \"{resource}\" is masked by earlier rule \"{wildcard}\""
                );
            }
            let providers = rule.providers.iter().map(|provider| entry(provider, plugins));
            let providers = providers.collect::<anyhow::Result<Vec<_>>>()?;
            entries.entry(resource).or_default().extend(providers);
        }
    }
    let mut all: HashMap<String, HashMap<String, Transformer>> = HashMap::new();
    for (GroupResource { group, resource }, entries) in entries {
        let transformer = Transformer::OneOf(entries, "no matching prefix found");
        all.entry(group.to_owned()).or_default().insert(resource.to_owned(), transformer);
    }
    Ok(all)
}

fn entry(provider: &Provider, plugins: &[(&str, Arc<Plugin>)]) -> anyhow::Result<Entry> {
    const AES: &str = "no matching key was found for the provided AES transformer";
    const SECRETBOX: &str = "no matching key was found for the provided Secretbox transformer";
    let of = |name: &str, keys: &Keys, unknown, cipher: fn(&[u8]) -> Option<Transformer>| {
        let transformer = Transformer::OneOf(by_key(keys, cipher)?, unknown);
        anyhow::Ok(Entry { prefix: format!("k8s:enc:{name}:v1:").into_bytes(), transformer })
    };
    match provider {
        Provider { aesgcm: Some(keys), .. } => of("aesgcm", keys, AES, |key| Gcm::new(key).map(Transformer::Gcm)),
        Provider { aescbc: Some(keys), .. } => of("aescbc", keys, AES, |key| Cbc::new(key).map(Transformer::Cbc)),
        Provider { secretbox: Some(keys), .. } => {
            of("secretbox", keys, SECRETBOX, |key| Secretbox::new(key).map(Transformer::Secretbox))
        }
        Provider { kms: Some(kms), .. } => {
            let plugin = plugins.iter().find(|(name, _)| *name == kms.name).map(|(_, plugin)| plugin.clone());
            let plugin = plugin.with_context(|| format!("could not configure KMS plugin {:?}", kms.name))?;
            let prefix = format!("k8s:enc:kms:v2:{}:", kms.name).into_bytes();
            Ok(Entry { prefix, transformer: Transformer::Envelope(plugin) })
        }
        Provider { identity: Some(_), .. } => Ok(Entry { prefix: Vec::new(), transformer: Transformer::Identity }),
        _ => anyhow::bail!(
            "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"
        ),
    }
}

fn by_key(keys: &Keys, cipher: fn(&[u8]) -> Option<Transformer>) -> anyhow::Result<Vec<Entry>> {
    let entry = |key: &config::Key| {
        let why = || format!("could not obtain secret for named key {}", key.name);
        let transformer = secret(&key.secret).ok().and_then(|secret| cipher(&secret)).with_context(why)?;
        anyhow::Ok(Entry { prefix: format!("{}:", key.name).into_bytes(), transformer })
    };
    keys.keys.iter().flatten().map(entry).collect()
}

/// The bytes of a key, as Go reads base64: over ends of lines, and whatever the last bits are.
fn secret(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    const READER: GeneralPurpose =
        GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));
    let text: String = text.chars().filter(|c| !matches!(c, '\n' | '\r')).collect();
    READER.decode(text)
}

#[cfg(test)]
mod tests;
