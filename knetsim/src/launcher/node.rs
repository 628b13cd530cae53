//! A node: network, mount and UTS namespaces of its own, held open by the launcher whatever runs on it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use kernel::netns::Netns;
use kernel::process::Namespaces;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::filesystem::{NODE_FOLDERS, bind, tmpfs};
use super::network::Network;
use super::parallel;
use crate::layout::Layout;
use crate::topology::{ClusterPlan, NodePlan};

/// Folders that begin empty at each start of the emulator, as a machine's would after a reboot: what they speak of is gone.
const VOLATILE: [&str; 2] = ["/etc/cni/net.d", "/var/lib/cni"];

/// A node, ready for processes.
pub struct Node {
    pub plan: NodePlan,
    /// Network, mount and UTS.
    pub namespaces: Arc<Namespaces>,
}

/// Makes all nodes of a cluster.
///
/// # Errors
/// The first thing that failed, with the node's name.
pub fn make_all(layout: &Layout, cluster: &ClusterPlan, network: &Network) -> anyhow::Result<Vec<Node>> {
    let make = |plan: &NodePlan| -> anyhow::Result<Node> {
        let ns = network.hosts.get(&plan.name).context("the network has no such node")?;
        let namespaces = make(layout, cluster, plan, ns).with_context(|| format!("making node {}", plan.name))?;
        Ok(Node { plan: plan.clone(), namespaces: Arc::new(namespaces) })
    };
    parallel::for_each(&cluster.nodes, make)
}

fn make(layout: &Layout, cluster: &ClusterPlan, plan: &NodePlan, net: &Netns) -> anyhow::Result<Namespaces> {
    // Mount and UTS namespaces belong to a thread as network namespaces do: it makes them, we keep the descriptors.
    let (mnt, uts) = std::thread::scope(|scope| {
        scope
            .spawn(|| -> anyhow::Result<(OwnedFd, OwnedFd)> {
                unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS)?;
                setns(net.as_fd(), CloneFlags::CLONE_NEWNET)?;
                nix::unistd::sethostname(&plan.name)?;
                mount_view(layout, cluster, plan)?;
                let open = |kind: &str| -> io::Result<OwnedFd> {
                    Ok(File::open(format!("/proc/thread-self/ns/{kind}"))?.into())
                };
                Ok((open("mnt")?, open("uts")?))
            })
            .join()
            .unwrap_or_else(|_| anyhow::bail!("the thread that makes the node panicked"))
    })?;
    let net = net.as_fd().try_clone_to_owned()?;
    // The network first: entering the mount namespace changes nothing for it, and so it can't depend on what is mounted.
    Ok(Namespaces::open(Path::new("/proc/self/ns"), &[])?.with(net, "net").with(uts, "uts").with(mnt, "mnt"))
}

/// The node's own folders and files, in the calling thread's mount namespace.
fn mount_view(layout: &Layout, cluster: &ClusterPlan, plan: &NodePlan) -> anyhow::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making / private")?;
    let backing = layout.node(&cluster.name, &plan.name);
    for folder in NODE_FOLDERS {
        let own = backing.join(folder.trim_start_matches('/').replace('/', "-"));
        if VOLATILE.contains(&folder) {
            tmpfs(Path::new(folder), "mode=0755")?;
            continue;
        }
        fs::create_dir_all(&own)?;
        bind(&own, Path::new(folder))?;
    }
    for folder in ["pods", "containers"] {
        fs::create_dir_all(Path::new("/var/log").join(folder))?;
    }
    write_credentials(layout, cluster, plan)?;
    let etc = backing.join("etc");
    fs::create_dir_all(&etc)?;
    let hosts: String = cluster.nodes.iter().map(|n| format!("{} {}\n", n.address, n.name)).collect();
    let files = [
        ("hosts", format!("127.0.0.1 localhost\n{hosts}")),
        ("hostname", format!("{}\n", plan.name)),
        // A node is no pod: it has no name server unless its user gives it one, and must not wait for one.
        ("resolv.conf", "# A node has no name server; cluster DNS is for pods.\n".to_owned()),
    ];
    for (name, text) in files {
        fs::write(etc.join(name), text)?;
        bind(&etc.join(name), &Path::new("/etc").join(name))?;
    }
    identify(&etc.join("machine-id"), &layout.boot_id_file(&cluster.name, &plan.name))?;
    // Its own sysfs shows the node's links; where the kernel refuses, the sandbox's stays.
    if mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).is_ok() {
        mount_cgroups()?;
    }
    // Last, for what lies below the old /run is needed until here.
    tmpfs(Path::new("/run"), "mode=0755")?;
    for folder in ["netns", "flannel", "knetsim", "lock"] {
        fs::create_dir_all(Path::new("/run").join(folder))?;
    }
    mount(Some("/run/netns"), "/run/netns", none, MsFlags::MS_BIND, none)?;
    mount(none, "/run/netns", none, MsFlags::MS_SHARED, none)?;
    Ok(())
}

/// A machine ID that stays, and a boot ID of this start: without them all nodes were one machine that never restarts.
fn identify(machine_id: &Path, boot_id: &Path) -> anyhow::Result<()> {
    let uuid = || fs::read_to_string("/proc/sys/kernel/random/uuid");
    if !machine_id.exists() {
        // machine-id(5): as a UUID, without its dashes.
        fs::write(machine_id, uuid()?.replace('-', ""))?;
    }
    bind(machine_id, Path::new("/etc/machine-id"))?;
    fs::write(boot_id, uuid()?)?;
    bind(boot_id, Path::new("/proc/sys/kernel/random/boot_id"))
}

/// The control groups of the machine, seen in the new /sys as in the old one.
fn mount_cgroups() -> anyhow::Result<()> {
    bind(Path::new("/run/knetsim/cgroup"), Path::new("/sys/fs/cgroup"))
}

/// /etc/kubernetes as kubeadm leaves it on a node.
fn write_credentials(layout: &Layout, cluster: &ClusterPlan, plan: &NodePlan) -> anyhow::Result<()> {
    let own = Path::new("/etc/kubernetes");
    let made = layout.cluster(&cluster.name).join("pki");
    fs::create_dir_all(own.join("pki"))?;
    fs::create_dir_all(own.join("manifests"))?;
    let copies = [
        ("ca.crt".to_owned(), "ca.crt"),
        (format!("kubelet-{}.crt", plan.name), "kubelet.crt"),
        (format!("kubelet-{}.key", plan.name), "kubelet.key"),
    ];
    for (from, to) in copies {
        fs::copy(made.join(&from), own.join("pki").join(to)).with_context(|| format!("copying {from}"))?;
    }
    let config = layout.cluster(&cluster.name).join("kubeconfigs").join(format!("{}.conf", plan.name));
    fs::copy(&config, own.join("kubelet.conf")).with_context(|| format!("copying {}", config.display()))?;
    Ok(())
}
