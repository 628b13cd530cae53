//! When a cluster can be used: its nodes are Ready and the add-ons' Deployments available, by what was seen in this run.
//!
//! With objects of an earlier run the API says at first what was true at its end. What a kubelet of this run has written is
//! told by the node's boot ID, which the launcher gives it, and by when containers were started.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt, TryStreamExt, select_all};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

/// What is still being waited for, in the user's words; empty when everything is there.
pub type Pending = Vec<String>;

/// What is waited for, and what has been seen of it.
pub struct Usable {
    nodes: BTreeMap<String, AwaitedNode>,
    deployments: Vec<AwaitedDeployment>,
    since: Timestamp,
    nodes_ready: watch::Sender<bool>,
}

struct AwaitedNode {
    boot_id: String,
    ready: bool,
}

struct AwaitedDeployment {
    namespace: String,
    name: String,
    /// Its pods', as a label selector.
    selector: String,
    available: bool,
    replicas: usize,
    /// By name, whether they are ready.
    pods: BTreeMap<String, bool>,
}

/// What was seen; a pod as one of the Deployment with this number.
enum Seen {
    Node(Node),
    Deployment(Deployment),
    Pod(usize, Event<Pod>),
}

impl Usable {
    /// `nodes` with their boot IDs; no container of this run was started before the second of `since`.
    #[must_use]
    pub fn new(
        nodes: impl IntoIterator<Item = (String, String)>,
        deployments: &[Deployment],
        since: Timestamp,
    ) -> Self {
        let nodes = nodes.into_iter().map(|(name, boot_id)| (name, AwaitedNode { boot_id, ready: false })).collect();
        let deployments = deployments.iter().map(|deployment| {
            let labels = deployment.spec.as_ref().and_then(|spec| spec.selector.match_labels.as_ref());
            let pairs = labels.into_iter().flatten().map(|(key, value)| format!("{key}={value}"));
            AwaitedDeployment {
                namespace: deployment.namespace().unwrap_or_default(),
                name: deployment.name_any(),
                selector: pairs.collect::<Vec<_>>().join(","),
                available: false,
                replicas: replicas(deployment),
                pods: BTreeMap::new(),
            }
        });
        Self { nodes, deployments: deployments.collect(), since, nodes_ready: watch::Sender::new(false) }
    }

    /// Turns true when all nodes are Ready; for who has to know before everything else is there, too.
    #[must_use]
    pub fn nodes_ready(&self) -> watch::Receiver<bool> {
        self.nodes_ready.subscribe()
    }

    /// Follows the cluster until nothing is pending any more. `tell` is called whenever something was seen.
    ///
    /// # Errors
    /// When a watch fails, or `patience` has passed; the error says what was still pending.
    pub async fn wait(
        mut self,
        client: &Client,
        patience: Duration,
        mut tell: impl FnMut(&Pending),
    ) -> anyhow::Result<()> {
        let mut watches = self.watches(client);
        let waiting = async {
            loop {
                let pending = self.pending();
                tell(&pending);
                if pending.is_empty() {
                    return anyhow::Ok(());
                }
                if let Some(seen) = watches.try_next().await? {
                    self.see(seen);
                }
            }
        };
        match tokio::time::timeout(patience, waiting).await {
            Ok(result) => result,
            Err(_) => {
                let left = self.pending().join(", ");
                anyhow::bail!("after {} s still waiting for: {left}", patience.as_secs())
            }
        }
    }

    /// Everything that is followed, as one stream that never ends.
    fn watches(&self, client: &Client) -> impl futures::Stream<Item = watcher::Result<Seen>> + Unpin + use<> {
        let config = || watcher::Config::default().streaming_lists();
        let mut watches: Vec<BoxStream<'static, watcher::Result<Seen>>> = vec![
            watcher(Api::<Node>::all(client.clone()), config())
                .try_filter_map(async |event| Ok(applied(event).map(Seen::Node)))
                .boxed(),
        ];
        for (number, deployment) in self.deployments.iter().enumerate() {
            let own = config().fields(&format!("metadata.name={}", deployment.name));
            let api = Api::<Deployment>::namespaced(client.clone(), &deployment.namespace);
            watches
                .push(watcher(api, own).try_filter_map(async |event| Ok(applied(event).map(Seen::Deployment))).boxed());
            let api = Api::<Pod>::namespaced(client.clone(), &deployment.namespace);
            let pods = watcher(api, config().labels(&deployment.selector));
            watches.push(pods.map_ok(move |event| Seen::Pod(number, event)).boxed());
        }
        select_all(watches)
    }

    fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Node(node) => {
                if let Some(awaited) = self.nodes.get_mut(&node.name_any()) {
                    awaited.ready = node_ready(&node, &awaited.boot_id);
                }
                self.nodes_ready.send_replace(self.nodes.values().all(|node| node.ready));
            }
            Seen::Deployment(deployment) => {
                let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
                let mut all = self.deployments.iter_mut();
                if let Some(awaited) = all.find(|awaited| awaited.namespace == namespace && awaited.name == name) {
                    awaited.replicas = replicas(&deployment);
                    let available = deployment.status.and_then(|status| status.available_replicas).unwrap_or(0);
                    awaited.available = usize::try_from(available).is_ok_and(|count| count >= awaited.replicas);
                }
            }
            Seen::Pod(number, event) => {
                let Some(awaited) = self.deployments.get_mut(number) else { return };
                match event {
                    Event::Init => awaited.pods.clear(),
                    Event::InitApply(pod) | Event::Apply(pod) => {
                        awaited.pods.insert(pod.name_any(), pod_ready(&pod, self.since));
                    }
                    Event::Delete(pod) => {
                        awaited.pods.remove(&pod.name_any());
                    }
                    Event::InitDone => {}
                }
            }
        }
    }

    fn pending(&self) -> Pending {
        let nodes = self.nodes.iter().filter(|(_, node)| !node.ready);
        let nodes = nodes.map(|(name, _)| format!("node {name} to be Ready"));
        let deployments = self.deployments.iter().filter(|deployment| !deployment.usable());
        nodes.chain(deployments.map(|awaited| format!("deployment {} to be available", awaited.name))).collect()
    }
}

