//! What a node has promised its pods (KEP-1287, upstream `pkg/kubelet/allocation`). A pod's spec says what is wanted of it; what
//! it was given is its allocation, which follows the spec when the node has room. Until then the resize is pending: deferred,
//! or infeasible where the whole node is too small.
//!
//! An allocation that is not the spec's survives the kubelet in `allocation.json` of the pod's folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Node, Pod, PodSpec, ResourceRequirements};
use scheduler::core::node::NodeInfo;
use scheduler::core::pod::PodInfo;

use super::admit;
use super::state::is_sidecar;
use crate::files::write_atomically;

/// Why a resize is not carried out, as the condition `PodResizePending` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// `Deferred` or `Infeasible`.
    pub reason: &'static str,
    pub message: String,
}

/// A pod as it is to run: the object with the resources it was given.
#[derive(Clone, Debug)]
pub struct Allocated {
    pub pod: Arc<Pod>,
    pub pending: Option<Pending>,
}

impl Allocated {
    /// A pod that has what it wants.
    #[must_use]
    pub fn whole(pod: Arc<Pod>) -> Self {
        Self { pod, pending: None }
    }
}

/// Containers whose resources may change while they run.
pub fn resizable(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().filter(|container| is_sidecar(container)).chain(&spec.containers)
}

fn resources(pod: &Pod) -> BTreeMap<String, ResourceRequirements> {
    let spec = pod.spec.iter().flat_map(resizable);
    spec.map(|container| (container.name.clone(), container.resources.clone().unwrap_or_default())).collect()
}

/// The object `wanted` with the resources in `given`.
fn keep(wanted: &Pod, given: &BTreeMap<String, ResourceRequirements>) -> Pod {
    let mut pod = wanted.clone();
    if let Some(spec) = &mut pod.spec {
        let init = spec.init_containers.iter_mut().flatten().filter(|container| is_sidecar(container));
        for container in init.chain(&mut spec.containers) {
            if let Some(given) = given.get(&container.name) {
                container.resources = Some(given.clone());
            }
        }
    }
    pod
}

/// Gives `wanted` its resources where the node has room beside `others`; else it keeps those of `given`.
#[must_use]
pub fn decide(
    wanted: &Arc<Pod>,
    given: &Pod,
    node: &Arc<Node>,
    others: impl IntoIterator<Item = Arc<PodInfo>>,
) -> Allocated {
    let given = resources(given);
    if given == resources(wanted) {
        return Allocated::whole(wanted.clone());
    }
    let (info, there) = (PodInfo::granted(wanted), NodeInfo::new(node.clone()));
    let too_much = ["memory", "cpu"].into_iter().find(|name| info.requests.get(name) > there.allocatable.get(name));
    let pending = match too_much {
        Some(name) => Some(Pending {
            reason: "Infeasible",
            message: format!(
                "Node didn't have enough capacity: {name}, requested: {}, capacity: {}",
                info.requests.get(name),
                there.allocatable.get(name)
            ),
        }),
        None => admit::admit(wanted, node, others)
            .err()
            .map(|rejection| Pending { reason: "Deferred", message: rejection.message }),
    };
    match pending {
        None => Allocated::whole(wanted.clone()),
        pending => Allocated { pod: Arc::new(keep(wanted, &given)), pending },
    }
}

/// Which pending resize is tried first: those that need no more than they have, then by priority, class and patience
/// (`sortPendingResizes`). Smaller is earlier.
#[must_use]
pub fn turn(wanted: &Pod, given: &Pod, since: i64) -> (bool, std::cmp::Reverse<i32>, bool, i64) {
    let (new, old) = (PodInfo::granted(wanted), PodInfo::granted(given));
    let more = new.requests.cpu > old.requests.cpu || new.requests.memory > old.requests.memory;
    let guaranteed =
        wanted.spec.as_ref().is_some_and(|spec| crate::container::resources::qos_class(spec) == "Guaranteed");
    (more, std::cmp::Reverse(new.priority), !guaranteed, since)
}

