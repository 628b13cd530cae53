//! Events that are too large lose the objects of request and answer, or are not told at all (`--audit-*-truncate-*`;
//! `apiserver/plugin/pkg/audit/truncate`).
//!
//! As upstream, this happens before events are buffered and made into batches, one by one, so that the limit on batches, which
//! is at least that on events, has nothing to divide.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Map, Value};

use super::backend::Event;

/// The largest event, in bytes of JSON with the newline behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub u64);

impl Limit {
    /// What the flags of a plugin say; `None`: truncation is not enabled.
    ///
    /// # Errors
    /// Upstream's words about limits that make no sense, enabled or not.
    pub fn of(plugin: &str, enabled: bool, event: i64, batch: i64) -> anyhow::Result<Option<Self>> {
        anyhow::ensure!(event > 0, "invalid audit truncate {plugin} max event size {event}, must be a positive number");
        anyhow::ensure!(
            batch >= event,
            "invalid audit truncate {plugin} max batch size {batch}, must be greater than max event size ({event})"
        );
        Ok(enabled.then_some(Self(event.unsigned_abs())))
    }
}

/// The limit of one backend.
pub struct Truncation {
    limit: Limit,
    /// Events that were too large even so.
    dropped: AtomicU64,
}

impl Truncation {
    pub fn new(limit: Limit) -> Self {
        Self { limit, dropped: AtomicU64::new(0) }
    }

    /// The event as it may be told; `None`: not at all.
    pub fn fit(&self, event: &Event) -> Option<Event> {
        if size(event) <= self.limit.0 {
            return Some(event.clone());
        }
        if matches!(event["level"].as_str(), Some("Request" | "RequestResponse")) {
            let without = Arc::new(without_objects(event));
            if size(&without) <= self.limit.0 {
                return Some(without);
            }
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        let id = event["auditID"].as_str().unwrap_or_default();
        tracing::error!(plugin = "truncate", id, "event is too large even after truncating");
        None
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn without_objects(event: &Value) -> Value {
    let fields = event.as_object().into_iter().flatten();
    let kept = fields.filter(|(name, _)| *name != "requestObject" && *name != "responseObject");
    let mut event: Map<String, Value> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    let annotations = event.entry("annotations").or_insert(Value::Null);
    annotations["audit.k8s.io/truncated"] = "true".into();
    event.into()
}

fn size(event: &Value) -> u64 {
    struct Count(u64);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(1);
    serde_json::to_writer(&mut count, event).expect("a Value has only string keys");
    count.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn objects_go_first_and_then_the_event() {
        let event = |level: &str, uri: usize, object: usize| -> Event {
            let object = json!({ "data": "x".repeat(object) });
            let uri = "u".repeat(uri);
            Arc::new(json!({ "level": level, "requestURI": uri, "requestObject": object, "responseObject": object }))
        };
        let whole = event("RequestResponse", 10, 10);
        let bytes = u64::try_from(whole.to_string().len()).unwrap() + 1;
        assert!(Arc::ptr_eq(&Truncation::new(Limit(bytes)).fit(&whole).unwrap(), &whole), "the newline counts");
        let annotated = json!({ "audit.k8s.io/truncated": "true" });
        let less = json!({ "level": "RequestResponse", "requestURI": "u".repeat(10), "annotations": annotated });
        let large = event("RequestResponse", 10, 1000);
        let truncation = Truncation::new(Limit(size(&less)));
        assert_eq!(*truncation.fit(&large).unwrap(), less);
        assert_eq!(large["annotations"], Value::Null, "other backends are told all of it");
        assert_eq!(truncation.dropped(), 0);
        assert!(truncation.fit(&event("RequestResponse", 11, 1000)).is_none());
        assert!(truncation.fit(&event("Metadata", 1, 1000)).is_none(), "there is nothing to leave out at this level");
        assert_eq!(truncation.dropped(), 2);

        let mut told = (*large).clone();
        told["annotations"] = json!({ "a": "b" });
        let kept = Truncation::new(Limit(1000)).fit(&Arc::new(told)).unwrap();
        assert_eq!(kept["annotations"], json!({ "a": "b", "audit.k8s.io/truncated": "true" }));
    }

    #[test]
    fn limits_that_make_no_sense() {
        let why = |event, batch| Limit::of("log", false, event, batch).unwrap_err().to_string();
        assert_eq!(why(0, 1), "invalid audit truncate log max event size 0, must be a positive number");
        let text = "invalid audit truncate log max batch size 4, must be greater than max event size (5)";
        assert_eq!(why(5, 4), text);
        assert_eq!(Limit::of("log", false, 5, 5).unwrap(), None);
        assert_eq!(Limit::of("log", true, 5, 5).unwrap(), Some(Limit(5)));
    }
}
