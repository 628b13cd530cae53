//! Making one container's bundle: everything between the pod's spec and `runc run`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, VolumeMount};
use kube::ResourceExt;

use super::env::{self, Environment};
use super::expand::expand;
use super::fields::Known;
use super::{read_only, resources, user};
use crate::images::credentials::Credentials;
use crate::images::pull::{Had, Refused};
use crate::images::{Image, rootfs};
use crate::node::Node;
use crate::oci_runtime::capabilities;
use crate::oci_runtime::spec::{self, Bind, Limits, Namespaces, Propagation};
use crate::pause::protocol::Start;
use crate::sources::Sources;
use crate::volumes::{Volumes, image};

/// What the pod gives to each of its containers.
#[derive(Clone, Debug)]
pub struct PodSide {
    pub pod: Arc<Pod>,
    pub known: Known,
    pub hostname: String,
    pub volumes: Volumes,
    /// Those that are images.
    pub images: Vec<image::Found>,
    /// For registries.
    pub credentials: Credentials,
    pub pause: i32,
    pub shared_pid: Option<i32>,
    /// The pod's own /etc/hosts and /etc/resolv.conf.
    pub etc: PathBuf,
}

/// A container ready to be started.
#[derive(Debug)]
pub struct Prepared {
    pub start: Start,
    pub image: Had,
    /// A user the machine cannot give.
    pub instead_of: Option<u32>,
}

/// Why it is not, as the container's waiting reason and message.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Image(Refused),
    /// The image of a volume.
    #[error(transparent)]
    Volume(Refused),
    #[error("{0}")]
    Config(String),
    #[error("{0}")]
    Create(String),
}

impl Error {
    /// Upstream's name for it.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Image(refused) | Self::Volume(refused) => refused.reason,
            Self::Config(_) => "CreateContainerConfigError",
            Self::Create(_) => "CreateContainerError",
        }
    }
}

/// Where a container's log is: `<pod's log folder>/<container>/<attempt>.log`.
#[must_use]
pub fn log_path(pod: &Pod, container: &str, attempt: u32) -> PathBuf {
    let folder =
        format!("{}_{}_{}", pod.namespace().unwrap_or_default(), pod.name_any(), pod.uid().unwrap_or_default());
    Path::new("/var/log/pods").join(folder).join(container).join(format!("{attempt}.log"))
}

/// Makes the bundle of `container`'s start number `attempt`. `pulling` is called when its image has to come from a registry.
///
/// # Errors
/// When the image, the configuration or the root cannot be had.
pub async fn prepare(
    node: &Node,
    side: &PodSide,
    container: &Container,
    attempt: u32,
    pulling: impl FnOnce(&str) + Send + 'static,
) -> Result<Prepared, Error> {
    let begun = std::time::Instant::now();
    image::check(container, &side.images).map_err(Error::Volume)?;
    let (name, policy) = (container.image.clone().unwrap_or_default(), container.image_pull_policy.clone());
    let (images, credentials) = (node.images.clone(), side.credentials.clone());
    let pull = move || images.pull(&name, policy.as_deref().unwrap_or_default(), &credentials, || pulling(&name));
    let had = tokio::task::spawn_blocking(pull).await.expect("resolving does not panic").map_err(Error::Image)?;
    let image = &had.image;
    let pod = &*side.pod;
    let tty = container.tty == Some(true);
    let mut sources = Sources::new(node.client.clone(), &pod.namespace().unwrap_or_default());
    let services = node.services.state();
    let input = env::Input {
        pod,
        container,
        known: &side.known,
        image_env: &image.config.env,
        services: &services,
        hostname: &side.hostname,
        tty,
    };
    let (declared, environment) =
        env::environment(&input, &mut sources).await.map_err(|error| Error::Config(error.to_string()))?;
    let pod_security = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let user = user::find(container, pod_security, image, node.machine.mapped_uids)
        .map_err(|error| Error::Config(error.to_string()))?;
    let id = crate::files::new_id();
    let bundle = node.sandbox_dir(&pod.uid().unwrap_or_default()).join("containers").join(&id);
    let mut binds = binds(side, container, &declared, &bundle)?;
    binds.extend(own_files(node, side, container, attempt, image).map_err(|error| Error::Create(error.to_string()))?);
    let root =
        rootfs::mount_root(image, &bundle, &id, &node.writable).map_err(|error| Error::Create(error.to_string()))?;
    let security = container.security_context.as_ref();
    let privileged = security.and_then(|security| security.privileged) == Some(true);
    let caps = security.and_then(|security| security.capabilities.as_ref());
    let list = |names: Option<&Vec<String>>| names.cloned().unwrap_or_default();
    let configuration = spec::spec(&spec::Container {
        args: arguments(container, image, &declared).map_err(Error::Create)?,
        env: environment.lines(),
        cwd: container.working_dir.clone().unwrap_or_else(|| image.config.working_dir.clone()),
        uid: user.uid,
        gid: user.gid,
        groups: user.groups,
        capabilities: capabilities::resolve(
            privileged,
            &list(caps.and_then(|caps| caps.add.as_ref())),
            &list(caps.and_then(|caps| caps.drop.as_ref())),
        ),
        privileged,
        no_new_privileges: security.and_then(|security| security.allow_privilege_escalation) == Some(false),
        read_only_root: security.and_then(|security| security.read_only_root_filesystem) == Some(true),
        tty,
        rootfs: root.path,
        usr: root.usr,
        binds,
        namespaces: Namespaces {
            pause: side.pause,
            shared_pid: side.shared_pid,
            host_pid: pod.spec.as_ref().and_then(|spec| spec.host_pid) == Some(true),
        },
        sysfs: node.sysfs(),
        oom_score_adj: 0,
        limits: limits(node, container, &id),
        annotations: vec![
            ("io.kubernetes.cri.container-name".to_owned(), container.name.clone()),
            ("io.kubernetes.cri.sandbox-uid".to_owned(), pod.uid().unwrap_or_default()),
        ],
    });
    let text = configuration.to_string();
    std::fs::write(bundle.join("config.json"), text).map_err(|error| Error::Create(error.to_string()))?;
    tracing::debug!(pod = pod.name_any(), container = container.name, took = ?begun.elapsed(), "the bundle is made");
    let log = log_path(pod, &container.name, attempt);
    link_log(pod, container, &id, &log);
    Ok(Prepared {
        start: Start {
            name: container.name.clone(),
            attempt,
            id,
            bundle,
            log,
            tty,
            stdin: container.stdin == Some(true),
            stdin_once: container.stdin_once == Some(true),
            image_id: image.id.clone(),
        },
        image: had,
        instead_of: user.instead_of,
    })
}

