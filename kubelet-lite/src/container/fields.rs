//! The downward API: a pod's own fields and a container's resources as text.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use kube::ResourceExt;

use super::resources;

/// What the kubelet knows before the API does.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub node_name: String,
    pub host_ip: String,
    pub pod_ips: Vec<String>,
    pub node_cpus: usize,
    pub node_memory_kib: u64,
}

/// The value of a `fieldRef`; `None` for a path that upstream has not either.
#[must_use]
pub fn field(pod: &Pod, known: &Known, path: &str) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => pod.labels(),
            "metadata.annotations" => pod.annotations(),
            _ => return None,
        };
        return Some(map.get(key).cloned().unwrap_or_default());
    }
    Some(match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => known.node_name.clone(),
        "spec.serviceAccountName" => spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" => known.host_ip.clone(),
        "status.podIP" => known.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => known.pod_ips.join(","),
        _ => return None,
    })
}

/// `metadata.labels['key']` taken apart.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// A map as the downward API writes it: sorted `key="value"` lines.
fn lines(map: &std::collections::BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

/// The value of a `resourceFieldRef`; without a limit of its own a container has the node's.
#[must_use]
pub fn resource(container: &Container, known: &Known, selector: &ResourceFieldSelector) -> Option<String> {
    let (which, name) = selector.resource.split_once('.')?;
    let requirements = container.resources.as_ref();
    let limits = requirements.and_then(|requirements| requirements.limits.as_ref());
    let requests = requirements.and_then(|requirements| requirements.requests.as_ref());
    let limit = resources::find(limits, name).and_then(resources::milli);
    let value = match which {
        "limits" => limit.or(match name {
            "cpu" => Some(known.node_cpus as i128 * 1000),
            "memory" => Some(i128::from(known.node_memory_kib) * 1024 * 1000),
            _ => None,
        }),
        "requests" => resources::find(requests, name).and_then(resources::milli).or(limit).or(Some(0)),
        _ => return None,
    }?;
    let divisor = selector.divisor.as_ref().and_then(resources::milli).filter(|divisor| *divisor > 0).unwrap_or(1000);
    Some(((value + divisor - 1) / divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": { "name": "web-0", "namespace": "shop", "uid": "u", "labels": { "app": "web", "tier": "front" } },
            "spec": { "containers": [{ "name": "c", "resources": { "limits": { "cpu": "250m" } } }], "serviceAccountName": "sa" },
        }))
        .expect("a pod")
    }

    #[test]
    fn fields_of_a_pod() {
        let known = Known { pod_ips: vec!["11.0.0.2".into()], node_name: "c0w1".into(), node_cpus: 4, ..Known::default() };
        for (path, expected) in [
            ("metadata.name", "web-0"), ("metadata.labels['app']", "web"), ("metadata.labels['none']", ""),
            ("metadata.labels", "app=\"web\"\ntier=\"front\""), ("status.podIP", "11.0.0.2"), ("spec.nodeName", "c0w1"),
        ] {
            assert_eq!(field(&pod(), &known, path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(field(&pod(), &known, "spec.hostname"), None);
        let pod = pod();
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        let select = |resource: &str, divisor: Option<&str>| ResourceFieldSelector {
            resource: resource.into(),
            divisor: divisor.map(|text| k8s_openapi::apimachinery::pkg::api::resource::Quantity(text.into())),
            ..Default::default()
        };
        assert_eq!(resource(container, &known, &select("limits.cpu", None)).as_deref(), Some("1"));
        assert_eq!(resource(container, &known, &select("limits.cpu", Some("1m"))).as_deref(), Some("250"));
        assert_eq!(resource(container, &known, &select("requests.memory", None)).as_deref(), Some("0"));
    }
}
