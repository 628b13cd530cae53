//! What pods may not do, one function a rule (`pod-security-admission/policy/check_*.go`).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::app::text;

/// The parts of a pod, or of a pod template, that the rules look at.
pub struct Pod<'a> {
    pub annotations: &'a Value,
    pub spec: &'a Value,
}

/// A rule that is broken: in short, and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub reason: String,
    pub detail: String,
}

type Finding = Option<Violation>;

fn violation(reason: impl Into<String>, detail: impl Into<String>) -> Finding {
    Some(Violation { reason: reason.into(), detail: detail.into() })
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

impl<'a> Pod<'a> {
    /// Init containers, containers, ephemeral ones.
    fn containers(&self) -> impl Iterator<Item = &'a Value> {
        let spec = self.spec;
        ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |field| list(spec, field))
    }

    /// The names of the containers for which `bad` holds.
    fn named(&self, bad: impl FnMut(&&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(bad).map(|container| text(container, "/name")).collect()
    }

    pub fn unless_windows(&self, check: fn(&Self) -> Finding) -> Finding {
        if text(self.spec, "/os/name") == "windows" { None } else { check(self) }
    }

    pub fn unless_user_namespace(&self, check: fn(&Self) -> Finding) -> Finding {
        if self.spec["hostUsers"] == false { None } else { check(self) }
    }
}

fn quoted<T: AsRef<str>>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect::<Vec<_>>().join(", ")
}

fn plural<'a>(one: &'a str, many: &'a str, count: usize) -> &'a str {
    if count == 1 { one } else { many }
}

/// `container "a"`, `containers "a", "b"`
fn whose(containers: &[&str]) -> String {
    format!("{} {}", plural("container", "containers", containers.len()), quoted(containers))
}

/// `pod and container "a"`
fn setters(pod: bool, containers: &[&str]) -> Option<String> {
    let mut parts = Vec::new();
    if pod {
        parts.push("pod".to_owned());
    }
    if !containers.is_empty() {
        parts.push(whose(containers));
    }
    (!parts.is_empty()).then(|| parts.join(" and "))
}

pub fn app_armor(pod: &Pod<'_>) -> Finding {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let kind = |context: &Value| context["appArmorProfile"]["type"].as_str().map(str::to_owned);
    let bad = |kind: &Option<String>| kind.as_deref().is_some_and(|k| !matches!(k, "RuntimeDefault" | "Localhost"));
    let own = kind(&pod.spec["securityContext"]);
    let containers = pod.named(|container| bad(&kind(&container["securityContext"])));
    let all = pod.containers().map(|container| kind(&container["securityContext"])).chain([own.clone()]);
    let mut values: Vec<String> = all.filter(bad).flatten().collect::<BTreeSet<_>>().into_iter().collect();
    let allowed = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let annotations: Vec<String> = pod
        .annotations
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| key.starts_with(ANNOTATION) && !allowed(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    let mut by: Vec<String> = setters(bad(&own), &containers).into_iter().collect();
    if !annotations.is_empty() {
        by.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if by.is_empty() {
        return None;
    }
    violation(
        plural("forbidden AppArmor profile", "forbidden AppArmor profiles", values.len()),
        format!("{} must not set AppArmor profile type to {}", by.join(" and "), quoted(&values)),
    )
}

fn capabilities<'a>(container: &'a Value, field: &str) -> Vec<&'a str> {
    list(&container["securityContext"]["capabilities"], field).iter().filter_map(Value::as_str).collect()
}

/// Containers that add what `allowed` does not contain, and what they add.
fn adding(pod: &Pod<'_>, allowed: &[&str]) -> Option<String> {
    let beyond = |container: &Value| -> Vec<String> {
        let added = capabilities(container, "add").into_iter().filter(|name| !allowed.contains(name));
        added.map(str::to_owned).collect()
    };
    let containers = pod.named(|container| !beyond(container).is_empty());
    let names: BTreeSet<String> = pod.containers().flat_map(beyond).collect();
    let text =
        format!("{} must not include {} in securityContext.capabilities.add", whose(&containers), quoted(&names));
    (!containers.is_empty()).then_some(text)
}

