//! Events, written in the order they happen and never in the way of what they speak of.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use runtime::events::{EventType, Recorder};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// More than this waiting to be written, and the newest is lost (with a log line).
const WAITING: usize = 1024;

struct Entry {
    about: ObjectReference,
    kind: EventType,
    reason: Cow<'static, str>,
    message: String,
}

/// The node's recorder.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Entry>,
}

impl Events {
    #[must_use]
    pub fn new(recorder: Arc<Recorder>) -> Self {
        let (queue, mut entries) = mpsc::channel::<Entry>(WAITING);
        tokio::spawn(async move {
            while let Some(entry) = entries.recv().await {
                recorder.record(&entry.about, entry.kind, &entry.reason, &entry.message).await;
            }
        });
        Self { queue }
    }

    fn send(&self, about: ObjectReference, kind: EventType, reason: Cow<'static, str>, message: String) {
        if let Err(error) = self.queue.try_send(Entry { about, kind, reason, message }) {
            let reason = match &error {
                TrySendError::Full(entry) | TrySendError::Closed(entry) => &*entry.reason,
            };
            tracing::warn!(reason, "too many events wait to be written: one is lost");
        }
    }

    /// About the node itself.
    pub fn node(&self, name: &str, kind: EventType, reason: &'static str, message: String) {
        let about = ObjectReference {
            kind: Some("Node".into()),
            name: Some(name.to_owned()),
            // Upstream's kubelet names itself by the node's name, not its UID.
            uid: Some(name.to_owned()),
            ..Default::default()
        };
        self.send(about, kind, reason.into(), message);
    }

    /// About a pod, or with `container` (`spec.containers{web}`) about one of its containers.
    pub fn pod(
        &self,
        pod: &Pod,
        container: Option<String>,
        kind: EventType,
        reason: impl Into<Cow<'static, str>>,
        message: String,
    ) {
        let mut about = Recorder::reference(pod);
        about.field_path = container;
        self.send(about, kind, reason.into(), message);
    }
}
