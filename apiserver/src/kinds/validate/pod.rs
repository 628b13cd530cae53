//! Pods and pod templates (`ValidatePodSpec`, `ValidatePodUpdate`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::internal;
use super::super::json::Json;
use super::address::ip;
use super::{
    affinity, container, meta, named, one_of, pod_annotations, required_one_of, security_context, spec, volume,
};

#[must_use]
pub fn pod(pod: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    pod_annotations::check(&mut errors, &pod_annotations::path(), pod);
    pod_spec(&mut errors, &spec(), pod.at("spec"));
    volume::image_references(&mut errors, &spec().child("volumes"), pod.list("spec.volumes"));
    images(&mut errors, &spec(), pod.at("spec"));
    errors
}

/// What a new pod may not say.
#[must_use]
pub fn new_pod(pod: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if !pod.list("spec.ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(&spec().child("ephemeralContainers"), "cannot be set on create"));
    }
    if !pod.text("spec.nodeName").is_empty() && !pod.list("spec.schedulingGates").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(Error::forbidden(&spec().child("nodeName"), detail));
    }
    pod_annotations::agree(&mut errors, &spec(), pod);
    errors
}

#[must_use]
pub fn pod_template(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    template(&mut errors, &Path::new("template"), object.at("template"));
    errors
}

/// A template inside a workload: labels, annotations and the spec.
pub fn template(errors: &mut ErrorList, path: &Path, template: &Value) {
    meta::labels(errors, &path.child("labels"), template.at("metadata.labels"));
    meta::annotations(errors, &path.child("annotations"), template.at("metadata.annotations"));
    pod_annotations::check(errors, &path.child("annotations"), template);
    pod_spec(errors, &path.child("spec"), template.at("spec"));
    pod_annotations::agree(errors, &path.child("spec"), template);
    if !template.list("spec.ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(
            &path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
}

/// Names of images must be such in pods; what a template says there is its controller's to see.
fn images(errors: &mut ErrorList, path: &Path, spec: &Value) {
    for list in ["containers", "initContainers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            let image = container.text("image");
            if image != image.trim() {
                let at = path.child(list).index(i).child("image");
                errors.push(Error::invalid(&at, image, "must not have leading or trailing whitespace"));
            }
        }
    }
}

pub fn pod_spec(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let volumes = volume::volumes(errors, &path.child("volumes"), spec.list("volumes"));
    container::containers(errors, &path.child("containers"), spec, &volumes);
    container::init_containers(errors, &path.child("initContainers"), spec, &volumes);
    container::ephemeral_containers(errors, &path.child("ephemeralContainers"), spec, &volumes);
    let restart = spec.text("restartPolicy");
    required_one_of(errors, &path.child("restartPolicy"), restart, &["Always", "OnFailure", "Never"]);
    let dns = spec.text("dnsPolicy");
    required_one_of(
        errors,
        &path.child("dnsPolicy"),
        dns,
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    dns_config(errors, path, spec, dns);
    affinity::placement(errors, path, spec);
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        let at = path.child("readinessGates").index(i).child("conditionType");
        named(errors, &at, gate.text("conditionType"), names::qualified_name);
    }
    for (field, check) in [
        ("serviceAccountName", names::dns1123_subdomain as super::Check),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
    ] {
        if !spec.text(field).is_empty() {
            named(errors, &path.child(field), spec.text(field), check);
        }
    }
    if spec.has("activeDeadlineSeconds") {
        let seconds = spec.int("activeDeadlineSeconds");
        if !(1..=i64::from(i32::MAX)).contains(&seconds) {
            let at = path.child("activeDeadlineSeconds");
            errors.push(Error::invalid(&at, seconds, "must be between 1 and 2147483647, inclusive"));
        }
    }
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        let path = path.child("hostAliases").index(i);
        ip(errors, &path.child("ip"), alias.text("ip"));
        for (j, name) in alias.texts("hostnames").into_iter().enumerate() {
            named(errors, &path.child("hostnames").index(j), name, names::dns1123_subdomain);
        }
    }
    let preemption = spec.text("preemptionPolicy");
    if !preemption.is_empty() {
        one_of(errors, &path.child("preemptionPolicy"), preemption, &["PreemptLowerPriority", "Never"]);
    }
    security_context::of_pod(errors, &path.child("securityContext"), spec);
    scheduling_gates(errors, &path.child("schedulingGates"), spec);
    operating_system(errors, path, spec);
    if !spec.text("hostnameOverride").is_empty() && spec.yes("setHostnameAsFQDN") {
        let detail = "may not be specified when setHostnameAsFQDN is true";
        errors.push(Error::forbidden(&path.child("hostnameOverride"), detail));
    }
    resource_claims(errors, &path.child("resourceClaims"), spec.list("resourceClaims"));
}