pub fn capabilities_baseline(pod: &Pod<'_>) -> Finding {
    const DEFAULT: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    violation("non-default capabilities", adding(pod, &DEFAULT)?)
}

pub fn capabilities_restricted(pod: &Pod<'_>) -> Finding {
    let keeping = pod.named(|container| !capabilities(container, "drop").contains(&"ALL"));
    let keeping = (!keeping.is_empty())
        .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", whose(&keeping)));
    let parts: Vec<String> = keeping.into_iter().chain(adding(pod, &["NET_BIND_SERVICE"])).collect();
    if parts.is_empty() { None } else { violation("unrestricted capabilities", parts.join("; ")) }
}

pub fn host_namespaces(pod: &Pod<'_>) -> Finding {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| pod.spec[*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if shared.is_empty() { None } else { violation("host namespaces", shared.join(", ")) }
}

pub fn host_path_volumes(pod: &Pod<'_>) -> Finding {
    let volumes = list(pod.spec, "volumes").iter().filter(|volume| volume["hostPath"].is_object());
    let names: Vec<&str> = volumes.map(|volume| text(volume, "/name")).collect();
    if names.is_empty() {
        return None;
    }
    violation("hostPath volumes", format!("{} {}", plural("volume", "volumes", names.len()), quoted(names)))
}

pub fn host_ports(pod: &Pod<'_>) -> Finding {
    let ports = |container: &Value| -> Vec<String> {
        let numbers = list(container, "ports").iter().filter_map(|port| port["hostPort"].as_i64());
        numbers.filter(|number| *number != 0).map(|number| number.to_string()).collect()
    };
    let containers = pod.named(|container| !ports(container).is_empty());
    if containers.is_empty() {
        return None;
    }
    let numbers: BTreeSet<String> = pod.containers().flat_map(ports).collect();
    let detail = format!(
        "{} {} {} {}",
        whose(&containers),
        plural("uses", "use", containers.len()),
        plural("hostPort", "hostPorts", numbers.len()),
        numbers.into_iter().collect::<Vec<_>>().join(", ")
    );
    violation("hostPort", detail)
}

pub fn host_probes(pod: &Pod<'_>) -> Finding {
    let hosts = |container: &Value| -> Vec<String> {
        let handlers =
            ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
        let host = |handler: &&str, kind: &str| text(container, &format!("{handler}/{kind}/host")).to_owned();
        let all = handlers.iter().flat_map(|handler| [host(handler, "httpGet"), host(handler, "tcpSocket")]);
        all.filter(|host| !host.is_empty()).collect()
    };
    let containers: BTreeSet<&str> = pod.named(|container| !hosts(container).is_empty()).into_iter().collect();
    if containers.is_empty() {
        return None;
    }
    let containers: Vec<&str> = containers.into_iter().collect();
    let named: BTreeSet<String> = pod.containers().flat_map(hosts).collect();
    let detail = format!(
        "{} {} {} {}",
        whose(&containers),
        plural("uses", "use", containers.len()),
        plural("probe or lifecycle host", "probe or lifecycle hosts", named.len()),
        quoted(&named)
    );
    violation("probe or lifecycle host", detail)
}

pub fn privileged(pod: &Pod<'_>) -> Finding {
    let containers = pod.named(|container| container["securityContext"]["privileged"] == true);
    if containers.is_empty() {
        return None;
    }
    violation("privileged", format!("{} must not set securityContext.privileged=true", whose(&containers)))
}

pub fn proc_mount(pod: &Pod<'_>) -> Finding {
    let other = |container: &Value| {
        container["securityContext"]["procMount"].as_str().filter(|kind| *kind != "Default").map(str::to_owned)
    };
    let containers = pod.named(|container| other(container).is_some());
    if containers.is_empty() {
        return None;
    }
    let kinds: BTreeSet<String> = pod.containers().filter_map(other).collect();
    violation(
        "procMount",
        format!("{} must not set securityContext.procMount to {}", whose(&containers), quoted(&kinds)),
    )
}

