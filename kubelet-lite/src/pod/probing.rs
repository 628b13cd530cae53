//! The probe workers of a pod's running containers: started and ended with the runs they watch.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::actor::Event;
use crate::node::Node;
use crate::probes::{self, Kind, Target};

/// The workers by container ID and kind.
#[derive(Debug, Default)]
pub struct Workers(HashMap<(String, &'static str), Worker>);

#[derive(Debug)]
struct Worker {
    task: JoinHandle<()>,
    /// It probes when this is rung, whatever its period.
    bell: Arc<Notify>,
}

/// The probe of a kind, where the container has one.
#[must_use]
pub fn probe(container: &Container, kind: Kind) -> Option<&Probe> {
    match kind {
        Kind::Startup => container.startup_probe.as_ref(),
        Kind::Readiness => container.readiness_probe.as_ref(),
        Kind::Liveness => container.liveness_probe.as_ref(),
    }
}

impl Workers {
    /// Starts a worker unless it runs already or there is nothing to probe.
    pub fn start(
        &mut self,
        node: &Arc<Node>,
        container: &Container,
        kind: Kind,
        id: &str,
        pod_ip: &str,
        events: &mpsc::UnboundedSender<Event>,
    ) {
        let Some(probe) = probe(container, kind).cloned() else { return };
        let (node, events) = (node.clone(), events.clone());
        let target = Target { container: container.clone(), id: id.to_owned(), pod_ip: pod_ip.to_owned() };
        self.0.entry((id.to_owned(), kind.word())).or_insert_with(|| {
            let bell = Arc::new(Notify::new());
            let rung = bell.clone();
            let task = tokio::spawn(async move {
                let id = target.id.clone();
                let say = |verdict| drop(events.send(Event::Probed { id: id.clone(), kind, verdict }));
                probes::work(&node, &probe, kind, &target, &rung, say).await;
            });
            Worker { task, bell }
        });
    }

    /// Has a run's readiness probed now, without waiting for its period.
    pub fn ring(&self, id: &str) {
        if let Some(worker) = self.0.get(&(id.to_owned(), Kind::Readiness.word())) {
            worker.bell.notify_one();
        }
    }

    /// Ends one worker.
    pub fn end(&mut self, id: &str, kind: Kind) {
        if let Some(worker) = self.0.remove(&(id.to_owned(), kind.word())) {
            worker.task.abort();
        }
    }

    /// Ends all workers of a run.
    pub fn end_all(&mut self, id: &str) {
        for kind in [Kind::Startup, Kind::Readiness, Kind::Liveness] {
            self.end(id, kind);
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.values().for_each(|worker| worker.task.abort());
    }
}
