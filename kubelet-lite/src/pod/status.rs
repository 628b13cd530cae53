//! A pod's status as upstream's kubelet computes it: a pure function of spec, state and what was there before.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::plan::comes_back;
use super::state::{Ended, ResizeCondition, Run, State, Tracked, as_container, is_sidecar};
use crate::container::read_only;
use crate::container::resources::qos_class;

/// Conditions that are the kubelet's to write; all others are left as they are.
pub const OWN: &[&str] = &[
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    RESIZE_PENDING,
    RESIZE_PROGRESS,
];
const RESIZE_PENDING: &str = "PodResizePending";
const RESIZE_PROGRESS: &str = "PodResizeInProgress";

/// Computes the status to write; `last` is what this computed before, which the API may not show yet.
#[must_use]
pub fn status(pod: &Pod, state: &State, last: Option<&PodStatus>, host_ip: &str, now: i64) -> PodStatus {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let before = pod.status.clone().unwrap_or_default();
    let own = last.unwrap_or(&before).conditions.clone().unwrap_or_default();
    let init: Vec<ContainerStatus> =
        spec.init_containers.iter().flatten().map(|container| container_status(spec, container, state, true)).collect();
    let main: Vec<ContainerStatus> =
        spec.containers.iter().map(|container| container_status(spec, container, state, false)).collect();
    let ephemeral: Vec<ContainerStatus> = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .map(|container| container_status(spec, &as_container(container), state, false))
        // Never ready and never "started": nothing waits for them.
        .map(|status| ContainerStatus { ready: false, started: None, ..status })
        .collect();
    let phase = phase(spec, state, &init, &main, before.phase.as_deref());
    let generation = pod.metadata.generation;
    let mut conditions = conditions(spec, state, phase, &init, &main, &before, &own, now);
    for condition in &mut conditions {
        condition.observed_generation = generation;
    }
    let resizes = [(RESIZE_PENDING, &state.resize_pending), (RESIZE_PROGRESS, &state.resize_progress)];
    conditions.extend(resizes.into_iter().filter_map(|(type_, told)| Some(resize(type_, told.as_ref()?))));
    for old in before.conditions.into_iter().flatten().filter(|old| !OWN.contains(&old.type_.as_str())) {
        conditions.push(old);
    }
    let ips: Vec<PodIP> = state.pod_ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect();
    let (reason, message) = state.failed.clone().unzip();
    PodStatus {
        phase: Some(phase.to_owned()),
        reason,
        message,
        conditions: Some(conditions),
        container_statuses: Some(main),
        init_container_statuses: (!init.is_empty()).then_some(init),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        host_ip: Some(host_ip.to_owned()),
        host_ips: Some(vec![HostIP { ip: host_ip.to_owned() }]),
        pod_ip: state.pod_ips.first().cloned(),
        pod_ips: (!ips.is_empty()).then_some(ips),
        qos_class: Some(before.qos_class.unwrap_or_else(|| qos_class(spec).to_owned())),
        start_time: Some(time(state.start_time)),
        observed_generation: generation,
        ..PodStatus::default()
    }
}

fn resize(type_: &str, told: &ResizeCondition) -> PodCondition {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    PodCondition {
        type_: type_.to_owned(),
        status: "True".to_owned(),
        reason: text(&told.reason),
        message: text(&told.message),
        last_probe_time: Some(time(told.since)),
        last_transition_time: Some(time(told.since)),
        observed_generation: told.generation,
    }
}

fn time(milliseconds: i64) -> Time {
    Time(Timestamp::from_millisecond(milliseconds - milliseconds.rem_euclid(1000)).unwrap_or_default())
}

