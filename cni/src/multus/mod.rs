//! `multus`: a meta plugin that puts a pod on the cluster's network and on those its annotation names.
//!
//! ```text
//! 00-multus.conf ── delegates[0] ─────────────────────────────▶ eth0, the answer to the runtime
//! Pod annotation k8s.v1.cni.cncf.io/networks ─▶ selections
//!     └─▶ NetworkAttachmentDefinitions ── spec.config ────────▶ net1, net2 …
//!                                          all of them ───────▶ annotation …/network-status, Events AddedInterface
//! ```
//!
//! Follows the Network Custom Resource Definition De-facto Standard v1.3 and multus-cni v4 as a thin plugin: one process a
//! call, which asks the API server itself. What was attached is remembered by [`crate::libcni`] below `cniDir`, so that DEL
//! undoes exactly what ADD did, whatever the definitions say by then.

pub mod entrypoint;
mod netconf;
mod selection;
mod status;

use std::path::PathBuf;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use runtime::events::{EventType, Recorder};
use serde_json::{Value, json};

use crate::libcni::{Attachment, Cni, NetworkList};
use crate::protocol::{self, CniError, container_id, search_path};
use netconf::NetConf;
use selection::Selection;

const NETWORKS: &str = "k8s.v1.cni.cncf.io/networks";
const NETWORK_STATUS: &str = "k8s.v1.cni.cncf.io/network-status";

/// Serves one CNI call; returns the exit status.
#[must_use]
pub fn main() -> i32 {
    protocol::serve(serve)
}

fn serve(command: &str, input: &[u8]) -> Result<i32, CniError> {
    let conf: NetConf = serde_json::from_slice(input).map_err(|error| CniError::decode(error.to_string()))?;
    if !conf.cluster_network.is_empty() {
        return Err(CniError::config("clusterNetwork is not supported here: give the network in delegates"));
    }
    if conf.delegates.is_empty() {
        return Err(CniError::config("at least one delegate/clusterNetwork must be specified"));
    }
    let cni = cni(&conf);
    let work = async {
        match command {
            "ADD" => add(&conf, &cni).await.map(|result| protocol::print(&result)),
            "CHECK" => check(&cni).await,
            "DEL" => delete(&cni, |id, own| id == own).await,
            "GC" => {
                let valid = conf.valid_attachments.iter().flatten();
                let valid: Vec<&str> = valid.map(|attachment| attachment.container_id.as_str()).collect();
                delete(&cni, |id, _| !valid.contains(&id)).await
            }
            "STATUS" if conf.kubeconfig.exists() => Ok(()),
            "STATUS" => Err(CniError::unavailable(format!("{} is not there", conf.kubeconfig.display()))),
            "" => Err(CniError::env("required env variables [CNI_COMMAND] missing")),
            other => Err(CniError::env(format!("unknown CNI_COMMAND: {other}"))),
        }
    };
    // The plugin's errors are its answer; only a runtime that cannot be built is another kind of failure.
    let outcome = runtime::block_on(async { Ok(work.await) });
    outcome.unwrap_or_else(|error| Err(CniError::io(format!("{error:#}")))).map(|()| 0)
}

fn cni(conf: &NetConf) -> Cni {
    let path = search_path().unwrap_or_default();
    let bin_dirs: Vec<PathBuf> = conf.bin_dir.clone().into_iter().chain(std::env::split_paths(&path)).collect();
    Cni { conf_dir: conf.conf_dir.clone(), bin_dirs, cache_dir: conf.cni_dir.join("results") }
}

/// One network, and under which names it is attached.
struct Delegate {
    list: NetworkList,
    /// As the status annotation and Events call it.
    name: String,
    interface: String,
    runtime_config: Value,
}

