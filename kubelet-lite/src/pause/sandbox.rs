//! Making the pod's namespaces, with the calling process inside them.

use std::path::Path;

use anyhow::Context;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::protocol::SandboxConfig;

/// Moves this process into the pod's namespaces and pins the network one. Returns the PID of the pod's first process
/// when its containers share a PID namespace.
pub fn enter(config: &SandboxConfig) -> anyhow::Result<Option<i32>> {
    nix::unistd::setsid().context("a session of its own")?;
    nix::sys::prctl::set_child_subreaper(true).context("becoming the pod's subreaper")?;
    let _ = nix::sys::prctl::set_name(c"pause");
    let mut flags = CloneFlags::CLONE_NEWUTS;
    if config.netns.is_some() {
        flags |= CloneFlags::CLONE_NEWNET;
    }
    if !config.host_ipc {
        flags |= CloneFlags::CLONE_NEWIPC;
    }
    unshare(flags).context("new namespaces for the pod")?;
    if let Some(netns) = &config.netns {
        kernel::pod::loopback_up().context("bringing lo up")?;
        pin(netns).with_context(|| format!("pinning the network namespace at {}", netns.display()))?;
        nix::unistd::sethostname(&config.hostname).context("setting the host name")?;
    }
    for (name, value) in &config.sysctls {
        let path = format!("/proc/sys/{}", name.replace('.', "/"));
        std::fs::write(&path, value).with_context(|| format!("setting the sysctl {name}"))?;
    }
    if config.shared_pid { Ok(Some(kernel::pod::spawn_pid_one().context("a PID namespace")?)) } else { Ok(None) }
}

/// Bind-mounts this thread's network namespace onto a file, as `ip netns add` does.
fn pin(path: &Path) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::File::create(path)?;
    mount(Some("/proc/self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(())
}
