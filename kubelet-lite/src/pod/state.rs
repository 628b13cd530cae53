//! What is known of a pod's containers. Times are milliseconds since the epoch, given by the caller.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec, ResourceRequirements};

use crate::pause::protocol::{Container as Reported, Phase};

/// One ended run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    pub id: String,
    pub code: i32,
    pub signal: Option<i32>,
    pub started_at: i64,
    pub finished_at: i64,
    pub reason: String,
    pub message: Option<String>,
}

/// Where a container is between two starts.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Run {
    /// Never started, or waiting to be started again.
    #[default]
    Idle,
    /// Its bundle is being made.
    Preparing,
    /// The runtime is at it.
    Starting {
        id: String,
    },
    Running {
        id: String,
        started_at: i64,
    },
    Ended(Ended),
}

/// Why a container waits, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub reason: String,
    pub message: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tracked {
    /// The number of the current start, or of the next while idle and never started.
    pub attempt: u32,
    pub run: Run,
    /// The run before the current one.
    pub last: Option<Ended>,
    pub waiting: Option<Waiting>,
    /// Not to be started before.
    pub retry_at: Option<i64>,
    /// Runs that ended since the last long one: the back-off's exponent.
    pub crashes: u32,
    /// Preparations that failed in a row.
    pub refusals: u32,
    /// The startup probe has passed, or there is none.
    pub started: bool,
    /// The readiness probe's last word.
    pub ready: bool,
    /// The kubelet is ending it.
    pub stopping: bool,
    pub image: String,
    pub image_id: String,
    /// The resources that the running container has, while they are not those of its pod.
    pub resized: Option<ResourceRequirements>,
    /// They are being changed.
    pub resizing: bool,
    /// It is being ended only to be started with other resources.
    pub replaced: bool,
}

impl Tracked {
    /// The run that is over, when it is.
    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match &self.run {
            Run::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.run, Run::Running { .. })
    }

    /// Whether a process of it may exist.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.run, Run::Running { .. } | Run::Starting { .. } | Run::Preparing)
    }

    /// The container's ID, of the current or the last run.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        match &self.run {
            Run::Starting { id } | Run::Running { id, .. } => Some(id),
            Run::Ended(ended) => Some(&ended.id),
            Run::Idle | Run::Preparing => self.last.as_ref().map(|ended| ended.id.as_str()),
        }
    }
}

/// What a condition about a resize says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResizeCondition {
    pub reason: String,
    pub message: String,
    /// The generation of the object that asked for it.
    pub generation: Option<i64>,
    /// Since when it has this reason.
    pub since: i64,
}

/// A pod's state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Volumes, sandbox and network stand.
    pub sandbox_ready: bool,
    pub pod_ips: Vec<String>,
    /// When this kubelet, or one before it, first saw the pod.
    pub start_time: i64,
    pub containers: BTreeMap<String, Tracked>,
    /// The pod is to end: deleted, or finished.
    pub terminating: bool,
    /// Nothing of it is left on the node.
    pub torn_down: bool,
    /// Ended from outside: phase reason and message, such as DeadlineExceeded.
    pub failed: Option<(String, String)>,
    /// A resize that the node has no room for.
    pub resize_pending: Option<ResizeCondition>,
    /// A resize that was granted and is not true of all containers yet.
    pub resize_progress: Option<ResizeCondition>,
}

impl State {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tracked> {
        self.containers.get(name)
    }

    pub fn entry(&mut self, name: &str) -> &mut Tracked {
        self.containers.entry(name.to_owned()).or_default()
    }

    /// Takes in what pause says. Returns whether the container has just ended, or failed to start.
    pub fn report(&mut self, reported: &Reported) -> bool {
        let tracked = self.entry(&reported.name);
        tracked.attempt = reported.attempt;
        tracked.image_id.clone_from(&reported.image_id);
        match &reported.phase {
            Phase::Starting => {
                tracked.run = Run::Starting { id: reported.id.clone() };
                false
            }
            Phase::Running { started_at, .. } => {
                tracked.run = Run::Running { id: reported.id.clone(), started_at: *started_at };
                tracked.waiting = None;
                false
            }
            Phase::Failed { message, at } => {
                // Upstream's code for a container whose program could not be started.
                let code = 128;
                tracked.run = Run::Ended(Ended {
                    id: reported.id.clone(),
                    code,
                    started_at: *at,
                    finished_at: *at,
                    reason: "StartError".into(),
                    message: Some(message.clone()),
                    signal: None,
                });
                true
            }
            Phase::Exited { code, signal, started_at, finished_at } => {
                let reason = if *code == 0 { "Completed" } else { "Error" };
                tracked.run = Run::Ended(Ended {
                    id: reported.id.clone(),
                    code: *code,
                    signal: *signal,
                    started_at: *started_at,
                    finished_at: *finished_at,
                    reason: reason.into(),
                    message: None,
                });
                true
            }
        }
    }
}

/// A sidecar: an init container that is restarted for as long as the pod lives (KEP-753).
#[must_use]
pub fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// All containers, init containers first.
pub fn all(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// A container by name, of whichever kind.
#[must_use]
pub fn named(spec: &PodSpec, name: &str) -> Option<Container> {
    all(spec).find(|container| container.name == name).cloned().or_else(|| {
        let ephemeral = spec.ephemeral_containers.iter().flatten().find(|container| container.name == name);
        ephemeral.map(as_container)
    })
}

/// An ephemeral container as any other: it has all of a container's fields, and one more (KEP-277).
#[must_use]
pub fn as_container(ephemeral: &EphemeralContainer) -> Container {
    let same = serde_json::to_value(ephemeral).and_then(serde_json::from_value);
    same.expect("an ephemeral container's fields are a container's")
}

/// Whether it was added to a pod that ran already.
#[must_use]
pub fn is_ephemeral(spec: &PodSpec, name: &str) -> bool {
    spec.ephemeral_containers.iter().flatten().any(|container| container.name == name)
}
