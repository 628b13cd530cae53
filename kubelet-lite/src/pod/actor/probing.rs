//! Probes of running containers: when they begin, and what follows from their verdicts.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use runtime::events::EventType;

use super::{Actor, Event};
use crate::pod::state::all;
use crate::probes::{Kind, Verdict};

/// Upstream looks at its containers so often. A pod of which one started or ended is gone through then, and containers of it
/// that are not ready are probed at once, not at their period's end (`UpdatePodStatus` of `pkg/kubelet/prober`).
const RELIST: Duration = Duration::from_secs(1);

impl Actor {
    pub(super) fn start_probes(&mut self, container: &Container, id: &str) {
        let ip = self.state.pod_ips.first().cloned().unwrap_or_default();
        let kinds: &[Kind] = if self.state.entry(&container.name).started {
            &[Kind::Readiness, Kind::Liveness]
        } else {
            &[Kind::Startup]
        };
        for kind in kinds {
            self.probes.start(&self.node, container, *kind, id, &ip, &self.events);
        }
    }

    /// Has this pod's containers gone through once more in a moment.
    pub(super) fn look_again_soon(&self) {
        if all(self.spec()).any(|container| container.readiness_probe.is_some()) {
            let events = self.events.clone();
            tokio::spawn(async move {
                tokio::time::sleep(RELIST).await;
                let _ = events.send(Event::Settled);
            });
        }
    }

    /// Probes all containers that are not ready, in case they are by now.
    pub(super) fn ring_unready(&self) {
        let unready = self.state.containers.values().filter(|one| one.is_running() && one.started && !one.ready);
        unready.filter_map(|tracked| tracked.id()).for_each(|id| self.probes.ring(id));
    }

    pub(super) fn take_probe(&mut self, id: &str, kind: Kind, verdict: Verdict) {
        let Some(container) = self.running(id) else { return };
        let name = container.name.clone();
        match verdict {
            Verdict::Good => match kind {
                Kind::Startup => {
                    self.state.entry(&name).started = true;
                    self.probes.end(id, Kind::Startup);
                    self.start_probes(&container, id);
                }
                Kind::Readiness => self.state.entry(&name).ready = true,
                Kind::Liveness => {}
            },
            Verdict::Bad { message, over } => {
                let text = format!("{} probe failed: {message}", kind.word());
                self.event(Some(&name), EventType::Warning, "Unhealthy", text);
                if !over {
                    return;
                }
                if kind == Kind::Readiness {
                    self.state.entry(&name).ready = false;
                } else if !self.state.entry(&name).stopping {
                    let word = if kind == Kind::Liveness { "liveness" } else { "startup" };
                    let text = format!("Container {name} failed {word} probe, will be restarted");
                    self.stop(&name, Some(text));
                }
            }
        }
    }
}
