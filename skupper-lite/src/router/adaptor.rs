//! What upstream's kube-adaptor container does, in the router's own process: configuration and certificates from the
//! API to files, and the state of the network from the router to the API.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, ResourceExt};
use serde_json::json;

use super::config::{Config, SslProfile};
use super::core::Core;

/// Where the network's state is told to the controller, and the key in it (upstream's names).
pub const STATUS_MAP: &str = "skupper-network-status";
pub const STATUS_KEY: &str = "NetworkStatus";
/// The key of the configuration in its ConfigMap.
pub const CONFIG_KEY: &str = "skrouterd.json";
/// A failed write of the status is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub struct Adaptor {
    pub client: Client,
    pub namespace: String,
    pub config_map: String,
    /// The file the router reads.
    pub config: PathBuf,
}

enum Seen {
    Config(Event<ConfigMap>),
    Secret(Event<Secret>),
}

impl Adaptor {
    /// Follows the ConfigMap and the Secrets for ever.
    pub async fn follow(self) {
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let one = watcher::Config::default().fields(&format!("metadata.name={}", self.config_map));
        let maps = watch(maps, one).default_backoff().map(|event| event.map(Seen::Config)).boxed();
        let secrets = watch(secrets, watcher::Config::default()).default_backoff();
        let mut events = futures::stream::select(maps, secrets.map(|event| event.map(Seen::Secret)).boxed());
        let mut config: Option<Config> = None;
        let mut known: BTreeMap<String, Secret> = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Seen::Config(Event::Apply(map) | Event::InitApply(map))) => {
                    let text = map.data.as_ref().and_then(|data| data.get(CONFIG_KEY));
                    match text.map(|text| Config::parse(text)) {
                        Some(Ok(parsed)) => config = Some(parsed),
                        Some(Err(error)) => tracing::error!(%error, "the ConfigMap is ignored"),
                        None => tracing::error!(key = CONFIG_KEY, "the ConfigMap has no configuration"),
                    }
                }
                Ok(Seen::Secret(Event::Apply(secret) | Event::InitApply(secret))) => {
                    known.insert(secret.name_any(), secret);
                }
                Ok(Seen::Secret(Event::Delete(secret))) => {
                    known.remove(&secret.name_any());
                }
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(%error, "watch failed; trying again");
                    continue;
                }
            }
            if let Some(config) = &config
                && let Err(error) = self.write(config, &known)
            {
                tracing::error!(%error, "the router's files cannot be written");
            }
        }
    }

    /// Certificates first, then the configuration that names them.
    fn write(&self, config: &Config, secrets: &BTreeMap<String, Secret>) -> io::Result<()> {
        for profile in config.ssl_profiles.values() {
            // A link's profile is called after its Secret, with a suffix (upstream's convention).
            let name = profile.name.strip_suffix("-profile").unwrap_or(&profile.name);
            if let Some(secret) = secrets.get(&profile.name).or_else(|| secrets.get(name)) {
                write_profile(profile, secret)?;
            }
        }
        replace(&self.config, config.to_json().as_bytes())
    }

    /// Writes the network's state whenever it changes, for ever.
    pub async fn publish(self, core: Arc<Core>) {
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut changed = core.watch();
        let mut written = None;
        loop {
            changed.borrow_and_update();
            let network = core.network();
            // Nothing to tell before there is a configuration.
            if network.first().is_some_and(|own| !own.router.is_empty()) && written.as_ref() != Some(&network) {
                let text = serde_json::to_string(&network).expect("plain data always serialises");
                match put(&api, text).await {
                    Ok(()) => written = Some(network),
                    Err(error) => {
                        tracing::warn!(%error, "the network's state was not written; trying again");
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
            }
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

async fn put(api: &Api<ConfigMap>, text: String) -> kube::Result<()> {
    let data = json!({ "data": { STATUS_KEY: text } });
    match api.patch(STATUS_MAP, &PatchParams::default(), &Patch::Merge(&data)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => {
            let map: ConfigMap =
                serde_json::from_value(json!({ "metadata": { "name": STATUS_MAP }, "data": data["data"] }))
                    .expect("this is a ConfigMap");
            api.create(&PostParams::default(), &map).await.map(drop)
        }
        other => other.map(drop),
    }
}

fn write_profile(profile: &SslProfile, secret: &Secret) -> io::Result<()> {
    let files =
        [(&profile.ca_cert_file, "ca.crt"), (&profile.cert_file, "tls.crt"), (&profile.private_key_file, "tls.key")];
    for (file, key) in files {
        let Some(data) = secret.data.as_ref().and_then(|data| data.get(key)) else { continue };
        if !file.is_empty() {
            replace(Path::new(file), &data.0)?;
        }
    }
    Ok(())
}

/// Replaces a file as one step, and only when it differs: the watcher of its folder should sleep otherwise.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let next = path.with_extension("next");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    io::Write::write_all(&mut file, content)?;
    fs::rename(next, path)
}