/// `command` and `args` over the image's entrypoint and command, as Kubernetes' table has it.
fn arguments(container: &Container, image: &Image, declared: &Environment) -> Result<Vec<String>, String> {
    let expanded =
        |list: &Vec<String>| list.iter().map(|text| expand(text, |name| declared.get(name))).collect::<Vec<_>>();
    let command = container.command.as_ref().filter(|list| !list.is_empty()).map(expanded);
    let args = container.args.as_ref().filter(|list| !list.is_empty()).map(expanded);
    let all = match (command, args) {
        (Some(command), args) => [command, args.unwrap_or_default()].concat(),
        (None, Some(args)) => [image.config.entrypoint.clone(), args].concat(),
        (None, None) => [image.config.entrypoint.clone(), image.config.cmd.clone()].concat(),
    };
    if all.is_empty() { Err("no command specified".to_owned()) } else { Ok(all) }
}

fn binds(side: &PodSide, container: &Container, declared: &Environment, bundle: &Path) -> Result<Vec<Bind>, Error> {
    let mut binds = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let sub = sub_path(mount, declared).map_err(Error::Config)?;
        let shown = side.images.iter().find(|one| one.volume == mount.name);
        let shown = shown.and_then(|one| one.image.as_ref().ok());
        let source = match (shown, side.volumes.get(&mount.name), &sub) {
            (Some(had), ..) => image::show(&had.image, &mount.name, sub.as_deref(), bundle).map_err(Error::Create)?,
            (None, Some(volume), Some(sub)) => within(volume, sub, mount, &container.name).map_err(Error::Config)?,
            (None, Some(volume), None) => volume.clone(),
            (None, None, _) => {
                let (volume, container) = (&mount.name, &container.name);
                let why = format!("cannot find volume \"{volume}\" to mount into container \"{container}\"");
                return Err(Error::Config(why));
            }
        };
        binds.push(Bind {
            source,
            target: mount.mount_path.clone(),
            read_only: shown.is_some() || mount.read_only == Some(true) || is_read_only(&side.pod, &mount.name),
            no_exec: shown.is_some(),
            recursive: read_only::is_recursive(mount, read_only::supported())
                .map_err(|why| Error::Config(format!("failed to resolve recursive read-only mode: {why}")))?,
            propagation: match mount.mount_propagation.as_deref() {
                Some("Bidirectional") => Propagation::Bidirectional,
                Some("HostToContainer") => Propagation::HostToContainer,
                _ => Propagation::Private,
            },
        });
    }
    Ok(binds)
}