/// What a pod waits for before it is given a node.
fn scheduling_gates(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let mut seen = BTreeSet::new();
    for (i, gate) in spec.list("schedulingGates").iter().enumerate() {
        let (path, name) = (path.index(i), gate.text("name"));
        named(errors, &path, name, names::qualified_name);
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path, name));
        }
    }
}

/// What a pod says of the nodes it is for.
fn operating_system(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let Some(os) = spec.at("os").as_object() else { return };
    let at = path.child("os");
    match os.get("name").and_then(Value::as_str).unwrap_or_default() {
        "" => errors.push(Error::required(&at.child("name"), "")),
        name => one_of(errors, &at, name, &["linux", "windows"]),
    }
    if spec.text("os.name") == "linux" {
        let options = "securityContext.windowsOptions";
        let mut refuse = |path: Path| {
            let at = path.child("securityContext").child("windowsOptions");
            errors.push(Error::forbidden(&at, "windows options cannot be set for a linux pod"));
        };
        if spec.has(options) {
            refuse(path.clone());
        }
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            let found = spec.list(list).iter().enumerate().filter(|(_, container)| container.has(options));
            found.for_each(|(i, _)| refuse(path.child(list).index(i)));
        }
    }
}

/// The devices of a pod: each claim is named once, and is either there or made from a template.
fn resource_claims(errors: &mut ErrorList, path: &Path, claims: &[Value]) {
    const SOURCES: [&str; 2] = ["resourceClaimName", "resourceClaimTemplateName"];
    let mut seen = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let (path, name) = (path.index(i), claim.text("name"));
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        } else if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        } else {
            named(errors, &path.child("name"), name, names::dns1123_label);
        }
        let shown = || internal::compact(claim, "api.core.v1.PodResourceClaim");
        match SOURCES.iter().filter(|source| claim.has(source)).count() {
            0 => {
                let detail = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.push(Error::invalid_as(&path, shown(), detail));
            }
            1 => {}
            _ => {
                let detail = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.push(Error::invalid_as(&path, shown(), detail));
            }
        }
        for source in SOURCES.iter().filter(|source| claim.has(source)) {
            named(errors, &path.child(source), claim.text(source), names::dns1123_subdomain);
        }
    }
}

/// Kernel parameters: well named, each once, none of the host's (`validateSysctls`, `validateHostNetworkSysctls`).
pub(super) fn sysctls(errors: &mut ErrorList, path: &Path, spec: &Value) {
    const FORMAT: &str = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    const LENGTH: usize = 253;
    let word = |word: &str| {
        let ends = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = word.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inner)
    };
    let mut seen = BTreeSet::new();
    for (i, sysctl) in spec.list("securityContext.sysctls").iter().enumerate() {
        let at = path.index(i).child("name");
        let name = sysctl.text("name");
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if name.len() > LENGTH || !name.split(['.', '/']).all(word) {
            let detail = format!("must have at most {LENGTH} characters and match regex {FORMAT}");
            errors.push(Error::invalid(&at, name, detail));
        } else if !seen.insert(name) {
            errors.push(Error::duplicate(&at, name));
        }
        let shared = [
            ("hostNetwork", "net.", "may not be specified when 'hostNetwork' is true"),
            ("hostIPC", "kernel.shm", "may not be specified when 'hostIPC' is true"),
        ];
        for (field, prefix, detail) in shared {
            if spec.yes(field) && name.starts_with(prefix) {
                errors.push(Error::invalid(&at, name, detail));
            }
        }
    }
}

