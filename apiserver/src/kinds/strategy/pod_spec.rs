//! Defaults of a pod spec, wherever one stands (`pkg/apis/core/v1/defaults.go`).

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::super::json::Json;
use super::super::validate::resource_name::PAGES;

/// Where containers are in a pod spec.
pub const CONTAINER_LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Fills the defaults of the pod spec at `path` of `object`, and takes away what is behind gates that are closed.
pub fn default_at(object: &mut Value, path: &str) {
    if !object.has(path) {
        object.put(path, json!({}));
    }
    let Some(spec) = object.at_mut(path) else { return };
    spec.default_to("dnsPolicy", "ClusterFirst");
    spec.default_to("restartPolicy", "Always");
    spec.default_to("terminationGracePeriodSeconds", 30);
    spec.default_to("securityContext", json!({}));
    spec.default_to("schedulerName", "default-scheduler");
    // The deprecated name is kept in step with the real one, whichever was given.
    let account = [spec.text("serviceAccountName"), spec.text("serviceAccount")].into_iter().find(|a| !a.is_empty());
    if let Some(account) = account.map(String::from) {
        spec.put("serviceAccountName", account.clone());
        spec.put("serviceAccount", account);
    }
    spec.remove("workloadRef");
    for volume in spec.list_mut("volumes") {
        for source in volume.list_mut("projected.sources") {
            for gated in ["clusterTrustBundle", "podCertificate"] {
                source.remove(gated);
            }
        }
        default_volume(volume);
    }
    for list in CONTAINER_LISTS {
        for container in spec.list_mut(list) {
            default_container(container);
        }
    }
}

/// Fills what only real pods get: in a template it would be what its author did not write.
pub fn default_pod(pod: &mut Value) {
    let Some(spec) = pod.at_mut("spec") else { return };
    if spec.int("terminationGracePeriodSeconds") < 0 {
        spec.put("terminationGracePeriodSeconds", 1);
    }
    let host_network = spec.yes("hostNetwork");
    for list in ["initContainers", "containers"] {
        for container in spec.list_mut(list) {
            requests_from_limits(container);
            for port in container.list_mut("ports") {
                if host_network && port.int("hostPort") == 0 {
                    let number = port.at("containerPort").clone();
                    port.put("hostPort", number);
                }
            }
        }
    }
    default_resources(spec);
}

/// What is said of the pod as a whole is made complete by what its containers say (KEP-2837): limits on large pages, and
/// requests, the rest of which are as much as the limits.
fn default_resources(spec: &mut Value) {
    let (limits, requests) = ("resources.limits", "resources.requests");
    if spec.entries(limits).is_empty() && spec.entries(requests).is_empty() {
        return;
    }
    let paged =
        of_containers(spec, "limits", |name| name.starts_with(PAGES) && !spec.entries(requests).contains_key(name));
    add_missing(spec, limits, paged);
    let all = spec.entries(limits).clone();
    if all.is_empty() {
        return;
    }
    let measured = of_containers(spec, "requests", |name| matches!(name, "cpu" | "memory"));
    add_missing(spec, requests, measured);
    let of_pod = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with(PAGES);
    add_missing(spec, requests, all.into_iter().filter(|(name, _)| of_pod(name)));
}

fn of_containers(spec: &Value, field: &str, of: impl Fn(&str) -> bool) -> Vec<(String, Value)> {
    let needed = quota::resources::of_containers(spec, field);
    needed
        .iter()
        .filter(|(name, _)| of(name))
        .map(|(name, amount)| (name.to_owned(), amount.to_string().into()))
        .collect()
}

/// Adds to the amounts at `path` those that are not there.
fn add_missing(object: &mut Value, path: &str, amounts: impl IntoIterator<Item = (String, Value)>) {
    for (name, amount) in amounts {
        if !object.has(path) {
            object.put(path, json!({}));
        }
        if let Some(there) = object.at_mut(path).and_then(Value::as_object_mut) {
            there.entry(name).or_insert(amount);
        }
    }
}

fn default_container(container: &mut Value) {
    if container.has("lifecycle.stopSignal") {
        container.remove("lifecycle.stopSignal");
        if container.entries("lifecycle").values().all(Value::is_null) {
            container.remove("lifecycle");
        }
    }
    container.default_to("terminationMessagePath", "/dev/termination-log");
    container.default_to("terminationMessagePolicy", "File");
    let policy = if tag(container.text("image")) == "latest" { "Always" } else { "IfNotPresent" };
    container.default_to("imagePullPolicy", policy);
    container.default_to("resources", json!({}));
    for port in container.list_mut("ports") {
        port.default_to("protocol", "TCP");
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container.at(probe).is_object() {
            default_probe(container, probe);
        }
    }
    for hook in ["lifecycle.postStart.httpGet", "lifecycle.preStop.httpGet"] {
        default_http(container, hook);
    }
    for env in container.list_mut("env") {
        if env.at("valueFrom.fieldRef").is_object() {
            env.default_to("valueFrom.fieldRef.apiVersion", "v1");
        }
    }
}

