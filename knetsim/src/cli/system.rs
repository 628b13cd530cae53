//! What `up` does through the API, as kubeadm's last phases do: apply manifests/system, and wait for the result.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, DynamicObject, Patch, PatchParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, Config};
use serde::Deserialize;

use crate::layout::Layout;
use crate::topology::{ClusterPlan, Plan};

/// The manifests are part of the binary, so that it is all one needs.
const MANIFESTS: [(&str, &str); 7] = [
    ("kube-flannel", include_str!("../../../manifests/system/kube-flannel.yaml")),
    ("kube-proxy", include_str!("../../../manifests/system/kube-proxy.yaml")),
    ("local-storage", include_str!("../../../manifests/system/local-storage.yaml")),
    ("coredns", include_str!("../../../manifests/system/coredns.yaml")),
    ("network-policies", include_str!("../../../manifests/system/network-policies.yaml")),
    ("ingress-nginx", include_str!("../../../manifests/system/ingress-nginx.yaml")),
    ("skupper", include_str!("../../../manifests/system/skupper.yaml")),
];

/// Whoever applies a manifest is its field manager.
const MANAGER: &str = "knetsim";

/// A client for a context of our kubeconfig.
///
/// # Errors
/// When there is no such context.
pub async fn client(layout: &Layout, context: Option<&str>) -> anyhow::Result<Client> {
    let file = Kubeconfig::read_from(layout.kubeconfig()).context("reading the kubeconfig")?;
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..Default::default() };
    let mut config = Config::from_custom_kubeconfig(file, &options).await?;
    config.read_timeout = None;
    Ok(Client::try_from(config)?)
}

/// Applies every add-on of the plan to one cluster.
///
/// # Errors
/// The first object that was refused, by file, kind and name.
pub async fn apply(client: &Client, cluster: &ClusterPlan, plan: &Plan) -> anyhow::Result<()> {
    for add_on in &plan.add_ons {
        let (_, text) = MANIFESTS.iter().find(|(name, _)| name == add_on).context("the plan was checked")?;
        let text = render(text, cluster);
        for object in documents(&text).with_context(|| format!("reading manifests/system/{add_on}.yaml"))? {
            let kind = object.types.as_ref().map(|t| t.kind.clone()).unwrap_or_default();
            let name = object.metadata.name.clone().unwrap_or_default();
            apply_object(client, object).await.with_context(|| format!("applying {kind} {name} of {add_on}"))?;
        }
    }
    Ok(())
}

/// Fills in what depends on the topology. The marks are the values of the default topology's first cluster, so that the
/// files are valid manifests as they are.
fn render(text: &str, cluster: &ClusterPlan) -> String {
    text.replace("@CONTROL_PLANE_IP@", &cluster.control_plane().address.to_string())
        .replace("@POD_CIDR@", &cluster.pod_cidr.to_string())
        .replace("@DNS_IP@", &cluster.dns_ip.to_string())
        .replace("@VERSION@", env!("CARGO_PKG_VERSION"))
}

fn documents(text: &str) -> anyhow::Result<Vec<DynamicObject>> {
    let values: Vec<serde_json::Value> = serde_saphyr::from_multiple(text)?;
    values.into_iter().filter(|v| !v.is_null()).map(|value| Ok(DynamicObject::deserialize(value)?)).collect()
}

async fn apply_object(client: &Client, object: DynamicObject) -> anyhow::Result<()> {
    let types = object.types.clone().context("an object without kind")?;
    let gvk = GroupVersionKind::try_from(&types)?;
    let resource = ApiResource::from_gvk(&gvk);
    let name = object.metadata.name.clone().context("an object without name")?;
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    api.patch(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(&object)).await?;
    Ok(())
}