fn container_status(spec: &PodSpec, container: &Container, state: &State, init: bool) -> ContainerStatus {
    let none = Tracked::default();
    let tracked = state.get(&container.name).unwrap_or(&none);
    let running = |started_at: i64| ContainerState {
        running: Some(ContainerStateRunning { started_at: Some(time(started_at)) }),
        ..Default::default()
    };
    let waits = |reason: &str, message: Option<String>| ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..Default::default()
    };
    // Upstream's default, for all containers of a pod alike.
    let has_init = spec.init_containers.iter().flatten().next().is_some();
    let default_wait = if has_init { "PodInitializing" } else { "ContainerCreating" };
    let now = match (&tracked.run, &tracked.waiting) {
        (Run::Running { started_at, .. }, _) => running(*started_at),
        (Run::Ended(ended), None) => terminated(ended),
        (_, Some(waiting)) => waits(&waiting.reason, waiting.message.clone()),
        (_, None) => waits(default_wait, None),
    };
    // While a container waits to be started again, the run that just ended is its last state.
    let last = match (&tracked.run, &tracked.waiting) {
        (Run::Ended(ended), Some(_)) => Some(ended),
        _ => tracked.last.as_ref(),
    };
    let done = init && !is_sidecar(container) && tracked.ended().is_some_and(|ended| ended.code == 0);
    let is_running = tracked.is_running();
    ContainerStatus {
        name: container.name.clone(),
        image: if tracked.image.is_empty() {
            container.image.clone().unwrap_or_default()
        } else {
            tracked.image.clone()
        },
        image_id: tracked.image_id.clone(),
        container_id: container_id(tracked).map(|id| format!("runc://{id}")),
        restart_count: i32::try_from(tracked.attempt).unwrap_or(i32::MAX),
        ready: if init && !is_sidecar(container) { done } else { is_running && tracked.started && tracked.ready },
        started: Some(is_running && tracked.started),
        state: Some(now),
        last_state: Some(last.map(terminated).unwrap_or_default()),
        // Both are told of what the runtime knows, never of what it has not seen yet.
        resources: tracked
            .id()
            .map(|_| tracked.resized.clone().or_else(|| container.resources.clone()).unwrap_or_default()),
        volume_mounts: read_only::statuses(container, read_only::supported()),
        allocated_resources: tracked.id().and(container.resources.as_ref()).and_then(|all| all.requests.clone()),
        ..Default::default()
    }
}

/// The current or last run's ID; one that is about to start is not told yet, which saves a write for each container.
fn container_id(tracked: &Tracked) -> Option<&str> {
    match &tracked.run {
        Run::Starting { .. } => tracked.last.as_ref().map(|ended| ended.id.as_str()),
        _ => tracked.id(),
    }
}

fn terminated(ended: &Ended) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: (!ended.id.is_empty()).then(|| format!("runc://{}", ended.id)),
            exit_code: ended.code,
            // A signal is in the exit code already; upstream leaves the field alone.
            signal: None,
            reason: Some(ended.reason.clone()),
            message: ended.message.clone(),
            started_at: Some(time(ended.started_at)),
            finished_at: Some(time(ended.finished_at)),
        }),
        ..Default::default()
    }
}

/// Whether every init container is done (a sidecar: has started).
fn initialised(spec: &PodSpec, state: &State) -> bool {
    let began = spec
        .containers
        .iter()
        .any(|container| state.get(&container.name).is_some_and(|tracked| tracked.run != Run::Idle));
    began
        || spec.init_containers.iter().flatten().all(|container| {
            state.get(&container.name).is_some_and(|tracked| {
                if is_sidecar(container) {
                    tracked.is_running() && tracked.started
                } else {
                    tracked.ended().is_some_and(|ended| ended.code == 0)
                }
            })
        })
}

fn phase(
    spec: &PodSpec,
    state: &State,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    before: Option<&str>,
) -> &'static str {
    // A phase that is final stays.
    match before {
        Some("Succeeded") => return "Succeeded",
        Some("Failed") => return "Failed",
        _ if state.failed.is_some() => return "Failed",
        _ => {}
    }
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let exit = |status: &ContainerStatus| {
        status.state.as_ref().and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code)
    };
    let last_exit = |status: &ContainerStatus| {
        status.last_state.as_ref().and_then(|state| state.terminated.as_ref()).map(|ended| ended.exit_code)
    };
    let containers = spec.init_containers.iter().flatten();
    if !initialised(spec, state) {
        let failed = policy == "Never"
            && containers
                .zip(init)
                .any(|(container, status)| !is_sidecar(container) && exit(status).is_some_and(|code| code != 0));
        return if failed { "Failed" } else { "Pending" };
    }
    let is_running = |status: &&ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    let running = main.iter().filter(is_running).count();
    let waiting =
        main.iter().filter(|status| !is_running(status) && exit(status).is_none() && last_exit(status).is_none());
    if waiting.count() > 0 {
        return if before == Some("Running") { "Running" } else { "Pending" };
    }
    if running > 0 {
        return "Running";
    }
    let codes: Vec<i32> = main.iter().filter_map(|status| exit(status).or_else(|| last_exit(status))).collect();
    let stopped_for_good = state.terminating || codes.iter().all(|code| !comes_back(policy, *code));
    match stopped_for_good {
        _ if policy == "Always" && !state.torn_down => "Running",
        true if codes.iter().all(|code| *code == 0) => "Succeeded",
        true => "Failed",
        false => "Running",
    }
}