pub fn selinux(pod: &Pod<'_>, version: u32) -> Finding {
    let allowed = |kind: &str| match kind {
        "" | "container_t" | "container_init_t" | "container_kvm_t" => true,
        "container_engine_t" => version >= 31,
        _ => false,
    };
    let wrong = |context: &Value| {
        let options = &context["seLinuxOptions"];
        !allowed(text(options, "/type")) || !text(options, "/user").is_empty() || !text(options, "/role").is_empty()
    };
    let own = &pod.spec["securityContext"];
    let by = setters(wrong(own), &pod.named(|container| wrong(&container["securityContext"])))?;
    let contexts: Vec<&Value> = pod.containers().map(|container| &container["securityContext"]).chain([own]).collect();
    let kinds: BTreeSet<&str> =
        contexts.iter().map(|c| text(c, "/seLinuxOptions/type")).filter(|kind| !allowed(kind)).collect();
    let mut parts = Vec::new();
    if !kinds.is_empty() {
        parts.push(format!("{} {}", plural("type", "types", kinds.len()), quoted(&kinds)));
    }
    for field in ["user", "role"] {
        if contexts.iter().any(|c| !text(c, &format!("/seLinuxOptions/{field}")).is_empty()) {
            parts.push(format!("{field} may not be set"));
        }
    }
    violation("seLinuxOptions", format!("{by} set forbidden securityContext.seLinuxOptions: {}", parts.join("; ")))
}

/// The rule before seccomp profiles became fields.
pub fn seccomp_annotations(pod: &Pod<'_>) -> Finding {
    let good = |value: &str| value == "runtime/default" || value == "docker/default" || value.starts_with("localhost/");
    let containers =
        pod.containers().map(|c| format!("container.seccomp.security.alpha.kubernetes.io/{}", text(c, "/name")));
    let keys = std::iter::once("seccomp.security.alpha.kubernetes.io/pod".to_owned()).chain(containers);
    let bad: BTreeSet<String> = keys
        .filter_map(|key| Some((pod.annotations[&key].as_str()?, key)))
        .filter(|(value, _)| !good(value))
        .map(|(value, key)| format!("{key}={value:?}"))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let what = plural("annotation", "annotations", bad.len());
    violation("seccompProfile", format!("forbidden {what} {}", bad.into_iter().collect::<Vec<_>>().join(", ")))
}

fn seccomp(context: &Value) -> Option<&str> {
    context["seccompProfile"].is_object().then(|| text(context, "/seccompProfile/type"))
}

fn good_seccomp(kind: &str) -> bool {
    matches!(kind, "Localhost" | "RuntimeDefault")
}

pub fn seccomp_baseline(pod: &Pod<'_>) -> Finding {
    let bad = |context: &&Value| seccomp(context).is_some_and(|kind| !good_seccomp(kind));
    let own = &pod.spec["securityContext"];
    let by = setters(bad(&own), &pod.named(|container| bad(&&container["securityContext"])))?;
    let contexts = pod.containers().map(|container| &container["securityContext"]).chain([own]);
    let kinds: BTreeSet<&str> = contexts.filter(bad).filter_map(seccomp).collect();
    violation("seccompProfile", format!("{by} must not set securityContext.seccompProfile.type to {}", quoted(&kinds)))
}

pub fn seccomp_restricted(pod: &Pod<'_>) -> Finding {
    if let Some(found) = seccomp_baseline(pod) {
        return Some(found);
    }
    if seccomp(&pod.spec["securityContext"]).is_some_and(good_seccomp) {
        return None;
    }
    let silent = pod.named(|container| seccomp(&container["securityContext"]).is_none());
    if silent.is_empty() {
        return None;
    }
    violation(
        "seccompProfile",
        format!(
            "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
            whose(&silent)
        ),
    )
}