fn dns_config(errors: &mut ErrorList, path: &Path, spec: &Value, policy: &str) {
    /// Limits of resolv.conf as upstream sets them.
    const NAMESERVERS: usize = 3;
    const SEARCHES: usize = 32;
    let path = path.child("dnsConfig");
    let config = spec.at("dnsConfig");
    let servers = config.texts("nameservers");
    if policy == "None" && config.is_null() {
        errors.push(Error::required(&path, "must provide `dnsConfig` when `dnsPolicy` is None"));
    } else if policy == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(Error::required(&path.child("nameservers"), detail));
    }
    if servers.len() > NAMESERVERS {
        errors.push(Error::invalid(
            &path.child("nameservers"),
            config.at("nameservers").clone(),
            format!("must not have more than {NAMESERVERS} nameservers"),
        ));
    }
    for (i, server) in servers.into_iter().enumerate() {
        ip(errors, &path.child("nameservers").index(i), server);
    }
    if config.list("searches").len() > SEARCHES {
        errors.push(Error::invalid(
            &path.child("searches"),
            config.at("searches").clone(),
            format!("must not have more than {SEARCHES} search paths"),
        ));
    }
    for (i, search) in config.texts("searches").into_iter().enumerate() {
        // "." stands for the root.
        let bare = if search == "." { search } else { search.strip_suffix('.').unwrap_or(search) };
        if bare != "." {
            for message in names::dns1123_subdomain_with_underscore(bare) {
                errors.push(Error::invalid(&path.child("searches").index(i), bare, message));
            }
        }
    }
    for (i, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errors.push(Error::required(&path.child("options").index(i), "must not be empty"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::strategy::pod::POD;
    use super::super::texts;
    use super::*;

    fn defaulted(spec: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
        POD.default.unwrap()(&mut pod);
        pod
    }

    fn check(spec: Value, expected: &[&str]) {
        assert_eq!(texts(&pod(&defaulted(spec))), expected);
    }

    #[test]
    fn kernel_parameters_are_well_named() {
        let spec = |names: &[&str]| {
            let list: Vec<Value> = names.iter().map(|name| json!({ "name": name, "value": "1" })).collect();
            json!({ "hostNetwork": true, "securityContext": { "sysctls": list } })
        };
        let check = |names: &[&str]| {
            let mut errors = ErrorList::new();
            sysctls(&mut errors, &Path::new("sysctls"), &spec(names));
            errors.len()
        };
        assert_eq!(check(&["kernel.shmmax", "safe-and-unsafe", "kernel/shm_rmid_forced"]), 0);
        assert_eq!(check(&["foo-", "bar..", "", "A.b", "kernel.x", "kernel.x", "net.a"]), 6);
    }

    #[test]
    fn containers() {
        check(json!({"containers": [{"name": "a", "image": "i"}]}), &[]);
        check(json!({}), &["spec.containers: Required value"]);
        check(
            json!({"containers": [{"name": "a", "image": "i"}, {"name": "a"}]}),
            &["spec.containers[1].image: Required value", "spec.containers[1].name: Duplicate value: \"a\""],
        );
        check(
            json!({"containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 70000}, {"name": "x"}]}]}),
            &[
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "spec.containers[0].ports[1].containerPort: Required value",
            ],
        );
        check(
            json!({"containers": [{"name": "a", "image": "i", "imagePullPolicy": "Sometimes"}], "restartPolicy": "No"}),
            &[
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
                 \"IfNotPresent\", \"Never\"",
                "spec.restartPolicy: Unsupported value: \"No\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        );
    }

    #[test]
    fn mounts_need_volumes() {
        check(
            json!({"containers": [{"name": "a", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
        );
        check(
            json!({"containers": [{"name": "a", "image": "i"}], "volumes": [{"name": "v", "configMap": {}}]}),
            &["spec.volumes[0].configMap.name: Required value"],
        );
    }

    #[test]
    fn recursively_read_only_mounts_are_read_only() {
        let with = |mount: Value| {
            let mut mount = mount;
            mount["name"] = "v".into();
            mount["mountPath"] = "/v".into();
            let container = json!({"name": "a", "image": "i", "volumeMounts": [mount]});
            json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {}}]})
        };
        check(with(json!({"readOnly": true, "recursiveReadOnly": "Enabled"})), &[]);
        check(with(json!({"recursiveReadOnly": "Disabled"})), &[]);
        let path = "spec.containers[0].volumeMounts.recursiveReadOnly";
        let not_read_only = format!("{path}: Forbidden: may only be specified when readOnly is true");
        let propagated =
            format!("{path}: Forbidden: may only be specified when mountPropagation is None or not specified");
        let both = json!({"recursiveReadOnly": "IfPossible", "mountPropagation": "HostToContainer"});
        check(with(both), &[&not_read_only, &propagated]);
        let unknown =
            format!("{path}: Unsupported value: \"Yes\": supported values: \"Disabled\", \"Enabled\", \"IfPossible\"");
        check(with(json!({"recursiveReadOnly": "Yes"})), &[&unknown]);
    }

    #[test]
    fn image_volumes_name_their_image_in_pods() {
        let container = json!([{"name": "a", "image": "i"}]);
        let volumes =
            json!([{"name": "v", "image": {}}, {"name": "w", "image": {"reference": "x", "pullPolicy": "No"}}]);
        let policy = "spec.volumes[1].image.pullPolicy: Unsupported value: \"No\": supported values: \"Always\", \
                      \"IfNotPresent\", \"Never\"";
        let spec = json!({"containers": container, "volumes": volumes});
        check(spec.clone(), &[policy, "spec.volumes[0].image.reference: Required value"]);
        let mut errors = ErrorList::new();
        template(&mut errors, &Path::new("template"), &defaulted(spec));
        assert_eq!(texts(&errors), [format!("template.{policy}")]);
    }

    /// One field of a container each.
    #[test]
    fn fields_of_containers() {
        let rows = [
            (
                json!({"securityContext": {"seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "x"}}}),
                r#"securityContext.seccompProfile.localhostProfile: Invalid value: {"Type":"RuntimeDefault","LocalhostProfile":"x"}: can only be set when seccomp type is Localhost"#,
            ),
            (
                json!({"securityContext": {"appArmorProfile": {"type": "X"}}}),
                r#"securityContext.appArmorProfile.type: Unsupported value: "X": supported values: "Localhost", "RuntimeDefault", "Unconfined""#,
            ),
            (
                json!({"securityContext": {"runAsUser": -1}}),
                "securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
            ),
            (
                json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}}),
                r#"securityContext: Invalid value: {"Capabilities":null,"Privileged":true,"SELinuxOptions":null,"WindowsOptions":null,"RunAsUser":null,"RunAsGroup":null,"RunAsNonRoot":null,"ReadOnlyRootFilesystem":null,"AllowPrivilegeEscalation":false,"ProcMount":null,"SeccompProfile":null,"AppArmorProfile":null}: cannot set `allowPrivilegeEscalation` to false and `privileged` to true"#,
            ),
            (
                json!({"resizePolicy": [{"resourceName": "disk", "restartPolicy": "NotRequired"}]}),
                r#"resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory""#,
            ),
            (
                json!({"resources": {"claims": [{"name": "a"}]}}),
                r#"resources.claims[0]: Not found: "a": must be one of the names in pod.spec.resourceClaims which is empty"#,
            ),
            (
                json!({"resources": {"requests": {"a.b/c": "1"}}}),
                "resources.limits: Required value: Limit must be set for non overcommitable resources",
            ),
            (
                json!({"resources": {"limits": {"cpu": "1", "hugepages-2Mi": "1"}}}),
                r#"resources.limits[hugepages-2Mi]: Invalid value: "1": 1 is not positive integer multiple of hugepages-2Mi"#,
            ),
            (
                json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}),
                r#"env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.x": error converting fieldPath: field label not supported: spec.x"#,
            ),
            (
                json!({"env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}}]}),
                r#"env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": only divisor's values 1m and 1 are supported with the cpu resource"#,
            ),
            (
                json!({"envFrom": [{}]}),
                r#"envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`"#,
            ),
            (
                json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}),
                "lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than \
                 terminationGracePeriodSeconds (30)",
            ),
        ];
        for (fields, expected) in rows {
            let mut container = json!({"name": "a", "image": "i"});
            container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            let found = texts(&pod(&defaulted(json!({"containers": [container]}))));
            let expected = format!("spec.containers[0].{expected}");
            assert!(found.contains(&expected), "{expected}\n{found:?}");
        }
    }

    /// One field of a pod each.
    #[test]
    fn fields_of_pods() {
        let spread = |more: Value| {
            let mut constraint = json!({"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "DoNotSchedule"});
            constraint.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"topologySpreadConstraints": [constraint]})
        };
        let volume = |source: Value| {
            let mut volume = json!({"name": "v"});
            volume.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
            json!({"volumes": [volume]})
        };
        let rows = [
            (json!({"os": {"name": "x"}}), r#"os: Unsupported value: "x": supported values: "linux", "windows""#),
            (
                json!({"os": {"name": "linux"}, "securityContext": {"windowsOptions": {}}}),
                "securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
            ),
            (json!({"schedulingGates": [{"name": "a"}, {"name": "a"}]}), r#"schedulingGates[1]: Duplicate value: "a""#),
            (
                json!({"schedulingGates": [{"name": "a"}], "nodeName": "n"}),
                "nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ),
            (
                json!({"resourceClaims": [{"name": "a"}]}),
                r#"resourceClaims[0]: Invalid value: {"Name":"a","ResourceClaimName":null,"ResourceClaimTemplateName":null}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"#,
            ),
            (
                spread(json!({"minDomains": 0})),
                "topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero",
            ),
            (
                spread(json!({"matchLabelKeys": ["a"]})),
                "topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            ),
            (
                json!({"tolerations": [{"key": "k", "operator": "Exists", "value": "x"}]}),
                r#"tolerations[0].operator: Invalid value: "x": value must be empty when `operator` is 'Exists'"#,
            ),
            (
                volume(json!({"nfs": {"server": "s", "path": "/p"}, "cephfs": {"monitors": ["m"]}})),
                "volumes[0].cephFS: Forbidden: may not specify more than 1 volume type",
            ),
            (
                volume(json!({"projected": {"sources": [{"configMap": {"name": "c"}, "secret": {"name": "s"}}]}})),
                "volumes[0].projected.sources[0]: Forbidden: may not specify more than 1 volume type per source",
            ),
            (
                volume(
                    json!({"downwardAPI": {"items": [{"path": "a", "resourceFieldRef": {"resource": "limits.cpu"}}]}}),
                ),
                "volumes[0].downwardAPI.resourceFieldRef.containerName: Required value",
            ),
            (
                volume(json!({"ephemeral": {"volumeClaimTemplate": {"metadata": {"name": "x"}}}})),
                "volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
            ),
            (
                volume(json!({"iscsi": {"targetPortal": "1.2.3.4", "iqn": "x", "lun": 0}})),
                r#"volumes[0].iscsi.iqn: Invalid value: "x": must be valid format starting with iqn, eui, or naa"#,
            ),
            (
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
                    [{"matchFields": [{"key": "a", "operator": "In", "values": ["b"]}]}]}}}}),
                r#"affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key: Invalid value: "a": not a valid field selector key"#,
            ),
        ];
        for (mut spec, expected) in rows {
            spec["containers"] = json!([{"name": "a", "image": "i"}]);
            let pod = defaulted(spec);
            let mut found = texts(&super::pod(&pod));
            found.extend(texts(&new_pod(&pod)));
            let expected = format!("spec.{expected}");
            assert!(found.contains(&expected), "{expected}\n{found:?}");
        }
    }

    #[test]
    fn resources_and_probes() {
        check(
            json!({"containers": [{"name": "a", "image": "i",
                "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}, "livenessProbe": {}}]}),
            &[
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            ],
        );
    }
}
