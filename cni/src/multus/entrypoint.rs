//! `knetsim multus-entrypoint`: what the DaemonSet `kube-multus-ds` runs on every node, as upstream's `thin_entrypoint`.
//!
//! Wraps the first CNI configuration of the node into 00-multus.conf, which is first from then on, and writes a kubeconfig
//! of the pod's ServiceAccount for the plugin. Both follow their sources: a changed configuration and a renewed token are
//! seen through inotify. The plugin itself is part of every node already.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Parser;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use serde_json::{Map, Value, json};

use crate::libcni::NetworkList;
use crate::subnet_env::write_atomically;

/// Flags that mean something here, under upstream's names.
#[derive(Debug, Parser)]
#[command(name = "multus-entrypoint", about = "Puts multus in front of a node's CNI configuration")]
struct Flags {
    /// The node's CNI configurations, as seen in this pod
    #[arg(long, default_value = "/host/etc/cni/net.d")]
    cni_conf_dir: PathBuf,
    /// The same folder, as the node and so the plugin sees it
    #[arg(long, default_value = "/etc/cni/net.d")]
    host_cni_conf_dir: PathBuf,
    /// Only `auto` is known: made from the first other configuration
    #[arg(long, default_value = "auto")]
    multus_conf_file: String,
    /// Pods may only use networks of their own namespace
    #[arg(long)]
    namespace_isolation: bool,
    /// Take the configuration away again at the end
    #[arg(long)]
    cleanup_config_on_exit: bool,
    /// Where the pod's ServiceAccount is
    #[arg(long, default_value = "/var/run/secrets/kubernetes.io/serviceaccount")]
    service_account: PathBuf,
}

const CONF: &str = "00-multus.conf";
const KUBECONFIG: &str = "multus.d/multus.kubeconfig";

/// Runs until SIGTERM.
///
/// # Errors
/// When the folder cannot be watched or written to.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("multus-entrypoint");
    anyhow::ensure!(flags.multus_conf_file == "auto", "--multus-conf-file: only auto is supported");
    runtime::block_on(async {
        let ended = runtime::shutdown::or(follow(&flags)).await;
        if flags.cleanup_config_on_exit {
            let _ = std::fs::remove_file(flags.cni_conf_dir.join(CONF));
        }
        ended
    })
}

async fn follow(flags: &Flags) -> anyhow::Result<()> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let changes = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE;
    for folder in [&flags.cni_conf_dir, &flags.service_account] {
        inotify.add_watch(folder, changes).with_context(|| format!("watching {}", folder.display()))?;
    }
    // A thread of its own: it sleeps in read(2) for nearly all of its life.
    let (changed, mut changes) = tokio::sync::watch::channel(());
    std::thread::Builder::new()
        .name("watch".into())
        .spawn(move || while inotify.read_events().is_ok() && changed.send(()).is_ok() {})?;
    let mut waited = false;
    loop {
        if !write(flags)? && !std::mem::replace(&mut waited, true) {
            tracing::info!(folder = %flags.cni_conf_dir.display(), "waiting for the node's network configuration");
        }
        changes.changed().await.context("the thread that watches has ended")?;
    }
}

/// Writes what is not there yet or has changed. False while the node has no configuration to wrap.
fn write(flags: &Flags) -> anyhow::Result<bool> {
    let kubeconfig = flags.cni_conf_dir.join(KUBECONFIG);
    let text = kubeconfig_text(&flags.service_account)?;
    if std::fs::read_to_string(&kubeconfig).ok().as_deref() != Some(&text) {
        std::fs::create_dir_all(kubeconfig.parent().context("it has a folder")?)?;
        write_atomically(&kubeconfig, text.as_bytes()).with_context(|| format!("writing {}", kubeconfig.display()))?;
        std::fs::set_permissions(&kubeconfig, PermissionsExt::from_mode(0o600))?;
    }
    let Some(wrapped) = first_other(&flags.cni_conf_dir) else { return Ok(false) };
    let seen = flags.host_cni_conf_dir.join(KUBECONFIG);
    let text = serde_json::to_string_pretty(&conf(&wrapped, &seen, flags.namespace_isolation))?;
    let path = flags.cni_conf_dir.join(CONF);
    if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
        write_atomically(&path, text.as_bytes()).with_context(|| format!("writing {}", path.display()))?;
        tracing::info!(network = wrapped.name, "multus is in front of the node's network");
    }
    Ok(true)
}

