//! Making what a pod's containers stand on (volumes, sandbox, network, /etc files), and freeing it again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use kube::ResourceExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::container::fields::Known;
use crate::files::write_atomically;
use crate::node::Node;
use crate::oci_runtime::sandbox::{self, Notice, Sandbox};
use crate::pause::protocol::SandboxConfig;
use crate::sources::Sources;
use crate::volumes;
use cni::libcni::{self, Attachment};

/// What is kept on disk of a sandbox, for a kubelet that comes after us.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub id: String,
    pub netns: Option<PathBuf>,
    pub ips: Vec<String>,
    pub start_time: i64,
}

/// A pod's standing ground.
#[derive(Debug)]
pub struct Ground {
    pub sandbox: Sandbox,
    pub record: Record,
    /// Whether an earlier kubelet made it.
    pub adopted: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Volumes(#[from] volumes::Error),
    #[error("Failed to create pod sandbox: {0}")]
    Sandbox(String),
}

impl Error {
    /// The Event's reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Volumes(_) => "FailedMount",
            Self::Sandbox(_) => "FailedCreatePodSandBox",
        }
    }
}

/// The record of a pod's sandbox, if one was ever made.
#[must_use]
pub fn record(dir: &Path) -> Option<Record> {
    serde_json::from_slice(&std::fs::read(dir.join("sandbox.json")).ok()?).ok()
}

/// What the pod knows of itself.
#[must_use]
pub fn known(node: &Node, ips: &[String]) -> Known {
    Known {
        node_name: node.name.clone(),
        host_ip: node.flags.node_ip.to_string(),
        pod_ips: ips.to_vec(),
        node_cpus: node.machine.cpus,
        node_memory_kib: node.machine.memory_kib,
    }
}

/// Finds the sandbox an earlier kubelet left running.
pub async fn adopt(node: &Node, uid: &str, notices: mpsc::UnboundedSender<Notice>) -> Option<Ground> {
    let dir = node.sandbox_dir(uid);
    let record = record(&dir)?;
    let sandbox = Sandbox::connect(&dir, notices).await.ok()?;
    Some(Ground { sandbox, record, adopted: true })
}

/// Makes the volumes, or brings them up to date; `tokens` are those they hold.
///
/// # Errors
/// With the first volume that cannot be made.
pub async fn make_volumes(
    node: &Node,
    pod: &Pod,
    ips: &[String],
    tokens: &volumes::Tokens,
) -> Result<volumes::Prepared, Error> {
    let uid = pod.uid().unwrap_or_default();
    let sources = Sources::watched(&node.objects, &pod.namespace().unwrap_or_default());
    let (known, dir) = (known(node, ips), node.pod_dir(&uid));
    let object = node.object.borrow().clone();
    let context = volumes::Context { pod, known: &known, client: &node.client, node: &object, tokens, dir: &dir };
    Ok(volumes::prepare(&context, sources).await?)
}

/// Makes a new sandbox with its network.
///
/// # Errors
/// With the plugin's or the kernel's own words; nothing is left then.
pub async fn make_sandbox(
    node: &Node,
    pod: &Arc<Pod>,
    start_time: i64,
    notices: mpsc::UnboundedSender<Notice>,
) -> Result<Ground, Error> {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let uid = pod.uid().unwrap_or_default();
    let id = crate::files::new_id();
    let host_network = spec.host_network == Some(true);
    if !host_network {
        node.cni.network().map_err(|error| Error::Sandbox(format!("container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: {error}")))?;
    }
    let netns = (!host_network).then(|| PathBuf::from(format!("/run/netns/cni-{}", uuid_of(&id))));
    let security = spec.security_context.as_ref();
    let sysctls = security.and_then(|security| security.sysctls.clone()).unwrap_or_default();
    let config = SandboxConfig {
        dir: node.sandbox_dir(&uid),
        hostname: hostname(node, pod),
        netns: netns.clone(),
        host_ipc: spec.host_ipc == Some(true),
        shared_pid: spec.share_process_namespace == Some(true) && spec.host_pid != Some(true),
        sysctls: sysctls.into_iter().map(|sysctl| (sysctl.name, sysctl.value)).collect(),
        runtime_root: node.runc.root().to_owned(),
    };
    let failed = |error: sandbox::Error| Error::Sandbox(format!("rpc error: code = Unknown desc = {error}"));
    let begun = std::time::Instant::now();
    let mut sandbox = Sandbox::create(&config, notices).await.map_err(failed)?;
    let paused = begun.elapsed();
    let mut record = Record {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        uid: uid.clone(),
        id,
        netns,
        ips: vec![node.flags.node_ip.to_string()],
        start_time,
    };
    if record.netns.is_some() {
        // Written before the plugins run, so that whatever they make can be unmade after a crash.
        save(&config.dir, &record).map_err(|error| Error::Sandbox(error.to_string()))?;
        match node.cni.add(&attachment(&record, pod)).await {
            Ok(result) => record.ips = libcni::addresses(&result),
            Err(error) => {
                let _ = sandbox.send(&crate::pause::protocol::Request::Quit).await;
                unpin(&record);
                let _ = std::fs::remove_dir_all(&config.dir);
                let text = format!(
                    "rpc error: code = Unknown desc = failed to setup network for sandbox \"{}\": {error}",
                    record.id
                );
                return Err(Error::Sandbox(text));
            }
        }
    }
    tracing::debug!(pod = record.name, ?paused, networked = ?begun.elapsed(), "the sandbox stands");
    save(&config.dir, &record).map_err(|error| Error::Sandbox(error.to_string()))?;
    write_etc(node, pod, spec, &record).map_err(|error| Error::Sandbox(error.to_string()))?;
    Ok(Ground { sandbox, record, adopted: false })
}

