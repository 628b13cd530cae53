//! Other limits for a container that runs (KEP-1287): given to its control group in place, or by a restart where its
//! `resizePolicy` asks for one. Which limits a pod gets is decided by [`allocation`](crate::pod::allocation) already; here they
//! are made true, and the conditions say how far that is.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use runtime::events::EventType;
use serde_json::json;

use super::{Actor, Event, now};
use crate::container::prepare;
use crate::container::resources::{find, units};
use crate::node::Node;
use crate::oci_runtime::spec;
use crate::pod::allocation::{Pending, resizable};
use crate::pod::state::{ResizeCondition, named};

/// After limits could not be set.
const RETRY: i64 = 10_000;

impl Actor {
    /// Takes in whether a resize waits.
    pub(super) fn take_pending(&mut self, pending: Option<Pending>) {
        let generation = self.pod.metadata.generation;
        let old = self.state.resize_pending.take();
        let Some(Pending { reason, message }) = pending else { return };
        let changed = old.as_ref().is_none_or(|old| old.reason != reason || old.generation != generation);
        if changed {
            let text = told(self.spec(), &format!("Pod resize {reason}"), generation, Some(&message));
            self.event(None, EventType::Warning, format!("Resize{reason}"), text);
        }
        let since = old.filter(|old| old.reason == reason).map_or_else(now, |old| old.since);
        self.state.resize_pending = Some(ResizeCondition { reason: reason.into(), message, generation, since });
    }

    /// Compares the pod with what it was before.
    pub(super) fn resize(&mut self, old: &Pod) {
        let Some(old) = &old.spec else { return };
        let changed: Vec<(Container, ResourceRequirements)> = resizable(self.spec())
            .filter_map(|container| {
                let before = named(old, &container.name)?.resources.unwrap_or_default();
                (before != container.resources.clone().unwrap_or_default()).then(|| (container.clone(), before))
            })
            .collect();
        if changed.is_empty() {
            return;
        }
        let generation = self.pod.metadata.generation;
        let text = told(self.spec(), "Pod resize started", generation, None);
        self.event(None, EventType::Normal, "ResizeStarted", text);
        self.state.resize_progress =
            Some(ResizeCondition { reason: String::new(), message: String::new(), generation, since: now() });
        for (container, before) in changed {
            if let Some(tracked) = self.state.containers.get_mut(&container.name).filter(|one| one.is_running()) {
                tracked.resized.get_or_insert(before);
                self.actuate(&container);
            }
        }
    }

    /// Makes a running container's limits those of the pod.
    fn actuate(&mut self, container: &Container) {
        let Some(tracked) = self.state.containers.get_mut(&container.name) else { return };
        let (Some(id), Some(before)) = (tracked.id().map(str::to_owned), tracked.resized.clone()) else { return };
        let wanted = container.resources.clone().unwrap_or_default();
        if tracked.resizing || tracked.replaced {
            return;
        }
        if before == wanted {
            tracked.resized = None;
            return;
        }
        if wants_restart(container, &before) {
            tracked.replaced = true;
            self.stop(&container.name, Some(format!("Container {} resize requires restart", container.name)));
            return;
        }
        // Without control groups there is nothing to change.
        let Some(limits) = prepare::limits(&self.node, container, &id) else {
            tracked.resized = None;
            return;
        };
        tracked.resizing = true;
        let (node, events, name) = (self.node.clone(), self.events.clone(), container.name.clone());
        tokio::spawn(async move {
            let result = match too_little(&node, &name, &id, &wanted, &before) {
                Some(why) => Err(why),
                None => node.runc.update(&id, &spec::resources(&limits)).await,
            };
            let _ = events.send(Event::Resized { name, id, resources: wanted, result });
        });
    }

    pub(super) fn take_resized(
        &mut self,
        name: &str,
        id: &str,
        resources: ResourceRequirements,
        result: Result<(), String>,
    ) {
        let tracked = self.state.entry(name);
        if tracked.id() != Some(id) {
            return;
        }
        tracked.resizing = false;
        match result {
            Ok(()) => {
                tracked.resized = Some(resources);
                self.resize_at = None;
            }
            Err(why) => {
                self.resize_at = Some(now() + RETRY);
                self.fail_resize(why);
                // What is wanted may be another by now; if not, it is tried again later.
                if named(self.spec(), name).is_some_and(|now| now.resources.unwrap_or_default() == resources) {
                    return;
                }
            }
        }
        if let Some(container) = named(self.spec(), name) {
            self.actuate(&container);
        }
    }

    fn fail_resize(&mut self, why: String) {
        let Some(progress) = &mut self.state.resize_progress else { return };
        if progress.message == why {
            return;
        }
        if progress.reason != "Error" {
            progress.since = now();
        }
        "Error".clone_into(&mut progress.reason);
        progress.message.clone_from(&why);
        let text = told(self.spec(), "Pod resize error", self.pod.metadata.generation, Some(&why));
        self.event(None, EventType::Warning, "ResizeError", text);
    }

