//! Other limits for a container that runs (KEP-1287): given to its control group in place, or by a restart where its
//! `resizePolicy` asks for one.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use runtime::events::EventType;

use super::{Actor, Event};
use crate::container::prepare;
use crate::oci_runtime::spec;
use crate::pod::state::named;

impl Actor {
    /// Compares the pod with what it was before.
    pub(super) fn resize(&mut self, old: &Pod) {
        let Some(old) = &old.spec else { return };
        let changed: Vec<Container> = self
            .spec()
            .containers
            .iter()
            .filter(|container| named(old, &container.name).is_some_and(|old| old.resources != container.resources))
            .cloned()
            .collect();
        for container in changed {
            let Some(tracked) = self.state.get(&container.name).filter(|tracked| tracked.is_running()) else {
                continue;
            };
            let Some(id) = tracked.id().map(str::to_owned) else { continue };
            let before = named(old, &container.name).and_then(|old| old.resources);
            if wants_restart(&container, before.as_ref()) {
                let text = format!("Container {} resize requires restart", container.name);
                self.stop(&container.name, Some(text));
                continue;
            }
            // Without control groups there is nothing to change; the status shows what is wanted, as it did before.
            let Some(limits) = prepare::limits(&self.node, &container, &id) else { continue };
            self.state.entry(&container.name).resized = before;
            let (node, events) = (self.node.clone(), self.events.clone());
            tokio::spawn(async move {
                let result = node.runc.update(&id, &spec::resources(&limits)).await;
                let (name, resources) = (container.name, container.resources);
                let _ = events.send(Event::Resized { name, id, resources, result });
            });
        }
    }

    pub(super) fn take_resized(
        &mut self,
        name: &str,
        id: &str,
        resources: Option<ResourceRequirements>,
        result: Result<(), String>,
    ) {
        let tracked = self.state.entry(name);
        if tracked.id() != Some(id) {
            return;
        }
        match result {
            Ok(()) => tracked.resized = resources,
            Err(why) => self.event(Some(name), EventType::Warning, "ResizeError", format!("resizing {name}: {why}")),
        }
    }
}

/// Whether a resource that changed asks for a restart.
fn wants_restart(container: &Container, before: Option<&ResourceRequirements>) -> bool {
    let of = |resources: Option<&ResourceRequirements>, name: &str| {
        let value = |map: Option<&std::collections::BTreeMap<_, _>>| map.and_then(|map| map.get(name).cloned());
        resources.map(|all| (value(all.limits.as_ref()), value(all.requests.as_ref())))
    };
    container.resize_policy.iter().flatten().any(|policy| {
        policy.restart_policy == "RestartContainer"
            && of(container.resources.as_ref(), &policy.resource_name) != of(before, &policy.resource_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_resource_that_changed_asks_for_a_restart() {
        let container = |cpu: &str, memory: &str| -> Container {
            serde_json::from_value(serde_json::json!({
                "name": "a", "resources": { "limits": { "cpu": cpu, "memory": memory } },
                "resizePolicy": [{ "resourceName": "memory", "restartPolicy": "RestartContainer" },
                    { "resourceName": "cpu", "restartPolicy": "NotRequired" }],
            }))
            .expect("a container")
        };
        let before = container("1", "1Gi").resources;
        assert!(!wants_restart(&container("2", "1Gi"), before.as_ref()));
        assert!(wants_restart(&container("1", "2Gi"), before.as_ref()));
    }
}