/// Whether somebody else has given one of our conditions another status than `wanted` has (pod/status/status_manager.go,
/// `needsReconcile`).
#[must_use]
pub fn is_contested(observed: Option<&PodStatus>, wanted: &PodStatus) -> bool {
    let of = |status: Option<&PodStatus>| -> Vec<(String, String)> {
        let all = status.and_then(|status| status.conditions.as_ref()).into_iter().flatten();
        let mut own: Vec<_> = all
            .filter(|condition| OWN.contains(&condition.type_.as_str()))
            .map(|condition| (condition.type_.clone(), condition.status.clone()))
            .collect();
        own.sort();
        own
    };
    of(observed) != of(Some(wanted))
}

#[allow(clippy::too_many_arguments)] // Everything a condition can depend on, and nothing else.
fn conditions(
    spec: &PodSpec,
    state: &State,
    phase: &str,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    before: &PodStatus,
    own: &[PodCondition],
    now: i64,
) -> Vec<PodCondition> {
    let finished = phase == "Succeeded";
    let sidecars = spec.init_containers.iter().flatten().zip(init).filter(|(container, _)| is_sidecar(container));
    let unready: Vec<&str> = sidecars
        .map(|(_, status)| status)
        .chain(main)
        .filter(|status| !status.ready)
        .map(|status| status.name.as_str())
        .collect();
    let ready = match () {
        () if finished => Err(("PodCompleted", None)),
        () if phase == "Failed" => Err(("PodFailed", None)),
        () if unready.is_empty() => Ok(()),
        () => Err(("ContainersNotReady", Some(format!("containers with unready status: [{}]", unready.join(" "))))),
    };
    let gates = spec.readiness_gates.iter().flatten().map(|gate| gate.condition_type.as_str());
    let closed: Vec<&str> = gates
        .filter(|gate| {
            let conditions = before.conditions.iter().flatten();
            !conditions.into_iter().any(|condition| condition.type_ == *gate && condition.status == "True")
        })
        .collect();
    let pod_ready = match &ready {
        Ok(()) if !closed.is_empty() => {
            let missing = closed
                .iter()
                .map(|gate| format!("corresponding condition of pod readiness gate \"{gate}\" does not exist."));
            Err(("ReadinessGatesNotReady", Some(missing.collect::<Vec<_>>().join(", "))))
        }
        other => other.clone(),
    };
    let waiting_init: Vec<&str> = spec
        .init_containers
        .iter()
        .flatten()
        .zip(init)
        .filter(|(container, status)| if is_sidecar(container) { status.started != Some(true) } else { !status.ready })
        .map(|(container, _)| container.name.as_str())
        .collect();
    let initialised = match () {
        () if finished => Err(("PodCompleted", None)),
        () if initialised(spec, state) => Ok(()),
        () => Err((
            "ContainersNotInitialized",
            Some(format!("containers with incomplete status: [{}]", waiting_init.join(" "))),
        )),
    };
    let make = |type_: &str, verdict: Result<(), (&str, Option<String>)>| {
        let (status, reason, message) = match verdict {
            Ok(()) => ("True", None, None),
            // A pod that completed was initialised.
            Err((reason, message)) if type_ == "Initialized" && finished => ("True", Some(reason), message),
            Err((reason, message)) => ("False", Some(reason), message),
        };
        let old = own.iter().find(|old| old.type_ == type_ && old.status == status);
        PodCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.map(str::to_owned),
            message,
            last_transition_time: old.and_then(|old| old.last_transition_time.clone()).or_else(|| Some(time(now))),
            ..Default::default()
        }
    };
    let standing = if state.sandbox_ready && !state.torn_down { Ok(()) } else { Err(("", None)) };
    let mut list = vec![
        make("PodReadyToStartContainers", standing),
        make("Initialized", initialised),
        make("Ready", pod_ready),
        make("ContainersReady", ready),
        make("PodScheduled", Ok(())),
    ];
    for condition in &mut list {
        condition.reason = condition.reason.take().filter(|reason| !reason.is_empty());
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(conditions: &[(&str, &str)]) -> PodStatus {
        let conditions = conditions.iter().map(|(type_, status)| PodCondition {
            type_: (*type_).to_owned(),
            status: (*status).to_owned(),
            ..PodCondition::default()
        });
        PodStatus { conditions: Some(conditions.collect()), ..PodStatus::default() }
    }

    #[test]
    fn only_our_own_conditions_are_contested() {
        let wanted = with(&[("Ready", "True"), ("Initialized", "True")]);
        for (observed, contested) in [
            (Some(with(&[("Initialized", "True"), ("Ready", "True")])), false),
            (Some(with(&[("Initialized", "True"), ("Ready", "True"), ("example.com/gate", "False")])), false),
            (Some(with(&[("Initialized", "True"), ("Ready", "False")])), true),
            (Some(with(&[("Ready", "True")])), true),
            (None, true),
        ] {
            assert_eq!(is_contested(observed.as_ref(), &wanted), contested, "{observed:?}");
        }
    }
}
