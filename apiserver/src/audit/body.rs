//! Bodies as the log sees them: objects, whatever they were encoded in; and the end of answers that go on for long.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use serde_json::Value;

use super::parts::{Part, Parts};
use super::{Stage, Trail};
use crate::http::witness::{Witness, Witnessed};

/// The object in a body; `None` where it is none that is known.
pub fn object(media: &str, bytes: &[u8]) -> Option<Value> {
    match media.split(';').next().unwrap_or_default().trim() {
        "application/vnd.kubernetes.protobuf" => {
            let (version, kind, mut value) = schema::protobuf::decode(bytes).ok()?;
            if value.is_object() {
                value["apiVersion"] = version.into();
                value["kind"] = kind.into();
            }
            Some(value)
        }
        "application/yaml" | "application/apply-patch+yaml" => {
            schema::decode::yaml(bytes, None, schema::FieldValidation::Ignore).ok().map(|decoded| decoded.value)
        }
        "" => serde_json::from_slice(bytes).ok(),
        media if media.ends_with("json") => serde_json::from_slice(bytes).ok(),
        _ => None,
    }
}

/// What there is to say of a request at its end.
pub struct Ending {
    pub deprecated: bool,
    pub started: Instant,
    /// Where the time went; none where nobody wants to know.
    pub parts: Option<Arc<Parts>>,
}

impl Ending {
    /// What takes longer than this is told in its parts.
    const SLOW: Duration = Duration::from_millis(500);

    pub fn annotate(&self, trail: &Trail) {
        if self.deprecated {
            trail.annotate("k8s.io/deprecated", "true");
        }
        let total = self.started.elapsed();
        let Some(parts) = self.parts.as_ref().filter(|_| total > Self::SLOW) else { return };
        for (part, took) in parts.told().chain([("total", total)]) {
            let took = schema::time::format_duration(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX));
            trail.annotate(&format!("apiserver.latency.k8s.io/{part}"), &took);
        }
    }

    fn note(&self, part: Part, since: Option<Instant>) {
        if let (Some(parts), Some(since)) = (&self.parts, since) {
            parts.add(part, since.elapsed());
        }
    }
}

/// An answer's body that tells the log when it has ended, however it ends. Until then its pieces are made and taken in turns.
pub fn watched(body: Body, trail: Arc<Trail>, ending: Ending) -> Body {
    Body::new(Witnessed::new(body, End { trail, ending, asked: None, made: None }))
}

struct End {
    trail: Arc<Trail>,
    ending: Ending,
    /// Since when a piece is being made, and taken.
    asked: Option<Instant>,
    made: Option<Instant>,
}

impl Drop for End {
    fn drop(&mut self) {
        self.ending.note(Part::Write, self.made);
        self.ending.annotate(&self.trail);
        self.trail.stage(Stage::ResponseComplete);
        self.trail.settle_later();
    }
}

impl Witness for End {
    fn asked(&mut self) {
        self.ending.note(Part::Write, self.made.take());
        self.asked.get_or_insert_with(Instant::now);
    }

    fn sent(&mut self, _bytes: usize) {
        self.ending.note(Part::Serialize, self.asked.take());
        self.made = Some(Instant::now());
    }
}
