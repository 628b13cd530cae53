//! Calling CNI plugins by the specification (1.0.0; 1.1.0 configurations are understood), as the library `libcni` does:
//! for the kubelet, and for meta plugins that attach a pod to more than one network.
//!
//! [`conf`] finds the node's network configuration, [`invoke`] runs a chain of plugins, [`cache`] keeps what a DEL needs
//! later, also after a restart and after the configuration has changed.

pub mod cache;
pub mod conf;
pub mod invoke;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

pub use conf::NetworkList;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// As upstream's runtime says it when the folder has no usable configuration.
    #[error("cni plugin not initialized")]
    NotInitialized,
    #[error("plugin type=\"{plugin}\" failed ({verb}): {message}")]
    Plugin { plugin: String, verb: &'static str, message: String },
    #[error("failed to find plugin \"{plugin}\" in path [{path}]")]
    Missing { plugin: String, path: String },
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("plugin type=\"{plugin}\" gave no valid result: {source}")]
    Result { plugin: String, source: serde_json::Error },
}

/// One attachment of a pod to the network.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub container_id: String,
    pub netns: PathBuf,
    pub ifname: String,
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    /// By capability: `portMappings`, `bandwidth`, …
    pub runtime_config: Value,
}

impl Attachment {
    fn args(&self) -> String {
        format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_INFRA_CONTAINER_ID={};K8S_POD_UID={}",
            self.namespace, self.pod, self.container_id, self.uid
        )
    }
}

/// The node's CNI.
#[derive(Clone, Debug)]
pub struct Cni {
    pub conf_dir: PathBuf,
    pub bin_dirs: Vec<PathBuf>,
    pub cache_dir: PathBuf,
}

impl Cni {
    /// Whether the network is ready, by the first usable configuration.
    ///
    /// # Errors
    /// [`Error::NotInitialized`] without one.
    pub fn network(&self) -> Result<NetworkList, Error> {
        conf::first(&self.conf_dir).ok_or(Error::NotInitialized)
    }

    /// Attaches a pod; gives the last plugin's result. When one plugin fails, those before it are undone.
    ///
    /// # Errors
    /// With the failing plugin's own message.
    pub async fn add(&self, attachment: &Attachment) -> Result<Value, Error> {
        self.add_list(&self.network()?, attachment).await
    }

    /// Attaches a pod to a given network, as [`Cni::add`] does to the node's.
    ///
    /// # Errors
    /// With the failing plugin's own message.
    pub async fn add_list(&self, list: &NetworkList, attachment: &Attachment) -> Result<Value, Error> {
        let mut previous = None;
        for plugin in &list.plugins {
            let config = list.plugin_config(plugin, &attachment.runtime_config, previous.as_ref());
            match self.call("ADD", attachment, plugin, &config).await {
                Ok(result) => previous = Some(result),
                Err(error) => {
                    if let Err(undone) = self.delete_chain(list, attachment, None).await {
                        tracing::warn!(error = %undone, pod = attachment.pod, "undoing a failed CNI ADD");
                    }
                    return Err(error);
                }
            }
        }
        let result = previous.unwrap_or_else(|| json!({ "cniVersion": list.version }));
        cache::store(&self.cache_dir, list, attachment, &result)?;
        Ok(result)
    }

    /// Detaches a pod with the configuration and result it was attached with; one that was never attached is fine.
    ///
    /// # Errors
    /// With the failing plugin's message; the cache is kept then, so that a later call can finish.
    pub async fn delete(&self, attachment: &Attachment) -> Result<(), Error> {
        let Some(cached) = cache::load(&self.cache_dir, attachment)? else { return Ok(()) };
        self.delete_chain(&cached.list, &cached.attachment, Some(&cached.result)).await?;
        cache::forget(&self.cache_dir, attachment)?;
        Ok(())
    }

    /// Asks the plugins whether an attachment is as they made it.
    ///
    /// # Errors
    /// With the message of the plugin that found a difference.
    pub async fn check(&self, attachment: &Attachment) -> Result<(), Error> {
        let Some(cached) = cache::load(&self.cache_dir, attachment)? else { return Ok(()) };
        if cached.list.disable_check || cached.list.version.as_str() < "0.4.0" {
            return Ok(());
        }
        for plugin in &cached.list.plugins {
            let config = cached.list.plugin_config(plugin, &cached.attachment.runtime_config, Some(&cached.result));
            self.call("CHECK", &cached.attachment, plugin, &config).await?;
        }
        Ok(())
    }

    /// What is remembered as attached: (container id, interface), in the order of names.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn attached(&self) -> Result<Vec<(String, String)>, Error> {
        cache::list(&self.cache_dir)
    }

    async fn delete_chain(
        &self,
        list: &NetworkList,
        attachment: &Attachment,
        result: Option<&Value>,
    ) -> Result<(), Error> {
        let mut failed = None;
        for plugin in list.plugins.iter().rev() {
            let config = list.plugin_config(plugin, &attachment.runtime_config, result);
            if let Err(error) = self.call("DEL", attachment, plugin, &config).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn call(
        &self,
        verb: &'static str,
        attachment: &Attachment,
        plugin: &Value,
        config: &Value,
    ) -> Result<Value, Error> {
        let name = plugin["type"].as_str().unwrap_or_default();
        let program = self.find(name)?;
        invoke::plugin(&program, verb, name, attachment, &self.bin_dirs, config).await
    }

    fn find(&self, plugin: &str) -> Result<PathBuf, Error> {
        let good = !plugin.is_empty() && !plugin.contains('/');
        let found = self.bin_dirs.iter().map(|dir| dir.join(plugin)).find(|path| good && path.is_file());
        found.ok_or_else(|| Error::Missing { plugin: plugin.to_owned(), path: joined(&self.bin_dirs) })
    }
}

fn joined(dirs: &[PathBuf]) -> String {
    dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(":")
}

/// The pod's addresses in a result, without their prefix length.
#[must_use]
pub fn addresses(result: &Value) -> Vec<String> {
    let ips = result["ips"].as_array().into_iter().flatten();
    ips.filter_map(|ip| ip["address"].as_str()).filter_map(|ip| ip.split('/').next()).map(str::to_owned).collect()
}

/// Where a plain `Path` is wanted.
#[must_use]
pub fn cache_root() -> &'static Path {
    Path::new("/var/lib/cni/cache/results")
}
