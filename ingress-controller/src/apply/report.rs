//! What Ingresses' owners are told: `status.loadBalancer` and Events. Both are written beside the main loop, which
//! never waits for the API.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::networking::v1::{Ingress, IngressLoadBalancerIngress};
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, ResourceExt};
use runtime::events::{EventType, Recorder};
use tokio::sync::{mpsc, watch};

use crate::index::Key;

/// Events waiting to be written; more are dropped and logged, for an Event must not stop the work it speaks of.
const QUEUE: usize = 256;

struct Note {
    about: ObjectReference,
    kind: EventType,
    reason: &'static str,
    message: String,
}

/// The addresses that Ingresses should show, and which Ingresses do not show them yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    pub addresses: Vec<IngressLoadBalancerIngress>,
    pub ingresses: Vec<Key>,
}

/// Hands work to the two writers.
#[derive(Clone)]
pub struct Reporter {
    notes: mpsc::Sender<Note>,
    due: Arc<watch::Sender<Due>>,
}

impl Reporter {
    /// Starts the writers; they end when the reporter is dropped.
    pub fn spawn(client: Client) -> Self {
        let (notes, notes_receiver) = mpsc::channel(QUEUE);
        let (due, due_receiver) = watch::channel(Due::default());
        let recorder = Recorder::new(client.clone(), "nginx-ingress-controller", None);
        tokio::spawn(write_events(recorder, notes_receiver));
        tokio::spawn(write_status(client, due_receiver));
        Self { notes, due: Arc::new(due) }
    }

    pub fn event(&self, ingress: &Ingress, kind: EventType, reason: &'static str, message: String) {
        let note = Note { about: Recorder::reference(ingress), kind, reason, message };
        if let Err(error) = self.notes.try_send(note) {
            tracing::warn!(%error, ingress = ingress.name_any(), reason, "event dropped");
        }
    }

    /// Says which Ingresses lack the addresses. The latest word counts; an unwritten older one is superseded.
    pub fn status(&self, due: Due) {
        self.due.send_if_modified(|current| {
            let changed = *current != due;
            *current = due;
            changed
        });
    }
}

async fn write_events(recorder: Recorder, mut notes: mpsc::Receiver<Note>) {
    while let Some(note) = notes.recv().await {
        recorder.record(&note.about, note.kind, note.reason, &note.message).await;
    }
}

/// Each write is seen by the watch, which takes the Ingress off the list. What failed stays on it until the next change
/// of any Ingress or of the addresses.
async fn write_status(client: Client, mut due: watch::Receiver<Due>) {
    while due.changed().await.is_ok() {
        let Due { addresses, ingresses } = due.borrow_and_update().clone();
        let patch = serde_json::json!({ "status": { "loadBalancer": { "ingress": addresses } } });
        for key in ingresses {
            let api: Api<Ingress> = Api::namespaced(client.clone(), &key.namespace);
            match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => tracing::warn!(%error, ingress = %key, "status not written"),
            }
        }
    }
}