/// The node's network without us.
fn first_other(folder: &Path) -> Option<NetworkList> {
    let mut files: Vec<_> = std::fs::read_dir(folder).ok()?.flatten().map(|file| file.path()).collect();
    files.retain(|path| {
        let kind = path.extension().and_then(|end| end.to_str());
        matches!(kind, Some("conflist" | "conf")) && path.file_name().is_some_and(|name| name != CONF)
    });
    files.sort();
    files.iter().find_map(|path| NetworkList::parse(serde_json::from_slice(&std::fs::read(path).ok()?).ok()?))
}

/// 00-multus.conf: it can do whatever the network it wraps can.
fn conf(wrapped: &NetworkList, kubeconfig: &Path, isolation: bool) -> Value {
    let capabilities: Map<String, Value> = wrapped
        .plugins
        .iter()
        .filter_map(|plugin| plugin["capabilities"].as_object())
        .flatten()
        .map(|(name, on)| (name.clone(), on.clone()))
        .collect();
    let mut conf = json!({
        "cniVersion": wrapped.version, "name": "multus-cni-network", "type": "multus",
        "kubeconfig": kubeconfig, "delegates": [wrapped.raw],
    });
    if !capabilities.is_empty() {
        conf["capabilities"] = Value::Object(capabilities);
    }
    if isolation {
        conf["namespaceIsolation"] = json!(true);
    }
    conf
}

/// A kubeconfig with the pod's own token, which the plugin, outside the pod, can use as well.
fn kubeconfig_text(account: &Path) -> anyhow::Result<String> {
    use base64::Engine;
    let read = |name: &str| {
        std::fs::read_to_string(account.join(name)).with_context(|| format!("reading the ServiceAccount's {name}"))
    };
    let env = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set: this is no pod"));
    let (host, port) = (env("KUBERNETES_SERVICE_HOST")?, env("KUBERNETES_SERVICE_PORT")?);
    let ca = base64::engine::general_purpose::STANDARD.encode(read("ca.crt")?);
    // JSON is YAML.
    Ok(serde_json::to_string_pretty(&json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "multus-context",
        "clusters": [{ "name": "local",
            "cluster": { "server": format!("https://{host}:{port}"), "certificate-authority-data": ca } }],
        "users": [{ "name": "multus", "user": { "token": read("token")?.trim() } }],
        "contexts": [{ "name": "multus-context", "context": { "cluster": "local", "user": "multus" } }],
    }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_first_configuration_is_wrapped() {
        let folder = tempfile::tempdir().unwrap();
        assert!(first_other(folder.path()).is_none());
        let flannel = json!({ "name": "cbr0", "cniVersion": "0.3.1", "plugins": [
            { "type": "flannel" }, { "type": "portmap", "capabilities": { "portMappings": true } }] });
        std::fs::write(folder.path().join("10-flannel.conflist"), flannel.to_string()).unwrap();
        std::fs::write(folder.path().join(CONF), "{}").unwrap();
        let wrapped = first_other(folder.path()).unwrap();
        let made = conf(&wrapped, Path::new("/etc/cni/net.d/multus.d/multus.kubeconfig"), false);
        assert_eq!(
            made,
            json!({
                "cniVersion": "0.3.1", "name": "multus-cni-network", "type": "multus",
                "kubeconfig": "/etc/cni/net.d/multus.d/multus.kubeconfig",
                "capabilities": { "portMappings": true }, "delegates": [flannel],
            })
        );
    }
}