async fn add(conf: &NetConf, cni: &Cni) -> Result<Value, CniError> {
    let own = attachment()?;
    let client = runtime::client::connect(Some(&conf.kubeconfig))
        .await
        .map_err(|error| CniError::own(format!("error getting k8s client: {error:#}")))?;
    let pods: Api<Pod> = Api::namespaced(client.clone(), &own.namespace);
    let pod = pods
        .get(&own.pod)
        .await
        .map_err(|error| CniError::own(format!("[{}/{}]: error waiting for pod: {error}", own.namespace, own.pod)))?;
    if !own.uid.is_empty() && pod.uid().as_deref() != Some(own.uid.as_str()) {
        let (wanted, got) = (&own.uid, pod.uid().unwrap_or_default());
        return Err(CniError::own(format!("expected pod UID {wanted:?} but got {got:?} from Kube API")));
    }
    let recorder = Recorder::new(client.clone(), "multus", None);
    let mut delegates = vec![cluster_network(conf, &own)?];
    delegates.extend(wanted_by(&pod, &client, conf, &recorder).await?);

    let mut statuses = Vec::new();
    let mut first = None;
    for (position, delegate) in delegates.iter().enumerate() {
        let attachment = Attachment {
            ifname: delegate.interface.clone(),
            runtime_config: delegate.runtime_config.clone(),
            ..own.clone()
        };
        let result = match cni.add_list(&delegate.list, &attachment).await {
            Ok(result) => result,
            Err(error) => {
                // A pod is on all of its networks or on none.
                let undone = delete(cni, |id, own| id == own).await;
                let pod = format!("{}/{}/{}", own.namespace, own.pod, own.uid);
                let more = undone.err().map(|error| format!("; undoing it: {error}")).unwrap_or_default();
                return Err(CniError::own(format!(
                    "[{pod}:{}]: error adding container to network {:?}: {error}{more}",
                    delegate.name, delegate.list.name
                )));
            }
        };
        let told = status::added(&delegate.interface, &delegate.name, &result);
        recorder.record(&Recorder::reference(&pod), EventType::Normal, "AddedInterface", &told).await;
        statuses.push(status::of_result(&delegate.name, &delegate.interface, position == 0, &result));
        first.get_or_insert(result);
    }
    let patch = json!({ "metadata": { "uid": pod.uid(), "annotations": { NETWORK_STATUS: status::text(&statuses) } } });
    pods.patch_status(&own.pod, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .map_err(|error| CniError::own(format!("error setting the networks status: {error}")))?;
    Ok(status::answer(first.unwrap_or_default(), &conf.cni_version))
}

/// The cluster's own network: it gets the interface and the capabilities that the runtime gave us.
fn cluster_network(conf: &NetConf, own: &Attachment) -> Result<Delegate, CniError> {
    let list = NetworkList::parse(conf.delegates[0].clone())
        .ok_or_else(|| CniError::config("delegates[0] is neither a plugin's configuration nor a list of plugins"))?;
    let runtime_config = conf.runtime_config.clone();
    Ok(Delegate { name: list.name.clone(), list, interface: own.ifname.clone(), runtime_config })
}

/// What the pod's annotation asks for, in its order.
async fn wanted_by(pod: &Pod, client: &Client, conf: &NetConf, recorder: &Recorder) -> Result<Vec<Delegate>, CniError> {
    let Some(text) = pod.annotations().get(NETWORKS).filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    let own = pod.namespace().unwrap_or_default();
    let selections =
        selection::parse(text, &own).map_err(|error| CniError::own(format!("parsePodNetworkAnnotation: {error}")))?;
    let mut delegates = Vec::new();
    for (position, selection) in selections.into_iter().enumerate() {
        if conf.namespace_isolation && selection.namespace != own {
            return Err(CniError::own(format!(
                "namespace isolation enabled, annotation violates permission, pod is in namespace {own} but refers to target namespace {}",
                selection.namespace
            )));
        }
        if !selection.default_route.is_empty() {
            return Err(CniError::own("default-route is not supported here: set routes in the network's ipam"));
        }
        let config = definition(client, &selection, pod, recorder).await?;
        let list = netconf::of_definition(&selection.name, config.as_deref(), &conf.conf_dir).map_err(CniError::own)?;
        delegates.push(Delegate {
            list: netconf::with_args(list, &selection),
            name: format!("{}/{}", selection.namespace, selection.name),
            interface: selection.interface.clone().unwrap_or_else(|| format!("net{}", position + 1)),
            runtime_config: netconf::runtime_config(&selection),
        });
    }
    Ok(delegates)
}

/// The `spec.config` of a NetworkAttachmentDefinition.
async fn definition(
    client: &Client,
    selection: &Selection,
    pod: &Pod,
    recorder: &Recorder,
) -> Result<Option<String>, CniError> {
    let kind = GroupVersionKind::gvk("k8s.cni.cncf.io", "v1", "NetworkAttachmentDefinition");
    let resource = ApiResource::from_gvk_with_plural(&kind, "network-attachment-definitions");
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &selection.namespace, &resource);
    match api.get(&selection.name).await {
        Ok(found) => Ok(found.data["spec"]["config"].as_str().map(str::to_owned)),
        Err(error) => {
            let error = match error {
                kube::Error::Api(status) => status.message.clone(),
                other => other.to_string(),
            };
            let (name, namespace) = (&selection.name, &selection.namespace);
            let text =
                format!("cannot find a network-attachment-definition ({name}) in namespace ({namespace}): {error}");
            recorder.record(&Recorder::reference(pod), EventType::Warning, "NoNetworkFound", &text).await;
            Err(CniError::own(text))
        }
    }
}

