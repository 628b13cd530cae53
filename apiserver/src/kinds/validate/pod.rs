//! Pods and pod templates (`ValidatePodSpec`, `ValidatePodUpdate`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::address::ip;
use super::{
    affinity, container, meta, named, pod_annotations, pod_dns, pod_host, pod_resources, required_one_of,
    security_context, spec, volume, windows,
};

#[must_use]
pub fn pod(pod: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    pod_annotations::check(&mut errors, &pod_annotations::path(), pod);
    pod_spec(&mut errors, &spec(), pod.at("spec"), Some(pod));
    tokens(&mut errors, &spec(), pod.at("spec"));
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
    pod_spec(errors, &path.child("spec"), template.at("spec"), None);
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

/// `pod`: whose spec it is, if it is not a template's.
fn pod_spec(errors: &mut ErrorList, path: &Path, spec: &Value, pod: Option<&Value>) {
    if !spec.has("terminationGracePeriodSeconds") {
        errors.push(Error::required(&path.child("terminationGracePeriodSeconds"), ""));
    }
    let volumes = volume::volumes(errors, &path.child("volumes"), spec, pod);
    let in_mirror = pod.is_some_and(pod_annotations::is_mirror);
    pod_resources::claims(errors, &path.child("resourceClaims"), spec.list("resourceClaims"), in_mirror);
    container::containers(errors, &path.child("containers"), spec, &volumes);
    container::init_containers(errors, &path.child("initContainers"), spec, &volumes);
    container::ephemeral_containers(errors, &path.child("ephemeralContainers"), spec, &volumes);
    pod_resources::of_pod(errors, path, spec);
    pod_host::ports(errors, path, spec, pod.is_some());
    for (field, supported) in POLICIES {
        required_one_of(errors, &path.child(field), spec.text(field), supported);
    }
    meta::labels(errors, &path.child("nodeSelector"), spec.at("nodeSelector"));
    security_context::of_pod(errors, &path.child("securityContext"), spec);
    affinity::affinity(errors, &path.child("affinity"), spec.at("affinity"));
    pod_dns::config(errors, &path.child("dnsConfig"), spec);
    gates(errors, path, spec);
    affinity::spreading(errors, path, spec);
    windows::host_process(errors, path, spec);
    pod_host::users(errors, path, spec);
    pod_host::name(errors, path, spec);
    name_of(errors, path, spec, "serviceAccountName", names::dns1123_subdomain);
    name_of(errors, path, spec, "nodeName", names::dns1123_subdomain);
    deadline(errors, path, spec);
    name_of(errors, path, spec, "hostname", names::dns1123_label);
    name_of(errors, path, spec, "subdomain", names::dns1123_label);
    affinity::tolerations(errors, &path.child("tolerations"), spec.list("tolerations"));
    host_aliases(errors, &path.child("hostAliases"), spec.list("hostAliases"));
    name_of(errors, path, spec, "priorityClassName", names::dns1123_subdomain);
    if let Some(class) = spec.at("runtimeClassName").as_str() {
        named(errors, &path.child("runtimeClassName"), class, names::dns1123_subdomain);
    }
    if spec.has("preemptionPolicy") {
        let policies = ["PreemptLowerPriority", "Never"];
        required_one_of(errors, &path.child("preemptionPolicy"), spec.text("preemptionPolicy"), &policies);
    }
    if spec.has("overhead") {
        pod_resources::overhead(errors, &path.child("overhead"), spec.at("overhead"));
    }
    windows::operating_system(errors, path, spec);
    container::file_volumes(errors, path, spec);
}

const POLICIES: [(&str, &[&str]); 2] = [
    ("restartPolicy", &["Always", "OnFailure", "Never"]),
    ("dnsPolicy", &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]),
];

/// A name that is as good as not given where it is "".
fn name_of(errors: &mut ErrorList, path: &Path, spec: &Value, field: &str, check: super::Check) {
    let name = spec.text(field);
    if !name.is_empty() {
        named(errors, &path.child(field), name, check);
    }
}

fn deadline(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let seconds = spec.int("activeDeadlineSeconds");
    if spec.has("activeDeadlineSeconds") && !(1..=i64::from(i32::MAX)).contains(&seconds) {
        let at = path.child("activeDeadlineSeconds");
        errors.push(Error::invalid(&at, seconds, "must be between 1 and 2147483647, inclusive"));
    }
}

/// What a pod waits for: before it is ready, and before it is given a node, the latter once each.
fn gates(errors: &mut ErrorList, path: &Path, spec: &Value) {
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        let at = path.child("readinessGates").index(i).child("conditionType");
        named(errors, &at, gate.text("conditionType"), names::qualified_name);
    }
    let mut seen = BTreeSet::new();
    for (i, gate) in spec.list("schedulingGates").iter().enumerate() {
        let (path, name) = (path.child("schedulingGates").index(i), gate.text("name"));
        named(errors, &path, name, names::qualified_name);
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path, name));
        }
    }
}