fn default_probe(container: &mut Value, probe: &str) {
    let Some(probe) = container.at_mut(probe) else { return };
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if probe.int(field) == 0 {
            probe.put(field, value);
        }
    }
    default_http(probe, "httpGet");
    if probe.at("grpc").is_object() && !probe.has("grpc.service") {
        probe.put("grpc.service", "");
    }
}

fn default_http(object: &mut Value, path: &str) {
    if let Some(get) = object.at_mut(path).filter(|get| get.is_object()) {
        get.default_to("path", "/");
        get.default_to("scheme", "HTTP");
    }
}

/// A limit without a request is also the request; init and ordinary containers alike.
fn requests_from_limits(container: &mut Value) {
    let limits = container.entries("resources.limits").clone();
    add_missing(container, "resources.requests", limits);
}

/// An image reference (`distribution/reference`).
static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    const COMPONENT: &str = "[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*";
    const LABEL: &str = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let host = format!(r"(?:{LABEL}(?:\.{LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?");
    let name = format!("(?:{host}/)?{COMPONENT}(?:/{COMPONENT})*");
    let digest = "@[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}";
    Regex::new(&format!("^{name}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{{0,127}})?(?:{digest})?$"))
        .expect("the pattern is fixed")
});

/// The tag of an image reference: `latest` where there is neither tag nor digest, none where it is no reference
/// (`pkg/util/parsers`).
fn tag(image: &str) -> &str {
    // What could be an image's own identifier names none.
    let identifier = image.len() == 64 && image.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if identifier || !REFERENCE.is_match(image) {
        return "";
    }
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    let (above, last) = name.rsplit_once('/').map_or((None, name), |(above, last)| (Some(above), last));
    let (last, tag) =
        last.split_once(':').map_or((last, if digest { "" } else { "latest" }), |(last, tag)| (last, tag));
    let is_host = |first: &str| first == "localhost" || first.contains(['.', ':']) || first != first.to_lowercase();
    let implied = match above {
        None => "docker.io/library/",
        Some(above) if is_host(above.split('/').next().unwrap_or_default()) => "",
        Some(_) => "docker.io/",
    };
    let length = implied.len() + above.map_or(0, |above| above.len() + 1) + last.len();
    if length > LONGEST_NAME { "" } else { tag }
}

/// Of an image, with its registry and without its tag.
const LONGEST_NAME: usize = 255;

/// Mode 0644 of projected files.
const FILE_MODE: i64 = 0o644;

fn default_volume(volume: &mut Value) {
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if volume.at(source).is_object() {
            volume.default_to(&format!("{source}.defaultMode"), FILE_MODE);
        }
    }
    for item in volume.list_mut("downwardAPI.items") {
        default_field_ref(item);
    }
    for source in volume.list_mut("projected.sources") {
        if source.at("serviceAccountToken").is_object() {
            source.default_to("serviceAccountToken.expirationSeconds", 3600);
        }
        for item in source.list_mut("downwardAPI.items") {
            default_field_ref(item);
        }
    }
    if volume.at("hostPath").is_object() && !volume.has("hostPath.type") {
        volume.put("hostPath.type", "");
    }
    if volume.at("image").is_object() {
        let policy = if tag(volume.text("image.reference")) == "latest" { "Always" } else { "IfNotPresent" };
        volume.default_to("image.pullPolicy", policy);
    }
    for (source, field, value) in [
        ("iscsi", "iscsiInterface", "default"),
        ("rbd", "pool", "rbd"),
        ("rbd", "user", "admin"),
        ("rbd", "keyring", "/etc/ceph/keyring"),
        ("scaleIO", "storageMode", "ThinProvisioned"),
        ("scaleIO", "fsType", "xfs"),
    ] {
        if volume.at(source).is_object() {
            volume.default_to(&format!("{source}.{field}"), value);
        }
    }
    if volume.at("azureDisk").is_object() {
        for (field, value) in [("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")] {
            volume.default_pointer(&format!("azureDisk.{field}"), value);
        }
    }
    if volume.at("ephemeral.volumeClaimTemplate").is_object() {
        volume.default_pointer("ephemeral.volumeClaimTemplate.spec.volumeMode", "Filesystem");
    }
    // A volume without any source is an empty folder.
    if volume.as_object().is_some_and(|fields| !fields.iter().any(|(k, v)| k != "name" && !v.is_null())) {
        volume.put("emptyDir", json!({}));
    }
}

