//! The node as the cluster sees it ([`status`], [`lease`]), and what all pods on it share ([`Node`]).

pub mod events;
pub mod lease;
pub mod machine;
pub mod network;
pub mod registration;
pub mod status;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node as NodeObject, Service};
use kube::Client;
use kube::runtime::reflector::Store;
use tokio::sync::watch;

use crate::flags::Flags;
use crate::images::Images;
use crate::images::rootfs::Writable;
use crate::objects::Watched;
use crate::oci_runtime::exec::Runc;
use crate::oci_runtime::spec::Sysfs;
use crate::static_pods::mirror::Mirrors;
use cni::libcni::Cni;

/// Everything pods need of their node.
pub struct Node {
    pub name: String,
    /// The Node object as it was seen last.
    pub object: watch::Sender<Arc<NodeObject>>,
    pub flags: Flags,
    pub client: Client,
    pub events: events::Events,
    pub images: Images,
    pub writable: Writable,
    pub cni: Cni,
    pub runc: Runc,
    pub services: Store<Service>,
    /// What the node's pods mount.
    pub objects: Watched,
    /// The static pods' mirrors.
    pub mirrors: Mirrors,
    /// Why the network is not ready; `None` when it is.
    pub network: watch::Receiver<Option<String>>,
    pub machine: machine::Machine,
    pub backoff: Backoff,
}

/// Restart and pull delays; upstream's are the default.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(10), longest: Duration::from_secs(300) }
    }
}

impl Backoff {
    /// The delay before try number `failures` + 1.
    #[must_use]
    pub fn after(&self, failures: u32) -> Duration {
        match failures {
            0 => Duration::ZERO,
            count => self.first.saturating_mul(1 << (count - 1).min(16)).min(self.longest),
        }
    }
}

/// The runtime folder: it does not outlive the sandbox, as the processes it speaks of do not.
pub const RUN: &str = "/run/knetsim";

impl Node {
    /// Sockets and bundles of one pod.
    #[must_use]
    pub fn sandbox_dir(&self, uid: &str) -> PathBuf {
        PathBuf::from(RUN).join("pods").join(uid)
    }

    /// Volumes and files of one pod, at upstream's path.
    #[must_use]
    pub fn pod_dir(&self, uid: &str) -> PathBuf {
        self.flags.root_dir.join("pods").join(uid)
    }

    #[must_use]
    pub fn sysfs(&self) -> Sysfs {
        self.machine.sysfs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let backoff = Backoff::default();
        let seconds: Vec<u64> = (0..9).map(|count| backoff.after(count).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }
}
