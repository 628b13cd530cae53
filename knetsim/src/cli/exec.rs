//! `knetsim exec` and `shell`: a command of the host on a node, or in the network of a pod.
//!
//! The CLI enters the namespaces itself, so the terminal, its signals and its job control are simply the caller's.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Pod;
use kernel::process::Namespaces;
use kube::Api;

use crate::launcher::control::{Answer, Request, ask};
use crate::layout::Layout;
use crate::preflight;

/// The kubelet's annotation with the name of a pod's network namespace on its node.
const NETNS_ANNOTATION: &str = "knetsim.dev/netns";

#[derive(clap::Args)]
pub struct Args {
    /// A node (c0w1), `wan`, `outside`, or a pod: [CONTEXT/]NAMESPACE/POD
    target: String,
    /// The command and its arguments, behind `--`
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(clap::Args)]
pub struct ShellArgs {
    /// A node (c0w1), `wan`, `outside`, or a pod: [CONTEXT/]NAMESPACE/POD
    target: String,
}

/// # Errors
/// When the target is unknown or cannot be entered.
pub fn run(layout: &Layout, args: &Args) -> anyhow::Result<ExitCode> {
    execute(layout, &args.target, &args.command, &[])
}

/// # Errors
/// When the target is unknown or cannot be entered.
pub fn shell(layout: &Layout, args: &ShellArgs) -> anyhow::Result<ExitCode> {
    let shell = preflight::find("bash").map_or("sh".to_owned(), |path| path.to_string_lossy().into_owned());
    let prompt = [("PS1".to_owned(), format!("{}# ", args.target))];
    let command = if shell.ends_with("bash") { vec![shell, "--norc".to_owned(), "-i".to_owned()] } else { vec![shell] };
    execute(layout, &args.target, &command, &prompt)
}

fn execute(layout: &Layout, target: &str, command: &[String], env: &[(String, String)]) -> anyhow::Result<ExitCode> {
    let launcher = super::running(layout)?;
    let proc = PathBuf::from(format!("/proc/{}", launcher.pid));
    let (host, pod_netns) = if target.contains('/') {
        let (node, netns) = runtime::block_on(find_pod(layout, target))?;
        (node, Some(netns))
    } else {
        (target.to_owned(), None)
    };
    let request = Request::Where { host };
    let Answer::Namespaces(found) = runtime::block_on(ask(layout, &request))? else {
        bail!("the launcher gave an answer to another question");
    };
    // As root of the host there is nothing to enter for the sake of rights, but ids should read the same for everyone.
    let mut place = Namespaces::open(&proc.join("ns"), &["user", "pid", "ipc", "uts", "mnt", "net"])
        .context("opening the sandbox's namespaces")?;
    for (kind, fd) in &found {
        let opened: OwnedFd = std::fs::File::open(proc.join("fd").join(fd.to_string()))
            .with_context(|| format!("opening the {kind} namespace of {target}"))?
            .into();
        place = place.with(opened, kind);
    }
    // The launcher's own descendants have this from it; we come from outside.
    let single_id = std::fs::read_to_string(proc.join("setgroups")).is_ok_and(|state| state.trim() == "deny");
    place.enter().with_context(|| format!("entering {target}"))?;
    if single_id {
        kernel::seccomp::setgroups_does_nothing().context("installing a seccomp filter")?;
    }
    nix::unistd::setgid(0.into()).ok();
    nix::unistd::setuid(0.into()).context("becoming the sandbox's root")?;
    if let Some(netns) = pod_netns {
        let file: OwnedFd = std::fs::File::open(Path::new("/run/netns").join(&netns))
            .with_context(|| format!("opening the network of {target}"))?
            .into();
        Namespaces::open(Path::new("/proc/self/ns"), &[])?.with(file, "net").enter()?;
    }
    let status = std::process::Command::new(&command[0])
        .args(&command[1..])
        .env("PATH", preflight::search_path())
        .envs(env.iter().cloned())
        .current_dir("/")
        .status()
        .with_context(|| format!("starting {}", command[0]))?;
    // A command ended by a signal gives 128 + its number, as in a shell.
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// The node of a pod, and the name of its network namespace there.
async fn find_pod(layout: &Layout, target: &str) -> anyhow::Result<(String, String)> {
    let parts: Vec<&str> = target.split('/').collect();
    let (context, namespace, name) = match parts[..] {
        [context, namespace, name] => (Some(context), namespace, name),
        [namespace, name] => (None, namespace, name),
        _ => bail!("{target:?} is neither a node nor [CONTEXT/]NAMESPACE/POD"),
    };
    let client = super::system::client(layout, context).await?;
    let pod = Api::<Pod>::namespaced(client, namespace).get(name).await.with_context(|| format!("finding {target}"))?;
    let spec = pod.spec.unwrap_or_default();
    let node = spec.node_name.with_context(|| format!("{target} is on no node yet"))?;
    if spec.host_network == Some(true) {
        bail!("{target} uses the network of its node: run `knetsim exec {node} -- …`");
    }
    let annotations = pod.metadata.annotations.unwrap_or_default();
    let netns = annotations.get(NETNS_ANNOTATION).with_context(|| format!("{target} has no network yet"))?;
    Ok((node, netns.clone()))
}
