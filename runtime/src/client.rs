//! The API client: from a kubeconfig file, or from a pod's ServiceAccount.

use std::path::Path;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Connects with `kubeconfig` when given, else with the in-cluster ServiceAccount (token, CA, `KUBERNETES_SERVICE_*`).
///
/// Nothing is sent yet: an API server that is still down is found by the first request, whose watcher then retries.
///
/// # Errors
/// When the file cannot be read or names no usable cluster, or when there is no ServiceAccount to fall back on.
pub async fn connect(kubeconfig: Option<&Path>) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file =
                Kubeconfig::read_from(path).with_context(|| format!("reading the kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("using the kubeconfig {}", path.display()))?
        }
        None => {
            Config::incluster_env().context("no --kubeconfig was given and this is not a pod with a ServiceAccount")?
        }
    };
    // A watch may be quiet for as long as its server-side timeout: only connecting is bounded here.
    config.read_timeout = None;
    config.connect_timeout = Some(std::time::Duration::from_secs(5));
    Ok(Client::try_from(config)?)
}