    /// Tries again what failed, and says when all is done; gives the time at which to look again.
    pub(super) fn follow_resize(&mut self, at: i64) -> Option<i64> {
        let progress = self.state.resize_progress.clone()?;
        let busy: Vec<Container> = resizable(self.spec())
            .filter(|container| {
                self.state.get(&container.name).is_some_and(|one| one.is_running() && one.resized.is_some())
            })
            .cloned()
            .collect();
        if busy.is_empty() {
            self.state.resize_progress = None;
            self.resize_at = None;
            let text = told(self.spec(), "Pod resize completed", progress.generation, None);
            self.event(None, EventType::Normal, "ResizeCompleted", text);
            return None;
        }
        let due = self.resize_at?;
        if due > at {
            return Some(due);
        }
        self.resize_at = None;
        busy.iter().for_each(|container| self.actuate(container));
        None
    }
}

/// An Event's words: what happens, and which resources all containers are to have.
fn told(spec: &PodSpec, what: &str, generation: Option<i64>, error: Option<&str>) -> String {
    let list = |containers: &mut dyn Iterator<Item = &Container>| -> Vec<serde_json::Value> {
        containers
            .map(|one| json!({ "name": one.name, "resources": one.resources.clone().unwrap_or_default() }))
            .collect()
    };
    // In Go's order of fields.
    let mut fields = Vec::new();
    let init = list(&mut spec.init_containers.iter().flatten());
    if !init.is_empty() {
        fields.push(format!("\"initContainers\":{}", json!(init)));
    }
    fields.push(format!("\"containers\":{}", json!(list(&mut spec.containers.iter()))));
    fields.push(format!("\"generation\":{}", generation.unwrap_or_default()));
    fields.extend(error.map(|error| format!("\"error\":{}", json!(error))));
    format!("{what}: {{{}}}", fields.join(","))
}

/// Why a lower memory limit would end the container at once (`validateMemoryResizeAction`).
fn too_little(
    node: &Node,
    name: &str,
    id: &str,
    wanted: &ResourceRequirements,
    before: &ResourceRequirements,
) -> Option<String> {
    let limit =
        |of: &ResourceRequirements| find(of.limits.as_ref(), "memory").and_then(units).filter(|bytes| *bytes > 0);
    let wanted = limit(wanted)?;
    if limit(before).is_some_and(|before| before <= wanted) {
        return None;
    }
    let usage = node.machine.cgroup.as_ref()?.memory_usage(id)?;
    (usage >= wanted).then(|| {
        format!(
            "cannot decrease memory limits: attempting to set container {name:?} memory limit ({wanted}) below current \
             usage ({usage})"
        )
    })
}

/// Whether a resource that changed asks for a restart.
fn wants_restart(container: &Container, before: &ResourceRequirements) -> bool {
    let of = |resources: Option<&ResourceRequirements>, name: &str| {
        let value = |map: Option<&std::collections::BTreeMap<_, _>>| map.and_then(|map| map.get(name).cloned());
        resources.map(|all| (value(all.limits.as_ref()), value(all.requests.as_ref()))).unwrap_or_default()
    };
    container.resize_policy.iter().flatten().any(|policy| {
        policy.restart_policy == "RestartContainer"
            && of(container.resources.as_ref(), &policy.resource_name) != of(Some(before), &policy.resource_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(cpu: &str, memory: &str) -> Container {
        serde_json::from_value(json!({
            "name": "a", "resources": { "limits": { "cpu": cpu, "memory": memory } },
            "resizePolicy": [{ "resourceName": "memory", "restartPolicy": "RestartContainer" },
                { "resourceName": "cpu", "restartPolicy": "NotRequired" }],
        }))
        .expect("a container")
    }

    #[test]
    fn only_a_resource_that_changed_asks_for_a_restart() {
        let before = container("1", "1Gi").resources.unwrap_or_default();
        assert!(!wants_restart(&container("2", "1Gi"), &before));
        assert!(wants_restart(&container("1", "2Gi"), &before));
        assert!(wants_restart(&container("1", "2Gi"), &ResourceRequirements::default()));
    }

    #[test]
    fn events_say_what_all_containers_are_to_have() {
        let spec = PodSpec { containers: vec![container("1", "1Gi")], ..PodSpec::default() };
        assert_eq!(
            told(&spec, "Pod resize Deferred", Some(2), Some("no room")),
            r#"Pod resize Deferred: {"containers":[{"name":"a","resources":{"limits":{"cpu":"1","memory":"1Gi"}}}],"generation":2,"error":"no room"}"#
        );
    }
}