pub fn sysctls(pod: &Pod<'_>, version: u32) -> Finding {
    // Each with the version from which on it counts as safe.
    const SAFE: [(&str, u32); 12] = [
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_local_port_range", 0),
        ("net.ipv4.tcp_syncookies", 0),
        ("net.ipv4.ping_group_range", 0),
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_keepalive_intvl", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_wmem", 32),
    ];
    let safe = |name: &str| SAFE.iter().any(|(known, from)| *known == name && *from <= version);
    let set = list(&pod.spec["securityContext"], "sysctls").iter().map(|sysctl| text(sysctl, "/name"));
    let bad: Vec<&str> = set.filter(|name| !safe(name)).collect();
    if bad.is_empty() { None } else { violation("forbidden sysctls", bad.join(", ")) }
}

pub fn windows_host_process(pod: &Pod<'_>) -> Finding {
    let set = |context: &Value| context["windowsOptions"]["hostProcess"] == true;
    let own = set(&pod.spec["securityContext"]);
    let by = setters(own, &pod.named(|container| set(&container["securityContext"])))?;
    violation("hostProcess", format!("{by} must not set securityContext.windowsOptions.hostProcess=true"))
}

pub fn privilege_escalation(pod: &Pod<'_>) -> Finding {
    let containers = pod.named(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    if containers.is_empty() {
        return None;
    }
    let detail = format!("{} must set securityContext.allowPrivilegeEscalation=false", whose(&containers));
    violation("allowPrivilegeEscalation != false", detail)
}

pub fn restricted_volumes(pod: &Pod<'_>) -> Finding {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    const KNOWN: [&str; 21] = [
        "hostPath",
        "gcePersistentDisk",
        "awsElasticBlockStore",
        "gitRepo",
        "nfs",
        "iscsi",
        "glusterfs",
        "rbd",
        "flexVolume",
        "cinder",
        "cephfs",
        "flocker",
        "fc",
        "azureFile",
        "vsphereVolume",
        "quobyte",
        "azureDisk",
        "photonPersistentDisk",
        "portworxVolume",
        "scaleIO",
        "storageos",
    ];
    let has = |volume: &Value, kinds: &[&'static str]| kinds.iter().find(|kind| volume[**kind].is_object()).copied();
    let bad: Vec<&Value> = list(pod.spec, "volumes").iter().filter(|volume| has(volume, &ALLOWED).is_none()).collect();
    if bad.is_empty() {
        return None;
    }
    let kinds: BTreeSet<&str> = bad.iter().map(|volume| has(volume, &KNOWN).unwrap_or("unknown")).collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", bad.len()),
        quoted(bad.iter().map(|volume| text(volume, "/name"))),
        plural("uses", "use", bad.len()),
        plural("restricted volume type", "restricted volume types", kinds.len()),
        quoted(&kinds)
    );
    violation("restricted volume types", detail)
}

pub fn run_as_non_root(pod: &Pod<'_>) -> Finding {
    const REASON: &str = "runAsNonRoot != true";
    let said = |context: &Value| context["runAsNonRoot"].as_bool();
    let own = said(&pod.spec["securityContext"]);
    let refusing = pod.named(|container| said(&container["securityContext"]) == Some(false));
    if let Some(by) = setters(own == Some(false), &refusing) {
        return violation(REASON, format!("{by} must not set securityContext.runAsNonRoot=false"));
    }
    let silent = pod.named(|container| said(&container["securityContext"]).is_none());
    if own == Some(true) || silent.is_empty() {
        return None;
    }
    violation(REASON, format!("pod or {} must set securityContext.runAsNonRoot=true", whose(&silent)))
}

pub fn run_as_user(pod: &Pod<'_>) -> Finding {
    let root = |context: &Value| context["runAsUser"] == 0;
    let own = root(&pod.spec["securityContext"]);
    let by = setters(own, &pod.named(|container| root(&container["securityContext"])))?;
    violation("runAsUser=0", format!("{by} must not set runAsUser=0"))
}