fn file(folder: &Path) -> PathBuf {
    folder.join("allocation.json")
}

/// Remembers what `given` has, where that is not what it wants.
pub fn remember(folder: &Path, given: &Allocated) {
    let path = file(folder);
    let result = if given.pending.is_some() {
        let text = serde_json::to_vec(&resources(&given.pod)).expect("maps of strings are JSON");
        std::fs::create_dir_all(folder).and_then(|()| write_atomically(&path, &text))
    } else {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    };
    if let Err(error) = result {
        tracing::warn!(%error, path = %path.display(), "an allocation is not remembered");
    }
}

/// What an earlier kubelet gave the pod: what it wants, unless a file says otherwise.
#[must_use]
pub fn recall(folder: &Path, wanted: &Arc<Pod>) -> Arc<Pod> {
    let known = std::fs::read(file(folder)).ok().and_then(|text| serde_json::from_slice(&text).ok());
    known.map_or_else(|| wanted.clone(), |given| Arc::new(keep(wanted, &given)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, cpu: &str, memory: &str, priority: i32) -> Arc<Pod> {
        let pod = json!({ "metadata": { "name": name, "namespace": "default", "uid": name }, "spec": {
            "priority": priority,
            "containers": [{ "name": "a", "resources": { "requests": { "cpu": cpu, "memory": memory } } }],
        } });
        Arc::new(serde_json::from_value(pod).expect("a pod"))
    }

    fn node() -> Arc<Node> {
        let node = json!({ "metadata": { "name": "w1" },
            "status": { "allocatable": { "cpu": "2", "memory": "1Gi", "pods": "9" } } });
        Arc::new(serde_json::from_value(node).expect("a node"))
    }

    #[test]
    fn a_resize_is_granted_deferred_or_infeasible() {
        let given = pod("p", "500m", "100Mi", 0);
        for (cpu, memory, expected) in [
            ("500m", "100Mi", None),
            ("1", "200Mi", None),
            ("100m", "10Mi", None),
            (
                "1500m",
                "100Mi",
                Some((
                    "Deferred",
                    "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000",
                )),
            ),
            (
                "3",
                "100Mi",
                Some(("Infeasible", "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000")),
            ),
            (
                "3",
                "2Gi",
                Some((
                    "Infeasible",
                    "Node didn't have enough capacity: memory, requested: 2147483648, capacity: 1073741824",
                )),
            ),
        ] {
            let wanted = pod("p", cpu, memory, 0);
            let other = Arc::new(PodInfo::granted(&pod("other", "1", "100Mi", 0)));
            let decided = decide(&wanted, &given, &node(), [other]);
            let pending = decided.pending.as_ref().map(|pending| (pending.reason, pending.message.as_str()));
            assert_eq!(pending, expected, "{cpu} {memory}");
            let has = resources(&decided.pod);
            assert_eq!(has, resources(if expected.is_none() { &wanted } else { &given }), "{cpu} {memory}");
        }
    }

    #[test]
    fn a_pending_resize_survives_the_kubelet() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("p");
        let (given, wanted) = (pod("p", "500m", "100Mi", 0), pod("p", "3", "100Mi", 0));
        let decided = decide(&wanted, &given, &node(), []);
        remember(&folder, &decided);
        assert_eq!(resources(&recall(&folder, &wanted)), resources(&given));
        remember(&folder, &Allocated::whole(wanted.clone()));
        assert_eq!(resources(&recall(&folder, &wanted)), resources(&wanted));
    }

    #[test]
    fn whose_turn_it_is() {
        let given = pod("p", "500m", "100Mi", 0);
        let less = turn(&pod("p", "100m", "100Mi", 0), &given, 9);
        let important = turn(&pod("p", "1", "100Mi", 7), &given, 9);
        let patient = turn(&pod("p", "1", "100Mi", 0), &given, 1);
        let late = turn(&pod("p", "1", "100Mi", 0), &given, 9);
        assert!(less < important && important < patient && patient < late);
    }
}