impl AwaitedDeployment {
    fn usable(&self) -> bool {
        self.available && self.pods.values().filter(|ready| **ready).count() >= self.replicas
    }
}

fn applied<K>(event: Event<K>) -> Option<K> {
    match event {
        Event::Apply(object) | Event::InitApply(object) => Some(object),
        Event::Init | Event::InitDone | Event::Delete(_) => None,
    }
}

fn replicas(deployment: &Deployment) -> usize {
    let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    usize::try_from(replicas).unwrap_or(0)
}

fn node_ready(node: &Node, boot_id: &str) -> bool {
    let Some(status) = &node.status else { return false };
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    ready && status.node_info.as_ref().is_some_and(|info| info.boot_id == boot_id)
}

fn pod_ready(pod: &Pod, since: Timestamp) -> bool {
    let Some(status) = &pod.status else { return false };
    let ready = status.conditions.iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True");
    let started = |container: &k8s_openapi::api::core::v1::ContainerStatus| {
        let running = container.state.as_ref()?.running.as_ref()?;
        Some(running.started_at.as_ref()?.0.as_second())
    };
    let mut containers = status.container_statuses.iter().flatten();
    ready && containers.all(|container| started(container).is_some_and(|second| second >= since.as_second()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn node(name: &str, boot_id: &str, ready: &str) -> Seen {
        let info = json!({ "bootID": boot_id, "architecture": "", "containerRuntimeVersion": "", "kernelVersion": "",
            "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "" });
        let conditions = json!([{ "type": "Ready", "status": ready }]);
        Seen::Node(from(
            json!({ "metadata": { "name": name }, "status": { "nodeInfo": info, "conditions": conditions } }),
        ))
    }

    fn deployment(available: i32) -> Deployment {
        from(json!({ "metadata": { "name": "dns", "namespace": "kube-system" },
            "spec": { "replicas": 2, "selector": { "matchLabels": { "a": "b", "c": "d" } }, "template": {} },
            "status": { "availableReplicas": available } }))
    }

    fn pod(name: &str, ready: &str, started: &str) -> Pod {
        from(json!({ "metadata": { "name": name }, "status": {
            "conditions": [{ "type": "Ready", "status": ready }],
            "containerStatuses": [{ "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "state": { "running": { "startedAt": started } } }] } }))
    }

    #[test]
    fn what_an_earlier_run_has_left_does_not_count() {
        const OLD: &str = "2026-01-01T00:00:09Z";
        const NEW: &str = "2026-01-01T00:00:10Z";
        let since: Timestamp = "2026-01-01T00:00:10.5Z".parse().unwrap();
        let nodes = [("n1".to_owned(), "b1".to_owned())];
        let mut all = Usable::new(nodes, &[deployment(0)], since);
        assert_eq!(all.deployments[0].selector, "a=b,c=d");
        let (on_node, on_dns) = ("node n1 to be Ready", "deployment dns to be available");
        let apply = |pod| Seen::Pod(0, Event::Apply(pod));
        for (what, seen, pending) in [
            ("of the earlier run", node("n1", "b0", "True"), vec![on_node, on_dns]),
            ("not Ready yet", node("n1", "b1", "False"), vec![on_node, on_dns]),
            ("a node of an earlier topology", node("n9", "b1", "False"), vec![on_node, on_dns]),
            ("Ready", node("n1", "b1", "True"), vec![on_dns]),
            ("not Ready again", node("n1", "b1", "False"), vec![on_node, on_dns]),
            ("Ready again", node("n1", "b1", "True"), vec![on_dns]),
            ("available as it was", Seen::Deployment(deployment(2)), vec![on_dns]),
            ("a pod of the earlier run", apply(pod("p1", "True", OLD)), vec![on_dns]),
            ("one of this run", apply(pod("p2", "True", NEW)), vec![on_dns]),
            ("started anew", apply(pod("p1", "False", NEW)), vec![on_dns]),
            ("both are ready", apply(pod("p1", "True", NEW)), vec![]),
            ("the Deployment follows", Seen::Deployment(deployment(1)), vec![on_dns]),
            ("available again", Seen::Deployment(deployment(2)), vec![]),
            ("a pod is gone", Seen::Pod(0, Event::Delete(pod("p2", "True", NEW))), vec![on_dns]),
            ("a pod has no status", apply(from(json!({ "metadata": { "name": "p2" } }))), vec![on_dns]),
            ("ready", apply(pod("p2", "True", NEW)), vec![]),
            ("seen anew", Seen::Pod(0, Event::Init), vec![on_dns]),
        ] {
            all.see(seen);
            assert_eq!(all.pending(), pending, "{what}");
            assert_eq!(*all.nodes_ready().borrow(), !pending.contains(&on_node), "{what}");
        }
    }
}