/// Gives the control-plane node its role as soon as it has registered. A kubelet may not say that of itself
/// (NodeRestriction), so whoever sets the cluster up does, as kubeadm.
///
/// # Errors
/// When the watch or the write fails.
pub async fn mark_control_plane(client: &Client, cluster: &ClusterPlan) -> anyhow::Result<()> {
    let name = &cluster.control_plane().name;
    let nodes: Api<Node> = Api::all(client.clone());
    let params = WatchParams::default().fields(&format!("metadata.name={name}"));
    let mut events = nodes.watch(&params, "0").await?.boxed();
    while let Some(event) = events.try_next().await? {
        if matches!(event, WatchEvent::Added(_) | WatchEvent::Modified(_)) {
            let role = serde_json::json!({ "metadata": { "labels": { "node-role.kubernetes.io/control-plane": "" } } });
            nodes.patch(name, &PatchParams::default(), &Patch::Merge(role)).await?;
            return Ok(());
        }
    }
    anyhow::bail!("the watch for node {name} ended before it registered")
}

/// What is still being waited for, in the user's words; empty when everything is there.
pub type Pending = Vec<String>;

/// Follows nodes and Deployments until all nodes are Ready and, with `add_ons`, all Deployments of the add-ons are
/// available. `tell` is called whenever what is pending has changed.
///
/// # Errors
/// When the watches fail for good, or `patience` has passed; the error says what was still pending.
pub async fn wait(
    client: &Client,
    cluster: &ClusterPlan,
    add_ons: bool,
    patience: Duration,
    mut tell: impl FnMut(&Pending),
) -> anyhow::Result<()> {
    let mut nodes: BTreeMap<String, bool> = cluster.nodes.iter().map(|n| (n.name.clone(), false)).collect();
    let mut deployments: BTreeMap<String, bool> = BTreeMap::new();
    let params = WatchParams::default();
    let node_api: Api<Node> = Api::all(client.clone());
    let deployment_api: Api<Deployment> = Api::all(client.clone());
    let waiting = async {
        let mut node_events = node_api.watch(&params, "0").await?.boxed();
        let mut deployment_events = deployment_api.watch(&params, "0").await?.boxed();
        loop {
            let pending = pending(&nodes, &deployments);
            tell(&pending);
            if pending.is_empty() {
                return anyhow::Ok(());
            }
            tokio::select! {
                event = node_events.try_next() => match event? {
                    Some(WatchEvent::Added(node) | WatchEvent::Modified(node)) => {
                        let name = node.metadata.name.clone().unwrap_or_default();
                        nodes.insert(name, node_ready(&node));
                    }
                    Some(_) => {}
                    None => node_events = node_api.watch(&params, "0").await?.boxed(),
                },
                event = deployment_events.try_next() => match event? {
                    Some(WatchEvent::Added(deployment) | WatchEvent::Modified(deployment)) => {
                        let name = deployment.metadata.name.clone().unwrap_or_default();
                        let own = deployment.metadata.labels.as_ref().is_some_and(|l| l.get("knetsim.dev/add-on").is_some());
                        if own && add_ons {
                            deployments.insert(name, deployment_available(&deployment));
                        }
                    }
                    Some(_) => {}
                    None => deployment_events = deployment_api.watch(&params, "0").await?.boxed(),
                },
            }
        }
    };
    match tokio::time::timeout(patience, waiting).await {
        Ok(result) => result,
        Err(_) => {
            let left = pending(&nodes, &deployments).join(", ");
            anyhow::bail!("after {} s cluster {} still waits for: {left}", patience.as_secs(), cluster.name)
        }
    }
}

fn pending(nodes: &BTreeMap<String, bool>, deployments: &BTreeMap<String, bool>) -> Pending {
    let nodes = nodes.iter().filter(|(_, ready)| !**ready).map(|(name, _)| format!("node {name} to be Ready"));
    let deployments =
        deployments.iter().filter(|(_, ok)| !**ok).map(|(name, _)| format!("deployment {name} to be available"));
    nodes.chain(deployments).collect()
}

fn node_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|c| c.type_ == "Ready" && c.status == "True"))
}

fn deployment_available(deployment: &Deployment) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    deployment.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0) >= wanted
}
