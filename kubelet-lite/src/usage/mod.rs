//! What containers and their node use: from a container's control group where it has one, else from its processes in /proc,
//! so that there is always an answer.

mod groups;
mod processes;

use std::collections::HashSet;
use std::path::Path;

use crate::node::Node;
use crate::pod::registry::View;
use crate::pod::state::Run;
pub use processes::Processes;

/// Since a container's start, and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_nanos: u64,
    /// The working set: what the kernel could not take back at once.
    pub memory: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.cpu_nanos = self.cpu_nanos.saturating_add(other.cpu_nanos);
        self.memory = self.memory.saturating_add(other.memory);
    }
}

/// One running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfContainer {
    pub name: String,
    /// Milliseconds since the epoch.
    pub started_at: i64,
    pub usage: Usage,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfPod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub containers: Vec<OfContainer>,
}

impl OfPod {
    /// All its containers together.
    #[must_use]
    pub fn total(&self) -> Usage {
        let mut total = Usage::default();
        self.containers.iter().for_each(|container| total += container.usage);
        total
    }
}

/// What the node says of itself at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Milliseconds since the epoch.
    pub at: i64,
    /// The node's own processes and all its containers.
    pub node: Usage,
    pub pods: Vec<OfPod>,
}

/// Measures now; `views` are the node's pods.
#[must_use]
pub fn measure(node: &Node, views: &[View], at: i64) -> Report {
    let processes = Processes::read(Path::new("/proc"));
    let mut report = Report { at, node: processes.sharing_mounts(Path::new("/proc")), pods: Vec::new() };
    let mut counted = HashSet::new();
    for view in views {
        let metadata = &view.pod.metadata;
        let mut pod = OfPod {
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            containers: Vec::new(),
        };
        for (name, tracked) in &view.containers {
            let Run::Running { id, started_at } = &tracked.run else { continue };
            let Some(pid) = view.pids.get(name) else { continue };
            let by_process = processes.tree(*pid, &mut counted);
            let by_group =
                node.machine.cgroup.as_ref().map(|group| groups::read(&group.folder(id))).unwrap_or_default();
            let usage = Usage {
                cpu_nanos: by_group.cpu_nanos.unwrap_or(by_process.cpu_nanos),
                memory: by_group.memory.unwrap_or(by_process.memory),
            };
            report.node += usage;
            pod.containers.push(OfContainer { name: name.clone(), started_at: *started_at, usage });
        }
        report.pods.push(pod);
    }
    report.pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    report
}
