//! What to do now: a pure function of a pod's spec, its state and the time.
//!
//! The order of containers is upstream's: init containers one after the other, a sidecar holding up the next only until it
//! has started; then all others. A container that ended comes back by the pod's restart policy after its back-off.

use k8s_openapi::api::core::v1::PodSpec;

use super::state::{Run, State, Tracked, is_sidecar};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Start(String),
    /// End it: its pod goes away.
    Stop(String),
    /// All containers are over and none will come back: free what the pod holds.
    TearDown,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// When to look again though nothing has happened.
    pub wake_at: Option<i64>,
}

impl Plan {
    fn later(&mut self, at: i64) {
        self.wake_at = Some(self.wake_at.map_or(at, |known| known.min(at)));
    }
}

/// Decides.
#[must_use]
pub fn plan(spec: &PodSpec, state: &State, now: i64) -> Plan {
    let mut plan = Plan::default();
    if state.torn_down {
        return plan;
    }
    if state.terminating || state.failed.is_some() || is_finished(spec, state) {
        let mut alive = false;
        // Sidecars outlive the containers they serve, and go in reverse order.
        let mains_alive = spec.containers.iter().any(|container| is_alive(state, &container.name));
        let sidecars = spec.init_containers.iter().flatten().rev();
        let ephemeral = spec.ephemeral_containers.iter().flatten().map(|container| (&container.name, false));
        let others = spec.containers.iter().chain(sidecars).map(|container| (&container.name, is_sidecar(container)));
        for (name, sidecar) in ephemeral.chain(others) {
            let Some(tracked) = state.get(name) else { continue };
            if !tracked.is_alive() {
                continue;
            }
            let held = sidecar && (mains_alive || alive);
            alive = true;
            if !tracked.stopping && tracked.is_running() && !held {
                plan.actions.push(Action::Stop(name.clone()));
            }
        }
        if !alive {
            plan.actions.push(Action::TearDown);
        }
        return plan;
    }
    if !state.sandbox_ready {
        return plan;
    }
    // For looking at the pod, in whatever state that is; each runs once.
    for container in spec.ephemeral_containers.iter().flatten() {
        consider(&mut plan, "Never", &container.name, state.get(&container.name), now);
    }
    let mut initialised = true;
    for container in spec.init_containers.iter().flatten() {
        let tracked = state.get(&container.name);
        if is_sidecar(container) {
            consider(&mut plan, "Always", &container.name, tracked, now);
            if !tracked.is_some_and(|tracked| tracked.is_running() && tracked.started) && !mains_began(spec, state) {
                initialised = false;
                break;
            }
        } else if tracked.and_then(Tracked::ended).is_some_and(|ended| ended.code == 0) {
            // Done.
        } else if mains_began(spec, state) {
            // It ran before the main containers did; its record may be gone.
        } else {
            let policy = if spec.restart_policy.as_deref() == Some("Never") { "Never" } else { "OnFailure" };
            consider(&mut plan, policy, &container.name, tracked, now);
            initialised = false;
            break;
        }
    }
    if initialised {
        let policy = spec.restart_policy.as_deref().unwrap_or("Always");
        for container in &spec.containers {
            consider(&mut plan, policy, &container.name, state.get(&container.name), now);
        }
    }
    plan
}

fn is_alive(state: &State, name: &str) -> bool {
    state.get(name).is_some_and(Tracked::is_alive)
}

/// Whether any main container has ever been started in this sandbox.
fn mains_began(spec: &PodSpec, state: &State) -> bool {
    spec.containers.iter().any(|container| state.get(&container.name).is_some_and(|tracked| tracked.run != Run::Idle))
}

fn consider(plan: &mut Plan, policy: &str, name: &str, tracked: Option<&Tracked>, now: i64) {
    let start = match tracked.map(|tracked| &tracked.run) {
        None | Some(Run::Idle) => true,
        Some(Run::Ended(ended)) => comes_back(policy, ended.code),
        Some(_) => false,
    };
    if !start {
        return;
    }
    match tracked.and_then(|tracked| tracked.retry_at) {
        Some(at) if at > now => plan.later(at),
        _ => plan.actions.push(Action::Start(name.to_owned())),
    }
}

/// Whether a container that ended with `code` is started again.
#[must_use]
pub fn comes_back(policy: &str, code: i32) -> bool {
    match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}

/// Whether all containers are over for good.
#[must_use]
pub fn is_finished(spec: &PodSpec, state: &State) -> bool {
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let init_failed =
        policy == "Never"
            && spec.init_containers.iter().flatten().filter(|container| !is_sidecar(container)).any(|container| {
                state.get(&container.name).and_then(Tracked::ended).is_some_and(|ended| ended.code != 0)
            });
    init_failed
        || spec.containers.iter().all(|container| {
            let ended = state.get(&container.name).and_then(Tracked::ended);
            ended.is_some_and(|ended| !comes_back(policy, ended.code))
        })
}

#[cfg(test)]
mod tests {
    use super::super::state::Ended;
    use super::*;

    fn spec(value: serde_json::Value) -> PodSpec {
        serde_json::from_value(value).expect("a spec")
    }