fn default_field_ref(item: &mut Value) {
    if item.at("fieldRef").is_object() {
        item.default_to("fieldRef.apiVersion", "v1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_pod_spec_is_filled() {
        let mut pod = json!({"spec": {"containers": [{"name": "a", "image": "nginx"}]}});
        default_at(&mut pod, "spec");
        let expected = json!({"spec": {
            "containers": [{"name": "a", "image": "nginx", "imagePullPolicy": "Always", "resources": {},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "schedulerName": "default-scheduler",
            "securityContext": {}, "terminationGracePeriodSeconds": 30,
        }});
        assert_eq!(pod, expected);
        default_at(&mut pod, "spec");
        assert_eq!(pod, expected, "defaults are idempotent");
    }

    #[test]
    fn a_signal_that_is_not_known_yet_leaves_nothing() {
        let mut pod = json!({"spec": {"containers": [{"lifecycle": {"stopSignal": "SIGTERM"}},
            {"lifecycle": {"stopSignal": "SIGTERM", "preStop": {}}}, {"lifecycle": {}}]}});
        default_at(&mut pod, "spec");
        let left: Vec<&Value> = pod.list("spec.containers").iter().map(|container| container.at("lifecycle")).collect();
        assert_eq!(left, [&Value::Null, &json!({"preStop": {}}), &json!({})]);
    }

    #[test]
    fn what_is_given_as_nothing_is_given() {
        let mut volume = json!({"name": "v", "azureDisk": {"kind": ""}});
        default_volume(&mut volume);
        assert_eq!(volume["azureDisk"], json!({"kind": "", "cachingMode": "ReadWrite", "fsType": "ext4"}));
    }

    #[test]
    fn resources_of_the_pod_are_completed() {
        let container =
            json!({"resources": {"limits": {"hugepages-2Mi": "2Mi"}, "requests": {"cpu": "1", "a.b/c": "1"}}});
        for (given, expected) in [
            (json!({}), json!({})),
            (
                json!({"limits": {"cpu": "5", "memory": "1Gi"}}),
                json!({"limits": {"cpu": "5", "memory": "1Gi", "hugepages-2Mi": "4Mi"},
                    "requests": {"cpu": "2", "memory": "1Gi", "hugepages-2Mi": "4Mi"}}),
            ),
            (json!({"requests": {"hugepages-2Mi": "4Mi"}}), json!({"requests": {"hugepages-2Mi": "4Mi"}})),
        ] {
            let mut spec = json!({"resources": given, "containers": [container, container]});
            default_resources(&mut spec);
            assert_eq!(spec["resources"], expected);
        }
    }

    #[test]
    fn the_tag_decides_the_pull_policy() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let (digested, tagged) = (format!("nginx@{digest}"), format!("nginx:3@{digest}"));
        for (image, expected) in [
            ("nginx", "latest"),
            ("nginx:latest", "latest"),
            ("nginx:1.27", "1.27"),
            ("host:5000/nginx", "latest"),
            ("host:5000/a/nginx:2", "2"),
            ("[::1]:5000/a:x", "x"),
            (&digested, ""),
            (&tagged, "3"),
            // No references.
            ("Nginx", ""),
            ("a b", ""),
            ("nginx:", ""),
            ("nginx:3@sha256:abc", ""),
            ("<YOUR-CONTAINER>", ""),
            ("a..b", ""),
            (&digest[7..], ""),
            (&"x".repeat(237), "latest"),
            (&"x".repeat(238), ""),
            (&format!("{}:3", "x".repeat(237)), "3"),
            (&format!("a/{}", "x".repeat(243)), "latest"),
            (&format!("a/{}", "x".repeat(244)), ""),
            (&format!("a.b/{}", "x".repeat(251)), "latest"),
        ] {
            assert_eq!(tag(image), expected, "{image}");
        }
    }

    #[test]
    fn ports_probes_resources_and_volumes() {
        let mut pod = json!({"spec": {
            "hostNetwork": true,
            "serviceAccountName": "x",
            "containers": [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80}],
                "readinessProbe": {"httpGet": {"port": 80}},
                "resources": {"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "500m"}}}],
            "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "c"}},
                {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}],
        }});
        default_at(&mut pod, "spec");
        let c = pod.at("spec.containers").get(0).unwrap();
        assert_eq!(c["ports"], json!([{"containerPort": 80, "protocol": "TCP"}]), "a template's are left alone");
        assert_eq!(c["resources"]["requests"], json!({"cpu": "500m"}));
        pod.put("spec.terminationGracePeriodSeconds", -5);
        default_pod(&mut pod);
        assert_eq!(pod.int("spec.terminationGracePeriodSeconds"), 1);
        let (c, spec) = (pod.at("spec.containers").get(0).unwrap(), pod.at("spec"));
        assert_eq!(c["ports"], json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]));
        assert_eq!(
            c["readinessProbe"],
            json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
                "successThreshold": 1, "failureThreshold": 3})
        );
        assert_eq!(c["resources"]["requests"], json!({"cpu": "500m", "memory": "1Mi"}));
        assert_eq!(spec["serviceAccount"], "x");
        assert_eq!(
            spec["volumes"],
            json!([{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c", "defaultMode": 420}},
                {"name": "t", "projected": {"defaultMode": 420,
                    "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}}])
        );
    }
}