/// A claim that the pod as a whole only reads.
fn is_read_only(pod: &Pod, volume: &str) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|known| {
        known.name == volume
            && known.persistent_volume_claim.as_ref().is_some_and(|claim| claim.read_only == Some(true))
    })
}

fn sub_path(mount: &VolumeMount, declared: &Environment) -> Result<Option<String>, String> {
    let expression = mount.sub_path_expr.as_deref().filter(|text| !text.is_empty());
    let sub = match expression {
        Some(text) => Some(expand(text, |name| declared.get(name))),
        None => mount.sub_path.clone().filter(|text| !text.is_empty()),
    };
    match &sub {
        Some(sub) if sub.starts_with('/') => Err(format!("error SubPath `{sub}` must not be an absolute path")),
        Some(sub) if sub.split('/').any(|part| part == "..") => {
            Err(format!("unable to provision SubPath `{sub}`: must not contain '..'"))
        }
        _ => Ok(sub),
    }
}

/// A sub-path, made when it is missing, that no link leads out of its volume. Why it is not says nothing of the node's disk.
fn within(volume: &Path, sub: &str, mount: &VolumeMount, container: &str) -> Result<PathBuf, String> {
    let failed =
        |what: &str| format!("failed to {what} for volumeMount \"{}\" of container \"{container}\"", mount.name);
    let path = volume.join(sub);
    if !path.exists()
        && let Err(error) = std::fs::create_dir_all(&path)
    {
        tracing::warn!(path = %path.display(), %error, "a sub-path is not made");
        return Err(failed("create subPath directory"));
    }
    let (real, base) = (path.canonicalize(), volume.canonicalize());
    match (real, base) {
        (Ok(real), Ok(base)) if real.starts_with(&base) => Ok(real),
        _ => Err(failed("prepare subPath")),
    }
}

/// The files every container gets unless it mounts something there itself, and what its image binds.
fn own_files(
    node: &Node,
    side: &PodSide,
    container: &Container,
    attempt: u32,
    image: &Image,
) -> std::io::Result<Vec<Bind>> {
    let taken = |path: &str| container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == path);
    let mut binds = Vec::new();
    for name in ["hosts", "hostname", "resolv.conf"] {
        let (source, target) = (side.etc.join(name), format!("/etc/{name}"));
        if source.exists() && !taken(&target) {
            binds.push(Bind { source, target, ..Bind::default() });
        }
    }
    for (source, target) in &image.binds {
        let target = target.display().to_string();
        binds.push(Bind { source: source.clone(), target, read_only: true, ..Bind::default() });
    }
    let message = termination_file(node, &side.pod, &container.name, attempt);
    if let Some(folder) = message.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&message, "")?;
    // Whoever the container runs as may leave a message.
    std::fs::set_permissions(&message, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let target = container.termination_message_path.clone().unwrap_or_else(|| "/dev/termination-log".to_owned());
    binds.push(Bind { source: message, target, ..Bind::default() });
    Ok(binds)
}

/// What a container wrote to its termination message path is found here.
#[must_use]
pub fn termination_file(node: &Node, pod: &Pod, container: &str, attempt: u32) -> PathBuf {
    node.pod_dir(&pod.uid().unwrap_or_default()).join("containers").join(container).join(attempt.to_string())
}

/// The limits of a container's control group; none where the machine has no groups for us.
#[must_use]
pub fn limits(node: &Node, container: &Container, id: &str) -> Option<Limits> {
    let group = node.machine.cgroup.as_ref()?;
    let requirements = container.resources.as_ref();
    let limits = requirements.and_then(|requirements| requirements.limits.as_ref());
    let requests = requirements.and_then(|requirements| requirements.requests.as_ref());
    let cpu = |map| resources::find(map, "cpu").and_then(resources::milli).and_then(|milli| i64::try_from(milli).ok());
    Some(Limits {
        cgroup: group.of(id),
        swap: group.limits_swap,
        memory: resources::find(limits, "memory").and_then(resources::units),
        cpu: cpu(limits),
        // Who asks for nothing gets the least there is, beside those who ask for something.
        cpu_request: cpu(requests).or_else(|| cpu(limits)).or(Some(0)),
        pids: None,
    })
}

/// The link log collectors look for; a container runs without it as well.
fn link_log(pod: &Pod, container: &Container, id: &str, log: &Path) {
    let name = format!("{}_{}_{}-{id}.log", pod.name_any(), pod.namespace().unwrap_or_default(), container.name);
    let _ = std::fs::create_dir_all("/var/log/containers");
    let _ = std::os::unix::fs::symlink(log, Path::new("/var/log/containers").join(name));
}
