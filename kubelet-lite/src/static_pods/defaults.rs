//! The defaults that a pod has from the API server and a file's pod from its node: as far as the node reads them
//! (upstream `pkg/apis/core/v1/defaults.go`).

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, HTTPGetAction, Pod, Probe, ResourceRequirements, Volume,
};

/// Mode 0644 of projected files.
const FILE_MODE: i32 = 0o644;

fn or(field: &mut Option<String>, value: &str) {
    field.get_or_insert_with(|| value.to_owned());
}

/// Fills what is not said.
pub fn fill(pod: &mut Pod) {
    let Some(spec) = &mut pod.spec else { return };
    or(&mut spec.dns_policy, "ClusterFirst");
    or(&mut spec.restart_policy, "Always");
    or(&mut spec.scheduler_name, "default-scheduler");
    spec.enable_service_links.get_or_insert(true);
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.security_context.get_or_insert_default();
    let host_network = spec.host_network == Some(true);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        fill_container(container, host_network);
    }
    spec.volumes.iter_mut().flatten().for_each(fill_volume);
}

fn fill_container(container: &mut Container, host_network: bool) {
    or(&mut container.termination_message_path, "/dev/termination-log");
    or(&mut container.termination_message_policy, "File");
    if let Some(image) = &container.image {
        let name = image.rsplit('/').next().unwrap_or_default();
        let latest = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
        or(&mut container.image_pull_policy, if latest { "Always" } else { "IfNotPresent" });
    }
    for port in container.ports.iter_mut().flatten() {
        or(&mut port.protocol, "TCP");
        if host_network {
            port.host_port.get_or_insert(port.container_port);
        }
    }
    let probes = [&mut container.liveness_probe, &mut container.readiness_probe, &mut container.startup_probe];
    probes.into_iter().flatten().for_each(fill_probe);
    let hooks =
        container.lifecycle.iter_mut().flat_map(|lifecycle| [&mut lifecycle.post_start, &mut lifecycle.pre_stop]);
    hooks.flatten().filter_map(|hook| hook.http_get.as_mut()).for_each(fill_http);
    let resources: &mut ResourceRequirements = container.resources.get_or_insert_default();
    for (name, limit) in resources.limits.iter().flatten() {
        resources.requests.get_or_insert_default().entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

fn fill_probe(probe: &mut Probe) {
    let fields = [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ];
    for (field, value) in fields {
        if field.unwrap_or(0) == 0 {
            *field = Some(value);
        }
    }
    if let Some(get) = &mut probe.http_get {
        fill_http(get);
    }
}

fn fill_http(get: &mut HTTPGetAction) {
    or(&mut get.path, "/");
    or(&mut get.scheme, "HTTP");
}

fn fill_volume(volume: &mut Volume) {
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.projected {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    // A volume without any source is an empty folder.
    if *volume == (Volume { name: volume.name.clone(), ..Volume::default() }) {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
}
