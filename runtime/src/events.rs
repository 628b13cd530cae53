//! The event recorder: core/v1 Events as upstream's `client-go/tools/record` writes them.
//!
//! The same (object, reason, message) within the process becomes one Event whose `count` rises, as upstream's correlator
//! does. The memory of past Events is bounded ([`MEMORY`]); the oldest is forgotten first.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};

/// How many distinct Events a recorder remembers for counting (upstream's LRU holds 4096).
const MEMORY: usize = 1024;

/// `Normal` or `Warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    Normal,
    Warning,
}

impl EventType {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Default)]
struct Seen {
    by_key: HashMap<String, (String, i32)>,
    order: VecDeque<String>,
}

/// Writes Events for one component (`source.component`, and `source.host` for node agents).
pub struct Recorder {
    client: Client,
    source: EventSource,
    seen: Mutex<Seen>,
}

impl Recorder {
    /// A recorder for `component`; `host` is the node's name where the component is a node agent.
    #[must_use]
    pub fn new(client: Client, component: &str, host: Option<&str>) -> Self {
        let source = EventSource { component: Some(component.to_owned()), host: host.map(str::to_owned) };
        Self { client, source, seen: Mutex::default() }
    }

    /// The reference an Event carries for `object` (upstream's `reference.GetReference`).
    pub fn reference<K: Resource<DynamicType = ()>>(object: &K) -> ObjectReference {
        ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            name: Some(object.name_any()),
            namespace: object.namespace(),
            uid: object.uid(),
            resource_version: object.resource_version(),
            field_path: None,
        }
    }

    /// Writes the Event, or raises the count of the one already written. A failure is logged, never returned: an Event
    /// must not stop the work it speaks of.
    pub async fn record(&self, object: &ObjectReference, kind: EventType, reason: &str, message: &str) {
        let namespace = object.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let key = format!(
            "{}/{}/{}/{}/{}/{reason}/{message}",
            object.kind.as_deref().unwrap_or_default(),
            namespace,
            object.name.as_deref().unwrap_or_default(),
            object.uid.as_deref().unwrap_or_default(),
            object.field_path.as_deref().unwrap_or_default(),
        );
        let now = Timestamp::now();
        let known = {
            let mut seen = self.seen.lock().expect("no code panics while holding this lock");
            seen.by_key.get_mut(&key).map(|(name, count)| {
                *count += 1;
                (name.clone(), *count)
            })
        };
        if let Some((name, count)) = known {
            let patch = serde_json::json!({ "count": count, "lastTimestamp": Time(now) });
            match api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return,
                // Deleted meanwhile (Events expire): write it anew below.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return tracing::warn!(%error, reason, "event not written"),
            }
        }
        let name = format!("{}.{:x}", object.name.as_deref().unwrap_or("unknown"), now.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta { name: Some(name.clone()), namespace: Some(namespace), ..Default::default() },
            involved_object: object.clone(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            type_: Some(kind.as_str().to_owned()),
            source: Some(self.source.clone()),
            first_timestamp: Some(Time(now)),
            last_timestamp: Some(Time(now)),
            count: Some(1),
            reporting_component: self.source.component.clone(),
            reporting_instance: self.source.host.clone(),
            ..Default::default()
        };
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => self.remember(key, name),
            Err(error) => tracing::warn!(%error, reason, "event not written"),
        }
    }

    fn remember(&self, key: String, name: String) {
        let mut seen = self.seen.lock().expect("no code panics while holding this lock");
        if seen.by_key.insert(key.clone(), (name, 1)).is_none() {
            seen.order.push_back(key);
        }
        while seen.order.len() > MEMORY {
            if let Some(oldest) = seen.order.pop_front() {
                seen.by_key.remove(&oldest);
            }
        }
    }
}