    fn state(list: &[(&str, Run)]) -> State {
        let mut state = State { sandbox_ready: true, ..State::default() };
        for (name, run) in list {
            let tracked = state.entry(name);
            tracked.run = run.clone();
            tracked.started = true;
        }
        state
    }

    fn running() -> Run {
        Run::Running { id: "x".into(), started_at: 1 }
    }

    fn ended(code: i32) -> Run {
        Run::Ended(Ended { code, ..Ended::default() })
    }

    fn actions(spec: &PodSpec, state: &State) -> Vec<Action> {
        plan(spec, state, 100).actions
    }

    #[test]
    fn init_containers_run_one_after_the_other_and_then_all_others_at_once() {
        let spec = spec(serde_json::json!({
            "initContainers": [{ "name": "i1" }, { "name": "s", "restartPolicy": "Always" }, { "name": "i2" }],
            "containers": [{ "name": "a" }, { "name": "b" }],
        }));
        let start = |name: &str| Action::Start(name.into());
        assert_eq!(actions(&spec, &state(&[])), [start("i1")]);
        assert_eq!(actions(&spec, &state(&[("i1", running())])), []);
        assert_eq!(actions(&spec, &state(&[("i1", ended(1))])), [start("i1")]);
        assert_eq!(actions(&spec, &state(&[("i1", ended(0))])), [start("s")]);
        assert_eq!(actions(&spec, &state(&[("i1", ended(0)), ("s", running())])), [start("i2")]);
        let done = [("i1", ended(0)), ("s", running()), ("i2", ended(0))];
        assert_eq!(actions(&spec, &state(&done)), [start("a"), start("b")]);
        let crashed = [("i1", ended(0)), ("s", ended(1)), ("i2", ended(0)), ("a", running()), ("b", running())];
        assert_eq!(actions(&spec, &state(&crashed)), [start("s")]);
    }

    #[test]
    fn restart_policies() {
        for (policy, code, again) in [
            ("Always", 0, true),
            ("Always", 1, true),
            ("OnFailure", 0, false),
            ("OnFailure", 1, true),
            ("Never", 0, false),
            ("Never", 1, false),
        ] {
            let spec = spec(serde_json::json!({ "restartPolicy": policy, "containers": [{ "name": "a" }] }));
            let expected = if again { Action::Start("a".into()) } else { Action::TearDown };
            assert_eq!(actions(&spec, &state(&[("a", ended(code))])), [expected], "{policy} {code}");
        }
    }

    #[test]
    fn a_back_off_delays_the_start() {
        let spec = spec(serde_json::json!({ "containers": [{ "name": "a" }] }));
        let mut state = state(&[("a", ended(1))]);
        state.entry("a").retry_at = Some(500);
        assert_eq!(plan(&spec, &state, 100), Plan { actions: vec![], wake_at: Some(500) });
        assert_eq!(plan(&spec, &state, 500).actions, [Action::Start("a".into())]);
    }

    #[test]
    fn a_pod_that_ends_stops_its_containers_before_its_sidecars() {
        let spec = spec(serde_json::json!({
            "initContainers": [{ "name": "s", "restartPolicy": "Always" }],
            "containers": [{ "name": "a" }],
        }));
        let mut both = state(&[("s", running()), ("a", running())]);
        both.terminating = true;
        assert_eq!(actions(&spec, &both), [Action::Stop("a".into())]);
        let mut one = state(&[("s", running()), ("a", ended(0))]);
        one.terminating = true;
        assert_eq!(actions(&spec, &one), [Action::Stop("s".into())]);
        let mut none = state(&[("s", ended(0)), ("a", ended(0))]);
        none.terminating = true;
        assert_eq!(actions(&spec, &none), [Action::TearDown]);
    }

    #[test]
    fn an_ephemeral_container_runs_once_and_holds_nothing_up() {
        let spec = spec(serde_json::json!({
            "initContainers": [{ "name": "i" }], "containers": [{ "name": "a" }], "ephemeralContainers": [{ "name": "e" }],
        }));
        let start = |name: &str| Action::Start(name.into());
        assert_eq!(actions(&spec, &state(&[])), [start("e"), start("i")]);
        let done = [("i", ended(0)), ("a", running())];
        assert_eq!(actions(&spec, &state(&done)), [start("e")]);
        assert_eq!(actions(&spec, &state(&[done[0].clone(), done[1].clone(), ("e", ended(1))])), []);
        let mut ending = state(&[done[0].clone(), done[1].clone(), ("e", running())]);
        ending.terminating = true;
        assert_eq!(actions(&spec, &ending), [Action::Stop("e".into()), Action::Stop("a".into())]);
    }

    #[test]
    fn a_job_with_a_sidecar_finishes() {
        let spec = spec(serde_json::json!({
            "restartPolicy": "Never",
            "initContainers": [{ "name": "s", "restartPolicy": "Always" }],
            "containers": [{ "name": "a" }],
        }));
        assert_eq!(actions(&spec, &state(&[("s", running()), ("a", ended(0))])), [Action::Stop("s".into())]);
    }
}
