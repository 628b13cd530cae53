//! The Node object as this kubelet writes it: pure functions of the flags, the machine and the network's readiness.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures, NodeSpec, NodeStatus, NodeSystemInfo, Taint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;

use super::machine::Machine;
use crate::container::read_only;
use crate::flags::Flags;
use crate::images::store::architecture;

/// The Kubernetes version we are.
pub const VERSION: &str = "v1.35.0";

/// Whether limits hold, on the Node for `knetsim status` and its user.
pub const LIMITS_ANNOTATION: &str = "knetsim.dev/limits";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("--register-with-taints: \"{0}\" is not of the form key=value:Effect")]
    Taint(String),
    #[error("--node-labels: \"{0}\" is not of the form key=value")]
    Label(String),
}

/// The object to register.
///
/// # Errors
/// When a label or a taint is malformed.
pub fn object(name: &str, flags: &Flags, machine: &Machine) -> Result<Node, Error> {
    let mut labels: BTreeMap<String, String> = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", architecture()),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", architecture()),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    for label in flags.node_labels.iter().filter(|label| !label.is_empty()) {
        let (key, value) = label.split_once('=').ok_or_else(|| Error::Label(label.clone()))?;
        labels.insert(key.to_owned(), value.to_owned());
    }
    let taints = flags.register_with_taints.iter().filter(|taint| !taint.is_empty()).map(|text| taint(text));
    let taints: Vec<Taint> = taints.collect::<Result<_, _>>()?;
    Ok(Node {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            annotations: Some(annotations(machine)),
            ..Default::default()
        },
        spec: Some(NodeSpec { taints: (!taints.is_empty()).then_some(taints), ..Default::default() }),
        status: None,
    })
}

/// The annotations this kubelet owns.
#[must_use]
pub fn annotations(machine: &Machine) -> BTreeMap<String, String> {
    let limits = match &machine.limits_off {
        Some(why) => format!("off: {why}"),
        None => "on".to_owned(),
    };
    let detach = ("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned());
    [detach, (LIMITS_ANNOTATION.to_owned(), limits)].into()
}

fn taint(text: &str) -> Result<Taint, Error> {
    let wrong = || Error::Taint(text.to_owned());
    let (pair, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) || pair.is_empty() {
        return Err(wrong());
    }
    let (key, value) = pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value.to_owned())));
    Ok(Taint { key: key.to_owned(), value, effect: effect.to_owned(), time_added: None })
}

/// The whole status. `before` keeps transition times; `not_ready` is the network's complaint.
#[must_use]
pub fn status(
    name: &str,
    flags: &Flags,
    machine: &Machine,
    images: Vec<ContainerImage>,
    not_ready: Option<&str>,
    before: &[NodeCondition],
    now: Timestamp,
) -> NodeStatus {
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    let capacity: BTreeMap<String, Quantity> = [
        ("cpu", machine.cpus.to_string()),
        ("memory", format!("{}Ki", machine.memory_kib)),
        ("pods", flags.max_pods.to_string()),
        ("ephemeral-storage", format!("{}Ki", machine.disk_bytes / 1024)),
        ("hugepages-1Gi", "0".to_owned()),
        ("hugepages-2Mi", "0".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), Quantity(value)))
    .into();
    NodeStatus {
        addresses: Some(vec![address("InternalIP", flags.node_ip.to_string()), address("Hostname", name.to_owned())]),
        allocatable: Some(capacity.clone()),
        capacity: Some(capacity),
        conditions: Some(conditions(not_ready, before, now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(flags.port) }),
        }),
        images: Some(images),
        // The default handler, by its empty name.
        runtime_handlers: Some(vec![NodeRuntimeHandler {
            name: Some(String::new()),
            features: Some(NodeRuntimeHandlerFeatures {
                recursive_read_only_mounts: Some(read_only::supported()),
                user_namespaces: Some(false),
            }),
        }]),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!("knetsim+runc://{}", machine.runc_version),
            kernel_version: machine.kernel.clone(),
            kube_proxy_version: String::new(),
            kubelet_version: VERSION.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.machine_id.clone(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn conditions(not_ready: Option<&str>, before: &[NodeCondition], now: Timestamp) -> Vec<NodeCondition> {
    let ready = match not_ready {
        Some(why) => ("Ready", "False", "KubeletNotReady", why),
        None => ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    };
    [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ready,
    ]
    .into_iter()
    .map(|(type_, status, reason, message)| {
        let old = before.iter().find(|old| old.type_ == type_ && old.status == status);
        let since = old.and_then(|old| old.last_transition_time.clone()).unwrap_or(Time(now));
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since),
        }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taint_is_parsed_or_refused() {
        let parsed = taint("node-role.kubernetes.io/control-plane=:NoSchedule").expect("well formed");
        assert_eq!((parsed.key.as_str(), parsed.value.as_deref()), ("node-role.kubernetes.io/control-plane", Some("")));
        assert_eq!(taint("a:NoExecute").expect("well formed").value, None);
        assert!(taint("a=b").is_err() && taint("a=b:Sometimes").is_err());
    }

    #[test]
    fn readiness_changes_keep_the_other_transition_times() {
        let start = Timestamp::from_second(100).expect("a time");
        let later = Timestamp::from_second(200).expect("a time");
        let first = conditions(Some("no network"), &[], start);
        let second = conditions(None, &first, later);
        let of = |list: &[NodeCondition], type_: &str| {
            let found = list.iter().find(|condition| condition.type_ == type_).expect("there");
            (found.status.clone(), found.last_transition_time.clone().expect("set").0)
        };
        assert_eq!(of(&first, "Ready"), ("False".into(), start));
        assert_eq!(of(&second, "Ready"), ("True".into(), later));
        assert_eq!(of(&second, "DiskPressure"), ("False".into(), start));
    }
}