fn host_aliases(errors: &mut ErrorList, path: &Path, aliases: &[Value]) {
    for (i, alias) in aliases.iter().enumerate() {
        let path = path.index(i);
        ip(errors, &path.child("ip"), alias.text("ip"));
        for (j, name) in alias.texts("hostnames").into_iter().enumerate() {
            named(errors, &path.child("hostnames").index(j), name, names::dns1123_subdomain);
        }
    }
}

/// A token is somebody's.
fn tokens(errors: &mut ErrorList, path: &Path, spec: &Value) {
    if !spec.text("serviceAccountName").is_empty() {
        return;
    }
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        for (j, source) in volume.list("projected.sources").iter().enumerate() {
            if source.has("serviceAccountToken") {
                let at = path.child("volumes").index(i).child("projected").child("sources").index(j);
                let detail = "must not be specified when serviceAccountName is not set";
                errors.push(Error::forbidden(&at.child("serviceAccountToken"), detail));
            }
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

    /// One mistake in each part, told in the order of the parts.
    #[test]
    fn in_order() {
        let spec = json!({
            "volumes": [{"name": "v", "hostPath": {}}],
            "resourceClaims": [{"resourceClaimName": "a"}],
            "containers": [{"name": "a", "image": "i", "restartPolicy": "",
                "env": [{"name": "E", "valueFrom": {"fileKeyRef": {"key": "k", "volumeName": "v", "path": "p"}}}]}],
            "initContainers": [
                {"name": "a", "image": "i", "restartPolicy": "", "lifecycle": {}, "ports": [{"containerPort": 1,
                    "hostPort": 1}, {"containerPort": 1, "hostPort": 1}]},
                {"name": "c", "image": "i", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]},
            ],
            "resources": {"claims": []},
            "restartPolicy": "x",
            "dnsPolicy": "x",
            "nodeSelector": {"!": ""},
            "securityContext": {"fsGroup": -1, "windowsOptions": {"runAsUserName": ""}, "appArmorProfile": {},
                "supplementalGroupsPolicy": ""},
            "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}},
            "dnsConfig": {"nameservers": ["x"]},
            "readinessGates": [{"conditionType": "!"}],
            "schedulingGates": [{"name": "!"}],
            "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "k", "whenUnsatisfiable": "x"}],
            "hostUsers": false, "hostPID": true,
            "hostnameOverride": "!",
            "serviceAccountName": "!",
            "nodeName": "!",
            "activeDeadlineSeconds": 0,
            "hostname": "!",
            "subdomain": "!",
            "tolerations": [{"operator": "Exists", "effect": "x"}],
            "hostAliases": [{"ip": "x"}],
            "priorityClassName": "!",
            "runtimeClassName": "",
            "preemptionPolicy": "",
            "overhead": {"cpu": "-1"},
            "os": {"name": "x"},
        });
        let fields: Vec<String> = pod(&defaulted(spec)).iter().map(|error| error.field.to_string()).collect();
        let affinity = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
        let expected = [
            "volumes[0].hostPath.path",
            "resourceClaims[0].name",
            "containers[0].restartPolicy",
            "initContainers[0].restartPolicy",
            "initContainers[0].name",
            "initContainers[0].ports[1].hostPort",
            "initContainers[0].lifecycle",
            "initContainers[1].resizePolicy[0].restartPolicy",
            "resources.claims",
            "restartPolicy",
            "dnsPolicy",
            "nodeSelector",
            "securityContext.fsGroup",
            "securityContext.windowsOptions.runAsUserName",
            "securityContext.appArmorProfile.type",
            "securityContext.supplementalGroupsPolicy",
            affinity,
            "dnsConfig.nameservers[0]",
            "readinessGates[0].conditionType",
            "schedulingGates[0]",
            "topologySpreadConstraints[0].whenUnsatisfiable",
            "HostPID",
            "hostnameOverride",
            "serviceAccountName",
            "nodeName",
            "activeDeadlineSeconds",
            "hostname",
            "subdomain",
            "tolerations[0].effect",
            "hostAliases[0].ip",
            "priorityClassName",
            "runtimeClassName",
            "preemptionPolicy",
            "overhead.limits[cpu]",
            "os",
            "containers[0].env[0].valueFrom.fileKeyRef.volumeName",
        ];
        assert_eq!(fields, expected.map(|field| format!("spec.{field}")));
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
        check(spec.clone(), &["spec.volumes[0].image.reference: Required value", policy]);
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
