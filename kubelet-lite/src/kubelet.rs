//! `knetsim kubelet`: the wiring, from top to bottom.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Service;
use kube::runtime::{reflector, watcher};
use runtime::events::Recorder;

use crate::flags::Flags;
use crate::images::Images;
use crate::images::rootfs::Writable;
use crate::node::events::Events;
use crate::node::machine::Machine;
use crate::node::{Backoff, Node, RUN, lease, network, registration};
use crate::objects::Watched;
use crate::oci_runtime::exec::Runc;
use crate::pod::manager;
use crate::pod::registry::Registry;
use crate::static_pods::{self, mirror::Mirrors};
use cni::libcni::{Cni, cache_root};

/// Runs the kubelet until SIGTERM or SIGINT. Pods go on without it.
///
/// # Errors
/// When the node misses something it cannot do without, in words for its user.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("kubelet");
    runtime::block_on(serve(flags))
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let node = Arc::new(build(flags).await?);
    let registry = Registry::default();
    let server = crate::server::listen(node.clone(), registry.clone()).await?;
    let own = Arc::new(registration::own(&node)?);
    let path = node.flags.pod_manifest_path.clone();
    let statics = static_pods::follow(path.as_deref(), &node.name).context("watching the static pods' files")?;
    // Static pods do not wait for the API server: it may be one of them.
    tokio::spawn(appear(node.clone()));
    tokio::select! {
        ended = manager::run(node, registry, statics, own) => ended.context("watching pods"),
        ended = server => ended.context("serving"),
        signal = runtime::shutdown::signal() => Ok(signal?),
    }
}

/// Makes the node known, and keeps it so.
async fn appear(node: Arc<Node>) {
    match registration::register(&node).await {
        Ok(object) => {
            tokio::spawn(lease::renew(node.client.clone(), object));
            registration::report(node).await;
        }
        Err(error) => tracing::error!(%error, "the node cannot be registered"),
    }
}

async fn build(flags: Flags) -> anyhow::Result<Node> {
    let name = match &flags.hostname_override {
        Some(name) => name.clone(),
        None => nix::unistd::gethostname()?.to_string_lossy().into_owned(),
    };
    let run = Path::new(RUN);
    for folder in [flags.root_dir.clone(), run.join("pods"), "/var/log/pods".into(), cache_root().to_owned()] {
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    }
    let machine = Machine::look(&flags);
    let writable = Writable::probe(&flags.root_dir.join("containers"), &run.join("containers"))
        .context("containers need overlayfs, and the kernel refuses to mount one")?;
    if let Some(note) = &writable.note {
        tracing::warn!("{note}");
    }
    if let Some(why) = &machine.limits_off {
        tracing::info!("resource limits are not enforced: {why}");
    }
    let client = runtime::client::connect(Some(&flags.kubeconfig)).await?;
    let recorder = Arc::new(Recorder::new(client.clone(), "kubelet", Some(&name)));
    let cni = Cni {
        conf_dir: flags.cni_conf_dir.clone(),
        bin_dirs: flags.cni_bin_dir.clone(),
        cache_dir: cache_root().to_owned(),
    };
    Ok(Node {
        network: network::watch_readiness(cni.clone()).context("watching the CNI configuration")?,
        images: Images::new(&flags.image_store, &flags.root_dir.join("catalogue"), flags.image_puller.clone()),
        cni,
        services: watch_services(&client),
        objects: Watched::new(client.clone()),
        mirrors: Mirrors::default(),
        events: Events::new(recorder),
        runc: Runc::new(&run.join("runc")),
        backoff: Backoff::default(),
        object: tokio::sync::watch::channel(Arc::default()).0,
        name,
        client,
        writable,
        machine,
        flags,
    })
}

/// Services make environment variables; upstream's kubelet watches them for the same reason.
fn watch_services(client: &kube::Client) -> reflector::Store<Service> {
    let (reader, writer) = reflector::store();
    let stream = reflector(writer, runtime::watched::all(client, Ok::<_, watcher::Error>));
    tokio::spawn(stream.for_each(|_| std::future::ready(())));
    reader
}