fn save(dir: &Path, record: &Record) -> std::io::Result<()> {
    write_atomically(&dir.join("sandbox.json"), &serde_json::to_vec(record).expect("a record is plain data"))
}

/// Frees everything [`make_sandbox`] made; goes on after an error, and reports it.
pub async fn free_sandbox(node: &Node, record: &Record, sandbox: Option<&mut Sandbox>) -> Result<(), libcni::Error> {
    let detached = match record.netns {
        Some(_) => node.cni.delete(&attachment(record, &Pod::default())).await,
        None => Ok(()),
    };
    if let Some(sandbox) = sandbox {
        let _ = sandbox.send(&crate::pause::protocol::Request::Quit).await;
    }
    unpin(record);
    let dir = node.sandbox_dir(&record.uid);
    for bundle in std::fs::read_dir(dir.join("containers")).into_iter().flatten().flatten() {
        free_container(node, &bundle.path(), &bundle.file_name().to_string_lossy()).await;
    }
    if detached.is_ok() {
        let _ = std::fs::remove_dir_all(&dir);
    }
    detached
}

/// Frees one ended container's runtime state, root and bundle.
pub async fn free_container(node: &Node, bundle: &Path, id: &str) {
    if let Err(error) = node.runc.delete(id).await {
        tracing::warn!(%error, id, "runc delete");
    }
    let (bundle, id, writable) = (bundle.to_owned(), id.to_owned(), node.writable.clone());
    let freed = tokio::task::spawn_blocking(move || {
        crate::images::rootfs::unmount_root(&bundle, &id, &writable);
        let _ = std::fs::remove_dir_all(&bundle);
    });
    let _ = freed.await;
}

fn unpin(record: &Record) {
    if let Some(netns) = &record.netns {
        let _ = nix::mount::umount2(netns, nix::mount::MntFlags::MNT_DETACH);
        let _ = std::fs::remove_file(netns);
    }
}

/// An ID in the grouping of a UUID, as runtimes name network namespaces.
fn uuid_of(id: &str) -> String {
    format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..32])
}

fn attachment(record: &Record, pod: &Pod) -> Attachment {
    Attachment {
        container_id: record.id.clone(),
        netns: record.netns.clone().unwrap_or_default(),
        ifname: "eth0".to_owned(),
        namespace: record.namespace.clone(),
        pod: record.name.clone(),
        uid: record.uid.clone(),
        runtime_config: runtime_config(pod),
    }
}

