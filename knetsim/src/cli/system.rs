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
use kube::{Client, Config, ResourceExt};
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

/// Requests under way at once while an add-on is applied.
const AT_ONCE: usize = 8;

/// An add-on's objects as one cluster gets them.
pub struct AddOn {
    name: &'static str,
    objects: Vec<DynamicObject>,
}

/// Every add-on of the plan, in the order in which they are applied: nodes are not Ready before their network.
///
/// # Errors
/// A manifest that is none; a test reads all of them.
pub fn add_ons(cluster: &ClusterPlan, plan: &Plan) -> anyhow::Result<Vec<AddOn>> {
    let read = |add_on: &String| {
        let (name, text) = *MANIFESTS.iter().find(|(name, _)| name == add_on).context("the plan was checked")?;
        let objects = documents(&render(text, cluster));
        Ok(AddOn { name, objects: objects.with_context(|| format!("reading manifests/system/{name}.yaml"))? })
    };
    plan.add_ons.iter().map(read).collect()
}

/// The Deployments among them that an emulator with all its add-ons has available.
pub fn deployments(add_ons: &[AddOn]) -> Vec<String> {
    let objects = add_ons.iter().flat_map(|add_on| &add_on.objects);
    let marked = objects.filter(|object| {
        let kind = object.types.as_ref().map(|types| types.kind.as_str());
        kind == Some("Deployment") && object.labels().contains_key("knetsim.dev/add-on")
    });
    marked.map(ResourceExt::name_any).collect()
}

/// What is applied before what: a namespace before its content, and what pods need before those who make pods. Side by side
/// where it does not matter.
fn turn(object: &DynamicObject) -> usize {
    match object.types.as_ref().map(|types| types.kind.as_str()) {
        Some("Namespace") => 0,
        Some("DaemonSet" | "Deployment") => 2,
        _ => 1,
    }
}

/// Applies add-ons one after the other.
///
/// # Errors
/// The first object that was refused, by file, kind and name.
pub async fn apply(client: &Client, add_ons: Vec<AddOn>) -> anyhow::Result<()> {
    for AddOn { name: add_on, objects } in add_ons {
        let mut turns: [Vec<DynamicObject>; 3] = Default::default();
        for object in objects {
            turns[turn(&object)].push(object);
        }
        for batch in turns {
            let each = batch.into_iter().map(|object| async move {
                let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
                let what = format!("applying {kind} {} of {add_on}", object.name_any());
                apply_object(client, object).await.context(what)
            });
            futures::stream::iter(each).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
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

/// Follows nodes and Deployments until all nodes are Ready and all `deployments` are available. `tell` is called whenever
/// what is pending has changed.
///
/// # Errors
/// When the watches fail for good, or `patience` has passed; the error says what was still pending.
pub async fn wait(
    client: &Client,
    cluster: &ClusterPlan,
    deployments: Vec<String>,
    patience: Duration,
    mut tell: impl FnMut(&Pending),
) -> anyhow::Result<()> {
    let mut nodes: BTreeMap<String, bool> = cluster.nodes.iter().map(|n| (n.name.clone(), false)).collect();
    let mut deployments: BTreeMap<String, bool> = deployments.into_iter().map(|name| (name, false)).collect();
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
                        if let Some(available) = deployments.get_mut(&name) {
                            *available = deployment_available(&deployment);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::Topology;

    #[test]
    fn every_add_on_can_be_read_and_its_deployments_are_known() {
        let plan = Topology::default().resolve(crate::topology::Store::Embedded).unwrap();
        let add_ons = add_ons(&plan.clusters[0], &plan).unwrap();
        assert_eq!(add_ons.len(), MANIFESTS.len(), "by default there is everything");
        assert!(add_ons.iter().all(|add_on| !add_on.objects.is_empty()));
        assert_eq!(deployments(&add_ons), ["coredns", "ingress-nginx-controller", "skupper-controller"]);
    }
}