async fn check(cni: &Cni) -> Result<(), CniError> {
    let own = attachment()?;
    for (_, ifname) in remembered(cni)?.into_iter().filter(|(id, _)| *id == own.container_id) {
        cni.check(&Attachment { ifname, ..own.clone() }).await.map_err(|error| CniError::own(error.to_string()))?;
    }
    Ok(())
}

/// Undoes the attachments of all containers that `chosen` (container, our own container) says, the last interface first.
/// Goes on at an error, and reports them all.
async fn delete(cni: &Cni, chosen: impl Fn(&str, &str) -> bool) -> Result<(), CniError> {
    let own = attachment().unwrap_or_else(|_| no_attachment());
    let mut failed = Vec::new();
    for (container_id, ifname) in remembered(cni)?.into_iter().rev() {
        if !chosen(&container_id, &own.container_id) {
            continue;
        }
        if let Err(error) = cni.delete(&Attachment { container_id, ifname, ..own.clone() }).await {
            failed.push(error.to_string());
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(CniError::own(failed.join(" / "))) }
}

fn remembered(cni: &Cni) -> Result<Vec<(String, String)>, CniError> {
    cni.attached().map_err(|error| CniError::io(error.to_string()))
}

/// Whom this call is about, from the environment.
fn attachment() -> Result<Attachment, CniError> {
    let text = std::env::var("CNI_ARGS").unwrap_or_default();
    let arg = |name: &str| {
        let found = text.split(';').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name);
        found.map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    let env = |name: &str| std::env::var(name).unwrap_or_default();
    Ok(Attachment {
        container_id: container_id()?,
        netns: env("CNI_NETNS").into(),
        ifname: env("CNI_IFNAME"),
        namespace: arg("K8S_POD_NAMESPACE"),
        pod: arg("K8S_POD_NAME"),
        uid: arg("K8S_POD_UID"),
        runtime_config: Value::Null,
    })
}

/// GC is about no container.
fn no_attachment() -> Attachment {
    Attachment {
        container_id: String::new(),
        netns: PathBuf::new(),
        ifname: String::new(),
        namespace: String::new(),
        pod: String::new(),
        uid: String::new(),
        runtime_config: Value::Null,
    }
}