/// `portMappings` from hostPorts and `bandwidth` from upstream's annotations.
fn runtime_config(pod: &Pod) -> Value {
    let mut config = json!({});
    let spec = pod.spec.iter();
    let ports = spec.flat_map(|spec| &spec.containers).flat_map(|container| container.ports.iter().flatten());
    let mappings: Vec<Value> = ports
        .filter_map(|port| {
            let host = port.host_port.filter(|port| *port > 0)?;
            let protocol = port.protocol.as_deref().unwrap_or("TCP").to_ascii_lowercase();
            let mut mapping = json!({ "hostPort": host, "containerPort": port.container_port, "protocol": protocol });
            if let Some(ip) = port.host_ip.as_deref().filter(|ip| !ip.is_empty()) {
                mapping["hostIP"] = json!(ip);
            }
            Some(mapping)
        })
        .collect();
    if !mappings.is_empty() {
        config["portMappings"] = json!(mappings);
    }
    let rate = |name: &str| {
        let text = pod.annotations().get(&format!("kubernetes.io/{name}-bandwidth"))?.clone();
        crate::container::resources::units(&k8s_openapi::apimachinery::pkg::api::resource::Quantity(text))
    };
    // The largest burst the plugin takes, as containerd passes it.
    const BURST: i64 = i32::MAX as i64;
    let mut bandwidth = json!({});
    for (name, rate) in [("ingress", rate("ingress")), ("egress", rate("egress"))] {
        if let Some(rate) = rate {
            bandwidth[format!("{name}Rate")] = json!(rate);
            bandwidth[format!("{name}Burst")] = json!(BURST);
        }
    }
    if bandwidth != json!({}) {
        config["bandwidth"] = bandwidth;
    }
    config
}

/// The pod's host name: its own, or its name cut to what a host name may be; the node's on the node's network.
#[must_use]
pub fn hostname(node: &Node, pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    if spec.and_then(|spec| spec.host_network) == Some(true) {
        return node.name.clone();
    }
    let name =
        spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty()).unwrap_or_else(|| pod.name_any());
    name[..name.len().min(63)].trim_end_matches(['-', '.']).to_owned()
}

/// Where the pod's own /etc files are.
#[must_use]
pub fn etc_dir(node: &Node, uid: &str) -> PathBuf {
    node.pod_dir(uid).join("etc")
}

fn write_etc(node: &Node, pod: &Pod, spec: &PodSpec, record: &Record) -> std::io::Result<()> {
    let dir = etc_dir(node, &record.uid);
    std::fs::create_dir_all(&dir)?;
    let hostname = hostname(node, pod);
    std::fs::write(dir.join("hostname"), format!("{hostname}\n"))?;
    let host_network = spec.host_network == Some(true);
    let mut hosts = if host_network {
        std::fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        let mut text =
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                        fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
                .to_owned();
        let namespace = &record.namespace;
        for ip in &record.ips {
            match spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty()) {
                Some(sub) => {
                    let domain = &node.flags.cluster_domain;
                    text.push_str(&format!("{ip}\t{hostname}.{sub}.{namespace}.svc.{domain}\t{hostname}\n"));
                }
                None => text.push_str(&format!("{ip}\t{hostname}\n")),
            }
        }
        text
    };
    for alias in spec.host_aliases.iter().flatten() {
        hosts.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.clone().unwrap_or_default().join("\t")));
    }
    std::fs::write(dir.join("hosts"), hosts)?;
    let nodes = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    std::fs::write(dir.join("resolv.conf"), resolv_conf(node, spec, &record.namespace, &nodes))
}

/// /etc/resolv.conf by the pod's dnsPolicy; `dnsConfig` is added to whatever that gives.
fn resolv_conf(node: &Node, spec: &PodSpec, namespace: &str, nodes: &str) -> String {
    let of = |key: &str| -> Vec<String> {
        let lines = nodes.lines().filter_map(|line| line.strip_prefix(key)).flat_map(str::split_whitespace);
        lines.map(str::to_owned).collect()
    };
    let host_network = spec.host_network == Some(true);
    let cluster = match spec.dns_policy.as_deref().unwrap_or("ClusterFirst") {
        "ClusterFirst" => !host_network && !node.flags.cluster_dns.is_empty(),
        "ClusterFirstWithHostNet" => !node.flags.cluster_dns.is_empty(),
        _ => false,
    };
    let (mut servers, mut search, mut options) = match spec.dns_policy.as_deref() {
        Some("None") => (vec![], vec![], vec![]),
        _ if cluster => {
            let domain = &node.flags.cluster_domain;
            let mut search = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            search.extend(of("search"));
            (node.flags.cluster_dns.iter().map(ToString::to_string).collect(), search, vec!["ndots:5".to_owned()])
        }
        _ => (of("nameserver"), of("search"), of("options")),
    };
    if let Some(config) = &spec.dns_config {
        servers.extend(config.nameservers.iter().flatten().cloned());
        search.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let name = option.name.clone().unwrap_or_default();
            options.retain(|old| old.split(':').next() != Some(name.as_str()));
            options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name,
            });
        }
    }
    let mut text = String::new();
    let mut seen = std::collections::HashSet::new();
    search.retain(|domain| seen.insert(domain.clone()));
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    // The resolver library reads three; upstream cuts there too.
    for server in servers.iter().take(3) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}
