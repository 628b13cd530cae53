//! What `up` does through the API, as kubeadm's last phases do: apply manifests/system.

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
use tokio::sync::watch;

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
///
/// # Errors
/// One that is none; a test reads all of them.
pub fn deployments(add_ons: &[AddOn]) -> anyhow::Result<Vec<Deployment>> {
    let objects = add_ons.iter().flat_map(|add_on| &add_on.objects);
    let marked = objects.filter(|object| {
        let kind = object.types.as_ref().map(|types| types.kind.as_str());
        kind == Some("Deployment") && object.labels().contains_key("knetsim.dev/add-on")
    });
    marked.map(|object| Ok(object.clone().try_parse()?)).collect()
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

/// What makes nodes Ready and Services answer. It has the machine for itself at first: pods of the other add-ons could only
/// take time from it, and some wait for it anyway.
const NETWORK: [&str; 2] = ["kube-flannel", "kube-proxy"];

/// Applies add-ons one after the other; those that are not the network's when `nodes_ready` has turned true.
///
/// # Errors
/// The first object that was refused, by file, kind and name.
pub async fn apply(client: &Client, add_ons: Vec<AddOn>, mut nodes_ready: watch::Receiver<bool>) -> anyhow::Result<()> {
    // Without ours, the pod network comes from somebody else, and perhaps later.
    let ours = add_ons.iter().any(|add_on| add_on.name == NETWORK[0]);
    for AddOn { name: add_on, objects } in add_ons {
        if ours && !NETWORK.contains(&add_on) {
            nodes_ready.wait_for(|ready| *ready).await.context("the nodes are not waited for any more")?;
        }
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
        let deployments = deployments(&add_ons).unwrap();
        let names: Vec<String> = deployments.iter().map(ResourceExt::name_any).collect();
        assert_eq!(names, ["coredns", "ingress-nginx-controller", "skupper-controller"]);
    }
}
